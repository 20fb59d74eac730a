/* Files that only the directory process reads: accounts, and what we log in to
 * other servers with. And the accounts of this machine, which edges read. */
#pragma once

#include "config/config.h"
#include "process/place.h"

/* Opens them, since they may be root's alone and directory opens nothing, and
 * sends them. What cannot be opened is said in the log. */
void secrets_send(const struct config *c, struct place *directory);

/* Whose names these accounts have; edges know those of their own start. */
#define SECRETS_LOCAL_NAMES "/etc/passwd"
void secrets_send_names(struct place *edge);
