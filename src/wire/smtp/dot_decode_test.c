/* Decodes each case whole, cut in two at every octet, and octet by octet:
 * where the network cuts the stream must never change the result. Then every
 * short string of the octets that matter, against the plain state machine. */
#include "wire/smtp/dot_decode.h"

#include "base/test.h"

enum want { MORE, GOOD, BAD };

static const struct {
        enum want want;
        const char *name, *in, *out, *rest;
} cases[] = {
        { GOOD, "no text",           ".\r\n",                     "",                "" },
        { GOOD, "stuffed dots",      "..a\r\n..\r\n.\r\n",        ".a\r\n.\r\n",     "" },
        { GOOD, "dot within a line", "a.\r\n.\r\n",               "a.\r\n",          "" },
        { GOOD, "dot, then text",    ".a\r\nb\r\n.\r\n",          "a\r\nb\r\n",      "" },
        { GOOD, "empty lines",       "\r\n\r\n.\r\n",             "\r\n\r\n",        "" },
        { GOOD, "DEL is data",       "a\177\r\n.\r\n",           "a\177\r\n",      "" },
        { GOOD, "pipelined command", "a\r\n.\r\nQUIT\r\n",        "a\r\n",           "QUIT\r\n" },
        { GOOD, "second end",        ".\r\n.\r\n",                "",                ".\r\n" },
        { MORE, "unfinished end",    "a\r\n.\r",                  "a\r\n",           "" },
        { MORE, "unfinished line",   "a\r",                       "a",               "" },
        { MORE, "dot at the end",    "a.",                        "a.",              "" },
        { BAD,  "LF . LF",           "a\n.\nRSET\r\n.\r\n",       "",                "" },
        { BAD,  "LF . CRLF",         "a\n.\r\nRSET\r\n.\r\n",     "",                "" },
        { BAD,  "CRLF . LF",         "a\r\n.\nRSET\r\n.\r\n",     "",                "" },
        { BAD,  "CRLF . LF LF",      "a\r\n.\n\nRSET\r\n.\r\n",   "",                "" },
        { BAD,  "CRLF . CR",         "a\r\n.\rRSET\r\n.\r\n",     "",                "" },
        { BAD,  "CR . CR",           "a\r.\rRSET\r\n.\r\n",       "",                "" },
        { BAD,  "CR . CRLF",         "a\r.\r\nRSET\r\n.\r\n",     "",                "" },
        { BAD,  "CR LF . CR CR LF",  "a\r\n.\r\r\nRS\r\n.\r\n",   "",                "" },
        { BAD,  "CR CR LF",          "a\r\r\n.\r\nRSET\r\n",      "",                "RSET\r\n" },
        { BAD,  "CR within a line",  "a\rb\r\n.\r\n",             "",                "" },
        { BAD,  "LF first of all",   "\n.\r\n.\r\n",              "",                "" },
};

/* Decodes in[0, len) and appends to out; true at the end. */
static bool decode_part(struct dot_decoder *d, struct span in, size_t *used, char *out, size_t *len)
{
        *used = 0;
        while (*used < in.len) {
                struct span text;
                size_t n;
                const bool end = dot_decode(d, span_skip(in, *used), &n, &text);

                if (text.len)
                        memcpy(out + *len, text.p, text.len);
                *len += text.len;
                *used += n;
                if (end)
                        return true;
                assert_true(n > 0);
        }
        return false;
}

/* `cut` 0: octet by octet. */
static void check_case(size_t i, size_t cut)
{
        const struct span in = span_from_string(cases[i].in);
        const char *name = cases[i].name;
        struct dot_decoder d = DOT_DECODER_INIT;
        size_t used = 0, len = 0;
        char out[64];
        bool end = false;

        while (!end && used < in.len) {
                const size_t part = cut == 0 ? 1 : used == 0 ? cut : in.len - used;
                size_t n;

                end = decode_part(&d, span_first(span_skip(in, used), part), &n, out, &len);
                used += n;
                CHECK(end || n == part, name);
        }
        CHECK(end == (cases[i].want != MORE), name);
        CHECK(d.bad_line_end == (cases[i].want == BAD), name);
        CHECK(span_equal(span_skip(in, used), span_from_string(cases[i].rest)), name);
        if (cases[i].want != BAD)
                CHECK(span_equal(span_make(out, len), span_from_string(cases[i].out)), name);
}

TEST(cuts_never_change_the_result)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t cut = 0; cut <= strlen(cases[i].in); cut++)
                        check_case(i, cut);
}

/* The rules one octet at a time, without any speed. Returns octets used, or 0
 * when the end did not come. */
static size_t plain(struct span in, char *out, size_t *ret_len, bool *ret_bad)
{
        enum { START, DOT, DOT_CR, TEXT, CR } state = START;
        size_t len = 0;

        *ret_bad = false;
        for (size_t i = 0; i < in.len; i++) {
                const char c = in.p[i];

                if (state == START && c == '.') {
                        state = DOT;
                } else if (state == DOT && c == '\r') {
                        state = DOT_CR;
                } else if (state == DOT_CR && c == '\n') {
                        *ret_len = len;
                        return i + 1;
                } else if (state == CR && c == '\n') {
                        out[len++] = '\r';
                        out[len++] = '\n';
                        state = START;
                } else {
                        if (state == CR || state == DOT_CR || c == '\n')
                                *ret_bad = true;
                        if (c != '\r')
                                out[len++] = c;
                        state = c == '\r' ? CR : TEXT;
                }
        }
        *ret_len = len;
        return 0;
}

static void check_against_plain(struct span in, size_t cut)
{
        struct dot_decoder d = DOT_DECODER_INIT;
        char want[32], out[32];
        size_t want_len, len = 0, used, more = 0;
        bool want_bad, end;
        const size_t want_used = plain(in, want, &want_len, &want_bad);

        end = decode_part(&d, span_first(in, cut), &used, out, &len);
        if (!end) {
                end = decode_part(&d, span_skip(in, cut), &more, out, &len);
                used += more;
        }
        CHECK(end == (want_used > 0), "end");
        CHECK(!end || used == want_used, "used");
        CHECK(d.bad_line_end == want_bad, "bad");
        CHECK(want_bad || (len == want_len && memcmp(out, want, len) == 0), "text");
}

TEST(every_short_string_decodes_as_the_plain_machine_does)
{
        static const char octets[] = ".\r\na";
        enum { LEN_MAX = 7 };

        for (size_t len = 0; len <= LEN_MAX; len++)
                for (size_t number = 0; number < (size_t) 1 << (2 * len); number++) {
                        char text[LEN_MAX];

                        for (size_t i = 0; i < len; i++)
                                text[i] = octets[number >> (2 * i) & 3];
                        for (size_t cut = 0; cut <= len; cut++)
                                check_against_plain(span_make(text, len), cut);
                }
}

TEST_MAIN()
