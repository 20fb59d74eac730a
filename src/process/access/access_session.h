/* One client: its stream, the engine of its protocol, and the one order to the
 * keeper that its command waits for.
 *
 * Input flows while nothing holds it; an engine that waits for an answer takes
 * no octets, so what is pipelined stays here or with the client. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "config/config.h"
#include "ipc/message.h"
#include "net/stream.h"

struct access;
struct access_account;
struct access_body;
struct access_deflate;
struct access_order;
struct access_session;

/* What a protocol is for its session. */
struct access_protocol {
        /* Feeds the engine until it needs more; returns the octets used. */
        size_t (*pump)(struct access_session *s, struct span in);
        struct buffer *(*output)(struct access_session *s);
        void (*shut)(struct access_session *s, const char *text);
        void (*trim)(struct access_session *s);
        void (*free)(struct access_session *s);
        uint64_t idle_timeout_ms;
};

struct access_session {
        struct list_node node, warm, starved;
        uint64_t active_at_ms;
        struct access *access;
        struct access_account *account;
        struct stream *stream;
        const struct access_protocol *protocol;
        void *state;         /* the protocol's */
        struct buffer early; /* octets not yet fed */
        struct access_deflate *deflate, *deflate_due; /* NULL: not compressed */
        struct access_order *order;
        struct access_body *body; /* what `order` reads, if that is what it does */
        bool is_ending;      /* no more input is read */
        bool is_held;        /* the client does not read */
        bool is_pumping, is_again; /* pump once more: what waited has come */
        bool is_dead;        /* to be freed when the pump returns */
        struct span hostname; /* own copy, behind `client` */
        char client[72];      /* "[192.0.2.1]:4711" */
        char hostname_octets[];
};

/* Takes `*fd` over by setting it to -1. */
void access_session_new(struct access *a, const struct ipc_handover *m, int *fd);
void access_session_free(struct access_session *s);

/* Something has come that the engine may have waited for: goes on. May end the
 * session, later in this round at the latest. */
void access_session_fed(struct access_session *s);

/* The engine has said its last word: sends it and closes. */
void access_session_end(struct access_session *s);

/* Says so at the next boundary between commands. */
void access_session_shut(struct access_session *s, const char *text);

/* From the next flush on both directions are deflated (RFC 4978 section 3: the
 * tagged OK goes out as it is). 0, -ENOMEM, or -EDQUOT: too many sessions are.
 * The caller flushes, then feeds no more: pump() returns and is called anew. */
int access_session_compress(struct access_session *s);

/* What the engine has said goes to the stream. False: feed no more now, either
 * because the client does not read or because it is gone. */
bool access_session_flush(struct access_session *s);

/* Takes memory back from sessions that have become silent. */
void access_session_cool(struct access *a);

extern const struct access_protocol access_imap, access_pop3;
/* 0 or -ENOMEM. */
int access_imap_begin(struct access_session *s, const struct ipc_handover *m);
int access_pop3_begin(struct access_session *s, const struct ipc_handover *m);
