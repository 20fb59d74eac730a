/* Mailboxes as the keeper tells of them: one imap_view a mailbox, whatever the
 * number of its sessions, always the newest; some are kept for a while when
 * nobody has them selected, so that the next SELECT asks nobody. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "ipc/message.h"
#include "wire/imap/imap_view.h"

struct access;
struct access_account;
struct access_view;

/* Who looks at a view. Callbacks may detach it. */
struct access_viewer {
        struct list_node node;
        struct access_view *view; /* NULL: not attached */
        /* The view is there, or has changed: `current`. */
        void (*changed)(struct access_viewer *v, struct imap_view *current);
        /* It will not come, or is no more: negative errno, -ENOENT for a mailbox
         * that is not there any more. The viewer is detached. */
        void (*ended)(struct access_viewer *v, int reason);
};

/* Attaches: `changed` comes at once where the view is there and is not being opened anew,
 * else later. 0 or negative errno; then nothing is called. */
int access_view_attach(struct access_account *account, uint64_t mailbox_id,
                       struct access_viewer *v);
void access_view_detach(struct access_viewer *v);

/* NULL while it is not attached or not there yet. */
struct imap_view *access_view_current(const struct access_viewer *v);
uint64_t access_view_mailbox_id(const struct access_viewer *v);

/* What the keeper says. */
void access_view_on_head(struct access *a, const struct ipc_view_head *m);
void access_view_on_expunged(struct access *a, const struct ipc_view_expunged *m);
void access_view_on_page(struct access *a, const struct ipc_view_page *m);
void access_view_on_change(struct access *a, const struct ipc_view_change *m);
void access_view_on_gone(struct access *a, const struct ipc_view_gone *m);

/* There is a new keeper, which knows of none of them. */
void access_view_reopen_all(struct access *a);
