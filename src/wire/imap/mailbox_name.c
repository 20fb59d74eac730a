#include "wire/imap/mailbox_name.h"

#include <errno.h>
#include <stdint.h>

#include "base/utf8.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static int digit_of(char c)
{
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int) (at - digits) : -1;
}

/* Sixteen bits of UTF-16; `*high` is a surrogate that waits for its other half. */
static int put_unit(uint32_t unit, uint32_t *high, char *out, size_t *len)
{
        const bool is_high = unit >= 0xD800 && unit < 0xDC00;
        const bool is_low = unit >= 0xDC00 && unit < 0xE000;

        if (is_low != (*high != 0))
                return -EINVAL;
        if (is_high) {
                *high = unit;
                return 0;
        }
        if (is_low) {
                unit = 0x10000 + ((*high & 0x3FF) << 10) + (unit & 0x3FF);
                *high = 0;
        } else if (unit >= 0x20 && unit < 0x7F) {
                return -EINVAL; /* must be written as itself */
        }
        if (unit == 0)
                return -EINVAL;
        *len += utf8_put(unit, out + *len);
        return 0;
}

/* Behind "&": up to "-". Returns the octets taken, or 0. */
static size_t decode_shifted(struct span in, char *out, size_t *len)
{
        uint32_t bits = 0, high = 0;
        unsigned bit_count = 0;
        size_t i = 0;

        for (; i < in.len && in.p[i] != '-'; i++) {
                const int d = digit_of(in.p[i]);

                if (d < 0)
                        return 0;
                bits = bits << 6 | (uint32_t) d;
                bit_count += 6;
                if (bit_count < 16)
                        continue;
                bit_count -= 16;
                if (put_unit(bits >> bit_count & 0xFFFF, &high, out, len) < 0)
                        return 0;
        }
        /* Bits left over are less than a digit, and zero. */
        if (i == in.len || high || bit_count >= 6 || (bits & ((1u << bit_count) - 1)))
                return 0;
        return i + 1;
}

int mailbox_name_decode(struct span in, char *out, size_t *ret_len)
{
        size_t len = 0;

        for (size_t i = 0; i < in.len; i++) {
                const char c = in.p[i];
                size_t taken;

                if (c < 0x20 || c >= 0x7F)
                        return -EINVAL;
                if (c != '&') {
                        out[len++] = c;
                        continue;
                }
                if (i + 1 < in.len && in.p[i + 1] == '-') {
                        out[len++] = '&';
                        i++;
                        continue;
                }
                taken = decode_shifted(span_skip(in, i + 1), out, &len);
                if (taken == 0)
                        return -EINVAL;
                i += taken;
                /* Two shifts with nothing between are one (RFC 3501 section 5.1.3). */
                if (i + 2 < in.len && in.p[i + 1] == '&' && in.p[i + 2] != '-')
                        return -EINVAL;
        }
        *ret_len = len;
        return 0;
}

static uint32_t take_utf8(struct span *in)
{
        const unsigned char *p = (const unsigned char *) in->p;
        uint32_t c = p[0];
        size_t n = 1;

        if (c >= 0xF0 && in->len >= 4) {
                c = (c & 7) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u);
                n = 4;
        } else if (c >= 0xE0 && in->len >= 3) {
                c = (c & 15) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
                n = 3;
        } else if (c >= 0xC0 && in->len >= 2) {
                c = (c & 31) << 6 | (p[1] & 63u);
                n = 2;
        }
        *in = span_skip(*in, n);
        return c;
}

struct shifted {
        struct buffer *out;
        uint32_t bits;
        unsigned bit_count;
        int result;
};

static void put_bits(struct shifted *s, uint32_t unit)
{
        s->bits = s->bits << 16 | unit;
        s->bit_count += 16;
        while (s->bit_count >= 6 && s->result == 0) {
                s->bit_count -= 6;
                s->result = buffer_append(s->out, &digits[s->bits >> s->bit_count & 63], 1);
        }
}

static bool is_plain(char c)
{
        return c >= 0x20 && c < 0x7F;
}

static int encode_shifted(struct span *in, struct buffer *out)
{
        struct shifted s = {.out = out};

        s.result = buffer_append(out, "&", 1);
        while (in->len && !is_plain(in->p[0]) && s.result == 0) {
                const uint32_t c = take_utf8(in);

                if (c >= 0x10000) {
                        put_bits(&s, 0xD800 + ((c - 0x10000) >> 10));
                        put_bits(&s, 0xDC00 + ((c - 0x10000) & 0x3FF));
                } else {
                        put_bits(&s, c);
                }
        }
        if (s.bit_count && s.result == 0)
                s.result = buffer_append(out, &digits[s.bits << (6 - s.bit_count) & 63], 1);
        return s.result < 0 ? s.result : buffer_append(out, "-", 1);
}

int mailbox_name_encode(struct span in, struct buffer *out)
{
        int r = 0;

        while (in.len && r == 0) {
                if (!is_plain(in.p[0])) {
                        r = encode_shifted(&in, out);
                        continue;
                }
                r = in.p[0] == '&' ? buffer_append(out, "&-", 2) : buffer_append(out, in.p, 1);
                in = span_skip(in, 1);
        }
        return r;
}

static char fold_inbox(struct span name, size_t i, bool is_inbox)
{
        return is_inbox && i < 5 ? ascii_lower(name.p[i]) : name.p[i];
}

/* Is the first level of it INBOX? Wildcards are levels of their own. */
static bool has_inbox(struct span s)
{
        return span_starts_with_nocase(s, SPAN_LITERAL("INBOX")) && (s.len == 5 || s.p[5] == '/');
}

/* Goes back to the last wildcard alone: "*" may stand for all that "%" could
 * have, so nothing is lost with the earlier ones, but for a "%" that follows a
 * "*": both are kept. */
bool mailbox_name_matches(struct span name, struct span pattern)
{
        const bool is_inbox = has_inbox(name)
                              && span_starts_with_nocase(pattern, SPAN_LITERAL("INBOX"));
        size_t n = 0, p = 0;
        size_t star = SIZE_MAX, star_n = 0, percent = SIZE_MAX, percent_n = 0;

        for (;;) {
                if (p < pattern.len && pattern.p[p] == '*') {
                        star = ++p;
                        star_n = n;
                        percent = SIZE_MAX;
                } else if (p < pattern.len && pattern.p[p] == '%') {
                        percent = ++p;
                        percent_n = n;
                } else if (n == name.len && p == pattern.len) {
                        return true;
                } else if (n < name.len && p < pattern.len
                           && fold_inbox(name, n, is_inbox) == fold_inbox(pattern, p, is_inbox)) {
                        n++;
                        p++;
                } else if (percent != SIZE_MAX && percent_n < name.len
                           && name.p[percent_n] != '/') {
                        n = ++percent_n;
                        p = percent;
                } else if (star != SIZE_MAX && star_n < name.len) {
                        n = ++star_n;
                        p = star;
                        percent = SIZE_MAX;
                } else {
                        return false;
                }
        }
}
