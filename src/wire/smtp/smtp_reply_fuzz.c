/* Any octets, whole and cut: the same replies. */
#include "wire/smtp/smtp_reply.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A digest of all replies in `in`, fed in pieces of at most `step` octets. */
static uint64_t digest(struct span in, size_t step)
{
        struct smtp_reply_parser p = {0};
        uint64_t h = 0;

        while (in.len) {
                struct smtp_reply reply;
                size_t used;
                int r = smtp_reply_parse(&p, span_first(in, step), &used, &reply);

                if (r < 0)
                        return h + (uint64_t) r;
                assert(used <= step && used > 0);
                in = span_skip(in, used);
                if (r == 0)
                        continue;
                assert(reply.code >= 200 && reply.code <= 599);
                assert(reply.text.len <= SMTP_REPLY_TEXT_MAX && reply.enhanced.len <= 9);
                assert(span_find(reply.text, '\r') == SIZE_MAX);
                h = hash_span(reply.text, h + reply.code);
                h = hash_span(reply.enhanced, h);
        }
        return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct span in = {(const char *) data, size};
        uint64_t whole = digest(in, size ? size : 1);

        assert(digest(in, 1) == whole);
        assert(digest(in, 7) == whole);
        return 0;
}
