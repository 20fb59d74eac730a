/* The short way to "no" is never wrong: each word of the texts that are searched
 * stands in the folded octets of a message that calls itself plain. */
#include <stdint.h>
#include <stdlib.h>

#include "message/search_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
        if (!condition)
                abort();
}

static void check_words(struct span text, struct span raw)
{
        size_t begin = 0;

        for (size_t i = 0; text.len && i <= text.len; i++) {
                const struct span word = span_make(text.p + begin, i - begin);

                if (i < text.len && search_text_word(span_make(text.p + i, 1)).len)
                        continue;
                if (word.len)
                        demand(search_text_contains(raw, word));
                begin = i + 1;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span message = span_make((const char *) data, size);
        struct arena arena = ARENA_INIT(1 << 26);
        struct buffer text = BUFFER_INIT(1 << 26), raw = BUFFER_INIT(1 << 26);

        demand(search_text_header(message, &text) == 0);
        (void) search_text_body(message, &arena, &text);
        if (search_text_is_plain(message, &arena)) {
                demand(search_text_fold(message, &raw) == 0);
                check_words(buffer_span(&text), buffer_span(&raw));
        }
        buffer_done(&text);
        buffer_done(&raw);
        arena_done(&arena);
        return 0;
}
