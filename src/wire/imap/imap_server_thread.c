/* THREAD (RFC 5256). */
#include <errno.h>

#include "base/hash.h"
#include "message/message_id.h"
#include "wire/imap/imap_server_search.h"
#include "wire/imap/imap_thread.h"

struct threading {
        enum imap_thread_kind kind;
        struct imap_threads threads;
        uint64_t references[IMAP_THREAD_REFERENCES_MAX]; /* a ring: the last ones */
};

static const struct {
        struct span name;
        enum imap_thread_kind kind;
} names[] = {
        { SPAN("ORDEREDSUBJECT"), IMAP_THREAD_ORDEREDSUBJECT },
        { SPAN("REFERENCES"), IMAP_THREAD_REFERENCES },
        { SPAN("REFS"), IMAP_THREAD_REFS },
};

/* Never 0, which means that there is none. */
static uint64_t hash_of(struct span s)
{
        const uint64_t h = hash_span(s, hash_seed());

        return h ? h : 1;
}

static uint64_t first_id(const struct digest *d, enum digest_field field, struct arena *arena)
{
        struct span wire = d->fields[field], value;
        char id[MESSAGE_ID_MAX];
        size_t len;

        if (wire.len == 0 || !digest_take_string(&wire, arena, &value)
            || !message_id_next(&value, id, &len))
                return 0;
        return hash_of(span_make(id, len));
}

static void reverse(uint64_t *a, size_t count)
{
        for (size_t i = 0; i < count / 2; i++) {
                const uint64_t x = a[i];

                a[i] = a[count - 1 - i];
                a[count - 1 - i] = x;
        }
}

/* What References says, or else the first id of In-Reply-To; oldest first. Of
 * more than the limit the last ones: they stand nearest to the message. */
static size_t references_of(const struct digest *d, struct arena *arena, uint64_t *ret)
{
        char id[MESSAGE_ID_MAX];
        struct span rest = d->references;
        size_t len, count = 0;
        const size_t max = IMAP_THREAD_REFERENCES_MAX;

        while (message_id_next(&rest, id, &len))
                ret[count++ % max] = hash_of(span_make(id, len));
        if (count > max) { /* turned so that the oldest comes first */
                reverse(ret, count % max);
                reverse(ret + count % max, max - count % max);
                reverse(ret, max);
                return max;
        }
        if (count == 0) {
                ret[0] = first_id(d, DIGEST_IN_REPLY_TO, arena);
                count = ret[0] != 0;
        }
        return count;
}

static int subject_of(struct imap_candidate *c, struct imap_thread_message *m)
{
        int r;

        buffer_clear(c->header);
        r = imap_server_sort_subject(c, c->header, &m->is_reply);
        if (r == 0 && c->header->len)
                m->subject = hash_of(buffer_span(c->header));
        return r;
}

static bool found(struct imap_server *s, struct imap_candidate *c, size_t index)
{
        struct imap_searching *g = s->work_state;
        struct threading *t = g->state;
        const struct digest *d = imap_search_digest(c);
        struct imap_thread_message m = {
                .number = s->is_uid ? c->message->uid : (uint32_t) index + 1,
                .arrived_at = (int64_t) c->message->arrived_us,
        };
        size_t count = 0;
        int64_t day;
        int r = 0;

        imap_search_sent(c, &m.sent_at, &day);
        if (t->kind != IMAP_THREAD_REFS)
                r = subject_of(c, &m);
        if (t->kind != IMAP_THREAD_ORDEREDSUBJECT && d) {
                m.id = first_id(d, DIGEST_MESSAGE_ID, c->arena);
                count = references_of(d, c->arena, t->references);
        }
        if (r == -ENOMEM)
                return false;
        return imap_thread_add(&t->threads, &m, t->references, count) == 0;
}

static void end(struct imap_server *s)
{
        struct imap_searching *g = s->work_state;
        struct threading *t = g->state;

        imap_server_put(s, t->threads.count ? "* THREAD " : "* THREAD");
        if (imap_thread_format(&t->threads, t->kind, &s->output) < 0)
                s->is_broken = true;
        imap_server_put(s, "\r\n");
        imap_server_search_finish(s);
}

static bool parse_kind(struct imap_parser *p, struct threading *t)
{
        size_t i = 0;

        while (i < sizeof names / sizeof names[0] && !imap_parse_word(p, names[i].name))
                i++;
        if (i == sizeof names / sizeof names[0])
                return false;
        t->kind = names[i].kind;
        return true;
}

IMAP_COMMAND_FUNCTION(thread)
{
        struct imap_searching *g = arena_alloc(&s->arena, sizeof *g);
        struct threading *t = arena_alloc(&s->arena, sizeof *t);
        struct span charset = {NULL, 0};

        if (!g || !t || !imap_parse_space(p) || !parse_kind(p, t) || !imap_parse_space(p)
            || !imap_parse_astring(p, &charset) || !imap_parse_space(p)) {
                imap_server_bad(s, "Say THREAD algorithm charset keys");
                return;
        }
        t->threads = IMAP_THREADS(&s->arena);
        g->wants_fields = true;
        g->state = t;
        g->found = found;
        g->end = end;
        imap_server_search_begin(s, p, g, charset);
}
