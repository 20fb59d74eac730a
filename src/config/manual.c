#include "config/manual.h"

#include <stdio.h>

#include "base/number.h"
#include "config/options.h"

enum { COLUMNS = 96, TAB = 8, PARAGRAPH_MAX = 4096 };

static const char *const type_texts[] = {
        [OPTION_HOSTNAME] = "A full domain name",
        [OPTION_USER] = "An account name",
        [OPTION_PATH] = "A whole path",
        [OPTION_NEXT_HOP] = "A next hop",
        [OPTION_LOG_LEVEL] = "A word",
        [OPTION_ROLE] = "A word",
        [OPTION_BOOL] = "Yes or no",
        [OPTION_NUMBER] = "A number",
        [OPTION_COUNT] = "A number",
        [OPTION_SIZE] = "A size",
        [OPTION_DURATION] = "A time",
        [OPTION_DOMAINS] = "A list of domain names",
        [OPTION_PATTERNS] = "A list of domain names",
        [OPTION_NAMES] = "A list of local names",
        [OPTION_SERVERS] = "A list of addresses",
        [OPTION_CERTIFICATES] = "A list of certificates",
        [OPTION_MECHANISMS] = "A list of SASL mechanisms",
        [OPTION_TLS_POLICIES] = "A list of rows",
        [OPTION_PATHS] = "A list of whole paths",
        [OPTION_NETWORKS] = "A list of networks",
        [OPTION_LISTENS] = "A list of listeners",
        [OPTION_DNSBLS] = "Any number of sections",
};

/* Appends words, breaking lines before COLUMNS, each line behind `prefix`. With
 * `is_scdoc`, what scdoc would take for markup is escaped. */
static int write_wrapped(struct buffer *b, const char *prefix, const char *text, bool is_scdoc)
{
        const size_t indent = prefix[0] == '\t' ? TAB : strlen(prefix);
        struct span rest = span_from_string(text), word;
        size_t column = 0;
        int r = 0;

        while (r == 0 && span_split(&rest, ' ', &word)) {
                if (column && column + 1 + word.len > COLUMNS) {
                        r = buffer_append(b, "\n", 1);
                        column = 0;
                }
                if (r == 0)
                        r = buffer_append_string(b, column ? " " : prefix);
                column += (column ? 1 : indent) + word.len;
                for (size_t i = 0; r == 0 && i < word.len; i++) {
                        if (is_scdoc && strchr("_*\\<>#`", word.p[i]))
                                r = buffer_append(b, "\\", 1);
                        if (r == 0)
                                r = buffer_append(b, &word.p[i], 1);
                }
        }
        return r < 0 ? r : buffer_append(b, "\n", 1);
}

/* A default as it would stand in the file. */
static void default_text(const struct option *o, const char *value, char *out, size_t out_len)
{
        const bool is_bare = o->type >= OPTION_BOOL && o->type <= OPTION_DURATION;
        struct span rest = span_from_string(value), item;
        size_t len = 0;

        if (!value) {
                snprintf(out, out_len, "%s",
                         o->default_text ? o->default_text : (option_is_list(o) ? "{}" : "none"));
                return;
        }
        if (!option_is_list(o)) {
                snprintf(out, out_len, is_bare ? "%s" : "\"%s\"", value);
                return;
        }
        while (span_split(&rest, ' ', &item) && len < out_len)
                len += (size_t) snprintf(out + len, out_len - len, "%s\"%.*s\"", len ? ", " : "{ ",
                                         (int) item.len, item.p);
        if (len < out_len)
                snprintf(out + len, out_len - len, " }");
}

static size_t range_text(const struct option *o, char *out, size_t out_len)
{
        char min[NUMBER_TEXT_MAX], max[NUMBER_TEXT_MAX];

        if (o->type == OPTION_SIZE)
                return (size_t) snprintf(out, out_len, ", %s to %s", size_format(o->min, min),
                                         size_format(o->max, max));
        if (o->type == OPTION_DURATION)
                return (size_t) snprintf(out, out_len, ", %s to %s", duration_format(o->min, min),
                                         duration_format(o->max, max));
        if (o->type == OPTION_NUMBER || o->type == OPTION_COUNT)
                return (size_t) snprintf(out, out_len, ", %llu to %llu",
                                         (unsigned long long) o->min, (unsigned long long) o->max);
        return 0;
}

/* "A size, 64K to 1T, or 0. Default: 50M; for the role x: y. Changed by …" */
static void facts_text(const struct option *o, char *out, size_t out_len)
{
        char text[512];
        size_t len = (size_t) snprintf(out, out_len, "%s", type_texts[o->type]);

        len += range_text(o, out + len, out_len - len);
        default_text(o, o->value, text, sizeof text);
        len += (size_t) snprintf(out + len, out_len - len, "%s. Default: %s",
                                 o->zero_is_none ? ", or 0" : "",
                                 o->default_text ? o->default_text : text);
        for (int role = 0; role < ROLE_COUNT; role++) {
                if (!o->role_value[role])
                        continue;
                default_text(o, o->role_value[role], text, sizeof text);
                len += (size_t) snprintf(out + len, out_len - len, "; for the role %s: %s",
                                         role_name((enum role) role), text);
        }
        snprintf(out + len, out_len - len, ". Changed by a %s.",
                 o->change == OPTION_RELOAD ? "reload" : "restart");
}

static bool is_of_section(const struct option *o, const char *section)
{
        const char *dot = strchr(o->name, '.');

        if (!section)
                return dot == NULL;
        return dot && (size_t) (dot - o->name) == strlen(section) &&
               strncmp(o->name, section, strlen(section)) == 0;
}

static const char *last_word(const struct option *o)
{
        const char *dot = strchr(o->name, '.');

        return dot ? dot + 1 : o->name;
}

/* Between the name and the example: a section with a title has no "=". */
static const char *equals(const struct option *o)
{
        return o->type == OPTION_DNSBLS ? "" : "= ";
}

static int write_option(struct buffer *b, const struct option *o)
{
        struct span rest = span_from_string(o->text), paragraph;
        char text[PARAGRAPH_MAX];
        int r;

        snprintf(text, sizeof text, "%s %s%s", last_word(o), equals(o), o->example);
        r = buffer_append_string(b, "*");
        if (r == 0)
                r = write_wrapped(b, "", text, true);
        if (r == 0) {
                /* The example is the heading: bold as a whole. */
                b->len--;
                r = buffer_append_string(b, "*\n");
        }
        snprintf(text, sizeof text, "%s.", o->brief);
        while (r == 0 && span_split(&rest, '\n', &paragraph)) {
                const size_t len = strlen(text);

                snprintf(text + len, sizeof text - len, "%s%.*s", len ? " " : "",
                         (int) paragraph.len, paragraph.p);
                r = write_wrapped(b, "\t", text, true);
                if (r == 0)
                        r = buffer_append_string(b, "\n");
                text[0] = '\0';
        }
        facts_text(o, text, sizeof text);
        if (r == 0)
                r = write_wrapped(b, "\t", text, true);
        return r < 0 ? r : buffer_append_string(b, "\n");
}

static int write_section(struct buffer *b, const char *section)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < option_count; i++)
                if (is_of_section(&options[i], section))
                        r = write_option(b, &options[i]);
        return r;
}

int manual_write_options(struct buffer *b)
{
        int r = buffer_append_string(b, "## The server\n\n");

        if (r == 0)
                r = write_section(b, NULL);
        for (size_t i = 0; r == 0 && i < option_section_count; i++) {
                const struct option_section *s = &option_sections[i];
                char text[PARAGRAPH_MAX];

                snprintf(text, sizeof text, "%s:", s->brief);
                r = buffer_printf(b, "## Section %s\n\n", s->name);
                if (r == 0)
                        r = write_wrapped(b, "", text, true);
                if (r == 0)
                        r = buffer_printf(b, "\n```\n%s {\n        …\n}\n```\n\n", s->name);
                if (r == 0)
                        r = write_section(b, s->name);
        }
        return r;
}

static int write_sample_option(struct buffer *b, const struct option *o, const char *indent)
{
        char text[PARAGRAPH_MAX], value[512], prefix[32];
        int r;

        snprintf(prefix, sizeof prefix, "%s# ", indent);
        snprintf(text, sizeof text, "%s.", o->brief);
        r = write_wrapped(b, prefix, text, false);
        if (o->default_text || !o->value) {
                snprintf(text, sizeof text, "Default: %s.",
                         o->default_text ? o->default_text : "none");
                if (r == 0)
                        r = write_wrapped(b, prefix, text, false);
                snprintf(value, sizeof value, "%s", o->example);
        } else {
                default_text(o, o->value, value, sizeof value);
        }
        return r < 0 ? r : buffer_printf(b, "%s#%s %s%s\n\n", indent, last_word(o),
                                                equals(o), value);
}

static int write_sample_section(struct buffer *b, const char *section, const char *indent)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < option_count; i++)
                if (is_of_section(&options[i], section))
                        r = write_sample_option(b, &options[i], indent);
        return r;
}

int manual_write_sample(struct buffer *b)
{
        int r = buffer_append_string(
                b, "# Every option there is, with its default, or an example where it has none.\n"
                   "# Copy what you need to /etc/hayauma/hayauma.conf; see hayauma.conf(5).\n"
                   "# Made from the option table: not to be edited by hand.\n\n");

        if (r == 0)
                r = write_sample_section(b, NULL, "");
        for (size_t i = 0; r == 0 && i < option_section_count; i++) {
                char text[PARAGRAPH_MAX];

                snprintf(text, sizeof text, "%s.", option_sections[i].brief);
                r = write_wrapped(b, "# ", text, false);
                if (r == 0)
                        r = buffer_printf(b, "%s {\n", option_sections[i].name);
                if (r == 0)
                        r = write_sample_section(b, option_sections[i].name, "        ");
                if (r == 0) {
                        b->len--; /* no blank line in front of the brace */
                        r = buffer_append_string(b, "}\n\n");
                }
        }
        if (r == 0)
                b->len--;
        return r;
}
