/* The PROXY header, whole, cut at every octet, and wrong. */
#include "wire/smtp/proxy_header.h"

#include <errno.h>

#include "base/test.h"

#define MAGIC "\r\n\r\n\0\r\nQUIT\n"
#define ADDRESSES_4 "\xc0\0\2\1\xc6\x33\x64\1\x12\x34\0\x19"

static const struct row {
        const char *name;
        struct span text;
        int result;
        bool has_client;
        unsigned last; /* octet of the address */
        uint16_t port;
} rows[] = {
        {"v1 IPv4", SPAN("PROXY TCP4 192.0.2.1 198.51.100.1 4660 25\r\n"), 1, true, 1, 4660},
        {"v1 IPv6", SPAN("PROXY TCP6 2001:db8::7 2001:db8::1 1 25\r\n"), 1, true, 7, 1},
        {"v1 unknown", SPAN("PROXY UNKNOWN\r\n"), 1, false, 0, 0},
        {"v1 unknown with more", SPAN("PROXY UNKNOWN ffff:: ffff:: 1 1\r\n"), 1, false, 0, 0},
        {"v1 port", SPAN("PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n"), -EBADMSG, 0, 0, 0},
        {"v1 family", SPAN("PROXY TCP4 2001:db8::7 2001:db8::1 1 25\r\n"), -EBADMSG, 0, 0, 0},
        {"v1 bare LF", SPAN("PROXY UNKNOWN\n"), -EBADMSG, 0, 0, 0},
        {"v1 too many words", SPAN("PROXY TCP4 192.0.2.1 198.51.100.1 1 25 1\r\n"), -EBADMSG, 0,
         0, 0},
        {"v2 IPv4", SPAN(MAGIC "\x21\x11\0\x0c" ADDRESSES_4), 1, true, 1, 0x1234},
        {"v2 IPv4 with TLV", SPAN(MAGIC "\x21\x11\0\x0f" ADDRESSES_4 "\4\0\0"), 1, true, 1,
         0x1234},
        {"v2 local", SPAN(MAGIC "\x20\0\0\0"), 1, false, 0, 0},
        {"v2 unspecified", SPAN(MAGIC "\x21\0\0\0"), 1, false, 0, 0},
        {"v2 short", SPAN(MAGIC "\x21\x11\0\4\xc0\0\2\1"), -EBADMSG, 0, 0, 0},
        {"v2 version", SPAN(MAGIC "\x31\x11\0\x0c" ADDRESSES_4), -EBADMSG, 0, 0, 0},
        {"v2 command", SPAN(MAGIC "\x22\x11\0\x0c" ADDRESSES_4), -EBADMSG, 0, 0, 0},
        {"v2 too long", SPAN(MAGIC "\x21\x11\xff\xff"), -EBADMSG, 0, 0, 0},
        {"a client that has none", SPAN("EHLO x\r\n"), -EBADMSG, 0, 0, 0},
};

TEST(headers)
{
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                const struct row *row = &rows[i];
                struct proxy_header h = {0};
                const int r = proxy_header_parse(row->text, &h);

                CHECK(r == row->result, row->name);
                if (r <= 0)
                        continue;
                CHECK(h.has_client == row->has_client && h.len == row->text.len, row->name);
                CHECK(h.address[15] == row->last && h.port == row->port, row->name);
                for (size_t cut = 0; cut < row->text.len; cut++)
                        CHECK(proxy_header_parse(span_first(row->text, cut), &h) == 0, row->name);
        }
}

TEST(a_line_without_end_is_refused)
{
        char line[200];
        struct proxy_header h;

        memset(line, 'x', sizeof line);
        memcpy(line, "PROXY ", 6);
        CHECK(proxy_header_parse(span_make(line, 106), &h) == 0, "may yet end");
        CHECK(proxy_header_parse(span_make(line, 107), &h) == -EBADMSG, "too long");
}

TEST_MAIN()
