#include "ctl/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "auth/users.h"
#include "ctl/console.h"

const char check_help[] =
        "hayauma check [-c FILE] [--effective]\n"
        "\n"
        "Reads the configuration and the users file as the server would, and says\n"
        "what is wrong with them, with file and line. --effective prints every option\n"
        "with its value and where that came from.\n";

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

static int print_effective(const struct config *c)
{
        struct buffer b = BUFFER_INIT(64 * 1024 * 1024);
        const int r = config_print_effective(c, &b);

        if (r == 0)
                fwrite(buffer_span(&b).p, 1, b.len, stdout);
        buffer_done(&b);
        return r == 0 ? EX_OK : console_fail(EX_OSERR, "cannot print it: %s", strerror(-r));
}

int check_run(int argc, char **argv)
{
        const char *config_file = NULL;
        bool is_effective = false;
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&config_file),
                { "effective", false, NULL, &is_effective },
        };
        const int words = console_options(argc, argv, options, 2);
        struct config *c = NULL;
        int status;

        if (words < 0)
                return EX_USAGE;
        if (words > 0)
                return console_fail(EX_USAGE, "\"%s\" is not expected here", argv[1]);
        status = console_config(config_file, &c);
        if (status == EX_OK && is_effective)
                status = print_effective(c);
        if (status == EX_OK)
                status = check_users(c);
        config_free(c);
        return status;
}
