#include "process/access/access_ahead.h"

#include <errno.h>
#include <stdlib.h>

#include "message/digest.h"
#include "process/access/access.h"
#include "process/access/access_body.h"
#include "process/access/access_session.h"
#include "store/store.h"

enum {
        RUN_MIN = 2,  /* so many in a row before more than one place is asked for */
        ASK_MIN = 16, /* then so many, and twice as many each time */
        GAP_MAX = 8192, /* octets between two bodies that are read along */
        HELD_MAX = 256 * 1024 * 1024, /* bytes of all sessions: above it no piece is read */
};

static void clear(struct access_places *p)
{
        free(p->items);
        *p = (struct access_places) {0};
}

static void drop_piece(struct access_ahead *a)
{
        a->session->access->body_bytes -= a->piece_room;
        free(a->piece);
        a->piece = NULL;
        a->piece_len = a->piece_room = 0;
}

struct access_ahead *access_ahead_free(struct access_session *s, struct access_ahead *a)
{
        if (!a)
                return NULL;
        a->asking = access_keeper_forget(&s->access->keeper, a->asking);
        a->opening = access_keeper_forget(&s->access->keeper, a->opening);
        clear(&a->now);
        clear(&a->next);
        drop_piece(a);
        free(a);
        return NULL;
}

/* ---- places ----------------------------------------------------------------------- */

static struct access_place *find_in(struct access_places *p, uint64_t blob_id)
{
        for (size_t i = p->at; i < p->count; i++) {
                if (p->items[i].blob_id == blob_id) {
                        p->at = i;
                        return &p->items[i];
                }
        }
        return NULL;
}

static struct access_place *find(struct access_ahead *a, uint64_t blob_id)
{
        struct access_place *p = find_in(&a->now, blob_id);

        if (p || !a->next.count)
                return p;
        p = find_in(&a->next, blob_id);
        if (p) {
                clear(&a->now);
                a->now = a->next;
                a->next = (struct access_places) {0};
        }
        return p;
}

static void take_places(struct access_ahead *a, const struct ipc_places *m)
{
        struct access_places *to = a->now.at < a->now.count ? &a->next : &a->now;
        struct reader each = ipc_items_read(m->places);
        struct ipc_place p;

        clear(to);
        to->items = calloc(m->places.count + 1, sizeof *to->items);
        while (to->items && ipc_next_place(&each, &p))
                to->items[to->count++] = (struct access_place) {
                        p.blob_id, p.segment, p.offset, p.size, p.checksum};
}

static void give(struct access_ahead *a, struct access_body *b);

static void got_places(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_ahead *a = arg;
        struct access_session *s = a->session;
        struct access_body *b = a->waiting;

        (void) type;
        (void) fd;
        a->asking = NULL;
        if (m && m->places.status == 0)
                take_places(a, &m->places);
        if (!b || a->opening)
                return;
        a->waiting = NULL;
        if (find(a, b->blob_id))
                give(a, b);
        else
                access_body_ask(s, b);
}

static size_t how_many(const struct access_ahead *a)
{
        size_t n = ASK_MIN;

        if (a->run < RUN_MIN)
                return 1;
        while (n < a->run && n < ACCESS_AHEAD_PLACES)
                n *= 2;
        return n;
}

/* Asks for the places of messages from this index on; of `blob_id` alone where
 * that is in no row. False: it could not be asked. */
static bool ask(struct access_ahead *a, const struct access_row *row, size_t index,
                uint64_t blob_id)
{
        struct access_keeper *k = &a->session->access->keeper;
        const uint64_t number = access_keeper_number(k);
        struct buffer memory = BUFFER_INIT(IPC_PAYLOAD_MAX);
        union ipc_message m = {.place_query = {.query = number}};
        const size_t many = how_many(a);
        int r = 0;

        if (blob_id)
                r = ipc_add_blob(&memory, &m.place_query.blobs, &(struct ipc_blob) {blob_id});
        for (size_t i = index + !!blob_id; r == 0 && row->index < row->count &&
             i < row->count && m.place_query.blobs.count < many; i++) {
                r = ipc_add_blob(&memory, &m.place_query.blobs,
                                 &(struct ipc_blob) {row->body_id(row->of, i)});
                a->asked = i + 1;
        }
        if (r == 0 && m.place_query.blobs.count)
                a->asking = access_keeper_ask(k, IPC_place_query, &m, number, got_places, a);
        buffer_done(&memory);
        return a->asking != NULL;
}

/* Half of the places were used: the next come while the other half is. */
static void ask_behind(struct access_ahead *a, const struct access_row *row)
{
        if (a->run >= RUN_MIN && !a->asking && !a->next.count && a->now.at >= a->now.count / 2 &&
            a->asked > row->index && a->asked < row->count)
                (void) ask(a, row, a->asked, 0);
}

/* ---- pieces of segments ------------------------------------------------------------ */

/* Octets from this place on that hold the bodies behind it too, where they lie
 * behind it. `is_end`: only what lies behind messages is needed, so that long ones
 * are not read along. */
static size_t piece_of(const struct access_ahead *a, const struct access_place *p, bool is_end)
{
        uint64_t end = p->offset + p->size;

        for (size_t i = a->now.at + 1; i < a->now.count; i++) {
                const struct access_place *q = &a->now.items[i];

                if (q->segment != p->segment || q->offset < end || q->offset - end > GAP_MAX ||
                    (is_end && q->size > GAP_MAX) ||
                    q->offset + q->size - p->offset > ACCESS_AHEAD_PIECE)
                        break;
                end = q->offset + q->size;
        }
        return (size_t) (end - p->offset);
}

static int read_piece(struct access_ahead *a, const struct access_place *p, bool is_end)
{
        struct access *access = a->session->access;
        const size_t len = piece_of(a, p, is_end);
        int64_t n;

        if (len > a->piece_room) {
                drop_piece(a);
                if (access->body_bytes + len > HELD_MAX)
                        return -EDQUOT;
                a->piece = malloc(len);
                if (!a->piece)
                        return -ENOMEM;
                a->piece_room = len;
                access->body_bytes += len;
        }
        a->piece_len = 0;
        n = access_segment_read(access, p->segment, p->offset, a->piece, len);
        if (n < 0)
                return (int) n;
        a->piece_len = (size_t) n;
        a->piece_segment = p->segment;
        a->piece_offset = p->offset;
        return a->piece_len < p->size ? -EAGAIN : 0; /* the rest is not in the cache */
}

/* The octets of this place, whatever they are by now. */
static int read_range(struct access_ahead *a, const struct access_place *p, bool is_end,
                      struct span *ret)
{
        int r = 0;

        if (p->segment != a->piece_segment || p->offset < a->piece_offset ||
            p->offset + p->size > a->piece_offset + a->piece_len)
                r = read_piece(a, p, is_end);
        if (r == 0)
                *ret = span_make(a->piece + (p->offset - a->piece_offset), (size_t) p->size);
        return r;
}

/* The octets of this place: in `ret` only if they are the body. */
static int read_place(struct access_ahead *a, const struct access_place *p, struct span *ret)
{
        struct span octets;
        const int r = read_range(a, p, false, &octets);

        if (r < 0)
                return r;
        if (store_blob_checksum(octets) != p->checksum)
                return -ESTALE;
        *ret = octets;
        return 0;
}

/* What lies behind the message there, if that is its digest. -ENOENT: it has none. */
static int read_digest(struct access_ahead *a, const struct access_place *p,
                       const struct access_body *b, struct span *ret)
{
        struct access_place end = *p;
        struct span octets;
        int r;

        if (p->size <= b->message_size || p->size - b->message_size > DIGEST_STORED_MAX)
                return -ENOENT;
        end.offset += b->message_size;
        end.size -= b->message_size;
        r = read_range(a, &end, true, &octets);
        if (r == 0 && digest_check(octets, b->blob_id) < 0)
                r = -ENOENT;
        if (r == 0)
                *ret = octets;
        return r;
}

static void segment_came(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_ahead *a = arg;
        struct access_session *s = a->session;
        struct access_body *b = a->waiting;

        (void) type;
        a->opening = NULL;
        a->waiting = NULL;
        if (m && m->segment_file.status == 0 && *fd >= 0)
                access_segment_opened(s->access, a->opening_segment, fd);
        if (access_segment_is_open(s->access, a->opening_segment) && find(a, b->blob_id))
                give(a, b);
        else
                access_body_ask(s, b);
}

/* It waits for the file of its segment. False: that could not be asked for. */
static bool open_segment(struct access_ahead *a, uint64_t segment, struct access_body *b)
{
        struct access_keeper *k = &a->session->access->keeper;
        const uint64_t number = access_keeper_number(k);
        const union ipc_message m = {.segment_query = {.query = number, .segment = segment}};

        a->opening_segment = segment;
        a->opening = access_keeper_ask(k, IPC_segment_query, &m, number, segment_came, a);
        if (a->opening)
                a->waiting = b;
        return a->opening != NULL;
}

/* Its place is known. */
static void give(struct access_ahead *a, struct access_body *b)
{
        struct access_session *s = a->session;
        const struct access_place *p = find(a, b->blob_id);
        int r = -ENOENT;

        if (p->segment && p->size && p->size <= IPC_BLOB_PART_MAX) {
                if (!access_segment_is_open(s->access, p->segment) &&
                    open_segment(a, p->segment, b))
                        return;
                r = b->wants_digest ? read_digest(a, p, b, &b->octets) : -ENOENT;
                b->is_digest = r == 0;
                b->wants_digest = b->wants_digest && r != -ENOENT;
                if (!b->is_digest && !b->wants_digest)
                        r = read_place(a, p, &b->octets);
        }
        if (r == -ESTALE) { /* so may be the others */
                clear(&a->now);
                clear(&a->next);
        }
        if (r == 0) {
                s->access->counters.bodies_read += !b->is_digest;
                b->is_borrowed = true;
                access_body_given(s, b, 0);
        } else {
                access_body_ask(s, b);
        }
}

/* ---- one body ------------------------------------------------------------------------ */

static void note(struct access_ahead *a, const struct access_row *row)
{
        if (row->index == a->last + 1)
                a->run++;
        else if (row->index != a->last)
                a->run = 0;
        a->last = row->index;
}

void access_ahead_get(struct access_session *s, struct access_ahead **ahead,
                      const struct access_row *row, struct access_body *b)
{
        struct access_ahead *a = *ahead;

        if (!a) {
                a = *ahead = calloc(1, sizeof *a);
                if (!a) {
                        access_body_ask(s, b);
                        return;
                }
                a->session = s;
                a->last = SIZE_MAX - 1;
        }
        note(a, row);
        if (find(a, b->blob_id)) {
                ask_behind(a, row);
                give(a, b);
        } else if (a->asking || ask(a, row, row->index, b->blob_id)) {
                a->waiting = b;
        } else {
                access_body_ask(s, b);
        }
}
