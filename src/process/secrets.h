/* Files that only the directory process reads: accounts, and what we log in to
 * other servers with. */
#pragma once

#include "config/config.h"
#include "process/place.h"

/* Opens them, since they may be root's alone and directory opens nothing, and
 * sends them. What cannot be opened is said in the log. */
void secrets_send(const struct config *c, struct place *directory);
