/* What is added to which header, and what never is. */
#include "process/edge/edge_complete.h"

#include <stdio.h>

#include "base/test.h"

static const struct {
        const char *name, *header, *mail_from;
        bool date, header_from, message_id; /* added */
} cases[] = {
        { "nothing there", "Subject: x\r\n\r\n", "a@example.jp", true, true, true },
        { "all there", "Date: x\r\nFrom: a\r\nMessage-ID: <1@x>\r\n\r\n", "a@example.jp", false,
          false, false },
        { "in any case", "DATE: x\r\nfrom: a\r\nmessage-id: <1@x>\r\n\r\n", "a@example.jp", false,
          false, false },
        { "an id that is unusable is still one", "Date: x\r\nFrom: a\r\nMessage-ID: x\r\n\r\n", "",
          false, false, false },
        { "no date", "From: a\r\nMessage-ID: <1@x>\r\n\r\n", "a@example.jp", true, false, false },
        { "nobody to name", "Date: x\r\nMessage-ID: <1@x>\r\n\r\n", "", false, false, false },
        { "only a body", "\r\nDate: x\r\n", "a@example.jp", true, true, true },
};

TEST(what_is_missing_is_added)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct header_summary summary;
                struct buffer out = BUFFER_INIT(4096);
                const struct edge_complete c = {
                        .is_wanted = true, .message_id = 42, .arrived_us = 1700000000000000,
                        .hostname = SPAN("mx1.example.jp"),
                        .mail_from = span_from_string(cases[i].mail_from),
                };
                const char *text;
                struct span id;

                header_summarize(span_from_string(cases[i].header), HEADER_SIZE_MAX,
                                 HEADER_FIELDS_MAX, &summary);
                CHECK(edge_complete(&c, &summary, &out, &id) == 0, cases[i].name);
                CHECK((id.len > 0) == cases[i].message_id, cases[i].name);
                if (id.len)
                        CHECK(id.p[0] == '<' && id.p[id.len - 1] == '>', cases[i].name);
                CHECK(buffer_append(&out, "", 1) == 0, cases[i].name);
                text = buffer_span(&out).p;
                CHECK((strstr(text, "Date: ") != NULL) == cases[i].date, cases[i].name);
                CHECK((strstr(text, "From: <a@example.jp>\r\n") != NULL) == cases[i].header_from,
                      cases[i].name);
                CHECK((strstr(text, "@mx1.example.jp>\r\n") != NULL) == cases[i].message_id,
                      cases[i].name);
                buffer_done(&out);
        }
}

TEST(a_local_user_who_is_somebody_else_is_named)
{
        const struct header_summary all = {.values = {[HEADER_DATE] = SPAN(" d"),
                                                      [HEADER_FROM] = SPAN(" f"),
                                                      [HEADER_MESSAGE_ID] = SPAN(" i")}};
        static const struct {
                const char *set_by, *mail_from, *want;
        } rows[] = {
                { "", "boss@example.jp", "" },
                { "jiro", "boss@example.jp", "X-Authentication-Warning: mx1.example.jp: jiro set "
                  "sender to\r\n\tboss@example.jp using -f\r\n" },
                { "jiro", "", "X-Authentication-Warning: mx1.example.jp: jiro set sender to\r\n"
                  "\t<> using -f\r\n" },
        };

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const struct edge_complete c = {
                        .is_wanted = true, .hostname = SPAN("mx1.example.jp"),
                        .mail_from = span_from_string(rows[i].mail_from),
                        .set_by = span_from_string(rows[i].set_by),
                };
                struct buffer out = BUFFER_INIT(4096);
                struct span id;

                CHECK(edge_complete(&c, &all, &out, &id) == 0, rows[i].mail_from);
                CHECK(span_equal(buffer_span(&out), span_from_string(rows[i].want)),
                      rows[i].mail_from);
                buffer_done(&out);
        }
}

TEST(without_room_it_fails_and_names_no_id)
{
        const struct header_summary summary = {.values = {[HEADER_DATE] = SPAN(" d"),
                                                          [HEADER_FROM] = SPAN(" f")}};
        const struct edge_complete c = {.is_wanted = true, .hostname = SPAN("mx1.example.jp")};

        for (size_t room = 0; room < 30; room++) {
                struct buffer out = BUFFER_INIT(room);
                struct span id;

                CHECK(edge_complete(&c, &summary, &out, &id) < 0, "room");
                buffer_done(&out);
        }
}

TEST_MAIN()
