/* What the parts of `hayauma mailbox` share: mailbox.c lists and shows,
 * mailbox_import.c and mailbox_export.c carry mailboxes in and out. */
#pragma once

#include "base/span.h"
#include "config/config.h"
#include "ctl/control_client.h"

struct mailbox_command {
        const char *config_file, *mbox, *maildir;
        bool is_json;
        struct config *config;
        struct control_client *client;
        struct span address, mailbox; /* mailbox: p == NULL when none was named */
        const char *uid;
};

/* EX_OK, or, said on standard error, another status of sysexits.h. */
int mailbox_import(struct mailbox_command *m);
int mailbox_export(struct mailbox_command *m);
