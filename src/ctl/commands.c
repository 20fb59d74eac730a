#include "ctl/command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/run.h"

static int run_version(int argc, char **argv);

const struct command commands[] = {
        { "run", "run [-c FILE]", "Run the mail system in the foreground.", run_command },
        { "process", "process KIND NUMBER", "One of its processes (started by run).",
          run_process_command },
        { "version", "version", "Print the version.", run_version },
};
const size_t command_count = sizeof commands / sizeof commands[0];

static int run_version(int argc, char **argv)
{
        (void) argc;
        (void) argv;
        puts("hayauma " HAYAUMA_VERSION);
        return EX_OK;
}

static int usage(void)
{
        fputs("Usage: hayauma COMMAND …\n\n", stderr);
        for (size_t i = 0; i < command_count; i++)
                fprintf(stderr, "  %-44s %s\n", commands[i].synopsis, commands[i].purpose);
        return EX_USAGE;
}

int command_main(int argc, char **argv)
{
        if (argc < 2)
                return usage();
        for (size_t i = 0; i < command_count; i++)
                if (strcmp(commands[i].name, argv[1]) == 0)
                        return commands[i].run(argc - 1, argv + 1);
        fprintf(stderr, "hayauma: there is no command \"%s\"\n", argv[1]);
        return usage();
}
