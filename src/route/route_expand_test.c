/* Addresses through the tables, in the tutorial's order: where each leads, and
 * by which lines. The tables are compiled from their text. */
#include "route/route.h"

#include <stdio.h>

#include "config/test_site.h"

static const char mailertable[] =
        "example.gr.jp        smtp:[dist-in.example.gr.jp]\n"       /* 1 */
        ".example.gr.jp       smtp:[dist-in.example.gr.jp]:2525\n"  /* 2 */
        ".sub.example.gr.jp   esmtp:mx.example.co.jp\n"             /* 3 */
        "closed.example       error:5.1.2:550 No more\n"            /* 4 */
        "gone.example         discard:\n"                           /* 5 */
        "here.example         local:\n"                             /* 6 */
        "taros.example        local:taro\n"                         /* 7 */
        ".dyn.example         smtp:%1.inner.example\n"              /* 8 */
        ".partner.example     lmtp:[192.0.2.9]:2424\n"              /* 9 */
        "shop.example.jp      smtp:[192.0.2.10]\n"                  /* 10 */
        ".example.jp          smtp:[192.0.2.11]\n";                 /* 11 */

static const char aliases[] =
        "postmaster:  root\n"                             /* 1 */
        "root:        taro\n"                             /* 2 */
        "team:        taro, hanako, x@other.example\n"    /* 3 */
        "taro:        taro, archive@example.com\n"        /* 4 */
        "a:           b\n"                                /* 5 */
        "b:           c\n"                                /* 6 */
        "c:           a\n"                                /* 7 */
        "half:        hanako, nobody-here\n"              /* 8 */
        "all:         team, half, all2\n"                 /* 9 */
        "all2:        all, x@other.example\n"             /* 10 */
        "staff:       :include:/etc/mail/staff\n"         /* 11 */
        "owner-staff: hanako\n"                           /* 12 */
        "lost:        nobody-here\n"                      /* 13 */
        "plus+*:      hanako\n"                           /* 14 */
        "plus+x:      x@other.example\n"                  /* 15 */
        "deep:        d1\nd1: d2\nd2: d3\nd3: d4\nd4: d5\nd5: d6\nd6: d7\nd7: d8\nd8: d9\n"
        "d9: d10\nd10: d11\nd11: hanako\n"                /* 16 to 27 */
        "team@example.com: x@other.example\n"             /* 28 */
        "news:        hanako\n"                           /* 29 */
        "owner-news:  hanako, taro\n"                     /* 30 */
        "missing:     :include:/etc/mail/missing\n"       /* 31 */
        "hanako2:     \\hanako\n"                         /* 32 */
        "looped:      :include:/etc/mail/loop\n"          /* 33 */
        "trap:        victim%outside.example\n"           /* 34 */
        "many:        :include:/etc/mail/many, :include:/etc/mail/many2\n" /* 35 */
        "prog:        \"|/bin/x a\", hanako, /var/log/list\n"  /* 36 */
        "progs+*:     :include:/etc/mail/progs\n";             /* 37 */

static const char virtusertable[] =
        "info@example.com     hanako@example.jp\n"        /* 1 */
        "sales@example.com    team@example.jp\n"          /* 2 */
        "joe+*@example.com    joe-%2@other.example\n"     /* 3 */
        "ann++@example.com    ann%3@other.example\n"      /* 4 */
        "ann@example.com      ann@other.example\n"        /* 5 */
        "@virtual.example     %1%3@example.jp\n"          /* 6 */
        "no@virtual.example   error:nouser No such user\n" /* 7 */
        "taro@example.com     taro\n"                     /* 8 */
        "@stranger.example    hanako@example.jp\n"        /* 9 */
        "self@example.com     self@example.com\n"         /* 10 */
        "x@partner.example    hanako@example.jp\n";       /* 11 */

static struct snapshot *site;

/* 600 addresses that are unlike those with another first letter. */
static struct span many(char letter, struct buffer *b)
{
        buffer_clear(b);
        for (int i = 0; i < 600; i++)
                assert_int_equal(buffer_printf(b, "%c%d@other.example\n", letter, i), 0);
        return buffer_span(b);
}

static const struct snapshot *the_site(void)
{
        struct buffer text = BUFFER_INIT(1 << 16);
        struct snapshot_build *b;

        if (site)
                return site;
        b = test_site_begin();
        test_site_add(b, SNAPSHOT_DOMAINS, "example.jp", "", 1);
        test_site_add(b, SNAPSHOT_DOMAINS, "example.com", "", 1);
        test_site_add(b, SNAPSHOT_DOMAINS, "virtual.example", "", 1);
        test_site_add(b, SNAPSHOT_RELAY_DOMAINS, "partner.example", "", 1);
        test_site_add(b, SNAPSHOT_RELAY_DOMAINS, ".partner.example", "", 1);
        test_site_table(b, table_users_parse, "users",
                        SPAN_LITERAL("taro@example.jp:{X}y\nhanako@example.jp:{X}y\n"
                                     "archive@example.com:{X}y\nx@here.example:{X}y\n"));
        test_site_table(b, table_mailertable_parse, "mailertable", SPAN_LITERAL(mailertable));
        test_site_table(b, table_aliases_parse, "aliases", SPAN_LITERAL(aliases));
        test_site_table(b, table_virtusertable_parse, "virtusertable",
                        SPAN_LITERAL(virtusertable));
        test_site_table(b, table_include_parse, "/etc/mail/staff",
                        SPAN_LITERAL("taro, hanako\n:include:/etc/mail/more\n"));
        test_site_table(b, table_include_parse, "/etc/mail/progs", SPAN_LITERAL("|/bin/y\n"));
        test_site_table(b, table_include_parse, "/etc/mail/more",
                        SPAN_LITERAL("x@other.example\n"));
        test_site_table(b, table_include_parse, "/etc/mail/loop",
                        SPAN_LITERAL(":include:/etc/mail/loop\n"));
        test_site_table(b, table_include_parse, "/etc/mail/many", many('a', &text));
        test_site_table(b, table_include_parse, "/etc/mail/many2", many('b', &text));
        site = test_site_finish(b);
        buffer_done(&text);
        return site;
}

/* Each place: "account", "!next hop" or "error code enhanced text", behind it
 * the lines that led there, the last first. */
static const struct {
        const char *rcpt_to, *want;
} cases[] = {
        /* mailertable */
        { "x@example.gr.jp", "!smtp:[dist-in.example.gr.jp]" },
        { "x@A.Example.gr.jp.", "!smtp:[dist-in.example.gr.jp]:2525" },
        { "x@a.b.sub.example.gr.jp", "!esmtp:mx.example.co.jp" },
        { "x@sub.example.gr.jp", "!smtp:[dist-in.example.gr.jp]:2525" },
        { "x@notexample.gr.jp", "!smtp:notexample.gr.jp" },
        { "x@closed.example", "error 550 5.1.2 No more" },
        { "x@gone.example", "discard" },
        { "x@here.example", "x@here.example mailertable:6 ours" },
        { "y@here.example", "error 550 5.1.1 No such user here mailertable:6 ours" },
        { "x@taros.example", "taro@example.jp mailertable:7 ours" },
        { "x@a.b.dyn.example", "!smtp:a.b.inner.example" },
        { "x@a.partner.example", "!lmtp:[192.0.2.9]:2424 ours" },
        { "x@partner.example", "hanako@example.jp virtusertable:11 ours" },
        { "y@partner.example", "!smtp:partner.example ours" },
        { "x@shop.example.jp", "!smtp:[192.0.2.10]" },
        { "x@web.example.jp", "!smtp:[192.0.2.11]" },
        /* our own names are not caught by a wider key */
        { "postmaster@mx1.example.jp", "taro@example.jp aliases:4 aliases:2 aliases:1 ours; "
          "archive@example.com aliases:4 aliases:2 aliases:1 ours" },
        { "hanako@example.jp", "hanako@example.jp ours" },
        /* aliases */
        { "taro@example.jp", "taro@example.jp aliases:4 ours; archive@example.com aliases:4 ours" },
        { "Team@example.jp", "taro@example.jp aliases:4 aliases:3 ours; "
          "archive@example.com aliases:4 aliases:3 ours; hanako@example.jp aliases:3 ours; "
          "!smtp:other.example aliases:3 ours" },
        { "team@example.com", "!smtp:other.example aliases:28 ours" },
        { "a@example.jp", "error 554 5.4.6 Aliases go in a circle: a@example.jp -> b@example.jp "
          "-> c@example.jp -> a@example.jp aliases:7 aliases:6 aliases:5 ours" },
        { "half@example.jp", "hanako@example.jp aliases:8 ours; "
          "!error:550 5.1.1 No such user here aliases:8 ours" },
        { "lost@example.jp", "error 550 5.1.1 No such user here aliases:13 ours" },
        { "all2@example.jp", "taro@example.jp aliases:4 aliases:3 aliases:9 aliases:10 ours; "
          "archive@example.com aliases:4 aliases:3 aliases:9 aliases:10 ours; "
          "hanako@example.jp aliases:3 aliases:9 aliases:10 ours; "
          "!smtp:other.example aliases:3 aliases:9 aliases:10 ours; "
          "hanako@example.jp aliases:8 aliases:9 aliases:10 ours; "
          "!error:550 5.1.1 No such user here aliases:8 aliases:9 aliases:10 ours; "
          "!smtp:other.example aliases:10 ours" },
        { "staff@example.jp", "taro@example.jp aliases:4 /etc/mail/staff aliases:11 ours; "
          "archive@example.com aliases:4 /etc/mail/staff aliases:11 ours; "
          "hanako@example.jp /etc/mail/staff aliases:11 ours; "
          "!smtp:other.example /etc/mail/more /etc/mail/staff aliases:11 ours "
          "by hanako@example.jp" },
        { "news@example.jp", "hanako@example.jp aliases:29 ours by owner-news@example.jp" },
        { "missing@example.jp", "error 451 4.3.5 A list that an alias includes is missing "
          "aliases:31 ours" },
        { "looped@example.jp", "error 554 5.4.6 Aliases go in a circle: :include:/etc/mail/loop "
          "-> :include:/etc/mail/loop /etc/mail/loop aliases:33 ours" },
        { "plus+x@example.jp", "!smtp:other.example aliases:15 ours" },
        { "plus+y@example.jp", "hanako@example.jp aliases:14 ours" },
        { "plus@example.jp", "error 550 5.1.1 No such user here ours" },
        { "root+z@example.jp", "taro@example.jp aliases:4 aliases:2 ours; "
          "archive@example.com aliases:4 aliases:2 ours" },
        { "hanako2@example.jp", "hanako@example.jp aliases:32 ours" },
        { "Prog@example.jp", "!agent:0000:prog aliases:36 ours; hanako@example.jp aliases:36 "
          "ours; !agent:0001:prog aliases:36 ours" },
        { "progs+a@example.jp", "!agent:0000::include:/etc/mail/progs /etc/mail/progs aliases:37 "
          "ours" },
        { "d2@example.jp", "hanako@example.jp aliases:27 aliases:26 aliases:25 aliases:24 "
          "aliases:23 aliases:22 aliases:21 aliases:20 aliases:19 aliases:18 ours" },
        { "deep@example.jp", "error 554 5.4.6 Too many aliases behind one another aliases:26 "
          "aliases:25 aliases:24 aliases:23 aliases:22 aliases:21 aliases:20 aliases:19 "
          "aliases:18 aliases:17 aliases:16 ours" },
        { "many@example.jp", "error 554 5.3.4 The alias has too many recipients ours" },
        { "trap@example.jp", "error 550 5.1.1 No such user here aliases:34 ours" },
        /* aliases are for local domains only */
        { "team@other.example", "!smtp:other.example" },
        { "team@partner.example", "!smtp:partner.example ours" },
        /* virtual users */
        { "info@example.com", "hanako@example.jp virtusertable:1 ours" },
        { "info+x@example.com", "hanako@example.jp virtusertable:1 ours" },
        { "sales@example.com", "taro@example.jp aliases:4 aliases:3 virtusertable:2 ours; "
          "archive@example.com aliases:4 aliases:3 virtusertable:2 ours; "
          "hanako@example.jp aliases:3 virtusertable:2 ours; "
          "!smtp:other.example aliases:3 virtusertable:2 ours" },
        { "joe+list@example.com", "!smtp:other.example joe-list@other.example virtusertable:3 "
          "ours" },
        { "ann+x@example.com", "!smtp:other.example ann+x@other.example virtusertable:4 ours" },
        { "ann+@example.com", "!smtp:other.example ann@other.example virtusertable:5 ours" },
        { "hanako@virtual.example", "hanako@example.jp virtusertable:6 ours" },
        { "hanako+a@virtual.example", "hanako@example.jp virtusertable:6 ours" },
        { "no@virtual.example", "error 550 5.1.1 No such user ours" },
        { "taro@example.com", "taro@example.jp aliases:4 virtusertable:8 ours; "
          "archive@example.com aliases:4 virtusertable:8 ours" },
        { "x@stranger.example", "!smtp:stranger.example" },
        { "self@example.com", "error 550 5.1.1 No such user here virtusertable:10 ours" },
        { "\"a@other.example\"@virtual.example", "error 550 5.1.1 No such user here "
          "virtusertable:6 ours" },
        { "victim%other.example@virtual.example", "error 550 5.1.1 No such user here "
          "virtusertable:6 ours" },
};

#define TEXT(span) (int) (span).len, (span).len ? (span).p : ""

static void describe(const struct route *r, struct buffer *out)
{
        int e;

        if (r->kind == ROUTE_LOCAL)
                e = buffer_append_span(out, r->account);
        else if (r->kind == ROUTE_RELAY)
                e = buffer_printf(out, "!%.*s", TEXT(r->next_hop));
        else if (r->kind == ROUTE_DISCARD)
                e = buffer_append_string(out, "discard");
        else
                e = buffer_printf(out, "error %u %.*s %.*s", r->code, TEXT(r->enhanced),
                                  TEXT(r->text));
        if (span_ends_with_nocase(r->rcpt_to, SPAN_LITERAL("n+x@other.example")) ||
            span_starts_with_nocase(r->rcpt_to, SPAN_LITERAL("ann@other")) ||
            span_starts_with_nocase(r->rcpt_to, SPAN_LITERAL("joe-")))
                e |= buffer_printf(out, " %.*s", TEXT(r->rcpt_to));
        for (const struct route_step *s = r->steps; s; s = s->earlier)
                e |= buffer_printf(out, " %.*s", TEXT(s->origin));
        if (r->is_ours)
                e |= buffer_append_string(out, " ours");
        assert_int_equal(e, 0);
}

static const char site_conf[] = "hostname = \"mx1.example.jp\"\n"
                                "domains = { \"example.jp\", \"example.com\" }\n";

TEST(addresses_lead_where_the_tables_say)
{
        struct arena arena = ARENA_INIT(1 << 20);
        struct buffer got = BUFFER_INIT(1 << 16);
        struct config *c = test_site_config(site_conf, "");
        unsigned wrong = 0;

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span rcpt_to = span_make(cases[i].rcpt_to, strlen(cases[i].rcpt_to));
                struct route_list list;

                arena_clear(&arena);
                buffer_clear(&got);
                CHECK(route_expand(c, the_site(), rcpt_to, NULL, &arena, &list) == 0,
                      cases[i].rcpt_to);
                for (size_t k = 0; k < list.count; k++) {
                        if (k)
                                assert_int_equal(buffer_append_string(&got, "; "), 0);
                        describe(&list.items[k], &got);
                }
                if (list.return_path.len)
                        assert_int_equal(buffer_printf(&got, " by %.*s", TEXT(list.return_path)),
                                         0);
                if (span_equal(buffer_span(&got), span_from_string(cases[i].want)))
                        continue;
                print_error("%s\ngot:  %.*s\nwant: %s\n", cases[i].rcpt_to, (int) got.len,
                            buffer_span(&got).p, cases[i].want);
                wrong++;
        }
        assert_int_equal(wrong, 0);
        arena_done(&arena);
        buffer_done(&got);
        config_free(c);
}

/* With any amount of memory it is the same answer or none. */
TEST(without_memory_it_says_so)
{
        struct config *c = test_site_config(site_conf, "");

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t size = 0; size < 6000; size += 97) {
                        struct arena arena = ARENA_INIT(size);
                        struct route_list list = {.count = 0};
                        const int r = route_expand(c, the_site(),
                                                   span_from_string(cases[i].rcpt_to), NULL,
                                                   &arena, &list);

                        CHECK(r == 0 ? list.count > 0 : r == -12, cases[i].rcpt_to);
                        arena_done(&arena);
                }
        config_free(c);
}

TEST_MAIN()
