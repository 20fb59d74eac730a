/* The supervisor: `hayauma run`. Starts the other processes, confined, gives
 * each its descriptors and its ends of the channels to others, starts again
 * what crashed, reloads, stops, and writes the log.
 *
 * It talks to its own children and to administrators only, and trusts the
 * former no further than the messages of ipc/schema.h go. */
#pragma once

/* Runs in the foreground until SIGTERM, SIGINT or `hayauma stop`. What
 * prevents starting is said on standard error in a sentence. Returns an exit
 * status of sysexits.h. */
int supervisor_run(const char *config_path);
