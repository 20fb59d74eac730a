/* `hayauma why ID|MESSAGE-ID|ADDRESS`. */
#pragma once

extern const char why_help[];
int why_run(int argc, char **argv);
