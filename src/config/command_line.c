#include "config/command_line.h"

#include <errno.h>
#include <string.h>

struct splitter {
        struct buffer *words;
        size_t count;
        const char *why;
        char quote;     /* the one that is open; 0: none */
        bool is_inside; /* of a word */
};

static int put(struct splitter *s, char c)
{
        s->is_inside = true;
        return buffer_append(s->words, &c, 1);
}

static int end_word(struct splitter *s)
{
        if (!s->is_inside)
                return 0;
        s->is_inside = false;
        if (++s->count > COMMAND_WORDS_MAX)
                return -E2BIG;
        return buffer_append(s->words, "", 1);
}

static int take_plain(struct splitter *s, char c)
{
        if (c == ' ' || c == '\t')
                return end_word(s);
        if (c == '"' || c == '\'') {
                s->quote = c;
                s->is_inside = true; /* '' is a word, too */
                return 0;
        }
        if (strchr("|&;<>()$`*?[]{}~#!", c)) {
                s->why = "no shell reads it: write /bin/sh -c '…' where one is wanted, or quote "
                         "what a shell would read";
                return -EINVAL;
        }
        return put(s, c);
}

/* Takes the octets at `*i`, one or two. */
static int take(struct splitter *s, struct span text, size_t *i)
{
        const char c = text.p[*i], next = *i + 1 < text.len ? text.p[*i + 1] : '\0';

        if ((unsigned char) c < ' ' && c != '\t') {
                s->why = "it has control characters";
                return -EINVAL;
        }
        if (c == '\\' && s->quote != '\'' && next &&
            (!s->quote || next == '"' || next == '\\')) {
                (*i)++;
                return put(s, next);
        }
        if (s->quote && c == s->quote) {
                s->quote = '\0';
                return 0;
        }
        return s->quote ? put(s, c) : take_plain(s, c);
}

int command_line_split(struct span text, struct buffer *words, size_t *ret_count,
                       const char **ret_why)
{
        struct splitter s = {.words = words, .why = "there is no command"};
        const size_t start = words->len;
        int r = text.len > COMMAND_LINE_MAX ? -E2BIG : 0;

        for (size_t i = 0; r == 0 && i < text.len; i++)
                r = take(&s, text, &i);
        if (r == 0 && s.quote) {
                s.why = "a quote never closes";
                r = -EINVAL;
        }
        if (r == 0)
                r = end_word(&s);
        if (r == 0 && s.count == 0)
                r = -EINVAL;
        if (r == 0 && span_skip(buffer_span(words), start).p[0] != '/') {
                s.why = "the program's whole path is wanted";
                r = -ENOENT;
        }
        if (r == -E2BIG)
                s.why = "it is too long";
        if (r < 0)
                *ret_why = s.why;
        else
                *ret_count = s.count;
        return r;
}
