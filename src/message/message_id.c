#include "message/message_id.h"

#include <stdint.h>

/* One octet of an id, or nothing; true while there is room. */
static bool put(char *out, size_t *len, char c)
{
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
                return true;
        if (*len == MESSAGE_ID_MAX)
                return false;
        out[(*len)++] = c;
        return true;
}

/* What stands between the brackets. False: it is too long. */
static bool normalize(struct span id, char *out, size_t *len)
{
        bool is_quoted = false;

        *len = 0;
        for (size_t i = 0; i < id.len; i++) {
                if (id.p[i] == '"') {
                        is_quoted = !is_quoted;
                        continue;
                }
                if (is_quoted && id.p[i] == '\\' && i + 1 < id.len)
                        i++;
                if (!put(out, len, id.p[i]))
                        return false;
        }
        return true;
}

bool message_id_next(struct span *rest, char *out, size_t *ret_len)
{
        for (;;) {
                const size_t begin = span_find(*rest, '<');
                struct span id;
                size_t end, len;

                if (begin == SIZE_MAX)
                        break;
                id = span_skip(*rest, begin + 1);
                end = span_find(id, '>');
                if (end == SIZE_MAX)
                        break;
                *rest = span_skip(id, end + 1);
                id.len = end;
                if (span_find_last(id, '<') != SIZE_MAX) /* "<a <b@c>": a bracket was lost */
                        id = span_skip(id, span_find_last(id, '<') + 1);
                if (normalize(id, out, &len) && len) {
                        *ret_len = len;
                        return true;
                }
        }
        *rest = span_skip(*rest, rest->len);
        return false;
}
