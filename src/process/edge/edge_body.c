#include "process/edge/edge_body.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "message/authentication_results.h"
#include "message/digest.h"
#include "message/header.h"
#include "process/edge/edge.h"
#include "route/masquerade.h"

enum {
        HEADER_MESSAGE_ID_MAX = 1000, /* of the message to the keeper */
        HELD_MAX = 3 * EDGE_BODY_MEMORY, /* a converted piece of input comes on top of the limit */
        HELD_KEPT = 16 * 1024,           /* memory that a transaction keeps for the next one */
        FILE_PIECE = 64 * 1024,          /* octets of one write() */
        WRITE_BACK = 1024 * 1024,        /* so many at a time are on their way to the disk */
        CONVERTED_MAX = HEADER_SIZE_MAX + EDGE_BODY_MEMORY, /* of one piece of input */
};

void edge_body_init(struct edge_body *b)
{
        *b = (struct edge_body) {.held = BUFFER_INIT(HELD_MAX), .fd = -1};
}

/* `room_before` is the memory it had: keeps the sum over all bodies right. */
static void account(const struct edge_body *b, struct edge *e, size_t room_before)
{
        e->bodies_held = e->bodies_held + b->held.room - room_before;
}

static void close_file(struct edge_body *b)
{
        if (b->fd >= 0)
                close(b->fd);
        b->fd = -1;
}

void edge_body_clear(struct edge_body *b, struct edge *e)
{
        const size_t room = b->held.room;
        struct buffer held;

        b->convert = mime_convert_free(b->convert);
        buffer_shrink(&b->held, HELD_KEPT);
        buffer_clear(&b->held);
        account(b, e, room);
        close_file(b);
        held = b->held;
        *b = (struct edge_body) {.held = held, .fd = -1};
}

void edge_body_done(struct edge_body *b, struct edge *e)
{
        const size_t room = b->held.room;

        b->convert = mime_convert_free(b->convert);
        buffer_done(&b->held);
        account(b, e, room);
        close_file(b);
}

/* Octets [at, at + len) of what is held give way to others. 0, -EMSGSIZE,
 * -ENOMEM: nothing was changed. */
static int replace(struct edge_body *b, struct edge *e, size_t at, size_t len, struct span with)
{
        const size_t room = b->held.room, behind = b->held.len - at - len;
        char *data, *more;
        int r;

        if (with.len > len) {
                r = buffer_reserve(&b->held, with.len - len, &more);
                if (r < 0)
                        return r;
                buffer_commit(&b->held, with.len - len);
        } else {
                b->held.len -= len - with.len;
        }
        data = b->held.data + b->held.start;
        memmove(data + at + with.len, data + at + len, behind);
        memcpy(data + at, with.p, with.len);
        b->len = b->len + with.len - len;
        account(b, e, room);
        return 0;
}

/* Rewrites senders in the header. What finds no memory stays as it was sent:
 * a message is worth more than how its sender is shown. True: something was changed. */
static bool masquerade(struct edge_body *b, struct edge *e)
{
        const struct process *p = e->process;
        const struct span text = span_skip(buffer_span(&b->held), b->prefix_len);
        struct buffer header = BUFFER_INIT(2 * HEADER_SIZE_MAX);
        unsigned changed;
        size_t len;
        int r;

        if (!masquerade_is_on(p->config, p->snapshot))
                return false;
        len = header_len(text, NULL);
        r = masquerade_header(p->config, p->snapshot, span_first(text, len), &header, &changed);
        if (r > 0)
                (void) replace(b, e, b->prefix_len, len, buffer_span(&header));
        buffer_done(&header);
        return r > 0;
}

void edge_body_expect(struct edge_body *b, struct span account)
{
        b->account = account;
}

/* A field that claims to be our own word on who sent the message goes: nobody
 * but us may have put it there (RFC 8601 section 5). Rare, so that moving what
 * follows it is no matter. */
static void strike(struct edge_body *b, struct edge *e, struct span field)
{
        char *at = b->held.data + b->held.start + (field.p - buffer_span(&b->held).p);
        const char *end = b->held.data + b->held.start + b->held.len;

        memmove(at, at + field.len, (size_t) (end - at) - field.len);
        b->held.len -= field.len;
        b->len -= field.len;
        e->counters.fields_struck++;
}

/* Fields that are ours to judge. True: one was taken out, and what was found so
 * far stands elsewhere now. */
static bool judge_fields(struct edge_body *b, struct edge *e, struct span text, size_t size_max,
                         size_t fields_max)
{
        static const struct span results = SPAN("Authentication-Results"),
                                 delivered_to = SPAN("Delivered-To");
        struct header_scan scan = HEADER_SCAN(text, size_max, fields_max);
        struct header_field field;
        int r;

        while ((r = header_next(&scan, &field)) != 0 && r != -EMSGSIZE) {
                if (r < 0 || field.name.len < delivered_to.len)
                        continue;
                if (b->account.len && span_equal_nocase(field.name, delivered_to))
                        b->is_looping |=
                                span_equal_nocase(span_trim(field.value), b->account);
                if (span_equal_nocase(field.name, results) &&
                    authentication_results_is_of(field.value, e->process->config->hostname)) {
                        strike(b, e, field.raw);
                        return true;
                }
        }
        return false;
}

/* Puts the fields that are missing between ours and the client's. Without
 * memory they stay missing. True: something was put. */
static bool complete(struct edge_body *b, struct edge *e, struct arena *arena,
                     const struct header_summary *summary)
{
        struct buffer *fields = &e->text;
        const size_t room = b->held.room, behind = b->held.len - b->prefix_len;
        struct span id;
        char *end, *at;

        buffer_clear(fields);
        if (edge_complete(&b->complete, summary, fields, &id) < 0 || fields->len == 0 ||
            buffer_reserve(&b->held, fields->len, &end) < 0)
                return false;
        at = end - behind;
        memmove(at + fields->len, at, behind);
        memcpy(at, buffer_span(fields).p, fields->len);
        buffer_commit(&b->held, fields->len);
        account(b, e, room);
        b->len += fields->len;
        b->prefix_len += fields->len;
        if (id.len)
                b->header_message_id = arena_copy(arena, id);
        return true;
}

/* Looks at the header of what the client sent. Its limit bounds the work: a
 * longer header is seen to be too long, whatever else stands in it. False: what was seen
 * is not what the header is now. */
static bool scan(struct edge_body *b, struct edge *e, struct arena *arena,
                 struct header_summary *header)
{
        struct span text, message_id;
        bool is_changed = false;
        const uint64_t limit = e->process->config->limits.header_size;
        const size_t fields_max = e->process->config->limits.header_fields;
        const size_t size_max = limit && limit < HEADER_SIZE_MAX ? (size_t) limit : HEADER_SIZE_MAX;

        b->is_scanned = true;
        do {
                text = span_skip(buffer_span(&b->held), b->prefix_len);
                b->is_header_too_large = header_summarize(text, size_max, fields_max, header) < 0;
        } while ((header->values[HEADER_AUTHENTICATION_RESULTS].p ||
                  header->values[HEADER_DELIVERED_TO].p) &&
                 judge_fields(b, e, text, size_max, fields_max));
        b->has_too_many_fields = b->is_header_too_large && header->fields >= fields_max;
        b->received_fields = (unsigned) header->received;
        message_id = header_message_id(header);
        if (message_id.len && message_id.len <= HEADER_MESSAGE_ID_MAX)
                b->header_message_id = arena_copy(arena, message_id);
        if (b->is_header_too_large)
                return false;
        if (b->complete.is_wanted)
                is_changed = complete(b, e, arena, header);
        /* Last: the summary borrows from what this moves. */
        if (b->is_ours)
                is_changed |= masquerade(b, e);
        return !is_changed && header->fields <= HEADER_FIELDS_MAX / 2; /* with ours no more */
}

/* The text cannot be kept: what follows is swallowed, the client is told at
 * its end (to tell it earlier would end the connection, and it would try
 * again and again). */
static void give_up(struct edge_body *b, struct edge *e, int error)
{
        const size_t room = b->held.room;

        b->error = error;
        buffer_done(&b->held);
        account(b, e, room);
}

/* The disk begins before the keeper, who syncs the file, has to wait for it. A kernel
 * that does not loses nothing but time. */
static void begin_write_back(struct edge_body *b)
{
        const uint64_t n = b->written - b->written_back;

        if (n < WRITE_BACK)
                return;
        (void) sync_file_range(b->fd, (off_t) b->written_back, (off_t) n, SYNC_FILE_RANGE_WRITE);
        b->written_back = b->written;
}

static void write_out(struct edge_body *b, struct edge *e)
{
        int r;

        while (b->held.len) {
                const size_t n = b->held.len < FILE_PIECE ? b->held.len : FILE_PIECE;

                r = file_write_all(b->fd, buffer_span(&b->held).p, n);
                if (r < 0) {
                        give_up(b, e, r);
                        return;
                }
                buffer_consume(&b->held, n);
                b->written += n;
                begin_write_back(b);
        }
}

bool edge_body_add(struct edge_body *b, struct edge *e, struct span octets)
{
        const size_t room = b->held.room;
        const size_t limit = e->bodies_held > EDGE_BODIES_CROWDED ? EDGE_BODY_MEMORY_CROWDED
                                                                  : EDGE_BODY_MEMORY;
        int r;

        if (b->error)
                return false;
        r = buffer_append_span(&b->held, octets);
        account(b, e, room);
        if (r < 0) {
                give_up(b, e, r);
                return false;
        }
        b->len += octets.len;
        if (b->fd < 0)
                return b->held.len > limit;
        if (b->held.len >= FILE_PIECE)
                write_out(b, e);
        return false;
}

int edge_body_convert(struct edge_body *b, bool may_have_nul)
{
        b->convert = mime_convert_new(MIME_CONVERT_TO_LINES, may_have_nul);
        return b->convert ? 0 : -ENOMEM;
}

/* Octets, or the end of them. */
static bool convert(struct edge_body *b, struct edge *e, struct span octets, bool is_end)
{
        struct buffer out = BUFFER_INIT(CONVERTED_MAX);
        bool wants_file = false;
        const int r = is_end ? mime_convert_end(b->convert, &out)
                             : mime_convert_feed(b->convert, octets, &out);

        if (r == -EMSGSIZE)
                b->is_header_too_large = true; /* that of a part */
        if (r < 0)
                give_up(b, e, r);
        else
                wants_file = edge_body_add(b, e, buffer_span(&out));
        buffer_done(&out);
        return wants_file;
}

bool edge_body_take(struct edge_body *b, struct edge *e, struct span octets)
{
        if (!b->convert || b->error)
                return edge_body_add(b, e, octets);
        return convert(b, e, octets, false);
}

void edge_body_lent(struct edge_body *b, struct edge *e, struct arena *arena, int fd,
                    uint64_t generation)
{
        struct header_summary header;

        if (fd < 0) {
                give_up(b, e, fd);
                return;
        }
        b->fd = fd;
        b->is_lent = true;
        b->lender = generation;
        (void) scan(b, e, arena, &header);
        write_out(b, e);
}

bool edge_body_finish(struct edge_body *b, struct edge *e, struct arena *arena,
                      struct header_summary *ret_header)
{
        bool is_known = false;

        if (b->convert && !b->error) {
                (void) convert(b, e, (struct span) {0}, true);
                b->parts_converted = mime_convert_parts(b->convert);
                b->breaks_signature = mime_convert_breaks_signature(b->convert);
        }
        if (b->error)
                return false;
        if (!b->is_scanned)
                is_known = scan(b, e, arena, ret_header);
        if (b->fd >= 0)
                write_out(b, e);
        close_file(b);
        return is_known;
}

void edge_body_digest(struct edge_body *b, struct edge *e, uint64_t message_id,
                      const struct header_summary *header)
{
        const size_t room = b->held.room;

        _Static_assert((int) IPC_DIGEST_MAX == (int) DIGEST_STORED_MAX, "a commit holds it");
        if (b->is_lent || b->error)
                return;
        arena_clear(&e->scratch);
        buffer_clear(&e->digest);
        if (digest_make_stored(buffer_span(&b->held), message_id, header, &e->scratch,
                               &e->digest) == 0 &&
            buffer_append_span(&b->held, buffer_span(&e->digest)) == 0)
                e->counters.digests++;
        arena_clear(&e->scratch);
        account(b, e, room);
}
