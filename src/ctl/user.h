/* `hayauma user add|passwd|list|delete|import`. */
#pragma once

extern const char user_help[];
int user_run(int argc, char **argv);
