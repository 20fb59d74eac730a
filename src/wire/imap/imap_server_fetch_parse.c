/* The grammar of FETCH (RFC 9051 section 9, fetch-att). */
#include "wire/imap/imap_server_fetch.h"

static const struct {
        struct span name;
        enum imap_fetch_kind kind;
        enum imap_section section;
        bool sets_seen;
} names[] = {
        { SPAN("UID"), IMAP_FETCH_UID },
        { SPAN("FLAGS"), IMAP_FETCH_FLAGS },
        { SPAN("INTERNALDATE"), IMAP_FETCH_INTERNALDATE },
        { SPAN("SAVEDATE"), IMAP_FETCH_SAVEDATE },
        { SPAN("MODSEQ"), IMAP_FETCH_MODSEQ },
        { SPAN("EMAILID"), IMAP_FETCH_EMAILID },
        { SPAN("THREADID"), IMAP_FETCH_THREADID },
        { SPAN("ENVELOPE"), IMAP_FETCH_ENVELOPE },
        { SPAN("BODYSTRUCTURE"), IMAP_FETCH_BODYSTRUCTURE },
        { SPAN("RFC822.SIZE"), IMAP_FETCH_SIZE },
        { SPAN("RFC822.HEADER"), IMAP_FETCH_SECTION, IMAP_SECTION_HEADER },
        { SPAN("RFC822.TEXT"), IMAP_FETCH_SECTION, IMAP_SECTION_TEXT, true },
        { SPAN("RFC822"), IMAP_FETCH_SECTION, IMAP_SECTION_ALL, true },
};

static const struct {
        struct span name;
        struct span means;
} macros[] = {
        { SPAN("ALL"), SPAN("FLAGS INTERNALDATE RFC822.SIZE ENVELOPE") },
        { SPAN("FAST"), SPAN("FLAGS INTERNALDATE RFC822.SIZE") },
        { SPAN("FULL"), SPAN("FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY") },
};

/* "1.2.": the numbers, and whether text follows them. */
static bool parse_numbers(struct imap_parser *p, struct imap_fetch_item *item, bool *ret_has_text)
{
        item->numbers = arena_alloc(p->arena, IMAP_SECTION_DEPTH_MAX * sizeof *item->numbers);
        if (!item->numbers)
                return false;
        *ret_has_text = imap_parse_peek(p) != ']';
        while (imap_parse_peek(p) >= '0' && imap_parse_peek(p) <= '9') {
                uint64_t n;

                if (item->number_count == IMAP_SECTION_DEPTH_MAX
                    || !imap_parse_number(p, UINT32_MAX, &n) || n == 0)
                        return false;
                item->numbers[item->number_count++] = (unsigned) n;
                *ret_has_text = imap_parse_char(p, '.');
                if (!*ret_has_text)
                        return imap_parse_peek(p) == ']';
        }
        return true;
}

static bool parse_fields(struct imap_parser *p, struct imap_fetch_item *item)
{
        size_t room = 0;

        if (!imap_parse_space(p) || !imap_parse_char(p, '('))
                return false;
        do {
                if (item->field_count == room) {
                        struct span *grown;

                        room = room ? 2 * room : 8;
                        grown = arena_alloc(p->arena, room * sizeof *grown);
                        if (!grown || room > IMAP_PARSE_LIST_MAX)
                                return false;
                        if (item->field_count)
                                memcpy(grown, item->fields, item->field_count * sizeof *grown);
                        item->fields = grown;
                }
                if (!imap_parse_astring(p, &item->fields[item->field_count++]))
                        return false;
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')');
}

/* Longer names first: a word ends before "." only where it is no atom's. */
static bool parse_section_text(struct imap_parser *p, struct imap_fetch_item *item)
{
        if (imap_parse_word(p, SPAN_LITERAL("HEADER.FIELDS.NOT"))) {
                item->section = IMAP_SECTION_FIELDS_NOT;
                return parse_fields(p, item);
        }
        if (imap_parse_word(p, SPAN_LITERAL("HEADER.FIELDS"))) {
                item->section = IMAP_SECTION_FIELDS;
                return parse_fields(p, item);
        }
        if (imap_parse_word(p, SPAN_LITERAL("HEADER")))
                item->section = IMAP_SECTION_HEADER;
        else if (imap_parse_word(p, SPAN_LITERAL("TEXT")))
                item->section = IMAP_SECTION_TEXT;
        else if (item->number_count && imap_parse_word(p, SPAN_LITERAL("MIME")))
                item->section = IMAP_SECTION_MIME;
        else
                return false;
        return true;
}

static bool parse_partial(struct imap_parser *p, struct imap_fetch_item *item)
{
        if (!imap_parse_char(p, '<'))
                return true;
        item->has_partial = true;
        return imap_parse_number(p, INT64_MAX, &item->from) && imap_parse_char(p, '.')
               && imap_parse_number(p, INT64_MAX, &item->count) && item->count
               && imap_parse_char(p, '>');
}

/* "BODY" and "[...]" as the response names it: without ".PEEK". */
static bool make_label(struct imap_parser *p, struct imap_fetch_item *item, const char *name,
                       struct span section)
{
        const size_t name_len = strlen(name);
        char *label = arena_alloc(p->arena, name_len + section.len);

        if (!label)
                return false;
        memcpy(label, name, name_len);
        memcpy(label + name_len, section.p, section.len);
        item->label = span_make(label, name_len + section.len);
        return true;
}

static bool parse_section(struct imap_parser *p, struct imap_fetch_item *item, const char *name)
{
        const char *begin = p->rest.p;
        bool has_text;

        if (!imap_parse_char(p, '[') || !parse_numbers(p, item, &has_text))
                return false;
        if (has_text && (item->kind != IMAP_FETCH_SECTION || !parse_section_text(p, item)))
                return false;
        if (!imap_parse_char(p, ']')
            || !make_label(p, item, name, span_make(begin, (size_t) (p->rest.p - begin))))
                return false;
        return item->kind == IMAP_FETCH_BINARY_SIZE || parse_partial(p, item);
}

/* imap_parse_word() takes "[" for a part of an atom. */
static bool take_prefix(struct imap_parser *p, struct span word)
{
        if (!span_starts_with_nocase(p->rest, word))
                return false;
        p->rest = span_skip(p->rest, word.len - 1); /* the "[" stays */
        return true;
}

static bool parse_item(struct imap_parser *p, struct imap_fetch_item *item)
{
        *item = (struct imap_fetch_item) {.kind = IMAP_FETCH_SECTION};
        if (take_prefix(p, SPAN_LITERAL("BODY.PEEK[")))
                return parse_section(p, item, "BODY");
        if (take_prefix(p, SPAN_LITERAL("BODY["))) {
                item->sets_seen = true;
                return parse_section(p, item, "BODY");
        }
        item->kind = IMAP_FETCH_BINARY;
        if (take_prefix(p, SPAN_LITERAL("BINARY.PEEK[")))
                return parse_section(p, item, "BINARY");
        if (take_prefix(p, SPAN_LITERAL("BINARY["))) {
                item->sets_seen = true;
                return parse_section(p, item, "BINARY");
        }
        item->kind = IMAP_FETCH_BINARY_SIZE;
        if (take_prefix(p, SPAN_LITERAL("BINARY.SIZE[")))
                return parse_section(p, item, "BINARY.SIZE");
        if (imap_parse_word(p, SPAN_LITERAL("PREVIEW"))) {
                struct imap_parser back = *p;

                item->kind = IMAP_FETCH_PREVIEW;
                item->label = SPAN_LITERAL("PREVIEW");
                if (!imap_parse_space(p) || !imap_parse_char(p, '(')) { /* "(LAZY)" */
                        *p = back;
                        return true;
                }
                return imap_parse_word(p, SPAN_LITERAL("LAZY")) && imap_parse_char(p, ')');
        }
        if (imap_parse_word(p, SPAN_LITERAL("BODY"))) {
                item->kind = IMAP_FETCH_STRUCTURE;
                item->label = SPAN_LITERAL("BODY");
                return true;
        }
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                if (imap_parse_word(p, names[i].name)) {
                        item->kind = names[i].kind;
                        item->label = names[i].name;
                        item->section = names[i].section;
                        item->sets_seen = names[i].sets_seen;
                        return true;
                }
        }
        return false;
}

static bool add_item(struct imap_parser *p, struct imap_fetch *f)
{
        return f->item_count < IMAP_SERVER_FETCH_ITEMS_MAX
               && parse_item(p, &f->items[f->item_count++]);
}

/* A macro stands alone, but clients put it into parentheses, too. */
static bool add_macro(struct imap_parser *p, struct imap_fetch *f)
{
        for (size_t i = 0; i < sizeof macros / sizeof macros[0]; i++) {
                struct imap_parser inner = {.rest = macros[i].means, .arena = p->arena};

                if (!imap_parse_word(p, macros[i].name))
                        continue;
                do {
                        if (!add_item(&inner, f))
                                return false;
                } while (imap_parse_space(&inner));
                return true;
        }
        return false;
}

static bool parse_modifiers(struct imap_parser *p, struct imap_fetch *f)
{
        if (imap_parse_end(p))
                return true;
        if (!imap_parse_space(p) || !imap_parse_char(p, '('))
                return false;
        do {
                if (imap_parse_word(p, SPAN_LITERAL("VANISHED"))) {
                        f->wants_vanished = true;
                } else if (imap_parse_word(p, SPAN_LITERAL("CHANGEDSINCE"))) {
                        f->has_changed_since = true;
                        if (!imap_parse_space(p)
                            || !imap_parse_number(p, INT64_MAX, &f->changed_since))
                                return false;
                } else {
                        return false;
                }
        } while (imap_parse_space(p));
        return imap_parse_char(p, ')') && imap_parse_end(p)
               && (!f->wants_vanished || f->has_changed_since);
}

bool imap_server_fetch_parse(struct imap_parser *p, struct imap_fetch *ret)
{
        const bool is_list = imap_parse_char(p, '(');

        /* Two more: UID and MODSEQ may be added. */
        ret->items = arena_alloc(p->arena,
                                 (IMAP_SERVER_FETCH_ITEMS_MAX + 2) * sizeof *ret->items);
        if (!ret->items)
                return false;
        do {
                if (!add_macro(p, ret) && !add_item(p, ret))
                        return false;
        } while (is_list && imap_parse_space(p));
        if (is_list && !imap_parse_char(p, ')'))
                return false;
        return parse_modifiers(p, ret);
}
