/* Looks at everything a local: store keeps, while nobody else has it open: every
 * group of the log, every body, who refers to it, mailboxes, and the index against
 * one that is made anew from the checkpoint and the log. Blocks. Changes nothing but
 * what every start changes (what the log has and the index does not is taken in). */
#pragma once

#include "store/store.h"

struct store_check {
        /* A fault, in a sentence. */
        void (*fault)(void *arg, const char *text);
        /* An entry of a queue shard, which layers above know: the body it refers to
         * (0: none), or -EBADMSG. */
        int (*queue_entry)(void *arg, struct span key, struct span value, uint64_t *ret_blob_id);
        void *arg;

        /* what was found */
        uint64_t groups, records, bodies, body_octets, mailboxes, messages, queue_entries, faults;
        bool was_rebuilt; /* the index was compared with one made from checkpoint and log */
};

/* Opens the store in the folder `path` and looks. 0, whatever the faults; or why it
 * could not be opened or looked at to the end, said in `error` (256 bytes). */
int store_check(const char *path, struct store_check *check, char *error);

/* The same for one that is open, and waits meanwhile, but for the comparison with an index made
 * anew. For tests. */
int store_check_opened(struct store *s, struct store_check *check);

/* Makes the index anew from the checkpoint and the log; the old one is kept as
 * "index.old" until the next time. -ENODATA: something of them is missing or damaged,
 * `error` says what: the index stays as it is. */
int store_check_rebuild(const char *path, char *error);
