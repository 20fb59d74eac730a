/* Who ran into a limit lately, for `hayauma status`; and limits of what one
 * client or one envelope sender may send in a minute. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "ipc/message.h"
#include "policy/verdict.h"

struct edge_session;

enum { EDGE_LIMITED_MAX = 64, EDGE_LIMITED_KEPT_S = 600 };

/* The latest peers; the one longest ago gives way. */
struct edge_limited {
        struct edge_limited_peer {
                char who[256], rule[64], origin[128];
                uint64_t count, last_us;
        } peers[EDGE_LIMITED_MAX];
};

/* Notes a refusal by a limit. */
void edge_limited_add(struct edge_limited *l, struct span who, const struct verdict *v);

/* The same, of a session that is no trial; nothing where `v` refuses nothing. */
void edge_limited_note(struct edge_session *s, struct span who, const struct verdict *v);

/* One message more of this sender; one recipient more of the client and of the
 * sender. What speaks against it, noted. */
struct verdict edge_limited_mail(struct edge_session *s, struct span mail_from);
struct verdict edge_limited_rcpt(struct edge_session *s, struct span mail_from);

/* Those of the last ten minutes. */
void edge_limited_status(const struct edge_limited *l, struct buffer *items,
                         struct ipc_items *ret);
