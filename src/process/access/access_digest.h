/* Digests of messages (message/digest.h) that were read or made once: ENVELOPE,
 * BODYSTRUCTURE and PREVIEW of a mailbox that somebody looks through ask the
 * keeper for nothing and parse nothing.
 *
 * By the body's id, which is never used again, so that nothing here can be out
 * of date. Bounded: what was looked at longest ago goes first. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "base/span.h"
#include "base/table.h"

enum {
        ACCESS_DIGESTS_BYTES_MAX = 128 * 1024 * 1024, /* about 200,000 messages */
        ACCESS_DIGEST_SIZE_MAX = 256 * 1024,          /* a larger one is not kept */
};

struct access_digests {
        struct table by_blob;
        struct list_node all; /* looked at longest ago first */
        size_t bytes;
        uint64_t hits, made;
};

void access_digests_init(struct access_digests *d);

/* Appends the digest of a body, `with_preview` only one that has it. False: it is not
 * known, or there is no memory. */
bool access_digests_find(struct access_digests *d, uint64_t blob_id, bool with_preview,
                         struct buffer *out);

/* Keeps one that lies beside the message and was checked. Without memory it is read again. */
void access_digests_keep(struct access_digests *d, uint64_t blob_id, struct span octets);

/* Makes the digest of a whole message, keeps it, and appends it. 0 or negative
 * errno: it could not be made. */
int access_digests_make(struct access_digests *d, uint64_t blob_id, struct span message,
                        struct buffer *out);
