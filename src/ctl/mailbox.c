#include "ctl/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/number.h"
#include "ctl/console.h"
#include "ctl/mailbox_command.h"
#include "ctl/maildir.h"

const char mailbox_help[] =
        "hayauma mailbox list ADDRESS [MAILBOX] [--json]\n"
        "hayauma mailbox show ADDRESS MAILBOX UID\n"
        "hayauma mailbox expunged ADDRESS [MAILBOX] [--json]\n"
        "hayauma mailbox undelete ADDRESS [MAILBOX [UID]] [--json]\n"
        "hayauma mailbox export ADDRESS [MAILBOX] --mbox PATH | --maildir FOLDER\n"
        "hayauma mailbox import ADDRESS [MAILBOX] --mbox PATH | --maildir FOLDER\n"
        "\n"
        "list shows the mailboxes of an account, or the messages of one. show writes a\n"
        "message as it is stored. expunged shows what was deleted not longer ago than\n"
        "expunge_keep says, with the UIDs it had; undelete brings it back into its mailbox\n"
        "with new UIDs: all of it, that of one mailbox, or one message. export writes all\n"
        "messages of a mailbox, with flags, keywords, dates and UIDs; the mbox file must\n"
        "not exist yet, \"-\" is standard output, a Maildir is added to. import adds\n"
        "messages to a mailbox, which it makes if need be and then gives the UIDVALIDITY\n"
        "and UIDs that the Maildir's dovecot-uidlist or the mbox file's X-IMAPbase tell;\n"
        "\"-\" is standard input. An import of UIDs that was broken off goes on when it is\n"
        "said again. Without MAILBOX all mailboxes of the account: a Maildir++, or a folder\n"
        "of mbox files. Works while the server runs.\n";

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

/* ---- expunged, undelete ---------------------------------------------------- */

static void print_expunged(void *arg, const json_t *row)
{
        const struct mailbox_command *m = arg;
        char expunged[CONSOLE_TIME_MAX], arrived[CONSOLE_TIME_MAX];

        if (m->is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        printf("%10llu  arrived %s  deleted %s  %10llu octets  ",
               (unsigned long long) console_row_number(row, "uid"),
               console_time(console_row_number(row, "arrived"), arrived),
               console_time(console_row_number(row, "expunged"), expunged),
               (unsigned long long) console_row_number(row, "size"));
        console_text(console_row_text(row, "mailbox"));
        putchar('\n');
}

static void print_undeleted(void *arg, const json_t *row)
{
        const struct mailbox_command *m = arg;

        if (m->is_json) {
                console_json(json_deep_copy(row));
                return;
        }
        printf("%8llu messages are back in ",
               (unsigned long long) console_row_number(row, "messages"));
        console_text(console_row_text(row, "mailbox"));
        putchar('\n');
}

static int ask_expunged(struct mailbox_command *m, const char *verb,
                        void (*row)(void *arg, const json_t *row))
{
        struct control_client_request request = {
                .verb = verb,
                .arguments = {
                        { "address", m->address },
                        { "mailbox", m->mailbox },
                        { "uid", span_from_string(m->uid ? m->uid : "") },
                },
                .row = row,
                .arg = m,
        };

        if (!m->mailbox.p)
                request.arguments[1].value = SPAN_LITERAL("");
        return control_client_call(m->client, &request);
}

static int run_expunged(struct mailbox_command *m)
{
        return ask_expunged(m, "mailbox.expunged", print_expunged);
}

static int run_undelete(struct mailbox_command *m)
{
        return ask_expunged(m, "mailbox.undelete", print_undeleted);
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
        { "expunged", run_expunged, 1, 2, false },
        { "undelete", run_undelete, 1, 3, false },
        { "export", mailbox_export, 1, 2, true },
        { "import", mailbox_import, 1, 2, true },
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
        return status;
}

int mailbox_run(int argc, char **argv)
{
        struct mailbox_command m = {0};
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
        return console_fail(EX_USAGE, "say list or expunged ADDRESS [MAILBOX], show ADDRESS "
                            "MAILBOX UID, undelete ADDRESS [MAILBOX [UID]], or export or import "
                            "ADDRESS [MAILBOX] with --mbox PATH or --maildir FOLDER");
}
