#include "message/content_field.h"

#include <errno.h>

/* ---- words ------------------------------------------------------------- */

static bool is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A comment, nested ones within: by counting, so that depth costs nothing. */
static void skip_comment(struct span *in)
{
        size_t depth = 0, i = 0;

        for (; i < in->len; i++) {
                if (in->p[i] == '\\')
                        i++;
                else if (in->p[i] == '(')
                        depth++;
                else if (in->p[i] == ')' && --depth == 0)
                        break;
        }
        *in = span_skip(*in, i + 1);
}

static void skip_blanks(struct span *in)
{
        while (in->len && (is_blank(in->p[0]) || in->p[0] == '(')) {
                if (in->p[0] == '(')
                        skip_comment(in);
                else
                        *in = span_skip(*in, 1);
        }
}

/* Octets up to a blank or one of `stops`: wider than a token (RFC 2045), since
 * unquoted values with specials in them are common. */
static struct span take_word(struct span *in, const char *stops)
{
        size_t i = 0;
        struct span word;

        while (i < in->len && !is_blank(in->p[i]) && in->p[i] != '\0' && !strchr(stops, in->p[i]))
                i++;
        word = span_first(*in, i);
        *in = span_skip(*in, i);
        return word;
}

static int take_quoted(struct span *in, struct arena *arena, struct span *ret)
{
        char *out = arena_alloc(arena, in->len + 1);
        size_t i = 1, len = 0;

        if (!out)
                return -ENOMEM;
        for (; i < in->len && in->p[i] != '"'; i++) {
                if (in->p[i] == '\r' || in->p[i] == '\n')
                        continue; /* a fold */
                if (in->p[i] == '\\' && i + 1 < in->len)
                        i++;
                out[len++] = in->p[i];
        }
        *in = span_skip(*in, i + 1);
        *ret = span_make(out, len);
        return 0;
}

static int copy_lower(struct span s, struct arena *arena, struct span *ret)
{
        char *out = arena_alloc(arena, s.len + 1);

        if (!out)
                return -ENOMEM;
        ascii_lower_copy(out, s);
        *ret = span_make(out, s.len);
        return 0;
}

/* ---- the field --------------------------------------------------------- */

static int parse_value(struct span *in, struct arena *arena, struct content_field *f)
{
        char *out = arena_alloc(arena, in->len + 2);
        size_t len;
        struct span word;

        if (!out)
                return -ENOMEM;
        skip_blanks(in);
        word = take_word(in, ";(/\"");
        ascii_lower_copy(out, word);
        len = word.len;
        f->type = span_make(out, len);
        skip_blanks(in);
        if (in->len && in->p[0] == '/') {
                out[len++] = '/';
                *in = span_skip(*in, 1);
                skip_blanks(in);
                word = take_word(in, ";(\"");
                ascii_lower_copy(out + len, word);
                f->subtype = span_make(out + len, word.len);
                len += word.len;
        }
        f->value = span_make(out, len);
        return len ? 0 : -EBADMSG;
}

static void skip_to_next(struct span *in)
{
        while (in->len && in->p[0] != ';') {
                if (in->p[0] == '(')
                        skip_comment(in);
                else
                        *in = span_skip(*in, 1);
        }
}

/* One parameter. 1 when there was one, 0 when what stands there is none. */
static int parse_parameter(struct span *in, struct arena *arena, struct content_parameter *p)
{
        struct span name;
        int r;

        skip_blanks(in);
        name = take_word(in, "=;(\"");
        skip_blanks(in);
        if (!name.len || !in->len || in->p[0] != '=') {
                skip_to_next(in);
                return 0;
        }
        *in = span_skip(*in, 1);
        skip_blanks(in);
        r = copy_lower(name, arena, &p->name);
        if (r == 0 && in->len && in->p[0] == '"') {
                r = take_quoted(in, arena, &p->value);
        } else if (r == 0) {
                p->value = arena_copy(arena, take_word(in, ";("));
                if (!p->value.p)
                        r = -ENOMEM;
        }
        skip_to_next(in);
        return r < 0 ? r : 1;
}

int content_field_parse(struct span raw, struct arena *arena, struct content_field *ret)
{
        struct content_parameter list[CONTENT_PARAMETERS_MAX];
        struct content_field f = {0};
        int r = parse_value(&raw, arena, &f);

        if (r < 0)
                return r;
        skip_to_next(&raw);
        while (raw.len && f.parameter_count < CONTENT_PARAMETERS_MAX) {
                raw = span_skip(raw, 1); /* ";" */
                r = parse_parameter(&raw, arena, &list[f.parameter_count]);
                if (r < 0)
                        return r;
                f.parameter_count += (size_t) r;
        }
        if (f.parameter_count) {
                f.parameters = arena_alloc(arena, f.parameter_count * sizeof *f.parameters);
                if (!f.parameters)
                        return -ENOMEM;
                memcpy(f.parameters, list, f.parameter_count * sizeof *f.parameters);
        }
        *ret = f;
        return 0;
}

bool content_field_parameter(const struct content_field *f, struct span name,
                             struct span *ret_value)
{
        for (size_t i = 0; i < f->parameter_count; i++) {
                if (!span_equal(f->parameters[i].name, name))
                        continue;
                *ret_value = f->parameters[i].value;
                return true;
        }
        return false;
}
