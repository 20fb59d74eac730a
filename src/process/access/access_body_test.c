/* Bodies by both ways, against a keeper that the test plays: what comes is always
 * the body, also where its place was written over, is not told, or cannot be read; and
 * its digest where one lies behind it that is good. */
#include "process/access/access_body.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/test.h"
#include "message/digest.h"
#include "process/access/access.h"
#include "process/access/access_ahead.h"
#include "process/access/access_session.h"
#include "store/store.h"

enum { BODIES = 1000, BODY = 1000, GAP = 200, SEGMENT = 7 };

static struct world {
        struct loop *loop;
        struct process process;
        struct access access;
        struct access_session *session;
        struct access_body body;
        struct channel *keeper; /* the end that the test plays */
        int file;               /* the segment */
        char bodies[BODIES][BODY + GAP]; /* and what lies behind each */
        size_t behind;
        bool refuses_segment, tells_no_place, dies, is_got;
        int result;
        unsigned place_queries, segment_queries, blob_queries;
} w;

static struct span body_at(size_t index)
{
        return span_make(w.bodies[index], BODY - index % 7); /* of several sizes */
}

static struct span blob_at(size_t index)
{
        return span_make(w.bodies[index], body_at(index).len + w.behind);
}

static uint64_t body_id(const void *of, size_t index)
{
        (void) of;
        return index + 1;
}

/* ---- the keeper --------------------------------------------------------------- */

static void on_place_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct reader each = ipc_items_read(m->place_query.blobs);
        struct buffer memory = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items items = {0};
        struct ipc_blob blob;

        (void) arg;
        (void) fd;
        w.place_queries++;
        while (ipc_next_blob(&each, &blob)) {
                const size_t index = (size_t) blob.blob_id - 1;

                assert_int_equal(0, ipc_add_place(&memory, &items, &(struct ipc_place) {
                        .blob_id = blob.blob_id, .segment = w.tells_no_place ? 0 : SEGMENT,
                        .offset = index * (BODY + GAP), .size = blob_at(index).len,
                        .checksum = store_blob_checksum(blob_at(index))}));
        }
        if (!w.dies)
                CHANNEL_SEND(ch, places, -1, .query = m->place_query.query, .places = items);
        else
                w.keeper = channel_free(ch);
        buffer_done(&memory);
}

static void on_segment_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) arg;
        (void) fd;
        w.segment_queries++;
        assert_true(m->segment_query.segment == SEGMENT);
        CHANNEL_SEND(ch, segment_file, w.refuses_segment ? -1 : w.file,
                     .query = m->segment_query.query, .status = w.refuses_segment ? ENOENT : 0);
}

static void on_blob_query(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct span blob = blob_at((size_t) m->blob_query.blob_id - 1);

        (void) arg;
        (void) fd;
        w.blob_queries++;
        CHANNEL_SEND(ch, blob_octets, -1, .query = m->blob_query.query, .size = blob.len,
                     .octets = span_skip(blob, (size_t) m->blob_query.offset));
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) arg;
        (void) reason;
        w.keeper = channel_free(ch);
}

static const struct channel_handler handler = {
        .on = {[IPC_place_query] = on_place_query, [IPC_segment_query] = on_segment_query,
               [IPC_blob_query] = on_blob_query},
        .closed = on_closed,
};

/* ---- the world ---------------------------------------------------------------- */

static void write_segment(void)
{
        for (size_t i = 0; i < BODIES; i++)
                assert_true(pwrite(w.file, w.bodies[i], BODY + GAP,
                                   (off_t) (i * (BODY + GAP))) == BODY + GAP);
}

static int begin(void **state)
{
        int fds[2];

        (void) state;
        memset(&w, 0, sizeof w);
        w.loop = loop_new();
        w.process.loop = w.loop;
        w.session = calloc(1, sizeof *w.session);
        if (!w.session)
                return -1;
        w.access.process = &w.process;
        w.session->access = &w.access;
        list_init(&w.access.sessions);
        access_keeper_init(&w.access.keeper, &w.access);
        w.file = memfd_create("segment", MFD_CLOEXEC);
        for (size_t i = 0; i < BODIES; i++)
                memset(w.bodies[i], (int) (i * 31 % 255 + 1), BODY);
        write_segment();
        if (access_segments_init(&w.access) < 0 || channel_pair(fds) < 0)
                return -1;
        access_keeper_peer(&w.access.keeper, fds[0]);
        return channel_new(w.loop, fds[1], &handler, NULL, &w.keeper);
}

static int end(void **state)
{
        (void) state;
        access_body_done(w.session, &w.body);
        access_segments_done(&w.access);
        assert_true(w.access.body_bytes == 0);
        channel_free(w.access.keeper.channel);
        channel_free(w.keeper);
        table_done(&w.access.keeper.orders);
        close(w.file);
        w.loop = loop_free(w.loop);
        free(w.session);
        return 0;
}

static void got(struct access_session *s, int result)
{
        (void) s;
        w.is_got = true;
        w.result = result;
}

static int fetch_by(size_t index,
                    void (*get)(struct access_session *s, struct access_body *b, uint64_t size,
                                const struct access_row *row,
                                void (*got)(struct access_session *s, int result)))
{
        const struct access_row row = {.blob_id = index + 1, .body_id = body_id, .index = index,
                                       .count = BODIES};

        w.is_got = false;
        get(w.session, &w.body, body_at(index).len, &row, got);
        for (int i = 0; i < 1000 && !w.is_got; i++)
                loop_run_once(w.loop, 10);
        return w.is_got ? w.result : -ETIMEDOUT;
}

static int fetch(size_t index)
{
        return fetch_by(index, access_body_get);
}

static bool is_right(size_t index)
{
        return fetch(index) == 0 && span_equal(w.body.octets, body_at(index));
}

/* Puts the digest of `id` behind every body. */
static void make_digests(size_t id_off)
{
        for (size_t i = 0; i < BODIES; i++) {
                struct arena arena = ARENA_INIT(DIGEST_STORED_MEMORY);
                struct buffer out = BUFFER_INIT(GAP);

                memcpy(w.bodies[i], "Subject: a\r\n\r\n", 14);
                assert_int_equal(0, digest_make_stored(body_at(i), i + 1 + id_off, NULL, &arena,
                                                        &out));
                memcpy(w.bodies[i] + body_at(i).len, out.data, out.len);
                w.behind = out.len; /* all alike */
                buffer_done(&out);
                arena_done(&arena);
        }
        write_segment();
}

/* The digest comes, and then the body to one who wants that. */
static bool is_digest(size_t index)
{
        return fetch_by(index, access_body_get_digest) == 0 && w.body.is_digest &&
               digest_check(w.body.octets, index + 1) == 0 && is_right(index) &&
               !w.body.is_digest;
}

static bool is_body_instead(size_t index)
{
        return fetch_by(index, access_body_get_digest) == 0 && !w.body.is_digest &&
               span_equal(w.body.octets, body_at(index));
}

/* ---- tests -------------------------------------------------------------------- */

TEST_WITH(a_row_of_bodies_is_read_from_the_segment, begin, end)
{
        for (size_t i = 0; i < BODIES; i++)
                CHECK(is_right(i), "each is itself");
        CHECK(w.blob_queries == 0 && w.segment_queries == 1, "none by message");
        CHECK(w.place_queries < 20, "places are asked for by the hundred");
        CHECK(w.access.counters.bodies_read == BODIES, "counted");
        access_body_drop(w.session, &w.body);
        access_body_trim(w.session, &w.body);
        CHECK(w.access.body_bytes == 0 && !w.body.ahead, "nothing is kept");
        CHECK(is_right(5) && is_right(5) && is_right(900) && is_right(3), "in any order");
}

TEST_WITH(what_was_written_over_comes_by_message, begin, end)
{
        for (size_t i = 0; i < 100; i++)
                CHECK(is_right(i), "as it was");
        assert_int_equal(0, ftruncate(w.file, 0));
        assert_int_equal(0, ftruncate(w.file, BODIES * (BODY + GAP)));
        for (size_t i = 500; i < 600; i++)
                CHECK(is_right(i), "not what lies there now");
        CHECK(w.blob_queries == 100, "by message");
        write_segment();
        CHECK(is_right(700) && w.blob_queries == 100, "and from it again");
}

TEST_WITH(a_segment_cut_short_is_no_matter, begin, end)
{
        assert_int_equal(0, ftruncate(w.file, 3 * (BODY + GAP) + 10));
        for (size_t i = 0; i < 50; i++)
                CHECK(is_right(i), "each is itself");
        CHECK(w.blob_queries == 47, "those behind the end by message");
}

TEST_WITH(bodies_without_a_place_come_by_message, begin, end)
{
        w.tells_no_place = true;
        for (size_t i = 0; i < 100; i++)
                CHECK(is_right(i), "each is itself");
        CHECK(w.blob_queries == 100 && w.segment_queries == 0, "by message");
}

TEST_WITH(a_segment_that_is_gone_is_no_matter, begin, end)
{
        w.refuses_segment = true;
        for (size_t i = 0; i < 100; i++)
                CHECK(is_right(i), "each is itself");
        CHECK(w.blob_queries == 100, "by message");
}

TEST_WITH(digests_are_read_from_the_segment, begin, end)
{
        CHECK(is_body_instead(3), "there is none yet");
        make_digests(0);
        access_body_done(w.session, &w.body);
        for (size_t i = 0; i < BODIES; i++)
                CHECK(is_digest(i), "each is itself");
        CHECK(w.blob_queries == 0 && w.segment_queries == 1, "none by message");
        CHECK(w.access.counters.digests == BODIES, "counted");
}

TEST_WITH(digests_without_a_place_come_by_message, begin, end)
{
        w.tells_no_place = true;
        CHECK(is_body_instead(3), "there is none yet");
        make_digests(0);
        for (size_t i = 0; i < 100; i++)
                CHECK(is_digest(i), "each is itself");
        CHECK(w.segment_queries == 0, "by message");
}

TEST_WITH(a_digest_that_is_none_is_no_matter, begin, end)
{
        make_digests(1);
        CHECK(is_body_instead(3), "of another message");
        make_digests(0);
        access_body_done(w.session, &w.body);
        for (size_t i = 0; i < w.behind; i++)
                w.bodies[i][body_at(i).len + i] ^= 1;
        write_segment();
        for (size_t i = 0; i < w.behind; i++)
                CHECK(is_body_instead(i), "hurt");
        CHECK(is_digest(w.behind), "but the next one is good");
        w.tells_no_place = true;
        access_body_done(w.session, &w.body);
        CHECK(is_body_instead(3) && is_digest(w.behind), "nor by message");
}

TEST_WITH(a_keeper_that_dies_is_told, begin, end)
{
        CHECK(is_right(0), "first");
        w.dies = true;
        CHECK(fetch(1) == -EPIPE, "its order fails");
        CHECK(fetch(2) == -EPIPE, "and every later one");
}

TEST_MAIN()
