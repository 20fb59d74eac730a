#include "wire/smtp/xclient.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/number.h"
#include "message/address.h"
#include "message/xtext.h"

static bool is_unavailable(struct span value)
{
        return span_equal_nocase(value, SPAN_LITERAL("[UNAVAILABLE]")) ||
               span_equal_nocase(value, SPAN_LITERAL("[TEMPUNAVAIL]"));
}

static int take_address(struct span value, struct xclient *x)
{
        static const struct span prefix = SPAN("IPV6:");
        char copy[INET6_ADDRSTRLEN];
        const bool is_ipv6 = span_starts_with_nocase(value, prefix);

        if (is_ipv6)
                value = span_skip(value, prefix.len);
        if (value.len == 0 || value.len >= sizeof copy)
                return -EINVAL;
        memcpy(copy, value.p, value.len);
        copy[value.len] = '\0';
        x->has_address = true;
        if (is_ipv6)
                return inet_pton(AF_INET6, copy, x->address) == 1 ? 0 : -EINVAL;
        memset(x->address, 0, 10);
        x->address[10] = x->address[11] = 0xff;
        return inet_pton(AF_INET, copy, x->address + 12) == 1 ? 0 : -EINVAL;
}

static int take(struct span name, struct span value, struct arena *arena, struct xclient *x)
{
        uint64_t port = 0;
        int r = 0;

        if (span_equal_nocase(name, SPAN_LITERAL("ADDR"))) {
                /* A client that cannot be told is not the front end: no address
                 * would leave it with the front end's rights. */
                return take_address(value, x);
        }
        if (span_equal_nocase(name, SPAN_LITERAL("NAME"))) {
                x->has_name = true;
                if (is_unavailable(value))
                        return 0;
                if (!address_is_domain(value))
                        return -EINVAL;
                x->name = arena_copy(arena, value);
                return x->name.p ? 0 : -ENOMEM;
        }
        if (span_equal_nocase(name, SPAN_LITERAL("PORT"))) {
                if (!is_unavailable(value))
                        r = number_parse(value, UINT16_MAX, &port);
                x->port = (uint16_t) port;
                return r < 0 ? -EINVAL : 0;
        }
        if (span_equal_nocase(name, SPAN_LITERAL("TRIAL"))) {
                x->is_trial = span_equal_nocase(value, SPAN_LITERAL("YES"));
                return x->is_trial ? 0 : -EINVAL;
        }
        if (span_equal_nocase(name, SPAN_LITERAL("LOGIN"))) {
                if (is_unavailable(value) || value.len == 0)
                        return 0;
                x->login = arena_copy(arena, value);
                return x->login.p ? 0 : -ENOMEM;
        }
        if (span_equal_nocase(name, SPAN_LITERAL("HELO")) ||
            span_equal_nocase(name, SPAN_LITERAL("PROTO")))
                return xtext_is_valid(value) ? 0 : -EINVAL;
        return -EINVAL;
}

int xclient_parse(struct span argument, struct arena *arena, struct xclient *ret)
{
        struct xclient x = {0};
        struct span word, name;
        int r = 0;

        argument = span_trim(argument);
        while (r == 0 && span_split(&argument, ' ', &word)) {
                if (word.len == 0)
                        continue;
                if (!span_split(&word, '=', &name) || !word.p)
                        return -EINVAL;
                r = take(name, word, arena, &x);
        }
        if (r == 0)
                *ret = x;
        return r;
}
