/* `hayauma try`: what would happen to a message. */
#pragma once

extern const char try_help[];
int try_run(int argc, char **argv);
