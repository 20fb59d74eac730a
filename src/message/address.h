/* Mailbox addresses: RFC 5321 section 4.1.2 (envelope).
 *
 * Pure; borrows from its input. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/span.h"

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
 * `may_lack_domain`. 0 or -EINVAL. */
int address_parse(struct span text, bool may_lack_domain, struct address *ret);

/* local@domain with the local part unquoted where it needs no quotes and
 * quoted where it does (`a..b` gets them), the domain in lower case: how an
 * address is written to a peer. p == NULL without memory. */
struct span address_format(const struct address *a, struct arena *arena);

/* The key of a local account: as address_format(), the local part in lower
 * case too and without quotes. */
struct span address_canonical(const struct address *a, struct arena *arena);
