/* The local: driver over a simulated disk: a history of commits is cut off
 * after calls to the disk; what was not synced is dropped, or torn. The
 * store must open again, have everything that was acknowledged, nothing half,
 * and go on. And since a test that always passes says nothing: with a disk
 * that lies about syncing, it must fail.
 *
 * HAYAUMA_LONG: cut after every call; else after each STEP-th, each time others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "store/io_sim.h"
#include "store/local.h"

enum { HISTORY = 120, OUTSTANDING = 7, AGE = 10, CUTS_MAX = 4000 };
enum { STEP = 5 };

static const struct store_options options = {.segment_size = 64 * 1024, .directory_fd = -1};
static const struct store_options tiny = {.segment_size = 32 * 1024, .directory_fd = -1};
static const struct store_options quiet = {
        .segment_size = 64 * 1024, .directory_fd = -1, .is_quiet = true};
static const struct partition queue = {{PARTITION_QUEUE, 1}}, mail = {{PARTITION_ACCOUNT, 1}};

struct run {
        struct loop *loop;
        struct io *io;
        struct index *index; /* NULL: a new one for every start, filled from the log */
        struct store *store;
        bool is_quiet; /* the helper thread rests */
        bool moves; /* what lives leaves segments that are mostly dead, at once */
        unsigned begun, done, acknowledged;
        char why[512];
};

/* ---- the history ---------------------------------------------------------------- */

static bool has_blob(unsigned i)
{
        return i % 4 != 1;
}
static bool is_lent(unsigned i)
{
        return i % 6 == 2;
}
static bool has_mail(unsigned i)
{
        return i % 3 == 0;
}
static bool removes_key(unsigned i)
{
        return i % 7 == 3 && i >= 3;
}
static bool removes_blob(unsigned i)
{
        return i >= AGE && has_blob(i - AGE) && i % 5 != 0;
}

static size_t blob_text(unsigned i, char *out)
{
        const size_t len = (size_t) i * 977 % 5000;

        for (size_t k = 0; k < len; k++)
                out[k] = (char) ('a' + (i + k) % 26);
        return len;
}

static struct span text_of(char *out, const char *format, unsigned i)
{
        return span_make(out, (size_t) snprintf(out, 32, format, i));
}

static void committed(void *arg, int result)
{
        struct run *run = arg;

        if (result == 0 && run->acknowledged == run->done)
                run->acknowledged++;
        else if (result == 0)
                snprintf(run->why, sizeof run->why, "acknowledged behind a failure");
        run->done++;
}

/* As somebody does who was lent the file. */
static void write_file(struct run *run, uint64_t blob_id, struct span octets)
{
        struct iovec part = {(void *) (uintptr_t) octets.p, octets.len};
        char path[LOCAL_BLOB_PATH_MAX];
        const int file = io_open(run->io, local_blob_path(blob_id, path),
                                 IO_CREATE | IO_EXCLUSIVE);

        if (file >= 0 && octets.len)
                io_pwritev(run->io, file, &part, 1, 0);
        io_close(run->io, file);
}

static void begin_one(struct run *run)
{
        static char body[5000];
        const unsigned i = run->begun++;
        struct store_batch *const q = store_batch_new(run->store, &queue, i), *first = q;
        struct store_batch *batches[2] = {q, NULL};
        struct span octets = {body, blob_text(i, body)};
        char key[32], value[32];
        struct span trace_key;
        size_t count = 1;

        if (has_mail(i)) { /* before the other, so that the order shows */
                first = store_batch_new(run->store, &mail, STORE_ANY_SEQUENCE);
                store_put(first, text_of(key, "m%05u", i), text_of(value, "v%u", i));
                batches[0] = first;
                batches[count++] = q;
        }
        if (has_blob(i)) {
                if (is_lent(i)) {
                        write_file(run, i + 1, octets);
                        store_blob_adopt(first, i + 1, 2, SPAN_LITERAL("d"));
                } else {
                        store_blob_put(first, i + 1, 2, SPAN_LITERAL("d"), &octets, 1);
                }
                store_blob_reference(q, i + 1, -1);
        }
        if (removes_blob(i))
                store_blob_reference(first, i - AGE + 1, -1);
        store_put(q, SPAN_LITERAL("count"), text_of(value, "%u", i + 1));
        store_require_absent(q, text_of(key, "k%05u", i));
        store_put(q, text_of(key, "k%05u", i), text_of(value, "v%u", i));
        if (removes_key(i))
                store_delete(q, text_of(key, "k%05u", i - 3));
        trace_key = text_of(key, "t%05u", i);
        store_trace(q, &trace_key, 1, text_of(value, "r%u", i));
        store_commit(run->store, batches, count, 0, committed, run);
}

static void run_history(struct run *run, unsigned until)
{
        while (run->done < until) {
                while (run->begun < until && run->begun - run->done < OUTSTANDING)
                        begin_one(run);
                loop_run_once(run->loop, 1000);
        }
}

/* ---- looking at what is left ------------------------------------------------------ */

struct look {
        bool is_done;
        int result;
        size_t count;
        uint64_t number;
        char text[5001];
        size_t len;
        unsigned wrong;
        unsigned until;
        const char *format;
};

static void wait_for(struct run *run, const struct look *l)
{
        while (!l->is_done)
                loop_run_once(run->loop, 1000);
}

static void got(void *arg, int result, struct span value, uint64_t sequence)
{
        struct look *l = arg;

        l->is_done = true;
        l->result = result;
        l->number = sequence;
        l->len = value.len < 5000 ? value.len : 5000;
        if (l->len)
                memcpy(l->text, value.p, l->len);
        l->text[l->len] = '\0';
}

static void got_blob(void *arg, int result, struct span octets, uint64_t size)
{
        got(arg, result, octets, size);
}

static bool key_is_there(unsigned j, unsigned until)
{
        return j < until && !(j + 3 < until && removes_key(j + 3));
}

/* Each entry must be the next one that the history left. */
static void got_scan(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct look *l = arg;
        unsigned j = 0;
        char key[32];

        l->is_done = true;
        l->result = result;
        l->wrong += has_more;
        for (size_t i = 0; i < count; i++, j++) {
                if (l->format[0] == 'k')
                        while (j < l->until && !key_is_there(j, l->until))
                                j++;
                else
                        while (j < l->until && !has_mail(j))
                                j++;
                l->wrong += j >= l->until ||
                            !span_equal(entries[i].key, text_of(key, l->format, j));
        }
        for (; j < l->until; j++)
                l->wrong += l->format[0] == 'k' ? key_is_there(j, l->until) : has_mail(j);
}

static void got_trace(void *arg, int result, const struct span *records, size_t count)
{
        struct look *l = arg;

        l->is_done = true;
        l->result = result;
        l->count = count;
        if (count)
                got(arg, result, records[0], 0);
}

static bool blob_is_right(struct run *run, unsigned j, unsigned until)
{
        static char body[5000];
        static struct look l;
        const bool is_wanted = has_blob(j) && !(j + AGE < until && removes_blob(j + AGE));

        l = (struct look) {0};
        store_blob_read(run->store, j + 1, 0, 5000, got_blob, &l);
        wait_for(run, &l);
        if (!is_wanted)
                return l.result == -ENOENT;
        return l.result == 0 && l.len == blob_text(j, body) && memcmp(l.text, body, l.len) == 0;
}

static bool trace_is_right(struct run *run, unsigned j, bool is_wanted)
{
        static struct look l;
        char key[32], text[32];

        l = (struct look) {0};
        store_trace_find(run->store, text_of(key, "t%05u", j), 10, got_trace, &l);
        wait_for(run, &l);
        text_of(text, "r%u", j);
        return l.result == 0 && l.count == is_wanted && (!is_wanted || strcmp(l.text, text) == 0);
}

static bool scan_is_right(struct run *run, const struct partition *p, const char *format,
                          unsigned until)
{
        static struct look l;
        struct store_range range;
        char from[32], to[32];

        l = (struct look) {.until = until, .format = format};
        range = (struct store_range) {text_of(from, format, 0), text_of(to, format, 99999), 1000,
                                      false};
        store_scan(run->store, p, &range, got_scan, &l);
        wait_for(run, &l);
        return l.result == 0 && l.wrong == 0;
}

/* The state is that of a prefix of the history with all that was acknowledged;
 * *ret_until is its length. */
static bool state_is_right(struct run *run, unsigned *ret_until)
{
        static struct look l;
        unsigned until;

        l = (struct look) {0};
        store_get(run->store, &queue, SPAN_LITERAL("count"), got, &l);
        wait_for(run, &l);
        until = l.result == 0 ? (unsigned) strtoul(l.text, NULL, 10) : 0;
        *ret_until = until;
        snprintf(run->why, sizeof run->why, "%u of %u are left", until, run->acknowledged);
        if (until < run->acknowledged || l.number != until)
                return false;
        snprintf(run->why, sizeof run->why, "keys after %u", until);
        if (!scan_is_right(run, &queue, "k%05u", until) ||
            !scan_is_right(run, &mail, "m%05u", until))
                return false;
        for (unsigned j = 0; j < until; j++) {
                snprintf(run->why, sizeof run->why, "blob %u after %u", j, until);
                if (!blob_is_right(run, j, until))
                        return false;
                snprintf(run->why, sizeof run->why, "trace %u after %u", j, until);
                if (!trace_is_right(run, j, true))
                        return false;
        }
        return trace_is_right(run, until, false);
}

/* ---- starts and crashes ------------------------------------------------------------ */

enum { SYNC_US = 150 }; /* a disk that takes its time has several groups under way */

/* Of every run from here on, and what became of it. */
static bool are_moved;
static uint64_t moved_octets;
static unsigned recycled, syncs_at_once;

static int start(struct run *run)
{
        struct index *index = run->index;
        struct local *l;
        int r;

        if (!index)
                index = index_mem_new(0);
        r = local_open_with(run->io, index, run->is_quiet ? &quiet : run->moves ? &tiny : &options,
                            run->loop, &run->store, run->why);
        if (r < 0)
                return r;
        l = (struct local *) run->store;
        pthread_mutex_lock(&l->mutex);
        atomic_store(&l->slow_us, 0);
        atomic_store(&l->reclaim.is_eager, run->moves);
        pthread_cond_signal(&l->has_chores);
        pthread_mutex_unlock(&l->mutex);
        return 0;
}

static void prepare(struct run *run, bool has_index)
{
        *run = (struct run) {.loop = loop_new(), .io = io_sim_new(), .moves = are_moved};
        if (has_index) {
                run->index = index_mem_new(7);
                index_mem_keep(run->index);
        }
}

static void finish(struct run *run)
{
        store_close(run->store);
        if (run->index)
                index_mem_destroy(run->index);
        io_sim_destroy(run->io);
        loop_free(run->loop);
}

static void crash(struct run *run, enum io_sim_loss loss, uint64_t seed)
{
        if (io_sim_syncs_at_once(run->io) > syncs_at_once)
                syncs_at_once = io_sim_syncs_at_once(run->io);
        if (run->store && !log_is_whole(&((struct local *) run->store)->log))
                recycled++;
        if (run->store)
                moved_octets += atomic_load(&((struct local *) run->store)->reclaim.moved_octets);
        run->store = store_close(run->store);
        io_sim_restart(run->io, loss, seed);
        if (run->index)
                index_mem_crash(run->index);
}

/* One history, cut off. False when the store is not what it should be. */
static bool cut_is_survived(unsigned cut, bool has_index, enum io_sim_loss loss,
                            enum io_sim_lie lie, bool *ret_has_crashed)
{
        static struct run run;
        const unsigned more = 1 + cut % 4;
        unsigned until = 0;
        bool is_good;

        prepare(&run, has_index);
        io_sim_set_lie(run.io, lie);
        io_sim_set_sync_us(run.io, cut % 4 ? SYNC_US : 0);
        io_sim_crash_after(run.io, cut);
        if (start(&run) == 0)
                run_history(&run, HISTORY);
        *ret_has_crashed = io_sim_has_crashed(run.io);
        io_sim_crash_after(run.io, 1); /* closing must not make it good again */
        crash(&run, loss, cut);
        is_good = start(&run) == 0 && state_is_right(&run, &until);
        if (is_good) { /* it goes on from there, and that is kept too */
                run.begun = run.done = run.acknowledged = until;
                run_history(&run, until + more);
                is_good = run.acknowledged == until + more;
                crash(&run, loss, cut + 1);
                is_good = is_good && start(&run) == 0 && state_is_right(&run, &until);
        }
        if (!is_good && lie == IO_SIM_HONEST)
                print_error("cut %u, index %d, loss %d: %s\n", cut, has_index, (int) loss, run.why);
        finish(&run);
        return is_good;
}

static unsigned step_of_cuts(void)
{
        return getenv("HAYAUMA_LONG") ? 1 : STEP;
}

static void survive(bool has_index, enum io_sim_loss loss)
{
        static unsigned first; /* another one in each test */
        const unsigned step = step_of_cuts();
        bool has_crashed = true;

        for (unsigned cut = 1 + first++ % step; has_crashed && cut < CUTS_MAX; cut += step)
                CHECK(cut_is_survived(cut, has_index, loss, IO_SIM_HONEST, &has_crashed),
                      "a crash is survived");
        CHECK(!has_crashed, "the whole history was cut");
        CHECK(syncs_at_once > 2, "several groups were on their way");
}

TEST(the_log_alone_survives_when_what_was_not_synced_is_gone)
{
        survive(false, IO_SIM_DROP);
}

TEST(the_log_alone_survives_when_what_was_not_synced_is_torn)
{
        survive(false, IO_SIM_TEAR);
}

TEST(log_and_index_survive_when_what_was_not_synced_is_torn)
{
        survive(true, IO_SIM_TEAR);
}

TEST(log_and_index_survive_the_end_of_the_process)
{
        survive(true, IO_SIM_KEEP);
}

/* Bodies move while the disk goes away, and segments are used again: without an
 * index, then, by checkpoint and log. */
static void survive_moving(bool has_index, enum io_sim_loss loss)
{
        are_moved = true;
        moved_octets = recycled = 0;
        survive(has_index, loss);
        are_moved = false;
        CHECK(moved_octets > 100 * 1000 / step_of_cuts(), "bodies were moved");
        CHECK(recycled > 100 / step_of_cuts(), "and segments used again");
}

TEST(moving_bodies_survives_when_what_was_not_synced_is_torn)
{
        survive_moving(true, IO_SIM_TEAR);
}

TEST(moving_bodies_survives_the_end_of_the_process)
{
        survive_moving(true, IO_SIM_KEEP);
}

TEST(moved_bodies_are_found_by_checkpoint_and_log_alone)
{
        survive_moving(false, IO_SIM_DROP);
}

/* The canaries. */
static void notice(enum io_sim_lie lie, const char *label)
{
        bool has_crashed = true, is_noticed = false;

        for (unsigned cut = 20; has_crashed && !is_noticed && cut < CUTS_MAX; cut += 7)
                is_noticed = !cut_is_survived(cut, false, IO_SIM_DROP, lie, &has_crashed);
        CHECK(is_noticed, label);
}

TEST(a_missing_sync_is_noticed)
{
        notice(IO_SIM_NO_SYNC, "no fdatasync");
}

TEST(a_missing_sync_of_a_folder_is_noticed)
{
        notice(IO_SIM_NO_DIRECTORY_SYNC, "no fsync of folders");
}

TEST(an_acknowledgement_before_its_sync_is_noticed)
{
        notice(IO_SIM_LATE_SYNC, "the order of write and answer");
}

/* ---- damage and failure -------------------------------------------------------------- */

TEST(a_failed_sync_is_never_acknowledged)
{
        static struct run run;
        unsigned until;

        prepare(&run, false);
        run.is_quiet = true; /* or a segment that is made ahead may meet the failure */
        CHECK(start(&run) == 0, "start");
        run_history(&run, 20);
        io_sim_fail_syncs(run.io, 1);
        run_history(&run, 40);
        CHECK(run.acknowledged == 20, "nothing after it, though later syncs would work");
        CHECK(store_state(run.store) == STORE_FAILED, "and it says so");
        CHECK(strstr(store_failure(run.store), "Input/output error"),
              store_failure(run.store));
        crash(&run, IO_SIM_DROP, 1);
        CHECK(start(&run) == 0 && state_is_right(&run, &until), run.why);
        finish(&run);
}

/* What was not written is known to one sync, or to several, but not to all: groups that
 * were written at the same time must not be acknowledged by one that heard of nothing. */
TEST(a_failed_write_is_known_to_every_group_on_its_way)
{
        static struct run run;
        unsigned until;

        for (unsigned again = 0; again < 40; again++) {
                prepare(&run, false);
                run.is_quiet = true;
                CHECK(start(&run) == 0, "start");
                io_sim_set_sync_us(run.io, SYNC_US);
                run_history(&run, 20 + again);
                io_sim_fail_writeback(run.io);
                run_history(&run, 60 + again);
                CHECK(store_state(run.store) == STORE_FAILED, "it says so");
                crash(&run, IO_SIM_DROP, again);
                CHECK(start(&run) == 0 && state_is_right(&run, &until), run.why);
                finish(&run);
        }
}

TEST(no_descriptor_left_refuses_and_does_not_end)
{
        static struct run run;
        unsigned until;

        prepare(&run, false);
        CHECK(start(&run) == 0, "start");
        io_sim_fail_opens(run.io, 1); /* the first segment cannot be made */
        run_history(&run, 1);
        CHECK(run.acknowledged == 0 && store_state(run.store) == STORE_GOOD, "refused");
        run.begun = run.done = 0;
        run_history(&run, 40);
        CHECK(run.acknowledged == 40, "and goes on");
        CHECK(state_is_right(&run, &until), run.why);
        finish(&run);
}

TEST(damage_within_the_log_is_refused)
{
        static struct run run;

        prepare(&run, false);
        CHECK(start(&run) == 0, "start");
        run_history(&run, 30);
        crash(&run, IO_SIM_KEEP, 1);
        CHECK(io_sim_damage(run.io, "queue/0000000000000001.seg", LOG_BLOCK + 100) ||
                      io_sim_damage(run.io, "queue/0000000000000002.seg", LOG_BLOCK + 100),
              "damage");
        CHECK(start(&run) == -EBADMSG, "refused");
        CHECK(strstr(run.why, ".seg") && strstr(run.why, "octet"), run.why);
        run.store = NULL;
        finish(&run);
}

static void refused_for_room(void *arg, int result)
{
        *(int *) arg = result;
}

TEST(a_full_disk_refuses_bodies_and_then_all)
{
        static struct run run;
        int with_body = 1, without = 1;
        struct store_batch *b;

        prepare(&run, false);
        io_sim_set_free(run.io, 1 << 20); /* of a terabyte */
        CHECK(start(&run) == 0, "start");
        CHECK(store_state(run.store) == STORE_FULL, "state");
        b = store_batch_new(run.store, &queue, 0);
        store_blob_put(b, 1, 1, SPAN_LITERAL(""), NULL, 0);
        store_commit(run.store, &b, 1, 0, refused_for_room, &with_body);
        b = store_batch_new(run.store, &queue, 0);
        store_commit(run.store, &b, 1, 0, refused_for_room, &without);
        while (with_body == 1 || without == 1)
                loop_run_once(run.loop, 1000);
        CHECK(with_body == -ENOSPC && without == -ENOSPC, "refused before anything was written");
        finish(&run);
}

TEST_MAIN()
