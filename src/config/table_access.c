/* The access table: who is accepted, relayed, refused.
 *
 *   spammers.example            REJECT
 *   From:spammer@ube.example    ERROR:5.7.1:551 Relay denied
 *   Connect:192.168             RELAY
 *   To:bogus_user@              ERROR:550 No such user
 *
 * Read once into the form of table_access.h. */
#include "config/table_access.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/number.h"
#include "config/table.h"
#include "message/address.h"

enum { TAG_MAX = 8, V4_BITS = 32, V6_BITS = 128, REASON_MAX = 200 };

static const struct span tags[ACCESS_TAGS] = {
        SPAN(""), SPAN("connect:"), SPAN("from:"), SPAN("to:")};

/* What there is at all, to be written at the end. */
struct present {
        bool v4[V4_BITS + 1], v6[V6_BITS + 1];
        char forms[ACCESS_TAGS]; /* by tag: enum access_form */
};

struct network {
        unsigned char address[16];
        unsigned prefix;
        bool is_v4;
};

static bool is_digits_and_dots(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (s.p[i] != '.' && (s.p[i] < '0' || s.p[i] > '9'))
                        return false;
        return s.len > 0;
}

/* "192.168" and "192.168.": as many octets as there are. */
static bool read_v4(struct span s, struct network *n)
{
        struct span part;

        n->is_v4 = true;
        n->prefix = 0;
        if (s.len && s.p[s.len - 1] == '.')
                s.len--;
        if (s.len == 0)
                return false;
        while (span_split(&s, '.', &part)) {
                uint64_t octet;

                if (n->prefix == V4_BITS || part.len > 3 || number_parse(part, 255, &octet) < 0)
                        return false;
                n->address[12 + n->prefix / 8] = (unsigned char) octet;
                n->prefix += 8;
        }
        return true;
}

/* "2001:db8" is its first groups; with "::" or eight groups it is whole. */
static bool read_v6(struct span s, struct network *n)
{
        char text[INET6_ADDRSTRLEN];
        unsigned groups = 1;
        bool is_whole = false;

        if (s.len == 0 || s.len + 2 >= sizeof text || span_find(s, '\0') != SIZE_MAX)
                return false;
        memcpy(text, s.p, s.len);
        text[s.len] = '\0';
        for (size_t i = 0; i < s.len; i++) {
                groups += s.p[i] == ':';
                is_whole |= s.p[i] == '.' || (s.p[i] == ':' && i + 1 < s.len && s.p[i + 1] == ':');
        }
        is_whole |= groups == 8;
        if (!is_whole)
                memcpy(text + s.len, "::", sizeof "::");
        n->is_v4 = false;
        n->prefix = is_whole ? V6_BITS : groups * 16;
        return inet_pton(AF_INET6, text, n->address) == 1;
}

/* ::ffff:192.0.2.0/120 is what an IPv4 client is known by too. */
static void settle_mapped(struct network *n)
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

        if (n->is_v4 || n->prefix < 96 || memcmp(n->address, mapped, sizeof mapped) != 0)
                return;
        n->is_v4 = true;
        n->prefix -= 96;
}

static bool has_host_bits(const struct network *n)
{
        const unsigned first = n->is_v4 ? 96 + n->prefix : n->prefix;

        for (unsigned bit = first; bit < V6_BITS; bit++)
                if (n->address[bit / 8] & 0x80 >> bit % 8)
                        return true;
        return false;
}

/* 1: a network; 0: something else; -1: a bad one, said. */
static int read_network(struct table_lines *t, struct span key, struct network *ret_n)
{
        const struct span v6 = SPAN("IPv6:");
        const size_t slash = span_find(key, '/');
        struct span host = span_first(key, slash);
        struct network n = {.prefix = 0};
        uint64_t prefix;
        bool good;

        if (span_starts_with_nocase(host, v6))
                good = read_v6(span_skip(host, v6.len), &n);
        else if (is_digits_and_dots(host))
                good = read_v4(host, &n);
        else
                return 0;
        if (good && slash != SIZE_MAX) {
                good = number_parse(span_skip(key, slash + 1), n.is_v4 ? V4_BITS : V6_BITS,
                                    &prefix) == 0;
                n.prefix = good ? (unsigned) prefix : 0;
        }
        if (!good) {
                table_error(t, "\"%.*s\" is no network; write 192.168.10, 192.168.8.0/22, "
                            "IPv6:2001:db8 or IPv6:2001:db8::/32", TABLE_TEXT(key));
                return -1;
        }
        settle_mapped(&n);
        if (has_host_bits(&n)) {
                table_error(t, "\"%.*s\" has bits set behind its prefix; is the prefix right?",
                            TABLE_TEXT(key));
                return -1;
        }
        *ret_n = n;
        return 1;
}

/* An address, "user@", "<>", a domain or ".domain". */
static bool is_name_key(struct span key)
{
        const size_t at = span_find_last(key, '@');
        struct address address;

        if (span_equal(key, SPAN_LITERAL("<>")))
                return true;
        if (at == SIZE_MAX)
                return table_is_domain(span_skip(key, key.len > 1 && key.p[0] == '.'));
        if (at + 1 == key.len)
                return address_parse(span_first(key, at), true, &address) == 0 &&
                       address.domain.len == 0;
        return address_parse(key, false, &address) == 0 && !address.is_literal;
}

/* Sendmail's further tags are about other things, which are options here. */
static int cut_tag(struct table_lines *t, struct span *key, size_t *ret_tag)
{
        const size_t colon = span_find(*key, ':');

        *ret_tag = 0;
        if (colon == SIZE_MAX || span_starts_with_nocase(*key, SPAN_LITERAL("IPv6:")))
                return 0;
        for (size_t i = 1; i < ACCESS_TAGS; i++) {
                if (!span_starts_with_nocase(*key, tags[i]))
                        continue;
                *ret_tag = i;
                *key = span_skip(*key, tags[i].len);
                return 0;
        }
        *key = span_first(*key, colon + 1);
        table_error(t, "the tag \"%.*s\" says nothing here; there are Connect:, From: and To:, and "
                    "limits and logins are set by options", TABLE_TEXT(*key));
        return -EINVAL;
}

/* What mail is held for: a line for the administrator. */
static bool put_reason(struct table_lines *t, struct span reason, struct buffer *out)
{
        bool good = reason.len > 0 && reason.len <= REASON_MAX;

        for (size_t i = 0; i < reason.len; i++)
                good &= (unsigned char) reason.p[i] >= ' ' && reason.p[i] != 127;
        if (!good) {
                table_error(t, "behind QUARANTINE: there must be a reason of at most %d octets",
                            REASON_MAX);
                return false;
        }
        return buffer_append(out, "Q", 1) == 0 && buffer_append_span(out, reason) == 0;
}

static bool put_value(struct table_lines *t, struct span key, struct span value, struct buffer *out)
{
        static const struct {
                struct span word;
                char letter;
        } words[] = {{SPAN("OK"), ACCESS_OK},           {SPAN("RELAY"), ACCESS_RELAY},
                     {SPAN("REJECT"), ACCESS_REJECT},   {SPAN("DISCARD"), ACCESS_DISCARD},
                     {SPAN("SKIP"), ACCESS_SKIP}};
        const struct span error = SPAN("ERROR:"), quarantine = SPAN("QUARANTINE:");

        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
                if (!span_equal_nocase(value, words[i].word))
                        continue;
                if (words[i].letter == ACCESS_SKIP && span_find(key, '@') != SIZE_MAX) {
                        table_error(t, "SKIP ends the search among wider domains and networks; for "
                                    "the address \"%.*s\" write OK", TABLE_TEXT(key));
                        return false;
                }
                return buffer_append(out, &words[i].letter, 1) == 0;
        }
        if (span_starts_with_nocase(value, quarantine))
                return put_reason(t, span_trim(span_skip(value, quarantine.len)), out);
        if (span_starts_with_nocase(value, error))
                value = span_skip(value, error.len);
        else if (value.p[0] < '0' || value.p[0] > '9') {
                table_error(t, "\"%.*s\" is no action; write OK, RELAY, REJECT, DISCARD, SKIP, "
                            "QUARANTINE:reason or ERROR:5.7.1:550 text", TABLE_TEXT(value));
                return false;
        }
        return buffer_append(out, "E", 1) == 0 &&
               table_reply_parse(t, value, SPAN_LITERAL("5.7.1"), out);
}

static int form_of(struct span key)
{
        const size_t at = span_find_last(key, '@');

        if (at != SIZE_MAX)
                return at + 1 == key.len ? ACCESS_FORM_USER : ACCESS_FORM_ADDRESS;
        if (span_equal(key, SPAN_LITERAL("<>")))
                return ACCESS_FORM_ADDRESS;
        return key.p[0] == '.' ? ACCESS_FORM_SUBDOMAINS : ACCESS_FORM_DOMAIN;
}

/* The key as it is looked up: tag and network or name. False, with an error said. */
static bool put_key(struct table_lines *t, struct span key, struct buffer *out)
{
        struct present *present = t->arg;
        char text[ACCESS_NETWORK_KEY_MAX];
        struct network n;
        size_t tag;
        int r;

        if (cut_tag(t, &key, &tag) < 0)
                return false;
        (void) buffer_append_span(out, tags[tag]);
        r = read_network(t, key, &n);
        if (r < 0)
                return false;
        if (r > 0) {
                (n.is_v4 ? present->v4 : present->v6)[n.prefix] = true;
                present->forms[tag] = (char) (present->forms[tag] | ACCESS_FORM_NETWORK);
                return buffer_append(out, text, access_network_key(n.address, n.is_v4, n.prefix,
                                                                   text)) == 0;
        }
        if (key.len && is_name_key(key)) {
                present->forms[tag] = (char) (present->forms[tag] | form_of(key));
                return buffer_append_span(out, key) == 0;
        }
        table_error(t, "\"%.*s\" is no key; write an address, user@, a domain or a network",
                    TABLE_TEXT(key));
        return false;
}

static int parse_entry(struct table_lines *t, struct span entry, struct snapshot_build *b)
{
        struct buffer key = BUFFER_INIT(TABLE_LINE_MAX + TAG_MAX);
        struct buffer value = BUFFER_INIT(TABLE_LINE_MAX);
        struct span left, right;
        int r = 0;

        if (table_split_entry(t, entry, &left, &right) && put_key(t, left, &key) &&
            put_value(t, left, right, &value))
                r = snapshot_build_add(b, SNAPSHOT_ACCESS, buffer_span(&key),
                                       buffer_span(&value), t->line);
        buffer_done(&key);
        buffer_done(&value);
        return r;
}

static int add_prefixes(struct snapshot_build *b, struct span key, const bool *has, unsigned most)
{
        char list[V6_BITS + 1];
        size_t count = 0;

        for (unsigned prefix = most + 1; prefix-- > 0;)
                if (has[prefix])
                        list[count++] = (char) (unsigned char) prefix;
        return count ? snapshot_build_add(b, SNAPSHOT_ACCESS, key, span_make(list, count), 0) : 0;
}

int table_access_parse(struct span text, struct span name, struct snapshot_build *b,
                       struct buffer *error)
{
        static const char none[ACCESS_TAGS];
        struct present present = {.v4 = {false}};
        struct table_lines t = TABLE_LINES(text, name, error);
        int r;

        t.arg = &present;
        r = table_each_entry(&t, SNAPSHOT_ACCESS, b, parse_entry);
        if (r == 0)
                r = add_prefixes(b, SPAN_LITERAL("4/"), present.v4, V4_BITS);
        if (r == 0)
                r = add_prefixes(b, SPAN_LITERAL("6/"), present.v6, V6_BITS);
        if (r == 0 && memcmp(present.forms, none, ACCESS_TAGS) != 0)
                r = snapshot_build_add(b, SNAPSHOT_ACCESS, SPAN_LITERAL("forms/"),
                                       span_make(present.forms, ACCESS_TAGS), 0);
        return r;
}
