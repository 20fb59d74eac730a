#include "wire/imap/imap_thread.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Nodes are counted from 1, so that zeroed memory says "none". */
typedef uint32_t node_ref;
enum { NONE = 0, BLOCK = 1024 };

struct imap_thread_node {
        struct imap_thread_message m; /* of a dummy: its first child's, but for the id */
        uint64_t id; /* by which it is found; 0: by none */
        node_ref parent, first_child, last_child, next;
        unsigned child_count;
        bool is_message; /* else a dummy: only referred to */
        bool is_left_out;
        bool is_opened; /* written with a parenthesis of its own */
};

static struct imap_thread_node *at(const struct imap_threads *t, node_ref n)
{
        return &t->blocks[(n - 1) / BLOCK][(n - 1) % BLOCK];
}

/* ---- nodes and ids --------------------------------------------------------------- */

static bool new_block(struct imap_threads *t)
{
        if (t->block_count == t->block_room) {
                const size_t room = t->block_room ? 2 * t->block_room : 16;
                struct imap_thread_node **grown = arena_alloc(t->arena, room * sizeof(void *));

                if (!grown)
                        return false;
                if (t->block_count)
                        memcpy(grown, t->blocks, t->block_count * sizeof(void *));
                t->blocks = grown;
                t->block_room = room;
        }
        t->blocks[t->block_count] = arena_alloc(t->arena, BLOCK * sizeof *t->blocks[0]);
        return t->blocks[t->block_count] && ++t->block_count;
}

static node_ref new_node(struct imap_threads *t)
{
        if (t->count == t->block_count * BLOCK && !new_block(t))
                return NONE;
        return (node_ref) ++t->count;
}

static void put_slot(struct imap_threads *t, uint64_t id, node_ref n)
{
        size_t i = (size_t) id & (t->slot_count - 1);

        while (t->slots[i] != NONE)
                i = (i + 1) & (t->slot_count - 1);
        t->slots[i] = n;
        t->used_slots++;
}

static bool grow_slots(struct imap_threads *t)
{
        const size_t count = t->slot_count ? 2 * t->slot_count : 128;
        uint32_t *slots = arena_alloc(t->arena, count * sizeof *slots);

        if (!slots)
                return false;
        t->slots = slots;
        t->slot_count = count;
        t->used_slots = 0;
        for (node_ref n = 1; n <= t->count; n++)
                if (at(t, n)->id)
                        put_slot(t, at(t, n)->id, n);
        return true;
}

static node_ref find(const struct imap_threads *t, uint64_t id)
{
        if (t->slot_count == 0)
                return NONE;
        for (size_t i = (size_t) id & (t->slot_count - 1); t->slots[i] != NONE;
             i = (i + 1) & (t->slot_count - 1))
                if (at(t, t->slots[i])->id == id)
                        return t->slots[i];
        return NONE;
}

/* A node that is found by `id` from now on. */
static node_ref new_named(struct imap_threads *t, uint64_t id)
{
        node_ref n;

        if (2 * (t->used_slots + 1) > t->slot_count && !grow_slots(t))
                return NONE;
        n = new_node(t);
        if (n != NONE) {
                at(t, n)->id = id;
                put_slot(t, id, n);
        }
        return n;
}

/* ---- linking --------------------------------------------------------------------- */

/* Would `child` become its own ancestor? Nobody is below one without children,
 * so that a mailbox read in order costs nothing here. */
static bool makes_loop(struct imap_threads *t, node_ref parent, node_ref child)
{
        if (parent == child)
                return true;
        if (at(t, child)->child_count == 0)
                return false;
        for (node_ref n = parent; n != NONE; n = at(t, n)->parent)
                if (n == child || ++t->steps > IMAP_THREAD_STEPS_MAX)
                        return true;
        return false;
}

static void set_parent(struct imap_threads *t, node_ref child, node_ref parent)
{
        struct imap_thread_node *c = at(t, child);

        if (c->parent != NONE)
                at(t, c->parent)->child_count--;
        c->parent = parent;
        if (parent != NONE)
                at(t, parent)->child_count++;
}

/* Step 1 A: each id is the parent of the next, where that has none yet.
 * Returns the last one. */
static int link_references(struct imap_threads *t, const uint64_t *references, size_t count,
                           node_ref *ret_last)
{
        node_ref before = NONE;

        for (size_t i = 0; i < count; i++) {
                node_ref n = find(t, references[i]);

                if (n == NONE) {
                        if (t->unseen >= IMAP_THREAD_UNSEEN_MAX)
                                continue;
                        n = new_named(t, references[i]);
                        if (n == NONE)
                                return -ENOMEM;
                        t->unseen++;
                }
                if (before != NONE && at(t, n)->parent == NONE && !makes_loop(t, before, n))
                        set_parent(t, n, before);
                before = n;
        }
        *ret_last = before;
        return 0;
}

int imap_thread_add(struct imap_threads *t, const struct imap_thread_message *m,
                    const uint64_t *references, size_t count)
{
        node_ref n = m->id ? find(t, m->id) : NONE, parent;
        int r;

        if (n == NONE && m->id)
                n = new_named(t, m->id);
        else if (n == NONE || at(t, n)->is_message)
                n = new_node(t); /* an id that another one has counts as none */
        else
                t->unseen--;
        if (n == NONE)
                return -ENOMEM;
        at(t, n)->m = *m;
        at(t, n)->is_message = true;
        r = link_references(t, references, count, &parent);
        if (r < 0)
                return r;
        /* Step 1 B: what a message says of itself weighs more than what others do. */
        if (parent != NONE && makes_loop(t, parent, n))
                parent = NONE;
        if (parent != NONE || count == 0)
                set_parent(t, n, parent);
        return 0;
}

/* ---- dummies (steps 3 and 4) ------------------------------------------------------- */

/* The nearest message above, or the dummy at the root. Dummies passed on the
 * way are made to point there. */
static node_ref top_of(struct imap_threads *t, node_ref n)
{
        node_ref top = n;

        while (!at(t, top)->is_message && at(t, top)->parent != NONE)
                top = at(t, top)->parent;
        while (n != top) {
                const node_ref next = at(t, n)->parent;

                at(t, n)->parent = top;
                n = next;
        }
        return top;
}

static void count_children(struct imap_threads *t)
{
        for (node_ref i = 1; i <= t->count; i++)
                at(t, i)->child_count = 0;
        for (node_ref i = 1; i <= t->count; i++)
                if (at(t, i)->is_message && at(t, i)->parent != NONE)
                        at(t, at(t, i)->parent)->child_count++;
}

static void prune(struct imap_threads *t)
{
        for (node_ref i = 1; i <= t->count; i++)
                if (at(t, i)->is_message && at(t, i)->parent != NONE)
                        at(t, i)->parent = top_of(t, at(t, i)->parent);
        count_children(t);
        for (node_ref i = 1; i <= t->count; i++) {
                struct imap_thread_node *n = at(t, i);

                if (n->is_message && n->parent != NONE && !at(t, n->parent)->is_message
                    && at(t, n->parent)->child_count == 1)
                        n->parent = NONE;
        }
        for (node_ref i = 1; i <= t->count; i++) {
                struct imap_thread_node *n = at(t, i);

                n->is_left_out = !n->is_message && n->child_count < 2;
                if (!n->is_message)
                        n->parent = NONE;
        }
}

static bool is_before(const struct imap_thread_node *a, const struct imap_thread_node *b)
{
        return a->m.sent_at != b->m.sent_at ? a->m.sent_at < b->m.sent_at
                                            : a->m.number < b->m.number;
}

/* A dummy stands where its first child would, and has its subject. */
static void date_dummies(struct imap_threads *t)
{
        for (node_ref i = 1; i <= t->count; i++)
                if (!at(t, i)->is_message)
                        at(t, i)->m.number = 0;
        for (node_ref i = 1; i <= t->count; i++) {
                const struct imap_thread_node *n = at(t, i);
                struct imap_thread_node *dummy;

                if (!n->is_message || n->parent == NONE)
                        continue;
                dummy = at(t, n->parent);
                if (!dummy->is_message && (dummy->m.number == 0 || is_before(n, dummy)))
                        dummy->m = n->m;
        }
}

/* ---- order ------------------------------------------------------------------------- */

static int compare_sent(const void *x, const void *y, void *arg)
{
        const struct imap_threads *t = arg;
        const struct imap_thread_node *a = at(t, *(const node_ref *) x),
                                      *b = at(t, *(const node_ref *) y);

        return is_before(b, a) - is_before(a, b);
}

static int compare_subject(const void *x, const void *y, void *arg)
{
        const struct imap_threads *t = arg;
        const struct imap_thread_node *a = at(t, *(const node_ref *) x),
                                      *b = at(t, *(const node_ref *) y);

        if (a->m.subject != b->m.subject)
                return a->m.subject < b->m.subject ? -1 : 1;
        return compare_sent(x, y, arg);
}

/* All nodes that are written, in order; NULL: no memory. */
static node_ref *sorted(struct imap_threads *t, size_t *ret_count,
                        int (*compare)(const void *, const void *, void *))
{
        node_ref *order = arena_alloc(t->arena, (t->count + 1) * sizeof *order);
        size_t n = 0;

        if (!order)
                return NULL;
        for (node_ref i = 1; i <= t->count; i++)
                if (!at(t, i)->is_left_out)
                        order[n++] = i;
        if (n)
                qsort_r(order, n, sizeof *order, compare, t);
        *ret_count = n;
        return order;
}

/* ---- subjects (step 5, and ORDEREDSUBJECT) -------------------------------------------- */

struct subjects {
        node_ref *slots;
        size_t slot_count;
};

/* The place of a subject: the node there has it, or there is none. */
static node_ref *subject_slot(const struct imap_threads *t, struct subjects *s, uint64_t subject)
{
        size_t i = (size_t) subject & (s->slot_count - 1);

        while (s->slots[i] != NONE && at(t, s->slots[i])->m.subject != subject)
                i = (i + 1) & (s->slot_count - 1);
        return &s->slots[i];
}

static bool is_root(const struct imap_threads *t, node_ref n)
{
        return at(t, n)->parent == NONE && !at(t, n)->is_left_out;
}

/* Steps 5 A and B: of the roots with one subject, the one that leads. */
static void lead(const struct imap_threads *t, struct subjects *s, node_ref n)
{
        const struct imap_thread_node *current = at(t, n), *other;
        node_ref *slot;

        if (current->m.subject == 0)
                return;
        slot = subject_slot(t, s, current->m.subject);
        other = *slot != NONE ? at(t, *slot) : NULL;
        if (!other || (!current->is_message && other->is_message)
            || (other->is_message && other->m.is_reply && current->is_message
                && !current->m.is_reply))
                *slot = n;
}

/* Step 5 C for one root. Children of a dummy that is merged are moved later, by
 * the dummy's own parent. */
static int merge(struct imap_threads *t, struct subjects *s, node_ref n)
{
        const uint64_t subject = at(t, n)->m.subject;
        node_ref *slot, leader, dummy;

        if (subject == 0)
                return 0;
        slot = subject_slot(t, s, subject);
        leader = *slot;
        if (leader == n || leader == NONE)
                return 0;
        if (!at(t, leader)->is_message) {
                at(t, n)->parent = leader;
                at(t, n)->is_left_out = !at(t, n)->is_message;
                return 0;
        }
        if (at(t, n)->m.is_reply && !at(t, leader)->m.is_reply) {
                at(t, n)->parent = leader;
                return 0;
        }
        dummy = new_node(t);
        if (dummy == NONE)
                return -ENOMEM;
        at(t, dummy)->m = at(t, leader)->m;
        at(t, leader)->parent = dummy;
        at(t, n)->parent = dummy;
        *slot = dummy;
        return 0;
}

static int gather_subjects(struct imap_threads *t)
{
        struct subjects s = {.slot_count = 64};
        size_t count;
        node_ref *order = sorted(t, &count, compare_sent);
        int r = 0;

        while (s.slot_count < 2 * count)
                s.slot_count *= 2;
        s.slots = arena_alloc(t->arena, s.slot_count * sizeof *s.slots);
        if (!order || !s.slots)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                if (is_root(t, order[i]))
                        lead(t, &s, order[i]);
        for (size_t i = 0; i < count && r == 0; i++)
                if (is_root(t, order[i]))
                        r = merge(t, &s, order[i]);
        for (node_ref i = 1; i <= t->count; i++) {
                struct imap_thread_node *n = at(t, i);

                if (n->is_message && n->parent != NONE && at(t, n->parent)->is_left_out)
                        n->parent = at(t, n->parent)->parent;
        }
        return r;
}

/* The first of a subject is the parent of the others (RFC 5256 section 3). */
static int group_subjects(struct imap_threads *t)
{
        size_t count;
        node_ref *order, first = NONE;

        for (node_ref i = 1; i <= t->count; i++) {
                at(t, i)->parent = NONE;
                at(t, i)->is_left_out = !at(t, i)->is_message;
        }
        order = sorted(t, &count, compare_subject);
        if (!order)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++) {
                if (first != NONE && at(t, first)->m.subject == at(t, order[i])->m.subject)
                        at(t, order[i])->parent = first;
                else
                        first = order[i];
        }
        return 0;
}

/* ---- writing ------------------------------------------------------------------------ */

/* Hangs the nodes, in order, below their parents; roots below `root`. */
static void hang(struct imap_threads *t, const node_ref *order, size_t count, node_ref root)
{
        for (size_t i = 0; i < count; i++) {
                struct imap_thread_node *n = at(t, order[i]), *parent;

                if (order[i] == root)
                        continue;
                if (n->parent == NONE)
                        n->parent = root;
                parent = at(t, n->parent);
                if (parent->last_child != NONE)
                        at(t, parent->last_child)->next = order[i];
                else
                        parent->first_child = order[i];
                parent->last_child = order[i];
                parent->child_count++;
        }
}

/* The latest arrival in each root's thread goes into its sent_at, for REFS. The
 * walk goes down and up again without recursion: threads may be as deep as a
 * mailbox is long. */
static void date_roots_by_arrival(struct imap_threads *t, node_ref root)
{
        for (node_ref top = at(t, root)->first_child; top != NONE; top = at(t, top)->next) {
                int64_t latest = INT64_MIN;
                node_ref n = top;

                for (;;) {
                        if (at(t, n)->is_message && at(t, n)->m.arrived_at > latest)
                                latest = at(t, n)->m.arrived_at;
                        if (at(t, n)->first_child != NONE) {
                                n = at(t, n)->first_child;
                                continue;
                        }
                        while (n != top && at(t, n)->next == NONE)
                                n = at(t, n)->parent;
                        if (n == top)
                                break;
                        n = at(t, n)->next;
                }
                at(t, top)->m.sent_at = latest;
        }
}

static void sort_roots(struct imap_threads *t, node_ref root, node_ref *room)
{
        size_t count = 0;

        for (node_ref n = at(t, root)->first_child; n != NONE; n = at(t, n)->next)
                room[count++] = n;
        if (count == 0)
                return;
        qsort_r(room, count, sizeof *room, compare_sent, t);
        at(t, root)->first_child = room[0];
        for (size_t i = 0; i < count; i++)
                at(t, room[i])->next = i + 1 < count ? room[i + 1] : NONE;
}

/* Before a node: its parenthesis, where it stands beside others or at the root,
 * else the blank behind its parent; then its number. */
static int open_node(struct imap_threads *t, node_ref n, node_ref root, struct buffer *out)
{
        struct imap_thread_node *node = at(t, n);
        const struct imap_thread_node *parent = at(t, node->parent);
        int r = 0;

        node->is_opened = node->parent == root || parent->child_count > 1;
        if (parent->is_message && parent->first_child == n)
                r = buffer_append(out, " ", 1);
        if (r == 0 && node->is_opened)
                r = buffer_append(out, "(", 1);
        if (r == 0 && node->is_message)
                r = buffer_printf(out, "%u", node->m.number);
        return r;
}

static int write_all(struct imap_threads *t, node_ref root, struct buffer *out)
{
        node_ref n = at(t, root)->first_child;

        while (n != NONE) {
                int r = open_node(t, n, root, out);

                if (r < 0)
                        return r;
                if (at(t, n)->first_child != NONE) {
                        n = at(t, n)->first_child;
                        continue;
                }
                while (n != root) {
                        if (at(t, n)->is_opened && (r = buffer_append(out, ")", 1)) < 0)
                                return r;
                        if (at(t, n)->next != NONE)
                                break;
                        n = at(t, n)->parent;
                }
                n = n == root ? NONE : at(t, n)->next;
        }
        return 0;
}

int imap_thread_format(struct imap_threads *t, enum imap_thread_kind kind, struct buffer *out)
{
        node_ref root, *order;
        size_t count;
        int r = 0;

        if (kind == IMAP_THREAD_ORDEREDSUBJECT) {
                r = group_subjects(t);
        } else {
                prune(t);
                date_dummies(t);
                if (kind == IMAP_THREAD_REFERENCES)
                        r = gather_subjects(t);
                date_dummies(t);
        }
        root = r == 0 ? new_node(t) : NONE;
        if (root == NONE)
                return r < 0 ? r : -ENOMEM;
        order = sorted(t, &count, compare_sent);
        if (!order)
                return -ENOMEM;
        for (node_ref i = 1; i <= t->count; i++)
                at(t, i)->child_count = 0;
        hang(t, order, count, root);
        if (kind == IMAP_THREAD_REFS) {
                date_roots_by_arrival(t, root);
                sort_roots(t, root, order);
        }
        return write_all(t, root, out);
}
