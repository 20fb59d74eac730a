/* The inside of the POP3 server engine: what its files share, and nobody else
 * includes. Read pop3_server.h first.
 *
 *   AUTHORIZATION ──LOGIN?, OPEN?──► TRANSACTION ──QUIT: UPDATE?──► closed
 *
 * "?" is an event that waits for its answer. Invariants: 1. each command line gets
 * exactly one status line. 2. A message that is being sent (`copy`) is sent to its
 * final dot before anything else. 3. Nothing is deleted without QUIT. */
#pragma once

#include "wire/pop3/pop3_server.h"

enum {
        POP3_SERVER_LINE_MAX = 512,            /* RFC 2449 section 4: 255 with CRLF; UTF8 longer */
        POP3_SERVER_AUTH_LINE_MAX = 12288 + 2, /* RFC 5034 section 4 */
        POP3_SERVER_OUTPUT_PAUSE = 64 * 1024,
        POP3_SERVER_OUTPUT_MAX = 64 * 1024 * 1024,
        POP3_SERVER_TEXT_MAX = 400,
        POP3_SERVER_BAD_LOGINS_MAX = 20,
        POP3_SERVER_NAME_MAX = 512,
        POP3_SERVER_IDLE_ROOM = 256,
};

enum pop3_state {
        POP3_STATE_AUTHORIZATION = 1,
        POP3_STATE_TRANSACTION = 2,
        POP3_STATE_ANY = 3,
};

enum pop3_reading {
        POP3_READING_LINE,
        POP3_READING_RESPONSE, /* AUTH: the next line answers a challenge */
        POP3_READING_HANDSHAKE,
        POP3_READING_CLOSED,
};

struct pop3_server {
        struct pop3_server_options options;
        enum pop3_state state;
        enum pop3_reading reading;
        struct buffer line, output;
        enum pop3_event_kind waiting;
        bool is_open_due;
        char *login_name; /* USER was given */
        struct pop3_message *messages;
        bool *is_deleted;
        uint32_t *deleted; /* given with UPDATE */
        size_t count;
        uint32_t uid_validity;

        struct span copy;    /* of a message, still to be sent */
        uint64_t lines_left; /* TOP: of its body; UINT64_MAX: all */
        bool in_copy, in_header, is_line_start;

        unsigned errors, bad_logins;
        char *shut_text;
        bool is_secured, is_resumed, is_utf8, is_shut_due, is_broken, is_line_long;
        bool is_line_spent; /* the line was run: an event may still borrow from it */
};

struct pop3_command {
        struct span verb;
        unsigned states; /* enum pop3_state */
        void (*run)(struct pop3_server *s, struct span argument, struct pop3_event *ev);
};

#define POP3_COMMAND_FUNCTION(name)                                                                \
        void pop3_server_##name(struct pop3_server *s __attribute__((unused)),                     \
                                struct span argument __attribute__((unused)),                      \
                                struct pop3_event *ev __attribute__((unused)))

void pop3_server_wait(struct pop3_server *s, struct pop3_event *ev, enum pop3_event_kind kind);

/* pop3_server_reply.c: one status line. `code` NULL: none. */
void pop3_server_put(struct pop3_server *s, struct span text);
void pop3_server_put_number(struct pop3_server *s, uint64_t n);
void pop3_server_ok(struct pop3_server *s, const char *text);
void pop3_server_err(struct pop3_server *s, const char *code, const char *text);
/* Sends of `copy` what fits, with dots stuffed; ends it with the final dot. */
void pop3_server_send(struct pop3_server *s);

/* Answers. */
void pop3_server_answered_login(struct pop3_server *s, const struct pop3_answer *a);
void pop3_server_answered_open(struct pop3_server *s, const struct pop3_answer *a);
void pop3_server_answered_body(struct pop3_server *s, const struct pop3_answer *a);
void pop3_server_response(struct pop3_server *s, struct span line, struct pop3_event *ev);

POP3_COMMAND_FUNCTION(apop);
POP3_COMMAND_FUNCTION(auth);
POP3_COMMAND_FUNCTION(capa);
POP3_COMMAND_FUNCTION(dele);
POP3_COMMAND_FUNCTION(lang);
POP3_COMMAND_FUNCTION(list);
POP3_COMMAND_FUNCTION(noop);
POP3_COMMAND_FUNCTION(pass);
POP3_COMMAND_FUNCTION(quit);
POP3_COMMAND_FUNCTION(retr);
POP3_COMMAND_FUNCTION(rset);
POP3_COMMAND_FUNCTION(stat);
POP3_COMMAND_FUNCTION(stls);
POP3_COMMAND_FUNCTION(top);
POP3_COMMAND_FUNCTION(uidl);
POP3_COMMAND_FUNCTION(user);
POP3_COMMAND_FUNCTION(utf8);
