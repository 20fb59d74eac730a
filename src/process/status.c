#include "process/status.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

enum { ANSWER_MS = 2000 };

/* One question of one client. */
struct round {
        struct list_node node;
        struct status *status;
        uint64_t query, client;
        struct timer *timeout;
        size_t waiting;
        bool has_answered[]; /* by place */
};

void status_init(struct status *s, struct loop *l, struct place *places, size_t place_count)
{
        *s = (struct status) {.loop = l, .places = places, .place_count = place_count,
                              .started_at_ms = loop_now_ms(l)};
        list_init(&s->rounds);
}

static const char *state_name(const struct place *p)
{
        static const char *const names[PLACE_STATE_END] = {
                [PLACE_IDLE] = "waiting", [PLACE_STARTING] = "starting", [PLACE_READY] = "ready",
        };

        return names[p->state];
}

static void send_row(struct status *s, uint64_t client, json_t *row)
{
        char *text = row ? json_dumps(row, JSON_COMPACT) : NULL;

        if (text)
                control_row(s->control, client, span_from_string(text));
        free(text);
        json_decref(row);
}

static void add_metrics(json_t *row, struct ipc_items metrics)
{
        struct reader items = ipc_items_read(metrics);
        struct ipc_metric metric;
        char name[65];

        while (ipc_next_metric(&items, &metric)) {
                /* A broken-in process may not break the row. */
                for (size_t i = 0; i < metric.name.len; i++)
                        name[i] = metric.name.p[i] > ' ' && metric.name.p[i] < 127
                                          ? metric.name.p[i] : '_';
                name[metric.name.len] = '\0';
                if (!json_object_get(row, name))
                        json_object_set_new(row, name, json_integer((json_int_t) metric.value));
        }
}

/* What a peer said of itself may be anything. */
static json_t *plain(struct span s)
{
        char text[321];
        size_t len = s.len < sizeof text - 1 ? s.len : sizeof text - 1;

        for (size_t i = 0; i < len; i++)
                text[i] = s.p[i] >= ' ' && s.p[i] < 127 ? s.p[i] : '?';
        return json_stringn(text, len);
}

static void add_limited(json_t *row, struct ipc_items limited)
{
        struct reader items = ipc_items_read(limited);
        struct ipc_limited peer;
        json_t *all = limited.count ? json_array() : NULL;

        while (all && ipc_next_limited(&items, &peer))
                json_array_append_new(all, json_pack(
                        "{s:o, s:o, s:o, s:I, s:I}", "who", plain(peer.who), "rule",
                        plain(peer.rule), "origin", plain(peer.origin), "count",
                        (json_int_t) peer.count, "last_us", (json_int_t) peer.last_us));
        if (all)
                json_object_set_new(row, "limited", all);
}

static void send_place(const struct round *round, const struct place *p,
                       const struct ipc_status *answer)
{
        struct status *s = round->status;
        const uint64_t uptime_ms = p->pid ? loop_now_ms(s->loop) - p->started_at_ms : 0;
        json_t *row = json_pack("{s:s, s:i, s:s, s:I, s:I}", "name", p->name, "pid", (int) p->pid,
                                "state", state_name(p), "uptime_s",
                                (json_int_t) (uptime_ms / 1000), "restarts",
                                (json_int_t) (p->generation ? p->generation - 1 : 0));

        if (row && answer) {
                add_metrics(row, answer->metrics);
                add_limited(row, answer->limited);
        }
        send_row(s, round->client, row);
}

static void send_supervisor(struct status *s, uint64_t client)
{
        const uint64_t uptime_ms = loop_now_ms(s->loop) - s->started_at_ms;

        send_row(s, client, json_pack("{s:s, s:i, s:s, s:I, s:i}", "name", "supervisor/0", "pid",
                                      (int) getpid(), "state", "ready", "uptime_s",
                                      (json_int_t) (uptime_ms / 1000), "restarts", 0));
}

static void finish(struct round *round)
{
        list_remove(&round->node);
        timer_free(round->timeout);
        control_done(round->status->control, round->client, EX_OK, (struct span) {0});
        free(round);
}

static void on_timeout(void *arg)
{
        struct round *round = arg;
        struct status *s = round->status;

        for (size_t i = 0; i < s->place_count; i++)
                if (!round->has_answered[i])
                        send_place(round, &s->places[i], NULL);
        finish(round);
}

static void ask_place(struct round *round, size_t i)
{
        struct place *p = &round->status->places[i];

        if (p->state == PLACE_READY &&
            CHANNEL_SEND(p->channel, status_query, -1, .query = round->query) == 0) {
                round->waiting++;
                return;
        }
        send_place(round, p, NULL);
        round->has_answered[i] = true;
}

void status_ask(struct status *s, uint64_t client)
{
        struct round *round = calloc(1, sizeof *round + s->place_count * sizeof(bool));

        if (!round || timer_new(s->loop, on_timeout, round, &round->timeout) < 0) {
                free(round);
                control_done(s->control, client, EX_OSERR, SPAN_LITERAL("out of memory"));
                return;
        }
        round->status = s;
        round->client = client;
        round->query = ++s->last_query;
        list_append(&s->rounds, &round->node);
        timer_set(round->timeout, ANSWER_MS);
        send_supervisor(s, client);
        for (size_t i = 0; i < s->place_count; i++)
                ask_place(round, i);
        if (round->waiting == 0)
                finish(round);
}

void status_answered(struct status *s, const struct place *p, const struct ipc_status *answer)
{
        const size_t i = (size_t) (p - s->places);

        LIST_FOR_EACH(node, &s->rounds) {
                struct round *round = LIST_OBJECT(node, struct round, node);

                if (round->query != answer->query || round->has_answered[i])
                        continue;
                round->has_answered[i] = true;
                send_place(round, p, answer);
                if (--round->waiting == 0)
                        finish(round);
        }
}
