/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 sections 6.3.4 to
 * 6.3.8), GETQUOTA and GETQUOTAROOT (RFC 9208). */
#include "wire/imap/imap_server_engine.h"

static const struct {
        struct span name;
        unsigned use;
} uses[] = {
        { SPAN("\\All"), IMAP_USE_ALL },         { SPAN("\\Archive"), IMAP_USE_ARCHIVE },
        { SPAN("\\Drafts"), IMAP_USE_DRAFTS },   { SPAN("\\Flagged"), IMAP_USE_FLAGGED },
        { SPAN("\\Junk"), IMAP_USE_JUNK },       { SPAN("\\Sent"), IMAP_USE_SENT },
        { SPAN("\\Trash"), IMAP_USE_TRASH },
};

static bool parse_use(struct imap_parser *p, unsigned *ret)
{
        for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
                if (imap_parse_word(p, uses[i].name)) {
                        *ret |= uses[i].use;
                        return true;
                }
        }
        return false;
}

/* " (USE (\Drafts \Sent))", RFC 6154 section 3. */
static bool parse_create_parameters(struct imap_parser *p, unsigned *ret_use)
{
        if (imap_parse_end(p))
                return true;
        if (!imap_parse_space(p) || !imap_parse_char(p, '(')
            || !imap_parse_word(p, SPAN_LITERAL("USE")) || !imap_parse_space(p)
            || !imap_parse_char(p, '('))
                return false;
        if (imap_parse_peek(p) != ')') {
                do {
                        if (!parse_use(p, ret_use))
                                return false;
                } while (imap_parse_space(p));
        }
        return imap_parse_char(p, ')') && imap_parse_char(p, ')') && imap_parse_end(p);
}

static void answered_create(struct imap_server *s, const struct imap_answer *a)
{
        if (a->result != IMAP_OK || a->mailbox_id == 0) {
                imap_server_finish_answer(s, a);
                return;
        }
        imap_server_begin_tagged(s, IMAP_OK);
        imap_server_put(s, "[MAILBOXID (F");
        imap_server_put_number(s, a->mailbox_id);
        imap_server_put(s, ")] ");
        imap_server_end_tagged(s, "Created");
}

/* A name that asks for levels below keeps no delimiter at its end (RFC 9051
 * section 6.3.4). */
static struct span without_end(struct span name)
{
        if (name.len > 1 && name.p[name.len - 1] == '/')
                name.len--;
        return name;
}

IMAP_COMMAND_FUNCTION(create)
{
        if (!imap_parse_space(p) || !imap_parse_mailbox(p, &ev->mailbox)
            || !parse_create_parameters(p, &ev->special_use)) {
                imap_server_bad(s, "Say CREATE mailbox");
                return;
        }
        ev->mailbox = without_end(ev->mailbox);
        imap_server_wait(s, ev, IMAP_EVENT_CREATE, answered_create);
}

/* Commands with one mailbox name, and nothing more to say than OK or NO. */
static void run_one(struct imap_server *s, struct imap_parser *p, struct imap_event *ev,
                    enum imap_event_kind kind)
{
        if (!imap_parse_space(p) || !imap_parse_mailbox(p, &ev->mailbox) || !imap_parse_end(p))
                imap_server_bad(s, "Say the name of a mailbox");
        else
                imap_server_wait(s, ev, kind, imap_server_finish_answer);
}

IMAP_COMMAND_FUNCTION(delete)
{
        run_one(s, p, ev, IMAP_EVENT_DELETE);
}

IMAP_COMMAND_FUNCTION(subscribe)
{
        run_one(s, p, ev, IMAP_EVENT_SUBSCRIBE);
}

IMAP_COMMAND_FUNCTION(unsubscribe)
{
        run_one(s, p, ev, IMAP_EVENT_UNSUBSCRIBE);
}

IMAP_COMMAND_FUNCTION(rename)
{
        if (!imap_parse_space(p) || !imap_parse_mailbox(p, &ev->mailbox) || !imap_parse_space(p)
            || !imap_parse_mailbox(p, &ev->new_name) || !imap_parse_end(p)) {
                imap_server_bad(s, "Say RENAME mailbox new-name");
                return;
        }
        ev->new_name = without_end(ev->new_name);
        imap_server_wait(s, ev, IMAP_EVENT_RENAME, imap_server_finish_answer);
}

/* ---- QUOTA: one root, the account's, named "" -------------------------------- */

static void put_resource(struct imap_server *s, const char *name, uint64_t used, uint64_t limit)
{
        imap_server_put(s, name);
        imap_server_put_number(s, used);
        imap_server_put(s, " ");
        imap_server_put_number(s, limit);
}

static void answered_quota(struct imap_server *s, const struct imap_answer *a)
{
        const struct imap_quota *q = &a->quota;
        const struct span *mailbox = s->work_state;

        if (a->result != IMAP_OK) {
                imap_server_finish_answer(s, a);
                return;
        }
        if (mailbox) {
                imap_server_put(s, "* QUOTAROOT ");
                imap_server_put_mailbox(s, *mailbox);
                imap_server_put(s, " \"\"\r\n");
        }
        imap_server_put(s, "* QUOTA \"\" (");
        if (q->storage_limit) /* in units of 1,024 octets (section 5.1) */
                put_resource(s, "STORAGE ", (q->storage_used + 1023) / 1024,
                             q->storage_limit / 1024);
        if (q->message_limit)
                put_resource(s, q->storage_limit ? " MESSAGE " : "MESSAGE ", q->message_used,
                             q->message_limit);
        imap_server_put(s, ")\r\n");
        imap_server_ok(s);
}

static bool is_quota_offered(struct imap_server *s)
{
        if (s->options.offers & IMAP_OFFER_QUOTA)
                return true;
        imap_server_bad(s, "Quotas are not offered");
        return false;
}

IMAP_COMMAND_FUNCTION(getquota)
{
        struct span root;

        if (!is_quota_offered(s))
                return;
        if (!imap_parse_space(p) || !imap_parse_astring(p, &root) || !imap_parse_end(p))
                imap_server_bad(s, "Say GETQUOTA root");
        else if (root.len)
                imap_server_no(s, "NONEXISTENT", "No such quota root");
        else
                imap_server_wait(s, ev, IMAP_EVENT_QUOTA, answered_quota);
}

IMAP_COMMAND_FUNCTION(getquotaroot)
{
        struct span *mailbox = arena_alloc(&s->arena, sizeof *mailbox);

        if (!is_quota_offered(s))
                return;
        if (!mailbox || !imap_parse_space(p) || !imap_parse_mailbox(p, mailbox)
            || !imap_parse_end(p)) {
                imap_server_bad(s, "Say GETQUOTAROOT mailbox");
                return;
        }
        ev->mailbox = *mailbox;
        s->work_state = mailbox;
        imap_server_wait(s, ev, IMAP_EVENT_QUOTA, answered_quota);
}
