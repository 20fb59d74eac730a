#include "message/search_text.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/utf8.h"
#include "message/charset.h"
#include "message/encoded_word.h"
#include "message/header.h"
#include "message/search_fold.h"
#include "message/transfer_decode.h"

enum { DECODED_MAX = 256 * 1024 * 1024, PREVIEW_SOURCE_MAX = 16 * 1024, DEPTH_MAX = 60,
       SHORT_MAX = 32 /* octets of a needle */ };

int search_text_fold(struct span text, struct buffer *out)
{
        return search_fold(text, out);
}

#ifdef __SSE2__
/* Sixteen places at a time, by the first and the last octet of the needle. What it
 * costs at worst grows with the needle, so that must be short. */
static bool contains_short(struct span folded, struct span needle)
{
        const __m128i first = _mm_set1_epi8(needle.p[0]);
        const __m128i last = _mm_set1_epi8(needle.p[needle.len - 1]);
        size_t i = 0;

        for (; folded.len - i >= needle.len + 15; i += 16) {
                const char *const p = folded.p + i;
                const __m128i a = _mm_loadu_si128((const __m128i *) (const void *) p);
                const __m128i b = _mm_loadu_si128(
                        (const __m128i *) (const void *) (p + needle.len - 1));
                unsigned places = (unsigned) _mm_movemask_epi8(
                        _mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, last)));

                for (; places; places &= places - 1)
                        if (memcmp(p + __builtin_ctz(places), needle.p, needle.len) == 0)
                                return true;
        }
        return folded.len - i >= needle.len &&
               memmem(folded.p + i, folded.len - i, needle.p, needle.len);
}
#else
static bool contains_short(struct span folded, struct span needle)
{
        return memmem(folded.p, folded.len, needle.p, needle.len);
}
#endif

bool search_text_contains(struct span folded, struct span needle)
{
        if (needle.len == 0 || folded.len < needle.len)
                return needle.len == 0;
        if (needle.len <= SHORT_MAX)
                return contains_short(folded, needle);
        return memmem(folded.p, folded.len, needle.p, needle.len);
}

/* ---- headers ----------------------------------------------------------------- */

int search_text_field(struct span value, struct buffer *out)
{
        struct buffer decoded = BUFFER_INIT(DECODED_MAX);
        int r;

        r = encoded_word_decode(span_trim(value), &decoded);
        if (r == 0)
                r = search_text_fold(buffer_span(&decoded), out);
        buffer_done(&decoded);
        return r;
}

int search_text_header(struct span header, struct buffer *out)
{
        struct header_scan scan = HEADER_SCAN(header, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        struct header_field field;
        int r = 0, found;

        while (r == 0 && ((found = header_next(&scan, &field)) == 1 || found == -EBADMSG)) {
                if (found != 1)
                        continue;
                r = search_text_fold(field.name, out);
                if (r == 0)
                        r = buffer_append(out, ": ", 2);
                if (r == 0)
                        r = search_text_field(field.value, out);
                if (r == 0)
                        r = buffer_append(out, "\n", 1);
        }
        return r;
}

/* ---- bodies ------------------------------------------------------------------ */

static struct span octets_of(struct span message, const struct mime_part *part)
{
        if (part->body_at > part->body_end || part->body_end > message.len)
                return (struct span) {NULL, 0};
        return span_make(message.p + part->body_at, (size_t) (part->body_end - part->body_at));
}

static bool is_identity(struct span encoding)
{
        return span_equal(encoding, SPAN_LITERAL("7bit"))
               || span_equal(encoding, SPAN_LITERAL("8bit"))
               || span_equal(encoding, SPAN_LITERAL("binary"));
}

/* Appends a text part as UTF-8. */
static int decode_text(struct span octets, const struct mime_part *part, struct buffer *out)
{
        struct buffer decoded = BUFFER_INIT(DECODED_MAX);
        struct span charset = {NULL, 0};
        int r = 0;

        if (!is_identity(part->encoding)
            && transfer_decode(part->encoding, octets, &decoded) == 0)
                octets = buffer_span(&decoded);
        content_field_parameter(&part->content_type, SPAN_LITERAL("charset"), &charset);
        r = charset_to_utf8(charset, octets, out);
        if (r == -ENOTSUP)
                r = charset_guess_to_utf8(octets, out);
        buffer_done(&decoded);
        return r;
}

static bool is_plain_ascii(struct span octets, const struct mime_part *part)
{
        return is_identity(part->encoding) && utf8_is_ascii(octets)
               && span_find(octets, '\x1B') == SIZE_MAX;
}

static int add_text(struct span message, const struct mime_part *part, struct buffer *out)
{
        const struct span octets = octets_of(message, part);
        struct buffer text = BUFFER_INIT(DECODED_MAX);
        int r;

        if (octets.len == 0)
                return 0;
        if (is_plain_ascii(octets, part)) {
                r = search_text_fold(octets, out);
        } else {
                r = decode_text(octets, part, &text);
                if (r == 0)
                        r = search_text_fold(buffer_span(&text), out);
                buffer_done(&text);
        }
        return r < 0 ? r : buffer_append(out, "\n", 1);
}

static bool is_text(const struct mime_part *part)
{
        return part->kind == MIME_LEAF
               && span_equal(part->content_type.type, SPAN_LITERAL("text"));
}

static int add_part(struct span message, const struct mime_part *part, struct buffer *out)
{
        int r = 0;

        if (is_text(part))
                r = add_text(message, part, out);
        else if (part->kind == MIME_MESSAGE && part->first_child)
                r = search_text_header(part->first_child->header, out);
        for (const struct mime_part *child = part->first_child; child && r == 0;
             child = child->next)
                r = add_part(message, child, out);
        return r;
}

int search_text_body(struct span message, struct arena *arena, struct buffer *out)
{
        const struct mime_limits limits = MIME_LIMITS;
        const struct mime_part *root = mime_parse(&limits, message, NULL, arena);

        return root ? add_part(message, root, out) : -ENOMEM;
}

/* ---- what can be searched as it stands ------------------------------------------ */

/* In these, ASCII without an escape is ASCII. UTF-7 and HZ are not among them. */
static bool keeps_ascii(struct span charset)
{
        static const struct span names[] = {
                SPAN("us-ascii"),    SPAN("utf-8"),      SPAN("iso-8859-1"),   SPAN("iso-2022-jp"),
                SPAN("iso-8859-15"), SPAN("shift_jis"),  SPAN("windows-1252"), SPAN("euc-jp"),
        };

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (span_equal_nocase(charset, names[i]))
                        return true;
        return charset.len == 0;
}

/* One text part, sent as it is. */
static bool is_one_text(struct span header, struct arena *arena)
{
        struct header_field field;
        struct content_field f;
        struct span charset = {NULL, 0};

        if (header_find(header, SPAN_LITERAL("Content-Transfer-Encoding"), &field)
            && (content_field_parse(field.value, arena, &f) < 0 || !is_identity(f.value)))
                return false;
        if (!header_find(header, SPAN_LITERAL("Content-Type"), &field))
                return true;
        if (content_field_parse(field.value, arena, &f) < 0
            || !span_equal(f.type, SPAN_LITERAL("text")))
                return false;
        content_field_parameter(&f, SPAN_LITERAL("charset"), &charset);
        return keeps_ascii(charset);
}

/* A CR or LF alone could vanish where fields are unfolded. */
static bool has_bare_line_end(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (s.p[i] == '\r' ? i + 1 == s.len || s.p[++i] != '\n' : s.p[i] == '\n')
                        return true;
        return false;
}

bool search_text_is_plain(struct span message, struct arena *arena)
{
        const struct span header = span_first(message, header_len(message, NULL));

        return utf8_is_ascii(message) && span_find(message, '\x1B') == SIZE_MAX
               && !has_bare_line_end(header)
               && (header.len < 2 || !memmem(header.p, header.len, "=?", 2))
               && is_one_text(header, arena);
}

static bool is_of_word(char c)
{
        return c != ':' && c != 127 && ((unsigned char) c > ' ');
}

struct span search_text_word(struct span needle)
{
        struct span longest = {NULL, 0};
        size_t begin = 0;

        for (size_t i = 0; i <= needle.len; i++) {
                if (i < needle.len && is_of_word(needle.p[i]))
                        continue;
                if (i - begin > longest.len)
                        longest = span_make(needle.p + begin, i - begin);
                begin = i + 1;
        }
        return longest;
}

/* ---- PREVIEW ----------------------------------------------------------------- */

/* The first text; of alternatives that is the plainest. */
static const struct mime_part *first_text(const struct mime_part *part)
{
        if (is_text(part))
                return part;
        for (const struct mime_part *child = part->first_child; child; child = child->next) {
                const struct mime_part *found = first_text(child);

                if (found)
                        return found;
        }
        return NULL;
}

/* Blanks joined, tags of HTML left out. */
static int append_preview(struct span text, bool is_html, unsigned characters, struct buffer *out)
{
        bool in_tag = false, has_gap = false;
        unsigned count = 0;
        size_t used;

        for (size_t i = 0; i < text.len && count < characters; i += used) {
                const unsigned char c = (unsigned char) text.p[i];
                int r = 0;

                used = 1;
                while (c > 127 && i + used < text.len && (text.p[i + used] & 0xC0) == 0x80)
                        used++;
                if (is_html && (c == '<' || in_tag)) {
                        in_tag = c != '>';
                        has_gap = true;
                        continue;
                }
                if (c <= ' ' || c == 127) {
                        has_gap = true;
                        continue;
                }
                if (has_gap && count && count + 1 < characters) {
                        r = buffer_append(out, " ", 1);
                        count++;
                }
                has_gap = false;
                if (r == 0)
                        r = buffer_append(out, text.p + i, used);
                if (r < 0)
                        return r;
                count++;
        }
        return 0;
}

int search_text_preview(struct span message, const struct mime_part *root, unsigned characters,
                        struct buffer *out)
{
        const struct mime_part *part = first_text(root);
        struct buffer text = BUFFER_INIT(DECODED_MAX);
        int r;

        if (!part)
                return -ENOENT;
        r = decode_text(span_first(octets_of(message, part), PREVIEW_SOURCE_MAX), part, &text);
        if (r == 0)
                r = append_preview(buffer_span(&text),
                                   span_equal(part->content_type.subtype, SPAN_LITERAL("html")),
                                   characters, out);
        buffer_done(&text);
        return r;
}

/* ---- base subject ------------------------------------------------------------ */

static struct span trim_blanks(struct span s)
{
        while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
                s = span_skip(s, 1);
        while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
                s.len--;
        return s;
}

/* "[text]" at the start, without brackets in it: its octets, or 0. */
static size_t blob_len(struct span s)
{
        size_t i = 1;

        if (s.len < 2 || s.p[0] != '[')
                return 0;
        while (i < s.len && s.p[i] != ']' && s.p[i] != '[')
                i++;
        if (i == s.len || s.p[i] != ']')
                return 0;
        i++;
        while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t'))
                i++;
        return i;
}

/* subj-refwd: "re", "fw" or "fwd", a blob, and ":". */
static size_t reply_len(struct span s)
{
        size_t n;

        if (span_starts_with_nocase(s, SPAN_LITERAL("fwd")))
                n = 3;
        else if (span_starts_with_nocase(s, SPAN_LITERAL("re"))
                 || span_starts_with_nocase(s, SPAN_LITERAL("fw")))
                n = 2;
        else
                return 0;
        while (n < s.len && (s.p[n] == ' ' || s.p[n] == '\t'))
                n++;
        n += blob_len(span_skip(s, n));
        return n < s.len && s.p[n] == ':' ? n + 1 : 0;
}

/* subj-leader: blobs before "re:" go with it. */
static size_t leader_len(struct span s)
{
        size_t n = 0, blob;

        while ((blob = blob_len(span_skip(s, n))))
                n += blob;
        blob = reply_len(span_skip(s, n));
        return blob ? n + blob : 0;
}

static struct span strip_subject(struct span s, bool *ret_is_reply)
{
        for (;;) {
                size_t n;

                s = trim_blanks(s);
                while (span_ends_with_nocase(s, SPAN_LITERAL("(fwd)"))) {
                        s.len -= 5;
                        s = trim_blanks(s);
                        *ret_is_reply = true;
                }
                while ((n = leader_len(s))) {
                        s = trim_blanks(span_skip(s, n));
                        *ret_is_reply = true;
                }
                n = blob_len(s);
                if (n && n < s.len) { /* a blob alone is the subject */
                        s = span_skip(s, n);
                        continue;
                }
                if (span_starts_with_nocase(s, SPAN_LITERAL("[fwd:")) && s.p[s.len - 1] == ']') {
                        s = span_make(s.p + 5, s.len - 6);
                        *ret_is_reply = true;
                        continue;
                }
                return s;
        }
}

int search_text_base_subject(struct span subject, struct buffer *out, bool *ret_is_reply)
{
        *ret_is_reply = false;
        return search_text_fold(strip_subject(subject, ret_is_reply), out);
}
