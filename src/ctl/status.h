/* `hayauma status`, `hayauma reload` and `hayauma stop`: what the supervisor is
 * asked. */
#pragma once

extern const char status_help[], reload_help[], stop_help[];
int status_run(int argc, char **argv);
int reload_run(int argc, char **argv);
int stop_run(int argc, char **argv);
