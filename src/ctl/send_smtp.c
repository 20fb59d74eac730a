#include "ctl/send_smtp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/number.h"
#include "ctl/console.h"

enum {
        COMMAND_TIMEOUT_S = 5 * 60,
        END_TIMEOUT_S = 10 * 60, /* RFC 5321 section 4.5.3.2.6 */
        REPLY_LINE_MAX = 4096,
        REPLY_LINES_MAX = 200,
        OUTPUT_MAX = 64 * 1024,
};

struct session {
        const struct send_smtp *s;
        int fd;
        struct buffer input, output;
        unsigned code;
        char text[REPLY_LINE_MAX]; /* of the last line, behind the code */
        bool has_8bitmime, has_smtputf8, has_size, has_dsn;
        int error; /* negative errno: the connection is of no more use */
};

/* ---- lines in and out --------------------------------------------------- */

static void set_timeout(struct session *c, int seconds)
{
        const struct timeval t = {.tv_sec = seconds};

        setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
        setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static int flush(struct session *c)
{
        while (c->output.len && c->error == 0) {
                const struct span out = buffer_span(&c->output);
                const ssize_t n = send(c->fd, out.p, out.len, MSG_NOSIGNAL);

                if (n > 0)
                        buffer_consume(&c->output, (size_t) n);
                else if (errno != EINTR)
                        c->error = errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        return c->error;
}

/* The next line without its line end, valid until the next call. */
static int read_line(struct session *c, struct span *ret_line, size_t *ret_used)
{
        for (;;) {
                const struct span held = buffer_span(&c->input);
                const size_t lf = span_find(held, '\n');
                char *to;
                ssize_t n;

                if (lf != SIZE_MAX) {
                        *ret_line = span_trim(span_first(held, lf));
                        *ret_used = lf + 1;
                        return 0;
                }
                if (buffer_room(&c->input) < REPLY_LINE_MAX / 2 ||
                    buffer_reserve(&c->input, REPLY_LINE_MAX / 2, &to) < 0)
                        return -EBADMSG;
                n = recv(c->fd, to, REPLY_LINE_MAX / 2, 0);
                if (n > 0)
                        buffer_commit(&c->input, (size_t) n);
                else if (n == 0)
                        return -ECONNRESET;
                else if (errno != EINTR)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
}

/* What a line of the reply to EHLO offers. */
static void take_offer(struct session *c, struct span line)
{
        struct span word;

        span_split(&line, ' ', &word);
        c->has_8bitmime |= span_equal_nocase(word, SPAN_LITERAL("8BITMIME"));
        c->has_smtputf8 |= span_equal_nocase(word, SPAN_LITERAL("SMTPUTF8"));
        c->has_size |= span_equal_nocase(word, SPAN_LITERAL("SIZE"));
        c->has_dsn |= span_equal_nocase(word, SPAN_LITERAL("DSN"));
}

/* Reads a reply of any number of lines. Returns its code, or 0: `error`. */
static unsigned read_reply(struct session *c)
{
        for (unsigned lines = 0; c->error == 0; lines++) {
                struct span line = {0};
                size_t used = 0;
                uint64_t code;

                c->error = read_line(c, &line, &used);
                if (c->error != 0)
                        break;
                if (c->s->is_verbose)
                        fprintf(stderr, "%.*s\n", (int) line.len, line.p);
                if (lines == REPLY_LINES_MAX || line.len < 3 ||
                    number_parse(span_first(line, 3), 599, &code) < 0 || code < 200 ||
                    (line.len > 3 && line.p[3] != ' ' && line.p[3] != '-')) {
                        c->error = -EBADMSG;
                        break;
                }
                c->code = (unsigned) code;
                snprintf(c->text, sizeof c->text, "%.*s", (int) span_skip(line, 4).len,
                         span_skip(line, 4).p);
                if (lines)
                        take_offer(c, span_skip(line, 4));
                const bool is_last = line.len == 3 || line.p[3] == ' ';

                buffer_consume(&c->input, used);
                if (is_last)
                        return c->code;
        }
        return c->code = 0;
}

/* Sends a command and reads its reply. */
static unsigned command(struct session *c, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        if (c->error == 0)
                c->error = buffer_vprintf(&c->output, format, args);
        va_end(args);
        if (c->error == 0 && c->s->is_verbose)
                fprintf(stderr, ">>> %.*s\n", (int) c->output.len, buffer_span(&c->output).p);
        if (c->error == 0)
                c->error = buffer_append_string(&c->output, "\r\n");
        flush(c);
        return read_reply(c);
}

/* ---- what to say of replies --------------------------------------------- */

static int connection_failed(const struct session *c)
{
        if (c->error == -EBADMSG)
                return console_fail(EX_PROTOCOL, "what answers at %s does not speak SMTP",
                                    c->s->socket_path);
        return console_fail(EX_TEMPFAIL, "the server did not take the message (%s): try again "
                            "later", strerror(-c->error));
}

static int status_of(const struct session *c)
{
        if (c->code / 100 == 4)
                return EX_TEMPFAIL;
        if (c->code == 550 && strncmp(c->text, "5.1.", 4) == 0)
                return EX_NOUSER;
        return EX_UNAVAILABLE;
}

/* Says that `what` was refused; the status for it. */
static int refused(const struct session *c, const char *what, struct span of)
{
        if (c->error < 0)
                return connection_failed(c);
        return console_fail(status_of(c), "%s%.*s was refused: %u %s", what, (int) of.len,
                            of.p ? of.p : "", c->code, c->text);
}

/* The status that tells most: a user that does not exist is not to be hidden
 * by a delay elsewhere. */
static int worse(int a, int b)
{
        static const int order[] = { EX_OK, EX_TEMPFAIL, EX_UNAVAILABLE, EX_NOUSER, EX_PROTOCOL };
        size_t i = 0, k = 0;

        while (i + 1 < sizeof order / sizeof order[0] && order[i] != a)
                i++;
        while (k + 1 < sizeof order / sizeof order[0] && order[k] != b)
                k++;
        return i > k ? a : b;
}

/* ---- one transaction ---------------------------------------------------- */

static bool has_8bit(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] > 127)
                        return true;
        return false;
}

static bool needs_smtputf8(const struct send_smtp *s, const struct send_recipients *r)
{
        bool needs = has_8bit(s->mail_from);

        for (size_t i = 0; i < r->count && !needs; i++)
                needs = has_8bit(r->items[i].address);
        return needs;
}

static int send_mail_from(struct session *c, const struct send_recipients *recipients)
{
        const struct send_smtp *s = c->s;
        const bool is_utf8 = needs_smtputf8(s, recipients);
        char size[40] = "", envid[400] = "";

        if (is_utf8 && !c->has_smtputf8)
                return console_fail(EX_UNAVAILABLE, "an address is not ASCII, and the server does "
                                    "not take such");
        if (c->has_size)
                snprintf(size, sizeof size, " SIZE=%zu", s->message.len);
        if (c->has_dsn && s->envid.len)
                snprintf(envid, sizeof envid, " ENVID=%.*s", (int) s->envid.len, s->envid.p);
        if (command(c, "MAIL FROM:<%.*s>%s%s%s%s%s%s", (int) s->mail_from.len, s->mail_from.p, size,
                    c->has_8bitmime && has_8bit(s->message) ? " BODY=8BITMIME" : "",
                    is_utf8 ? " SMTPUTF8" : "", c->has_dsn && s->ret ? " RET=" : "",
                    c->has_dsn && s->ret ? s->ret : "", envid) / 100 != 2)
                return refused(c, "the message from ", s->mail_from);
        return EX_OK;
}

/* RCPT for everyone not yet done. Counts the accepted; those that only this
 * transaction has no room for (RFC 5321 section 4.5.3.1.10) stay undone. */
static int send_recipients(struct session *c, struct send_recipients *r, size_t *ret_accepted)
{
        size_t accepted = 0;
        int status = EX_OK;

        for (size_t i = 0; i < r->count; i++) {
                struct send_recipient *each = &r->items[i];

                if (each->is_done)
                        continue;
                command(c, "RCPT TO:<%.*s>%s%s", (int) each->address.len, each->address.p,
                        c->has_dsn && c->s->notify ? " NOTIFY=" : "",
                        c->has_dsn && c->s->notify ? c->s->notify : "");
                if (c->code == 452 && accepted)
                        break;
                each->is_done = true;
                if (c->code / 100 == 2)
                        accepted++;
                else
                        status = worse(status, refused(c, "", each->address));
                if (c->error < 0)
                        break;
        }
        *ret_accepted = accepted;
        return status;
}

/* The message with dots doubled at line starts (RFC 5321 section 4.5.2). */
static int send_text(struct session *c)
{
        struct span rest = c->s->message;

        while (rest.len && c->error == 0) {
                const size_t lf = span_find(rest, '\n');
                struct span line = span_first(rest, lf == SIZE_MAX ? rest.len : lf + 1);

                rest = span_skip(rest, line.len);
                if (line.p[0] == '.')
                        c->error = buffer_append(&c->output, ".", 1);
                while (line.len && c->error == 0) { /* a line may be longer than the buffer */
                        const struct span part = span_first(line, OUTPUT_MAX / 4);

                        c->error = buffer_append_span(&c->output, part);
                        line = span_skip(line, part.len);
                        if (c->error == 0 && c->output.len > OUTPUT_MAX / 2)
                                flush(c);
                }
        }
        if (c->error == 0)
                c->error = buffer_append_string(&c->output, ".\r\n");
        set_timeout(c, END_TIMEOUT_S);
        flush(c);
        read_reply(c);
        set_timeout(c, COMMAND_TIMEOUT_S);
        return c->code / 100 == 2 ? EX_OK : refused(c, "the message", (struct span) {0});
}

/* `*ret_was_taken`: the message is the server's, for those it accepted. */
static int send_transaction(struct session *c, struct send_recipients *r, bool *ret_was_taken)
{
        int status = send_mail_from(c, r), refusals;
        size_t accepted = 0;

        *ret_was_taken = false;
        if (status != EX_OK)
                return status;
        refusals = send_recipients(c, r, &accepted);
        if (c->error < 0)
                return worse(refusals, EX_TEMPFAIL);
        if (accepted == 0) {
                command(c, "RSET");
                return refusals;
        }
        if (command(c, "DATA") != 354)
                return refused(c, "the message", (struct span) {0});
        status = send_text(c);
        *ret_was_taken = status == EX_OK;
        return worse(status, refusals);
}

static bool has_pending(const struct send_recipients *r)
{
        for (size_t i = 0; i < r->count; i++)
                if (!r->items[i].is_done)
                        return true;
        return false;
}

/* ---- the session -------------------------------------------------------- */

static int greet(struct session *c)
{
        set_timeout(c, COMMAND_TIMEOUT_S);
        if (read_reply(c) / 100 != 2)
                return refused(c, "the connection", (struct span) {0});
        if (command(c, "EHLO %.*s", (int) c->s->hostname.len, c->s->hostname.p) / 100 != 2)
                return refused(c, "EHLO", (struct span) {0});
        return EX_OK;
}

static int connect_to(const char *path, int *ret_fd)
{
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (snprintf(at.sun_path, sizeof at.sun_path, "%s", path) >= (int) sizeof at.sun_path ||
            fd < 0 || connect(fd, (const struct sockaddr *) &at, sizeof at) < 0) {
                const int error = errno;

                if (fd >= 0)
                        close(fd);
                return console_fail(EX_TEMPFAIL, "the server is not running (%s: %s): try again "
                                    "when it is", path, strerror(error));
        }
        *ret_fd = fd;
        return EX_OK;
}

int send_smtp_submit(const struct send_smtp *s, struct send_recipients *recipients)
{
        _cleanup_(close_fd) int fd = -1;
        int status = connect_to(s->socket_path, &fd);
        struct session *c = status == EX_OK ? calloc(1, sizeof *c) : NULL;

        if (!c)
                return status != EX_OK ? status
                                       : console_fail(EX_OSERR, "there is not enough memory");
        c->s = s;
        c->fd = fd;
        c->input = BUFFER_INIT(4 * REPLY_LINE_MAX);
        c->output = BUFFER_INIT(OUTPUT_MAX);
        status = greet(c);
        if (status == EX_OK) {
                bool was_taken;

                do
                        status = worse(send_transaction(c, recipients, &was_taken), status);
                while (was_taken && has_pending(recipients));
        }
        if (c->error == 0)
                command(c, "QUIT");
        buffer_done(&c->input);
        buffer_done(&c->output);
        free(c);
        return status;
}
