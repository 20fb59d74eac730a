/* What IMAP clients ask of a message most: its envelope, its structure and the
 * beginning of its text, made once and kept beside it.
 *
 * The first three are stored as they go over the wire (RFC 9051 section 7.5.2):
 * strings in ASCII quoted, all others as literals, which every client reads. */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"

struct digest {
        struct span envelope;      /* "(date subject …)" */
        struct span body;          /* BODY: without extension data */
        struct span bodystructure;
        struct span preview;       /* RFC 8970: UTF-8, at most DIGEST_PREVIEW_MAX characters;
                                    * p NULL: there is no text */
};

enum { DIGEST_PREVIEW_MAX = 200, DIGEST_DEPTH_MAX = 50 };

/* Appends the digest of a whole message; memory that is only needed meanwhile
 * comes from the arena. 0; -ENOMEM; as buffer_append(). */
int digest_build(struct span message, struct arena *arena, struct buffer *out);

/* Reads what digest_build() wrote; borrows. 0; -EBADMSG: it is none, or of
 * another version. */
int digest_open(struct span octets, struct digest *ret);

/* Only the envelope, of a header. */
int digest_envelope(struct span header, struct arena *arena, struct buffer *out);
