#include "process/access/access_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "process/access/access.h"

enum {
        INPUT_MAX = 64 * 1024,
        OUTPUT_MAX = 16 * 1024 * 1024,
        OUTPUT_HIGH = 256 * 1024, /* no command is taken while more is unread */
        EARLY_MAX = 256 * 1024,
        FINISH_MS = 10 * 1000,
        COOLING_MS = 5 * 1000,
};

bool access_session_flush(struct access_session *s)
{
        struct buffer *out = s->protocol->output(s);

        if (out->len && stream_write(s->stream, buffer_span(out)) < 0) {
                s->is_dead = true; /* `closed` may come, or the client never reads */
                return false;
        }
        buffer_clear(out);
        if (stream_output_len(s->stream) > OUTPUT_HIGH)
                s->is_held = true;
        return !s->is_held;
}

void access_session_end(struct access_session *s)
{
        if (s->is_ending)
                return;
        (void) access_session_flush(s);
        s->is_ending = true;
        if (!s->is_dead)
                stream_finish(s->stream, FINISH_MS);
}

static bool may_pump(const struct access_session *s)
{
        return !s->is_ending && !s->is_held && !s->is_dead;
}

/* Feeds what came early first; octets of `in` that find no use are kept only
 * while early ones are. Returns how many octets of `in` were taken. */
static size_t pump(struct access_session *s, struct span in)
{
        size_t used = 0;

        if (s->is_pumping) {
                s->is_again = true;
                return 0;
        }
        s->is_pumping = true;
        if (s->early.len && in.len && buffer_append_span(&s->early, in) == 0) {
                used = in.len;
                in = span_skip(in, used);
        }
        do {
                s->is_again = false;
                if (!may_pump(s))
                        break;
                if (s->early.len) {
                        buffer_consume(&s->early,
                                       s->protocol->pump(s, buffer_span(&s->early)));
                        if (s->early.len == 0)
                                buffer_done(&s->early);
                } else {
                        used += s->protocol->pump(s, span_skip(in, used));
                }
        } while (s->is_again);
        if (!s->is_ending && !s->is_dead)
                (void) access_session_flush(s);
        s->is_pumping = false;
        return used;
}

void access_session_fed(struct access_session *s)
{
        if (s->is_pumping) {
                s->is_again = true;
                return;
        }
        (void) pump(s, (struct span) {0});
        if (s->is_dead) {
                access_session_free(s);
                return;
        }
        if (may_pump(s))
                stream_resume(s->stream);
}

void access_session_shut(struct access_session *s, const char *text)
{
        if (s->is_ending)
                return;
        s->protocol->shut(s, text);
        access_session_fed(s);
}

/* ---- the stream ---------------------------------------------------------------- */

static void warm(struct access_session *s)
{
        struct access *a = s->access;

        s->active_at_ms = loop_now_ms(a->process->loop);
        if (list_is_linked(&s->warm))
                return;
        list_append(&a->warm, &s->warm);
        if (!timer_is_set(a->cooling))
                timer_set(a->cooling, COOLING_MS);
}

void access_session_cool(struct access *a)
{
        const uint64_t now_ms = loop_now_ms(a->process->loop);

        LIST_FOR_EACH(node, &a->warm) {
                struct access_session *s = LIST_OBJECT(node, struct access_session, warm);

                if (now_ms - s->active_at_ms < COOLING_MS)
                        continue;
                list_remove(node);
                s->protocol->trim(s);
        }
        if (!list_is_empty(&a->warm))
                timer_set(a->cooling, COOLING_MS);
}

static size_t on_input(struct stream *stream, void *arg, struct span in)
{
        struct access_session *s = arg;
        size_t used;

        (void) stream;
        warm(s);
        used = pump(s, in);
        if (s->is_dead)
                access_session_free(s);
        return used;
}

static void on_drained(struct stream *stream, void *arg)
{
        struct access_session *s = arg;

        (void) stream;
        if (!s->is_held)
                return;
        s->is_held = false;
        access_session_fed(s);
}

static void on_closed(struct stream *stream, void *arg, int reason)
{
        struct access_session *s = arg;

        log_event(LOG_INFO, "session_closed", LOG_TEXT("client", s->client),
                  LOG_SPAN("account", access_account_name(s->account)),
                  LOG_TEXT("reason", reason == 0           ? "closed"
                                     : reason == -ETIMEDOUT ? "timeout"
                                                            : stream_error(stream)));
        access_session_free(s);
}

static const struct stream_handler handler = {
        .input = on_input, .drained = on_drained, .closed = on_closed,
};

/* ---- life ----------------------------------------------------------------------- */

static int begin(struct access_session *s, const struct ipc_handover *m, int *fd)
{
        const struct stream_limits limits = {.input_max = INPUT_MAX, .output_max = OUTPUT_MAX};
        const bool is_pop3 = m->protocol == LISTEN_POP3 || m->protocol == LISTEN_POP3S;
        int r;

        s->account = access_account_get(s->access, m->account);
        if (!s->account)
                return -ENOMEM;
        s->account->session_count++;
        if (s->account->session_count > ACCESS_SESSIONS_OF_ACCOUNT_MAX)
                return -EDQUOT;
        r = buffer_append_span(&s->early, m->octets);
        if (r == 0)
                r = is_pop3 ? access_pop3_begin(s, m) : access_imap_begin(s, m);
        if (r < 0)
                return r;
        s->protocol = is_pop3 ? &access_pop3 : &access_imap;
        r = stream_new(s->access->process->loop, *fd, &limits, &handler, s, &s->stream);
        if (r < 0)
                return r;
        *fd = -1;
        stream_set_idle_timeout(s->stream, s->protocol->idle_timeout_ms);
        return 0;
}

void access_session_new(struct access *a, const struct ipc_handover *m, int *fd)
{
        const struct span hostname = a->process->config->hostname;
        struct access_session *s = calloc(1, sizeof *s + hostname.len + 1);
        int r = s ? 0 : -ENOMEM;

        if (s) {
                s->access = a;
                s->early = BUFFER_INIT(EARLY_MAX);
                memcpy(s->hostname_octets, hostname.p, hostname.len);
                s->hostname = span_make(s->hostname_octets, hostname.len);
                snprintf(s->client, sizeof s->client, "%.*s:%u", (int) m->client.len,
                         m->client.p ? m->client.p : "", m->client_port);
                list_append(&a->sessions, &s->node);
                a->session_count++;
                r = a->session_count > ACCESS_SESSIONS_MAX ? -EDQUOT : begin(s, m, fd);
        }
        if (r < 0) {
                a->counters.refused++;
                log_event(LOG_WARNING, "session_not_opened", LOG_SPAN("account", m->account),
                          LOG_ERRNO("error", r));
                if (s)
                        access_session_free(s);
                return;
        }
        a->counters.handed_over++;
        warm(s);
        access_session_fed(s);
}

void access_session_free(struct access_session *s)
{
        struct access *a = s->access;
        struct access_account *account = s->account;

        list_remove(&s->node);
        list_remove(&s->warm);
        list_remove(&s->starved);
        s->order = access_keeper_forget(&a->keeper, s->order);
        if (s->protocol)
                s->protocol->free(s);
        s->stream = stream_free(s->stream);
        buffer_done(&s->early);
        free(s);
        a->session_count--;
        if (account) {
                account->session_count--;
                access_account_settle(account);
        }
        access_session_ended(a);
}
