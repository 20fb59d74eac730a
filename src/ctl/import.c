#include "ctl/import.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/file.h"
#include "config/import_mc.h"
#include "ctl/console.h"

enum { MC_MAX = 1 << 20 };

const char import_help[] =
        "hayauma import mc FILE\n"
        "\n"
        "Prints the hayauma.conf that does what a sendmail .mc file says, with a comment\n"
        "for each thing that has no counterpart. Nothing is changed; look it over, then\n"
        "put it in its place and run `hayauma check`.\n";

int import_run(int argc, char **argv)
{
        const int words = console_options(argc, argv, NULL, 0);
        struct buffer text = BUFFER_INIT(MC_MAX), out = BUFFER_INIT(4 * MC_MAX);
        int r;

        if (words < 0)
                return EX_USAGE;
        if (words != 2 || strcmp(argv[1], "mc") != 0)
                return console_fail(EX_USAGE, "say what: hayauma import mc FILE");
        r = file_read_at(AT_FDCWD, argv[2], &text);
        if (r == 0)
                r = import_mc(buffer_span(&text), span_from_string(argv[2]), &out);
        if (r == 0)
                fwrite(buffer_span(&out).p, 1, out.len, stdout);
        buffer_done(&text);
        buffer_done(&out);
        return r == 0 ? EX_OK
                      : console_fail(EX_NOINPUT, "cannot read %s: %s", argv[2], strerror(-r));
}
