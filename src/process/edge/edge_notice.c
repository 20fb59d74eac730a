#include "process/edge/edge_notice.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"

enum { NOTICE_MAX = 8192, INPUT_MAX = 4096, PATIENCE_MS = 60 * 1000 };

struct notice {
        struct stream *stream;
        struct buffer script; /* what is said once EHLO was answered */
        bool has_greeted, is_said, is_refused;
};

static void done(struct stream *stream, void *arg, int reason)
{
        struct notice *n = arg;

        if (n->is_refused || !n->is_said || reason < 0)
                log_event(LOG_ERROR, "notice_not_sent", LOG_ERRNO("error", reason),
                          LOG_TEXT("text", "postmaster was not told"));
        stream_free(stream);
        buffer_done(&n->script);
        free(n);
}

/* Each last line of a reply is a step. */
static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct notice *n = arg;
        struct span rest = in, line;
        size_t used = 0;

        while (span_find(rest, '\n') != SIZE_MAX && span_split(&rest, '\n', &line)) {
                used += line.len + 1;
                if (line.len < 4 || line.p[3] != ' ')
                        continue;
                n->is_refused = n->is_refused || line.p[0] >= '4';
                if (!n->has_greeted) {
                        n->has_greeted = true;
                        (void) stream_write(stream, SPAN_LITERAL("EHLO localhost\r\n"));
                } else if (!n->is_said) {
                        n->is_said = true;
                        (void) stream_write(stream, buffer_span(&n->script));
                }
        }
        return used;
}

static const struct stream_handler handler = {.input = on_input, .closed = done};

static struct edge_listener *local_listener(struct edge *e)
{
        LIST_FOR_EACH(node, &e->listeners) {
                struct edge_listener *l = LIST_OBJECT(node, struct edge_listener, node);

                if (l->protocol == LISTEN_LOCAL)
                        return l;
        }
        return NULL;
}

/* BDAT (RFC 3030 section 2) may follow the envelope without waiting. */
static int write_script(const struct edge *e, struct buffer *out, struct span subject,
                        struct span text)
{
        const struct span hostname = e->process->config->hostname;
        struct buffer message = BUFFER_INIT(NOTICE_MAX);
        int r = buffer_printf(&message, "From: Hayauma <postmaster@%.*s>\r\nTo: postmaster@%.*s\r\n"
                              "Subject: %.*s: %.*s\r\nAuto-Submitted: auto-generated\r\n"
                              "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                              "Content-Transfer-Encoding: 8bit\r\n\r\n", (int) hostname.len,
                              hostname.p, (int) hostname.len, hostname.p, (int) hostname.len,
                              hostname.p, (int) subject.len, subject.p);

        if (r == 0)
                r = buffer_append_span(&message, text);
        if (r == 0)
                r = buffer_printf(out, "MAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<postmaster>\r\n"
                                  "BDAT %zu LAST\r\n", message.len);
        if (r == 0)
                r = buffer_append_span(out, buffer_span(&message));
        buffer_done(&message);
        return r == 0 ? buffer_append_string(out, "QUIT\r\n") : r;
}

static int submit(struct edge *e, struct edge_listener *l, struct notice *n)
{
        const struct edge_client client = {
                .is_unix = true, .is_local_user = true, .text = "local",
        };
        const struct stream_limits limits = {.input_max = INPUT_MAX, .output_max = 2 * NOTICE_MAX};
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
                return -errno;
        r = stream_new(e->process->loop, pair[0], &limits, &handler, n, &n->stream);
        if (r < 0) {
                close(pair[0]);
                close(pair[1]);
                return r;
        }
        stream_set_idle_timeout(n->stream, PATIENCE_MS);
        edge_session_new(l, pair[1], &client, 0);
        return 0;
}

void edge_notice_send(struct edge *e, struct span subject, struct span text)
{
        struct edge_listener *l = local_listener(e);
        struct notice *n = l ? calloc(1, sizeof *n) : NULL;
        int r = n ? 0 : l ? -ENOMEM : -ENOTCONN;

        if (n) {
                n->script = BUFFER_INIT(2 * NOTICE_MAX);
                r = write_script(e, &n->script, subject, text);
                if (r == 0)
                        r = submit(e, l, n);
        }
        if (r == 0)
                return;
        log_event(LOG_ERROR, "notice_not_sent", LOG_ERRNO("error", r),
                  LOG_TEXT("text", "postmaster was not told"));
        if (n)
                buffer_done(&n->script);
        free(n);
}

void edge_notice_quota(struct edge *e, struct span account, struct span why)
{
        const struct config *c = e->process->config;
        struct buffer text = BUFFER_INIT(NOTICE_MAX / 2);

        if (buffer_printf(&text, "The account %.*s may send to %llu recipients an hour and %llu a "
                          "day\r\n(0: any number), and wanted more. It was answered:\r\n\r\n"
                          "    %.*s\r\n\r\nIf its owner does not know of that, somebody else may "
                          "have the password:\r\n\"hayauma user passwd\" changes it, and \"hayauma "
                          "queue list\" shows what waits.\r\nThe limits are "
                          "auth.recipients_per_hour and auth.recipients_per_day.\r\n",
                          (int) account.len, account.p,
                          (unsigned long long) c->auth.recipients_per_hour,
                          (unsigned long long) c->auth.recipients_per_day, (int) why.len,
                          why.p) == 0)
                edge_notice_send(e, SPAN_LITERAL("an account is over its quota of recipients"),
                                 buffer_span(&text));
        buffer_done(&text);
}
