/* Masquerading: sender addresses shown under another domain, as sendmail does
 * it (masquerade { } and the genericstable). Pure.
 *
 * An address of ours is looked up in the genericstable; if it is not there, and
 * its local part is not exposed, its domain gives way to masquerade.as. Whose
 * mail is treated so is the caller's to say: only what our own users and
 * networks send, since the headers of others are theirs. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "config/config.h"
#include "config/snapshot.h"

/* Is there anything to do at all? `s` may be NULL. */
bool masquerade_is_on(const struct config *c, const struct snapshot *s);

struct masqueraded {
        struct span address; /* in the arena */
        struct span origin;  /* "genericstable:3", "hayauma.conf:9" */
};

/* What the address becomes: 1; 0: it stays; -ENOMEM. One without a domain is
 * given ours where masquerade.always_add_domain says so. */
int masquerade_address(const struct config *c, const struct snapshot *s, struct span address,
                       struct arena *arena, struct masqueraded *ret);

/* The header fields of senders (From, Sender, Reply-To, Errors-To,
 * Return-Receipt-To, Disposition-Notification-To, and Resent- forms) with their
 * addresses rewritten; display names, comments and folds stay as they are, and
 * so does whatever is no address. `header` ends before the empty line. 1: all
 * of it was appended to `out`, with the number of addresses changed; 0: nothing
 * changes; -ENOMEM, -EMSGSIZE. */
int masquerade_header(const struct config *c, const struct snapshot *s, struct span header,
                      struct buffer *out, unsigned *ret_changed);
