#include "message/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/octets.h"
#include "base/utf8.h"

enum { LABEL_MAX = 63 }; /* RFC 1035 section 2.3.4 */

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_let_dig(char c)
{
        const unsigned char letter = (unsigned char) ((c | 32) - 'a');

        return letter < 26 || is_digit(c);
}

static bool is_utf8_octet(char c)
{
        return (unsigned char) c > 127;
}

/* RFC 5322 section 3.2.3, widened by RFC 6531 section 3.3. */
static bool is_atext(char c)
{
        static const uint64_t others[2] = {
                1ULL << '!' | 1ULL << '#' | 1ULL << '$' | 1ULL << '%' | 1ULL << '&' | 1ULL << '\'' |
                1ULL << '*' | 1ULL << '+' | 1ULL << '-' | 1ULL << '/' | 1ULL << '=' | 1ULL << '?',
                1ULL << ('^' - 64) | 1ULL << ('_' - 64) | 1ULL << ('`' - 64) | 1ULL << ('{' - 64) |
                1ULL << ('|' - 64) | 1ULL << ('}' - 64) | 1ULL << ('~' - 64),
        };
        const unsigned char u = (unsigned char) c;

        return is_let_dig(c) || u > 127 || others[u / 64] >> u % 64 & 1;
}

/* Of a quoted string, what needs no backslash. */
static bool is_qtext(char c)
{
        return is_utf8_octet(c) || (c >= 32 && c <= 126 && c != '"' && c != '\\');
}

/* Octets of the Quoted-string at the start of `s`, or 0; `*ret_bare_len`
 * without quotes and backslashes. */
static size_t quoted_len(struct span s, size_t *ret_bare_len)
{
        size_t i = 1, bare_len = 0;

        if (s.len < 2 || s.p[0] != '"')
                return 0;
        while (i < s.len && s.p[i] != '"') {
                if (s.p[i] == '\\') {
                        i++;
                        if (i == s.len || s.p[i] < 32 || s.p[i] > 126)
                                return 0;
                } else if (!is_qtext(s.p[i])) {
                        return 0;
                }
                i++;
                bare_len++;
        }
        *ret_bare_len = bare_len;
        return i < s.len ? i + 1 : 0;
}

/* All but what most addresses are made of: letters, digits, "." "-" "_". */
static octets16 not_usual(octets16 x)
{
        return octets_beyond_names(x) & ~octets_equal(x, '_');
}

static size_t dotted_len(struct span s)
{
        size_t i = octets_until(s, not_usual);

        while (i < s.len && (is_atext(s.p[i]) || s.p[i] == '.'))
                i++;
        return i;
}

/* Octets of the label at the start of `s`, or 0; `*has_utf8` is set if it has some. */
static size_t label_len(struct span s, bool *has_utf8)
{
        bool is_u_label = false;
        size_t i = 0;

        for (; i < s.len && s.p[i] != '.'; i++) {
                const bool is_utf8 = is_utf8_octet(s.p[i]);

                is_u_label |= is_utf8;
                if (!is_let_dig(s.p[i]) && !is_utf8 && s.p[i] != '-')
                        return 0;
        }
        *has_utf8 |= is_u_label;
        /* A U-label counts by its A-label, which is for IDN code to make. */
        if (i == 0 || s.p[0] == '-' || s.p[i - 1] == '-' || (i > LABEL_MAX && !is_u_label))
                return 0;
        return i;
}

/* Whether it is a domain for certain: of ASCII, and too short for a long label. */
static bool is_plain_domain(struct span s)
{
        uint64_t dots = 0, hyphens = 0, others = 0, ends;

        if (s.len == 0 || s.len > LABEL_MAX)
                return false;
        for (size_t at = 0; at < s.len; at += OCTETS_COUNT) {
                const octets16 x = octets_load_some(span_skip(s, at));

                dots |= (uint64_t) octets_bits(octets_equal(x, '.')) << at;
                hyphens |= (uint64_t) octets_bits(octets_equal(x, '-')) << at;
                others |= (uint64_t) octets_bits(octets_beyond_names(x)) << at;
        }
        ends = dots << 1 | 1 | dots >> 1 | UINT64_C(1) << (s.len - 1); /* of labels, both */
        return !((dots | hyphens) & ends) && !(others & ((UINT64_C(1) << s.len) - 1));
}

bool address_is_domain(struct span s)
{
        bool has_utf8 = false;
        size_t at = 0;

        if (is_plain_domain(s))
                return true;
        if (s.len == 0 || s.len > ADDRESS_DOMAIN_MAX)
                return false;
        for (;; at++) {
                const size_t len = label_len(span_skip(s, at), &has_utf8);

                if (len == 0)
                        return false;
                at += len;
                if (at == s.len)
                        return !has_utf8 || utf8_is_valid(s);
        }
}

/* Decimal with leading zeros allowed, as Snum of section 4.1.3 is; inet_pton()
 * would refuse them. */
static bool parse_ipv4(struct span s, unsigned char *ret_octets)
{
        struct span number;
        size_t count = 0;

        while (span_split(&s, '.', &number)) {
                unsigned value = 0;

                if (count == 4 || number.len < 1 || number.len > 3)
                        return false;
                for (size_t i = 0; i < number.len; i++) {
                        if (!is_digit(number.p[i]))
                                return false;
                        value = value * 10 + (unsigned) (number.p[i] - '0');
                }
                if (value > 255)
                        return false;
                ret_octets[count++] = (unsigned char) value;
        }
        return count == 4;
}

static bool parse_ipv6(struct span s, unsigned char *ret_octets)
{
        char text[INET6_ADDRSTRLEN];

        if (s.len >= sizeof text || span_find(s, '\0') != SIZE_MAX)
                return false;
        memcpy(text, s.p, s.len);
        text[s.len] = '\0';
        return inet_pton(AF_INET6, text, ret_octets) == 1;
}

enum literal_kind { LITERAL_NONE, LITERAL_IPV4, LITERAL_IPV6 };

/* `ret_octets` has room for 16. */
static enum literal_kind parse_literal(struct span s, unsigned char *ret_octets)
{
        static const struct span tag = SPAN("IPv6:");

        if (s.len < 2 || s.p[0] != '[' || s.p[s.len - 1] != ']')
                return LITERAL_NONE;
        s = span_make(s.p + 1, s.len - 2);
        if (span_starts_with_nocase(s, tag))
                return parse_ipv6(span_skip(s, tag.len), ret_octets) ? LITERAL_IPV6 : LITERAL_NONE;
        return parse_ipv4(s, ret_octets) ? LITERAL_IPV4 : LITERAL_NONE;
}

bool address_is_literal(struct span s)
{
        unsigned char octets[16];

        return parse_literal(s, octets) != LITERAL_NONE;
}

/* Takes "@a,@b:" off the front. False where one begins and is malformed. */
static bool skip_route(struct span *text)
{
        while (text->len && text->p[0] == '@') {
                size_t end = 1;

                while (end < text->len && text->p[end] != ',' && text->p[end] != ':')
                        end++;
                if (end == text->len || !address_is_domain(span_make(text->p + 1, end - 1)))
                        return false;
                *text = span_skip(*text, end + 1);
                if (text->p[-1] == ':')
                        return true;
                if (text->len == 0 || text->p[0] != '@')
                        return false;
        }
        return true;
}

int address_parse(struct span text, bool may_lack_domain, struct address *ret)
{
        struct address a = {0};
        size_t local_len, bare_len;

        if (!skip_route(&text))
                return -EINVAL;
        local_len = quoted_len(text, &bare_len);
        a.is_quoted = local_len > 0;
        if (!a.is_quoted)
                local_len = bare_len = dotted_len(text);
        if (local_len == 0 || bare_len > ADDRESS_LOCAL_MAX)
                return -EINVAL;
        a.local = span_first(text, local_len);
        if (local_len == text.len) {
                if (!may_lack_domain)
                        return -EINVAL;
        } else {
                if (text.p[local_len] != '@')
                        return -EINVAL;
                a.domain = span_skip(text, local_len + 1);
                a.is_literal = address_is_literal(a.domain);
                if (!a.is_literal && !address_is_domain(a.domain))
                        return -EINVAL;
        }
        a.has_utf8 = !utf8_is_ascii(a.local);
        if (a.has_utf8 && !utf8_is_valid(a.local))
                return -EINVAL;
        a.has_utf8 = a.has_utf8 || !utf8_is_ascii(a.domain);
        *ret = a;
        return 0;
}

/* The local part without quotes and backslashes. Returns its length, at most
 * a->local.len. */
static size_t unquote_local(const struct address *a, char *out)
{
        size_t len = 0;

        if (!a->is_quoted) {
                memcpy(out, a->local.p, a->local.len);
                return a->local.len;
        }
        for (size_t i = 1; i + 1 < a->local.len; i++) {
                if (a->local.p[i] == '\\')
                        i++;
                out[len++] = a->local.p[i];
        }
        return len;
}

static octets16 not_atom(octets16 x)
{
        return not_usual(x) | octets_equal(x, '.');
}

/* A Dot-string of section 4.1.2: atoms with single dots between them. */
static bool is_dot_string(struct span s)
{
        char before = '.';

        if (s.len && octets_until(s, not_atom) == s.len)
                return true;
        for (size_t i = 0; i < s.len; before = s.p[i++])
                if (s.p[i] == '.' ? before == '.' : !is_atext(s.p[i]))
                        return false;
        return before != '.';
}

static size_t put_local(char *out, struct span local)
{
        size_t len = 0;

        if (is_dot_string(local)) {
                memcpy(out, local.p, local.len);
                return local.len;
        }
        out[len++] = '"';
        for (size_t i = 0; i < local.len; i++) {
                if (local.p[i] == '"' || local.p[i] == '\\')
                        out[len++] = '\\';
                out[len++] = local.p[i];
        }
        out[len++] = '"';
        return len;
}

static size_t put_domain(char *out, const struct address *a)
{
        char text[INET6_ADDRSTRLEN] = "";
        unsigned char octets[16];
        enum literal_kind kind;

        if (!a->is_literal) {
                ascii_lower_copy(out, a->domain);
                return a->domain.len;
        }
        kind = parse_literal(a->domain, octets);
        inet_ntop(kind == LITERAL_IPV6 ? AF_INET6 : AF_INET, octets, text, sizeof text);
        return (size_t) snprintf(out, sizeof text + 8, kind == LITERAL_IPV6 ? "[IPv6:%s]" : "[%s]",
                                 text);
}

static struct span finish(const struct address *a, char *out, size_t local_len,
                          struct arena *arena)
{
        size_t len = local_len;

        if (a->domain.len) {
                out[len++] = '@';
                len += put_domain(out + len, a);
        }
        return arena_copy(arena, span_make(out, len));
}

struct span address_format(const struct address *a, struct arena *arena)
{
        char bare[ADDRESS_LOCAL_MAX], out[ADDRESS_FORMAT_MAX + INET6_ADDRSTRLEN];
        const struct span local = span_make(bare, unquote_local(a, bare));

        return finish(a, out, put_local(out, local), arena);
}

struct span address_canonical(const struct address *a, struct arena *arena)
{
        char bare[ADDRESS_LOCAL_MAX], out[ADDRESS_FORMAT_MAX + INET6_ADDRSTRLEN];
        const struct span local = span_make(bare, unquote_local(a, bare));

        ascii_lower_copy(out, local);
        return finish(a, out, local.len, arena);
}
