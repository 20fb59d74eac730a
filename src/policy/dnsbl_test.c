#include "policy/dnsbl.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/test.h"

static void read_address(const char *text, unsigned char out[16])
{
        memset(out, 0, 16);
        out[10] = out[11] = 0xff;
        if (inet_pton(AF_INET, text, out + 12) != 1)
                CHECK(inet_pton(AF_INET6, text, out) == 1, text);
}

TEST(names_are_the_address_backwards)
{
        static const struct {
                const char *address, *name;
        } cases[] = {
                {"192.0.2.1", "1.2.0.192.bl.example"},
                {"127.0.0.2", "2.0.0.127.bl.example"},
                {"2001:db8::7f", "f.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."
                                 "bl.example"},
        };
        unsigned char address[16];
        char out[DNSBL_NAME_ROOM], zone[DNSBL_NAME_ROOM];
        size_t len;

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                read_address(cases[i].address, address);
                CHECK(dnsbl_name(address, SPAN_LITERAL("bl.example"), out, &len),
                      cases[i].address);
                assert_string_equal(out, cases[i].name);
                assert_int_equal(len, strlen(cases[i].name));
        }
        memset(zone, 'a', sizeof zone);
        CHECK(dnsbl_name(address, span_make(zone, 189), out, &len), "just fits");
        CHECK(!dnsbl_name(address, span_make(zone, 190), out, &len), "too long");
}

TEST(answers_mean_something)
{
        struct config_network networks[2] = {{.prefix = 128}, {.prefix = 126}};
        const struct config_dnsbl any = {.zone = SPAN("bl")},
                                  some = {.zone = SPAN("bl"), .answers = {networks, 2}};
        static const struct {
                const char *answer;
                enum dnsbl_answer any, some;
        } cases[] = {
                {"127.0.0.2", DNSBL_LISTED, DNSBL_LISTED},
                {"127.0.0.3", DNSBL_LISTED, DNSBL_UNWANTED},
                {"127.0.0.6", DNSBL_LISTED, DNSBL_LISTED},
                {"127.255.255.254", DNSBL_REFUSING, DNSBL_REFUSING},
                {"127.255.254.1", DNSBL_LISTED, DNSBL_UNWANTED},
                {"192.0.2.80", DNSBL_STRANGE, DNSBL_STRANGE},
                {"0.0.0.0", DNSBL_STRANGE, DNSBL_STRANGE},
        };

        read_address("127.0.0.2", networks[0].address);
        read_address("127.0.0.4", networks[1].address);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                unsigned char address[16];

                read_address(cases[i].answer, address);
                CHECK(dnsbl_judge(&any, address + 12) == cases[i].any, cases[i].answer);
                CHECK(dnsbl_judge(&some, address + 12) == cases[i].some, cases[i].answer);
        }
}

TEST(reasons_are_one_plain_line)
{
        char out[64];

        assert_int_equal(dnsbl_reason(SPAN_LITERAL("\3a\r\nrest"), out, sizeof out), 3);
        assert_memory_equal(out, "a??", 3);
        assert_int_equal(dnsbl_reason(SPAN_LITERAL("\7short"), out, sizeof out), 0);
        assert_int_equal(dnsbl_reason(SPAN_LITERAL(""), out, sizeof out), 0);
        assert_int_equal(dnsbl_reason(SPAN_LITERAL("\5hello"), out, 2), 2);
}

TEST(messages_name_address_zone_and_reason)
{
        static const struct {
                const char *message, *reason, *want;
        } cases[] = {
                {"", "", "Rejected: [192.0.2.1] is listed by bl"},
                {"", "spam", "Rejected: [192.0.2.1] is listed by bl (spam)"},
                {"%a %z %r 100%% %x %", "why", "[192.0.2.1] bl why 100% %x %"},
                {"RBL BLOCK", "why", "RBL BLOCK"},
        };
        char out[DNSBL_MESSAGE_ROOM];

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct config_dnsbl d = {.zone = SPAN("bl"),
                                               .message = span_from_string(cases[i].message)};
                const size_t len = dnsbl_message(&d, SPAN_LITERAL("[192.0.2.1]"),
                                                 span_from_string(cases[i].reason), out,
                                                 sizeof out);

                CHECK(span_equal(span_make(out, len), span_from_string(cases[i].want)),
                      cases[i].want);
        }
        assert_int_equal(dnsbl_message(&(struct config_dnsbl) {.message = SPAN("%a%a")},
                                       SPAN_LITERAL("0123456789"), SPAN_LITERAL(""), out, 12), 12);
}

TEST_MAIN()
