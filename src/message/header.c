#include "message/header.h"

#include <errno.h>

#include "base/octets.h"
#include "base/utf8.h"

static bool is_line_end(struct span s, size_t at)
{
        return at >= 2 && s.p[at - 1] == '\n' && s.p[at - 2] == '\r';
}

size_t header_line_len(struct span text)
{
        const char *found;
        size_t at = 0;

        while (at < text.len && (found = memchr(text.p + at, '\n', text.len - at))) {
                at = (size_t) (found - text.p) + 1;
                if (is_line_end(text, at))
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
        const char *const lf = memchr(text.p, '\n', text.len);
        size_t len = lf ? (size_t) (lf - text.p) + 1 : text.len;

        if (is_line_end(text, len) && (len == text.len || !is_blank(text.p[len])))
                return len; /* as nearly every field */
        len = header_line_len(text);

        while (len < text.len && is_blank(text.p[len]))
                len += header_line_len(span_skip(text, len));
        return len;
}

static octets16 not_of_name(octets16 x)
{
        return octets_above_ascii(x) | octets_below(x, 33) | octets_equal(x, 127) |
               octets_equal(x, ':');
}

/* section 3.6.8: printable ASCII but the colon. Blanks in front of the colon are
 * of the obsolete syntax (section 4.5), which is still to be read. */
static int split_field(struct span raw, struct header_field *ret)
{
        const size_t len = octets_until(raw, not_of_name);
        size_t colon = len;

        *ret = (struct header_field) {.raw = raw};
        while (colon < raw.len && is_blank(raw.p[colon]))
                colon++;
        if (len == 0 || colon == raw.len || raw.p[colon] != ':')
                return -EBADMSG;
        ret->name = span_make(raw.p, len);
        ret->value = span_make(raw.p + colon + 1, raw.len - colon - 1);
        if (is_line_end(ret->value, ret->value.len))
                ret->value.len -= 2;
        return 1;
}

/* The octets of the next field, as header_next(). */
static inline int take(struct header_scan *s, struct span *ret_raw)
{
        const struct span rest = s->rest;
        size_t len;

        if (rest.len == 0 || is_empty_line(rest))
                return 0;
        len = folded_len(rest);
        if (len > s->size_left || s->fields_left == 0) {
                s->rest.len = 0;
                return -EMSGSIZE;
        }
        s->size_left -= len;
        s->fields_left--;
        s->rest = span_make(rest.p + len, rest.len - len);
        *ret_raw = span_make(rest.p, len);
        return 1;
}

static inline int next(struct header_scan *s, struct header_field *ret)
{
        struct span raw;
        const int r = take(s, &raw);

        return r == 1 ? split_field(raw, ret) : r;
}

int header_next(struct header_scan *s, struct header_field *ret)
{
        return next(s, ret);
}

int header_next_of(struct header_scan *s, char letter, struct header_field *ret)
{
        struct span raw;
        int r;

        do
                r = take(s, &raw);
        while (r == 1 && ascii_lower(raw.p[0]) != letter);
        return r == 1 ? split_field(raw, ret) : r;
}

size_t header_len(struct span text, size_t *ret_body)
{
        size_t len = 0;

        while (len < text.len && !is_empty_line(span_skip(text, len)))
                len += header_line_len(span_skip(text, len));
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
                if (r > 0 && header_is_named(&field, name)) {
                        *ret = field;
                        return true;
                }
        }
        return false;
}

static octets16 not_in_id(octets16 x)
{
        return octets_below(x, ' ' + 1) | octets_equal(x, 127);
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
        return octets_until(id, not_in_id) == id.len ? id : (struct span) {NULL, 0};
}

static const struct span names[HEADER_NAMES] = {
        [HEADER_DATE] = SPAN("Date"),
        [HEADER_SUBJECT] = SPAN("Subject"),
        [HEADER_FROM] = SPAN("From"),
        [HEADER_SENDER] = SPAN("Sender"),
        [HEADER_REPLY_TO] = SPAN("Reply-To"),
        [HEADER_TO] = SPAN("To"),
        [HEADER_CC] = SPAN("Cc"),
        [HEADER_BCC] = SPAN("Bcc"),
        [HEADER_IN_REPLY_TO] = SPAN("In-Reply-To"),
        [HEADER_MESSAGE_ID] = SPAN("Message-ID"),
        [HEADER_REFERENCES] = SPAN("References"),
        [HEADER_CONTENT_TYPE] = SPAN("Content-Type"),
        [HEADER_CONTENT_TRANSFER_ENCODING] = SPAN("Content-Transfer-Encoding"),
        [HEADER_CONTENT_ID] = SPAN("Content-ID"),
        [HEADER_CONTENT_DESCRIPTION] = SPAN("Content-Description"),
        [HEADER_CONTENT_DISPOSITION] = SPAN("Content-Disposition"),
        [HEADER_CONTENT_LANGUAGE] = SPAN("Content-Language"),
        [HEADER_CONTENT_LOCATION] = SPAN("Content-Location"),
        [HEADER_CONTENT_MD5] = SPAN("Content-MD5"),
        [HEADER_RECEIVED] = SPAN("Received"),
        [HEADER_DELIVERED_TO] = SPAN("Delivered-To"),
        [HEADER_AUTHENTICATION_RESULTS] = SPAN("Authentication-Results"),
};

/* Those with a name of that length, a bit each: few names have to be looked at. */
#define BIT(name) (1U << (HEADER_##name))
static const uint32_t by_length[] = {
        [2] = BIT(TO) | BIT(CC),
        [3] = BIT(BCC),
        [4] = BIT(DATE) | BIT(FROM),
        [6] = BIT(SENDER),
        [7] = BIT(SUBJECT),
        [8] = BIT(REPLY_TO) | BIT(RECEIVED),
        [10] = BIT(MESSAGE_ID) | BIT(REFERENCES) | BIT(CONTENT_ID),
        [11] = BIT(IN_REPLY_TO) | BIT(CONTENT_MD5),
        [12] = BIT(CONTENT_TYPE) | BIT(DELIVERED_TO),
        [16] = BIT(CONTENT_LANGUAGE) | BIT(CONTENT_LOCATION),
        [19] = BIT(CONTENT_DESCRIPTION) | BIT(CONTENT_DISPOSITION),
        [22] = BIT(AUTHENTICATION_RESULTS),
        [25] = BIT(CONTENT_TRANSFER_ENCODING),
};

bool header_is(const struct header_field *f, enum header_name name)
{
        return header_is_named(f, names[name]);
}

static void note_field(struct header_summary *s, const struct header_field *field)
{
        const size_t len = field->name.len;
        uint32_t left = len < sizeof by_length / sizeof by_length[0] ? by_length[len] : 0;

        for (; left; left &= left - 1) {
                const enum header_name name = (enum header_name) __builtin_ctz(left);

                if (!header_is(field, name))
                        continue;
                if (s->values[name].p)
                        s->several |= 1U << name;
                else
                        s->values[name] = field->value;
                s->received += name == HEADER_RECEIVED;
                return;
        }
}

int header_summarize(struct span text, size_t size_max, size_t fields_max,
                     struct header_summary *ret)
{
        struct header_scan s = HEADER_SCAN(text, size_max, fields_max);
        struct header_field field;
        int r;

        *ret = (struct header_summary) {.header = text};
        while ((r = next(&s, &field)) != 0 && r != -EMSGSIZE) {
                ret->fields++;
                if (r > 0)
                        note_field(ret, &field);
        }
        if (r == 0)
                ret->header.len = text.len - s.rest.len;
        return r;
}

struct span header_message_id(const struct header_summary *s)
{
        return take_message_id(s->values[HEADER_MESSAGE_ID]);
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
