#include "process/edge/edge_admission.h"

#include "process/edge/edge.h"
#include "process/edge/edge_transaction.h"

static struct edge_place *place_of(struct list_node *node)
{
        return LIST_OBJECT(node, struct edge_place, node);
}

static void take(struct edge_admission *a, struct edge_place *p)
{
        p->is_taken = true;
        p->since_ms = loop_now_ms(a->edge->process->loop);
        list_append(&a->taken, &p->node);
        a->count++;
}

static void give_up(struct edge_admission *a, struct edge_place *p)
{
        list_remove(&p->node);
        p->is_taken = false;
        a->count--;
}

/* The slow ones go on without their places. */
static void take_back(struct edge_admission *a)
{
        const uint64_t now_ms = loop_now_ms(a->edge->process->loop);

        LIST_FOR_EACH(node, &a->taken) {
                struct edge_place *p = place_of(node);

                if (now_ms - p->since_ms < EDGE_ADMISSION_MS)
                        return;
                give_up(a, p);
        }
}

/* Those who go on may leave at once: they are admitted from the loop, not from within
 * each other. */
static void admit(struct deferred *d)
{
        struct edge_admission *a = LIST_OBJECT(d, struct edge_admission, turn);

        while (a->count < EDGE_ADMISSION_PLACES && !list_is_empty(&a->waiting)) {
                struct edge_place *p = place_of(list_take_first(&a->waiting));

                list_remove(&p->unsaid);
                take(a, p);
                edge_transaction_admitted(LIST_OBJECT(p, struct edge_transaction, place));
        }
        if (!list_is_empty(&a->waiting) && !timer_is_set(a->overdue))
                timer_set(a->overdue, EDGE_ADMISSION_MS);
}

/* Those who have waited for longer than a place is kept are told what is due to them. */
static void speak(struct edge_admission *a)
{
        const uint64_t now_ms = loop_now_ms(a->edge->process->loop);

        while (!list_is_empty(&a->unsaid)) {
                struct edge_place *p = LIST_OBJECT(a->unsaid.next, struct edge_place, unsaid);

                if (now_ms - p->since_ms < EDGE_ADMISSION_MS) {
                        timer_set(a->overdue, p->since_ms + EDGE_ADMISSION_MS - now_ms);
                        return;
                }
                list_remove(&p->unsaid);
                edge_transaction_speaks(LIST_OBJECT(p, struct edge_transaction, place));
        }
}

static void on_overdue(void *arg)
{
        struct edge_admission *a = arg;

        take_back(a);
        speak(a);
        loop_defer(a->edge->process->loop, &a->turn);
}

int edge_admission_init(struct edge_admission *a, struct edge *e)
{
        *a = (struct edge_admission) {.edge = e, .turn.run = admit};
        list_init(&a->taken);
        list_init(&a->waiting);
        list_init(&a->unsaid);
        return timer_new(e->process->loop, on_overdue, a, &a->overdue);
}

void edge_admission_done(struct edge_admission *a)
{
        deferred_cancel(&a->turn);
        a->overdue = timer_free(a->overdue);
}

bool edge_admission_enter(struct edge_admission *a, struct edge_place *p)
{
        if (a->count >= EDGE_ADMISSION_PLACES)
                take_back(a);
        if (a->count < EDGE_ADMISSION_PLACES && list_is_empty(&a->waiting)) {
                take(a, p);
                return true;
        }
        p->since_ms = loop_now_ms(a->edge->process->loop);
        list_append(&a->waiting, &p->node);
        list_append(&a->unsaid, &p->unsaid);
        if (!timer_is_set(a->overdue))
                timer_set(a->overdue, EDGE_ADMISSION_MS);
        return false;
}

void edge_admission_leave(struct edge_admission *a, struct edge_place *p)
{
        list_remove(&p->unsaid);
        if (p->is_taken)
                give_up(a, p);
        else
                list_remove(&p->node);
        if (!list_is_empty(&a->waiting))
                loop_defer(a->edge->process->loop, &a->turn);
}
