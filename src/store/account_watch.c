/* Who is told of changes. A batch of a watched account has a struct of news,
 * filled while the batch is; batches end in the order they were made, so the
 * first news are always those of the batch that ends. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store/account.h"

enum { NEWS_MAX = 64 * 1024 * 1024 };

struct mailbox_watch {
        struct list_node node; /* of the account */
        struct account *account;
        uint64_t mailbox_id;
        const struct mailbox_watch_handler *handler;
        void *arg;
        struct account_settling settling;
        bool is_settling, is_lost;
        unsigned busy; /* callbacks at work */
        bool is_done;  /* unwatched in one of them */
};

/* A mailbox that the batch changes, as it is behind the batch. */
struct news_box {
        struct mailbox_status status;
        bool is_deleted;
        struct buffer entries, gone; /* struct message_entry; uint32_t */
};

struct news {
        struct list_node node;
        uint64_t number; /* of the batch */
        bool is_cut;     /* no memory: nobody knows what changed */
        struct news_box *boxes;
        size_t box_count;
};

static void news_free(struct news *n)
{
        list_remove(&n->node);
        for (size_t i = 0; i < n->box_count; i++) {
                buffer_done(&n->boxes[i].entries);
                buffer_done(&n->boxes[i].gone);
        }
        free(n->boxes);
        free(n);
}

/* ---- noting ----------------------------------------------------------------- */

static bool is_watched(const struct account *a, uint64_t mailbox_id)
{
        LIST_FOR_EACH(node, &a->watches)
                if (LIST_OBJECT(node, struct mailbox_watch, node)->mailbox_id == mailbox_id)
                        return true;
        return false;
}

/* The news of the batch that was made last, or NULL. */
static struct news *latest(const struct account *a)
{
        struct news *n;

        if (list_is_empty(&a->news))
                return NULL;
        n = LIST_OBJECT(a->news.previous, struct news, node);
        return n->number == a->batches_made ? n : NULL;
}

static struct news_box *box_of(struct account *a, const struct mailbox *b)
{
        struct news *n = latest(a);
        struct news_box *grown;

        if (!n || n->is_cut)
                return NULL;
        for (size_t i = 0; i < n->box_count; i++)
                if (n->boxes[i].status.mailbox_id == b->id)
                        return &n->boxes[i];
        if (!is_watched(a, b->id))
                return NULL;
        grown = realloc(n->boxes, (n->box_count + 1) * sizeof(struct news_box));
        if (!grown) {
                n->is_cut = true;
                return NULL;
        }
        n->boxes = grown;
        grown += n->box_count++;
        *grown = (struct news_box) {
                .status = {.mailbox_id = b->id},
                .entries = BUFFER_INIT(NEWS_MAX),
                .gone = BUFFER_INIT(NEWS_MAX),
        };
        return grown;
}

void account_note_entry(struct account *a, const struct mailbox *b, const struct message_entry *e,
                        bool is_gone)
{
        struct news_box *box = box_of(a, b);
        int r;

        if (!box)
                return;
        r = is_gone ? buffer_append(&box->gone, &e->uid, sizeof e->uid)
                    : buffer_append(&box->entries, e, sizeof *e);
        if (r < 0)
                latest(a)->is_cut = true;
}

void account_note_box(struct account *a, const struct mailbox *b)
{
        struct news_box *box = box_of(a, b);

        if (box)
                box->status = (struct mailbox_status) {
                        .mailbox_id = b->id, .uid_validity = b->uid_validity,
                        .uid_next = b->uid_next, .message_count = b->message_count,
                        .unseen_count = b->unseen_count, .deleted_count = b->deleted_count,
                        .highest_modseq = b->highest_modseq, .size = b->size,
                };
}

void account_note_deleted(struct account *a, const struct mailbox *b)
{
        struct news_box *box = box_of(a, b);

        if (box)
                box->is_deleted = true;
}

/* ---- telling ---------------------------------------------------------------- */

static void watch_free(struct mailbox_watch *w)
{
        struct account *a = w->account;

        free(w);
        account_release(a);
}

static void call(struct mailbox_watch *w, const struct mailbox_news *n)
{
        if (w->is_done)
                return;
        w->busy++;
        if (n)
                w->handler->news(w->arg, n);
        else
                w->handler->ready(w->arg);
        if (--w->busy == 0 && w->is_done)
                watch_free(w);
}

void account_tell_lost(struct account *a)
{
        struct list_node *node;

        while ((node = list_take_first(&a->watches))) {
                struct mailbox_watch *w = LIST_OBJECT(node, struct mailbox_watch, node);

                w->is_lost = true;
                call(w, &(struct mailbox_news) {.is_lost = true});
        }
        while (!list_is_empty(&a->news))
                news_free(LIST_OBJECT(a->news.next, struct news, node));
}

static void tell_box(struct account *a, const struct news_box *box)
{
        const struct mailbox_news n = {
                .status = box->is_deleted ? NULL : &box->status,
                .entries = (const struct message_entry *) (const void *)
                                   buffer_span(&box->entries).p,
                .entry_count = box->entries.len / sizeof(struct message_entry),
                .gone = (const uint32_t *) (const void *) buffer_span(&box->gone).p,
                .gone_count = box->gone.len / sizeof(uint32_t),
                .is_deleted = box->is_deleted,
        };

        LIST_FOR_EACH(node, &a->watches) {
                struct mailbox_watch *w = LIST_OBJECT(node, struct mailbox_watch, node);

                if (w->mailbox_id == box->status.mailbox_id)
                        call(w, &n);
        }
}

static void tell(struct account *a, struct news *n)
{
        if (n->is_cut)
                account_leave_cache(a); /* frees the news */
        for (size_t i = 0; !a->is_forgotten && i < n->box_count; i++)
                tell_box(a, &n->boxes[i]);
        if (!a->is_forgotten)
                news_free(n);
}

static void settle_those(struct account *a)
{
        while (!list_is_empty(&a->settling)) {
                struct account_settling *s =
                        LIST_OBJECT(a->settling.next, struct account_settling, node);

                if (s->target > a->batches_ended && !a->is_forgotten)
                        return;
                list_remove(&s->node);
                s->settled(s);
        }
}

static void batch_ended(void *arg, int result)
{
        struct account *a = arg;

        a->batches_ended++;
        if (result < 0) {
                account_leave_cache(a);
        } else if (!list_is_empty(&a->news)) {
                struct news *n = LIST_OBJECT(a->news.next, struct news, node);

                if (n->number == a->batches_ended)
                        tell(a, n);
        }
        settle_those(a);
        if (list_is_linked(&a->leaving) && a->batches_ended == a->batches_made)
                account_left(a);
        account_release(a);
}

void account_begin_news(struct account *a, struct store_batch *batch)
{
        struct news *n;

        a->batches_made++;
        account_ref(a);
        store_batch_on_end(batch, batch_ended, a);
        if (list_is_empty(&a->watches))
                return;
        n = calloc(1, sizeof(struct news));
        if (!n) {
                /* Nobody could be told: they all have to look again. */
                account_leave_cache(a);
                return;
        }
        n->number = a->batches_made;
        list_append(&a->news, &n->node);
}

void account_settle(struct account *a, struct account_settling *s)
{
        s->target = a->batches_made;
        list_append(&a->settling, &s->node);
        settle_those(a);
}

/* ---- watching --------------------------------------------------------------- */

static void settled(struct account_settling *s)
{
        struct mailbox_watch *w =
                (struct mailbox_watch *) (void *) ((char *) s -
                                                   offsetof(struct mailbox_watch, settling));

        w->is_settling = false;
        if (!w->is_lost)
                call(w, NULL);
}

int account_watch(struct account *a, uint64_t mailbox_id,
                  const struct mailbox_watch_handler *handler, void *arg,
                  struct mailbox_watch **ret_w)
{
        struct mailbox_watch *w;

        if (a->is_forgotten)
                return -ESTALE;
        if (!account_find_id(a, mailbox_id))
                return -ENOENT;
        w = calloc(1, sizeof(struct mailbox_watch));
        if (!w)
                return -ENOMEM;
        *w = (struct mailbox_watch) {.account = account_ref(a), .mailbox_id = mailbox_id,
                                     .handler = handler, .arg = arg, .is_settling = true,
                                     .settling = {.settled = settled}};
        list_append(&a->watches, &w->node);
        *ret_w = w;
        account_settle(a, &w->settling);
        return 0;
}

struct mailbox_watch *account_unwatch(struct mailbox_watch *w)
{
        if (!w)
                return NULL;
        list_remove(&w->node);
        if (w->is_settling)
                list_remove(&w->settling.node);
        w->is_done = true;
        if (!w->busy)
                watch_free(w);
        return NULL;
}
