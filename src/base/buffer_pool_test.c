#include "base/buffer_pool.h"

#include <errno.h>

#include "base/test.h"

TEST(what_was_given_last_is_used_next)
{
        struct buffer_pool pool = {0};
        struct buffer a = BUFFER_INIT(100), b = BUFFER_INIT(10000), c = BUFFER_INIT(5);
        const char *memory;

        buffer_pool_lend(&pool, &a); /* nothing there: it grows by itself */
        CHECK(buffer_append_string(&a, "hello") == 0, "step");
        memory = a.data;
        buffer_pool_take(&pool, &a);
        CHECK(a.len == 0 && !a.data && a.size_max == 100 && pool.count == 1, "step");
        CHECK(buffer_append_string(&b, "kept") == 0, "step");
        buffer_pool_lend(&pool, &b); /* has its own */
        CHECK(span_equal(buffer_span(&b), SPAN_LITERAL("kept")) && pool.count == 1, "step");
        buffer_pool_lend(&pool, &c);
        CHECK(c.data == memory && c.len == 0 && pool.count == 0, "step");
        CHECK(buffer_append_string(&c, "five.") == 0, "step"); /* its own limit holds */
        CHECK(buffer_append_string(&c, "!") == -EMSGSIZE, "step");
        buffer_pool_take(&pool, &c);
        buffer_pool_take(&pool, &b);
        buffer_pool_take(&pool, &b); /* has none any more */
        CHECK(pool.count == 2, "step");
        buffer_pool_done(&pool);
        CHECK(pool.count == 0, "step");
}

TEST(a_pool_is_bounded)
{
        struct buffer_pool pool = {0};
        struct buffer b = BUFFER_INIT(100000);
        char *to;

        for (int i = 0; i < BUFFER_POOL_ITEMS + 5; i++) {
                CHECK(buffer_append_string(&b, "x") == 0, "step");
                buffer_pool_take(&pool, &b);
        }
        CHECK(pool.count == BUFFER_POOL_ITEMS && !b.data, "step");
        buffer_pool_done(&pool);
        CHECK(buffer_reserve(&b, BUFFER_POOL_ROOM_MAX + 1, &to) == 0, "step");
        buffer_pool_take(&pool, &b);
        CHECK(pool.count == 0 && !b.data, "step");
}

TEST_MAIN()
