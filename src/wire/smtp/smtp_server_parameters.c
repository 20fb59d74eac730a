#include <errno.h>
#include <stdint.h>

#include "base/utf8.h"
#include "wire/smtp/smtp_server_engine.h"

bool smtp_server_take_path(struct span *rest, struct span *ret_path)
{
        const size_t bracket = span_find(*rest, '>');
        bool is_quoted = false;
        size_t i = 1;

        if (rest->len == 0 || rest->p[0] != '<')
                return false;
        if (bracket != SIZE_MAX && span_find(span_first(*rest, bracket), '"') == SIZE_MAX)
                i = bracket; /* the first one, since nothing is quoted before it */
        while (i < rest->len && (is_quoted || rest->p[i] != '>')) {
                if (is_quoted && rest->p[i] == '\\')
                        i++;
                else if (rest->p[i] == '"')
                        is_quoted = !is_quoted;
                i++;
        }
        if (i >= rest->len || (i + 1 < rest->len && rest->p[i + 1] != ' '))
                return false;
        *ret_path = span_make(rest->p + 1, i - 1);
        *rest = span_skip(*rest, i + 1);
        return true;
}

static bool is_keyword(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);
                const bool is_let_dig = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

                if (!is_let_dig && (c != '-' || i == 0))
                        return false;
        }
        return s.len > 0;
}

/* esmtp-value of RFC 5321 section 4.1.2; octets above 127 by RFC 6531 section
 * 3.3, for the parameter that knows them to judge. */
static bool is_value(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] <= 32 || s.p[i] == '=' || s.p[i] == 127)
                        return false;
        return s.len > 0 && utf8_is_valid(s);
}

int smtp_server_take_parameter(struct span *rest, struct smtp_parameter *ret)
{
        struct smtp_parameter p = {0};
        struct span word;
        size_t end, equals;

        while (rest->len && rest->p[0] == ' ')
                *rest = span_skip(*rest, 1);
        if (rest->len == 0)
                return 0;
        end = span_find(*rest, ' ');
        word = span_first(*rest, end);
        equals = span_find(word, '=');
        p.keyword = span_first(word, equals);
        p.has_value = equals != SIZE_MAX;
        if (p.has_value)
                p.value = span_skip(word, equals + 1);
        if (!is_keyword(p.keyword) || (p.has_value && !is_value(p.value)))
                return -EINVAL;
        *rest = span_skip(*rest, word.len);
        *ret = p;
        return 1;
}

static size_t find_row(const struct smtp_server *s, const struct smtp_parameter *p,
                       const struct smtp_parameter_row *rows, size_t row_count)
{
        for (size_t i = 0; i < row_count; i++)
                if (span_equal_nocase(rows[i].keyword, p->keyword))
                        return smtp_server_has_offer(s, rows[i].offer) ? i : row_count;
        return row_count;
}

bool smtp_server_take_parameters(struct smtp_server *s, struct span rest,
                                 const struct smtp_parameter_row *rows, size_t row_count,
                                 struct smtp_event *ev)
{
        unsigned seen = 0;

        for (;;) {
                struct smtp_parameter p;
                const int r = smtp_server_take_parameter(&rest, &p);
                size_t row;

                if (r == 0)
                        return true;
                if (r < 0) {
                        smtp_server_refuse(s, 501, "5.5.4", "Malformed parameter");
                        return false;
                }
                row = find_row(s, &p, rows, row_count);
                if (row == row_count) {
                        smtp_server_refuse(s, 555, "5.5.4", "Parameter not known, or not offered");
                        return false;
                }
                if (seen & 1u << row) {
                        smtp_server_refuse(s, 501, "5.5.4", "Parameter given twice");
                        return false;
                }
                seen |= 1u << row;
                if (!rows[row].take(s, &p, ev))
                        return false;
        }
}
