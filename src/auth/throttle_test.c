/* Who may try a password again, and when. */
#include "auth/throttle.h"

#include <stdio.h>

#include "base/test.h"

static const unsigned char here[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
static const unsigned char there[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 2};
static const struct span alice = SPAN("alice@example.jp"), bob = SPAN("bob@example.jp");

TEST(a_client_waits_longer_and_is_then_turned_away)
{
        struct throttle *t = throttle_new();
        uint64_t before = 0, now = 1000000;

        for (int i = 0; i < THROTTLE_CLIENT_MAX; i++) {
                uint64_t delay;

                CHECK(throttle_may_try(t, here, alice, now), "not yet");
                delay = throttle_failed(t, here, alice, now);
                CHECK(delay >= before && delay <= THROTTLE_DELAY_MAX_MS, "grows");
                CHECK(i >= THROTTLE_FREE || delay == 0, "mistypers are not punished");
                before = delay;
        }
        CHECK(!throttle_may_try(t, here, alice, now), "enough");
        CHECK(!throttle_may_try(t, here, bob, now), "for others' accounts too");
        CHECK(throttle_may_try(t, there, alice, now), "others are not concerned");
        throttle_succeeded(t, here, bob, now);
        CHECK(!throttle_may_try(t, here, bob, now), "one's own account buys no guesses");
        now += THROTTLE_FORGET_MS;
        CHECK(throttle_may_try(t, here, alice, now), "forgotten one by one");
        throttle_failed(t, here, alice, now);
        CHECK(!throttle_may_try(t, here, alice, now), "one only");
        throttle_free(t);
}

TEST(an_account_guessed_at_from_everywhere_stays_open_to_known_places)
{
        struct throttle *t = throttle_new();
        const uint64_t now = 1000000;
        unsigned char many[16] = {[10] = 0xff, [11] = 0xff, 198, 51, 100, 0};

        throttle_succeeded(t, here, alice, now);
        for (int i = 0; i < THROTTLE_ACCOUNT_MAX; i++) {
                many[15] = (unsigned char) i;
                CHECK(throttle_may_try(t, many, alice, now), "not yet");
                throttle_failed(t, many, SPAN_LITERAL("Alice@Example.JP"), now);
        }
        CHECK(!throttle_may_try(t, there, alice, now), "closed to strangers");
        CHECK(throttle_may_try(t, here, alice, now), "open to its owner");
        CHECK(throttle_may_try(t, there, bob, now), "other accounts are not concerned");
        throttle_free(t);
}

TEST(ipv6_counts_by_network)
{
        struct throttle *t = throttle_new();
        unsigned char a[16] = {0x20, 1, 0xd, 0xb8}, other[16] = {0x20, 1, 0xd, 0xb8, 1};

        for (int i = 0; i < THROTTLE_CLIENT_MAX; i++) {
                a[15] = (unsigned char) i;
                throttle_failed(t, a, alice, 5);
        }
        CHECK(!throttle_may_try(t, a, bob, 5), "the whole /64");
        CHECK(throttle_may_try(t, other, bob, 5), "another /64");
        throttle_free(t);
}

TEST_MAIN()
