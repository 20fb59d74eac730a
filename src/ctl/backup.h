/* `hayauma backup DIR` and `hayauma restore DIR`. */
#pragma once

#include <stddef.h>

#include "config/config.h"

extern const char backup_help[], restore_help[];
int backup_run(int argc, char **argv);
int restore_run(int argc, char **argv);

/* What a running server keeps, as it is at one moment: a store in a folder of the state
 * folder, whose files are the server's own (linked) where these do not change any more.
 * Nothing of them goes until it is closed. `ret_path` has room for `room` octets. Returns
 * an exit status, said; *ret_view on EX_OK only. */
struct backup_view;
int backup_view_open(const struct config *config, char *ret_path, size_t room,
                     struct backup_view **ret_view);
struct backup_view *backup_view_close(struct backup_view *v); /* accepts NULL */
