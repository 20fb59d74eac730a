/* What is said of a session in every message of it, formatted once: the beginning of our
 * trace field, and who came how for the decision record. */
#pragma once

#include "base/span.h"

struct edge_session;

struct edge_words {
        struct span trace; /* of trace_begin_received() */
        size_t trace_column;
        struct span host;    /* "192.0.2.1:2525" */
        struct span session; /* edge_record_describe_session() */
        const char *protocol; /* a literal; with another one they are others */
};

/* The session's own, until edge_words_forget() or the next call. NULL: no memory. */
const struct edge_words *edge_words_of(struct edge_session *s);

/* Who the client is, what it calls itself, its login or TLS are others from now on, or
 * their memory is wanted. */
void edge_words_forget(struct edge_session *s);
