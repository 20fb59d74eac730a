/* One delivery to a program or file, made by a process of its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "config/config.h"
#include "config/snapshot.h"
#include "ipc/message.h"

enum { AGENT_REPLY_MAX = 400 };

/* What became of it, as the reply of a host would say it. */
struct agent_reply {
        uint16_t code;
        char enhanced[12];
        char text[AGENT_REPLY_MAX + 1];
};

struct agent_recipient {
        uint32_t index;
        struct span rcpt_to;
};

struct agent_task {
        struct arena arena; /* of all texts */
        uint64_t job, message_id;
        struct span next_hop, mail_from;
        struct agent_recipient *recipients;
        size_t recipient_count;
        int body_fd;
        uint64_t body_len;

        struct span what;   /* of the row: "|/usr/bin/procmail", "/var/mail/list" */
        struct span user, home;
        uid_t uid;
        gid_t gid;
        struct agent_reply refusal; /* code 0: it can be done */
        bool is_forward;    /* the next hop names a user's .forward, */
        unsigned number;    /* 0: to be read; else which of its programs and files */
        bool has_no_account; /* that user is none of this system */
};

__attribute__((format(printf, 4, 5)))
void agent_reply_set(struct agent_reply *r, uint16_t code, const char *enhanced,
                     const char *format, ...);

/* ---- agent_owner.c ---- */

/* Finds the row that t->next_hop names, "agent:0001:staff", and who it is done as.
 * What stands in the way is t->refusal. 0 or -ENOMEM. */
int agent_owner_find(struct agent_task *t, const struct config *c, const struct snapshot *s,
                     bool is_privileged);

/* Becomes that user, or where there is a refusal anybody harmless, with limits and
 * without a way back. 0 or a negative errno: half done, the process must end. */
int agent_owner_become(const struct agent_task *t, bool is_privileged);

/* ---- agent_body.c ---- */

/* The message in pieces: "From sender date", then its lines with LF at their ends;
 * with `quotes`, lines that begin with "From " get a ">" (and those with ">"s in
 * front of it one more). */
struct agent_body {
        struct span octets, rest; /* the map of the file */
        struct buffer pending;
        bool quotes;
};

/* `now_s` for the first line. 0 or a negative errno; then nothing is to be freed. */
int agent_body_open(struct agent_body *b, const struct agent_task *t, bool quotes,
                    int64_t now_s);

/* Octets that come next, empty at the end; taken by buffer_consume() of `pending`. 0
 * or -ENOMEM. */
int agent_body_next(struct agent_body *b, struct span *ret_octets);
void agent_body_close(struct agent_body *b);

/* ---- agent_forward.c ---- */

/* Reads .forward in the current folder, as its owner: a line each for "mailbox",
 * "agent 0001 path" (a program or file, by its number) and "address taro@…". Where
 * there is none, or it cannot be used, that is "mailbox". 0 or -ENOMEM. */
int agent_forward_read(const struct agent_task *t, struct buffer *out);

/* Sets t->what to the program or file of that number. False: it is gone. */
bool agent_forward_find(struct agent_task *t);

/* ---- agent_program.c, agent_file.c ---- */

void agent_program_run(const struct agent_task *t, const struct agent_recipient *to,
                       uint64_t timeout_ms, struct agent_reply *ret);
void agent_file_append(const struct agent_task *t, struct agent_reply *ret);

/* What an exit status (sysexits) means; `output` is what the program wrote. */
void agent_program_judge(int status, struct span output, struct agent_reply *ret);
