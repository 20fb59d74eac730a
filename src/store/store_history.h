/* Random histories for crash tests, and what must be left of them: mailboxes
 * (deliver, flags, copy, move, expunge, create, rename, delete), queue entries put,
 * changed and deleted, traces, bodies shared by several, large ones in files.
 *
 * A history has parts, each a partition. Whatever is done to one makes a version of
 * it; versions are begun one after the other, and the state of each is known by a
 * digest, taken from the store that lived. After a crash each part must be at one of
 * its versions, none before the last that was acknowledged, none that had not begun;
 * what was committed together is there together; every body has its octets; and the
 * store finds no fault in itself (store_check.h).
 *
 * Part of tests, not of the program. */
#pragma once

#include "store/mailbox.h"
#include "store/store.h"

enum {
        HISTORY_ACCOUNTS = 3,
        HISTORY_SHARDS = 2,
        HISTORY_PARTS = HISTORY_ACCOUNTS + HISTORY_SHARDS,
        HISTORY_QUEUED_MAX = 24, /* of a shard */
};

struct history_version {
        uint64_t digest;
        size_t begun_at, acknowledged_at; /* marks of the caller's; 0: not yet */
};

struct history_part {
        struct history_version *versions; /* [0]: nothing was ever done */
        size_t count, room;
        uint64_t queued[HISTORY_QUEUED_MAX];
        size_t queued_count;
};

/* Versions that came by one commit. */
struct history_joint {
        unsigned part[HISTORY_PARTS];
        size_t version[HISTORY_PARTS];
        size_t count;
};

struct history {
        struct loop *loop;
        struct store *store;
        /* Where time stands: counts the calls to the disk. */
        size_t (*now)(void *arg);
        /* Writes a large body into a file; false: not now. */
        bool (*write_file)(void *arg, uint64_t blob_id, struct span octets);
        void *arg;

        uint64_t random, next_id;
        struct history_part parts[HISTORY_PARTS];
        struct history_joint *joints;
        size_t joint_count, joint_room;
        struct mailboxes *mailboxes;
        struct mailboxes *looked_at; /* by history_check() */
        struct account *accounts[HISTORY_ACCOUNTS];
        unsigned under_way;
        char why[512]; /* what is wrong */
};

/* `h` has loop, store, now, write_file and arg. */
void history_begin(struct history *h, uint64_t seed);

/* Something happens to most parts at once. False: a commit failed. */
bool history_step(struct history *h);
void history_end(struct history *h); /* before the store is closed */
void history_done(struct history *h);

/* The store of a disk that stopped at `cut`: is it what it must be? False with
 * `h->why`. Opened in `s`, whatever `h->store` is. */
bool history_check(struct history *h, struct store *s, size_t cut);

/* Call it when the store that was checked is closed: chores may hold accounts until then. */
void history_checked(struct history *h);
