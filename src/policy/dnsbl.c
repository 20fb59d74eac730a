#include "policy/dnsbl.h"

#include <stdio.h>
#include <string.h>

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

bool dnsbl_name(const unsigned char address[16], struct span zone, char *out, size_t *ret_len)
{
        size_t len = 0;

        if (memcmp(address, mapped, sizeof mapped) == 0) {
                len = (size_t) snprintf(out, DNSBL_NAME_ROOM, "%u.%u.%u.%u.", address[15],
                                        address[14], address[13], address[12]);
        } else {
                for (size_t i = 16; i-- > 0;) {
                        out[len++] = "0123456789abcdef"[address[i] & 15];
                        out[len++] = '.';
                        out[len++] = "0123456789abcdef"[address[i] >> 4];
                        out[len++] = '.';
                }
        }
        if (len + zone.len >= DNSBL_NAME_ROOM)
                return false;
        memcpy(out + len, zone.p, zone.len);
        out[len + zone.len] = '\0';
        *ret_len = len + zone.len;
        return true;
}

enum dnsbl_answer dnsbl_judge(const struct config_dnsbl *d, const unsigned char rdata[4])
{
        unsigned char address[16];

        if (rdata[0] != 127)
                return DNSBL_STRANGE;
        if (rdata[1] == 255 && rdata[2] == 255)
                return DNSBL_REFUSING;
        memcpy(address, mapped, sizeof mapped);
        memcpy(address + 12, rdata, 4);
        if (d->answers.count && !config_networks_contain(&d->answers, address))
                return DNSBL_UNWANTED;
        return DNSBL_LISTED;
}

size_t dnsbl_reason(struct span rdata, char *out, size_t room)
{
        size_t len = 0;
        struct span text = {NULL, 0};

        if (rdata.len > 1 && (unsigned char) rdata.p[0] < rdata.len)
                text = span_first(span_skip(rdata, 1), (unsigned char) rdata.p[0]);
        for (size_t i = 0; i < text.len && len < room; i++)
                out[len++] = text.p[i] >= ' ' && text.p[i] < 127 ? text.p[i] : '?';
        return len;
}

static size_t put(char *out, size_t room, size_t len, struct span s)
{
        s = span_first(s, room - len);
        if (s.len)
                memcpy(out + len, s.p, s.len);
        return len + s.len;
}

size_t dnsbl_message(const struct config_dnsbl *d, struct span client, struct span reason,
                     char *out, size_t room)
{
        struct span text = d->message;
        size_t len = 0;

        if (!text.len)
                text = reason.len ? SPAN_LITERAL("Rejected: %a is listed by %z (%r)")
                                  : SPAN_LITERAL("Rejected: %a is listed by %z");
        for (size_t i = 0; i < text.len; i++) {
                const char next = i + 1 < text.len ? text.p[i + 1] : '\0';

                if (text.p[i] != '%' || !strchr("azr%", next) || !next) {
                        len = put(out, room, len, span_make(text.p + i, 1));
                        continue;
                }
                i++;
                len = put(out, room, len, next == 'a'   ? client
                                          : next == 'z' ? d->zone
                                          : next == 'r' ? reason
                                                        : SPAN_LITERAL("%"));
        }
        return len;
}
