#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "store/apply.h"
#include "store/driver.h"
#include "store/query.h"

enum { COMMIT_POOL_MAX = 128 };

static const struct store_driver *const drivers[] = {&store_mem_driver, &store_local_driver};

struct partition partition_of(enum partition_kind kind, struct span name)
{
        unsigned char digest[SHA256_DIGEST_LENGTH];
        struct partition p;

        SHA256((const unsigned char *) (name.p ? name.p : ""), name.len, digest);
        memcpy(p.octets, digest, sizeof p.octets);
        p.octets[0] = (unsigned char) kind;
        return p;
}

int store_open(const char *uri, const struct store_options *options, struct loop *loop,
               struct store **ret_store, char *error)
{
        static const struct store_options defaults = {.directory_fd = -1};
        const struct span whole = span_from_string(uri);

        for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
                const struct span scheme = span_from_string(drivers[i]->scheme);

                if (whole.len > scheme.len && uri[scheme.len] == ':' &&
                    span_equal(span_first(whole, scheme.len), scheme))
                        return drivers[i]->open(uri + scheme.len + 1, options ? options : &defaults,
                                                loop, ret_store, error);
        }
        snprintf(error, 256, "%.200s: a store is local:DIRECTORY or mem:", uri);
        return -EINVAL;
}

void store_init(struct store *s, const struct store_driver *driver, struct loop *loop)
{
        s->driver = driver;
        s->loop = loop;
        list_init(&s->batch_pool);
        list_init(&s->commit_pool);
}

void store_done(struct store *s)
{
        struct list_node *node;

        while ((node = list_take_first(&s->batch_pool))) {
                struct store_batch *b = LIST_OBJECT(node, struct store_batch, node);

                buffer_done(&b->record);
                free(b);
        }
        while ((node = list_take_first(&s->commit_pool)))
                free(LIST_OBJECT(node, struct commit, node));
}

struct store *store_close(struct store *s)
{
        if (s)
                s->driver->close(s);
        return NULL;
}

enum store_state store_state(const struct store *s)
{
        return s->driver->state(s);
}

const char *store_failure(const struct store *s)
{
        if (s->driver->state(s) != STORE_FAILED)
                return "";
        return s->driver->failure ? s->driver->failure(s) : "a failure was asked for";
}

bool store_has_atomic_group(const struct store *s)
{
        return s->driver->has_atomic_group;
}

static struct commit *commit_new(struct store *s, size_t batch_count)
{
        struct list_node *pooled = list_take_first(&s->commit_pool);
        struct commit *c;

        if (pooled) {
                c = LIST_OBJECT(pooled, struct commit, node);
                s->commit_pool_len--;
        } else {
                c = calloc(1, sizeof(struct commit));
                if (!c)
                        return NULL;
        }
        *c = (struct commit) {.batches = c->few, .batch_count = batch_count};
        if (batch_count > DRIVER_COMMIT_BATCHES) {
                c->batches = calloc(batch_count, sizeof(struct store_batch *));
                if (!c->batches) {
                        free(c);
                        return NULL;
                }
        }
        return c;
}

static void commit_free(struct store *s, struct commit *c)
{
        if (c->batches != c->few)
                free(c->batches);
        if (s->commit_pool_len >= COMMIT_POOL_MAX) {
                free(c);
                return;
        }
        list_prepend(&s->commit_pool, &c->node);
        s->commit_pool_len++;
}

void store_commit_done(struct store *s, struct commit *c, int result)
{
        void (*const done)(void *arg, int result) = c->done;
        void *const arg = c->arg;

        for (size_t i = 0; i < c->batch_count; i++) {
                batch_end(c->batches[i], result);
                store_batch_free(c->batches[i]);
        }
        commit_free(s, c);
        done(arg, result);
}

void store_commit(struct store *s, struct store_batch **batches, size_t batch_count,
                  unsigned flags, void (*done)(void *arg, int result), void *arg)
{
        struct commit *c = commit_new(s, batch_count);
        const uint64_t now_us = loop_wall_us(s->loop);

        assert(batch_count >= 1);
        assert(batch_count == 1 || store_has_atomic_group(s));
        if (!c) {
                for (size_t i = 0; i < batch_count; i++)
                        store_batch_free(batches[i]);
                done(arg, -ENOMEM);
                return;
        }
        c->flags = flags;
        c->done = done;
        c->arg = arg;
        for (size_t i = 0; i < batch_count; i++) {
                struct store_batch *b = batches[i];

                batch_seal(b, now_us);
                c->batches[i] = b;
                c->has |= b->has;
                c->size += b->record.len;
                if (b->error && !c->result)
                        c->result = b->error;
        }
        s->driver->commit(s, c);
}

void store_trace_lazily(struct store *s, const struct span *keys, size_t key_count,
                        struct span record)
{
        static const struct partition nobody;
        struct store_batch *b = store_batch_new(s, &nobody, STORE_ANY_SEQUENCE);

        if (!b)
                return;
        store_trace(b, keys, key_count, record);
        batch_seal(b, clock_now_us());
        if (b->error)
                store_batch_free(b);
        else
                s->driver->trace_lazily(s, b);
}

/* A question that cannot even be asked is answered here, empty. */
static void ask(struct store *s, struct query *q, int result)
{
        if (result < 0) {
                q->result = result;
                query_done(q);
        } else {
                s->driver->query(s, q);
        }
}

void store_get(struct store *s, const struct partition *p, struct span key, store_get_fn *done,
               void *arg)
{
        struct query *q = query_new(QUERY_GET, p, arg);

        if (!q) {
                done(arg, -ENOMEM, span_make(NULL, 0), 0);
                return;
        }
        q->done.get = done;
        ask(s, q, key.len > STORE_KEY_MAX ? -ENOENT : query_set_range(q, key, span_make(NULL, 0)));
}

void store_scan(struct store *s, const struct partition *p, const struct store_range *range,
                store_scan_fn *done, void *arg)
{
        struct query *q = query_new(QUERY_SCAN, p, arg);

        if (!q) {
                done(arg, -ENOMEM, NULL, 0, false);
                return;
        }
        q->done.scan = done;
        q->limit = range->limit < STORE_SCAN_MAX ? range->limit : STORE_SCAN_MAX;
        q->is_reverse = range->is_reverse;
        ask(s, q, query_set_range(q, range->from, range->to));
}

void store_partitions(struct store *s, const struct partition *behind, size_t limit,
                      store_partitions_fn *done, void *arg)
{
        struct query *q = query_new(QUERY_PARTITIONS, behind, arg);

        if (!q) {
                done(arg, -ENOMEM, NULL, 0, false);
                return;
        }
        q->done.partitions = done;
        q->limit = limit < STORE_SCAN_MAX ? limit : STORE_SCAN_MAX;
        ask(s, q, query_set_range(q, span_make(NULL, 0), span_make(NULL, 0)));
}

void store_blob_read(struct store *s, uint64_t blob_id, uint64_t offset, size_t len,
                     store_blob_fn *done, void *arg)
{
        struct query *q = query_new(QUERY_BLOB, NULL, arg);

        if (!q) {
                done(arg, -ENOMEM, span_make(NULL, 0), 0);
                return;
        }
        q->done.blob = done;
        q->number = blob_id;
        q->offset = offset;
        q->limit = len;
        ask(s, q, 0);
}

void store_blob_places(struct store *s, const uint64_t *blob_ids, size_t count,
                       store_places_fn *done, void *arg)
{
        struct query *q = query_new(QUERY_PLACES, NULL, arg);

        if (q)
                q->own = calloc(count + 1, sizeof(struct store_place));
        if (!q || !q->own || count > STORE_PLACES_MAX) {
                done(arg, count > STORE_PLACES_MAX ? -E2BIG : -ENOMEM, NULL, 0);
                query_free(q);
                return;
        }
        q->done.places = done;
        q->limit = count;
        for (size_t i = 0; i < count; i++)
                query_places(q)[i].blob_id = blob_ids[i];
        ask(s, q, 0);
}

uint64_t store_blob_checksum(struct span octets)
{
        return apply_checksum(octets);
}

int store_segment_open(struct store *s, uint64_t segment, int *ret_fd)
{
        return s->driver->segment_open ? s->driver->segment_open(s, segment, ret_fd) : -ENOENT;
}

void store_trace_find(struct store *s, struct span key, size_t limit, store_trace_fn *done,
                      void *arg)
{
        struct query *q = query_new(QUERY_TRACE, NULL, arg);

        if (!q) {
                done(arg, -ENOMEM, NULL, 0);
                return;
        }
        q->done.trace = done;
        q->number = hash_span(key, s->trace_seed);
        q->limit = limit < STORE_SCAN_MAX ? limit : STORE_SCAN_MAX;
        ask(s, q, 0);
}

void store_backup_begin(struct store *s, store_backup_fn *done, void *arg)
{
        struct query *q = query_new(QUERY_BACKUP, NULL, arg);

        if (!q) {
                done(arg, -ENOMEM, NULL, 0);
                return;
        }
        q->done.backup = done;
        ask(s, q, 0);
}

void store_backup_end(struct store *s)
{
        if (s->driver->backup_end)
                s->driver->backup_end(s);
}

int store_blob_lend(struct store *s, uint64_t blob_id, int *ret_fd)
{
        return s->driver->blob_lend(s, blob_id, ret_fd);
}

void store_blob_return(struct store *s, uint64_t blob_id)
{
        s->driver->blob_return(s, blob_id);
}

int store_blob_open(struct store *s, uint64_t blob_id, int *ret_fd, uint64_t *ret_size)
{
        return s->driver->blob_open(s, blob_id, ret_fd, ret_size);
}

void store_get_metrics(const struct store *s, struct store_metrics *ret)
{
        *ret = (struct store_metrics) {0};
        s->driver->metrics(s, ret);
}
