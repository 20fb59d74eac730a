/* A span: octets that somebody else owns.
 *
 * Text in a mail system is pointer and length; NUL is data. A span borrows:
 * whoever hands one out says how long it lives. {NULL, 0} is the empty span. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
        const char *p;
        size_t len;
};

/* A string literal as a span, also in initialisers of static tables. */
#define SPAN(literal) {.p = (literal), .len = sizeof(literal) - 1}
#define SPAN_LITERAL(literal) ((struct span) SPAN(literal))

static inline struct span span_make(const char *p, size_t len)
{
        return (struct span) {.p = p, .len = len};
}

/* NULL gives the empty span. */
static inline struct span span_from_string(const char *s)
{
        return (struct span) {.p = s, .len = s ? strlen(s) : 0};
}

static inline bool span_equal(struct span a, struct span b)
{
        return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* The rest of `s` after its first `n` octets; empty when it has fewer. */
static inline struct span span_skip(struct span s, size_t n)
{
        return n >= s.len ? (struct span) {s.p ? s.p + s.len : NULL, 0}
                          : (struct span) {s.p + n, s.len - n};
}

static inline struct span span_first(struct span s, size_t n)
{
        return (struct span) {s.p, n < s.len ? n : s.len};
}

/* ASCII only, as protocol words and domain names in A-label form need it:
 * octets above 127 are compared as they stand. */
bool span_equal_nocase(struct span a, struct span b);
bool span_starts_with_nocase(struct span s, struct span prefix);
bool span_ends_with_nocase(struct span s, struct span suffix);

/* Index of the first / last `c`, or SIZE_MAX. */
size_t span_find(struct span s, char c);
size_t span_find_last(struct span s, char c);

/* Without leading and trailing SP, HT, CR and LF. */
static inline bool span_is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}
static inline struct span span_trim(struct span s)
{
        while (s.len && span_is_blank(s.p[0])) {
                s.p++;
                s.len--;
        }
        while (s.len && span_is_blank(s.p[s.len - 1]))
                s.len--;
        return s;
}

/* Cuts the text before the first `separator` off the front of `*s` into
 * `*ret_word`; `*s` keeps what stands behind the separator. Without a separator
 * the word is all of it and `*s` is left empty with p == NULL. False once
 * `s->p` is NULL, so `while (span_split(&s, ',', &word))` sees every word, the
 * empty ones too. */
bool span_split(struct span *s, char separator, struct span *ret_word);

/* ASCII case, no locale. */
static inline char ascii_lower(char c)
{
        return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}
void ascii_lower_copy(char *out, struct span s);
