/* The files that Dovecot keeps in a Maildir: dovecot-uidlist, which says what
 * UID a file name has, and dovecot-keywords, which says what the letters a to z
 * among the flags stand for. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

enum { MAILDIR_KEYWORDS_MAX = 26 };

struct maildir_uid_row {
        const char *name; /* in `text`; without flags */
        uint32_t uid;
};

struct maildir_uids {
        uint32_t uid_validity, uid_next; /* 0: there is no uidlist */
        struct maildir_uid_row *rows;    /* in the order of their names */
        size_t count;
        char *keywords[MAILDIR_KEYWORDS_MAX]; /* NULL: not used */
        struct buffer text;
};

/* Reads both files of the folder, where they are there; lines that make no
 * sense are passed over. 0, -EMSGSIZE, -ENOMEM or -errno. */
int maildir_uids_read(int folder_fd, struct maildir_uids *ret_u);
void maildir_uids_done(struct maildir_uids *u);

/* The UID of a file name, whose flags do not matter; 0: it has none. */
uint32_t maildir_uids_find(const struct maildir_uids *u, const char *name);

/* Writes dovecot-keywords anew, and dovecot-uidlist with these lines, each "uid
 * :name". 0 or -errno. */
int maildir_uids_write(int folder_fd, const struct maildir_uids *u, struct span rows);
