#include <errno.h>

#include "base/octets.h"
#include "message/address_list.h"
#include "message/digest_format.h"
#include "message/encoded_word.h"
#include "message/header.h"
#include "message/mime.h"
#include "message/search_text.h"

enum {
        HEAD_MAX = DIGEST_HEAD + SECTIONS * DIGEST_LENGTH_MAX,
        RUNS_FIRST = 16, /* parts whose extension data is noted without memory of its own */
};

_Static_assert((int) HEADER_DATE == (int) DIGEST_DATE &&
               (int) HEADER_MESSAGE_ID == (int) DIGEST_MESSAGE_ID, "one order");

/* Where extension data lies in the structure: lengths as they are stored, two a part. */
struct runs {
        size_t first[2 * RUNS_FIRST];
        size_t *items;
        size_t count, room, end; /* end of the last one */
};

/* The first error stays: what is made of it is thrown away. */
struct writer {
        struct buffer *out;
        struct arena *arena;
        struct span message;
        struct header_summary top;
        const struct mime_part *root;
        size_t structure_at;
        struct runs runs;
        int result;
};

static inline void put(struct writer *w, struct span text)
{
        if (text.len && w->result == 0)
                w->result = buffer_append_span(w->out, text);
}

/* Its length is known where it is written: a blank costs two stores. */
#define PUT(w, literal) put((w), SPAN_LITERAL(literal))

static void put_number(struct writer *w, uint64_t n)
{
        char digits[20];
        size_t at = sizeof digits;

        do
                digits[--at] = (char) ('0' + n % 10);
        while (n /= 10);
        put(w, span_make(digits + at, sizeof digits - at));
}

static void collect(struct span header, struct header_summary *ret)
{
        (void) header_summarize(header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX, ret);
}

/* ---- strings ----------------------------------------------------------------- */

enum { QUOTED_MAX = 1000 }; /* octets of a string in quotes */

static octets16 not_printable(octets16 x)
{
        return ~octets_between(x, ' ', '~');
}

static bool is_quotable(struct span s)
{
        return s.len <= QUOTED_MAX && octets_until(s, not_printable) == s.len;
}

static octets16 not_plain(octets16 x)
{
        return not_printable(x) | octets_equal(x, '"') | octets_equal(x, '\\');
}

/* Whether it stands in quotes as it is, as nearly every string does. */
static bool is_plain(struct span s)
{
        return s.len <= QUOTED_MAX && octets_until(s, not_plain) == s.len;
}

/* A place for so many octets, which are to be written; or NULL. */
static char *take_place(struct writer *w, size_t len)
{
        char *to = NULL;

        if (w->result == 0)
                w->result = buffer_reserve(w->out, len, &to);
        if (w->result < 0)
                return NULL;
        buffer_commit(w->out, len);
        return to;
}

static char *quote(char *to, struct span s)
{
        *to++ = '"';
        if (s.len)
                memcpy(to, s.p, s.len);
        to[s.len] = '"';
        return to + s.len + 1;
}

static void put_plain(struct writer *w, struct span s)
{
        char *to = take_place(w, s.len + 2);

        if (to)
                quote(to, s);
}

/* A literal holds none (RFC 9051 section 9, CHAR8): blanks instead. */
static void put_without_nul(struct writer *w, struct span s)
{
        size_t n;

        while ((n = span_find(s, '\0')) != SIZE_MAX) {
                put(w, span_first(s, n));
                PUT(w, " ");
                s = span_skip(s, n + 1);
        }
        put(w, s);
}

static void put_string(struct writer *w, struct span s)
{
        if (is_plain(s)) {
                put_plain(w, s);
                return;
        }
        if (!is_quotable(s)) {
                PUT(w, "{");
                put_number(w, s.len);
                PUT(w, "}\r\n");
                put_without_nul(w, s);
                return;
        }
        PUT(w, "\"");
        while (s.len) {
                size_t n = 0;

                while (n < s.len && s.p[n] != '"' && s.p[n] != '\\')
                        n++;
                put(w, span_first(s, n));
                if (n < s.len) {
                        PUT(w, "\\");
                        put(w, span_make(s.p + n, 1));
                        n++;
                }
                s = span_skip(s, n);
        }
        PUT(w, "\"");
}

static void put_nstring(struct writer *w, struct span s)
{
        if (s.p)
                put_string(w, s);
        else
                PUT(w, "NIL");
}

/* A value, unfolded; NUL and bare line ends, which a string cannot hold, are
 * blanks then. p NULL stays so. */
static struct span unfold(struct writer *w, struct span value)
{
        struct span text = span_trim(value);
        char *out;
        size_t len = 0;

        if (!value.p || (!memchr(text.p, '\r', text.len) && !memchr(text.p, '\n', text.len) &&
                         !memchr(text.p, '\0', text.len)))
                return text;
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

static void put_field(struct writer *w, const struct header_summary *f, enum header_name name)
{
        const struct span value = f->values[name], text = span_trim(value);

        if (!value.p)
                PUT(w, "NIL");
        else if (is_plain(text))
                put_plain(w, text);
        else
                put_nstring(w, unfold(w, value));
}

/* ---- ENVELOPE ---------------------------------------------------------------- */

/* `(NIL NIL "local" "domain")`, or with a name. */
static void put_plain_address(struct writer *w, const struct address_entry *e, struct span domain)
{
        const size_t name_len = e->name.p ? e->name.len + 2 : 3;
        char *to = take_place(w, 1 + name_len + 5 + e->local.len + 3 + domain.len + 3);

        if (!to)
                return;
        *to++ = '(';
        if (e->name.p)
                quote(to, e->name);
        else
                memcpy(to, "NIL", 3);
        to += name_len;
        memcpy(to, " NIL ", 5);
        to = quote(to + 5, e->local);
        *to++ = ' ';
        to = quote(to, domain);
        *to = ')';
}

static void put_address(struct writer *w, const struct address_entry *e)
{
        /* An address without a domain would read as a group. */
        const struct span domain = e->domain.p ? e->domain : SPAN_LITERAL("");

        if (e->kind != ADDRESS_MAILBOX) {
                PUT(w, "(NIL NIL ");
                put_nstring(w, e->name);
                PUT(w, " NIL)");
                return;
        }
        if (is_plain(e->name) && is_plain(e->local) && is_plain(domain)) {
                put_plain_address(w, e, domain);
                return;
        }
        PUT(w, "(");
        put_nstring(w, e->name);
        PUT(w, " NIL ");
        put_string(w, e->local);
        PUT(w, " ");
        put_string(w, domain);
        PUT(w, ")");
}

/* Whether a text, decoded or not, is what digest_text() makes of the address. */
static bool is_plain_list(struct span text, const struct address_entry *e, size_t count)
{
        struct span words[6];
        size_t len = 0;

        if (count != 1 || e->kind != ADDRESS_MAILBOX || !e->domain.p)
                return false;
        digest_plain_address(e->name, e->local, e->domain, words);
        for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
                len += words[i].len;
        for (unsigned i = 0; len == text.len && i < sizeof words / sizeof words[0]; i++) {
                if (!span_equal(span_first(text, words[i].len), words[i]))
                        return false;
                text = span_skip(text, words[i].len);
                len -= words[i].len;
        }
        return len == text.len;
}

static void put_list(struct writer *w, struct span value, bool *has_any, bool *ret_is_plain)
{
        struct address_entry *entries;
        size_t count;

        w->result = address_list_parse(value, w->arena, &entries, &count);
        if (w->result < 0)
                return;
        for (size_t i = 0; i < count; i++) {
                if (!*has_any)
                        PUT(w, "(");
                *has_any = true;
                put_address(w, &entries[i]);
        }
        *ret_is_plain = is_plain_list(span_trim(value), entries, count);
}

/* Of all fields of that name, as some have two. `*ret_is_plain`: digest_text() can tell
 * their text from what was put. False: nothing was put, there is no address. */
static bool put_addresses(struct writer *w, const struct header_summary *f, enum header_name which,
                          bool *ret_is_plain)
{
        struct header_scan scan = HEADER_SCAN(f->header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        const bool has_several = header_has_several(f, which);
        struct header_field field;
        bool has_any = false;
        int r;

        *ret_is_plain = false;
        if (!has_several && f->values[which].p && w->result == 0)
                put_list(w, f->values[which], &has_any, ret_is_plain);
        while (has_several && w->result == 0 &&
               ((r = header_next(&scan, &field)) == 1 || r == -EBADMSG)) {
                if (r == 1 && header_is(&field, which))
                        put_list(w, field.value, &has_any, ret_is_plain);
        }
        *ret_is_plain = *ret_is_plain && !has_several;
        if (has_any)
                PUT(w, ")");
        return has_any;
}

static bool is_address(enum header_name which)
{
        return which >= HEADER_FROM && which <= HEADER_BCC;
}

/* That of a message within the message. */
static void put_envelope(struct writer *w, const struct header_summary *f)
{
        bool is_plain_address;

        for (unsigned i = 0; i < DIGEST_FIELDS; i++) {
                const bool is_as_from = i == HEADER_SENDER || i == HEADER_REPLY_TO;

                put(w, i ? SPAN_LITERAL(" ") : SPAN_LITERAL("("));
                if (!is_address(i))
                        put_field(w, f, i);
                else if (!put_addresses(w, f, i, &is_plain_address) &&
                         (!is_as_from || !put_addresses(w, f, HEADER_FROM, &is_plain_address)))
                        PUT(w, "NIL");
        }
        PUT(w, ")");
}

/* ---- BODYSTRUCTURE ----------------------------------------------------------- */

static void put_parameters(struct writer *w, const struct content_field *f)
{
        if (f->parameter_count == 0) {
                PUT(w, "NIL");
                return;
        }
        for (size_t i = 0; i < f->parameter_count; i++) {
                put(w, i ? SPAN_LITERAL(" ") : SPAN_LITERAL("("));
                put_string(w, f->parameters[i].name);
                PUT(w, " ");
                put_string(w, f->parameters[i].value);
        }
        PUT(w, ")");
}

static void put_disposition(struct writer *w, struct span value)
{
        struct content_field f;

        if (!value.p || content_field_parse(value, w->arena, &f) < 0) {
                PUT(w, "NIL");
                return;
        }
        PUT(w, "(");
        put_string(w, f.value);
        PUT(w, " ");
        put_parameters(w, &f);
        PUT(w, ")");
}

/* "en, ja": a list where there are several. */
static void put_language(struct writer *w, struct span value)
{
        struct span rest = value, word;
        struct span gap = SPAN("(");

        if (!value.p || span_find(value, ',') == SIZE_MAX) {
                put_nstring(w, value);
                return;
        }
        while (span_split(&rest, ',', &word)) {
                word = span_trim(word);
                if (word.len == 0)
                        continue;
                put(w, gap);
                put_string(w, word);
                gap = SPAN_LITERAL(" ");
        }
        put(w, *gap.p == '(' ? SPAN_LITERAL("NIL") : SPAN_LITERAL(")"));
}

static void note_run(struct writer *w, size_t begin)
{
        struct runs *runs = &w->runs;
        const size_t end = w->out->len - w->structure_at;
        size_t *grown;

        if (!runs->items) {
                runs->items = runs->first;
                runs->room = 2 * RUNS_FIRST;
        }
        if (runs->count == runs->room) {
                grown = arena_alloc(w->arena, 2 * runs->room * sizeof *grown);
                if (!grown) {
                        w->result = -ENOMEM;
                        return;
                }
                memcpy(grown, runs->items, runs->count * sizeof *grown);
                runs->items = grown;
                runs->room *= 2;
        }
        runs->items[runs->count++] = begin - runs->end;
        runs->items[runs->count++] = end - begin;
        runs->end = end;
}

static size_t begin_run(const struct writer *w)
{
        return w->out->len - w->structure_at;
}

/* The end of the extension data of every part. */
static void put_extension(struct writer *w, const struct header_summary *f, size_t begin)
{
        PUT(w, " ");
        put_disposition(w, f->values[HEADER_CONTENT_DISPOSITION]);
        PUT(w, " ");
        put_language(w, unfold(w, f->values[HEADER_CONTENT_LANGUAGE]));
        PUT(w, " ");
        put_field(w, f, HEADER_CONTENT_LOCATION);
        if (w->result == 0)
                note_run(w, begin);
}

static void put_part(struct writer *w, const struct mime_part *part);

static void put_multipart(struct writer *w, const struct mime_part *part,
                          const struct header_summary *f)
{
        size_t begin;

        for (const struct mime_part *child = part->first_child; child; child = child->next)
                put_part(w, child);
        if (!part->first_child) /* a multipart has at least one (RFC 9051 section 9) */
                PUT(w, "(\"text\" \"plain\" NIL NIL NIL \"7bit\" 0 0)");
        PUT(w, " ");
        put_string(w, part->content_type.subtype);
        begin = begin_run(w);
        PUT(w, " ");
        put_parameters(w, &part->content_type);
        put_extension(w, f, begin);
}

static struct span header_within(const struct writer *w, const struct mime_part *part)
{
        const uint64_t from = part->header_at, to = part->body_at;

        if (from > to || to > w->message.len)
                return (struct span) {NULL, 0};
        return span_make(w->message.p + from, (size_t) (to - from));
}

static void put_message(struct writer *w, const struct mime_part *message)
{
        struct header_summary inner;

        collect(header_within(w, message), &inner);
        PUT(w, " ");
        put_envelope(w, &inner);
        PUT(w, " ");
        put_part(w, message);
}

static void put_leaf(struct writer *w, const struct mime_part *part, const struct header_summary *f)
{
        const bool is_message = part->kind == MIME_MESSAGE && part->first_child;
        const bool is_text = span_equal(part->content_type.type, SPAN_LITERAL("text"));
        /* What was not looked into must not claim to have parts. */
        const bool is_hidden = !is_message
                && (span_equal(part->content_type.type, SPAN_LITERAL("multipart"))
                    || span_equal(part->content_type.value, SPAN_LITERAL("message/rfc822"))
                    || span_equal(part->content_type.value, SPAN_LITERAL("message/global")));
        size_t begin;

        put_string(w, is_hidden ? SPAN_LITERAL("application") : part->content_type.type);
        PUT(w, " ");
        put_string(w, is_hidden ? SPAN_LITERAL("octet-stream") : part->content_type.subtype);
        PUT(w, " ");
        put_parameters(w, &part->content_type);
        PUT(w, " ");
        put_field(w, f, HEADER_CONTENT_ID);
        PUT(w, " ");
        put_field(w, f, HEADER_CONTENT_DESCRIPTION);
        PUT(w, " ");
        put_string(w, part->encoding);
        PUT(w, " ");
        put_number(w, part->body_end - part->body_at);
        if (is_message)
                put_message(w, part->first_child);
        if (is_message || is_text) {
                PUT(w, " ");
                put_number(w, part->body_lines);
        }
        begin = begin_run(w);
        PUT(w, " ");
        put_field(w, f, HEADER_CONTENT_MD5);
        put_extension(w, f, begin);
}

/* As deep as the parser's limit, DIGEST_DEPTH_MAX. */
static void put_part(struct writer *w, const struct mime_part *part)
{
        const struct header_summary *f = &w->top;
        struct header_summary own;

        if (part != w->root || part->header_is_cut) {
                collect(part->header, &own);
                f = &own;
        }
        PUT(w, "(");
        if (part->kind == MIME_MULTIPART)
                put_multipart(w, part, f);
        else
                put_leaf(w, part, f);
        PUT(w, ")");
}

/* ---- sections ---------------------------------------------------------------- */

static size_t put_length(char *out, size_t n)
{
        size_t len = 0;

        for (; n > 127; n >>= 7)
                out[len++] = (char) (n | 128);
        out[len++] = (char) n;
        return len;
}

/* What a digest is made of, one behind the other, and how long each is. */
struct sections {
        size_t lengths[SECTIONS];
        size_t count, at;
};

static void end_section(const struct writer *w, struct sections *s)
{
        s->lengths[s->count++] = w->out->len - s->at;
        s->at = w->out->len;
}

static bool is_last_as_from(const struct writer *w, const struct sections *s)
{
        const char *end = w->out->data + w->out->start + w->out->len;
        const size_t len = w->out->len - s->at, from_len = s->lengths[DIGEST_FROM];
        size_t behind = len; /* octets from the start of From to the end */

        for (size_t i = DIGEST_FROM; i < s->count; i++)
                behind += s->lengths[i];
        return len && len == from_len && memcmp(end - len, end - behind, len) == 0;
}

static void put_fields(struct writer *w, struct sections *s, bool is_plain_address[DIGEST_FIELDS])
{
        for (unsigned i = 0; i < DIGEST_FIELDS; i++) {
                if (is_address(i))
                        (void) put_addresses(w, &w->top, i, &is_plain_address[i]);
                else if (w->top.values[i].p)
                        put_field(w, &w->top, i);
                if ((i == DIGEST_SENDER || i == DIGEST_REPLY_TO) && w->result == 0 &&
                    is_last_as_from(w, s))
                        w->out->len = s->at;
                end_section(w, s);
        }
}

/* Printable ASCII without encoded words is as it is decoded. */
static bool is_decoded(struct span value)
{
        const struct span text = span_trim(value);

        return is_quotable(text) && (span_find(text, '?') == SIZE_MAX ||
                                     !memmem(text.p, text.len, "=?", 2));
}

static void put_decoded_value(struct writer *w, struct span value)
{
        if (w->result == 0)
                w->result = encoded_word_decode(span_trim(value), w->out);
}

static void put_decoded_values(struct writer *w, enum header_name which)
{
        struct header_scan scan = HEADER_SCAN(w->top.header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        struct header_field field;
        bool is_first = true;
        int r;

        while (w->result == 0 && ((r = header_next(&scan, &field)) == 1 || r == -EBADMSG)) {
                if (r != 1 || !header_is(&field, which))
                        continue;
                if (!is_first)
                        put(w, span_make("", 1));
                is_first = false;
                put_decoded_value(w, field.value);
        }
}

/* A section without octets would say that the field is not there. */
static void put_decoded(struct writer *w, enum header_name which)
{
        const size_t at = w->out->len;

        if (header_has_several(&w->top, which))
                put_decoded_values(w, which);
        else
                put_decoded_value(w, w->top.values[which]);
        if (w->out->len == at)
                put(w, DIGEST_EMPTY_TEXT);
}

static void put_texts(struct writer *w, struct sections *s, const bool *is_plain_address)
{
        static const enum header_name fields[DIGEST_TEXTS] = {
                [DIGEST_TEXT_SUBJECT] = HEADER_SUBJECT, [DIGEST_TEXT_FROM] = HEADER_FROM,
                [DIGEST_TEXT_TO] = HEADER_TO,           [DIGEST_TEXT_CC] = HEADER_CC,
                [DIGEST_TEXT_BCC] = HEADER_BCC,
        };

        for (unsigned i = 0; i < DIGEST_TEXTS; i++) {
                const enum header_name which = fields[i];
                const struct span value = w->top.values[which];
                const bool is_known = !header_has_several(&w->top, which) &&
                                      (is_plain_address[which] || which == HEADER_SUBJECT);

                if (value.p && (!is_known || !is_decoded(value)))
                        put_decoded(w, which);
                end_section(w, s);
        }
        put(w, unfold(w, w->top.values[HEADER_REFERENCES]));
        end_section(w, s);
}

static void put_structure(struct writer *w, struct sections *s)
{
        char length[DIGEST_LENGTH_MAX];

        w->structure_at = w->out->len;
        if (w->root)
                put_part(w, w->root);
        end_section(w, s);
        for (size_t i = 0; i < w->runs.count; i++)
                put(w, span_make(length, put_length(length, w->runs.items[i])));
        end_section(w, s);
}

static void put_preview(struct writer *w, struct sections *s, bool has_preview)
{
        int r;

        if (has_preview && w->result == 0) {
                PUT(w, " ");
                r = search_text_preview(w->message, w->root, DIGEST_PREVIEW_MAX, w->out);
                if (r < 0 && r != -ENOENT)
                        w->result = r;
        }
        end_section(w, s);
}

/* All sections behind room for the head, which then moves up to them. */
static int make(struct writer *w, bool has_preview)
{
        const size_t at = w->out->len;
        bool is_plain_address[DIGEST_FIELDS] = {false};
        char head[HEAD_MAX] = DIGEST_MAGIC;
        struct sections s = {.at = at + HEAD_MAX};
        size_t head_len = DIGEST_HEAD, len;
        char *start;

        put(w, span_make(head, HEAD_MAX));
        put_fields(w, &s, is_plain_address);
        put_texts(w, &s, is_plain_address);
        put_structure(w, &s);
        put_preview(w, &s, has_preview);
        if (w->result < 0) {
                w->out->len = at;
                return w->result;
        }
        for (unsigned i = 0; i < SECTIONS; i++)
                head_len += put_length(head + head_len, s.lengths[i]);
        start = w->out->data + w->out->start + at;
        len = w->out->len - at - HEAD_MAX;
        memcpy(start, head, head_len);
        memmove(start + head_len, start + HEAD_MAX, len);
        w->out->len = at + head_len + len;
        return 0;
}

/* ---- the whole --------------------------------------------------------------- */

/* The structure, and the header of the whole: `header` where that was looked at. */
static int look(struct writer *w, const struct mime_limits *limits,
                const struct header_summary *header)
{
        if (header)
                w->top = *header;
        else
                collect(w->message, &w->top);
        w->root = mime_parse(limits, w->message, &w->top, w->arena);
        return w->root ? 0 : -ENOMEM;
}

int digest_make(struct span message, struct arena *arena, struct buffer *out)
{
        struct writer w = {.out = out, .arena = arena, .message = message};
        struct mime_limits limits = MIME_LIMITS;

        limits.depth_max = DIGEST_DEPTH_MAX;
        return look(&w, &limits, NULL) < 0 ? -ENOMEM : make(&w, true);
}

/* With limits that were reached the structure would be another than digest_make()'s. */
static bool is_limited(const struct mime_part *part)
{
        if (part->is_opaque || part->header_is_cut)
                return true;
        for (const struct mime_part *child = part->first_child; child; child = child->next)
                if (is_limited(child))
                        return true;
        return false;
}

int digest_make_stored(struct span message, uint64_t id, const struct header_summary *header,
                       struct arena *arena, struct buffer *out)
{
        const size_t at = out->len;
        struct writer w = {.out = out, .arena = arena, .message = message};
        struct mime_limits limits = MIME_LIMITS;
        int r;

        limits.depth_max = DIGEST_STORED_DEPTH_MAX;
        limits.parts_max = DIGEST_STORED_PARTS_MAX;
        r = look(&w, &limits, header);
        if (r == 0 && is_limited(w.root))
                r = -E2BIG;
        if (r == 0)
                r = make(&w, false);
        if (r == 0 && out->len - at > DIGEST_STORED_MAX) {
                out->len = at;
                r = -E2BIG;
        }
        if (r == 0)
                (void) digest_seal(span_skip(buffer_span(out), at), id,
                                   out->data + out->start + at);
        return r;
}

int digest_make_fields(struct span header, struct arena *arena, struct buffer *out)
{
        struct writer w = {.out = out, .arena = arena, .message = header};

        collect(header, &w.top);
        return make(&w, false);
}
