/* `hayauma import mc FILE`: the hayauma.conf for a sendmail .mc file. */
#pragma once

int import_run(int argc, char **argv);
extern const char import_help[];
