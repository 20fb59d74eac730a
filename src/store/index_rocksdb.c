#include "store/index.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "store/keys.h"
#include "store/rocksdb_calls.h"

/* Small on purpose: at rest the whole mail system shall fit in 40 MiB. */
enum {
        WRITE_BUFFER = 8 * 1024 * 1024,
        WRITE_BUFFERS = 3,
        /* As many files of level 0 as are as large as the level below: then half of what a
         * compaction of these two writes is new. */
        LEVEL_0_FILES = 12,
        LEVEL_0_FILES_SMALL = 4,
        SMALL = 16 * 1024 * 1024, /* an index, where the fewer ones do */
        LEVEL_BASE = 64 * 1024 * 1024,
        LEVEL_COMPRESSED = 6, /* the last one; what lies above is soon written anew */
        BLOCK_CACHE = 16 * 1024 * 1024, /* the disk cache of the system holds more */
        OPEN_FILES = 128,
        LOG_LEVEL_FATAL = 4,
        TIER_CACHE_ONLY = 1,
        TIER_FLUSHED = 2,
        PERF_DISABLED = 1,
        COMPRESSION_NONE = 0,
        COMPRESSION_LZ4 = 4,
        BLOOM_BITS = 10,
        BLOOM_BITS_LOAD = 16, /* of files of level 0: each question is for all of them */
        LEVEL_0_MAX = 28, /* files; then a load waits for the compaction */
        REST_MEMORY = 2 * 1024 * 1024, /* more of it unwritten at rest is written */
        NAP_MS = 5,
        NAPS = 4000,
};

/* So many changes and more are written to a file of their own, which becomes one of the
 * index as it is: each costs a quarter of what it does to pass the engine's memory. Fewer
 * would make small files. */
static size_t load_min = 8192;

struct index_rocksdb {
        struct index index;
        rocksdb_t *db;
        rocksdb_options_t *options;
        rocksdb_writeoptions_t *write_options;
        rocksdb_flushoptions_t *flush_options;
        rocksdb_readoptions_t *read, *read_cached, *read_flushed;
        rocksdb_cache_t *cache;
        rocksdb_writebatch_t *batch;
        bool has_mark, is_small;
        /* A range was removed. RocksDB 7.8 then takes for nothing what a scan may not read:
         * no scan of the memory alone. */
        atomic_bool has_ranges;
        rocksdb_options_t *load_options;
        rocksdb_envoptions_t *load_env;
        rocksdb_ingestexternalfileoptions_t *load_ingest;
        char *load_path;
};

static struct index_rocksdb *rocksdb_of(struct index *i)
{
        return (struct index_rocksdb *) i;
}

/* The engine counts each comparison of keys, by thread and for nobody: that costs as
 * much as many of them do. */
static void count_nothing(void)
{
        rdb.set_perf_level(PERF_DISABLED);
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
        rdb.free(text);
        return r;
}

static int get_with(struct index_rocksdb *x, rocksdb_readoptions_t *options, struct span key,
                    struct buffer *ret_value)
{
        rocksdb_pinnableslice_t *slice;
        char *error = NULL;
        struct span value;
        int r;

        count_nothing();
        slice = rdb.get_pinned(x->db, options, key.p, key.len, &error);
        if (error)
                return result_of(error);
        if (!slice)
                return -ENOENT;
        value.p = rdb.pinnableslice_value(slice, &value.len);
        buffer_clear(ret_value);
        r = buffer_append_span(ret_value, value);
        rdb.pinnableslice_destroy(slice);
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
                rdb.iter_seek(it, range->from.p, range->from.len);
                return;
        }
        rdb.iter_seek_for_prev(it, range->to.p, range->to.len);
        if (!rdb.iter_valid(it))
                return;
        key.p = rdb.iter_key(it, &key.len);
        if (compare(key, range->to) == 0)
                rdb.iter_prev(it);
}

static bool is_in(struct span key, const struct index_range *range)
{
        return range->is_reverse ? compare(key, range->from) >= 0 : compare(key, range->to) < 0;
}

/* Of one scan: its bounds are in them. */
static rocksdb_readoptions_t *options_new(const struct index_range *range, bool may_block)
{
        rocksdb_readoptions_t *options = rdb.readoptions_create();

        rdb.readoptions_set_total_order_seek(options, 1); /* filters are not for scans */
        if (!may_block)
                rdb.readoptions_set_read_tier(options, TIER_CACHE_ONLY);
        if (range->is_once)
                rdb.readoptions_set_fill_cache(options, 0);
        /* Without a bound, a range with nothing in it costs as much as there were
         * deletions behind it: all of them are stepped over, up to a live entry. */
        if (range->is_reverse)
                rdb.readoptions_set_iterate_lower_bound(options, range->from.p,
                                                            range->from.len);
        else
                rdb.readoptions_set_iterate_upper_bound(options, range->to.p, range->to.len);
        return options;
}

static int rdb_scan(struct index *i, const struct index_range *range, bool may_block,
                    index_visit_fn *visit, void *arg)
{
        rocksdb_readoptions_t *options;
        rocksdb_iterator_t *it;
        char *error = NULL;

        if (!may_block && atomic_load(&rocksdb_of(i)->has_ranges))
                return -EAGAIN;
        options = options_new(range, may_block);
        it = rdb.create_iterator(rocksdb_of(i)->db, options);
        if (range->begun)
                range->begun(range->begun_arg);
        count_nothing();
        for (seek(it, range); rdb.iter_valid(it);
             range->is_reverse ? rdb.iter_prev(it) : rdb.iter_next(it)) {
                struct span key, value;

                key.p = rdb.iter_key(it, &key.len);
                value.p = rdb.iter_value(it, &value.len);
                if (!is_in(key, range) || !visit(arg, key, value))
                        break;
        }
        rdb.iter_get_error(it, &error);
        rdb.iter_destroy(it);
        rdb.readoptions_destroy(options);
        return result_of(error);
}

static int rdb_put(struct index *i, struct span key, struct span value)
{
        rdb.writebatch_put(rocksdb_of(i)->batch, key.p, key.len, value.p, value.len);
        return 0;
}

static int rdb_remove(struct index *i, struct span key)
{
        rdb.writebatch_delete(rocksdb_of(i)->batch, key.p, key.len);
        return 0;
}

static int rdb_remove_range(struct index *i, struct span from, struct span to)
{
        atomic_store(&rocksdb_of(i)->has_ranges, true);
        rdb.writebatch_delete_range(rocksdb_of(i)->batch, from.p, from.len, to.p, to.len);
        return 0;
}

static void rdb_mark(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        char *error = NULL;

        if (x->has_mark)
                rdb.writebatch_pop_save_point(x->batch, &error);
        rdb.free(error);
        rdb.writebatch_set_save_point(x->batch);
        x->has_mark = true;
}

static void rdb_rollback(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        char *error = NULL;

        if (x->has_mark)
                rdb.writebatch_rollback_to_save_point(x->batch, &error);
        rdb.free(error);
        x->has_mark = false;
}

static int rdb_write(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        char *error = NULL;

        count_nothing();
        rdb.write(x->db, x->write_options, x->batch, &error);
        rdb.writebatch_clear(x->batch);
        x->has_mark = false;
        return result_of(error);
}

/* ---- a file of their own ------------------------------------------------- */

void index_rocksdb_set_load_min(size_t count)
{
        load_min = count;
}

/* Nothing else keeps files from coming faster than they are merged. */
static void wait_for_compaction(struct index_rocksdb *x)
{
        const struct timespec t = {.tv_nsec = NAP_MS * 1000000L};
        uint64_t count = 0;

        for (int i = 0; i < NAPS; i++) {
                if (rdb.property_int(x->db, "rocksdb.num-files-at-level0", &count) != 0 ||
                    count < LEVEL_0_MAX)
                        return;
                nanosleep(&t, NULL);
        }
}

static int write_file(struct index_rocksdb *x, const void *changes, size_t count,
                      index_change_fn *at)
{
        rocksdb_sstfilewriter_t *w = rdb.sstfilewriter_create(x->load_env, x->load_options);
        char *error = NULL;

        rdb.sstfilewriter_open(w, x->load_path, &error);
        for (size_t i = 0; i < count && !error; i++) {
                struct index_change c;

                at(changes, i, &c);
                if (c.is_removed)
                        rdb.sstfilewriter_delete(w, c.key.p, c.key.len, &error);
                else
                        rdb.sstfilewriter_put(w, c.key.p, c.key.len, c.value.p ? c.value.p : "",
                                              c.value.len, &error);
        }
        if (!error)
                rdb.sstfilewriter_finish(w, &error);
        rdb.sstfilewriter_destroy(w);
        return result_of(error);
}

/* Files that wait to be merged are room that is lost: the more so the smaller the index. */
static void adapt_to_size(struct index_rocksdb *x)
{
        const char *const name = "level0_file_num_compaction_trigger";
        char count[16], *error = NULL;
        const char *value = count;
        uint64_t size = 0;
        bool is_small;

        if (rdb.property_int(x->db, "rocksdb.estimate-live-data-size", &size) != 0)
                return;
        /* Not back at once: around a border, each load would change it. */
        is_small = size < (x->is_small ? SMALL : SMALL / 2);
        if (is_small == x->is_small)
                return;
        snprintf(count, sizeof count, "%d", is_small ? LEVEL_0_FILES_SMALL : LEVEL_0_FILES);
        rdb.set_options(x->db, 1, &name, &value, &error);
        rdb.free(error); /* then it stays as it is, until the next */
        x->is_small = is_small;
}

/* The file is synced before the index knows it. What was written before it and is only in
 * memory goes to the disk first, since both have the position in the log: so what a crash
 * leaves is still the state behind one of the writes. */
static int rdb_load(struct index *i, const void *changes, size_t count, index_change_fn *at)
{
        struct index_rocksdb *x = rocksdb_of(i);
        const char *const path = x->load_path;
        char *error = NULL;
        int r;

        if (count < load_min)
                return -EOPNOTSUPP;
        count_nothing();
        wait_for_compaction(x);
        adapt_to_size(x);
        r = write_file(x, changes, count, at);
        if (r == 0) {
                rdb.ingest_external_file(x->db, &path, 1, x->load_ingest, &error);
                r = result_of(error);
        } else {
                r = -EOPNOTSUPP; /* no room for it, perhaps: nothing happened yet */
        }
        unlink(path); /* the index has a name of its own for it */
        return r;
}

static int rdb_flush(struct index *i)
{
        char *error = NULL;

        rdb.flush(rocksdb_of(i)->db, rocksdb_of(i)->flush_options, &error);
        return result_of(error);
}

/* The cache is emptied by having no room for a moment. What little is in memory stays there:
 * a server with a message a minute would write a small file with each. */
static void rdb_rest(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);
        uint64_t unwritten = 0;

        if (rdb.property_int(x->db, "rocksdb.cur-size-all-mem-tables", &unwritten) == 0 &&
            unwritten > REST_MEMORY)
                rdb_flush(i);
        rdb.cache_set_capacity(x->cache, 0);
        rdb.cache_set_capacity(x->cache, BLOCK_CACHE);
}

static void rdb_close(struct index *i)
{
        struct index_rocksdb *x = rocksdb_of(i);

        rdb.writebatch_destroy(x->batch);
        if (x->db) {
                rdb.cancel_all_background_work(x->db, 1);
                rdb.close(x->db);
        }
        rdb.readoptions_destroy(x->read);
        rdb.readoptions_destroy(x->read_cached);
        rdb.readoptions_destroy(x->read_flushed);
        rdb.flushoptions_destroy(x->flush_options);
        rdb.writeoptions_destroy(x->write_options);
        rdb.options_destroy(x->options);
        rdb.cache_destroy(x->cache);
        rdb.options_destroy(x->load_options);
        rdb.envoptions_destroy(x->load_env);
        rdb.ingestexternalfileoptions_destroy(x->load_ingest);
        free(x->load_path);
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
        .load = rdb_load,
        .flush = rdb_flush,
        .rest = rdb_rest,
        .get_flushed = rdb_get_flushed,
        .close = rdb_close,
};

int index_checkpoint(struct index *i, const char *path)
{
        rocksdb_checkpoint_t *checkpoint;
        char *error = NULL;

        if (i->driver != &rocksdb_driver)
                return -EOPNOTSUPP;
        checkpoint = rdb.checkpoint_object_create(rocksdb_of(i)->db, &error);
        if (!error)
                rdb.checkpoint_create(checkpoint, path, UINT64_MAX, &error);
        if (checkpoint)
                rdb.checkpoint_object_destroy(checkpoint);
        return result_of(error);
}

static void *start_giving_way(void *env)
{
        thread_give_way(); /* which threads inherit from whoever starts them */
        rdb.env_set_background_threads(env, 1);
        rdb.env_set_high_priority_background_threads(env, 1);
        return NULL;
}

/* The threads are started here and now: later the process may not. What they do may
 * wait, so that it is another thread that starts them. */
static void start_threads(rocksdb_env_t *env)
{
        pthread_t starter;

        if (pthread_create(&starter, NULL, start_giving_way, env) == 0) {
                pthread_join(starter, NULL);
        } else {
                rdb.env_set_background_threads(env, 1);
                rdb.env_set_high_priority_background_threads(env, 1);
        }
}

static char *in_filter(void *arg, const char *key, size_t len, size_t *ret_len)
{
        const struct span known = keys_in_filter(span_make(key, len));

        (void) arg;
        *ret_len = known.len;
        return (char *) (uintptr_t) known.p;
}

static unsigned char is_in_filter(void *arg, const char *key, size_t len)
{
        (void) arg;
        (void) key;
        (void) len;
        return 1;
}

/* It is in the files: with another name, and another meaning, their filters are not asked. */
static const char *filter_name(void *arg)
{
        (void) arg;
        return "hayauma.1";
}

static void nothing(void *arg)
{
        (void) arg;
}

static void set_table_options(struct index_rocksdb *x, rocksdb_options_t *o, double bloom_bits)
{
        rocksdb_block_based_table_options_t *table = rdb.block_based_options_create();

        rdb.block_based_options_set_block_cache(table, x->cache);
        rdb.block_based_options_set_filter_policy(
                table, rdb.filterpolicy_create_bloom_full(bloom_bits));
        rdb.block_based_options_set_whole_key_filtering(table, 0);
        /* Its lower part lies in the cache, among the blocks it is about. */
        rdb.block_based_options_set_index_type(
                table, rocksdb_block_based_table_index_type_two_level_index_search);
        rdb.options_set_block_based_table_factory(o, table);
        rdb.block_based_options_destroy(table);
}

static void set_options(struct index_rocksdb *x)
{
        rocksdb_options_t *o = x->options;
        rocksdb_env_t *env = rdb.create_default_env();

        rdb.options_set_create_if_missing(o, 1);
        rdb.options_set_write_buffer_size(o, WRITE_BUFFER);
        rdb.options_set_max_write_buffer_number(o, WRITE_BUFFERS);
        rdb.options_set_level0_file_num_compaction_trigger(o, LEVEL_0_FILES_SMALL);
        rdb.options_set_max_bytes_for_level_base(o, LEVEL_BASE);
        /* Levels are filled from the last one up. Else a small index has a level above some
         * old file of the last one, and keeps what says that keys were removed. */
        rdb.options_set_level_compaction_dynamic_level_bytes(o, 1);
        /* Most questions are whether something is not there. The buffer holds some 80,000
         * entries, each by key and by what filters know of it. */
        rdb.options_set_memtable_prefix_bloom_size_ratio(o, 0.03);
        rdb.options_set_memtable_whole_key_filtering(o, 1);
        rdb.options_set_max_open_files(o, OPEN_FILES);
        rdb.options_set_compression(o, COMPRESSION_LZ4);
        rdb.options_set_min_level_to_compress(o, LEVEL_COMPRESSED);
        rdb.options_set_info_log_level(o, LOG_LEVEL_FATAL);
        rdb.options_set_keep_log_file_num(o, 1);
        rdb.options_set_stats_dump_period_sec(o, 0);
        rdb.options_set_stats_persist_period_sec(o, 0);
        rdb.options_set_paranoid_checks(o, 1);
        start_threads(env);
        rdb.options_set_env(o, env);
        rdb.env_destroy(env);
        rdb.options_set_prefix_extractor(
                o, rdb.slicetransform_create(NULL, nothing, in_filter, is_in_filter,
                                             is_in_filter, filter_name));
        set_table_options(x, o, BLOOM_BITS);
}

/* A name left by a crash may be of a file that is part of the index already: it is
 * removed, never written to. */
static void set_load_options(struct index_rocksdb *x)
{
        x->load_options = rdb.options_create_copy(x->options);
        rdb.options_set_compression_per_level(x->load_options, NULL, 0);
        rdb.options_set_compression(x->load_options, COMPRESSION_NONE);
        set_table_options(x, x->load_options, BLOOM_BITS_LOAD);
        x->load_env = rdb.envoptions_create();
        x->load_ingest = rdb.ingestexternalfileoptions_create();
        rdb.ingestexternalfileoptions_set_move_files(x->load_ingest, 1);
        unlink(x->load_path);
}

int index_rocksdb_load(char *error)
{
        return rocksdb_calls_load(error);
}

int index_rocksdb_open(const char *path, struct index **ret_index, char *error)
{
        struct index_rocksdb *x;
        char *text = NULL;
        int r = rocksdb_calls_load(error);

        if (r < 0)
                return r;
        x = calloc(1, sizeof(struct index_rocksdb));
        if (!x || asprintf(&x->load_path, "%s/load.new", path) < 0) {
                free(x);
                snprintf(error, 256, "index: no memory");
                return -ENOMEM;
        }
        x->index.driver = &rocksdb_driver;
        x->is_small = true; /* as set_options() says */
        x->options = rdb.options_create();
        x->cache = rdb.cache_create_lru(BLOCK_CACHE);
        set_options(x);
        set_load_options(x);
        x->write_options = rdb.writeoptions_create();
        rdb.writeoptions_disable_WAL(x->write_options, 1);
        x->flush_options = rdb.flushoptions_create();
        rdb.flushoptions_set_wait(x->flush_options, 1);
        x->read = rdb.readoptions_create();
        x->read_cached = rdb.readoptions_create();
        rdb.readoptions_set_read_tier(x->read_cached, TIER_CACHE_ONLY);
        x->read_flushed = rdb.readoptions_create();
        rdb.readoptions_set_read_tier(x->read_flushed, TIER_FLUSHED);
        x->batch = rdb.writebatch_create();
        x->db = rdb.open(x->options, path, &text);
        if (!x->db) {
                snprintf(error, 256, "index %.100s: %.140s", path,
                         text ? text : "cannot be opened");
                rdb.free(text);
                rdb_close(&x->index);
                return -EIO;
        }
        *ret_index = &x->index;
        return 0;
}
