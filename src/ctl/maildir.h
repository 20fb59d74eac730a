/* Messages in Maildirs: a folder with tmp, new and cur, a file a message.
 *
 * Names are time.unique.host, and in cur ":2," and the letters of the flags in
 * the order of ASCII behind it. Lines end in LF in the files, where CRLF is read
 * too, and in CRLF in the messages. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

struct maildir;

/* Opens a Maildir; `may_create` makes it. `hostname` stands in the names of new
 * files. 0; -ENOENT; -ENOTDIR (there is a folder without tmp, new and cur); or
 * -errno. */
int maildir_open(const char *path, bool may_create, struct span hostname, struct maildir **ret_m);
struct maildir *maildir_close(struct maildir *m);

/* Lists what is there now, in the order of arrival, for maildir_read() with
 * i = 0 … count - 1. 0 or -errno. */
int maildir_list(struct maildir *m, size_t *ret_count);

/* The i-th message of the list into `message`, which is cleared first; the
 * date is that of the file, flags of enum message_flag. 0; -ENOENT (gone, or
 * renamed by a mail reader meanwhile); -EMSGSIZE; or -errno. */
int maildir_read(struct maildir *m, size_t i, struct buffer *message, uint64_t *ret_at_us,
                 uint32_t *ret_flags);

/* The file name of the i-th message, for messages to people. */
const char *maildir_name(const struct maildir *m, size_t i);

/* Delivers a message: written to tmp, synced, renamed to cur, or to new when
 * it has no flags. 0 or -errno. */
int maildir_write(struct maildir *m, struct span message, uint64_t at_us, uint32_t flags);

/* Makes the names durable: once behind the last maildir_write(). */
int maildir_sync(struct maildir *m);

/* Flags of ":2,FS" in a name, and back; `out` holds MAILDIR_FLAGS_MAX. */
enum { MAILDIR_FLAGS_MAX = 16 };
uint32_t maildir_flags_parse(const char *name);
const char *maildir_flags_format(uint32_t flags, char *out);
