/* How the access table lies in a snapshot: for its parser (config) and for who
 * looks it up (policy/access.h).
 *
 * A key is a tag ("connect:", "from:", "to:", or nothing) and behind it an
 * address, "user@", a domain, ".domain", or a network: "4/24/c0a801", family,
 * prefix and its nibbles in hexadecimal. Two keys say which prefixes there are
 * at all, so that a look-up tries no others: the value of "4/" and "6/" has an
 * octet for each, the longest first. One more, "forms/", says which forms of keys
 * there are behind each tag: an octet of enum access_form for each, untagged first.
 *
 * A value is a letter of enum access_letter, behind ACCESS_ERROR a reply
 * ("550 5.7.1 text"), behind ACCESS_QUARANTINE the reason. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/span.h"

enum access_letter {
        ACCESS_OK = 'O',
        ACCESS_RELAY = 'L',
        ACCESS_REJECT = 'R',
        ACCESS_DISCARD = 'D',
        ACCESS_SKIP = 'S',
        ACCESS_ERROR = 'E',
        ACCESS_QUARANTINE = 'Q',
};

enum access_form { /* bits */
        ACCESS_FORM_ADDRESS = 1, /* "<>" too */
        ACCESS_FORM_USER = 2,    /* "user@" */
        ACCESS_FORM_DOMAIN = 4,
        ACCESS_FORM_SUBDOMAINS = 8, /* ".domain" */
        ACCESS_FORM_NETWORK = 16,
};

enum {
        ACCESS_NETWORK_KEY_MAX = 48,
        ACCESS_TAGS = 4, /* none, and those of enum access_about */
};

/* The key, without a tag, of the network of `prefix` bits around an address:
 * 16 octets, IPv4 mapped, with `is_v4` then `prefix` counts its 32 bits.
 * Returns its length. */
static inline size_t access_network_key(const unsigned char address[16], bool is_v4,
                                        unsigned prefix, char out[ACCESS_NETWORK_KEY_MAX])
{
        static const char digits[] = "0123456789abcdef";
        const unsigned char *octets = address + (is_v4 ? 12 : 0);
        size_t at = (size_t) snprintf(out, ACCESS_NETWORK_KEY_MAX, "%d/%u/", is_v4 ? 4 : 6, prefix);

        for (unsigned bit = 0; bit < prefix; bit += 4) {
                unsigned nibble = bit % 8 ? octets[bit / 8] & 15u : octets[bit / 8] >> 4;

                if (prefix - bit < 4)
                        nibble &= 15u << (4 - (prefix - bit)) & 15u;
                out[at++] = digits[nibble];
        }
        return at;
}
