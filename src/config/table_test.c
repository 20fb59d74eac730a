/* Tables in sendmail's forms: good rows and where they are found, bad rows and
 * the exact words about them. */
#include "config/table.h"

#include <stdio.h>
#include <unistd.h>

#include "base/test.h"

/* The same names as in the configuration. */
static const struct kind {
        enum snapshot_table table;
        const char *name;
        table_parse_fn *parse;
} kinds[] = {
        { SNAPSHOT_MAILERTABLE, "mailertable", table_mailertable_parse },
        { SNAPSHOT_ACCESS, "access", table_access_parse },
        { SNAPSHOT_ALIASES, "aliases", table_aliases_parse },
        { SNAPSHOT_VIRTUSERTABLE, "virtusertable", table_virtusertable_parse },
        { SNAPSHOT_GENERICSTABLE, "genericstable", table_genericstable_parse },
        { SNAPSHOT_ALIASES, "/etc/mail/staff", table_include_parse },
};
enum { MAILER, ACCESS, ALIASES, VIRTUSER, GENERICS, INCLUDED };

static int compile(const struct kind *k, struct span text, struct buffer *error,
                   struct snapshot **ret_s)
{
        struct snapshot_build *b;
        int fd = -1;
        int r;

        assert_int_equal(snapshot_build_new(1, 7, &b), 0);
        r = k->parse(text, span_from_string(k->name), b, error);
        if (r == 0)
                r = snapshot_build_finish(b, error, &fd);
        if (r == 0)
                assert_int_equal(snapshot_open(fd, ret_s), 0);
        if (fd >= 0)
                close(fd);
        snapshot_build_free(b);
        return r;
}

/* ---- good rows: a key leads to a value, at its line ---- */

/* The tables of the tutorial that administrators have, as they stand there. */
#define GATEWAY_MAILERTABLE                                                                        \
        ".example.gr.jp smtp:[dist-in.example.gr.jp]\n\n"                                          \
        ".example.ad.jp smtp:[non-mx.example.ad.jp]\n\n"                                           \
        ".example.com esmtp:mx.example.co.jp\n"
#define RELAY_MAILERTABLE                                                                          \
        "sub1.example.gr.jp smtp:[mbox1.example.gr.jp]\n\n"                                        \
        "sub2.example.gr.jp smtp:[mbox2.example.ad.jp]\n\n"                                        \
        "sub1.example.ad.jp smtp:[192.168.10.25]\n"
#define GATEWAY_ACCESS                                                                             \
        "spammers.net REJECT\n"                                                                    \
        "spammer@ube.com ERROR:5.7.1:551 Relay denied\n"                                           \
        "spam@uce.uce.com DISCARD\n"                                                               \
        "example.gr.jp RELAY\n"                                                                    \
        "localhost RELAY\n"                                                                        \
        "127.0.0.1 RELAY\n"
#define BLACKLIST_ACCESS                                                                           \
        "bogus_user@ REJECT\n\n"                                                                   \
        "bogus.example.gr.jp ERROR:550 Bogus host\n\n"                                             \
        "junk@other.example.gr.jp ERROR:550 Mailbox unavailable\n"

static const struct {
        int kind;
        const char *text, *key, *value;
        uint32_t line;
} good[] = {
        { MAILER, GATEWAY_MAILERTABLE, ".example.gr.jp", "smtp:[dist-in.example.gr.jp]", 1 },
        { MAILER, GATEWAY_MAILERTABLE, ".example.ad.jp", "smtp:[non-mx.example.ad.jp]", 3 },
        { MAILER, GATEWAY_MAILERTABLE, ".example.com", "esmtp:mx.example.co.jp", 5 },
        { MAILER, RELAY_MAILERTABLE, "sub1.example.gr.jp", "smtp:[mbox1.example.gr.jp]", 1 },
        { MAILER, RELAY_MAILERTABLE, "sub2.example.gr.jp", "smtp:[mbox2.example.ad.jp]", 3 },
        { MAILER, RELAY_MAILERTABLE, "sub1.example.ad.jp", "smtp:[192.168.10.25]", 5 },
        { MAILER, "# all\n\nA.Example\tlmtp:[192.0.2.1]:2424\r\n", "a.example",
          "lmtp:[192.0.2.1]:2424", 3 },
        { MAILER, "a.example relay:[gw.example]", "a.example", "smtp:[gw.example]", 1 },
        { MAILER, "a.example smtp8:gw.example", "a.example", "smtp:gw.example", 1 },
        { MAILER, "a.example gw.example:2525", "a.example", "gw.example:2525", 1 },
        { MAILER, "a.example local:", "a.example", "local:", 1 },
        { MAILER, "a.example local:hanako", "a.example", "local:hanako", 1 },
        { MAILER, "a.example discard:", "a.example", "discard:", 1 },
        { MAILER, "a.example error:5.1.2:550 No such\n  host", "a.example",
          "error:550 5.1.2 No such host", 1 },
        { MAILER, "a.example error:nohost", "a.example", "error:550 5.1.2 No such host", 1 },
        { MAILER, "a.example error:4.2.1:closed", "a.example", "error:450 4.2.1 closed", 1 },
        { MAILER, ".a.example smtp:%1.b.example", ".a.example", "smtp:%1.b.example", 1 },
        { MAILER, ". smtp:[gw.example]", ".", "smtp:[gw.example]", 1 },
        { MAILER, "a.example \\\nsmtp:[gw.example]\nb.example discard:", "b.example", "discard:",
          3 },
        { MAILER, "a.example\n# between\n\n smtp:x.example\nb.example discard:", "b.example",
          "discard:", 5 },
        { ACCESS, GATEWAY_ACCESS, "spammers.net", "R", 1 },
        { ACCESS, GATEWAY_ACCESS, "spammer@ube.com", "E551 5.7.1 Relay denied", 2 },
        { ACCESS, GATEWAY_ACCESS, "spam@uce.uce.com", "D", 3 },
        { ACCESS, GATEWAY_ACCESS, "example.gr.jp", "L", 4 },
        { ACCESS, GATEWAY_ACCESS, "localhost", "L", 5 },
        { ACCESS, GATEWAY_ACCESS, "4/32/7f000001", "L", 6 },
        { ACCESS, GATEWAY_ACCESS, "4/", "\x20", 0 },
        { ACCESS, BLACKLIST_ACCESS, "bogus_user@", "R", 1 },
        { ACCESS, BLACKLIST_ACCESS, "bogus.example.gr.jp", "E550 5.7.1 Bogus host", 3 },
        { ACCESS, BLACKLIST_ACCESS, "junk@other.example.gr.jp",
          "E550 5.7.1 Mailbox unavailable", 5 },
        { ACCESS, "CONNECT:192.168 relay", "connect:4/16/c0a8", "L", 1 },
        { ACCESS, "10 RELAY", "4/8/0a", "L", 1 },
        { ACCESS, "192.168.1. OK", "4/24/c0a801", "O", 1 },
        { ACCESS, "192.168.8.0/22 OK", "4/22/c0a808", "O", 1 },
        { ACCESS, "0.0.0.0/0 REJECT", "4/0/", "R", 1 },
        { ACCESS, "10\nOK\n", NULL, NULL, 0 },
        { ACCESS, "10 OK\n192.168.8.0/22 OK\n10.1 OK", "4/", "\x16\x10\x08", 0 },
        { ACCESS, "IPv6:2001:db8 OK", "6/32/20010db8", "O", 1 },
        { ACCESS, "Connect:ipv6:2001:db8::1 OK", "connect:6/128/20010db8000000000000000000000001",
          "O", 1 },
        { ACCESS, "IPv6:2001:db8::/33 OK", "6/33/20010db80", "O", 1 },
        { ACCESS, "IPv6:2001:db8:0:0:0:0:0:1 OK", "6/128/20010db8000000000000000000000001", "O",
          1 },
        { ACCESS, "IPv6:::ffff:192.0.2.1 OK", "4/32/c0000201", "O", 1 },
        { ACCESS, "From:<> REJECT", "from:<>", "R", 1 },
        { ACCESS, "To:A@B.Example 550 5.2.1 Moved", "to:a@b.example", "E550 5.2.1 Moved", 1 },
        { ACCESS, "a.example ERROR:\"550 no thanks\"", "a.example", "E550 5.7.1 no thanks", 1 },
        { ACCESS, "a.example 450", "a.example", "E450 4.7.1 Refused", 1 },
        { ACCESS, ".a.example SKIP", ".a.example", "S", 1 },
        { ALIASES, "postmaster: root\nroot: taro, \"a b\"@x.example", "root",
          "taro\n\"a b\"@x.example\n", 2 },
        { ALIASES, "# c\nstaff:\ttaro,\n\thanako,\n# d\n  jiro@b.example,\n", "STAFF",
          "taro\nhanako\njiro@b.example\n", 2 },
        { ALIASES, "Owner-Staff: hanako", "owner-staff", "hanako\n", 1 },
        { ALIASES, "staff: :include:/etc/mail/staff", "staff", ":include:/etc/mail/staff\n", 1 },
        { ALIASES, "staff: \":include:/etc/mail/staff\"", "staff", ":include:/etc/mail/staff\n",
          1 },
        { ALIASES, "p: \"|/bin/x -a 'b \\\"c'\", hanako, |/bin/y z", "p",
          "|/bin/x -a 'b \"c'\nhanako\n|/bin/y z\n", 1 },
        { ALIASES, "f: /var/mail/list, \"/var/mail/a b\"", "f",
          "/var/mail/list\n/var/mail/a b\n", 1 },
        { INCLUDED, "\"|/bin/x, y\"\n", ":include:/etc/mail/staff", "|/bin/x, y\n", 0 },
        { ALIASES, "taro: \\taro, taro@b.example", "taro", "\\taro\ntaro@b.example\n", 1 },
        { ALIASES, "\"a b\": taro", "a b", "taro\n", 1 },
        { ALIASES, "a+*: taro", "a+*", "taro\n", 1 },
        { ALIASES, "info@example.com: taro", "info@example.com", "taro\n", 1 },
        { ALIASES, "x: Hanako Y <h@b.example>, taro (Taro, Mr)", "x", "h@b.example\ntaro\n", 1 },
        { VIRTUSER, "info@Example.jp  hanako", "info@example.jp", "hanako", 1 },
        { VIRTUSER, "@example.com %1%3@example.jp", "@example.com", "%1%3@example.jp", 1 },
        { VIRTUSER, "joe+*@example.jp joe-%2@b.example", "joe+*@example.jp", "joe-%2@b.example",
          1 },
        { VIRTUSER, "++@example.jp a%3", "++@example.jp", "a%3", 1 },
        { VIRTUSER, "@x.example error:nouser No such user", "@x.example",
          "error:550 5.1.1 No such user", 1 },
        { VIRTUSER, "@x.example error:nouser 553 5.2.1 Gone", "@x.example",
          "error:553 5.2.1 Gone", 1 },
        { VIRTUSER, "@x.example error:5.7.0:550 Address invalid", "@x.example",
          "error:550 5.7.0 Address invalid", 1 },
        { GENERICS, "taro Taro.Yamada@example.jp", "TARO", "Taro.Yamada@example.jp", 1 },
        { GENERICS, "root@mx1.example.jp postmaster", "root@mx1.example.jp", "postmaster", 1 },
        { INCLUDED, "# members\ntaro, hanako\n  jiro@b.example\n", ":include:/etc/mail/staff",
          "taro\nhanako\njiro@b.example\n", 0 },
};

TEST(good_rows_are_found)
{
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
                const struct kind *k = &kinds[good[i].kind];
                struct buffer error = BUFFER_INIT(1 << 16);
                struct snapshot *s = NULL;
                struct span value = {NULL, 0};
                uint32_t line = 99;
                const int r = compile(k, span_from_string(good[i].text), &error, &s);

                if (!good[i].key) {
                        CHECK(r < 0, good[i].text);
                        buffer_done(&error);
                        continue;
                }
                if (r < 0)
                        print_error("%.*s", (int) error.len, buffer_span(&error).p);
                CHECK(r == 0, good[i].text);
                CHECK(snapshot_get(s, k->table, span_from_string(good[i].key), &value, &line),
                      good[i].text);
                if (!span_equal(value, span_from_string(good[i].value)) || line != good[i].line)
                        print_error("got \"%.*s\" at %u\n", (int) value.len, value.p, line);
                CHECK(span_equal(value, span_from_string(good[i].value)), good[i].text);
                CHECK(line == good[i].line, good[i].text);
                snapshot_close(s);
                buffer_done(&error);
        }
}

/* ---- bad rows: the exact words ---- */

#define NO_DOMAIN(line, text)                                                                      \
        "mailertable:" line ": \"" text "\" is no domain; write example.jp, .example.jp for all "  \
        "names below it, or . for every other one; beyond ASCII in the form that begins with "     \
        "xn--\n"
#define NO_HOP(text)                                                                               \
        "mailertable:1: \"" text "\" is no next hop; write it like smtp:[host], esmtp:host, "      \
        "lmtp:[host]:24, lmtp:unix:/path, local:, discard: or error:5.1.2:550 text\n"
#define NO_NETWORK(text)                                                                           \
        "access:1: \"" text "\" is no network; write 192.168.10, 192.168.8.0/22, IPv6:2001:db8 "   \
        "or IPv6:2001:db8::/32\n"
#define NO_VIRTUAL(text)                                                                           \
        "virtusertable:1: \"" text "\" is no recipient; write one name or address, with %1, %2 "   \
        "and %3 where parts belong, or error:nouser text; several need an alias\n"

static const struct {
        int kind;
        const char *text, *error;
} bad[] = {
        { MAILER, "a.example", "mailertable:1: behind \"a.example\" there is nothing; a line is a "
          "key, blanks and a value\n" },
        { MAILER, " a.example smtp:x", "mailertable:1: the line begins with a blank, which "
          "continues the line before, but there is none; take the blank out\n" },
        { MAILER, "\na..example smtp:x", NO_DOMAIN("2", "a..example") },
        { MAILER, "\xe6\x97\xa5.example smtp:x", NO_DOMAIN("1", "\xe6\x97\xa5.example") },
        { MAILER, "taro@a.example smtp:x", NO_DOMAIN("1", "taro@a.example") },
        { MAILER, "a.example smtp:", NO_HOP("smtp:") },
        { MAILER, "a.example procmail:/x", NO_HOP("procmail:/x") },
        { MAILER, "a.example smtp:x y", NO_HOP("smtp:x y") },
        { MAILER, "a.example smtp:[x]:99999", NO_HOP("smtp:[x]:99999") },
        { MAILER, "a.example smtp:%1.x", NO_HOP("smtp:%1.x") },
        { MAILER, "a.example unix:/x", NO_HOP("unix:/x") },
        { MAILER, "a.example lmtp:unix:x", NO_HOP("lmtp:unix:x") },
        { MAILER, "a.example error:hello", "mailertable:1: \"hello\" is no reply; write it like "
          "5.7.1:550 text or 550 text\n" },
        { MAILER, "a.example error:5.7.1:450 x", "mailertable:1: \"450\" and \"5.7.1\" do not go "
          "together: both begin with 4 (try again later) or both with 5\n" },
        { MAILER, "a.example smtp:x\nb.example smtp:y\nA.example smtp:z",
          "mailertable:3: \"a.example\" is there a second time, after line 1; remove one\n" },
        { ACCESS, "a.example MAYBE", "access:1: \"MAYBE\" is no action; write OK, RELAY, REJECT, "
          "DISCARD, SKIP, QUARANTINE:reason or ERROR:5.7.1:550 text\n" },
        { ACCESS, "a@b.example SKIP", "access:1: SKIP ends the search among wider domains and "
          "networks; for the address \"a@b.example\" write OK\n" },
        { ACCESS, "ClientRate:10 5", "access:1: the tag \"ClientRate:\" says nothing here; there "
          "are Connect:, From: and To:, and limits and logins are set by options\n" },
        { ACCESS, "1.2.3.256 OK", NO_NETWORK("1.2.3.256") },
        { ACCESS, "1.2.3.4.5 OK", NO_NETWORK("1.2.3.4.5") },
        { ACCESS, "10.0.0.0/33 OK", NO_NETWORK("10.0.0.0/33") },
        { ACCESS, "IPv6:2001:xyz OK", NO_NETWORK("IPv6:2001:xyz") },
        { ACCESS, "10.0.0.1/8 OK",
          "access:1: \"10.0.0.1/8\" has bits set behind its prefix; is the prefix right?\n" },
        { ACCESS, "a b@ OK", "access:1: \"b@ OK\" is no action; write OK, RELAY, REJECT, DISCARD, "
          "SKIP, QUARANTINE:reason or ERROR:5.7.1:550 text\n" },
        { ACCESS, "a@b@c OK",
          "access:1: \"a@b@c\" is no key; write an address, user@, a domain or a network\n" },
        { ACCESS, "a.example QUARANTINE: ", "access:1: behind QUARANTINE: there must be a reason "
          "of at most 200 octets\n" },
        { ACCESS, "a.example ERROR:550 \xe6", "access:1: the text of a reply goes to any client "
          "and must be ASCII\n" },
        { ACCESS, "10.0.0 OK\n10.0.0.0/24 REJECT",
          "access:2: \"4/24/0a0000\" is there a second time, after line 1; remove one\n" },
        { ALIASES, "root taro", "aliases:1: there is no colon; a line is a name, a colon and "
          "recipients\n" },
        { ALIASES, "root:", "aliases:1: \"root\" has no recipients; name some, or take it out\n" },
        { ALIASES, "a b: taro", "aliases:1: \"a b\" is no local name\n" },
        { ALIASES, "x: taro hanako", "aliases:1: \"taro hanako\" is no recipient; write a name, an "
          "address or :include:/path, with commas between them\n" },
        { ALIASES, "x: |vacation", "aliases:1: \"|vacation\": the program's whole path is "
          "wanted\n" },
        { ALIASES, "y: z\nx: \"|/bin/cat > /tmp/x\"", "aliases:2: \"\"|/bin/cat > /tmp/x\"\": no "
          "shell reads it: write /bin/sh -c '\xe2\x80\xa6' where one is wanted, or quote what a "
          "shell would read\n" },
        { ALIASES, "x: <|/bin/x>", "aliases:1: \"|/bin/x\" is no recipient; write a name, an "
          "address or :include:/path, with commas between them\n" },
        { INCLUDED, "X </tmp/x>\n", "/etc/mail/staff:1: \"/tmp/x\" is no recipient; write a "
          "name, an address or :include:/path, with commas between them\n" },
        { ALIASES, "x: /var/mail/", "aliases:1: \"/var/mail/\": a file's path has at most 240 "
          "octets, none of them a control character, and no / at its end\n" },
        { ALIASES, "x: :include:staff", "aliases:1: \":include:staff\": behind :include: there "
          "must be a whole path of at most 240 octets\n" },
        { ALIASES, "x: y\nX: z", "aliases:2: \"x\" is there a second time, after line 1; remove "
          "one\n" },
        { VIRTUSER, "info hanako", "virtusertable:1: \"info\" is no key; write user@example.jp, "
          "user+*@example.jp or @example.jp\n" },
        { VIRTUSER, "@example.jp a, b", NO_VIRTUAL("a, b") },
        { VIRTUSER, "@example.jp %4@example.jp", NO_VIRTUAL("%4@example.jp") },
        { GENERICS, "@example.jp x@example.jp",
          "genericstable:1: \"@example.jp\" is no key; write a local name or an address\n" },
        { GENERICS, "x a b",
          "genericstable:1: \"a b\" is no address; write it like taro@example.jp\n" },
        { INCLUDED, "taro\n|/bin/sh >x\n", "/etc/mail/staff:2: \"|/bin/sh >x\": no shell reads "
          "it: write /bin/sh -c '\xe2\x80\xa6' where one is wanted, or quote what a shell would "
          "read\n" },
};

TEST(bad_rows_are_named)
{
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                struct buffer error = BUFFER_INIT(1 << 16);
                struct snapshot *s = NULL;
                const int r = compile(&kinds[bad[i].kind], span_from_string(bad[i].text), &error,
                                      &s);

                if (!span_equal(buffer_span(&error), span_from_string(bad[i].error)))
                        print_error("got:  %.*swant: %s", (int) error.len, buffer_span(&error).p,
                                    bad[i].error);
                CHECK(r < 0, bad[i].text);
                CHECK(span_equal(buffer_span(&error), span_from_string(bad[i].error)),
                      bad[i].text);
                buffer_done(&error);
        }
}

/* Wherever a file is cut off, it is rows or an error, and nothing else. */
TEST(cut_files_are_rows_or_errors)
{
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
                for (size_t cut = 0; cut <= strlen(good[i].text); cut++) {
                        struct buffer error = BUFFER_INIT(1 << 16);
                        struct snapshot *s = NULL;
                        const int r = compile(&kinds[good[i].kind],
                                              span_make(good[i].text, cut), &error, &s);

                        CHECK((r == 0) == (error.len == 0), good[i].text);
                        snapshot_close(s);
                        buffer_done(&error);
                }
}

TEST(a_million_octets_of_one_line_is_an_error)
{
        static char text[1 << 20];
        struct buffer error = BUFFER_INIT(1 << 16);
        struct snapshot *s = NULL;

        memset(text, 'a', sizeof text);
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
                buffer_clear(&error);
                CHECK(compile(&kinds[i], span_make(text, sizeof text), &error, &s) < 0,
                      kinds[i].name);
                CHECK(memmem(buffer_span(&error).p, error.len, "is it the right file?", 21),
                      kinds[i].name);
        }
        buffer_done(&error);
}

TEST(every_key_of_a_large_table_is_found)
{
        enum { ROWS = 20000 };
        struct buffer text = BUFFER_INIT(8 << 20), error = BUFFER_INIT(1 << 16);
        struct snapshot *s = NULL;
        struct span value;
        uint32_t line;
        char key[64];

        for (int i = 0; i < ROWS; i++)
                assert_int_equal(buffer_printf(&text, "d%d.example smtp:[h%d.example]\n", i, i),
                                 0);
        assert_int_equal(compile(&kinds[MAILER], buffer_span(&text), &error, &s), 0);
        for (int i = 0; i < ROWS; i++) {
                snprintf(key, sizeof key, "D%d.example", i);
                CHECK(snapshot_get(s, SNAPSHOT_MAILERTABLE, span_from_string(key), &value, &line),
                      key);
                CHECK(line == (uint32_t) i + 1, key);
        }
        snapshot_close(s);
        buffer_done(&text);
        buffer_done(&error);
}

TEST_MAIN()
