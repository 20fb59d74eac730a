/* The parameters of XCLIENT, as Postfix documents them: a front end tells for
 * whom it speaks.
 *
 * Pure; keeps nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"

struct xclient {
        bool has_address, has_name;
        unsigned char address[16]; /* IPv4 mapped */
        uint16_t port;             /* 0: not given */
        struct span name;          /* of the arena; empty: there is none */
        bool is_trial;             /* ours: nothing is kept of what is said from now on */
        struct span login;         /* of the arena: in a trial, as whom; empty: nobody */
};

/* Reads "NAME=value …". HELO and PROTO are looked at and left to the EHLO that
 * follows; "[UNAVAILABLE]" and "[TEMPUNAVAIL]" are no value. 0; -EINVAL: a
 * value is malformed, or an attribute not known; -ENOMEM. */
int xclient_parse(struct span argument, struct arena *arena, struct xclient *ret);
