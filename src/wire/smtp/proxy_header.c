#include "wire/smtp/proxy_header.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/number.h"

enum { LINE_MAX_LEN = 107, FIXED_LEN = 16, IPV4_LEN = 12, IPV6_LEN = 36 };

static const struct span signature = SPAN("\r\n\r\n\0\r\nQUIT\n");

static void set_mapped(unsigned char *out, const void *ipv4)
{
        memset(out, 0, 10);
        out[10] = out[11] = 0xff;
        memcpy(out + 12, ipv4, 4);
}

static bool take_address(struct span text, bool is_ipv6, unsigned char *out)
{
        char copy[INET6_ADDRSTRLEN];
        unsigned char ipv4[4];

        if (text.len == 0 || text.len >= sizeof copy)
                return false;
        memcpy(copy, text.p, text.len);
        copy[text.len] = '\0';
        if (is_ipv6)
                return inet_pton(AF_INET6, copy, out) == 1;
        if (inet_pton(AF_INET, copy, ipv4) != 1)
                return false;
        set_mapped(out, ipv4);
        return true;
}

/* "TCP4 source destination port port" */
static bool take_line(struct span line, struct proxy_header *h)
{
        unsigned char destination[16];
        struct span words[5];
        uint64_t port, other;
        bool is_ipv6;

        for (size_t i = 0; i < 5; i++)
                if (!span_split(&line, ' ', &words[i]))
                        return false;
        is_ipv6 = span_equal(words[0], SPAN_LITERAL("TCP6"));
        if (line.p || (!is_ipv6 && !span_equal(words[0], SPAN_LITERAL("TCP4"))) ||
            !take_address(words[1], is_ipv6, h->address) ||
            !take_address(words[2], is_ipv6, destination) ||
            number_parse(words[3], UINT16_MAX, &port) < 0 ||
            number_parse(words[4], UINT16_MAX, &other) < 0)
                return false;
        h->port = (uint16_t) port;
        h->has_client = true;
        return true;
}

static int parse_version_1(struct span in, struct proxy_header *h)
{
        const struct span start = span_first(in, LINE_MAX_LEN);
        const size_t end = span_find(start, '\n');
        struct span line;

        if (end == SIZE_MAX)
                return in.len < LINE_MAX_LEN ? 0 : -EBADMSG;
        h->len = end + 1;
        if (in.p[end - 1] != '\r')
                return -EBADMSG;
        line = span_skip(span_first(in, end - 1), strlen("PROXY "));
        if (span_equal(span_first(line, strlen("UNKNOWN")), SPAN_LITERAL("UNKNOWN")))
                return 1;
        return take_line(line, h) ? 1 : -EBADMSG;
}

static int parse_version_2(struct span in, struct proxy_header *h)
{
        const unsigned char *p = (const unsigned char *) in.p;
        size_t len;

        if (in.len < FIXED_LEN)
                return 0;
        len = (size_t) p[14] << 8 | p[15];
        if (p[12] >> 4 != 2 || (p[12] & 15) > 1 || len > PROXY_HEADER_MAX - FIXED_LEN)
                return -EBADMSG;
        if (in.len < FIXED_LEN + len)
                return 0;
        h->len = FIXED_LEN + len;
        if ((p[12] & 15) == 0)
                return 1; /* LOCAL: a check of its health */
        if (p[13] == 0x11 && len >= IPV4_LEN) {
                set_mapped(h->address, p + 16);
                h->port = (uint16_t) (p[24] << 8 | p[25]);
        } else if (p[13] == 0x21 && len >= IPV6_LEN) {
                memcpy(h->address, p + 16, 16);
                h->port = (uint16_t) (p[48] << 8 | p[49]);
        } else {
                /* Of UNSPEC and of other families the specification lets us use
                 * the connection's own address. */
                return p[13] == 0 ? 1 : -EBADMSG;
        }
        h->has_client = true;
        return 1;
}

int proxy_header_parse(struct span in, struct proxy_header *ret)
{
        static const struct span word = SPAN("PROXY ");
        const struct span magic = span_first(in, signature.len);
        struct proxy_header h = {0};
        int r;

        if (span_equal(magic, span_first(signature, magic.len)))
                r = magic.len < signature.len ? 0 : parse_version_2(in, &h);
        else if (span_equal(span_first(in, word.len), span_first(word, in.len)))
                r = in.len < word.len ? 0 : parse_version_1(in, &h);
        else
                r = -EBADMSG;
        if (r > 0)
                *ret = h;
        return r;
}
