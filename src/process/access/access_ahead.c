#include "process/access/access_ahead.h"

#include <errno.h>
#include <stdlib.h>

#include "process/access/access.h"
#include "process/access/access_body.h"
#include "process/access/access_session.h"

enum {
        RUN_MIN = 2,                        /* so many in a row before any is asked for */
        HELD_MAX = 256 * 1024 * 1024,       /* bytes of all sessions: above it none is */
};

static void clear_slot(struct access_session *s, struct access_ahead_slot *slot)
{
        slot->order = access_keeper_forget(&s->access->keeper, slot->order);
        if (slot->octets) {
                s->access->body_bytes -= slot->len;
                free(slot->octets);
        }
        if (slot->blob_id)
                slot->ahead->used--;
        *slot = (struct access_ahead_slot) {.session = s};
}

struct access_ahead *access_ahead_free(struct access_session *s, struct access_ahead *ahead)
{
        if (!ahead)
                return NULL;
        for (size_t i = 0; i < ACCESS_AHEAD_SLOTS; i++)
                clear_slot(s, &ahead->slots[i]);
        free(ahead);
        return NULL;
}

/* The octets go to the body, which owns them from now on. */
static void give(struct access_session *s, struct access_ahead_slot *slot, struct access_body *b)
{
        b->octets = span_make(slot->octets, slot->len);
        b->size = slot->len;
        slot->octets = NULL;
        clear_slot(s, slot);
        access_body_given(s, b, 0);
}

static void answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_ahead_slot *slot = arg;
        struct access_session *s = slot->session;
        struct access_body *b = slot->waiting;
        const struct ipc_blob_octets *octets;

        (void) type;
        (void) fd;
        slot->order = NULL;
        slot->waiting = NULL;
        octets = m ? &m->blob_octets : NULL;
        if (octets && octets->status == 0 && octets->octets.len &&
            octets->octets.len == octets->size)
                slot->octets = malloc(octets->octets.len);
        slot->is_failed = !slot->octets;
        if (slot->octets) {
                memcpy(slot->octets, octets->octets.p, octets->octets.len);
                slot->len = octets->octets.len;
                s->access->body_bytes += slot->len;
        }
        if (!b)
                return;
        if (slot->octets) {
                give(s, slot, b);
        } else { /* asked for again in the ordinary way, which says what is wrong */
                clear_slot(s, slot);
                access_body_ask(s, b);
        }
}

static void ask(struct access_session *s, struct access_ahead *a, struct access_ahead_slot *slot,
                uint64_t blob_id)
{
        struct access_keeper *k = &s->access->keeper;
        const uint64_t number = access_keeper_number(k);
        const union ipc_message m = {.blob_query = {
                .query = number, .blob_id = blob_id, .len = ACCESS_AHEAD_SIZE_MAX}};

        slot->session = s;
        slot->ahead = a;
        slot->blob_id = blob_id;
        a->used++;
        slot->order = access_keeper_ask(k, IPC_blob_query, &m, number, answered, slot);
        if (!slot->order)
                clear_slot(s, slot);
}

/* Half of the slots at a time: so the questions leave together, and the answers
 * come together, instead of one for each message. */
static void ask_behind(struct access_session *s, struct access_ahead *a,
                       const struct imap_view *view)
{
        if (a->used > ACCESS_AHEAD_SLOTS / 2)
                return;
        if (a->asked <= a->last)
                a->asked = a->last + 1;
        for (size_t i = 0; i < ACCESS_AHEAD_SLOTS && a->asked < view->count; i++) {
                const struct imap_message *m;

                if (a->slots[i].blob_id)
                        continue;
                if (a->asked > a->last + ACCESS_AHEAD_SLOTS)
                        return;
                m = imap_view_at(view, a->asked++);
                if (m->size <= ACCESS_AHEAD_SIZE_MAX && m->body_id)
                        ask(s, a, &a->slots[i], m->body_id);
        }
}

/* What was asked for and passed over is of no use any more. */
static void restart(struct access_session *s, struct access_ahead *a)
{
        for (size_t i = 0; i < ACCESS_AHEAD_SLOTS; i++)
                clear_slot(s, &a->slots[i]);
        a->run = 0;
        a->asked = 0;
}

void access_ahead_look(struct access_session *s, struct access_ahead **ahead,
                       const struct imap_view *view, uint32_t uid)
{
        struct access_ahead *a = *ahead;
        size_t index;

        if (!view || !imap_view_message(view, uid, &index))
                return;
        if (!a) {
                a = *ahead = calloc(1, sizeof *a);
                if (!a)
                        return;
                a->last = index;
                return;
        }
        if (index == a->last)
                return; /* another part of the same */
        if (index == a->last + 1)
                a->run++;
        else
                restart(s, a);
        a->last = index;
        if (a->run >= RUN_MIN && s->access->body_bytes < HELD_MAX)
                ask_behind(s, a, view);
}

bool access_ahead_take(struct access_session *s, struct access_ahead *ahead,
                       struct access_body *b)
{
        for (size_t i = 0; ahead && i < ACCESS_AHEAD_SLOTS; i++) {
                struct access_ahead_slot *slot = &ahead->slots[i];

                if (slot->blob_id != b->blob_id)
                        continue;
                if (slot->is_failed) {
                        clear_slot(s, slot);
                        return false;
                }
                if (slot->octets)
                        give(s, slot, b);
                else
                        slot->waiting = b;
                return true;
        }
        return false;
}
