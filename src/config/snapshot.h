/* The snapshot: tables compiled for reading, one sealed memfd that every edge
 * maps. Look-ups cost no system call and no allocation; a reload swaps the
 * whole. Written by the compiler process (config/snapshot_build.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct snapshot;

enum {
        SNAPSHOT_KEY_MAX = 1024,
        SNAPSHOT_VALUE_MAX = 64 * 1024,
};

/* The tables in a snapshot. Keys are in lower case; numbers are stored. */
enum snapshot_table {
        SNAPSHOT_DOMAINS = 1,       /* local domains; value empty */
        SNAPSHOT_RELAY_DOMAINS = 2, /* accepted and passed on; ".example.jp" for subdomains */
        SNAPSHOT_USERS = 3,         /* "user@example.jp"; value: canonical account address */
        SNAPSHOT_MAILERTABLE = 4,
        SNAPSHOT_ACCESS = 5,
        SNAPSHOT_ALIASES = 6,
        SNAPSHOT_VIRTUSERTABLE = 7,
        SNAPSHOT_GENERICSTABLE = 8,
        SNAPSHOT_QUOTAS = 9,        /* canonical account address; value: octets, a number */
        SNAPSHOT_TABLE_END,
        SNAPSHOT_RELAY_LOGINS = 100, /* in no snapshot: directory alone reads that file */
        SNAPSHOT_LOCAL_NAMES = 101,  /* nor this one: /etc/passwd, which edges read */
};

/* Maps and checks (seals, magic, format, size, checksum) what is in `fd`; the
 * fd is not needed afterwards. 0; -EBADMSG (damaged, or not sealed); -errno. */
int snapshot_open(int fd, struct snapshot **ret_s);
struct snapshot *snapshot_close(struct snapshot *s);

/* The value of a key (any case; compared without ASCII case), and where it
 * stands: "users:17" is file users, line 17. False when there is none. Borrows
 * from the map. `ret_line` may be NULL. */
bool snapshot_get(const struct snapshot *s, enum snapshot_table table, struct span key,
                  struct span *ret_value, uint32_t *ret_line);

/* The file a table was made from, "users", as it stands in messages and decision
 * records in front of the line; empty for a table that was not made. */
struct span snapshot_source(const struct snapshot *s, enum snapshot_table table);

uint32_t snapshot_count(const struct snapshot *s, enum snapshot_table table);
uint64_t snapshot_generation(const struct snapshot *s);
