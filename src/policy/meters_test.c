/* Meters: counts by network and owner, minutes that pass, full tables. */
#include "policy/meters.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/test.h"

static const unsigned char v4_a[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
static const unsigned char v4_b[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 2};
static const unsigned char v6_a[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, [15] = 1};
static const unsigned char v6_a2[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, [15] = 2};
static const unsigned char v6_b[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, [15] = 1};
static const uint64_t minute = 60000000, now = 1000 * 60000000ULL;

static void *new_area(size_t clients)
{
        void *area = calloc(1, meters_size(clients));

        CHECK(area, "memory");
        meters_format(area, meters_size(clients), 42);
        return area;
}

TEST(a_client_is_an_ipv4_address_or_an_ipv6_64)
{
        void *area = new_area(100);
        struct meters m;

        CHECK(meters_attach(&m, area, meters_size(100), 0) == 0, "attach");
        CHECK(meters_client(&m, v4_a) != meters_client(&m, v4_b), "two IPv4");
        CHECK(meters_client(&m, v6_a) == meters_client(&m, v6_a2), "one /64");
        CHECK(meters_client(&m, v6_a) != meters_client(&m, v6_b), "two /64");
        CHECK(meters_event(&m, v4_a, SPAN_LITERAL("x")) !=
                      meters_event(&m, v4_a, SPAN_LITERAL("y")), "two kinds");
        free(area);
}

TEST(connections_are_summed_over_owners_and_forgotten_with_one)
{
        void *area = new_area(100);
        struct meters one, two;
        uint64_t key;

        CHECK(meters_attach(&one, area, meters_size(100), 0) == 0, "attach");
        CHECK(meters_attach(&two, area, meters_size(100), 1) == 0, "attach");
        key = meters_client(&one, v4_a);
        CHECK(meters_hold(&one, key, now) == 1, "first");
        CHECK(meters_hold(&two, key, now) == 2, "second, elsewhere");
        CHECK(meters_hold(&two, key, now) == 3, "third");
        CHECK(meters_hold(&one, meters_client(&one, v4_b), now) == 1, "another client");
        meters_release(&two, key);
        CHECK(meters_hold(&one, key, now) == 3, "after a release");
        CHECK(meters_attach(&one, area, meters_size(100), 0) == 0, "restart");
        CHECK(meters_hold(&one, key, now) == 2, "what the old process held is gone");
        for (int i = 0; i < 9; i++)
                meters_release(&one, key);
        CHECK(meters_hold(&one, key, now) == 2, "never below zero");
        free(area);
}

static off_t octets_in_memory(int fd)
{
        struct stat st;

        CHECK(fstat(fd, &st) == 0, "stat");
        return st.st_blocks * 512;
}

TEST(what_an_owner_had_is_forgotten_without_touching_the_rest)
{
        const size_t size = meters_size(METERS_CLIENTS);
        const int fd = memfd_create("meters", MFD_CLOEXEC);
        unsigned char address[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 0};
        struct meters one, two;
        void *area;

        CHECK(fd >= 0 && ftruncate(fd, (off_t) size) == 0, "file");
        area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(area != MAP_FAILED, "map");
        meters_format(area, size, 42);
        CHECK(meters_attach(&one, area, size, 0) == 0 && meters_attach(&two, area, size, 1) == 0,
              "attach");
        CHECK(octets_in_memory(fd) <= sysconf(_SC_PAGESIZE), "the head alone");
        for (int i = 0; i < 256; i++) {
                address[15] = (unsigned char) i;
                CHECK(meters_hold(&one, meters_client(&one, address), now) == 1, "held");
                CHECK(meters_hold(&two, meters_client(&one, address), now) == 2, "held twice");
        }
        CHECK(meters_attach(&one, area, size, 0) == 0, "restart");
        for (int i = 0; i < 256; i++) {
                address[15] = (unsigned char) i;
                CHECK(meters_held(&one, meters_client(&one, address)) == 1, "the other's alone");
        }
        munmap(area, size);
        close(fd);
}

TEST(events_count_within_a_minute)
{
        void *area = new_area(100);
        struct meters m;
        uint64_t key;

        CHECK(meters_attach(&m, area, meters_size(100), 0) == 0, "attach");
        key = meters_event(&m, v6_a, SPAN_LITERAL("relay_networks"));
        for (unsigned i = 1; i <= 200; i++)
                CHECK(meters_tick(&m, key, now) == i, "same minute");
        CHECK(meters_tick(&m, key, now + minute) == 1, "next minute");
        free(area);
}

TEST(a_full_table_loses_counts_and_nothing_else)
{
        const size_t size = meters_size(8);
        void *area = new_area(8);
        struct meters m;
        unsigned held = 0;

        CHECK(meters_attach(&m, area, size, 3) == 0, "attach");
        for (uint64_t i = 0; i < 1000; i++)
                held += meters_hold(&m, i << 8 | 1, now) > 0;
        CHECK(held == 16, "as many as there are slots");
        for (uint64_t i = 0; i < 1000; i++)
                meters_release(&m, i << 8 | 1);
        for (uint64_t i = 0; i < 1000; i++) {
                CHECK(meters_hold(&m, i << 8 | 1, now) == 1, "slots are used again");
                meters_release(&m, i << 8 | 1);
        }
        free(area);
}

TEST(permissions_last_as_long_as_given)
{
        void *area = new_area(8);
        struct meters m;
        uint64_t key;

        CHECK(meters_attach(&m, area, meters_size(8), 0) == 0, "attach");
        key = meters_permission(&m, v6_a, SPAN_LITERAL("pop"));
        CHECK(!meters_is_permitted(&m, key, now), "not given");
        meters_permit(&m, key, 10, now);
        CHECK(meters_is_permitted(&m, key, now), "given");
        CHECK(meters_is_permitted(&m, key, now + 9 * minute), "still there");
        CHECK(!meters_is_permitted(&m, key, now + 11 * minute), "over");
        CHECK(!meters_is_permitted(&m, key, now - 2000 * minute), "the clock was set back");
        CHECK(!meters_is_permitted(&m, meters_permission(&m, v6_a, SPAN_LITERAL("x")), now),
              "another kind");
        for (uint64_t i = 0; i < 1000; i++)
                meters_tick(&m, i << 8 | 1, now + minute);
        CHECK(meters_is_permitted(&m, key, now + minute), "others do not take its place");
        for (uint64_t i = 0; i < 1000; i++)
                meters_permit(&m, i << 8 | 1, 1, now + 11 * minute);
        CHECK(!meters_is_permitted(&m, key, now + 11 * minute), "its place is used again");
        free(area);
}

TEST(an_area_of_another_shape_is_refused)
{
        void *area = new_area(100);
        struct meters m;

        CHECK(meters_attach(&m, area, 10, 0) < 0, "too small");
        CHECK(meters_attach(&m, area, meters_size(1000), 0) < 0, "another size");
        ((char *) area)[0] ^= 1;
        CHECK(meters_attach(&m, area, meters_size(100), 0) < 0, "no mark");
        free(area);
}

TEST_MAIN()
