/* Where things lie in the index. The first octet says what a key is of; the
 * letters are stored: add, never change.
 *
 *   f                      store id and format
 *   p                      position in the log (local:)
 *   s partition            nothing: the partitions there are
 *   k partition s          sequence
 *   k partition k key      value
 *   b blob id              struct blob_place
 *   g segment              live blobs and bytes (local:)
 *
 * What belongs to a partition lies together: a batch then writes neighbours,
 * which costs the engine much less than to look for five distant places.
 * Numbers in keys are big-endian, so that order is numeric. */
#pragma once

#include "base/codec.h"
#include "store/store.h"

enum {
        KEYS_FORMAT = 'f',
        KEYS_POSITION = 'p',
        KEYS_PARTITION = 's',
        KEYS_OF_PARTITION = 'k',
        KEYS_SEQUENCE = 's', /* these two stand behind the partition */
        KEYS_DATA = 'k',
        KEYS_BLOB = 'b',
        KEYS_SEGMENT = 'g',
        KEYS_HEAD = 18, /* letter, partition, letter */
        KEYS_MAX = KEYS_HEAD + STORE_KEY_MAX,
        KEYS_ONCE = 'd',    /* names in a partition that begin so are asked for to be absent */
        KEYS_BLOB_TIME = 4, /* of a blob's key: when its id was made, to 4 minutes */
};

/* `out` holds KEYS_MAX octets; key.len <= STORE_KEY_MAX. */
static inline struct span keys_of_partition(char *out, char letter, const struct partition *p,
                                            struct span key)
{
        out[0] = KEYS_OF_PARTITION;
        memcpy(out + 1, p->octets, sizeof p->octets);
        out[KEYS_HEAD - 1] = letter;
        if (key.len)
                memcpy(out + KEYS_HEAD, key.p, key.len);
        return span_make(out, KEYS_HEAD + key.len);
}

/* Its place in the list of partitions. */
static inline struct span keys_of_listed(char *out, const struct partition *p)
{
        out[0] = KEYS_PARTITION;
        memcpy(out + 1, p->octets, sizeof p->octets);
        return span_make(out, 1 + sizeof p->octets);
}

/* What a filter has to know of a key, so that it can say that the key is not there: all of
 * those that are asked for in vain. Of a partition's other names it is only whether there
 * are any with this first octet, of blobs whether there are any of that time: nearly all
 * that the index holds are those, and filters that know each take 25 MB for 10 million
 * messages. */
static inline struct span keys_in_filter(struct span key)
{
        if (key.len > KEYS_BLOB_TIME && key.p[0] == KEYS_BLOB)
                return span_first(key, KEYS_BLOB_TIME);
        if (key.len > KEYS_HEAD && key.p[0] == KEYS_OF_PARTITION &&
            key.p[KEYS_HEAD - 1] == KEYS_DATA && key.p[KEYS_HEAD] != KEYS_ONCE)
                return span_first(key, KEYS_HEAD + 1);
        return key;
}

static inline struct span keys_of_number(char *out, char letter, uint64_t number)
{
        out[0] = letter;
        key_put_u64(out + 1, number);
        return span_make(out, 9);
}
