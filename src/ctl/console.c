#include "ctl/console.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sysexits.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static char command_name[64] = "hayauma";

void console_set_name(const char *name)
{
        snprintf(command_name, sizeof command_name, "%s", name);
}

/* Controls that a peer chose must not reach a terminal: they become "?". C1
 * controls in UTF-8 are 0xc2 and 0x80 to 0x9f. */
static bool is_control(struct span s, size_t i)
{
        const unsigned char c = (unsigned char) s.p[i];

        return c < ' ' || c == 0x7f ||
               (c >= 0x80 && c < 0xa0 && i > 0 && (unsigned char) s.p[i - 1] == 0xc2);
}

int console_fail(int status, const char *format, ...)
{
        struct buffer b = BUFFER_INIT(1024 * 1024);
        const int error = errno; /* for %m */
        struct span text;
        va_list args;

        fflush(stdout);
        errno = error;
        va_start(args, format);
        buffer_vprintf(&b, format, args);
        va_end(args);
        text = buffer_span(&b);
        fprintf(stderr, "%s: ", command_name);
        for (size_t i = 0; i < text.len; i++)
                fputc(text.p[i] != '\n' && is_control(text, i) ? '?' : text.p[i], stderr);
        fputc('\n', stderr);
        buffer_done(&b);
        return status;
}

/* The option that `word` is, and the text behind "=" if there is one. */
static const struct console_option *find_option(const char *word,
                                                const struct console_option *options, size_t count,
                                                const char **ret_text)
{
        const bool is_short = word[1] != '-';
        const char *name = word + (is_short ? 1 : 2);
        const char *equals = is_short ? NULL : strchr(name, '=');
        const size_t len = equals ? (size_t) (equals - name) : strlen(name);

        for (size_t i = 0; i < count; i++) {
                if (options[i].is_short == is_short && strlen(options[i].name) == len &&
                    memcmp(options[i].name, name, len) == 0) {
                        *ret_text = equals ? equals + 1 : NULL;
                        return &options[i];
                }
        }
        return NULL;
}

int console_options(int argc, char **argv, const struct console_option *options, size_t count)
{
        int words = 0;

        for (int i = 1; i < argc; i++) {
                const struct console_option *o;
                const char *text;

                if (strcmp(argv[i], "--") == 0) {
                        while (++i < argc)
                                argv[++words] = argv[i];
                        break;
                }
                if (argv[i][0] != '-' || argv[i][1] == '\0') {
                        argv[++words] = argv[i];
                        continue;
                }
                o = find_option(argv[i], options, count, &text);
                if (!o || (text && o->is_set)) {
                        console_fail(0, "there is no option %s here: --help says which there are",
                                     argv[i]);
                        return -1;
                }
                if (o->is_set) {
                        *o->is_set = true;
                        continue;
                }
                if (!text && i + 1 == argc) {
                        console_fail(0, "the option %s wants a value behind it", argv[i]);
                        return -1;
                }
                *o->value = text ? text : argv[++i];
        }
        return words;
}

int console_config(const char *path, struct config **ret_config)
{
        struct buffer error = BUFFER_INIT(64 * 1024);
        const char *name = path ? path : CONSOLE_CONFIG_FILE;
        int r = config_read(name, ret_config, &error), status = EX_OK;

        if (r == -ENOENT)
                status = console_fail(EX_NOINPUT, "there is no configuration file %s: write one, "
                                      "or name it with -c FILE", name);
        else if (r == -EACCES)
                status = console_fail(EX_NOPERM, "the configuration file %s may not be read by "
                                      "you: ask for the group that owns it, or be root", name);
        else if (r < 0 && error.len)
                status = console_fail(EX_CONFIG, "the configuration has errors:\n%.*s",
                                      (int) error.len - 1, buffer_span(&error).p);
        else if (r < 0)
                status = console_fail(EX_NOINPUT, "cannot read %s: %s", name, strerror(-r));
        buffer_done(&error);
        return status;
}

/* One octet at a time: what stands behind the line is the next reader's. */
static int read_line(int fd, char *out, size_t room)
{
        size_t len = 0;

        for (;;) {
                char c;
                const ssize_t n = read(fd, &c, 1);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0 && len == 0)
                        return -ENODATA;
                if (n == 0 || c == '\n')
                        break;
                if (len + 1 >= room)
                        return -EMSGSIZE;
                out[len++] = c;
        }
        if (len && out[len - 1] == '\r')
                len--;
        out[len] = '\0';
        return 0;
}

static struct termios shown; /* how the terminal was */

static void show_and_end(int number)
{
        tcsetattr(STDIN_FILENO, TCSANOW, &shown);
        raise(number); /* SA_RESETHAND: it ends us once this returns */
}

static const int endings[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
enum { ENDINGS = sizeof endings / sizeof endings[0] };

/* Who breaks the typing off gets a terminal back that shows what is typed. The terminal is
 * changed before the prompt: what is typed before that is thrown away. */
int console_secret(const char *prompt, char *out, size_t room)
{
        const struct sigaction ending = {.sa_handler = show_and_end,
                                         .sa_flags = (int) SA_RESETHAND};
        struct sigaction before[ENDINGS];
        struct termios hidden;
        int r;

        if (tcgetattr(STDIN_FILENO, &shown) < 0)
                return read_line(STDIN_FILENO, out, room);
        for (unsigned i = 0; i < ENDINGS; i++) {
                sigaction(endings[i], NULL, &before[i]);
                if (before[i].sa_handler == SIG_DFL) /* nohup ignores some */
                        sigaction(endings[i], &ending, NULL);
        }
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t) ECHO;
        r = tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) < 0 ? -errno : 0;
        if (r == 0) {
                fprintf(stderr, "%s: ", prompt);
                r = read_line(STDIN_FILENO, out, room);
                tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
                fputc('\n', stderr);
        }
        for (unsigned i = 0; i < ENDINGS; i++)
                sigaction(endings[i], &before[i], NULL);
        return r;
}

void console_json(json_t *object)
{
        if (object)
                json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        putchar('\n');
        json_decref(object);
}

void console_text(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                putchar(is_control(s, i) ? '?' : s.p[i]);
}

const char *console_time(uint64_t at_us, char *out)
{
        const time_t at = (time_t) (at_us / 1000000);
        struct tm tm;

        if (!localtime_r(&at, &tm) || !strftime(out, CONSOLE_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm))
                snprintf(out, CONSOLE_TIME_MAX, "?");
        return out;
}

struct span console_row_text(const json_t *row, const char *name)
{
        const json_t *value = json_object_get(row, name);

        if (!json_is_string(value))
                return (struct span) {"", 0};
        return span_make(json_string_value(value), json_string_length(value));
}

uint64_t console_row_number(const json_t *row, const char *name)
{
        const json_int_t value = json_integer_value(json_object_get(row, name));

        return value > 0 ? (uint64_t) value : 0;
}
