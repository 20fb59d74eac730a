#include "ctl/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/users.h"
#include "base/number.h"
#include "ctl/console.h"
#include "ctl/control_client.h"
#include "ctl/maildir.h"
#include "ctl/mbox.h"

const char mailbox_help[] =
        "hayauma mailbox list ADDRESS [MAILBOX] [--json]\n"
        "hayauma mailbox show ADDRESS MAILBOX UID\n"
        "hayauma mailbox export ADDRESS MAILBOX --mbox FILE | --maildir FOLDER\n"
        "hayauma mailbox import ADDRESS MAILBOX --mbox FILE | --maildir FOLDER\n"
        "\n"
        "list shows the mailboxes of an account, or the messages of one. show writes a\n"
        "message as it is stored. export writes all messages of a mailbox, with flags\n"
        "and dates; the mbox file must not exist yet, \"-\" is standard output, a Maildir\n"
        "is added to. import adds messages to a mailbox, which it makes if need be; \"-\"\n"
        "is standard input. Works while the server runs.\n";

enum { MESSAGE_MAX = 256 * 1024 * 1024 }; /* what the keeper takes, too */

/* A message of the mailbox, as mailbox.messages tells. */
struct entry {
        uint64_t uid, flags, arrived_us;
};

struct mailbox_command {
        const char *config_file, *mbox, *maildir;
        bool is_json;
        struct config *config;
        struct control_client *client;
        struct span address, mailbox;
        const char *uid;
        struct entry *entries;
        size_t count, room;
        struct buffer message;
        int result; /* of what could not be kept */
};

/* ---- list --------------------------------------------------------------- */

static void print_mailbox(void *arg, const json_t *row)
{
        const struct mailbox_command *m = arg;
        char size[NUMBER_TEXT_MAX];

        if (m->is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        printf("%8llu messages, %8llu unseen, %10s octets  ",
               (unsigned long long) console_row_number(row, "messages"),
               (unsigned long long) console_row_number(row, "unseen"),
               size_format(console_row_number(row, "size"), size));
        console_text(console_row_text(row, "name"));
        putchar('\n');
}

static void print_message(void *arg, const json_t *row)
{
        const struct mailbox_command *m = arg;
        char arrived[CONSOLE_TIME_MAX], letters[MAILDIR_FLAGS_MAX];

        if (m->is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        printf("%10llu  %s  %10llu octets  %s\n",
               (unsigned long long) console_row_number(row, "uid"),
               console_time(console_row_number(row, "arrived"), arrived),
               (unsigned long long) console_row_number(row, "size"),
               maildir_flags_format((uint32_t) console_row_number(row, "flags"), letters));
}

static int ask_messages(struct mailbox_command *m, void (*row)(void *arg, const json_t *row))
{
        return control_client_call(m->client, &(struct control_client_request) {
                .verb = "mailbox.messages",
                .arguments = {
                        { "address", m->address },
                        { "mailbox", m->mailbox },
                        { "uid_from", SPAN("1") },
                },
                .row = row,
                .arg = m,
        });
}

static int run_list(struct mailbox_command *m)
{
        if (m->mailbox.p)
                return ask_messages(m, print_message);
        return control_client_call(m->client, &(struct control_client_request) {
                .verb = "mailbox.list",
                .arguments = {{ "address", m->address }},
                .row = print_mailbox,
                .arg = m,
        });
}

/* ---- show --------------------------------------------------------------- */

static int ask_message(struct mailbox_command *m, struct span uid, int unsaid,
                       void (*octets)(void *arg, struct span octets))
{
        return control_client_call(m->client, &(struct control_client_request) {
                .verb = "mailbox.fetch",
                .arguments = {
                        { "address", m->address },
                        { "mailbox", m->mailbox },
                        { "uid", uid },
                },
                .octets = octets,
                .arg = m,
                .unsaid = unsaid,
        });
}

static void write_octets_out(void *arg, struct span octets)
{
        (void) arg;
        fwrite(octets.p, 1, octets.len, stdout);
}

static int run_show(struct mailbox_command *m)
{
        uint64_t uid;

        if (!m->uid || number_parse(span_from_string(m->uid), UINT32_MAX, &uid) < 0)
                return console_fail(EX_USAGE, "say which message: its UID, as \"hayauma mailbox "
                                    "list ADDRESS MAILBOX\" shows it");
        return ask_message(m, span_from_string(m->uid), EX_OK, write_octets_out);
}

/* ---- export ------------------------------------------------------------- */

static void keep_entry(void *arg, const json_t *row)
{
        struct mailbox_command *m = arg;

        if (m->count == m->room) {
                const size_t room = m->room ? m->room * 2 : 1024;
                struct entry *entries = reallocarray(m->entries, room, sizeof *entries);

                if (!entries) {
                        m->result = -ENOMEM;
                        return;
                }
                m->entries = entries;
                m->room = room;
        }
        m->entries[m->count++] = (struct entry) {
                .uid = console_row_number(row, "uid"),
                .flags = console_row_number(row, "flags"),
                .arrived_us = console_row_number(row, "arrived"),
        };
}

static void keep_octets(void *arg, struct span octets)
{
        struct mailbox_command *m = arg;
        const int r = buffer_append_span(&m->message, octets);

        if (r < 0)
                m->result = r;
}

/* Where messages go: exactly one is set. */
struct target {
        FILE *mbox;
        struct maildir *maildir;
};

static int write_one(const struct target *t, struct span message, const struct entry *e)
{
        return t->mbox ? mbox_write(t->mbox, message, e->arrived_us, (uint32_t) e->flags)
                       : maildir_write(t->maildir, message, e->arrived_us, (uint32_t) e->flags);
}

static int export_all(struct mailbox_command *m, const struct target *t)
{
        size_t written = 0;
        int status = ask_messages(m, keep_entry);

        for (size_t i = 0; i < m->count && status == EX_OK; i++) {
                char uid[24];

                snprintf(uid, sizeof uid, "%llu", (unsigned long long) m->entries[i].uid);
                buffer_clear(&m->message);
                status = ask_message(m, span_from_string(uid), EX_NOINPUT, keep_octets);
                if (status == EX_NOINPUT) {
                        status = EX_OK; /* expunged since it was listed */
                        continue;
                }
                if (status == EX_OK && m->result == 0)
                        m->result = write_one(t, buffer_span(&m->message), &m->entries[i]);
                if (m->result < 0)
                        return console_fail(EX_IOERR, "cannot write message %s, %zu were written: "
                                            "%s", uid, written, strerror(-m->result));
                written += status == EX_OK;
        }
        if (status == EX_OK)
                fprintf(stderr, "%zu messages exported\n", written);
        return status;
}

static int export_mbox(struct mailbox_command *m)
{
        const bool is_stdout = strcmp(m->mbox, "-") == 0;
        int fd = is_stdout ? dup(STDOUT_FILENO)
                           : open(m->mbox, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
        int status;

        if (!out && errno == EEXIST)
                return console_fail(EX_CANTCREAT, "%s exists: name a new file", m->mbox);
        if (!out)
                return console_fail(EX_CANTCREAT, "cannot make %s: %m", m->mbox);
        status = export_all(m, &(struct target) {.mbox = out});
        if (status == EX_OK && (fflush(out) != 0 || (!is_stdout && fsync(fd) < 0)))
                status = console_fail(EX_IOERR, "cannot write %s: %m", m->mbox);
        fclose(out);
        return status;
}

static int export_maildir(struct mailbox_command *m)
{
        struct maildir *maildir = NULL;
        int r = maildir_open(m->maildir, true, m->config->hostname, &maildir), status;

        if (r < 0)
                return console_fail(EX_CANTCREAT, "cannot make the Maildir %s: %s", m->maildir,
                                    strerror(-r));
        status = export_all(m, &(struct target) {.maildir = maildir});
        if (status == EX_OK && (r = maildir_sync(maildir)) < 0)
                status = console_fail(EX_IOERR, "cannot write %s: %s", m->maildir, strerror(-r));
        maildir_close(maildir);
        return status;
}

static int run_export(struct mailbox_command *m)
{
        return m->mbox ? export_mbox(m) : export_maildir(m);
}

/* ---- import ------------------------------------------------------------- */

static int append_message(struct mailbox_command *m, const struct entry *e)
{
        const struct span input = buffer_span(&m->message);
        char arrived[24], flags[24];

        snprintf(arrived, sizeof arrived, "%llu", (unsigned long long) e->arrived_us);
        snprintf(flags, sizeof flags, "%llu", (unsigned long long) e->flags);
        return control_client_call(m->client, &(struct control_client_request) {
                .verb = "mailbox.append",
                .arguments = {
                        { "address", m->address },
                        { "mailbox", m->mailbox },
                        { "arrived", span_from_string(arrived) },
                        { "flags", span_from_string(flags) },
                },
                .input = &input,
        });
}

/* How an import went. */
struct tally {
        size_t taken, left;
};

static int say_tally(const struct tally *t, int status)
{
        fprintf(stderr, "%zu messages imported\n", t->taken);
        if (status == EX_OK && t->left)
                return console_fail(EX_DATAERR, "%zu messages were left out: see above", t->left);
        return status;
}

static int import_mbox(struct mailbox_command *m)
{
        FILE *in = strcmp(m->mbox, "-") == 0 ? stdin : fopen(m->mbox, "re");
        struct mbox_reader reader = MBOX_READER_INIT(in);
        struct tally t = {0};
        int r = 1, status = EX_OK;

        if (!in)
                return console_fail(EX_NOINPUT, "cannot read %s: %m", m->mbox);
        while (status == EX_OK && r != 0) {
                struct entry e = {0};
                uint32_t flags = 0;

                r = mbox_read(&reader, &m->message, &e.arrived_us, &flags);
                e.flags = flags;
                if (r == 1 && m->message.len) {
                        status = append_message(m, &e);
                        t.taken += status == EX_OK;
                } else if (r == -EMSGSIZE || r == 1) {
                        console_fail(EX_OK, "the message before line %llu of %s is %s",
                                     (unsigned long long) reader.line_number, m->mbox,
                                     r == 1 ? "empty" : "too large");
                        t.left++;
                } else if (r == -EBADMSG) {
                        status = console_fail(EX_DATAERR, "%s is no mbox file: line %llu does not "
                                              "start with \"From \" and end in a date", m->mbox,
                                              (unsigned long long) reader.line_number);
                } else if (r < 0) {
                        status = console_fail(EX_IOERR, "cannot read %s: %s", m->mbox,
                                              strerror(-r));
                }
        }
        mbox_reader_done(&reader);
        if (in != stdin)
                fclose(in);
        return say_tally(&t, status);
}

static int import_maildir(struct mailbox_command *m)
{
        struct maildir *maildir = NULL;
        struct tally t = {0};
        size_t count = 0;
        int r = maildir_open(m->maildir, false, m->config->hostname, &maildir), status = EX_OK;

        if (r == 0)
                r = maildir_list(maildir, &count);
        if (r < 0)
                status = console_fail(EX_NOINPUT, "cannot read the Maildir %s: %s", m->maildir,
                                      strerror(-r));
        for (size_t i = 0; i < count && status == EX_OK; i++) {
                struct entry e = {0};
                uint32_t flags = 0;

                r = maildir_read(maildir, i, &m->message, &e.arrived_us, &flags);
                e.flags = flags;
                if (r == 0 && m->message.len) {
                        status = append_message(m, &e);
                        t.taken += status == EX_OK;
                } else {
                        console_fail(EX_OK, "%s was left out: %s", maildir_name(maildir, i),
                                     r < 0 ? strerror(-r) : "it is empty");
                        t.left++;
                }
        }
        maildir_close(maildir);
        return say_tally(&t, status);
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

static int run_import(struct mailbox_command *m)
{
        const int status = check_account(m);

        if (status != EX_OK)
                return status;
        return m->mbox ? import_mbox(m) : import_maildir(m);
}

/* ---- the command -------------------------------------------------------- */

static const struct subcommand {
        const char *name;
        int (*run)(struct mailbox_command *m);
        int words_min, words_max; /* behind its name */
        bool wants_path;
} subcommands[] = {
        { "list", run_list, 1, 2, false },
        { "show", run_show, 3, 3, false },
        { "export", run_export, 2, 2, true },
        { "import", run_import, 2, 2, true },
};

static int run_subcommand(struct mailbox_command *m, const struct subcommand *s)
{
        int status = console_config(m->config_file, &m->config);

        if (status == EX_OK)
                status = control_client_open(m->config, "keeper", &m->client);
        if (status == EX_OK)
                status = s->run(m);
        control_client_close(m->client);
        config_free(m->config);
        buffer_done(&m->message);
        free(m->entries);
        return status;
}

int mailbox_run(int argc, char **argv)
{
        struct mailbox_command m = {.message = BUFFER_INIT(MESSAGE_MAX)};
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&m.config_file),
                CONSOLE_OPTION_JSON(&m.is_json),
                { "mbox", false, &m.mbox, NULL },
                { "maildir", false, &m.maildir, NULL },
        };
        const int words = console_options(argc, argv, options, sizeof options / sizeof options[0]);

        if (words < 0)
                return EX_USAGE;
        for (size_t i = 0; words > 0 && i < sizeof subcommands / sizeof subcommands[0]; i++) {
                const struct subcommand *s = &subcommands[i];

                if (strcmp(s->name, argv[1]) != 0)
                        continue;
                if (words - 1 < s->words_min || words - 1 > s->words_max ||
                    (s->wants_path && !m.mbox == !m.maildir))
                        break;
                m.address = span_from_string(argv[2]);
                m.mailbox = span_from_string(words > 2 ? argv[3] : NULL);
                m.uid = words > 3 ? argv[4] : NULL;
                return run_subcommand(&m, s);
        }
        return console_fail(EX_USAGE, "say list ADDRESS [MAILBOX], show ADDRESS MAILBOX UID, or "
                            "export or import ADDRESS MAILBOX with --mbox FILE or --maildir "
                            "FOLDER");
}
