/* Every message has a digest that opens again, whose parts are well-formed lists
 * of IMAP: what goes over the wire as it stands must not shift what follows it. The
 * one that is stored says the same, and any octets that pass for one are well-formed too. */
#include "message/digest.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "message/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
        if (!condition)
                abort();
}

static size_t skip_quoted(struct span s, size_t i)
{
        for (; i < s.len && s.p[i] != '"'; i++) {
                demand(s.p[i] != '\r' && s.p[i] != '\n' && s.p[i] != '\0');
                if (s.p[i] == '\\')
                        i++;
        }
        demand(i < s.len);
        return i;
}

static size_t skip_literal(struct span s, size_t i)
{
        size_t n = 0;

        for (; i < s.len && s.p[i] != '}'; i++) {
                demand(s.p[i] >= '0' && s.p[i] <= '9');
                n = n * 10 + (size_t) (s.p[i] - '0');
        }
        demand(i + 2 < s.len && s.p[i + 1] == '\r' && s.p[i + 2] == '\n');
        demand(n <= s.len - (i + 3));
        return i + 2 + n;
}

/* One list from its first octet to its last. */
static void check_list(struct span s)
{
        size_t depth = 0;

        demand(s.len && s.p[0] == '(');
        for (size_t i = 0; i < s.len; i++) {
                const char c = s.p[i];

                if (c == '"') {
                        i = skip_quoted(s, i + 1);
                } else if (c == '{') {
                        i = skip_literal(s, i + 1);
                } else if (c == '(') {
                        depth++;
                } else if (c == ')') {
                        demand(depth > 0);
                        demand(--depth > 0 || i + 1 == s.len);
                } else {
                        demand(c > 31 && c < 127);
                }
        }
        demand(depth == 0);
}

/* What the wire gets of it, all of it well-formed; `out` is the caller's to free. */
static struct buffer say(const struct digest *d)
{
        struct buffer out = BUFFER_INIT(1 << 26);
        size_t at;

        demand(digest_put_envelope(d, &out) == 0);
        check_list(buffer_span(&out));
        for (unsigned with_extension = 0; d->structure.len && with_extension < 2;
             with_extension++) {
                at = out.len;
                demand(digest_put_structure(d, with_extension, &out) == 0);
                check_list(span_skip(buffer_span(&out), at));
        }
        return out;
}

static void read_texts(const struct digest *d, struct arena *arena)
{
        struct span name, local, domain;

        for (unsigned i = 0; i < DIGEST_TEXTS; i++)
                (void) digest_text(d, i, arena);
        for (unsigned i = 0; i < DIGEST_FIELDS; i++)
                (void) digest_first_address(d, i, arena, &name, &local, &domain);
}

static void check_message(struct span message, struct arena *arena, struct buffer *out)
{
        struct digest d, stored;
        struct buffer whole, other;
        size_t at;

        if (digest_make(message, arena, out) < 0) {
                demand(message.len > 100000); /* only for want of memory */
                return;
        }
        demand(digest_open(buffer_span(out), &d) == 0);
        demand(!d.preview.p || utf8_is_valid(d.preview));
        whole = say(&d);
        read_texts(&d, arena);
        at = out->len;
        if (digest_make_stored(message, 7, NULL, arena, out) == 0) {
                const struct span octets = span_skip(buffer_span(out), at);

                demand(digest_check(octets, 7) == 0 && digest_check(octets, 8) < 0);
                demand(digest_open(octets, &stored) == 0);
                other = say(&stored);
                demand(span_equal(buffer_span(&other), buffer_span(&whole)));
                buffer_done(&other);
        }
        buffer_done(&whole);
}

/* Behind a field of ours: what is known of the rest of the header changes nothing. */
static void check_known_header(struct span message, struct arena *arena)
{
        static const struct span own = SPAN("Received: by mx1.example.jp\r\n");
        struct buffer text = BUFFER_INIT(1 << 26), digests[2];
        struct header_summary header;
        int results[2];

        demand(buffer_append_span(&text, own) == 0 && buffer_append_span(&text, message) == 0);
        if (header_summarize(span_skip(buffer_span(&text), own.len), HEADER_SIZE_MAX,
                             HEADER_FIELDS_MAX / 2, &header) == 0) {
                for (unsigned i = 0; i < 2; i++) {
                        digests[i] = BUFFER_INIT(1 << 26);
                        results[i] = digest_make_stored(buffer_span(&text), 7, i ? &header : NULL,
                                                        arena, &digests[i]);
                }
                demand(results[0] == results[1] || message.len > 100000);
                demand(results[0] != results[1] ||
                       span_equal(buffer_span(&digests[0]), buffer_span(&digests[1])));
                buffer_done(&digests[0]);
                buffer_done(&digests[1]);
        }
        buffer_done(&text);
}

/* As a digest that somebody made who knows how to. */
static void check_octets(struct span octets, struct arena *arena, struct buffer *out)
{
        const char head[12] = "HyD2";
        struct buffer said;
        struct digest d;

        demand(digest_check(octets, 1) < 0 || octets.len > sizeof head);
        demand(buffer_append(out, head, sizeof head) == 0);
        demand(buffer_append_span(out, octets) == 0);
        codec_put_u64(out->data + out->start + 4, hash_span(octets, 1));
        if (digest_check(buffer_span(out), 1) == 0) {
                demand(digest_open(buffer_span(out), &d) == 0);
                said = say(&d);
                buffer_done(&said);
        }
        if (digest_open(buffer_span(out), &d) == 0)
                read_texts(&d, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span octets = span_make((const char *) data, size);
        struct arena arena = ARENA_INIT(1 << 26);
        struct buffer out = BUFFER_INIT(1 << 26);

        check_message(octets, &arena, &out);
        buffer_clear(&out);
        arena_clear(&arena);
        check_known_header(octets, &arena);
        check_octets(octets, &arena, &out);
        buffer_done(&out);
        arena_done(&arena);
        return 0;
}
