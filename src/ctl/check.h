/* `hayauma check`: the configuration, read as the server would read it. */
#pragma once

extern const char check_help[];
int check_run(int argc, char **argv);
