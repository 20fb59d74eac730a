/* The inside of the SMTP server engine: what its files share, and nobody else
 * includes. Read smtp_server.h first.
 *
 *              greet
 *                │
 *                ▼    line                       354
 *   ┌────────► COMMAND ─────► handler ──► DATA? ─────► BODY ──"."──► END?
 *   │             │ ▲            │                                     │
 *   │             │ └────────────┤ no event, or answered               │
 *   │        BDAT │              ▼                                     │
 *   │             │           STARTTLS? ──220──► HANDSHAKE ──secured──┐│
 *   │             ▼                                                   ││
 *   │           CHUNK ──octets used──► reply, or END? if LAST         ││
 *   └─────────────────────────────────────────────────────────────────┴┘
 *
 * "?" is an event that waits for its answer (`waiting`): feed takes nothing.
 *
 * Invariants: 1. each command line gets exactly one reply, END under LMTP one a
 * recipient; a chunk is part of its BDAT command. 2. `recipients` > 0 only with
 * `has_mail`. 3. Octets of a body are never read as commands: BODY is left at
 * CRLF.CRLF alone, CHUNK when its count is used up, whatever was refused. */
#pragma once

#include "wire/smtp/dot_decode.h"
#include "wire/smtp/smtp_server.h"

enum {
        /* Spans of one transaction: 100 recipients with the longest parameters
         * fit (RFC 5321 section 4.5.3.1.8), and thousands of usual ones. */
        SMTP_SERVER_ARENA_MAX = 256 * 1024,
        /* Replies the client has not read; no command is taken above it. */
        SMTP_SERVER_OUTPUT_PAUSE = 4096,
        /* One reply a recipient under LMTP may stand in it at once. */
        SMTP_SERVER_OUTPUT_MAX = 1024 * 1024,
        SMTP_SERVER_REPLY_LINE_MAX = 512, /* with CRLF, RFC 5321 section 4.5.3.1.5 */
        SMTP_SERVER_REPLY_LINES_MAX = 32,
        SMTP_SERVER_AUTH_LINE_MAX = 12288 + 2, /* RFC 4954 section 4 */
        SMTP_SERVER_HELO_MAX = 255,
        SMTP_SERVER_IDLE_ROOM = 256, /* octets that a trimmed buffer may keep */
};

enum smtp_server_state {
        SMTP_STATE_COMMAND,
        SMTP_STATE_BODY,
        SMTP_STATE_CHUNK,
        SMTP_STATE_AUTH,      /* the next line answers a challenge */
        SMTP_STATE_HANDSHAKE, /* 220 was said to STARTTLS */
        SMTP_STATE_CLOSED,
};

/* BDAT: what a chunk's octets are for. */
enum smtp_chunk {
        SMTP_CHUNK_WANTED,
        SMTP_CHUNK_REFUSED, /* dropped; the reply is in chunk_code … */
};

struct smtp_server {
        struct smtp_server_options options;
        struct arena arena; /* spans of the transaction */
        struct buffer line; /* a command that the network cut */
        struct buffer output;
        char *helo_name;      /* accepted */
        char *helo_candidate; /* waits for its answer */
        char *shut_reply;
        struct dot_decoder decoder;
        uint64_t body_len;
        uint64_t chunk_left;
        enum smtp_server_state state;
        enum smtp_event_kind waiting; /* SMTP_EVENT_NONE: no answer is owed */
        unsigned errors, fruitless, messages;
        unsigned refusals; /* replies in all: never back to 0 */
        enum smtp_fault fault; /* that the role has not asked for */
        unsigned recipients, recipients_refused;
        unsigned answers;           /* of END under LMTP: how many were given */
        uint16_t chunk_code;        /* why a chunk is dropped */
        const char *chunk_enhanced; /* a literal, as chunk_text */
        const char *chunk_text;
        enum smtp_fault body_fault;
        enum smtp_body body;
        bool is_secured, is_authenticated;
        bool is_extended, candidate_is_extended;
        bool has_mail, smtputf8;
        bool is_chunked;       /* BDAT was used in this transaction */
        bool is_chunk_failed;  /* and refused: RSET is due */
        bool is_chunk_last, is_chunk_dropped;
        bool is_after_cr; /* the last octet of a chunk was a CR: an LF must follow */
        bool has_nul, has_bad_line_end; /* in the text; of DATA the decoder knows the latter */
        bool is_refusing;      /* greeted with 554 */
        bool is_line_long;     /* dropping octets up to the LF */
        bool is_reset_due, is_clear_due, is_shut_due;
        bool is_any_accepted;  /* of the answers to END */
        bool has_quit;
        bool is_broken;        /* no memory for a reply: nothing but CLOSE is left */
};

enum smtp_command_flag {
        SMTP_COMMAND_NEEDS_HELO = 1,
        SMTP_COMMAND_NEEDS_MAIL = 2,
        SMTP_COMMAND_NEEDS_NO_MAIL = 4, /* refused within a transaction */
        SMTP_COMMAND_NO_ARGUMENT = 8,
        SMTP_COMMAND_NOT_SMTP = 16, /* of the other dialect */
        SMTP_COMMAND_NOT_LMTP = 32,
        SMTP_COMMAND_FREE = 64, /* also after too many errors, and after greeting 554: QUIT */
};

/* A row of the registry. `run` gives the one reply, or sets `ev->kind` to an
 * event that waits for it. `argument` is what stands behind the verb, without
 * the blanks around it; it borrows from the line. */
struct smtp_command {
        struct span verb;
        unsigned flags; /* enum smtp_command_flag */
        unsigned offer; /* 502 unless this is offered; 0: always there */
        void (*run)(struct smtp_server *s, struct span argument, struct smtp_event *ev);
        const char *help; /* NULL: no topic */
};

/* smtp_server_commands.c */
extern const struct smtp_command smtp_server_commands[];
extern const size_t smtp_server_command_count;
const struct smtp_command *smtp_server_find_command(struct span verb);
/* Runs one line, its line end included. */
void smtp_server_run_line(struct smtp_server *s, struct span line, struct smtp_event *ev);
bool smtp_server_has_offer(const struct smtp_server *s, unsigned offer);

/* smtp_server_reply.c: queues one reply. say() counts nothing; refuse() counts
 * an error. text may come from anywhere. */
void smtp_server_say(struct smtp_server *s, unsigned code, const char *enhanced, const char *text);
void smtp_server_refuse(struct smtp_server *s, unsigned code, const char *enhanced,
                        const char *text);
/* As say(), of one text "552 5.3.4 Message too big". */
void smtp_server_say_error(struct smtp_server *s, const char *error);
/* As say(), and ends the session. */
void smtp_server_close(struct smtp_server *s, unsigned code, const char *enhanced,
                       const char *text);
/* The same two for a fault, of which the role may ask. */
void smtp_server_refuse_for(struct smtp_server *s, enum smtp_fault fault);
void smtp_server_close_for(struct smtp_server *s, enum smtp_fault fault);
/* A line of a greeting or of the answer to HELO, which have no enhanced code
 * (RFC 2034 section 3). */
void smtp_server_say_line(struct smtp_server *s, unsigned code, bool is_last, struct span text);
/* Lines of it that stand in this program as they are sent, with CRLF. */
void smtp_server_say_ready(struct smtp_server *s, struct span lines);

/* smtp_server.c */
void smtp_server_wait(struct smtp_server *s, struct smtp_event *ev, enum smtp_event_kind kind);
void smtp_server_count_success(struct smtp_server *s);
/* Ends the transaction; its spans live on until the next feed. */
void smtp_server_end_transaction(struct smtp_server *s);
/* The same, and the role is told by a RESET, if there was a transaction. */
void smtp_server_reset(struct smtp_server *s);

/* smtp_server_parameters.c */
struct smtp_parameter {
        struct span keyword, value;
        bool has_value;
};
/* Cuts "<path>" off the front of `*rest`, `*ret_path` without the brackets;
 * quoted strings may contain ">". False where there is none, or where neither
 * a blank nor the end follows. */
bool smtp_server_take_path(struct span *rest, struct span *ret_path);
/* The next of "SP keyword[=value]": 1, 0 at the end, -EINVAL. */
int smtp_server_take_parameter(struct span *rest, struct smtp_parameter *ret);
/* Handles one parameter: a row of a command's table. false: refused, and the
 * reply was given. */
struct smtp_parameter_row {
        struct span keyword;
        unsigned offer; /* 555 unless offered; 0: always there */
        bool (*take)(struct smtp_server *s, const struct smtp_parameter *p, struct smtp_event *ev);
};
/* Takes all parameters of `rest`: each at most once, unknown ones 555.
 * False: refused, and the reply was given. */
bool smtp_server_take_parameters(struct smtp_server *s, struct span rest,
                                 const struct smtp_parameter_row *rows, size_t row_count,
                                 struct smtp_event *ev);

/* smtp_server_delivery.c: parameters of MAIL about how it is to be delivered. */
#define SMTP_PARAMETER_FUNCTION(name)                                                              \
        bool smtp_server_take_##name(struct smtp_server *s, const struct smtp_parameter *p,        \
                                     struct smtp_event *ev)
SMTP_PARAMETER_FUNCTION(hold_for);
SMTP_PARAMETER_FUNCTION(hold_until);
SMTP_PARAMETER_FUNCTION(priority);
SMTP_PARAMETER_FUNCTION(requiretls);
SMTP_PARAMETER_FUNCTION(deliver_by);

/* smtp_server_data.c and smtp_server_bdat.c: message octets; return how many
 * were taken. */
size_t smtp_server_feed_body(struct smtp_server *s, struct span in, struct smtp_event *ev);
size_t smtp_server_feed_chunk(struct smtp_server *s, struct span in, struct smtp_event *ev);
/* A chunk whose octets were all read: its reply, or END. */
void smtp_server_finish_chunk(struct smtp_server *s, struct smtp_event *ev);
void smtp_server_answer_data(struct smtp_server *s, unsigned code, const char *enhanced,
                             const char *text);
void smtp_server_answer_chunk(struct smtp_server *s, unsigned code, const char *enhanced,
                              const char *text);
/* The text is whole: END, which says what is wrong with it. */
void smtp_server_end_body(struct smtp_server *s, struct smtp_event *ev);
/* Looks for a NUL, where the text must not have one: has_nul. */
void smtp_server_check_text(struct smtp_server *s, struct span text);
/* Counts body octets: false once the message is too large. */
bool smtp_server_count_body(struct smtp_server *s, size_t n);
/* There is a recipient, or the command was refused (503, 554). */
bool smtp_server_has_recipient(struct smtp_server *s);

/* The other commands: smtp_server_<verb>.c */
void smtp_server_answer_helo(struct smtp_server *s, unsigned code, const char *enhanced,
                             const char *text);
void smtp_server_auth_line(struct smtp_server *s, struct span line, struct smtp_event *ev);
void smtp_server_answer_auth(struct smtp_server *s, unsigned code, const char *enhanced,
                             const char *text);

#define SMTP_COMMAND_FUNCTION(name)                                                                \
        void smtp_server_##name(struct smtp_server *s, struct span argument, struct smtp_event *ev)
SMTP_COMMAND_FUNCTION(helo);
SMTP_COMMAND_FUNCTION(ehlo); /* LHLO too */
SMTP_COMMAND_FUNCTION(mail);
SMTP_COMMAND_FUNCTION(rcpt);
SMTP_COMMAND_FUNCTION(data);
SMTP_COMMAND_FUNCTION(bdat);
SMTP_COMMAND_FUNCTION(rset);
SMTP_COMMAND_FUNCTION(noop);
SMTP_COMMAND_FUNCTION(verb);
SMTP_COMMAND_FUNCTION(quit);
SMTP_COMMAND_FUNCTION(vrfy);
SMTP_COMMAND_FUNCTION(expn);
SMTP_COMMAND_FUNCTION(etrn);
SMTP_COMMAND_FUNCTION(xclient);
SMTP_COMMAND_FUNCTION(help);
SMTP_COMMAND_FUNCTION(starttls);
SMTP_COMMAND_FUNCTION(auth);
SMTP_COMMAND_FUNCTION(unimplemented);
