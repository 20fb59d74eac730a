#include "config/tls_policy.h"

#include <errno.h>

#include "base/number.h"

static const struct {
        struct span name;
        enum tls_level level;
} levels[] = {
        { SPAN("none"), TLS_LEVEL_NONE },
        { SPAN("may"), TLS_LEVEL_MAY },
        { SPAN("encrypt"), TLS_LEVEL_ENCRYPT },
        { SPAN("verify"), TLS_LEVEL_VERIFY },
        { SPAN("fingerprint"), TLS_LEVEL_FINGERPRINT },
        { SPAN("dane"), TLS_LEVEL_DANE },
        { SPAN("dane-only"), TLS_LEVEL_DANE_ONLY },
};

const char *tls_level_name(enum tls_level level)
{
        return levels[level].name.p;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = ascii_lower(c);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 32 octets, with colons between them or without. */
static bool parse_fingerprint(struct span text, unsigned char out[TLS_FINGERPRINT_LEN])
{
        size_t at = 0;

        for (size_t i = 0; i < TLS_FINGERPRINT_LEN; i++) {
                int high, low;

                if (i && at < text.len && text.p[at] == ':')
                        at++;
                if (at + 2 > text.len)
                        return false;
                high = hex_value(text.p[at]);
                low = hex_value(text.p[at + 1]);
                if (high < 0 || low < 0)
                        return false;
                out[i] = (unsigned char) (high << 4 | low);
                at += 2;
        }
        return at == text.len;
}

bool tls_policy_next_fingerprint(struct span *rest, unsigned char out[TLS_FINGERPRINT_LEN])
{
        struct span one;

        while (rest->len && span_split(rest, ',', &one))
                if (parse_fingerprint(one, out))
                        return true;
        return false;
}

/* Lower case is not asked for: names compare without it. */
static bool is_name(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);

                if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '-' &&
                    c != '_' && c != ':')
                        return false;
        }
        return s.len > 0 && s.len <= 253 && s.p[s.len - 1] != '.';
}

static const char *parse_destination(struct span text, struct tls_policy *p)
{
        const bool has_bracket = text.len && text.p[0] == '[';
        const size_t end = has_bracket ? span_find(text, ']') : span_find(text, ':');
        struct span rest = span_skip(text, end);
        uint64_t port;

        p->host = has_bracket ? span_skip(span_first(text, end), 1) : span_first(text, end);
        if (has_bracket && end == SIZE_MAX)
                return "the bracket of the destination is not closed";
        rest = span_skip(rest, has_bracket);
        if (rest.len) {
                if (rest.p[0] != ':' || number_parse(span_skip(rest, 1), UINT16_MAX, &port) < 0 ||
                    port == 0)
                        return "behind the destination's name there may only be :port";
                p->port = (uint16_t) port;
        }
        if (span_equal(p->host, SPAN_LITERAL("*")))
                return p->port ? "\"*\" has no port" : NULL;
        return is_name(p->host) && (p->host.len > 1 || p->host.p[0] != '.')
                       ? NULL
                       : "the destination is no domain, host or \"*\"";
}

static const char *parse_names(struct span text, struct tls_policy *p)
{
        struct span one;
        size_t count = 0;

        p->match = text;
        do {
                if (!span_split(&text, ',', &one) || !is_name(one))
                        return "behind match= there must be host names with commas between them";
                count++;
        } while (text.p);
        return count <= TLS_POLICY_NAMES_MAX ? NULL : "too many names behind match=";
}

static const char *parse_fingerprints(struct span text, struct tls_policy *p)
{
        unsigned char octets[TLS_FINGERPRINT_LEN];
        struct span one;
        size_t count = 0;

        p->fingerprints = text;
        do {
                if (!span_split(&text, ',', &one) || !parse_fingerprint(one, octets))
                        return "a fingerprint is SHA-256, 64 hexadecimal digits";
                count++;
        } while (text.p);
        return count <= TLS_POLICY_FINGERPRINTS_MAX ? NULL : "too many fingerprints";
}

static const char *parse_more(struct span word, struct tls_policy *p)
{
        if (p->level == TLS_LEVEL_VERIFY && !p->match.len &&
            span_starts_with_nocase(word, SPAN_LITERAL("match=")))
                return parse_names(span_skip(word, 6), p);
        if (p->level == TLS_LEVEL_FINGERPRINT && !p->fingerprints.len)
                return parse_fingerprints(word, p);
        return "there is one word too many";
}

static const char *parse_level(struct span word, struct tls_policy *p)
{
        for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
                if (!span_equal_nocase(levels[i].name, word))
                        continue;
                p->level = levels[i].level;
                return NULL;
        }
        return "the level is none of none, may, encrypt, verify, fingerprint, dane, dane-only";
}

int tls_policy_parse(struct span text, struct tls_policy *ret, const char **ret_why)
{
        struct tls_policy p = {0};
        const char *why = NULL;
        struct span word;
        unsigned words = 0;

        while (!why && text.len && span_split(&text, ' ', &word)) {
                if (word.len == 0)
                        continue;
                why = words == 0 ? parse_destination(word, &p)
                                 : words == 1 ? parse_level(word, &p) : parse_more(word, &p);
                words++;
        }
        if (!why && words < 2)
                why = "write it like \"example.jp verify\"";
        if (!why && p.level == TLS_LEVEL_FINGERPRINT && !p.fingerprints.len)
                why = "the level fingerprint needs one, SHA-256 in hexadecimal";
        if (why) {
                *ret_why = why;
                return -EINVAL;
        }
        *ret = p;
        return 0;
}

/* How well a row fits; 0: not at all. */
static size_t fit(const struct tls_policy *p, struct span host, uint16_t port)
{
        enum { EXACT = 1024 };

        if (p->port && p->port != port)
                return 0;
        if (span_equal(p->host, SPAN_LITERAL("*")))
                return 1;
        if (p->host.p[0] == '.')
                return host.len > p->host.len && span_ends_with_nocase(host, p->host)
                               ? 2 * p->host.len + (p->port != 0)
                               : 0;
        return span_equal_nocase(p->host, host) ? EXACT + (p->port != 0) : 0;
}

struct tls_policy tls_policy_find(const struct config_list *rows, struct span host, uint16_t port)
{
        struct tls_policy best = {.level = TLS_LEVEL_DANE};
        size_t best_fit = 0;

        for (size_t i = 0; i < rows->count; i++) {
                struct tls_policy p;
                const char *why;

                if (tls_policy_parse(rows->items[i], &p, &why) == 0 &&
                    fit(&p, host, port) > best_fit) {
                        best_fit = fit(&p, host, port);
                        best = p;
                }
        }
        return best;
}
