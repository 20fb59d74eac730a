/* `hayauma status`: every process is asked how it is, and each answers with
 * one row; one that does not answer in time gets a row without its figures. */
#pragma once

#include <stdint.h>

#include "base/list.h"
#include "net/loop.h"
#include "process/control.h"
#include "process/place.h"

struct status {
        struct loop *loop;
        struct control *control;
        struct place *places;
        size_t place_count;
        struct list_node rounds;
        uint64_t last_query;
        uint64_t started_at_ms;
};

void status_init(struct status *s, struct loop *l, struct place *places, size_t place_count);

/* Asks all processes for this client of s->control. */
void status_ask(struct status *s, uint64_t client);

/* What a process answered. */
void status_answered(struct status *s, const struct place *p, const struct ipc_status *answer);
