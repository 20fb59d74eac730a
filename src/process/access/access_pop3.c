/* A POP3 session: the INBOX of its account, locked for it (RFC 1939 section 4).
 * The lock keeps other POP3 sessions out, not IMAP. */
#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "process/access/access.h"
#include "process/access/access_ahead.h"
#include "process/access/access_body.h"
#include "process/access/access_session.h"
#include "process/access/access_view.h"
#include "wire/pop3/pop3_server.h"

enum {
        IDLE_TIMEOUT_MS = 10 * 60 * 1000, /* RFC 1939 section 3: at least 10 minutes */
        ERRORS_MAX = 20,
        MESSAGES_MAX = 1000000,
};

struct access_pop3 {
        struct access_session *session;
        struct pop3_server *engine;
        struct access_viewer viewer;
        bool is_opening, has_lock;
        uint64_t mailbox_id; /* of INBOX; 0 before it is known */
        struct access_body body;
};

static struct access_pop3 *pop3_of(const struct access_session *s)
{
        return s->state;
}

static void answer(struct access_session *s, int result, const char *code, const char *text)
{
        pop3_server_answer(pop3_of(s)->engine, &(const struct pop3_answer) {
                .result = result < 0 ? POP3_ERR : POP3_OK,
                .code = result < 0 ? code : NULL, .text = result < 0 ? text : NULL});
        access_session_fed(s);
}

/* ---- opening ----------------------------------------------------------------------- */

static void unlock(struct access_session *s)
{
        struct access_pop3 *pop3 = pop3_of(s);

        if (pop3->has_lock)
                s->account->is_drop_locked = false;
        pop3->has_lock = false;
}

static void cannot_open(struct access_session *s)
{
        pop3_of(s)->is_opening = false;
        unlock(s);
        answer(s, -EIO, "SYS/TEMP", "The mailbox cannot be read now");
}

/* The messages as they are now: a maildrop does not change while it is open. */
static void open_with(struct access_session *s, const struct imap_view *view)
{
        struct access_pop3 *pop3 = pop3_of(s);
        const size_t count = view->count < MESSAGES_MAX ? view->count : MESSAGES_MAX;
        struct pop3_message *messages = calloc(count ? count : 1, sizeof *messages);
        size_t shown = 0;

        if (!messages) {
                cannot_open(s);
                return;
        }
        for (size_t i = 0; i < count; i++) {
                const struct imap_message *m = imap_view_at(view, i);

                messages[shown++] = (struct pop3_message) {.uid = m->uid, .size = m->size,
                                                           .body_id = m->body_id};
        }
        pop3->is_opening = false;
        pop3_server_answer(pop3->engine, &(const struct pop3_answer) {
                .result = POP3_OK, .messages = messages, .message_count = shown,
                .uid_validity = view->uid_validity});
        free(messages);
        access_session_fed(s);
}

static struct access_session *session_of(struct access_viewer *v)
{
        return LIST_OBJECT(v, struct access_pop3, viewer)->session;
}

static void view_changed(struct access_viewer *v, struct imap_view *current)
{
        struct access_session *s = session_of(v);
        struct imap_view *view;

        if (!pop3_of(s)->is_opening)
                return;
        view = imap_view_ref(current);
        access_view_detach(v);
        open_with(s, view);
        imap_view_unref(view);
}

static void view_ended(struct access_viewer *v, int reason)
{
        (void) reason;
        if (pop3_of(session_of(v))->is_opening)
                cannot_open(session_of(v));
}

static void inbox_known(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        struct access_pop3 *pop3 = pop3_of(s);
        struct ipc_folder_row row;

        (void) fd;
        if (m && type == IPC_folder_rows) {
                struct reader each = ipc_items_read(m->folder_rows.rows);

                if (ipc_next_folder_row(&each, &row))
                        pop3->mailbox_id = row.mailbox_id;
                return;
        }
        s->order = NULL;
        if (!m || m->folder_done.status || !pop3->mailbox_id ||
            access_view_attach(s->account, pop3->mailbox_id, &pop3->viewer) < 0)
                cannot_open(s);
}

/* RFC 2449 section 6.5. A login that comes too soon does not begin the time anew. */
static bool comes_too_soon(struct access_session *s)
{
        struct access *a = s->access;
        const uint64_t delay_ms = a->process->config->auth.pop3_login_delay_ms,
                       now_ms = loop_now_ms(a->process->loop),
                       account = hash_span(access_account_name(s->account), hash_seed());
        const size_t i = account % ACCESS_DROP_SLOTS;

        if (delay_ms && a->drops_opened[i].account == account &&
            now_ms - a->drops_opened[i].at_ms < delay_ms)
                return true;
        a->drops_opened[i].account = account;
        a->drops_opened[i].at_ms = now_ms;
        return false;
}

static void open_drop(struct access_session *s)
{
        struct access_pop3 *pop3 = pop3_of(s);
        const uint64_t number = access_keeper_number(&s->access->keeper);
        const union ipc_message m = {.folder_order = {
                .order = number, .verb = FOLDER_STATUS,
                .account = access_account_name(s->account), .mailbox = SPAN("INBOX")}};

        if (s->account->is_drop_locked) {
                answer(s, -EBUSY, "IN-USE", "Another session has the mailbox open");
                return;
        }
        if (comes_too_soon(s)) {
                answer(s, -EAGAIN, "LOGIN-DELAY", "Too soon after the last login, wait a while");
                return;
        }
        s->account->is_drop_locked = pop3->has_lock = pop3->is_opening = true;
        s->order = access_keeper_ask(&s->access->keeper, IPC_folder_order, &m, number, inbox_known,
                                     s);
        if (!s->order)
                cannot_open(s);
}

/* ---- messages ------------------------------------------------------------------------ */

static void got_body(struct access_session *s, int result)
{
        struct access_pop3 *pop3 = pop3_of(s);

        pop3_server_answer(pop3->engine, &(const struct pop3_answer) {
                .result = result < 0 ? POP3_ERR : POP3_OK,
                .code = result == 0 || result == -ENOENT ? NULL : "SYS/TEMP",
                .text = result < 0 ? "The message cannot be read" : NULL,
                .octets = pop3->body.octets});
        access_session_fed(s);
}

static uint64_t body_id_at(const void *messages, size_t index)
{
        return ((const struct pop3_message *) messages)[index].body_id;
}

static void give_body(struct access_session *s, const struct pop3_event *ev)
{
        struct access_pop3 *pop3 = pop3_of(s);
        struct access_row row = {.blob_id = ev->message.body_id, .body_id = body_id_at,
                                 .index = ev->index};

        row.of = pop3_server_messages(pop3->engine, &row.count);
        access_body_get(s, &pop3->body, ev->message.size, &row, got_body);
}

static void was_deleted(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;

        (void) type;
        (void) fd;
        s->order = NULL;
        unlock(s);
        answer(s, m && m->change_done.status == 0 ? 0 : -EIO, "SYS/TEMP",
               "Some messages were not deleted");
}

static void update(struct access_session *s, const struct pop3_event *ev)
{
        const uint64_t number = access_keeper_number(&s->access->keeper);
        struct buffer memory = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items uids = {0};
        int r = 0;

        if (ev->deleted_count == 0) {
                unlock(s);
                answer(s, 0, NULL, NULL);
                return;
        }
        for (size_t i = 0; i < ev->deleted_count && r == 0;) {
                struct ipc_uid_span span = {ev->deleted[i], ev->deleted[i]};

                while (++i < ev->deleted_count && ev->deleted[i] == span.last + 1)
                        span.last++;
                r = ipc_add_uid_span(&memory, &uids, &span);
        }
        if (r == 0) {
                const union ipc_message m = {.change_order = {
                        .order = number, .kind = 1, /* ACCOUNT_EXPUNGE */
                        .account = access_account_name(s->account),
                        .mailbox_id = pop3_of(s)->mailbox_id, .uids = uids}};

                s->order = access_keeper_ask(&s->access->keeper, IPC_change_order, &m, number,
                                             was_deleted, s);
        }
        buffer_done(&memory);
        if (!s->order) {
                unlock(s);
                answer(s, -EIO, "SYS/TEMP", "Nothing was deleted");
        }
}

/* ---- events -------------------------------------------------------------------------- */

static void handle(struct access_session *s, const struct pop3_event *ev)
{
        switch (ev->kind) {
        case POP3_EVENT_OPEN:
                open_drop(s);
                break;
        case POP3_EVENT_BODY:
                give_body(s, ev);
                break;
        case POP3_EVENT_UPDATE:
                update(s, ev);
                break;
        case POP3_EVENT_STLS:
        case POP3_EVENT_LOGIN:
        case POP3_EVENT_APOP:
        case POP3_EVENT_AUTH:
        case POP3_EVENT_AUTH_LINE:
                answer(s, -EINVAL, NULL, "You are logged in"); /* the engine does not ask */
                break;
        case POP3_EVENT_NONE:
        case POP3_EVENT_WAIT:
        case POP3_EVENT_FLUSH:
        case POP3_EVENT_CLOSE:
        case POP3_EVENT_AUTH_CANCEL:
                break; /* pump() */
        }
}

static size_t pump(struct access_session *s, struct span in)
{
        struct access_pop3 *pop3 = pop3_of(s);
        size_t used = 0;

        while (!s->is_held && !s->is_dead && !s->is_ending) {
                struct pop3_event ev;

                used += pop3_server_feed(pop3->engine, span_skip(in, used), &ev);
                if (ev.kind != POP3_EVENT_FLUSH && ev.kind != POP3_EVENT_BODY &&
                    ev.kind != POP3_EVENT_WAIT)
                        access_body_drop(s, &pop3->body);
                if (ev.kind == POP3_EVENT_NONE || ev.kind == POP3_EVENT_WAIT)
                        break;
                if (ev.kind == POP3_EVENT_CLOSE)
                        access_session_end(s);
                else if (ev.kind == POP3_EVENT_FLUSH)
                        (void) access_session_flush(s);
                else
                        handle(s, &ev);
        }
        return used;
}

static struct buffer *output(struct access_session *s)
{
        return pop3_server_output(pop3_of(s)->engine);
}

static void shut(struct access_session *s, const char *text)
{
        pop3_server_shut(pop3_of(s)->engine, text);
}

static void trim(struct access_session *s)
{
        pop3_server_trim(pop3_of(s)->engine);
        access_body_trim(s, &pop3_of(s)->body);
}

static void free_state(struct access_session *s)
{
        struct access_pop3 *pop3 = pop3_of(s);

        unlock(s);
        access_view_detach(&pop3->viewer);
        pop3->engine = pop3_server_free(pop3->engine);
        access_body_done(s, &pop3->body);
        free(pop3);
}

const struct access_protocol access_pop3 = {
        .pump = pump, .output = output, .shut = shut, .trim = trim, .free = free_state,
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
};

int access_pop3_begin(struct access_session *s, const struct ipc_handover *m)
{
        const uint64_t delay_ms = s->access->process->config->auth.pop3_login_delay_ms;
        const struct pop3_server_options options = {
                .hostname = s->hostname, .errors_max = ERRORS_MAX,
                .login_delay_s = (unsigned) ((delay_ms + 999) / 1000),
        };
        struct access_pop3 *pop3 = calloc(1, sizeof *pop3);

        if (!pop3)
                return -ENOMEM;
        pop3->session = s;
        pop3->viewer.changed = view_changed;
        pop3->viewer.ended = view_ended;
        pop3->engine = pop3_server_new(&options);
        if (!pop3->engine) {
                free(pop3);
                return -ENOMEM;
        }
        pop3_server_resume(pop3->engine, m->is_utf8);
        s->state = pop3;
        return 0;
}
