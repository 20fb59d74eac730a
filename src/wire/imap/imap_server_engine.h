/* The inside of the IMAP server engine: what its files share, and nobody else
 * includes. Read imap_server.h first.
 *
 *   LINE --CRLF--> run a command ──────────────► LINE
 *     │ ▲               │ event?  ──answered──►─┘
 *     │ └─octets─ LITERAL   work?  ──piece by piece──► finish
 *     │              IDLE: the next line is DONE
 *     │              RESPONSE: the next line answers a challenge
 *     └─ APPEND's {n} ─► MESSAGE ──► APPEND_LINE ──► …
 *
 * Invariants: 1. each command gets exactly one tagged reply, by
 * imap_server_finish(). 2. `waiting` is an event that was given and not
 * answered; `answered` is who takes the answer. 3. Nothing is said about
 * messages but through imap_server_sync(), FETCH and STORE, by the numbers of
 * `view`, which only imap_server_sync() changes. 4. Octets of a literal are
 * never read as commands. */
#pragma once

#include "base/arena.h"
#include "wire/imap/imap_parse.h"
#include "wire/imap/imap_server.h"

enum {
        IMAP_SERVER_LINE_MAX = 256 * 1024, /* a command with its literals, APPEND's message aside */
        IMAP_SERVER_LINE_BEFORE_LOGIN = 16 * 1024,
        IMAP_SERVER_ARENA_MAX = 64 * 1024 * 1024, /* sets, keys, what SORT and THREAD keep */
        IMAP_SERVER_MESSAGE_MAX = 64 * 1024 * 1024, /* what is made of one message */
        IMAP_SERVER_OUTPUT_PAUSE = 64 * 1024,     /* no more is said above it */
        IMAP_SERVER_OUTPUT_MAX = 256 * 1024 * 1024,
        IMAP_SERVER_SEARCH_KEYS_MAX = 1000,
        IMAP_SERVER_SEARCH_DEPTH_MAX = 50,
        IMAP_SERVER_FETCH_ITEMS_MAX = 200,
        IMAP_SERVER_LIST_PATTERNS_MAX = 100,
        IMAP_SERVER_BAD_LOGINS_MAX = 20,
        IMAP_SERVER_IDLE_ROOM = 256, /* octets that a trimmed buffer may keep */
        IMAP_SERVER_TEXT_MAX = 500,
};

/* Where a command may be said. */
enum imap_state {
        IMAP_STATE_NOT_AUTHENTICATED = 1,
        IMAP_STATE_AUTHENTICATED = 2,
        IMAP_STATE_SELECTED = 4,
        IMAP_STATE_LOGGED_IN = 6,
        IMAP_STATE_ANY = 7,
};

enum imap_reading {
        IMAP_READING_LINE,
        IMAP_READING_LITERAL,
        IMAP_READING_RESPONSE,  /* AUTHENTICATE */
        IMAP_READING_IDLE,
        IMAP_READING_MESSAGE,   /* APPEND's literal */
        IMAP_READING_MORE,      /* what follows it */
        IMAP_READING_SKIP,      /* a literal nobody wants, and the rest of its command */
        IMAP_READING_HANDSHAKE, /* STARTTLS was answered */
        IMAP_READING_CLOSED,
};

enum imap_enabled { /* by ENABLE, or by using it */
        IMAP_ENABLED_CONDSTORE = 1,
        IMAP_ENABLED_QRESYNC = 2,
        IMAP_ENABLED_UTF8 = 4,
        IMAP_ENABLED_REV2 = 8,
};

struct imap_server;
typedef void imap_work_fn(struct imap_server *s, struct imap_event *ev);
typedef void imap_answered_fn(struct imap_server *s, const struct imap_answer *a);

struct imap_server {
        struct imap_server_options options;
        enum imap_state state;
        enum imap_reading reading;
        struct buffer line; /* the command so far, literals in it */
        struct buffer output;
        struct arena arena; /* of this command */
        struct arena message; /* of the message that FETCH or SEARCH looks into */
        struct buffer scratch;      /* the same */
        struct buffer header_text;  /* the same: SEARCH TEXT */
        struct buffer raw_text;     /* the same: octets folded as they stand */
        size_t line_at;     /* where the last line of the command begins */
        uint64_t literal_left;

        enum imap_event_kind waiting;
        enum imap_event_kind queued; /* without an answer, due before anything else */
        imap_answered_fn *answered;
        imap_work_fn *work; /* goes on with a command, until it is NULL */
        void *work_state;   /* of it, in the arena */
        const struct imap_command *command;
        struct span tag;    /* in the arena */
        bool is_uid;        /* "UID FETCH" … */

        struct imap_view *view, *newest; /* newest: NULL, or not told yet */
        const struct imap_range *told;   /* UIDs whose change was told already */
        size_t told_count;
        bool is_read_only;
        struct imap_range *saved; /* SEARCHRES: "$" */
        size_t saved_count;
        unsigned enabled; /* enum imap_enabled */

        unsigned errors, bad_logins;
        char *shut_text;
        bool is_secured, is_compressed;
        bool is_shut_due, is_broken;
};

enum imap_command_flag {
        IMAP_COMMAND_UID = 1,        /* may follow "UID" */
        IMAP_COMMAND_ONLY_UID = 2,   /* must */
        IMAP_COMMAND_NO_EXPUNGE = 4, /* RFC 9051 section 7.5.1: not while it runs by numbers */
};

struct imap_command {
        struct span verb;
        unsigned states; /* enum imap_state */
        unsigned flags;
        void (*run)(struct imap_server *s, struct imap_parser *p, struct imap_event *ev);
};

#define IMAP_COMMAND_FUNCTION(name)                                                                \
        void imap_server_##name(struct imap_server *s __attribute__((unused)),                     \
                                struct imap_parser *p __attribute__((unused)),                     \
                                struct imap_event *ev __attribute__((unused)))

/* ---- imap_server_commands.c */
extern const struct imap_command imap_server_commands[];
extern const size_t imap_server_command_count;
void imap_server_run(struct imap_server *s, struct span command, struct imap_event *ev);
/* The capabilities as they stand now: "IMAP4rev1 …". */
void imap_server_put_capabilities(struct imap_server *s);

/* ---- imap_server.c: events */
void imap_server_wait(struct imap_server *s, struct imap_event *ev, enum imap_event_kind kind,
                      imap_answered_fn *answered);
/* No longer selected; DESELECT is due. */
void imap_server_deselect(struct imap_server *s);

/* ---- imap_server_reply.c */
void imap_server_put(struct imap_server *s, const char *text);
void imap_server_put_span(struct imap_server *s, struct span text);
void imap_server_put_number(struct imap_server *s, uint64_t n);
void imap_server_put_string(struct imap_server *s, struct span text); /* quoted or literal */
void imap_server_put_astring(struct imap_server *s, struct span text);
void imap_server_put_mailbox(struct imap_server *s, struct span name);
void imap_server_put_ranges(struct imap_server *s, const struct imap_range *r, size_t count);
void imap_server_put_flags(struct imap_server *s, const struct imap_message *m,
                           const struct imap_view *v);
void imap_server_put_flag_names(struct imap_server *s, const struct imap_view *v);
void imap_server_put_date_time(struct imap_server *s, uint64_t at_us);

/* The tagged reply, after what has changed; ends the command. `code` and `text`
 * may come from anywhere; NULL: none, a default. */
void imap_server_finish(struct imap_server *s, enum imap_result result, const char *code,
                        const char *text);
void imap_server_ok(struct imap_server *s);
void imap_server_no(struct imap_server *s, const char *code, const char *text);
void imap_server_bad(struct imap_server *s, const char *text);
/* An answer's result, code and text, with this default. */
void imap_server_finish_answer(struct imap_server *s, const struct imap_answer *a);
/* Only "tag OK [" or the like up to text: for codes with numbers. */
void imap_server_begin_tagged(struct imap_server *s, enum imap_result result);
void imap_server_end_tagged(struct imap_server *s, const char *text);
void imap_server_bye(struct imap_server *s, const char *text);

/* ---- imap_server_sync.c */
/* Tells what is new, if something is; EXPUNGE only with `may_expunge`. */
void imap_server_sync(struct imap_server *s, bool may_expunge);
/* One FETCH line with flags, MODSEQ where it is switched on, UID where wanted. */
void imap_server_put_change(struct imap_server *s, size_t index, const struct imap_message *m,
                            const struct imap_view *v, bool only_modseq);

/* ---- imap_server_vanished.c */
/* VANISHED (EARLIER) of those `known` UIDs, growing and apart, that went after
 * `modseq`; where that is not known any more, of all that are not there, be it
 * that they never were. */
void imap_server_put_vanished(struct imap_server *s, const struct imap_range *known, size_t count,
                              uint64_t modseq);

/* ---- imap_server_set.c */
/* The UIDs a set means, by `view`. False: a number without a message, BAD. */
bool imap_server_resolve(struct imap_server *s, const struct imap_set *set, bool is_uid,
                         struct imap_range **ret, size_t *ret_count);
/* The same without a session: "$" is in `ranges`. */
bool imap_server_resolve_in(const struct imap_view *v, struct arena *arena,
                            const struct imap_set *set, bool is_uid, struct imap_range **ret,
                            size_t *ret_count);
/* Sorts and joins; returns how many are left. */
size_t imap_server_normalize(struct imap_range *r, size_t count);
/* Is any message of the view in them? Drops ranges without one, from `r`. */
size_t imap_server_only_existing(const struct imap_view *v, struct imap_range *r, size_t count);
bool imap_server_in_ranges(const struct imap_range *r, size_t count, uint32_t uid);

/* Visits the messages of `view` that are in ranges. */
struct imap_cursor {
        const struct imap_view *view;
        const struct imap_range *ranges;
        size_t count, at;  /* ranges */
        size_t row;        /* of the view */
        unsigned in_row;
        bool is_within;    /* row and in_row stand in range `at` */
};
#define IMAP_CURSOR(v, r, n) ((struct imap_cursor) {.view = (v), .ranges = (r), .count = (n)})
const struct imap_message *imap_cursor_next(struct imap_cursor *c, size_t *ret_index);

/* A growing list of UIDs as ranges, in the arena. */
struct imap_uid_list {
        struct imap_range *ranges;
        size_t count, room;
};
bool imap_uid_list_add(struct imap_uid_list *l, struct arena *arena, uint32_t uid);

/* ---- commands */
IMAP_COMMAND_FUNCTION(capability);
IMAP_COMMAND_FUNCTION(noop);
IMAP_COMMAND_FUNCTION(logout);
IMAP_COMMAND_FUNCTION(id);
IMAP_COMMAND_FUNCTION(starttls);
IMAP_COMMAND_FUNCTION(login);
IMAP_COMMAND_FUNCTION(authenticate);
IMAP_COMMAND_FUNCTION(enable);
IMAP_COMMAND_FUNCTION(select);
IMAP_COMMAND_FUNCTION(examine);
IMAP_COMMAND_FUNCTION(create);
IMAP_COMMAND_FUNCTION(delete);
IMAP_COMMAND_FUNCTION(rename);
IMAP_COMMAND_FUNCTION(subscribe);
IMAP_COMMAND_FUNCTION(unsubscribe);
IMAP_COMMAND_FUNCTION(list);
IMAP_COMMAND_FUNCTION(lsub);
IMAP_COMMAND_FUNCTION(namespace);
IMAP_COMMAND_FUNCTION(status);
IMAP_COMMAND_FUNCTION(append);
IMAP_COMMAND_FUNCTION(idle);
IMAP_COMMAND_FUNCTION(check);
IMAP_COMMAND_FUNCTION(close);
IMAP_COMMAND_FUNCTION(unselect);
IMAP_COMMAND_FUNCTION(expunge);
IMAP_COMMAND_FUNCTION(search);
IMAP_COMMAND_FUNCTION(sort);
IMAP_COMMAND_FUNCTION(thread);
IMAP_COMMAND_FUNCTION(fetch);
IMAP_COMMAND_FUNCTION(store);
IMAP_COMMAND_FUNCTION(copy);
IMAP_COMMAND_FUNCTION(move);
IMAP_COMMAND_FUNCTION(getquota);
IMAP_COMMAND_FUNCTION(getquotaroot);
IMAP_COMMAND_FUNCTION(compress);

/* Lines that are no commands. */
void imap_server_response(struct imap_server *s, struct span line, struct imap_event *ev);
void imap_server_idle_line(struct imap_server *s, struct span line, struct imap_event *ev);

/* APPEND, which reads its own literals (imap_server_append.c): true where the
 * literal `l` at the end of the command so far is a message. */
bool imap_server_append_literal(struct imap_server *s, const struct imap_literal *l,
                                struct imap_event *ev);
/* All octets of the message were read. */
void imap_server_append_more(struct imap_server *s);
/* The line behind it is whole. */
void imap_server_append_line(struct imap_server *s, struct span line, struct imap_event *ev);

/* What a command has made of one message is no longer needed. */
void imap_server_clear_message(struct imap_server *s);

/* imap_server_status.c: the numbers of one mailbox, by enum imap_status_item; what the
 * event must ask for that they are known. */
bool imap_server_parse_status_items(struct imap_parser *p, unsigned *ret_items);
void imap_server_want_status(struct imap_event *ev, unsigned items_wanted);
void imap_server_put_status(struct imap_server *s, const struct imap_mailbox *m, unsigned items);
