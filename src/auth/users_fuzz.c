/* What was read and is written again reads the same, and every account can be
 * put back as it is. */
#include <assert.h>
#include <stdint.h>

#include "auth/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer error = BUFFER_INIT(1 << 20), text = BUFFER_INIT(1 << 24);
        struct users *u = NULL, *again = NULL;
        const struct users_account *a, *b;
        size_t i = 0, k = 0;

        if (users_parse(span_make((const char *) data, size), "f", &u, &error) < 0)
                goto out;
        while ((a = users_next(u, &i))) {
                assert(users_find(u, a->address) == a);
                assert(users_put(u, a) == 0);
        }
        assert(users_format(u, &text) == 0);
        assert(users_parse(buffer_span(&text), "f", &again, &error) == 0);
        assert(users_count(u) == users_count(again));
        i = 0;
        while ((a = users_next(u, &i))) {
                b = users_next(again, &k);
                assert(b && span_equal(a->address, b->address) && span_equal(a->hash, b->hash));
                assert(span_equal(a->scram, b->scram) && span_equal(a->flags, b->flags));
                assert(span_equal(a->addresses, b->addresses) && a->quota == b->quota);
        }
out:
        users_free(u);
        users_free(again);
        buffer_done(&error);
        buffer_done(&text);
        return 0;
}
