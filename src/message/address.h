/* Mailbox addresses: RFC 5321 section 4.1.2 (envelope), with the octets above
 * 127 of RFC 6531.
 *
 * Pure; borrows from its input. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"

/* Longer parts are refused; of a local part its octets without quotes and
 * backslashes count. Section 4.5.3.1.1 asks for 64 octets of local part
 * at least; bounce addresses that carry another one inside need more. The
 * domain's limit is that of the DNS. Every octet quoted, an address stays
 * below 1,024 octets. */
enum {
        ADDRESS_LOCAL_MAX = 256,
        ADDRESS_DOMAIN_MAX = 255,
        ADDRESS_FORMAT_MAX = 2 * ADDRESS_LOCAL_MAX + 3 + ADDRESS_DOMAIN_MAX,
};

struct address {
        struct span local;  /* as written, quotes included */
        struct span domain; /* without "@"; "[192.0.2.1]" for a literal; empty: none was given */
        bool is_quoted;     /* local is a Quoted-string */
        bool is_literal;    /* domain is an address literal */
        bool has_utf8;      /* octets above 127 (RFC 6531) */
};

/* The text between "<" and ">": a mailbox, with a source route in front
 * accepted and dropped (RFC 5321 appendix C). Also taken: local parts with
 * leading, trailing or doubled dots, as Japanese carriers gave out.
 * `domain` may be missing only for "postmaster" and bare local names when
 * `may_lack_domain`. Literals (RFC 5321 section 4.1.3) are IPv4 and IPv6; no
 * other tag was ever registered. Octets above 127 must be UTF-8. 0 or -EINVAL. */
int address_parse(struct span text, bool may_lack_domain, struct address *ret);

/* `s` is a Domain of section 4.1.2, U-labels allowed; no literal. */
bool address_is_domain(struct span s);

/* `s` is "[192.0.2.1]" or "[IPv6:2001:db8::1]". */
bool address_is_literal(struct span s);

/* local@domain with the local part unquoted where it needs no quotes and
 * quoted where it does (`a..b` gets them), the domain in lower case and
 * literals in their shortest form: how an address is written to a peer.
 * p == NULL without memory. Parsing it again gives the same address. */
struct span address_format(const struct address *a, struct arena *arena);

/* The key of a local account: as address_format(), the local part in lower
 * case (ASCII) too and without quotes, so `"a..b"@x` and `a..b@x` are one. */
struct span address_canonical(const struct address *a, struct arena *arena);
