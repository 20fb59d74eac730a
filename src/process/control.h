/* The supervisor's control socket, run_dir/supervisor: the command line asks
 * here for `status`, `reload` and `stop`. Who may is in control_access.h. */
#pragma once

#include <stdint.h>

#include "base/span.h"
#include "net/loop.h"

struct control;

/* A client is named by a number, never reused: answers to one that has gone
 * away are dropped. */
struct control_hooks {
        void (*request)(void *arg, uint64_t client, struct span verb);
        void *arg;
};

/* Takes the listening socket over on success. 0 or a negative errno. */
int control_new(struct loop *l, int fd, const struct control_hooks *hooks, struct control **ret_c);

void control_row(struct control *c, uint64_t client, struct span json);

/* The end of an answer: an exit status of sysexits.h and text for people. */
void control_done(struct control *c, uint64_t client, int status, struct span text);
