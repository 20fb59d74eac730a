#include "message/digest.h"

#include <errno.h>
#include <stdint.h>

#include "base/utf8.h"
#include "message/address_list.h"
#include "message/encoded_word.h"
#include "message/header.h"
#include "message/mime.h"
#include "message/search_text.h"

static const char magic[] = {'H', 'y', 'D', '1'};

enum { SECTIONS = 4, HEAD = sizeof magic + SECTIONS * 4 };

/* The first error stays: what is made of it is thrown away. */
struct writer {
        struct buffer *out;
        struct arena *arena;
        struct span message;
        int result;
};

static void put(struct writer *w, struct span text)
{
        if (w->result == 0 && text.len)
                w->result = buffer_append_span(w->out, text);
}

static void put_text(struct writer *w, const char *text)
{
        put(w, span_from_string(text));
}

static void put_number(struct writer *w, uint64_t n)
{
        if (w->result == 0)
                w->result = buffer_printf(w->out, "%llu", (unsigned long long) n);
}

/* ---- strings ----------------------------------------------------------------- */

static bool is_quotable(struct span s)
{
        if (s.len > 1000)
                return false;
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] < 32 || (unsigned char) s.p[i] > 126)
                        return false;
        return true;
}

static void put_string(struct writer *w, struct span s)
{
        if (!is_quotable(s)) {
                put_text(w, "{");
                put_number(w, s.len);
                put_text(w, "}\r\n");
                put(w, s);
                return;
        }
        put_text(w, "\"");
        while (s.len) {
                size_t n = 0;

                while (n < s.len && s.p[n] != '"' && s.p[n] != '\\')
                        n++;
                put(w, span_first(s, n));
                if (n < s.len) {
                        put_text(w, "\\");
                        put(w, span_make(s.p + n, 1));
                        n++;
                }
                s = span_skip(s, n);
        }
        put_text(w, "\"");
}

static void put_nstring(struct writer *w, struct span s)
{
        if (s.p)
                put_string(w, s);
        else
                put_text(w, "NIL");
}

/* The value of a field, unfolded; NUL and bare line ends, which a string cannot
 * hold, are blanks then. p NULL: there is no such field. */
static struct span field_of(struct writer *w, struct span header, struct span name)
{
        struct header_field field;
        struct span text;
        char *out;
        size_t len = 0;

        if (!header_find(header, name, &field))
                return (struct span) {NULL, 0};
        text = span_trim(field.value);
        out = arena_alloc(w->arena, text.len + 1);
        if (!out) {
                w->result = -ENOMEM;
                return (struct span) {NULL, 0};
        }
        for (size_t i = 0; i < text.len; i++) {
                const char c = text.p[i];

                if (c == '\r' && i + 1 < text.len && text.p[i + 1] == '\n')
                        i++;
                else
                        out[len++] = c == '\0' || c == '\r' || c == '\n' ? ' ' : c;
        }
        return span_make(out, len);
}

static void put_field(struct writer *w, struct span header, struct span name)
{
        put_nstring(w, field_of(w, header, name));
}

/* ---- ENVELOPE ---------------------------------------------------------------- */

static void put_address(struct writer *w, const struct address_entry *e)
{
        put_text(w, "(");
        if (e->kind == ADDRESS_MAILBOX) {
                put_nstring(w, e->name);
                put_text(w, " NIL ");
                put_string(w, e->local);
                put_text(w, " ");
                /* An address without a domain would read as a group. */
                put_string(w, e->domain.p ? e->domain : SPAN_LITERAL(""));
        } else {
                put_text(w, "NIL NIL ");
                put_nstring(w, e->name);
                put_text(w, " NIL");
        }
        put_text(w, ")");
}

/* Of all fields of that name, as some have two. False: no address. */
static bool put_addresses(struct writer *w, struct span header, struct span name)
{
        struct header_scan scan = HEADER_SCAN(header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        struct header_field field;
        bool has_any = false;
        int r;

        while (w->result == 0 && ((r = header_next(&scan, &field)) == 1 || r == -EBADMSG)) {
                struct address_entry *entries;
                size_t count;

                if (r != 1 || !span_equal_nocase(field.name, name))
                        continue;
                w->result = address_list_parse(field.value, w->arena, &entries, &count);
                for (size_t i = 0; w->result == 0 && i < count; i++) {
                        put_text(w, has_any ? "" : "(");
                        has_any = true;
                        put_address(w, &entries[i]);
                }
        }
        if (has_any)
                put_text(w, ")");
        return has_any;
}

static void put_address_field(struct writer *w, struct span header, struct span name,
                              struct span instead)
{
        put_text(w, " ");
        if (put_addresses(w, header, name) || (instead.p && put_addresses(w, header, instead)))
                return;
        put_text(w, "NIL");
}

static void put_envelope(struct writer *w, struct span header)
{
        const struct span from = SPAN_LITERAL("From"), none = {NULL, 0};

        put_text(w, "(");
        put_field(w, header, SPAN_LITERAL("Date"));
        put_text(w, " ");
        put_field(w, header, SPAN_LITERAL("Subject"));
        put_address_field(w, header, from, none);
        put_address_field(w, header, SPAN_LITERAL("Sender"), from);
        put_address_field(w, header, SPAN_LITERAL("Reply-To"), from);
        put_address_field(w, header, SPAN_LITERAL("To"), none);
        put_address_field(w, header, SPAN_LITERAL("Cc"), none);
        put_address_field(w, header, SPAN_LITERAL("Bcc"), none);
        put_text(w, " ");
        put_field(w, header, SPAN_LITERAL("In-Reply-To"));
        put_text(w, " ");
        put_field(w, header, SPAN_LITERAL("Message-ID"));
        put_text(w, ")");
}

int digest_envelope(struct span header, struct arena *arena, struct buffer *out)
{
        struct writer w = {.out = out, .arena = arena};

        put_envelope(&w, header);
        return w.result;
}

/* ---- BODYSTRUCTURE ----------------------------------------------------------- */

static void put_parameters(struct writer *w, const struct content_field *f)
{
        if (f->parameter_count == 0) {
                put_text(w, "NIL");
                return;
        }
        for (size_t i = 0; i < f->parameter_count; i++) {
                put_text(w, i ? " " : "(");
                put_string(w, f->parameters[i].name);
                put_text(w, " ");
                put_string(w, f->parameters[i].value);
        }
        put_text(w, ")");
}

static void put_disposition(struct writer *w, const struct mime_part *part)
{
        struct header_field field;
        struct content_field f;

        if (!header_find(part->header, SPAN_LITERAL("Content-Disposition"), &field)
            || content_field_parse(field.value, w->arena, &f) < 0) {
                put_text(w, "NIL");
                return;
        }
        put_text(w, "(");
        put_string(w, f.value);
        put_text(w, " ");
        put_parameters(w, &f);
        put_text(w, ")");
}

/* "en, ja": a list where there are several. */
static void put_language(struct writer *w, const struct mime_part *part)
{
        const struct span value = field_of(w, part->header, SPAN_LITERAL("Content-Language"));
        struct span rest = value, word;
        const char *gap = "(";

        if (!value.p || span_find(value, ',') == SIZE_MAX) {
                put_nstring(w, value);
                return;
        }
        while (span_split(&rest, ',', &word)) {
                word = span_trim(word);
                if (word.len == 0)
                        continue;
                put_text(w, gap);
                put_string(w, word);
                gap = " ";
        }
        put_text(w, *gap == '(' ? "NIL" : ")");
}

static void put_extension(struct writer *w, const struct mime_part *part)
{
        put_text(w, " ");
        put_disposition(w, part);
        put_text(w, " ");
        put_language(w, part);
        put_text(w, " ");
        put_field(w, part->header, SPAN_LITERAL("Content-Location"));
}

static void put_part(struct writer *w, const struct mime_part *part, bool with_extension);

static void put_multipart(struct writer *w, const struct mime_part *part, bool with_extension)
{
        for (const struct mime_part *child = part->first_child; child; child = child->next)
                put_part(w, child, with_extension);
        if (!part->first_child) /* a multipart has at least one (RFC 9051 section 9) */
                put_text(w, "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)");
        put_text(w, " ");
        put_string(w, part->content_type.subtype);
        if (with_extension) {
                put_text(w, " ");
                put_parameters(w, &part->content_type);
                put_extension(w, part);
        }
}

static struct span header_within(const struct writer *w, const struct mime_part *part)
{
        const uint64_t from = part->header_at, to = part->body_at;

        if (from > to || to > w->message.len)
                return (struct span) {NULL, 0};
        return span_make(w->message.p + from, (size_t) (to - from));
}

static void put_leaf(struct writer *w, const struct mime_part *part, bool with_extension)
{
        const bool is_message = part->kind == MIME_MESSAGE && part->first_child;
        const bool is_text = span_equal(part->content_type.type, SPAN_LITERAL("text"));
        /* What was not looked into must not claim to have parts. */
        const bool is_hidden = !is_message
                && (span_equal(part->content_type.type, SPAN_LITERAL("multipart"))
                    || span_equal(part->content_type.value, SPAN_LITERAL("message/rfc822"))
                    || span_equal(part->content_type.value, SPAN_LITERAL("message/global")));

        put_string(w, is_hidden ? SPAN_LITERAL("application") : part->content_type.type);
        put_text(w, " ");
        put_string(w, is_hidden ? SPAN_LITERAL("octet-stream") : part->content_type.subtype);
        put_text(w, " ");
        put_parameters(w, &part->content_type);
        put_text(w, " ");
        put_field(w, part->header, SPAN_LITERAL("Content-ID"));
        put_text(w, " ");
        put_field(w, part->header, SPAN_LITERAL("Content-Description"));
        put_text(w, " ");
        put_string(w, part->encoding);
        put_text(w, " ");
        put_number(w, part->body_end - part->body_at);
        if (is_message) {
                put_text(w, " ");
                put_envelope(w, header_within(w, part->first_child));
                put_text(w, " ");
                put_part(w, part->first_child, with_extension);
        }
        if (is_message || is_text) {
                put_text(w, " ");
                put_number(w, part->body_lines);
        }
        if (with_extension) {
                put_text(w, " ");
                put_field(w, part->header, SPAN_LITERAL("Content-MD5"));
                put_extension(w, part);
        }
}

/* As deep as the parser's limit, DIGEST_DEPTH_MAX. */
static void put_part(struct writer *w, const struct mime_part *part, bool with_extension)
{
        put_text(w, "(");
        if (part->kind == MIME_MULTIPART)
                put_multipart(w, part, with_extension);
        else
                put_leaf(w, part, with_extension);
        put_text(w, ")");
}

/* ---- the whole --------------------------------------------------------------- */

static void put_le32(char *out, uint32_t n)
{
        for (unsigned i = 0; i < 4; i++)
                out[i] = (char) (n >> (8 * i));
}

static uint32_t get_le32(const char *in)
{
        uint32_t n = 0;

        for (unsigned i = 0; i < 4; i++)
                n |= (uint32_t) (unsigned char) in[i] << (8 * i);
        return n;
}

int digest_build(struct span message, struct arena *arena, struct buffer *out)
{
        const size_t at = out->len;
        struct mime_limits limits = MIME_LIMITS;
        struct writer w = {.out = out, .arena = arena, .message = message};
        uint32_t lengths[SECTIONS];
        char head[HEAD] = {0};
        struct mime_parser *p;
        struct mime_part *root;
        size_t from;
        int r;

        limits.depth_max = DIGEST_DEPTH_MAX;
        p = mime_parser_new(&limits, arena);
        if (!p)
                return -ENOMEM;
        mime_parser_feed(p, message);
        root = mime_parser_end(p);
        put(&w, span_make(head, HEAD));
        for (unsigned i = 0; i < SECTIONS; i++) {
                from = out->len;
                if (i == 0)
                        put_envelope(&w, header_within(&w, root));
                else if (i < 3)
                        put_part(&w, root, i == 2);
                else if (w.result == 0) {
                        r = search_text_preview(message, root, DIGEST_PREVIEW_MAX, out);
                        if (r < 0 && r != -ENOENT)
                                w.result = r;
                }
                lengths[i] = (uint32_t) (out->len - from);
                if (i == 3 && lengths[i] == 0)
                        lengths[i] = UINT32_MAX;
        }
        if (w.result < 0) {
                out->len = at;
                return w.result;
        }
        memcpy(head, magic, sizeof magic);
        for (unsigned i = 0; i < SECTIONS; i++)
                put_le32(head + sizeof magic + (size_t) 4 * i, lengths[i]);
        memcpy(out->data + out->start + at, head, HEAD);
        return 0;
}

int digest_open(struct span octets, struct digest *ret)
{
        struct span *const sections[SECTIONS] = {&ret->envelope, &ret->body, &ret->bodystructure,
                                                 &ret->preview};
        struct span rest;

        if (octets.len < HEAD || memcmp(octets.p, magic, sizeof magic) != 0)
                return -EBADMSG;
        rest = span_skip(octets, HEAD);
        for (unsigned i = 0; i < SECTIONS; i++) {
                const uint32_t len = get_le32(octets.p + sizeof magic + (size_t) 4 * i);

                if (i == 3 && len == UINT32_MAX) {
                        *sections[i] = (struct span) {NULL, 0};
                        continue;
                }
                if (len > rest.len)
                        return -EBADMSG;
                *sections[i] = span_first(rest, len);
                rest = span_skip(rest, len);
        }
        return rest.len ? -EBADMSG : 0;
}
