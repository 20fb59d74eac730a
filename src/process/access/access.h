/* What the files of the access process share: one struct of the whole process.
 *
 *   edge ──handover──► access_session ──events──► access_imap, access_pop3
 *                            │                         │ orders
 *                            ▼                         ▼
 *                       access_view ◄──changes── access_keeper ◄──► keeper */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/id.h"
#include "base/list.h"
#include "base/table.h"
#include "process/access/access_digest.h"
#include "process/access/access_keeper.h"
#include "process/access/access_segment.h"
#include "process/process.h"

enum {
        ACCESS_EDGES_MAX = 64,
        ACCESS_SESSIONS_MAX = 200000,
        ACCESS_SESSIONS_OF_ACCOUNT_MAX = 1000,
        ACCESS_DROP_SLOTS = 8192,
};

struct access_edge {
        struct access *access;
        struct channel *channel;
        unsigned number;
};

/* An account with a session or a view. */
struct access_account {
        struct table_node by_name;
        struct access *access;
        struct list_node views;
        size_t session_count, view_count;
        uint64_t quota;      /* octets its mailboxes may hold, as of the last login; 0: no limit */
        bool is_drop_locked; /* one POP3 session has its INBOX (RFC 1939 section 4) */
        size_t name_len;
        char name[];
};

struct access_counters {
        uint64_t handed_over, refused, bodies, bodies_read, body_octets, digests, view_changes,
                views_lost;
};

struct access {
        struct process *process;
        struct id_maker ids;
        struct access_edge edges[ACCESS_EDGES_MAX];
        struct access_keeper keeper;
        struct table accounts;
        struct list_node sessions, warm;
        size_t session_count, compressed_count;
        struct timer *cooling;
        struct table views;         /* by number */
        struct list_node idle_views; /* without a session, oldest first */
        size_t idle_view_count, idle_messages;
        uint64_t last_view;
        size_t body_bytes;          /* of bodies in memory */
        struct access_digests digests;
        struct access_segments segments;
        bool is_stopping;
        struct timer *drain;
        struct {
                uint64_t account; /* its hash */
                uint64_t at_ms;
        } drops_opened[ACCESS_DROP_SLOTS]; /* by POP3, the last time; lossy */
        struct access_counters counters;
};

/* The account of this name, made where it is not there; NULL: no memory. It
 * goes away by itself when nothing is left in it. */
struct access_account *access_account_get(struct access *a, struct span name);
void access_account_settle(struct access_account *account);
struct span access_account_name(const struct access_account *account);

/* A session ended: the process ends with the last one when it is stopping. */
void access_session_ended(struct access *a);
