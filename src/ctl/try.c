#include "ctl/try.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/file.h"
#include "ctl/console.h"
#include "ctl/story.h"

const char try_help[] =
        "hayauma try --client IP [--helo NAME] [--mail-from ADDRESS] [--login ACCOUNT]\n"
        "            --rcpt ADDRESS [ADDRESS…] [--message FILE] [-c FILE] [--json]\n"
        "\n"
        "Says what the running server would do with a message of that client: the same\n"
        "code decides, in a live process, with the same tables, lists and next hops; but\n"
        "nothing is kept, counted or sent. Prints the record that `hayauma why` would\n"
        "tell. Without --message the message itself is not looked at. --helo is the name\n"
        "the client calls itself, --login the account it has logged in to.\n";

enum { MESSAGE_MAX = 64 * 1024 * 1024, ANSWER_MAX = 2 * 1024 * 1024, TIMEOUT_S = 5 * 60 };

struct trial {
        const char *client, *helo_name, *mail_from, *login, *message;
        char **rcpts;
        int rcpt_count;
        bool is_json;
        int fd;
        struct buffer in;
        size_t read; /* octets of `in` that were replies */
        unsigned code;
        char text[512]; /* the reply's last line */
        bool is_over; /* the server has ended the session */
};

/* More of what the server says. False: that was all. */
static bool fill(struct trial *t)
{
        char *to;
        ssize_t n;

        if (buffer_reserve(&t->in, 4096, &to) < 0)
                return false;
        do
                n = recv(t->fd, to, 4096, 0);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
                return false;
        buffer_commit(&t->in, (size_t) n);
        return true;
}

/* The next line that was not read yet, without its line end. */
static bool read_line(struct trial *t, struct span *ret_line)
{
        size_t lf;

        while ((lf = span_find(span_skip(buffer_span(&t->in), t->read), '\n')) == SIZE_MAX)
                if (!fill(t))
                        return false;
        *ret_line = span_trim(span_first(span_skip(buffer_span(&t->in), t->read), lf));
        t->read += lf + 1;
        return true;
}

static unsigned digits(struct span line)
{
        unsigned n = 0;

        for (size_t i = 0; i < 3 && i < line.len; i++)
                n = n * 10 + (unsigned) (line.p[i] - '0');
        return n;
}

/* The reply to what was said; its code, 0: none came. */
static unsigned read_reply(struct trial *t)
{
        struct span line;

        t->code = 0;
        while (read_line(t, &line)) {
                if (line.len > 3 && line.p[3] == '-')
                        continue;
                t->code = digits(line);
                snprintf(t->text, sizeof t->text, "%.*s", (int) line.len, line.p);
                break;
        }
        t->is_over = t->code == 0 || t->code == 421 || t->code == 221;
        return t->code;
}

static bool put(struct trial *t, const char *p, size_t len)
{
        while (len) {
                const ssize_t n = send(t->fd, p, len, MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                p += n;
                len -= (size_t) n;
        }
        return true;
}

/* Says a command and reads its reply. */
static unsigned say(struct trial *t, const char *format, const char *value)
{
        char line[2048];
        const int len = snprintf(line, sizeof line, format, value);

        if (t->is_over || len < 0 || (size_t) len >= sizeof line)
                return 0;
        (void) put(t, line, (size_t) len); /* a failure shows in the reply */
        return read_reply(t);
}

static int open_socket(struct trial *t, const struct config *c)
{
        const struct timeval timeout = {.tv_sec = TIMEOUT_S};
        struct sockaddr_un at = {.sun_family = AF_UNIX};

        snprintf(at.sun_path, sizeof at.sun_path, "%.*s/submit", (int) c->run_dir.len,
                 c->run_dir.p);
        t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (t->fd < 0 || connect(t->fd, (struct sockaddr *) &at, sizeof at) < 0)
                return console_fail(EX_TEMPFAIL, "no server answers at %s: %s", at.sun_path,
                                    strerror(errno));
        setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        if (read_reply(t) != 220)
                return console_fail(EX_TEMPFAIL, "the server takes nothing now");
        return EX_OK;
}

/* Who is to be tried. */
static int name_client(struct trial *t)
{
        unsigned char octets[16];
        char line[1024];
        const bool is_v6 = inet_pton(AF_INET6, t->client, octets) == 1;

        if (!is_v6 && inet_pton(AF_INET, t->client, octets) != 1)
                return console_fail(EX_USAGE, "\"%s\" is no address of a client", t->client);
        if (t->login && strpbrk(t->login, " \r\n"))
                return console_fail(EX_USAGE, "\"%s\" is no account", t->login);
        if (say(t, "EHLO %s\r\n", "localhost") != 250)
                return console_fail(EX_TEMPFAIL, "the server takes nothing now");
        snprintf(line, sizeof line, "XCLIENT ADDR=%s%.64s TRIAL=YES%s%.400s\r\n",
                 is_v6 ? "IPV6:" : "", t->client, t->login ? " LOGIN=" : "",
                 t->login ? t->login : "");
        say(t, "%s", line);
        if (t->code == 421)
                return console_fail(EX_UNAVAILABLE, "the client would be refused: %s", t->text);
        if (t->code != 220)
                return console_fail(EX_NOPERM, "only root and the group hayauma may try");
        return EX_OK;
}

/* A message file as it is sent: lines that end in CRLF, dots doubled. */
static int send_message(struct trial *t)
{
        struct buffer file = BUFFER_INIT(MESSAGE_MAX);
        struct span rest, line;
        bool is_good = true;
        const int r = file_read_at(AT_FDCWD, t->message, &file);

        if (r < 0) {
                buffer_done(&file);
                return console_fail(EX_NOINPUT, "%s cannot be read: %s", t->message, strerror(-r));
        }
        if (say(t, "%s\r\n", "DATA") == 354) {
                rest = buffer_span(&file);
                while (is_good && rest.len && span_split(&rest, '\n', &line)) {
                        if (line.len && line.p[line.len - 1] == '\r')
                                line.len--;
                        if (line.len && line.p[0] == '.')
                                is_good = put(t, ".", 1);
                        is_good = is_good && put(t, line.p, line.len) && put(t, "\r\n", 2);
                }
                say(t, "%s\r\n", ".");
        }
        buffer_done(&file);
        return EX_OK;
}

static int speak(struct trial *t)
{
        char last[sizeof t->text];
        int status = name_client(t);

        if (status != EX_OK)
                return status;
        say(t, "EHLO %s\r\n", t->helo_name);
        if (say(t, "MAIL FROM:<%s>\r\n", t->mail_from) == 250) {
                for (int i = 0; i < t->rcpt_count; i++)
                        say(t, "RCPT TO:<%s>\r\n", t->rcpts[i]);
                if (t->message && !t->is_over)
                        status = send_message(t);
        }
        snprintf(last, sizeof last, "%s", t->text);
        say(t, "%s\r\n", "QUIT");
        while (fill(t))
                ;
        snprintf(t->text, sizeof t->text, "%s", last);
        return status;
}

/* The records behind the last reply, as `why` tells them. */
static int tell(struct trial *t)
{
        struct reader records = READER(span_skip(buffer_span(&t->in), t->read));
        struct story *story = story_new();
        size_t count = 0;

        if (!story)
                return console_fail(EX_OSERR, "there is not enough memory");
        while (!read_is_complete(&records) && !records.failed) {
                const struct span record = read_octets(&records, ANSWER_MAX);

                if (!records.failed && story_add(story, record) == 0)
                        count++;
        }
        if (t->is_json)
                story_print_json(story);
        else
                story_print(story, (struct span) {NULL, 0});
        story_free(story);
        return count ? EX_OK : console_fail(EX_UNAVAILABLE, "the server said: %s", t->text);
}

int try_run(int argc, char **argv)
{
        struct trial t = {.fd = -1, .helo_name = "client.example", .mail_from = ""};
        const char *config_file = NULL, *rcpt_to = NULL;
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&config_file), CONSOLE_OPTION_JSON(&t.is_json),
                {"client", false, &t.client, NULL},  {"helo", false, &t.helo_name, NULL},
                {"mail-from", false, &t.mail_from, NULL}, {"rcpt", false, &rcpt_to, NULL},
                {"login", false, &t.login, NULL},    {"message", false, &t.message, NULL},
        };
        const int words = console_options(argc, argv, options, sizeof options / sizeof options[0]);
        struct config *c = NULL;
        int status;

        if (words < 0)
                return EX_USAGE;
        if (!t.client || !rcpt_to)
                return console_fail(EX_USAGE, "say --client IP and --rcpt ADDRESS");
        /* The first recipient takes the place of the command's name. */
        argv[0] = (char *) (uintptr_t) rcpt_to;
        t.rcpts = argv;
        t.rcpt_count = words + 1;
        t.in = BUFFER_INIT(ANSWER_MAX);
        status = console_config(config_file, &c);
        if (status == EX_OK)
                status = open_socket(&t, c);
        if (status == EX_OK)
                status = speak(&t);
        if (status == EX_OK)
                status = tell(&t);
        if (t.fd >= 0)
                close(t.fd);
        buffer_done(&t.in);
        config_free(c);
        return status;
}
