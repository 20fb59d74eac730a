/* The edge role: messages, limits, its keeper coming and going. */
#include "base/clock.h"
#include "process/edge/edge_test_site.h"

TEST(a_message_is_committed_with_its_trace_and_record)
{
        struct client c;
        char record[512];

        start("");
        c = client_new();
        play(&c, HELLO TO_TARO SMALL "S: 250 2.0.0 0");
        CHECK(keeper.commits == 1, "one commit");
        CHECK(strcmp(keeper.mail_from, "a@example.net") == 0, "mail_from");
        CHECK(strcmp(keeper.recipients, "0:taro@example.jp ") == 0, "recipients");
        CHECK(strcmp(keeper.header_message_id, "<1@example.net>") == 0, "Message-ID");
        CHECK(keeper.body_len == keeper.body.len, "length");
        CHECK(strncmp(buffer_span(&keeper.body).p, LOCAL_TRACE "Received: ",
                      strlen(LOCAL_TRACE "Received: ")) == 0, "trace fields");
        CHECK(keeper.local_prefix_len == strlen(LOCAL_TRACE), "prefix");
        CHECK(body_has("client.example.net") && body_has("127.0.0.1"), "client in Received");
        CHECK(body_has("\r\nMessage-ID: <1@example.net>\r\n\r\ntext\r\n"), "text");
        describe_record(buffer_span(&keeper.record), record, sizeof record);
        CHECK(strcmp(record, "received;accepted@0=local user;") == 0, record);
        CHECK(keeper.record.len < 400, "small record");
        play(&c, TO_TARO SMALL "S: 250 2.0.0 0\nC: QUIT\nS: 221\nS: -");
        client_done(&c);
        finish();
}

TEST(pipelined_messages_are_answered_in_order)
{
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO);
        say(&c, SPAN_LITERAL("MAIL FROM:<>\r\nRCPT TO:<taro@example.jp>\r\nDATA\r\n"));
        play(&c, "S: 250\nS: 250\nS: 354");
        say(&c, SPAN_LITERAL("\r\na\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.jp>\r\n"
                             "RCPT TO:<hanako@example.jp>\r\nDATA\r\n"));
        play(&c, "S: 250 2.0.0\nS: 250\nS: 550 5.1.1\nS: 250\nS: 354");
        say(&c, SPAN_LITERAL("\r\nb\r\n.\r\nQUIT\r\n"));
        play(&c, "S: 250 2.0.0\nS: 221\nS: -");
        CHECK(keeper.commits == 2, "two");
        CHECK(strcmp(keeper.recipients, "1:hanako@example.jp ") == 0, "index of the record");
        client_done(&c);
        finish();
}

TEST(refused_recipients_are_explained)
{
        struct client c;
        char record[512];

        start(strangers);
        c = client_new();
        play(&c, HELLO TO_TARO
             "C: RCPT TO:<jiro@example.jp>\nS: 550 5.1.1 No such user here (0\n"
             "C: RCPT TO:<x@outside.example>\nS: 550 5.7.1 Relaying denied (0\n" SMALL "S: 250");
        describe_record(buffer_span(&keeper.record), record, sizeof record);
        CHECK(strcmp(record, "received;accepted@0=local user;refused@1=local user;"
                             "refused@2=relay_networks;") == 0, record);
        CHECK(keeper.refusals == 0, "rode along");
        play(&c, "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<jiro@example.jp>\nS: 550 5.1.1\n"
                 "C: RSET\nS: 250\nC: NOOP\nS: 250");
        WAIT_FOR(keeper.refusals == 1);
        describe_record(buffer_span(&keeper.refused), record, sizeof record);
        CHECK(strcmp(record, "received;refused@0=local user;") == 0, record);
        client_done(&c);
        finish();
}

TEST(refusals_above_a_number_are_counted_only)
{
        struct client c;
        char record[8192];

        start("limits { errors = 0 }");
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250");
        for (int i = 0; i < 150; i++)
                play(&c, "C: RCPT TO:<jiro@example.jp>\nS: 550 5.1.1");
        play(&c, "C: RSET\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<jiro@example.jp>\nS: 550\n"
                 "C: RSET\nS: 250");
        WAIT_FOR(keeper.refusals == 1);
        describe_record(buffer_span(&keeper.refused), record, sizeof record);
        CHECK(strstr(record, "refused@99=local user;"), "hundred");
        CHECK(!strstr(record, "refused@100"), "no more than hundred");
        CHECK(EDGE->counters.refusals_unrecorded == 51, "counted");
        client_done(&c);
        finish();
}

TEST(who_may_relay)
{
        static const char *const tricks[] = {
                "x@outside.example", "@example.jp:x@outside.example", "x@[192.0.2.77]",
                "x%outside.example@example.jp", "outside.example!x@example.jp",
                "\"x@outside.example\"@example.jp", "x@outside.example@example.jp",
                "\"x%outside.example\"@[127.0.0.1]",
        };
        struct client c;

        start(strangers);
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250");
        for (size_t i = 0; i < sizeof tricks / sizeof tricks[0]; i++) {
                char script[256];

                snprintf(script, sizeof script, "C: RCPT TO:<%s>\nS: 5", tricks[i]);
                play(&c, script);
        }
        play(&c, "C: RCPT TO:<taro@[127.0.0.1]>\nS: 250");
        client_done(&c);
        finish();

        start("relay_networks = { \"127.0.0.0/8\" }");
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<x@outside.example>\nS: 250\n" SMALL
                       "S: 250");
        CHECK(strcmp(keeper.recipients, "0:smtp:outside.example ") == 0, "next hop");
        client_done(&c);
        finish();
}

#define HOP "C: Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000\n"
#define FIVE_HOPS HOP HOP HOP HOP HOP

TEST(loops_and_limits)
{
        struct client c;
        struct client second;

        start("limits { received_hops = 10 connections_per_client = 1 header_size = 16K }");
        c = client_new();
        play(&c, HELLO TO_TARO "C: DATA\nS: 354\n" FIVE_HOPS FIVE_HOPS "C: \nC: .\nS: 250\n"
             TO_TARO "C: DATA\nS: 354\n" FIVE_HOPS FIVE_HOPS "C: RECEIVED: x\nC: \nC: .\n"
             "S: 554 5.4.6\n" TO_TARO "C: DATA\nS: 354");
        for (int i = 0; i < 300; i++)
                play(&c, "C: X-Long: 012345678901234567890123456789012345678901234567890123456789");
        play(&c, "C: .\nS: 552 5.3.4");
        CHECK(keeper.commits == 1, "one was good");
        second = client_new();
        play(&second, "S: 421 4.7.0\nS: -");
        client_done(&second);
        play(&c, "C: QUIT\nS: 221\nS: -");
        client_done(&c);
        WAIT_FOR(EDGE->session_count == 0);
        c = client_new();
        play(&c, HELLO);
        client_done(&c);
        finish();
}

TEST(lmtp_answers_each_recipient)
{
        struct client c;

        start("");
        listen_as(LISTEN_LMTP, "lmtp://127.0.0.1:0");
        keeper.result_index = 1;
        c = client_new();
        play(&c, "S: 220\nC: LHLO client\nS: 250 \n" TO_TARO
             "C: RCPT TO:<hanako@example.jp>\nS: 250\nC: RCPT TO:<Taro+x@Example.JP>\nS: 250\n"
             "C: RCPT TO:<nobody@example.jp>\nS: 550 5.1.1\n"
             SMALL "S: 250 2.0.0\nS: 452 4.2.2\nS: 250 2.0.0\nC: NOOP\nS: 250");
        CHECK(strcmp(keeper.recipients, "0:taro@example.jp 1:hanako@example.jp ") == 0,
              "the same mailbox once");
        client_done(&c);
        finish();
}

TEST(a_thousand_recipients_have_an_answer_each)
{
        struct client c;

        start("users { auto_create = true }\nlimits { recipients = 1000 }");
        listen_as(LISTEN_LMTP, "lmtp://127.0.0.1:0");
        c = client_new();
        play(&c, "S: 220\nC: LHLO client\nS: 250 \nC: MAIL FROM:<>\nS: 250");
        for (int i = 0; i < 1000; i++) {
                char script[128];

                snprintf(script, sizeof script, "C: RCPT TO:<recipient.%d@example.jp>\nS: 250",
                         i);
                play(&c, script);
        }
        keeper.result_index = 999;
        play(&c, "C: RCPT TO:<one.more@example.jp>\nS: 452\n" SMALL);
        for (int i = 0; i < 999; i++)
                play(&c, "S: 250 2.0.0");
        play(&c, "S: 452 4.2.2\nC: NOOP\nS: 250");
        client_done(&c);
        finish();
}

static void send_large(struct client *c, size_t lines)
{
        static char text[100 * 80 + 1];

        for (size_t i = 0; i < 100; i++)
                memcpy(text + i * 80, "0123456789012345678901234567890123456789"
                                      "01234567890123456789012345678901234567\r\n", 80);
        play(c, HELLO TO_TARO "C: DATA\nS: 354\nC: Subject: large\nC: ");
        for (size_t i = 0; i < lines / 100; i++)
                say(c, span_make(text, 8000));
}

TEST(large_texts_go_in_frames_larger_ones_in_a_file)
{
        struct client c;
        off_t size;

        start("limits { message_size = 10M }");
        c = client_new();
        send_large(&c, 2000);
        play(&c, "C: .\nS: 250");
        CHECK(keeper.lends == 0 && keeper.body.len == keeper.body_len, "frames");
        CHECK(keeper.body_len > 160000 && keeper.body_len < 161000, "length");
        client_done(&c);

        buffer_clear(&keeper.body);
        c = client_new();
        send_large(&c, 20000);
        play(&c, "C: .\nS: 250\nC: NOOP\nS: 250");
        size = lseek(keeper.file, 0, SEEK_END);
        CHECK(keeper.lends == 1 && keeper.flags & ENVELOPE_LENT, "lent");
        CHECK((uint64_t) size == keeper.body_len && size > 1600000, "all of it is in the file");
        CHECK(keeper.body.len == 0, "nothing beside it");
        client_done(&c);

        keeper.lends_nothing = true;
        c = client_new();
        send_large(&c, 20000);
        play(&c, "C: .\nS: 452 4.3.1\nC: NOOP\nS: 250");
        client_done(&c);

        keeper.lends_nothing = false;
        c = client_new();
        send_large(&c, 20000);
        client_done(&c); /* gone in the middle */
        WAIT_FOR(keeper.drops >= 1);
        CHECK(EDGE->bodies_held < 1 << 20, "memory is given back");
        finish();
}

TEST(a_replaced_keeper_gets_the_same_commit)
{
        struct client c;

        start("");
        keeper.is_silent = true;
        c = client_new();
        play(&c, HELLO TO_TARO SMALL);
        WAIT_FOR(keeper.commits == 1);
        buffer_clear(&keeper.body);
        keeper.channel = channel_free(keeper.channel);
        WAIT_FOR(!EDGE->keeper.channel);
        keeper.is_silent = false;
        connect_keeper(2);
        play(&c, "S: 250 2.0.0\nC: NOOP\nS: 250");
        CHECK(keeper.commits == 2 && keeper.message_id == keeper.first_id, "the same id");
        CHECK(keeper.body.len == keeper.body_len, "the text again");
        client_done(&c);
        finish();
}

TEST(without_a_keeper_it_is_later)
{
        struct edge *e;
        struct client c;

        start("");
        e = process.role;
        keeper.is_silent = true;
        c = client_new();
        play(&c, HELLO TO_TARO SMALL);
        WAIT_FOR(keeper.commits == 1);
        keeper.channel = channel_free(keeper.channel);
        WAIT_FOR(!EDGE->keeper.channel);
        CHECK(timer_is_set(e->keeper.patience), "patience");
        timer_set(e->keeper.patience, 1);
        play(&c, "S: 451 4.3.0\nC: MAIL FROM:<>\nS: 451 4.3.0");
        keeper.is_silent = false;
        connect_keeper(2);
        play(&c, TO_TARO SMALL "S: 250");
        CHANNEL_SEND(keeper.channel, intake, -1, .is_open = false,
                     .reason = SPAN("The disk is full"));
        WAIT_FOR(!EDGE->keeper.is_open);
        play(&c, "C: MAIL FROM:<>\nS: 452 4.3.1 The disk is full");
        CHANNEL_SEND(keeper.channel, intake, -1, .is_open = true);
        WAIT_FOR(EDGE->keeper.is_open);
        keeper.status = COMMIT_FULL;
        play(&c, TO_TARO SMALL "S: 452 4.3.1");
        keeper.status = COMMIT_REFUSED;
        play(&c, TO_TARO SMALL "S: 554 5.3.0");
        client_done(&c);
        finish();
}

TEST(a_client_that_does_not_wait_changes_nothing)
{
        struct client c;

        start("");
        keeper.is_silent = true;
        c = client_new();
        play(&c, HELLO TO_TARO SMALL);
        WAIT_FOR(keeper.commits == 1);
        client_done(&c);
        for (int rounds = 0; rounds < 5; rounds++)
                run();
        CHECK(EDGE->session_count == 1, "it may have ended its own side only");
        answer_commit();
        WAIT_FOR(EDGE->counters.messages == 1);
        WAIT_FOR(EDGE->session_count == 0);
        finish();
}

TEST(a_reload_between_two_commands)
{
        struct config *old;
        struct snapshot *old_snapshot;
        struct client c;

        start("");
        c = client_new();
        play(&c, HELLO TO_TARO);
        old = process.config;
        old_snapshot = process.snapshot;
        process.config = test_site_config(site, "limits { received_hops = 12 }");
        process.snapshot = build();
        edge_role.reloaded(&process);
        config_free(old);
        snapshot_close(old_snapshot);
        play(&c, "C: RCPT TO:<hanako@example.jp>\nS: 250\n" SMALL "S: 250 2.0.0\nC: NOOP\nS: 250");
        CHECK(strcmp(keeper.recipients, "0:taro@example.jp 1:hanako@example.jp ") == 0, "both");
        client_done(&c);
        finish();
}

TEST(stopping_lets_messages_end)
{
        struct client idle, busy;

        start("");
        idle = client_new();
        busy = client_new();
        play(&idle, HELLO);
        play(&busy, HELLO TO_TARO "C: DATA\nS: 354");
        edge_role.stop(&process, 10000);
        play(&idle, "S: 421\nS: -");
        CHECK(process_ends == 0, "one is busy");
        play(&busy, "C: text\nC: .\nS: 250 2.0.0\nS: 421\nS: -");
        client_done(&idle);
        client_done(&busy);
        WAIT_FOR(process_ends == 1);
        CHECK(keeper.commits == 1, "committed");
        finish();
}

TEST(submission_wants_a_login)
{
        struct client c;

        start("");
        listen_as(LISTEN_SUBMISSION, "submission://127.0.0.1:0");
        c = client_new();
        play(&c, HELLO "C: MAIL FROM:<a@example.net>\nS: 530 5.7.0");
        client_done(&c);
        finish();
}

TEST(a_local_user_may_relay_and_lack_a_domain)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        const struct config_listen local = {.protocol = LISTEN_LOCAL, .text = SPAN("local:")};
        struct client c = {.input = BUFFER_INIT(1 << 20), .reply = BUFFER_INIT(1 << 20)};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        char note[64], record[512];

        start("");
        snprintf(a.sun_path + 1, sizeof a.sun_path - 1, "hayauma-edge-test-%d", (int) getpid());
        CHECK(fd >= 0 && bind(fd, (struct sockaddr *) &a, sizeof a) == 0 && listen(fd, 9) == 0,
              "listen");
        edge_role.listener(&process, &local, fd);
        c.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(connect(c.fd, (struct sockaddr *) &a, sizeof a) == 0, "connect");
        play(&c, HELLO "C: MAIL FROM:<root>\nS: 250\nC: RCPT TO:<x@outside.example>\nS: 250\n"
                 "C: RCPT TO:<taro>\nS: 250\n" SMALL "S: 250");
        CHECK(strcmp(keeper.mail_from, "root@mx1.example.jp") == 0, keeper.mail_from);
        CHECK(strcmp(keeper.recipients, "0:smtp:outside.example 1:taro@example.jp ") == 0,
              keeper.recipients);
        snprintf(note, sizeof note, "uid %u", (unsigned) getuid());
        CHECK(body_has(note), "Received says who");
        CHECK(!body_has("X-Authentication-Warning") == (getuid() == 0), "who is not root is named");
        describe_record(buffer_span(&keeper.record), record, sizeof record);
        CHECK(strcmp(record, "received;accepted@0=local submission;accepted@1=local user;") == 0,
              record);
        client_done(&c);
        finish();
}

TEST(messages_wait_before_the_354_not_behind_the_dot)
{
        struct edge_admission *a;
        struct client c, gone;

        start("");
        a = &EDGE->admission;
        c = client_new();
        gone = client_new();
        play(&c, HELLO TO_TARO);
        play(&gone, HELLO TO_TARO);
        a->count = EDGE_ADMISSION_PLACES; /* nobody's: none is given back for its slowness */
        say(&c, SPAN_LITERAL("DATA\r\n"));
        WAIT_FOR(!list_is_empty(&a->waiting));
        say(&gone, SPAN_LITERAL("DATA\r\n"));
        WAIT_FOR(a->waiting.next != a->waiting.previous);
        client_done(&gone);
        WAIT_FOR(a->waiting.next == a->waiting.previous);
        a->count--;
        play(&c, "S: 354\nC: \nC: text\nC: .\nS: 250 2.0.0\n");
        CHECK(a->count == EDGE_ADMISSION_PLACES - 1, "its place is free again");
        a->count = 0;
        client_done(&c);
        finish();
}

TEST(replies_wait_with_the_354_but_not_for_long)
{
        static const char group[] = "MAIL FROM:<>\r\nRCPT TO:<taro@example.jp>\r\nDATA\r\n";
        struct edge_admission *a;
        struct client c;

        start("");
        a = &EDGE->admission;
        c = client_new();
        play(&c, HELLO);
        a->count = EDGE_ADMISSION_PLACES; /* nobody's */
        say(&c, span_from_string(group));
        WAIT_FOR(!list_is_empty(&a->unsaid));
        client_read(&c);
        CHECK(c.input.len == 0, "kept back");
        a->count--;
        loop_defer(process.loop, &a->turn);
        loop_run_once(process.loop, 10);
        client_read(&c);
        CHECK(strstr(buffer_span(&c.input).p, "\r\n354"), "all at once");
        CHECK(list_is_empty(&a->unsaid), "and it is out of the list");
        play(&c, "S: 250\nS: 250\nS: 354\nC: \nC: text\nC: .\nS: 250 2.0.0\n");

        a->count = EDGE_ADMISSION_PLACES;
        say(&c, span_from_string(group));
        WAIT_FOR(!list_is_empty(&a->waiting));
        play(&c, "S: 250\nS: 250");
        CHECK(!list_is_empty(&a->waiting), "said while it waits");
        a->count--;
        play(&c, "S: 354\nC: \nC: text\nC: .\nS: 250 2.0.0\n");
        a->count = 0;
        client_done(&c);
        finish();
}

TEST(slow_clients_keep_nobody_from_coming_in)
{
        struct client slow[EDGE_ADMISSION_PLACES], c;

        start("");
        for (size_t i = 0; i < EDGE_ADMISSION_PLACES; i++) {
                slow[i] = client_new();
                play(&slow[i], HELLO TO_TARO "C: DATA\nS: 354\n");
        }
        c = client_new();
        play(&c, HELLO TO_TARO SMALL "S: 250 2.0.0\n");
        CHECK(EDGE->session_count == EDGE_ADMISSION_PLACES + 1, "the slow ones are still there");
        for (size_t i = 0; i < EDGE_ADMISSION_PLACES; i++) {
                play(&slow[i], "C: \nC: text\nC: .\nS: 250 2.0.0\n");
                client_done(&slow[i]);
        }
        CHECK(EDGE->admission.count == 0, "all places are free");
        client_done(&c);
        finish();
}

TEST_MAIN()
