#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/codec.h"
#include "base/file.h"
#include "config/config_check.h"
#include "config/options.h"
#include "config/syntax.h"

enum {
        CONFIG_TEXT_MAX = 4 * 1024 * 1024,    /* of the file */
        CONFIG_MEMORY_MAX = 64 * 1024 * 1024, /* of one configuration, while it is read */
        CONFIG_ITEMS_MAX = 200 * 1000,        /* of one list */
        ORIGIN_MAX = 512,
};

struct config_private {
        struct arena arena;
        const char **origins; /* by row of the option table */
};

static struct config *config_new(void)
{
        struct config *c = calloc(1, sizeof *c);

        if (!c)
                return NULL;
        c->private = calloc(1, sizeof *c->private);
        if (!c->private) {
                free(c);
                return NULL;
        }
        c->private->arena = ARENA_INIT(CONFIG_MEMORY_MAX);
        c->private->origins = arena_alloc(&c->private->arena,
                                          option_count * sizeof *c->private->origins);
        return c->private->origins ? c : config_free(c);
}

struct config *config_free(struct config *c)
{
        if (c) {
                arena_done(&c->private->arena);
                free(c->private);
                free(c);
        }
        return NULL;
}

static void config_free_pointer(struct config **c)
{
        config_free(*c);
}

/* One reading of a file: what is known while options are filled in. */
struct filling {
        struct config *config;
        const char *name; /* of the file, in messages */
        struct syntax_setting *settings;
        struct syntax_errors errors;
};

static unsigned cores(void)
{
        cpu_set_t set;
        int n = 1;

        if (sched_getaffinity(0, sizeof set, &set) == 0)
                n = CPU_COUNT(&set);
        return n < 1 ? 1 : (n > 8 ? 8 : (unsigned) n);
}

static bool listens_for_readers(const struct config *c)
{
        for (size_t i = 0; i < c->listen.count; i++) {
                const enum listen_protocol p = c->listen.items[i].protocol;

                if (p == LISTEN_IMAP || p == LISTEN_IMAPS || p == LISTEN_POP3 ||
                    p == LISTEN_POP3S)
                        return true;
        }
        return false;
}

/* Defaults that no text in the table can say. */
static int fill_derived(struct config *c)
{
        struct arena *arena = &c->private->arena;
        char path[4096];

        if (!c->processes.edge)
                c->processes.edge = cores();
        if (strcmp(config_origin(c, "processes.login"), "default") == 0 && listens_for_readers(c))
                c->processes.login = cores() < 2 ? 1 : cores() / 2;
        if (!c->processes.relay)
                c->processes.relay = cores() < 2 ? 1 : cores() / 2;
        if (!c->processes.access)
                c->processes.access = cores();
        if (!c->processes.worker)
                c->processes.worker = cores();
        if (!c->users.file.p) {
                snprintf(path, sizeof path, "%.*s/users", (int) c->state_dir.len, c->state_dir.p);
                c->users.file = arena_copy(arena, span_from_string(path));
                if (!c->users.file.p)
                        return -ENOMEM;
        }
        return 0;
}

/* A default listens for what begins with TLS only where there is a certificate. */
static void drop_tls_listens(struct config *c)
{
        size_t kept = 0;

        for (size_t i = 0; i < c->listen.count; i++)
                if (!listen_protocol_is_tls(c->listen.items[i].protocol))
                        c->listen.items[kept++] = c->listen.items[i];
        c->listen.count = kept;
}

/* The text of an option and where it comes from: the file, the role, the table. */
static int choose_texts(struct filling *f, size_t i, struct config_list *ret_texts,
                        const char **ret_origin)
{
        const struct option *o = &options[i];
        const char *role_value = o->role_value[f->config->role];
        struct arena *arena = &f->config->private->arena;
        char origin[ORIGIN_MAX];

        if (f->settings[i].is_set) {
                *ret_texts = f->settings[i].texts;
                if (f->settings[i].line)
                        snprintf(origin, sizeof origin, "%s:%u", f->name, f->settings[i].line);
                else
                        snprintf(origin, sizeof origin, "%s", f->name);
        } else if (role_value) {
                snprintf(origin, sizeof origin, "role %s", role_name(f->config->role));
        } else {
                snprintf(origin, sizeof origin, "default");
        }
        *ret_origin = arena_string(arena, span_from_string(origin));
        if (!*ret_origin)
                return -ENOMEM;
        if (f->settings[i].is_set)
                return 0;
        return option_default_texts(o, role_value ? role_value : o->value, arena, ret_texts);
}

static int fill_option(struct filling *f, size_t i)
{
        const struct option *o = &options[i];
        struct buffer why = BUFFER_INIT(8192);
        struct config_list texts;
        int r = choose_texts(f, i, &texts, &f->config->private->origins[i]);

        if (r == 0 && (texts.count || option_is_list(o) || f->settings[i].is_set))
                r = option_parse(o, texts, &f->config->private->arena, f->config, &why);
        if (r == -EINVAL) {
                syntax_error_add(&f->errors, &f->config->private->arena, f->settings[i].line,
                                 "%s: %.*s", o->name, (int) why.len, buffer_span(&why).p);
                r = 0;
        }
        buffer_done(&why);
        return r;
}

static int fill_all(struct filling *f)
{
        const size_t role = (size_t) (option_find(SPAN_LITERAL("role")) - options);
        const size_t listen = (size_t) (option_find(SPAN_LITERAL("listen")) - options);
        int r = fill_option(f, role); /* first: it decides the defaults of the others */

        for (size_t i = 0; r == 0 && i < option_count; i++)
                if (i != role)
                        r = fill_option(f, i);
        if (r == 0)
                r = fill_derived(f->config);
        if (r == 0 && !f->settings[listen].is_set && !f->config->tls.certificate.len)
                drop_tls_listens(f->config);
        return r;
}

static int compare_errors(const void *a, const void *b)
{
        const struct syntax_error *left = a, *right = b;

        return left->line != right->line ? (left->line < right->line ? -1 : 1)
                                         : strcmp(left->text, right->text);
}

static void print_errors(struct filling *f, struct buffer *error)
{
        qsort(f->errors.items, f->errors.count, sizeof f->errors.items[0], compare_errors);
        for (size_t i = 0; i < f->errors.count; i++) {
                const struct syntax_error *e = &f->errors.items[i];

                /* What does not fit is not said; the first lines were. */
                if (e->line)
                        buffer_printf(error, "%s:%u: %s\n", f->name, e->line, e->text);
                else
                        buffer_printf(error, "%s: %s\n", f->name, e->text);
        }
}

int config_parse(struct span text, const char *name, struct config **ret_config,
                 struct buffer *error)
{
        _cleanup_(config_free_pointer) struct config *c = config_new();
        struct filling f = {.config = c, .name = name};
        int r;

        if (!c)
                return -ENOMEM;
        f.settings = arena_alloc(&c->private->arena, option_count * sizeof *f.settings);
        if (!f.settings)
                return -ENOMEM;
        if (text.len > CONFIG_TEXT_MAX) {
                buffer_printf(error, "%s: more than %d octets; is it the right file?\n", name,
                              CONFIG_TEXT_MAX);
                return -EINVAL;
        }
        r = syntax_read(text, &c->private->arena, f.settings, &f.errors);
        if (r == -EINVAL || r == 0)
                r = fill_all(&f); /* bad values are said together with unknown names */
        if (r == 0)
                config_check(c, f.settings, &f.errors, &c->private->arena);
        if (r < 0) {
                buffer_printf(error, "%s: there is not enough memory to read it\n", name);
                return r;
        }
        print_errors(&f, error);
        if (f.errors.count)
                return -EINVAL;
        *ret_config = c;
        c = NULL;
        return 0;
}

int config_read(const char *path, struct config **ret_config, struct buffer *error)
{
        const char *slash = strrchr(path, '/');
        struct buffer text = BUFFER_INIT(CONFIG_TEXT_MAX);
        int r = file_read_at(AT_FDCWD, path, &text);

        if (r < 0) {
                buffer_printf(error, "%s: cannot be read (%s); name another file with -c\n", path,
                              r == -EMSGSIZE ? "too large" : strerror(-r));
                buffer_done(&text);
                return r;
        }
        r = config_parse(buffer_span(&text), slash ? slash + 1 : path, ret_config, error);
        buffer_done(&text);
        return r;
}

const char *config_origin(const struct config *c, const char *option)
{
        const struct option *o = option_find(span_from_string(option));

        return o ? c->private->origins[o - options] : NULL;
}

/* Encoded: a number for the form, the count of options, and for each its name,
 * origin, and texts. Names are there so that two programs that differ refuse
 * each other. */
enum { ENCODED_FORM = 0x31464348 /* "HCF1" */ };

static int encode_option(const struct config *c, size_t i, struct arena *arena, struct buffer *b)
{
        struct config_list texts;
        int r = option_format(&options[i], c, arena, &texts);

        if (r == 0)
                r = write_octets(b, span_from_string(options[i].name));
        if (r == 0)
                r = write_octets(b, span_from_string(c->private->origins[i]));
        if (r == 0)
                r = write_u32(b, (uint32_t) texts.count);
        for (size_t j = 0; r == 0 && j < texts.count; j++)
                r = write_octets(b, texts.items[j]);
        return r;
}

int config_encode(const struct config *c, struct buffer *b)
{
        struct arena arena = ARENA_INIT(CONFIG_MEMORY_MAX);
        const size_t len = b->len;
        int r = write_u32(b, ENCODED_FORM);

        if (r == 0)
                r = write_u32(b, (uint32_t) option_count);
        for (size_t i = 0; r == 0 && i < option_count; i++)
                r = encode_option(c, i, &arena, b);
        if (r < 0)
                b->len = len;
        arena_done(&arena);
        return r;
}

static int decode_option(struct config *c, size_t i, struct reader *in)
{
        const struct option *o = &options[i];
        struct arena *arena = &c->private->arena;
        struct buffer why = BUFFER_INIT(8192);
        const struct span name = read_octets(in, ORIGIN_MAX);
        const struct span origin = read_octets(in, ORIGIN_MAX);
        struct config_list texts = {.count = read_u32(in)};
        int r = 0;

        if (in->failed || !span_equal(name, span_from_string(o->name)) ||
            texts.count > CONFIG_ITEMS_MAX || texts.count > in->rest.len / 4 ||
            (!option_is_list(o) && texts.count > 1))
                return -EBADMSG;
        c->private->origins[i] = arena_string(arena, origin);
        texts.items = arena_alloc(arena, (texts.count + 1) * sizeof *texts.items);
        if (!c->private->origins[i] || !texts.items)
                return -ENOMEM;
        if (strlen(c->private->origins[i]) != origin.len)
                return -EBADMSG;
        for (size_t j = 0; j < texts.count; j++)
                texts.items[j] = read_octets(in, CONFIG_TEXT_MAX);
        if (in->failed)
                return -EBADMSG;
        if (texts.count || option_is_list(o))
                r = option_parse(o, texts, arena, c, &why);
        buffer_done(&why);
        return r == -EINVAL ? -EBADMSG : r;
}

/* Whether `c` would be written as exactly these octets: one meaning, one form. */
static int check_form(const struct config *c, struct span encoded)
{
        struct buffer again = BUFFER_INIT(encoded.len);
        int r = config_encode(c, &again);

        if (r == -EMSGSIZE || (r == 0 && !span_equal(buffer_span(&again), encoded)))
                r = -EBADMSG;
        buffer_done(&again);
        return r;
}

int config_decode(struct span encoded, struct config **ret_config)
{
        _cleanup_(config_free_pointer) struct config *c = config_new();
        struct reader in = READER(encoded);
        int r = 0;

        if (!c)
                return -ENOMEM;
        if (read_u32(&in) != ENCODED_FORM || read_u32(&in) != option_count)
                return -EBADMSG;
        for (size_t i = 0; r == 0 && i < option_count; i++)
                r = decode_option(c, i, &in);
        if (r == 0 && !read_is_complete(&in))
                r = -EBADMSG;
        if (r == 0)
                r = check_form(c, encoded);
        if (r < 0)
                return r;
        *ret_config = c;
        c = NULL;
        return 0;
}

/* Quotes where the file needs them: around all but numbers and yes or no. */
static int print_text(const struct option *o, struct span text, struct buffer *b)
{
        const bool is_bare = o->type >= OPTION_BOOL && o->type <= OPTION_DURATION;
        int r = is_bare ? 0 : buffer_append(b, "\"", 1);

        for (size_t i = 0; r == 0 && i < text.len; i++) {
                if (!is_bare && (text.p[i] == '"' || text.p[i] == '\\'))
                        r = buffer_append(b, "\\", 1);
                if (r == 0)
                        r = buffer_append(b, &text.p[i], 1);
        }
        if (r == 0 && !is_bare)
                r = buffer_append(b, "\"", 1);
        return r;
}

static int print_origin(const struct config *c, size_t i, size_t start, struct buffer *b)
{
        const size_t width = b->len - start;

        return buffer_printf(b, "%*s# %s\n", width < 46 ? (int) (48 - width) : 2, "",
                             c->private->origins[i]);
}

/* A line for each section with a title. */
static int print_dnsbls(const struct config *c, size_t i, struct buffer *b)
{
        int r = 0;

        for (size_t j = 0; r == 0 && j < c->dnsbl.count; j++) {
                const size_t start = b->len;

                r = option_dnsbl_print(c->dnsbl.items[j].text, b);
                if (r == 0)
                        r = print_origin(c, i, start, b);
        }
        return r;
}

static int print_option(const struct config *c, size_t i, struct arena *arena, struct buffer *b)
{
        const struct option *o = &options[i];
        const bool is_list = option_is_list(o);
        const size_t start = b->len;
        struct config_list texts;
        int r;

        if (o->type == OPTION_DNSBLS)
                return print_dnsbls(c, i, b);
        r = option_format(o, c, arena, &texts);
        if (r == 0)
                r = buffer_printf(b, "%s = %s", o->name,
                                  is_list ? (texts.count ? "{ " : "{}") : "");
        for (size_t j = 0; r == 0 && j < texts.count; j++) {
                if (j)
                        r = buffer_append_string(b, ", ");
                if (r == 0)
                        r = print_text(o, texts.items[j], b);
        }
        if (r == 0 && texts.count == 0 && !is_list)
                r = buffer_append_string(b, "\"\"");
        if (r == 0 && is_list && texts.count)
                r = buffer_append_string(b, " }");
        return r < 0 ? r : print_origin(c, i, start, b);
}

int config_print_effective(const struct config *c, struct buffer *b)
{
        struct arena arena = ARENA_INIT(CONFIG_MEMORY_MAX);
        int r = 0;

        for (size_t i = 0; r == 0 && i < option_count; i++)
                r = print_option(c, i, &arena, b);
        arena_done(&arena);
        return r;
}

int config_visit(const struct config *c, config_visit_fn *visit, void *arg)
{
        struct arena arena = ARENA_INIT(CONFIG_MEMORY_MAX);
        int r = 0;

        for (size_t i = 0; r == 0 && i < option_count; i++) {
                struct config_list texts;

                r = option_format(&options[i], c, &arena, &texts);
                if (r == 0)
                        visit(arg, options[i].name, &texts, option_is_list(&options[i]),
                              c->private->origins[i]);
        }
        arena_done(&arena);
        return r;
}

static bool texts_equal(const struct config_list *a, const struct config_list *b)
{
        if (a->count != b->count)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (!span_equal(a->items[i], b->items[i]))
                        return false;
        return true;
}

int config_visit_restart(const struct config *running, const struct config *next,
                         config_visit_fn *visit, void *arg)
{
        struct arena arena = ARENA_INIT(CONFIG_MEMORY_MAX);
        int r = 0;

        for (size_t i = 0; r == 0 && i < option_count; i++) {
                struct config_list old, new;

                if (options[i].change != OPTION_RESTART)
                        continue;
                r = option_format(&options[i], running, &arena, &old);
                if (r == 0)
                        r = option_format(&options[i], next, &arena, &new);
                if (r == 0 && !texts_equal(&old, &new))
                        visit(arg, options[i].name, &new, option_is_list(&options[i]),
                              next->private->origins[i]);
        }
        arena_done(&arena);
        return r;
}

bool config_networks_contain(const struct config_networks *n, const unsigned char address[16])
{
        for (size_t i = 0; i < n->count; i++) {
                const unsigned bytes = n->items[i].prefix / 8, bits = n->items[i].prefix % 8;
                const unsigned char *network = n->items[i].address;
                const unsigned mask = 0xff00U >> bits & 0xff;

                if (memcmp(network, address, bytes) == 0 &&
                    (bits == 0 || ((network[bytes] ^ address[bytes]) & mask) == 0))
                        return true;
        }
        return false;
}
