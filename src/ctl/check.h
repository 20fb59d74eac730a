/* `hayauma check`. */
#pragma once

extern const char check_help[];
int check_run(int argc, char **argv);
