#include "message/mime.h"

#include <errno.h>

#include "message/header.h"

/* Reads line by line; only CRLF ends a line, as in header.h. Of a body line
 * only its first octets matter (is it a delimiter?), of a header line all of
 * them.
 *
 *   HEADER --empty line--> BODY --delimiter--> HEADER of the next part
 *                               --close-delimiter--> BODY of the multipart (epilogue)
 *
 * `current` is the innermost open part; its ancestors are open too. */

enum {
        BOUNDARY_MAX = 256, /* longer ones than the 70 of RFC 2046 section 5.1.1 are seen */
};

struct mime_parser {
        struct mime_limits limits;
        struct arena *arena;
        struct mime_part *root, *current;
        unsigned part_count;
        bool is_header;
        bool is_whole; /* all octets come at once, and stay */

        uint64_t at;            /* octets fed */
        uint64_t line_at;       /* where this line began */
        char line[MIME_DELIMITER_MAX];
        size_t line_len;        /* kept of it */
        uint64_t line_octets;   /* all of it so far */
        bool line_has_cr;       /* its last octet so far is CR */
        uint64_t last_line_end; /* octets of the line end before this line: 2, or 0 at the start */

        const char *header; /* of the current part */
        size_t header_len, header_room;
        size_t header_line_at; /* what was kept before this line */
};

static const struct span default_encoding = SPAN("7bit");

/* ---- parts ------------------------------------------------------------- */

static void set_default_type(struct mime_part *part)
{
        const struct mime_part *up = part->parent;
        const bool in_digest = up && up->kind == MIME_MULTIPART &&
                               span_equal(up->content_type.subtype, SPAN_LITERAL("digest"));

        /* RFC 2046 section 5.1.5 */
        part->content_type = (struct content_field) {
                .value = in_digest ? SPAN_LITERAL("message/rfc822") : SPAN_LITERAL("text/plain"),
                .type = in_digest ? SPAN_LITERAL("message") : SPAN_LITERAL("text"),
                .subtype = in_digest ? SPAN_LITERAL("rfc822") : SPAN_LITERAL("plain"),
        };
        part->encoding = default_encoding;
}

static struct mime_part *part_new(struct mime_parser *p, struct mime_part *parent, uint64_t at)
{
        struct mime_part *part = arena_alloc(p->arena, sizeof *part);

        if (!part)
                return NULL;
        p->part_count++;
        part->parent = parent;
        part->depth = parent ? parent->depth + 1 : 0;
        part->header_at = part->body_at = part->body_end = at;
        if (parent && parent->last_child)
                parent->last_child->next = part;
        else if (parent)
                parent->first_child = part;
        if (parent)
                parent->last_child = part;
        set_default_type(part);
        return part;
}

/* May `part` have a child? Else it stays a leaf. */
static bool may_nest(struct mime_parser *p, struct mime_part *part)
{
        if (part->depth < p->limits.depth_max && p->part_count < p->limits.parts_max)
                return true;
        part->is_opaque = true;
        return false;
}

static void start_header(struct mime_parser *p, struct mime_part *part)
{
        p->current = part;
        p->is_header = true;
        p->header_len = p->header_line_at = 0;
        p->header_room = 0;
        p->header = NULL;
}

/* A place for so many octets of the header, what is kept of it at its front. NULL: no memory. */
static char *header_place(struct mime_parser *p, size_t need)
{
        const size_t room = need < 1024 ? 1024 : need * 2;
        char *grown;

        if (need <= p->header_room)
                return (char *) p->header; /* this was ours */
        grown = arena_alloc(p->arena, room);
        if (grown && p->header_len)
                memcpy(grown, p->header, p->header_len);
        if (grown)
                p->header_room = room;
        return grown;
}

static void keep_header(struct mime_parser *p, struct span octets)
{
        char *place;

        if (p->current->header_is_cut)
                return;
        if (octets.len > p->limits.part_header_max - p->header_len) {
                octets.len = p->limits.part_header_max - p->header_len;
                p->current->header_is_cut = true;
        }
        if (p->is_whole) {
                p->header = p->header_len ? p->header : octets.p;
                p->header_len += octets.len;
                return;
        }
        place = header_place(p, p->header_len + octets.len);
        if (!place) {
                p->current->header_is_cut = true;
                return;
        }
        if (octets.len)
                memcpy(place + p->header_len, octets.p, octets.len);
        p->header = place;
        p->header_len += octets.len;
}

static bool is_message_type(const struct content_field *f)
{
        return span_equal(f->value, SPAN_LITERAL("message/rfc822")) ||
               span_equal(f->value, SPAN_LITERAL("message/global"));
}

static bool is_identity(struct span encoding)
{
        return span_equal(encoding, SPAN_LITERAL("7bit")) ||
               span_equal(encoding, SPAN_LITERAL("8bit")) ||
               span_equal(encoding, SPAN_LITERAL("binary"));
}

static void set_type(struct mime_part *part, struct span value, struct arena *arena)
{
        struct content_field f;

        if (value.p && content_field_parse(value, arena, &f) == 0 && f.subtype.len)
                part->content_type = f;
}

static void set_encoding(struct mime_part *part, struct span value, struct arena *arena)
{
        struct content_field f;

        if (value.p && content_field_parse(value, arena, &f) == 0)
                part->encoding = f.value;
}

/* Of each the first that is there counts. */
static void read_content_fields(struct mime_parser *p, struct mime_part *part)
{
        struct header_scan scan = HEADER_SCAN(part->header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        struct span type = {NULL, 0}, encoding = {NULL, 0};
        struct header_field field;
        int r;

        while ((r = header_next_of(&scan, 'c', &field)) != 0 && r != -EMSGSIZE) {
                if (r < 0)
                        continue;
                if (!type.p && header_is(&field, HEADER_CONTENT_TYPE))
                        type = field.value;
                else if (!encoding.p && header_is(&field, HEADER_CONTENT_TRANSFER_ENCODING))
                        encoding = field.value;
        }
        set_type(part, type, p->arena);
        set_encoding(part, encoding, p->arena);
}

/* What is this part, whose header was read? */
static void begin_content(struct mime_parser *p, struct mime_part *part)
{
        struct span boundary = {NULL, 0};
        struct mime_part *child;

        content_field_parameter(&part->content_type, SPAN_LITERAL("boundary"), &boundary);
        /* A multipart or message that is itself encoded (RFC 2046 section 5 forbids
         * it) is not looked into: its text here is not its content. */
        if (!is_identity(part->encoding))
                return;
        if (span_equal(part->content_type.type, SPAN_LITERAL("multipart")) && boundary.len &&
            boundary.len <= BOUNDARY_MAX && may_nest(p, part)) {
                part->kind = MIME_MULTIPART;
                part->boundary = boundary;
        } else if (is_message_type(&part->content_type) && may_nest(p, part)) {
                child = part_new(p, part, part->body_at);
                if (!child)
                        return;
                part->kind = MIME_MESSAGE;
                start_header(p, child);
        }
}

static void take_header(struct mime_parser *p, struct span header, uint64_t body_at)
{
        p->is_header = false;
        p->current->header = header;
        p->current->body_at = p->current->body_end = body_at;
}

/* The header is whole. */
static void end_header(struct mime_parser *p, uint64_t body_at)
{
        struct mime_part *part = p->current;

        take_header(p, span_make(p->header, p->header_len), body_at);
        read_content_fields(p, part);
        begin_content(p, part);
}

/* ---- delimiters -------------------------------------------------------- */

enum mime_delimiter mime_delimiter(struct span line, struct span boundary)
{
        enum mime_delimiter found = MIME_DELIMITER;

        if (line.len < 2 + boundary.len || memcmp(line.p, "--", 2) != 0 ||
            !span_equal(span_first(span_skip(line, 2), boundary.len), boundary))
                return MIME_NO_DELIMITER;
        line = span_skip(line, 2 + boundary.len);
        if (line.len >= 2 && memcmp(line.p, "--", 2) == 0) {
                found = MIME_CLOSE_DELIMITER;
                line = span_skip(line, 2);
        }
        return span_trim(line).len == 0 ? found : MIME_NO_DELIMITER;
}

/* The innermost open multipart whose delimiter this line is. */
static struct mime_part *find_delimited(struct mime_parser *p, struct span line,
                                        enum mime_delimiter *ret)
{
        for (struct mime_part *part = p->current; part; part = part->parent) {
                if (part->kind != MIME_MULTIPART || part->is_closed)
                        continue;
                *ret = mime_delimiter(line, part->boundary);
                if (*ret != MIME_NO_DELIMITER)
                        return part;
        }
        return NULL;
}

/* Ends every open part below `outer` at the line end before this line. */
static void close_inner(struct mime_parser *p, struct mime_part *outer)
{
        uint64_t end = p->line_at - p->last_line_end;

        if (p->is_header) {
                p->header_len = p->header_line_at; /* without the delimiter */
                end_header(p, p->line_at);
        }
        if (p->is_header) /* that was a message, whose own header is empty */
                end_header(p, p->line_at);
        for (struct mime_part *part = p->current; part != outer; part = part->parent) {
                part->body_end = end > part->body_at ? end : part->body_at;
                if (part->body_lines && end >= part->body_at)
                        part->body_lines--; /* that line end is the delimiter's */
        }
        p->current = outer;
}

static void count_line(struct mime_parser *p)
{
        for (struct mime_part *part = p->current; part; part = part->parent) {
                part->body_lines++;
                part->body_end = p->at;
        }
}

/* True when the line was a delimiter. */
static bool take_delimiter(struct mime_parser *p)
{
        enum mime_delimiter found;
        struct mime_part *multipart, *child;

        if (p->line_octets > MIME_DELIMITER_MAX || p->line_len < 2 || p->line[0] != '-')
                return false;
        multipart = find_delimited(p, span_make(p->line, p->line_len), &found);
        if (!multipart)
                return false;
        close_inner(p, multipart);
        count_line(p);
        if (found == MIME_CLOSE_DELIMITER) {
                multipart->is_closed = true;
                return true;
        }
        if (p->part_count >= p->limits.parts_max) {
                multipart->is_opaque = true;
                return true;
        }
        child = part_new(p, multipart, p->at);
        if (child)
                start_header(p, child);
        else
                multipart->is_opaque = true;
        return true;
}

/* ---- lines ------------------------------------------------------------- */

static bool is_line_end(struct span s, size_t at)
{
        return at >= 2 && s.p[at - 1] == '\n' && s.p[at - 2] == '\r';
}

static bool line_is_empty(const struct mime_parser *p)
{
        return p->line_octets == 2; /* CRLF alone */
}

/* The header's lines are counted for every part around it. */
static void count_outer_line(struct mime_parser *p)
{
        struct mime_part *inner = p->current;

        p->current = inner->parent;
        count_line(p);
        p->current = inner;
}

static void end_line(struct mime_parser *p)
{
        if (take_delimiter(p)) {
                /* all done */
        } else if (p->is_header && line_is_empty(p)) {
                count_outer_line(p);
                end_header(p, p->at);
        } else if (p->is_header) {
                count_outer_line(p);
        } else {
                count_line(p);
        }
        p->last_line_end = 2;
        p->line_at = p->at;
        p->line_len = 0;
        p->line_octets = 0;
        p->line_has_cr = false;
        p->header_line_at = p->header_len;
}

/* A part of a line, its LF with it where it has come. */
static void take_piece(struct mime_parser *p, struct span piece)
{
        const struct span kept = span_first(piece, MIME_DELIMITER_MAX - p->line_len);
        const bool has_lf = piece.p[piece.len - 1] == '\n';
        const size_t text = piece.len - has_lf;

        if (kept.len)
                memcpy(p->line + p->line_len, kept.p, kept.len);
        p->line_len += kept.len;
        p->line_octets += piece.len;
        p->at += piece.len;
        if (text)
                p->line_has_cr = piece.p[text - 1] == '\r';
        if (has_lf && p->line_has_cr)
                end_line(p);
        else if (has_lf)
                p->line_has_cr = false;
}

static bool is_header_end(const struct mime_parser *p, struct span piece)
{
        const size_t len = p->line_len + piece.len;

        return piece.p[piece.len - 1] == '\n' && len == 2 &&
               (p->line_len ? p->line[0] : piece.p[0]) == '\r';
}

static void feed_piece(struct mime_parser *p, struct span *octets)
{
        const size_t end = span_find(*octets, '\n');
        const struct span piece = span_first(*octets, end == SIZE_MAX ? octets->len : end + 1);

        if (p->is_header && is_header_end(p, piece))
                p->header_len = p->header_line_at;
        else if (p->is_header)
                keep_header(p, piece);
        take_piece(p, piece);
        *octets = span_skip(*octets, piece.len);
}

/* Octets of whole lines of a header at the start, before one that might be a delimiter. */
static size_t header_lines_len(struct span octets)
{
        size_t len = 0;

        while (len < octets.len && octets.p[len] != '-' && octets.p[len] != '\r') {
                const size_t n = header_line_len(span_make(octets.p + len, octets.len - len));

                if (!is_line_end(octets, len + n))
                        break; /* its end has not come */
                len += n;
        }
        return len;
}

/* ---- lines that only count --------------------------------------------- */

static bool has_open_multipart(const struct mime_parser *p)
{
        const struct mime_part *part = p->current;

        while (part && (part->kind != MIME_MULTIPART || part->is_closed))
                part = part->parent;
        return part != NULL;
}

/* Octets of whole lines at the start that are no delimiters, none of them looked at where
 * no multipart is open. */
static size_t plain_len(const struct mime_parser *p, struct span octets)
{
        size_t len = octets.len, at = 0;
        const char *found;

        if (has_open_multipart(p)) {
                while (at < len && (found = memchr(octets.p + at, '-', len - at))) {
                        at = (size_t) (found - octets.p);
                        if (at == 0 || is_line_end(octets, at))
                                len = at;
                        at++;
                }
        }
        while (len && !is_line_end(octets, len)) {
                found = memrchr(octets.p, '\n', len - 1);
                len = found ? (size_t) (found - octets.p) + 1 : 0;
        }
        return len;
}

enum { BLOCK = 64, RUN = 127 * BLOCK }; /* two are counted in an octet for each block */

typedef unsigned char half __attribute__((vector_size(BLOCK / 2)));

/* All octets of `counts` together. */
static inline __attribute__((always_inline)) uint64_t sum(const half *counts)
{
        uint64_t words[sizeof(half) / 8], all = 0;

        memcpy(words, counts, sizeof words);
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
                const uint64_t low = words[i] & UINT64_C(0x00ff00ff00ff00ff);
                const uint64_t high = words[i] >> 8 & UINT64_C(0x00ff00ff00ff00ff);

                all += (low + high) * UINT64_C(0x0001000100010001) >> 48;
        }
        return all;
}

static inline __attribute__((always_inline)) void count_ends(const char *p, half *counts)
{
        half here, before;

        memcpy(&here, p, sizeof here);
        memcpy(&before, p - 1, sizeof before);
        *counts -= (half) ((here == '\n') & (before == '\r')); /* which is 255: one more */
}

/* LFs behind CRs in whole blocks, from the second octet on; `*ret_at` is behind them. Its
 * callers differ in the registers that it may use. */
static inline __attribute__((always_inline)) uint64_t count_blocks(struct span s, size_t *ret_at)
{
        uint64_t count = 0;
        size_t at = 1;

        while (s.len >= at + BLOCK) {
                const size_t end = s.len - at < RUN ? s.len : at + RUN;
                half counts = {0};

                for (; end >= at + BLOCK; at += BLOCK) {
                        count_ends(s.p + at, &counts);
                        count_ends(s.p + at + sizeof counts, &counts);
                }
                count += sum(&counts);
        }
        *ret_at = at;
        return count;
}

#ifdef __SSE2__
__attribute__((target("avx2"))) static uint64_t count_blocks_wide(struct span s, size_t *ret_at)
{
        return count_blocks(s, ret_at);
}

static uint64_t count_in_blocks(struct span s, size_t *ret_at)
{
        return __builtin_cpu_supports("avx2") ? count_blocks_wide(s, ret_at)
                                              : count_blocks(s, ret_at);
}
#else
static uint64_t count_in_blocks(struct span s, size_t *ret_at)
{
        return count_blocks(s, ret_at);
}
#endif

static uint64_t count_line_ends(struct span s)
{
        size_t at;
        uint64_t count = count_in_blocks(s, &at);

        for (; at < s.len; at++)
                count += is_line_end(s, at + 1);
        return count;
}

/* At the start of a line: takes all lines at once that have no meaning, or none but that
 * they belong to a header. */
static void take_plain_lines(struct mime_parser *p, struct span *octets)
{
        const size_t len = p->is_header ? header_lines_len(*octets) : plain_len(p, *octets);
        struct mime_part *part = p->is_header ? p->current->parent : p->current;
        const struct span taken = span_first(*octets, len);
        uint64_t lines;

        if (len == 0)
                return;
        p->at += len;
        if (p->is_header) {
                keep_header(p, taken);
                p->header_line_at = p->header_len;
        }
        lines = part ? count_line_ends(taken) : 0;
        for (; part; part = part->parent) {
                part->body_lines += lines;
                part->body_end = p->at;
        }
        p->last_line_end = 2;
        p->line_at = p->at;
        *octets = span_skip(*octets, len);
}

void mime_parser_feed(struct mime_parser *p, struct span octets)
{
        while (octets.len) {
                if (p->line_octets == 0) {
                        take_plain_lines(p, &octets);
                        if (octets.len == 0)
                                return;
                }
                feed_piece(p, &octets);
        }
}

struct mime_part *mime_parser_end(struct mime_parser *p)
{
        if (p->line_octets) { /* a last line without its end */
                if (!take_delimiter(p) && !p->is_header)
                        for (struct mime_part *part = p->current; part; part = part->parent)
                                part->body_end = p->at;
        }
        if (p->is_header)
                end_header(p, p->at);
        for (struct mime_part *part = p->current; part; part = part->parent)
                part->body_end = p->at;
        return p->root;
}

struct mime_parser *mime_parser_new(const struct mime_limits *limits, struct arena *arena)
{
        struct mime_parser *p = arena_alloc(arena, sizeof *p);

        if (!p)
                return NULL;
        p->limits = *limits;
        p->arena = arena;
        p->root = part_new(p, NULL, 0);
        if (!p->root)
                return NULL;
        start_header(p, p->root);
        return p;
}

/* Octets of the header of a message, with the empty line, of which `header` tells what the
 * parser would find there, too; 0: it does not. */
static size_t known_header_len(const struct mime_parser *p, struct span message,
                               const struct header_summary *header)
{
        const size_t len = header ? (size_t) (header->header.p + header->header.len - message.p)
                                  : message.len;

        return len < message.len && len <= p->limits.part_header_max ? len + 2 : 0;
}

struct mime_part *mime_parse(const struct mime_limits *limits, struct span message,
                             const struct header_summary *header, struct arena *arena)
{
        struct mime_parser *p = mime_parser_new(limits, arena);
        size_t len;

        if (!p)
                return NULL;
        p->is_whole = true;
        len = known_header_len(p, message, header);
        if (len) {
                set_type(p->root, header->values[HEADER_CONTENT_TYPE], arena);
                set_encoding(p->root, header->values[HEADER_CONTENT_TRANSFER_ENCODING], arena);
                take_header(p, span_first(message, len - 2), len);
                begin_content(p, p->root);
                p->at = p->line_at = len;
                p->last_line_end = 2;
        }
        mime_parser_feed(p, span_skip(message, len));
        return mime_parser_end(p);
}

static struct mime_part *nth_child(struct mime_part *part, unsigned n)
{
        struct mime_part *child = part->first_child;

        while (child && --n)
                child = child->next;
        return child;
}

struct mime_part *mime_part_by_number(struct mime_part *root, const unsigned *numbers,
                                      size_t number_count)
{
        struct mime_part *part = root;

        for (size_t i = 0; i < number_count && part; i++) {
                if (numbers[i] == 0)
                        return NULL;
                if (i && part->kind == MIME_MESSAGE)
                        part = part->first_child;
                if (part->kind == MIME_MULTIPART)
                        part = nth_child(part, numbers[i]);
                else if (numbers[i] != 1)
                        return NULL; /* what is no multipart has only part 1: itself */
        }
        return part;
}
