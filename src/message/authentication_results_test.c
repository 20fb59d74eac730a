/* Who a field claims to be of. */
#include "message/authentication_results.h"

#include "base/test.h"

static const struct row {
        const char *value;
        bool is_ours;
} rows[] = {
        {" mx1.example.jp; spf=pass", true},
        {" MX1.Example.JP;\r\n\tdkim=pass", true},
        {" mx1.example.jp 1; none", true},
        {" mx1.example.jp/1; none", true},
        {" (a (nested) \\) comment) mx1.example.jp(x); none", true},
        {" \"mx1.example.jp\"; none", true},
        {" \"mx1\\.example.jp\"; none", true},
        {"mx1.example.jp", true},
        {" mx1.example.jp.evil.example; spf=pass", false},
        {" mx2.example.jp; spf=pass", false},
        {" (mx1.example.jp) other; none", false},
        {" \"mx1.example.jpx\"; none", false},
        {" \"mx1.example.j", false},
        {" (never ends mx1.example.jp", false},
        {"", false},
};

TEST(the_name_in_front_decides)
{
        static const struct span ours = SPAN("mx1.example.jp");

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const struct span value = span_from_string(rows[i].value);

                CHECK(authentication_results_is_of(value, ours) == rows[i].is_ours,
                      rows[i].value);
                for (size_t cut = 0; cut <= value.len; cut++)
                        (void) authentication_results_is_of(span_first(value, cut), ours);
        }
}

TEST_MAIN()
