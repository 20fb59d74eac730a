#include "wire/imap/imap_search.h"

#include <errno.h>

#include "base/clock.h"
#include "message/charset.h"
#include "message/date.h"
#include "message/header.h"
#include "message/search_text.h"
#include "wire/imap/imap_server_engine.h"

enum {
        DIGEST_MADE_MAX = 16 * 1024 * 1024, /* of one header */
        FOLDED_MAX = 16 * 1024 * 1024,      /* text of one field */
};

/* ---- grammar ------------------------------------------------------------------- */

enum argument {
        TAKES_NOTHING,
        TAKES_TEXT,
        TAKES_DATE,     /* kind as it is */
        TAKES_ON,       /* a day: SINCE it and BEFORE the next */
        TAKES_NUMBER,
        TAKES_KEYWORD,
        TAKES_OTHER,
};

static const struct row {
        struct span word;
        enum argument argument;
        enum imap_key_kind kind;
        unsigned flag;
        bool is_not;
        enum imap_key_kind before; /* ON: the other half */
} rows[] = {
        { SPAN("ALL"), TAKES_NOTHING, IMAP_KEY_ALL },
        { SPAN("ANSWERED"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_ANSWERED },
        { SPAN("DELETED"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_DELETED },
        { SPAN("DRAFT"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_DRAFT },
        { SPAN("FLAGGED"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_FLAGGED },
        { SPAN("SEEN"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_SEEN },
        { SPAN("UNANSWERED"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_ANSWERED, true },
        { SPAN("UNDELETED"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_DELETED, true },
        { SPAN("UNDRAFT"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_DRAFT, true },
        { SPAN("UNFLAGGED"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_FLAGGED, true },
        { SPAN("UNSEEN"), TAKES_NOTHING, IMAP_KEY_FLAG, IMAP_FLAG_SEEN, true },
        { SPAN("NEW"), TAKES_NOTHING, IMAP_KEY_NONE },
        { SPAN("RECENT"), TAKES_NOTHING, IMAP_KEY_NONE },
        { SPAN("OLD"), TAKES_NOTHING, IMAP_KEY_ALL },
        { SPAN("SAVEDATESUPPORTED"), TAKES_NOTHING, IMAP_KEY_ALL },
        { SPAN("BCC"), TAKES_TEXT, IMAP_KEY_FIELD, DIGEST_TEXT_BCC },
        { SPAN("CC"), TAKES_TEXT, IMAP_KEY_FIELD, DIGEST_TEXT_CC },
        { SPAN("FROM"), TAKES_TEXT, IMAP_KEY_FIELD, DIGEST_TEXT_FROM },
        { SPAN("SUBJECT"), TAKES_TEXT, IMAP_KEY_FIELD, DIGEST_TEXT_SUBJECT },
        { SPAN("TO"), TAKES_TEXT, IMAP_KEY_FIELD, DIGEST_TEXT_TO },
        { SPAN("BODY"), TAKES_TEXT, IMAP_KEY_BODY },
        { SPAN("TEXT"), TAKES_TEXT, IMAP_KEY_TEXT },
        { SPAN("BEFORE"), TAKES_DATE, IMAP_KEY_BEFORE },
        { SPAN("SINCE"), TAKES_DATE, IMAP_KEY_SINCE },
        { SPAN("ON"), TAKES_ON, IMAP_KEY_SINCE, 0, false, IMAP_KEY_BEFORE },
        { SPAN("SAVEDBEFORE"), TAKES_DATE, IMAP_KEY_SAVED_BEFORE },
        { SPAN("SAVEDSINCE"), TAKES_DATE, IMAP_KEY_SAVED_SINCE },
        { SPAN("SAVEDON"), TAKES_ON, IMAP_KEY_SAVED_SINCE, 0, false, IMAP_KEY_SAVED_BEFORE },
        { SPAN("SENTBEFORE"), TAKES_DATE, IMAP_KEY_SENT_BEFORE },
        { SPAN("SENTSINCE"), TAKES_DATE, IMAP_KEY_SENT_SINCE },
        { SPAN("SENTON"), TAKES_ON, IMAP_KEY_SENT_SINCE, 0, false, IMAP_KEY_SENT_BEFORE },
        { SPAN("LARGER"), TAKES_NUMBER, IMAP_KEY_LARGER },
        { SPAN("SMALLER"), TAKES_NUMBER, IMAP_KEY_SMALLER },
        { SPAN("OLDER"), TAKES_NUMBER, IMAP_KEY_OLDER },
        { SPAN("YOUNGER"), TAKES_NUMBER, IMAP_KEY_YOUNGER },
        { SPAN("KEYWORD"), TAKES_KEYWORD, IMAP_KEY_KEYWORD },
        { SPAN("UNKEYWORD"), TAKES_KEYWORD, IMAP_KEY_KEYWORD, 0, true },
        { SPAN("HEADER"), TAKES_OTHER, IMAP_KEY_HEADER },
        { SPAN("MODSEQ"), TAKES_OTHER, IMAP_KEY_MODSEQ },
        { SPAN("EMAILID"), TAKES_OTHER, IMAP_KEY_EMAILID },
        { SPAN("THREADID"), TAKES_OTHER, IMAP_KEY_NONE },
        { SPAN("UID"), TAKES_OTHER, IMAP_KEY_UIDS },
        { SPAN("NOT"), TAKES_OTHER, IMAP_KEY_NOT },
        { SPAN("OR"), TAKES_OTHER, IMAP_KEY_OR },
};

static int parse_key(struct imap_parser *p, struct imap_key_context *c, struct imap_key **ret);

static struct imap_key *key_new(struct imap_parser *p, struct imap_key_context *c,
                                enum imap_key_kind kind)
{
        struct imap_key *k;

        if (c->keys++ >= IMAP_SERVER_SEARCH_KEYS_MAX)
                return NULL;
        k = arena_alloc(p->arena, sizeof *k);
        if (k)
                k->kind = kind;
        return k;
}

/* The text in the command's charset, folded. */
static int parse_text(struct imap_parser *p, const struct imap_key_context *c, struct span *ret)
{
        struct buffer text = BUFFER_INIT(1024 * 1024), folded = BUFFER_INIT(4 * 1024 * 1024);
        struct span raw;
        int r;

        if (!imap_parse_space(p) || !imap_parse_astring(p, &raw))
                return -EBADMSG;
        r = charset_to_utf8(c->charset, raw, &text);
        if (r == 0)
                r = search_text_fold(buffer_span(&text), &folded);
        if (r == 0) {
                *ret = arena_copy(p->arena, buffer_span(&folded));
                r = ret->p ? 0 : -EBADMSG;
        }
        buffer_done(&text);
        buffer_done(&folded);
        return r;
}

static int parse_set(struct imap_parser *p, struct imap_key_context *c, bool is_uid,
                     struct imap_key *k)
{
        struct imap_range *ranges;
        struct imap_set set;

        if (!imap_parse_set(p, &set))
                return -EBADMSG;
        if (set.is_saved) {
                set.ranges = c->saved;
                set.count = c->saved_count;
        }
        if (!imap_server_resolve_in(c->view, p->arena, &set, is_uid, &ranges, &k->uid_count))
                return -EBADMSG;
        k->uids = ranges;
        return 0;
}

static int parse_modseq(struct imap_parser *p, struct imap_key_context *c, struct imap_key *k)
{
        struct span name, type;

        if (!imap_parse_space(p))
                return -EBADMSG;
        /* An entry, "/flags/\\seen" all: all of them have the message's modseq. */
        if (imap_parse_peek(p) == '"'
            && (!imap_parse_string(p, &name) || !imap_parse_space(p) || !imap_parse_atom(p, &type)
                || !imap_parse_space(p)))
                return -EBADMSG;
        c->has_modseq = true;
        return imap_parse_number(p, INT64_MAX, &k->number) ? 0 : -EBADMSG;
}

static int parse_email_id(struct imap_parser *p, struct imap_key *k)
{
        struct span id;

        if (!imap_parse_space(p) || !imap_parse_astring(p, &id))
                return -EBADMSG;
        if (k->kind == IMAP_KEY_NONE)
                return 0;
        if (id.len >= 2 && id.p[0] == 'M') {
                struct imap_parser number = {.rest = span_skip(id, 1)};

                if (imap_parse_number(&number, UINT64_MAX, &k->number) && imap_parse_end(&number))
                        return 0;
        }
        k->kind = IMAP_KEY_NONE; /* an id that nothing has */
        return 0;
}

static int parse_children(struct imap_parser *p, struct imap_key_context *c, struct imap_key *k,
                          unsigned count)
{
        struct imap_key **at = &k->children;

        for (unsigned i = 0; i < count; i++) {
                int r;

                if (!imap_parse_space(p))
                        return -EBADMSG;
                r = parse_key(p, c, at);
                if (r < 0)
                        return r;
                at = &(*at)->next;
        }
        return 0;
}

static int parse_header(struct imap_parser *p, struct imap_key_context *c, struct imap_key *k)
{
        if (!imap_parse_space(p) || !imap_parse_astring(p, &k->name))
                return -EBADMSG;
        return parse_text(p, c, &k->text);
}

static int parse_other(struct imap_parser *p, struct imap_key_context *c, struct imap_key *k)
{
        switch (k->kind) {
        case IMAP_KEY_HEADER:
                return parse_header(p, c, k);
        case IMAP_KEY_MODSEQ:
                return parse_modseq(p, c, k);
        case IMAP_KEY_UIDS:
                return imap_parse_space(p) ? parse_set(p, c, true, k) : -EBADMSG;
        case IMAP_KEY_NOT:
                return parse_children(p, c, k, 1);
        case IMAP_KEY_OR:
                return parse_children(p, c, k, 2);
        default:
                return parse_email_id(p, k);
        }
}

static int parse_keyword(struct imap_parser *p, const struct imap_key_context *c,
                         struct imap_key *k)
{
        struct span name;

        if (!imap_parse_space(p) || !imap_parse_atom(p, &name))
                return -EBADMSG;
        for (unsigned i = 0; i < c->view->keyword_count; i++)
                if (span_equal_nocase(name, c->view->keywords[i]))
                        k->flag = 1u << i;
        return 0;
}

/* ON: two keys under one AND. */
static int parse_on(struct imap_parser *p, struct imap_key_context *c, const struct row *row,
                    struct imap_key *k)
{
        struct imap_key *since = key_new(p, c, row->kind), *before = key_new(p, c, row->before);

        if (!since || !before || !imap_parse_space(p) || !imap_parse_date(p, &since->day))
                return -EBADMSG;
        before->day = since->day + 1;
        since->next = before;
        k->kind = IMAP_KEY_AND;
        k->children = since;
        return 0;
}

static int parse_argument(struct imap_parser *p, struct imap_key_context *c,
                          const struct row *row, struct imap_key *k)
{
        bool ok = true;

        switch (row->argument) {
        case TAKES_NOTHING:
                break;
        case TAKES_TEXT:
                return parse_text(p, c, &k->text);
        case TAKES_DATE:
                ok = imap_parse_space(p) && imap_parse_date(p, &k->day);
                break;
        case TAKES_ON:
                return parse_on(p, c, row, k);
        case TAKES_NUMBER:
                ok = imap_parse_space(p) && imap_parse_number(p, INT64_MAX, &k->number);
                break;
        case TAKES_KEYWORD:
                return parse_keyword(p, c, k);
        case TAKES_OTHER:
                return parse_other(p, c, k);
        }
        return ok ? 0 : -EBADMSG;
}

/* Keys up to ")" or the end. */
static int parse_keys(struct imap_parser *p, struct imap_key_context *c, struct imap_key *k)
{
        struct imap_key **at = &k->children;

        do {
                const int r = parse_key(p, c, at);

                if (r < 0)
                        return r;
                at = &(*at)->next;
        } while (imap_parse_space(p));
        return 0;
}

static bool is_set(char ch)
{
        return (ch >= '0' && ch <= '9') || ch == '*' || ch == '$';
}

static int parse_word(struct imap_parser *p, struct imap_key_context *c, struct imap_key **ret)
{
        const struct row *row = NULL;
        struct imap_key *k;
        int r;

        for (size_t i = 0; i < sizeof rows / sizeof rows[0] && !row; i++)
                if (imap_parse_word(p, rows[i].word))
                        row = &rows[i];
        k = row ? key_new(p, c, row->kind) : NULL;
        if (!k)
                return -EBADMSG;
        k->flag = row->flag;
        r = parse_argument(p, c, row, k);
        if (r == 0 && row->is_not) {
                *ret = key_new(p, c, IMAP_KEY_NOT);
                if (!*ret)
                        return -EBADMSG;
                (*ret)->children = k;
        } else if (r == 0) {
                *ret = k;
        }
        return r;
}

static int parse_key(struct imap_parser *p, struct imap_key_context *c, struct imap_key **ret)
{
        struct imap_key *k;
        int r;

        if (c->depth >= IMAP_SERVER_SEARCH_DEPTH_MAX)
                return -EBADMSG;
        c->depth++;
        if (imap_parse_char(p, '(')) {
                k = *ret = key_new(p, c, IMAP_KEY_AND);
                r = k ? parse_keys(p, c, k) : -EBADMSG;
                if (r == 0 && !imap_parse_char(p, ')'))
                        r = -EBADMSG;
        } else if (is_set(imap_parse_peek(p))) {
                k = *ret = key_new(p, c, IMAP_KEY_UIDS);
                r = k ? parse_set(p, c, false, k) : -EBADMSG;
        } else {
                r = parse_word(p, c, ret);
        }
        c->depth--;
        return r;
}

int imap_search_parse(struct imap_parser *p, struct imap_key_context *c, struct imap_key **ret)
{
        struct imap_key *k;
        int r;

        if (!charset_is_known(c->charset))
                return -ENOTSUP;
        k = key_new(p, c, IMAP_KEY_AND);
        r = k ? parse_keys(p, c, k) : -EBADMSG;
        if (r < 0 || !imap_parse_end(p))
                return r < 0 ? r : -EBADMSG;
        *ret = k;
        return 0;
}

/* ---- matching ------------------------------------------------------------------ */

static enum imap_match yes(bool condition)
{
        return condition ? IMAP_MATCH_YES : IMAP_MATCH_NO;
}

const struct digest *imap_search_digest(struct imap_candidate *c)
{
        struct buffer made = BUFFER_INIT(DIGEST_MADE_MAX);
        struct span octets = {NULL, 0};

        if (c->has_digest)
                return &c->digest;
        if (c->octets.p && digest_make_fields(c->octets, c->arena, &made) == 0)
                octets = arena_copy(c->arena, buffer_span(&made));
        buffer_done(&made);
        c->has_digest = octets.p && digest_open(octets, &c->digest) == 0;
        return c->has_digest ? &c->digest : NULL;
}

void imap_search_sent(struct imap_candidate *c, int64_t *ret_at, int64_t *ret_day)
{
        const struct digest *d = imap_search_digest(c);
        struct span wire = d ? d->fields[DIGEST_DATE] : (struct span) {NULL, 0}, date;

        if (wire.len && digest_take_string(&wire, c->arena, &date)
            && date_parse(date, ret_at, ret_day) == 0)
                return;
        *ret_at = (int64_t) (c->message->arrived_us / 1000000);
        *ret_day = clock_day(c->message->arrived_us);
}

static bool needs_fields(const struct imap_candidate *c)
{
        return !c->has_digest && !c->octets.p;
}

static enum imap_match match_sent(const struct imap_key *key, struct imap_candidate *c)
{
        int64_t at, day;

        if (needs_fields(c))
                return IMAP_MATCH_NEEDS_FIELDS;
        imap_search_sent(c, &at, &day);
        return yes(key->kind == IMAP_KEY_SENT_BEFORE ? day < key->day : day >= key->day);
}

/* The empty text asks for the field alone. */
static enum imap_match match_field(const struct imap_key *key, struct imap_candidate *c)
{
        struct buffer folded = BUFFER_INIT(FOLDED_MAX);
        const struct digest *d;
        struct span text;
        bool found;

        if (needs_fields(c))
                return IMAP_MATCH_NEEDS_FIELDS;
        d = imap_search_digest(c);
        text = d ? digest_text(d, key->flag, c->arena) : (struct span) {NULL, 0};
        found = text.p && (key->text.len == 0
                           || (search_text_fold(text, &folded) == 0
                               && search_text_contains(buffer_span(&folded), key->text)));
        buffer_done(&folded);
        return yes(found);
}

/* Of all fields of that name; the empty text asks for the field alone. */
static enum imap_match match_header(const struct imap_key *key, struct imap_candidate *c)
{
        struct header_scan scan;
        struct header_field field;
        int r;

        if (!c->octets.p)
                return IMAP_MATCH_NEEDS_HEADER;
        scan = HEADER_SCAN(c->octets, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        while ((r = header_next(&scan, &field)) == 1 || r == -EBADMSG) {
                struct buffer text = BUFFER_INIT(FOLDED_MAX);
                bool found;

                if (r != 1 || !span_equal_nocase(field.name, key->name))
                        continue;
                found = key->text.len == 0
                        || (search_text_field(field.value, &text) == 0
                            && search_text_contains(buffer_span(&text), key->text));
                buffer_done(&text);
                if (found)
                        return IMAP_MATCH_YES;
        }
        return IMAP_MATCH_NO;
}

/* Without decoding anything, for what most messages are. */
static bool cannot_match(const struct imap_key *key, struct imap_candidate *c)
{
        const struct span word = search_text_word(key->text);

        if (!word.len)
                return false;
        if (!c->has_raw) {
                c->has_raw = true;
                c->is_plain = search_text_is_plain(c->octets, c->arena)
                              && search_text_fold(c->octets, c->raw) == 0;
        }
        return c->is_plain && !search_text_contains(buffer_span(c->raw), word);
}

static enum imap_match match_text(const struct imap_key *key, struct imap_candidate *c)
{
        if (!c->octets.p || !c->is_whole)
                return IMAP_MATCH_NEEDS_BODY;
        if (cannot_match(key, c))
                return IMAP_MATCH_NO;
        if (key->kind == IMAP_KEY_TEXT) {
                if (!c->has_header)
                        c->has_header = search_text_header(c->octets, c->header) == 0;
                if (search_text_contains(buffer_span(c->header), key->text))
                        return IMAP_MATCH_YES;
        }
        if (!c->has_body)
                c->has_body = search_text_body(c->octets, c->arena, c->body) == 0;
        return yes(search_text_contains(buffer_span(c->body), key->text));
}

static bool is_within(const struct imap_key *key, const struct imap_candidate *c)
{
        const uint64_t age = c->now_us > c->message->arrived_us
                                     ? (c->now_us - c->message->arrived_us) / 1000000 : 0;

        return key->kind == IMAP_KEY_OLDER ? age >= key->number : age <= key->number;
}

static enum imap_match match_leaf(const struct imap_key *key, struct imap_candidate *c)
{
        const struct imap_message *m = c->message;

        switch (key->kind) {
        case IMAP_KEY_ALL:
                return IMAP_MATCH_YES;
        case IMAP_KEY_UIDS:
                return yes(imap_server_in_ranges(key->uids, key->uid_count, m->uid));
        case IMAP_KEY_FLAG:
                return yes(m->flags & key->flag);
        case IMAP_KEY_KEYWORD:
                return yes(m->keywords & key->flag);
        case IMAP_KEY_LARGER:
                return yes(m->size > key->number);
        case IMAP_KEY_SMALLER:
                return yes(m->size < key->number);
        case IMAP_KEY_BEFORE:
                return yes(clock_day(m->arrived_us) < key->day);
        case IMAP_KEY_SINCE:
                return yes(clock_day(m->arrived_us) >= key->day);
        case IMAP_KEY_SAVED_BEFORE:
                return yes(clock_day(m->saved_us) < key->day);
        case IMAP_KEY_SAVED_SINCE:
                return yes(clock_day(m->saved_us) >= key->day);
        case IMAP_KEY_OLDER:
        case IMAP_KEY_YOUNGER:
                return yes(is_within(key, c));
        case IMAP_KEY_MODSEQ:
                return yes(m->modseq >= key->number);
        case IMAP_KEY_EMAILID:
                return yes(m->body_id == key->number);
        case IMAP_KEY_SENT_BEFORE:
        case IMAP_KEY_SENT_SINCE:
                return match_sent(key, c);
        case IMAP_KEY_FIELD:
                return match_field(key, c);
        case IMAP_KEY_HEADER:
                return match_header(key, c);
        case IMAP_KEY_BODY:
        case IMAP_KEY_TEXT:
                return match_text(key, c);
        default:
                return IMAP_MATCH_NO;
        }
}

/* What may be enough for an answer comes first: the digest, then all the rest at once. */
static enum imap_match join_needs(enum imap_match need, enum imap_match more)
{
        if (need < IMAP_MATCH_NEEDS_FIELDS)
                return more;
        if (need == IMAP_MATCH_NEEDS_FIELDS || more == IMAP_MATCH_NEEDS_FIELDS)
                return IMAP_MATCH_NEEDS_FIELDS;
        return more > need ? more : need;
}

/* AND ends with the first NO, OR with the first YES; what needs octets is put
 * off until all others have been asked. */
static enum imap_match match_children(const struct imap_key *key, struct imap_candidate *c)
{
        const bool is_or = key->kind == IMAP_KEY_OR;
        const enum imap_match end = is_or ? IMAP_MATCH_YES : IMAP_MATCH_NO;
        enum imap_match need = is_or ? IMAP_MATCH_NO : IMAP_MATCH_YES;

        /* With the octets there, the cheap ones still go first. */
        for (unsigned pass = 0; pass < 2; pass++) {
                for (const struct imap_key *k = key->children; k; k = k->next) {
                        const bool is_dear = k->kind >= IMAP_KEY_BODY;
                        enum imap_match m;

                        if (is_dear != (pass == 1))
                                continue;
                        m = imap_search_match(k, c);
                        if (m == end)
                                return end;
                        if (m >= IMAP_MATCH_NEEDS_FIELDS)
                                need = join_needs(need, m);
                }
        }
        return need;
}

enum imap_match imap_search_match(const struct imap_key *key, struct imap_candidate *c)
{
        enum imap_match m;

        switch (key->kind) {
        case IMAP_KEY_AND:
        case IMAP_KEY_OR:
                return match_children(key, c);
        case IMAP_KEY_NOT:
                m = imap_search_match(key->children, c);
                return m >= IMAP_MATCH_NEEDS_FIELDS ? m : yes(m == IMAP_MATCH_NO);
        default:
                return match_leaf(key, c);
        }
}
