/* Whatever the octets and the name: valid UTF-8 comes out, not much longer than
 * what went in, and the same again when another text was read in between. */
#include "message/charset.h"
#include "message/search_fold.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct span names[] = {
        SPAN("iso-2022-jp"), SPAN("shift_jis"), SPAN("euc-jp"), SPAN("utf-8"), SPAN("us-ascii"),
        SPAN("iso-8859-1"),  SPAN("gb18030"),   SPAN("utf-16"), SPAN("utf-7"), SPAN("iso-2022-kr"),
};

static void demand(bool condition)
{
        if (!condition)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer first = BUFFER_INIT(1 << 24), again = BUFFER_INIT(1 << 24),
                      other = BUFFER_INIT(1 << 24);
        const size_t name = size ? data[0] % (sizeof names / sizeof names[0]) : 0;
        const struct span text = size ? span_make((const char *) data + 1, size - 1)
                                      : SPAN_LITERAL("");
        int r = charset_to_utf8(names[name], text, &first);

        demand(r == 0);
        demand(utf8_is_valid(buffer_span(&first)) && first.len <= 6 * text.len + 16);
        demand(charset_to_utf8(names[(name + 1) % 3], text, &other) == 0);
        demand(charset_to_utf8(names[name], text, &again) == 0);
        demand(span_equal(buffer_span(&first), buffer_span(&again)));
        buffer_clear(&other);
        if (name == 0 && (utf8_is_ascii(text) || !utf8_is_valid(text))) /* else declared wrongly */
                demand(charset_japanese_by_library(text, &other) == 0 &&
                       span_equal(buffer_span(&first), buffer_span(&other)));
        buffer_clear(&again);
        buffer_clear(&other);
        demand(search_fold(text, &again) == 0 && search_fold_by_library(text, &other) == 0 &&
               span_equal(buffer_span(&again), buffer_span(&other)));
        buffer_clear(&other);
        demand(charset_guess_to_utf8(text, &other) == 0 && utf8_is_valid(buffer_span(&other)));
        (void) charset_is_known(span_first(text, 64));
        buffer_done(&first);
        buffer_done(&again);
        buffer_done(&other);
        return 0;
}
