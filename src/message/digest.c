#include "message/digest.h"

#include <errno.h>

#include "base/codec.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "message/digest_format.h"

/* ---- opening ----------------------------------------------------------------- */

static bool take_length(struct span *in, size_t *ret)
{
        uint32_t n = 0;

        for (unsigned i = 0; i < DIGEST_LENGTH_MAX && i < in->len; i++) {
                const unsigned char c = (unsigned char) in->p[i];

                n |= (uint32_t) (c & 127) << (7 * i);
                if (c < 128) {
                        *in = span_skip(*in, i + 1);
                        *ret = n;
                        return true;
                }
        }
        return false;
}

int digest_open(struct span octets, struct digest *ret)
{
        struct span rest = span_skip(octets, DIGEST_HEAD), sections[SECTIONS];

        if (octets.len < DIGEST_HEAD || memcmp(octets.p, DIGEST_MAGIC, 4) != 0)
                return -EBADMSG;
        for (unsigned i = 0; i < SECTIONS; i++)
                if (!take_length(&rest, &sections[i].len))
                        return -EBADMSG;
        for (unsigned i = 0; i < SECTIONS; i++) {
                if (sections[i].len > rest.len)
                        return -EBADMSG;
                sections[i] = span_first(rest, sections[i].len);
                rest = span_skip(rest, sections[i].len);
        }
        if (rest.len)
                return -EBADMSG;
        memcpy(ret->fields, sections + SECTION_FIELDS, sizeof ret->fields);
        memcpy(ret->texts, sections + SECTION_TEXTS, sizeof ret->texts);
        ret->references = sections[SECTION_REFERENCES];
        ret->structure = sections[SECTION_STRUCTURE];
        ret->extensions = sections[SECTION_EXTENSIONS];
        ret->has_preview = sections[SECTION_PREVIEW].len > 0;
        ret->preview = span_skip(sections[SECTION_PREVIEW], 1);
        if (ret->preview.len == 0)
                ret->preview.p = NULL;
        return 0;
}

/* ---- checking ---------------------------------------------------------------- */

/* Takes a string, the quotes or the literal's length with it, off `*in`: `*ret` is what
 * stands in it, escapes as they are. */
static bool take_wire_string(struct span *in, struct span *ret, bool *ret_has_escapes)
{
        size_t i = 1, n = 0;

        *ret_has_escapes = false;
        if (in->len && in->p[0] == '"') {
                for (; i < in->len && in->p[i] != '"'; i++) {
                        if (in->p[i] == '\\') {
                                *ret_has_escapes = true;
                                i++;
                        }
                        if (i == in->len || in->p[i] < 32 || in->p[i] > 126)
                                return false;
                }
                if (i >= in->len)
                        return false;
                *ret = span_make(in->p + 1, i - 1);
                *in = span_skip(*in, i + 1);
                return true;
        }
        if (in->len < 5 || in->p[0] != '{')
                return false;
        for (; i < in->len && i < 10 && in->p[i] >= '0' && in->p[i] <= '9'; i++)
                n = n * 10 + (size_t) (in->p[i] - '0');
        if (i == 1 || in->len - i < 3 || memcmp(in->p + i, "}\r\n", 3) != 0)
                return false;
        *in = span_skip(*in, i + 3);
        if (n > in->len)
                return false;
        *ret = span_first(*in, n);
        *in = span_skip(*in, n);
        return true;
}

/* One string and nothing behind it, or a list that ends where it ends. */
static bool is_value(struct span s)
{
        size_t depth = 0;
        struct span text;
        bool has_escapes;

        do {
                if (s.len == 0)
                        return false;
                if (s.p[0] == '"' || s.p[0] == '{') {
                        if (!take_wire_string(&s, &text, &has_escapes))
                                return false;
                        continue;
                }
                if (s.p[0] == '(')
                        depth++;
                else if (depth == 0 || s.p[0] < 32 || s.p[0] > 126)
                        return false;
                else if (s.p[0] == ')')
                        depth--;
                s = span_skip(s, 1);
        } while (depth);
        return s.len == 0;
}

/* Whether cutting the extension data out leaves a list. */
static int check_structure(const struct digest *d)
{
        struct buffer body = BUFFER_INIT(d->structure.len + 1);
        int r;

        if (d->structure.len == 0)
                return d->extensions.len ? -EBADMSG : 0;
        if (d->structure.p[0] != '(' || !is_value(d->structure))
                return -EBADMSG;
        r = digest_put_structure(d, false, &body);
        if (r == 0 && !is_value(buffer_span(&body)))
                r = -EBADMSG;
        buffer_done(&body);
        return r;
}

int digest_check(struct span octets, uint64_t id)
{
        struct digest d;

        if (octets.len > DIGEST_STORED_MAX || digest_open(octets, &d) < 0 ||
            codec_get_u64(octets.p + 4) != hash_span(span_skip(octets, DIGEST_HEAD), id))
                return -EBADMSG;
        for (unsigned i = 0; i < DIGEST_FIELDS; i++) {
                const bool is_list = i >= DIGEST_FROM && i <= DIGEST_BCC;

                if (d.fields[i].len &&
                    ((d.fields[i].p[0] == '(') != is_list || !is_value(d.fields[i])))
                        return -EBADMSG;
        }
        if (d.preview.p && !utf8_is_valid(d.preview))
                return -EBADMSG;
        return check_structure(&d);
}

bool digest_seal(struct span octets, uint64_t id, char ret_head[DIGEST_HEAD])
{
        if (octets.len < DIGEST_HEAD || memcmp(octets.p, DIGEST_MAGIC, 4) != 0)
                return false;
        memcpy(ret_head, DIGEST_MAGIC, 4);
        codec_put_u64(ret_head + 4, hash_span(span_skip(octets, DIGEST_HEAD), id));
        return true;
}

/* ---- what is said ------------------------------------------------------------ */

int digest_put_envelope(const struct digest *d, struct buffer *out)
{
        const struct span nil = SPAN_LITERAL("NIL");
        int r = 0;

        for (unsigned i = 0; i < DIGEST_FIELDS && r == 0; i++) {
                struct span field = d->fields[i];

                if (!field.len && (i == DIGEST_SENDER || i == DIGEST_REPLY_TO))
                        field = d->fields[DIGEST_FROM];
                r = buffer_append(out, i ? " " : "(", 1);
                if (r == 0)
                        r = buffer_append_span(out, field.len ? field : nil);
        }
        return r == 0 ? buffer_append(out, ")", 1) : r;
}

int digest_put_structure(const struct digest *d, bool with_extension, struct buffer *out)
{
        struct span rest = d->structure, lengths = d->extensions;
        size_t before, len;
        int r = 0;

        while (!with_extension && lengths.len && r == 0) {
                if (!take_length(&lengths, &before) || !take_length(&lengths, &len) ||
                    before > rest.len || len > rest.len - before)
                        return -EBADMSG;
                r = buffer_append_span(out, span_first(rest, before));
                rest = span_skip(rest, before + len);
        }
        return r == 0 ? buffer_append_span(out, rest) : r;
}

/* ---- what is compared -------------------------------------------------------- */

bool digest_take_string(struct span *wire, struct arena *arena, struct span *ret)
{
        struct span raw;
        bool has_escapes;
        size_t len = 0;
        char *out;

        if (wire->len >= 3 && memcmp(wire->p, "NIL", 3) == 0) {
                *wire = span_skip(*wire, 3);
                *ret = (struct span) {NULL, 0};
                return true;
        }
        if (!take_wire_string(wire, &raw, &has_escapes))
                return false;
        if (!has_escapes) {
                *ret = raw;
                return true;
        }
        out = arena_alloc(arena, raw.len + 1);
        if (!out)
                return false;
        for (size_t i = 0; i < raw.len; i++) {
                if (raw.p[i] == '\\')
                        i++;
                out[len++] = raw.p[i];
        }
        *ret = span_make(out, len);
        return true;
}

static bool take(struct span *wire, const char *text)
{
        const size_t len = strlen(text);

        if (wire->len < len || memcmp(wire->p, text, len) != 0)
                return false;
        *wire = span_skip(*wire, len);
        return true;
}

bool digest_first_address(const struct digest *d, enum digest_field field, struct arena *arena,
                          struct span *ret_name, struct span *ret_local, struct span *ret_domain)
{
        struct span wire = d->fields[field], route;

        return take(&wire, "((") && digest_take_string(&wire, arena, ret_name) &&
               take(&wire, " ") && digest_take_string(&wire, arena, &route) && take(&wire, " ") &&
               digest_take_string(&wire, arena, ret_local) && take(&wire, " ") &&
               digest_take_string(&wire, arena, ret_domain);
}

struct span digest_text(const struct digest *d, enum digest_text text, struct arena *arena)
{
        static const enum digest_field fields[DIGEST_TEXTS] = {
                [DIGEST_TEXT_SUBJECT] = DIGEST_SUBJECT, [DIGEST_TEXT_FROM] = DIGEST_FROM,
                [DIGEST_TEXT_TO] = DIGEST_TO,           [DIGEST_TEXT_CC] = DIGEST_CC,
                [DIGEST_TEXT_BCC] = DIGEST_BCC,
        };
        struct span wire = d->fields[fields[text]], words[6], name, local, domain;
        size_t len = 0;
        char *out;

        if (d->texts[text].len)
                return span_equal(d->texts[text], DIGEST_EMPTY_TEXT)
                               ? span_first(d->texts[text], 0) : d->texts[text];
        if (wire.len == 0)
                return (struct span) {NULL, 0};
        if (text == DIGEST_TEXT_SUBJECT)
                return digest_take_string(&wire, arena, &name) ? name : (struct span) {NULL, 0};
        if (!digest_first_address(d, fields[text], arena, &name, &local, &domain))
                return (struct span) {NULL, 0};
        digest_plain_address(name, local, domain, words);
        out = arena_alloc(arena, wire.len + 8);
        for (unsigned i = 0; out && i < sizeof words / sizeof words[0]; i++) {
                if (words[i].len)
                        memcpy(out + len, words[i].p, words[i].len);
                len += words[i].len;
        }
        return span_make(out, out ? len : 0);
}
