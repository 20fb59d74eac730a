#include "message/next_hop.h"

#include <errno.h>

#include <arpa/inet.h>

#include "base/number.h"

/* Mailers we know. Others are no error of ours to guess at: "foo:25" is host
 * foo, port 25. */
static const struct {
        struct span name;
        uint16_t port;
} mailers[] = {
        {SPAN("smtp"), 25},    {SPAN("esmtp"), 25}, {SPAN("lmtp"), 24},
        {SPAN("local"), 0},    {SPAN("discard"), 0}, {SPAN("error"), 0},
};
enum { MAILERS = sizeof mailers / sizeof mailers[0], SPEAKS_TCP = 3, HOST_MAX = 255 };

static bool is_ip(struct span host)
{
        char text[INET6_ADDRSTRLEN];
        unsigned char raw[16];

        if (host.len == 0 || host.len >= sizeof text || span_find(host, '\0') != SIZE_MAX)
                return false;
        memcpy(text, host.p, host.len);
        text[host.len] = '\0';
        return inet_pton(AF_INET, text, raw) == 1 || inet_pton(AF_INET6, text, raw) == 1;
}

/* A domain name as it may be asked for: labels of letters, digits, "-" and "_",
 * not all of it a number. */
static bool is_name(struct span host)
{
        struct span label;
        bool has_letter = false;

        if (host.len == 0 || host.len > HOST_MAX)
                return false;
        while (span_split(&host, '.', &label)) {
                if (label.len == 0 || label.len > 63)
                        return false;
                for (size_t i = 0; i < label.len; i++) {
                        const char c = ascii_lower(label.p[i]);

                        if (c >= 'a' && c <= 'z')
                                has_letter = true;
                        else if (!(c >= '0' && c <= '9') && c != '-' && c != '_')
                                return false;
                }
        }
        return has_letter;
}

static struct span without_last_dot(struct span host)
{
        return host.len && host.p[host.len - 1] == '.' ? span_first(host, host.len - 1) : host;
}

/* ":25" or nothing. */
static int parse_port(struct span text, uint16_t *port)
{
        uint64_t number;

        if (text.len == 0)
                return 0;
        if (text.p[0] != ':' || number_parse(span_skip(text, 1), UINT16_MAX, &number) < 0 ||
            number == 0)
                return -EINVAL;
        *port = (uint16_t) number;
        return 0;
}

/* "[host]" with ":port" or without; the host an address or a name. */
static int parse_bracketed(struct span text, struct next_hop *hop)
{
        const size_t end = span_find(text, ']');

        if (end == SIZE_MAX || parse_port(span_skip(text, end + 1), &hop->port) < 0)
                return -EINVAL;
        hop->host = span_skip(span_first(text, end), 1);
        if (span_starts_with_nocase(hop->host, SPAN_LITERAL("IPv6:")))
                hop->host = span_skip(hop->host, 5);
        hop->is_host = true;
        if (is_ip(hop->host))
                return 0;
        hop->host = without_last_dot(hop->host);
        return is_name(hop->host) ? 0 : -EINVAL;
}

static int parse_host(struct span text, struct next_hop *hop)
{
        const size_t colon = span_find(text, ':');

        if (text.len > 5 && span_starts_with_nocase(text, SPAN_LITERAL("unix:"))) {
                hop->host = span_skip(text, 5);
                hop->is_unix = hop->is_host = true;
                hop->port = 0;
                if (hop->host.p[0] != '/' || span_find(hop->host, '\0') != SIZE_MAX)
                        return -EINVAL;
                return 0;
        }
        if (text.len && text.p[0] == '[')
                return parse_bracketed(text, hop);
        if (is_ip(text)) { /* IPv6 without brackets has no port */
                hop->host = text;
                hop->is_host = true;
                return 0;
        }
        hop->host = colon == SIZE_MAX ? text : span_first(text, colon);
        if (colon != SIZE_MAX && parse_port(span_skip(text, colon), &hop->port) < 0)
                return -EINVAL;
        if (is_ip(hop->host)) {
                hop->is_host = true;
                return 0;
        }
        hop->host = without_last_dot(hop->host);
        return is_name(hop->host) ? 0 : -EINVAL;
}

int next_hop_parse(struct span text, struct next_hop *ret)
{
        struct next_hop hop = {.mailer = mailers[0].name, .port = mailers[0].port};
        const size_t colon = span_find(text, ':');

        if (colon != SIZE_MAX) {
                for (size_t i = 0; i < MAILERS; i++) {
                        if (!span_equal_nocase(span_first(text, colon), mailers[i].name))
                                continue;
                        hop.mailer = mailers[i].name;
                        hop.port = mailers[i].port;
                        text = span_skip(text, colon + 1);
                        if (i >= SPEAKS_TCP) { /* what stands behind is the mailer's affair */
                                hop.host = text;
                                *ret = hop;
                                return 0;
                        }
                        break;
                }
        }
        if (parse_host(text, &hop) < 0)
                return -EINVAL;
        *ret = hop;
        return 0;
}
