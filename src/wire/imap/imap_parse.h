/* The words of IMAP's grammar (RFC 9051 section 9), read from a whole command:
 * a line, with its literals in it, "{5}" CRLF and the octets.
 *
 * Each function takes its word off `rest` and returns true, or leaves `rest`
 * anywhere and returns false: the command is then answered with BAD. Results
 * live in the arena or borrow from the command. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/span.h"
#include "wire/imap/imap_server.h"

struct imap_parser {
        struct span rest; /* without the last CRLF */
        struct arena *arena;
        bool is_utf8;     /* mailbox names come as UTF-8, not in modified UTF-7 */
};

enum {
        IMAP_PARSE_RANGES_MAX = 20000,
        IMAP_PARSE_LIST_MAX = 1000, /* words of one list */
};

/* One octet, or false with nothing taken. */
bool imap_parse_char(struct imap_parser *p, char c);
bool imap_parse_space(struct imap_parser *p);
bool imap_parse_end(const struct imap_parser *p);

/* The next octet; '\0' at the end. */
char imap_parse_peek(const struct imap_parser *p);

/* `word` and what ends a word behind it, or false with nothing taken. */
bool imap_parse_word(struct imap_parser *p, struct span word);

bool imap_parse_tag(struct imap_parser *p, struct span *ret);
bool imap_parse_atom(struct imap_parser *p, struct span *ret);
bool imap_parse_string(struct imap_parser *p, struct span *ret);  /* quoted or literal */
bool imap_parse_astring(struct imap_parser *p, struct span *ret);
bool imap_parse_nstring(struct imap_parser *p, struct span *ret); /* NIL: p == NULL */
bool imap_parse_list_mailbox(struct imap_parser *p, struct span *ret); /* with % and * */
bool imap_parse_number(struct imap_parser *p, uint64_t max, uint64_t *ret);

/* A mailbox name as UTF-8, INBOX in capitals. */
bool imap_parse_mailbox(struct imap_parser *p, struct span *ret);

/* A name or a pattern as the client wrote it, as UTF-8. */
bool imap_parse_decode_name(struct imap_parser *p, struct span raw, struct span *ret);

/* "(" words ")" or, without parentheses where `may_be_bare`, words to the end. */
struct imap_flags {
        unsigned flags; /* enum imap_flag */
        struct span *keywords;
        size_t keyword_count;
};
bool imap_parse_flags(struct imap_parser *p, bool may_be_bare, struct imap_flags *ret);

/* A sequence-set; "*" is UINT32_MAX. "$" gives `is_saved`, where allowed. */
struct imap_set {
        struct imap_range *ranges; /* as written, ends in order; star: has_star */
        size_t count;
        bool is_saved;
};
bool imap_parse_set(struct imap_parser *p, struct imap_set *ret);

/* "1-Feb-1994", quoted or not: days since 1970. */
bool imap_parse_date(struct imap_parser *p, int64_t *ret_day);
/* "17-Jul-1996 02:44:25 -0700", quoted: µs since 1970; before 1970 is 1970. */
bool imap_parse_date_time(struct imap_parser *p, uint64_t *ret_us);

/* The marker of a literal at the end of a line (without its CRLF). */
struct imap_literal {
        uint64_t size;
        size_t at;      /* where "{" or "~{" stands */
        bool is_synchronizing, is_binary;
};
bool imap_parse_literal(struct span line, struct imap_literal *ret);
