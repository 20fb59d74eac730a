/* Entries that are being read from the store to be taken up. Between the moment that a
 * read shows and its answer an entry may have been taken up by another way, tried, and
 * stored anew or deleted: what was read of it is then a form that is no more, and must
 * not be tried. So it is noted what leaves the active queue while somebody reads. */
#pragma once

#include "process/keeper/keeper.h"

/* Some reads of one moment or later ones. */
struct keeper_reading {
        struct keeper *keeper;
        uint64_t number;
        size_t pending; /* answers that have not come */
};

/* One answer is to come. NULL: no memory, or so much has left meanwhile that those
 * under way are to end first. */
struct keeper_reading *keeper_reading_begin(struct keeper *k);
void keeper_reading_add(struct keeper_reading *r); /* one more answer is to come */
void keeper_reading_end(struct keeper_reading *r); /* it has; frees with the last */

/* An entry is leaving the active queue: changed, or for good. Without the memory to note
 * it, all that is being read counts as old, and is read again. */
void keeper_reading_left(struct keeper *k, uint64_t message_id, uint16_t group);

/* Whether what was read of it may be old. */
bool keeper_reading_is_old(const struct keeper_reading *r, uint64_t message_id, uint16_t group);
