/* RocksDB's C functions, from its library, which is loaded when an index is
 * opened: only the keeper has one, and the library would cost each of the other
 * processes 0.7 MiB of memory of its own (relocations, and what its static
 * constructors make) for nothing. */
#pragma once

#include <rocksdb/c.h>

/* Those that are used, without their prefix. */
#define ROCKSDB_CALLS(X) \
        X(block_based_options_create) \
        X(block_based_options_destroy) \
        X(block_based_options_set_block_cache) \
        X(block_based_options_set_filter_policy) \
        X(block_based_options_set_index_type) \
        X(block_based_options_set_whole_key_filtering) \
        X(cache_create_lru) \
        X(cache_destroy) \
        X(cache_set_capacity) \
        X(cancel_all_background_work) \
        X(checkpoint_create) \
        X(checkpoint_object_create) \
        X(checkpoint_object_destroy) \
        X(close) \
        X(create_default_env) \
        X(create_iterator) \
        X(env_destroy) \
        X(env_set_background_threads) \
        X(env_set_high_priority_background_threads) \
        X(envoptions_create) \
        X(envoptions_destroy) \
        X(filterpolicy_create_bloom_full) \
        X(flush) \
        X(flushoptions_create) \
        X(flushoptions_destroy) \
        X(flushoptions_set_wait) \
        X(free) \
        X(get_pinned) \
        X(ingest_external_file) \
        X(ingestexternalfileoptions_create) \
        X(ingestexternalfileoptions_destroy) \
        X(ingestexternalfileoptions_set_move_files) \
        X(iter_destroy) \
        X(iter_get_error) \
        X(iter_key) \
        X(iter_next) \
        X(iter_prev) \
        X(iter_seek) \
        X(iter_seek_for_prev) \
        X(iter_valid) \
        X(iter_value) \
        X(open) \
        X(options_create) \
        X(options_create_copy) \
        X(options_destroy) \
        X(options_set_block_based_table_factory) \
        X(options_set_compression) \
        X(options_set_compression_per_level) \
        X(options_set_create_if_missing) \
        X(options_set_env) \
        X(options_set_info_log_level) \
        X(options_set_keep_log_file_num) \
        X(options_set_level0_file_num_compaction_trigger) \
        X(options_set_level_compaction_dynamic_level_bytes) \
        X(options_set_max_bytes_for_level_base) \
        X(options_set_max_open_files) \
        X(options_set_max_write_buffer_number) \
        X(options_set_memtable_prefix_bloom_size_ratio) \
        X(options_set_memtable_whole_key_filtering) \
        X(options_set_min_level_to_compress) \
        X(options_set_paranoid_checks) \
        X(options_set_prefix_extractor) \
        X(options_set_stats_dump_period_sec) \
        X(options_set_stats_persist_period_sec) \
        X(options_set_write_buffer_size) \
        X(pinnableslice_destroy) \
        X(pinnableslice_value) \
        X(property_int) \
        X(readoptions_create) \
        X(readoptions_destroy) \
        X(readoptions_set_fill_cache) \
        X(readoptions_set_iterate_lower_bound) \
        X(readoptions_set_iterate_upper_bound) \
        X(readoptions_set_read_tier) \
        X(readoptions_set_total_order_seek) \
        X(set_options) \
        X(set_perf_level) \
        X(slicetransform_create) \
        X(sstfilewriter_create) \
        X(sstfilewriter_delete) \
        X(sstfilewriter_destroy) \
        X(sstfilewriter_finish) \
        X(sstfilewriter_open) \
        X(sstfilewriter_put) \
        X(write) \
        X(writebatch_clear) \
        X(writebatch_create) \
        X(writebatch_delete) \
        X(writebatch_delete_range) \
        X(writebatch_destroy) \
        X(writebatch_pop_save_point) \
        X(writebatch_put) \
        X(writebatch_rollback_to_save_point) \
        X(writebatch_set_save_point) \
        X(writeoptions_create) \
        X(writeoptions_destroy) \
        X(writeoptions_disable_WAL)

struct rocksdb_calls {
#define ROCKSDB_CALL_FIELD(name) __typeof__(&rocksdb_##name) name;
        ROCKSDB_CALLS(ROCKSDB_CALL_FIELD)
#undef ROCKSDB_CALL_FIELD
};

/* Set by rocksdb_calls_load(), and never changed again. */
extern struct rocksdb_calls rdb;

/* Before the first index is opened; again it does nothing. Needs the file system,
 * so before confinement; not from two threads at once. 0; -ELIBACC, with a
 * sentence in `error` (256 octets), as index_rocksdb_open() has it. */
int rocksdb_calls_load(char *error);
