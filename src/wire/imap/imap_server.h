/* The IMAP server protocol engine: RFC 9051 (IMAP4rev2), RFC 3501 (IMAP4rev1)
 * and the extensions of imap_capability.c.
 *
 * Pure: octets go in, events come out; the role decides, asks the store, and
 * answers in one struct; the engine formats. No I/O and no policy; the time is
 * asked of base/clock.h for the search keys that need today's.
 *
 *         ┌── feed ──► events ──► role ──► imap_server_answer() ──► output
 *
 * Loop of a role:
 *
 *     used = imap_server_feed(s, in, &event);
 *
 * takes octets until something happened. IMAP_EVENT_NONE: all octets are used
 * and more are needed. An event that wants an answer (marked "answer") stops
 * the engine: feeding takes no octets and gives IMAP_EVENT_WAIT until
 * imap_server_answer(). Answers may come later, and from within the loop;
 * pipelined commands stay with the role, unread. After an answer, and after
 * imap_server_set_view(), feed again, with no octets if there are none. The
 * loop ends at NONE, WAIT, FLUSH (feed again once `output` is empty) or CLOSE.
 *
 * Two parts. *Before login* (process/edge) an engine made with imap_server_new()
 * and imap_server_greet() knows CAPABILITY, STARTTLS, LOGIN, AUTHENTICATE, ID,
 * NOOP, LOGOUT. When a LOGIN or AUTHENTICATE event succeeds, the role asks
 * imap_server_tag() and gives it, with the octets not yet fed, to the process
 * that serves the account; it answers nothing and frees its engine. *There*
 * imap_server_resume() makes the engine go on: it sends the tagged OK. A role
 * that does both answers the event with IMAP_OK and goes on with one engine.
 *
 * A mailbox is an imap_view (imap_view.h), immutable and shared. The engine
 * holds the view its client knows, and one that is newer, if the role gave one:
 * at the next place where the protocol allows it, the engine finds the
 * differences and tells them (EXISTS, EXPUNGE or VANISHED, FETCH FLAGS). The
 * role never formats a change. It gives the newest view *before* it answers
 * STORE, EXPUNGE, MOVE and APPEND or COPY into the selected mailbox.
 *
 * What a peer can spend is bounded by the constants in imap_server_engine.h:
 * octets a line and a command with its literals, ranges, keys, their nesting,
 * items, replies not yet read (FLUSH), errors, memory of a command. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "wire/imap/imap_view.h"

enum imap_offer {
        IMAP_OFFER_STARTTLS = 1,
        IMAP_OFFER_LOGIN = 2,    /* without it LOGIN is refused, and LOGINDISABLED said */
        IMAP_OFFER_COMPRESS = 4, /* RFC 4978; the role answers IMAP_EVENT_COMPRESS */
        IMAP_OFFER_QUOTA = 8,    /* RFC 9208 */
};

struct imap_server_options {
        unsigned offers;             /* enum imap_offer */
        struct span hostname;        /* in the greeting; outlives the engine */
        struct span auth_mechanisms; /* "PLAIN SCRAM-SHA-256"; empty: AUTHENTICATE is refused;
                                      * outlives the engine */
        uint64_t append_max;         /* APPENDLIMIT: octets of one message; 0: no limit */
        unsigned errors_max;         /* BAD and failed logins in a row before BYE; 0: no limit */
};

enum imap_event_kind {
        IMAP_EVENT_NONE,  /* more octets are needed */
        IMAP_EVENT_WAIT,  /* the answer to the last event is still owed */
        IMAP_EVENT_FLUSH, /* feed again once `output` is empty; no answer */
        IMAP_EVENT_CLOSE, /* send the output and close */

        /* Before login. */
        IMAP_EVENT_STARTTLS,     /* answer OK: then, after output is sent, drop every octet already
                                  * read, start TLS, and begin with a new engine: what was
                                  * said before is forgotten */
        IMAP_EVENT_LOGIN,        /* answer, or hand over. `login_name`, `password` */
        IMAP_EVENT_AUTHENTICATE, /* answer CONTINUE with the challenge in base64 as `text`, or as
                                  * LOGIN. `mechanism` as offered; `octets`: the initial response
                                  * in base64 ("=": empty), p NULL: none was given */
        IMAP_EVENT_AUTHENTICATE_LINE,   /* as AUTHENTICATE. `octets`: the response in base64 */
        IMAP_EVENT_AUTHENTICATE_CANCEL, /* "*" was sent, and answered with BAD; no answer */
        IMAP_EVENT_ID,           /* what the client calls itself, for the log: `octets`, "name
                                  * version" cleaned of controls; no answer */

        /* Mailboxes, by name: UTF-8, "/" between levels, INBOX in capitals. All want an answer. */
        IMAP_EVENT_LIST,         /* answer with all `mailboxes`, those that are only subscribed to
                                  * with them. `wants_status`: their numbers are needed */
        IMAP_EVENT_STATUS,       /* answer with the one mailbox `mailbox`, numbers filled in */
        IMAP_EVENT_CREATE,       /* `mailbox`, `special_use`. The answer may carry `mailbox_id` */
        IMAP_EVENT_DELETE,
        IMAP_EVENT_RENAME,       /* `mailbox`, `new_name` */
        IMAP_EVENT_SUBSCRIBE,
        IMAP_EVENT_UNSUBSCRIBE,
        IMAP_EVENT_QUOTA,        /* answer with `quota`. `mailbox` is empty for GETQUOTA */

        IMAP_EVENT_SELECT,       /* answer OK with `view`. `mailbox`, `is_read_only`. From now on
                                  * the role calls imap_server_set_view() for each change */
        IMAP_EVENT_DESELECT,     /* the mailbox is closed: no more set_view(); no answer */

        /* Messages of the selected mailbox; `uids` are those it concerns, never none. */
        IMAP_EVENT_STORE,  /* `store`. The answer's `uids`: those not changed because of
                            * `unchanged_since` */
        IMAP_EVENT_COPY,   /* to `mailbox`. The answer: `uid_validity`, `source_uids` and `uids`,
                            * the copies in the same order; NO with code "TRYCREATE" where
                            * there is no such mailbox. All or none (RFC 9051 section 6.4.7) */
        IMAP_EVENT_MOVE,   /* the same, and they are gone from here */
        IMAP_EVENT_EXPUNGE, /* these, as far as they still have \Deleted */

        /* The text of one message, `message`; `need`. Answer OK with `octets`: the digest, or what
         * was asked for, or more; NO: it is gone or cannot be read. The octets stay as they are
         * until the engine gives an event other than FLUSH, or is freed. */
        IMAP_EVENT_BODY,

        /* APPEND: for each message APPEND, then APPEND_OCTETS; at last APPEND_END. */
        IMAP_EVENT_APPEND,        /* answer OK to take it, or refuse: NO. `mailbox`, `append` */
        IMAP_EVENT_APPEND_OCTETS, /* `octets`; no answer */
        IMAP_EVENT_APPEND_END,    /* answer: all messages are whole, and are stored all or none. The
                                   * answer: `uid_validity`, `uids` */
        IMAP_EVENT_APPEND_ABORT,  /* they must be forgotten; no answer */

        IMAP_EVENT_IDLE,     /* the client waits for changes from now on; no answer */
        IMAP_EVENT_IDLE_END, /* no answer */
        IMAP_EVENT_COMPRESS, /* answer OK: after `output` is sent, both directions are deflated */
};

/* How much of a message is needed. */
enum imap_need {
        IMAP_NEED_DIGEST, /* digest.h; the whole message if there is no digest */
        IMAP_NEED_PREVIEW, /* the same, and the digest has the preview */
        IMAP_NEED_FIELDS, /* the digest, made of the header alone will do; or the header */
        IMAP_NEED_HEADER, /* the header of the message with its empty line, or more */
        IMAP_NEED_BODY,   /* all of it */
};

/* Both ends belong to it; 1 <= first <= last. */
struct imap_range {
        uint32_t first, last;
};

enum imap_store_mode { IMAP_STORE_REPLACE, IMAP_STORE_ADD, IMAP_STORE_REMOVE };

struct imap_store {
        enum imap_store_mode mode;
        unsigned flags; /* enum imap_flag */
        const struct span *keywords;
        size_t keyword_count;     /* ≤ IMAP_KEYWORDS_MAX, none named twice */
        bool has_unchanged_since; /* CONDSTORE: only where modseq <= unchanged_since */
        uint64_t unchanged_since;
};

struct imap_append {
        uint64_t size;  /* octets that will come */
        unsigned flags; /* enum imap_flag */
        const struct span *keywords;
        size_t keyword_count;
        uint64_t arrived_us; /* INTERNALDATE; 0: now */
        bool is_binary;      /* literal8: may hold NUL; UTF8 (~{…}) */
};

/* RFC 6154. */
enum imap_special_use {
        IMAP_USE_ALL = 1,
        IMAP_USE_ARCHIVE = 2,
        IMAP_USE_DRAFTS = 4,
        IMAP_USE_FLAGGED = 8,
        IMAP_USE_JUNK = 16,
        IMAP_USE_SENT = 32,
        IMAP_USE_TRASH = 64,
};

/* Spans live until the answer, those of `uids` too; `octets` until the next feed. */
struct imap_event {
        enum imap_event_kind kind;
        struct span login_name, password, mechanism, octets;
        struct span mailbox, new_name;
        bool is_read_only, wants_status;
        bool wants_deleted_size; /* LIST, STATUS: each `deleted_size`, too, which may take a look
                                  * at all messages */
        unsigned special_use; /* enum imap_special_use */
        const struct imap_range *uids; /* growing, not touching; messages that exist in the view,
                                        * and UIDs between them that do not */
        size_t uid_count;              /* ranges */
        struct imap_store store;
        struct imap_append append;
        struct imap_message message;
        enum imap_need need;
};

enum imap_result { IMAP_OK, IMAP_NO, IMAP_BAD, IMAP_BYE, IMAP_CONTINUE };

struct imap_mailbox {
        struct span name;
        bool is_missing;      /* only a name: subscribed to, or the parent of one that exists */
        bool is_subscribed;
        unsigned special_use; /* enum imap_special_use */
        /* Numbers; of STATUS, and where `wants_status`. */
        uint64_t mailbox_id;
        uint32_t uid_validity, uid_next, message_count, unseen_count, deleted_count;
        uint64_t highest_modseq, size;
        uint64_t deleted_size; /* octets of those with \Deleted; where `wants_deleted_size` */
};

struct imap_quota {
        uint64_t storage_used, storage_limit; /* octets; limit 0: none */
        uint64_t message_used, message_limit;
};

struct imap_answer {
        enum imap_result result;
        const char *code; /* "TRYCREATE", "OVERQUOTA", "AUTHENTICATIONFAILED"; NULL: none */
        const char *text; /* NULL: a default */
        struct span octets;
        bool is_digest;         /* BODY: `octets` is what digest.h makes */
        struct imap_view *view; /* SELECT; the engine takes a reference of its own */
        bool is_read_only;      /* SELECT: also where the client did not ask for it */
        const struct imap_mailbox *mailboxes;
        size_t mailbox_count;
        uint64_t mailbox_id;
        uint32_t uid_validity;
        const struct imap_range *source_uids; /* COPY, MOVE */
        size_t source_uid_count;
        const struct imap_range *uids; /* ranges; any order for copies, growing for STORE */
        size_t uid_count;
        struct imap_quota quota;
};

struct imap_server;

/* NULL: no memory. `*o` is copied. */
struct imap_server *imap_server_new(const struct imap_server_options *o);
struct imap_server *imap_server_free(struct imap_server *s);

/* The connection is under TLS from its start: before imap_server_greet(). */
void imap_server_set_secured(struct imap_server *s);

/* "* OK [CAPABILITY …] host …", or with a text "* BYE text": feed then gives
 * CLOSE. */
void imap_server_greet(struct imap_server *s, const char *refusal);

/* While LOGIN or AUTHENTICATE waits for its answer: the tag of that command,
 * at most IMAP_TAG_MAX octets, for imap_server_resume(). */
enum { IMAP_TAG_MAX = 128 };
struct span imap_server_tag(const struct imap_server *s);

/* The other end of a hand-over: instead of imap_server_greet(). Sends "tag OK
 * [CAPABILITY …] Logged in". 0, or -EINVAL where `tag` is none. */
int imap_server_resume(struct imap_server *s, struct span tag);

/* Feeds octets; returns how many were taken. */
size_t imap_server_feed(struct imap_server *s, struct span in, struct imap_event *ret_event);

/* Answers the event that waits; `*a` and what it points to is needed only
 * during the call, but for the octets of BODY. */
void imap_server_answer(struct imap_server *s, const struct imap_answer *a);

/* A mailbox is selected and has changed: the newest view, of which the engine
 * takes a reference. Ignored when none is selected. */
void imap_server_set_view(struct imap_server *s, struct imap_view *view);

/* Says "* BYE text" at the next boundary between commands, at once in IDLE, and
 * ends the session: feed then gives CLOSE. */
void imap_server_shut(struct imap_server *s, const char *text);

/* Octets for the client; consume what was written. */
struct buffer *imap_server_output(struct imap_server *s);

/* Gives memory back that the next command would need again: for a session that
 * has been silent for some seconds, in IDLE or not. */
void imap_server_trim(struct imap_server *s);

bool imap_server_is_idling(const struct imap_server *s);   /* within IDLE */
