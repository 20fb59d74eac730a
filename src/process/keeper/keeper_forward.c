#include "process/keeper/keeper_forward.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "policy/decision.h"
#include "process/keeper/keeper_queue.h"
#include "process/keeper/keeper_reading.h"
#include "route/route.h"

enum {
        PLACES_MAX = 16,          /* of one .forward */
        GROUP_FORWARDED = 0x8000, /* groups from here on came of one */
        GROUP_MAX = GROUP_FORWARDED / PLACES_MAX,
        MEMORY_MAX = 256 * 1024,
};

struct forward {
        struct keeper *keeper;
        struct queue_entry *before;
        struct queue_entry *after[PLACES_MAX];
        size_t count;
        struct arena arena;
        struct buffer record;
        const struct queue_recipient *recipient; /* the first that waits: all are one user */
};

static void forward_free(struct forward *f)
{
        buffer_done(&f->record);
        arena_done(&f->arena);
        free(f);
}

static int add_entry(struct forward *f, const struct queue_recipient *to, struct span next_hop)
{
        struct queue_entry e = *f->before;
        struct queue_recipient recipient = *to;
        int r;

        if (f->count == PLACES_MAX)
                return -EMSGSIZE;
        recipient.state = RECIPIENT_WAITING;
        recipient.code = 0;
        recipient.text = recipient.host = recipient.enhanced = (struct span) {NULL, 0};
        e.group = (uint16_t) (GROUP_FORWARDED + (size_t) e.group * PLACES_MAX + f->count);
        e.recipients = &recipient;
        e.recipient_count = 1;
        e.next_hop = next_hop;
        e.attempts = 0;
        e.due_us = 0;
        e.waits_for_host = e.delay_owed = false;
        r = decision_add(&f->record, &(struct decision_step) {
                .at_us = clock_now_us(), .recipient = recipient.index, .kind = DECISION_ROUTED,
                .rule = SPAN(".forward"), .origin = SPAN("~/.forward"),
                .rcpt_to = f->recipient->rcpt_to,
                .next = span_equal(next_hop, SPAN_LITERAL("local:")) ? recipient.account
                                                                     : recipient.rcpt_to});
        if (r == 0)
                r = queue_entry_update(&e, &f->after[f->count]);
        f->count += r == 0;
        return r;
}

static int add_route(struct forward *f, const struct route *route)
{
        struct queue_recipient to = *f->recipient;
        char error[600];
        int len;

        to.rcpt_to = route->rcpt_to;
        if (route->kind == ROUTE_DISCARD)
                return 0;
        if (route->kind == ROUTE_LOCAL ||
            span_starts_with_nocase(route->next_hop, SPAN_LITERAL("agent:0000::forward:"))) {
                to.account = route->account;
                return add_entry(f, &to, SPAN_LITERAL("local:"));
        }
        if (route->kind == ROUTE_RELAY)
                return add_entry(f, &to, route->next_hop);
        len = snprintf(error, sizeof error, "error:%u %.*s %.*s", route->code,
                       (int) route->enhanced.len, route->enhanced.p,
                       (int) span_first(route->text, 400).len, route->text.p);
        return add_entry(f, &to, arena_copy(&f->arena, span_make(error, (size_t) len)));
}

static int add_address(struct forward *f, struct span address)
{
        const struct process *p = f->keeper->process;
        struct route_list list;
        int r = route_expand(p->config, p->snapshot, address, NULL, &f->arena, &list);

        for (size_t i = 0; r == 0 && i < list.count; i++)
                r = add_route(f, &list.items[i]);
        return r;
}

/* "agent 0001" is "agent:0001::forward:taro". */
static int add_agent(struct forward *f, struct span number)
{
        const struct span hop = f->before->next_hop;
        struct span next_hop = arena_copy(&f->arena, hop);

        if (!next_hop.p || number.len != 4 || hop.len < 10)
                return next_hop.p ? -EBADMSG : -ENOMEM;
        memcpy((char *) (uintptr_t) next_hop.p + 6, number.p, 4);
        return add_entry(f, f->recipient, next_hop);
}

static int add_places(struct forward *f, struct span places)
{
        const struct span address = SPAN("address "), agent = SPAN("agent ");
        struct span line;
        int r = 0;

        while (r == 0 && places.len && span_split(&places, '\n', &line)) {
                if (span_starts_with_nocase(line, address))
                        r = add_address(f, span_skip(line, address.len));
                else if (span_starts_with_nocase(line, agent))
                        r = add_agent(f, span_skip(line, agent.len));
                else
                        r = add_entry(f, f->recipient, SPAN_LITERAL("local:"));
        }
        return r;
}

/* Leaves the active queue; what became of it, or nothing, is in the store. */
static void end_entry(struct keeper *k, struct queue_entry *e)
{
        keeper_reading_left(k, e->message_id, e->group);
        queue_remove(&k->queue, e);
        queue_entry_free(e);
}

static void is_durable(void *arg, int result)
{
        struct forward *f = arg;
        struct keeper *k = f->keeper;
        struct keeper_body *body = f->before->body;

        if (result < 0 && keeper_store_refused(k, result))
                log_event(LOG_ERROR, "forward_not_stored",
                          LOG_U64("message_id", f->before->message_id),
                          LOG_ERRNO("error", result));
        f->before->body = NULL;
        end_entry(k, f->before);
        for (size_t i = 0; i < f->count; i++) {
                if (result < 0)
                        queue_entry_free(f->after[i]);
                else
                        keeper_queue_add(k, f->after[i], body ? keeper_body_ref(body) : NULL);
        }
        keeper_body_unref(body);
        if (result < 0)
                keeper_queue_scan_again(k);
        forward_free(f);
        keeper_queue_pump(k);
}

static void put_record(struct forward *f, struct store_batch *batch)
{
        char id_text[ID_TEXT_LEN + 1];
        const struct span key = span_make(id_format(f->before->message_id, id_text), ID_TEXT_LEN);

        store_trace(batch, &key, 1, buffer_span(&f->record));
}

static void store_all(struct forward *f)
{
        struct keeper *k = f->keeper;
        struct store_batch *batch = store_batch_new(k->store, &k->shard, STORE_ANY_SEQUENCE);

        if (!batch) {
                is_durable(f, -ENOMEM);
                return;
        }
        for (size_t i = 0; i < f->count; i++) {
                store_blob_reference(batch, f->before->blob_id, 1);
                keeper_queue_put(batch, NULL, f->after[i]);
        }
        keeper_queue_put(batch, f->before, NULL);
        put_record(f, batch);
        store_commit(k->store, &batch, 1, 0, is_durable, f);
}

/* What goes on instead of the entry, into `after`. 0 or a negative errno. */
static int prepare(struct forward *f, struct span places)
{
        int r = decision_begin(&f->record, f->before->message_id);

        if (r == 0)
                r = f->before->group < GROUP_MAX ? add_places(f, places) : -EMSGSIZE;
        if (r < 0 && r != -ENOMEM) { /* his mailbox takes it anyway */
                while (f->count)
                        queue_entry_free(f->after[--f->count]);
                r = add_entry(f, f->recipient, SPAN_LITERAL("local:"));
        }
        return r;
}

void keeper_forward(struct keeper *k, struct queue_entry *e, struct span places)
{
        struct forward *f = calloc(1, sizeof *f);
        int r;

        queue_report(&k->queue, e, QUEUE_HOST_GOOD, clock_now_us());
        if (!f) {
                keeper_body_unref(e->body);
                e->body = NULL;
                end_entry(k, e);
                keeper_queue_scan_again(k);
                return;
        }
        *f = (struct forward) {.keeper = k, .before = e, .arena = ARENA_INIT(MEMORY_MAX),
                               .record = BUFFER_INIT(IPC_RECORD_MAX)};
        for (size_t i = e->recipient_count; i-- > 0;)
                if (e->recipients[i].state == RECIPIENT_WAITING)
                        f->recipient = &e->recipients[i];
        r = f->recipient ? prepare(f, places) : -EBADMSG;
        if (r == 0)
                store_all(f);
        else
                is_durable(f, r);
}
