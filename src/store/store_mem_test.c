/* The mem: driver: the conformance suite, and the ways to make it fail. */
#include "store/store_mem.h"

#include "store/store_conformance.c"

static int conformance_open(struct loop *l, struct store **ret)
{
        char error[256];

        return store_open("mem:", NULL, l, ret, error);
}

static int conformance_reopen(struct loop *l, struct store **ret)
{
        (void) l;
        (void) ret;
        return -ENOTSUP;
}

static void conformance_clean(void)
{
}

TEST(delay_keeps_the_order)
{
        struct answer first = {0}, second = {0};
        struct store_batch *b;

        begin();
        loop_fake(loop, 1000);
        store_mem_set_delay(store, 20);
        b = batch_any();
        store_commit(store, &b, 1, 0, done_commit, &first);
        store_get(store, &any, S("k"), done_get, &second);
        loop_run_once(loop, 0);
        CHECK(!first.is_done && !second.is_done, "later");
        loop_fake(loop, 0);
        wait_for(&second);
        CHECK(first.is_done && second.number == 1, "in order");
        end();
}

TEST(held_commits_wait)
{
        struct answer a = {0};
        struct store_batch *b;

        begin();
        store_mem_hold(store, true);
        b = batch_any();
        store_commit(store, &b, 1, 0, done_commit, &a);
        for (int i = 0; i < 5; i++)
                loop_run_once(loop, 1);
        CHECK(!a.is_done, "held");
        store_mem_hold(store, false);
        wait_for(&a);
        CHECK(a.result == 0, "let go");
        end();
}

TEST(failures_have_no_effect)
{
        begin();
        store_mem_fail(store, 1, 2, -ENOSPC);
        put_one(S("a"), S("1"));
        for (int i = 0; i < 2; i++) {
                struct store_batch *b = batch_any();

                store_put(b, S("a"), S("2"));
                CHECK(commit(b) == -ENOSPC, "fails");
        }
        CHECK(strcmp(get(&any, S("a")).text, "1") == 0, "no effect");
        put_one(S("a"), S("3"));
        store_mem_fail(store, 0, 1, -EIO);
        CHECK(commit(batch_any()) == -EIO && commit(batch_any()) == -EIO, "for ever");
        CHECK(store_state(store) == STORE_FAILED, "state");
        end();
}

TEST(full_refuses_bodies_only)
{
        struct store_batch *b;
        int fd;

        begin();
        store_mem_set_full(store, true);
        b = batch_any();
        store_blob_put(b, 1, 1, S(""), NULL, 0);
        CHECK(commit(b) == -ENOSPC, "a body");
        CHECK(store_blob_lend(store, 2, &fd) == -ENOSPC, "a file");
        put_one(S("a"), S("1"));
        CHECK(store_state(store) == STORE_FULL, "state");
        end();
}

TEST_MAIN()
