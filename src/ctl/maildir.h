/* Messages in Maildirs: a folder with tmp, new and cur, a file a message.
 *
 * Names are time.unique.host, and in cur ":2," and the letters of the flags in
 * the order of ASCII behind it. Lines end in LF in the files, where CRLF is read
 * too, and in CRLF in the messages. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "ctl/transfer.h"

struct maildir;

/* Opens a Maildir; `may_create` makes it. `hostname` stands in the names of new
 * files. 0; -ENOENT; -ENOTDIR (there is a folder without tmp, new and cur); or
 * -errno. */
int maildir_open(const char *path, bool may_create, struct span hostname, struct maildir **ret_m);
struct maildir *maildir_close(struct maildir *m);

/* What dovecot-uidlist says, or 0; known after maildir_open(). */
uint32_t maildir_uid_validity(const struct maildir *m);
uint32_t maildir_uid_next(const struct maildir *m);

/* Lists what is there now, for maildir_read() with i = 0 … count - 1: in the
 * order of the UIDs that Dovecot gave; behind them what has none, in the order
 * of arrival. 0 or -errno. */
int maildir_list(struct maildir *m, size_t *ret_count);

/* The i-th message of the list into `message`, which is cleared first; the
 * date is that of the file. 0; -ENOENT (gone, or renamed by a mail reader
 * meanwhile); -EMSGSIZE; or -errno. */
int maildir_read(struct maildir *m, size_t i, struct transfer_message *message);

/* The file name of the i-th message, for messages to people. */
const char *maildir_name(const struct maildir *m, size_t i);

/* In a Maildir that is empty the messages keep their UIDs: to be said before
 * the first is written. -EEXIST: there are messages, which would get others. */
int maildir_set_uids(struct maildir *m, uint32_t uid_validity, uint32_t uid_next);

/* Adds a message: written to tmp, renamed to cur, or to new when it has no
 * flags. Keywords beyond 26 in a Maildir are left out. 0 or -errno. */
int maildir_write(struct maildir *m, const struct transfer_message *message);

/* Writes Dovecot's files and makes everything durable: once behind the last
 * maildir_write(). */
int maildir_sync(struct maildir *m);

/* Flags of ":2,FS" in a name, and back; `out` holds MAILDIR_FLAGS_MAX. */
enum { MAILDIR_FLAGS_MAX = 16 };
uint32_t maildir_flags_parse(const char *name);
const char *maildir_flags_format(uint32_t flags, char *out);
