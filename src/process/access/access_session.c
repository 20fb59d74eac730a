#include "process/access/access_session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "process/access/access.h"
#include "process/access/access_deflate.h"

enum {
        INPUT_MAX = 64 * 1024,
        OUTPUT_MAX = 16 * 1024 * 1024,
        OUTPUT_HIGH = 256 * 1024, /* no command is taken while more is unread */
        EARLY_MAX = 256 * 1024,
        FINISH_MS = 10 * 1000,
        COOLING_MS = 5 * 1000,
        DEFLATED_MAX = 640 * 1024, /* octets of one flush that are deflated at once */
        COMPRESSED_MAX = 10000,    /* sessions: 1 GiB at the very most */
};

int access_session_compress(struct access_session *s)
{
        if (s->access->compressed_count >= COMPRESSED_MAX)
                return -EDQUOT;
        s->deflate_due = access_deflate_new();
        if (!s->deflate_due)
                return -ENOMEM;
        s->access->compressed_count++;
        return 0;
}

static int write_deflated(struct access_session *s, struct span plain)
{
        struct buffer octets = BUFFER_INIT(OUTPUT_MAX);
        int r = access_deflate_write(s->deflate, plain, &octets);

        if (r == 0)
                r = stream_write(s->stream, buffer_span(&octets));
        buffer_done(&octets);
        return r;
}

static int write_output(struct access_session *s, struct span plain)
{
        int r = 0;

        if (!s->deflate)
                return stream_write(s->stream, plain);
        while (plain.len && r == 0) {
                r = write_deflated(s, span_first(plain, DEFLATED_MAX));
                plain = span_skip(plain, DEFLATED_MAX);
        }
        return r;
}

bool access_session_flush(struct access_session *s)
{
        struct buffer *out = s->protocol->output(s);

        if (out->len && write_output(s, buffer_span(out)) < 0) {
                s->is_dead = true; /* `closed` may come, or the client never reads */
                return false;
        }
        buffer_clear(out);
        if (s->deflate_due) {
                s->deflate = s->deflate_due;
                s->deflate_due = NULL;
        }
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

/* Feeds the engine what is inflated, and inflates more only once that was used. */
static size_t feed_deflated(struct access_session *s, struct span in)
{
        size_t used = 0;

        for (;;) {
                const struct span plain = access_deflate_plain(s->deflate);
                long n;

                access_deflate_used(s->deflate, s->protocol->pump(s, plain));
                if (access_deflate_plain(s->deflate).len || !may_pump(s) || used == in.len)
                        return used;
                n = access_deflate_read(s->deflate, span_skip(in, used));
                if (n < 0) {
                        log_event(LOG_INFO, "compressed_badly", LOG_TEXT("client", s->client),
                                  LOG_ERRNO("error", (int) n));
                        s->is_dead = true;
                        return used;
                }
                used += (size_t) n;
                if (access_deflate_plain(s->deflate).len == 0)
                        return used;
        }
}

static size_t feed(struct access_session *s, struct span in)
{
        return s->deflate ? feed_deflated(s, in) : s->protocol->pump(s, in);
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
                                       feed(s, buffer_span(&s->early)));
                        if (s->early.len == 0)
                                buffer_done(&s->early);
                } else {
                        used += feed(s, span_skip(in, used));
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
                if (s->deflate)
                        access_deflate_trim(s->deflate);
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
        s->account->quota = m->quota;
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
        a->compressed_count -= s->deflate || s->deflate_due;
        s->deflate = access_deflate_free(s->deflate);
        s->deflate_due = access_deflate_free(s->deflate_due);
        free(s);
        a->session_count--;
        if (account) {
                account->session_count--;
                access_account_settle(account);
        }
        access_session_ended(a);
}
