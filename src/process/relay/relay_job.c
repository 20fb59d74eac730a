#include "process/relay/relay_job.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "message/mime_convert.h"
#include "process/relay/relay_connection.h"
#include "process/relay/relay_destination.h"
#include "process/relay/relay_probe.h"
#include "route/route.h"

enum {
        JOB_SIZE_MAX = 4 * 1024 * 1024, /* envelope and first part, with what the arena wastes */
        RESULTS_FLUSH = 128 * 1024,     /* results in one frame: half of what may be in it */
        BY_MAX_S = 999999999,
        CONVERT_MAX = 32 * 1024 * 1024, /* octets that are re-encoded: the loop waits so long */
        SPARE_JOBS_MAX = 128, /* each with a block of its arena */
        SPARE_PARTS_MAX = 128,
        PART_ROOM = 8 * 1024 - 64, /* of those that are kept: most messages, */
        PART_SMALL = 1024,         /* but not those that malloc() is quick for */
        RESULTS_KEPT = 4096,
        OUTCOMES_MAX = 32, /* that wait for each other */
};

/* Octets of a body that came in one frame. */
struct relay_part {
        struct list_node node;
        size_t credit; /* to be given back when they are sent */
        size_t len, room;
        char octets[];
};

static uint64_t hash_number(uint64_t number)
{
        return number * 0x9e3779b97f4a7c15u; /* the keeper counts: no peer chooses it */
}

static struct relay_job *find(const struct relay *r, uint64_t number)
{
        struct table_node *n = table_first(&r->jobs_by_number, hash_number(number));

        for (; n; n = table_next(n)) {
                struct relay_job *j = TABLE_OBJECT(n, struct relay_job, by_number);

                if (j->number == number)
                        return j;
        }
        return NULL;
}

/* Credit. */

static void give_back(struct relay_job *j, size_t credit)
{
        if (credit && j->relay->keeper)
                channel_release(j->relay->keeper, credit);
}

static void part_free(struct relay_job *j, struct relay_part *p)
{
        struct relay *r = j->relay;

        list_remove(&p->node);
        give_back(j, p->credit);
        if (p->room != PART_ROOM || r->spare_part_count == SPARE_PARTS_MAX) {
                free(p);
                return;
        }
        list_prepend(&r->spare_parts, &p->node);
        r->spare_part_count++;
}

static struct relay_part *part_new(struct relay *r, size_t len)
{
        const size_t room = len > PART_SMALL && len <= PART_ROOM ? PART_ROOM : len;
        struct list_node *spare = room == PART_ROOM ? list_take_first(&r->spare_parts) : NULL;
        struct relay_part *p = spare ? LIST_OBJECT(spare, struct relay_part, node)
                                     : malloc(sizeof *p + room);

        if (spare)
                r->spare_part_count--;
        if (p)
                *p = (struct relay_part) {.len = len, .room = room};
        return p;
}

static int add_part(struct relay_job *j, struct span octets, size_t credit)
{
        struct relay_part *p = part_new(j->relay, octets.len);

        if (!p)
                return -ENOMEM;
        p->credit = credit;
        memcpy(p->octets, octets.p, octets.len);
        list_append(&j->parts, &p->node);
        return 0;
}

/* Life. */

static void memory_free(struct relay_job *j)
{
        buffer_done(&j->results);
        arena_done(&j->arena);
        free(j);
}

static void memory_give_back(struct relay *r, struct relay_job *j)
{
        if (r->spare_job_count == SPARE_JOBS_MAX) {
                memory_free(j);
                return;
        }
        arena_clear(&j->arena);
        buffer_shrink(&j->results, RESULTS_KEPT);
        list_prepend(&r->spare_jobs, &j->in_relay);
        r->spare_job_count++;
}

/* All zero but what the last one left. */
static struct relay_job *memory_take(struct relay *r)
{
        struct list_node *spare = list_take_first(&r->spare_jobs);
        struct relay_job *j;

        if (spare) {
                r->spare_job_count--;
                j = LIST_OBJECT(spare, struct relay_job, in_relay);
                memset(j, 0, offsetof(struct relay_job, arena));
                j->detail_len = 0;
                return j;
        }
        j = calloc(1, sizeof *j);
        if (j) {
                j->arena = (struct arena) ARENA_INIT(JOB_SIZE_MAX);
                j->results = BUFFER_INIT(IPC_PAYLOAD_MAX);
        }
        return j;
}

void relay_job_trim(struct relay *r)
{
        struct list_node *node;

        while ((node = list_take_first(&r->spare_jobs)) != NULL)
                memory_free(LIST_OBJECT(node, struct relay_job, in_relay));
        while ((node = list_take_first(&r->spare_parts)) != NULL)
                free(LIST_OBJECT(node, struct relay_part, node));
        r->spare_job_count = r->spare_part_count = 0;
}

static void job_free(struct relay_job *j)
{
        struct relay *r = j->relay;

        assert(!j->connection);
        if (list_is_linked(&j->in_relay)) {
                list_remove(&j->in_relay);
                table_remove(&r->jobs_by_number, &j->by_number);
                r->job_count--;
        }
        LIST_FOR_EACH(node, &j->parts)
                part_free(j, LIST_OBJECT(node, struct relay_part, node));
        give_back(j, j->head_credit);
        if (j->file_fd >= 0)
                close(j->file_fd);
        memory_give_back(r, j);
        relay_job_ended(r);
}

void relay_job_drop(struct relay_job *j)
{
        job_free(j);
}

static unsigned client_flags(uint32_t envelope)
{
        unsigned flags = 0;

        if (envelope & ENVELOPE_8BIT)
                flags |= SMTP_CLIENT_8BIT;
        if (envelope & ENVELOPE_BINARY)
                flags |= SMTP_CLIENT_BINARY;
        if (envelope & ENVELOPE_REQUIRETLS)
                flags |= SMTP_CLIENT_REQUIRETLS;
        if (envelope & ENVELOPE_BY_NOTIFY)
                flags |= SMTP_CLIENT_BY_NOTIFY;
        if (envelope & ENVELOPE_BY_RETURN)
                flags |= SMTP_CLIENT_BY_RETURN;
        if (envelope & ENVELOPE_BY_TRACE)
                flags |= SMTP_CLIENT_BY_TRACE;
        if (envelope & ENVELOPE_SMTPUTF8)
                flags |= SMTP_CLIENT_SMTPUTF8;
        if (envelope & ENVELOPE_RET_FULL)
                flags |= SMTP_CLIENT_RET_FULL;
        if (envelope & ENVELOPE_RET_HDRS)
                flags |= SMTP_CLIENT_RET_HDRS;
        return flags;
}

static int copy_recipients(struct relay_job *j, struct ipc_items recipients)
{
        struct reader each = ipc_items_read(recipients);
        struct ipc_target target;
        size_t n = 0;

        j->rcpts = arena_alloc(&j->arena, recipients.count * sizeof *j->rcpts);
        j->indices = arena_alloc(&j->arena, recipients.count * sizeof *j->indices);
        j->is_answered = arena_alloc(&j->arena, recipients.count * sizeof *j->is_answered);
        if (!j->rcpts || !j->indices || !j->is_answered)
                return -ENOMEM;
        while (ipc_next_target(&each, &target)) {
                j->indices[n] = target.index;
                j->rcpts[n] = (struct smtp_client_rcpt) {
                        .rcpt_to = arena_copy(&j->arena, target.rcpt_to),
                        .orcpt = arena_copy(&j->arena, target.orcpt),
                        .notify = target.notify,
                };
                if (!j->rcpts[n].rcpt_to.p || !j->rcpts[n].orcpt.p)
                        return -ENOMEM;
                n++;
        }
        j->open_count = n;
        return 0;
}

/* RFC 2852 section 4.1.1: nine digits at most. */
static int32_t seconds_left(uint64_t deliver_by_us)
{
        const int64_t s = ((int64_t) deliver_by_us - (int64_t) clock_now_us()) / 1000000;

        return (int32_t) (s > BY_MAX_S ? BY_MAX_S : s < -BY_MAX_S ? -BY_MAX_S : s);
}

int relay_job_set_key(struct relay_job *j)
{
        const struct span text = j->destination.len ? j->destination : j->next_hop;
        const struct span mark = SPAN_LITERAL(" requiretls");
        char *key;

        j->key = text;
        if (!(j->mail.flags & SMTP_CLIENT_REQUIRETLS))
                return 0;
        key = arena_alloc(&j->arena, text.len + mark.len);
        if (!key)
                return -ENOMEM;
        memcpy(key, text.p, text.len);
        memcpy(key + text.len, mark.p, mark.len);
        j->key = span_make(key, text.len + mark.len);
        return 0;
}

static int copy_envelope(struct relay_job *j, const struct ipc_job *m)
{
        int r = copy_recipients(j, m->recipients);

        if (r < 0)
                return r;
        j->next_hop = arena_copy(&j->arena, m->next_hop);
        j->destination = arena_copy(&j->arena, m->destination);
        j->hosts.count = m->hosts.count;
        j->are_hosts_secure = m->are_hosts_secure;
        j->hosts.octets = arena_copy(&j->arena, m->hosts.octets);
        j->hosts_until_ms = loop_now_ms(j->relay->loop) + m->hosts_ttl_s * 1000ULL;
        if (!j->destination.p || !j->hosts.octets.p)
                return -ENOMEM;
        j->mail = (struct smtp_client_mail) {
                .tag = j,
                .mail_from = arena_copy(&j->arena, m->mail_from),
                .envid = arena_copy(&j->arena, m->envid),
                .flags = client_flags(m->flags),
                .has_priority = envelope_has_priority(m->flags),
                .priority = (int8_t) envelope_priority(m->flags),
                .deliver_by_s = m->deliver_by_us ? seconds_left(m->deliver_by_us) : 0,
                .size = m->body_len,
                .rcpts = j->rcpts,
                .rcpt_count = j->open_count,
        };
        return j->next_hop.p && j->mail.mail_from.p && j->mail.envid.p ? relay_job_set_key(j)
                                                                       : -ENOMEM;
}

static struct relay_job *job_new(struct relay *r, const struct ipc_job *m)
{
        struct relay_job *j = memory_take(r);

        if (!j)
                return NULL;
        j->relay = r;
        j->number = m->job;
        j->message_id = m->message_id;
        j->file_fd = -1;
        j->body_unsent = m->body_len;
        j->deadline_ms = loop_now_ms(r->loop) + RELAY_JOB_MS;
        list_init(&j->parts);
        if (copy_envelope(j, m) < 0
            || table_add(&r->jobs_by_number, &j->by_number, hash_number(j->number)) < 0) {
                memory_give_back(r, j);
                return NULL;
        }
        list_append(&r->jobs, &j->in_relay);
        r->job_count++;
        return j;
}

struct relay_job *relay_job_new_probe(struct relay *r, const struct ipc_probe *probe,
                                      uint64_t prober)
{
        enum { PROBE_BIT = 63 }; /* the keeper's numbers never get so far */
        struct buffer octets = BUFFER_INIT(4 * IPC_ADDRESS_MAX);
        struct ipc_items items = {0};
        struct relay_job *j = NULL;

        if (ipc_add_target(&octets, &items, &(struct ipc_target) {.rcpt_to = probe->rcpt_to}) == 0)
                j = job_new(r, &(struct ipc_job) {
                        .job = UINT64_C(1) << PROBE_BIT | ++r->probe_last,
                        .next_hop = probe->next_hop, .recipients = items});
        buffer_done(&octets);
        if (!j)
                return NULL;
        j->mail.flags |= SMTP_CLIENT_PROBE;
        j->prober = prober;
        j->probe = probe->query;
        j->deadline_ms = loop_now_ms(r->loop) + probe->timeout_ms;
        return j;
}

static void refuse_frame(struct relay *r, const struct ipc_job *m, const char *text)
{
        struct reader each = ipc_items_read(m->recipients);
        struct buffer results = BUFFER_INIT(IPC_PAYLOAD_MAX);
        struct ipc_items items = {0};
        struct ipc_target target;

        while (ipc_next_target(&each, &target))
                ipc_add_result(&results, &items, &(struct ipc_result) {
                        .index = target.index, .text = span_from_string(text)});
        CHANNEL_SEND(r->keeper, outcome, -1, .job = m->job, .message_id = m->message_id,
                     .results = items);
        buffer_done(&results);
}

/* Mail that may have to be re-encoded starts when it is whole. */
static bool waits_for_body(const struct relay_job *j)
{
        return j->body_missing && j->mail.flags & (SMTP_CLIENT_8BIT | SMTP_CLIENT_BINARY);
}

void relay_on_job(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct relay *r = arg;
        const struct ipc_job *in = &m->job;
        struct relay_job *j;

        if (in->recipients.count == 0 || in->octets.len > in->body_len || find(r, in->job)) {
                log_event(LOG_ERROR, "job_refused", LOG_U64("job", in->job));
                return; /* the keeper contradicts itself */
        }
        j = job_new(r, in);
        if (j && *fd < 0 && in->octets.len && add_part(j, in->octets, 0) < 0) {
                job_free(j);
                j = NULL;
        }
        if (!j) {
                refuse_frame(r, in, "the relay process has no memory for this message");
                return;
        }
        j->head_credit = channel_hold(ch);
        if (*fd >= 0) {
                j->file_fd = *fd;
                *fd = -1;
                j->file_at = in->body_offset;
        } else {
                j->body_missing = in->body_len - in->octets.len;
        }
        if (!waits_for_body(j))
                relay_destination_take(r, j);
}

/* The newest job of this message that still waits for octets: the keeper sends
 * a job and all its parts in one go. */
static struct relay_job *find_receiving(const struct relay *r, uint64_t message_id)
{
        for (struct list_node *n = r->jobs.previous; n != &r->jobs; n = n->previous) {
                struct relay_job *j = LIST_OBJECT(n, struct relay_job, in_relay);

                if (j->message_id == message_id && j->body_missing)
                        return j;
        }
        return NULL;
}

void relay_on_body(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct relay *r = arg;
        struct relay_job *j = find_receiving(r, m->body.message_id);
        struct span octets = m->body.octets;
        bool is_waiting;

        (void) fd;
        if (!j || octets.len == 0)
                return; /* of a job that ended while they were under way */
        octets = span_first(octets, j->body_missing);
        is_waiting = waits_for_body(j);
        j->body_missing -= octets.len;
        if (add_part(j, octets, channel_hold(ch)) < 0) {
                if (j->connection)
                        relay_connection_abort(j->connection, "there is no memory for the message");
                else
                        relay_job_fail(j, 0, "4.3.0", "there is no memory for the message", "");
                return;
        }
        if (is_waiting && !j->body_missing)
                relay_destination_take(r, j);
        else if (j->connection)
                relay_connection_pump(j->connection);
}

void relay_on_job_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct relay *r = arg;
        struct relay_job *j = find(r, m->job_cancel.job);

        (void) ch;
        (void) fd;
        if (!j)
                return; /* its outcome is on its way */
        if (!j->connection) {
                relay_destination_forget(j);
                relay_job_fail(j, 0, "4.0.0", "the attempt was cancelled here", "");
        } else {
                relay_connection_cancel(j->connection, j);
        }
}

/* Body. */

static int read_file(struct relay_job *j, struct span *ret_octets)
{
        size_t want = j->body_unsent < RELAY_FILE_STEP ? (size_t) j->body_unsent : RELAY_FILE_STEP;
        ssize_t n;

        do
                n = pread(j->file_fd, j->relay->file_buffer, want, (off_t) j->file_at);
        while (n < 0 && errno == EINTR);
        if (n <= 0)
                return n < 0 ? -errno : -EIO; /* the file is shorter than it was said to be */
        j->file_at += (uint64_t) n;
        j->body_unsent -= (uint64_t) n;
        *ret_octets = span_make(j->relay->file_buffer, (size_t) n);
        return 1;
}

int relay_job_body(struct relay_job *j, struct span *ret_octets)
{
        struct relay_part *p;

        if (j->given)
                part_free(j, j->given);
        j->given = NULL;
        if (j->body_unsent == 0) {
                give_back(j, j->head_credit);
                j->head_credit = 0;
                return 0;
        }
        if (j->file_fd >= 0)
                return read_file(j, ret_octets);
        if (list_is_empty(&j->parts))
                return 0;
        p = LIST_OBJECT(j->parts.next, struct relay_part, node);
        *ret_octets = span_make(p->octets, p->len);
        j->body_unsent -= p->len;
        j->given = p;
        return 1;
}

/* Re-encoding. */

static int feed_file(struct relay_job *j, struct mime_convert *c, struct buffer *fit)
{
        char *const piece = j->relay->file_buffer;
        uint64_t done = 0;
        int r = 0;

        while (r == 0 && done < j->body_unsent) {
                const uint64_t left = j->body_unsent - done;
                const ssize_t n = pread(j->file_fd, piece,
                                        left < RELAY_FILE_STEP ? (size_t) left : RELAY_FILE_STEP,
                                        (off_t) (j->file_at + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (uint64_t) n;
                r = mime_convert_feed(c, span_make(piece, (size_t) n), fit);
        }
        return r;
}

static int feed_body(struct relay_job *j, struct mime_convert *c, struct buffer *fit)
{
        int r = 0;

        LIST_FOR_EACH(node, &j->parts) {
                const struct relay_part *p = LIST_OBJECT(node, struct relay_part, node);

                if (r == 0)
                        r = mime_convert_feed(c, span_make(p->octets, p->len), fit);
        }
        if (r == 0 && j->file_fd >= 0)
                r = feed_file(j, c, fit);
        return r == 0 ? mime_convert_end(c, fit) : r;
}

/* These octets are the body now. */
static int replace_body(struct relay_job *j, struct span octets)
{
        struct list_node old;
        int r;

        list_init(&old);
        for (struct list_node *node; (node = list_take_first(&j->parts)) != NULL;)
                list_append(&old, node);
        r = add_part(j, octets, 0);
        LIST_FOR_EACH(node, r < 0 ? &j->parts : &old)
                part_free(j, LIST_OBJECT(node, struct relay_part, node));
        for (struct list_node *node; r < 0 && (node = list_take_first(&old)) != NULL;)
                list_append(&j->parts, node);
        if (r < 0)
                return r;
        if (j->file_fd >= 0)
                close(j->file_fd);
        j->file_fd = -1;
        j->body_unsent = j->mail.size = octets.len;
        return 0;
}

static int convert(struct relay_job *j, enum mime_convert_to to)
{
        const bool may_break = j->relay->process->config->downgrade_signed;
        struct buffer fit = BUFFER_INIT(3ULL * CONVERT_MAX);
        struct mime_convert *c = mime_convert_new(to, false);
        int r = !c ? -ENOMEM : j->body_unsent > CONVERT_MAX ? -ENOTSUP : feed_body(j, c, &fit);

        if (r == 0 && mime_convert_breaks_signature(c) && !may_break)
                r = -EPERM;
        if (r == 0)
                r = replace_body(j, buffer_span(&fit));
        if (r == 0) {
                j->is_converted = true;
                j->mail.flags &= ~(unsigned) SMTP_CLIENT_BINARY;
                if (to == MIME_CONVERT_TO_7BIT)
                        j->mail.flags &= ~(unsigned) SMTP_CLIENT_8BIT;
                else
                        j->mail.flags |= SMTP_CLIENT_8BIT;
        }
        c = mime_convert_free(c);
        buffer_done(&fit);
        return r;
}

int relay_job_make_fit(struct relay_job *j, unsigned offers)
{
        const unsigned binary = SMTP_CLIENT_OFFER_CHUNKING | SMTP_CLIENT_OFFER_BINARYMIME;
        const bool takes_8bit = offers & SMTP_CLIENT_OFFER_8BITMIME;
        const bool is_binary = j->mail.flags & SMTP_CLIENT_BINARY &&
                               (offers & binary) != binary;

        if (!is_binary && (takes_8bit || !(j->mail.flags & SMTP_CLIENT_8BIT)))
                return 0;
        return convert(j, takes_8bit ? MIME_CONVERT_TO_8BIT : MIME_CONVERT_TO_7BIT);
}

/* Outcomes. */

static void send_results(struct relay_job *j, const char *host, bool is_host_failure)
{
        struct relay *r = j->relay;
        int s;

        if (!r->keeper || j->items.count == 0)
                return;
        s = channel_send_later(r->keeper, IPC_outcome, &(const union ipc_message) {.outcome = {
                .job = j->number, .message_id = j->message_id,
                .host = span_from_string(host), .is_host_failure = is_host_failure,
                .sends_dsn = j->sends_dsn, .keeps_time = j->keeps_time,
                .detail = span_make(j->detail, j->detail_len), .results = j->items}}, -1);
        if (s < 0)
                log_event(LOG_ERROR, "outcome_not_sent", LOG_U64("job", j->number),
                          LOG_ERRNO("error", s));
        if (r->outcomes_waiting++ == 0)
                timer_set(r->push, RELAY_OUTCOME_MS);
        if (r->outcomes_waiting == OUTCOMES_MAX)
                relay_push_outcomes(r);
        buffer_clear(&j->results);
        j->items = (struct ipc_items) {0};
}

static void count_result(struct relay *r, unsigned code)
{
        if (code / 100 == 2)
                r->delivered++;
        else if (code / 100 == 5)
                r->refused++;
        else
                r->failed++;
}

static void add_result(struct relay_job *j, size_t rcpt, const struct smtp_reply *reply,
                       const char *host)
{
        int s;

        assert(!j->is_answered[rcpt]);
        j->is_answered[rcpt] = true;
        j->open_count--;
        if (j->prober) {
                relay_probe_answer(j, reply, host);
                return;
        }
        count_result(j->relay, reply->code);
        if (j->results.len > RESULTS_FLUSH)
                send_results(j, host, false);
        s = ipc_add_result(&j->results, &j->items, &(struct ipc_result) {
                .index = j->indices[rcpt],
                .code = (uint16_t) reply->code,
                .enhanced = span_first(reply->enhanced, 16),
                .text = span_first(reply->text, IPC_TEXT_MAX),
        });
        if (s < 0) /* without memory: the keeper's own timeout is what is left */
                log_event(LOG_ERROR, "result_lost", LOG_U64("job", j->number),
                          LOG_ERRNO("error", s));
}

void relay_job_result(struct relay_job *j, size_t rcpt, const struct smtp_reply *reply,
                      const char *host)
{
        add_result(j, rcpt, reply, host);
}

static void add_detail(struct relay_job *j, struct span words)
{
        words = span_first(words, sizeof j->detail - j->detail_len);
        memcpy(j->detail + j->detail_len, words.p, words.len);
        j->detail_len += words.len;
}

void relay_job_note_session(struct relay_job *j, unsigned offers, struct span session)
{
        j->sends_dsn = offers & SMTP_CLIENT_OFFER_DSN;
        j->keeps_time = offers & SMTP_CLIENT_OFFER_DELIVERBY;
        j->detail_len = 0;
        add_detail(j, session);
        if (j->is_converted)
                add_detail(j, SPAN_LITERAL(" converted"));
        if (j->fallback_for.len) {
                add_detail(j, SPAN_LITERAL(" fallback_for="));
                add_detail(j, j->fallback_for);
        }
}

void relay_job_done(struct relay_job *j, const char *host, bool is_host_failure)
{
        assert(j->open_count == 0);
        send_results(j, host, is_host_failure);
        job_free(j);
}

void relay_job_fail(struct relay_job *j, unsigned code, const char *enhanced, const char *text,
                    const char *host)
{
        const struct smtp_reply reply = {.code = code, .enhanced = span_from_string(enhanced),
                                         .text = span_from_string(text), .is_ours = true};

        for (size_t i = 0; i < j->mail.rcpt_count; i++)
                if (!j->is_answered[i])
                        add_result(j, i, &reply, host);
        relay_job_done(j, host, code == 0 && strncmp(enhanced, "4.4.", 4) == 0);
}
