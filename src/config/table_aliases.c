/* The aliases: other recipients for a local name.
 *
 *   postmaster:   root
 *   root:         taro, hanako@example.com
 *   staff:        :include:/etc/mail/staff
 *   owner-staff:  hanako
 *
 * In a snapshot: the name in lower case, without its quotes; the recipients as
 * they stand, a line each. The lists that are included lie there as well,
 * under the key ":include:/path", which is no name. */
#include <errno.h>

#include "config/command_line.h"
#include "config/table.h"
#include "message/address.h"

enum { RECIPIENTS_MAX = 1000, PATH_LEN_MAX = 240 };

static const struct span include = SPAN(":include:");

/* Cuts the text before the next comma that stands in no quotes and no comment
 * in parentheses; what is such a comment is left out by its caller's grammar. */
static bool next_recipient(struct span *rest, struct span *ret_word)
{
        bool is_quoted = false;
        unsigned depth = 0;
        size_t i;

        if (rest->len == 0)
                return false;
        for (i = 0; i < rest->len; i++) {
                const char c = rest->p[i];

                if (c == '\\' && i + 1 < rest->len)
                        i++;
                else if (c == '"')
                        is_quoted = !is_quoted;
                else if (!is_quoted && c == '(')
                        depth++;
                else if (!is_quoted && c == ')' && depth)
                        depth--;
                else if (!is_quoted && depth == 0 && c == ',')
                        break;
        }
        *ret_word = span_trim(span_first(*rest, i));
        *rest = span_skip(*rest, i + 1);
        return true;
}

/* "Hanako <hanako@example.jp>" is hanako@example.jp, "taro (Taro)" is taro. */
static struct span bare_address(struct span word)
{
        const size_t open = span_find_last(word, '<');
        const size_t comment = span_find(word, '(');

        if (word.len && word.p[word.len - 1] == '>' && open != SIZE_MAX)
                return span_trim(span_skip(span_first(word, word.len - 1), open + 1));
        if (word.len && word.p[word.len - 1] == ')' && comment != SIZE_MAX && word.p[0] != '"')
                return span_trim(span_first(word, comment));
        return word;
}

static bool path_is_good(struct span path)
{
        bool good = path.len > 1 && path.len <= PATH_LEN_MAX && path.p[0] == '/';

        for (size_t i = 0; i < path.len; i++)
                good &= path.p[i] >= ' ' && path.p[i] != 127;
        return good;
}

/* The path of ":include:/path", which may stand in quotes. */
static struct span include_path(struct span word)
{
        const bool is_quoted = word.p[0] == '"';
        struct span path = span_trim(span_skip(word, include.len + is_quoted));

        if (is_quoted && path.len && path.p[path.len - 1] == '"')
                path.len--;
        return path;
}

/* What stands in quotes, without them, as it is meant. */
static int unquote(struct span word, struct buffer *out)
{
        const bool is_quoted = word.p[0] == '"';
        int r = 0;

        word = span_skip(word, is_quoted);
        if (is_quoted && word.len && word.p[word.len - 1] == '"')
                word.len--;
        for (size_t i = 0; r == 0 && i < word.len; i++) {
                if (is_quoted && word.p[i] == '\\' && i + 1 < word.len)
                        i++;
                r = buffer_append(out, word.p + i, 1);
        }
        return r;
}

static bool is_agent(struct span word)
{
        return word.len && (word.p[0] == '|' || word.p[0] == '/');
}

/* "|program" or "/file", for an agent to see to. False, with an error said. */
static bool put_agent(struct table_lines *t, struct span word, struct buffer *out)
{
        struct buffer text = BUFFER_INIT(TABLE_LINE_MAX), words = BUFFER_INIT(TABLE_LINE_MAX);
        const char *why = "a file's path has at most 240 octets, none of them a control character, "
                          "and no / at its end";
        size_t count;
        bool good = unquote(word, &text) == 0;
        const struct span s = buffer_span(&text);

        if (good && s.p[0] == '|')
                good = command_line_split(span_skip(s, 1), &words, &count, &why) == 0;
        else if (good)
                good = path_is_good(s) && s.p[s.len - 1] != '/';
        if (!good)
                table_error(t, "\"%.*s\": %s", TABLE_TEXT(word), why);
        else
                good = buffer_append_span(out, s) == 0 && buffer_append(out, "\n", 1) == 0;
        buffer_done(&text);
        buffer_done(&words);
        return good;
}

/* Appends the recipient as a line. False, with an error said. */
static bool put_recipient(struct table_lines *t, struct span word, struct buffer *out)
{
        struct span kind = word.len && word.p[0] == '"' ? span_skip(word, 1) : word;
        struct address address;

        if (is_agent(kind))
                return put_agent(t, word, out);
        if (span_starts_with_nocase(kind, include)) {
                const struct span path = include_path(word);

                if (!path_is_good(path)) {
                        table_error(t, "\"%.*s\": behind :include: there must be a whole path of "
                                    "at most %d octets", TABLE_TEXT(word), PATH_LEN_MAX);
                        return false;
                }
                return buffer_append_span(out, include) == 0 &&
                       buffer_append_span(out, path) == 0 && buffer_append(out, "\n", 1) == 0;
        }
        word = bare_address(word);
        kind = word.len && word.p[0] == '\\' ? span_skip(word, 1) : word;
        /* In <> a program or file would go unchecked. */
        if (is_agent(word) || address_parse(kind, true, &address) < 0) {
                table_error(t, "\"%.*s\" is no recipient; write a name, an address or "
                            ":include:/path, with commas between them", TABLE_TEXT(word));
                return false;
        }
        return buffer_append_span(out, word) == 0 && buffer_append(out, "\n", 1) == 0;
}

/* A list with commas, as it stands behind a name. False, with an error said. */
static bool put_list(struct table_lines *t, struct span list, struct buffer *out, size_t *count)
{
        struct span word;

        while (next_recipient(&list, &word)) {
                if (word.len == 0)
                        continue; /* a comma too many, as sendmail lets pass */
                if (!put_recipient(t, word, out))
                        return false;
                if (++*count > RECIPIENTS_MAX) {
                        table_error(t, "there are more than %d recipients; that many need a "
                                    "mailing list", RECIPIENTS_MAX);
                        return false;
                }
        }
        return true;
}

/* Where the colon behind the name is, or SIZE_MAX. */
static size_t find_colon(struct span entry)
{
        bool is_quoted = false;

        for (size_t i = 0; i < entry.len; i++) {
                if (entry.p[i] == '\\' && is_quoted)
                        i++;
                else if (entry.p[i] == '"')
                        is_quoted = !is_quoted;
                else if (entry.p[i] == ':' && !is_quoted)
                        return i;
        }
        return SIZE_MAX;
}

static bool name_is_good(struct span name, struct span *ret_key)
{
        struct address address;

        if (name.len >= 2 && name.p[0] == '"' && name.p[name.len - 1] == '"' &&
            span_find(name, '\\') == SIZE_MAX && span_find(span_skip(name, 1), '"') + 2 == name.len)
                *ret_key = span_skip(span_first(name, name.len - 1), 1);
        else
                *ret_key = name;
        return ret_key->len > 0 && ret_key->len <= TABLE_KEY_MAX && ret_key->p[0] != ':' &&
               (address_parse(name, true, &address) == 0 ||
                (span_ends_with_nocase(name, SPAN_LITERAL("+*")) &&
                 address_parse(span_first(name, name.len - 2), true, &address) == 0)) &&
               !address.is_literal;
}

static int parse_entry(struct table_lines *t, struct span entry, struct snapshot_build *b)
{
        struct buffer list = BUFFER_INIT(SNAPSHOT_VALUE_MAX);
        const size_t colon = find_colon(entry);
        const struct span name = span_trim(span_first(entry, colon));
        const unsigned errors = t->errors;
        struct span key;
        size_t count = 0;
        int r = 0;

        if (colon == SIZE_MAX)
                table_error(t, "there is no colon; a line is a name, a colon and recipients");
        else if (!name_is_good(name, &key))
                table_error(t, "\"%.*s\" is no local name", TABLE_TEXT(name));
        else if (!put_list(t, span_skip(entry, colon + 1), &list, &count)) {
                if (t->errors == errors)
                        table_error(t, "the list has more than %d octets; that long it must be "
                                    "a mailing list", SNAPSHOT_VALUE_MAX);
        } else if (count == 0)
                table_error(t, "\"%.*s\" has no recipients; name some, or take it out",
                            TABLE_TEXT(name));
        else
                r = snapshot_build_add(b, SNAPSHOT_ALIASES, key, buffer_span(&list), t->line);
        buffer_done(&list);
        return r;
}

static int visit_list(struct span list, table_include_fn *visit, void *arg)
{
        struct span word;
        int r = 0;

        while (r >= 0 && next_recipient(&list, &word)) {
                const size_t quote = word.len && word.p[0] == '"';

                if (span_starts_with_nocase(span_skip(word, quote), include) &&
                    path_is_good(include_path(word)))
                        r = visit(arg, include_path(word));
        }
        return r < 0 ? r : 0;
}

int table_includes(struct span text, bool is_list, table_include_fn *visit, void *arg)
{
        struct buffer error = BUFFER_INIT(TABLE_LINE_MAX);
        struct table_lines t = TABLE_LINES(text, (struct span) SPAN("aliases"), &error);
        struct span entry;
        int r = 0;

        while (r == 0 && (is_list ? table_next_line(&t, &entry) : table_next_entry(&t, &entry))) {
                const size_t colon = is_list ? SIZE_MAX : find_colon(entry);

                r = visit_list(is_list ? entry : span_skip(entry, colon + 1), visit, arg);
        }
        buffer_done(&t.joined);
        buffer_done(&error);
        return r;
}

int table_aliases_parse(struct span text, struct span name, struct snapshot_build *b,
                        struct buffer *error)
{
        struct table_lines t = TABLE_LINES(text, name, error);

        return table_each_entry(&t, SNAPSHOT_ALIASES, b, parse_entry);
}

/* An included file: recipients, with commas or in lines of their own. */
int table_include_parse(struct span text, struct span path, struct snapshot_build *b,
                        struct buffer *error)
{
        struct table_lines t = {.rest = text, .name = path, .error = error};
        struct buffer list = BUFFER_INIT(SNAPSHOT_VALUE_MAX), key = BUFFER_INIT(SNAPSHOT_KEY_MAX);
        struct span line;
        size_t count = 0;
        int r = 0;

        while (t.errors == 0 && table_next_line(&t, &line))
                if (!put_list(&t, line, &list, &count) && t.errors == 0)
                        table_error(&t, "the list has more than %d octets; that long it must be a "
                                    "mailing list", SNAPSHOT_VALUE_MAX);
        if (t.errors == 0) {
                r = buffer_append_span(&key, include);
                if (r == 0)
                        r = buffer_append_span(&key, path);
                if (r == 0)
                        r = snapshot_build_add(b, SNAPSHOT_ALIASES, buffer_span(&key),
                                               buffer_span(&list), 0);
        }
        buffer_done(&list);
        buffer_done(&key);
        if (r < 0)
                return r;
        return t.errors ? -EINVAL : 0;
}
