#include "ctl/send.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "ctl/console.h"
#include "ctl/queue.h"
#include "ctl/send_message.h"
#include "ctl/send_smtp.h"
#include "message/xtext.h"

const char send_help[] =
        "hayauma send [OPTIONS] [RECIPIENT…] < message      (also when called as sendmail)\n"
        "\n"
        "  -t             recipients from To, Cc and Bcc too; Bcc is taken out\n"
        "  -i, -oi        a line that is only a dot does not end the message\n"
        "  -f ADDRESS     the return path; -r is the same; \"\" or \"<>\" is the null one\n"
        "  -F NAME        the full name for a From field that is added\n"
        "  -N WHEN        never, or a list of success, failure, delay: when to be notified\n"
        "  -R full|hdrs   what of the message a notification brings back\n"
        "  -V ENVID       what a notification names the message by\n"
        "  -B TYPE        7BIT or 8BITMIME: taken from the message itself anyway\n"
        "  -v             shows the dialogue with the server\n"
        "  -bs            speaks SMTP on standard input and output\n"
        "  -bp, -bi       as mailq, as newaliases\n"
        "  -q…            tries everything in the queue now\n"
        "  -c FILE        the configuration (-C too)\n"
        "\n"
        "-m, -n, -e, -h, -o, -O, -L, -X and other options of sendmail are taken and do\n"
        "nothing. Missing From, Date and Message-ID fields are added.\n"
        "\n"
        "Exit status: 0 the server has the message; 75 try again later; 67 and 69 some\n"
        "recipient was refused, the others have it; 64, 65 the request or message is bad.\n";

struct send_options {
        const char *config_file, *mail_from, *full_name, *notify, *ret, *envid;
        bool takes_header, ignores_dots, is_verbose, is_flush;
        char mode; /* of -b */
};

/* ---- options ------------------------------------------------------------ */

/* Letters with ":" have a value, with "::" one in the same word. */
static const char letters[] = "A:B:b:C:c:D:d::e:F:f:Gh:IiL:M:mN:nO:o:p:Q::q::R:r:tUV:vX:x:";

static void take_o(struct send_options *o, const char *value)
{
        if (value[0] == 'i')
                o->ignores_dots = true; /* -oi; the others are about delivery, which is not ours */
}

static int take_options(int argc, char **argv, struct send_options *o)
{
        int letter;

        optind = 0; /* begins anew, whatever was parsed before */
        opterr = 0;
        while ((letter = getopt(argc, argv, letters)) != -1) {
                switch (letter) {
                case 't': o->takes_header = true; break;
                case 'i': o->ignores_dots = true; break;
                case 'v': o->is_verbose = true; break;
                case 'q': o->is_flush = true; break;
                case 'f':
                case 'r': o->mail_from = optarg; break;
                case 'F': o->full_name = optarg; break;
                case 'N': o->notify = optarg; break;
                case 'R': o->ret = optarg; break;
                case 'V': o->envid = optarg; break;
                case 'C':
                case 'c': o->config_file = optarg; break;
                case 'b': o->mode = optarg[0]; break;
                case 'o': take_o(o, optarg); break;
                case 'B':
                        if (strcasecmp(optarg, "7BIT") != 0 && strcasecmp(optarg, "8BITMIME") != 0)
                                return console_fail(EX_USAGE, "-B is 7BIT or 8BITMIME, not \"%s\"",
                                                    optarg);
                        break;
                case '?':
                        return console_fail(EX_USAGE, "there is no option -%c, or it wants a "
                                            "value: --help says which there are", optopt);
                default: break; /* taken, without effect */
                }
        }
        return EX_OK;
}

/* -N: "never", or others in any order (RFC 3461 section 4.1); in capitals. */
static bool take_notify(const char *text, char *out, size_t room)
{
        struct span rest = span_from_string(text), word;
        bool is_good = true, has_never = false;
        size_t words = 0;

        while (span_split(&rest, ',', &word)) {
                has_never |= span_equal_nocase(word, SPAN_LITERAL("never"));
                is_good &= span_equal_nocase(word, SPAN_LITERAL("never")) ||
                           span_equal_nocase(word, SPAN_LITERAL("success")) ||
                           span_equal_nocase(word, SPAN_LITERAL("failure")) ||
                           span_equal_nocase(word, SPAN_LITERAL("delay"));
                words++;
        }
        if (!is_good || (has_never && words > 1) || strlen(text) >= room)
                return false;
        for (size_t i = 0; i <= strlen(text); i++)
                out[i] = (char) toupper((unsigned char) text[i]);
        return true;
}

/* ---- who sends ---------------------------------------------------------- */

/* The login name and full name of whoever calls us. */
static void who_calls(char *login, size_t login_room, char *full_name, size_t full_name_room)
{
        const struct passwd *pw = getpwuid(getuid());
        size_t len = 0;

        full_name[0] = '\0';
        snprintf(login, login_room, pw ? "%s" : "uid-%s", pw ? pw->pw_name : "");
        if (!pw)
                snprintf(login, login_room, "uid-%u", (unsigned) getuid());
        /* Up to the first comma; "&" is the login name, by old custom. */
        for (const char *p = pw && pw->pw_gecos ? pw->pw_gecos : ""; *p && *p != ','; p++) {
                const int n = snprintf(full_name + len, full_name_room - len, "%.*s",
                                       *p == '&' ? (int) strlen(login) : 1, *p == '&' ? login : p);

                len += (size_t) n;
                if (len >= full_name_room)
                        break;
        }
}

static uint64_t random_number(void)
{
        uint64_t n;

        if (getrandom(&n, sizeof n, 0) != sizeof n)
                n = clock_monotonic_us(); /* with the time in front, still one of a kind */
        return n;
}

/* ---- sending a message -------------------------------------------------- */

struct sending {
        const struct send_options *o;
        const struct config *config;
        struct send_recipients recipients;
        struct buffer read, message;
        struct span mail_from;
        char login[300], full_name[300], path[4096], notify[64];
};

static int recipients_failed(const struct send_recipients *r, int result)
{
        switch (result) {
        case -EINVAL:
                return console_fail(EX_DATAERR, "\"%.*s\" is no address: nothing was sent",
                                    (int) r->bad.len, r->bad.p ? r->bad.p : "");
        case -E2BIG:
                return console_fail(EX_DATAERR, "more than %d recipients: nothing was sent; use a "
                                    "mailing list", SEND_RECIPIENTS_MAX);
        default:
                return console_fail(EX_OSERR, "there is not enough memory");
        }
}

static int take_recipients(struct sending *s, int count, char **words)
{
        int r = 0;

        for (int i = 0; i < count && r == 0; i++)
                r = send_recipients_add(&s->recipients, span_from_string(words[i]));
        if (r == 0 && s->o->takes_header)
                r = send_message_recipients(buffer_span(&s->read), &s->recipients);
        if (r < 0)
                return recipients_failed(&s->recipients, r);
        if (s->recipients.count == 0)
                return console_fail(EX_USAGE, "nobody to send to: name recipients, or use -t with "
                                    "To, Cc or Bcc in the message");
        return EX_OK;
}

/* The return path, and From where it is missing: what -f says, or the caller. */
static int complete(struct sending *s)
{
        const struct send_options *o = s->o;
        struct send_origin origin = {
                .hostname = s->config->hostname,
                .now_us = clock_now_us(),
                .unique = random_number(),
        };
        const char *path = o->mail_from ? o->mail_from : s->login;
        struct span caller;
        int r;

        who_calls(s->login, sizeof s->login, s->full_name, sizeof s->full_name);
        r = send_recipients_qualify(&s->recipients, span_from_string(s->login), &caller);
        if (r == 0)
                r = send_recipients_qualify(&s->recipients, span_from_string(path), &s->mail_from);
        if (r < 0)
                return console_fail(EX_USAGE, "\"%s\" is no address for the return path", path);
        origin.header_from = s->mail_from.len ? s->mail_from : caller;
        origin.full_name = span_from_string(o->full_name ? o->full_name : s->full_name);
        r = send_message_complete(buffer_span(&s->read), o->takes_header, &origin, &s->message);
        if (r == -EMSGSIZE)
                return console_fail(EX_DATAERR, "the header of the message is too large");
        return r < 0 ? console_fail(EX_OSERR, "cannot make the message: %s", strerror(-r)) : EX_OK;
}

static int submit(struct sending *s)
{
        const struct span envid = span_from_string(s->o->envid);
        struct send_smtp smtp = {
                .socket_path = s->path,
                .hostname = s->config->hostname,
                .mail_from = s->mail_from,
                .message = buffer_span(&s->message),
                .is_verbose = s->o->is_verbose,
        };

        if (s->o->notify) {
                if (!take_notify(s->o->notify, s->notify, sizeof s->notify))
                        return console_fail(EX_USAGE, "-N is never, or a list of success, failure "
                                            "and delay");
                smtp.notify = s->notify;
        }
        if (s->o->ret) {
                if (strcasecmp(s->o->ret, "full") != 0 && strcasecmp(s->o->ret, "hdrs") != 0)
                        return console_fail(EX_USAGE, "-R is full or hdrs");
                smtp.ret = strcasecmp(s->o->ret, "full") == 0 ? "FULL" : "HDRS";
        }
        if (envid.len) {
                smtp.envid = xtext_encode(envid, &s->recipients.arena);
                if (smtp.envid.len > 100) /* RFC 3461 section 4.4 */
                        return console_fail(EX_USAGE, "-V is at most 100 characters");
        }
        return send_smtp_submit(&smtp, &s->recipients);
}

static int send_message(const struct send_options *o, const struct config *c, int count,
                        char **words)
{
        struct sending s = {
                .o = o,
                .config = c,
                .recipients = SEND_RECIPIENTS_INIT(c->hostname),
                .read = BUFFER_INIT(SEND_MESSAGE_MAX),
                .message = BUFFER_INIT(SEND_MESSAGE_MAX + 64 * 1024),
        };
        int status = EX_OK, r;

        snprintf(s.path, sizeof s.path, "%.*s/submit", (int) c->run_dir.len, c->run_dir.p);
        r = send_message_read(STDIN_FILENO, o->ignores_dots, &s.read);
        if (r < 0)
                status = r == -EMSGSIZE ? console_fail(EX_DATAERR, "the message is too large")
                                        : console_fail(EX_IOERR, "cannot read the message: %s",
                                                       strerror(-r));
        if (status == EX_OK)
                status = take_recipients(&s, count, words);
        if (status == EX_OK)
                status = complete(&s);
        if (status == EX_OK)
                status = submit(&s);
        send_recipients_done(&s.recipients);
        buffer_done(&s.read);
        buffer_done(&s.message);
        return status;
}

/* ---- -bs ---------------------------------------------------------------- */

/* Copies what is readable. 1, 0 at the end, or -errno. */
static int copy_some(int from, int to)
{
        char octets[16 * 1024];
        const ssize_t n = read(from, octets, sizeof octets);

        if (n < 0)
                return errno == EINTR ? 1 : -errno;
        if (n == 0)
                return 0;
        const int r = file_write_all(to, octets, (size_t) n);

        return r < 0 ? r : 1;
}

/* Between standard input and output and the server, until it hangs up. */
static int speak_smtp(const struct config *c)
{
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        _cleanup_(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct pollfd polled[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                   {.fd = fd, .events = POLLIN}};

        if (snprintf(at.sun_path, sizeof at.sun_path, "%.*s/submit", (int) c->run_dir.len,
                     c->run_dir.p) >= (int) sizeof at.sun_path || fd < 0 ||
            connect(fd, (const struct sockaddr *) &at, sizeof at) < 0) {
                printf("421 4.3.2 The server is not running\r\n");
                return EX_TEMPFAIL;
        }
        sigaction(SIGPIPE, &(struct sigaction) {.sa_handler = SIG_IGN}, NULL);
        for (;;) {
                if (poll(polled, 2, -1) < 0 && errno != EINTR)
                        return console_fail(EX_OSERR, "cannot wait for input: %m");
                if (polled[1].revents && copy_some(fd, STDOUT_FILENO) <= 0)
                        return EX_OK;
                if (polled[0].revents && copy_some(STDIN_FILENO, fd) <= 0) {
                        shutdown(fd, SHUT_WR); /* what it has to say yet, we pass on */
                        polled[0].fd = -1;
                }
        }
}

/* ---- the command -------------------------------------------------------- */

static int run_queue(const char *config_file, const char *verb)
{
        char name[] = "queue", option[] = "-c", word[16], path[4096];
        char *words[] = { name, word, option, path, NULL };

        snprintf(word, sizeof word, "%s", verb);
        snprintf(path, sizeof path, "%s", config_file ? config_file : CONSOLE_CONFIG_FILE);
        return queue_run(4, words);
}

int send_run(int argc, char **argv)
{
        struct send_options o = {.mode = 'm'};
        struct config *c = NULL;
        int status = take_options(argc, argv, &o);

        if (status != EX_OK)
                return status;
        if (o.is_flush)
                return run_queue(o.config_file, "retry");
        if (o.mode == 'p')
                return run_queue(o.config_file, "list");
        if (o.mode == 'i')
                return EX_OK; /* tables are read when their files change: nothing to rebuild */
        if (o.mode != 'm' && o.mode != 's')
                return console_fail(EX_USAGE, "-b%c is not for this program: the server starts "
                                    "with \"hayauma run\"", o.mode);
        status = console_config(o.config_file, &c);
        if (status == EX_OK)
                status = o.mode == 's' ? speak_smtp(c)
                                       : send_message(&o, c, argc - optind, argv + optind);
        config_free(c);
        return status;
}
