#include "config/syntax.h"

#include <confuse.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "config/options.h"

/* How it goes:
 *
 *   1. clean(): one look at each octet. Comments become blanks (libconfuse
 *      takes none within a list, and miscounts lines behind some), and what it
 *      would misread is refused.
 *   2. read_pass(): libconfuse parses against rows made from the option table,
 *      all of them texts; a callback notes value and line.
 *   3. libconfuse stops at an unknown name. It is noted, given a row of its
 *      own, and the pass is repeated, so that all are found. */

enum {
        UNKNOWN_MAX = 20,  /* different unknown names; then we give up */
        SECTION_MAX = 16,
        TITLED_MAX = 64,   /* sections with a title */
        ERROR_TEXT_MAX = 1024,
};

struct unknown {
        char *section; /* NULL: at top level */
        char *name;
        unsigned line;
        bool is_section;
};

/* A section with a title, while libconfuse is in it. */
struct titled {
        const cfg_t *cfg;
        unsigned line; /* of its first value */
        unsigned set;  /* a bit for each of option_dnsbl_names */
};

struct reading {
        struct arena *arena;
        struct syntax_setting *settings;
        struct syntax_errors *errors;
        struct unknown unknown[UNKNOWN_MAX];
        size_t unknown_count;
        struct titled titled[TITLED_MAX];
        size_t titled_count;
        bool again;  /* the table of rows changed: parse once more */
        bool failed; /* libconfuse gave up for another reason */
        bool no_memory;
};

/* libconfuse hands its callbacks no argument of ours. */
static _Thread_local struct reading *reading;

void syntax_error_add(struct syntax_errors *errors, struct arena *arena, unsigned line,
                      const char *format, ...)
{
        char text[ERROR_TEXT_MAX];
        va_list args;
        char *copy;

        if (errors->count == SYNTAX_ERRORS_MAX)
                return;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        copy = arena_string(arena, span_from_string(text));
        errors->items[errors->count++] = (struct syntax_error) {
                .line = line, .text = copy ? copy : "something is wrong, and there is no memory"};
}

/* What clean() is in. */
enum place { CODE, QUOTED, APOSTROPHES, LINE_COMMENT, COMMENT };

struct cleaner {
        struct span in;
        char *out; /* as long as `in`, and its NUL */
        size_t at;
        enum place place;
        unsigned line, open_line; /* where a quote or comment began */
        unsigned depth, depth_line;
        struct arena *arena;
        struct syntax_errors *errors;
};

#define BAD(k, bad_line, ...) syntax_error_add((k)->errors, (k)->arena, (bad_line), __VA_ARGS__)

static char peek(const struct cleaner *k)
{
        return k->at + 1 < k->in.len ? k->in.p[k->at + 1] : '\0';
}

static void clean_code(struct cleaner *k, char c)
{
        switch (c) {
        case '"':
        case '\'':
                k->place = c == '"' ? QUOTED : APOSTROPHES;
                k->open_line = k->line;
                break;
        case '#':
                k->place = LINE_COMMENT;
                break;
        case '/':
                if (peek(k) == '/')
                        k->place = LINE_COMMENT;
                else if (peek(k) == '*')
                        k->place = COMMENT;
                k->open_line = k->line;
                break;
        case '{':
                k->depth++;
                k->depth_line = k->line;
                break;
        case '}':
                if (k->depth)
                        k->depth--;
                break;
        case '*':
        case '+':
        case '|':
        case '(':
        case ')':
        case '$':
                BAD(k, k->line, "\"%c\" means nothing here; if it belongs to a value, put the "
                                "value "
                    "in quotes", c);
                break;
        default:
                break;
        }
        k->out[k->at] = k->place == LINE_COMMENT || k->place == COMMENT ? ' ' : c;
        if (k->place == COMMENT)
                k->out[++k->at] = ' '; /* the "*" that began it cannot end it */
}

static void clean_quoted(struct cleaner *k, char c)
{
        const char end = k->place == QUOTED ? '"' : '\'';

        k->out[k->at] = c;
        if (c == end) {
                k->place = CODE;
        } else if (c == '\\') {
                const char next = peek(k);

                if (next == end || next == '\\')
                        k->out[++k->at] = next;
                else
                        BAD(k, k->line, "write \\\\ for a backslash within quotes; only \\\\ and "
                            "\\%c are known", end);
        } else if (c == '$' && peek(k) == '{' && end == '"') {
                BAD(k, k->line, "environment variables are not looked up; write the value itself, "
                    "or '...' around a text that has \"${\" in it");
        }
}

static void clean_comment(struct cleaner *k, char c)
{
        k->out[k->at] = ' ';
        if (k->place == COMMENT && c == '*' && peek(k) == '/') {
                k->out[++k->at] = ' ';
                k->place = CODE;
        }
}

static void clean_line_end(struct cleaner *k)
{
        k->out[k->at] = '\n';
        if (k->place == QUOTED || k->place == APOSTROPHES)
                BAD(k, k->open_line, "a quote begins here and does not end on this line; close it");
        if (k->place != COMMENT)
                k->place = CODE;
        k->line++;
}

/* The text as libconfuse reads it right; NULL without memory. */
static char *clean(struct span text, struct reading *r)
{
        struct cleaner k = {.in = text, .line = 1, .arena = r->arena, .errors = r->errors};

        k.out = arena_alloc(r->arena, text.len + 1);
        if (!k.out)
                return NULL;
        for (; k.at < text.len; k.at++) {
                const char c = text.p[k.at];

                if (c == '\n') {
                        clean_line_end(&k);
                } else if ((unsigned char) c < ' ' && c != '\t' && c != '\r') {
                        BAD(&k, k.line, "there is a control character (octet %d); take it out",
                            (unsigned char) c);
                        return k.out;
                } else if (k.place == CODE) {
                        clean_code(&k, c == '\r' ? ' ' : c);
                } else if (k.place == LINE_COMMENT || k.place == COMMENT) {
                        clean_comment(&k, c);
                } else {
                        clean_quoted(&k, c);
                }
        }
        if (k.place == QUOTED || k.place == APOSTROPHES)
                BAD(&k, k.open_line, "a quote begins here and does not end on this line; close it");
        else if (k.place == COMMENT)
                BAD(&k, k.open_line, "a comment begins here and does not end; close it with */");
        else if (k.depth)
                BAD(&k, k.depth_line, "a brace is opened here and never closed; add a }");
        return k.out;
}

/* "limits.recipients" of section and name, in `out`. */
static struct span full_name(const char *section, const char *name, char *out, size_t out_len)
{
        const int n = section ? snprintf(out, out_len, "%s.%s", section, name)
                              : snprintf(out, out_len, "%s", name);

        return span_make(out, n < (int) out_len ? (size_t) n : out_len - 1);
}

static const char *section_of(const cfg_t *cfg)
{
        return strcmp(cfg->name, "root") == 0 ? NULL : cfg->name;
}

/* libconfuse's messages are told apart by their formats, which are untranslated
 * since nothing here sets a locale. */
static void confuse_error(cfg_t *cfg, const char *format, va_list args)
{
        struct reading *r = reading;
        const char *section = section_of(cfg);
        char text[ERROR_TEXT_MAX];

        vsnprintf(text, sizeof text, format, args);
        if (strcmp(format, "no such option '%s'") == 0 && r->unknown_count < UNKNOWN_MAX) {
                struct unknown *u = &r->unknown[r->unknown_count];
                const struct span name = span_first(span_skip(span_from_string(text), 16),
                                                    strlen(text) - 17);

                u->name = arena_string(r->arena, name);
                u->section = section ? arena_string(r->arena, span_from_string(section)) : NULL;
                u->line = (unsigned) cfg->line;
                u->is_section = false;
                r->no_memory = !u->name || (section && !u->section);
                r->again = !r->no_memory;
                r->unknown_count += r->again;
                return;
        }
        /* The name just noted was one of a section. */
        if (strncmp(format, "missing equal sign", 18) == 0 && r->unknown_count) {
                struct unknown *u = &r->unknown[r->unknown_count - 1];
                char named[ERROR_TEXT_MAX];

                snprintf(named, sizeof named, "missing equal sign after option '%s'", u->name);
                if (strcmp(named, text) == 0 && !u->is_section) {
                        /* Sections within sections there are none: stop here. */
                        u->is_section = r->again = !u->section;
                        r->failed = u->section != NULL;
                        return;
                }
        }
        r->failed = true;
        syntax_error_add(r->errors, r->arena, (unsigned) cfg->line, "%s; write name = value, "
                         "name = { value, value } or name { name = value }", text);
}

static int note_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
        struct reading *r = reading;
        char name[256];
        const struct option *o;
        struct syntax_setting *s;
        struct span *items;

        *(const char **) result = value;
        o = option_find(full_name(section_of(cfg), opt->name, name, sizeof name));
        if (!o)
                return 0; /* of an unknown name: that has been said */
        s = &r->settings[o - options];
        if (opt->nvalues <= 1 && s->is_set) {
                syntax_error_add(r->errors, r->arena, (unsigned) cfg->line,
                                 "%s is set a second time; it was set in line %u, remove one",
                                 o->name, s->line);
                s->texts.count = 0;
        }
        if ((s->texts.count & (s->texts.count - 1)) == 0) { /* full: a power of two, or none yet */
                items = arena_alloc(r->arena, (s->texts.count ? s->texts.count * 2 : 1) *
                                                      sizeof *items);
                if (!items)
                        goto no_memory;
                if (s->texts.count)
                        memcpy(items, s->texts.items, s->texts.count * sizeof *items);
                s->texts.items = items;
        }
        items = &s->texts.items[s->texts.count];
        *items = arena_copy(r->arena, span_from_string(value));
        if (!items->p)
                goto no_memory;
        s->texts.count++;
        if (!s->is_set)
                s->line = (unsigned) cfg->line;
        s->is_set = true;
        return 0;
no_memory:
        r->no_memory = true;
        return -1;
}

static struct titled *find_titled(struct reading *r, const cfg_t *cfg)
{
        for (size_t i = 0; i < r->titled_count; i++)
                if (r->titled[i].cfg == cfg)
                        return &r->titled[i];
        if (r->titled_count == TITLED_MAX)
                return NULL;
        r->titled[r->titled_count] = (struct titled) {.cfg = cfg, .line = (unsigned) cfg->line};
        return &r->titled[r->titled_count++];
}

/* Within a section with a title: libconfuse keeps the value. */
static int note_titled(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
        struct reading *r = reading;
        struct titled *t = find_titled(r, cfg);

        *(const char **) result = value;
        for (unsigned i = 0; t && option_dnsbl_names[i]; i++) {
                if (strcmp(option_dnsbl_names[i], opt->name) != 0)
                        continue;
                if (opt->nvalues <= 1 && (t->set & 1u << i))
                        syntax_error_add(r->errors, r->arena, (unsigned) cfg->line,
                                         "dnsbl \"%s\": %s is set a second time; remove one",
                                         cfg_title(cfg), opt->name);
                t->set |= 1u << i;
        }
        return 0;
}

/* The options of dnsbl "zone" { … }; all of them texts. */
static size_t titled_rows(const struct reading *r, cfg_opt_t *out)
{
        size_t n = 0;

        for (; option_dnsbl_names[n]; n++)
                out[n] = (cfg_opt_t) {.name = option_dnsbl_names[n], .type = CFGT_STR,
                                      .parsecb = note_titled,
                                      .flags = CFGF_NODEFAULT | (n == 0 ? CFGF_LIST : 0)};
        for (size_t i = 0; i < r->unknown_count; i++)
                if (!r->unknown[i].is_section && r->unknown[i].section &&
                    strcmp(r->unknown[i].section, "dnsbl") == 0)
                        out[n++] = (cfg_opt_t) {.name = r->unknown[i].name, .type = CFGT_STR,
                                                .flags = CFGF_NODEFAULT | CFGF_LIST};
        out[n] = (cfg_opt_t) {.type = CFGT_NONE};
        return n;
}

/* One section as one text: options.h says how it looks. */
static int titled_text(struct reading *r, cfg_t *cfg, unsigned line, struct span *ret_text)
{
        struct buffer b = BUFFER_INIT(8192);
        int result = buffer_printf(&b, "%s line=%u", cfg_title(cfg), line);

        for (unsigned i = 0; result == 0 && option_dnsbl_names[i]; i++) {
                const char *name = option_dnsbl_names[i];
                const unsigned count = cfg_size(cfg, name);

                for (unsigned j = 0; result == 0 && j < count; j++) {
                        if (j == 0)
                                result = buffer_printf(&b, " %s=", name);
                        else
                                result = buffer_append_string(&b, ",");
                        if (result == 0)
                                result = buffer_append_string(&b, cfg_getnstr(cfg, name, j));
                }
        }
        if (result == -EMSGSIZE) { /* refused with the row, where its limits are known */
                b.len = b.len < 5000 ? b.len : 5000;
                result = 0;
        }
        *ret_text = arena_copy(r->arena, buffer_span(&b));
        buffer_done(&b);
        return result < 0 || !ret_text->p ? -ENOMEM : 0;
}

static int note_sections(struct reading *r, cfg_t *cfg)
{
        struct syntax_setting *s = &r->settings[option_find(SPAN_LITERAL("dnsbl")) - options];
        const unsigned count = cfg_size(cfg, "dnsbl");
        int result = 0;

        if (count == 0)
                return 0;
        s->texts.items = arena_alloc(r->arena, count * sizeof *s->texts.items);
        if (!s->texts.items)
                return -ENOMEM;
        s->is_set = true;
        for (unsigned i = 0; result == 0 && i < count; i++) {
                cfg_t *section = cfg_getnsec(cfg, "dnsbl", i);
                const struct titled *t = find_titled(r, section);
                const unsigned line = t ? t->line : (unsigned) section->line;

                if (i == 0)
                        s->line = line;
                result = titled_text(r, section, line, &s->texts.items[s->texts.count++]);
        }
        return result;
}

/* The rows of one section (NULL: top level), written to `out`. */
static size_t section_rows(const struct reading *r, const char *section, cfg_opt_t *out)
{
        const size_t prefix = section ? strlen(section) + 1 : 0;
        size_t n = 0;

        for (size_t i = 0; i < option_count; i++) {
                const char *name = options[i].name, *dot = strchr(name, '.');

                if (section ? !dot || (size_t) (dot - name) + 1 != prefix ||
                                      strncmp(name, section, prefix - 1) != 0
                            : dot != NULL || options[i].type == OPTION_DNSBLS)
                        continue;
                out[n++] = (cfg_opt_t) {
                        .name = name + prefix, .type = CFGT_STR, .parsecb = note_value,
                        .flags = CFGF_NODEFAULT | (option_is_list(&options[i]) ? CFGF_LIST : 0)};
        }
        for (size_t i = 0; i < r->unknown_count; i++) {
                const struct unknown *u = &r->unknown[i];

                if (u->is_section || strcmp(u->section ? u->section : "", section ? section : ""))
                        continue;
                out[n++] = (cfg_opt_t) {.name = u->name, .type = CFGT_STR, .parsecb = note_value,
                                        .flags = CFGF_NODEFAULT | CFGF_LIST};
        }
        out[n] = (cfg_opt_t) {.type = CFGT_NONE};
        return n;
}

/* Every section's rows lie in one array: sections[i] points into it. */
struct rows {
        cfg_opt_t *top, *all;
};

static int make_rows(const struct reading *r, struct rows *ret_rows)
{
        const size_t section_max = option_section_count + r->unknown_count;
        const size_t row_max = option_count + 2 * r->unknown_count + section_max + 16;
        struct rows rows;
        cfg_opt_t *at;
        size_t n;

        rows.top = calloc(row_max, sizeof *rows.top);
        rows.all = calloc(row_max, sizeof *rows.all); /* each section ends with an empty row */
        if (!rows.top || !rows.all) {
                free(rows.top);
                free(rows.all);
                return -ENOMEM;
        }
        at = rows.all;
        n = section_rows(r, NULL, rows.top);
        for (size_t i = 0; i < section_max; i++) {
                const struct unknown *u =
                        i < option_section_count ? NULL : &r->unknown[i - option_section_count];
                const char *name = u ? u->name : option_sections[i].name;

                if (u && !u->is_section)
                        continue;
                rows.top[n++] = (cfg_opt_t) {.name = name, .type = CFGT_SEC, .subopts = at};
                at += section_rows(r, name, at) + 1;
        }
        rows.top[n++] = (cfg_opt_t) {.name = "dnsbl", .type = CFGT_SEC, .subopts = at,
                                     .flags = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES};
        titled_rows(r, at);
        *ret_rows = rows;
        return 0;
}

/* An empty list calls nothing back; libconfuse only marks the option. */
static void note_empty_lists(struct reading *r, cfg_t *cfg, const char *section)
{
        for (size_t i = 0; cfg->opts[i].name; i++) {
                const cfg_opt_t *opt = &cfg->opts[i];
                char name[256];
                const struct option *o;

                if (opt->flags & CFGF_MULTI) {
                        continue; /* note_sections() */
                } else if (opt->type == CFGT_SEC && opt->nvalues && !section) {
                        note_empty_lists(r, opt->values[0]->section, opt->name);
                } else if (opt->nvalues == 0 && (opt->flags & CFGF_MODIFIED)) {
                        o = option_find(full_name(section, opt->name, name, sizeof name));
                        if (o)
                                r->settings[o - options].is_set = true;
                }
        }
}

static int read_pass(struct reading *r, const char *text)
{
        struct rows rows;
        cfg_t *cfg;
        int result = make_rows(r, &rows);

        if (result < 0)
                return result;
        memset(r->settings, 0, option_count * sizeof *r->settings);
        r->again = false;
        r->titled_count = 0;
        cfg = cfg_init(rows.top, CFGF_NONE);
        if (cfg) {
                cfg_set_error_function(cfg, confuse_error);
                if (cfg_parse_buf(cfg, text) == CFG_SUCCESS) {
                        note_empty_lists(r, cfg, NULL);
                        if (note_sections(r, cfg) < 0)
                                r->no_memory = true;
                } else if (!r->again && !r->failed && !r->no_memory) {
                        r->failed = true;
                }
                cfg_free(cfg);
        }
        free(rows.top);
        free(rows.all);
        return !cfg || r->no_memory ? -ENOMEM : 0;
}

static void report_unknown(struct reading *r)
{
        for (size_t i = 0; i < r->unknown_count; i++) {
                const struct unknown *u = &r->unknown[i];
                char name[256];
                const struct span full = full_name(u->section, u->name, name, sizeof name);
                const char *like = option_suggest(full);
                bool is_within_unknown = false;

                for (size_t j = 0; u->section && j < r->unknown_count; j++)
                        is_within_unknown = is_within_unknown ||
                                            (r->unknown[j].is_section &&
                                             strcmp(r->unknown[j].name, u->section) == 0);
                if (is_within_unknown)
                        continue; /* the section itself is what must be put right */
                if (like)
                        syntax_error_add(r->errors, r->arena, u->line,
                                         "there is no %s \"%s\"; did you mean \"%s\"?",
                                         u->is_section ? "section" : "option", full.p, like);
                else
                        syntax_error_add(r->errors, r->arena, u->line,
                                         "there is no %s \"%s\"; see hayauma.conf(5) for what "
                                         "there is",
                                         u->is_section ? "section" : "option", full.p);
        }
}

int syntax_read(struct span text, struct arena *arena, struct syntax_setting *settings,
                struct syntax_errors *errors)
{
        const size_t errors_before = errors->count;
        struct reading r = {.arena = arena, .settings = settings, .errors = errors};
        const char *cleaned = clean(text, &r);
        int result = 0;

        if (!cleaned)
                return -ENOMEM;
        if (errors->count > errors_before)
                return -EINVAL; /* libconfuse would only be misled */
        reading = &r;
        do {
                errors->count = errors_before; /* each pass finds the same again */
                result = read_pass(&r, cleaned);
        } while (result == 0 && r.again);
        reading = NULL;
        if (result < 0)
                return result;
        report_unknown(&r);
        if (r.failed && errors->count == errors_before)
                syntax_error_add(errors, arena, 0, "the file cannot be read as a configuration");
        return errors->count > errors_before ? -EINVAL : 0;
}
