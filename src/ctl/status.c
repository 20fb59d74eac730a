#include "ctl/status.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/number.h"
#include "ctl/console.h"
#include "ctl/control_client.h"
#include "ctl/listener_probe.h"

const char status_help[] =
        "hayauma status [-c FILE] [--json] [--no-probe]\n"
        "\n"
        "Asks every process of the running server how it is: its pid, state, how long\n"
        "it has run, how often it was started again, and its figures. Then each listener is\n"
        "asked as a client would ask it: whether it answers, which certificate it shows\n"
        "for which name, and how many days are left of it; --no-probe leaves that out.\n"
        "--json prints one object a line. 75 when no server is running.\n";

const char reload_help[] =
        "hayauma reload [-c FILE]\n"
        "\n"
        "Makes the running server read its configuration and tables again. What is wrong\n"
        "with them is said here with file and line; the server then keeps the old ones.\n";

const char stop_help[] =
        "hayauma stop [-c FILE]\n"
        "\n"
        "Stops the running server and waits until it has ended.\n";

struct status_options {
        bool is_json, is_without_probe;
};

enum { NAMES_MAX = 32, DAY_S = 86400 };

static const char *state_of(const struct listener_probe *p, int64_t days)
{
        if (p->trouble[0])
                return "fails";
        if (p->has_tls && days < 0)
                return "has ended";
        return p->has_tls && days < LISTENER_PROBE_WARN_DAYS ? "ends soon" : "ok";
}

/* The line for one listener, and one name that a client may ask for. */
static void print_listener(const struct config_listen *l, const char *server_name,
                           const struct listener_probe *p, bool is_json)
{
        const int64_t left_s = p->ends_at - (int64_t) (clock_now_us() / 1000000);
        const int64_t days = left_s < 0 ? -1 : left_s / DAY_S;
        const char *state = state_of(p, days);
        char name[300];

        snprintf(name, sizeof name, "listener %.*s", (int) l->text.len, l->text.p);
        if (is_json) {
                json_t *row = json_pack("{s:s, s:s, s:s}", "name", name, "state", state,
                                        "server_name", server_name);

                if (p->trouble[0])
                        json_object_set_new(row, "trouble", json_string_nocheck(p->trouble));
                if (p->has_tls) {
                        json_object_set_new(row, "tls", json_string(p->version));
                        json_object_set_new(row, "cipher", json_string(p->cipher));
                        json_object_set_new(row, "certificate", json_string(p->names));
                        json_object_set_new(row, "days_left", json_integer(days));
                }
                console_json(row);
                return;
        }
        printf("%s %s", name, state);
        if (p->trouble[0]) {
                printf(": ");
                console_text(span_from_string(p->trouble));
        } else if (p->has_tls) {
                printf(" for %s: %s %s, certificate of ", server_name, p->version, p->cipher);
                console_text(span_from_string(p->names[0] ? p->names : "no host"));
                printf(days < 0 ? ", which has ended" : ", %lld days left", (long long) days);
        } else {
                printf(", without TLS");
        }
        putchar('\n');
}

/* Listeners without TLS are asked once: names mean nothing there. */
static void print_listeners(const struct config *c, bool is_json)
{
        char names[NAMES_MAX][TLS_NAMES_MAX];
        const size_t count = listener_probe_names(c, names, NAMES_MAX);

        for (size_t i = 0; i < c->listen.count; i++) {
                for (size_t n = 0; n < count; n++) {
                        struct listener_probe probe;

                        if (!listener_probe(&c->listen.items[i], span_from_string(names[n]),
                                            &probe))
                                break;
                        print_listener(&c->listen.items[i], names[n], &probe, is_json);
                        if (!probe.has_tls)
                                break;
                }
        }
}

/* The one thing these commands do: ask the supervisor `q`. */
static int ask(int argc, char **argv, struct control_client_request *q, struct status_options *o)
{
        const char *config_file = NULL;
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&config_file),
                CONSOLE_OPTION_JSON(o ? &o->is_json : NULL),
                {"no-probe", false, NULL, o ? &o->is_without_probe : NULL},
        };
        const int words = console_options(argc, argv, options, o ? 3 : 1);
        struct config *c = NULL;
        int status;

        if (words < 0)
                return EX_USAGE;
        if (words > 0)
                return console_fail(EX_USAGE, "\"%s\" is not expected here", argv[1]);
        status = console_config(config_file, &c);
        if (status == EX_OK)
                status = control_client_ask(c, "supervisor", q);
        if (status == EX_OK && o && !o->is_without_probe)
                print_listeners(c, o->is_json);
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
        struct status_options o = {0};
        struct control_client_request q = {.verb = "status", .row = print_process,
                                           .arg = &o.is_json};

        return ask(argc, argv, &q, &o);
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
