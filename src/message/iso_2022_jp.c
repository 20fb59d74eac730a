#include "message/iso_2022_jp.h"

#include <string.h>

/* ROMAN has two characters that are not those of ASCII, and does not end with the
 * line for everybody: so it is never left but by an escape. */
enum set { ASCII, ROMAN, PAIRS };

struct reading {
        const struct iso_2022_jp_table *table;
        struct span rest;
        enum set set;
        char *to;
        const char *line; /* the last one known to begin in ASCII */
        char *line_to;
};

static void begin_line(struct reading *r, const char *at)
{
        r->line = at;
        r->line_to = r->to;
}

static bool take_escape(struct reading *r)
{
        static const struct {
                char octets[3];
                enum set set;
        } escapes[] = {{"\x1B(B", ASCII}, {"\x1B(J", ROMAN}, {"\x1B$B", PAIRS}};

        for (size_t i = 0; r->rest.len >= 3 && i < sizeof escapes / sizeof escapes[0]; i++) {
                if (memcmp(r->rest.p, escapes[i].octets, 3) == 0) {
                        r->set = escapes[i].set;
                        r->rest = span_skip(r->rest, 3);
                        return true;
                }
        }
        return false;
}

static bool is_text(unsigned char c, enum set set)
{
        if (c < ' ')
                return c == '\t' || c == '\n' || c == '\r';
        return c < 127 && (set != ROMAN || (c != '\\' && c != '~'));
}

/* Up to the next escape. */
static bool take_ascii(struct reading *r)
{
        const char *p = r->rest.p, *const end = p + r->rest.len;

        while (p < end && *p != '\x1B') {
                if (!is_text((unsigned char) *p, r->set))
                        return false;
                *r->to++ = *p++;
                if (p[-1] == '\n' && r->set == ASCII)
                        begin_line(r, p);
        }
        r->rest = span_make(p, (size_t) (end - p));
        return true;
}

/* A line starts in ASCII, whatever was said before. */
static bool take_line_end(struct reading *r)
{
        const size_t n = r->rest.p[0] == '\r' ? 2 : 1;

        if (r->rest.len < n || r->rest.p[n - 1] != '\n')
                return false;
        memcpy(r->to, r->rest.p, n);
        r->to += n;
        r->rest = span_skip(r->rest, n);
        r->set = ASCII;
        begin_line(r, r->rest.p);
        return true;
}

static bool take_pairs(struct reading *r)
{
        const unsigned char *p = (const unsigned char *) r->rest.p, *const end = p + r->rest.len;

        while (end - p >= 2 && p[0] > ' ' && p[0] < 127 && p[1] > ' ' && p[1] < 127) {
                const char *const octets = r->table->cells[p[0] - 0x21][p[1] - 0x21].octets;
                const uint8_t len = r->table->cells[p[0] - 0x21][p[1] - 0x21].len;

                if (len == 0)
                        return false;
                memcpy(r->to, octets, 3);
                r->to += len;
                p += 2;
        }
        r->rest = span_make((const char *) p, (size_t) (end - p));
        if (r->rest.len == 0 || r->rest.p[0] == '\x1B')
                return true;
        return take_line_end(r);
}

int iso_2022_jp_read(const struct iso_2022_jp_table *t, struct span text, struct buffer *out,
                     size_t *ret_used)
{
        struct reading r = {.table = t, .rest = text, .set = ASCII};
        bool is_good = true;
        char *to;
        int result;

        /* Two octets become three at most; the third is written even where it is not used. */
        result = buffer_reserve(out, text.len + text.len / 2 + 4, &to);
        if (result < 0)
                return result;
        r.to = to;
        begin_line(&r, text.p);
        while (r.rest.len && is_good) {
                if (r.rest.p[0] == '\x1B')
                        is_good = take_escape(&r);
                else if (r.set == PAIRS)
                        is_good = take_pairs(&r);
                else
                        is_good = take_ascii(&r);
        }
        if (is_good) {
                *ret_used = text.len;
                buffer_commit(out, (size_t) (r.to - to));
        } else {
                *ret_used = (size_t) (r.line - text.p);
                buffer_commit(out, (size_t) (r.line_to - to));
        }
        return 0;
}
