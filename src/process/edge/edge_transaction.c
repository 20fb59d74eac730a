#include "process/edge/edge_transaction.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "message/trace.h"
#include "policy/decision.h"
#include "policy/limits.h"
#include "process/edge/edge.h"
#include "process/edge/edge_guard.h"
#include "process/edge/edge_limited.h"
#include "process/edge/edge_record.h"
#include "process/edge/edge_local.h"
#include "process/edge/edge_session.h"
#include "process/edge/edge_trial.h"
#include "process/edge/edge_words.h"
#include "route/route.h"

enum {
        ARENA_MAX = 64 * 1024,
        STEPS_MAX = IPC_RECORD_MAX - 8 * 1024, /* the session and a refusal of the whole fit too */
        RECIPIENT_OCTETS_MAX = 512 * 1024,
        KEPT = 4096, /* memory of each buffer that a transaction keeps for the next one */
};

/* ---- life ---- */

static struct edge_transaction *take(struct edge_session *s)
{
        struct edge *e = s->edge;
        struct list_node *node = list_take_first(&e->spare);
        struct edge_transaction *t;

        if (node) {
                e->spare_count--;
                t = LIST_OBJECT(node, struct edge_transaction, node);
        } else {
                t = calloc(1, sizeof *t);
                if (!t)
                        return NULL;
                t->edge = e;
                t->arena = ARENA_INIT(ARENA_MAX);
                t->recipient_octets = BUFFER_INIT(RECIPIENT_OCTETS_MAX);
                t->steps = BUFFER_INIT(STEPS_MAX);
                t->record = BUFFER_INIT(IPC_RECORD_MAX);
                edge_body_init(&t->body);
        }
        t->arrived_us = loop_wall_us(e->process->loop);
        t->message_id = id_next(&e->ids, t->arrived_us);
        t->state = EDGE_OPEN;
        t->session = s;
        s->transaction = t;
        return t;
}

static void destroy(struct edge_transaction *t)
{
        edge_body_done(&t->body, t->edge);
        arena_done(&t->arena);
        buffer_done(&t->recipient_octets);
        buffer_done(&t->steps);
        buffer_done(&t->record);
        free(t->rcpts);
        free(t);
}

/* It is over: keeps a few for the next messages, their small memory with them. */
static void give_back(struct edge_transaction *t)
{
        struct edge *e = t->edge;

        edge_admission_leave(&e->admission, &t->place);
        if (t->session) {
                edge_checks_end_transaction(t->session);
                t->session->transaction = NULL;
        }
        t->session = NULL;
        if (e->spare_count == EDGE_SPARE_TRANSACTIONS) {
                destroy(t);
                return;
        }
        edge_body_clear(&t->body, e);
        arena_clear(&t->arena);
        buffer_shrink(&t->recipient_octets, KEPT);
        buffer_shrink(&t->steps, KEPT);
        buffer_shrink(&t->record, KEPT);
        buffer_clear(&t->recipient_octets);
        buffer_clear(&t->steps);
        buffer_clear(&t->record);
        t->recipients = (struct ipc_items) {0};
        t->mail_from = t->envid = t->first_rcpt_to = t->return_path = t->held_for =
                (struct span) {0};
        t->first_account = (struct span) {0};
        t->access = (struct edge_access) {0};
        t->has_local = false;
        t->rcpt_count = 0;
        t->rcpt_commands = t->routes_tried = t->next_index = t->refusals = t->flags = 0;
        t->size_announced = t->hold_until_us = t->deliver_by_us = 0;
        t->order = (struct edge_order) {0};
        t->state = EDGE_IDLE;
        list_prepend(&e->spare, &t->node);
        e->spare_count++;
}

void edge_transaction_free_spares(struct edge *e)
{
        struct list_node *node;

        while ((node = list_take_first(&e->spare)))
                destroy(LIST_OBJECT(node, struct edge_transaction, node));
        e->spare_count = 0;
}

/* Ends without a commit: what was refused in it is told by itself. */
static void end_refused(struct edge_transaction *t)
{
        edge_keeper_forget(&t->edge->keeper, t);
        if (t->session->is_trial) {
                if (edge_record_finish(t) == 0)
                        edge_trial_keep(t->session, buffer_span(&t->record));
        } else if (t->refusals && edge_record_finish(t) == 0)
                edge_keeper_refused(&t->edge->keeper, t->message_id, buffer_span(&t->record));
        give_back(t);
}

void edge_transaction_abandon(struct edge_session *s)
{
        struct edge_transaction *t = s->transaction;

        if (!t)
                return;
        if (t->state != EDGE_COMMITTING) {
                end_refused(t);
                return;
        }
        /* It will be durable; nobody is left to be told (RFC 1047). */
        t->session = NULL;
        s->transaction = NULL;
}

/* ---- MAIL ---- */

static struct verdict make_verdict(uint16_t code, const char *enhanced, const char *text,
                                   const char *rule)
{
        return (struct verdict) {
                .code = code,
                .enhanced = span_from_string(enhanced),
                .text = span_from_string(text),
                .rule = span_from_string(rule),
                .origin = SPAN("default"),
        };
}

/* RFC 4865: 0 where that time has come already. */
static uint64_t hold_until(const struct edge_transaction *t, const struct smtp_mail *mail)
{
        uint64_t at_us = mail->hold_until_us;

        if (mail->hold_for_s)
                at_us = t->arrived_us + (uint64_t) mail->hold_for_s * 1000000;
        return at_us > t->arrived_us ? at_us : 0;
}

/* RFC 2852: sets the time and what happens then. One that is over still counts,
 * where a notice is asked for. */
static void keep_deliver_by(struct edge_transaction *t, const struct smtp_mail *mail)
{
        const int64_t at_us = (int64_t) t->arrived_us + (int64_t) mail->by_s * 1000000;

        if (mail->by == SMTP_BY_NONE)
                return;
        t->deliver_by_us = at_us > 0 ? (uint64_t) at_us : 1;
        t->flags |= mail->by == SMTP_BY_RETURN ? ENVELOPE_BY_RETURN : ENVELOPE_BY_NOTIFY;
        t->flags |= mail->by_trace ? ENVELOPE_BY_TRACE : 0;
}

/* Whether a client may ask to be served before others (RFC 6710 section 7). */
static bool may_be_urgent(const struct edge_session *s)
{
        return !edge_guard_watches(s) || edge_session_needs_login(s);
}

/* The priority that it gets: everybody may wait longer, not everybody less. */
static uint32_t priority_flag(const struct edge_session *s, const struct smtp_mail *mail)
{
        if (!mail->has_priority)
                return 0;
        return envelope_with_priority(mail->priority > 0 && !may_be_urgent(s) ? 0
                                                                              : mail->priority);
}

static int keep_mail(struct edge_transaction *t, const struct smtp_mail *mail)
{
        struct address address = mail->address;

        t->size_announced = mail->size;
        t->flags |= mail->body != SMTP_BODY_7BIT ? ENVELOPE_8BIT : 0;
        t->flags |= mail->body == SMTP_BODY_BINARYMIME ? ENVELOPE_BINARY : 0;
        t->flags |= mail->smtputf8 ? ENVELOPE_SMTPUTF8 : 0;
        t->flags |= mail->ret == SMTP_RET_FULL ? ENVELOPE_RET_FULL : 0;
        t->flags |= mail->ret == SMTP_RET_HDRS ? ENVELOPE_RET_HDRS : 0;
        t->flags |= mail->requiretls ? ENVELOPE_REQUIRETLS : 0;
        keep_deliver_by(t, mail);
        t->hold_until_us = hold_until(t, mail);
        t->flags |= priority_flag(t->session, mail);
        t->envid = arena_copy(&t->arena, mail->envid);
        if (!t->envid.p)
                return -ENOMEM;
        if (mail->path.len == 0)
                return 0;
        if (address.domain.len == 0) /* a local user who names only himself */
                address.domain = span_from_string(t->session->hostname);
        t->mail_from = address_format(&address, &t->arena);
        return t->mail_from.p ? 0 : -ENOMEM;
}

static unsigned count_message(struct edge_session *s)
{
        struct meters *m = &s->edge->meters;
        const uint64_t key = meters_event(m, s->client.address, SPAN_LITERAL("messages"));

        if (s->is_trial)
                return meters_ticks(m, key, clock_now_us()) + 1;
        return meters_tick(m, key, clock_now_us());
}

/* The id is what `why` is asked about. */
static void reply_with_id(const struct edge_transaction *t, const struct verdict *v)
{
        char id[ID_TEXT_LEN + 1];

        edge_session_reply(t->session, v->code, v->enhanced, "%.*s (%s)", (int) v->text.len,
                           v->text.p, id_format(t->message_id, id));
}

void edge_transaction_mail(struct edge_session *s, const struct smtp_mail *mail)
{
        struct edge *e = s->edge;
        struct verdict verdict = edge_keeper_judge(&e->keeper);
        struct edge_transaction *t;

        if (edge_session_needs_login(s) && !s->login.account) {
                edge_session_say(s, 530, "5.7.0", s->login.mechanisms[0]
                                                          ? "Authentication required"
                                                          : "Say STARTTLS, then log in");
                return;
        }
        if (!verdict_is_refusal(&verdict))
                verdict = limits_message_size(e->process->config, mail->size);
        if (!verdict_is_refusal(&verdict) && edge_guard_watches(s)) {
                verdict = limits_messages(e->process->config, count_message(s));
                edge_limited_note(s, span_from_string(s->client.text), &verdict);
        }
        if (!verdict_is_refusal(&verdict))
                verdict = edge_limited_mail(s, mail->path);
        if (!verdict_is_refusal(&verdict))
                verdict = limits_body_memory(e->process->config, e->bodies_held);
        if (verdict_is_refusal(&verdict)) {
                char id[ID_TEXT_LEN + 1];

                edge_record_session_refused(s, &verdict, id);
                edge_session_reply(s, verdict.code, verdict.enhanced, "%.*s (%s)",
                                   (int) verdict.text.len, verdict.text.p, id);
                return;
        }
        edge_transaction_abandon(s);
        t = take(s);
        if (!t || keep_mail(t, mail) < 0 || edge_access_ask(s, t) < 0 ||
            edge_access_masquerade(s, t) < 0) {
                if (t)
                        give_back(t);
                edge_session_say(s, 451, "4.3.0", "Out of memory");
                return;
        }
        if (s->login.account && e->process->config->auth.sender_must_match &&
            !edge_login_owns(s, t->mail_from)) {
                verdict = make_verdict(553, "5.7.1", "This address is not one of your account",
                                       "auth.sender_must_match");
                edge_record_refused(t, DECISION_MESSAGE, (struct span) {0}, &verdict);
                reply_with_id(t, &verdict);
                end_refused(t);
                return;
        }
        edge_checks_begin(s);
        if (mail->has_priority && envelope_priority(t->flags) != mail->priority)
                edge_session_say(s, 250, "2.3.6", "Sender ok, but your priority is 0");
        else
                edge_session_say(s, 250, "2.1.0", "Sender ok");
}

/* ---- DATA ---- */

static struct span return_path(const struct edge_transaction *t)
{
        return t->return_path.len ? t->return_path : t->mail_from;
}

/* Return-Path for mailboxes, then our trace field (RFC 5321 section 4.4). */
static int put_trace(struct edge_transaction *t)
{
        const struct edge_words *words = edge_words_of(t->session);
        struct edge_body *b = &t->body;
        char id[ID_TEXT_LEN + 1];
        struct trace_received received = {
                .rcpt_to = t->rcpt_commands == 1 ? t->first_rcpt_to : (struct span) {0},
                .at_us = loop_wall_us(t->edge->process->loop),
        };
        int r;

        if (!words)
                return -ENOMEM;
        received.protocol = span_from_string(words->protocol);
        received.id = span_make(id_format(t->message_id, id), ID_TEXT_LEN);
        buffer_clear(&t->edge->text);
        r = trace_format_return_path(return_path(t), &t->edge->text);
        if (r == 0 && t->rcpt_count == 1 && t->first_account.len) {
                r = trace_format_delivered_to(t->first_account, &t->edge->text);
                edge_body_expect(b, t->first_account);
        }
        b->local_prefix_len = (uint32_t) t->edge->text.len;
        if (r == 0)
                r = buffer_append_span(&t->edge->text, words->trace);
        if (r == 0)
                r = trace_end_received(&received, words->trace_column, &t->edge->text);
        b->prefix_len = t->edge->text.len;
        if (r == 0) {
                (void) edge_body_add(b, t->edge, buffer_span(&t->edge->text));
                r = b->error;
        }
        return r;
}

/* A mailbox here is read by programs that take lines alone (RFC 3030 section 3).
 * One text serves all recipients, so that it is made so for all of them. */
static bool needs_lines(const struct edge_transaction *t)
{
        return t->flags & ENVELOPE_BINARY && t->has_local;
}

/* Whoever submits a message here has it completed (RFC 6409 section 8). */
static void begin_body(struct edge_transaction *t)
{
        struct edge_session *s = t->session;
        char name[EDGE_LOCAL_NAME_MAX];
        int r;

        t->body.is_ours = edge_access_is_ours(s, t);
        t->body.complete = (struct edge_complete) {
                .is_wanted = s->login.account || s->client.is_local_user,
                .message_id = t->message_id,
                .arrived_us = t->arrived_us,
                .hostname = span_from_string(s->hostname),
                .mail_from = t->mail_from,
        };
        if (edge_local_must_warn(s, t->mail_from, name))
                t->body.complete.set_by = arena_copy(&t->arena, span_from_string(name));
        r = put_trace(t);
        if (r == 0 && needs_lines(t))
                r = edge_body_convert(&t->body, t->edge->process->config->smtp.nul);
        if (r < 0) {
                edge_admission_leave(&t->edge->admission, &t->place);
                edge_session_say(s, 451, "4.3.0", "Out of memory");
                return;
        }
        t->state = EDGE_BODY;
        edge_session_expect_data(s, true);
        edge_session_say(s, 354, NULL, "Go ahead, end with \".\"");
}

static void await_place(struct edge_transaction *t)
{
        if (edge_admission_enter(&t->edge->admission, &t->place))
                begin_body(t);
        else
                edge_session_hold(t->session, EDGE_HOLD_PLACE);
}

void edge_transaction_admitted(struct edge_transaction *t)
{
        begin_body(t);
        edge_session_answered(t->session, EDGE_HOLD_PLACE);
}

void edge_transaction_speaks(struct edge_transaction *t)
{
        edge_session_speak(t->session);
}

void edge_transaction_data(struct edge_session *s)
{
        struct edge_transaction *t = s->transaction;

        if (!t || t->rcpt_count == 0) {
                edge_session_say(s, 503, "5.5.1", "RCPT first");
                return;
        }
        if (!s->is_trial && edge_login_ask_quota(s, t->rcpt_count))
                edge_session_hold(s, EDGE_HOLD_ANSWER);
        else
                await_place(t);
}

void edge_transaction_quota(struct edge_session *s, const struct ipc_quota_answer *answer)
{
        struct edge_transaction *t = s->transaction;
        const char *option = answer && answer->is_of_day ? "auth.recipients_per_day"
                                                         : "auth.recipients_per_hour";
        struct verdict v = make_verdict(450, "4.7.1", "", option);

        if (!t) {
                edge_session_say(s, 503, "5.5.1", "RCPT first");
        } else if (!answer || answer->is_granted) {
                await_place(t);
        } else {
                v.text = answer->text;
                v.origin = span_from_string(config_origin(t->edge->process->config, option));
                edge_record_refused(t, DECISION_MESSAGE, (struct span) {0}, &v);
                reply_with_id(t, &v);
        }
}

void edge_transaction_octets(struct edge_session *s, struct span octets)
{
        struct edge_transaction *t = s->transaction;
        struct edge *e = s->edge;
        int r;

        if (!t || t->state != EDGE_BODY)
                return;
        if (edge_body_take(&t->body, e, octets)) {
                r = edge_keeper_order(&e->keeper, t, EDGE_ORDER_LEND);
                if (r < 0) {
                        edge_body_lent(&t->body, e, &t->arena, r, 0);
                        return;
                }
                t->state = EDGE_BORROWING;
                edge_session_hold(s, EDGE_HOLD_FILE);
        } else if (edge_keeper_is_starved(&e->keeper)) {
                edge_session_hold(s, EDGE_HOLD_CREDIT);
        }
}

void edge_transaction_lent(struct edge_transaction *t, int fd_or_error)
{
        edge_body_lent(&t->body, t->edge, &t->arena, fd_or_error, t->edge->keeper.generation);
        t->state = EDGE_BODY;
        edge_session_release(t->session, EDGE_HOLD_FILE);
}

/* ---- the end of the text, and the answer ---- */

/* One reply; under LMTP one a recipient (RFC 2033 section 4.2). */
static void answer(struct edge_transaction *t, const struct verdict *v)
{
        const size_t replies = t->session->listener->protocol == LISTEN_LMTP ? t->rcpt_commands : 1;

        for (size_t i = 0; i < replies; i++)
                reply_with_id(t, v);
}

/* The whole message is refused; the transaction ends. */
static void refuse(struct edge_transaction *t, const struct verdict *why)
{
        edge_record_refused(t, DECISION_MESSAGE, (struct span) {0}, why);
        answer(t, why);
        end_refused(t);
}

/* What speaks against the message as it is, if anything: said now, in the session,
 * so that nothing has to be returned later (RFC 5321 section 6.2). */
static struct verdict judge(const struct edge_transaction *t, enum smtp_fault fault)
{
        const struct config *c = t->edge->process->config;
        const struct edge_body *b = &t->body;

        if (fault != SMTP_FAULT_NONE)
                return edge_guard_fault(t->session, fault);
        if (b->error == -EBADMSG)
                return make_verdict(554, "5.6.0",
                                    "A part that is not binary has a bare CR or LF, or a NUL",
                                    "syntax of the message");
        if (b->breaks_signature && !c->downgrade_signed)
                return make_verdict(554, "5.6.1", "Binary parts are signed: they cannot be made "
                                                  "what a mailbox takes", "downgrade_signed");
        if (b->error == -EMSGSIZE && b->is_header_too_large)
                return limits_header(c);
        if (b->error == -ENOSPC || b->error == -EDQUOT || b->error == -EFBIG)
                return make_verdict(452, "4.3.1", "Not enough room, try again later", "disk");
        if (b->error)
                return make_verdict(451, "4.3.0", "The message could not be kept", "storage");
        if (b->is_header_too_large)
                return b->has_too_many_fields ? limits_header_fields(c) : limits_header(c);
        if (b->is_looping)
                return make_verdict(554, "5.4.6", "The message was delivered here before: a loop",
                                    "Delivered-To");
        return limits_hops(c, b->received_fields);
}

static void discard(struct edge_transaction *t);

/* It would be accepted. */
static void end_trial(struct edge_transaction *t)
{
        const struct verdict v = make_verdict(250, "2.0.0", "It would be accepted", "trial");

        answer(t, &v);
        edge_keeper_forget(&t->edge->keeper, t);
        edge_trial_keep(t->session, buffer_span(&t->record));
        give_back(t);
}

void edge_transaction_end(struct edge_session *s, enum smtp_fault fault)
{
        struct edge_transaction *t = s->transaction;
        struct header_summary header;
        struct verdict v;
        bool is_known;

        if (!t) {
                edge_session_say(s, 503, "5.5.1", "DATA first");
                return;
        }
        edge_session_expect_data(s, false);
        is_known = edge_body_finish(&t->body, s->edge, &t->arena, &header);
        v = judge(t, fault);
        if (!verdict_is_refusal(&v))
                v = edge_keeper_judge(&s->edge->keeper);
        if (!verdict_is_refusal(&v) && edge_record_finish(t) < 0)
                v = make_verdict(451, "4.3.0", "Out of memory", "memory");
        if (!verdict_is_refusal(&v) && s->is_trial) {
                end_trial(t);
                return;
        }
        if (!verdict_is_refusal(&v) && t->recipients.count == 0) {
                discard(t);
                return;
        }
        if (!verdict_is_refusal(&v) && t->has_local)
                edge_body_digest(&t->body, t->edge, t->message_id, is_known ? &header : NULL);
        if (!verdict_is_refusal(&v) &&
            edge_keeper_order(&s->edge->keeper, t, EDGE_ORDER_COMMIT) < 0)
                v = make_verdict(451, "4.3.0", "Storage is not available, try again later",
                                 "storage");
        if (verdict_is_refusal(&v)) {
                refuse(t, &v);
                return;
        }
        t->state = EDGE_COMMITTING;
        edge_session_hold(s, EDGE_HOLD_ANSWER);
}

void edge_transaction_fill_commit(struct edge_transaction *t, struct ipc_commit *ret)
{
        const bool is_lent = t->body.is_lent;
        const struct span held = is_lent ? (struct span) {0} : buffer_span(&t->body.held);

        *ret = (struct ipc_commit) {
                .message_id = t->message_id,
                .arrived_us = t->arrived_us,
                .hold_until_us = t->hold_until_us,
                .deliver_by_us = t->deliver_by_us,
                .held_for = t->held_for,
                .flags = (t->body.convert ? t->flags & ~(uint32_t) ENVELOPE_BINARY : t->flags) |
                         (is_lent ? ENVELOPE_LENT : 0),
                .mail_from = return_path(t),
                .envid = t->envid,
                .header_message_id = t->body.header_message_id,
                .local_prefix_len = t->body.local_prefix_len,
                .body_len = t->body.len,
                .recipients = t->recipients,
                .record = buffer_span(&t->record),
                .digest = span_skip(held, (size_t) t->body.len),
                .octets = span_first(held, (size_t) t->body.len),
        };
}

/* What the keeper said about one recipient, or about all. */
static struct verdict result_verdict(unsigned status, const struct ipc_result *result)
{
        static const char *const texts[] = {
                [COMMIT_TEMPORARY] = "451 4.3.0 Storage is not available, try again later",
                [COMMIT_FULL] = "452 4.3.1 Not enough room, try again later",
                [COMMIT_REFUSED] = "554 5.3.0 The message was refused",
        };
        struct verdict v = {0};

        if (result && result->code >= 400 && result->code <= 599)
                v = (struct verdict) {
                        .code = result->code,
                        .enhanced = result->enhanced,
                        .text = result->text,
                };
        else
                verdict_set_reply(&v, status == COMMIT_FULL || status == COMMIT_REFUSED
                                              ? texts[status]
                                              : texts[COMMIT_TEMPORARY]);
        v.rule = SPAN_LITERAL("storage");
        v.origin = SPAN_LITERAL("default");
        return v;
}

static bool find_result(struct ipc_items results, uint32_t index, struct ipc_result *ret)
{
        struct reader items = ipc_items_read(results);

        while (ipc_next_result(&items, ret))
                if (ret->index == index)
                        return true;
        return false;
}

static void log_accepted(const struct edge_transaction *t, const char *id)
{
        const struct edge_session *s = t->session;

        log_event(LOG_NOTICE, "message_accepted", LOG_TEXT("message_id", id),
                  LOG_TEXT("client", s ? s->client.text : "gone"),
                  LOG_SPAN("mail_from", t->mail_from), LOG_SPAN("rcpt_to", t->first_rcpt_to),
                  LOG_U64("recipients", t->rcpt_count), LOG_U64("size", t->body.len),
                  LOG_SPAN("header_message_id", t->body.header_message_id));
}

/* Behind the last of the places that the RCPT command at `first` led to. */
static size_t end_of_command(const struct edge_transaction *t, size_t first)
{
        size_t end = first + 1;

        while (end < t->rcpt_count && t->rcpts[end].is_more)
                end++;
        return end;
}

/* What the keeper said against one of the places [first, end): the client must
 * hear of it, even if others were reached. */
static bool find_failure(const struct edge_transaction *t, struct ipc_items results, size_t first,
                         size_t end, struct ipc_result *ret)
{
        for (size_t i = first; results.count && i < end; i++)
                if (find_result(results, t->rcpts[i].index, ret))
                        return true;
        return false;
}

static void answer_one(struct edge_transaction *t, const struct ipc_result *failure,
                       const char *id)
{
        static const char accepted[] = " accepted";
        char text[ID_TEXT_LEN + sizeof accepted];
        struct verdict v;

        if (!failure) {
                memcpy(text, id, ID_TEXT_LEN);
                memcpy(text + ID_TEXT_LEN, accepted, sizeof accepted);
                edge_session_say(t->session, 250, "2.0.0", text);
                return;
        }
        v = result_verdict(COMMIT_TEMPORARY, failure);
        edge_session_reply(t->session, v.code, v.enhanced, "%.*s (%s)", (int) v.text.len, v.text.p,
                           id);
}

/* Durable, for all recipients but those named in results. Under SMTP there is
 * one answer: yes, unless nobody is left. */
static void answer_durable(struct edge_transaction *t, struct ipc_items results, const char *id)
{
        const bool is_lmtp = t->session->listener->protocol == LISTEN_LMTP;
        struct ipc_result result;
        size_t end;

        if (!is_lmtp) {
                const bool is_nobody = t->recipients.count &&
                                       results.count >= t->recipients.count &&
                                       find_failure(t, results, 0, t->rcpt_count, &result);

                answer_one(t, is_nobody ? &result : NULL, id);
                return;
        }
        for (size_t i = 0; i < t->rcpt_count; i = end) {
                end = end_of_command(t, i);
                answer_one(t, find_failure(t, results, i, end, &result) ? &result : NULL, id);
        }
}

static void count_accepted(struct edge_transaction *t, const char *id)
{
        t->edge->counters.messages++;
        t->edge->counters.octets += t->body.len;
        log_accepted(t, id);
        if (t->session)
                t->session->messages++;
}

/* Every recipient was to be thrown away: there is nothing to keep but the record. */
static void discard(struct edge_transaction *t)
{
        char id[ID_TEXT_LEN + 1];

        id_format(t->message_id, id);
        count_accepted(t, id);
        edge_keeper_refused(&t->edge->keeper, t->message_id, buffer_span(&t->record));
        answer_durable(t, (struct ipc_items) {0}, id);
        edge_keeper_forget(&t->edge->keeper, t);
        give_back(t);
}

/* From the 250 on it is ours (RFC 5321 section 6.1): none before it is durable. */
void edge_transaction_committed(struct edge_transaction *t, unsigned status,
                                struct ipc_items results)
{
        struct edge_session *s = t->session;
        struct edge *e = t->edge;
        struct ipc_result result;
        struct verdict v;
        char id[ID_TEXT_LEN + 1];

        id_format(t->message_id, id);
        if (status == COMMIT_DURABLE) {
                count_accepted(t, id);
                if (s)
                        answer_durable(t, results, id);
                give_back(t);
        } else if (s) {
                v = result_verdict(status, t->rcpt_count && find_result(results, t->rcpts[0].index,
                                                                        &result)
                                                   ? &result
                                                   : NULL);
                refuse(t, &v);
        } else {
                edge_keeper_forget(&e->keeper, t);
                give_back(t);
        }
        if (s)
                edge_session_answered(s, EDGE_HOLD_ANSWER);
}

void edge_transaction_order_failed(struct edge_transaction *t)
{
        struct edge_session *s = t->session;
        const struct verdict v = make_verdict(
                451, "4.3.0", "Storage is not available, try again later", "storage");

        if (t->state == EDGE_BORROWING) {
                edge_transaction_lent(t, -EPIPE);
                return;
        }
        if (!s) {
                give_back(t);
                return;
        }
        refuse(t, &v);
        edge_session_answered(s, EDGE_HOLD_ANSWER);
}
