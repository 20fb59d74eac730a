/* `hayauma queue list|show|retry|drop|hold|release`, and `mailq`. */
#pragma once

extern const char queue_help[];
int queue_run(int argc, char **argv);
