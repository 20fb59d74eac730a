#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "store/driver.h"
#include "store/keys.h"

enum {
        POOL_MAX = 128,
        POOL_ROOM_MAX = 16 * 1024, /* a batch that grew larger gives its memory back */
        ROOM_FIRST = 1024,
        RECORD_MAX = STORE_BATCH_MAX + BATCH_HEAD,
        DESCRIPTION_MAX = 4096,
};

/* memcpy() asks for pointers even when there is nothing to copy. */
static void encode_octets(char *out, struct span s)
{
        if (s.len)
                memcpy(out, s.p, s.len);
}

static void encode_parts(char *out, const struct span *parts, size_t part_count)
{
        for (size_t i = 0; i < part_count; out += parts[i].len, i++)
                encode_octets(out, parts[i]);
}

struct store_batch *store_batch_new(struct store *s, const struct partition *p,
                                    uint64_t expected_sequence)
{
        struct list_node *pooled = list_take_first(&s->batch_pool);
        struct store_batch *b;
        char *head;

        if (pooled) {
                b = LIST_OBJECT(pooled, struct store_batch, node);
                s->batch_pool_len--;
        } else {
                b = calloc(1, sizeof(struct store_batch));
                if (!b)
                        return NULL;
                b->record = BUFFER_INIT(RECORD_MAX);
                if (buffer_reserve(&b->record, ROOM_FIRST, &head) < 0) {
                        free(b);
                        return NULL;
                }
        }
        b->store = s;
        b->expected_sequence = expected_sequence;
        b->blob_at = b->blob_len = 0;
        b->trace_at = BATCH_HEAD;
        b->has = b->more_owners = 0;
        b->ended = NULL;
        b->error = buffer_reserve(&b->record, BATCH_HEAD, &head);
        assert(b->error == 0); /* a pooled batch keeps ROOM_FIRST at least */
        memset(head, 0, BATCH_HEAD);
        memcpy(head + BATCH_PARTITION_AT, p->octets, sizeof p->octets);
        buffer_commit(&b->record, BATCH_HEAD);
        return b;
}

void store_batch_on_end(struct store_batch *b, void (*ended)(void *arg, int result), void *arg)
{
        assert(!b->ended);
        b->ended = ended;
        b->ended_arg = arg;
}

void batch_end(struct store_batch *b, int result)
{
        void (*const ended)(void *arg, int result) = b->ended;

        b->ended = NULL;
        if (ended)
                ended(b->ended_arg, result);
}

struct store_batch *store_batch_free(struct store_batch *b)
{
        struct store *s;

        if (!b)
                return NULL;
        if (b->more_owners) {
                b->more_owners--;
                return NULL;
        }
        batch_end(b, -ECANCELED);
        s = b->store;
        if (s->batch_pool_len < POOL_MAX && b->record.room <= POOL_ROOM_MAX) {
                buffer_clear(&b->record);
                list_prepend(&s->batch_pool, &b->node);
                s->batch_pool_len++;
        } else {
                buffer_done(&b->record);
                free(b);
        }
        return NULL;
}

struct store_batch *store_batch_ref(struct store_batch *b)
{
        b->more_owners++;
        return b;
}

struct span store_batch_blob(const struct store_batch *b)
{
        return span_make(b->record.data + b->record.start + b->blob_at, b->blob_len);
}

size_t store_batch_memory(const struct store_batch *b)
{
        return sizeof *b + b->record.room;
}

/* Room for an operation of `n` octets behind its kind, or NULL: remembered. */
static char *add(struct store_batch *b, enum batch_op_kind kind, size_t n)
{
        char *p = NULL;
        int r = b->error ? b->error : buffer_reserve(&b->record, n + 1, &p);

        if (r < 0) {
                b->error = r == -EMSGSIZE ? -E2BIG : r;
                return NULL;
        }
        buffer_commit(&b->record, n + 1);
        p[0] = (char) kind;
        return p + 1;
}

static bool is_too_big(struct store_batch *b, struct span s, size_t max)
{
        if (s.len > max && !b->error)
                b->error = -E2BIG;
        return s.len > max;
}

/* Each part, or all of them together. */
static bool is_any_too_big(struct store_batch *b, const struct span *parts, size_t part_count,
                           size_t max, size_t *ret_size)
{
        size_t size = 0;

        for (size_t i = 0; i < part_count; i++) {
                if (is_too_big(b, parts[i], max))
                        return true;
                size += parts[i].len;
        }
        *ret_size = size;
        return is_too_big(b, span_make(NULL, size), max);
}

static void add_put(struct store_batch *b, enum batch_op_kind kind, struct span key,
                    struct span value)
{
        char *p;

        if (is_too_big(b, key, STORE_KEY_MAX) || is_too_big(b, value, STORE_VALUE_MAX))
                return;
        p = add(b, kind, 6 + key.len + value.len);
        if (!p)
                return;
        codec_put_u16(p, (uint16_t) key.len);
        encode_octets(p + 2, key);
        codec_put_u32(p + 2 + key.len, (uint32_t) value.len);
        encode_octets(p + 6 + key.len, value);
}

void store_put(struct store_batch *b, struct span key, struct span value)
{
        add_put(b, BATCH_PUT, key, value);
}

void store_put_new(struct store_batch *b, struct span key, struct span value)
{
        add_put(b, BATCH_PUT_NEW, key, value);
}

static void add_key(struct store_batch *b, enum batch_op_kind kind, struct span key)
{
        char *p = is_too_big(b, key, STORE_KEY_MAX) ? NULL : add(b, kind, 2 + key.len);

        if (!p)
                return;
        codec_put_u16(p, (uint16_t) key.len);
        encode_octets(p + 2, key);
}

void store_delete(struct store_batch *b, struct span key)
{
        add_key(b, BATCH_DELETE, key);
}

void store_require_absent(struct store_batch *b, struct span key)
{
        add_key(b, BATCH_REQUIRE_ABSENT, key);
}

void store_delete_range(struct store_batch *b, struct span from, struct span to)
{
        char *p;

        if (is_too_big(b, from, STORE_KEY_MAX) || is_too_big(b, to, STORE_KEY_MAX))
                return;
        p = add(b, BATCH_DELETE_RANGE, 6 + from.len + to.len);
        if (!p)
                return;
        b->has |= BATCH_HAS_RANGE;
        codec_put_u16(p, (uint16_t) from.len);
        encode_octets(p + 2, from);
        codec_put_u32(p + 2 + from.len, (uint32_t) to.len);
        encode_octets(p + 6 + from.len, to);
}

void store_blob_put(struct store_batch *b, uint64_t blob_id, uint32_t references,
                    struct span description, const struct span *parts, size_t part_count)
{
        size_t size = 0;
        char *p;

        assert(references >= 1);
        if (is_any_too_big(b, parts, part_count, STORE_BATCH_MAX, &size) ||
            is_too_big(b, description, DESCRIPTION_MAX))
                return;
        p = add(b, BATCH_BLOB_PUT, 18 + description.len + size);
        if (!p)
                return;
        b->has |= BATCH_HAS_BLOB;
        codec_put_u64(p, blob_id);
        codec_put_u32(p + 8, references);
        codec_put_u16(p + 12, (uint16_t) description.len);
        encode_octets(p + 14, description);
        p += 14 + description.len;
        codec_put_u32(p, (uint32_t) size);
        encode_parts(p + 4, parts, part_count);
        b->blob_at = b->record.len - size;
        b->blob_len = size;
}

void store_blob_adopt(struct store_batch *b, uint64_t blob_id, uint32_t references,
                      struct span description)
{
        char *p = is_too_big(b, description, DESCRIPTION_MAX)
                          ? NULL
                          : add(b, BATCH_BLOB_ADOPT, 22 + description.len);

        assert(references >= 1);
        if (!p)
                return;
        b->has |= BATCH_HAS_BLOB | BATCH_HAS_ADOPT;
        codec_put_u64(p, blob_id);
        codec_put_u32(p + 8, references);
        codec_put_u16(p + 12, (uint16_t) description.len);
        encode_octets(p + 14, description);
        codec_put_u64(p + 14 + description.len, 0); /* batch_set_adopted_size() */
}

void batch_blob_move(struct store_batch *b, uint64_t blob_id, struct span description,
                     struct span octets)
{
        char *p = add(b, BATCH_BLOB_MOVE, 14 + description.len + octets.len);

        if (!p)
                return;
        codec_put_u64(p, blob_id);
        codec_put_u16(p + 8, (uint16_t) description.len);
        encode_octets(p + 10, description);
        p += 10 + description.len;
        codec_put_u32(p, (uint32_t) octets.len);
        encode_octets(p + 4, octets);
}

void store_blob_reference(struct store_batch *b, uint64_t blob_id, int delta)
{
        char *p = add(b, BATCH_BLOB_REFERENCE, 12);

        if (!p)
                return;
        codec_put_u64(p, blob_id);
        codec_put_u32(p + 8, (uint32_t) delta);
}

void store_trace(struct store_batch *b, const struct span *keys, size_t key_count,
                 struct span record)
{
        store_trace_parts(b, keys, key_count, &record, 1);
}

void store_trace_parts(struct store_batch *b, const struct span *keys, size_t key_count,
                       const struct span *parts, size_t part_count)
{
        size_t size = 0;
        char *p;

        assert(key_count <= STORE_TRACE_KEYS_MAX);
        if (is_any_too_big(b, parts, part_count, STORE_VALUE_MAX, &size))
                return;
        p = add(b, BATCH_TRACE, 5 + 8 * key_count + size);
        if (!p)
                return;
        if (!(b->has & BATCH_HAS_TRACE))
                b->trace_at = (size_t) (p - 1 - b->record.data) - b->record.start;
        b->has |= BATCH_HAS_TRACE;
        *p++ = (char) key_count;
        for (size_t i = 0; i < key_count; i++, p += 8)
                codec_put_u64(p, hash_span(keys[i], b->store->trace_seed));
        codec_put_u32(p, (uint32_t) size);
        encode_parts(p + 4, parts, part_count);
}

void batch_seal(struct store_batch *b, uint64_t now_us)
{
        char *head = b->record.data + b->record.start;

        codec_put_u32(head, (uint32_t) b->record.len);
        codec_put_u64(head + BATCH_TIME_AT, now_us);
}

void batch_set_sequence(struct store_batch *b, uint64_t sequence)
{
        codec_put_u64(b->record.data + b->record.start + BATCH_SEQUENCE_AT, sequence);
}

void batch_set_number(struct store_batch *b, uint32_t number)
{
        codec_put_u32(b->record.data + b->record.start + 4, number);
}

uint32_t batch_number(struct span in)
{
        struct reader r = READER(in);
        uint32_t number;

        read_u32(&r);
        number = read_u32(&r);
        return r.failed ? UINT32_MAX : number;
}

int batch_open(struct span *in, struct batch_view *ret_view, struct span *ret_record)
{
        struct reader r = READER(*in);
        const uint32_t len = read_u32(&r);
        struct span partition;

        read_u32(&r);
        partition = read_raw(&r, sizeof ret_view->partition.octets);
        if (r.failed || len < BATCH_HEAD || len > in->len)
                return -EBADMSG;
        memcpy(ret_view->partition.octets, partition.p, partition.len);
        ret_view->sequence = read_u64(&r);
        ret_view->time_us = read_u64(&r);
        if (r.failed)
                return -EBADMSG;
        *ret_record = span_first(*in, len);
        ret_view->ops = READER(span_skip(*ret_record, BATCH_HEAD));
        *in = span_skip(*in, len);
        return 0;
}

static void read_blob(struct reader *r, struct batch_op *op)
{
        op->number = read_u64(r);
        op->count = read_u32(r);
        op->key = read_raw(r, read_u16(r));
        if (op->kind == BATCH_BLOB_PUT) {
                op->value = read_raw(r, read_u32(r));
                op->size = op->value.len;
        } else {
                op->size = read_u64(r);
        }
}

bool batch_next(struct batch_view *v, struct batch_op *ret_op)
{
        struct reader *r = &v->ops;

        if (r->failed || r->rest.len == 0)
                return false;
        *ret_op = (struct batch_op) {.kind = read_u8(r)};
        switch (ret_op->kind) {
        case BATCH_PUT:
        case BATCH_PUT_NEW:
        case BATCH_DELETE_RANGE:
                ret_op->key = read_raw(r, read_u16(r));
                ret_op->value = read_raw(r, read_u32(r));
                break;
        case BATCH_DELETE:
        case BATCH_REQUIRE_ABSENT:
                ret_op->key = read_raw(r, read_u16(r));
                break;
        case BATCH_BLOB_PUT:
        case BATCH_BLOB_ADOPT:
                read_blob(r, ret_op);
                break;
        case BATCH_BLOB_MOVE:
                ret_op->number = read_u64(r);
                ret_op->key = read_raw(r, read_u16(r));
                ret_op->value = read_raw(r, read_u32(r));
                ret_op->size = ret_op->value.len;
                break;
        case BATCH_BLOB_REFERENCE:
                ret_op->number = read_u64(r);
                ret_op->count = (int32_t) read_u32(r);
                break;
        case BATCH_TRACE:
                ret_op->count = read_u8(r);
                ret_op->hashes = read_raw(r, 8 * (size_t) ret_op->count);
                ret_op->value = read_raw(r, read_u32(r));
                break;
        default:
                r->failed = true;
        }
        if ((ret_op->kind <= BATCH_REQUIRE_ABSENT || ret_op->kind == BATCH_PUT_NEW) &&
            ret_op->key.len > STORE_KEY_MAX)
                r->failed = true;
        return !r->failed;
}

uint64_t batch_hash(const struct batch_op *op, size_t i)
{
        return codec_get_u64(op->hashes.p + 8 * i);
}

void batch_set_adopted_size(struct store_batch *b, uint64_t blob_id, uint64_t size)
{
        struct span in = buffer_span(&b->record), record;
        struct batch_view view;
        struct batch_op op;

        if (batch_open(&in, &view, &record) < 0)
                return;
        while (batch_next(&view, &op)) {
                if (op.kind == BATCH_BLOB_ADOPT && op.number == blob_id) {
                        /* The size is what ends the operation. */
                        const size_t end = (size_t) (record.len - view.ops.rest.len);

                        codec_put_u64(b->record.data + b->record.start + end - 8, size);
                }
        }
}
