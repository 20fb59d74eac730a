/* A connection of the command line to the keeper or the supervisor of a running
 * server: one verb after the other, each answered with rows (JSON objects) or
 * octets and an exit status. Blocks; gives up when nobody takes the connection
 * or the verb within CONTROL_CLIENT_FIRST_MS, or when then nothing comes for
 * CONTROL_CLIENT_SILENCE_MS. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/span.h"
#include "config/config.h"

enum {
        CONTROL_CLIENT_FIRST_MS = 5 * 1000,
        CONTROL_CLIENT_SILENCE_MS = 60 * 1000,
        CONTROL_CLIENT_ARGUMENTS_MAX = 12,
};

struct control_client;

/* Connects to run_dir/`daemon`, "keeper" or "supervisor". EX_OK, or, said on
 * standard error: EX_TEMPFAIL (no server is running), EX_NOPERM, EX_CONFIG,
 * EX_OSERR. */
int control_client_open(const struct config *c, const char *daemon,
                        struct control_client **ret_client);
struct control_client *control_client_close(struct control_client *client);

struct control_client_request {
        const char *verb; /* "queue.list" */
        struct {
                const char *name;
                struct span value; /* p == NULL: the argument is left out */
        } arguments[CONTROL_CLIENT_ARGUMENTS_MAX];
        const struct span *input; /* octets the verb reads, or NULL */
        /* What comes; either may be NULL. They live until the call returns. */
        void (*row)(void *arg, const json_t *row);
        void (*octets)(void *arg, struct span octets);
        void *arg;
        bool may_close; /* the end of the connection is the end of the verb too */
        int unsaid;     /* an exit status that the caller expects: nothing is written */
};

/* Returns the verb's exit status; if that is not EX_OK, what the server said
 * about it was written to standard error. EX_TEMPFAIL: it went away or is
 * silent, EX_PROTOCOL: it is of another release; further calls then fail too. */
int control_client_call(struct control_client *client, const struct control_client_request *q);

/* The same in two halves, so that the caller can prepare the next while the
 * server works: the first sends, the second waits and tells. `q` and what it
 * points to live until then. Each begin has one finish, before the next call. */
void control_client_begin(struct control_client *client, const struct control_client_request *q);
int control_client_finish(struct control_client *client);

/* Opens, calls once, closes. */
int control_client_ask(const struct config *c, const char *daemon,
                       const struct control_client_request *q);
