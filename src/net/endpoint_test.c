#include "net/endpoint.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

static const struct {
        char text[32];
        int want; /* 0 or negative */
        const char *formatted; /* NULL: as text */
        const char *host;
        unsigned port;
} cases[] = {
        { "192.0.2.1:25", 0, NULL, "192.0.2.1", 25 },
        { "[2001:db8::1]:465", 0, NULL, "2001:db8::1", 465 },
        { "[2001:DB8:0::1]:1", 0, "[2001:db8::1]:1", "2001:db8::1", 1 },
        { "[::ffff:192.0.2.1]:2", 0, "192.0.2.1:2", "192.0.2.1", 2 },
        { "*:0", 0, NULL, "*", 0 },
        { "[::]:25", 0, NULL, "::", 25 },
        { "unix:/run/hayauma/lmtp", 0, NULL, "/run/hayauma/lmtp", 0 },
        { "192.0.2.1", -EINVAL, NULL, NULL, 0 },
        { "192.0.2.1:", -EINVAL, NULL, NULL, 0 },
        { "192.0.2.1:65536", -EINVAL, NULL, NULL, 0 },
        { "192.0.2.256:25", -EINVAL, NULL, NULL, 0 },
        { "2001:db8::1:25", -EINVAL, NULL, NULL, 0 },
        { "[2001:db8::1:25", -EINVAL, NULL, NULL, 0 },
        { "[]:25", -EINVAL, NULL, NULL, 0 },
        { ":25", -EINVAL, NULL, NULL, 0 },
        { "", -EINVAL, NULL, NULL, 0 },
        { "mx.example.jp:25", -EINVAL, NULL, NULL, 0 },
        { "fe80::1%nosuchlink:25", -EINVAL, NULL, NULL, 0 },
        { "[fe80::1%nosuchlink]:25", -EINVAL, NULL, NULL, 0 },
        { "unix:", -EINVAL, NULL, NULL, 0 },
};

TEST(text_and_back)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct endpoint e = {.len = 77};
                char out[ENDPOINT_TEXT_MAX];
                const char *want = cases[i].formatted ? cases[i].formatted : cases[i].text;

                CHECK(endpoint_parse(span_from_string(cases[i].text), &e) == cases[i].want,
                      cases[i].text);
                if (cases[i].want < 0) {
                        CHECK(e.len == 77, cases[i].text);
                        continue;
                }
                CHECK(strcmp(endpoint_format(&e, out), want) == 0, out);
                CHECK(strcmp(endpoint_format_host(&e, out), cases[i].host) == 0, out);
                CHECK(endpoint_port(&e) == cases[i].port, cases[i].text);
        }
}

TEST(sixteen_octets)
{
        struct endpoint e, back;
        unsigned char octets[16], want[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
        char out[ENDPOINT_TEXT_MAX];

        CHECK(endpoint_parse(SPAN_LITERAL("192.0.2.1:25"), &e) == 0, "parse");
        endpoint_to_octets(&e, octets);
        CHECK(memcmp(octets, want, 16) == 0, "mapped");
        endpoint_from_octets(octets, 26, &back);
        CHECK(strcmp(endpoint_format(&back, out), "192.0.2.1:26") == 0, out);
        CHECK(endpoint_parse(SPAN_LITERAL("[2001:db8::7]:25"), &e) == 0, "parse");
        endpoint_to_octets(&e, octets);
        endpoint_from_octets(octets, 25, &back);
        CHECK(strcmp(endpoint_format(&back, out), "[2001:db8::7]:25") == 0, out);
}

/* Connects to `e` and checks who the two ends think they are. */
static void check_connection(int listener, const struct endpoint *e, const char *label)
{
        struct pollfd p = {.fd = listener, .events = POLLIN};
        struct endpoint peer;
        char out[ENDPOINT_TEXT_MAX];
        int fd, accepted;
        bool connecting;

        CHECK(endpoint_connect(e, NULL, &fd, &connecting) == 0, label);
        CHECK(poll(&p, 1, 60 * 1000) == 1, label);
        CHECK(endpoint_accept(listener, &accepted, &peer) == 0, label);
        CHECK(endpoint_accept(listener, &accepted, &peer) == -EAGAIN, label);
        if (!endpoint_is_path(e)) {
                CHECK(strstr(endpoint_format_host(&peer, out), "127.0.0.1"), out);
                CHECK(endpoint_of_peer(fd, &peer) == 0, label);
                CHECK(endpoint_port(&peer) == endpoint_port(e), label);
        }
        close(fd);
        close(accepted);
}

static void check_listening(const char *text, bool may_share)
{
        struct endpoint e, at;
        int fd, second;

        CHECK(endpoint_parse(span_from_string(text), &e) == 0, text);
        CHECK(endpoint_listen(&e, may_share, 10, &fd) == 0, text);
        CHECK(endpoint_of_socket(fd, &at) == 0, text);
        endpoint_from_host(SPAN_LITERAL("127.0.0.1"), endpoint_port(&at), &at);
        check_connection(fd, &at, text);
        CHECK(endpoint_listen(&at, may_share, 10, &second) == (may_share ? 0 : -EADDRINUSE), text);
        if (may_share)
                close(second);
        close(fd);
}

TEST(listening_and_connecting)
{
        check_listening("127.0.0.1:0", false);
        check_listening("127.0.0.1:0", true);
        check_listening("*:0", false);
}

TEST(a_stale_socket_file_is_replaced_a_living_one_is_not)
{
        char folder[] = "/tmp/endpoint_test_XXXXXX", path[64];
        struct endpoint e;
        int fd, second;

        CHECK(mkdtemp(folder) != NULL, "folder");
        snprintf(path, sizeof path, "%s/s", folder);
        CHECK(endpoint_from_path(span_from_string(path), &e) == 0, "path");
        CHECK(endpoint_listen(&e, false, 10, &fd) == 0, "first");
        check_connection(fd, &e, "path");
        CHECK(endpoint_listen(&e, false, 10, &second) == -EADDRINUSE, "in use");
        close(fd);
        CHECK(endpoint_listen(&e, false, 10, &fd) == 0, "stale");
        close(fd);
        unlink(path);
        rmdir(folder);
}

TEST_MAIN()
