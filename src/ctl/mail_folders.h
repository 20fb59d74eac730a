/* Mailboxes as folders and files of other programs.
 *
 *   Maildir++  the folder itself is INBOX, ".Archive.2026" in it Archive/2026;
 *              each is a Maildir. What is subscribed to stands in "subscriptions".
 *   mbox       a file is a mailbox, a folder holds those of the next level. As
 *              nothing can be both, a folder may be called "name.sbd" beside
 *              the file "name", as Thunderbird does.
 *
 * Names of levels are in modified UTF-7 (RFC 3501 section 5.1.3); a dot that
 * would mean something is written "&AC4-". Reading takes UTF-8 too. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

struct mail_folder {
        char *path;
        char *mailbox; /* UTF-8, "/" between levels */
        bool is_subscribed;
};

struct mail_folders {
        struct mail_folder *list; /* in the order of their names */
        size_t count, room;
        char *bad; /* a path whose name makes no sense, and so was left out; or NULL */
};

/* Lists what is below `root`; links are not followed. 0 or -errno. */
int mail_folders_maildir(const char *root, struct mail_folders *ret_f);
int mail_folders_mbox(const char *root, struct mail_folders *ret_f);
void mail_folders_done(struct mail_folders *f);

/* Where a mailbox goes below `root`, with a NUL at the end; the folders of mbox
 * files are made. 0, -ENAMETOOLONG or -errno. */
int mail_folders_maildir_path(const char *root, struct span mailbox, struct buffer *path);
int mail_folders_mbox_path(const char *root, struct span mailbox, struct buffer *path);

/* Writes the file "subscriptions" of a Maildir; names are UTF-8, a NUL behind
 * each. 0 or -errno. */
int mail_folders_put_subscriptions(const char *root, struct span names);
