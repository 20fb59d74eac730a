/* The header of the PROXY protocol, versions 1 and 2: what a front end says
 * about the client in front of all else.
 *
 * Pure; keeps nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum { PROXY_HEADER_MAX = 2048 }; /* octets; what is longer is refused */

struct proxy_header {
        bool has_client;           /* false: the front end speaks for itself */
        unsigned char address[16]; /* IPv4 mapped */
        uint16_t port;
        size_t len;                /* octets of the header */
};

/* Reads the header at the start of `in`. 1; 0: these octets are the beginning
 * of one, more are needed; -EBADMSG: this is none. */
int proxy_header_parse(struct span in, struct proxy_header *ret);
