/* The command line: `hayauma WORD …`. One file a command in this folder, one
 * row in commands.c. */
#pragma once

#include <stddef.h>

struct command {
        const char *name;     /* "queue" */
        const char *synopsis; /* "queue list|show|retry …" */
        const char *purpose;  /* one line */
        /* argv[0] is the command's name. Returns an exit status of sysexits.h. */
        int (*run)(int argc, char **argv);
        const char *help; /* lines for --help; NULL: synopsis and purpose say it all */
};

extern const struct command commands[];
extern const size_t command_count;

/* Runs what argv asks for: by the name the program was called by (`sendmail`,
 * `mailq`, `newaliases`), else by its first argument. */
int command_main(int argc, char **argv);
