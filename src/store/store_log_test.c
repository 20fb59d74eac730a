/* Groups on their way in one segment: each slot writes and syncs through a descriptor of
 * its own, so that none is told of as durable because another sync heard of the failure. */
#include "store/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/test.h"
#include "store/io_sim.h"
#include "store/keys.h"
#include "store/recover.h"

enum { SEGMENT = 64 * 1024, RECORD = 3000 };

static struct log fixture;
static char record[RECORD];

static void begin(void)
{
        static const unsigned char store_id[LOG_STORE_ID] = {7};
        struct io *io = io_sim_new();

        CHECK(io && io_mkdir(io, "queue") == 0 && io_mkdir(io, "mail") == 0, "disk");
        memset(record, 'r', sizeof record);
        log_init(&fixture, io, store_id, SEGMENT);
}

static void end(void)
{
        struct io *io = fixture.io;

        log_done(&fixture);
        io_sim_destroy(io);
}

/* Writes a group in the slot, as the leader does; it is on its way from then on. */
static void write_group(struct log_slot *slot, enum log_stream stream, unsigned under_way)
{
        uint64_t sizes[LOG_STREAMS] = {0};

        sizes[stream] = RECORD;
        CHECK(log_begin_group(&fixture, slot, sizes) == 0, "begin");
        CHECK(log_add(&fixture, stream, span_make(record, RECORD)) == 0, "add");
        CHECK(log_write_group(&fixture, slot, under_way, 1) == 0, "write");
}

TEST(slots_write_to_one_segment_through_descriptors_of_their_own)
{
        begin();
        for (unsigned i = 0; i < LOG_SLOTS; i++)
                write_group(&fixture.slots[i], LOG_MAIL, i);
        for (unsigned i = 0; i < LOG_SLOTS; i++)
                for (unsigned k = 0; k < i; k++)
                        CHECK(fixture.slots[i].segments[LOG_MAIL] ==
                                              fixture.slots[k].segments[LOG_MAIL] &&
                                      fixture.slots[i].files[LOG_MAIL] !=
                                              fixture.slots[k].files[LOG_MAIL],
                              "one segment, two descriptors");
        for (unsigned i = LOG_SLOTS; i > 0; i--) { /* in another order than written */
                CHECK(log_sync_group(&fixture, &fixture.slots[i - 1]) == 0, "sync");
                log_end_group(&fixture, &fixture.slots[i - 1]);
        }
        end();
}

/* What was not written is told to each descriptor once. */
TEST(a_failed_write_is_told_to_each_slot)
{
        for (unsigned first = 0; first < 2; first++) {
                struct log_slot *a = &fixture.slots[first], *b = &fixture.slots[1 - first];

                begin();
                write_group(&fixture.slots[0], LOG_QUEUE, 0);
                write_group(&fixture.slots[1], LOG_QUEUE, 1);
                io_sim_fail_writeback(fixture.io);
                CHECK(log_sync_group(&fixture, a) == -EIO, "the first that syncs");
                CHECK(log_sync_group(&fixture, b) == -EIO, "and the other");
                CHECK(strcmp(b->failed_call, "fdatasync") == 0, "what failed");
                CHECK(strcmp(b->failed_path, "queue/0000000000000001.seg") == 0, b->failed_path);
                log_end_group(&fixture, a);
                log_end_group(&fixture, b);
                end();
        }
}

/* So the test above would notice slots that share one. */
TEST(of_slots_with_one_descriptor_only_the_first_is_told)
{
        struct log_slot *a = &fixture.slots[0], *b = &fixture.slots[1];
        int own;

        begin();
        write_group(a, LOG_QUEUE, 0);
        write_group(b, LOG_QUEUE, 1);
        own = b->files[LOG_QUEUE];
        b->files[LOG_QUEUE] = a->files[LOG_QUEUE];
        io_sim_fail_writeback(fixture.io);
        CHECK(log_sync_group(&fixture, a) == -EIO, "told");
        CHECK(log_sync_group(&fixture, b) == 0, "not told");
        b->files[LOG_QUEUE] = own;
        log_end_group(&fixture, a);
        log_end_group(&fixture, b);
        end();
}

/* A slot that is on its way keeps the descriptor of a segment that is full meanwhile;
 * those at rest let go of it. */
TEST(a_full_segment_is_closed_when_nobody_is_on_the_way_in_it)
{
        struct log_slot *busy = &fixture.slots[0], *resting = &fixture.slots[1],
                        *writer = &fixture.slots[2];
        uint64_t first;

        begin();
        write_group(resting, LOG_MAIL, 0);
        CHECK(log_sync_group(&fixture, resting) == 0, "sync");
        log_end_group(&fixture, resting);
        CHECK(resting->files[LOG_MAIL] >= 0, "kept for its next group");
        write_group(busy, LOG_MAIL, 0);
        first = busy->segments[LOG_MAIL];
        for (unsigned i = 0; fixture.current[LOG_MAIL]->number == first; i++) {
                CHECK(i < SEGMENT / LOG_BLOCK, "a segment is full at some time");
                write_group(writer, LOG_MAIL, 1);
                CHECK(log_sync_group(&fixture, writer) == 0, "sync");
                log_end_group(&fixture, writer);
        }
        CHECK(resting->files[LOG_MAIL] < 0 && resting->segments[LOG_MAIL] == 0, "let go of");
        CHECK(busy->files[LOG_MAIL] >= 0 && busy->segments[LOG_MAIL] == first, "still its own");
        CHECK(log_sync_group(&fixture, busy) == 0, "and synced through it");
        log_end_group(&fixture, busy);
        CHECK(busy->files[LOG_MAIL] < 0 && busy->segments[LOG_MAIL] == 0, "then closed");
        end();
}

/* Where later groups are answered, and their traces durable, before the index is told of an
 * earlier one, recovery must all the same begin to read behind that one. */
TEST(the_position_of_traces_is_never_ahead_of_the_index)
{
        static const struct {
                const char *name;
                uint64_t index, traces, want;
        } cases[] = {
                {"traces behind", 7, 5, 5},
                {"both at one group", 7, 7, 7},
                {"traces ahead", 7, 9, 7},
        };
        const char key = KEYS_POSITION;

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct log_position p = {.group = cases[i].index};
                const struct log_position traces = {.group = cases[i].traces};
                struct log_position got_p = {0}, got_traces = {0};
                struct buffer value = BUFFER_INIT(1024);
                struct index *index = index_mem_new(0);

                CHECK(index && recover_put_position(index, &p, &traces) == 0, "put");
                CHECK(index_write(index) == 0, "write");
                CHECK(index_get(index, span_make(&key, 1), true, &value) == 0, "get");
                CHECK(recover_decode_positions(buffer_span(&value), &got_p, &got_traces) == 0,
                      "decode");
                CHECK(got_p.group == cases[i].index && got_traces.group == cases[i].want,
                      cases[i].name);
                buffer_done(&value);
                index_close(index);
        }
}

/* Its file may be back after a crash: then it is known that nothing lives in it. */
TEST(a_segment_that_is_gone_is_written_down_as_dead)
{
        struct blob_change change = {
                .id = 1, .before = 1, .segment_before = 77, .place = {.kind = BLOB_IN_SEGMENT,
                .segment = 77, .size = 10}};
        const struct apply_group group = {.blobs = &change, .blob_count = 1};
        struct index *index = index_mem_new(0);
        struct buffer value = BUFFER_INIT(16);
        char key[KEYS_MAX];

        begin();
        CHECK(recover_account(&fixture, index, &group) == 0 && index_write(index) == 0, "written");
        CHECK(index_get(index, keys_of_number(key, KEYS_SEGMENT, 77), true, &value) == 0, "there");
        CHECK(value.len == 16 && key_get_u64(value.data + value.start) == 0 &&
                      key_get_u64(value.data + value.start + 8) == 0,
              "no bodies, no octets");
        buffer_done(&value);
        index_close(index);
        end();
}

TEST_MAIN()
