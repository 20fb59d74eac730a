/* The registry of commands, and what runs one. */
#include "wire/imap/imap_server_engine.h"

#define BEFORE IMAP_STATE_NOT_AUTHENTICATED
#define LOGGED_IN IMAP_STATE_LOGGED_IN
#define SELECTED IMAP_STATE_SELECTED
#define BY_NUMBER (IMAP_COMMAND_UID | IMAP_COMMAND_NO_EXPUNGE)

const struct imap_command imap_server_commands[] = {
        { SPAN("APPEND"), LOGGED_IN, 0, imap_server_append },
        { SPAN("AUTHENTICATE"), BEFORE, 0, imap_server_authenticate },
        { SPAN("CAPABILITY"), IMAP_STATE_ANY, 0, imap_server_capability },
        { SPAN("CHECK"), SELECTED, 0, imap_server_check },
        { SPAN("CLOSE"), SELECTED, 0, imap_server_close },
        { SPAN("COMPRESS"), LOGGED_IN, 0, imap_server_compress },
        { SPAN("COPY"), SELECTED, IMAP_COMMAND_UID, imap_server_copy },
        { SPAN("CREATE"), LOGGED_IN, 0, imap_server_create },
        { SPAN("DELETE"), LOGGED_IN, 0, imap_server_delete },
        { SPAN("ENABLE"), LOGGED_IN, 0, imap_server_enable },
        { SPAN("EXAMINE"), LOGGED_IN, 0, imap_server_examine },
        { SPAN("EXPUNGE"), SELECTED, IMAP_COMMAND_UID, imap_server_expunge },
        { SPAN("FETCH"), SELECTED, BY_NUMBER, imap_server_fetch },
        { SPAN("GETQUOTA"), LOGGED_IN, 0, imap_server_getquota },
        { SPAN("GETQUOTAROOT"), LOGGED_IN, 0, imap_server_getquotaroot },
        { SPAN("ID"), IMAP_STATE_ANY, 0, imap_server_id },
        { SPAN("IDLE"), LOGGED_IN, 0, imap_server_idle },
        { SPAN("LIST"), LOGGED_IN, 0, imap_server_list },
        { SPAN("LOGIN"), BEFORE, 0, imap_server_login },
        { SPAN("LOGOUT"), IMAP_STATE_ANY, 0, imap_server_logout },
        { SPAN("LSUB"), LOGGED_IN, 0, imap_server_lsub },
        { SPAN("MOVE"), SELECTED, IMAP_COMMAND_UID, imap_server_move },
        { SPAN("NAMESPACE"), LOGGED_IN, 0, imap_server_namespace },
        { SPAN("NOOP"), IMAP_STATE_ANY, 0, imap_server_noop },
        { SPAN("RENAME"), LOGGED_IN, 0, imap_server_rename },
        { SPAN("SEARCH"), SELECTED, BY_NUMBER, imap_server_search },
        { SPAN("SELECT"), LOGGED_IN, 0, imap_server_select },
        { SPAN("SORT"), SELECTED, BY_NUMBER, imap_server_sort },
        { SPAN("STARTTLS"), BEFORE, 0, imap_server_starttls },
        { SPAN("STATUS"), LOGGED_IN, 0, imap_server_status },
        { SPAN("STORE"), SELECTED, BY_NUMBER, imap_server_store },
        { SPAN("SUBSCRIBE"), LOGGED_IN, 0, imap_server_subscribe },
        { SPAN("THREAD"), SELECTED, BY_NUMBER, imap_server_thread },
        { SPAN("UNSELECT"), SELECTED, 0, imap_server_unselect },
        { SPAN("UNSUBSCRIBE"), LOGGED_IN, 0, imap_server_unsubscribe },
};
const size_t imap_server_command_count =
        sizeof imap_server_commands / sizeof imap_server_commands[0];

static const struct imap_command *find_command(struct span verb)
{
        for (size_t i = 0; i < imap_server_command_count; i++)
                if (span_equal_nocase(verb, imap_server_commands[i].verb))
                        return &imap_server_commands[i];
        return NULL;
}

/* "APPEND" etc. stay true for "UID": only what may follow it is found. */
static bool find(struct imap_server *s, struct imap_parser *p)
{
        struct span verb;

        if (!imap_parse_atom(p, &verb))
                return false;
        if (span_equal_nocase(verb, SPAN_LITERAL("UID"))) {
                s->is_uid = true;
                if (!imap_parse_space(p) || !imap_parse_atom(p, &verb))
                        return false;
        }
        s->command = find_command(verb);
        return s->command && (!s->is_uid || (s->command->flags & IMAP_COMMAND_UID));
}

void imap_server_run(struct imap_server *s, struct span command, struct imap_event *ev)
{
        struct imap_parser p = {
                .rest = command, .arena = &s->arena,
                .is_utf8 = s->enabled & (IMAP_ENABLED_UTF8 | IMAP_ENABLED_REV2),
        };

        if (!imap_parse_tag(&p, &s->tag) || !imap_parse_space(&p)) {
                s->tag = SPAN_LITERAL("*");
                imap_server_bad(s, "A command starts with its tag");
                return;
        }
        s->tag = arena_copy(&s->arena, s->tag);
        if (!s->tag.p) {
                s->is_broken = true;
                return;
        }
        if (!find(s, &p)) {
                s->command = NULL;
                imap_server_bad(s, "No such command");
        } else if (!(s->command->states & s->state)) {
                const bool is_early = s->state == IMAP_STATE_NOT_AUTHENTICATED;

                s->command = NULL;
                imap_server_bad(s, is_early ? "Log in first" : "Not in this state");
        } else {
                s->command->run(s, &p, ev);
        }
}

/* ---- capabilities ------------------------------------------------------------ */

static bool has_offer(const struct imap_server *s, enum imap_offer offer)
{
        return s->options.offers & (unsigned) offer;
}

static void put_before_login(struct imap_server *s)
{
        struct span rest = s->options.auth_mechanisms, word;

        if (has_offer(s, IMAP_OFFER_STARTTLS) && !s->is_secured)
                imap_server_put(s, " STARTTLS");
        if (!has_offer(s, IMAP_OFFER_LOGIN))
                imap_server_put(s, " LOGINDISABLED");
        while (span_split(&rest, ' ', &word)) {
                if (word.len) {
                        imap_server_put(s, " AUTH=");
                        imap_server_put_span(s, word);
                }
        }
}

void imap_server_put_capabilities(struct imap_server *s)
{
        imap_server_put(s, "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE");
        if (s->state == IMAP_STATE_NOT_AUTHENTICATED) {
                put_before_login(s);
                return;
        }
        imap_server_put(s, " IDLE NAMESPACE UNSELECT UIDPLUS MOVE CHILDREN SPECIAL-USE"
                           " CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH"
                           " SEARCHRES WITHIN CONDSTORE QRESYNC SORT SORT=DISPLAY"
                           " THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS"
                           " MULTIAPPEND BINARY UTF8=ACCEPT OBJECTID SAVEDATE PREVIEW");
        if (has_offer(s, IMAP_OFFER_COMPRESS) && !s->is_compressed)
                imap_server_put(s, " COMPRESS=DEFLATE");
        if (has_offer(s, IMAP_OFFER_QUOTA))
                imap_server_put(s, " QUOTA QUOTA=RES-STORAGE");
        imap_server_put(s, " APPENDLIMIT");
        if (s->options.append_max) {
                imap_server_put(s, "=");
                imap_server_put_number(s, s->options.append_max);
        }
}
