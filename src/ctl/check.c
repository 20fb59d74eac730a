#include "ctl/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/users.h"
#include "base/file.h"
#include "config/table.h"
#include "ctl/check_store.h"
#include "ctl/console.h"
#include "process/settings.h"

const char check_help[] =
        "hayauma check [-c FILE] [--effective] [--json]\n"
        "hayauma check --store [--repair] [DIR] [-c FILE]\n"
        "\n"
        "Reads the configuration, the users file, the tables and the certificates as the\n"
        "server would, and says what is wrong with them, with file and line. --effective\n"
        "prints every option with its value and where that came from; with --json as a\n"
        "JSON object a line.\n"
        "\n"
        "--store verifies all that is kept in the state folder, or in DIR (a backup): the\n"
        "log, every body and who refers to it, mailboxes, the index against one made anew\n"
        "from checkpoint and log. The server may run: then it is all that as of one moment.\n"
        "Every fault is said, and the status is then 65. --repair makes the index anew; the\n"
        "server must not run.\n";

static int check_users(const struct config *c)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        struct users *users = NULL;
        char path[4096];
        int r, status = EX_OK;

        snprintf(path, sizeof path, "%.*s", (int) c->users.file.len, c->users.file.p);
        r = users_read(path, &users, &error);
        if (r == -EINVAL)
                status = console_fail(EX_CONFIG, "the users file %s has errors:\n%.*s", path,
                                      (int) (error.len ? error.len - 1 : 0),
                                      buffer_span(&error).p);
        else if (r == -EACCES)
                console_fail(EX_OK, "the users file %s may not be read by you, so it was not "
                             "checked", path);
        else if (r < 0 && r != -ENOENT)
                status = console_fail(EX_NOINPUT, "cannot read %s: %s", path, strerror(-r));
        users_free(users);
        buffer_done(&error);
        return status;
}

/* One table as the compiler would read it; keys that stand twice are seen too. */
static int check_table(enum snapshot_table table, const char *name, struct span file)
{
        struct buffer error = BUFFER_INIT(64 * 1024), text = BUFFER_INIT(TABLE_FILE_MAX);
        struct snapshot_build *b = NULL;
        char path[4096];
        int fd = -1, r, status = EX_OK;

        if (file.len == 0)
                return EX_OK;
        snprintf(path, sizeof path, "%.*s", (int) file.len, file.p);
        r = file_read_at(AT_FDCWD, path, &text);
        if (r < 0)
                status = console_fail(EX_NOINPUT, "cannot read %s: %s", path, strerror(-r));
        if (r == 0)
                r = snapshot_build_new(1, 1, &b);
        if (r == 0)
                r = table_parser(table)(buffer_span(&text), span_from_string(name), b, &error);
        if (r == 0)
                r = snapshot_build_finish(b, &error, &fd);
        if (r < 0 && status == EX_OK)
                status = console_fail(EX_CONFIG, "%s has errors:\n%.*s", path,
                                      (int) (error.len ? error.len - 1 : 0),
                                      error.len ? buffer_span(&error).p : "");
        if (fd >= 0)
                close(fd);
        snapshot_build_free(b);
        buffer_done(&text);
        buffer_done(&error);
        return status;
}

static int check_tables(const struct config *c)
{
        const struct {
                enum snapshot_table table;
                const char *name;
                struct span file;
        } tables[] = {
                { SNAPSHOT_MAILERTABLE, "mailertable", c->tables.mailertable },
                { SNAPSHOT_ACCESS, "access", c->tables.access },
                { SNAPSHOT_ALIASES, "aliases", c->tables.aliases },
                { SNAPSHOT_VIRTUSERTABLE, "virtusertable", c->tables.virtusertable },
                { SNAPSHOT_GENERICSTABLE, "genericstable", c->tables.genericstable },
        };
        int status = EX_OK;

        for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
                const int s = check_table(tables[i].table, tables[i].name, tables[i].file);

                status = status == EX_OK ? s : status;
        }
        return status;
}

/* As the server reads them when it starts. */
static int check_certificates(const char *config_file)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        struct settings settings = SETTINGS_INIT;
        const int r = settings_read(config_file ? config_file : CONSOLE_CONFIG_FILE, &settings,
                                    &error);
        const struct span lines = span_first(buffer_span(&error), error.len ? error.len - 1 : 0);
        int status = EX_OK;

        if (r == -EACCES)
                console_fail(EX_OK, "what may not be read by you was not checked:\n%.*s",
                             (int) lines.len, lines.p);
        else if (r < 0)
                status = console_fail(EX_CONFIG, "the server would not start:\n%.*s",
                                      (int) lines.len, lines.p);
        settings_done(&settings);
        buffer_done(&error);
        return status;
}

static int print_effective(const struct config *c)
{
        struct buffer b = BUFFER_INIT(64 * 1024 * 1024);
        const int r = config_print_effective(c, &b);

        if (r == 0)
                fwrite(buffer_span(&b).p, 1, b.len, stdout);
        buffer_done(&b);
        return r == 0 ? EX_OK : console_fail(EX_OSERR, "cannot print it: %s", strerror(-r));
}

static json_t *json_text(struct span s)
{
        json_t *text = json_stringn(s.p ? s.p : "", s.len);

        return text ? text : json_null(); /* a path that is no UTF-8 */
}

static void print_json_option(void *arg, const char *name, const struct config_list *texts,
                              bool is_list, const char *origin)
{
        json_t *value = is_list ? json_array() : json_null();

        (void) arg;
        for (size_t i = 0; i < texts->count; i++) {
                if (is_list)
                        json_array_append_new(value, json_text(texts->items[i]));
                else
                        value = json_text(texts->items[i]); /* there is one; null is not counted */
        }
        console_json(json_pack("{s:s, s:o, s:s}", "name", name, "value", value, "origin", origin));
}

static int print_json(const struct config *c)
{
        const int r = config_visit(c, print_json_option, NULL);

        return r == 0 ? EX_OK : console_fail(EX_OSERR, "cannot print it: %s", strerror(-r));
}

int check_run(int argc, char **argv)
{
        const char *config_file = NULL;
        bool is_effective = false, is_json = false, is_store = false, is_repair = false;
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&config_file),
                CONSOLE_OPTION_JSON(&is_json),
                { "effective", false, NULL, &is_effective },
                { "store", false, NULL, &is_store },
                { "repair", false, NULL, &is_repair },
        };
        const int words = console_options(argc, argv, options, 5);
        struct config *c = NULL;
        int status;

        if (words < 0)
                return EX_USAGE;
        if (is_store && words <= 1)
                return check_store(config_file, words ? argv[1] : NULL, is_repair);
        if (is_repair)
                return console_fail(EX_USAGE, "--repair goes with --store");
        if (words > 0)
                return console_fail(EX_USAGE, "\"%s\" is not expected here", argv[1]);
        status = console_config(config_file, &c);
        if (status == EX_OK && is_effective)
                status = is_json ? print_json(c) : print_effective(c);
        if (status == EX_OK)
                status = check_users(c);
        if (status == EX_OK)
                status = check_tables(c);
        if (status == EX_OK && !is_effective)
                status = check_certificates(config_file);
        if (status == EX_OK && !is_effective)
                puts("configuration is good");
        config_free(c);
        return status;
}
