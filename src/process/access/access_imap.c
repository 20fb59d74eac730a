#include "process/access/access_imap.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "process/access/access_ahead.h"

enum {
        IDLE_TIMEOUT_MS = 31 * 60 * 1000, /* RFC 9051 section 5.4: at least 30 minutes */
        LISTING_MEMORY_MAX = 16 * 1024 * 1024,
        ERRORS_MAX = 50,
};

/* ---- answers --------------------------------------------------------------------- */

int access_imap_status(const union ipc_message *m, uint32_t status)
{
        if (!m)
                return -EPIPE;
        return status < 4096 ? -(int) status : -EIO;
}

/* RFC 9051 section 7.1: what a client can do about it is in the code. */
static void explain(int error, const char *code_of_enoent, struct imap_answer *a)
{
        static const struct {
                int error;
                const char *code, *text;
        } rows[] = {
                {-EEXIST, "ALREADYEXISTS", "There is a mailbox of that name"},
                {-EINVAL, "CANNOT", "No mailbox can be called that, or INBOX cannot be deleted"},
                {-EDQUOT, "LIMIT", "There is no room for more in this mailbox"},
                {-ENOSPC, "OVERQUOTA", "The disk is full"},
                {-E2BIG, "LIMIT", "That is too much at once"},
                {-EMSGSIZE, "LIMIT", "That is too much at once"},
                {-EFBIG, "LIMIT", "The message is too large"},
                {-EOVERFLOW, "OVERQUOTA", "The account would hold more than it may"},
                {-EBADMSG, "CORRUPTION", "What is stored is damaged"},
        };

        a->result = IMAP_NO;
        a->code = "UNAVAILABLE";
        a->text = "The mail store cannot do it now, try again";
        if (error == -ENOENT) {
                a->code = code_of_enoent;
                a->text = "There is no such mailbox";
        }
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                if (rows[i].error == error) {
                        a->code = rows[i].code;
                        a->text = rows[i].text;
                }
        }
}

void access_imap_answer(struct access_session *s, int result, const char *code_of_enoent)
{
        struct imap_answer a = {.result = IMAP_OK};

        if (result < 0)
                explain(result, code_of_enoent, &a);
        imap_server_answer(access_imap_of(s)->engine, &a);
        access_session_fed(s);
}

void access_imap_order(struct access_session *s, unsigned type, const union ipc_message *m,
                       uint64_t number, access_answer_fn *answer)
{
        s->order = access_keeper_ask(&s->access->keeper, type, m, number, answer, s);
        if (!s->order)
                access_imap_answer(s, s->access->keeper.channel ? -E2BIG : -EPIPE, NULL);
}

/* ---- the selected mailbox -------------------------------------------------------- */

static struct imap_range *ranges_of(struct ipc_items items)
{
        struct imap_range *ranges = calloc(items.count ? items.count : 1, sizeof *ranges);
        struct reader each = ipc_items_read(items);
        struct ipc_uid_span span;

        for (size_t i = 0; ranges && ipc_next_uid_span(&each, &span); i++)
                ranges[i] = (struct imap_range) {span.first, span.last};
        return ranges;
}

void access_imap_change_answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        struct imap_answer a = {.result = IMAP_OK};
        struct imap_range *source = NULL, *uids = NULL;
        int r = access_imap_status(m, m ? m->change_done.status : 0);

        (void) type;
        (void) fd;
        s->order = NULL;
        if (r == 0) {
                source = ranges_of(m->change_done.source);
                uids = ranges_of(m->change_done.uids);
                if (!source || !uids)
                        r = -ENOMEM;
        }
        if (r == 0) {
                a.uid_validity = m->change_done.uid_validity;
                a.source_uids = source;
                a.source_uid_count = m->change_done.source.count;
                a.uids = uids;
                a.uid_count = m->change_done.uids.count;
        } else {
                explain(r, "TRYCREATE", &a);
        }
        imap_server_answer(access_imap_of(s)->engine, &a);
        free(source);
        free(uids);
        access_session_fed(s);
}

/* enum account_change_kind and enum account_flags_mode of the store; ipc/schema.h
 * carries their numbers. */
static unsigned kind_of(enum imap_event_kind kind)
{
        return kind == IMAP_EVENT_STORE ? 0 : kind == IMAP_EVENT_EXPUNGE ? 1
             : kind == IMAP_EVENT_COPY  ? 2 : 3;
}

/* Octets of the messages that a COPY doubles, where that matters. */
static uint64_t copied_size(const struct access_session *s, const struct imap_event *ev)
{
        const struct imap_view *view = access_view_current(&access_imap_of(s)->viewer);
        uint64_t size = 0;

        if (ev->kind != IMAP_EVENT_COPY || !s->account->quota || !view)
                return 0;
        for (size_t i = 0; i < ev->uid_count; i++) {
                size_t k = imap_view_find(view, ev->uids[i].first);

                for (; k < view->count && imap_view_at(view, k)->uid <= ev->uids[i].last; k++)
                        size += imap_view_at(view, k)->size;
        }
        return size;
}

static void change(struct access_session *s, const struct imap_event *ev)
{
        struct access_imap *imap = access_imap_of(s);
        const uint64_t number = access_keeper_number(&s->access->keeper);
        struct buffer uid_memory = BUFFER_INIT(IPC_PAYLOAD_MAX),
                      keyword_memory = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items uids = {0}, keywords = {0};
        int r = 0;

        for (size_t i = 0; i < ev->uid_count && r == 0; i++)
                r = ipc_add_uid_span(&uid_memory, &uids,
                                     &(struct ipc_uid_span) {ev->uids[i].first, ev->uids[i].last});
        for (size_t i = 0; i < ev->store.keyword_count && r == 0; i++)
                r = ipc_add_keyword(&keyword_memory, &keywords,
                                    &(struct ipc_keyword) {ev->store.keywords[i]});
        if (r == 0) {
                const union ipc_message m = {.change_order = {
                        .order = number, .kind = (uint8_t) kind_of(ev->kind),
                        .account = access_account_name(s->account),
                        .mailbox_id = access_view_mailbox_id(&imap->viewer), .uids = uids,
                        .mode = (uint8_t) ev->store.mode, .flags = ev->store.flags,
                        .keywords = keywords, .has_unchanged_since = ev->store.has_unchanged_since,
                        .unchanged_since = ev->store.unchanged_since,
                        .only_deleted = ev->kind == IMAP_EVENT_EXPUNGE,
                        .quota = s->account->quota, .size = copied_size(s, ev),
                        .to = ev->mailbox}};

                access_imap_order(s, IPC_change_order, &m, number, access_imap_change_answered);
        } else {
                access_imap_answer(s, r, NULL);
        }
        buffer_done(&uid_memory);
        buffer_done(&keyword_memory);
}

static void got_body(struct access_session *s, int result)
{
        struct access_imap *imap = access_imap_of(s);
        struct imap_answer a = {.result = IMAP_OK, .octets = imap->body.octets};

        if (result < 0) {
                explain(result, NULL, &a);
        } else if (imap->body.is_digest) {
                access_digests_keep(&s->access->digests, imap->body.blob_id, imap->body.octets);
                a.is_digest = true;
        } else if (imap->need <= IMAP_NEED_PREVIEW
                   && access_digests_make(&s->access->digests, imap->body.blob_id,
                                          imap->body.octets, &imap->digest) == 0) {
                a.octets = buffer_span(&imap->digest);
                a.is_digest = true;
        }
        imap_server_answer(imap->engine, &a);
        access_session_fed(s);
}

static uint64_t body_id_at(const void *view, size_t index)
{
        return imap_view_at(view, index)->body_id;
}

static void give_body(struct access_session *s, const struct imap_event *ev)
{
        struct access_imap *imap = access_imap_of(s);
        const struct imap_view *view = access_view_current(&imap->viewer);
        struct access_row row = {.blob_id = ev->message.body_id, .body_id = body_id_at};

        imap->need = ev->need;
        buffer_clear(&imap->digest);
        if (ev->need <= IMAP_NEED_FIELDS
            && access_digests_find(&s->access->digests, ev->message.body_id,
                                   ev->need == IMAP_NEED_PREVIEW, &imap->digest)) {
                imap_server_answer(imap->engine, &(const struct imap_answer) {
                        .result = IMAP_OK, .octets = buffer_span(&imap->digest),
                        .is_digest = true});
                access_session_fed(s);
                return;
        }
        row.of = view;
        row.count = view ? view->count : 0;
        if (!view || !imap_view_message(view, ev->message.uid, &row.index))
                row.index = SIZE_MAX;
        if (ev->need == IMAP_NEED_DIGEST || ev->need == IMAP_NEED_FIELDS)
                access_body_get_digest(s, &imap->body, ev->message.size, &row, got_body);
        else
                access_body_get(s, &imap->body, ev->message.size, &row, got_body);
}

static void compress(struct access_session *s)
{
        struct imap_answer a = {.result = IMAP_OK};

        if (access_session_compress(s) < 0) {
                a.result = IMAP_NO;
                a.code = "LIMIT";
                a.text = "Too many sessions are compressed";
        }
        imap_server_answer(access_imap_of(s)->engine, &a);
        (void) access_session_flush(s);
}

/* ---- events ----------------------------------------------------------------------- */

static void handle(struct access_session *s, const struct imap_event *ev)
{
        struct access_imap *imap = access_imap_of(s);

        switch (ev->kind) {
        case IMAP_EVENT_LIST:
        case IMAP_EVENT_STATUS:
        case IMAP_EVENT_CREATE:
        case IMAP_EVENT_DELETE:
        case IMAP_EVENT_RENAME:
        case IMAP_EVENT_SUBSCRIBE:
        case IMAP_EVENT_UNSUBSCRIBE:
        case IMAP_EVENT_QUOTA:
                access_imap_folder(s, ev);
                break;
        case IMAP_EVENT_SELECT:
                access_imap_select(s, ev);
                break;
        case IMAP_EVENT_DESELECT:
                access_view_detach(&imap->viewer);
                break;
        case IMAP_EVENT_STORE:
        case IMAP_EVENT_COPY:
        case IMAP_EVENT_MOVE:
        case IMAP_EVENT_EXPUNGE:
                change(s, ev);
                break;
        case IMAP_EVENT_BODY:
                give_body(s, ev);
                break;
        case IMAP_EVENT_APPEND:
        case IMAP_EVENT_APPEND_OCTETS:
        case IMAP_EVENT_APPEND_END:
        case IMAP_EVENT_APPEND_ABORT:
                access_imap_append_event(s, ev);
                break;
        case IMAP_EVENT_ID:
                log_event(LOG_INFO, "client_id", LOG_TEXT("client", s->client),
                          LOG_SPAN("account", access_account_name(s->account)),
                          LOG_SPAN("id", ev->octets));
                break;
        case IMAP_EVENT_COMPRESS:
                compress(s);
                break;
        case IMAP_EVENT_STARTTLS:
        case IMAP_EVENT_LOGIN:
        case IMAP_EVENT_AUTHENTICATE:
        case IMAP_EVENT_AUTHENTICATE_LINE:
                /* Not offered, so the engine does not ask; never left waiting. */
                access_imap_answer(s, -EINVAL, NULL);
                break;
        case IMAP_EVENT_NONE:
        case IMAP_EVENT_WAIT:
        case IMAP_EVENT_FLUSH:
        case IMAP_EVENT_CLOSE:
        case IMAP_EVENT_AUTHENTICATE_CANCEL:
        case IMAP_EVENT_IDLE:
        case IMAP_EVENT_IDLE_END:
                break; /* pump(), or nothing to do */
        }
}

static bool keeps_body(enum imap_event_kind kind)
{
        return kind == IMAP_EVENT_FLUSH || kind == IMAP_EVENT_BODY || kind == IMAP_EVENT_WAIT;
}

static size_t pump(struct access_session *s, struct span in)
{
        struct access_imap *imap = access_imap_of(s);
        size_t used = 0;

        if (imap->append.is_ready) /* waits for credit */
                access_imap_append_go_on(s);
        while (!s->is_held && !s->is_dead && !s->is_ending) {
                struct imap_event ev;

                used += imap_server_feed(imap->engine, span_skip(in, used), &ev);
                if (!keeps_body(ev.kind) && imap->body.blob_id)
                        access_body_drop(s, &imap->body);
                if (ev.kind == IMAP_EVENT_NONE)
                        buffer_done(&imap->digest);
                if (ev.kind == IMAP_EVENT_NONE || ev.kind == IMAP_EVENT_WAIT)
                        break;
                if (ev.kind == IMAP_EVENT_CLOSE)
                        access_session_end(s);
                else if (ev.kind == IMAP_EVENT_FLUSH)
                        (void) access_session_flush(s);
                else
                        handle(s, &ev);
                if (ev.kind == IMAP_EVENT_COMPRESS) {
                        s->is_again = true; /* what follows has to be inflated */
                        break;
                }
        }
        return used;
}

/* ---- life -------------------------------------------------------------------------- */

static struct buffer *output(struct access_session *s)
{
        return imap_server_output(access_imap_of(s)->engine);
}

static void shut(struct access_session *s, const char *text)
{
        imap_server_shut(access_imap_of(s)->engine, text);
}

static void trim(struct access_session *s)
{
        imap_server_trim(access_imap_of(s)->engine);
        access_body_trim(s, &access_imap_of(s)->body);
}

static void free_state(struct access_session *s)
{
        struct access_imap *imap = access_imap_of(s);

        access_view_detach(&imap->viewer);
        imap->engine = imap_server_free(imap->engine);
        access_body_done(s, &imap->body);
        buffer_done(&imap->digest);
        access_imap_append_clear(s);
        arena_done(&imap->arena);
        free(imap->mailboxes);
        free(imap);
}

const struct access_protocol access_imap = {
        .pump = pump, .output = output, .shut = shut, .trim = trim, .free = free_state,
        .idle_timeout_ms = IDLE_TIMEOUT_MS,
};

static struct access_session *session_of(struct access_viewer *v)
{
        struct access_imap *imap = LIST_OBJECT(v, struct access_imap, viewer);

        return imap->session;
}

static void view_changed(struct access_viewer *v, struct imap_view *current)
{
        struct access_session *s = session_of(v);
        struct access_imap *imap = access_imap_of(s);

        if (imap->is_selecting) {
                imap->is_selecting = false;
                imap_server_answer(imap->engine, &(const struct imap_answer) {
                        .result = IMAP_OK, .view = current, .is_read_only = imap->is_read_only});
        } else {
                imap_server_set_view(imap->engine, current);
        }
        access_session_fed(s);
}

static void view_ended(struct access_viewer *v, int reason)
{
        struct access_session *s = session_of(v);
        struct access_imap *imap = access_imap_of(s);

        if (imap->is_selecting) {
                imap->is_selecting = false;
                access_imap_answer(s, reason, "NONEXISTENT");
                return;
        }
        /* RFC 2180 section 3.3: the session of a deleted mailbox may end. */
        access_session_shut(s, reason == -ENOENT ? "The mailbox was deleted"
                                                 : "The mailbox cannot be read now");
}

int access_imap_begin(struct access_session *s, const struct ipc_handover *m)
{
        const struct config *c = s->access->process->config;
        const struct imap_server_options options = {
                .offers = IMAP_OFFER_COMPRESS | IMAP_OFFER_QUOTA,
                .hostname = s->hostname,
                .append_max = c->limits.message_size,
                .errors_max = ERRORS_MAX,
        };
        struct access_imap *imap = calloc(1, sizeof *imap);
        int r;

        if (!imap)
                return -ENOMEM;
        imap->session = s;
        imap->viewer.changed = view_changed;
        imap->viewer.ended = view_ended;
        imap->arena = ARENA_INIT(LISTING_MEMORY_MAX);
        imap->digest = BUFFER_INIT(LISTING_MEMORY_MAX);
        imap->engine = imap_server_new(&options);
        r = imap->engine ? imap_server_resume(imap->engine, m->tag) : -ENOMEM;
        if (r < 0) {
                imap_server_free(imap->engine);
                free(imap);
                return r;
        }
        s->state = imap;
        return 0;
}
