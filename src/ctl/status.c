#include "ctl/status.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/number.h"
#include "ctl/console.h"
#include "ctl/control_client.h"

const char status_help[] =
        "hayauma status [-c FILE] [--json]\n"
        "\n"
        "Asks every process of the running server how it is: its pid, state, how long\n"
        "it has run, how often it was started again, and its figures. --json prints one\n"
        "object a line. 75 when no server is running.\n";

const char reload_help[] =
        "hayauma reload [-c FILE]\n"
        "\n"
        "Makes the running server read its configuration and tables again. What is wrong\n"
        "with them is said here with file and line; the server then keeps the old ones.\n";

const char stop_help[] =
        "hayauma stop [-c FILE]\n"
        "\n"
        "Stops the running server and waits until it has ended.\n";

/* The one thing these commands do: ask the supervisor `q`. */
static int ask(int argc, char **argv, struct control_client_request *q, bool *ret_is_json)
{
        const char *config_file = NULL;
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&config_file),
                CONSOLE_OPTION_JSON(ret_is_json),
        };
        const int words = console_options(argc, argv, options, ret_is_json ? 2 : 1);
        struct config *c = NULL;
        int status;

        if (words < 0)
                return EX_USAGE;
        if (words > 0)
                return console_fail(EX_USAGE, "\"%s\" is not expected here", argv[1]);
        status = console_config(config_file, &c);
        if (status == EX_OK)
                status = control_client_ask(c, "supervisor", q);
        config_free(c);
        return status;
}

static bool is_told_first(const char *name)
{
        static const char *const names[] = { "name", "pid", "state", "uptime_s", "restarts" };

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}

/* Who ran into a limit lately, a line each. */
static void print_limited(const json_t *row)
{
        char at[CONSOLE_TIME_MAX];
        const json_t *peer;
        size_t i;

        json_array_foreach(json_object_get(row, "limited"), i, peer) {
                const struct span rule = console_row_text(peer, "rule");
                const struct span origin = console_row_text(peer, "origin");

                printf("        limited: ");
                console_text(console_row_text(peer, "who"));
                printf(" by %.*s (%.*s), %llu times, last at %s\n", (int) rule.len, rule.p,
                       (int) origin.len, origin.p,
                       (unsigned long long) console_row_number(peer, "count"),
                       console_time(console_row_number(peer, "last_us"), at));
        }
}

static void print_process(void *arg, const json_t *row)
{
        const bool *is_json = arg;
        const struct span name = console_row_text(row, "name");
        const struct span state = console_row_text(row, "state");
        char uptime[NUMBER_TEXT_MAX];
        const char *key;
        json_t *value;

        if (*is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        printf("%-14.*s %-10.*s pid %-8llu up %-12s", (int) name.len, name.p, (int) state.len,
               state.p, (unsigned long long) console_row_number(row, "pid"),
               duration_format(console_row_number(row, "uptime_s") * 1000, uptime));
        if (console_row_number(row, "restarts"))
                printf(" started again %llu times",
                       (unsigned long long) console_row_number(row, "restarts"));
        json_object_foreach((json_t *) row, key, value) {
                if (!is_told_first(key) && json_is_integer(value))
                        printf(" %s=%lld", key, (long long) json_integer_value(value));
        }
        putchar('\n');
        print_limited(row);
}

int status_run(int argc, char **argv)
{
        bool is_json = false;
        struct control_client_request q = {.verb = "status", .row = print_process, .arg = &is_json};

        return ask(argc, argv, &q, &is_json);
}

int reload_run(int argc, char **argv)
{
        return ask(argc, argv, &(struct control_client_request) {.verb = "reload"}, NULL);
}

int stop_run(int argc, char **argv)
{
        return ask(argc, argv,
                   &(struct control_client_request) {.verb = "stop", .may_close = true}, NULL);
}
