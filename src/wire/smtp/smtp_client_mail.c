/* The SMTP client: commands and replies of a mail transaction (RFC 5321
 * section 3.3), pipelined where the peer takes that (RFC 2920). */
#include <assert.h>

#include "base/number.h"
#include "base/octets.h"
#include "wire/smtp/smtp_client_private.h"

enum { BDAT_FIRST_MAX = 64 * 1024 }; /* octets that may be in vain, if nobody is accepted */

/* An address or parameter that would end its command line early. Whoever made
 * the envelope has parsed it; this is the last door. */
static octets16 controls_and_blanks(octets16 x)
{
        return octets_controls(x) | octets_equal(x, ' ');
}

static bool has_control(struct span s)
{
        return octets_until(s, octets_controls) < s.len;
}

static bool has_blank(struct span s)
{
        return octets_until(s, controls_and_blanks) < s.len;
}

static bool is_well_formed(const struct smtp_client_mail *m)
{
        if (has_control(m->mail_from) || has_blank(m->envid))
                return false;
        for (size_t i = 0; i < m->rcpt_count; i++)
                if (m->rcpts[i].rcpt_to.len == 0 || has_control(m->rcpts[i].rcpt_to)
                    || has_blank(m->rcpts[i].orcpt))
                        return false;
        return true;
}

static void refuse(struct transaction *t, unsigned code, const char *enhanced, const char *text)
{
        t->refusal = (struct smtp_reply) {
                .code = code,
                .enhanced = span_from_string(enhanced),
                .text = span_from_string(text),
                .is_ours = true,
        };
}

#define BINARY_OFFERS (SMTP_CLIENT_OFFER_CHUNKING | SMTP_CLIENT_OFFER_BINARYMIME)

static bool is_probe(const struct transaction *t)
{
        return t->mail.flags & SMTP_CLIENT_PROBE;
}

void smtp_client_mail_check(const struct smtp_client *c, struct transaction *t)
{
        const struct smtp_client_mail *m = &t->mail;

        t->refusal.code = 0;
        if (!is_well_formed(m))
                refuse(t, 501, "5.1.3", "an address of this message cannot be written in SMTP");
        else if (m->flags & SMTP_CLIENT_SMTPUTF8 && !(c->offers & SMTP_CLIENT_OFFER_SMTPUTF8))
                refuse(t, 553, "5.6.7", /* RFC 6531 section 3.5 */
                       "the host does not take internationalized mail (no SMTPUTF8)");
        else if (m->flags & SMTP_CLIENT_REQUIRETLS &&
                 (!(c->offers & SMTP_CLIENT_OFFER_REQUIRETLS) || !c->is_secured))
                refuse(t, 550, "5.7.30", /* RFC 8689 section 4.2.1 */
                       "the host does not promise TLS on the rest of the way (no REQUIRETLS)");
        else if (m->flags & SMTP_CLIENT_BY_RETURN && !(c->offers & SMTP_CLIENT_OFFER_DELIVERBY))
                refuse(t, 554, "5.3.3", /* RFC 2852 section 4.1.4.2 */
                       "the host does not deliver by a given time (no DELIVERBY)");
        else if (m->flags & SMTP_CLIENT_BY_RETURN && m->deliver_by_s <= 0)
                refuse(t, 554, "5.4.7", "the time to deliver it by is over");
        else if (m->flags & SMTP_CLIENT_BINARY && (c->offers & BINARY_OFFERS) != BINARY_OFFERS)
                refuse(t, 554, "5.6.3", /* RFC 3030 section 3 */
                       "the host does not take binary messages (no BINARYMIME)");
        else if (m->flags & SMTP_CLIENT_8BIT && !(c->offers & SMTP_CLIENT_OFFER_8BITMIME))
                refuse(t, 554, "5.6.3", /* RFC 6152 section 3 */
                       "the host does not take 8-bit text (no 8BITMIME)");
        else if (c->size_max && m->size > c->size_max)
                refuse(t, 552, "5.3.4", "the message is larger than the host takes (SIZE)");
}

/* With LMTP nobody can say how many replies follow a message whose recipients
 * were all refused. */
void smtp_client_mail_choose_bdat(const struct smtp_client *c, struct transaction *t)
{
        const unsigned quick = SMTP_CLIENT_OFFER_CHUNKING | SMTP_CLIENT_OFFER_PIPELINING;

        t->is_bdat_first = (c->offers & quick) == quick && !c->options.is_lmtp && !is_probe(t) &&
                           !c->had_transaction && t->mail.size <= BDAT_FIRST_MAX;
        t->is_bdat = t->is_bdat_first || t->mail.flags & SMTP_CLIENT_BINARY;
}

static void put_number(struct smtp_client *c, uint64_t number)
{
        char text[NUMBER_TEXT_MAX];

        smtp_client_put(c, number_span(number, text));
}

static void put_signed(struct smtp_client *c, int32_t number)
{
        if (number < 0)
                smtp_client_put_text(c, "-");
        put_number(c, number < 0 ? -(uint64_t) number : (uint64_t) number);
}

static void put_mail(struct smtp_client *c, const struct smtp_client_mail *m)
{
        smtp_client_put_text(c, "MAIL FROM:<");
        smtp_client_put(c, m->mail_from);
        smtp_client_put_text(c, ">");
        if (c->offers & SMTP_CLIENT_OFFER_SIZE) {
                smtp_client_put_text(c, " SIZE=");
                put_number(c, m->size);
        }
        if (m->flags & SMTP_CLIENT_BINARY)
                smtp_client_put_text(c, " BODY=BINARYMIME");
        else if (m->flags & SMTP_CLIENT_8BIT)
                smtp_client_put_text(c, " BODY=8BITMIME");
        if (m->flags & SMTP_CLIENT_SMTPUTF8)
                smtp_client_put_text(c, " SMTPUTF8");
        if (m->flags & SMTP_CLIENT_REQUIRETLS)
                smtp_client_put_text(c, " REQUIRETLS");
        if (m->flags & (SMTP_CLIENT_BY_RETURN | SMTP_CLIENT_BY_NOTIFY) &&
            c->offers & SMTP_CLIENT_OFFER_DELIVERBY) {
                smtp_client_put_text(c, " BY=");
                put_signed(c, m->deliver_by_s);
                smtp_client_put_text(c, m->flags & SMTP_CLIENT_BY_RETURN ? ";R" : ";N");
                if (m->flags & SMTP_CLIENT_BY_TRACE)
                        smtp_client_put_text(c, "T");
        }
        if (m->has_priority && c->offers & SMTP_CLIENT_OFFER_MT_PRIORITY) {
                smtp_client_put_text(c, " MT-PRIORITY=");
                put_signed(c, m->priority);
        }
        if (c->offers & SMTP_CLIENT_OFFER_DSN) {
                if (m->flags & SMTP_CLIENT_RET_FULL)
                        smtp_client_put_text(c, " RET=FULL");
                else if (m->flags & SMTP_CLIENT_RET_HDRS)
                        smtp_client_put_text(c, " RET=HDRS");
                if (m->envid.len) {
                        smtp_client_put_text(c, " ENVID=");
                        smtp_client_put(c, m->envid);
                }
        }
        smtp_client_put_text(c, "\r\n");
}

static void put_notify(struct smtp_client *c, uint8_t notify)
{
        static const char *const words[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
        const char *separator = " NOTIFY=";

        for (unsigned i = 0; i < 4; i++) {
                if (!(notify & 1u << i))
                        continue;
                smtp_client_put_text(c, separator);
                smtp_client_put_text(c, words[i]);
                if (i == 0)
                        return; /* NEVER stands alone: RFC 3461 section 4.1 */
                separator = ",";
        }
}

static void put_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *r)
{
        smtp_client_put_text(c, "RCPT TO:<");
        smtp_client_put(c, r->rcpt_to);
        smtp_client_put_text(c, ">");
        if (c->offers & SMTP_CLIENT_OFFER_DSN) {
                put_notify(c, r->notify);
                if (r->orcpt.len) {
                        smtp_client_put_text(c, " ORCPT=");
                        smtp_client_put(c, r->orcpt);
                }
        }
        smtp_client_put_text(c, "\r\n");
}

static void put_command(struct smtp_client *c, struct transaction *t, size_t number)
{
        if (number == 0)
                put_mail(c, &t->mail);
        else if (number <= t->mail.rcpt_count)
                put_rcpt(c, &t->mail.rcpts[number - 1]);
        else
                smtp_client_put_text(c, "DATA\r\n");
}

static void put_bdat(struct smtp_client *c, struct transaction *t)
{
        smtp_client_put_text(c, "BDAT ");
        put_number(c, t->mail.size);
        smtp_client_put_text(c, " LAST\r\n");
        t->is_bdat_sent = true;
}

/* All replies to the envelope are there: what follows is the one to BDAT. */
static void end_envelope(struct smtp_client *c, struct transaction *t)
{
        if (!t->is_bdat_sent && t->accepted == 0) {
                c->needs_rset = true;
                t->phase = PHASE_FINISHED;
                return;
        }
        if (!t->is_bdat_sent)
                put_bdat(c, t);
        t->phase = t->is_body_sent ? PHASE_DOT : PHASE_BODY;
}

void smtp_client_mail_commands(struct smtp_client *c, struct transaction *t)
{
        size_t all = t->mail.rcpt_count + (t->is_bdat || is_probe(t) ? 1 : 2);
        bool is_pipelining = c->offers & SMTP_CLIENT_OFFER_PIPELINING;

        if (t->phase == PHASE_WAITING) {
                if (c->needs_rset) {
                        c->needs_rset = false;
                        c->rsets++;
                        smtp_client_put_text(c, "RSET\r\n");
                }
                t->phase = PHASE_COMMANDS;
        }
        if (c->rsets && !is_pipelining)
                return; /* goes on with the reply */
        while (t->sent < all && (is_pipelining || t->sent == t->replied))
                put_command(c, t, t->sent++);
        if (t->is_bdat_first && !t->is_bdat_sent && t->sent == all)
                put_bdat(c, t);
}

static void emit(struct smtp_client *c, enum emit which, const struct smtp_reply *reply)
{
        c->emit = which;
        c->emit_next = 0;
        c->emit_reply = *reply;
}

static void emit_one(struct smtp_client *c, size_t rcpt, const struct smtp_reply *reply)
{
        emit(c, EMIT_ONE, reply);
        c->emit_next = rcpt;
}

static bool is_refusal(const struct smtp_reply *reply)
{
        return reply->code >= 400;
}

static void on_mail(struct smtp_client *c, struct transaction *t, const struct smtp_reply *reply)
{
        if (!is_refusal(reply)) {
                t->is_mail_accepted = true;
                return;
        }
        emit(c, EMIT_ALL, reply);
        if (t->sent == t->replied)
                t->phase = PHASE_FINISHED; /* not pipelined: nothing else was said */
}

static void on_rcpt(struct smtp_client *c, struct transaction *t, size_t rcpt,
                    const struct smtp_reply *reply)
{
        if (t->status[rcpt] != RCPT_OPEN)
                return; /* MAIL was refused, and answered for all */
        if (!is_refusal(reply) && !is_probe(t)) {
                t->status[rcpt] = RCPT_ACCEPTED;
                t->accepted++;
                return;
        }
        emit_one(c, rcpt, reply);
        if (reply->code == 552) /* RFC 5321 section 4.5.3.1.10: too many, for now */
                c->emit_reply.code = 452;
        if (reply->code == 552 && reply->enhanced.len)
                c->emit_reply.enhanced = SPAN_LITERAL("4.5.3");
}

static void on_data(struct smtp_client *c, struct transaction *t, const struct smtp_reply *reply)
{
        if (is_refusal(reply)) {
                if (t->accepted)
                        emit(c, EMIT_ACCEPTED, reply);
                c->needs_rset = t->is_mail_accepted;
                t->phase = PHASE_FINISHED;
        } else if (t->accepted) {
                c->dots = DOT_ENCODER_INIT;
                t->phase = PHASE_BODY;
        } else if (c->options.is_lmtp) {
                /* Nobody can say how many replies would follow the dot. */
                smtp_client_fail_text(c, "the host asked for a message though it took no "
                                         "recipient");
        } else {
                /* RFC 2920 section 3.1: an empty message, whose reply means nothing. */
                smtp_client_put_text(c, ".\r\n");
                t->phase = PHASE_DOT;
        }
}

/* LMTP: the next accepted recipient, in order (RFC 2033 section 4.2). */
static void on_lmtp_dot(struct smtp_client *c, struct transaction *t,
                        const struct smtp_reply *reply)
{
        while (t->status[t->next_lmtp] != RCPT_ACCEPTED)
                t->next_lmtp++;
        assert(t->next_lmtp < t->mail.rcpt_count);
        emit_one(c, t->next_lmtp++, reply);
        t->accepted--;
        if (t->accepted == 0)
                t->phase = PHASE_FINISHED;
}

static void on_command(struct smtp_client *c, struct transaction *t,
                       const struct smtp_reply *reply)
{
        size_t number = t->replied, data = t->mail.rcpt_count + 1;
        unsigned good = number == data ? 3 : 2;

        if (reply->code < 400 && reply->code / 100 != good) {
                smtp_client_fail_reply(c, reply);
                return;
        }
        t->replied++;
        if (number == 0)
                on_mail(c, t, reply);
        else if (number < data)
                on_rcpt(c, t, number - 1, reply);
        else
                on_data(c, t, reply);
        if (c->is_failed || t->phase != PHASE_COMMANDS)
                return;
        if (is_probe(t) && t->replied == data) {
                c->needs_rset = t->is_mail_accepted;
                t->phase = PHASE_FINISHED;
                return;
        }
        if (t->is_bdat && t->replied == data) {
                end_envelope(c, t);
                return;
        }
        if (t->replied == data && t->sent == data && t->accepted == 0) {
                c->needs_rset = true; /* not pipelined: DATA would be in vain */
                t->phase = PHASE_FINISHED;
                return;
        }
        smtp_client_mail_commands(c, t);
}

void smtp_client_mail_reply(struct smtp_client *c, struct transaction *t,
                            const struct smtp_reply *reply)
{
        if (reply->code == 421) {
                smtp_client_fail(c, reply);
                return;
        }
        switch (t->phase) {
        case PHASE_COMMANDS:
                if (t->replied < t->sent)
                        on_command(c, t, reply);
                else
                        smtp_client_fail_reply(c, reply);
                break;
        case PHASE_BODY:
                /* A reply before the end of the body: there is no way back to
                 * commands but to end here. A refusal counts as one. */
                if (is_refusal(reply))
                        smtp_client_fail(c, reply);
                else
                        smtp_client_fail_reply(c, reply);
                break;
        case PHASE_DOT:
                if (reply->code / 100 == 3) {
                        smtp_client_fail_reply(c, reply);
                } else if (t->accepted && c->options.is_lmtp) {
                        on_lmtp_dot(c, t, reply);
                } else {
                        if (t->accepted)
                                emit(c, EMIT_ACCEPTED, reply);
                        /* RFC 3030 section 2: what state it is in now is not said. */
                        c->needs_rset = c->needs_rset || (t->is_bdat && is_refusal(reply));
                        t->phase = PHASE_FINISHED;
                }
                break;
        case PHASE_WAITING:
        case PHASE_FINISHED:
                smtp_client_fail_reply(c, reply);
                break;
        }
}
