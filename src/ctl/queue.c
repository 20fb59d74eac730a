#include "ctl/queue.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/id.h"
#include "base/number.h"
#include "ctl/console.h"
#include "ctl/control_client.h"

const char queue_help[] =
        "hayauma queue list [FILTERS] [--limit N | --summary] [--json]\n"
        "hayauma queue show ID… [--json]\n"
        "hayauma queue retry [ID… | FILTERS]\n"
        "hayauma queue hold|release|drop ID… | FILTERS | --all\n"
        "hayauma queue move --to HOP ID… | FILTERS | --all\n"
        "\n"
        "What waits to be delivered elsewhere. retry tries it now (without ID and filter:\n"
        "everything); hold keeps it until release; drop throws it away, nobody is told;\n"
        "move gives it another next hop, [smtp:|lmtp:]host[:port], and tries it there.\n"
        "\n"
        "list --limit N shows so many entries and no more; list --summary how much waits\n"
        "for each next hop.\n"
        "\n"
        "Filters, of which all must be true:\n"
        "  --sender ADDRESS      its return path (MAIL FROM)\n"
        "  --recipient ADDRESS   one of those it still waits for\n"
        "  --domain DOMAIN       the domain of one of them\n"
        "  --next-hop HOP        where it goes, as list shows it\n"
        "  --age TIME            it came longer ago than this: 2h, 5d\n"
        "  --larger SIZE         it has more octets than this: 100K, 10M\n"
        "  --reason TEXT         words of the last reply\n"
        "\n"
        "--json prints one object a line.\n";

struct queue_command {
        const char *config_file;
        const char *sender, *recipient, *domain, *next_hop, *age, *reason, *larger, *to, *limit;
        bool is_json, is_all, is_summary;
        bool is_long; /* show: every recipient with all that is known */
        uint64_t rows, recipients, octets, changed;
};

/* ---- rows --------------------------------------------------------------- */

static void print_recipient(const struct queue_command *q, const json_t *recipient)
{
        const uint64_t attempts = console_row_number(recipient, "attempts");
        const struct span reply = console_row_text(recipient, "reply");
        const struct span host = console_row_text(recipient, "host");
        char next[CONSOLE_TIME_MAX];

        printf("    ");
        console_text(console_row_text(recipient, "rcpt_to"));
        printf("  ");
        console_text(console_row_text(recipient, "state"));
        printf(", by ");
        console_text(console_row_text(recipient, "next_hop"));
        if (attempts)
                printf(", %llu attempt%s, next %s", (unsigned long long) attempts,
                       attempts == 1 ? "" : "s",
                       console_time(console_row_number(recipient, "next_attempt"), next));
        putchar('\n');
        if (!reply.len)
                return;
        printf("        ");
        if (q->is_long && host.len) {
                console_text(host);
                printf(" said: ");
        }
        if (console_row_number(recipient, "code"))
                printf("%llu ", (unsigned long long) console_row_number(recipient, "code"));
        console_text(reply);
        putchar('\n');
}

static void print_entry(void *arg, const json_t *row)
{
        struct queue_command *q = arg;
        const json_t *recipients = json_object_get(row, "recipients");
        const struct span mail_from = console_row_text(row, "mail_from");
        char arrived[CONSOLE_TIME_MAX], size[NUMBER_TEXT_MAX];

        q->rows++;
        q->recipients += json_array_size(recipients);
        q->octets += console_row_number(row, "size");
        if (q->is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        console_text(console_row_text(row, "id"));
        printf("  %s  %s octets  from ",
               console_time(console_row_number(row, "arrived"), arrived),
               size_format(console_row_number(row, "size"), size));
        if (mail_from.len)
                console_text(mail_from);
        else
                printf("<>");
        printf("%s\n", json_is_true(json_object_get(row, "held")) ? "  HELD" : "");
        for (size_t i = 0; i < json_array_size(recipients); i++)
                print_recipient(q, json_array_get(recipients, i));
}

static void print_sum(const json_t *row, struct span name)
{
        char size[NUMBER_TEXT_MAX], oldest[CONSOLE_TIME_MAX];

        printf("%10llu %10llu %10s  %-20s  ",
               (unsigned long long) console_row_number(row, "entries"),
               (unsigned long long) console_row_number(row, "recipients"),
               size_format(console_row_number(row, "octets"), size),
               console_row_number(row, "oldest")
                       ? console_time(console_row_number(row, "oldest"), oldest) : "-");
        console_text(name);
        putchar('\n');
}

static void print_summary(void *arg, const json_t *row)
{
        const struct queue_command *q = arg;
        const json_t *hops = json_object_get(row, "next_hops");

        if (q->is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        printf("%10s %10s %10s  %-20s  %s\n", "entries", "recipients", "octets", "oldest",
               "next hop");
        for (size_t i = 0; i < json_array_size(hops); i++)
                print_sum(json_array_get(hops, i),
                          console_row_text(json_array_get(hops, i), "next_hop"));
        print_sum(row, SPAN_LITERAL("in all"));
}

static void add_changed(void *arg, const json_t *row)
{
        struct queue_command *q = arg;

        q->changed += console_row_number(row, "changed");
}

/* ---- verbs -------------------------------------------------------------- */

static const struct verb {
        const char *name, *verb, *done;
        void (*row)(void *arg, const json_t *row);
        bool wants_choice; /* an ID, a filter or --all must be given */
} verbs[] = {
        { "list", "queue.list", NULL, print_entry, false },
        { "show", "queue.show", NULL, print_entry, true },
        { "retry", "queue.retry", "tried again", add_changed, false },
        { "drop", "queue.drop", "thrown away", add_changed, true },
        { "hold", "queue.hold", "held", add_changed, true },
        { "move", "queue.move", "moved", add_changed, true },
        { "release", "queue.release", "released", add_changed, true },
};

static void print_end(const struct queue_command *q, const struct verb *v)
{
        char size[NUMBER_TEXT_MAX];

        if (q->is_json && v->done) {
                json_t *row = json_object();

                json_object_set_new(row, "changed", json_integer((json_int_t) q->changed));
                console_json(row);
        } else if (v->done) {
                printf("%llu %s %s\n", (unsigned long long) q->changed,
                       q->changed == 1 ? "entry" : "entries", v->done);
        } else if (q->is_summary) {
                return;
        } else if (!q->is_json && !q->is_long && q->rows) {
                printf("%llu %s, %llu %s, %s octets\n", (unsigned long long) q->rows,
                       q->rows == 1 ? "entry" : "entries", (unsigned long long) q->recipients,
                       q->recipients == 1 ? "recipient" : "recipients",
                       size_format(q->octets, size));
        } else if (!q->is_json && !q->is_long) {
                printf("The queue is empty.\n");
        }
}

/* Asks once for each ID, or once for what the filters say. */
static int ask_all(struct control_client *client, struct queue_command *q, const struct verb *v,
                   char **ids, int id_count)
{
        struct control_client_request request = {
                .verb = v->verb,
                .row = q->is_summary ? print_summary : v->row,
                .arg = q,
                .arguments = {
                        { "id", {NULL, 0} },
                        { "sender", span_from_string(q->sender) },
                        { "recipient", span_from_string(q->recipient) },
                        { "domain", span_from_string(q->domain) },
                        { "next_hop", span_from_string(q->next_hop) },
                        { "age", span_from_string(q->age) },
                        { "reason", span_from_string(q->reason) },
                        { "larger", span_from_string(q->larger) },
                        { "to", span_from_string(q->to) },
                        { "limit", span_from_string(q->limit) },
                        { "summary", span_from_string(q->is_summary ? "yes" : NULL) },
                },
        };
        int status = EX_OK;

        if (id_count == 0) {
                /* Nothing there to be tried again is no failure: cron does it. */
                const bool is_flush = strcmp(v->name, "retry") == 0 && !q->is_all;

                request.unsaid = is_flush ? EX_NOINPUT : EX_OK;
                status = control_client_call(client, &request);
                return is_flush && status == EX_NOINPUT ? EX_OK : status;
        }
        for (int i = 0; i < id_count; i++) {
                int each;

                request.arguments[0].value = span_from_string(ids[i]);
                each = control_client_call(client, &request);
                if (each != EX_OK)
                        status = each;
        }
        return status;
}

static int run_verb(struct queue_command *q, const struct verb *v, char **ids, int id_count)
{
        const bool has_filter = q->sender || q->recipient || q->domain || q->next_hop || q->age ||
                                q->reason || q->larger;
        struct control_client *client = NULL;
        struct config *c = NULL;
        uint64_t age_ms, octets;
        int status;

        if (v->wants_choice && !id_count && !has_filter && !q->is_all)
                return console_fail(EX_USAGE, "say which messages: their ids, filters or --all");
        if (q->age && duration_parse(span_from_string(q->age), &age_ms) < 0)
                return console_fail(EX_USAGE, "\"%s\" is no time: write 90s, 2h or 5d", q->age);
        if (q->larger && size_parse(span_from_string(q->larger), &octets) < 0)
                return console_fail(EX_USAGE, "\"%s\" is no size: write 100K or 10M", q->larger);
        if ((strcmp(v->name, "move") == 0) != (q->to != NULL))
                return console_fail(EX_USAGE, "move, and only move, wants --to NEXT-HOP");
        if ((q->limit || q->is_summary) && strcmp(v->name, "list") != 0)
                return console_fail(EX_USAGE, "only list has --limit and --summary");
        if (q->limit && number_parse(span_from_string(q->limit), UINT32_MAX, &octets) < 0)
                return console_fail(EX_USAGE, "\"%s\" is no number", q->limit);
        for (int i = 0; i < id_count; i++) {
                uint64_t id;

                /* 0 is no message's: to the keeper it would mean every message. */
                if (id_parse(span_from_string(ids[i]), &id) < 0 || id == 0)
                        return console_fail(EX_USAGE, "\"%s\" is no message id: \"hayauma queue "
                                            "list\" shows them", ids[i]);
        }
        q->is_long = strcmp(v->name, "show") == 0;
        status = console_config(q->config_file, &c);
        if (status == EX_OK)
                status = control_client_open(c, "keeper", &client);
        if (status == EX_OK) {
                status = ask_all(client, q, v, ids, id_count);
                if (status == EX_OK || q->changed)
                        print_end(q, v);
        }
        control_client_close(client);
        config_free(c);
        return status;
}

int queue_run(int argc, char **argv)
{
        struct queue_command q = {0};
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&q.config_file),
                CONSOLE_OPTION_JSON(&q.is_json),
                { "all", false, NULL, &q.is_all },
                { "sender", false, &q.sender, NULL },
                { "recipient", false, &q.recipient, NULL },
                { "domain", false, &q.domain, NULL },
                { "next-hop", false, &q.next_hop, NULL },
                { "age", false, &q.age, NULL },
                { "reason", false, &q.reason, NULL },
                { "larger", false, &q.larger, NULL },
                { "to", false, &q.to, NULL },
                { "limit", false, &q.limit, NULL },
                { "summary", false, NULL, &q.is_summary },
        };
        const int words = console_options(argc, argv, options, sizeof options / sizeof options[0]);

        if (words < 0)
                return EX_USAGE;
        for (size_t i = 0; words > 0 && i < sizeof verbs / sizeof verbs[0]; i++)
                if (strcmp(verbs[i].name, argv[1]) == 0)
                        return run_verb(&q, &verbs[i], argv + 2, words - 1);
        return console_fail(EX_USAGE, "say what to do: list, show, retry, hold, release, drop or "
                            "move; "
                            "--help says more");
}
