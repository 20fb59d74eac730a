/* STATUS (RFC 9051 section 6.3.11) with SIZE, HIGHESTMODSEQ, MAILBOXID,
 * DELETED, DELETED-STORAGE (RFC 9208 section 4.1.4), APPENDLIMIT. */
#include "wire/imap/imap_server_engine.h"

enum imap_status_item {
        STATUS_MESSAGES = 1,
        STATUS_RECENT = 2,
        STATUS_UIDNEXT = 4,
        STATUS_UIDVALIDITY = 8,
        STATUS_UNSEEN = 16,
        STATUS_DELETED = 32,
        STATUS_SIZE = 64,
        STATUS_HIGHESTMODSEQ = 128,
        STATUS_MAILBOXID = 256,
        STATUS_APPENDLIMIT = 512,
        STATUS_DELETED_STORAGE = 1024,
};

static const struct {
        struct span name;
        unsigned item;
} items[] = {
        { SPAN("MESSAGES"), STATUS_MESSAGES },       { SPAN("RECENT"), STATUS_RECENT },
        { SPAN("UIDNEXT"), STATUS_UIDNEXT },         { SPAN("UIDVALIDITY"), STATUS_UIDVALIDITY },
        { SPAN("UNSEEN"), STATUS_UNSEEN },           { SPAN("DELETED"), STATUS_DELETED },
        { SPAN("SIZE"), STATUS_SIZE },               { SPAN("MAILBOXID"), STATUS_MAILBOXID },
        { SPAN("HIGHESTMODSEQ"), STATUS_HIGHESTMODSEQ },
        { SPAN("APPENDLIMIT"), STATUS_APPENDLIMIT },
        { SPAN("DELETED-STORAGE"), STATUS_DELETED_STORAGE },
};

enum { ITEM_COUNT = sizeof items / sizeof items[0] };

bool imap_server_parse_status_items(struct imap_parser *p, unsigned *ret_items)
{
        unsigned found = 0;

        if (!imap_parse_char(p, '('))
                return false;
        do {
                size_t i = 0;

                while (i < ITEM_COUNT && !imap_parse_word(p, items[i].name))
                        i++;
                if (i == ITEM_COUNT)
                        return false;
                found |= items[i].item;
        } while (imap_parse_space(p));
        *ret_items = found;
        return imap_parse_char(p, ')');
}

void imap_server_want_status(struct imap_event *ev, unsigned items_wanted)
{
        ev->wants_status = items_wanted;
        ev->wants_deleted_size = items_wanted & STATUS_DELETED_STORAGE;
}

static uint64_t number_of(const struct imap_server *s, const struct imap_mailbox *m, unsigned item)
{
        switch (item) {
        case STATUS_MESSAGES:
                return m->message_count;
        case STATUS_UIDNEXT:
                return m->uid_next;
        case STATUS_UIDVALIDITY:
                return m->uid_validity;
        case STATUS_UNSEEN:
                return m->unseen_count;
        case STATUS_DELETED:
                return m->deleted_count;
        case STATUS_DELETED_STORAGE:
                return m->deleted_size;
        case STATUS_SIZE:
                return m->size;
        case STATUS_HIGHESTMODSEQ:
                return m->highest_modseq;
        case STATUS_APPENDLIMIT:
                return s->options.append_max;
        default:
                return 0;
        }
}

void imap_server_put_status(struct imap_server *s, const struct imap_mailbox *m, unsigned wanted)
{
        const char *gap = "";

        imap_server_put(s, "* STATUS ");
        imap_server_put_mailbox(s, m->name);
        imap_server_put(s, " (");
        for (size_t i = 0; i < ITEM_COUNT; i++) {
                if (!(wanted & items[i].item))
                        continue;
                imap_server_put(s, gap);
                imap_server_put_span(s, items[i].name);
                gap = " ";
                if (items[i].item == STATUS_MAILBOXID) {
                        imap_server_put(s, " (F");
                        imap_server_put_number(s, m->mailbox_id);
                        imap_server_put(s, ")");
                } else if (items[i].item == STATUS_APPENDLIMIT && !s->options.append_max) {
                        imap_server_put(s, " NIL");
                } else {
                        imap_server_put(s, " ");
                        imap_server_put_number(s, number_of(s, m, items[i].item));
                }
        }
        imap_server_put(s, ")\r\n");
        if (wanted & STATUS_HIGHESTMODSEQ) /* RFC 7162 section 3.1 */
                s->enabled |= IMAP_ENABLED_CONDSTORE;
}

static void answered_status(struct imap_server *s, const struct imap_answer *a)
{
        const unsigned *wanted = s->work_state;

        if (a->result == IMAP_OK && a->mailbox_count == 1) {
                imap_server_put_status(s, &a->mailboxes[0], *wanted);
                imap_server_ok(s);
        } else {
                imap_server_no(s, a->code ? a->code : "NONEXISTENT",
                               a->text ? a->text : "No such mailbox");
        }
}

IMAP_COMMAND_FUNCTION(status)
{
        unsigned *wanted = arena_alloc(&s->arena, sizeof *wanted);

        if (!wanted || !imap_parse_space(p) || !imap_parse_mailbox(p, &ev->mailbox)
            || !imap_parse_space(p) || !imap_server_parse_status_items(p, wanted)
            || !imap_parse_end(p)) {
                imap_server_bad(s, "Say STATUS mailbox (MESSAGES ...)");
                return;
        }
        imap_server_want_status(ev, *wanted);
        s->work_state = wanted;
        imap_server_wait(s, ev, IMAP_EVENT_STATUS, answered_status);
}
