#include "base/utf8.h"
#include "message/xtext.h"
#include "wire/smtp/smtp_server_engine.h"

enum { ORCPT_MAX = 500 }; /* RFC 3461 section 4.2 */

/* RFC 3461 section 4.1: NEVER alone, or a list of the others. */
static bool take_notify(struct smtp_server *s, const struct smtp_parameter *p,
                        struct smtp_event *ev)
{
        static const struct span names[] = {SPAN("NEVER"), SPAN("SUCCESS"), SPAN("FAILURE"),
                                            SPAN("DELAY")};
        struct span list = p->value, word;
        bool is_good = p->has_value;
        unsigned bits = 0;

        while (is_good && span_split(&list, ',', &word)) {
                size_t i = 0;

                while (i < 4 && !span_equal_nocase(names[i], word))
                        i++;
                is_good = i < 4;
                bits |= 1u << i;
        }
        if (!is_good || ((bits & 1) && bits != 1)) {
                smtp_server_refuse(s, 501, "5.5.4",
                                   "NOTIFY= wants NEVER, or SUCCESS,FAILURE,DELAY");
                return false;
        }
        ev->rcpt.notify = (uint8_t) bits;
        return true;
}

/* RFC 3461 section 4.2: addr-type ";" xtext. RFC 6533 section 3: for the type
 * "utf-8" also UTF-8 as it is, and "\x{…}", both of which the DSN takes over. */
static bool take_orcpt(struct smtp_server *s, const struct smtp_parameter *p,
                       struct smtp_event *ev)
{
        struct span text = p->value, type = {NULL, 0};
        bool is_good = p->value.len <= ORCPT_MAX && span_find(text, ';') != SIZE_MAX
                       && span_split(&text, ';', &type) && type.len > 0 && text.len > 0;

        for (size_t i = 0; i < type.len; i++)
                is_good = is_good && type.p[i] > 32 && type.p[i] < 127
                          && !strchr("()<>@,:\\\"/[]?=", type.p[i]);
        if (is_good && !span_equal_nocase(type, SPAN_LITERAL("utf-8")))
                is_good = xtext_is_valid(text);
        if (is_good && !utf8_is_ascii(text))
                is_good = s->smtputf8;
        if (!is_good) {
                smtp_server_refuse(s, 501, "5.5.4", "ORCPT= wants type;address in xtext");
                return false;
        }
        ev->rcpt.orcpt = p->value;
        return true;
}

static const struct smtp_parameter_row rows[] = {
        { SPAN("NOTIFY"), SMTP_OFFER_DSN, take_notify },
        { SPAN("ORCPT"), SMTP_OFFER_DSN, take_orcpt },
};

/* The path of RCPT; false: refused. */
static bool take_address(struct smtp_server *s, struct smtp_rcpt *rcpt)
{
        static const struct span postmaster = SPAN("postmaster");

        if (address_parse(rcpt->path, true, &rcpt->address) < 0
            || (rcpt->address.domain.len == 0 && !s->options.may_lack_domain
                && !span_equal_nocase(rcpt->address.local, postmaster))) {
                smtp_server_refuse(s, 501, "5.1.3", "Malformed address");
                return false;
        }
        if (rcpt->address.has_utf8 && !s->smtputf8) {
                smtp_server_refuse(s, 553, "5.6.7", "Address needs the parameter SMTPUTF8 of MAIL");
                return false;
        }
        return true;
}

SMTP_COMMAND_FUNCTION(rcpt)
{
        static const struct span word = SPAN("TO:");
        struct span rest;

        if (s->is_chunked) {
                smtp_server_refuse(s, 503, "5.5.1", "No recipients after BDAT");
                return;
        }
        if (!span_starts_with_nocase(argument, word)) {
                smtp_server_refuse(s, 501, "5.5.4", "Say RCPT TO:<address>");
                return;
        }
        /* Section 4.5.3.1.10: 452, the others will come in another transaction. */
        if (s->options.recipients_max && s->recipients >= s->options.recipients_max &&
            !s->options.is_judged_by_role) {
                smtp_server_refuse(s, 452, "4.5.3", "Too many recipients");
                return;
        }
        rest = arena_copy(&s->arena, span_trim(span_skip(argument, word.len)));
        if (!rest.p) {
                smtp_server_refuse(s, 452, "4.5.3", "Too many recipients");
                return;
        }
        ev->rcpt = (struct smtp_rcpt) {0};
        if (!smtp_server_take_path(&rest, &ev->rcpt.path)) {
                smtp_server_refuse(s, 501, "5.5.4", "Say RCPT TO:<address>");
                return;
        }
        if (!smtp_server_take_parameters(s, rest, rows, sizeof rows / sizeof rows[0], ev)
            || !take_address(s, &ev->rcpt))
                return;
        ev->rcpt.index = s->recipients;
        smtp_server_wait(s, ev, SMTP_EVENT_RCPT);
}
