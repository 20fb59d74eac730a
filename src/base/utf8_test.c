#include "base/utf8.h"

#include "base/test.h"

static const struct {
        const char *name;
        struct span in;
        bool is_valid;
} cases[] = {
        { "empty", SPAN(""), true },
        { "ascii with NUL", SPAN("a\0b"), true },
        { "two", SPAN("\xc2\x80"), true },
        { "three", SPAN("\xe6\x97\xa9\xe9\xa6\xac"), true },
        { "four", SPAN("\xf0\x9f\x90\xb4"), true },
        { "last of all", SPAN("\xf4\x8f\xbf\xbf"), true },
        { "overlong two", SPAN("\xc0\xaf"), false },
        { "overlong three", SPAN("\xe0\x80\xaf"), false },
        { "overlong four", SPAN("\xf0\x80\x80\xaf"), false },
        { "surrogate", SPAN("\xed\xa0\x80"), false },
        { "above the last", SPAN("\xf4\x90\x80\x80"), false },
        { "continuation alone", SPAN("\x80"), false },
        { "cut", SPAN("\xe6\x97"), false },
        { "three, last octet wrong", SPAN("\xe6\x97x"), false },
        { "latin-1", SPAN("\xe9t\xe9"), false },
        { "never used", SPAN("\xff"), false },
};

TEST(valid_is_what_rfc_3629_says)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                CHECK(utf8_is_valid(cases[i].in) == cases[i].is_valid, cases[i].name);
}

TEST(cut_never_splits_a_character)
{
        const struct span text = SPAN("a\xe6\x97\xa9\xf0\x9f\x90\xb4z");
        static const size_t want[] = { 0, 1, 1, 1, 4, 4, 4, 4, 8, 9, 9 };

        for (size_t n = 0; n < sizeof want / sizeof want[0]; n++)
                CHECK(utf8_cut(text, n) == want[n], "cut");
        CHECK(utf8_cut(SPAN_LITERAL("\x80\x80\x80\x80\x80\x80"), 5) == 5, "no UTF-8 at all");
}

TEST_MAIN()
