/* The command line's door into the keeper: queue, why, mailbox, backup.
 *
 * One connection, one verb at a time; who may: root, the user the keeper was
 * started by, and members of the group hayauma (SO_PEERCRED, SO_PEERGROUPS). */
#pragma once

#include "base/arena.h"
#include "process/keeper/keeper.h"

/* Takes a listening socket over. */
int keeper_control_listen(struct keeper *k, int fd);

void keeper_control_stop(struct keeper *k);

/* A connection, with the verb it is about. */
struct control_session {
        struct list_node in_keeper;
        struct keeper *keeper;
        struct channel *channel; /* NULL: the client has gone; free it when idle */
        bool is_busy;            /* a verb is at work */
        bool has_backup;         /* store_backup_end() is owed */
        struct buffer input;     /* octets the command read, for mailbox.append */
        int lent_fd;             /* where they go instead when they are many, or -1 */
        uint64_t lent_id, lent_size; /* the body that this file may become; 0: none */
        void (*on_input_end)(struct control_session *s); /* who waits for them */
        int (*on_input_part)(struct control_session *s, struct span part);
        void (*on_turn)(struct control_session *s); /* who has more to send */
        struct timer *turn;
        const char *verb_name; /* "queue.drop" */
        void *verb; /* what the verb at work needs; freed with free() when it ends */
        /* the verb's arguments, copied */
        struct arena arena;
        const struct ipc_argument *arguments;
        size_t argument_count;
};

/* An argument by name; empty when it was not given. */
struct span control_argument(const struct control_session *s, const char *name);

/* Goes on with `next` in a later round, once the client has taken what was
 * sent: other work is not kept waiting by a long listing. */
void control_go_on(struct control_session *s, void (*next)(struct control_session *s));

/* Ends the verb: a status of sysexits and a sentence. */
void control_end(struct control_session *s, int status, const char *text);

/* Ends it with what a negative errno means; 0 is success. */
void control_end_errno(struct control_session *s, int result, const char *what);

/* Takes a part of the message that mailbox.append gets. 0 or -errno. */
enum { CONTROL_MESSAGE_MAX = 256 * 1024 * 1024 };
int control_mailbox_append_part(struct control_session *s, struct span part);

/* Each starts a verb. */
void control_queue_list(struct control_session *s);
void control_queue_show(struct control_session *s);
void control_queue_change(struct control_session *s);
void control_why(struct control_session *s);
void control_mailbox_list(struct control_session *s);
void control_mailbox_messages(struct control_session *s);
void control_mailbox_fetch(struct control_session *s);
void control_mailbox_append(struct control_session *s);
void control_mailbox_import(struct control_session *s);
void control_mailbox_export(struct control_session *s);
void control_mailbox_create(struct control_session *s);
void control_mailbox_expunged(struct control_session *s);
void control_mailbox_undelete(struct control_session *s);
void control_store_backup_begin(struct control_session *s);
void control_store_backup_end(struct control_session *s);
