#include "message/mime_convert.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arena.h"
#include "message/content_field.h"
#include "message/header.h"
#include "message/mime.h"
#include "message/transfer_decode.h"
#include "message/transfer_encoding.h"

/* Line by line, as mime.c reads:
 *
 *   HEADER --empty line--> BODY --delimiter--> HEADER of the next part
 *
 * A line end is held back until the next line is no delimiter, to which it
 * would belong. A line is held back only while it may still be a delimiter.
 *
 * What becomes of a part that has none within it is known
 *
 *   MIME_CONVERT_TO_LINES  by its header: the body streams through
 *   the others             by its octets: header and body are kept to its end
 *
 * What stands between parts is nobody's to encode: it is fit, or an error. */

enum {
        DEPTH_MAX = 50,
        LINE_MAX = MIME_DELIMITER_MAX,
        BOUNDARY_MAX = 256,
        BASE64_OCTETS = 57,
        TEXT_LINE_MAX = 998, /* RFC 5322 section 2.1.1 */
        KEPT_MAX = 64 * 1024 * 1024,
        ARENA_MAX = 2 * HEADER_SIZE_MAX,
};

/* What stands around the part: a multipart or a message. */
struct level {
        char boundary[BOUNDARY_MAX]; /* of a multipart; a message has none */
        size_t boundary_len;
        bool is_closed, is_digest, is_signed;
};

/* What its header says of a part. */
struct part {
        struct content_field type;
        struct span encoding;
        bool has_type, has_encoding;
        bool is_composite; /* it has or should have others within */
};

struct mime_convert {
        enum mime_convert_to to;
        bool may_have_nul;
        struct level levels[DEPTH_MAX];
        size_t depth;
        bool is_header, is_root; /* of the message itself */
        bool has_empty_line;     /* behind the header: what follows is a body */
        bool is_base64;          /* the current part becomes it; else it is passed on */
        bool is_kept;            /* or stands in `part`, `header` and `body` */
        struct part part;
        struct buffer body;
        struct buffer header;
        struct arena arena;      /* of one part */
        char line[LINE_MAX];
        size_t line_len;         /* held back of it */
        uint64_t line_octets;    /* all of it so far */
        bool is_candidate;       /* it may be a delimiter */
        bool has_cr;             /* held back: an LF may follow */
        bool has_line_end;       /* held back: a delimiter may follow */
        char carry[BASE64_OCTETS];
        size_t carry_len;
        unsigned converted;
        bool is_signed, breaks_signature; /* as a whole; and is so no more */
        int error;
};

struct mime_convert *mime_convert_new(enum mime_convert_to to, bool may_have_nul)
{
        struct mime_convert *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->to = to;
        c->may_have_nul = may_have_nul;
        c->is_header = c->is_root = true;
        c->header = BUFFER_INIT(HEADER_SIZE_MAX);
        c->body = BUFFER_INIT(KEPT_MAX);
        c->arena = ARENA_INIT(ARENA_MAX);
        return c;
}

struct mime_convert *mime_convert_free(struct mime_convert *c)
{
        if (!c)
                return NULL;
        buffer_done(&c->header);
        buffer_done(&c->body);
        arena_done(&c->arena);
        free(c);
        return NULL;
}

unsigned mime_convert_parts(const struct mime_convert *c)
{
        return c->converted;
}

bool mime_convert_breaks_signature(const struct mime_convert *c)
{
        return c->breaks_signature;
}

/* ---- what is fit ------------------------------------------------------- */

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
                           len >= TEXT_LINE_MAX) {
                        return false;
                }
        }
        return true;
}

static bool is_fit(const struct mime_convert *c, struct span s)
{
        return has_lines(s) && (c->to == MIME_CONVERT_TO_8BIT || !is_8bit(s));
}

/* Text between line ends that is passed on: 0, or the error that it is. */
static int check_line(const struct mime_convert *c, struct span text)
{
        const bool is_line = text.len == 0 || (!memchr(text.p, '\r', text.len) &&
                                               !memchr(text.p, '\n', text.len));

        if (c->to != MIME_CONVERT_TO_LINES)
                return is_fit(c, text) && c->line_octets <= TEXT_LINE_MAX ? 0 : -ENOTSUP;
        if (!is_line || (text.len && !c->may_have_nul && memchr(text.p, '\0', text.len)))
                return -EBADMSG;
        return 0;
}

/* ---- the octets of a part ---------------------------------------------- */

static int put_base64(struct mime_convert *c, struct span octets, struct buffer *out)
{
        size_t whole;
        int r = 0;

        if (c->carry_len) {
                const struct span first = span_first(octets, BASE64_OCTETS - c->carry_len);

                memcpy(c->carry + c->carry_len, first.p, first.len);
                c->carry_len += first.len;
                octets = span_skip(octets, first.len);
                if (c->carry_len < BASE64_OCTETS)
                        return 0;
                r = transfer_encode_base64(span_make(c->carry, BASE64_OCTETS), out);
                c->carry_len = 0;
        }
        whole = octets.len - octets.len % BASE64_OCTETS;
        if (r == 0)
                r = transfer_encode_base64(span_first(octets, whole), out);
        octets = span_skip(octets, whole);
        if (octets.len)
                memcpy(c->carry, octets.p, octets.len);
        c->carry_len = octets.len;
        return r;
}

/* Octets of the current part: a line end, or what stands between two. */
static int put(struct mime_convert *c, struct span octets, bool is_line_end, struct buffer *out)
{
        int r;

        if (octets.len == 0)
                return 0;
        if (c->is_kept && !c->is_header)
                return buffer_append_span(&c->body, octets);
        if (c->is_base64 && !c->is_header)
                return put_base64(c, octets, out);
        r = is_line_end ? 0 : check_line(c, octets);
        return r < 0 ? r : buffer_append_span(c->is_header ? &c->header : out, octets);
}

/* ---- headers ----------------------------------------------------------- */

static bool is_named(const struct header_field *f, const char *name)
{
        return span_equal_nocase(f->name, span_from_string(name));
}

/* Reads as read_content_fields() of mime.c: the first of each counts. */
static void read_header(struct mime_convert *c, struct part *part)
{
        struct header_scan scan = HEADER_SCAN(buffer_span(&c->header), SIZE_MAX, SIZE_MAX);
        const bool in_digest = c->depth && c->levels[c->depth - 1].is_digest;
        struct header_field field;
        struct content_field f;
        int r;

        *part = (struct part) {.encoding = SPAN("7bit")};
        part->type.value = in_digest ? SPAN_LITERAL("message/rfc822") : SPAN_LITERAL("text/plain");
        part->type.type = in_digest ? SPAN_LITERAL("message") : SPAN_LITERAL("text");
        while ((r = header_next(&scan, &field)) != 0 && r != -EMSGSIZE) {
                if (r < 0)
                        continue;
                if (c->is_root && (is_named(&field, "DKIM-Signature") ||
                                   is_named(&field, "ARC-Message-Signature")))
                        c->is_signed = true;
                if (!part->has_type && is_named(&field, "Content-Type")) {
                        part->has_type = true;
                        if (content_field_parse(field.value, &c->arena, &f) == 0 && f.subtype.len)
                                part->type = f;
                }
                if (!part->has_encoding && is_named(&field, "Content-Transfer-Encoding")) {
                        part->has_encoding = true;
                        if (content_field_parse(field.value, &c->arena, &f) == 0)
                                part->encoding = f.value;
                }
        }
}

/* The part is not what it was any more. */
static void break_signatures(struct mime_convert *c)
{
        c->breaks_signature |= c->is_signed;
        for (size_t i = 0; i < c->depth; i++)
                c->breaks_signature |= c->levels[i].is_signed && !c->levels[i].is_closed;
}

/* The fields, with that encoding in the place of theirs, or behind them. */
static int put_fields(struct mime_convert *c, struct span encoding, struct buffer *out)
{
        struct header_scan scan = HEADER_SCAN(buffer_span(&c->header), SIZE_MAX, SIZE_MAX);
        struct header_field field;
        bool has_version = false, has_encoding = false;
        int r = 0, more;

        while (r == 0 && (more = header_next(&scan, &field)) != 0) {
                has_version |= more > 0 && is_named(&field, "MIME-Version");
                if (more < 0 || !is_named(&field, "Content-Transfer-Encoding"))
                        r = buffer_append_span(out, field.raw);
                else if (!has_encoding)
                        r = buffer_printf(out, "%.*s: %.*s\r\n", (int) field.name.len,
                                          field.name.p, (int) encoding.len, encoding.p);
                has_encoding |= more > 0 && is_named(&field, "Content-Transfer-Encoding");
        }
        if (r == 0 && c->is_root && !has_version)
                r = buffer_append_string(out, "MIME-Version: 1.0\r\n");
        if (r == 0 && c->is_root && !c->part.has_type) /* RFC 1428 section 3 */
                r = buffer_append_string(out, "Content-Type: text/plain; "
                                              "charset=unknown-8bit\r\n");
        if (r == 0 && !has_encoding)
                r = buffer_printf(out, "Content-Transfer-Encoding: %.*s\r\n",
                                  (int) encoding.len, encoding.p);
        return r;
}

/* Writes the header and its empty line, with that encoding where one is given. */
static int put_header(struct mime_convert *c, struct span encoding, struct buffer *out)
{
        int r = 0;

        if (c->to != MIME_CONVERT_TO_LINES && !is_fit(c, buffer_span(&c->header)))
                return -ENOTSUP;
        if (!c->has_empty_line) /* there is no body that anything could be said about */
                encoding.len = 0;
        if (encoding.len) {
                break_signatures(c);
                r = put_fields(c, encoding, out);
        } else {
                r = buffer_append_span(out, buffer_span(&c->header));
        }
        buffer_clear(&c->header);
        return r == 0 && c->has_empty_line ? buffer_append_string(out, "\r\n") : r;
}

static int begin_base64(struct mime_convert *c, struct buffer *out)
{
        c->is_base64 = true;
        c->converted += c->has_empty_line;
        return put_header(c, SPAN_LITERAL("base64"), out);
}

/* What may be said of a multipart or message: it must not claim more than what
 * it holds now (RFC 2045 section 6.4). Empty: as it is. */
static struct span outer_encoding(const struct mime_convert *c)
{
        const bool is_binary = span_equal(c->part.encoding, SPAN_LITERAL("binary"));

        if (c->to == MIME_CONVERT_TO_7BIT &&
            (is_binary || span_equal(c->part.encoding, SPAN_LITERAL("8bit"))))
                return SPAN_LITERAL("7bit");
        return is_binary ? SPAN_LITERAL("8bit") : span_make(NULL, 0);
}

/* A multipart or message around others: its own octets are lines. */
static int begin_level(struct mime_convert *c, struct span boundary, struct buffer *out)
{
        struct level *level = &c->levels[c->depth];
        int r;

        *level = (struct level) {
                .boundary_len = boundary.len,
                .is_digest = span_equal(c->part.type.subtype, SPAN_LITERAL("digest")),
                .is_signed = span_equal(c->part.type.subtype, SPAN_LITERAL("signed")),
        };
        if (boundary.len)
                memcpy(level->boundary, boundary.p, boundary.len);
        r = put_header(c, outer_encoding(c), out);
        c->depth++;
        c->is_root = false;
        c->is_header = boundary.len == 0;
        return r;
}

static bool is_identity(struct span encoding)
{
        return span_equal(encoding, SPAN_LITERAL("7bit")) ||
               span_equal(encoding, SPAN_LITERAL("8bit")) ||
               span_equal(encoding, SPAN_LITERAL("binary"));
}

/* The header is whole. */
static int end_header(struct mime_convert *c, struct buffer *out)
{
        struct span boundary = {NULL, 0};
        struct part *part = &c->part;
        bool is_multipart, is_message;

        arena_clear(&c->arena);
        read_header(c, part);
        c->is_header = false;
        is_multipart = span_equal(part->type.type, SPAN_LITERAL("multipart"));
        is_message = span_equal(part->type.value, SPAN_LITERAL("message/rfc822")) ||
                     span_equal(part->type.value, SPAN_LITERAL("message/global"));
        part->is_composite = is_multipart || is_message;
        content_field_parameter(&part->type, SPAN_LITERAL("boundary"), &boundary);
        if (is_message)
                boundary.len = 0;
        if ((is_message || (is_multipart && boundary.len && boundary.len <= BOUNDARY_MAX)) &&
            c->depth < DEPTH_MAX && is_identity(part->encoding))
                return begin_level(c, boundary, out);
        c->is_kept = c->to != MIME_CONVERT_TO_LINES;
        if (c->is_kept)
                return 0;
        if (!span_equal(part->encoding, SPAN_LITERAL("binary")))
                return put_header(c, (struct span) {NULL, 0}, out);
        /* Of what has parts, nothing may be encoded but they. */
        return part->is_composite ? -EBADMSG : begin_base64(c, out);
}

/* ---- the end of a part ------------------------------------------------- */

/* Encoding may bring lines about that look like a delimiter. */
static bool holds_delimiter(const struct mime_convert *c, struct span text)
{
        for (size_t i = 0; i < c->depth; i++) {
                const struct level *l = &c->levels[i];

                for (size_t at = 0; l->boundary_len && at + 2 + l->boundary_len <= text.len; at++)
                        if (text.p[at] == '-' && text.p[at + 1] == '-' &&
                            memcmp(text.p + at + 2, l->boundary, l->boundary_len) == 0)
                                return true;
        }
        return false;
}

/* `octets` as text, where they can be; else `quoted` stays empty. */
static int quote(const struct mime_convert *c, struct span octets, struct buffer *quoted)
{
        int r;

        if (!span_equal(c->part.type.type, SPAN_LITERAL("text")) || !has_lines(octets))
                return 0;
        r = transfer_encode_quoted(octets, quoted);
        if (r == 0 && holds_delimiter(c, buffer_span(quoted)))
                buffer_clear(quoted);
        return r;
}

/* The kept part in another encoding. `*owes_end` as in finish(). */
static int put_encoded(struct mime_convert *c, bool *owes_end, struct buffer *out)
{
        struct buffer octets = BUFFER_INIT(KEPT_MAX), quoted = BUFFER_INIT(3ULL * KEPT_MAX);
        int r = transfer_decode(c->part.encoding, buffer_span(&c->body), &octets);

        if (r == 0)
                r = quote(c, buffer_span(&octets), &quoted);
        if (r == 0)
                r = put_header(c, quoted.len ? SPAN_LITERAL("quoted-printable")
                                             : SPAN_LITERAL("base64"), out);
        if (r == 0)
                r = quoted.len ? buffer_append_span(out, buffer_span(&quoted))
                               : transfer_encode_base64(buffer_span(&octets), out);
        c->converted++;
        /* What was added at the end of the last line stands for the delimiter's. */
        *owes_end &= quoted.len && span_ends_with_nocase(buffer_span(&octets),
                                                         SPAN_LITERAL("\r\n"));
        buffer_done(&octets);
        buffer_done(&quoted);
        return r;
}

static int put_kept(struct mime_convert *c, bool *owes_end, struct buffer *out)
{
        int r;

        if (!is_fit(c, buffer_span(&c->body)))
                return c->part.is_composite ? -ENOTSUP : put_encoded(c, owes_end, out);
        r = put_header(c, (struct span) {NULL, 0}, out);
        return r < 0 ? r : buffer_append_span(out, buffer_span(&c->body));
}

/* The part is over. `*owes_end`: a delimiter follows, and the line end before it
 * has yet to be written; false where what was written brought it. */
static int finish(struct mime_convert *c, bool *owes_end, struct buffer *out)
{
        const size_t len = c->carry_len;
        int r;

        if (c->is_kept) {
                r = put_kept(c, owes_end, out);
                c->is_kept = false;
                buffer_clear(&c->body);
                return r;
        }
        *owes_end &= !c->is_base64;
        c->carry_len = 0;
        return transfer_encode_base64(span_make(c->carry, len), out);
}

/* ---- lines ------------------------------------------------------------- */

/* The innermost open multipart whose delimiter the line is; else SIZE_MAX. */
static size_t find_delimited(const struct mime_convert *c, enum mime_delimiter *ret)
{
        const struct span line = span_make(c->line, c->line_len);

        for (size_t i = c->depth; i-- > 0;) {
                const struct level *l = &c->levels[i];

                if (l->boundary_len == 0 || l->is_closed)
                        continue;
                *ret = mime_delimiter(line, span_make(l->boundary, l->boundary_len));
                if (*ret != MIME_NO_DELIMITER)
                        return i;
        }
        return SIZE_MAX;
}

/* Headers that a delimiter or the end cut off. */
static int end_headers(struct mime_convert *c, struct buffer *out)
{
        int r = 0;

        if (c->is_header)
                c->has_empty_line = false;
        while (r == 0 && c->is_header)
                r = end_header(c, out);
        return r;
}

/* The line is the delimiter of that level: what stood inside is over. */
static int take_delimiter(struct mime_convert *c, size_t at, enum mime_delimiter found,
                          bool has_end, struct buffer *out)
{
        bool owes_end = c->has_line_end && !c->is_header;
        int r = check_line(c, span_make(c->line, c->line_len));

        if (r == 0)
                r = end_headers(c, out);
        if (r == 0)
                r = finish(c, &owes_end, out);
        if (r == 0 && owes_end)
                r = buffer_append_string(out, "\r\n");
        if (r == 0)
                r = buffer_append(out, c->line, c->line_len);
        if (r == 0 && has_end)
                r = buffer_append_string(out, "\r\n");
        c->depth = at + 1;
        c->is_base64 = false;
        c->has_line_end = false;
        c->is_header = found == MIME_DELIMITER;
        c->is_root = false;
        c->levels[at].is_closed = found == MIME_CLOSE_DELIMITER;
        return r;
}

static int put_line_end(struct mime_convert *c, struct buffer *out)
{
        if (!c->has_line_end)
                return 0;
        c->has_line_end = false;
        return put(c, SPAN_LITERAL("\r\n"), true, out);
}

/* It is no delimiter: what was held back goes to the part. */
static int release(struct mime_convert *c, struct buffer *out)
{
        int r = put_line_end(c, out);

        if (r == 0)
                r = put(c, span_make(c->line, c->line_len), false, out);
        c->line_len = 0;
        c->is_candidate = false;
        return r;
}

/* Octets of a line, its end not among them. */
static int put_line(struct mime_convert *c, struct span octets, struct buffer *out)
{
        int r;

        if (c->line_octets == 0)
                c->is_candidate = octets.p[0] == '-';
        c->line_octets += octets.len;
        if (c->is_candidate && c->line_octets <= LINE_MAX - 2) {
                memcpy(c->line + c->line_len, octets.p, octets.len);
                c->line_len += octets.len;
                return 0;
        }
        r = release(c, out);
        return r == 0 ? put(c, octets, false, out) : r;
}

static int end_line(struct mime_convert *c, struct buffer *out)
{
        enum mime_delimiter found;
        const size_t at = c->is_candidate ? find_delimited(c, &found) : SIZE_MAX;
        int r;

        if (at != SIZE_MAX) {
                r = take_delimiter(c, at, found, true, out);
        } else if (c->is_header && c->line_octets == 0) {
                c->has_empty_line = true;
                r = end_header(c, out);
        } else {
                r = release(c, out);
                if (c->is_header && r == 0)
                        r = put(c, SPAN_LITERAL("\r\n"), true, out);
                else
                        c->has_line_end = true;
        }
        c->line_len = 0;
        c->line_octets = 0;
        c->is_candidate = false;
        return r;
}

static int take_piece(struct mime_convert *c, struct span piece, struct buffer *out)
{
        const bool has_lf = piece.p[piece.len - 1] == '\n';
        struct span text = span_first(piece, piece.len - has_lf);
        int r = 0;

        if (c->has_cr && text.len) {
                c->has_cr = false;
                r = put_line(c, SPAN_LITERAL("\r"), out);
        }
        if (text.len && text.p[text.len - 1] == '\r') {
                c->has_cr = true;
                text.len--;
        }
        if (r == 0 && text.len)
                r = put_line(c, text, out);
        if (r < 0 || !has_lf)
                return r;
        if (!c->has_cr)
                return put_line(c, SPAN_LITERAL("\n"), out);
        c->has_cr = false;
        return end_line(c, out);
}

int mime_convert_feed(struct mime_convert *c, struct span octets, struct buffer *out)
{
        while (octets.len && c->error == 0) {
                const size_t end = span_find(octets, '\n');
                const size_t len = end == SIZE_MAX ? octets.len : end + 1;
                const struct span piece = span_first(octets, len);

                c->error = take_piece(c, piece, out);
                octets = span_skip(octets, piece.len);
        }
        return c->error;
}

int mime_convert_end(struct mime_convert *c, struct buffer *out)
{
        enum mime_delimiter found;
        bool owes_end = false;
        size_t at;
        int r = c->error;

        if (r == 0 && c->has_cr)
                r = put_line(c, SPAN_LITERAL("\r"), out);
        at = r == 0 && c->is_candidate ? find_delimited(c, &found) : SIZE_MAX;
        if (at != SIZE_MAX)
                r = take_delimiter(c, at, found, false, out);
        else if (r == 0)
                r = release(c, out);
        if (r == 0)
                r = end_headers(c, out);
        if (r == 0)
                r = finish(c, &owes_end, out);
        c->has_cr = false;
        return c->error = r;
}
