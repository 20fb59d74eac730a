#include "store/query.h"

#include <errno.h>
#include <stdlib.h>

#include "store/keys.h"

enum {
        QUERY_OCTETS_MAX = 64 * 1024 * 1024, /* a page of 1000 entries is rarely 1 MiB */
        QUERY_PAGE_OCTETS = 4 * 1024 * 1024, /* a page ends early once it is so large */
};

struct query *query_new(enum query_kind kind, const struct partition *p, void *arg)
{
        struct query *q = calloc(1, sizeof(struct query));

        if (!q)
                return NULL;
        q->kind = kind;
        if (p)
                q->partition = *p;
        q->arg = arg;
        q->octets = BUFFER_INIT(QUERY_OCTETS_MAX);
        return q;
}

struct query *query_free(struct query *q)
{
        if (!q)
                return NULL;
        buffer_done(&q->octets);
        free(q->entries);
        free(q->own);
        free(q);
        return NULL;
}

/* The least key greater than every key that starts with the `len` octets. */
static struct span successor(char *key, size_t len)
{
        while (len && (unsigned char) key[len - 1] == 0xff)
                len--;
        if (len)
                key[len - 1]++;
        return span_make(key, len);
}

int query_set_range(struct query *q, struct span from, struct span to)
{
        static const char letters[] = {
                [QUERY_GET] = KEYS_DATA,
                [QUERY_SCAN] = KEYS_DATA,
        };
        char *second;

        q->own = malloc((size_t) 2 * KEYS_MAX);
        if (!q->own)
                return -ENOMEM;
        second = q->own + KEYS_MAX;
        if (q->kind == QUERY_PARTITIONS) {
                q->from = keys_of_listed(q->own, &q->partition);
                keys_of_listed(second, &q->partition);
                q->to = successor(second, 1);
                return 0;
        }
        from = span_first(from, STORE_KEY_MAX);
        to = span_first(to, STORE_KEY_MAX);
        q->from = keys_of_partition(q->own, letters[q->kind], &q->partition, from);
        q->to = keys_of_partition(second, letters[q->kind], &q->partition, to);
        if (to.len == 0)
                q->to = successor(second, KEYS_HEAD);
        return 0;
}

int query_give_entry(struct query *q, struct span key, struct span value)
{
        struct query_entry *e;
        int r;

        if (q->entry_count == q->entry_room) {
                const size_t room = q->entry_room ? q->entry_room * 2 : 16;

                e = realloc(q->entries, room * sizeof(struct query_entry));
                if (!e)
                        return -ENOMEM;
                q->entries = e;
                q->entry_room = room;
        }
        e = &q->entries[q->entry_count];
        e->key_at = q->octets.len;
        e->key_len = key.len;
        e->value_at = q->octets.len + key.len;
        e->value_len = value.len;
        r = buffer_append_span(&q->octets, key);
        if (r == 0)
                r = buffer_append_span(&q->octets, value);
        if (r == 0)
                q->entry_count++;
        return r;
}

/* One entry of the index; false ends the scan, with `result` set if that was
 * for want of memory. */
static bool visit(void *arg, struct span key, struct span value)
{
        struct query *q = arg;
        const struct span tail = span_skip(key, q->kind == QUERY_PARTITIONS ? 1 : KEYS_HEAD);

        if (q->kind == QUERY_PARTITIONS && span_equal(key, q->from))
                return true; /* `behind` itself */
        if (q->entry_count >= q->limit || q->octets.len >= QUERY_PAGE_OCTETS) {
                q->has_more = true;
                return false;
        }
        q->result = query_give_entry(q, tail, value);
        return q->result == 0;
}

static int run_get(struct query *q, struct index *index, bool may_block)
{
        char key[KEYS_MAX];
        int r;

        /* The sequence first: should the partition change between the two
         * reads, the value is newer than the sequence, and a commit that
         * relies on them is refused instead of losing an update. */
        r = index_get(index, keys_of_partition(key, KEYS_SEQUENCE, &q->partition,
                                               span_make(NULL, 0)),
                      may_block, &q->octets);
        if (r == 0 && q->octets.len == 8) {
                struct reader reader = READER(buffer_span(&q->octets));

                q->answer = read_u64(&reader);
                r = index_get(index, q->from, may_block, &q->octets);
        }
        if (r < 0)
                buffer_clear(&q->octets);
        return r;
}

int query_run(struct query *q, struct index *index, bool may_block)
{
        const struct index_range range = {.from = q->from, .to = q->to,
                                          .is_reverse = q->is_reverse,
                                          .limit = q->kind == QUERY_SCAN ? q->limit + 1 : 0};
        int r;

        q->result = 0;
        q->entry_count = 0;
        q->has_more = false;
        q->answer = 0;
        buffer_clear(&q->octets);
        if (q->kind == QUERY_GET)
                r = run_get(q, index, may_block);
        else
                r = index_scan(index, &range, may_block, visit, q);
        if (r < 0)
                q->result = r;
        return r == -EAGAIN ? r : 0;
}

static struct span octets_at(const struct query *q, size_t at, size_t len)
{
        return span_make(len ? q->octets.data + q->octets.start + at : NULL, len);
}

static void done_scan(struct query *q)
{
        struct store_entry *entries = calloc(q->entry_count + 1, sizeof(struct store_entry));

        if (!entries || q->result < 0) {
                q->done.scan(q->arg, q->result < 0 ? q->result : -ENOMEM, NULL, 0, false);
                free(entries);
                return;
        }
        for (size_t i = 0; i < q->entry_count; i++) {
                const struct query_entry *e = &q->entries[i];

                entries[i].key = octets_at(q, e->key_at, e->key_len);
                entries[i].value = octets_at(q, e->value_at, e->value_len);
        }
        q->done.scan(q->arg, 0, entries, q->entry_count, q->has_more);
        free(entries);
}

static void done_partitions(struct query *q)
{
        struct partition *partitions = calloc(q->entry_count + 1, sizeof(struct partition));

        if (!partitions || q->result < 0) {
                q->done.partitions(q->arg, q->result < 0 ? q->result : -ENOMEM, NULL, 0, false);
                free(partitions);
                return;
        }
        for (size_t i = 0; i < q->entry_count; i++)
                memcpy(partitions[i].octets,
                       octets_at(q, q->entries[i].key_at, sizeof partitions[i].octets).p,
                       sizeof partitions[i].octets);
        q->done.partitions(q->arg, 0, partitions, q->entry_count, q->has_more);
        free(partitions);
}

int query_give_file(struct query *q, const struct store_backup_file *file)
{
        struct buffer value = BUFFER_INIT(4096);
        int r = write_u64(&value, file->size);

        if (r == 0)
                r = buffer_append_span(&value, file->to);
        if (r == 0)
                r = query_give_entry(q, file->path, buffer_span(&value));
        buffer_done(&value);
        return r;
}

static void done_backup(struct query *q)
{
        struct store_backup_file *files = calloc(q->entry_count + 1, sizeof *files);

        if (!files || q->result < 0) {
                q->done.backup(q->arg, q->result < 0 ? q->result : -ENOMEM, NULL, 0);
                free(files);
                return;
        }
        for (size_t i = 0; i < q->entry_count; i++) {
                const struct query_entry *e = &q->entries[i];
                struct reader r = READER(octets_at(q, e->value_at, e->value_len));

                files[i].path = octets_at(q, e->key_at, e->key_len);
                files[i].size = read_u64(&r);
                files[i].to = r.rest;
        }
        q->done.backup(q->arg, 0, files, q->entry_count);
        free(files);
}

static void done_trace(struct query *q)
{
        struct span *records = calloc(q->entry_count + 1, sizeof(struct span));

        if (!records || q->result < 0) {
                q->done.trace(q->arg, q->result < 0 ? q->result : -ENOMEM, NULL, 0);
                free(records);
                return;
        }
        for (size_t i = 0; i < q->entry_count; i++)
                records[i] = octets_at(q, q->entries[i].value_at, q->entries[i].value_len);
        q->done.trace(q->arg, 0, records, q->entry_count);
        free(records);
}

void query_done(struct query *q)
{
        switch (q->kind) {
        case QUERY_GET:
                q->done.get(q->arg, q->result, buffer_span(&q->octets), q->answer);
                break;
        case QUERY_SCAN:
                done_scan(q);
                break;
        case QUERY_PARTITIONS:
                done_partitions(q);
                break;
        case QUERY_BLOB:
                q->done.blob(q->arg, q->result, buffer_span(&q->octets), q->answer);
                break;
        case QUERY_PLACES:
                q->done.places(q->arg, q->result, query_places(q), q->result < 0 ? 0 : q->limit);
                break;
        case QUERY_TRACE:
                done_trace(q);
                break;
        case QUERY_BACKUP:
                done_backup(q);
                break;
        }
        query_free(q);
}
