/* Random histories (store_history.h) over the simulated disk, each recorded once. Then
 * the disk is made as it was behind every call to it, with what was not durable dropped,
 * torn at any sector, cut at any octet, or kept; with the index as it was then, or
 * without any: what is opened there must be right. And where the disk is made to lie, it
 * must be found out.
 *
 * HAYAUMA_LONG: more histories, and every loss at every call; else one at each STEP-th. */
#include "store/store_history.c"

#include "base/test.h"
#include "store/io_sim.h"
#include "store/local.h"

enum { CALLS_MIN = 2000, SNAPSHOTS_MAX = 4000, AGAIN_EVERY = 16, SYNC_US = 300,
       HASTY_SYNC_US = 5000, HASTY_TRIES = 4, STEP = 3 };

static const struct store_options options = {.segment_size = 48 * 1024, .directory_fd = -1};

/* What a crash would leave of the index. */
struct snapshot {
        size_t call;
        struct index *index;
};

struct recording {
        struct loop *loop;
        struct io *io;
        struct index *index;
        struct history history;
        struct snapshot snapshots[SNAPSHOTS_MAX];
        size_t snapshot_count;
};

static struct recording recording;

/* ---- one history ------------------------------------------------------------------ */

static size_t now(void *arg)
{
        return io_sim_calls(((struct recording *) arg)->io);
}

static bool write_file(void *arg, uint64_t blob_id, struct span octets)
{
        struct io *io = ((struct recording *) arg)->io;
        struct iovec part = {(void *) (uintptr_t) octets.p, octets.len};
        char path[LOCAL_BLOB_PATH_MAX];
        const int file = io_open(io, local_blob_path(blob_id, path), IO_CREATE | IO_EXCLUSIVE);
        const int r = file < 0 ? file : io_pwritev(io, file, &part, 1, 0);

        io_close(io, file);
        return r == 0;
}

static void flushed(void *arg)
{
        struct recording *r = arg;

        if (r->snapshot_count < SNAPSHOTS_MAX)
                r->snapshots[r->snapshot_count++] =
                        (struct snapshot) {io_sim_calls(r->io), index_mem_copy(r->index)};
}

static void make_eager(struct store *s, bool is_hasty)
{
        struct local *l = (struct local *) s;

        pthread_mutex_lock(&l->mutex);
        atomic_store(&l->slow_us, 0);
        atomic_store(&l->is_hasty, is_hasty);
        atomic_store(&l->reclaim.is_eager, true);
        pthread_cond_signal(&l->has_chores);
        pthread_mutex_unlock(&l->mutex);
}

static void record_history(uint64_t seed, bool is_hasty)
{
        struct recording *r = &recording;
        struct history *h = &r->history;
        char error[256];

        *r = (struct recording) {.loop = loop_new(), .io = io_sim_new(),
                                 .index = index_mem_new(5)};
        io_sim_record(r->io);
        io_sim_set_sync_us(r->io, is_hasty ? HASTY_SYNC_US : SYNC_US);
        index_mem_keep(r->index);
        index_mem_on_flush(r->index, flushed, r);
        *h = (struct history) {.loop = r->loop, .now = now, .write_file = write_file, .arg = r};
        CHECK(local_open_with(r->io, r->index, &options, r->loop, &h->store, error) == 0, error);
        make_eager(h->store, is_hasty);
        history_begin(h, seed);
        while (io_sim_calls(r->io) < CALLS_MIN)
                CHECK(history_step(h), h->why);
        CHECK(!log_is_whole(&((struct local *) h->store)->log), "segments were used again");
        CHECK(((struct local *) h->store)->reclaim.moved_octets, "bodies were moved");
        CHECK(io_sim_syncs_at_once(r->io) > 1, "groups were on their way at once");
        history_end(h);
        store_close(h->store);
        index_mem_on_flush(r->index, NULL, NULL);
}

static void forget_history(void)
{
        struct recording *r = &recording;

        history_done(&r->history);
        for (size_t i = 0; i < r->snapshot_count; i++)
                index_mem_destroy(r->snapshots[i].index);
        index_mem_destroy(r->index);
        io_sim_destroy(r->io);
        loop_free(r->loop);
}

/* ---- every prefix of it ------------------------------------------------------------ */

static struct index *index_at(const struct recording *r, size_t cut)
{
        struct index *index = NULL;

        for (size_t i = 0; i < r->snapshot_count && r->snapshots[i].call <= cut; i++)
                index = r->snapshots[i].index;
        return index ? index_mem_copy(index) : index_mem_new(0);
}

/* Every file that a body may be has one. */
static bool has_no_orphan_file(struct io *io, struct store *s, struct history *h)
{
        struct store_metrics m = {0};
        size_t files = 0;

        store_get_metrics(s, &m);
        for (uint64_t id = 1; id < h->next_id; id++) {
                struct buffer scratch = BUFFER_INIT(1024);
                struct blob_place place;

                files += apply_find_blob(((struct local *) s)->index, id, true, &scratch,
                                         &place) == 0 && place.kind == BLOB_IN_FILE;
                buffer_done(&scratch);
        }
        if (io_sim_count(io, "blobs/") == files)
                return true;
        snprintf(h->why, sizeof h->why, "%zu files of bodies, and %zu bodies in files",
                 io_sim_count(io, "blobs/"), files);
        return false;
}

/* What the helper thread would do within a second. */
static void begin_chores(struct store *s)
{
        struct local *l = (struct local *) s;

        pthread_mutex_lock(&l->mutex);
        atomic_store(&l->reclaim.is_eager, true);
        pthread_cond_signal(&l->has_chores);
        pthread_mutex_unlock(&l->mutex);
}

static bool opens_and_is_right(struct io *io, struct index *index, size_t cut)
{
        struct history *h = &recording.history;
        struct store *s;
        bool is_good;

        h->why[0] = '\0';
        if (local_open_with(io, index, &options, recording.loop, &s, h->why) < 0)
                return false;
        if (cut % 2)
                begin_chores(s);
        is_good = history_check(h, s, cut) && has_no_orphan_file(io, s, h);
        store_close(s);
        history_checked(h);
        return is_good;
}

static bool prefix_is_right(struct io *disk, size_t cut, enum io_sim_loss loss, bool has_index)
{
        struct io *io = io_sim_clone(disk);
        struct index *index = has_index ? index_at(&recording, cut) : index_mem_new(0);
        bool is_good;

        io_sim_restart(io, loss, cut);
        is_good = opens_and_is_right(io, index, cut);
        /* And what recovery left is right too. */
        if (is_good && (cut % AGAIN_EVERY == 0 || loss == IO_SIM_KILL)) {
                io_sim_restart(io, IO_SIM_DROP, cut);
                is_good = opens_and_is_right(io, index_mem_new(0), cut);
        }
        io_sim_destroy(io);
        return is_good;
}

static const struct {
        enum io_sim_loss loss;
        bool has_index;
        const char *name;
} losses[] = {
        { IO_SIM_DROP, false, "dropped, no index" },
        { IO_SIM_TEAR, true,  "torn" },
        { IO_SIM_CUT,  false, "cut, no index" },
        { IO_SIM_DROP, true,  "dropped" },
        { IO_SIM_KILL, true,  "kept, but not durable" },
        { IO_SIM_CUT,  true,  "cut" },
        { IO_SIM_TEAR, false, "torn, no index" },
        { IO_SIM_KEEP, false, "kept, no index" },
};
enum { LOSSES = sizeof losses / sizeof losses[0] };

static void check_prefixes(bool is_all)
{
        struct io *disk = io_sim_new();

        for (size_t cut = 0; cut <= io_sim_calls(recording.io); cut += is_all ? 1 : STEP) {
                io_sim_replay(disk, recording.io, cut);
                for (size_t i = is_all ? 0 : cut / STEP % LOSSES; i < LOSSES;
                     i += is_all ? 1 : LOSSES) {
                        const bool is_good = prefix_is_right(disk, cut, losses[i].loss,
                                                             losses[i].has_index);

                        if (!is_good)
                                print_error("after call %zu: %s\n", cut, recording.history.why);
                        CHECK(is_good, losses[i].name);
                }
        }
        io_sim_destroy(disk);
}

TEST(every_prefix_of_a_random_history_is_right)
{
        const bool is_long = getenv("HAYAUMA_LONG");

        for (uint64_t seed = 1; seed <= (is_long ? 6 : 1); seed++) {
                record_history(seed, false);
                check_prefixes(is_long);
                forget_history();
        }
}

/* ---- the checker is checked ----------------------------------------------------------- */

static bool lie_is_noticed(enum io_sim_lie lie)
{
        struct io *disk = io_sim_new();
        bool is_noticed = false;

        io_sim_set_lie(disk, lie);
        for (size_t cut = 1; cut <= io_sim_calls(recording.io) && !is_noticed; cut++) {
                io_sim_replay(disk, recording.io, cut);
                is_noticed = !prefix_is_right(disk, cut, IO_SIM_DROP, false);
        }
        io_sim_destroy(disk);
        return is_noticed;
}

TEST(a_disk_that_lies_is_noticed)
{
        record_history(77, false);
        CHECK(lie_is_noticed(IO_SIM_NO_SYNC), "no fdatasync");
        CHECK(lie_is_noticed(IO_SIM_NO_DIRECTORY_SYNC), "no fsync of folders");
        CHECK(lie_is_noticed(IO_SIM_LATE_SYNC), "acknowledged before it is synced");
        CHECK(lie_is_noticed(IO_SIM_RENAME_FIRST), "a name before what it names");
        forget_history();
}

/* Answers that go out before the groups in front are durable. It takes two groups side by
 * side, and a callback that comes before the slower sync is over. */
static bool haste_is_noticed(uint64_t seed)
{
        struct io *disk = io_sim_new();
        bool is_noticed = false;

        record_history(seed, true);
        for (size_t cut = 1; cut <= io_sim_calls(recording.io) && !is_noticed; cut++) {
                io_sim_replay(disk, recording.io, cut);
                is_noticed = !prefix_is_right(disk, cut, IO_SIM_DROP, false) &&
                             strstr(recording.history.why, "acknowledged is lost");
        }
        io_sim_destroy(disk);
        forget_history();
        return is_noticed;
}

TEST(a_store_that_answers_out_of_order_is_noticed)
{
        bool is_noticed = false;

        for (uint64_t seed = 78; seed < 78 + HASTY_TRIES && !is_noticed; seed++)
                is_noticed = haste_is_noticed(seed);
        CHECK(is_noticed, "acknowledged before the group in front is durable");
}

TEST_MAIN()
