/* APPEND: what the client sends is kept until all of it is there, the long
 * ones in files of the keeper's; then one order makes them durable together. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "message/digest.h"
#include "process/access/access_imap.h"

static void message_done(struct access_session *s, struct access_append_message *m, bool is_kept)
{
        struct channel *keeper = s->access->keeper.channel;

        if (m->is_lent && !is_kept && keeper)
                CHANNEL_SEND(keeper, drop, -1, .message_id = m->m.message_id);
        if (m->fd >= 0)
                close(m->fd);
        buffer_done(&m->octets);
        free((void *) (uintptr_t) m->m.keywords.p);
}

static void clear(struct access_session *s, bool is_kept)
{
        struct access_append *a = &access_imap_of(s)->append;

        for (size_t i = 0; i < a->count; i++)
                message_done(s, &a->messages[i], is_kept);
        free(a->messages);
        free(a->mailbox);
        *a = (struct access_append) {0};
}

void access_imap_append_clear(struct access_session *s)
{
        clear(s, false);
}

/* ---- taking ------------------------------------------------------------------------ */

/* "a NUL b NUL" */
static int join_keywords(const struct imap_append *asked, struct span *ret)
{
        size_t len = 0;
        char *p;

        for (size_t i = 0; i < asked->keyword_count; i++)
                len += asked->keywords[i].len + 1;
        p = malloc(len ? len : 1);
        if (!p)
                return -ENOMEM;
        *ret = span_make(p, len);
        for (size_t i = 0; i < asked->keyword_count; i++) {
                memcpy(p, asked->keywords[i].p, asked->keywords[i].len);
                p += asked->keywords[i].len;
                *p++ = '\0';
        }
        return 0;
}

static struct access_append_message *add_message(struct access_session *s,
                                                 const struct imap_append *asked)
{
        struct access_append *a = &access_imap_of(s)->append;
        struct access_append_message *m;

        if (a->count == IPC_APPENDS_MAX)
                return NULL;
        m = realloc(a->messages, (a->count + 1) * sizeof *m);
        if (!m)
                return NULL;
        a->messages = m;
        m += a->count;
        *m = (struct access_append_message) {
                .m = {.message_id = id_next(&s->access->ids, clock_now_us()), .size = asked->size,
                      .flags = asked->flags, .arrived_us = asked->arrived_us},
                .octets = BUFFER_INIT(ACCESS_APPEND_MEMORY), .fd = -1};
        if (join_keywords(asked, &m->m.keywords) < 0)
                return NULL;
        a->count++;
        return m;
}

static void lent(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        struct access_append *a = &access_imap_of(s)->append;
        struct access_append_message *message = &a->messages[a->count - 1];
        int r = access_imap_status(m, m ? m->lent.status : 0);

        (void) type;
        s->order = NULL;
        if (r == 0 && *fd < 0)
                r = -EIO;
        if (r == 0) {
                message->fd = *fd;
                message->is_lent = message->m.is_lent = true;
                *fd = -1;
        }
        access_imap_answer(s, r, NULL);
}

static void begin_message(struct access_session *s, const struct imap_event *ev)
{
        struct access_append *a = &access_imap_of(s)->append;
        struct access_append_message *m;

        if (!a->mailbox) {
                a->mailbox = malloc(ev->mailbox.len + 1);
                if (a->mailbox)
                        memcpy(a->mailbox, ev->mailbox.p, ev->mailbox.len);
                a->mailbox_len = ev->mailbox.len;
        }
        m = a->mailbox ? add_message(s, &ev->append) : NULL;
        if (!m) {
                access_imap_answer(s, -E2BIG, NULL);
                return;
        }
        if (ev->append.size <= ACCESS_APPEND_MEMORY &&
            a->in_memory + ev->append.size <= ACCESS_APPEND_SUM_MAX) {
                a->in_memory += ev->append.size;
                access_imap_answer(s, 0, NULL);
                return;
        }
        access_imap_order(s, IPC_lend, &(const union ipc_message) {.lend = {
                .message_id = m->m.message_id, .size_hint = ev->append.size}},
                m->m.message_id, lent);
}

static void take_octets(struct access_session *s, struct span octets)
{
        struct access_append *a = &access_imap_of(s)->append;
        struct access_append_message *m = a->count ? &a->messages[a->count - 1] : NULL;
        int r = m ? 0 : -EINVAL;

        if (r == 0 && m->fd >= 0)
                r = file_write_all(m->fd, octets.p, octets.len);
        else if (r == 0)
                r = buffer_append_span(&m->octets, octets);
        if (r < 0 && a->error == 0)
                a->error = r;
}

/* ---- sending ----------------------------------------------------------------------- */

/* Behind the message, as if it were its end: the order says where that is. A message
 * that can have no digest goes without. */
static int send_digest(struct channel *keeper, const struct access_append_message *m)
{
        struct arena arena = ARENA_INIT(DIGEST_STORED_MEMORY);
        struct buffer digest = BUFFER_INIT(DIGEST_STORED_MAX);
        int r = 0;

        if (m->octets.len &&
            digest_make_stored(buffer_span(&m->octets), m->m.message_id, NULL, &arena,
                               &digest) == 0)
                r = CHANNEL_SEND(keeper, body, -1, .message_id = m->m.message_id,
                                 .octets = buffer_span(&digest));
        buffer_done(&digest);
        arena_done(&arena);
        return r;
}

static int send_bodies(struct access_session *s)
{
        struct channel *keeper = s->access->keeper.channel;
        struct access_append *a = &access_imap_of(s)->append;
        int r = keeper ? 0 : -EPIPE;

        for (size_t i = 0; i < a->count && r == 0; i++) {
                struct span rest = buffer_span(&a->messages[i].octets);

                while (rest.len && r == 0) {
                        r = CHANNEL_SEND(keeper, body, -1,
                                         .message_id = a->messages[i].m.message_id,
                                         .octets = span_first(rest, IPC_BODY_PART_MAX));
                        rest = span_skip(rest, IPC_BODY_PART_MAX);
                }
                if (r == 0)
                        r = send_digest(keeper, &a->messages[i]);
        }
        return r;
}

static void answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        clear(arg, true); /* the keeper returns what it has not adopted */
        access_imap_change_answered(arg, type, m, fd);
}

static void send(struct access_session *s)
{
        struct access_append *a = &access_imap_of(s)->append;
        struct buffer memory = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items messages = {0};
        const uint64_t number = access_keeper_number(&s->access->keeper);
        union ipc_message m;
        int r = send_bodies(s);

        a->is_ready = false;
        for (size_t i = 0; i < a->count && r == 0; i++)
                r = ipc_add_append_message(&memory, &messages, &a->messages[i].m);
        if (r == 0) {
                m.append_order = (struct ipc_append_order) {
                        .order = number, .account = access_account_name(s->account),
                        .mailbox = span_make(a->mailbox, a->mailbox_len),
                        .quota = s->account->quota, .messages = messages};
                access_imap_order(s, IPC_append_order, &m, number, answered);
        } else {
                clear(s, false);
                access_imap_answer(s, r, NULL);
        }
        buffer_done(&memory);
}

void access_imap_append_go_on(struct access_session *s)
{
        struct channel *keeper = s->access->keeper.channel;

        if (list_is_linked(&s->starved))
                return;
        if (keeper && !channel_has_credit(keeper))
                list_append(&s->access->keeper.starved, &s->starved);
        else
                send(s);
}

/* The files must have no writer when the keeper adopts them. */
static void end_messages(struct access_session *s)
{
        struct access_append *a = &access_imap_of(s)->append;
        int r = a->error;

        for (size_t i = 0; i < a->count; i++) {
                if (a->messages[i].fd >= 0)
                        close(a->messages[i].fd);
                a->messages[i].fd = -1;
        }
        if (r == 0 && a->count == 0)
                r = -EINVAL;
        if (r < 0) {
                clear(s, false);
                access_imap_answer(s, r, NULL);
                return;
        }
        a->is_ready = true;
        access_imap_append_go_on(s);
}

void access_imap_append_event(struct access_session *s, const struct imap_event *ev)
{
        switch (ev->kind) {
        case IMAP_EVENT_APPEND:
                begin_message(s, ev);
                break;
        case IMAP_EVENT_APPEND_OCTETS:
                take_octets(s, ev->octets);
                break;
        case IMAP_EVENT_APPEND_END:
                end_messages(s);
                break;
        default:
                clear(s, false);
                break;
        }
}
