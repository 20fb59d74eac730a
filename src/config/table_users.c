/* The users file, as far as edges need it: which addresses there are, and whose.
 * A line is
 *
 *   address:{SCHEME}hash[:name=value …]
 *
 * with fields between blanks, of which `addresses=a,b` and `quota=10G` are read
 * here. The hashes are left where they are: nothing of them gets into a snapshot. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/number.h"
#include "config/table.h"

enum { ADDRESS_MAX = 320 }; /* RFC 5321 section 4.5.3.1: 64 + 1 + 255 */

/* local@domain, of octets that can stand in this file. */
static bool is_address(struct span s)
{
        const size_t at = span_find_last(s, '@');

        if (at == SIZE_MAX || at == 0 || at + 1 == s.len || s.len > ADDRESS_MAX)
                return false;
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] <= ' ' || s.p[i] == 127 || s.p[i] == ',' ||
                    s.p[i] == ':')
                        return false;
        return true;
}

/* The account in lower case, which is what its address is known by. */
struct account {
        char text[ADDRESS_MAX];
        struct span address;
};

static int add_address(struct table_lines *t, struct span address, const struct account *account,
                       struct snapshot_build *b)
{
        if (!is_address(address)) {
                table_error(t, "\"%.*s\" is no address; write it like taro@example.jp",
                            (int) (address.len < 100 ? address.len : 100), address.p);
                return 0;
        }
        return snapshot_build_add(b, SNAPSHOT_USERS, address, account->address, t->line);
}

static int add_addresses(struct table_lines *t, struct span list, const struct account *account,
                         struct snapshot_build *b)
{
        struct span address;
        int r = 0;

        while (r == 0 && list.len && span_split(&list, ',', &address))
                r = add_address(t, address, account, b);
        return r;
}

static int add_quota(struct table_lines *t, struct span value, const struct account *account,
                     struct snapshot_build *b)
{
        char text[24];
        uint64_t quota;
        int len;

        if (size_parse(value, &quota) < 0) {
                table_error(t, "quota is a size as in quota=10G");
                return 0;
        }
        if (quota == 0)
                return 0;
        len = snprintf(text, sizeof text, "%" PRIu64, quota);
        return snapshot_build_add(b, SNAPSHOT_QUOTAS, account->address,
                                  span_make(text, (size_t) len), t->line);
}

static bool take_name(struct span *field, struct span name)
{
        if (!span_equal(span_first(*field, name.len), name))
                return false;
        *field = span_skip(*field, name.len);
        return true;
}

/* What is read of an account's fields. */
static int add_fields(struct table_lines *t, struct span fields, const struct account *account,
                      struct snapshot_build *b)
{
        struct span field;
        bool has_quota = false;
        int r = 0;

        while (r == 0 && span_split(&fields, ' ', &field)) {
                field = span_trim(field);
                if (take_name(&field, SPAN_LITERAL("addresses="))) {
                        r = add_addresses(t, field, account, b);
                } else if (!has_quota && take_name(&field, SPAN_LITERAL("quota="))) {
                        has_quota = true;
                        r = add_quota(t, field, account, b);
                }
        }
        return r;
}

static int parse_line(struct table_lines *t, struct span line, struct snapshot_build *b)
{
        struct account account;
        struct span address, hash;
        int r;

        span_split(&line, ':', &address);
        if (!line.len || line.p[0] != '{') {
                table_error(t, "there is no password hash; a line is address:{SCHEME}hash, and "
                            "hayauma user passwd writes it");
                return 0;
        }
        span_split(&line, ':', &hash);
        if (!is_address(address)) {
                table_error(t, "\"%.*s\" is no address; write it like taro@example.jp",
                            (int) (address.len < 100 ? address.len : 100), address.p);
                return 0;
        }
        ascii_lower_copy(account.text, address);
        account.address = span_make(account.text, address.len);
        r = add_address(t, address, &account, b);
        return r < 0 ? r : add_fields(t, line, &account, b);
}

int table_users_parse(struct span text, struct span name, struct snapshot_build *b,
                      struct buffer *error)
{
        struct table_lines t = {.rest = text, .name = name, .error = error};
        struct span line;
        int r = snapshot_build_source(b, SNAPSHOT_USERS, name);

        while (r == 0 && table_next_line(&t, &line))
                r = parse_line(&t, line, b);
        if (r < 0)
                return r;
        return t.errors ? -EINVAL : 0;
}
