/* `hayauma check --store`. */
#pragma once

#include <stdbool.h>

/* Verifies the store in `folder`, or, if NULL, in the state folder of the
 * configuration. Returns the exit status. */
int check_store(const char *config_file, const char *folder, bool is_repair);
