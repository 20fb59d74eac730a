#include "ctl/send_message.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "message/header.h"

enum { READ_STEP = 64 * 1024, WORD_MAX = 40 };

/* ---- reading ------------------------------------------------------------ */

struct lines {
        struct buffer *out;
        bool at_start;  /* of a line */
        bool has_dot;   /* the line so far is one dot, not yet written */
        bool is_ended;  /* by a dot */
        bool ignores_dots;
};

static int put_line_end(struct lines *l)
{
        if (l->has_dot && l->at_start) {
                l->is_ended = true;
                return 0;
        }
        l->at_start = true;
        return buffer_append(l->out, "\r\n", 2);
}

/* Octets of one line without its line end; CRs in it are dropped. */
static int put_text(struct lines *l, struct span s)
{
        int r = 0;

        while (s.len && r == 0) {
                const size_t cr = span_find(s, '\r');
                const struct span part = span_first(s, cr);

                s = span_skip(s, cr == SIZE_MAX ? s.len : cr + 1);
                if (!part.len)
                        continue;
                if (l->has_dot && l->at_start)
                        r = buffer_append(l->out, ".", 1);
                l->has_dot = !l->ignores_dots && l->at_start && !l->has_dot && part.len == 1 &&
                             part.p[0] == '.';
                if (l->has_dot)
                        continue; /* written when more of the line comes */
                l->at_start = false;
                if (r == 0)
                        r = buffer_append_span(l->out, part);
        }
        return r;
}

static int put(struct lines *l, struct span in)
{
        int r = 0;

        while (in.len && r == 0 && !l->is_ended) {
                const size_t lf = span_find(in, '\n');

                r = put_text(l, span_first(in, lf));
                if (r == 0 && lf != SIZE_MAX) {
                        r = put_line_end(l);
                        l->has_dot = false;
                }
                in = span_skip(in, lf == SIZE_MAX ? in.len : lf + 1);
        }
        return r;
}

int send_message_read(int fd, bool ignores_dots, struct buffer *text)
{
        struct lines l = {.out = text, .at_start = true, .ignores_dots = ignores_dots};
        char in[READ_STEP];
        int r = 0;

        while (r == 0 && !l.is_ended) {
                const ssize_t n = read(fd, in, sizeof in);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                r = put(&l, span_make(in, (size_t) n));
        }
        if (r == 0 && !l.is_ended && (!l.at_start || l.has_dot))
                r = l.has_dot ? 0 : buffer_append(text, "\r\n", 2);
        return r;
}

/* ---- the header --------------------------------------------------------- */

static struct header_scan scan_of(struct span text)
{
        return HEADER_SCAN(text, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
}

/* A first line "From a@example.jp Sun …" is of a mailbox file, not a field. */
static struct span skip_from_line(struct span text)
{
        const size_t lf = span_find(text, '\n');

        if (lf != SIZE_MAX && span_equal(span_first(text, 5), SPAN_LITERAL("From ")))
                return span_skip(text, lf + 1);
        return text;
}

static bool is_named(const struct header_field *f, const char *const *names)
{
        for (; *names; names++)
                if (span_equal_nocase(f->name, span_from_string(*names)))
                        return true;
        return false;
}

static const char *const recipient_fields[] = { "To", "Cc", "Bcc", NULL };
static const char *const resent_fields[] = { "Resent-To", "Resent-Cc", "Resent-Bcc", NULL };
static const char *const blind_fields[] = { "Bcc", "Resent-Bcc", NULL };

int send_message_recipients(struct span text, struct send_recipients *r)
{
        const struct span body = skip_from_line(text);
        const char *const *names = recipient_fields;
        struct header_scan s = scan_of(body);
        struct header_field f;
        int result = 0;

        while (header_next(&s, &f) == 1)
                if (is_named(&f, resent_fields))
                        names = resent_fields;
        s = scan_of(body);
        while (result == 0 && header_next(&s, &f) == 1)
                if (is_named(&f, names))
                        result = send_recipients_add(r, f.value);
        return result;
}

/* A display name: as it stands where it is atoms and blanks, quoted where it
 * is ASCII, else in encoded words (RFC 2047), cut between characters. */
static int append_name(struct buffer *out, struct span name)
{
        static const char special[] = "()<>[]:;@\\,.\"";
        bool is_quoted = false, is_encoded = false;
        int r = 0;

        for (size_t i = 0; i < name.len; i++) {
                is_encoded |= (unsigned char) name.p[i] > 126 || (unsigned char) name.p[i] < ' ';
                is_quoted |= strchr(special, name.p[i]) != NULL;
        }
        if (!is_encoded && !is_quoted)
                return buffer_append_span(out, name);
        if (!is_encoded)
                r = buffer_append(out, "\"", 1);
        for (size_t i = 0, in_word = 0; i < name.len && r == 0; i++) {
                const unsigned char c = (unsigned char) name.p[i];

                if (!is_encoded) {
                        r = buffer_printf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
                        continue;
                }
                if (in_word > WORD_MAX && (c & 0xc0) != 0x80) {
                        r = buffer_append_string(out, "?= ");
                        in_word = 0;
                }
                if (r == 0 && in_word == 0)
                        r = buffer_append_string(out, "=?UTF-8?Q?");
                if (r == 0)
                        r = buffer_printf(out, "=%02X", c);
                in_word += 3;
        }
        return r < 0 ? r : buffer_append_string(out, is_encoded ? "?=" : "\"");
}

static int append_from(struct buffer *out, const struct send_origin *o)
{
        int r = buffer_append_string(out, "From: ");

        if (r == 0 && o->full_name.len) {
                r = append_name(out, o->full_name);
                if (r == 0)
                        r = buffer_append(out, " ", 1);
        }
        if (r == 0)
                r = buffer_printf(out, "<%.*s>\r\n", (int) o->header_from.len, o->header_from.p);
        return r;
}

static int append_missing(struct buffer *out, bool has_from, bool has_date, bool has_message_id,
                          const struct send_origin *o)
{
        char date[CLOCK_DATE_MAX];
        int r = 0;

        if (!has_from)
                r = append_from(out, o);
        if (r == 0 && !has_date)
                r = buffer_printf(out, "Date: %s\r\n", clock_format_date(o->now_us, date));
        if (r == 0 && !has_message_id)
                r = buffer_printf(out, "Message-ID: <%llx.%016llx@%.*s>\r\n",
                                  (unsigned long long) o->now_us, (unsigned long long) o->unique,
                                  (int) o->hostname.len, o->hostname.p);
        return r;
}

int send_message_complete(struct span text, bool removes_bcc, const struct send_origin *origin,
                          struct buffer *out)
{
        static const char *const from[] = { "From", NULL }, *const date[] = { "Date", NULL },
                                 *const message_id[] = { "Message-ID", NULL };
        bool has_from = false, has_date = false, has_message_id = false;
        struct span rest = skip_from_line(text);
        struct header_scan s = scan_of(rest);
        struct header_field f;
        int r = 0, next;

        /* A line that is no field is where the text begins. */
        while (r == 0 && (next = header_next(&s, &f)) == 1) {
                rest = s.rest;
                has_from |= is_named(&f, from);
                has_date |= is_named(&f, date);
                has_message_id |= is_named(&f, message_id);
                if (!(removes_bcc && is_named(&f, blind_fields)))
                        r = buffer_append_span(out, f.raw);
        }
        if (r == 0 && next == -EMSGSIZE)
                r = next;
        if (r == 0)
                r = append_missing(out, has_from, has_date, has_message_id, origin);
        if (r == 0 && !span_equal(span_first(rest, 2), SPAN_LITERAL("\r\n")))
                r = buffer_append(out, "\r\n", 2);
        return r < 0 ? r : buffer_append_span(out, rest);
}
