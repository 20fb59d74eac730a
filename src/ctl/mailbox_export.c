/* hayauma mailbox export: the keeper sends each message's row, then its octets;
 * a message is written once the next row, or the end, has come. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/console.h"
#include "ctl/mail_folders.h"
#include "ctl/mailbox_command.h"
#include "ctl/maildir.h"
#include "ctl/mbox.h"

struct export {
        struct mailbox_command *command;
        struct transfer_message message;
        bool has_message, has_head;
        struct maildir *maildir; /* where to: one of the two */
        struct mbox_writer mbox;
        size_t written, mailboxes;
        int result; /* of writing */
        /* every mailbox: names, NUL behind each, and those subscribed to */
        struct buffer names, subscribed;
};

/* ---- one mailbox -------------------------------------------------------- */

static void write_message(struct export *e)
{
        if (!e->has_message || e->result < 0)
                return;
        e->has_message = false;
        e->result = e->maildir ? maildir_write(e->maildir, &e->message)
                               : mbox_write(&e->mbox, &e->message);
        e->written += e->result == 0;
}

static void take_head(struct export *e, const json_t *row)
{
        const uint32_t validity = (uint32_t) console_row_number(row, "uid_validity");
        const uint32_t next = (uint32_t) console_row_number(row, "uid_next");

        e->has_head = true;
        e->mbox.uid_validity = validity;
        e->mbox.uid_next = next;
        if (e->maildir && maildir_set_uids(e->maildir, validity, next) == -EEXIST)
                console_fail(EX_OK, "the Maildir has messages: those that come get new UIDs there");
}

static void take_row(void *arg, const json_t *row)
{
        struct export *e = arg;
        const json_t *keyword;
        size_t i;

        if (!e->has_head) {
                take_head(e, row);
                return;
        }
        if (json_object_get(row, "gone")) { /* expunged since it was listed */
                e->has_message = false;
                return;
        }
        write_message(e);
        transfer_message_clear(&e->message);
        e->has_message = true;
        e->message.uid = (uint32_t) console_row_number(row, "uid");
        e->message.flags = (uint32_t) console_row_number(row, "flags");
        e->message.arrived_us = console_row_number(row, "arrived");
        json_array_foreach(json_object_get(row, "keywords"), i, keyword)
                transfer_message_add_keyword(&e->message,
                                             span_from_string(json_string_value(keyword)));
}

static void take_octets(void *arg, struct span octets)
{
        struct export *e = arg;

        if (e->has_message && e->result == 0)
                e->result = buffer_append_span(&e->message.octets, octets);
}

static int ask_messages(struct export *e, struct span mailbox)
{
        int status;

        e->has_head = e->has_message = false;
        status = control_client_call(e->command->client, &(struct control_client_request) {
                .verb = "mailbox.export",
                .arguments = {
                        { "address", e->command->address },
                        { "mailbox", mailbox },
                },
                .row = take_row,
                .octets = take_octets,
                .arg = e,
        });
        write_message(e);
        if (e->result < 0)
                return console_fail(EX_IOERR, "cannot write message %u of %.*s: %s",
                                    e->message.uid, (int) mailbox.len, mailbox.p,
                                    strerror(-e->result));
        e->mailboxes += status == EX_OK;
        return status;
}

static int export_mbox(struct export *e, const char *path, struct span mailbox)
{
        const bool is_stdout = strcmp(path, "-") == 0;
        int fd = is_stdout ? dup(STDOUT_FILENO)
                           : open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
        int status;

        if (!out && errno == EEXIST)
                return console_fail(EX_CANTCREAT, "%s exists: name a new file", path);
        if (!out)
                return console_fail(EX_CANTCREAT, "cannot make %s: %m", path);
        e->mbox = (struct mbox_writer) {.out = out};
        status = ask_messages(e, mailbox);
        if (status == EX_OK && (fflush(out) != 0 || (!is_stdout && fsync(fd) < 0)))
                status = console_fail(EX_IOERR, "cannot write %s: %m", path);
        fclose(out);
        return status;
}

static int export_maildir(struct export *e, const char *path, struct span mailbox)
{
        int r = maildir_open(path, true, e->command->config->hostname, &e->maildir), status;

        if (r < 0)
                return console_fail(EX_CANTCREAT, "cannot make the Maildir %s: %s", path,
                                    strerror(-r));
        status = ask_messages(e, mailbox);
        if (status == EX_OK && (r = maildir_sync(e->maildir)) < 0)
                status = console_fail(EX_IOERR, "cannot write %s: %s", path, strerror(-r));
        e->maildir = maildir_close(e->maildir);
        return status;
}

/* ---- all of them -------------------------------------------------------- */

static void keep_name(void *arg, const json_t *row)
{
        struct export *e = arg;
        const struct span name = console_row_text(row, "name");
        int r = buffer_append_span(&e->names, name);

        if (r == 0)
                r = buffer_append(&e->names, "", 1);
        if (r == 0 && json_is_true(json_object_get(row, "subscribed"))) {
                r = buffer_append_span(&e->subscribed, name);
                if (r == 0)
                        r = buffer_append(&e->subscribed, "", 1);
        }
        if (r < 0)
                e->result = r;
}

static int compare(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The names in order, so that a mailbox comes before those below it. */
static char **sorted_names(struct export *e, size_t *ret_count)
{
        char *const text = e->names.data ? e->names.data + e->names.start : NULL;
        struct span rest = buffer_span(&e->names), name;
        size_t count = 0, room = 0;
        char **list = NULL;

        while (rest.len && span_split(&rest, '\0', &name)) {
                if (count == room) {
                        room = room ? room * 2 : 64;
                        list = reallocarray(list, room, sizeof *list);
                        if (!list)
                                return NULL;
                }
                list[count++] = text + (name.p - text);
        }
        if (count)
                qsort(list, count, sizeof *list, compare);
        *ret_count = count;
        return list;
}

static int export_folder(struct export *e, struct span mailbox)
{
        struct mailbox_command *const m = e->command;
        struct buffer path = BUFFER_INIT(4096);
        const char *const root = m->maildir ? m->maildir : m->mbox;
        int status;
        const int r = m->maildir ? mail_folders_maildir_path(root, mailbox, &path)
                                 : mail_folders_mbox_path(root, mailbox, &path);

        if (r < 0)
                status = console_fail(EX_CANTCREAT, "cannot make a place for %.*s in %s: %s",
                                      (int) mailbox.len, mailbox.p, root, strerror(-r));
        else if (m->maildir)
                status = export_maildir(e, buffer_span(&path).p, mailbox);
        else
                status = export_mbox(e, buffer_span(&path).p, mailbox);
        buffer_done(&path);
        return status;
}

/* The root of a Maildir++ is INBOX, and comes first, there or not. */
static int make_root(struct export *e)
{
        struct mailbox_command *const m = e->command;
        int r = 0;

        if (m->maildir)
                r = maildir_open(m->maildir, true, m->config->hostname, &e->maildir);
        e->maildir = maildir_close(e->maildir);
        if (r < 0)
                return console_fail(EX_CANTCREAT, "cannot make the Maildir %s: %s", m->maildir,
                                    strerror(-r));
        return EX_OK;
}

static int export_all(struct export *e)
{
        struct mailbox_command *const m = e->command;
        size_t count = 0;
        char **names;
        int status = make_root(e), r = 0;

        if (status == EX_OK)
                status = control_client_call(m->client, &(struct control_client_request) {
                        .verb = "mailbox.list",
                        .arguments = {{ "address", m->address }},
                        .row = keep_name,
                        .arg = e,
                });
        if (status != EX_OK)
                return status;
        names = sorted_names(e, &count);
        if (!names || e->result < 0)
                status = console_fail(EX_OSERR, "there is not enough memory");
        for (size_t i = 0; i < count && status == EX_OK; i++)
                status = export_folder(e, span_from_string(names[i]));
        free(names);
        if (status == EX_OK && m->maildir)
                r = mail_folders_put_subscriptions(m->maildir, buffer_span(&e->subscribed));
        if (r < 0)
                status = console_fail(EX_IOERR, "cannot write %s/subscriptions: %s", m->maildir,
                                      strerror(-r));
        return status;
}

int mailbox_export(struct mailbox_command *m)
{
        struct export e = {
                .command = m,
                .message = TRANSFER_MESSAGE_INIT(TRANSFER_MESSAGE_MAX),
                .names = BUFFER_INIT(4 * 1024 * 1024),
                .subscribed = BUFFER_INIT(4 * 1024 * 1024),
        };
        int status;

        if (!m->mailbox.p)
                status = export_all(&e);
        else if (m->mbox)
                status = export_mbox(&e, m->mbox, m->mailbox);
        else
                status = export_maildir(&e, m->maildir, m->mailbox);
        if (status == EX_OK && e.mailboxes > 1)
                fprintf(stderr, "%zu messages exported, %zu mailboxes\n", e.written, e.mailboxes);
        else if (status == EX_OK)
                fprintf(stderr, "%zu messages exported\n", e.written);
        transfer_message_done(&e.message);
        buffer_done(&e.names);
        buffer_done(&e.subscribed);
        return status;
}
