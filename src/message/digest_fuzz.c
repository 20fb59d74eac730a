/* Every message has a digest that opens again, whose parts are well-formed lists
 * of IMAP: what goes over the wire as it stands must not shift what follows it. */
#include "message/digest.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct arena arena = ARENA_INIT(1 << 26);
        struct buffer out = BUFFER_INIT(1 << 26);
        struct digest d;

        if (digest_build(span_make((const char *) data, size), &arena, &out) == 0) {
                demand(digest_open(buffer_span(&out), &d) == 0);
                check_list(d.envelope);
                check_list(d.body);
                check_list(d.bodystructure);
                demand(!d.preview.p || utf8_is_valid(d.preview));
        } else {
                demand(size > 100000); /* only for want of memory */
        }
        buffer_done(&out);
        arena_done(&arena);
        return 0;
}
