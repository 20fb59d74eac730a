#include "message/header.h"

#include <errno.h>

/* Octets of the first line with its CRLF, or all of it where there is none. */
static size_t line_len(struct span text)
{
        size_t at = 0;

        while (at < text.len) {
                const char *lf = memchr(text.p + at, '\n', text.len - at);

                if (!lf)
                        break;
                at = (size_t) (lf - text.p) + 1;
                if (at >= 2 && lf[-1] == '\r')
                        return at;
        }
        return text.len;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

static bool is_empty_line(struct span text)
{
        return text.len >= 2 && text.p[0] == '\r' && text.p[1] == '\n';
}

/* A line and those that continue it. */
static size_t folded_len(struct span text)
{
        size_t len = line_len(text);

        while (len < text.len && is_blank(text.p[len]))
                len += line_len(span_skip(text, len));
        return len;
}

/* section 3.6.8: printable ASCII but the colon. Blanks in front of the colon are
 * of the obsolete syntax (section 4.5), which is still to be read. */
static bool split_field(struct span raw, struct header_field *ret)
{
        const size_t colon = span_find(raw, ':');
        struct span name = span_first(raw, colon), value;

        if (colon == SIZE_MAX)
                return false;
        while (name.len && is_blank(name.p[name.len - 1]))
                name.len--;
        for (size_t i = 0; i < name.len; i++)
                if (name.p[i] < 33 || name.p[i] > 126)
                        return false;
        if (name.len == 0)
                return false;
        value = span_skip(raw, colon + 1);
        if (value.len >= 2 && value.p[value.len - 2] == '\r' && value.p[value.len - 1] == '\n')
                value.len -= 2;
        ret->name = name;
        ret->value = value;
        return true;
}

int header_next(struct header_scan *s, struct header_field *ret)
{
        struct header_field field = {0};
        size_t len;

        if (s->rest.len == 0 || is_empty_line(s->rest))
                return 0;
        len = folded_len(s->rest);
        if (len > s->size_left || s->fields_left == 0) {
                s->rest.len = 0;
                return -EMSGSIZE;
        }
        s->size_left -= len;
        s->fields_left--;
        field.raw = span_first(s->rest, len);
        s->rest = span_skip(s->rest, len);
        if (!split_field(field.raw, &field)) {
                *ret = field;
                return -EBADMSG;
        }
        *ret = field;
        return 1;
}

size_t header_len(struct span text, size_t *ret_body)
{
        size_t len = 0;

        while (len < text.len && !is_empty_line(span_skip(text, len)))
                len += line_len(span_skip(text, len));
        if (ret_body)
                *ret_body = len < text.len ? len + 2 : len;
        return len;
}

bool header_find(struct span text, struct span name, struct header_field *ret)
{
        struct header_scan s = HEADER_SCAN(text, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        struct header_field field;
        int r;

        while ((r = header_next(&s, &field)) != 0 && r != -EMSGSIZE) {
                if (r > 0 && span_equal_nocase(field.name, name)) {
                        *ret = field;
                        return true;
                }
        }
        return false;
}

/* "<…>" without blanks or controls within: fit to be a key and to be written
 * into a field of ours. What stands around it is left out. */
static struct span take_message_id(struct span value)
{
        const size_t start = span_find(value, '<');
        struct span id = start == SIZE_MAX ? (struct span) {NULL, 0} : span_skip(value, start);
        const size_t end = span_find(id, '>');

        if (end == SIZE_MAX || end < 2)
                return (struct span) {NULL, 0};
        id.len = end + 1;
        for (size_t i = 0; i < id.len; i++)
                if ((unsigned char) id.p[i] <= 32 || id.p[i] == 127)
                        return (struct span) {NULL, 0};
        return id;
}

static bool has_8bit(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] > 127)
                        return true;
        return false;
}

enum known { RECEIVED, MESSAGE_ID, DATE, FROM, TO, CC, BCC, SUBJECT, UNKNOWN };

static enum known find_known(struct span name)
{
        static const struct span names[] = {
                [RECEIVED] = SPAN("Received"), [MESSAGE_ID] = SPAN("Message-ID"),
                [DATE] = SPAN("Date"),         [FROM] = SPAN("From"),
                [TO] = SPAN("To"),             [CC] = SPAN("Cc"),
                [BCC] = SPAN("Bcc"),           [SUBJECT] = SPAN("Subject"),
        };

        for (int i = 0; i < UNKNOWN; i++)
                if (span_equal_nocase(names[i], name))
                        return (enum known) i;
        return UNKNOWN;
}

static void note_field(struct header_summary *sum, const struct header_field *field)
{
        switch (find_known(field->name)) {
        case RECEIVED:
                sum->received++;
                break;
        case MESSAGE_ID:
                if (!sum->has_message_id)
                        sum->message_id = take_message_id(field->value);
                sum->has_message_id = true;
                break;
        case DATE:
                if (!sum->has_date)
                        sum->date = field->value;
                sum->has_date = true;
                break;
        case FROM:
                if (!sum->has_from)
                        sum->header_from = field->value;
                sum->has_from = true;
                break;
        case TO:
                sum->has_to = true;
                break;
        case CC:
                sum->has_cc = true;
                break;
        case BCC:
                sum->has_bcc = true;
                break;
        case SUBJECT:
                if (!sum->subject.p)
                        sum->subject = field->value;
                break;
        case UNKNOWN:
                break;
        }
}

int header_summarize(struct span text, size_t size_max, size_t fields_max,
                     struct header_summary *ret)
{
        struct header_scan s = HEADER_SCAN(text, size_max, fields_max);
        struct header_field field;
        int r;

        *ret = (struct header_summary) {0};
        while ((r = header_next(&s, &field)) != 0 && r != -EMSGSIZE) {
                ret->fields++;
                ret->has_8bit = ret->has_8bit || has_8bit(field.raw);
                if (r > 0)
                        note_field(ret, &field);
                else
                        ret->has_malformed = true;
        }
        return r;
}

int header_unfold(struct span value, struct buffer *out)
{
        size_t len = 0;
        char *to;
        int r;

        value = span_trim(value);
        r = value.len ? buffer_reserve(out, value.len, &to) : 0;
        if (r < 0 || value.len == 0)
                return r;
        for (size_t i = 0; i < value.len; i++) {
                const unsigned char c = (unsigned char) value.p[i];

                if (c == '\r' && i + 1 < value.len && value.p[i + 1] == '\n')
                        i++; /* a fold: the blank that follows stays */
                else
                        to[len++] = c < 32 || c == 127 ? ' ' : (char) c;
        }
        buffer_commit(out, len);
        return 0;
}
