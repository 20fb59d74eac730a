#include "process/keeper/keeper_retry.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/keeper/keeper_queue.h"

enum { PAGE = 200, CHANGES_MAX = 10000, DOMAIN_MAX = 255 };

/* A walk; the keeper has at most one. Freed when its last call has come back. */
struct walk {
        struct keeper *keeper;
        char domain[DOMAIN_MAX];
        size_t domain_len;
        bool with_subdomains;
        char next[QUEUE_KEY_LEN + 1];
        size_t next_len;
        size_t changes, pending; /* calls that have not come back */
};

static void done_one(struct walk *w)
{
        struct keeper *k = w->keeper;

        if (--w->pending)
                return;
        log_event(LOG_INFO, "queue_run", LOG_SPAN("domain", span_make(w->domain, w->domain_len)),
                  LOG_U64("entries", w->changes));
        k->is_retrying = false;
        free(w);
}

static void changed(void *arg, int result)
{
        (void) result; /* -EBUSY: it is being tried */
        done_one(arg);
}

static bool is_wanted(const struct walk *w, struct span rcpt_to)
{
        const struct span wanted = span_make(w->domain, w->domain_len);
        const size_t at = span_find_last(rcpt_to, '@');
        const struct span domain =
                at == SIZE_MAX ? (struct span) {NULL, 0} : span_skip(rcpt_to, at + 1);
        struct span end;

        if (domain.len <= wanted.len || !w->with_subdomains)
                return span_equal_nocase(domain, wanted);
        end = span_skip(domain, domain.len - wanted.len);
        return domain.p[domain.len - wanted.len - 1] == '.' && span_equal_nocase(end, wanted);
}

/* An entry waits for its time to come; one whose sender asked for that time
 * (no attempt was made yet) is left alone. */
static void look_at(struct walk *w, struct span value)
{
        struct queue_entry *e;
        bool wanted = false;

        if (queue_entry_decode(value, &e) < 0)
                return;
        for (size_t i = 0; i < e->recipient_count && !wanted; i++)
                wanted = e->recipients[i].state == RECIPIENT_WAITING &&
                         is_wanted(w, e->recipients[i].rcpt_to);
        if (wanted && !e->is_held && e->attempts && w->changes < CHANGES_MAX) {
                w->changes++;
                w->pending++;
                keeper_queue_change(w->keeper,
                                    &(struct keeper_queue_change) {
                                            .message_id = e->message_id,
                                            .group = e->group,
                                            .verb = KEEPER_QUEUE_RETRY,
                                    },
                                    changed, w);
        }
        queue_entry_free(e);
}

static void next_page(struct walk *w);

static void got_page(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct walk *w = arg;

        for (size_t i = 0; i < count && result >= 0; i++)
                look_at(w, entries[i].value);
        if (result >= 0 && has_more && count && !w->keeper->is_stopping) {
                memcpy(w->next, entries[count - 1].key.p, QUEUE_KEY_LEN);
                w->next[QUEUE_KEY_LEN] = '\0'; /* the first key behind it */
                w->next_len = sizeof w->next;
                next_page(w);
        }
        done_one(w);
}

static void next_page(struct walk *w)
{
        const struct store_range range = {
                .from = span_make(w->next, w->next_len), .to = SPAN("f"), .limit = PAGE};

        w->pending++;
        store_scan(w->keeper->store, &w->keeper->shard, &range, got_page, w);
}

void keeper_on_retry(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct keeper *k = ((struct keeper_peer *) arg)->keeper;
        const struct span domain = m->retry.domain;
        struct walk *w;

        (void) ch;
        (void) fd;
        if (k->is_retrying || k->is_stopping || domain.len > DOMAIN_MAX || domain.len == 0)
                return;
        w = calloc(1, sizeof *w);
        if (!w)
                return;
        w->keeper = k;
        memcpy(w->domain, domain.p, domain.len);
        w->domain_len = domain.len;
        w->with_subdomains = m->retry.with_subdomains;
        w->next[0] = 'e';
        w->next_len = 1;
        k->is_retrying = true;
        next_page(w);
}
