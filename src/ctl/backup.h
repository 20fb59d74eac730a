/* `hayauma backup DIR` and `hayauma restore DIR`. */
#pragma once

extern const char backup_help[], restore_help[];
int backup_run(int argc, char **argv);
int restore_run(int argc, char **argv);
