/* `hayauma user`: the accounts in the users file. Works on the file alone; a
 * running server sees the change by itself. */
#include "ctl/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/apop.h"
#include "auth/password.h"
#include "auth/users.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/number.h"
#include "ctl/console.h"
#include "ctl/user_import.h"

const char user_help[] =
        "hayauma user add ADDRESS [--quota SIZE] [--addresses A,B] [--apop]\n"
        "hayauma user passwd ADDRESS [--apop]\n"
        "hayauma user list [--json]\n"
        "hayauma user delete ADDRESS\n"
        "hayauma user import [FILE] [--replace] [--jobs N]\n"
        "\n"
        "Passwords are asked for on the terminal, or read as one line from standard\n"
        "input; never from the command line, where others could see them. --apop keeps\n"
        "the password itself, too, for clients that log in by APOP or CRAM-MD5.\n"
        "\n"
        "import reads lines ADDRESS:{SCHEME}HASH from FILE or standard input: all of\n"
        "them become accounts, or none does. {CRYPT}, {SSHA}, {SHA} and {ARGON2ID}\n"
        "hashes are taken as they stand; {PLAIN} passwords are hashed, which takes\n"
        "about a tenth of a second each: --jobs says on how many processors at once.\n"
        "--replace lets it change accounts that exist.\n"
        "\n"
        "delete removes the account, not its mail.\n";

enum { LOCK_WAIT_MS = 10000 };

struct user_command {
        struct config *config;
        char path[4096]; /* of the users file */
        const char *config_file, *quota, *addresses, *jobs;
        bool is_json, may_replace, is_for_apop;
        int argc; /* words behind the subcommand */
        char **argv;
};

/* ---- reading and changing the file -------------------------------------- */

/* Says why the users file could not be read, locked or written. */
static int file_failed(const struct user_command *u, int r, struct buffer *error)
{
        switch (r) {
        case -EINVAL:
                return console_fail(EX_CONFIG, "the users file %s has errors: correct them first\n"
                                    "%.*s", u->path, (int) (error->len ? error->len - 1 : 0),
                                    buffer_span(error).p);
        case -ETIMEDOUT:
                return console_fail(EX_TEMPFAIL, "another program is editing %s: try again",
                                    u->path);
        case -EACCES:
        case -EPERM:
                return console_fail(EX_NOPERM, "%s may not be changed by you: do it as root, or as "
                                    "its owner", u->path);
        case -ENOENT:
                return console_fail(EX_CANTCREAT, "the folder of %s does not exist: make it, or "
                                    "name another with users { file = … }", u->path);
        default:
                return console_fail(EX_IOERR, "cannot read and change %s: %s", u->path,
                                    strerror(-r));
        }
}

static int no_account(const struct user_command *u, struct span address)
{
        return console_fail(EX_NOUSER, "there is no account %.*s in %s: make it with \"hayauma "
                            "user add\"", (int) address.len, address.p, u->path);
}

/* What one edit does; what is not set is not done. */
struct change {
        const struct users *put;
        bool may_replace;
        const struct users_account *secrets; /* of the account that has this address */
        struct span remove;
};

/* Of the account as it is by now: while a password was typed, others changed it. */
static int put_secrets(const struct user_command *u, struct users *users,
                       const struct users_account *secrets)
{
        const struct users_account *old = users_find(users, secrets->address);
        struct users_account a;
        int r;

        if (!old)
                return no_account(u, secrets->address);
        a = *old;
        a.hash = secrets->hash;
        a.scram = secrets->scram;
        a.apop = secrets->apop;
        a.scram_sha1 = (struct span) {0}; /* of the old password */
        r = users_put(users, &a);
        return r == 0 ? EX_OK : console_fail(EX_OSERR, "cannot change %.*s: %s",
                                             (int) a.address.len, a.address.p, strerror(-r));
}

static int edit(const struct user_command *u, const struct change *c)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        struct users_edit e = USERS_EDIT_INIT;
        const struct users_account *a;
        size_t i = 0;
        int r = users_edit_begin(u->path, LOCK_WAIT_MS, &e, &error), status = EX_OK;

        if (r < 0)
                status = file_failed(u, r, &error);
        while (status == EX_OK && c->put && (a = users_next(c->put, &i))) {
                status = user_import_may_put(e.users, a, c->may_replace);
                r = status == EX_OK ? users_put(e.users, a) : 0;
                if (r < 0)
                        status = console_fail(EX_OSERR, "cannot take %.*s: %s",
                                              (int) a->address.len, a->address.p, strerror(-r));
        }
        if (status == EX_OK && c->secrets)
                status = put_secrets(u, e.users, c->secrets);
        if (status == EX_OK && c->remove.len && users_remove(e.users, c->remove) < 0)
                status = console_fail(EX_NOUSER, "there is no account %.*s in %s",
                                      (int) c->remove.len, c->remove.p, u->path);
        if (status == EX_OK && (r = users_edit_commit(&e)) < 0)
                status = file_failed(u, r, &error);
        users_edit_end(&e);
        buffer_done(&error);
        return status;
}

/* ---- add, passwd -------------------------------------------------------- */

struct secret {
        char text[PASSWORD_OCTETS_MAX + 2];
};

static void wipe(struct secret *s)
{
        explicit_bzero(s, sizeof *s);
}

static int ask_password(const char *address, struct secret *s)
{
        _cleanup_(wipe) struct secret again;
        char prompt[USERS_ADDRESS_MAX + 32];
        int r;

        snprintf(prompt, sizeof prompt, "Password for %s", address);
        r = console_secret(prompt, s->text, sizeof s->text);
        if (r == 0 && s->text[0] && isatty(STDIN_FILENO)) {
                r = console_secret("The same again", again.text, sizeof again.text);
                if (r == 0 && strcmp(s->text, again.text) != 0)
                        return console_fail(EX_DATAERR, "the two passwords differ: nothing was "
                                            "changed");
        }
        if (r == -EMSGSIZE || (r == 0 && strlen(s->text) > PASSWORD_OCTETS_MAX))
                return console_fail(EX_DATAERR, "the password is longer than %d octets",
                                    PASSWORD_OCTETS_MAX);
        if (r == -ENODATA || (r == 0 && !s->text[0]))
                return console_fail(EX_NOINPUT, "no password was given: type one, or write it as a "
                                    "line to standard input");
        return r < 0 ? console_fail(EX_IOERR, "cannot read the password: %s", strerror(-r)) : EX_OK;
}

/* Asks for the password and sets hash and scram of `a`, kept in `b`. */
static int set_password(const struct user_command *u, struct users_account *a, struct buffer *b)
{
        char apop[APOP_SECRET_MAX] = "";
        _cleanup_(wipe) struct secret s;
        char hash[PASSWORD_HASH_MAX];
        struct password_scram scram;
        int status = ask_password(a->address.p, &s), r;
        size_t hash_len, scram_end;

        if (status != EX_OK)
                return status;
        r = password_hash(span_from_string(s.text), hash);
        if (r == 0)
                r = buffer_append_string(b, hash);
        hash_len = b->len;
        if (r == 0) {
                r = password_scram_make(span_from_string(s.text), &scram);
                if (r == 0)
                        r = password_scram_format(&scram, b);
                else if (r == -EINVAL)
                        r = 0; /* SASLprep refuses it: then it is for PLAIN only */
        }
        scram_end = b->len;
        if (r == 0 && u->is_for_apop && apop_make_secret(span_from_string(s.text), apop))
                r = buffer_append_string(b, apop);
        explicit_bzero(apop, sizeof apop);
        if (r < 0)
                return console_fail(EX_OSERR, "cannot hash the password: %s", strerror(-r));
        a->hash = span_first(buffer_span(b), hash_len);
        a->scram = span_skip(span_first(buffer_span(b), scram_end), hash_len);
        a->apop = span_skip(buffer_span(b), scram_end);
        return EX_OK;
}

/* Puts a new account: an import of one line. */
static int put_one(const struct user_command *u, const struct users_account *a)
{
        struct buffer error = BUFFER_INIT(4096);
        struct users *one = NULL;
        int r = users_parse((struct span) {0}, "", &one, &error), status;

        if (r == 0)
                r = users_put(one, a);
        status = r == 0 ? edit(u, &(struct change) {.put = one})
                        : console_fail(EX_DATAERR, "the addresses %.*s are not a list "
                                       "local@domain,local@domain of different ones",
                                       (int) a->addresses.len, a->addresses.p);
        users_free(one);
        buffer_done(&error);
        return status;
}

/* The one address behind the subcommand, in canonical form. */
static int take_address(const struct user_command *u, char *out)
{
        if (u->argc != 1)
                return console_fail(EX_USAGE, "one address is wanted, local@domain");
        if (users_canonical(span_from_string(u->argv[0]), out) < 0)
                return console_fail(EX_DATAERR, "\"%s\" is no address of an account: write "
                                    "local@domain", u->argv[0]);
        return EX_OK;
}

static void note_foreign_domain(const struct user_command *u, const char *address)
{
        const struct span domain = span_from_string(strrchr(address, '@') + 1);

        for (size_t i = 0; i < u->config->domains.count; i++)
                if (span_equal_nocase(u->config->domains.items[i], domain))
                        return;
        console_fail(EX_OK, "the account %s is there, but its domain is not in the option domains: "
                     "no mail will come for it until it is", address);
}

static int run_add(const struct user_command *u)
{
        char address[USERS_ADDRESS_MAX];
        struct buffer b = BUFFER_INIT(4096);
        struct users_account a = {.addresses = span_from_string(u->addresses)};
        int status = take_address(u, address);

        if (status == EX_OK && u->quota && size_parse(span_from_string(u->quota), &a.quota) < 0)
                status = console_fail(EX_USAGE, "\"%s\" is no size: write a number and K, M, G or "
                                      "T, as in 10G", u->quota);
        a.address = span_from_string(address);
        if (status == EX_OK)
                status = set_password(u, &a, &b);
        if (status == EX_OK)
                status = put_one(u, &a);
        if (status == EX_OK)
                note_foreign_domain(u, address);
        buffer_done(&b);
        return status;
}

static int run_passwd(const struct user_command *u)
{
        char address[USERS_ADDRESS_MAX] = "";
        struct buffer b = BUFFER_INIT(4096), error = BUFFER_INIT(64 * 1024);
        struct users *users = NULL;
        struct users_account a = {0};
        int status = take_address(u, address), r;

        a.address = span_from_string(address);
        if (status == EX_OK) {
                r = users_read(u->path, &users, &error);
                if (r < 0 && r != -ENOENT)
                        status = file_failed(u, r, &error);
                else if (r < 0 || !users_find(users, a.address))
                        status = no_account(u, a.address);
        }
        if (status == EX_OK)
                status = set_password(u, &a, &b);
        if (status == EX_OK)
                status = edit(u, &(struct change) {.secrets = &a});
        users_free(users);
        buffer_done(&b);
        buffer_done(&error);
        return status;
}

/* ---- list, delete, import ----------------------------------------------- */

static struct span scheme_of(struct span hash)
{
        const size_t end = span_find(hash, '}');

        return end == SIZE_MAX ? hash : span_make(hash.p + 1, end - 1);
}

static json_t *string_of(struct span s)
{
        return json_stringn(s.p ? s.p : "", s.len);
}

static json_t *words_of(struct span list)
{
        json_t *array = json_array();
        struct span word;

        while (list.len && span_split(&list, ',', &word))
                json_array_append_new(array, string_of(word));
        return array;
}

static void print_account(const struct users_account *a, bool is_json)
{
        const struct span scheme = scheme_of(a->hash);
        char quota[NUMBER_TEXT_MAX];

        if (is_json) {
                json_t *row = json_object();

                json_object_set_new(row, "address", string_of(a->address));
                json_object_set_new(row, "scheme", string_of(scheme));
                json_object_set_new(row, "scram_sha_256", json_boolean(a->scram.len > 0));
                json_object_set_new(row, "addresses", words_of(a->addresses));
                json_object_set_new(row, "quota", json_integer((json_int_t) a->quota));
                json_object_set_new(row, "flags", words_of(a->flags));
                console_json(row);
                return;
        }
        printf("%-40.*s %.*s%s", (int) a->address.len, a->address.p, (int) scheme.len, scheme.p,
               a->scram.len ? " SCRAM-SHA-256" : "");
        if (a->quota)
                printf(" quota=%s", size_format(a->quota, quota));
        if (a->addresses.len)
                printf(" addresses=%.*s", (int) a->addresses.len, a->addresses.p);
        if (a->flags.len)
                printf(" flags=%.*s", (int) a->flags.len, a->flags.p);
        putchar('\n');
}

static int run_list(const struct user_command *u)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        struct users *users = NULL;
        const struct users_account *a;
        size_t i = 0;
        const int r = users_read(u->path, &users, &error);
        const int status = r < 0 && r != -ENOENT ? file_failed(u, r, &error) : EX_OK;

        while (users && (a = users_next(users, &i)))
                print_account(a, u->is_json);
        users_free(users);
        buffer_done(&error);
        return status;
}

static int run_delete(const struct user_command *u)
{
        char address[USERS_ADDRESS_MAX];
        const int status = take_address(u, address);

        return status == EX_OK ? edit(u, &(struct change) {.remove = span_from_string(address)})
                               : status;
}

static int run_import(const struct user_command *u)
{
        struct buffer text = BUFFER_INIT(USERS_FILE_MAX), error = BUFFER_INIT(64 * 1024);
        const char *name = u->argc ? u->argv[0] : "standard input";
        struct users *users = NULL, *put = NULL;
        uint64_t jobs = 0;
        int status = EX_OK, r;

        if (u->argc > 1 || (u->jobs && (number_parse(span_from_string(u->jobs), 256, &jobs) < 0 ||
                                        jobs == 0)))
                return console_fail(EX_USAGE, "import takes one file, and --jobs a number from 1 "
                                    "to 256");
        r = u->argc && strcmp(name, "-") != 0 ? file_read_at(AT_FDCWD, name, &text)
                                              : file_read_fd(STDIN_FILENO, &text);
        if (r < 0)
                status = console_fail(EX_NOINPUT, "cannot read %s: %s", name, strerror(-r));
        if (status == EX_OK) {
                r = users_read(u->path, &users, &error);
                if (r < 0 && r != -ENOENT)
                        status = file_failed(u, r, &error);
        }
        if (status == EX_OK)
                status = user_import_parse(buffer_span(&text), name,
                                           &(struct user_import) {.existing = users,
                                                                  .may_replace = u->may_replace,
                                                                  .jobs = (unsigned) jobs},
                                           &put);
        if (status == EX_OK)
                status = edit(u, &(struct change) {.put = put, .may_replace = u->may_replace});
        if (text.len)
                explicit_bzero(text.data, text.room);
        users_free(users);
        users_free(put);
        buffer_done(&text);
        buffer_done(&error);
        return status;
}

/* ---- the command -------------------------------------------------------- */

static const struct {
        const char *name;
        int (*run)(const struct user_command *u);
} subcommands[] = {
        { "add", run_add },       { "passwd", run_passwd }, { "list", run_list },
        { "delete", run_delete }, { "import", run_import },
};

static int run_with_config(struct user_command *u, int (*run)(const struct user_command *u))
{
        int status = console_config(u->config_file, &u->config);

        if (status != EX_OK)
                return status;
        snprintf(u->path, sizeof u->path, "%.*s", (int) u->config->users.file.len,
                 u->config->users.file.p);
        status = run(u);
        config_free(u->config);
        return status;
}

int user_run(int argc, char **argv)
{
        struct user_command u = {0};
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&u.config_file),
                CONSOLE_OPTION_JSON(&u.is_json),
                { "quota", false, &u.quota, NULL },
                { "addresses", false, &u.addresses, NULL },
                { "jobs", false, &u.jobs, NULL },
                { "replace", false, NULL, &u.may_replace },
                { "apop", false, NULL, &u.is_for_apop },
        };
        const int words = console_options(argc, argv, options, sizeof options / sizeof options[0]);

        if (words < 0)
                return EX_USAGE;
        u.argc = words - 1;
        u.argv = argv + 2;
        for (size_t i = 0; words > 0 && i < sizeof subcommands / sizeof subcommands[0]; i++)
                if (strcmp(subcommands[i].name, argv[1]) == 0)
                        return run_with_config(&u, subcommands[i].run);
        return console_fail(EX_USAGE, "say what to do: add, passwd, list, delete or import; "
                            "--help says more");
}
