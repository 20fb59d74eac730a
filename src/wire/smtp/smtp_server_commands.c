#include "wire/smtp/smtp_server_engine.h"

enum {
        HELO = SMTP_COMMAND_NEEDS_HELO,
        IN_MAIL = SMTP_COMMAND_NEEDS_HELO | SMTP_COMMAND_NEEDS_MAIL,
        OUTSIDE = SMTP_COMMAND_NEEDS_NO_MAIL,
        BARE = SMTP_COMMAND_NO_ARGUMENT,
};

/* The usual ones first: it is searched from the front. RFC 5321 section 4.1.4
 * says which come when, section 4.5.1 which there must be, and section 4.3 which
 * replies they have. LHLO takes the place of the other two (RFC 2033 section 4.1). */
const struct smtp_command smtp_server_commands[] = {
        { SPAN("RCPT"), IN_MAIL, 0, smtp_server_rcpt,
          "RCPT TO:<address> [NOTIFY=...] [ORCPT=...]" },
        { SPAN("MAIL"), HELO | OUTSIDE, 0, smtp_server_mail,
          "MAIL FROM:<address> [SIZE=n] [BODY=7BIT|8BITMIME|BINARYMIME] [SMTPUTF8] [RET=FULL|HDRS] "
          "[ENVID=id] [HOLDFOR=s|HOLDUNTIL=date] [MT-PRIORITY=n] [REQUIRETLS] [BY=s;N|R[T]]" },
        { SPAN("DATA"), IN_MAIL | BARE, 0, smtp_server_data,
          "DATA, then the message, then a dot alone" },
        { SPAN("BDAT"), 0, SMTP_OFFER_CHUNKING, smtp_server_bdat, "BDAT octets [LAST]" },
        { SPAN("EHLO"), SMTP_COMMAND_NOT_LMTP, 0, smtp_server_ehlo, "EHLO your-host-name" },
        { SPAN("HELO"), SMTP_COMMAND_NOT_LMTP, 0, smtp_server_helo, "HELO your-host-name" },
        { SPAN("LHLO"), SMTP_COMMAND_NOT_SMTP, 0, smtp_server_ehlo, "LHLO your-host-name" },
        { SPAN("RSET"), BARE, 0, smtp_server_rset, "RSET: forget this message" },
        { SPAN("NOOP"), 0, 0, smtp_server_noop, "NOOP: do nothing" },
        { SPAN("QUIT"), BARE | SMTP_COMMAND_FREE, 0, smtp_server_quit, "QUIT: end the session" },
        { SPAN("STARTTLS"), HELO | OUTSIDE | BARE, 0, smtp_server_starttls,
          "STARTTLS: go on encrypted" },
        { SPAN("AUTH"), HELO | OUTSIDE, SMTP_OFFER_AUTH, smtp_server_auth,
          "AUTH mechanism [response]" },
        { SPAN("VRFY"), 0, 0, smtp_server_vrfy, "VRFY address" },
        { SPAN("HELP"), 0, 0, smtp_server_help, "HELP [topic]" },
        { SPAN("VERB"), 0, 0, smtp_server_verb, "VERB: accepted, without effect" },
        { SPAN("EXPN"), 0, SMTP_OFFER_EXPN, smtp_server_expn, "EXPN list" },
        { SPAN("ETRN"), HELO | OUTSIDE, SMTP_OFFER_ETRN, smtp_server_etrn, "ETRN domain" },
        { SPAN("XCLIENT"), OUTSIDE, SMTP_OFFER_XCLIENT, smtp_server_xclient,
          "XCLIENT NAME=value ..." },
        { SPAN("TURN"), 0, 0, smtp_server_unimplemented, NULL },
        { SPAN("ATRN"), 0, 0, smtp_server_unimplemented, NULL },
        { SPAN("BURL"), 0, 0, smtp_server_unimplemented, NULL },
        { SPAN("SEND"), 0, 0, smtp_server_unimplemented, NULL },
        { SPAN("SOML"), 0, 0, smtp_server_unimplemented, NULL },
        { SPAN("SAML"), 0, 0, smtp_server_unimplemented, NULL },
};
const size_t smtp_server_command_count =
        sizeof smtp_server_commands / sizeof smtp_server_commands[0];

/* RFC 5321 section 2.4: verbs in any case. */
const struct smtp_command *smtp_server_find_command(struct span verb)
{
        const char first = verb.len ? (char) (verb.p[0] & ~('a' - 'A')) : '\0';

        for (size_t i = 0; i < smtp_server_command_count; i++)
                if (smtp_server_commands[i].verb.p[0] == first &&
                    span_equal_nocase(smtp_server_commands[i].verb, verb))
                        return &smtp_server_commands[i];
        return NULL;
}

bool smtp_server_has_offer(const struct smtp_server *s, unsigned offer)
{
        unsigned offers = s->options.offers;

        if (s->is_secured)
                offers &= ~(unsigned) SMTP_OFFER_STARTTLS;
        else
                offers &= ~(unsigned) SMTP_OFFER_REQUIRETLS; /* RFC 8689 section 2 */
        if (!(offers & SMTP_OFFER_CHUNKING))
                offers &= ~(unsigned) SMTP_OFFER_BINARYMIME;
        return (offers & offer) == offer;
}

/* Whether the command may come now; if not, it was refused. */
static bool check_order(struct smtp_server *s, const struct smtp_command *c, struct span argument)
{
        const bool is_lmtp = s->options.dialect == SMTP_DIALECT_LMTP;

        if (c->flags & (is_lmtp ? SMTP_COMMAND_NOT_LMTP : SMTP_COMMAND_NOT_SMTP)) {
                smtp_server_refuse(s, 500, "5.5.1", is_lmtp ? "This is LMTP: say LHLO"
                                                            : "This is SMTP: say EHLO");
        } else if (!smtp_server_has_offer(s, c->offer)) {
                smtp_server_refuse(s, 502, "5.5.1", "Not offered here");
        } else if (s->is_refusing && !(c->flags & SMTP_COMMAND_FREE)) {
                smtp_server_refuse(s, 503, "5.5.1", "No service for you here: say QUIT");
        } else if ((c->flags & SMTP_COMMAND_NEEDS_HELO) && !s->helo_name) {
                smtp_server_refuse(s, 503, "5.5.1", is_lmtp ? "Say LHLO first"
                                                            : "Say HELO or EHLO first");
        } else if ((c->flags & SMTP_COMMAND_NO_ARGUMENT) && argument.len) {
                smtp_server_refuse(s, 501, "5.5.4", "This command has no parameters");
        } else if ((c->flags & SMTP_COMMAND_NEEDS_MAIL) && !s->has_mail) {
                smtp_server_refuse(s, 503, "5.5.1", "Say MAIL first");
        } else if ((c->flags & SMTP_COMMAND_NEEDS_NO_MAIL) && s->has_mail) {
                smtp_server_refuse(s, 503, "5.5.1", "Not within a mail transaction");
        } else {
                return true;
        }
        return false;
}

/* What no line may have; if it has, it was refused. Nothing of such a line is
 * read as a command, since the next system might read it as another. */
static bool check_line(struct smtp_server *s, struct span line)
{
        if (!line.p) {
                smtp_server_refuse_for(s, SMTP_FAULT_LINE_LENGTH);
        } else if (line.len < 2 || line.p[line.len - 2] != '\r') {
                smtp_server_refuse(s, 500, "5.5.2",
                                   "Lines end with CR LF (RFC 5321 section 2.3.8)");
        } else if (memchr(line.p, '\r', line.len - 2)) {
                smtp_server_refuse(s, 500, "5.5.2", "CR within a line (RFC 5321 section 2.3.8)");
        } else if (memchr(line.p, '\0', line.len)) {
                smtp_server_refuse(s, 500, "5.5.2", "NUL within a command");
        } else {
                return true;
        }
        return false;
}

/* More than a client that means well needs, and it is told so instead of
 * having its next command run. */
static bool check_patience(struct smtp_server *s, const struct smtp_command *c)
{
        const unsigned errors_max = s->options.errors_max, commands_max = s->options.commands_max;
        enum smtp_fault fault = SMTP_FAULT_NONE;

        s->fruitless++;
        if (commands_max && s->fruitless > commands_max)
                fault = SMTP_FAULT_COMMANDS;
        if (errors_max && s->errors >= errors_max)
                fault = SMTP_FAULT_ERRORS;
        if (fault == SMTP_FAULT_NONE || (c && (c->flags & SMTP_COMMAND_FREE)))
                return true;
        smtp_server_close_for(s, fault);
        return false;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void smtp_server_run_line(struct smtp_server *s, struct span line, struct smtp_event *ev)
{
        const struct smtp_command *c = NULL;
        struct span verb, rest;

        if (!line.p || line.len < 2) {
                if (check_patience(s, NULL))
                        check_line(s, line);
                return;
        }
        rest = line;
        while (rest.len && is_blank(rest.p[rest.len - 1]))
                rest.len--; /* the line end, and blanks that section 4.1.1 tolerates */
        span_split(&rest, ' ', &verb);
        rest = span_trim(rest);
        c = smtp_server_find_command(verb);
        if (!check_patience(s, c) || !check_line(s, line))
                return;
        if (!c)
                smtp_server_refuse(s, 500, "5.5.1", "Command not known");
        else if (check_order(s, c, rest))
                c->run(s, rest, ev);
}

SMTP_COMMAND_FUNCTION(unimplemented)
{
        (void) argument;
        (void) ev;
        smtp_server_refuse(s, 502, "5.5.1", "Command not implemented");
}
