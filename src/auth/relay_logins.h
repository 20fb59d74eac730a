/* What we log in to other servers with: the file of auth.relay_logins.
 *
 *   host[:port]  login name  password  [mechanisms=A,B]
 *
 *   [gateway.example.jp]:587  site@example.jp  correct-horse
 *
 * Blanks stand between the fields; a field with blanks in it is put in double
 * quotes, with a backslash in front of a quote or backslash. The host is that of
 * the next hop, in brackets or not; without a port it counts for all. Lines that
 * are empty or start with "#" count for nothing.
 *
 * `mechanisms` bounds what may be used: with SCRAM alone the password leaves the
 * directory process in no form that could be used again. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

enum { RELAY_LOGINS_MAX = 1000, RELAY_LOGIN_FIELD_MAX = 1024 };

struct relay_login {
        struct span host; /* without brackets */
        uint16_t port;    /* 0: all */
        struct span login_name, password;
        struct span mechanisms; /* with blanks between them; empty: all */
};

struct relay_logins;

/* Parses a copy of `text`; `name` stands in messages. 0; -EINVAL with, in
 * `error` (appended), a line "name:17: …" for what is wrong, never the password;
 * -ENOMEM. */
int relay_logins_parse(struct span text, const char *name, struct relay_logins **ret_l,
                       struct buffer *error);
struct relay_logins *relay_logins_free(struct relay_logins *l); /* wipes */

/* The login for this host and port: one with the port before one without; or
 * NULL. */
const struct relay_login *relay_logins_find(const struct relay_logins *l, struct span host,
                                            uint16_t port);

size_t relay_logins_count(const struct relay_logins *l);
const struct relay_login *relay_logins_at(const struct relay_logins *l, size_t i);
