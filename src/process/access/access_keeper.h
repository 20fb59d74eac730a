/* The channel to the keeper: orders, each with an answer, and what it tells of
 * views. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/table.h"
#include "ipc/channel.h"

struct access;
struct access_order;

struct access_keeper {
        struct access *access;
        struct channel *channel; /* NULL: there is none now */
        struct table orders;
        struct list_node starved; /* sessions that wait for credit */
        uint64_t last_order;
        struct access_order *failing; /* while the keeper's end is told */
};

/* `m` of `type`: folder_rows (before folder_done), folder_done, change_done,
 * blob_octets, places, segment_file, lent; the last one of an order ends it. NULL:
 * the keeper is gone, and nobody knows whether it was done. Take *fd by setting it to -1. */
typedef void access_answer_fn(void *arg, unsigned type, const union ipc_message *m, int *fd);

void access_keeper_init(struct access_keeper *k, struct access *a);
void access_keeper_peer(struct access_keeper *k, int fd);

/* A number that no order has: put it into the message. */
uint64_t access_keeper_number(struct access_keeper *k);

/* Sends the message and waits for the answer to `number`. NULL: it could not be
 * sent; `answer` is not called. */
struct access_order *access_keeper_ask(struct access_keeper *k, unsigned type,
                                       const union ipc_message *m, uint64_t number,
                                       access_answer_fn *answer, void *arg);

/* Nobody wants the answer any more. Accepts NULL; returns it. */
struct access_order *access_keeper_forget(struct access_keeper *k, struct access_order *o);
