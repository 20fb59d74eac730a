#include "process/relay/relay_probe.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "process/relay/relay_destination.h"

/* An edge that asks. Jobs name it by `id`, since it may go away before them. */
struct prober {
        struct list_node node; /* relay->probers */
        struct relay *relay;
        struct channel *channel;
        uint64_t id;
        unsigned number;
};

static void prober_free(struct prober *p)
{
        list_remove(&p->node);
        channel_free(p->channel);
        free(p);
}

static void say(struct prober *p, uint64_t query, const struct smtp_reply *reply, const char *host)
{
        if (CHANNEL_SEND(p->channel, probed, -1, .query = query, .code = (uint16_t) reply->code,
                         .enhanced = span_first(reply->enhanced, 16),
                         .text = span_first(reply->text, IPC_TEXT_MAX),
                         .host = span_first(span_from_string(host), 300)) < 0)
                log_event(LOG_ERROR, "probe_not_answered", LOG_U64("edge", p->number));
}

static void on_probe(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        static const struct smtp_reply none = {.text = SPAN("there is no memory for a probe")};
        struct prober *p = arg;
        struct relay_job *j = relay_job_new_probe(p->relay, &m->probe, p->id);

        (void) ch;
        (void) fd;
        if (j)
                relay_destination_take(p->relay, j);
        else
                say(p, m->probe.query, &none, "");
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) ch;
        (void) reason;
        prober_free(arg);
}

static const struct channel_handler handler = {
        .on = {[IPC_probe] = on_probe},
        .closed = on_closed,
};

void relay_probe_peer(struct relay *r, unsigned number, int fd)
{
        struct prober *p = calloc(1, sizeof *p);

        LIST_FOR_EACH(node, &r->probers) {
                struct prober *old = LIST_OBJECT(node, struct prober, node);

                if (old->number == number)
                        prober_free(old);
        }
        if (!p || channel_new(r->loop, fd, &handler, p, &p->channel) < 0) {
                log_event(LOG_ERROR, "channel_not_opened", LOG_U64("edge", number));
                close(fd);
                free(p);
                return;
        }
        p->relay = r;
        p->number = number;
        p->id = ++r->prober_last;
        list_append(&r->probers, &p->node);
}

void relay_probe_answer(const struct relay_job *j, const struct smtp_reply *reply,
                        const char *host)
{
        LIST_FOR_EACH(node, &j->relay->probers) {
                struct prober *p = LIST_OBJECT(node, struct prober, node);

                if (p->id == j->prober) {
                        say(p, j->probe, reply, host);
                        return;
                }
        }
}
