/* Whatever stands in a field, what is read of it is UTF-8 without line ends of
 * its own folds; and what transfer_encode_words() writes is read again as it
 * was. Octet 0: which of the two. */
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "message/encoded_word.h"
#include "message/transfer_encoding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_MAX = 4 << 20 };

static void demand(bool condition)
{
        if (!condition)
                abort();
}

/* Text that a field may have, and that needs no care: no controls, no blanks
 * at its ends or in a row, nothing that looks like an encoded word. */
static bool is_plain(struct span text)
{
        for (size_t i = 0; i < text.len; i++)
                if ((unsigned char) text.p[i] < 32 || text.p[i] == 127 || text.p[i] == '='
                    || (text.p[i] == ' ' && (i == 0 || i + 1 == text.len || text.p[i - 1] == ' ')))
                        return false;
        return utf8_is_valid(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer out = BUFFER_INIT(OUT_MAX), again = BUFFER_INIT(OUT_MAX);
        struct span text;

        if (size < 1 || size > 16 * 1024)
                return 0;
        text = span_make((const char *) data + 1, size - 1);
        if (data[0] & 1) {
                demand(encoded_word_decode(text, &out) == 0);
                demand(utf8_is_valid(buffer_span(&out)));
        } else if (is_plain(text)) {
                demand(transfer_encode_words(text, &out) == 0);
                demand(encoded_word_decode(buffer_span(&out), &again) == 0);
                demand(span_equal(buffer_span(&again), text));
        }
        buffer_done(&out);
        buffer_done(&again);
        return 0;
}
