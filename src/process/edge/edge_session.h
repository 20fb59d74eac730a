/* One connection: a stream, the SMTP engine, and at most one transaction.
 *
 * A session takes no input while it is held for any reason (enum edge_hold);
 * octets then stay with the stream, and beyond its limit with the client. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "net/stream.h"
#include "process/edge/edge_checks.h"
#include "process/edge/edge_login.h"
#include "process/edge/edge_listener.h"
#include "wire/smtp/smtp_server.h"

struct edge;
struct edge_transaction;

enum edge_hold {
        EDGE_HOLD_ANSWER = 1, /* an answer is owed that comes later */
        EDGE_HOLD_FILE = 2,   /* a file is being borrowed */
        EDGE_HOLD_CREDIT = 4, /* the keeper has enough to do */
        EDGE_HOLD_OUTPUT = 8, /* the client does not read */
        EDGE_HOLD_PLACE = 16, /* its message waits to come in: edge_admission.h */
};

/* Who is at the other end. */
struct edge_client {
        unsigned char address[16]; /* IPv4 mapped; zeros for a local socket */
        uint16_t port;
        bool is_unix;
        bool is_local_user; /* on the submission socket: uid is set */
        bool may_try;       /* the same, and may control us: see edge_trial.h */
        uid_t uid;
        char text[56]; /* "[192.0.2.1]", "[IPv6:2001:db8::1]", "local" */
};

struct edge_session {
        struct list_node node, starved, warm;
        uint64_t active_at_ms;
        struct edge *edge;
        struct edge_listener *listener;
        struct stream *stream;
        struct smtp_server *server;
        struct edge_transaction *transaction; /* NULL outside one */
        unsigned holds; /* enum edge_hold */
        bool is_ending; /* no more input is read */
        bool has_data_timeout;
        bool is_counted;      /* among all connections of all edges */
        bool is_greeting_due; /* edge_guard.h, as the next seven */
        bool is_securing, is_in_data, is_too_old;
        uint64_t opened_at_ms, progress_at_ms, window_octets;
        unsigned refusals_counted;
        uint64_t meter_key; /* 0: not counted */
        struct edge_client client;
        unsigned char peer_address[16]; /* of the connection itself */
        struct edge_login login;
        struct edge_checks checks;
        uint32_t messages;
        bool is_trial;       /* edge_trial.h */
        struct buffer trial; /* the records that would have been kept */
        struct edge_words *words; /* edge_words.h; or NULL */
        char *helo_name;   /* own copy, or NULL */
        char *client_name; /* the same; told by a front end */
        char hostname[]; /* ours when it began: the engine refers to it */
};

/* A new connection, counted under `meter_key`. Takes `fd` over, also on failure. */
void edge_session_new(struct edge_listener *l, int fd, const struct edge_client *client,
                      uint64_t meter_key);

/* Ends at once, without a word. */
void edge_session_free(struct edge_session *s);

/* Says 421 at the next boundary between commands. */
void edge_session_shut(struct edge_session *s);

/* Answers the event that waits; `text` as in printf(), one line. */
void edge_session_reply(struct edge_session *s, unsigned code, struct span enhanced,
                        const char *text, ...) __attribute__((format(printf, 4, 5)));

/* The same for words that are always the same. */
void edge_session_say(struct edge_session *s, unsigned code, const char *enhanced,
                      const char *text);

/* Releasing may end the session, when the process is stopping: it is the last
 * thing to do with it. */
void edge_session_hold(struct edge_session *s, enum edge_hold hold);
void edge_session_release(struct edge_session *s, enum edge_hold hold);

/* The answer that was held for was given: sends it and goes on. May end the
 * session. */
void edge_session_answered(struct edge_session *s, enum edge_hold hold);

/* Sends what was said so far, though the session is held. May end it. */
void edge_session_speak(struct edge_session *s);

/* Takes the memory of the last message from sessions that have become silent. */
void edge_session_cool(struct edge *e);

/* Says the greeting. */
void edge_session_greet(struct edge_session *s);

/* Sets the idle timeout for message text, or back for commands. */
void edge_session_expect_data(struct edge_session *s, bool is_data);

/* Submission: only those who have logged in may send. */
bool edge_session_needs_login(const struct edge_session *s);
