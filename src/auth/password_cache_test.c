/* What the cache knows, and what it must never take for known. */
#include "auth/password_cache.h"

#include <stdio.h>

#include "base/test.h"

static const struct {
        const char *name, *account, *stored, *password;
        uint64_t after_ms;
        bool known;
} cases[] = {
        { "the same", "a@x.jp", "{H}1", "secret", 0, true },
        { "just before its end", "a@x.jp", "{H}1", "secret", PASSWORD_CACHE_MS - 1, true },
        { "at its end", "a@x.jp", "{H}1", "secret", PASSWORD_CACHE_MS, false },
        { "another password", "a@x.jp", "{H}1", "Secret", 0, false },
        { "a longer password", "a@x.jp", "{H}1", "secret1", 0, false },
        { "another account", "b@x.jp", "{H}1", "secret", 0, false },
        { "the hash was changed", "a@x.jp", "{H}2", "secret", 0, false },
        { "moved between the parts", "a@x.jp", "{H}", "1secret", 0, false },
        { "no password", "a@x.jp", "{H}1", "", 0, false },
};

TEST(only_the_very_same_is_known)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct password_cache *c = password_cache_new();
                const struct span account = span_from_string(cases[i].account);
                const struct span stored = span_from_string(cases[i].stored);
                const struct span password = span_from_string(cases[i].password);

                CHECK(!password_cache_has(c, account, stored, password, 1), cases[i].name);
                password_cache_add(c, SPAN_LITERAL("a@x.jp"), SPAN_LITERAL("{H}1"),
                                   SPAN_LITERAL("secret"), 1);
                CHECK(password_cache_has(c, account, stored, password, 1 + cases[i].after_ms) ==
                              cases[i].known, cases[i].name);
                password_cache_clear(c);
                CHECK(!password_cache_has(c, account, stored, password, 1), cases[i].name);
                password_cache_free(c);
        }
}

TEST(many_fit_and_none_is_taken_for_another)
{
        struct password_cache *c = password_cache_new();
        char name[32];
        unsigned kept = 0;

        for (unsigned i = 0; i < 20000; i++) {
                snprintf(name, sizeof name, "u%u@x.jp", i);
                password_cache_add(c, span_from_string(name), SPAN_LITERAL("h"),
                                   SPAN_LITERAL("p"), i);
        }
        for (unsigned i = 0; i < 20000; i++) {
                snprintf(name, sizeof name, "u%u@x.jp", i);
                kept += password_cache_has(c, span_from_string(name), SPAN_LITERAL("h"),
                                           SPAN_LITERAL("p"), 20000);
                CHECK(!password_cache_has(c, span_from_string(name), SPAN_LITERAL("h"),
                                          SPAN_LITERAL("q"), 20000), "wrong password");
        }
        CHECK(kept > 4000, "most places are used");
        password_cache_free(c);
}

TEST_MAIN()
