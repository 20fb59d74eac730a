#include "ctl/command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/backup.h"
#include "ctl/bench.h"
#include "ctl/check.h"
#include "ctl/console.h"
#include "ctl/import.h"
#include "ctl/mailbox.h"
#include "ctl/queue.h"
#include "ctl/run.h"
#include "ctl/send.h"
#include "ctl/status.h"
#include "ctl/tls.h"
#include "ctl/try.h"
#include "ctl/user.h"
#include "ctl/why.h"

static int run_version(int argc, char **argv);
static int run_help(int argc, char **argv);

const struct command commands[] = {
        { "run", "run", "Start the server, in the foreground.", run_command, NULL },
        { "check", "check [--effective] [--json]",
          "Say whether the configuration is good, and what it is.", check_run, check_help },
        { "status", "status [--json]", "How every process of the running server is.", status_run,
          status_help },
        { "reload", "reload", "Make the running server read its configuration again.", reload_run,
          reload_help },
        { "stop", "stop", "Stop the running server.", stop_run, stop_help },
        { "send", "send [OPTIONS] [RECIPIENT…]", "Send a message, as sendmail does.", send_run,
          send_help },
        { "queue", "queue list|show|retry|hold|release|drop", "What waits to be delivered.",
          queue_run, queue_help },
        { "why", "why ID|MESSAGE-ID|ADDRESS", "What became of a message, and by which rules.",
          why_run, why_help },
        { "try", "try --client IP --mail-from ADDRESS --rcpt ADDRESS …",
          "What would happen to a message, by which rules; sends nothing.", try_run, try_help },
        { "mailbox", "mailbox list|show|expunged|undelete|export|import ADDRESS …",
          "Mailboxes and their messages.", mailbox_run, mailbox_help },
        { "tls", "tls self-signed|csr|ca …", "Certificates.", tls_run, tls_help },
        { "user", "user add|passwd|list|delete|import", "Accounts.", user_run, user_help },
        { "import", "import mc FILE", "Print the configuration that a sendmail .mc file asks for.",
          import_run, import_help },
        { "backup", "backup DIR", "Copy all mail and the queue of the running server.", backup_run,
          backup_help },
        { "restore", "restore DIR", "Make such a copy the server's.", restore_run, restore_help },
        { "bench", "bench source|sink …", "Load on a mail server, and a server that takes it.",
          bench_run, bench_help },
        { "version", "version", "Print the version.", run_version, NULL },
        { "help", "help [COMMAND]", "Print this, or what a command does.", run_help, NULL },
        { "process", NULL, NULL, run_process_command, NULL }, /* by `hayauma run` only */
};
const size_t command_count = sizeof commands / sizeof commands[0];

static int run_version(int argc, char **argv)
{
        (void) argc;
        (void) argv;
        puts("hayauma " HAYAUMA_VERSION);
        return EX_OK;
}

static const struct command *find(const char *name)
{
        for (size_t i = 0; i < command_count; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

static void print_usage(FILE *out)
{
        fputs("Usage: hayauma COMMAND …, and -c FILE where the configuration is not "
              CONSOLE_CONFIG_FILE "\n\n", out);
        for (size_t i = 0; i < command_count; i++)
                if (commands[i].synopsis)
                        fprintf(out, "  %-46s %s\n", commands[i].synopsis, commands[i].purpose);
        fputs("\n`hayauma COMMAND --help` says more.\n", out);
}

static int print_help(const struct command *c)
{
        if (c->synopsis)
                printf("%s\n\n", c->purpose);
        if (c->help)
                fputs(c->help, stdout);
        else
                printf("hayauma %s\n", c->synopsis ? c->synopsis : c->name);
        return EX_OK;
}

static int run_help(int argc, char **argv)
{
        const struct command *c = argc > 1 ? find(argv[1]) : NULL;

        if (c)
                return print_help(c);
        print_usage(stdout);
        return EX_OK;
}

/* Is there "--help" among the words, before "--"? */
static bool wants_help(int argc, char **argv)
{
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
                if (strcmp(argv[i], "--help") == 0)
                        return true;
        return false;
}

static int run(const struct command *c, int argc, char **argv)
{
        char name[64];
        int status;

        snprintf(name, sizeof name, "hayauma %s", c->name);
        console_set_name(name);
        if (wants_help(argc, argv))
                return print_help(c);
        status = c->run(argc, argv);
        if (fflush(stdout) != 0 && status == EX_OK)
                return console_fail(EX_IOERR, "cannot write to standard output: %m");
        return status;
}

/* Names of links to us. */
static bool run_as(const char *called, int argc, char **argv, int *ret_status)
{
        const char *slash = strrchr(called, '/');
        const char *name = slash ? slash + 1 : called;

        console_set_name(name);
        if (strcmp(name, "sendmail") == 0) {
                *ret_status = wants_help(argc, argv) ? print_help(find("send"))
                                                     : send_run(argc, argv);
                return true;
        }
        if (strcmp(name, "mailq") == 0 || strcmp(name, "newaliases") == 0) {
                char mode[] = "-bp";
                char *words[] = { argv[0], mode, argc > 2 ? argv[1] : NULL,
                                  argc > 2 ? argv[2] : NULL, NULL };

                mode[2] = name[0] == 'm' ? 'p' : 'i';
                *ret_status = send_run(argc > 2 ? 4 : 2, words);
                return true;
        }
        console_set_name("hayauma");
        return false;
}

int command_main(int argc, char **argv)
{
        const struct command *c;
        int status;

        if (argc > 0 && run_as(argv[0], argc, argv, &status))
                return status;
        if (argc < 2) {
                print_usage(stderr);
                return EX_USAGE;
        }
        if (strcmp(argv[1], "--help") == 0)
                return run_help(1, argv);
        c = find(argv[1]);
        if (c)
                return run(c, argc - 1, argv + 1);
        return console_fail(EX_USAGE, "there is no command \"%s\": `hayauma help` says which there "
                            "are", argv[1]);
}
