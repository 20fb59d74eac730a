/* Memory runs out: each allocation of a history fails in turn, alone or with all
 * behind it. Whoever asked is told, nobody waits for ever, what was acknowledged
 * is there, and with memory it goes on. So it is with descriptors.
 *
 * HAYAUMA_LONG: every allocation; else some of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/test.h"
#include "store/account.h"
#include "store/local.h"
#include "store/store_check.h"

#define S(text) SPAN_LITERAL(text)

enum { MESSAGES = 12, BODY = 3000, PATIENCE = 5000, TRIES = 40 };

/* ---- allocations that fail --------------------------------------------------- */

static atomic_long left_until = -1; /* allocations until one fails; -1: none does */
static atomic_long seen;
static atomic_bool fails_on;

static bool must_fail(void)
{
        atomic_fetch_add(&seen, 1);
        if (atomic_load(&left_until) < 0)
                return false;
        if (atomic_load(&left_until) == 0)
                return atomic_load(&fails_on);
        return atomic_fetch_sub(&left_until, 1) == 1;
}

static void *refuse(void)
{
        errno = ENOMEM;
        return NULL;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

void *__wrap_malloc(size_t n)
{
        return must_fail() ? refuse() : __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size)
{
        return must_fail() ? refuse() : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n)
{
        return must_fail() ? refuse() : __real_realloc(p, n);
}
void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
        return must_fail() ? refuse() : __real_reallocarray(p, n, size);
}
char *__wrap_strdup(const char *s)
{
        return must_fail() ? refuse() : __real_strdup(s);
}
char *__wrap_strndup(const char *s, size_t n)
{
        return must_fail() ? refuse() : __real_strndup(s, n);
}

static void arm(long after, bool on)
{
        atomic_store(&fails_on, on);
        atomic_store(&seen, 0);
        atomic_store(&left_until, after);
}

static long disarm(void)
{
        atomic_store(&left_until, -1);
        return atomic_load(&seen);
}

/* ---- the history --------------------------------------------------------------- */

static const struct store_options options = {
        .segment_size = 64 * 1024, .reserve_bytes = 4096, .directory_fd = -1};

static char folder[64];
static struct loop *loop;
static struct store *store;
static struct mailboxes *boxes;
static struct account *account;
static bool is_done;
static int last_result;
static bool is_acknowledged[MESSAGES + 1], is_copied[MESSAGES + 1], is_removed[MESSAGES + 1],
        may_be_removed[MESSAGES + 1];
static size_t listed_count;
static struct message_entry listed[100];
static unsigned failures;

static void wait(const char *what)
{
        for (int i = 0; !is_done && i < PATIENCE; i++)
                loop_run_once(loop, 20);
        if (!is_done)
                disarm();
        CHECK(is_done, what);
        is_done = false;
        failures += last_result < 0;
        for (int i = 0; i < 3; i++)
                loop_run_once(loop, 0);
        CHECK(!is_done, "called back once");
}

static void was_done(void *arg, int result)
{
        (void) arg;
        last_result = result;
        is_done = true;
}

static void was_opened(void *arg, int result, struct account *a)
{
        account = a;
        was_done(arg, result);
}

static void was_changed(void *arg, int result, const struct account_changed *c)
{
        (void) c;
        was_done(arg, result);
}

static void was_read(void *arg, int result, struct span octets, uint64_t size)
{
        (void) size;
        if (result == 0 && octets.len != BODY)
                result = -EBADMSG;
        was_done(arg, result);
}

static void was_listed(void *arg, int result, const struct message_entry *entries, size_t count,
                       bool has_more)
{
        (void) has_more;
        CHECK(count <= 100, "few");
        listed_count = count;
        if (count)
                memcpy(listed, entries, count * sizeof listed[0]);
        was_done(arg, result);
}

static void was_listed_kept(void *arg, int result, const struct kept_messages *list, size_t count,
                            const struct kept_place *last, bool has_more)
{
        (void) list;
        (void) count;
        (void) last;
        (void) has_more;
        was_done(arg, result);
}

static void were_expunged(void *arg, int result, uint64_t since, const struct expunged_range *list,
                          size_t count)
{
        (void) since;
        (void) list;
        (void) count;
        was_done(arg, result);
}

static void were_found(void *arg, int result, const struct span *records, size_t count)
{
        (void) records;
        (void) count;
        was_done(arg, result);
}

static bool open_account(void)
{
        if (account)
                account_release(account);
        account = NULL;
        account_open(boxes, S("a@example.jp"), was_opened, NULL);
        wait("an account opens");
        return account != NULL;
}

static void forget(void)
{
        account_forget(account);
        open_account();
}

static void put_body(struct store_batch *b, uint64_t id, struct span body)
{
        int fd;

        if (id % 4 || store_blob_lend(store, id, &fd) < 0) {
                store_blob_put(b, id, 1, S("d"), &body, 1);
                return;
        }
        CHECK(write(fd, body.p, body.len) == (ssize_t) body.len, "write");
        close(fd);
        store_blob_adopt(b, id, 1, S("d"));
}

static void deliver(uint64_t id)
{
        static char body[BODY];
        struct delivery d = {.mailbox = S("INBOX"), .entry = {.blob_id = id, .size = BODY},
                             .keywords = &S("$Junk"), .keyword_count = 1};
        struct store_batch *b;
        uint32_t uid;

        if (!account && !open_account())
                return;
        b = account_batch(account);
        if (!b)
                return;
        memset(body, (int) ('a' + id), sizeof body);
        put_body(b, id, span_make(body, sizeof body));
        store_trace(b, &S("key"), 1, S("record"));
        if (account_deliver(account, &d, b, &uid) < 0) {
                store_batch_free(b);
                forget();
                failures++;
                return;
        }
        store_commit(store, &b, 1, 0, was_done, NULL);
        wait("a delivery ends");
        is_acknowledged[id] = last_result == 0;
        if (last_result < 0)
                forget();
}

static int change(enum account_change_kind kind, uint32_t first, uint32_t last)
{
        const struct uid_range uids = {first, last};
        struct mailbox_status inbox;

        int r;

        if ((!account && !open_account()) ||
            account_mailbox(account, S("INBOX"), &inbox) < 0)
                return -ENOENT;
        account_change(account, &(struct account_change) {
                .kind = kind, .mailbox_id = inbox.mailbox_id, .uids = &uids, .uid_count = 1,
                .flags = MESSAGE_SEEN, .to = S("INBOX")}, was_changed, NULL);
        wait("a change ends");
        r = last_result;
        if (r < 0)
                forget();
        return r;
}

/* The body of this message; 0: there is none, or one cannot tell. */
static uint64_t body_of(uint32_t uid)
{
        struct mailbox_status inbox;

        if ((!account && !open_account()) || account_mailbox(account, S("INBOX"), &inbox) < 0)
                return 0;
        account_list(account, inbox.mailbox_id, uid, 1, was_listed, NULL);
        wait("a listing ends");
        return last_result == 0 && listed_count && listed[0].uid == uid ? listed[0].blob_id : 0;
}

static void expunge(uint32_t uid)
{
        const uint64_t id = body_of(uid);

        if (!id)
                return;
        may_be_removed[id] = true;
        is_removed[id] = change(ACCOUNT_EXPUNGE, uid, uid) == 0;
}

static void copy(uint32_t uid)
{
        const uint64_t id = body_of(uid);

        is_copied[id] = id != 0;
        if (id)
                change(ACCOUNT_COPY, uid, uid);
}

static void ask(void)
{
        struct mailbox_status inbox;

        if ((!account && !open_account()) || account_mailbox(account, S("INBOX"), &inbox) < 0)
                return;
        account_expunged(account, inbox.mailbox_id, were_expunged, NULL);
        wait("what went");
        account_list_kept(account, &(struct kept_place) {0}, was_listed_kept, NULL);
        wait("what is kept");
        store_trace_find(store, S("key"), 10, were_found, NULL);
        wait("a trace");
        store_blob_read(store, 1, 0, BODY, was_read, NULL);
        wait("a body");
}

static char why[256];

static int open_store(void)
{
        char uri[128];

        snprintf(uri, sizeof uri, "local:%s", folder);
        why[0] = '\0';
        return store_open(uri, &options, loop, &store, why);
}

static void begin(void)
{
        snprintf(folder, sizeof folder, "/dev/shm/store-test.XXXXXX");
        CHECK(mkdtemp(folder), "folder");
        memset(is_acknowledged, 0, sizeof is_acknowledged);
        memset(is_copied, 0, sizeof is_copied);
        memset(is_removed, 0, sizeof is_removed);
        memset(may_be_removed, 0, sizeof may_be_removed);
        loop = loop_new();
        failures = 0;
        is_done = false;
}

static void open_all(void)
{
        CHECK(open_store() == 0 && mailboxes_new(store, &boxes) == 0, why);
        mailboxes_keep_expunged(boxes, &(struct expunge_keep) {UINT64_MAX / 4, 3 * BODY});
        account = NULL;
}

static void close_all(void)
{
        if (account)
                account_release(account);
        account = NULL;
        store = store_close(store);
        boxes = mailboxes_free(boxes);
}

static void end(void)
{
        char command[128];

        loop = loop_free(loop);
        snprintf(command, sizeof command, "rm -rf %s", folder);
        CHECK(system(command) == 0, "clean");
}

static void run(void)
{
        for (uint64_t id = 1; id <= 6; id++)
                deliver(id);
        expunge(2);
        change(ACCOUNT_FLAGS, 1, 3);
        expunge(4);
        copy(3);
        ask();
        for (uint64_t id = 7; id < MESSAGES; id++)
                deliver(id);
        expunge(5);
        expunge(1);
        expunge(6);
        ask();
}

/* ---- what is left ---------------------------------------------------------------- */

static void note_fault(void *arg, const char *text)
{
        (void) arg;
        print_error("check --store: %s\n", text);
}

static void check_all(void)
{
        struct store_check check = {.fault = note_fault};
        struct mailbox_status inbox = {0};

        CHECK(open_account(), "the account");
        if (account_mailbox(account, S("INBOX"), &inbox) == 0) {
                account_list(account, inbox.mailbox_id, 1, 100, was_listed, NULL);
                wait("a listing");
        } else {
                listed_count = 0;
        }
        for (uint64_t id = 1; id <= MESSAGES; id++) {
                unsigned count = 0;

                for (size_t i = 0; i < listed_count; i++)
                        count += listed[i].blob_id == id;
                CHECK(count <= 1u + is_copied[id], "once, or once more as a copy");
                CHECK(count || !is_acknowledged[id] || may_be_removed[id], "nothing is lost");
                CHECK(!count || !is_removed[id] || is_copied[id], "what went is gone");
                if (count) {
                        store_blob_read(store, id, 0, BODY, was_read, NULL);
                        wait("a body");
                        CHECK(last_result == 0, "with its body");
                }
        }
        CHECK(store_check_opened(store, &check) == 0 && check.faults == 0, "check --store");
}

static void try_once(long after, bool on)
{
        begin();
        open_all();
        arm(after, on);
        run();
        disarm();
        if (!on)
                CHECK(store_state(store) != STORE_FAILED, store_failure(store));
        if (store_state(store) != STORE_FAILED) { /* one may give up, after some time */
                deliver(MESSAGES);
                CHECK(is_acknowledged[MESSAGES], "what comes then is taken");
                check_all();
        }
        close_all();
        open_all();
        check_all();
        close_all();
        end();
}

static long step_of(long count)
{
        return getenv("HAYAUMA_LONG") || count < TRIES ? 1 : count / TRIES;
}

TEST(each_allocation_may_fail)
{
        long count;

        begin();
        open_all();
        arm(-1, false);
        run();
        count = disarm();
        check_all();
        CHECK(failures == 0, "all is well with memory");
        close_all();
        end();
        CHECK(count > 100, "it allocates");
        for (long i = 1; i <= count; i += step_of(count))
                try_once(i, false);
        for (long i = 1; i <= count; i += 5 * step_of(count))
                try_once(i, true);
}

TEST(opening_may_fail)
{
        long count;

        begin();
        open_all();
        run();
        close_all();
        arm(-1, false);
        CHECK(open_store() == 0, "open");
        store = store_close(store);
        count = disarm();
        for (long i = 1; i <= count; i += step_of(count)) {
                int r;

                arm(i, i % 3 == 0);
                r = open_store();
                disarm();
                if (r != 0 && r != -ENOMEM)
                        print_error("allocation %ld: %d, %s\n", i, r, why);
                CHECK(r == 0 || r == -ENOMEM, "says so");
                if (r == 0)
                        store = store_close(store);
        }
        open_all();
        check_all();
        close_all();
        end();
}

TEST(descriptors_may_run_out)
{
        struct rlimit limit, few;
        int last;

        begin();
        open_all();
        deliver(1);
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0, "limit");
        last = dup(0);
        few = (struct rlimit) {(rlim_t) last, limit.rlim_max};
        close(last);
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0, "few");
        run();
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "many");
        CHECK(store_state(store) != STORE_FAILED, "it goes on");
        deliver(MESSAGES);
        CHECK(is_acknowledged[MESSAGES], "what comes then is taken");
        check_all();
        close_all();
        open_all();
        check_all();
        close_all();
        end();
}

TEST_MAIN()
