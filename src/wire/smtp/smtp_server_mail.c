#include <errno.h>

#include "base/number.h"
#include "message/xtext.h"
#include "wire/smtp/smtp_server_engine.h"

enum { ENVID_MAX = 100 }; /* RFC 3461 section 4.4 */

static bool refuse_value(struct smtp_server *s, const char *text)
{
        smtp_server_refuse(s, 501, "5.5.4", text);
        return false;
}

/* RFC 1870 section 5: up to 20 digits. */
static bool take_size(struct smtp_server *s, const struct smtp_parameter *p, struct smtp_event *ev)
{
        const uint64_t max = s->options.message_size_max;
        const int r = number_parse(p->value, UINT64_MAX, &ev->mail.size);

        if (r == -EINVAL || p->value.len > 20)
                return refuse_value(s, "SIZE= wants a number");
        if (r < 0 || (max && ev->mail.size > max && !s->options.is_judged_by_role)) {
                smtp_server_refuse(s, 552, "5.3.4", "Message too big");
                return false;
        }
        return true;
}

static bool take_body(struct smtp_server *s, const struct smtp_parameter *p, struct smtp_event *ev)
{
        if (span_equal_nocase(p->value, SPAN_LITERAL("7BIT"))) {
                ev->mail.body = SMTP_BODY_7BIT;
        } else if (span_equal_nocase(p->value, SPAN_LITERAL("8BITMIME"))) {
                ev->mail.body = SMTP_BODY_8BITMIME;
        } else if (span_equal_nocase(p->value, SPAN_LITERAL("BINARYMIME"))
                   && smtp_server_has_offer(s, SMTP_OFFER_BINARYMIME)) {
                ev->mail.body = SMTP_BODY_BINARYMIME;
        } else {
                smtp_server_refuse(s, 504, "5.5.4", "BODY= wants a type that was offered");
                return false;
        }
        return true;
}

static bool take_smtputf8(struct smtp_server *s, const struct smtp_parameter *p,
                          struct smtp_event *ev)
{
        if (p->has_value)
                return refuse_value(s, "SMTPUTF8 has no value");
        ev->mail.smtputf8 = true;
        return true;
}

static bool take_ret(struct smtp_server *s, const struct smtp_parameter *p, struct smtp_event *ev)
{
        if (span_equal_nocase(p->value, SPAN_LITERAL("FULL")))
                ev->mail.ret = SMTP_RET_FULL;
        else if (span_equal_nocase(p->value, SPAN_LITERAL("HDRS")))
                ev->mail.ret = SMTP_RET_HDRS;
        else
                return refuse_value(s, "RET= wants FULL or HDRS");
        return true;
}

static bool take_envid(struct smtp_server *s, const struct smtp_parameter *p,
                       struct smtp_event *ev)
{
        if (p->value.len == 0 || p->value.len > ENVID_MAX || !xtext_is_valid(p->value))
                return refuse_value(s, "ENVID= wants xtext of at most 100 characters");
        ev->mail.envid = p->value;
        return true;
}

/* RFC 4954 section 5. Nobody here is trusted to vouch for a submitter: it is
 * checked for grammar and forgotten, which that section allows. */
static bool take_auth(struct smtp_server *s, const struct smtp_parameter *p, struct smtp_event *ev)
{
        (void) ev;
        if (span_equal(p->value, SPAN_LITERAL("<>")))
                return true;
        if (p->value.len == 0 || !xtext_is_valid(p->value))
                return refuse_value(s, "AUTH= wants <> or an address in xtext");
        return true;
}

static const struct smtp_parameter_row rows[] = {
        { SPAN("SIZE"), 0, take_size },
        { SPAN("BODY"), 0, take_body },
        { SPAN("SMTPUTF8"), SMTP_OFFER_SMTPUTF8, take_smtputf8 },
        { SPAN("RET"), SMTP_OFFER_DSN, take_ret },
        { SPAN("ENVID"), SMTP_OFFER_DSN, take_envid },
        { SPAN("HOLDFOR"), SMTP_OFFER_FUTURERELEASE, smtp_server_take_hold_for },
        { SPAN("HOLDUNTIL"), SMTP_OFFER_FUTURERELEASE, smtp_server_take_hold_until },
        { SPAN("MT-PRIORITY"), SMTP_OFFER_MT_PRIORITY, smtp_server_take_priority },
        { SPAN("REQUIRETLS"), SMTP_OFFER_REQUIRETLS, smtp_server_take_requiretls },
        { SPAN("BY"), SMTP_OFFER_DELIVERBY, smtp_server_take_deliver_by },
        { SPAN("AUTH"), 0, take_auth },
};

/* The path of MAIL; false: refused. */
static bool take_address(struct smtp_server *s, struct smtp_mail *mail)
{
        if (mail->path.len == 0)
                return true;
        if (address_parse(mail->path, s->options.may_lack_domain, &mail->address) < 0) {
                smtp_server_refuse(s, 501, "5.1.7", "Malformed address");
                return false;
        }
        if (mail->address.has_utf8 && !mail->smtputf8) {
                /* RFC 6531 section 3.5. */
                smtp_server_refuse(s, 553, "5.6.7", "Address needs the parameter SMTPUTF8");
                return false;
        }
        return true;
}

/* RFC 5321 section 4.1.1.2. */
SMTP_COMMAND_FUNCTION(mail)
{
        static const struct span word = SPAN("FROM:");
        const unsigned messages_max = s->options.messages_max;
        struct span rest;

        if (messages_max && s->messages >= messages_max) {
                smtp_server_close_for(s, SMTP_FAULT_MESSAGES);
                return;
        }
        if (!span_starts_with_nocase(argument, word)) {
                smtp_server_refuse(s, 501, "5.5.4", "Say MAIL FROM:<address>");
                return;
        }
        /* The event's spans outlive the line. */
        rest = arena_copy(&s->arena, span_trim(span_skip(argument, word.len)));
        if (!rest.p) {
                smtp_server_refuse(s, 452, "4.3.1", "Out of memory");
                return;
        }
        s->is_clear_due = true;
        ev->mail = (struct smtp_mail) {0};
        if (!smtp_server_take_path(&rest, &ev->mail.path)) {
                smtp_server_refuse(s, 501, "5.5.4", "Say MAIL FROM:<address>");
                return;
        }
        if (!smtp_server_take_parameters(s, rest, rows, sizeof rows / sizeof rows[0], ev)
            || !take_address(s, &ev->mail))
                return;
        s->is_clear_due = false;
        s->smtputf8 = ev->mail.smtputf8;
        s->body = ev->mail.body;
        smtp_server_wait(s, ev, SMTP_EVENT_MAIL);
}
