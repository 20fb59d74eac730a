/* queue.list, queue.show, queue.retry, queue.drop, queue.hold, queue.release,
 * queue.move, why */
#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/number.h"
#include "config/sockets.h"
#include "process/keeper/keeper_change.h"
#include "process/keeper/keeper_control.h"
#include "process/keeper/keeper_queue.h"
#include "route/route.h"

enum {
        PAGE = 200,                   /* entries read at once where each makes a row */
        CHANGES_MAX = 8,              /* pages of changes under way */
        CHANGE_LEN_MAX = 1024 * 1024, /* of the entries of one of them */
        RECORDS_MAX = 1000,
        RANGE_KEY_MAX = QUEUE_KEY_LEN + 1,
};

/* ---- rows -------------------------------------------------------------- */

static json_t *json_span(struct span s)
{
        json_t *text = json_stringn(s.p ? s.p : "", s.len);

        /* An address with octets that are not UTF-8 is shown without them. */
        return text ? text : json_string("(not UTF-8)");
}

static const char *state_name(const struct queue_recipient *q, const struct queue_entry *e)
{
        if (q->state == RECIPIENT_DONE)
                return "done";
        if (q->state == RECIPIENT_FAILED)
                return "failed";
        return e->is_held ? "held" : e->attempts ? "deferred" : "waiting";
}

static json_t *recipient_row(const struct queue_entry *e, const struct queue_recipient *q)
{
        json_t *row = json_object();

        json_object_set_new(row, "rcpt_to", json_span(q->rcpt_to));
        json_object_set_new(row, "next_hop", json_span(e->next_hop));
        json_object_set_new(row, "state", json_string(state_name(q, e)));
        json_object_set_new(row, "attempts", json_integer(e->attempts));
        json_object_set_new(row, "next_attempt",
                            json_integer(e->is_held ? 0 : (json_int_t) e->due_us));
        json_object_set_new(row, "code", json_integer(q->code));
        json_object_set_new(row, "reply", json_span(q->text));
        json_object_set_new(row, "host", json_span(q->host));
        return row;
}

static json_t *entry_row(const struct queue_entry *e)
{
        char id_text[ID_TEXT_LEN + 1];
        json_t *row = json_object(), *recipients = json_array();

        for (size_t i = 0; i < e->recipient_count; i++)
                if (e->recipients[i].state != RECIPIENT_DONE)
                        json_array_append_new(recipients, recipient_row(e, &e->recipients[i]));
        json_object_set_new(row, "id", json_string(id_format(e->message_id, id_text)));
        json_object_set_new(row, "group", json_integer(e->group));
        json_object_set_new(row, "arrived", json_integer((json_int_t) e->arrived_us));
        json_object_set_new(row, "size",
                            json_integer((json_int_t) (e->body_len - e->local_prefix_len)));
        json_object_set_new(row, "mail_from", json_span(e->mail_from));
        json_object_set_new(row, "held", json_boolean(e->is_held));
        json_object_set_new(row, "recipients", recipients);
        return row;
}

static void send_row(struct control_session *s, json_t *row)
{
        char *text = json_dumps(row, JSON_COMPACT);

        if (text && s->channel)
                CHANNEL_SEND(s->channel, control_row, -1, .json = span_from_string(text));
        free(text);
        json_decref(row);
}

/* ---- which entries a command is about ---------------------------------- */

static bool contains_nocase(struct span text, struct span part)
{
        for (size_t i = 0; i + part.len <= text.len; i++)
                if (span_equal_nocase(span_first(span_skip(text, i), part.len), part))
                        return true;
        return false;
}

static bool recipient_matches(const struct control_session *s, const struct queue_recipient *q)
{
        const struct span recipient = control_argument(s, "recipient");
        const struct span domain = control_argument(s, "domain");
        const struct span reason = control_argument(s, "reason");
        const size_t at = span_find_last(q->rcpt_to, '@');

        if (recipient.len && !span_equal_nocase(q->rcpt_to, recipient))
                return false;
        if (domain.len && (at == SIZE_MAX ||
                           !span_equal_nocase(span_skip(q->rcpt_to, at + 1), domain)))
                return false;
        return !reason.len || contains_nocase(q->text, reason);
}

static bool entry_matches(const struct control_session *s, const struct queue_entry *e)
{
        const struct span sender = control_argument(s, "sender");
        const struct span next_hop = control_argument(s, "next_hop");
        const struct span age = control_argument(s, "age");
        const struct span larger = control_argument(s, "larger");
        uint64_t age_ms, octets;

        if (larger.len && size_parse(larger, &octets) == 0 &&
            e->body_len - e->local_prefix_len <= octets)
                return false;
        if (sender.len && !span_equal_nocase(e->mail_from, sender))
                return false;
        if (next_hop.len && !span_equal_nocase(e->next_hop, next_hop))
                return false;
        if (age.len && duration_parse(age, &age_ms) == 0 &&
            e->arrived_us + age_ms * 1000 > clock_now_us())
                return false;
        for (size_t i = 0; i < e->recipient_count; i++)
                if (e->recipients[i].state != RECIPIENT_DONE &&
                    recipient_matches(s, &e->recipients[i]))
                        return true;
        return false;
}

/* ---- walking the stored queue ------------------------------------------ */

/* Deferred entries ('e') first, then fresh ones ('f'): one key range. */
struct walk {
        char next[RANGE_KEY_MAX];
        size_t next_len, page_size;
        bool has_id;         /* only this one; else all that match */
        uint64_t message_id;
        void (*visit)(struct control_session *s, const struct queue_entry *e);
        void (*end)(struct control_session *s);
        size_t visited, visited_max; /* of those that match; 0: all */
        bool has_more;
        /* queue.retry and its like: what is to be changed next, in one commit, while
         * a few others are made durable */
        struct keeper_change_page page;
        size_t page_len; /* octets of its entries */
        size_t changing; /* pages under way */
        bool waits;      /* goes on when one of them is done */
        size_t changed, busy, sent;
        int failure;
};

static void got_page(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more);

static void send_changes(struct control_session *s);
static void next_page(struct control_session *s);

static void end_page(struct control_session *s)
{
        struct walk *w = s->verb;

        w->waits = w->has_more ? w->changing >= CHANGES_MAX : w->changing > 0;
        if (w->waits)
                return;
        if (w->has_more)
                control_go_on(s, next_page);
        else
                w->end(s);
}

static void next_page(struct control_session *s)
{
        struct walk *w = s->verb;
        const struct store_range range = {span_make(w->next, w->next_len), SPAN_LITERAL("g"),
                                          w->page_size, false};

        store_scan(s->keeper->store, &s->keeper->shard, &range, got_page, s);
}

static void visit_one(struct control_session *s, struct span value)
{
        struct walk *w = s->verb;
        struct queue_entry *e;

        if (queue_entry_decode(value, &e) < 0)
                return;
        if ((!w->has_id || e->message_id == w->message_id) &&
            (!w->visited_max || w->visited < w->visited_max) && entry_matches(s, e)) {
                w->visited++;
                w->visit(s, e);
        }
        queue_entry_free(e);
}

static void got_page(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct control_session *s = arg;
        struct walk *w = s->verb;

        if (result < 0 && result != -ENOENT) {
                if (!w->changing) {
                        control_end_errno(s, result, "reading the queue");
                        return;
                }
                w->failure = result; /* told when they are done */
                w->has_more = false;
                end_page(s);
                return;
        }
        for (size_t i = 0; i < count; i++)
                visit_one(s, entries[i].value);
        w->has_more = has_more && s->channel && (!w->visited_max || w->visited < w->visited_max);
        if (w->has_more) {
                memcpy(w->next, entries[count - 1].key.p, QUEUE_KEY_LEN);
                w->next[QUEUE_KEY_LEN] = '\0'; /* the first key behind it */
                w->next_len = RANGE_KEY_MAX;
        }
        send_changes(s);
        if (s->channel) /* the client knows that we are at it */
                CHANNEL_SEND(s->channel, control_octets, -1, .octets = {0});
        end_page(s);
}

typedef void visit_fn(struct control_session *s, const struct queue_entry *e);

/* `size` is of a struct that begins with a struct walk. */
static struct walk *walk_new(struct control_session *s, size_t size)
{
        const struct span id = control_argument(s, "id");
        struct walk *w = calloc(1, size);

        if (!w) {
                control_end(s, EX_TEMPFAIL, "out of memory");
                return NULL;
        }
        w->next[0] = 'e';
        w->page_size = STORE_SCAN_MAX;
        w->next_len = 1;
        s->verb = w;
        w->has_id = id.len > 0;
        if (id.len && id_parse(id, &w->message_id) < 0) {
                control_end(s, EX_USAGE,
                            "this is not a message id; `hayauma queue list` shows them");
                return NULL;
        }
        return w;
}

static struct walk *walk_start(struct control_session *s, visit_fn *visit,
                               void (*end)(struct control_session *s))
{
        struct walk *w = walk_new(s, sizeof *w);

        if (w) {
                w->visit = visit;
                w->end = end;
        }
        return w;
}

static void show_entry(struct control_session *s, const struct queue_entry *e)
{
        send_row(s, entry_row(e));
}

static void end_list(struct control_session *s)
{
        control_end(s, EX_OK, "");
}

/* ---- how much there is for whom ---------------------------------------- */

enum { HOPS_MAX = 300 }; /* told apart; all others are one row */

/* Entries for one next hop. */
struct hop_sum {
        struct span next_hop;
        uint64_t entries, recipients, octets, oldest_us;
};

struct summary {
        struct walk walk; /* first: what s->verb is */
        struct hop_sum all, others, hops[HOPS_MAX];
        size_t hop_count;
};

static void add_entry(struct hop_sum *sum, const struct queue_entry *e)
{
        sum->entries++;
        sum->recipients += e->recipient_count - queue_entry_count(e, RECIPIENT_DONE);
        sum->octets += e->body_len - e->local_prefix_len;
        if (!sum->oldest_us || e->arrived_us < sum->oldest_us)
                sum->oldest_us = e->arrived_us;
}

static void sum_entry(struct control_session *s, const struct queue_entry *e)
{
        struct summary *sum = s->verb;
        struct hop_sum *hop = &sum->others;
        size_t i = 0;

        while (i < sum->hop_count && !span_equal(sum->hops[i].next_hop, e->next_hop))
                i++;
        if (i < sum->hop_count) {
                hop = &sum->hops[i];
        } else if (i < HOPS_MAX) {
                const struct span next_hop = arena_copy(&s->arena, e->next_hop);

                if (next_hop.p) {
                        hop = &sum->hops[sum->hop_count++];
                        hop->next_hop = next_hop;
                }
        }
        add_entry(hop, e);
        add_entry(&sum->all, e);
}

static json_t *sum_row(const struct hop_sum *sum, const char *name)
{
        json_t *row = json_object();

        if (name)
                json_object_set_new(row, "next_hop", json_string(name));
        else if (sum->next_hop.len)
                json_object_set_new(row, "next_hop", json_span(sum->next_hop));
        json_object_set_new(row, "entries", json_integer((json_int_t) sum->entries));
        json_object_set_new(row, "recipients", json_integer((json_int_t) sum->recipients));
        json_object_set_new(row, "octets", json_integer((json_int_t) sum->octets));
        json_object_set_new(row, "oldest", json_integer((json_int_t) sum->oldest_us));
        return row;
}

static void end_summary(struct control_session *s)
{
        const struct summary *sum = s->verb;
        json_t *row = sum_row(&sum->all, NULL), *hops = json_array();

        for (size_t i = 0; i < sum->hop_count; i++)
                json_array_append_new(hops, sum_row(&sum->hops[i], NULL));
        if (sum->others.entries)
                json_array_append_new(hops, sum_row(&sum->others, "(others)"));
        json_object_set_new(row, "next_hops", hops);
        send_row(s, row);
        control_end(s, EX_OK, "");
}

void control_queue_list(struct control_session *s)
{
        const bool is_summary = control_argument(s, "summary").len > 0;
        uint64_t limit = 0;
        struct walk *w = walk_new(s, is_summary ? sizeof(struct summary) : sizeof *w);

        if (!w)
                return;
        if (number_parse(control_argument(s, "limit"), UINT32_MAX, &limit) == 0)
                w->visited_max = (size_t) limit;
        w->visit = is_summary ? sum_entry : show_entry;
        w->page_size = is_summary ? STORE_SCAN_MAX : PAGE;
        w->end = is_summary ? end_summary : end_list;
        next_page(s);
}

static void end_show(struct control_session *s)
{
        const struct walk *w = s->verb;

        if (w->visited)
                control_end(s, EX_OK, "");
        else
                control_end(s, EX_NOINPUT, "no such message in the queue; `hayauma why ID` tells "
                                           "what became of it");
}

void control_queue_show(struct control_session *s)
{
        struct walk *w = walk_start(s, show_entry, end_show);

        if (w && !w->has_id)
                control_end(s, EX_USAGE, "which message? `hayauma queue show ID`");
        else if (w)
                next_page(s);
}

/* ---- changing ---------------------------------------------------------- */

static void collect_entry(struct control_session *s, const struct queue_entry *e)
{
        struct walk *w = s->verb;

        if (w->page.count == KEEPER_CHANGE_MAX || w->page_len > CHANGE_LEN_MAX)
                send_changes(s);
        queue_entry_key(e, w->page.keys[w->page.count++]);
        w->page_len += e->encoded.len;
}

static void end_change(struct control_session *s)
{
        const struct walk *w = s->verb;
        json_t *row;

        if (w->failure || (w->busy && !w->changed)) {
                control_end_errno(s, w->failure ? w->failure : -EBUSY, "changing the queue");
                return;
        }
        if (!w->visited) {
                control_end(s, EX_NOINPUT, "no message in the queue matches");
                return;
        }
        row = json_object();
        json_object_set_new(row, "changed", json_integer((json_int_t) w->changed));
        json_object_set_new(row, "busy", json_integer((json_int_t) w->busy));
        send_row(s, row);
        control_end(s, EX_OK, "");
}

static enum keeper_queue_verb verb_of(const struct control_session *s)
{
        if (strcmp(s->verb_name, "queue.drop") == 0)
                return KEEPER_QUEUE_DROP;
        if (strcmp(s->verb_name, "queue.hold") == 0)
                return KEEPER_QUEUE_HOLD;
        if (strcmp(s->verb_name, "queue.release") == 0)
                return KEEPER_QUEUE_RELEASE;
        if (strcmp(s->verb_name, "queue.move") == 0)
                return KEEPER_QUEUE_MOVE;
        return KEEPER_QUEUE_RETRY;
}

static void changed_page(void *arg, int result, size_t changed, size_t busy)
{
        struct control_session *s = arg;
        struct walk *w = s->verb;

        w->changing--;
        w->changed += changed;
        w->busy += busy;
        if (result < 0)
                w->failure = result;
        if (w->waits)
                end_page(s);
}

/* An entry that is being delivered is not ours to change now: it is counted. */
static void send_changes(struct control_session *s)
{
        struct walk *w = s->verb;
        const size_t count = w->page.count;

        if (!count)
                return;
        w->page.verb = verb_of(s);
        w->page.next_hop = control_argument(s, "to");
        w->page.before_count = w->sent;
        w->changing++;
        if (keeper_change_page(s->keeper, &w->page, changed_page, s) < 0) {
                w->changing--;
                w->failure = -ENOMEM;
        }
        w->sent += count;
        w->page.count = 0;
        w->page_len = 0;
}

/* What is moved goes to another host: a mailbox here, or nowhere, is no next hop
 * that an entry could be given. */
static bool is_movable(const struct control_session *s)
{
        static const struct span mailers[] = {SPAN("smtp"), SPAN("esmtp"), SPAN("lmtp")};
        struct next_hop hop;

        if (verb_of(s) != KEEPER_QUEUE_MOVE)
                return true;
        if (next_hop_parse(control_argument(s, "to"), &hop) < 0 || !hop.host.len ||
            (hop.is_unix && !sockets_may_reach(s->keeper->process->config, hop.host)))
                return false;
        for (size_t i = 0; i < sizeof mailers / sizeof mailers[0]; i++)
                if (span_equal_nocase(hop.mailer, mailers[i]))
                        return true;
        return false;
}

void control_queue_change(struct control_session *s)
{
        if (!is_movable(s))
                control_end(s, EX_USAGE, "--to wants a next hop that leads to another host: "
                                         "[smtp:|lmtp:]host[:port]");
        else if (walk_start(s, collect_entry, end_change))
                next_page(s);
}

/* ---- why --------------------------------------------------------------- */

/* Records found by an address or Message-ID lead to message ids, whose records
 * tell the whole story; the command line asks again by id. */
static void got_records(void *arg, int result, const struct span *records, size_t count)
{
        struct control_session *s = arg;

        if (result == -ENOENT || (result == 0 && count == 0)) {
                control_end(s, EX_NOINPUT, "nothing is known of this: no message id, Message-ID or "
                                           "address of the last days is so");
                return;
        }
        if (result < 0) {
                control_end_errno(s, result, "reading the traces");
                return;
        }
        for (size_t i = 0; i < count && s->channel; i++)
                CHANNEL_SEND(s->channel, control_octets, -1, .octets = records[i]);
        control_end(s, EX_OK, "");
}

void control_why(struct control_session *s)
{
        const struct span key = control_argument(s, "key");

        if (!key.len)
                control_end(s, EX_USAGE, "why what? give a message id, a Message-ID or an address");
        else
                store_trace_find(s->keeper->store, key, RECORDS_MAX, got_records, s);
}
