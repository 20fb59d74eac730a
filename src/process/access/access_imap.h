/* An IMAP session: events of the engine become orders, answers come back.
 * access_imap.c has what concerns the selected mailbox, access_imap_folder.c
 * mailboxes by name, access_imap_append.c APPEND. */
#pragma once

#include "base/arena.h"
#include "process/access/access.h"
#include "process/access/access_body.h"
#include "process/access/access_session.h"
#include "process/access/access_view.h"
#include "wire/imap/imap_server.h"

enum {
        ACCESS_APPEND_MEMORY = 128 * 1024, /* a longer message goes to a lent file */
        ACCESS_APPEND_SUM_MAX = 2 * 1024 * 1024, /* octets in memory of one MULTIAPPEND */
};

/* A message being appended. */
struct access_append_message {
        struct ipc_append_message m; /* keywords: own memory */
        struct buffer octets;        /* in memory */
        int fd;                      /* else the lent file; -1 when closed */
        bool is_lent;
};

struct access_append {
        struct access_append_message *messages;
        size_t count, in_memory;
        char *mailbox;
        size_t mailbox_len;
        int error; /* of writing: negative errno */
        bool is_ready; /* all octets are there: waits for credit to be sent */
};

struct access_imap {
        struct access_session *session;
        struct imap_server *engine;
        struct access_viewer viewer;
        bool is_selecting, is_read_only;
        struct access_body body;
        enum imap_need need;  /* of the message asked for */
        struct buffer digest; /* of it, as long as the engine looks at it */
        struct arena arena; /* rows of a listing */
        struct imap_mailbox *mailboxes;
        size_t mailbox_count, mailbox_room;
        struct span quota_of; /* GETQUOTAROOT: the mailbox; the event's, until its answer */
        struct access_append append;
};

static inline struct access_imap *access_imap_of(const struct access_session *s)
{
        return s->state;
}

/* Answers the event that waits: OK, or NO with what the error means. */
void access_imap_answer(struct access_session *s, int result, const char *code_of_enoent);

/* Sends an order whose answer is `answer`'s; where that fails, answers NO. */
void access_imap_order(struct access_session *s, unsigned type, const union ipc_message *m,
                       uint64_t number, access_answer_fn *answer);

/* The status of an answer as negative errno; -EPIPE for none. */
int access_imap_status(const union ipc_message *m, uint32_t status);

/* change_done of COPY, MOVE, APPEND and the like. */
void access_imap_change_answered(void *arg, unsigned type, const union ipc_message *m, int *fd);

/* access_imap_folder.c */
void access_imap_folder(struct access_session *s, const struct imap_event *ev);
void access_imap_select(struct access_session *s, const struct imap_event *ev);

/* access_imap_append.c */
void access_imap_append_event(struct access_session *s, const struct imap_event *ev);
void access_imap_append_clear(struct access_session *s);
/* Credit came back: what was ready is sent. */
void access_imap_append_go_on(struct access_session *s);
