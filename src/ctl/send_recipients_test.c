#include "ctl/send_recipients.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"

static const struct {
        const char *name, *text;
        const char *want; /* joined by blanks; NULL: refused */
} cases[] = {
        { "one", "a@example.jp", "a@example.jp" },
        { "two", "a@example.jp, b@example.jp", "a@example.jp b@example.jp" },
        { "twice", "a@example.jp,A <a@EXAMPLE.jp>", "a@example.jp" },
        { "local name", "root", "root@mx1.example.jp" },
        { "display name", "Hayauma Hanako <a@example.jp>", "a@example.jp" },
        { "quoted display name", "\"Hanako, H. <x@y>\" <a@example.jp>", "a@example.jp" },
        { "comment", "a@example.jp (Hanako (H), <b@x>)", "a@example.jp" },
        { "comment inside", "a(x)@(y)example.jp", "a@example.jp" },
        { "blanks around @", "a @ example . jp", "a@example.jp" },
        { "folded", "a@example.jp,\r\n\tb@example.jp", "a@example.jp b@example.jp" },
        { "group", "Friends: a@example.jp, B <b@example.jp>;, c@example.jp",
          "a@example.jp b@example.jp c@example.jp" },
        { "empty group", "undisclosed-recipients:;", "" },
        { "nothing", "", "" },
        { "commas only", ", ,,", "" },
        { "empty angle", "<>", "" },
        { "route", "<@x.jp,@y.jp:a@example.jp>", "a@example.jp" },
        { "quoted local part", "\"a b\"@example.jp", "\"a b\"@example.jp" },
        { "comma in a quoted local part", "\"a,b\"@example.jp", "\"a,b\"@example.jp" },
        { "address literal", "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]" },
        { "dots as carriers gave them out", "a..b.@docomo.ne.jp", "\"a..b.\"@docomo.ne.jp" },
        { "several words", "Hayauma Hanako", NULL },
        { "open angle", "Hanako <a@example.jp", NULL },
        { "open quote", "\"a@example.jp", NULL },
        { "line end in an address", "<a@example.jp\r\nRCPT TO:<b@x>", NULL },
        { "CR in quotes", "\"a\rb\"@example.jp", NULL },
        { "no domain behind @", "a@", NULL },
};

static struct send_recipients add(size_t i, size_t len, int *ret_result)
{
        struct send_recipients r = SEND_RECIPIENTS_INIT(SPAN_LITERAL("mx1.example.jp"));

        *ret_result = send_recipients_add(&r, span_make(cases[i].text, len));
        return r;
}

TEST(addresses_are_found)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                char joined[512] = "";
                size_t len = 0;
                int result;
                struct send_recipients r = add(i, strlen(cases[i].text), &result);

                for (size_t k = 0; k < r.count; k++) {
                        if (k)
                                joined[len++] = ' ';
                        memcpy(joined + len, r.items[k].address.p, r.items[k].address.len);
                        len += r.items[k].address.len;
                }
                joined[len] = '\0';
                if (cases[i].want)
                        CHECK(result == 0 && strcmp(joined, cases[i].want) == 0, cases[i].name);
                else
                        CHECK(result == -EINVAL && r.bad.len, cases[i].name);
                send_recipients_done(&r);
        }
}

/* Whatever is cut off, no address has a line end in it: it stands in a command. */
TEST(no_cut_makes_an_address_of_two_lines)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                for (size_t cut = 0; cut <= strlen(cases[i].text); cut++) {
                        int result;
                        struct send_recipients r = add(i, cut, &result);

                        for (size_t k = 0; k < r.count; k++)
                                CHECK(span_find(r.items[k].address, '\n') == SIZE_MAX &&
                                              span_find(r.items[k].address, '\r') == SIZE_MAX,
                                      cases[i].name);
                        send_recipients_done(&r);
                }
        }
}

TEST(there_is_a_limit)
{
        struct send_recipients r = SEND_RECIPIENTS_INIT(SPAN_LITERAL("x"));
        int result = 0;

        for (int i = 0; i <= SEND_RECIPIENTS_MAX && result == 0; i++) {
                char text[16];
                int n = snprintf(text, sizeof text, "a%d", i);

                result = send_recipients_add(&r, span_make(text, (size_t) n));
        }
        CHECK(result == -E2BIG && r.count == SEND_RECIPIENTS_MAX, "limit");
        send_recipients_done(&r);
}

TEST_MAIN()
