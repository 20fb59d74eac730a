#include "ctl/run.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/number.h"
#include "process/process.h"
#include "process/supervisor.h"

#define CONFIG_PATH "/etc/hayauma/hayauma.conf"

enum { NUMBER_MAX = 255 };

int run_command(int argc, char **argv)
{
        const char *config_path = CONFIG_PATH;
        int option;

        while ((option = getopt(argc, argv, "c:")) != -1) {
                if (option != 'c') {
                        fputs("Usage: hayauma run [-c FILE]\n", stderr);
                        return EX_USAGE;
                }
                config_path = optarg;
        }
        if (optind != argc) {
                fprintf(stderr, "hayauma run: \"%s\" is not expected here\n", argv[optind]);
                return EX_USAGE;
        }
        return supervisor_run(config_path);
}

int run_process_command(int argc, char **argv)
{
        uint64_t number;
        int kind;

        if (argc != 3 || number_parse(span_from_string(argv[2]), NUMBER_MAX, &number) < 0) {
                fputs("Usage: hayauma process KIND NUMBER (by `hayauma run` only)\n", stderr);
                return EX_USAGE;
        }
        kind = process_kind_parse(span_from_string(argv[1]));
        if (kind < 0 || !process_roles[kind]) {
                fprintf(stderr, "hayauma process: there is no process \"%s\"\n", argv[1]);
                return EX_USAGE;
        }
        return process_run(process_roles[kind], (unsigned) number);
}
