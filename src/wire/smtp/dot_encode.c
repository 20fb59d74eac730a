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

enum { BLOCK = 256 };

/* Whether a block needs no change: each CR and LF belong together, and no line starts
 * with a dot. Pairs of neighbours are looked at, the last one with what follows the
 * block. Without a branch, so that compilers take sixteen octets at once. */
static bool is_plain_block(const char *in)
{
        unsigned char odd = 0;

        for (size_t i = 0; i < BLOCK; i++) {
                const char here = in[i], next = in[i + 1];

                odd |= (unsigned char) (((here == '\r') ^ (next == '\n')) |
                                        ((here == '\n') & (next == '.')));
        }
        return !odd;
}

/* The octets in front that go out as they are, as far as whole blocks can tell; a CR
 * at their end is left to the next call. */
static size_t plain_length(const struct dot_encoder *d, struct span in)
{
        size_t len = 0;

        if (in.len <= BLOCK || in.p[0] == '\n' || (d->state == LINE_START && in.p[0] == '.'))
                return 0;
        while (in.len - len > BLOCK && is_plain_block(in.p + len))
                len += BLOCK;
        return len && in.p[len - 1] == '\r' ? len - 1 : len;
}

static size_t put_line_end(char *out)
{
        out[0] = '\r';
        out[1] = '\n';
        return 2;
}

size_t dot_encode(struct dot_encoder *d, struct span in, char *out)
{
        size_t i = 0, len = 0, blocks_from = 0;

        while (i < in.len) {
                size_t run = 0;

                if (d->state == CR) {
                        len += put_line_end(out + len);
                        d->state = LINE_START;
                        if (in.p[i] == '\n') {
                                i++;
                                continue;
                        }
                }
                if (i >= blocks_from) {
                        run = plain_length(d, span_skip(in, i));
                        blocks_from = i + run + BLOCK; /* line by line through the odd one */
                }
                if (run) {
                        memcpy(out + len, in.p + i, run);
                        len += run;
                        i += run;
                        d->state = out[len - 1] == '\n' ? LINE_START : TEXT;
                        continue;
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
