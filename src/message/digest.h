/* What IMAP clients ask of a message most: its envelope, its structure and the
 * beginning of its text, made once and kept beside it.
 *
 * Fields of the envelope and the structure are stored as they go over the wire
 * (RFC 9051 section 7.5.2): strings in ASCII quoted, all others as literals, which
 * every client reads. Texts that are searched are stored decoded.
 *
 * A digest that lies beside a stored message is made when the message arrives
 * (digest_make_stored) and sealed with its id. Whoever reads one that another
 * process wrote calls digest_check() first: what goes over the wire as it stands
 * must not shift what follows it. The octets:
 *
 *   "HyD2", checksum (8), a length (1 to 5) for each section, the sections
 *
 * A length is 7 bits an octet, the low ones first, the high bit for "more". A
 * section without octets is not there: for the envelope that is NIL, for Sender
 * and Reply-To "as From". */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"

struct header_summary;

/* In the order of the envelope. */
enum digest_field {
        DIGEST_DATE,
        DIGEST_SUBJECT,
        DIGEST_FROM,
        DIGEST_SENDER,
        DIGEST_REPLY_TO,
        DIGEST_TO,
        DIGEST_CC,
        DIGEST_BCC,
        DIGEST_IN_REPLY_TO,
        DIGEST_MESSAGE_ID,
        DIGEST_FIELDS,
};

/* Texts as UTF-8; all fields of that name, a NUL between two. A NUL alone: they are there, and
 * empty. */
enum digest_text {
        DIGEST_TEXT_SUBJECT,
        DIGEST_TEXT_FROM,
        DIGEST_TEXT_TO,
        DIGEST_TEXT_CC,
        DIGEST_TEXT_BCC,
        DIGEST_TEXTS,
};

struct digest {
        struct span fields[DIGEST_FIELDS];
        struct span texts[DIGEST_TEXTS]; /* the subject's only where it is encoded */
        struct span references; /* the field, unfolded */
        struct span structure;  /* BODYSTRUCTURE; empty: not made */
        struct span extensions; /* lengths: where what BODY leaves out lies in it */
        struct span preview;    /* RFC 8970: UTF-8, at most DIGEST_PREVIEW_MAX characters;
                                 * p NULL: not made, see `has_preview` */
        bool has_preview;       /* looked for; none where there is no text */
};

enum {
        DIGEST_HEAD = 4 + 8, /* octets in front of those that the checksum is of */
        DIGEST_PREVIEW_MAX = 200,
        DIGEST_DEPTH_MAX = 50,
        DIGEST_STORED_MAX = 32 * 1024,       /* octets of one that is stored */
        DIGEST_STORED_DEPTH_MAX = 10,        /* of messages that get one at arrival: bounds */
        DIGEST_STORED_PARTS_MAX = 200,       /* what they cost there */
        DIGEST_STORED_MEMORY = 1024 * 1024,  /* an arena that suffices to make one */
};

/* Appends the digest of a whole message; memory that is only needed meanwhile
 * comes from the arena. 0; -ENOMEM; as buffer_append(). */
int digest_make(struct span message, struct arena *arena, struct buffer *out);

/* Appends what lies beside the message `id` from now on: all but the preview. `header`: what
 * header_summarize() found in its header, within the standard limits, or in the part of it behind
 * fields of ours that no digest has; NULL: nobody looked. As digest_make(), and -E2BIG: there
 * shall be none, the message is deep, has very many parts or fields longer than
 * DIGEST_STORED_MAX. On failure nothing was appended. */
int digest_make_stored(struct span message, uint64_t id, const struct header_summary *header,
                       struct arena *arena, struct buffer *out);

/* A copy of a digest of another id, as it lies beside the message `id`: its first octets, which
 * the rest follows. False: those octets are none. */
bool digest_seal(struct span octets, uint64_t id, char ret_head[DIGEST_HEAD]);

/* Appends one of a header alone: fields, texts and references, no structure. As
 * digest_make(). */
int digest_make_fields(struct span header, struct arena *arena, struct buffer *out);

/* Reads what was made here; borrows. 0; -EBADMSG: it is none, or of another version. */
int digest_open(struct span octets, struct digest *ret);

/* Whether the octets are what digest_make_stored() makes of some message of that id:
 * its checksum, and that every part is one well-formed value of IMAP. 0, -EBADMSG, -ENOMEM. */
int digest_check(struct span octets, uint64_t id);

/* Append "(date subject …)", and BODYSTRUCTURE, or BODY without extension data. 0, or as
 * buffer_append(). */
int digest_put_envelope(const struct digest *d, struct buffer *out);
int digest_put_structure(const struct digest *d, bool with_extension, struct buffer *out);

/* The text of a field as people read it, empty where the field is; p NULL: there is none, or
 * no memory. Lives in the arena, or as long as the digest. */
struct span digest_text(const struct digest *d, enum digest_text text, struct arena *arena);

/* The first address of a field, as address_list.h has it (p NULL: none); of a group its
 * name is in `*ret_local`, and nothing else. False: there is none, or no memory. */
bool digest_first_address(const struct digest *d, enum digest_field field, struct arena *arena,
                          struct span *ret_name, struct span *ret_local, struct span *ret_domain);

/* Takes one string, or NIL, off `*wire`. Its octets live in the arena, or where the wire's do;
 * p NULL: NIL. False: there is none, or no memory. */
bool digest_take_string(struct span *wire, struct arena *arena, struct span *ret);
