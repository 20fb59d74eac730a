#include "message/trace.h"

#include <stdlib.h>
#include <time.h>

#include "base/test.h"
#include "message/header.h"

#define DATE "Sun, 22 Nov 2026 05:00:00 +0000"

static const struct {
        const char *name;
        struct trace_received trace;
        const char *want;
} cases[] = {
        { "usual",
          { .helo_name = SPAN("client.example"), .client_name = SPAN("c.example"),
            .client_address = SPAN("192.0.2.1"), .hostname = SPAN("mx.example.jp"),
            .protocol = SPAN("ESMTPS"), .tls_version = SPAN("TLSv1.3"),
            .tls_cipher = SPAN("TLS_AES_256_GCM_SHA384"), .id = SPAN("03m9w8q2j0001"),
            .rcpt_to = SPAN("taro@example.jp") },
          "Received: from client.example (c.example [192.0.2.1]) by mx.example.jp with\r\n"
          "\tESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384) id 03m9w8q2j0001 for\r\n"
          "\t<taro@example.jp>; " DATE "\r\n" },
        { "no name, no TLS, no recipient",
          { .helo_name = SPAN("[192.0.2.1]"), .client_address = SPAN("192.0.2.1"),
            .hostname = SPAN("mx"), .protocol = SPAN("SMTP"), .id = SPAN("1") },
          "Received: from [192.0.2.1] ([192.0.2.1]) by mx with SMTP id 1;\r\n\t" DATE "\r\n" },
        { "IPv6",
          { .helo_name = SPAN("h"), .client_address = SPAN("2001:db8::1"), .hostname = SPAN("mx"),
            .protocol = SPAN("ESMTP"), .id = SPAN("1") },
          "Received: from h ([IPv6:2001:db8::1]) by mx with ESMTP id 1;\r\n\t" DATE "\r\n" },
        { "helo that is no name",
          { .helo_name = SPAN("x)(by;evil"), .client_address = SPAN("192.0.2.1"),
            .hostname = SPAN("mx"), .protocol = SPAN("ESMTP"), .id = SPAN("1") },
          "Received: from [192.0.2.1] (helo=x??by;evil) by mx with ESMTP id 1;\r\n\t" DATE "\r\n" },
        { "helo that is no name, with a real one",
          { .helo_name = SPAN("x\r\nA: b"), .client_name = SPAN("c"),
            .client_address = SPAN("192.0.2.1"),
            .hostname = SPAN("mx"), .protocol = SPAN("ESMTP"), .id = SPAN("1") },
          "Received: from [192.0.2.1] (c [192.0.2.1] helo=x??A:?b) by mx with ESMTP id 1;\r\n"
          "\t" DATE "\r\n" },
        { "from here",
          { .note = SPAN("from uid 1000"), .hostname = SPAN("mx"), .id = SPAN("1") },
          "Received: by mx (Hayauma, from uid 1000) id 1; " DATE "\r\n" },
        { "recipient with a blank is not named",
          { .hostname = SPAN("mx"), .id = SPAN("1"), .rcpt_to = SPAN("\"a b\"@x") },
          "Received: by mx id 1; " DATE "\r\n" },
        { "utf-8 recipient without SMTPUTF8",
          { .hostname = SPAN("mx"), .protocol = SPAN("ESMTP"), .id = SPAN("1"),
            .rcpt_to = SPAN("\xe6\x97\xa9@x") },
          "Received: by mx with ESMTP id 1; " DATE "\r\n" },
        { "utf-8 recipient",
          { .hostname = SPAN("mx"), .protocol = SPAN("UTF8SMTP"), .id = SPAN("1"),
            .rcpt_to = SPAN("\xe6\x97\xa9@x") },
          "Received: by mx with UTF8SMTP id 1 for <\xe6\x97\xa9@x>;\r\n\t" DATE "\r\n" },
};

TEST(received_by_row)
{
        setenv("TZ", "UTC", 1);
        tzset();
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct trace_received t = cases[i].trace;
                struct buffer out = BUFFER_INIT(4000);
                struct header_field f;

                t.at_us = 1795323600000000;
                CHECK(trace_format_received(&t, &out) == 0, cases[i].name);
                if (!span_equal(buffer_span(&out), span_from_string(cases[i].want)))
                        print_error("%.*s", (int) out.len, buffer_span(&out).p);
                CHECK(span_equal(buffer_span(&out), span_from_string(cases[i].want)),
                      cases[i].name);
                CHECK(header_find(buffer_span(&out), SPAN_LITERAL("Received"), &f), cases[i].name);
                CHECK(f.raw.len == out.len, "one field and no more");
                buffer_done(&out);
        }
}

TEST(whatever_peers_say_stays_one_field)
{
        static char all[2000];
        struct buffer out = BUFFER_INIT(20000);
        struct header_field f;
        struct trace_received t;
        struct span s;

        for (size_t i = 0; i < sizeof all; i++)
                all[i] = (char) i;
        s = span_make(all, sizeof all);
        t = (struct trace_received) {
                .helo_name = s, .client_name = s, .client_address = s, .note = s, .hostname = s,
                .protocol = s, .tls_version = s, .tls_cipher = s, .id = s, .rcpt_to = s, .at_us = 1,
        };
        CHECK(trace_format_received(&t, &out) == 0, "formatted");
        CHECK(header_find(buffer_span(&out), SPAN_LITERAL("Received"), &f), "a field");
        CHECK(f.raw.len == out.len, "one field and no more");
        buffer_clear(&out);
        CHECK(trace_format_return_path(s, &out) == 0, "formatted");
        CHECK(header_find(buffer_span(&out), SPAN_LITERAL("Return-Path"), &f), "a field");
        CHECK(f.raw.len == out.len, "one field and no more");
        buffer_done(&out);
}

TEST(return_path)
{
        struct buffer out = BUFFER_INIT(100);

        CHECK(trace_format_return_path(SPAN_LITERAL("a@b"), &out) == 0, "formatted");
        CHECK(trace_format_return_path(SPAN_LITERAL(""), &out) == 0, "formatted");
        CHECK(span_equal(buffer_span(&out),
                         SPAN_LITERAL("Return-Path: <a@b>\r\nReturn-Path: <>\r\n")),
              "both");
        buffer_done(&out);
}

TEST(without_room_nothing_is_left_behind)
{
        for (size_t max = 0; max < 100; max++) {
                struct buffer out = BUFFER_INIT(max);

                if (trace_format_received(&cases[0].trace, &out) < 0)
                        CHECK(out.len == 0, "received");
                buffer_clear(&out);
                if (trace_format_return_path(SPAN_LITERAL("a@b"), &out) < 0)
                        CHECK(out.len == 0, "return path");
                buffer_done(&out);
        }
}

TEST_MAIN()
