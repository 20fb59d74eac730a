/* `hayauma check --store`: is everything that the store keeps whole? */
#pragma once

#include <stdbool.h>

/* Verifies the store in `folder`, or, if NULL, in the state folder of the
 * configuration; if a server runs on it, as it is at one moment, while mail goes on.
 * Returns the exit status. */
int check_store(const char *config_file, const char *folder, bool is_repair);
