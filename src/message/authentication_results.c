#include "message/authentication_results.h"

#include <string.h>

/* Blanks, folds and comments (RFC 5322 section 3.2.2) off the front. */
static struct span skip_comments(struct span s)
{
        unsigned depth = 0;

        while (s.len) {
                if (s.p[0] == '(')
                        depth++;
                else if (s.p[0] == ')' && depth)
                        depth--;
                else if (s.p[0] == '\\' && depth)
                        s = span_skip(s, 1);
                else if (depth == 0 && !memchr(" \t\r\n", s.p[0], 4))
                        break;
                s = span_skip(s, 1);
        }
        return s;
}

/* The quoted string at the front of `s` says `id`. */
static bool is_quoted(struct span s, struct span id)
{
        size_t at = 0;

        for (s = span_skip(s, 1); s.len && s.p[0] != '"'; s = span_skip(s, 1)) {
                if (s.p[0] == '\\')
                        s = span_skip(s, 1);
                if (s.len == 0 || at == id.len || ascii_lower(s.p[0]) != ascii_lower(id.p[at]))
                        return false;
                at++;
        }
        return at == id.len;
}

bool authentication_results_is_of(struct span value, struct span authserv_id)
{
        struct span s = skip_comments(value);
        size_t len = 0;

        if (s.len && s.p[0] == '"')
                return is_quoted(s, authserv_id);
        while (len < s.len && !memchr(" \t\r\n;(/", s.p[len], 7))
                len++;
        return span_equal_nocase(span_first(s, len), authserv_id);
}
