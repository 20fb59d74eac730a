/* What the mailbox verbs of the command line share: keeper_control_mailbox.c
 * tells what is there, keeper_control_import.c adds to it,
 * keeper_control_undelete.c brings back what was expunged. */
#pragma once

#include <jansson.h>

#include "process/keeper/keeper_control.h"
#include "store/mailbox.h"

/* What a mailbox verb is at. */
struct mailbox_work {
        struct account *account;
        struct mailbox_status mailbox;
        uint32_t uid;
        uint64_t blob_id, size, offset; /* of the message; the blob may be longer */
        /* export */
        struct message_entry *page;
        size_t page_at, page_count;
        bool has_more;
        unsigned turn;
        account_list_fn *got_page;
        void *undelete; /* keeper_control_undelete.c; freed with free() */
};

/* Opens the account that the arguments name, then goes on with `next`. */
void control_mailbox_open(struct control_session *s, account_open_fn *next);

/* Keeps what account_open() gave; false when the verb has ended. The second
 * finds the mailbox of the arguments too. */
bool control_mailbox_has_account(struct control_session *s, int result, struct account *a);
bool control_mailbox_has(struct control_session *s, int result, struct account *a);

/* Sends a row, and takes the reference. */
void control_mailbox_row(struct control_session *s, json_t *row);

/* Ends the verb, as control_end_errno(). */
void control_mailbox_end(struct control_session *s, int result, const char *what);
