/* SORT (RFC 5256) with DISPLAYFROM and DISPLAYTO (RFC 5957). */
#include <errno.h>
#include <stdlib.h>

#include "message/search_text.h"
#include "wire/imap/imap_server_search.h"

enum criterion {
        BY_ARRIVAL,
        BY_DATE,
        BY_SIZE, /* up to here numbers, from here on texts */
        BY_SUBJECT,
        BY_FROM,
        BY_TO,
        BY_CC,
        BY_DISPLAY_FROM,
        BY_DISPLAY_TO,
};

enum { CRITERIA_MAX = 9 };

struct row {
        uint32_t number, uid;
        int64_t numbers[BY_SIZE + 1];
        struct span texts[CRITERIA_MAX]; /* folded; by place in the command */
};

struct sorting {
        struct {
                enum criterion by;
                bool is_reverse;
        } criteria[CRITERIA_MAX];
        size_t criterion_count;
        struct row *rows;
        size_t count, room;
};

static const struct {
        struct span name;
        enum criterion by;
} names[] = {
        { SPAN("ARRIVAL"), BY_ARRIVAL }, { SPAN("DATE"), BY_DATE },
        { SPAN("SIZE"), BY_SIZE },       { SPAN("SUBJECT"), BY_SUBJECT },
        { SPAN("FROM"), BY_FROM },       { SPAN("TO"), BY_TO },
        { SPAN("CC"), BY_CC },           { SPAN("DISPLAYFROM"), BY_DISPLAY_FROM },
        { SPAN("DISPLAYTO"), BY_DISPLAY_TO },
};

/* ---- what is kept of a message ------------------------------------------------- */

static const enum digest_field fields[] = {
        [BY_FROM] = DIGEST_FROM,         [BY_TO] = DIGEST_TO, [BY_CC] = DIGEST_CC,
        [BY_DISPLAY_FROM] = DIGEST_FROM, [BY_DISPLAY_TO] = DIGEST_TO,
};

/* The first address: its local part (RFC 5256), or what a client shows (RFC 5957). */
static int address_key(struct imap_candidate *c, enum criterion by, struct buffer *out)
{
        const struct digest *d = imap_search_digest(c);
        const bool is_display = by >= BY_DISPLAY_FROM;
        struct span name, local, domain;
        int r;

        if (!d || !digest_first_address(d, fields[by], c->arena, &name, &local, &domain)
            || !domain.p)
                return 0;
        if (is_display && name.len)
                return search_text_field(name, out);
        r = search_text_fold(local, out);
        if (r == 0 && is_display && domain.len) {
                r = buffer_append(out, "@", 1);
                if (r == 0)
                        r = search_text_fold(domain, out);
        }
        return r;
}

int imap_server_sort_subject(struct imap_candidate *c, struct buffer *out, bool *ret_is_reply)
{
        const struct digest *d = imap_search_digest(c);
        struct span text = {NULL, 0};

        if (d)
                text = digest_text(d, DIGEST_TEXT_SUBJECT, c->arena);
        text = span_first(text, span_find(text, '\0'));
        *ret_is_reply = false;
        return text.len ? search_text_base_subject(text, out, ret_is_reply) : 0;
}

/* The octets of a text key that count; two that agree so far are alike. */
enum { KEY_MAX = 256 };

static bool text_key(struct imap_server *s, struct imap_candidate *c, enum criterion by,
                     struct span *ret)
{
        struct buffer key = BUFFER_INIT(4 * 1024 * 1024);
        bool is_reply;
        int r;

        r = by == BY_SUBJECT ? imap_server_sort_subject(c, &key, &is_reply)
                             : address_key(c, by, &key);
        *ret = arena_copy(&s->arena, span_first(buffer_span(&key), KEY_MAX));
        buffer_done(&key);
        return r != -ENOMEM && (ret->p || ret->len == 0);
}

static struct row *add_row(struct imap_server *s, struct sorting *t)
{
        if (t->count == t->room) {
                const size_t room = t->room ? 2 * t->room : 64;
                struct row *grown = arena_alloc(&s->arena, room * sizeof *grown);

                if (!grown)
                        return NULL;
                if (t->count)
                        memcpy(grown, t->rows, t->count * sizeof *grown);
                t->rows = grown;
                t->room = room;
        }
        return &t->rows[t->count++];
}

static bool found(struct imap_server *s, struct imap_candidate *c, size_t index)
{
        struct imap_searching *g = s->work_state;
        struct sorting *t = g->state;
        struct row *row = add_row(s, t);
        int64_t day;

        if (!row)
                return false;
        row->number = (uint32_t) index + 1;
        row->uid = c->message->uid;
        row->numbers[BY_ARRIVAL] = (int64_t) c->message->arrived_us;
        row->numbers[BY_SIZE] = (int64_t) c->message->size;
        if (g->wants_fields)
                imap_search_sent(c, &row->numbers[BY_DATE], &day);
        for (size_t i = 0; i < t->criterion_count; i++)
                if (t->criteria[i].by >= BY_SUBJECT
                    && !text_key(s, c, t->criteria[i].by, &row->texts[i]))
                        return false;
        return true;
}

/* ---- order --------------------------------------------------------------------- */

static int compare_text(struct span a, struct span b)
{
        const size_t len = a.len < b.len ? a.len : b.len;
        const int order = len ? memcmp(a.p, b.p, len) : 0;

        return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare(const void *x, const void *y, void *arg)
{
        const struct row *a = x, *b = y;
        const struct sorting *t = arg;

        for (size_t i = 0; i < t->criterion_count; i++) {
                const enum criterion by = t->criteria[i].by;
                const int order = by >= BY_SUBJECT
                                          ? compare_text(a->texts[i], b->texts[i])
                                          : (a->numbers[by] > b->numbers[by])
                                                    - (a->numbers[by] < b->numbers[by]);

                if (order)
                        return t->criteria[i].is_reverse ? -order : order;
        }
        return (a->number > b->number) - (a->number < b->number);
}

static void end(struct imap_server *s)
{
        struct imap_searching *g = s->work_state;
        struct sorting *t = g->state;

        if (t->count)
                qsort_r(t->rows, t->count, sizeof *t->rows, compare, t);
        imap_server_put(s, "* SORT");
        for (size_t i = 0; i < t->count; i++) {
                imap_server_put(s, " ");
                imap_server_put_number(s, s->is_uid ? t->rows[i].uid : t->rows[i].number);
        }
        if (g->context.has_modseq && t->count) {
                imap_server_put(s, " (MODSEQ ");
                imap_server_put_number(s, g->modseq_max);
                imap_server_put(s, ")");
        }
        imap_server_put(s, "\r\n");
        imap_server_search_finish(s);
}

/* ---- the command --------------------------------------------------------------- */

static bool parse_criteria(struct imap_parser *p, struct sorting *t)
{
        if (!imap_parse_char(p, '('))
                return false;
        do {
                const size_t at = t->criterion_count;
                size_t i = 0;

                if (at == CRITERIA_MAX)
                        return false;
                t->criteria[at].is_reverse = imap_parse_word(p, SPAN_LITERAL("REVERSE"));
                if (t->criteria[at].is_reverse && !imap_parse_space(p))
                        return false;
                while (i < sizeof names / sizeof names[0] && !imap_parse_word(p, names[i].name))
                        i++;
                if (i == sizeof names / sizeof names[0])
                        return false;
                t->criteria[at].by = names[i].by;
                t->criterion_count++;
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')') && imap_parse_space(p);
}

IMAP_COMMAND_FUNCTION(sort)
{
        struct imap_searching *g = arena_alloc(&s->arena, sizeof *g);
        struct sorting *t = arena_alloc(&s->arena, sizeof *t);
        struct span charset = {NULL, 0};

        if (!g || !t || !imap_parse_space(p) || !parse_criteria(p, t)
            || !imap_parse_astring(p, &charset) || !imap_parse_space(p)) {
                imap_server_bad(s, "Say SORT (criteria) charset keys");
                return;
        }
        for (size_t i = 0; i < t->criterion_count; i++)
                g->wants_fields = g->wants_fields || t->criteria[i].by == BY_DATE
                                  || t->criteria[i].by >= BY_SUBJECT;
        g->state = t;
        g->found = found;
        g->end = end;
        imap_server_search_begin(s, p, g, charset);
}
