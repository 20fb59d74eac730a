#include "auth/relay_logins.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/number.h"

enum { FIELDS_MAX = 4 };

struct relay_logins {
        char *text; /* fields are unquoted in place */
        size_t text_len, count, room;
        struct relay_login *items;
};

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* Takes one field off the line, unquoted in place. 1; 0: the line has ended;
 * -EINVAL: a quote is not closed. */
static int take_field(char **at, const char *end, struct span *ret_field)
{
        char *in = *at, *out;
        bool is_quoted = false, is_escaped = false;

        while (in < end && is_blank(*in))
                in++;
        if (in == end)
                return 0;
        *ret_field = span_make(in, 0);
        for (out = in; in < end && (is_quoted || is_escaped || !is_blank(*in)); in++) {
                if (!is_escaped && *in == '"')
                        is_quoted = !is_quoted;
                else if (!is_escaped && is_quoted && *in == '\\')
                        is_escaped = true;
                else {
                        *out++ = *in;
                        is_escaped = false;
                }
        }
        ret_field->len = (size_t) (out - ret_field->p);
        *at = in;
        return is_quoted ? -EINVAL : 1;
}

static const char *read_host(struct span text, struct relay_login *l)
{
        const bool has_bracket = text.len && text.p[0] == '[';
        const size_t end = has_bracket ? span_find(text, ']') : span_find(text, ':');
        struct span rest = span_skip(text, end);
        uint64_t port;

        if (has_bracket && end == SIZE_MAX)
                return "the bracket is not closed";
        l->host = has_bracket ? span_skip(span_first(text, end), 1) : span_first(text, end);
        rest = span_skip(rest, has_bracket);
        if (l->host.len == 0)
                return "there is no host";
        if (rest.len && (rest.p[0] != ':' ||
                         number_parse(span_skip(rest, 1), UINT16_MAX, &port) < 0 || port == 0))
                return "behind the host there may only be :port";
        l->port = rest.len ? (uint16_t) port : 0;
        return NULL;
}

/* Commas become blanks, as SASL lists them. */
static const char *read_mechanisms(char *text, size_t len, struct relay_login *l)
{
        const struct span prefix = SPAN_LITERAL("mechanisms=");

        if (!span_starts_with_nocase(span_make(text, len), prefix) || len == prefix.len)
                return "the fourth field may only be mechanisms=…";
        for (size_t i = 0; i < len; i++)
                if (text[i] == ',')
                        text[i] = ' ';
        l->mechanisms = span_make(text + prefix.len, len - prefix.len);
        return NULL;
}

static const char *read_line(char *line, size_t len, struct relay_login *ret)
{
        struct span fields[FIELDS_MAX + 1];
        const char *end = line + len, *why;
        size_t count = 0;
        int r = 1;

        while (count <= FIELDS_MAX && (r = take_field(&line, end, &fields[count])) > 0) {
                if (fields[count].len > RELAY_LOGIN_FIELD_MAX ||
                    (fields[count].len && memchr(fields[count].p, 0, fields[count].len)))
                        return "a field is too long, or has a NUL in it";
                count++;
        }
        if (r < 0)
                return "a quote is not closed";
        if (count < 3 || count > FIELDS_MAX)
                return "there must be a host, a login name and a password";
        *ret = (struct relay_login) {.login_name = fields[1], .password = fields[2]};
        why = read_host(fields[0], ret);
        if (!why && count == FIELDS_MAX)
                why = read_mechanisms((char *) (uintptr_t) fields[3].p, fields[3].len, ret);
        return why;
}

static int add(struct relay_logins *l, const struct relay_login *login)
{
        if (l->count == l->room) {
                const size_t room = l->room ? 2 * l->room : 16;
                struct relay_login *items = reallocarray(l->items, room, sizeof *items);

                if (!items)
                        return -ENOMEM;
                l->items = items;
                l->room = room;
        }
        l->items[l->count++] = *login;
        return 0;
}

static int parse(struct relay_logins *l, const char *name, struct buffer *error)
{
        char *at = l->text, *const end = l->text + l->text_len;
        int r = 0;

        for (unsigned line = 1; at < end; line++) {
                char *newline = memchr(at, '\n', (size_t) (end - at));
                size_t len = (size_t) ((newline ? newline : end) - at);
                const struct span content = span_trim(span_make(at, len));
                struct relay_login login;
                const char *why = NULL;

                if (len && at[len - 1] == '\r')
                        len--;
                if (content.len && content.p[0] != '#') {
                        why = l->count == RELAY_LOGINS_MAX ? "there are too many lines"
                                                           : read_line(at, len, &login);
                        if (!why && add(l, &login) < 0)
                                return -ENOMEM;
                }
                if (why) {
                        buffer_printf(error, "%s:%u: %s\n", name, line, why);
                        r = -EINVAL;
                }
                at = newline ? newline + 1 : end;
        }
        return r;
}

int relay_logins_parse(struct span text, const char *name, struct relay_logins **ret_l,
                       struct buffer *error)
{
        struct relay_logins *l = calloc(1, sizeof *l);
        int r = -ENOMEM;

        if (l && (l->text = malloc(text.len + 1))) {
                if (text.len)
                        memcpy(l->text, text.p, text.len);
                l->text_len = text.len;
                r = parse(l, name, error);
        }
        if (r < 0) {
                relay_logins_free(l);
                return r;
        }
        *ret_l = l;
        return 0;
}

struct relay_logins *relay_logins_free(struct relay_logins *l)
{
        if (!l)
                return NULL;
        if (l->text)
                sodium_memzero(l->text, l->text_len);
        free(l->text);
        free(l->items);
        free(l);
        return NULL;
}

const struct relay_login *relay_logins_find(const struct relay_logins *l, struct span host,
                                            uint16_t port)
{
        const struct relay_login *best = NULL;

        for (size_t i = 0; i < l->count; i++) {
                const struct relay_login *one = &l->items[i];

                if (!span_equal_nocase(one->host, host) || (one->port && one->port != port))
                        continue;
                if (!best || (!best->port && one->port))
                        best = one;
        }
        return best;
}

size_t relay_logins_count(const struct relay_logins *l)
{
        return l->count;
}

const struct relay_login *relay_logins_at(const struct relay_logins *l, size_t i)
{
        return &l->items[i];
}
