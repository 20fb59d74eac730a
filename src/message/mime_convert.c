#include "message/mime_convert.h"

#include <errno.h>
#include <stdlib.h>

#include "base/arena.h"
#include "message/content_field.h"
#include "message/header.h"
#include "message/mime.h"
#include "message/transfer_encoding.h"

/* Line by line, as mime.c reads:
 *
 *   HEADER --empty line--> BODY --delimiter--> HEADER of the next part
 *
 * A line end is held back until the next line is no delimiter, to which it
 * would belong. A line is held back only while it may still be a delimiter. */

enum {
        DEPTH_MAX = 50,
        LINE_MAX = MIME_DELIMITER_MAX,
        BOUNDARY_MAX = 256,
        BASE64_OCTETS = 57,
        ARENA_MAX = 2 * HEADER_SIZE_MAX,
};

/* What stands around the part: a multipart or a message. */
struct level {
        char boundary[BOUNDARY_MAX]; /* of a multipart; a message has none */
        size_t boundary_len;
        bool is_closed, is_digest, is_signed;
};

struct mime_convert {
        bool may_have_nul;
        struct level levels[DEPTH_MAX];
        size_t depth;
        bool is_header, is_root; /* of the message itself */
        bool has_empty_line;     /* behind the header: what follows is a body */
        bool is_base64;          /* the current part becomes it; else it is passed on */
        struct buffer header;
        struct arena arena;      /* of one header */
        char line[LINE_MAX];
        size_t line_len;         /* held back of it */
        uint64_t line_octets;    /* all of it so far */
        bool is_candidate;       /* it may be a delimiter */
        bool has_cr;             /* held back: an LF may follow */
        bool has_line_end;       /* held back: a delimiter may follow */
        char carry[BASE64_OCTETS];
        size_t carry_len;
        unsigned converted;
        bool has_dkim, breaks_signature;
        int error;
};

struct mime_convert *mime_convert_new(bool may_have_nul)
{
        struct mime_convert *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->may_have_nul = may_have_nul;
        c->is_header = c->is_root = true;
        c->header = BUFFER_INIT(HEADER_SIZE_MAX);
        c->arena = ARENA_INIT(ARENA_MAX);
        return c;
}

struct mime_convert *mime_convert_free(struct mime_convert *c)
{
        if (!c)
                return NULL;
        buffer_done(&c->header);
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

/* Text between line ends that may be sent as it is. */
static bool is_line(const struct mime_convert *c, struct span text)
{
        if (text.len == 0)
                return true;
        return !memchr(text.p, '\r', text.len) && !memchr(text.p, '\n', text.len) &&
               (c->may_have_nul || !memchr(text.p, '\0', text.len));
}

/* Octets of the current part: a line end, or what stands between two. */
static int put(struct mime_convert *c, struct span octets, bool is_line_end, struct buffer *out)
{
        if (octets.len == 0)
                return 0;
        if (c->is_header)
                return is_line_end || is_line(c, octets) ? buffer_append_span(&c->header, octets)
                                                         : -EBADMSG;
        if (c->is_base64)
                return put_base64(c, octets, out);
        return is_line_end || is_line(c, octets) ? buffer_append_span(out, octets) : -EBADMSG;
}

/* The part is over. */
static int finish(struct mime_convert *c, struct buffer *out)
{
        const size_t len = c->carry_len;

        c->carry_len = 0;
        return transfer_encode_base64(span_make(c->carry, len), out);
}

/* ---- headers ----------------------------------------------------------- */

struct part {
        struct content_field type;
        struct span encoding;
        bool has_type, has_encoding;
};

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
                if (c->is_root && is_named(&field, "DKIM-Signature"))
                        c->has_dkim = true;
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

/* Writes the header and its empty line, with that encoding where one is given. */
static int put_header(struct mime_convert *c, struct span encoding, struct buffer *out)
{
        struct header_scan scan = HEADER_SCAN(buffer_span(&c->header), SIZE_MAX, SIZE_MAX);
        struct header_field field;
        bool has_version = false, has_encoding = false;
        int r = 0, more;

        if (!c->has_empty_line) /* there is no body that anything could be said about */
                encoding.len = 0;
        if (encoding.len == 0)
                r = buffer_append_span(out, buffer_span(&c->header));
        while (encoding.len && r == 0 && (more = header_next(&scan, &field)) != 0) {
                has_version |= more > 0 && is_named(&field, "MIME-Version");
                if (more < 0 || !is_named(&field, "Content-Transfer-Encoding"))
                        r = buffer_append_span(out, field.raw);
                else if (!has_encoding)
                        r = buffer_printf(out, "%.*s: %.*s\r\n", (int) field.name.len,
                                          field.name.p, (int) encoding.len, encoding.p);
                has_encoding |= more > 0 && is_named(&field, "Content-Transfer-Encoding");
        }
        if (r == 0 && encoding.len && c->is_root && !has_version)
                r = buffer_append_string(out, "MIME-Version: 1.0\r\n");
        buffer_clear(&c->header);
        return r == 0 && c->has_empty_line ? buffer_append_string(out, "\r\n") : r;
}

static int begin_base64(struct mime_convert *c, struct buffer *out)
{
        c->is_base64 = true;
        c->converted += c->has_empty_line;
        c->breaks_signature |= c->has_dkim;
        for (size_t i = 0; i < c->depth; i++)
                c->breaks_signature |= c->levels[i].is_signed && !c->levels[i].is_closed;
        return put_header(c, SPAN_LITERAL("base64"), out);
}

/* A multipart or message around others: its own octets are lines, and it must
 * not claim more than what it holds now (RFC 2045 section 6.4). */
static int begin_level(struct mime_convert *c, const struct part *part, struct span boundary,
                       struct buffer *out)
{
        struct level *level = &c->levels[c->depth];
        struct span encoding = {NULL, 0};
        int r;

        if (span_equal(part->encoding, SPAN_LITERAL("binary")))
                encoding = SPAN_LITERAL("8bit");
        *level = (struct level) {
                .boundary_len = boundary.len,
                .is_digest = span_equal(part->type.subtype, SPAN_LITERAL("digest")),
                .is_signed = span_equal(part->type.subtype, SPAN_LITERAL("signed")),
        };
        if (boundary.len)
                memcpy(level->boundary, boundary.p, boundary.len);
        r = put_header(c, encoding, out);
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
        struct part part;
        bool is_multipart, is_message;

        arena_clear(&c->arena);
        read_header(c, &part);
        c->is_header = false;
        is_multipart = span_equal(part.type.type, SPAN_LITERAL("multipart"));
        is_message = span_equal(part.type.value, SPAN_LITERAL("message/rfc822")) ||
                     span_equal(part.type.value, SPAN_LITERAL("message/global"));
        content_field_parameter(&part.type, SPAN_LITERAL("boundary"), &boundary);
        if (is_message)
                boundary.len = 0;
        if ((is_message || (is_multipart && boundary.len && boundary.len <= BOUNDARY_MAX)) &&
            c->depth < DEPTH_MAX && is_identity(part.encoding))
                return begin_level(c, &part, boundary, out);
        if (!span_equal(part.encoding, SPAN_LITERAL("binary")))
                return put_header(c, (struct span) {NULL, 0}, out);
        /* Of what has parts, nothing may be encoded but they. */
        return is_message || is_multipart ? -EBADMSG : begin_base64(c, out);
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
        const bool was_header = c->is_header;
        /* Of base64 the last line has its end already. */
        const bool owes_end = c->has_line_end && !was_header && !c->is_base64;
        int r = is_line(c, span_make(c->line, c->line_len)) ? end_headers(c, out) : -EBADMSG;

        if (r == 0)
                r = finish(c, out);
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
                r = finish(c, out);
        c->has_cr = false;
        return c->error = r;
}
