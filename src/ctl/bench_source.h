/* What the files of `hayauma bench source` share: the run, and its slots, each
 * of which has one connection after another. */
#pragma once

#include "ctl/bench.h"
#include "net/endpoint.h"
#include "net/stream.h"
#include "wire/smtp/smtp_reply.h"

enum { BENCH_TALLIES_MAX = 64 };

struct source;

enum slot_state {
        SLOT_WAITING, /* to connect again */
        SLOT_CONNECTING,
        SLOT_GREETING,
        SLOT_HELLO,
        SLOT_STARTTLS,
        SLOT_ENVELOPE, /* replies to MAIL, RCPT, DATA */
        SLOT_DOT,      /* replies to the message */
        SLOT_RSET,
        SLOT_QUIT,
        SLOT_ENDED,
};

struct slot {
        struct source *source;
        struct stream *stream;
        struct timer *again;
        enum slot_state state;
        bool is_pipelining, is_secure;
        unsigned failures;  /* to connect, in a row */
        uint64_t sent_here; /* messages on this connection */
        uint64_t number;    /* of the message under way */
        struct buffer envelope;
        size_t envelope_sent;
        unsigned replied, dots; /* replies had */
        unsigned accepted, taken;
        bool is_refused;
        uint64_t *rcpt_users; /* who, of each recipient; UINT64_MAX: refused */
        uint64_t mail_us, dot_us;
        struct smtp_reply_parser parser;
};

struct source {
        /* options */
        struct endpoint to;
        bool is_lmtp, is_json, is_starttls;
        struct tls_context *tls; /* NULL: none */
        const char *mail_from, *domain;
        unsigned connection_count, rcpts;
        uint64_t per_connection, messages_max, run_ms, size, users;
        uint64_t domains; /* 0: `domain` itself, else d0.DOMAIN and on, in turn */

        struct loop *loop;
        struct timer *late;
        struct bench_record record;
        struct buffer message; /* with its final dot */
        size_t id_at, message_id_at;
        uint32_t run; /* the first half of every id */
        struct slot *slots;
        unsigned active;
        bool is_ending;

        uint64_t begun, taken, taken_rcpts, next_user, connections_made, errors;
        uint64_t first_us, last_us;
        struct bench_histogram reply_times, transaction_times;
        struct {
                char key[32], text[201];
                uint64_t count;
        } tallies[BENCH_TALLIES_MAX];
        size_t tally_count;
};

void bench_source_error(struct source *v, const char *what, unsigned code, struct span text);
bool bench_source_may_begin(const struct source *v);
void bench_source_slot_ended(struct source *v);

/* 0 or -ENOMEM. */
int bench_slot_start(struct slot *s, struct source *v);
/* Ends it if it waits to connect again. */
void bench_slot_end_waiting(struct slot *s);
void bench_slot_done(struct slot *s);
