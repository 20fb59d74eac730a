/* Values: from the text in the file to a field of struct config, and back. */

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "config/options.h"
#include "config/tls_policy.h"
#include "message/address.h"

enum {
        DOMAIN_MAX = 253,      /* RFC 1035 section 3.1 in text form, without the last dot */
        LABEL_MAX = 63,        /* the same section */
        TEXT_MAX = 4096,       /* any other text */
        NEXT_HOP_MAX = 512,
        SOCKET_PATH_MAX = 107, /* sun_path with its NUL */
        USER_MAX = 20,         /* with "-directory" behind it still a Unix account name */
};

static const char *const role_names[] = {
        [ROLE_GATEWAY] = "gateway",     [ROLE_RELAY] = "relay",       [ROLE_MAILBOX] = "mailbox",
        [ROLE_BACKUP_MX] = "backup-mx", [ROLE_FALLBACK] = "fallback",
};

static const struct {
        const char *name;
        uint16_t port; /* 0: none is usual */
        bool is_tls;
} protocols[] = {
        [LISTEN_SMTP] = { "smtp", 25, false },
        [LISTEN_SUBMISSION] = { "submission", 587, false },
        [LISTEN_SUBMISSIONS] = { "submissions", 465, true },
        [LISTEN_LMTP] = { "lmtp", 24, false },
        [LISTEN_IMAP] = { "imap", 143, false },
        [LISTEN_IMAPS] = { "imaps", 993, true },
        [LISTEN_POP3] = { "pop3", 110, false },
        [LISTEN_POP3S] = { "pop3s", 995, true },
        [LISTEN_HTTP] = { "http", 0, false },
};
/* Those that can be written in the file. */
static const size_t protocol_count = sizeof protocols / sizeof protocols[0];

const char *role_name(enum role role)
{
        return role_names[role];
}

const char *listen_protocol_name(enum listen_protocol protocol)
{
        return (size_t) protocol < protocol_count ? protocols[protocol].name
                                         : (protocol == LISTEN_LOCAL ? "local" : "control");
}

bool listen_protocol_is_tls(enum listen_protocol protocol)
{
        return (size_t) protocol < protocol_count && protocols[protocol].is_tls;
}

size_t option_size(enum option_type type)
{
        switch (type) {
        case OPTION_ROLE:
                return sizeof(enum role);
        case OPTION_BOOL:
                return sizeof(bool);
        case OPTION_NUMBER:
                return sizeof(unsigned);
        case OPTION_COUNT:
        case OPTION_SIZE:
        case OPTION_DURATION:
                return sizeof(uint64_t);
        case OPTION_DOMAINS:
        case OPTION_PATTERNS:
        case OPTION_NAMES:
        case OPTION_SERVERS:
        case OPTION_CERTIFICATES:
        case OPTION_MECHANISMS:
        case OPTION_PATHS:
        case OPTION_TLS_POLICIES:
                return sizeof(struct config_list);
        case OPTION_NETWORKS:
                return sizeof(struct config_networks);
        case OPTION_LISTENS:
                return sizeof(struct config_listens);
        case OPTION_DNSBLS:
                return sizeof(struct config_dnsbls);
        default:
                return sizeof(struct span);
        }
}

/* "Appends why and fails", so that a check is one line. A message that does
 * not fit is cut off where the errors are collected, never the failure. */
#define REFUSE(why, ...) (buffer_printf((why), __VA_ARGS__), -EINVAL)
#define TEXT(s) (int) ((s).len < 200 ? (s).len : 200), (s).p

static bool is_letter_or_digit(char c)
{
        return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static int check_domain(struct span s, struct buffer *why)
{
        struct span rest = s, label;

        if (s.len == 0 || s.len > DOMAIN_MAX)
                return REFUSE(why, "\"%.*s\" is no domain name: it has %zu octets, which must be 1 "
                              "to %d", TEXT(s), s.len, DOMAIN_MAX);
        while (span_split(&rest, '.', &label)) {
                if (label.len == 0 || label.len > LABEL_MAX)
                        return REFUSE(why, "\"%.*s\" is no domain name: between dots there must be "
                                      "1 to %d octets, and no dot at the end", TEXT(s), LABEL_MAX);
                for (size_t i = 0; i < label.len; i++) {
                        if ((unsigned char) label.p[i] > 127)
                                return REFUSE(why, "\"%.*s\" must be written in its ASCII form, "
                                              "which begins with xn--", TEXT(s));
                        if (!is_letter_or_digit(label.p[i]) && label.p[i] != '-' &&
                            label.p[i] != '_')
                                return REFUSE(why, "\"%.*s\" is no domain name: use letters, "
                                              "digits and hyphens", TEXT(s));
                }
                if (label.p[0] == '-' || label.p[label.len - 1] == '-')
                        return REFUSE(why, "\"%.*s\" is no domain name: no part may begin or end "
                                      "with a hyphen", TEXT(s));
        }
        return 0;
}

static int lower_domain(struct span s, struct arena *arena, struct span *ret_s)
{
        char *copy = arena_string(arena, s);

        if (!copy)
                return -ENOMEM;
        ascii_lower_copy(copy, s);
        *ret_s = span_make(copy, s.len);
        return 0;
}

/* What may stand in front of "@" without quotes. */
static int check_name(struct span s, struct buffer *why)
{
        struct address address;

        if (address_parse(s, true, &address) < 0 || address.domain.len)
                return REFUSE(why, "\"%.*s\" is no local name; write it without a domain, like "
                              "\"root\"", TEXT(s));
        return 0;
}

static int check_hostname(struct span s, struct buffer *why)
{
        int r = check_domain(s, why);

        if (r == 0 && span_find(s, '.') == SIZE_MAX &&
            !span_equal_nocase(s, SPAN_LITERAL("localhost")))
                return REFUSE(why, "\"%.*s\" is not a full name; write it with its domain, like "
                              "\"%.*s.example.jp\"", TEXT(s), TEXT(s));
        return r;
}

static int check_path(struct span s, struct buffer *why)
{
        if (s.len == 0 || s.p[0] != '/')
                return REFUSE(why, "\"%.*s\" is not a whole path; begin it with /", TEXT(s));
        return 0;
}

static int check_user(struct span s, struct buffer *why)
{
        bool good = s.len > 0 && s.len <= USER_MAX && s.p[0] >= 'a' && s.p[0] <= 'z';

        for (size_t i = 0; good && i < s.len; i++)
                good = (is_letter_or_digit(s.p[i]) && ascii_lower(s.p[i]) == s.p[i]) ||
                       s.p[i] == '-' || s.p[i] == '_';
        return good ? 0
                    : REFUSE(why, "\"%.*s\" is no account name: use at most %d small letters, "
                             "digits and hyphens, a letter first", TEXT(s), USER_MAX);
}

/* Only what no form of a next hop can hold; route/ reads it in earnest. */
static int check_next_hop(struct span s, struct buffer *why)
{
        if (s.len == 0 || s.len > NEXT_HOP_MAX)
                return REFUSE(why, "a next hop has 1 to %d octets; write \"host\", \"[host]\" or "
                              "\"host:port\", or leave the option out", NEXT_HOP_MAX);
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] <= ' ' || (unsigned char) s.p[i] > '~' ||
                    s.p[i] == ',' || s.p[i] == '@')
                        return REFUSE(why, "\"%.*s\" is no next hop; write \"host\", \"[host]\" "
                                      "(no MX look-up) or \"host:port\"", TEXT(s));
        return 0;
}

static int parse_text(const struct option *o, struct span s, struct arena *arena,
                      struct span *field, struct buffer *why)
{
        int r = 0;

        switch (o->type) {
        case OPTION_HOSTNAME:
                r = check_hostname(s, why);
                return r < 0 ? r : lower_domain(s, arena, field);
        case OPTION_USER:
                r = check_user(s, why);
                break;
        case OPTION_PATH:
                r = check_path(s, why);
                break;
        case OPTION_NEXT_HOP:
                r = check_next_hop(s, why);
                break;
        case OPTION_LOG_LEVEL:
                if (log_level_parse(s) < 0)
                        r = REFUSE(why, "\"%.*s\" is none of error, warning, notice, info, debug",
                                   TEXT(s));
                break;
        default:
                break;
        }
        if (r < 0)
                return r;
        *field = arena_copy(arena, s);
        return field->p ? 0 : -ENOMEM;
}

static int parse_role(struct span s, enum role *field, struct buffer *why)
{
        for (size_t i = 0; i < ROLE_COUNT; i++) {
                if (!span_equal(span_from_string(role_names[i]), s))
                        continue;
                *field = (enum role) i;
                return 0;
        }
        return REFUSE(why, "\"%.*s\" is none of gateway, relay, mailbox, backup-mx, fallback",
                      TEXT(s));
}

static int parse_bool(struct span s, bool *field, struct buffer *why)
{
        static const char *const words[2][3] = {{"no", "false", "off"}, {"yes", "true", "on"}};

        for (size_t i = 0; i < 6; i++) {
                if (!span_equal_nocase(span_from_string(words[i / 3][i % 3]), s))
                        continue;
                *field = i >= 3;
                return 0;
        }
        return REFUSE(why, "\"%.*s\" is neither yes nor no", TEXT(s));
}

static const char *number_text(const struct option *o, uint64_t value, char *out)
{
        if (o->type == OPTION_DURATION)
                return duration_format(value, out);
        if (o->type == OPTION_SIZE)
                return size_format(value, out);
        snprintf(out, NUMBER_TEXT_MAX, "%llu", (unsigned long long) value);
        return out;
}

static int parse_number(const struct option *o, struct span s, uint64_t *ret_value,
                        struct buffer *why)
{
        char min[NUMBER_TEXT_MAX], max[NUMBER_TEXT_MAX];
        const char *form = "a number";
        uint64_t value = 0;
        int r;

        if (o->type == OPTION_SIZE) {
                form = "a size like 64K, 10M or 2G";
                r = size_parse(s, &value);
        } else if (o->type == OPTION_DURATION) {
                form = "a time like 30s, 5m, 4h or 5d";
                r = duration_parse(s, &value);
        } else {
                r = number_parse(s, UINT64_MAX, &value);
        }
        if (r == -EINVAL)
                return REFUSE(why, "\"%.*s\" is not %s", TEXT(s), form);
        if (r < 0 || ((value < o->min || value > o->max) && !(value == 0 && o->zero_is_none)))
                return REFUSE(why, "%.*s is out of range; use %s to %s%s", TEXT(s),
                              number_text(o, o->min, min), number_text(o, o->max, max),
                              o->zero_is_none ? ", or 0" : "");
        *ret_value = value;
        return 0;
}

/* An address in 16 octets, IPv4 mapped. */
static bool parse_ip(struct span s, unsigned char out[16], bool *ret_is_v4)
{
        static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
        char text[INET6_ADDRSTRLEN];

        if (s.len == 0 || s.len >= sizeof text || memchr(s.p, '\0', s.len))
                return false;
        memcpy(text, s.p, s.len);
        text[s.len] = '\0';
        *ret_is_v4 = true;
        if (inet_pton(AF_INET, text, out + 12) == 1) {
                memcpy(out, mapped, sizeof mapped);
                return true;
        }
        *ret_is_v4 = false;
        return inet_pton(AF_INET6, text, out) == 1;
}

static void format_ip(const unsigned char in[16], bool is_v4, char out[INET6_ADDRSTRLEN])
{
        if (is_v4)
                inet_ntop(AF_INET, in + 12, out, INET6_ADDRSTRLEN);
        else
                inet_ntop(AF_INET6, in, out, INET6_ADDRSTRLEN);
}

/* An IPv4 network, or one below ::ffff:0:0/96, which is the same thing. */
static bool network_is_v4(const struct config_network *n)
{
        static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

        return n->prefix >= 96 && memcmp(n->address, mapped, sizeof mapped) == 0;
}

static void format_network(const struct config_network *n, char *out, size_t out_len)
{
        const bool is_v4 = network_is_v4(n);
        char text[INET6_ADDRSTRLEN];

        format_ip(n->address, is_v4, text);
        snprintf(out, out_len, "%s/%u", text, n->prefix - (is_v4 ? 96 : 0));
}

/* Clears the bits behind the prefix; true when one of them was set. */
static bool clear_host_bits(struct config_network *n)
{
        bool had = false;

        for (unsigned i = 0; i < 16; i++) {
                const unsigned bits = n->prefix <= 8 * i ? 0 : n->prefix - 8 * i;
                const unsigned mask = bits >= 8 ? 0xff : 0xff00U >> bits & 0xff;

                had = had || (n->address[i] & ~mask & 0xff);
                n->address[i] = (unsigned char) (n->address[i] & mask);
        }
        return had;
}

static int parse_network(struct span s, struct config_network *ret_n, struct buffer *why)
{
        struct config_network n;
        struct span rest = s, host;
        uint64_t prefix = 0;
        bool is_v4 = false;
        unsigned bits;

        span_split(&rest, '/', &host);
        if (!parse_ip(host, n.address, &is_v4))
                return REFUSE(why, "\"%.*s\" is no network; write it like 192.0.2.0/24 or "
                              "2001:db8::/32", TEXT(s));
        bits = is_v4 ? 32 : 128;
        prefix = bits;
        if (rest.p && number_parse(rest, bits, &prefix) < 0)
                return REFUSE(why, "\"%.*s\": the number behind / must be 0 to %u", TEXT(s), bits);
        n.prefix = (unsigned) prefix + (is_v4 ? 96 : 0);
        if (clear_host_bits(&n)) {
                char text[INET6_ADDRSTRLEN + 8];

                format_network(&n, text, sizeof text);
                return REFUSE(why, "\"%.*s\" has bits set behind /%u; write \"%s\"", TEXT(s),
                              (unsigned) prefix, text);
        }
        *ret_n = n;
        return 0;
}

static int parse_server(struct span s, struct buffer *why)
{
        struct span rest = s, host;
        unsigned char ip[16];
        uint64_t port = 53;
        bool is_v4;

        span_split(&rest, '@', &host);
        if (!parse_ip(host, ip, &is_v4) ||
            (rest.p && (number_parse(rest, 65535, &port) < 0 || port == 0)))
                return REFUSE(why, "\"%.*s\" is no name server; write its address, like "
                              "\"192.0.2.53\" or \"127.0.0.1@5353\"", TEXT(s));
        return 0;
}

/* "*", an address, or an IPv6 address in brackets; then ":port" or nothing. */
static int parse_endpoint(struct span s, struct config_listen *l, struct buffer *why)
{
        const bool has_bracket = s.len && s.p[0] == '[';
        const size_t end = has_bracket ? span_find(s, ']') : span_find(s, ':');
        const struct span host = span_first(s, end);
        struct span rest = span_skip(s, end);
        unsigned char ip[16];
        uint64_t port = protocols[l->protocol].port;
        bool is_v4 = true;

        l->host = has_bracket ? span_skip(host, 1) : host;
        if (has_bracket && rest.len)
                rest = span_skip(rest, 1);
        if (!span_equal(l->host, SPAN_LITERAL("*")) || has_bracket) {
                if (!parse_ip(l->host, ip, &is_v4) || is_v4 == has_bracket)
                        return REFUSE(why, "\"%.*s\": the host must be *, an IPv4 address, or an "
                                      "IPv6 address in brackets", TEXT(l->text));
        }
        if (rest.len && (rest.p[0] != ':' || number_parse(span_skip(rest, 1), 65535, &port) < 0))
                port = 0;
        if (port == 0)
                return REFUSE(why, "\"%.*s\": write a port of 1 to 65535 behind the host, like "
                              "\":8080\"", TEXT(l->text));
        l->port = (uint16_t) port;
        return 0;
}

static int parse_listen(struct span s, struct config_listen *ret_l, struct buffer *why)
{
        struct config_listen l = { .text = s };
        const size_t colon = span_find(s, ':');
        struct span rest = span_skip(s, colon);
        size_t i = 0;

        while (i < protocol_count &&
               !span_equal(span_from_string(protocols[i].name), span_first(s, colon)))
                i++;
        if (i == protocol_count || !span_starts_with_nocase(rest, SPAN_LITERAL("://")))
                return REFUSE(why, "\"%.*s\" does not begin with a protocol; write it like "
                              "\"smtp://*:25\", with smtp, submission, submissions, lmtp, imap, "
                              "imaps, pop3, pop3s or http", TEXT(s));
        l.protocol = (enum listen_protocol) i;
        rest = span_skip(rest, 3);
        l.is_unix = span_starts_with_nocase(rest, SPAN_LITERAL("unix:"));
        if (!l.is_unix) {
                int r = parse_endpoint(rest, &l, why);

                if (r < 0)
                        return r;
                if (l.protocol == LISTEN_LMTP && l.port == 25) /* RFC 2033 section 5 */
                        return REFUSE(why, "\"%.*s\": LMTP has no place on port 25; 24 is usual",
                                      TEXT(s));
        } else {
                l.host = span_skip(rest, 5);
                if (l.host.len == 0 || l.host.p[0] != '/' || l.host.len > SOCKET_PATH_MAX)
                        return REFUSE(why, "\"%.*s\": behind unix: there must be a whole path of "
                                      "at most %d octets", TEXT(s), SOCKET_PATH_MAX);
        }
        *ret_l = l;
        return 0;
}

/* One of those that auth/sasl.c has. */
static int parse_mechanism(struct span s, struct span *ret, struct buffer *why)
{
        static const struct span known[] = {
                SPAN("SCRAM-SHA-256-PLUS"), SPAN("SCRAM-SHA-256"), SPAN("SCRAM-SHA-1-PLUS"),
                SPAN("SCRAM-SHA-1"), SPAN("EXTERNAL"), SPAN("CRAM-MD5"), SPAN("PLAIN"),
                SPAN("LOGIN"),
        };

        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
                if (span_equal_nocase(known[i], s)) {
                        *ret = known[i];
                        return 0;
                }
        }
        return REFUSE(why, "\"%.*s\" is no mechanism of ours; there are SCRAM-SHA-256-PLUS, "
                      "SCRAM-SHA-256, SCRAM-SHA-1-PLUS, SCRAM-SHA-1, EXTERNAL, CRAM-MD5, PLAIN and "
                      "LOGIN",
                      TEXT(s));
}

/* A SHA-256 in hexadecimal, or whom an authority of tls.client_ca vouches for. */
static int parse_certificate(struct span s, struct arena *arena, struct span *ret,
                             struct buffer *why)
{
        char *out = arena_alloc(arena, s.len + 1);
        size_t digits = 0;

        if (!out)
                return -ENOMEM;
        for (size_t i = 0; i < s.len; i++) {
                if (s.p[i] < ' ' || s.p[i] > '~')
                        return REFUSE(why, "\"%.*s\" names no certificate", TEXT(s));
                if (s.p[i] != ':')
                        out[digits++] = ascii_lower(s.p[i]);
        }
        *ret = span_make(out, digits);
        if (digits == 64 && strspn(out, "0123456789abcdef") >= 64)
                return 0;
        if (span_equal(s, SPAN_LITERAL("*")) || span_find(s, '.') != SIZE_MAX ||
            (span_starts_with_nocase(s, SPAN_LITERAL("issuer:")) && s.len > 7)) {
                ascii_lower_copy(out, s);
                *ret = span_make(out, s.len);
                return 0;
        }
        return REFUSE(why, "\"%.*s\" names no certificate; write its SHA-256, a host name or mail "
                      "address in it, issuer:NAME, or *", TEXT(s));
}

static int parse_tls_policy(struct span s, struct arena *arena, struct span *ret,
                            struct buffer *why)
{
        struct tls_policy policy;
        const char *text;

        if (tls_policy_parse(s, &policy, &text) < 0)
                return REFUSE(why, "\"%.*s\": %s", TEXT(s), text);
        *ret = arena_copy(arena, s);
        return ret->p ? 0 : -ENOMEM;
}

static int parse_list_text(const struct option *o, struct span s, struct arena *arena,
                           struct span *ret, struct buffer *why)
{
        const bool is_pattern = o->type == OPTION_PATTERNS && s.len && s.p[0] == '.';
        int r;

        if (o->type == OPTION_CERTIFICATES)
                return parse_certificate(s, arena, ret, why);
        if (o->type == OPTION_MECHANISMS)
                return parse_mechanism(s, ret, why);
        if (o->type == OPTION_PATHS) {
                r = check_path(s, why);
                *ret = r < 0 ? *ret : arena_copy(arena, s);
                return r < 0 ? r : ret->p ? 0 : -ENOMEM;
        }
        if (o->type == OPTION_TLS_POLICIES)
                return parse_tls_policy(s, arena, ret, why);
        r = o->type == OPTION_SERVERS ? parse_server(s, why)
            : o->type == OPTION_NAMES ? check_name(s, why)
                                      : check_domain(span_skip(s, is_pattern), why);
        return r < 0 ? r : lower_domain(s, arena, ret);
}

/* One of a list: of the type that its items have. */
static int parse_item(const struct option *o, struct span s, struct arena *arena, void *item,
                      struct buffer *why)
{
        struct span text;

        switch (o->type) {
        case OPTION_NETWORKS:
                return parse_network(s, item, why);
        case OPTION_LISTENS:
        case OPTION_DNSBLS:
                text = arena_copy(arena, s);
                if (!text.p)
                        return -ENOMEM;
                return o->type == OPTION_LISTENS ? parse_listen(text, item, why)
                                                 : option_dnsbl_parse(text, arena, item, why);
        default:
                return parse_list_text(o, s, arena, item, why);
        }
}

static size_t item_size(enum option_type type)
{
        return type == OPTION_NETWORKS  ? sizeof(struct config_network)
               : type == OPTION_LISTENS ? sizeof(struct config_listen)
               : type == OPTION_DNSBLS  ? sizeof(struct config_dnsbl)
                                        : sizeof(struct span);
}

static void set_list(enum option_type type, void *field, void *items, size_t count)
{
        switch (type) {
        case OPTION_NETWORKS:
                *(struct config_networks *) field = (struct config_networks) {items, count};
                break;
        case OPTION_LISTENS:
                *(struct config_listens *) field = (struct config_listens) {items, count};
                break;
        case OPTION_DNSBLS:
                *(struct config_dnsbls *) field = (struct config_dnsbls) {items, count};
                break;
        default:
                *(struct config_list *) field = (struct config_list) {items, count};
        }
}

static int parse_list(const struct option *o, struct config_list texts, struct arena *arena,
                      void *field, struct buffer *why)
{
        const size_t size = item_size(o->type);
        char *items = texts.count ? arena_alloc(arena, texts.count * size) : NULL;

        if (texts.count && !items)
                return -ENOMEM;
        for (size_t i = 0; i < texts.count; i++) {
                const int r = parse_item(o, texts.items[i], arena, items + i * size, why);

                if (r < 0)
                        return r;
        }
        set_list(o->type, field, items, texts.count);
        return 0;
}

int option_parse_network(struct span s, struct config_network *ret_n, struct buffer *why)
{
        return parse_network(s, ret_n, why);
}

static int check_characters(struct config_list texts, struct buffer *why)
{
        for (size_t i = 0; i < texts.count; i++) {
                const struct span s = texts.items[i];

                if (s.len > TEXT_MAX)
                        return REFUSE(why, "a value has at most %d octets", TEXT_MAX);
                for (size_t j = 0; j < s.len; j++)
                        if ((unsigned char) s.p[j] < ' ' || s.p[j] == 127)
                                return REFUSE(why, "a value may hold no control characters");
        }
        return 0;
}

static int parse_one(const struct option *o, struct span s, struct arena *arena, struct config *c,
                     struct buffer *why)
{
        void *field = option_field(o, c);
        uint64_t number = 0;
        int r;

        switch (o->type) {
        case OPTION_ROLE:
                return parse_role(s, field, why);
        case OPTION_BOOL:
                return parse_bool(s, field, why);
        case OPTION_NUMBER:
        case OPTION_COUNT:
        case OPTION_SIZE:
        case OPTION_DURATION:
                r = parse_number(o, s, &number, why);
                if (r < 0)
                        return r;
                if (o->type == OPTION_NUMBER)
                        *(unsigned *) field = (unsigned) number; /* the row's max fits */
                else
                        *(uint64_t *) field = number;
                return 0;
        default:
                return parse_text(o, s, arena, field, why);
        }
}

int option_parse(const struct option *o, struct config_list texts, struct arena *arena,
                 struct config *c, struct buffer *why)
{
        int r = check_characters(texts, why);

        if (r < 0)
                return r;
        if (option_is_list(o))
                return parse_list(o, texts, arena, option_field(o, c), why);
        if (texts.count != 1)
                return REFUSE(why, "there must be one value");
        return parse_one(o, texts.items[0], arena, c, why);
}

int option_default_texts(const struct option *o, const char *value, struct arena *arena,
                         struct config_list *ret_texts)
{
        struct span rest = span_from_string(value), word;
        struct config_list texts = { .count = value ? 1 : 0 };

        for (size_t i = 0; option_is_list(o) && i < rest.len; i++)
                texts.count += rest.p[i] == ' ';
        texts.items = arena_alloc(arena, (texts.count + 1) * sizeof *texts.items);
        if (!texts.items)
                return -ENOMEM;
        if (value && !option_is_list(o))
                texts.items[0] = rest;
        else
                for (size_t i = 0; value && span_split(&rest, ' ', &word); i++)
                        texts.items[i] = word;
        *ret_texts = texts;
        return 0;
}

static int format_network_text(const struct config_network *n, struct arena *arena,
                               struct span *ret_text)
{
        char text[INET6_ADDRSTRLEN + 8];

        format_network(n, text, sizeof text);
        *ret_text = arena_copy(arena, span_from_string(text));
        return ret_text->p ? 0 : -ENOMEM;
}

static size_t field_count(const struct option *o, const void *field)
{
        switch (o->type) {
        case OPTION_NETWORKS:
                return ((const struct config_networks *) field)->count;
        case OPTION_LISTENS:
                return ((const struct config_listens *) field)->count;
        case OPTION_DNSBLS:
                return ((const struct config_dnsbls *) field)->count;
        case OPTION_HOSTNAME:
        case OPTION_USER:
        case OPTION_PATH:
        case OPTION_NEXT_HOP:
        case OPTION_LOG_LEVEL:
                return ((const struct span *) field)->p ? 1 : 0;
        default:
                return option_is_list(o) ? ((const struct config_list *) field)->count : 1;
        }
}

static int format_item(const struct option *o, const void *field, size_t i, struct arena *arena,
                       struct span *ret_text)
{
        char text[NUMBER_TEXT_MAX];
        const char *word = text;

        switch (o->type) {
        case OPTION_ROLE:
                word = role_name(*(const enum role *) field);
                break;
        case OPTION_BOOL:
                word = *(const bool *) field ? "yes" : "no";
                break;
        case OPTION_NUMBER:
                number_text(o, *(const unsigned *) field, text);
                break;
        case OPTION_COUNT:
        case OPTION_SIZE:
        case OPTION_DURATION:
                number_text(o, *(const uint64_t *) field, text);
                break;
        case OPTION_NETWORKS:
                return format_network_text(&((const struct config_networks *) field)->items[i],
                                           arena, ret_text);
        case OPTION_LISTENS:
                *ret_text = ((const struct config_listens *) field)->items[i].text;
                return 0;
        case OPTION_DNSBLS:
                *ret_text = ((const struct config_dnsbls *) field)->items[i].text;
                return 0;
        default:
                *ret_text = option_is_list(o) ? ((const struct config_list *) field)->items[i]
                                              : *(const struct span *) field;
                return 0;
        }
        *ret_text = arena_copy(arena, span_from_string(word));
        return ret_text->p ? 0 : -ENOMEM;
}

int option_format(const struct option *o, const struct config *c, struct arena *arena,
                  struct config_list *ret_texts)
{
        const void *field = option_field_const(o, c);
        struct config_list texts = { .count = field_count(o, field) };
        int r = 0;

        texts.items = arena_alloc(arena, (texts.count + 1) * sizeof *texts.items);
        if (!texts.items)
                return -ENOMEM;
        for (size_t i = 0; r == 0 && i < texts.count; i++)
                r = format_item(o, field, i, arena, &texts.items[i]);
        if (r == 0)
                *ret_texts = texts;
        return r;
}
