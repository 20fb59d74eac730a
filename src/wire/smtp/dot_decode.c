#include "wire/smtp/dot_decode.h"

#include <assert.h>
#include <stdint.h>

/*  LINE_START --"."--> DOT --CR--> DOT_CR --LF--> END
 *  LINE_START, TEXT --CR--> CR --LF--> LINE_START
 *  any other octet --> TEXT; a CR or LF among them is a bad line end
 *
 * LINE_START is 0, the state just after DATA: the CRLF that ended the command
 * starts the first line (section 4.1.1.4). */
enum { LINE_START, DOT, DOT_CR, TEXT, CR, END };

/* A bare LF within a line that has no bare CR. */
static void check_line(struct dot_decoder *d, const char *line, size_t len)
{
        if (len && memchr(line, '\n', len))
                d->bad_line_end = true;
}

/* From LINE_START or TEXT: whole lines up to one that starts with a dot, or up
 * to the last octet but for a CR that may yet get its LF. Returns the octets
 * of text, `*ret_used` counts that CR too. */
static size_t scan_lines(struct dot_decoder *d, struct span in, size_t *ret_used)
{
        size_t at = 0;

        while (at < in.len) {
                const char *line = in.p + at;
                const char *cr;

                if (d->state == LINE_START && *line == '.')
                        break;
                cr = memchr(line, '\r', in.len - at);
                if (!cr) {
                        check_line(d, line, in.len - at);
                        d->state = TEXT;
                        at = in.len;
                        break;
                }
                check_line(d, line, (size_t) (cr - line));
                at = (size_t) (cr - in.p) + 1;
                if (at == in.len) {
                        d->state = CR;
                        *ret_used = at;
                        return at - 1;
                }
                if (in.p[at] == '\n') {
                        at++;
                        d->state = LINE_START;
                } else {
                        d->bad_line_end = true;
                        d->state = TEXT;
                }
        }
        *ret_used = at;
        return at;
}

/* One octet in a state where each one matters: the text it stands for. */
static struct span step(struct dot_decoder *d, char c)
{
        static const struct span line_end = SPAN("\r\n");
        const struct span nothing = {NULL, 0};

        if (d->state == LINE_START) {
                d->state = DOT; /* c is the dot: not text, but stuffing or the end */
        } else if (d->state == DOT && c == '\r') {
                d->state = DOT_CR;
        } else if (d->state == DOT_CR && c == '\n') {
                d->state = END;
        } else if (d->state == CR && c == '\n') {
                d->state = LINE_START;
                return line_end;
        } else {
                d->bad_line_end = true;
                d->state = c == '\r' ? CR : TEXT;
        }
        return nothing;
}

bool dot_decode(struct dot_decoder *d, struct span in, size_t *ret_in_used, struct span *ret_text)
{
        struct span text = {NULL, 0};
        size_t used = 0;

        assert(d->state != END);

        while (used < in.len && text.len == 0 && d->state != END) {
                const char c = in.p[used];

                /* A stuffed dot is left behind: the line goes on as text. */
                if (d->state == DOT && c != '\r')
                        d->state = TEXT;
                if (d->state == TEXT || (d->state == LINE_START && c != '.')) {
                        size_t n;

                        text.p = in.p + used;
                        text.len = scan_lines(d, span_skip(in, used), &n);
                        used += n;
                } else {
                        text = step(d, c);
                        used++;
                }
        }
        *ret_in_used = used;
        *ret_text = d->bad_line_end ? (struct span) {NULL, 0} : text;
        return d->state == END;
}
