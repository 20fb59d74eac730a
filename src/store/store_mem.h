/* The mem: driver as tests of the layers above want it: slow, failing, full.
 * Each function asserts that the store is of that driver. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* Every commit and every question is answered that much later, in order. */
void store_mem_set_delay(struct store *s, uint64_t ms);

/* While held, commits and questions wait. */
void store_mem_hold(struct store *s, bool is_held);

/* The commits after the next `skip` ones fail with `result`, `count` of them,
 * without effect. -EIO: for ever, and store_state() is STORE_FAILED. */
void store_mem_fail(struct store *s, unsigned skip, unsigned count, int result);

/* As a full disk: commits with bodies get -ENOSPC. */
void store_mem_set_full(struct store *s, bool is_full);
