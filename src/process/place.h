/* A place: where one process of ours runs, again after each crash.
 *
 *   IDLE --spawn--> STARTING --ready--> READY
 *     ^-------------- reaped ------------'   (supervisor.c sets the back-off)
 *
 * The supervisor's end of the channel, the log pipe and the pid belong to the
 * running child; name, identity, counters to the place. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/channel.h"
#include "net/loop.h"
#include "process/log_pipe.h"
#include "process/process.h"

enum place_state { PLACE_IDLE, PLACE_STARTING, PLACE_READY, PLACE_STATE_END };

struct place {
        enum process_kind kind;
        unsigned number;
        char name[32]; /* "edge/0" */
        uid_t uid;
        gid_t gid;

        enum place_state state;
        pid_t pid; /* 0 while IDLE */
        struct channel *channel;
        struct log_pipe *log;
        uint64_t generation; /* counts starts */
        uint64_t started_at_ms;
        bool was_ready; /* in any generation */
        bool is_stopping;

        struct timer *back_off;
        uint64_t back_off_ms;
        void *owner;
};

void place_init(struct place *p, enum process_kind kind, unsigned number, void *owner);

/* Starts `/proc/self/exe process KIND NUMBER`; `arg` of the handler's
 * functions is the place. 0 or a negative errno. */
int place_spawn(struct place *p, struct loop *l, const struct channel_handler *handler);

/* True once the child has ended; `*ret_status` is that of waitpid(), and
 * the place is IDLE. */
bool place_reap(struct place *p, int *ret_status);

/* "exit status 70", "signal SEGV". `out` holds PLACE_STATUS_MAX bytes. */
enum { PLACE_STATUS_MAX = 64 };
const char *place_status_text(int status, char *out);
