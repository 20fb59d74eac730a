#include "store/index.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Small on purpose: at rest the whole mail system shall fit in 40 MiB. */
enum {
        WRITE_BUFFER = 8 * 1024 * 1024,
        WRITE_BUFFERS = 3,
        LEVEL_BASE = 64 * 1024 * 1024,
        BLOCK_CACHE = 4 * 1024 * 1024,
        OPEN_FILES = 128,
        LOG_LEVEL_FATAL = 4,
        TIER_CACHE_ONLY = 1,
        TIER_FLUSHED = 2,
        COMPRESSION_LZ4 = 4,
        BLOOM_BITS = 10,
};

struct index_rocksdb {
        struct index index;
        rocksdb_t *db;
        rocksdb_options_t *options;
        rocksdb_writeoptions_t *write_options;
        rocksdb_flushoptions_t *flush_options;
        rocksdb_readoptions_t *read, *read_cached, *read_flushed;
        rocksdb_cache_t *cache;
        rocksdb_writebatch_t *batch;
        bool has_mark;
};

static struct index_rocksdb *rocksdb_of(struct index *i)
{
        return (struct index_rocksdb *) i;
}

/* The C interface has no codes, only text. Takes `text`. */
static int result_of(char *text)
{
        int r;

        if (!text)
                return 0;
        r = strstr(text, "Incomplete") || strstr(text, "incomplete") ? -EAGAIN
            : strncmp(text, "Corruption", 10) == 0                    ? -EBADMSG
                                                                      : -EIO;
        rocksdb_free(text);
        return r;
}

static int get_with(struct index_rocksdb *x, rocksdb_readoptions_t *options, struct span key,
                    struct buffer *ret_value)
{
        char *error = NULL;
        rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(x->db, options, key.p, key.len, &error);
        struct span value;
        int r;

        if (error)
                return result_of(error);
        if (!slice)
                return -ENOENT;
        value.p = rocksdb_pinnableslice_value(slice, &value.len);
        buffer_clear(ret_value);
        r = buffer_append_span(ret_value, value);
        rocksdb_pinnableslice_destroy(slice);
        return r;
}

static int rdb_get(struct index *i, struct span key, bool may_block, struct buffer *ret_value)
{
        struct index_rocksdb *x = rocksdb_of(i);

        return get_with(x, may_block ? x->read : x->read_cached, key, ret_value);
}

static int rdb_get_flushed(struct index *i, struct span key, struct buffer *ret_value)
{
        return get_with(rocksdb_of(i), rocksdb_of(i)->read_flushed, key, ret_value);
}

static int compare(struct span a, struct span b)
{
        const size_t n = a.len < b.len ? a.len : b.len;
        const int c = n ? memcmp(a.p, b.p, n) : 0;

        return c ? c : (a.len > b.len) - (a.len < b.len);
}

static void seek(rocksdb_iterator_t *it, const struct index_range *range)
{
        struct span key;

        if (!range->is_reverse) {
                rocksdb_iter_seek(it, range->from.p, range->from.len);
                return;
        }
        rocksdb_iter_seek_for_prev(it, range->to.p, range->to.len);
        if (!rocksdb_iter_valid(it))
                return;
        key.p = rocksdb_iter_key(it, &key.len);
        if (compare(key, range->to) == 0)
                rocksdb_iter_prev(it);
}

static bool is_in(struct span key, const struct index_range *range)
{
        return range->is_reverse ? compare(key, range->from) >= 0 : compare(key, range->to) < 0;
}

/* Of one scan: its bounds are in them. */
static rocksdb_readoptions_t *options_new(const struct index_range *range, bool may_block)
{
        rocksdb_readoptions_t *options = rocksdb_readoptions_create();

        if (!may_block)
                rocksdb_readoptions_set_read_tier(options, TIER_CACHE_ONLY);
        if (range->is_once)
                rocksdb_readoptions_set_fill_cache(options, 0);
        /* Without a bound, a range with nothing in it costs as much as there were
         * deletions behind it: all of them are stepped over, up to a live entry. */
        if (range->is_reverse)
                rocksdb_readoptions_set_iterate_lower_bound(options, range->from.p,
                                                            range->from.len);
        else
                rocksdb_readoptions_set_iterate_upper_bound(options, range->to.p, range->to.len);
        return options;
}

static int rdb_scan(struct index *i, const struct index_range *range, bool may_block,
                    index_visit_fn *visit, void *arg)
{
        rocksdb_readoptions_t *options = options_new(range, may_block);
        rocksdb_iterator_t *it = rocksdb_create_iterator(rocksdb_of(i)->db, options);
        char *error = NULL;

        if (range->begun)
                range->begun(range->begun_arg);
        for (seek(it, range); rocksdb_iter_valid(it);
             range->is_reverse ? rocksdb_iter_prev(it) : rocksdb_iter_next(it)) {
                struct span key, value;

                key.p = rocksdb_iter_key(it, &key.len);
                value.p = rocksdb_iter_value(it, &value.len);
                if (!is_in(key, range) || !visit(arg, key, value))
                        break;
        }
        rocksdb_iter_get_error(it, &error);
        rocksdb_iter_destroy(it);
        rocksdb_readoptions_destroy(options);
        return result_of(error);
}

static int rdb_put(struct index *i, struct span key, struct span value)
{
        rocksdb_writebatch_put(rocksdb_of(i)->batch, key.p, key.len, value.p, value.len);
        return 0;
}

static int rdb_remove(struct index *i, struct span key)
{
        rocksdb_writebatch_delete(rocksdb_of(i)->batch, key.p, key.len);
        return 0;
}

static int rdb_remove_range(struct index *i, struct span from, struct span to)
{
        rocksdb_writebatch_delete_range(rocksdb_of(i)->batch, from.p, from.len, to.p, to.len);
        return 0;
}

static void rdb_mark(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        char *error = NULL;

        if (x->has_mark)
                rocksdb_writebatch_pop_save_point(x->batch, &error);
        rocksdb_free(error);
        rocksdb_writebatch_set_save_point(x->batch);
        x->has_mark = true;
}

static void rdb_rollback(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        char *error = NULL;

        if (x->has_mark)
                rocksdb_writebatch_rollback_to_save_point(x->batch, &error);
        rocksdb_free(error);
        x->has_mark = false;
}

static int rdb_write(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        char *error = NULL;

        rocksdb_write(x->db, x->write_options, x->batch, &error);
        rocksdb_writebatch_clear(x->batch);
        x->has_mark = false;
        return result_of(error);
}

static int rdb_flush(struct index *i)
{
        char *error = NULL;

        rocksdb_flush(rocksdb_of(i)->db, rocksdb_of(i)->flush_options, &error);
        return result_of(error);
}

static void rdb_close(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);

        rocksdb_writebatch_destroy(x->batch);
        if (x->db) {
                rocksdb_cancel_all_background_work(x->db, 1);
                rocksdb_close(x->db);
        }
        rocksdb_readoptions_destroy(x->read);
        rocksdb_readoptions_destroy(x->read_cached);
        rocksdb_readoptions_destroy(x->read_flushed);
        rocksdb_flushoptions_destroy(x->flush_options);
        rocksdb_writeoptions_destroy(x->write_options);
        rocksdb_options_destroy(x->options);
        rocksdb_cache_destroy(x->cache);
        free(x);
}

static const struct index_driver rocksdb_driver = {
        .get = rdb_get,
        .scan = rdb_scan,
        .put = rdb_put,
        .remove = rdb_remove,
        .remove_range = rdb_remove_range,
        .mark = rdb_mark,
        .rollback = rdb_rollback,
        .write = rdb_write,
        .flush = rdb_flush,
        .get_flushed = rdb_get_flushed,
        .close = rdb_close,
};

int index_checkpoint(struct index *i, const char *path)
{
        rocksdb_checkpoint_t *checkpoint;
        char *error = NULL;

        if (i->driver != &rocksdb_driver)
                return -EOPNOTSUPP;
        checkpoint = rocksdb_checkpoint_object_create(rocksdb_of(i)->db, &error);
        if (!error)
                rocksdb_checkpoint_create(checkpoint, path, UINT64_MAX, &error);
        if (checkpoint)
                rocksdb_checkpoint_object_destroy(checkpoint);
        return result_of(error);
}

static void set_options(struct index_rocksdb *x)
{
        rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
        rocksdb_options_t *o = x->options;
        rocksdb_env_t *env = rocksdb_create_default_env();

        rocksdb_options_set_create_if_missing(o, 1);
        rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER);
        rocksdb_options_set_max_write_buffer_number(o, WRITE_BUFFERS);
        rocksdb_options_set_max_bytes_for_level_base(o, LEVEL_BASE);
        /* Most questions are whether something is not there. */
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.1);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
        rocksdb_options_set_max_open_files(o, OPEN_FILES);
        rocksdb_options_set_compression(o, COMPRESSION_LZ4);
        rocksdb_options_set_info_log_level(o, LOG_LEVEL_FATAL);
        rocksdb_options_set_keep_log_file_num(o, 1);
        rocksdb_options_set_stats_dump_period_sec(o, 0);
        rocksdb_options_set_stats_persist_period_sec(o, 0);
        rocksdb_options_set_paranoid_checks(o, 1);
        /* The threads are started here and now: later the process may not. */
        rocksdb_env_set_background_threads(env, 1);
        rocksdb_env_set_high_priority_background_threads(env, 1);
        rocksdb_options_set_env(o, env);
        rocksdb_env_destroy(env);
        rocksdb_block_based_options_set_block_cache(table, x->cache);
        rocksdb_block_based_options_set_filter_policy(
                table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
        rocksdb_options_set_block_based_table_factory(o, table);
        rocksdb_block_based_options_destroy(table);
}

int index_rocksdb_open(const char *path, struct index **ret_index, char *error)
{
        struct index_rocksdb *x = calloc(1, sizeof(struct index_rocksdb));
        char *text = NULL;

        if (!x) {
                snprintf(error, 256, "index: no memory");
                return -ENOMEM;
        }
        x->index.driver = &rocksdb_driver;
        x->options = rocksdb_options_create();
        x->cache = rocksdb_cache_create_lru(BLOCK_CACHE);
        set_options(x);
        x->write_options = rocksdb_writeoptions_create();
        rocksdb_writeoptions_disable_WAL(x->write_options, 1);
        x->flush_options = rocksdb_flushoptions_create();
        rocksdb_flushoptions_set_wait(x->flush_options, 1);
        x->read = rocksdb_readoptions_create();
        x->read_cached = rocksdb_readoptions_create();
        rocksdb_readoptions_set_read_tier(x->read_cached, TIER_CACHE_ONLY);
        x->read_flushed = rocksdb_readoptions_create();
        rocksdb_readoptions_set_read_tier(x->read_flushed, TIER_FLUSHED);
        x->batch = rocksdb_writebatch_create();
        x->db = rocksdb_open(x->options, path, &text);
        if (!x->db) {
                snprintf(error, 256, "index %.100s: %.140s", path,
                         text ? text : "cannot be opened");
                rocksdb_free(text);
                rdb_close(&x->index);
                return -EIO;
        }
        *ret_index = &x->index;
        return 0;
}
