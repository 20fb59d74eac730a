#include "message/transfer_encoding.h"

#include "base/test.h"
#include "message/xtext.h"

static const struct {
        const char *name;
        int (*encode)(struct span text, struct buffer *out);
        struct span in;
        const char *want;
} cases[] = {
        { "base64 of 0", transfer_encode_base64, SPAN(""), "" },
        { "base64 of 1", transfer_encode_base64, SPAN("f"), "Zg==\r\n" },
        { "base64 of 2", transfer_encode_base64, SPAN("fo"), "Zm8=\r\n" },
        { "base64 of 3", transfer_encode_base64, SPAN("foo"), "Zm9v\r\n" },
        { "base64 of high octets", transfer_encode_base64, SPAN("\xff\xfe\xfd"), "//79\r\n" },
        { "base64 of 58", transfer_encode_base64,
          SPAN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
          "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh\r\n"
          "Yg==\r\n" },
        { "quoted plain", transfer_encode_quoted, SPAN("a b\r\nc\r\n"), "a b\r\nc\r\n" },
        { "quoted =", transfer_encode_quoted, SPAN("a=b"), "a=3Db\r\n" },
        { "quoted blank at the end", transfer_encode_quoted, SPAN("a \r\nb\t"),
          "a=20\r\nb=09\r\n" },
        { "quoted high", transfer_encode_quoted, SPAN("\xe6\x97\xa9"), "=E6=97=A9\r\n" },
        { "quoted bare ends", transfer_encode_quoted, SPAN("a\nb\rc\0"), "a=0Ab=0Dc=00\r\n" },
        { "quoted empty", transfer_encode_quoted, SPAN(""), "" },
        { "quoted long", transfer_encode_quoted,
          SPAN("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa==bb"),
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=\r\n"
          "=3D=3Dbb\r\n" },
        { "words of ASCII", transfer_encode_words, SPAN("hello"), "hello" },
        { "words", transfer_encode_words, SPAN("\xe6\x97\xa9"), "=?UTF-8?B?5pep?=" },
        { "words cut between characters", transfer_encode_words,
          SPAN("a\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9"
               "\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9"
               "\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9\xe6\x97\xa9"),
          "=?UTF-8?B?YeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqeaXqQ==?=\r\n "
          "=?UTF-8?B?5pep?=" },
};

TEST(encodings_by_row)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct buffer out = BUFFER_INIT(1000);

                CHECK(cases[i].encode(cases[i].in, &out) == 0, cases[i].name);
                CHECK(span_equal(buffer_span(&out), span_from_string(cases[i].want)),
                      cases[i].name);
                buffer_done(&out);
        }
}

TEST(xtext_there_and_back)
{
        static const char *const bad[] = { "+", "+2", "+2g", "+2b", "a=b", "a b", "\xe9", "a\n" };
        struct arena arena = ARENA_INIT(100000);
        char all[256];
        struct span text;

        for (int i = 0; i < 256; i++)
                all[i] = (char) i;
        text = xtext_encode(span_make(all, sizeof all), &arena);
        CHECK(xtext_is_valid(text), "valid");
        CHECK(span_equal(xtext_decode(text, &arena), span_make(all, sizeof all)), "back");
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                CHECK(!xtext_is_valid(span_from_string(bad[i])), "bad");
                CHECK(xtext_decode(span_from_string(bad[i]), &arena).p == NULL, "bad");
        }
        arena_done(&arena);
}

TEST_MAIN()
