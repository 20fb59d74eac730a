#include "net/dns/dns.h"

#include <errno.h>
#include <string.h>

enum { LABEL_MAX = 63 };

static const char *const status_names[DNS_STATUS_END] = {
        [DNS_OK] = "ok",           [DNS_NXDOMAIN] = "nxdomain", [DNS_NODATA] = "nodata",
        [DNS_SERVFAIL] = "servfail", [DNS_TIMEOUT] = "timeout", [DNS_BOGUS] = "bogus",
        [DNS_NULL_MX] = "null_mx",
};

const char *dns_status_name(enum dns_status status)
{
        return (unsigned) status < DNS_STATUS_END ? status_names[status] : "unknown";
}

bool dns_status_is_temporary(enum dns_status status)
{
        return status == DNS_SERVFAIL || status == DNS_TIMEOUT || status == DNS_BOGUS;
}

static bool is_name_octet(char c)
{
        c = ascii_lower(c);
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool dns_name_is_valid(struct span name)
{
        struct span rest = name, label;

        if (name.len == 0 || name.len > DNS_NAME_MAX)
                return false;
        while (span_split(&rest, '.', &label)) {
                if (label.len == 0 || label.len > LABEL_MAX)
                        return false;
                for (size_t i = 0; i < label.len; i++)
                        if (!is_name_octet(label.p[i]))
                                return false;
        }
        return true;
}

/* One label of the wire form: its length octet and as many octets. Sets *at
 * behind it. Appends to out, whose length is *len. */
static int take_label(struct span wire, size_t *at, char *out, size_t *len)
{
        const size_t label_len = (unsigned char) wire.p[*at];

        if (label_len > LABEL_MAX || label_len >= wire.len - *at)
                return -EBADMSG; /* a compression pointer, or past the end */
        if (*len + (*len > 0) + label_len > DNS_NAME_MAX)
                return -EBADMSG;
        if (*len)
                out[(*len)++] = '.';
        for (size_t i = 1; i <= label_len; i++) {
                const char c = wire.p[*at + i];

                if (!is_name_octet(c)) /* a dot within a label would make two of it */
                        return -EBADMSG;
                out[(*len)++] = ascii_lower(c);
        }
        *at += 1 + label_len;
        return 0;
}

int dns_mx_parse(struct span rdata, struct dns_mx *ret_mx)
{
        struct dns_mx mx;
        size_t at = 2, len = 0;

        if (rdata.len < 3)
                return -EBADMSG;
        mx.preference = (uint16_t) ((unsigned char) rdata.p[0] << 8 | (unsigned char) rdata.p[1]);
        while (at < rdata.len && rdata.p[at] != 0) {
                const int r = take_label(rdata, &at, mx.exchange, &len);

                if (r < 0)
                        return r;
        }
        if (at + 1 != rdata.len) /* no root label at the end, or something behind it */
                return -EBADMSG;
        mx.exchange[len] = '\0';
        *ret_mx = mx;
        return 0;
}

int dns_a_parse(struct span rdata, unsigned char ret_address[4])
{
        unsigned char first;

        if (rdata.len != 4)
                return -EBADMSG;
        first = (unsigned char) rdata.p[0];
        if (first == 0 || first >= 224) /* "this network"; multicast, reserved, broadcast */
                return -EBADMSG;
        memcpy(ret_address, rdata.p, 4);
        return 0;
}

int dns_aaaa_parse(struct span rdata, unsigned char ret_address[16])
{
        static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
        static const unsigned char unspecified[16];

        if (rdata.len != 16 || (unsigned char) rdata.p[0] == 0xff ||
            memcmp(rdata.p, mapped, sizeof mapped) == 0 ||
            memcmp(rdata.p, unspecified, sizeof unspecified) == 0)
                return -EBADMSG;
        memcpy(ret_address, rdata.p, 16);
        return 0;
}

int dns_tlsa_parse(struct span rdata, struct dns_tlsa *ret_tlsa)
{
        enum { CERTIFICATE_MAX = 8192 };
        static const size_t digest_len[] = {0, 32, 64};
        struct dns_tlsa t;

        if (rdata.len < 4)
                return -EBADMSG;
        t.usage = (uint8_t) rdata.p[0];
        t.selector = (uint8_t) rdata.p[1];
        t.matching = (uint8_t) rdata.p[2];
        t.data = span_skip(rdata, 3);
        if (t.usage < 2 || t.usage > 3 || t.selector > 1 || t.matching > 2 ||
            (t.matching && t.data.len != digest_len[t.matching]) || t.data.len > CERTIFICATE_MAX)
                return -EBADMSG;
        *ret_tlsa = t;
        return 0;
}
