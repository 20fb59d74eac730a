/* SEARCH (RFC 9051 section 6.4.4) with ESEARCH (RFC 4731), SEARCHRES (RFC 5182),
 * and what SORT and THREAD share with it. */
#include "wire/imap/imap_server_search.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/* ---- the visit ----------------------------------------------------------------- */

static void next_candidate(struct imap_server *s, struct imap_searching *g)
{
        struct imap_candidate *c = &g->candidate;

        g->index++;
        c->octets = (struct span) {NULL, 0};
        c->is_whole = c->has_body = c->has_header = c->has_digest = c->has_raw = false;
        buffer_clear(c->header);
        buffer_clear(c->raw);
        imap_server_clear_message(s);
}

static void answered_body(struct imap_server *s, const struct imap_answer *a)
{
        struct imap_searching *g = s->work_state;
        struct imap_candidate *c = &g->candidate;
        bool is_there = a->result == IMAP_OK;

        if (is_there && a->is_digest)
                is_there = c->has_digest = digest_open(a->octets, &c->digest) == 0;
        else if (is_there)
                c->octets = a->octets.p ? a->octets : SPAN_LITERAL("");
        if (!is_there) {
                g->is_missing = true;
                next_candidate(s, g);
        }
}

/* What was given before is gone then: a digest is made of the octets again. */
static void ask(struct imap_server *s, struct imap_searching *g, struct imap_event *ev,
                enum imap_match needs)
{
        g->candidate.has_digest = false;
        g->candidate.is_whole = needs == IMAP_MATCH_NEEDS_BODY;
        ev->message = *g->candidate.message;
        ev->need = needs == IMAP_MATCH_NEEDS_FIELDS   ? IMAP_NEED_FIELDS
                   : needs == IMAP_MATCH_NEEDS_HEADER ? IMAP_NEED_HEADER
                                                      : IMAP_NEED_BODY;
        imap_server_wait(s, ev, IMAP_EVENT_BODY, answered_body);
}

/* One message as far as it goes. True: an event. */
static bool look(struct imap_server *s, struct imap_searching *g, struct imap_event *ev)
{
        struct imap_candidate *c = &g->candidate;
        enum imap_match m;

        c->message = imap_view_at(s->view, g->index);
        m = imap_search_match(g->key, c);
        if (m == IMAP_MATCH_YES && g->wants_fields && !c->has_digest && !c->octets.p)
                m = IMAP_MATCH_NEEDS_FIELDS;
        if (m >= IMAP_MATCH_NEEDS_FIELDS) {
                ask(s, g, ev, m);
                return true;
        }
        if (m == IMAP_MATCH_YES) {
                if (c->message->modseq > g->modseq_max)
                        g->modseq_max = c->message->modseq;
                if (!g->found(s, c, g->index))
                        s->is_broken = true;
        }
        next_candidate(s, g);
        return false;
}

static void work(struct imap_server *s, struct imap_event *ev)
{
        struct imap_searching *g = s->work_state;

        while (g->index < s->view->count && !s->is_broken)
                if (look(s, g, ev))
                        return;
        s->work = NULL;
        g->end(s);
}

void imap_server_search_finish(struct imap_server *s)
{
        struct imap_searching *g = s->work_state;

        buffer_done(&s->header_text);
        buffer_done(&s->raw_text);
        if (g->is_missing)
                imap_server_finish(s, IMAP_OK, NULL, "Done, but some messages are gone");
        else
                imap_server_ok(s);
}

void imap_server_search_begin(struct imap_server *s, struct imap_parser *p,
                              struct imap_searching *g, struct span charset)
{
        int r;

        g->context = (struct imap_key_context) {
                .view = s->view, .saved = s->saved, .saved_count = s->saved_count,
                .charset = charset.len ? charset : SPAN_LITERAL("UTF-8"),
        };
        r = imap_search_parse(p, &g->context, &g->key);
        if (r == -ENOTSUP) {
                imap_server_no(s, "BADCHARSET (US-ASCII UTF-8 ISO-2022-JP Shift_JIS EUC-JP)",
                               "The charset is not known");
                return;
        }
        if (r < 0) {
                imap_server_bad(s, "The search keys are not understood");
                return;
        }
        if (g->context.has_modseq)
                s->enabled |= IMAP_ENABLED_CONDSTORE;
        g->candidate = (struct imap_candidate) {
                .view = s->view, .now_us = clock_now_us(), .arena = &s->message,
                .body = &s->scratch, .header = &s->header_text,
                .raw = &s->raw_text,
        };
        s->work_state = g;
        s->work = work;
}

void imap_server_search_save(struct imap_server *s, const struct imap_uid_list *uids)
{
        struct imap_range *saved = NULL;

        if (uids->count) {
                saved = malloc(uids->count * sizeof *saved);
                if (!saved) {
                        s->is_broken = true;
                        return;
                }
                memcpy(saved, uids->ranges, uids->count * sizeof *saved);
        }
        free(s->saved);
        s->saved = saved;
        s->saved_count = uids->count;
}

/* ---- SEARCH -------------------------------------------------------------------- */

struct results {
        struct imap_uid_list uids, numbers;
        size_t count;
};

static bool found(struct imap_server *s, struct imap_candidate *c, size_t index)
{
        struct imap_searching *g = s->work_state;
        struct results *r = g->state;

        r->count++;
        return imap_uid_list_add(&r->uids, &s->arena, c->message->uid)
               && (s->is_uid || imap_uid_list_add(&r->numbers, &s->arena, (uint32_t) index + 1));
}

void imap_server_search_put_begin(struct imap_server *s)
{
        imap_server_put(s, "* ESEARCH (TAG ");
        imap_server_put_string(s, s->tag);
        imap_server_put(s, s->is_uid ? ") UID" : ")");
}

static void put_named(struct imap_server *s, const char *name, uint64_t n)
{
        imap_server_put(s, name);
        imap_server_put_number(s, n);
}

static void put_extended(struct imap_server *s, const struct imap_searching *g,
                         const struct imap_uid_list *l)
{
        const struct results *r = g->state;

        if (g->returns == IMAP_RETURN_SAVE)
                return;
        imap_server_search_put_begin(s);
        if ((g->returns & IMAP_RETURN_MIN) && l->count)
                put_named(s, " MIN ", l->ranges[0].first);
        if ((g->returns & IMAP_RETURN_MAX) && l->count)
                put_named(s, " MAX ", l->ranges[l->count - 1].last);
        if (g->returns & IMAP_RETURN_COUNT)
                put_named(s, " COUNT ", r->count);
        if ((g->returns & IMAP_RETURN_ALL) && l->count) {
                imap_server_put(s, " ALL ");
                imap_server_put_ranges(s, l->ranges, l->count);
        }
        if (g->context.has_modseq && l->count)
                put_named(s, " MODSEQ ", g->modseq_max);
        imap_server_put(s, "\r\n");
}

static void put_plain(struct imap_server *s, const struct imap_searching *g,
                      const struct imap_uid_list *l)
{
        imap_server_put(s, "* SEARCH");
        for (size_t i = 0; i < l->count; i++)
                for (uint64_t n = l->ranges[i].first; n <= l->ranges[i].last; n++)
                        put_named(s, " ", n);
        if (g->context.has_modseq && l->count) {
                put_named(s, " (MODSEQ ", g->modseq_max);
                imap_server_put(s, ")");
        }
        imap_server_put(s, "\r\n");
}

/* Only MIN, only MAX, or both are saved where nothing else is asked for (RFC
 * 5182 section 2.1). */
static void save(struct imap_server *s, const struct imap_searching *g, const struct results *r)
{
        struct imap_uid_list few = {0};
        const unsigned wants = g->returns & ~(unsigned) IMAP_RETURN_SAVE;

        if (wants == 0 || (wants & (IMAP_RETURN_ALL | IMAP_RETURN_COUNT)) || r->uids.count == 0) {
                imap_server_search_save(s, &r->uids);
                return;
        }
        if (wants & IMAP_RETURN_MIN)
                imap_uid_list_add(&few, &s->arena, r->uids.ranges[0].first);
        if ((wants & IMAP_RETURN_MAX)
            && (few.count == 0
                || few.ranges[0].first != r->uids.ranges[r->uids.count - 1].last))
                imap_uid_list_add(&few, &s->arena, r->uids.ranges[r->uids.count - 1].last);
        imap_server_search_save(s, &few);
}

static void end(struct imap_server *s)
{
        const struct imap_searching *g = s->work_state;
        const struct results *r = g->state;
        const struct imap_uid_list *l = s->is_uid ? &r->uids : &r->numbers;

        if (g->returns & IMAP_RETURN_SAVE)
                save(s, g, r);
        if (g->is_extended || (s->enabled & IMAP_ENABLED_REV2))
                put_extended(s, g, l);
        else
                put_plain(s, g, l);
        imap_server_search_finish(s);
}

static bool parse_returns(struct imap_parser *p, struct imap_searching *g)
{
        static const struct {
                struct span name;
                unsigned value;
        } names[] = {
                { SPAN("MIN"), IMAP_RETURN_MIN },     { SPAN("MAX"), IMAP_RETURN_MAX },
                { SPAN("ALL"), IMAP_RETURN_ALL },     { SPAN("COUNT"), IMAP_RETURN_COUNT },
                { SPAN("SAVE"), IMAP_RETURN_SAVE },
        };

        if (!imap_parse_space(p) || !imap_parse_char(p, '('))
                return false;
        if (imap_parse_char(p, ')')) {
                g->returns = IMAP_RETURN_ALL;
                return true;
        }
        do {
                size_t i = 0;

                while (i < sizeof names / sizeof names[0] && !imap_parse_word(p, names[i].name))
                        i++;
                if (i == sizeof names / sizeof names[0])
                        return false;
                g->returns |= names[i].value;
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')');
}

bool imap_server_search_returns(struct imap_parser *p, struct imap_searching *ret)
{
        if (!imap_parse_word(p, SPAN_LITERAL("RETURN")))
                return true;
        ret->is_extended = true;
        return parse_returns(p, ret) && imap_parse_space(p);
}

IMAP_COMMAND_FUNCTION(search)
{
        struct imap_searching *g = arena_alloc(&s->arena, sizeof *g);
        struct results *r = arena_alloc(&s->arena, sizeof *r);
        struct span charset = {NULL, 0};

        if (!g || !r || !imap_parse_space(p) || !imap_server_search_returns(p, g)
            || (imap_parse_word(p, SPAN_LITERAL("CHARSET"))
                && (!imap_parse_space(p) || !imap_parse_astring(p, &charset)
                    || !imap_parse_space(p)))) {
                imap_server_bad(s, "Say SEARCH [RETURN (...)] [CHARSET name] keys");
                return;
        }
        /* Without options ESEARCH says all of them (RFC 9051 section 6.4.4). */
        if (g->returns == 0)
                g->returns = IMAP_RETURN_ALL;
        g->state = r;
        g->found = found;
        g->end = end;
        imap_server_search_begin(s, p, g, charset);
}
