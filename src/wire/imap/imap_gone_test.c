#include "base/test.h"
#include "wire/imap/imap_view.h"

TEST(views_share_what_went)
{
        struct imap_gone *g = imap_gone_new(5, NULL, 0);
        struct imap_view *old, *new;

        for (uint32_t i = 1; i <= 20; i++) /* more than there is room at first */
                imap_gone_add(&g, &(struct imap_gone_range) {5 + i, i, i});
        old = imap_view_new(&(const struct imap_view_head) {.uid_next = 99, .gone = g}, NULL, 0);
        imap_gone_add(&g, &(struct imap_gone_range) {26, 21, 30});
        new = imap_view_new(&(const struct imap_view_head) {.uid_next = 99, .gone = g}, NULL, 0);
        CHECK(old->gone_count == 20 && new->gone_count == 21 && new->gone->since == 5, "counted");
        CHECK(old->gone->ranges[19].first == 20 && new->gone->ranges[20].last == 30, "kept");
        imap_gone_unref(g);
        imap_view_unref(old);
        imap_view_unref(new);
}

TEST(the_oldest_are_forgotten)
{
        struct imap_gone *g = imap_gone_new(0, NULL, 0);

        for (uint32_t i = 1; i <= 5 * IMAP_GONE_MAX; i++)
                imap_gone_add(&g, &(struct imap_gone_range) {i, i, i});
        CHECK(g->count <= 2 * IMAP_GONE_MAX, "bounded");
        CHECK(g->ranges[g->count - 1].last == 5 * IMAP_GONE_MAX, "the newest are there");
        CHECK(g->since + 1 == g->ranges[0].modseq, "and it knows since when");
        imap_gone_unref(g);
}

TEST(nothing_known_stays_so)
{
        struct imap_gone *g = NULL;

        imap_gone_add(&g, &(struct imap_gone_range) {1, 1, 1});
        CHECK(g == NULL && imap_gone_ref(g) == NULL && imap_gone_unref(g) == NULL, "nothing");
}

TEST_MAIN()
