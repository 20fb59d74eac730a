#include "wire/smtp/smtp_reply.h"

#include <errno.h>
#include <string.h>

#include "base/octets.h"

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* One to three digits at `at`; returns the place behind them, or 0. */
static size_t skip_number(struct span s, size_t at)
{
        size_t end = at;

        while (end < s.len && is_digit(s.p[end]))
                end++;
        return end > at && end - at <= 3 ? end : 0;
}

size_t smtp_reply_enhanced_len(struct span text, unsigned code)
{
        size_t end;

        /* RFC 3463 section 2: class "." subject "." detail */
        if (text.len < 5 || text.p[0] != (char) ('0' + code / 100) || text.p[1] != '.')
                return 0;
        end = skip_number(text, 2);
        if (!end || end >= text.len || text.p[end] != '.')
                return 0;
        end = skip_number(text, end + 1);
        if (!end || (end < text.len && text.p[end] != ' ' && text.p[end] != '\n'))
                return 0;
        return end;
}

static void begin(struct smtp_reply_parser *p)
{
        p->octets = p->column = p->line_start = p->text_len = p->enhanced_len = 0;
        p->code = p->line_code = 0;
        p->is_first = true;
        p->is_last = p->is_complete = false;
}

static void put(struct smtp_reply_parser *p, char c)
{
        if (p->text_len < sizeof p->text)
                p->text[p->text_len++] = (unsigned char) c < ' ' || c == 127 ? '?' : c;
}

static void take_enhanced_off(struct smtp_reply_parser *p)
{
        struct span line = {p->text + p->line_start, p->text_len - p->line_start};
        size_t len = smtp_reply_enhanced_len(line, p->line_code), drop;

        if (len == 0)
                return;
        if (p->is_first) {
                memcpy(p->enhanced, line.p, len); /* at most "5.123.123" */
                p->enhanced_len = len;
        } else if (!span_equal(span_first(line, len), span_make(p->enhanced, p->enhanced_len))) {
                return; /* not a repetition: text */
        }
        drop = len < line.len ? len + 1 : len;
        memmove(p->text + p->line_start, line.p + drop, line.len - drop);
        p->text_len -= drop;
}

/* 1 when the reply is complete, 0, -EBADMSG. */
static int end_line(struct smtp_reply_parser *p)
{
        if (p->column < 3 || (!p->is_first && p->line_code != p->code))
                return -EBADMSG;
        if (p->column == 3)
                p->is_last = true; /* "250" CRLF */
        while (p->text_len > p->line_start && p->text[p->text_len - 1] == ' ')
                p->text_len--;
        take_enhanced_off(p);
        p->code = p->line_code;
        p->is_first = false;
        if (p->is_last)
                return 1;
        if (p->text_len < sizeof p->text)
                p->text[p->text_len++] = '\n';
        p->line_start = p->text_len;
        p->column = 0;
        p->line_code = 0;
        return 0;
}

/* 0 or -EBADMSG. */
static int take(struct smtp_reply_parser *p, char c)
{
        size_t column = p->column++;

        if (column < 3) {
                if (!is_digit(c) || (column == 0 && (c < '2' || c > '5')))
                        return -EBADMSG;
                p->line_code = 10 * p->line_code + (unsigned) (c - '0');
        } else if (column == 3) {
                if (c != ' ' && c != '-')
                        return -EBADMSG;
                p->is_last = c == ' ';
        } else {
                put(p, c);
        }
        return 0;
}

/* What nearly every reply is: a line, whole, in which nothing is odd. Its text is
 * taken at once; the LF that ends it is the caller's next octet. Returns how many
 * octets were taken; 0: it is one of the others. */
static size_t take_plain_line(struct smtp_reply_parser *p, struct span in)
{
        const char *lf;
        struct span text;
        size_t len;

        if (in.len < 6 || in.p[0] < '2' || in.p[0] > '5' || !is_digit(in.p[1]) ||
            !is_digit(in.p[2]) || (in.p[3] != ' ' && in.p[3] != '-'))
                return 0;
        lf = memchr(in.p + 4, '\n', in.len - 4);
        len = lf ? (size_t) (lf - in.p) : 0;
        if (len < 5 || lf[-1] != '\r' || p->octets + len >= SMTP_REPLY_OCTETS_MAX)
                return 0;
        text = span_make(in.p + 4, len - 5);
        if (text.len > sizeof p->text - p->text_len ||
            octets_until(text, octets_controls) < text.len)
                return 0;
        p->line_code = 100 * (unsigned) (in.p[0] - '0') + 10 * (unsigned) (in.p[1] - '0') +
                       (unsigned) (in.p[2] - '0');
        p->is_last = in.p[3] == ' ';
        memcpy(p->text + p->text_len, text.p, text.len);
        p->text_len += text.len;
        p->column = len - 1;
        p->octets += len;
        return len;
}

int smtp_reply_parse(struct smtp_reply_parser *p, struct span in, size_t *ret_in_used,
                     struct smtp_reply *ret_reply)
{
        if (p->octets == 0 || p->is_complete)
                begin(p);
        for (size_t i = 0; i < in.len; i++) {
                int r;

                if (p->column == 0)
                        i += take_plain_line(p, span_skip(in, i));
                if (++p->octets > SMTP_REPLY_OCTETS_MAX)
                        return -EMSGSIZE;
                if (in.p[i] == '\r')
                        continue; /* of the end of a line, or of no worth */
                r = in.p[i] == '\n' ? end_line(p) : take(p, in.p[i]);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                p->is_complete = true;
                *ret_in_used = i + 1;
                *ret_reply = (struct smtp_reply) {
                        .code = p->code,
                        .enhanced = span_make(p->enhanced, p->enhanced_len),
                        .text = span_make(p->text, p->text_len),
                };
                return 1;
        }
        *ret_in_used = in.len;
        return 0;
}
