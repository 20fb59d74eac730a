/* COMPRESS=DEFLATE (RFC 4978): both directions of one session as raw deflate (RFC 1951)
 * streams.
 *
 * Bounded: what comes is inflated piece by piece, and the next piece only once
 * the last one was used, so that a small input which swells costs time like any
 * other, and no memory. About 90 KiB a session that speaks, 50 KiB one that has
 * been trimmed. */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"

struct access_deflate;

/* NULL: no memory. */
struct access_deflate *access_deflate_new(void);
struct access_deflate *access_deflate_free(struct access_deflate *d); /* accepts NULL */

/* Inflates some of `in`, up to ACCESS_DEFLATE_PIECE octets, which
 * access_deflate_plain() then shows. Only once all it showed was used. Returns
 * how many octets of `in` were taken: 0 with nothing to show means that more
 * are needed. -EBADMSG: this is no deflate stream, or it has ended; -ENOMEM. */
enum { ACCESS_DEFLATE_PIECE = 16 * 1024 };
long access_deflate_read(struct access_deflate *d, struct span in);

/* What was inflated and not used; taking `used` octets off it. */
struct span access_deflate_plain(const struct access_deflate *d);
void access_deflate_used(struct access_deflate *d, size_t used);

/* Appends `plain` deflated, so that the client can read all of it at once. 0,
 * -ENOMEM, or as buffer_append(). */
int access_deflate_write(struct access_deflate *d, struct span plain, struct buffer *out);

/* Gives memory back between commands; the client does not notice. */
void access_deflate_trim(struct access_deflate *d);
