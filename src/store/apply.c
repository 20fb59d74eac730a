#include "store/apply.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "store/keys.h"

enum { SCRATCH_MAX = STORE_VALUE_MAX + 64, PLACE_OCTETS = 37, CHECKSUM_SEED = 1 };

/* How a blob stood before the commit under way changed it. */
struct blob_undo {
        size_t index;
        struct blob_place place;
};

struct apply *apply_new(struct index *index)
{
        struct apply *a = calloc(1, sizeof(struct apply));

        if (!a)
                return NULL;
        a->index = index;
        memset(a->newest, 0xff, sizeof a->newest); /* none is known to be new */
        a->scratch = BUFFER_INIT(SCRATCH_MAX);
        a->seed = hash_seed();
        for (size_t i = 0; i < APPLY_GROUPS; i++) {
                a->order[i] = &a->groups[i];
                overlay_init(&a->groups[i].overlay);
        }
        return a;
}

struct apply *apply_free(struct apply *a)
{
        if (!a)
                return NULL;
        for (size_t i = 0; i < APPLY_GROUPS; i++) {
                overlay_done(&a->groups[i].overlay);
                free(a->groups[i].blobs);
        }
        buffer_done(&a->scratch);
        free(a->undo);
        free(a);
        return NULL;
}

/* The n-th that is not forgotten, from the oldest on. */
static struct apply_group *group_at(struct apply *a, size_t n)
{
        return a->order[n];
}

static struct apply_group *open_group(struct apply *a)
{
        return group_at(a, a->closed_count);
}

/* A name in the partition of the record that is applied. */
static struct overlay_key hash_of_name(const struct apply *a, struct span name)
{
        return overlay_key_below(a->partition, name);
}

static struct overlay_key hash_of_blob(const struct apply *a, uint64_t blob_id)
{
        return overlay_key_of_words(blob_id, ~a->seed, a->seed); /* what no partition is */
}

/* What the newest group says that knows the key; which one that is. NULL: none. */
static struct apply_group *look_up(struct apply *a, struct overlay_key key,
                                   uint64_t *ret_value)
{
        for (size_t n = 0; n <= a->closed_count; n++)
                overlay_fetch(&group_at(a, n)->overlay, key);
        for (size_t n = a->closed_count + 1; n-- > 0;)
                if (overlay_get(&group_at(a, n)->overlay, key, ret_value))
                        return group_at(a, n);
        return NULL;
}

static bool note_newest(void *arg, struct span key, struct span value)
{
        (void) value;
        if (key.len == 9)
                *(uint64_t *) arg = key_get_u64(key.p + 1);
        return false;
}

int apply_learn_newest(struct apply *a)
{
        const char from = KEYS_BLOB, to = KEYS_BLOB + 1;
        const struct index_range blobs = {
                .from = span_make(&from, 1), .to = span_make(&to, 1), .is_reverse = true};
        uint64_t newest = 0;
        const int r = index_scan(a->index, &blobs, true, note_newest, &newest);

        for (size_t i = 0; i < ID_MAKERS && r == 0; i++)
                a->newest[i] = newest;
        return r;
}

void apply_begin_commit(struct apply *a)
{
        index_mark(a->index);
        overlay_mark(&open_group(a)->overlay);
        a->blob_mark = open_group(a)->blob_count;
        a->undo_count = 0;
        a->touched_count = 0;
}

void apply_abort_commit(struct apply *a)
{
        struct apply_group *g = open_group(a);

        index_rollback(a->index);
        overlay_rollback(&g->overlay);
        while (a->undo_count) {
                const struct blob_undo *u = &a->undo[--a->undo_count];

                g->blobs[u->index].place = u->place;
        }
        g->blob_count = a->blob_mark;
        if (a->touched_count > APPLY_TOUCHED)
                memset(a->cache, 0, sizeof a->cache);
        else
                while (a->touched_count)
                        a->cache[a->touched[--a->touched_count]] = (struct apply_cached) {0};
}

/* ---- sequences --------------------------------------------------------- */

static uint64_t word_of(const struct partition *p, size_t i)
{
        uint64_t word;

        memcpy(&word, p->octets + 8 * i, sizeof word);
        return word;
}

static struct overlay_key hash_of_partition(const struct apply *a, const struct partition *p)
{
        return overlay_key_of_words(word_of(p, 0), word_of(p, 1), a->seed);
}

static size_t place_in_cache(const struct partition *p)
{
        return word_of(p, 1) % APPLY_CACHE;
}

static struct apply_cached *cached(struct apply *a, const struct partition *p)
{
        return &a->cache[place_in_cache(p)];
}

void apply_fetch(const struct apply *a, const struct partition *p)
{
        const struct apply_cached *c = &a->cache[place_in_cache(p)];

        prefetch_to_write(c);
        prefetch_to_write((const char *) (c + 1) - 1); /* it may lie in two lines */
}

static void set_cached(struct apply *a, const struct partition *p, uint64_t sequence)
{
        struct apply_cached *c = cached(a, p);

        *c = (struct apply_cached) {*p, sequence};
        if (a->touched_count < APPLY_TOUCHED)
                a->touched[a->touched_count] = (size_t) (c - a->cache);
        if (a->touched_count <= APPLY_TOUCHED)
                a->touched_count++;
}

static bool is_same(const struct partition *a, const struct partition *b)
{
        return memcmp(a->octets, b->octets, sizeof a->octets) == 0;
}

static int find_sequence(struct apply *a, struct span key, const struct partition *p,
                         uint64_t *ret_sequence)
{
        struct apply_cached *c = cached(a, p);
        struct reader reader;
        int r;

        if (look_up(a, a->partition, ret_sequence))
                return 0;
        if (is_same(&c->partition, p)) {
                *ret_sequence = c->sequence;
                return 0;
        }
        r = index_get(a->index, key, true, &a->scratch);
        if (r == -ENOENT) {
                *ret_sequence = 0;
                return 0;
        }
        if (r < 0)
                return r;
        reader = READER(buffer_span(&a->scratch));
        *ret_sequence = read_u64(&reader);
        if (!read_is_complete(&reader))
                return -EBADMSG;
        c->partition = *p;
        c->sequence = *ret_sequence;
        return 0;
}

/* The cache is ahead of the index while a group is under way; a commit that is
 * taken back empties what it touched. */
static int advance_sequence(struct apply *a, const struct partition *p, uint64_t expected,
                            uint64_t *ret_sequence)
{
        char key_octets[KEYS_MAX];
        const struct span key = keys_of_partition(key_octets, KEYS_SEQUENCE, p, span_make(NULL, 0));
        uint64_t sequence, stored;
        int r = find_sequence(a, key, p, &sequence);

        if (r < 0)
                return r;
        if (expected != STORE_ANY_SEQUENCE && sequence != expected)
                return -ESTALE;
        sequence++;
        stored = htole64(sequence);
        r = overlay_set(&open_group(a)->overlay, a->partition, sequence);
        if (r == 0)
                r = index_put(a->index, key, span_make((const char *) &stored, sizeof stored));
        if (r == 0 && sequence == 1) /* its first */
                r = index_put(a->index, keys_of_listed(key_octets, p), span_make(NULL, 0));
        if (r == 0)
                set_cached(a, p, sequence);
        *ret_sequence = sequence;
        return r;
}

/* ---- blobs ------------------------------------------------------------- */

int apply_decode_place(struct span value, struct blob_place *ret_place)
{
        struct reader r = READER(value);

        ret_place->kind = read_u8(&r);
        ret_place->references = read_u32(&r);
        ret_place->segment = read_u64(&r);
        ret_place->offset = read_u64(&r);
        ret_place->size = read_u64(&r);
        ret_place->checksum = read_u64(&r);
        return read_is_complete(&r) ? 0 : -EBADMSG;
}

static struct span encode_place(char *out, const struct blob_place *p)
{
        const uint32_t references = htole32(p->references);
        const uint64_t numbers[] = {htole64(p->segment), htole64(p->offset), htole64(p->size),
                                    htole64(p->checksum)};

        out[0] = (char) p->kind;
        memcpy(out + 1, &references, sizeof references);
        memcpy(out + 5, numbers, sizeof numbers);
        return span_make(out, PLACE_OCTETS);
}

int apply_find_blob(struct index *index, uint64_t blob_id, bool may_block, struct buffer *scratch,
                    struct blob_place *ret_place)
{
        char key[KEYS_MAX];
        int r = index_get(index, keys_of_number(key, KEYS_BLOB, blob_id), may_block, scratch);

        return r < 0 ? r : apply_decode_place(buffer_span(scratch), ret_place);
}

uint64_t apply_checksum(struct span octets)
{
        return hash_span(octets, CHECKSUM_SEED);
}

static int add_blob(struct apply_group *g, struct overlay_key hash,
                    const struct blob_change *change)
{
        if (g->blob_count == g->blob_room) {
                const size_t room = g->blob_room ? g->blob_room * 2 : 64;
                struct blob_change *grown = realloc(g->blobs, room * sizeof(struct blob_change));

                if (!grown)
                        return -ENOMEM;
                g->blobs = grown;
                g->blob_room = room;
        }
        g->blobs[g->blob_count] = *change;
        return overlay_set(&g->overlay, hash, g->blob_count++);
}

/* Its place in the open group's blobs, which it gets when that had not touched it. */
static int find_blob(struct apply *a, uint64_t blob_id, size_t *ret_index)
{
        const struct overlay_key hash = hash_of_blob(a, blob_id);
        struct blob_change change = {.id = blob_id};
        struct apply_group *g;
        uint64_t at;
        int r = 0;

        g = look_up(a, hash, &at);
        if (g == open_group(a)) {
                *ret_index = (size_t) at;
                return 0;
        }
        if (g && g->blobs[at].place.references == 0)
                r = -ENOENT;
        else if (g)
                change.place = g->blobs[at].place;
        else
                r = apply_find_blob(a->index, blob_id, true, &a->scratch, &change.place);
        if (r < 0)
                return r;
        change.before = change.place.references;
        if (change.place.kind == BLOB_IN_SEGMENT)
                change.segment_before = change.place.segment;
        *ret_index = open_group(a)->blob_count;
        return add_blob(open_group(a), hash, &change);
}

/* Old blobs may be changed by commits that are taken back later. */
static int remember_blob(struct apply *a, size_t index)
{
        if (a->undo_count == a->undo_room) {
                const size_t room = a->undo_room ? a->undo_room * 2 : 16;
                struct blob_undo *grown = realloc(a->undo, room * sizeof(struct blob_undo));

                if (!grown)
                        return -ENOMEM;
                a->undo = grown;
                a->undo_room = room;
        }
        a->undo[a->undo_count++] = (struct blob_undo) {
                index, open_group(a)->blobs[index].place};
        return 0;
}

static int put_blob(struct apply *a, const struct batch_op *op, struct span record,
                    struct record_place at)
{
        const struct overlay_key hash = hash_of_blob(a, op->number);
        struct blob_change change = {.id = op->number};
        uint64_t *newest = &a->newest[id_maker_number(op->number)];
        size_t index;
        int r = -ENOENT;

        overlay_fetch(&open_group(a)->overlay, hash); /* while the body is summed */

        /* Each maker's ids grow, so that hardly any needs to be looked for. */
        if (op->number > *newest)
                *newest = op->number;
        else
                r = find_blob(a, op->number, &index);
        if (r == 0 || op->count == 0)
                return r == 0 ? -EEXIST : -EINVAL;
        if (r != -ENOENT)
                return r;
        change.place.references = (uint32_t) op->count;
        change.place.size = op->size;
        if (op->kind == BATCH_BLOB_PUT) {
                change.place.kind = BLOB_IN_SEGMENT;
                change.place.segment = at.segment;
                change.place.offset = at.offset + (uint64_t) (op->value.p - record.p);
                change.place.checksum = apply_checksum(op->value);
        } else {
                change.place.kind = BLOB_IN_FILE;
        }
        return add_blob(open_group(a), hash, &change);
}

static int reference_blob(struct apply *a, const struct batch_op *op)
{
        struct blob_place *place;
        int64_t references;
        size_t index;
        int r = find_blob(a, op->number, &index);

        if (r < 0)
                return r;
        place = &open_group(a)->blobs[index].place;
        if (place->references == 0)
                return -ENOENT; /* gone within this group */
        references = (int64_t) place->references + op->count;
        if (references < 0 || references > UINT32_MAX)
                return -EINVAL;
        if (index < a->blob_mark)
                r = remember_blob(a, index);
        if (r == 0)
                place->references = (uint32_t) references;
        return r;
}

/* What became of the body since it was copied decides: nothing is moved that is
 * gone, and a copy that is not the body it was is left where it lies. */
static int move_blob(struct apply *a, const struct batch_op *op, struct span record,
                     struct record_place at)
{
        struct blob_place *place;
        size_t index;
        int r = find_blob(a, op->number, &index);

        if (r < 0)
                return r == -ENOENT ? 0 : r;
        place = &open_group(a)->blobs[index].place;
        if (place->references == 0 || place->kind != BLOB_IN_SEGMENT ||
            place->size != op->value.len ||
            place->checksum != apply_checksum(op->value))
                return 0;
        if (index < a->blob_mark)
                r = remember_blob(a, index);
        if (r < 0)
                return r;
        place = &open_group(a)->blobs[index].place;
        place->segment = at.segment;
        place->offset = at.offset + (uint64_t) (op->value.p - record.p);
        return 0;
}

/* ---- keys -------------------------------------------------------------- */

enum { KEY_ABSENT, KEY_PRESENT };

static int require_absent(struct apply *a, const struct partition *p, struct span name)
{
        char octets[KEYS_MAX];
        const struct span key = keys_of_partition(octets, KEYS_DATA, p, name);
        const struct overlay_key hash = hash_of_name(a, name);
        uint64_t state;
        int r;

        if (look_up(a, hash, &state))
                return state == KEY_PRESENT ? -EEXIST : 0;
        r = index_get(a->index, key, true, &a->scratch);
        if (r == 0)
                return -EEXIST;
        return r == -ENOENT ? 0 : r;
}

static bool span_is_less(struct span a, struct span b)
{
        const size_t n = a.len < b.len ? a.len : b.len;
        const int c = n ? memcmp(a.p, b.p, n) : 0;

        return c ? c < 0 : a.len < b.len;
}

static bool note_removed(void *arg, struct span key, struct span value)
{
        struct apply *a = arg;
        const struct overlay_key hash = hash_of_name(a, span_skip(key, KEYS_HEAD));

        (void) value;
        return overlay_set(&open_group(a)->overlay, hash, KEY_ABSENT) == 0;
}

/* Keys that groups not yet in the index put into the range are in their overlays by
 * hash only, so they cannot be found there by range: such a mix is left to the driver,
 * which ends the group before a batch with a range, and forgets all groups first
 * (apply_record's caller sees BATCH_HAS_RANGE). */
static int remove_range(struct apply *a, const struct partition *p, const struct batch_op *op)
{
        char from_octets[KEYS_MAX], to_octets[KEYS_MAX];
        const struct index_range range = {
                .from = keys_of_partition(from_octets, KEYS_DATA, p, op->key),
                .to = keys_of_partition(to_octets, KEYS_DATA, p,
                                        span_first(op->value, STORE_KEY_MAX)),
        };
        int r;

        if (op->value.len == 0 || !span_is_less(op->key, op->value))
                return 0;
        r = index_scan(a->index, &range, true, note_removed, a);
        return r < 0 ? r : index_remove_range(a->index, range.from, range.to);
}

static int apply_change(struct apply *a, const struct partition *p, const struct batch_op *op)
{
        struct overlay *const overlay = &open_group(a)->overlay;
        char octets[KEYS_MAX];
        const struct span key = keys_of_partition(octets, KEYS_DATA, p, op->key);
        const struct overlay_key hash = hash_of_name(a, op->key);
        int r;

        overlay_fetch(overlay, hash);
        if (op->kind == BATCH_PUT_NEW)
                r = index_put_new(a->index, key, op->value);
        else if (op->kind == BATCH_PUT)
                r = index_put(a->index, key, op->value);
        else
                r = index_remove(a->index, key);
        return r < 0 ? r : overlay_set(overlay, hash,
                                       op->kind == BATCH_DELETE ? KEY_ABSENT : KEY_PRESENT);
}

static int apply_key_op(struct apply *a, const struct partition *p, const struct batch_op *op)
{
        switch (op->kind) {
        case BATCH_REQUIRE_ABSENT:
                return require_absent(a, p, op->key);
        case BATCH_DELETE_RANGE:
                return remove_range(a, p, op);
        default:
                return apply_change(a, p, op);
        }
}

int apply_record(struct apply *a, struct span record, uint64_t expected_sequence,
                 struct record_place place, uint64_t *ret_sequence)
{
        struct batch_view view;
        struct batch_op op;
        struct span whole;
        int r = batch_open(&record, &view, &whole);

        if (r < 0)
                return r;
        a->partition = hash_of_partition(a, &view.partition);
        r = advance_sequence(a, &view.partition, expected_sequence, ret_sequence);
        while (r == 0 && batch_next(&view, &op)) {
                if (op.kind == BATCH_BLOB_PUT || op.kind == BATCH_BLOB_ADOPT)
                        r = put_blob(a, &op, whole, place);
                else if (op.kind == BATCH_BLOB_REFERENCE)
                        r = reference_blob(a, &op);
                else if (op.kind == BATCH_BLOB_MOVE)
                        r = move_blob(a, &op, whole, place);
                else if (op.kind != BATCH_TRACE)
                        r = apply_key_op(a, &view.partition, &op);
        }
        return r == 0 && view.ops.failed ? -EBADMSG : r;
}

int apply_end_group(struct apply *a)
{
        const struct apply_group *g = open_group(a);
        char key_octets[KEYS_MAX], place[PLACE_OCTETS];
        int r = 0;

        for (size_t i = 0; i < g->blob_count && r == 0; i++) {
                const struct blob_change *c = &g->blobs[i];
                const struct span key = keys_of_number(key_octets, KEYS_BLOB, c->id);

                if (c->place.references && !c->before)
                        r = index_put_new(a->index, key, encode_place(place, &c->place));
                else if (c->place.references)
                        r = index_put(a->index, key, encode_place(place, &c->place));
                else if (c->before)
                        r = index_remove(a->index, key);
        }
        return r;
}

struct apply_group *apply_close_group(struct apply *a)
{
        struct apply_group *g = open_group(a);

        assert(a->closed_count + 1 < APPLY_GROUPS);
        a->closed_count++;
        a->blob_mark = a->undo_count = 0;
        return g;
}

static void clear_group(struct apply_group *g)
{
        overlay_clear(&g->overlay);
        g->blob_count = 0;
}

void apply_forget_open(struct apply *a)
{
        clear_group(open_group(a));
        a->blob_mark = a->undo_count = 0;
        buffer_shrink(&a->scratch, 4096);
}

void apply_forget_group(struct apply *a)
{
        struct apply_group *forgotten;

        if (a->closed_count == 0) {
                apply_forget_open(a);
                return;
        }
        forgotten = a->order[0];
        clear_group(forgotten);
        memmove(a->order, a->order + 1, a->closed_count * sizeof a->order[0]);
        a->order[a->closed_count--] = forgotten; /* behind the open one */
}
