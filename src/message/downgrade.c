#include "message/downgrade.h"

#include <errno.h>

#include "message/header.h"
#include "message/mime.h"
#include "message/transfer_decode.h"
#include "message/transfer_encoding.h"

enum {
        LINE_MAX = 998, /* RFC 5322 section 2.1.1 */
        TREE_MEMORY_MAX = 16 * 1024 * 1024,
};

struct job {
        struct span message;
        enum downgrade_target target;
        bool may_break_signature;
        bool is_changed;
        struct buffer *out;
};

static struct span slice(const struct job *j, uint64_t from, uint64_t to)
{
        return to > from ? span_first(span_skip(j->message, (size_t) from), (size_t) (to - from))
                         : span_make(NULL, 0);
}

/* ---- what has to be done ------------------------------------------------ */

static bool is_8bit(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] >= 0x80)
                        return true;
        return false;
}

/* Lines that end with CRLF, not too long, without NUL. */
static bool has_lines(struct span s)
{
        size_t len = 0;

        for (size_t i = 0; i < s.len; i++, len++) {
                const bool is_end = s.p[i] == '\r' && i + 1 < s.len && s.p[i + 1] == '\n';

                if (is_end) {
                        i++;
                        len = (size_t) -1;
                } else if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0' ||
                           len >= LINE_MAX) {
                        return false;
                }
        }
        return true;
}

static bool is_fit(const struct job *j, struct span s)
{
        return has_lines(s) && (j->target == DOWNGRADE_TO_8BIT || !is_8bit(s));
}

/* ---- writing ------------------------------------------------------------ */

static int put(struct job *j, struct span s)
{
        return buffer_append_span(j->out, s);
}

/* What stands between parts is nobody's to encode. */
static int put_as_it_is(struct job *j, struct span s)
{
        return is_fit(j, s) ? put(j, s) : -ENOTSUP;
}

/* The header of a part with this encoding instead of its own; NULL: as it is. */
static int put_header(struct job *j, const struct mime_part *p, const char *encoding)
{
        struct header_scan scan = HEADER_SCAN(slice(j, p->header_at, p->body_at), HEADER_SIZE_MAX,
                                              HEADER_FIELDS_MAX);
        bool has_version = false, has_type = false;
        struct header_field field;
        int r;

        if (!encoding)
                return put_as_it_is(j, slice(j, p->header_at, p->body_at));
        while ((r = header_next(&scan, &field)) == 1) {
                has_version |= span_equal_nocase(field.name, SPAN_LITERAL("MIME-Version"));
                has_type |= span_equal_nocase(field.name, SPAN_LITERAL("Content-Type"));
                if (span_equal_nocase(field.name, SPAN_LITERAL("Content-Transfer-Encoding")))
                        continue;
                r = put_as_it_is(j, field.raw);
                if (r < 0)
                        return r;
                if (!span_ends_with_nocase(field.raw, SPAN_LITERAL("\r\n")))
                        return -ENOTSUP; /* a header without a body */
        }
        if (r < 0)
                return -ENOTSUP; /* lines that are no fields: nobody knows what they mean */
        if (!p->parent && !has_version)
                r = put(j, SPAN_LITERAL("MIME-Version: 1.0\r\n"));
        if (r == 0 && !p->parent && !has_type) /* RFC 1428 section 3 */
                r = put(j, SPAN_LITERAL("Content-Type: text/plain; charset=unknown-8bit\r\n"));
        if (r == 0)
                r = buffer_printf(j->out, "Content-Transfer-Encoding: %s\r\n\r\n", encoding);
        return r;
}

/* A soft line break may bring a line about that starts like a delimiter. */
static bool holds_delimiter(const struct mime_part *p, struct span body)
{
        for (; p; p = p->parent) {
                for (size_t at = 0; p->boundary.len && at + 2 + p->boundary.len <= body.len; at++)
                        if (body.p[at] == '-' && body.p[at + 1] == '-' &&
                            span_equal(span_first(span_skip(body, at + 2), p->boundary.len),
                                       p->boundary))
                                return true;
        }
        return false;
}

static int put_encoded(struct job *j, const struct mime_part *p, struct span body)
{
        const bool is_text = span_equal(p->content_type.type, SPAN_LITERAL("text")) &&
                             has_lines(body) && !holds_delimiter(p->parent, body);
        const bool ends_line = span_ends_with_nocase(body, SPAN_LITERAL("\r\n"));
        int r = put_header(j, p, is_text ? "quoted-printable" : "base64");

        if (r == 0)
                r = is_text ? transfer_encode_quoted(body, j->out)
                            : transfer_encode_base64(body, j->out);
        /* The line end before a delimiter belongs to the delimiter. */
        if (r == 0 && p->parent && p->parent->kind == MIME_MULTIPART && body.len &&
            (!is_text || !ends_line))
                j->out->len -= 2;
        return r;
}

static bool is_under_signature(const struct mime_part *p)
{
        for (p = p->parent; p; p = p->parent)
                if (span_equal(p->content_type.value, SPAN_LITERAL("multipart/signed")))
                        return true;
        return false;
}

static int put_leaf(struct job *j, const struct mime_part *p)
{
        const struct span body = slice(j, p->body_at, p->body_end);
        struct buffer decoded = BUFFER_INIT(SIZE_MAX / 2);
        int r;

        if (is_fit(j, body)) {
                r = put_as_it_is(j, slice(j, p->header_at, p->body_at));
                return r < 0 ? r : put(j, body);
        }
        if (p->is_opaque || p->header_is_cut)
                return -ENOTSUP;
        if (is_under_signature(p) && !j->may_break_signature)
                return -EPERM;
        j->is_changed = true;
        r = transfer_decode(p->encoding, body, &decoded);
        if (r == 0)
                r = put_encoded(j, p, buffer_span(&decoded));
        buffer_done(&decoded);
        return r;
}

/* "8bit" and "binary" around parts say what may be within (RFC 2045 section
 * 6.4), and are made to say what is. */
static const char *outer_encoding(const struct job *j, const struct mime_part *p)
{
        if (j->target == DOWNGRADE_TO_7BIT && span_equal(p->encoding, SPAN_LITERAL("8bit")))
                return "7bit";
        if (span_equal(p->encoding, SPAN_LITERAL("binary")))
                return j->target == DOWNGRADE_TO_7BIT ? "7bit" : "8bit";
        return NULL;
}

/* The first part behind `p` in the order of the octets that `root` holds. */
static const struct mime_part *next_part(const struct mime_part *p)
{
        if (p->first_child)
                return p->first_child;
        while (p && !p->next)
                p = p->parent;
        return p ? p->next : NULL;
}

/* Parts come in the order in which they lie: what is between the end of one and
 * the next stays as it is. No recursion: nesting is the sender's. */
static int put_all(struct job *j, const struct mime_part *root)
{
        uint64_t at = 0;
        int r = 0;

        for (const struct mime_part *p = root; p && r == 0; p = next_part(p)) {
                r = put_as_it_is(j, slice(j, at, p->header_at));
                at = p->body_at;
                if (r < 0)
                        break;
                if (p->first_child) {
                        const char *encoding = outer_encoding(j, p);

                        j->is_changed |= encoding != NULL;
                        r = put_header(j, p, encoding);
                } else {
                        r = put_leaf(j, p);
                        at = p->body_end;
                }
        }
        return r < 0 ? r : put_as_it_is(j, slice(j, at, j->message.len));
}

/* RFC 6376 section 5.3: what is signed is not converted on its way. */
static bool is_signed(struct span message)
{
        struct header_field field;

        return header_find(message, SPAN_LITERAL("DKIM-Signature"), &field) ||
               header_find(message, SPAN_LITERAL("ARC-Message-Signature"), &field);
}

int downgrade(struct span message, enum downgrade_target target, bool may_break_signature,
              struct buffer *out)
{
        struct arena arena = ARENA_INIT(TREE_MEMORY_MAX);
        struct mime_parser *parser = mime_parser_new(&MIME_LIMITS, &arena);
        struct job j = {.message = message, .target = target, .out = out,
                        .may_break_signature = may_break_signature};
        const size_t len = out->len;
        int r = parser ? 0 : -ENOMEM;

        if (parser) {
                mime_parser_feed(parser, message);
                r = put_all(&j, mime_parser_end(parser));
        }
        if (r == 0 && j.is_changed && !may_break_signature && is_signed(message))
                r = -EPERM;
        if (r < 0)
                out->len = len;
        arena_done(&arena);
        return r;
}
