/* Does the next hop know this recipient? Asked of it through the relay
 * processes, and remembered: docs of the options probe.*. */
#pragma once

#include <stdbool.h>

#include "base/list.h"
#include "base/span.h"
#include "base/table.h"
#include "ipc/channel.h"

struct edge;
struct edge_session;
struct edge_probe_question;

enum edge_probe_state {
        EDGE_PROBE_NEW,     /* never answered */
        EDGE_PROBE_KNOWN,   /* the next hop takes it */
        EDGE_PROBE_UNKNOWN, /* it refuses it for good */
        EDGE_PROBE_UNSURE,  /* it could not be asked, or said to come later */
};

enum { EDGE_RELAYS_MAX = 64, EDGE_PROBE_TEXT_MAX = 300 };

/* What was learned of one recipient at one next hop. */
struct edge_probe_entry {
        struct table_node by_key;
        struct list_node node; /* the most lately used last */
        struct list_node waiting; /* struct edge_probe_question */
        struct edge_probe *probe;
        struct timer *timer;      /* while it is asked */
        struct table_node by_number;
        uint64_t number;          /* 0: not asked now */
        uint64_t until_ms;        /* good for so long */
        enum edge_probe_state state;
        enum edge_probe_state latest; /* of the last question: UNSURE while it is away */
        uint16_t code;
        char enhanced[16];
        char text[EDGE_PROBE_TEXT_MAX]; /* "mx.example.jp [192.0.2.1]:25 said: No such user" */
        size_t hop_len, rcpt_len;
        char key[]; /* next hop, recipient */
};

/* Of the process. */
struct edge_probe {
        struct edge *edge;
        struct channel *relays[EDGE_RELAYS_MAX];
        unsigned relay_count; /* one above the highest there is */
        struct table by_key, by_number;
        struct list_node used; /* entries */
        uint64_t number_last;
        uint64_t asked, unanswered; /* since the start */
};

void edge_probe_init(struct edge_probe *p, struct edge *e);
void edge_probe_done(struct edge_probe *p);
void edge_probe_peer(struct edge_probe *p, unsigned number, int fd);

/* What is known now of the recipient behind the next hop. NULL: nothing yet, and
 * it is asked: edge_checks_probed() is called, later, with `*ret_question` gone;
 * or, with that NULL too, it cannot be asked. */
const struct edge_probe_entry *edge_probe_ask(struct edge_probe *p, struct edge_session *s,
                                              struct span next_hop, struct span rcpt_to,
                                              struct edge_probe_question **ret_question);

/* What was learned, however long ago; NULL: nothing. */
const struct edge_probe_entry *edge_probe_find(struct edge_probe *p, struct span next_hop,
                                               struct span rcpt_to);

/* Rows of `hayauma status`: each edge asks and remembers for itself. */
void edge_probe_status(const struct edge_probe *p, struct buffer *items, struct ipc_items *ret);

/* Accepts NULL. */
struct edge_probe_question *edge_probe_cancel(struct edge_probe_question *q);
