/* The standard error of one child, read line by line, stamped with the time
 * and written to the supervisor's standard error.
 *
 * A child that was broken into must not be able to speak in another's name:
 * a line is passed on as it stands only if it is an event of log_write() by
 * that very process; anything else (a library's words, a forgery) becomes the
 * quoted text of an event of ours. */
#pragma once

#include "net/loop.h"

struct log_pipe;

/* Takes `fd`, the reading end, over on success. `name` is the process, as
 * "edge/0"; copied. 0 or a negative errno. */
int log_pipe_new(struct loop *l, int fd, const char *name, struct log_pipe **ret_p);

/* Writes out what still is in the pipe, then frees. Accepts NULL. */
struct log_pipe *log_pipe_free(struct log_pipe *p);
