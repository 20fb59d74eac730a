/* hayauma mailbox import: messages go to the keeper in groups, each committed
 * as one; while it writes one the next is read. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/users.h"
#include "ctl/console.h"
#include "ctl/mail_folders.h"
#include "ctl/mailbox_command.h"
#include "ctl/maildir.h"
#include "ctl/mbox.h"
#include "ipc/message.h"
#include "message/digest.h"

enum { GROUP_MESSAGES = 256, GROUP_OCTETS = 2 * 1024 * 1024, GROUP_MAX = 3 * 1024 * 1024 };

/* Where the messages of one mailbox come from. */
struct source {
        const char *path;
        struct span mailbox;
        bool is_subscribed;
        uint32_t uid_validity, uid_next; /* 0: not known; known once a message was read */
        /* 1; 0 at the end; -EAGAIN: one was left out, which was said; or an
         * exit status of sysexits.h, negative, and said. */
        int (*next)(struct source *s, struct transfer_message *message);
        struct maildir *maildir;
        size_t at, count;
        struct mbox_reader mbox;
};

/* An import at work. */
struct import {
        struct mailbox_command *command;
        struct source *source;
        uint32_t uid_validity, uid_next; /* of the mailbox here */
        bool keeps_uids, is_sending;
        uint32_t last_uid;
        size_t taken, left_out, there; /* messages; there: were imported before */
        size_t mailboxes;
        struct transfer_message message;
        struct buffer digest; /* of the message */
        struct arena memory;
        struct buffer groups[2]; /* one is being sent, one filled */
        unsigned filling;
        struct span input;
        struct ipc_items items; /* of the one filled */
        struct control_client_request request;
};

/* ---- sources ------------------------------------------------------------ */

static int next_of_maildir(struct source *s, struct transfer_message *message)
{
        const size_t i = s->at++;
        int r;

        if (i >= s->count)
                return 0;
        r = maildir_read(s->maildir, i, message);
        if (r == 0 && message->octets.len)
                return 1;
        console_fail(EX_OK, "%s in %s was left out: %s", maildir_name(s->maildir, i), s->path,
                     r < 0 ? strerror(-r) : "it is empty");
        return -EAGAIN;
}

static int next_of_mbox(struct source *s, struct transfer_message *message)
{
        int r;

        do
                r = mbox_read(&s->mbox, message);
        while (r == 1 && s->mbox.is_folder_data);
        s->uid_validity = s->mbox.uid_validity;
        s->uid_next = s->mbox.uid_last < UINT32_MAX ? s->mbox.uid_last + 1 : 0;
        if (r == 0 || (r == 1 && message->octets.len))
                return r;
        if (r == -EMSGSIZE || r == 1) {
                console_fail(EX_OK, "the message before line %llu of %s is %s",
                             (unsigned long long) s->mbox.line_number, s->path,
                             r == 1 ? "empty" : "too large");
                return -EAGAIN;
        }
        if (r == -EBADMSG)
                return -console_fail(EX_DATAERR, "%s is no mbox file: line %llu does not start "
                                     "with \"From \" and end in a date", s->path,
                                     (unsigned long long) s->mbox.line_number);
        return -console_fail(EX_IOERR, "cannot read %s: %s", s->path, strerror(-r));
}

/* ---- sending ------------------------------------------------------------ */

/* Waits for the group that is under way. */
static int wait_for_group(struct import *i)
{
        if (!i->is_sending)
                return EX_OK;
        i->is_sending = false;
        return control_client_finish(i->command->client);
}

static int send_group(struct import *i)
{
        struct buffer *const group = &i->groups[i->filling];
        int status = wait_for_group(i);

        if (status != EX_OK || i->items.count == 0)
                return status;
        i->input = buffer_span(group);
        i->request = (struct control_client_request) {
                .verb = "mailbox.import",
                .arguments = {
                        { "address", i->command->address },
                        { "mailbox", i->source->mailbox },
                },
                .input = &i->input,
        };
        control_client_begin(i->command->client, &i->request);
        i->is_sending = true;
        i->filling ^= 1;
        i->items = (struct ipc_items) {0};
        buffer_clear(&i->groups[i->filling]);
        return EX_OK;
}

static int send_large(struct import *i, uint32_t uid)
{
        const struct transfer_message *const m = &i->message;
        const struct span input = buffer_span(&m->octets);
        char arrived[24], flags[24], number[24];
        int status = send_group(i);

        if (status == EX_OK)
                status = wait_for_group(i);
        if (status != EX_OK)
                return status;
        snprintf(arrived, sizeof arrived, "%llu", (unsigned long long) m->arrived_us);
        snprintf(flags, sizeof flags, "%u", m->flags);
        snprintf(number, sizeof number, "%u", uid);
        return control_client_call(i->command->client, &(struct control_client_request) {
                .verb = "mailbox.append",
                .arguments = {
                        { "address", i->command->address },
                        { "mailbox", i->source->mailbox },
                        { "arrived", span_from_string(arrived) },
                        { "flags", span_from_string(flags) },
                        { "uid", span_from_string(number) },
                        { "keywords", buffer_span(&m->keywords) },
                },
                .input = &input,
        });
}

/* What arrives gets its digest then; this is when it arrives here. */
static struct span make_digest(struct import *i)
{
        const struct span octets = buffer_span(&i->message.octets);

        buffer_clear(&i->digest);
        arena_clear(&i->memory);
        if (octets.len <= IPC_BLOB_PART_MAX)
                (void) digest_make_stored(octets, 0, NULL, &i->memory, &i->digest);
        return buffer_span(&i->digest);
}

static int add_to_group(struct import *i, uint32_t uid)
{
        const struct transfer_message *const m = &i->message;
        const struct ipc_import_message item = {
                .uid = uid,
                .flags = m->flags,
                .arrived_us = m->arrived_us,
                .keywords = buffer_span(&m->keywords),
                .octets = buffer_span(&m->octets),
                .digest = make_digest(i),
        };
        int r = ipc_add_import_message(&i->groups[i->filling], &i->items, &item);

        if (r < 0)
                return console_fail(EX_OSERR, "cannot keep a message: %s", strerror(-r));
        if (i->items.count < GROUP_MESSAGES && i->groups[i->filling].len < GROUP_OCTETS)
                return EX_OK;
        return send_group(i);
}

static int take_message(struct import *i)
{
        uint32_t uid = i->keeps_uids ? i->message.uid : 0;
        int status;

        /* One without a UID gets the one it would have got there. */
        if (i->keeps_uids && uid <= i->last_uid)
                uid = i->last_uid + 1 > i->source->uid_next ? i->last_uid + 1
                                                            : i->source->uid_next;
        i->last_uid = uid;
        if (uid && uid < i->uid_next) {
                i->there++;
                return EX_OK;
        }
        status = i->message.octets.len > IPC_IMPORT_MESSAGE_MAX ? send_large(i, uid)
                                                                : add_to_group(i, uid);
        i->taken += status == EX_OK;
        return status;
}

/* ---- one mailbox -------------------------------------------------------- */

static void keep_state(void *arg, const json_t *row)
{
        struct import *i = arg;

        i->uid_validity = (uint32_t) console_row_number(row, "uid_validity");
        i->uid_next = (uint32_t) console_row_number(row, "uid_next");
}

/* Makes the mailbox what the source says; `uid_next` once all is there. */
static int make_mailbox(struct import *i, uint32_t uid_next)
{
        char validity[24], next[24];

        snprintf(validity, sizeof validity, "%u", i->source->uid_validity);
        snprintf(next, sizeof next, "%u", uid_next);
        return control_client_call(i->command->client, &(struct control_client_request) {
                .verb = "mailbox.create",
                .arguments = {
                        { "address", i->command->address },
                        { "mailbox", i->source->mailbox },
                        { "uid_validity", span_from_string(validity) },
                        { "uid_next", span_from_string(next) },
                        { "subscribed", i->source->is_subscribed ? SPAN_LITERAL("yes")
                                                                 : (struct span) {0} },
                },
                .row = keep_state,
                .arg = i,
        });
}

static int begin_mailbox(struct import *i)
{
        const int status = make_mailbox(i, 1);

        i->keeps_uids = i->source->uid_validity && i->uid_validity == i->source->uid_validity;
        i->last_uid = 0;
        if (status == EX_OK && i->source->uid_validity && !i->keeps_uids)
                console_fail(EX_OK, "%.*s has messages already: those of %s get new UIDs",
                             (int) i->source->mailbox.len, i->source->mailbox.p, i->source->path);
        return status;
}

static int import_source(struct import *i)
{
        struct source *const s = i->source;
        int got = s->next(s, &i->message), status;

        if (got < 0 && got != -EAGAIN)
                return -got;
        status = begin_mailbox(i);
        while (status == EX_OK && got != 0) {
                if (got == -EAGAIN)
                        i->left_out++;
                else if (got < 0)
                        status = -got;
                else
                        status = take_message(i);
                if (status == EX_OK)
                        got = s->next(s, &i->message);
        }
        if (status == EX_OK)
                status = send_group(i);
        if (status == EX_OK)
                status = wait_for_group(i);
        else
                (void) wait_for_group(i);
        if (status == EX_OK && i->keeps_uids && s->uid_next > 1)
                status = make_mailbox(i, s->uid_next);
        i->mailboxes++;
        return status;
}

static int import_maildir(struct import *i, const char *path, struct span mailbox, bool subscribed)
{
        struct source s = {.path = path, .mailbox = mailbox, .is_subscribed = subscribed,
                           .next = next_of_maildir};
        int r = maildir_open(path, false, i->command->config->hostname, &s.maildir), status;

        if (r == 0)
                r = maildir_list(s.maildir, &s.count);
        if (r < 0) {
                status = console_fail(EX_NOINPUT, "cannot read the Maildir %s: %s", path,
                                      strerror(-r));
        } else {
                s.uid_validity = maildir_uid_validity(s.maildir);
                s.uid_next = maildir_uid_next(s.maildir);
                i->source = &s;
                status = import_source(i);
        }
        maildir_close(s.maildir);
        return status;
}

static int import_mbox(struct import *i, FILE *in, const char *path, struct span mailbox)
{
        struct source s = {.path = path, .mailbox = mailbox, .next = next_of_mbox,
                           .mbox = MBOX_READER_INIT(in)};
        int status;

        i->source = &s;
        status = import_source(i);
        mbox_reader_done(&s.mbox);
        return status;
}

static int import_mbox_file(struct import *i, const char *path, struct span mailbox, int more)
{
        const bool is_stdin = strcmp(path, "-") == 0;
        const int fd = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | more);
        FILE *in = is_stdin ? stdin : fd < 0 ? NULL : fdopen(fd, "r");
        int status;

        if (!in) {
                status = console_fail(EX_NOINPUT, "cannot read %s: %m", path);
                if (fd >= 0)
                        close(fd);
                return status;
        }
        status = import_mbox(i, in, path, mailbox);
        if (!is_stdin)
                fclose(in);
        return status;
}

/* ---- all of them -------------------------------------------------------- */

static int import_folders(struct import *i)
{
        const char *const root = i->command->maildir ? i->command->maildir : i->command->mbox;
        struct mail_folders f = {0};
        int status = EX_OK;
        const int r = i->command->maildir ? mail_folders_maildir(root, &f)
                                          : mail_folders_mbox(root, &f);

        if (r < 0)
                return console_fail(EX_NOINPUT, "cannot list %s: %s", root, strerror(-r));
        if (f.bad) {
                console_fail(EX_OK, "%s was left out: its name cannot be a mailbox's", f.bad);
                i->left_out++;
        }
        for (size_t k = 0; k < f.count && status == EX_OK; k++) {
                const struct span mailbox = span_from_string(f.list[k].mailbox);

                if (i->command->maildir)
                        status = import_maildir(i, f.list[k].path, mailbox,
                                                f.list[k].is_subscribed);
                else
                        status = import_mbox_file(i, f.list[k].path, mailbox, O_NOFOLLOW);
                if (status == EX_DATAERR) { /* no mbox file: said, and the others go on */
                        i->left_out++;
                        status = EX_OK;
                }
        }
        mail_folders_done(&f);
        return status;
}

/* A slip in the address would make a mailbox that nobody ever reads. */
static int check_account(const struct mailbox_command *m)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        struct users *users = NULL;
        char path[4096];
        int status = EX_OK;

        snprintf(path, sizeof path, "%.*s", (int) m->config->users.file.len,
                 m->config->users.file.p);
        if (!m->config->users.auto_create && users_read(path, &users, &error) == 0 &&
            !users_find(users, m->address) &&
            !span_starts_with_nocase(m->address, SPAN_LITERAL("postmaster@")))
                status = console_fail(EX_NOUSER, "there is no account %.*s in %s: make it with "
                                      "\"hayauma user add\"", (int) m->address.len, m->address.p,
                                      path);
        users_free(users);
        buffer_done(&error);
        return status;
}

static int say(const struct import *i, int status)
{
        fprintf(stderr, "%zu messages imported", i->taken);
        if (i->there)
                fprintf(stderr, ", %zu were there already", i->there);
        if (i->mailboxes > 1)
                fprintf(stderr, ", %zu mailboxes", i->mailboxes);
        fputc('\n', stderr);
        if (status == EX_OK && i->left_out)
                return console_fail(EX_DATAERR, "%zu were left out: see above", i->left_out);
        return status;
}

int mailbox_import(struct mailbox_command *m)
{
        struct import i = {
                .command = m,
                .message = TRANSFER_MESSAGE_INIT(TRANSFER_MESSAGE_MAX),
                .digest = BUFFER_INIT(DIGEST_STORED_MAX),
                .memory = ARENA_INIT(DIGEST_STORED_MEMORY),
                .groups = {BUFFER_INIT(GROUP_MAX), BUFFER_INIT(GROUP_MAX)},
        };
        int status = check_account(m);

        if (status != EX_OK)
                return status;
        if (!m->mailbox.p)
                status = import_folders(&i);
        else if (m->maildir)
                status = import_maildir(&i, m->maildir, m->mailbox, false);
        else
                status = import_mbox_file(&i, m->mbox, m->mailbox, 0);
        status = say(&i, status);
        transfer_message_done(&i.message);
        buffer_done(&i.digest);
        arena_done(&i.memory);
        buffer_done(&i.groups[0]);
        buffer_done(&i.groups[1]);
        return status;
}
