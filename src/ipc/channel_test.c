/* Two ends of a channel on one loop: order, descriptors, credits, nonsense,
 * and being freed at bad moments. */
#include "ipc/channel.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/test.h"

enum { MARKED = 1000 }; /* ids from it on: bodies in order, of octets that are the id's lowest */

struct end {
        struct channel *channel;
        unsigned drops, lents, credits, closed, bodies;
        size_t octets;
        uint64_t last_id;
        int reason, fd;
        bool hold, free_in_handler;
        size_t held;
};

static void on_drop(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct end *e = arg;

        (void) fd;
        assert_true(m->drop.message_id == e->last_id + 1);
        e->last_id = m->drop.message_id;
        e->drops++;
        if (e->hold)
                e->held += channel_hold(ch);
        if (e->free_in_handler)
                e->channel = channel_free(ch);
}

static void on_body(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct end *e = arg;
        const struct span octets = m->body.octets;

        (void) fd;
        if (m->body.message_id >= MARKED) {
                assert_true(m->body.message_id == MARKED + e->bodies++);
                e->octets += octets.len;
                for (size_t i = 0; i < octets.len; i++)
                        assert_true(octets.p[i] == (char) m->body.message_id);
        }
        e->drops++;
        if (e->hold)
                e->held += channel_hold(ch);
}

static void on_lent(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct end *e = arg;

        (void) ch;
        (void) m;
        e->lents++;
        e->fd = *fd;
        *fd = -1;
}

static void on_credit(struct channel *ch, void *arg)
{
        struct end *e = arg;

        (void) ch;
        e->credits++;
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        struct end *e = arg;

        e->closed++;
        e->reason = reason;
        e->channel = channel_free(ch);
}

static const struct channel_handler handler = {
        .on = {[IPC_drop] = on_drop, [IPC_body] = on_body, [IPC_lent] = on_lent},
        .credit = on_credit,
        .closed = on_closed,
};

struct both {
        struct loop *loop;
        struct end a, b;
};

static void open_both(struct both *t)
{
        int fds[2];

        *t = (struct both) {.loop = loop_new()};
        t->a.fd = t->b.fd = -1;
        assert_int_equal(0, channel_pair(fds));
        assert_int_equal(0, channel_new(t->loop, fds[0], &handler, &t->a, &t->a.channel));
        assert_int_equal(0, channel_new(t->loop, fds[1], &handler, &t->b, &t->b.channel));
}

static void close_both(struct both *t)
{
        channel_free(t->a.channel);
        channel_free(t->b.channel);
        loop_free(t->loop);
}

static void run(struct both *t, int rounds)
{
        for (int i = 0; i < rounds; i++)
                loop_run_once(t->loop, 5);
}

TEST(frames_come_in_order)
{
        struct both t;

        open_both(&t);
        for (uint64_t id = 1; id <= 1000; id++)
                assert_int_equal(0, CHANNEL_SEND(t.a.channel, drop, -1, .message_id = id));
        run(&t, 10);
        assert_int_equal(1000, t.b.drops);
        close_both(&t);
}

TEST(what_may_wait_leaves_with_what_may_not)
{
        struct both t;

        open_both(&t);
        for (uint64_t id = 1; id <= 2; id++)
                assert_int_equal(0, channel_send_later(
                        t.a.channel, IPC_drop,
                        &(const union ipc_message) {.drop = {.message_id = id}}, -1));
        run(&t, 3);
        CHECK(t.b.drops == 0 && channel_output_len(t.a.channel) > 0, "they wait");
        channel_push(t.a.channel);
        run(&t, 3);
        CHECK(t.b.drops == 2 && channel_output_len(t.a.channel) == 0, "pushed");
        channel_push(t.a.channel);
        assert_int_equal(0, channel_send_later(
                t.a.channel, IPC_drop, &(const union ipc_message) {.drop = {.message_id = 3}}, -1));
        assert_int_equal(0, CHANNEL_SEND(t.a.channel, drop, -1, .message_id = 4));
        run(&t, 3);
        CHECK(t.b.drops == 4, "taken along, in order");
        close_both(&t);
}

/* Short ones and long ones between other frames, more than are lent at once and more than
 * the socket takes, with a descriptor among them. */
TEST(what_is_lent_comes_in_its_place)
{
        enum { COUNT = 100 };
        static char texts[COUNT][60000];
        struct both t;
        size_t octets = 0;

        open_both(&t);
        for (unsigned i = 0; i < COUNT; i++) {
                const size_t len = i % 5 == 0 ? i : sizeof texts[i] - 100 * i;
                union ipc_message m = {.body = {.message_id = MARKED + i}};

                memset(texts[i], (char) (MARKED + i), len);
                assert_int_equal(0, channel_send_lent(t.a.channel, IPC_body, &m,
                                                      span_make(texts[i], len)));
                octets += len;
                if (i % 3 == 0)
                        CHANNEL_SEND(t.a.channel, drop, -1, .message_id = 1 + i / 3);
                if (i == 70)
                        CHANNEL_SEND(t.a.channel, lent, STDERR_FILENO, .message_id = 9);
                CHECK(channel_output_len(t.a.channel) > octets, "all counts as queued");
        }
        run(&t, 1000);
        CHECK(t.b.bodies == COUNT && t.b.octets == octets && t.b.lents == 1, "all came");
        CHECK(channel_output_len(t.a.channel) == 0 && !t.a.closed && !t.b.closed, "all is well");
        close(t.b.fd);
        for (unsigned i = 0; i < 3; i++) { /* all at once, and as it lies */
                union ipc_message m = {.body = {.message_id = MARKED + COUNT + i}};

                memset(texts[i], (char) (MARKED + COUNT + i), 5000);
                assert_int_equal(0, channel_send_lent(t.a.channel, IPC_body, &m,
                                                      span_make(texts[i], 5000)));
        }
        run(&t, 3);
        CHECK(t.b.octets == octets + 3 * 5000 && t.b.bodies == COUNT + 3, "three more");
        close_both(&t);
}

TEST(a_descriptor_comes_with_its_frame)
{
        struct both t;
        int pipe_fds[2];
        char c = 'x';

        open_both(&t);
        assert_int_equal(0, pipe(pipe_fds));
        for (uint64_t id = 1; id <= 3; id++)
                CHANNEL_SEND(t.a.channel, drop, -1, .message_id = id);
        assert_int_equal(0, CHANNEL_SEND(t.a.channel, lent, pipe_fds[1], .message_id = 9));
        CHANNEL_SEND(t.a.channel, drop, -1, .message_id = 4);
        close(pipe_fds[1]);
        run(&t, 10);
        assert_int_equal(4, t.b.drops);
        assert_true(t.b.fd >= 0);
        assert_int_equal(1, write(t.b.fd, &c, 1));
        close(t.b.fd);
        assert_int_equal(1, read(pipe_fds[0], &c, 1));
        assert_int_equal(0, read(pipe_fds[0], &c, 1));
        close(pipe_fds[0]);
        close_both(&t);
}

TEST(who_holds_gives_no_credit)
{
        static char octets[IPC_BODY_PART_MAX];
        struct both t;
        unsigned sent = 0;

        open_both(&t);
        t.b.hold = true;
        while (channel_has_credit(t.a.channel)) {
                assert_int_equal(0, CHANNEL_SEND(t.a.channel, body, -1,
                                                 .octets = {octets, sizeof octets}));
                sent++;
                run(&t, 3);
        }
        assert_true(sent >= CHANNEL_WINDOW / sizeof octets);
        run(&t, 20);
        assert_int_equal(sent, t.b.drops);
        assert_int_equal(0, t.a.credits);
        channel_release(t.b.channel, t.b.held);
        run(&t, 5);
        assert_int_equal(1, t.a.credits);
        assert_true(channel_has_credit(t.a.channel));
        close_both(&t);
}

static const struct {
        const char *name;
        struct span octets;
} nonsense[] = {
        { "too long",           SPAN("\xff\xff\xff\xff\x19\0\0\0") },
        { "unknown type",       SPAN("\0\0\0\0\xff\x7f\0\0") },
        { "type not for us",    SPAN("\x02\0\0\0\x0a\0\0\0\x01\0") },
        { "damaged fields",     SPAN("\x02\0\0\0\x19\0\0\0\x01\0") },
        { "descriptor missing", SPAN("\x09\0\0\0\x19\0\x01\0\x01\x01\0\0\0\0\0\0\0") },
        { "two descriptors",    SPAN("\x09\0\0\0\x19\0\x02\0\x01\x01\0\0\0\0\0\0\0") },
        { "credit never given", SPAN("\x04\0\0\0\0\0\0\0\x01\0\0\0") },
};

TEST(nonsense_closes_the_channel)
{
        for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
                struct end e = {.fd = -1};
                struct loop *loop = loop_new();
                int fds[2];

                assert_int_equal(0, channel_pair(fds));
                assert_int_equal(0, channel_new(loop, fds[0], &handler, &e, &e.channel));
                assert_int_equal((ssize_t) nonsense[i].octets.len,
                                 write(fds[1], nonsense[i].octets.p, nonsense[i].octets.len));
                for (int round = 0; round < 5 && !e.closed; round++)
                        loop_run_once(loop, 5);
                CHECK(e.closed == 1 && e.reason == -EBADMSG && e.drops == 0, nonsense[i].name);
                close(fds[1]);
                loop_free(loop);
        }
}

TEST(every_cut_of_a_frame_waits_for_the_rest)
{
        static const struct span frame = SPAN("\x09\0\0\0\x19\0\0\0\x01\x01\0\0\0\0\0\0\0");

        for (size_t cut = 0; cut < frame.len; cut++) {
                struct end e = {.fd = -1};
                struct loop *loop = loop_new();
                int fds[2];

                channel_pair(fds);
                assert_int_equal(0, channel_new(loop, fds[0], &handler, &e, &e.channel));
                assert_int_equal((ssize_t) cut, write(fds[1], frame.p, cut));
                loop_run_once(loop, 5);
                loop_run_once(loop, 0);
                assert_int_equal(0, e.drops);
                assert_int_equal((ssize_t) (frame.len - cut),
                                 write(fds[1], frame.p + cut, frame.len - cut));
                for (int i = 0; i < 3; i++)
                        loop_run_once(loop, 5);
                assert_int_equal(1, e.drops);
                close(fds[1]);
                channel_free(e.channel);
                loop_free(loop);
        }
}

TEST(the_end_is_told_once)
{
        struct both t;

        open_both(&t);
        t.a.channel = channel_free(t.a.channel);
        run(&t, 5);
        assert_int_equal(1, t.b.closed);
        assert_int_equal(0, t.b.reason);
        close_both(&t);
}

TEST(a_handler_may_free_its_channel)
{
        struct both t;

        open_both(&t);
        t.b.free_in_handler = true;
        for (uint64_t id = 1; id <= 10; id++)
                CHANNEL_SEND(t.a.channel, drop, -1, .message_id = id);
        run(&t, 5);
        assert_int_equal(1, t.b.drops);
        assert_int_equal(1, t.a.closed);
        close_both(&t);
}

TEST_MAIN()
