#include "message/message_id.h"

#include <string.h>

#include "base/test.h"

static const struct {
        const char *name, *in, *out; /* each id with a blank behind it */
} cases[] = {
        { "none",                 "",                            "" },
        { "one",                  "<a@b>",                       "a@b " },
        { "two and words",        "see <a@b>\r\n <c@d> end",     "a@b c@d " },
        { "quotes are no matter", "<\"a\\\"b\"@c> <a\"b\"@c>",   "a\"b@c ab@c " },
        { "folded within",        "<a@\r\n b>",                  "a@b " },
        { "not closed",           "<a@b> <c",                    "a@b " },
        { "a bracket lost",       "<a@b <c@d>",                  "c@d " },
        { "empty",                "<> < > <a>",                  "a " },
        { "quote at the end",     "<a\"\\>",                     "a\\ " },
};

static void read_all(struct span in, char *out, size_t *len)
{
        char id[MESSAGE_ID_MAX];
        size_t n;

        *len = 0;
        while (message_id_next(&in, id, &n)) {
                memcpy(out + *len, id, n);
                *len += n;
                out[(*len)++] = ' ';
        }
}

TEST(ids_have_one_form)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                char out[256];
                size_t len;

                read_all(span_from_string(cases[i].in), out, &len);
                CHECK(len == strlen(cases[i].out), cases[i].name);
                CHECK(memcmp(out, cases[i].out, len) == 0, cases[i].name);
                for (size_t cut = 0; cut < strlen(cases[i].in); cut++)
                        read_all(span_make(cases[i].in, cut), out, &len);
        }
}

TEST(what_is_too_long_is_no_id)
{
        char in[MESSAGE_ID_MAX + 8], out[MESSAGE_ID_MAX];
        struct span rest;
        size_t len;

        memset(in, 'a', sizeof in);
        in[0] = '<';
        in[MESSAGE_ID_MAX + 1] = '>';
        rest = span_make(in, MESSAGE_ID_MAX + 2);
        assert_true(message_id_next(&rest, out, &len));
        assert_int_equal(len, MESSAGE_ID_MAX);
        in[MESSAGE_ID_MAX + 1] = 'a';
        in[MESSAGE_ID_MAX + 2] = '>';
        rest = span_make(in, MESSAGE_ID_MAX + 3);
        assert_false(message_id_next(&rest, out, &len));
        assert_int_equal(rest.len, 0);
}

TEST_MAIN()
