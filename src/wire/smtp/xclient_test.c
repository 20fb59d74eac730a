/* The parameters of XCLIENT. */
#include "wire/smtp/xclient.h"

#include <errno.h>

#include "base/test.h"

static const struct row {
        char text[64];
        int result;
        bool has_address;
        unsigned last;
        uint16_t port;
        const char *name;
} rows[] = {
        {"ADDR=192.0.2.1 NAME=client.example", 0, true, 1, 0, "client.example"},
        {"name=[UNAVAILABLE] addr=IPV6:2001:db8::9 PORT=99", 0, true, 9, 99, ""},
        {"ADDR=192.0.2.1 HELO=x PROTO=ESMTP", 0, true, 1, 0, ""},
        {"HELO=x", 0, false, 0, 0, ""},
        {"ADDR=[UNAVAILABLE]", -EINVAL, 0, 0, 0, ""},
        {"ADDR=192.0.2", -EINVAL, 0, 0, 0, ""},
        {"ADDR", -EINVAL, 0, 0, 0, ""},
        {"PORT=65536", -EINVAL, 0, 0, 0, ""},
        {"NAME=a(b", -EINVAL, 0, 0, 0, ""},
        {"LOGIN=hanako", -EINVAL, 0, 0, 0, ""},
        {"COLOUR=red", -EINVAL, 0, 0, 0, ""},
};

TEST(parameters)
{
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const struct row *row = &rows[i];
                struct arena arena = ARENA_INIT(4096);
                struct xclient x = {0};

                CHECK(xclient_parse(span_from_string(row->text), &arena, &x) == row->result,
                      row->text);
                CHECK(x.has_address == row->has_address && x.address[15] == row->last, row->text);
                CHECK(x.port == row->port, row->text);
                CHECK(span_equal(x.name, span_from_string(row->name)), row->text);
                arena_done(&arena);
        }
}

TEST_MAIN()
