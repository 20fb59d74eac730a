/* FETCH (RFC 9051 section 6.4.5): message by message, item by item, and large
 * literals piece by piece, so that never more waits for the client than
 * IMAP_SERVER_OUTPUT_PAUSE and one item.
 *
 *   next message ──► BODY? ──answered──► items … literal … items ──► ")" ──┐
 *        ▲                                                                 │
 *        └─────────────────────────────────────────────────────────────────┘
 *   at the end: STORE +FLAGS (\Seen) for those it was not set for, then OK */
#include "wire/imap/imap_server_fetch.h"

#include <errno.h>

#include "message/digest.h"
#include "message/header.h"
#include "message/mime.h"
#include "message/transfer_decode.h"

struct fetching {
        struct imap_fetch fetch;
        struct imap_cursor cursor;
        struct imap_uid_list unseen; /* \Seen is due for them */
        bool sets_seen;
        int need; /* enum imap_need; -1: none */

        /* This message: */
        bool is_open, is_asked;
        struct imap_message message; /* a copy: views change while its octets are fetched */
        size_t index, item;
        struct span octets;
        bool is_digest, has_digest;
        struct digest digest;
        struct mime_part *root;
        struct span copy; /* of a literal, still to be said */

        bool is_missing, is_encoding_unknown;
};

static void put_name(struct imap_server *s, const struct fetching *f,
                     const struct imap_fetch_item *item)
{
        imap_server_put(s, f->item ? " " : "");
        imap_server_put_span(s, item->label);
        if (item->has_partial) {
                imap_server_put(s, "<");
                imap_server_put_number(s, item->from);
                imap_server_put(s, ">");
        }
        imap_server_put(s, " ");
}

/* ---- what needs the text ------------------------------------------------------- */

static bool open_digest(struct imap_server *s, struct fetching *f)
{
        const size_t at = s->scratch.len;

        if (f->has_digest)
                return true;
        if (f->is_digest) {
                f->has_digest = digest_open(f->octets, &f->digest) == 0;
        } else if (digest_make(f->octets, &s->message, &s->scratch) == 0) {
                /* The scratch may move when it grows: the digest gets its own place. */
                const struct span built =
                        arena_copy(&s->message, span_skip(buffer_span(&s->scratch), at));

                f->has_digest = built.p && digest_open(built, &f->digest) == 0;
        }
        return f->has_digest;
}

static void put_digest(struct imap_server *s, struct fetching *f, enum imap_fetch_kind kind)
{
        if (!open_digest(s, f)) {
                imap_server_put(s, "NIL");
                f->is_missing = true;
        } else if (kind == IMAP_FETCH_ENVELOPE) {
                if (digest_put_envelope(&f->digest, &s->output) < 0)
                        s->is_broken = true;
        } else if (kind != IMAP_FETCH_PREVIEW) {
                if (digest_put_structure(&f->digest, kind == IMAP_FETCH_BODYSTRUCTURE,
                                         &s->output) < 0)
                        s->is_broken = true;
        } else if (f->digest.preview.p) {
                imap_server_put_string(s, f->digest.preview);
        } else {
                imap_server_put(s, "NIL");
        }
}

static struct mime_part *parse_mime(struct imap_server *s, struct fetching *f)
{
        struct mime_limits limits = MIME_LIMITS;
        struct mime_parser *p;

        if (f->root)
                return f->root;
        p = mime_parser_new(&limits, &s->message);
        if (!p)
                return NULL;
        mime_parser_feed(p, f->octets);
        f->root = mime_parser_end(p);
        return f->root;
}

static void put_literal(struct imap_server *s, struct fetching *f,
                        const struct imap_fetch_item *item, struct span text)
{
        if (item->has_partial) {
                text = span_skip(text, item->from < text.len ? (size_t) item->from : text.len);
                text = span_first(text, item->count < text.len ? (size_t) item->count : text.len);
        }
        if (item->kind == IMAP_FETCH_BINARY && span_find(text, '\0') != SIZE_MAX)
                imap_server_put(s, "~");
        imap_server_put(s, "{");
        imap_server_put_number(s, text.len);
        imap_server_put(s, "}\r\n");
        f->copy = text;
}

static void put_section(struct imap_server *s, struct fetching *f,
                        const struct imap_fetch_item *item)
{
        struct mime_part *root = item->number_count ? parse_mime(s, f) : NULL;
        struct span text;

        if ((item->number_count && !root)
            || !imap_server_fetch_section(s, item, f->octets, root, &text))
                imap_server_put(s, "NIL");
        else
                put_literal(s, f, item, text);
}

/* The transfer encoding taken off (RFC 3516). A part that holds parts is given
 * as it is. */
static void put_binary(struct imap_server *s, struct fetching *f,
                       const struct imap_fetch_item *item)
{
        struct mime_part *part = parse_mime(s, f);
        struct span text;
        int r;

        if (part && item->number_count)
                part = mime_part_by_number(part, item->numbers, item->number_count);
        if (!part || !imap_server_fetch_section(s, item, f->octets, f->root, &text)) {
                imap_server_put(s, item->kind == IMAP_FETCH_BINARY ? "NIL" : "0");
                return;
        }
        buffer_clear(&s->scratch);
        r = item->number_count ? transfer_decode(part->encoding, text, &s->scratch) : 0;
        if (r < 0) {
                f->is_encoding_unknown = true;
                imap_server_put(s, item->kind == IMAP_FETCH_BINARY ? "NIL" : "0");
                return;
        }
        if (item->number_count)
                text = buffer_span(&s->scratch);
        if (item->kind == IMAP_FETCH_BINARY)
                put_literal(s, f, item, text);
        else
                imap_server_put_number(s, text.len);
}

/* ---- items --------------------------------------------------------------------- */

static void put_id(struct imap_server *s, char letter, uint64_t id)
{
        const char begin[] = {'(', letter, '\0'};

        imap_server_put(s, begin);
        imap_server_put_number(s, id);
        imap_server_put(s, ")");
}

static void put_item(struct imap_server *s, struct fetching *f, const struct imap_fetch_item *item)
{
        const struct imap_message *m = &f->message;

        put_name(s, f, item);
        switch (item->kind) {
        case IMAP_FETCH_UID:
                imap_server_put_number(s, m->uid);
                break;
        case IMAP_FETCH_FLAGS:
                imap_server_put_flags(s, m, s->newest ? s->newest : s->view);
                break;
        case IMAP_FETCH_INTERNALDATE:
                imap_server_put_date_time(s, m->arrived_us);
                break;
        case IMAP_FETCH_SAVEDATE:
                if (m->saved_us)
                        imap_server_put_date_time(s, m->saved_us);
                else
                        imap_server_put(s, "NIL");
                break;
        case IMAP_FETCH_SIZE:
                imap_server_put_number(s, m->size);
                break;
        case IMAP_FETCH_MODSEQ:
                imap_server_put(s, "(");
                imap_server_put_number(s, m->modseq);
                imap_server_put(s, ")");
                break;
        case IMAP_FETCH_EMAILID:
                put_id(s, 'M', m->body_id);
                break;
        case IMAP_FETCH_THREADID:
                imap_server_put(s, "NIL"); /* RFC 8474 section 5.2 */
                break;
        case IMAP_FETCH_SECTION:
                put_section(s, f, item);
                break;
        case IMAP_FETCH_BINARY:
        case IMAP_FETCH_BINARY_SIZE:
                put_binary(s, f, item);
                break;
        default:
                put_digest(s, f, item->kind);
                break;
        }
}

/* ---- message by message -------------------------------------------------------- */

static void answered_body(struct imap_server *s, const struct imap_answer *a)
{
        struct fetching *f = s->work_state;

        f->octets = a->octets;
        f->is_digest = a->is_digest;
        if (a->result != IMAP_OK || (a->is_digest && f->need > IMAP_NEED_PREVIEW)) {
                f->is_missing = true;
                f->is_open = false;
        }
}

static void open_message(struct imap_server *s, struct fetching *f, const struct imap_message *m)
{
        /* What it is now counts, the number is the one the client knows. */
        const struct imap_message *now = s->newest ? imap_view_message(s->newest, m->uid, NULL) : m;

        f->message = now ? *now : *m;
        if (f->fetch.has_changed_since && f->message.modseq <= f->fetch.changed_since)
                return;
        f->is_open = true;
        f->is_asked = false;
        f->item = 0;
        f->root = NULL;
        f->has_digest = false;
        if (f->sets_seen && now && !(now->flags & IMAP_FLAG_SEEN)
            && !imap_uid_list_add(&f->unseen, &s->arena, now->uid))
                s->is_broken = true;
        imap_server_clear_message(s);
}

static void close_message(struct imap_server *s, struct fetching *f)
{
        imap_server_put(s, ")\r\n");
        f->is_open = false;
}

static void end_fetch(struct imap_server *s, const struct fetching *f)
{
        s->work = NULL;
        imap_server_clear_message(s);
        if (f->is_encoding_unknown)
                imap_server_no(s, "UNKNOWN-CTE", "An encoding is not known");
        else if (f->is_missing)
                imap_server_no(s, "EXPUNGEISSUED", "Some messages are gone");
        else
                imap_server_ok(s);
}

static void answered_seen(struct imap_server *s,
                          const struct imap_answer *a __attribute__((unused)))
{
        end_fetch(s, s->work_state); /* the text was given, whatever became of the flag */
}

static void end_messages(struct imap_server *s, struct fetching *f, struct imap_event *ev)
{
        s->work = NULL;
        if (f->unseen.count == 0) {
                end_fetch(s, f);
                return;
        }
        ev->store = (struct imap_store) {.mode = IMAP_STORE_ADD, .flags = IMAP_FLAG_SEEN};
        ev->uids = f->unseen.ranges;
        ev->uid_count = f->unseen.count;
        imap_server_wait(s, ev, IMAP_EVENT_STORE, answered_seen);
}

static void begin_line(struct imap_server *s, struct fetching *f)
{
        imap_server_put(s, "* ");
        imap_server_put_number(s, f->index + 1);
        imap_server_put(s, " FETCH (");
}

static void work(struct imap_server *s, struct imap_event *ev)
{
        struct fetching *f = s->work_state;

        while (s->output.len < IMAP_SERVER_OUTPUT_PAUSE && !s->is_broken) {
                if (f->copy.len) {
                        const size_t room = IMAP_SERVER_OUTPUT_PAUSE - s->output.len;
                        const struct span piece = span_first(f->copy, room);

                        imap_server_put_span(s, piece);
                        f->copy = span_skip(f->copy, piece.len);
                } else if (!f->is_open) {
                        const struct imap_message *m = imap_cursor_next(&f->cursor, &f->index);

                        if (!m) {
                                end_messages(s, f, ev);
                                return;
                        }
                        open_message(s, f, m);
                } else if (f->need >= 0 && !f->is_asked) {
                        f->is_asked = true;
                        ev->message = f->message;
                        ev->need = (enum imap_need) f->need;
                        imap_server_wait(s, ev, IMAP_EVENT_BODY, answered_body);
                        return;
                } else if (f->item < f->fetch.item_count) {
                        if (f->item == 0)
                                begin_line(s, f);
                        put_item(s, f, &f->fetch.items[f->item]);
                        f->item++;
                } else {
                        close_message(s, f);
                }
        }
}

/* ---- the command --------------------------------------------------------------- */

static int need_of(const struct imap_fetch_item *item)
{
        if (item->kind < IMAP_FETCH_ENVELOPE)
                return -1;
        if (item->kind <= IMAP_FETCH_PREVIEW)
                return item->kind == IMAP_FETCH_PREVIEW ? IMAP_NEED_PREVIEW : IMAP_NEED_DIGEST;
        if (item->kind == IMAP_FETCH_SECTION && item->number_count == 0
            && item->section >= IMAP_SECTION_HEADER && item->section <= IMAP_SECTION_FIELDS_NOT)
                return IMAP_NEED_HEADER;
        return IMAP_NEED_BODY;
}

static bool has_item(const struct imap_fetch *f, enum imap_fetch_kind kind)
{
        for (size_t i = 0; i < f->item_count; i++)
                if (f->items[i].kind == kind)
                        return true;
        return false;
}

static void prepend(struct imap_fetch *f, enum imap_fetch_kind kind, struct span label)
{
        if (has_item(f, kind))
                return;
        memmove(f->items + 1, f->items, f->item_count * sizeof *f->items);
        f->items[0] = (struct imap_fetch_item) {.kind = kind, .label = label};
        f->item_count++;
}

static void prepare(struct imap_server *s, struct fetching *f)
{
        if (has_item(&f->fetch, IMAP_FETCH_MODSEQ) || f->fetch.has_changed_since)
                s->enabled |= IMAP_ENABLED_CONDSTORE;
        if (f->fetch.has_changed_since
            || ((s->enabled & IMAP_ENABLED_CONDSTORE) && has_item(&f->fetch, IMAP_FETCH_FLAGS)))
                prepend(&f->fetch, IMAP_FETCH_MODSEQ, SPAN_LITERAL("MODSEQ"));
        if (s->is_uid)
                prepend(&f->fetch, IMAP_FETCH_UID, SPAN_LITERAL("UID"));
        f->need = -1;
        for (size_t i = 0; i < f->fetch.item_count; i++) {
                const struct imap_fetch_item *item = &f->fetch.items[i];
                const int need = need_of(item);

                if (f->need < 0 || need < 0)
                        f->need = need < 0 ? f->need : need;
                else if (f->need <= IMAP_NEED_PREVIEW && need <= IMAP_NEED_PREVIEW)
                        f->need = need > f->need ? need : f->need;
                else if (need != f->need) /* both are found in the text alone */
                        f->need = IMAP_NEED_BODY;
                f->sets_seen = f->sets_seen || (item->sets_seen && !s->is_read_only);
        }
}

IMAP_COMMAND_FUNCTION(fetch)
{
        struct fetching *f = arena_alloc(&s->arena, sizeof *f);
        struct imap_range *uids;
        struct imap_set set;
        size_t count;

        if (!f || !imap_parse_space(p) || !imap_parse_set(p, &set) || !imap_parse_space(p)
            || !imap_server_fetch_parse(p, &f->fetch)
            || (f->fetch.wants_vanished
                && (!s->is_uid || !(s->enabled & IMAP_ENABLED_QRESYNC)))
            || !imap_server_resolve(s, &set, s->is_uid, &uids, &count)) {
                imap_server_bad(s, "Say FETCH set (items)");
                return;
        }
        prepare(s, f);
        if (f->fetch.wants_vanished) {
                set.count = imap_server_normalize(set.ranges, set.count);
                imap_server_put_vanished(s, set.ranges, set.count, f->fetch.changed_since);
        }
        f->cursor = IMAP_CURSOR(s->view, uids, count);
        s->work_state = f;
        s->work = work;
}
