#include "wire/smtp/dot_encode.h"

#include <assert.h>
#include <string.h>

/*  LINE_START --text--> TEXT --CR--> CR --LF--> LINE_START
 *  LINE_START --CR--> CR;  CR --any other--> an end of line of its own
 *
 * LINE_START is 0: a message starts at the start of a line. */
enum { LINE_START, TEXT, CR };

/* The octets before the first CR or LF: the quick part. */
static size_t run_length(const char *in, size_t len)
{
        const char *lf = memchr(in, '\n', len);
        const char *cr;

        if (lf)
                len = (size_t) (lf - in);
        cr = memchr(in, '\r', len);
        return cr ? (size_t) (cr - in) : len;
}

static size_t put_line_end(char *out)
{
        out[0] = '\r';
        out[1] = '\n';
        return 2;
}

size_t dot_encode(struct dot_encoder *d, struct span in, char *out)
{
        size_t i = 0, len = 0;

        while (i < in.len) {
                size_t run;

                if (d->state == CR) {
                        len += put_line_end(out + len);
                        d->state = LINE_START;
                        if (in.p[i] == '\n') {
                                i++;
                                continue;
                        }
                }
                run = run_length(in.p + i, in.len - i);
                if (run) {
                        if (d->state == LINE_START && in.p[i] == '.')
                                out[len++] = '.';
                        memcpy(out + len, in.p + i, run);
                        len += run;
                        i += run;
                        d->state = TEXT;
                        if (i == in.len)
                                break;
                }
                if (in.p[i] == '\r') {
                        d->state = CR;
                } else {
                        len += put_line_end(out + len);
                        d->state = LINE_START;
                }
                i++;
        }
        assert(len <= DOT_ENCODE_OUT_MAX(in.len));
        return len;
}

size_t dot_encode_end(struct dot_encoder *d, char *out)
{
        size_t len = 0;

        if (d->state != LINE_START)
                len = put_line_end(out);
        memcpy(out + len, ".\r\n", 3);
        d->state = LINE_START;
        return len + 3;
}
