/* The edge role against attackers and front ends, and what MAIL and others may
 * ask of it. */
#include "process/edge/edge_test_site.h"

TEST(parameters_of_mail_go_with_the_commit)
{
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO
             "C: MAIL FROM:<a@example.net> RET=HDRS ENVID=e1 MT-PRIORITY=-4 SMTPUTF8\n"
             "S: 250 2.1.0\n"
             "C: RCPT TO:<taro@example.jp> NOTIFY=SUCCESS ORCPT=rfc822;t@example.jp\nS: 250 2.1.5\n"
             SMALL "S: 250 2.0.0");
        CHECK(keeper.flags & ENVELOPE_RET_HDRS && keeper.flags & ENVELOPE_SMTPUTF8, "flags");
        CHECK(envelope_has_priority(keeper.flags) && envelope_priority(keeper.flags) == -4,
              "priority");
        say(&c, SPAN_LITERAL("MAIL FROM:<a@example.net>\r\nRCPT TO:<taro@example.jp>\r\n"
                             "BDAT 6\r\na: b\r\nBDAT 3 LAST\r\n\r\n."));
        play(&c, "S: 250 2.1.0\nS: 250 2.1.5\nS: 250 2.0.0 6 octets\nS: 250 2.0.0 0");
        CHECK(!envelope_has_priority(keeper.flags), "none given");
        CHECK(keeper.commits == 2 && body_has("\r\na: b\r\n\r\n."), "by BDAT");
        client_done(&c);
        finish();
}

TEST(strangers_cannot_be_urgent)
{
        struct client c;

        start(strangers);
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<a@example.net> MT-PRIORITY=9\nS: 250 2.3.6\n"
                       "C: RCPT TO:<taro@example.jp>\nS: 250\n" SMALL "S: 250");
        CHECK(envelope_priority(keeper.flags) == 0, "priority");
        client_done(&c);
        finish();
}

TEST(those_who_speak_out_of_turn_are_cut)
{
        static const char *const out_of_turn[] = {
                "EHLO x\r\nMAIL FROM:<>\r\n",
                "MAIL FROM:<>\r\nRCPT TO:<taro@example.jp>\r\nDATA\r\nSubject: x\r\n",
        };
        struct client c;
        char record[512];

        start(strangers);
        for (size_t i = 0; i < sizeof out_of_turn / sizeof out_of_turn[0]; i++) {
                c = client_new();
                play(&c, HELLO);
                say(&c, span_from_string(out_of_turn[i]));
                if (i)
                        play(&c, "S: 250\nS: 250");
                play(&c, "S: 554 5.5.0 You spoke without waiting\nS: -");
                client_done(&c);
        }
        WAIT_FOR(keeper.refusals >= 2);
        describe_record(buffer_span(&keeper.refused), record, sizeof record);
        CHECK(strcmp(record, "received;refused=smtp.strict_turns;") == 0, record);
        /* RFC 2920 allows this, and BDAT may follow anything. */
        c = client_new();
        play(&c, HELLO);
        say(&c, SPAN_LITERAL("MAIL FROM:<>\r\nRCPT TO:<taro@example.jp>\r\nBDAT 2 LAST\r\n\r\n"
                             "QUIT\r\n"));
        play(&c, "S: 250\nS: 250\nS: 250 2.0.0\nS: 221\nS: -");
        client_done(&c);
        finish();
}

TEST(early_talkers_get_no_greeting)
{
        struct client c;

        start(strangers);
        c = client_new();
        CHECK(send(c.fd, "EHLO x\r\n", 8, 0) == 8, "before accept()");
        play(&c, "S: 554 5.5.0 You spoke before the greeting\nS: -");
        client_done(&c);
        finish();

        start("relay_networks = { \"192.0.2.0/24\" }\nsmtp { greet_delay = 200ms }\n");
        c = client_new();
        run();
        run();
        say(&c, SPAN_LITERAL("EHLO x\r\n"));
        play(&c, "S: 554 5.5.0 You spoke before the greeting\nS: -");
        client_done(&c);
        c = client_new();
        play(&c, HELLO "C: QUIT\nS: 221");
        client_done(&c);
        finish();
}

TEST(slow_clients_are_cut_whatever_trickles_in)
{
        struct client c;
        char reply[256];

        start("limits { command_timeout = 1s data_timeout = 1s data_rate = 1000 }\n");
        c = client_new();
        play(&c, HELLO);
        for (int i = 0; i < 40 && !c.is_closed && c.input.len == 0; i++) {
                (void) !send(c.fd, "N", 1, MSG_NOSIGNAL); /* no command ever ends */
                for (int rounds = 0; rounds < 5; rounds++)
                        run();
                client_read(&c);
        }
        hear(&c, reply, sizeof reply);
        CHECK(strncmp(reply, "421 4.4.2 No command", 20) == 0, reply);
        client_done(&c);

        c = client_new();
        play(&c, HELLO TO_TARO "C: DATA\nS: 354\n");
        for (int i = 0; i < 60 && !c.is_closed && c.input.len == 0; i++) {
                (void) !send(c.fd, "x: y\r\n", 6, MSG_NOSIGNAL);
                for (int rounds = 0; rounds < 5; rounds++)
                        run();
                client_read(&c);
        }
        hear(&c, reply, sizeof reply);
        CHECK(strncmp(reply, "421 4.4.2 The message comes too slowly", 38) == 0, reply);
        client_done(&c);
        CHECK(keeper.commits == 0, "nothing came of it");
        finish();
}

TEST(errors_and_messages_are_counted_over_connections)
{
        struct client c;

        start("relay_networks = { \"192.0.2.0/24\" }\n"
              "limits { errors_per_minute = 5 messages_per_minute = 2 }\n");
        c = client_new();
        play(&c, HELLO TO_TARO SMALL "S: 250\n" TO_TARO SMALL "S: 250\n"
                 "C: MAIL FROM:<>\nS: 451 4.7.1 Too many messages\nC: X\nS: 500\nC: X\nS: 500");
        client_done(&c);
        c = client_new();
        play(&c, HELLO "C: X\nS: 500\nC: X\nS: 500\nC: X\nS: 500\n"
                       "S: 421 4.7.0 Too many errors\nS: -");
        client_done(&c);
        c = client_new();
        play(&c, "S: 421 4.7.0 Too many errors\nS: -");
        client_done(&c);
        finish();
}

TEST(front_ends_speak_for_others)
{
        struct client c;

        start("proxy_networks = { \"127.0.0.0/8\" }\nrelay_networks = { \"192.0.2.0/24\" }\n");
        c = client_new();
        say(&c, SPAN_LITERAL("PROXY TCP4 198.51.100.7 192.0.2.1 4660 25\r\n"));
        play(&c, HELLO TO_TARO "C: RCPT TO:<x@outside.example>\nS: 550 5.7.1\n" SMALL "S: 250");
        CHECK(body_has("198.51.100.7"), "the client in Received");
        client_done(&c);
        c = client_new();
        say(&c, SPAN_LITERAL("PROXY TCP4 192.0.2.9 192.0.2.1 4660 25\r\n"));
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<x@outside.example>\nS: 250\n");
        client_done(&c);
        c = client_new();
        for (const char *p = "PROXY UNKNOWN\r\n"; *p; p++) {
                say(&c, span_make(p, 1));
                run();
        }
        play(&c, HELLO "C: QUIT\nS: 221");
        client_done(&c);
        c = client_new();
        say(&c, SPAN_LITERAL("EHLO x\r\n"));
        play(&c, "S: -");
        client_done(&c);
        WAIT_FOR(EDGE->session_count == 0);
        finish();

        start("xclient_networks = { \"127.0.0.0/8\" }\n");
        c = client_new();
        play(&c, HELLO "C: XCLIENT ADDR=198.51.100.8 NAME=far.example\nS: 220 mx1.example.jp\n"
                       "C: EHLO far.example\nS: 250 \n" TO_TARO
                       "C: RCPT TO:<x@outside.example>\nS: 550 5.7.1\n" SMALL "S: 250\n"
                       "C: XCLIENT ADDR=nonsense\nS: 501");
        CHECK(body_has("(far.example [198.51.100.8])"), "the client in Received");
        client_done(&c);
        finish();
}

TEST(forged_results_and_loops)
{
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO TO_TARO "C: DATA\nS: 354\n"
                 "C: Authentication-Results: mx1.example.jp; a=pass\n"
                 "C: Authentication-Results: other.example; b=pass\n"
                 "C: authentication-results: (x) MX1.example.jp;\nC: \tc=pass\n"
                 "C: Subject: kept\nC: \nC: text\nC: .\nS: 250");
        CHECK(!body_has("a=pass") && !body_has("c=pass") && body_has("b=pass"), "struck");
        CHECK(body_has("b=pass\r\nSubject: kept\r\n\r\ntext\r\n"), "the rest is whole");
        CHECK(keeper.body_len == keeper.body.len, "length");
        play(&c, TO_TARO "C: DATA\nS: 354\nC: Delivered-To: Taro@example.jp\nC: \nC: .\n"
                         "S: 554 5.4.6\n" TO_TARO
                         "C: DATA\nS: 354\nC: Delivered-To: hanako@example.jp\nC: \nC: .\nS: 250");
        client_done(&c);
        finish();
}

TEST(header_fields_are_counted)
{
        struct client c;

        start("limits { header_fields = 100 }\n");
        c = client_new();
        play(&c, HELLO TO_TARO "C: DATA\nS: 354\n");
        for (int i = 0; i < 101; i++)
                say(&c, SPAN_LITERAL("A: b\r\n"));
        play(&c, "C: \nC: .\nS: 552 5.3.4 Too many header fields");
        client_done(&c);
        finish();
}

TEST(what_may_be_asked)
{
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO "C: VRFY taro\nS: 252\nC: EXPN taro\nS: 502\nC: ETRN example.jp\nS: 502");
        client_done(&c);
        finish();
        start("smtp { vrfy = yes expn = yes etrn = yes }\n"
              "relay_domains = { \"far.example\", \".tree.example\" }\n");
        c = client_new();
        play(&c, HELLO "C: VRFY <taro@example.jp>\nS: 250 2.1.5 <taro@example.jp>\n"
                       "C: VRFY nobody\nS: 550 5.1.1\nC: VRFY x@outside.example\nS: 252\n"
                       "C: VRFY a b@\nS: 501\nC: EXPN taro\nS: 250 2.1.5 <taro@example.jp>\n"
                       "C: ETRN far.example\nS: 250 2.0.0\nC: ETRN @a.tree.example\nS: 250\n"
                       "C: ETRN tree.example\nS: 459\nC: ETRN #queue\nS: 501");
        client_done(&c);
        finish();
}

TEST_MAIN()
