/* The example of RFC 1939 section 7, and what must not pass. */
#include "auth/apop.h"

#include <string.h>

#include "auth/password.h"
#include "base/test.h"

static const struct span stamp = SPAN("<1896.697170952@dbc.mtview.ca.us>"),
                         digest = SPAN("c4c9334bac560ecc979e58001b3e22fb");

TEST(the_example_of_the_standard)
{
        char text[APOP_SECRET_MAX], password[PASSWORD_OCTETS_MAX + 1];
        struct span secret;

        assert_true(apop_make_secret(SPAN_LITERAL("tanstaaf"), text));
        secret = span_from_string(text);
        assert_true(apop_is_secret(secret));
        assert_true(apop_is_good(secret, stamp, digest));
        assert_false(apop_is_good(secret, SPAN_LITERAL("<1@x>"), digest));
        assert_false(apop_is_good(secret, stamp, span_first(digest, 31)));
        assert_false(apop_is_good(secret, stamp, SPAN_LITERAL("")));
        assert_false(apop_is_good(SPAN_LITERAL(""), stamp, digest));
        assert_false(apop_is_good(SPAN_LITERAL("?"), stamp, digest));
        assert_false(apop_is_secret(SPAN_LITERAL("")));
        assert_false(apop_is_secret(SPAN_LITERAL("a b")));
        assert_true(apop_read_secret(secret, password));
        assert_string_equal(password, "tanstaaf");
        assert_false(apop_read_secret(SPAN_LITERAL(""), password));
        assert_false(apop_read_secret(SPAN_LITERAL("YQBi"), password)); /* a NUL in it */
}

TEST_MAIN()
