/* Each case whole and cut in two at every octet. */
#include "wire/smtp/dot_encode.h"

#include <stdint.h>

#include "base/test.h"

static const struct {
        const char *name, *in, *out;
} cases[] = {
        { "nothing", "", ".\r\n" },
        { "one line", "a\r\n", "a\r\n.\r\n" },
        { "no line end", "a", "a\r\n.\r\n" },
        { "dots", ".\r\n..\r\na.\r\n.a\r\n", "..\r\n...\r\na.\r\n..a\r\n.\r\n" },
        { "a dot at the end", "a\r\n.", "a\r\n..\r\n.\r\n" },
        { "empty lines", "\r\n\r\n", "\r\n\r\n.\r\n" },
        { "bare LF", "a\nb\n.\n", "a\r\nb\r\n..\r\n.\r\n" },
        { "bare CR", "a\rb\r.\r", "a\r\nb\r\n..\r\n.\r\n" },
        { "LF CR", "a\n\rb", "a\r\n\r\nb\r\n.\r\n" },
        { "CR CR LF", "a\r\r\nb", "a\r\n\r\nb\r\n.\r\n" },
        { "an end smuggled with LF", "a\n.\r\nMAIL\r\n", "a\r\n..\r\nMAIL\r\n.\r\n" },
        { "an end smuggled with CR", "a\r.\r\nMAIL\r\n", "a\r\n..\r\nMAIL\r\n.\r\n" },
};

static void check_cut(size_t i, size_t cut)
{
        struct dot_encoder d = DOT_ENCODER_INIT;
        struct span in = span_from_string(cases[i].in);
        char out[128];
        size_t len = dot_encode(&d, span_first(in, cut), out);

        CHECK(len <= DOT_ENCODE_OUT_MAX(cut), cases[i].name);
        len += dot_encode(&d, span_skip(in, cut), out + len);
        len += dot_encode_end(&d, out + len);
        CHECK(span_equal(span_make(out, len), span_from_string(cases[i].out)), cases[i].name);
}

TEST(cuts_never_change_the_result)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t cut = 0; cut <= strlen(cases[i].in); cut++)
                        check_cut(i, cut);
}

/* Every string of at most 7 octets of . CR LF a: one end, no bare CR or LF. */
TEST(all_short_strings_end_once)
{
        for (unsigned n = 0; n < 1u << 16; n++) {
                char in[8], out[64];
                size_t in_len = n & 7, len;
                struct dot_encoder d = DOT_ENCODER_INIT;

                for (size_t i = 0; i < in_len; i++)
                        in[i] = ".\r\na"[n >> (3 + 2 * i) & 3];
                len = dot_encode(&d, span_make(in, in_len), out);
                len += dot_encode_end(&d, out + len);
                for (size_t i = 0; i < len; i++) {
                        CHECK(out[i] != '\n' || (i > 0 && out[i - 1] == '\r'), "bare LF");
                        CHECK(out[i] != '\r' || (i + 1 < len && out[i + 1] == '\n'), "bare CR");
                }
                CHECK(len == 3 || memcmp(out + len - 5, "\r\n.\r\n", 5) == 0, "end");
                CHECK(len < 5 || memmem(out, len, "\r\n.\r\n", 5) == out + len - 5, "only one end");
                CHECK(len <= 3 || memcmp(out, ".\r\n", 3) != 0, "not at the start");
        }
}

/* Whole blocks are looked at together; octet by octet there are none. */
TEST(blocks_never_change_the_result)
{
        enum { LEN_MAX = 1600 };
        uint64_t random = 1;

        for (unsigned n = 0; n < 20000; n++) {
                struct dot_encoder whole = DOT_ENCODER_INIT, single = DOT_ENCODER_INIT;
                const size_t in_len = n % LEN_MAX;
                char in[LEN_MAX], out[DOT_ENCODE_OUT_MAX(LEN_MAX)], want[sizeof out];
                size_t len, want_len = 0;

                for (size_t i = 0; i < in_len; i++) {
                        random = random * 6364136223846793005u + 1442695040888963407u;
                        in[i] = "aaaa.\r\n\n"[random >> 61];
                        if (in[i] == '\n' && i > 0 && n % 8)
                                in[i - 1] = '\r'; /* mostly text as it should be */
                        else if (in[i] == '\r' && n % 8)
                                in[i] = 'a';
                        else if (in[i] == '.' && n % 4)
                                in[i] = 'a';
                }
                len = dot_encode(&whole, span_make(in, in_len), out);
                for (size_t i = 0; i < in_len; i++)
                        want_len += dot_encode(&single, span_make(in + i, 1), want + want_len);
                CHECK(span_equal(span_make(out, len), span_make(want, want_len)), "octets");
                CHECK(whole.state == single.state, "state");
        }
}

TEST_MAIN()
