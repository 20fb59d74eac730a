/* RCPT: where a recipient's mail goes, whether this client may send it there,
 * and the transaction's list of recipients. */
#include "process/edge/edge_transaction.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "message/xtext.h"
#include "policy/limits.h"
#include "policy/relay_control.h"
#include "process/edge/edge.h"
#include "process/edge/edge_limited.h"
#include "process/edge/edge_record.h"
#include "process/edge/edge_session.h"
#include "route/route.h"

enum {
        ROUTES_TRIED_MAX = 10 * 1000, /* of one transaction: an alias named again is work again */
};

/* The address of ours that the client reached. False on a local socket. */
static bool own_address(const struct edge_session *s, unsigned char *out)
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
        union {
                struct sockaddr any;
                struct sockaddr_in v4;
                struct sockaddr_in6 v6;
                struct sockaddr_storage storage;
        } a;
        socklen_t len = sizeof a;

        if (getsockname(stream_fd(s->stream), &a.any, &len) < 0)
                return false;
        if (a.any.sa_family == AF_INET6) {
                memcpy(out, &a.v6.sin6_addr, 16);
                return true;
        }
        memcpy(out, mapped, sizeof mapped);
        memcpy(out + 12, &a.v4.sin_addr, 4);
        return a.any.sa_family == AF_INET;
}

static int route(struct edge_session *s, const struct smtp_rcpt *rcpt, struct route_list *ret)
{
        struct process *p = s->edge->process;
        unsigned char address[16];

        arena_clear(&s->edge->scratch);
        if (rcpt->address.is_literal && own_address(s, address) &&
            route_literal_is(rcpt->address.domain, address))
                return route_expand(p->config, p->snapshot, rcpt->address.local, NULL,
                                    &s->edge->scratch, ret);
        return route_expand(p->config, p->snapshot, rcpt->path, &rcpt->address,
                            &s->edge->scratch, ret);
}

static uint64_t place_hash(const struct route *r)
{
        uint64_t h = hash_seed() + (uint64_t) r->kind;

        if (r->kind == ROUTE_LOCAL)
                return hash_span(r->account, hash_span(r->mailbox, h));
        return hash_span(r->rcpt_to, hash_span(r->next_hop, h));
}

/* Whether an accepted recipient, whose place has the same hash, is the same. */
static bool is_same_place(const struct edge_transaction *t, uint32_t index, const struct route *r)
{
        struct reader items = ipc_items_read(t->recipients);
        struct ipc_recipient got;

        while (ipc_next_recipient(&items, &got)) {
                if (got.index != index)
                        continue;
                if (got.kind != r->kind)
                        return false;
                if (r->kind == ROUTE_LOCAL)
                        return span_equal(got.account, r->account) &&
                               span_equal(got.mailbox, r->mailbox);
                return span_equal(got.next_hop, r->next_hop) &&
                       span_equal(got.rcpt_to, r->rcpt_to);
        }
        return false;
}

/* The recipient among those for the keeper that goes to the same place, else
 * UINT32_MAX. */
static uint32_t find_place(const struct edge_transaction *t, uint64_t hash, const struct route *r)
{
        for (size_t i = 0; i < t->rcpt_count; i++)
                if (t->rcpts[i].hash == hash && is_same_place(t, t->rcpts[i].index, r))
                        return t->rcpts[i].index;
        return UINT32_MAX;
}

static int make_room(struct edge_transaction *t)
{
        const size_t room = t->rcpt_room ? 2 * t->rcpt_room : 4;
        struct edge_rcpt *rcpts;

        if (t->rcpt_count < t->rcpt_room)
                return 0;
        rcpts = realloc(t->rcpts, room * sizeof *rcpts);
        if (!rcpts)
                return -ENOMEM;
        t->rcpts = rcpts;
        t->rcpt_room = room;
        return 0;
}

/* What the sender called it, for reports about an address that an alias led to
 * (RFC 3461 section 5.2.7.1). */
static struct span original_recipient(struct edge_session *s, const struct smtp_rcpt *rcpt,
                                      const struct route *r)
{
        enum { ORCPT_MAX = 500 };
        const struct route_step *first = r->steps;
        struct arena *scratch = &s->edge->scratch;
        struct span text, whole;
        char *p;

        if (rcpt->orcpt.len || !first)
                return rcpt->orcpt;
        while (first->earlier)
                first = first->earlier;
        text = xtext_encode(first->rcpt_to, scratch);
        p = text.p ? arena_alloc(scratch, text.len + 7) : NULL;
        if (!p || rcpt->address.has_utf8 || text.len + 7 > ORCPT_MAX)
                return rcpt->orcpt;
        memcpy(p, "rfc822;", 7);
        memcpy(p + 7, text.p, text.len);
        whole = span_make(p, text.len + 7);
        return whole;
}

/* An address that leads to several is told of by itself, and they are not (RFC 3461
 * section 5.2.7.3: "expanded"). */
static bool is_told_as_one(const struct edge_transaction *t, const struct smtp_rcpt *rcpt,
                           const struct route_list *list)
{
        return list->count > 1 && rcpt->notify & NOTIFY_SUCCESS && t->mail_from.len > 0 &&
               t->return_path.len == 0;
}

/* It bears the index of the first that it leads to. */
static int add_expanded(struct edge_session *s, const struct smtp_rcpt *rcpt,
                        const struct route_list *list, uint32_t index)
{
        struct edge_transaction *t = s->transaction;
        const struct ipc_recipient recipient = {
                .index = index, .kind = ROUTE_EXPANDED, .notify = NOTIFY_SUCCESS,
                .rcpt_to = list->rcpt_to, .orcpt = rcpt->orcpt,
        };

        return ipc_add_recipient(&t->recipient_octets, &t->recipients, &recipient);
}

/* 0, -EMSGSIZE (more than a message may carry), -ENOMEM. */
static int add_recipient(struct edge_session *s, const struct smtp_rcpt *rcpt,
                         const struct route *r, const struct verdict *rule, bool is_more)
{
        struct edge_transaction *t = s->transaction;
        const uint64_t hash = place_hash(r);
        const uint32_t same = find_place(t, hash, r);
        const struct ipc_recipient recipient = {
                .index = t->next_index,
                .kind = (uint8_t) r->kind,
                .notify = rcpt->notify,
                .rcpt_to = r->rcpt_to,
                .orcpt = original_recipient(s, rcpt, r),
                .account = r->account,
                .mailbox = r->mailbox,
                .next_hop = r->next_hop,
        };
        int error = make_room(t);

        if (error == 0 && same == UINT32_MAX && r->kind != ROUTE_DISCARD) {
                error = ipc_add_recipient(&t->recipient_octets, &t->recipients, &recipient);
                t->has_local |= r->kind == ROUTE_LOCAL;
        }
        if (error == 0)
                error = edge_record_accepted(t, t->next_index, same, r, rule);
        if (error < 0)
                return error;
        t->rcpts[t->rcpt_count++] = (struct edge_rcpt) {
                .hash = hash,
                .index = same == UINT32_MAX ? t->next_index : same,
                .is_more = is_more,
        };
        if (t->rcpt_count == 1 && r->kind == ROUTE_LOCAL)
                t->first_account = arena_copy(&t->arena, r->account);
        t->next_index++;
        return 0;
}

/* All of it or nothing. As add_recipient(). */
static int add_recipients(struct edge_session *s, const struct smtp_rcpt *rcpt,
                          const struct route_list *list, const struct verdict *rule)
{
        struct edge_transaction *t = s->transaction;
        const struct ipc_items items_before = t->recipients;
        const size_t octets_before = t->recipient_octets.len, steps_before = t->steps.len;
        const size_t rcpts_before = t->rcpt_count;
        const uint32_t index_before = t->next_index;
        const bool had_local = t->has_local;
        struct smtp_rcpt member = *rcpt;
        int error = 0;

        if (is_told_as_one(t, rcpt, list)) {
                member.notify &= (uint8_t) ~NOTIFY_SUCCESS;
                if (!member.notify)
                        member.notify = NOTIFY_NEVER;
        }
        for (size_t i = 0; error == 0 && i < list->count; i++)
                error = add_recipient(s, &member, &list->items[i], rule, i > 0);
        if (error == 0 && is_told_as_one(t, rcpt, list))
                error = add_expanded(s, rcpt, list, index_before);
        if (error < 0) {
                t->recipients = items_before;
                t->recipient_octets.len = octets_before;
                t->recipients.octets = buffer_span(&t->recipient_octets);
                t->steps.len = steps_before;
                t->rcpt_count = rcpts_before;
                t->next_index = index_before;
                t->has_local = had_local;
                return error;
        }
        if (t->rcpt_commands++ == 0)
                t->first_rcpt_to = arena_copy(&t->arena, list->rcpt_to);
        return 0;
}

/* "owner-…" of an alias takes the sender's place as who is told of failures. A
 * message has one such address: recipients with another need a message of
 * their own, which a server sends by itself after 452 (RFC 5321 section
 * 4.5.3.1.10). A user's program would not; there the sender stays. False: 452. */
static bool settle_return_path(struct edge_session *s, const struct route_list *list)
{
        struct edge_transaction *t = s->transaction;
        const bool is_server = s->listener->protocol == LISTEN_SMTP ||
                               s->listener->protocol == LISTEN_LMTP;

        if (t->mail_from.len == 0)
                return true; /* a report stays one */
        if (t->rcpt_count == 0)
                t->return_path = arena_copy(&t->arena, list->return_path);
        else if (is_server)
                return span_equal(t->return_path, list->return_path);
        else if (!span_equal(t->return_path, list->return_path))
                t->return_path = (struct span) {NULL, 0};
        return true;
}

/* The id in the reply lets the sender's postmaster quote it to ours, whom
 * `hayauma why` then tells the rest. */
static void refuse_recipient(struct edge_session *s, struct span rcpt_to, const struct verdict *why)
{
        struct edge_transaction *t = s->transaction;
        char id[ID_TEXT_LEN + 1];

        edge_record_refused(t, t->next_index++, rcpt_to, why);
        edge_session_reply(s, why->code, why->enhanced, "%.*s (%s)", (int) why->text.len,
                           why->text.p, id_format(t->message_id, id));
}

/* The client sends the rest in a transaction of its own (RFC 5321 section 4.5.3.1.10). */
static void refuse_too_many(struct edge_session *s, struct span rcpt_to, const char *rule)
{
        struct verdict why = limits_message_recipients(s->edge->process->config);

        why.rule = span_from_string(rule);
        refuse_recipient(s, rcpt_to, &why);
}

static bool has_certificate(const struct edge_session *s)
{
        const struct config_list *wanted = &s->edge->process->config->relay_certificates;
        struct tls_session *tls = wanted->count ? stream_tls(s->stream) : NULL;

        for (size_t i = 0; tls && i < wanted->count; i++)
                if (tls_session_peer_is(tls, wanted->items[i]))
                        return true;
        return false;
}

/* Who may send there, and what the access table says about it, which stays valid
 * as long as the scratch arena. */
static struct verdict judge_recipient(struct edge_session *s, struct route_list *list,
                                      struct access_judgement *ret_said)
{
        const struct edge_transaction *t = s->transaction;
        struct relay_client client = {.is_local_user = s->client.is_local_user,
                                      .is_logged_in = s->login.account != NULL,
                                      .has_certificate = has_certificate(s),
                                      .has_read_mail = edge_reading_was_here(s->edge, &s->client),
                                      .access_relay = t->access.relay,
                                      .mail_from = t->mail_from};
        const struct route *r = &list->items[0];
        struct verdict relay;

        if (edge_access_recipient(s, list, ret_said) < 0)
                return (struct verdict) {.code = 451, .enhanced = SPAN("4.3.0"),
                                         .text = SPAN("Out of memory"), .rule = SPAN("memory"),
                                         .origin = SPAN("default")};
        if (verdict_is_refusal(&ret_said->verdict))
                return ret_said->verdict;
        memcpy(client.address, s->client.address, sizeof client.address);
        relay = relay_control_judge(s->edge->process->config, &client, r);
        if (!verdict_is_refusal(&relay) && r->kind == ROUTE_ERROR)
                return (struct verdict) {r->code, r->enhanced, r->text, r->rule, r->origin};
        return ret_said->letter == ACCESS_DISCARD && !verdict_is_refusal(&relay)
                       ? ret_said->verdict : relay;
}

void edge_transaction_rcpt(struct edge_session *s, const struct smtp_rcpt *rcpt)
{
        struct edge_transaction *t = s->transaction;
        struct verdict verdict = {0}, asked = {0};
        struct access_judgement said = {0};
        struct route_list list;
        bool is_held = false;

        if (!t) {
                edge_session_say(s, 503, "5.5.1", "MAIL first");
                return;
        }
        if (rcpt->index >= limits_recipients_max(s->edge->process->config, IPC_RECIPIENTS_MAX) ||
            t->routes_tried > ROUTES_TRIED_MAX) {
                refuse_too_many(s, rcpt->path, "limits.recipients");
                return;
        }
        if (route(s, rcpt, &list) < 0) {
                edge_session_say(s, 451, "4.3.0", "Out of memory");
                return;
        }
        t->routes_tried += (uint32_t) list.count;
        if (!(s->holds & EDGE_HOLD_ANSWER)) /* a recipient that was held has been counted */
                verdict = edge_limited_rcpt(s, t->mail_from);
        if (!verdict_is_refusal(&verdict))
                verdict = judge_recipient(s, &list, &said);
        if (!verdict_is_refusal(&verdict) && said.letter != ACCESS_DISCARD)
                asked = edge_checks_recipient(s, rcpt, &list, &is_held);
        if (is_held)
                return;
        if (verdict_is_refusal(&asked))
                verdict = asked;
        if (verdict_is_refusal(&verdict)) {
                refuse_recipient(s, list.rcpt_to, &verdict);
                return;
        }
        if (said.letter == ACCESS_DISCARD) {
                list.count = 1;
                list.items[0].kind = ROUTE_DISCARD;
        }
        if (!settle_return_path(s, &list)) {
                refuse_too_many(s, list.rcpt_to, "aliases: owner- of another list");
                return;
        }
        if (add_recipients(s, rcpt, &list, &verdict) < 0 ||
            (said.letter == ACCESS_QUARANTINE && edge_access_quarantine(t, &said.verdict) < 0)) {
                refuse_too_many(s, list.rcpt_to, "limits.recipients");
                return;
        }
        s->edge->counters.recipients_accepted++;
        edge_session_say(s, 250, "2.1.5", "Recipient ok");
}
