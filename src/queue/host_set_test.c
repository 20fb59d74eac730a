/* Which lists of hosts are one destination, and which are not. */
#include "queue/host_set.h"

#include <stdio.h>

#include "base/test.h"

struct host {
        const char *name;
        unsigned preference;
};

static struct span key_of(const struct host *hosts, uint16_t port, bool is_secure,
                          char out[HOST_SET_KEY_MAX])
{
        struct buffer b = BUFFER_INIT(1024 * 1024);
        struct ipc_items items = {0};
        struct span key;

        for (; hosts->name; hosts++)
                assert_int_equal(0, ipc_add_mx_host(&b, &items, &(struct ipc_mx_host) {
                        .preference = (uint16_t) hosts->preference,
                        .name = span_from_string(hosts->name)}));
        key = host_set_key(items, port, is_secure, out);
        buffer_done(&b);
        return key;
}

static const struct {
        const char *name, *key;
        uint16_t port;
        struct host hosts[4];
} cases[] = {
        { "one host", "mx:25:a.example", 25, {{"a.example", 0}} },
        { "another port", "mx:2525:a.example", 2525, {{"a.example", 0}} },
        { "in turn", "mx:25:a.example>b.example", 25, {{"a.example", 5}, {"b.example", 7}} },
        { "equal", "mx:25:a.example,b.example", 25, {{"a.example", 5}, {"b.example", 5}} },
        { "both", "mx:25:a.example,b.example>c.example", 25,
          {{"a.example", 1}, {"b.example", 1}, {"c.example", 65535}} },
        { "none", "mx:25:", 25, {{NULL, 0}} },
};

TEST(the_order_counts_and_not_the_numbers)
{
        char out[HOST_SET_KEY_MAX], other[HOST_SET_KEY_MAX];
        const struct host low[] = {{"a.example", 1}, {"b.example", 2}, {NULL, 0}};
        const struct host high[] = {{"a.example", 10}, {"b.example", 20}, {NULL, 0}};

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                CHECK(span_equal(key_of(cases[i].hosts, cases[i].port, false, out),
                                 span_from_string(cases[i].key)), cases[i].name);
        assert_true(span_equal(key_of(low, 25, false, out), key_of(high, 25, false, other)));
        assert_true(span_equal(key_of(low, 25, true, out),
                               SPAN_LITERAL("mxs:25:a.example>b.example")));
}

TEST(a_long_list_is_told_apart_by_its_end)
{
        static char names[64][250];
        struct host hosts[65] = {{NULL, 0}};
        char first[HOST_SET_KEY_MAX], second[HOST_SET_KEY_MAX];
        struct span one, two;

        for (unsigned i = 0; i < 64; i++) {
                snprintf(names[i], sizeof names[i], "host-number-%u.%0200u.example", i, i);
                hosts[i] = (struct host) {names[i], 1};
        }
        one = key_of(hosts, 25, false, first);
        names[63][3]++;
        two = key_of(hosts, 25, false, second);
        assert_true(one.len < HOST_SET_KEY_MAX && two.len == one.len);
        assert_false(span_equal(one, two));
        hosts[63].preference = 2;
        assert_false(span_equal(key_of(hosts, 25, false, first), two));
}

TEST_MAIN()
