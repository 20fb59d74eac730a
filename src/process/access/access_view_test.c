/* Views beside a keeper that the test plays, and who is shown what when it dies: a
 * session that had the mailbox selected keeps what it knows until the new keeper has told
 * all, and one that selects it meanwhile waits for that. */
#include "process/access/access_view.h"

#include <errno.h>
#include <unistd.h>

#include "base/test.h"
#include "ipc/message_row.h"
#include "process/access/access.h"

enum { MAILBOX = 7 };

/* Of each viewer: how often it was called, and the messages it was shown last. */
struct viewer {
        struct access_viewer viewer;
        unsigned changed, ended;
        size_t count;
        int reason;
};

static struct world {
        struct loop *loop;
        struct process process;
        struct access access;
        struct access_account *account;
        struct channel *keeper; /* the end that the test plays */
        uint64_t asked;         /* the number of the view_open that came last, 0: none */
        unsigned opens, closes;
} w;

static void on_view_open(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        (void) arg;
        (void) fd;
        assert_true(m->view_open.mailbox_id == MAILBOX);
        w.asked = m->view_open.view;
        w.opens++;
}

static void on_view_close(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        (void) ch;
        (void) arg;
        (void) m;
        (void) fd;
        w.closes++;
}

static void on_closed(struct channel *ch, void *arg, int reason)
{
        (void) arg;
        (void) reason;
        w.keeper = channel_free(ch);
}

static const struct channel_handler handler = {
        .on = {[IPC_view_open] = on_view_open, [IPC_view_close] = on_view_close},
        .closed = on_closed,
};

static void turn(void)
{
        for (int i = 0; i < 20; i++)
                loop_run_once(w.loop, 0);
}

static void new_keeper(void)
{
        int fds[2];

        assert_int_equal(0, channel_pair(fds));
        w.asked = 0;
        access_keeper_peer(&w.access.keeper, fds[0]);
        assert_int_equal(0, channel_new(w.loop, fds[1], &handler, NULL, &w.keeper));
        turn();
}

static void keeper_dies(void)
{
        w.keeper = channel_free(w.keeper);
        turn();
        assert_true(!w.access.keeper.channel);
}

/* ---- what it tells -------------------------------------------------------------- */

static void tell_head(uint32_t uid_next)
{
        CHANNEL_SEND(w.keeper, view_head, -1, .view = w.asked, .uid_validity = 1,
                     .uid_next = uid_next, .highest_modseq = uid_next);
}

static struct span rows(char *to, uint32_t first, uint32_t last)
{
        size_t len = 0;

        for (uint32_t uid = first; uid <= last; uid++, len += IPC_ROW_OCTETS)
                ipc_put_message_row(to + len, &(struct ipc_message_row) {
                        .uid = uid, .modseq = uid, .size = 100, .blob_id = uid});
        return span_make(to, len);
}

/* Messages with the UIDs 1 to `last`. */
static void tell_page(uint32_t last)
{
        char octets[64 * IPC_ROW_OCTETS];

        CHANNEL_SEND(w.keeper, view_page, -1, .view = w.asked, .is_last = true,
                     .rows = rows(octets, 1, last));
        turn();
}

static void tell_all(uint32_t last)
{
        tell_head(last + 1);
        tell_page(last);
}

static void tell_new(uint32_t uid)
{
        char octets[IPC_ROW_OCTETS];

        CHANNEL_SEND(w.keeper, view_change, -1, .view = w.asked, .is_last = true,
                     .uid_next = uid + 1, .highest_modseq = uid, .rows = rows(octets, uid, uid));
        turn();
}

/* ---- viewers --------------------------------------------------------------------- */

static void changed(struct access_viewer *v, struct imap_view *current)
{
        struct viewer *of = LIST_OBJECT(v, struct viewer, viewer);

        of->changed++;
        of->count = current->count;
}

static void ended(struct access_viewer *v, int reason)
{
        struct viewer *of = LIST_OBJECT(v, struct viewer, viewer);

        of->ended++;
        of->reason = reason;
}

static struct viewer new_viewer(void)
{
        return (struct viewer) {.viewer = {.changed = changed, .ended = ended}};
}

static void attach(struct viewer *v)
{
        assert_int_equal(0, access_view_attach(w.account, MAILBOX, &v->viewer));
        turn();
}

static int begin(void **state)
{
        (void) state;
        memset(&w, 0, sizeof w);
        w.loop = loop_new();
        w.process.loop = w.loop;
        w.access.process = &w.process;
        list_init(&w.access.sessions);
        list_init(&w.access.idle_views);
        access_keeper_init(&w.access.keeper, &w.access);
        new_keeper();
        w.account = access_account_get(&w.access, SPAN_LITERAL("hanako@example.jp"));
        if (!w.account)
                return -1;
        w.account->session_count = 1; /* as a session keeps it */
        return 0;
}

static int end(void **state)
{
        (void) state;
        w.access.keeper.channel = channel_free(w.access.keeper.channel);
        access_view_reopen_all(&w.access); /* frees those that rest */
        assert_true(w.account->view_count == 0);
        w.account->session_count = 0;
        access_account_settle(w.account);
        w.keeper = channel_free(w.keeper);
        table_done(&w.access.keeper.orders);
        table_done(&w.access.views);
        table_done(&w.access.accounts);
        w.loop = loop_free(w.loop);
        return 0;
}

/* ---- tests ------------------------------------------------------------------------ */

TEST_WITH(who_attaches_is_told_when_all_is_there, begin, end)
{
        struct viewer a = new_viewer(), b = new_viewer();

        attach(&a);
        tell_head(4);
        turn();
        CHECK(a.changed == 0, "not yet all");
        tell_page(3);
        CHECK(a.changed == 1 && a.count == 3, "all");
        attach(&b);
        CHECK(b.changed == 1 && b.count == 3 && w.opens == 1, "the second at once");
        tell_new(4);
        CHECK(a.count == 4 && b.count == 4, "both of what comes");
        access_view_detach(&a.viewer);
        access_view_detach(&b.viewer);
        attach(&a);
        CHECK(a.changed == 3 && a.count == 4 && w.opens == 1, "it was kept for a while");
        access_view_detach(&a.viewer);
}

TEST_WITH(changes_that_come_first_are_not_lost, begin, end)
{
        struct viewer a = new_viewer();

        attach(&a);
        tell_head(4);
        tell_new(4);
        CHECK(a.changed == 0, "not yet all");
        tell_page(3);
        CHECK(a.changed == 1 && a.count == 4, "with what came meanwhile");
        access_view_detach(&a.viewer);
}

TEST_WITH(who_selects_behind_a_death_waits_for_the_new_keeper, begin, end)
{
        struct viewer old = new_viewer(), new = new_viewer();

        attach(&old);
        tell_all(3);
        keeper_dies(); /* and had made a fourth message durable, unsaid */
        new_keeper();
        CHECK(w.opens == 2 && w.asked == 2, "opened anew");
        attach(&new);
        CHECK(new.changed == 0, "it must not see the time before");
        CHECK(old.changed == 1 && access_view_current(&old.viewer)->count == 3,
              "who had it keeps what it knows");
        tell_new(5); /* a change by the new keeper, answered already */
        CHECK(new.changed == 0, "nor half");
        tell_all(4);
        CHECK(new.changed == 1 && new.count == 5, "then all of it");
        CHECK(old.changed == 2 && old.count == 5, "and the other what is new");
        access_view_detach(&old.viewer);
        access_view_detach(&new.viewer);
}

TEST_WITH(who_waits_is_told_by_the_third_keeper, begin, end)
{
        struct viewer old = new_viewer(), new = new_viewer();

        attach(&old);
        tell_all(3);
        keeper_dies();
        new_keeper();
        attach(&new);
        tell_head(9);
        tell_new(9);
        keeper_dies();
        new_keeper();
        CHECK(w.opens == 3 && new.changed == 0 && new.ended == 0, "opened again");
        tell_all(5);
        CHECK(new.changed == 1 && new.count == 5, "nothing of the second is left");
        CHECK(old.count == 5, "for nobody");
        access_view_detach(&new.viewer);
        access_view_detach(&old.viewer);
}

TEST_WITH(what_rests_is_forgotten_with_its_keeper, begin, end)
{
        struct viewer a = new_viewer();

        attach(&a);
        tell_all(3);
        access_view_detach(&a.viewer);
        CHECK(w.account->view_count == 1, "kept for the next");
        keeper_dies();
        new_keeper();
        CHECK(w.account->view_count == 0 && w.opens == 1, "nobody looks: not opened anew");
        attach(&a);
        CHECK(a.changed == 1 && w.opens == 2, "the new keeper is asked");
        tell_all(4);
        CHECK(a.changed == 2 && a.count == 4, "and tells");
        access_view_detach(&a.viewer);
}

TEST_WITH(a_view_that_the_keeper_gives_up_is_opened_anew, begin, end)
{
        struct viewer a = new_viewer(), b = new_viewer();

        attach(&a);
        tell_all(3);
        CHANNEL_SEND(w.keeper, view_gone, -1, .view = w.asked);
        turn();
        CHECK(w.opens == 2 && a.ended == 0, "asked for again");
        attach(&b);
        CHECK(b.changed == 0, "who comes now waits");
        tell_all(6);
        CHECK(a.count == 6 && b.changed == 1 && b.count == 6, "both see the new one");
        access_view_detach(&a.viewer);
        access_view_detach(&b.viewer);
}

TEST_WITH(a_deleted_mailbox_ends_who_looks, begin, end)
{
        struct viewer a = new_viewer();

        attach(&a);
        tell_all(3);
        CHANNEL_SEND(w.keeper, view_gone, -1, .view = w.asked, .is_deleted = true);
        turn();
        CHECK(a.ended == 1 && a.reason == -ENOENT, "told");
        CHECK(w.account->view_count == 0 && !a.viewer.view, "and gone");
        attach(&a);
        CHANNEL_SEND(w.keeper, view_head, -1, .view = w.asked, .status = ENOENT);
        turn();
        CHECK(a.ended == 2 && a.reason == -ENOENT, "nor can it be opened");
}

TEST_MAIN()
