/* The option table: the one source of parser, defaults, manual page, sample
 * file and `check --effective`.
 *
 * A row says which field of struct config an option fills, how its text is
 * read, what it is when nobody sets it, and what people are told about it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "config/config.h"

enum { ROLE_COUNT = ROLE_FALLBACK + 1 };

/* How the text of a value is read, and the type of its field. */
enum option_type {
        OPTION_HOSTNAME,  /* struct span: a full domain name, made lower case */
        OPTION_USER,      /* struct span: a Unix account name */
        OPTION_PATH,      /* struct span: begins with "/" */
        OPTION_NEXT_HOP,  /* struct span: [mailer:]host[:port] or [host] */
        OPTION_LOG_LEVEL, /* struct span: what log_level_parse() knows */
        OPTION_ROLE,      /* enum role */
        OPTION_BOOL,      /* bool: "yes" or "no" */
        OPTION_NUMBER,    /* unsigned */
        OPTION_COUNT,     /* uint64_t, a plain number */
        OPTION_SIZE,      /* uint64_t, octets: "10M" */
        OPTION_DURATION,  /* uint64_t, milliseconds: "5d" */
        OPTION_DOMAINS,   /* struct config_list of domain names, made lower case */
        OPTION_PATTERNS,  /* the same, where ".example.jp" is any subdomain */
        OPTION_NAMES,     /* struct config_list of local parts, made lower case */
        OPTION_SERVERS,   /* struct config_list of "address" or "address@port" */
        OPTION_CERTIFICATES, /* struct config_list: see config.h, relay_certificates */
        OPTION_MECHANISMS, /* struct config_list of SASL mechanism names, made upper case */
        OPTION_TLS_POLICIES, /* struct config_list of rows, see config/tls_policy.h */
        OPTION_PATHS,     /* struct config_list of paths that begin with "/" */
        OPTION_NETWORKS,  /* struct config_networks */
        OPTION_LISTENS,   /* struct config_listens */
        OPTION_DNSBLS,    /* struct config_dnsbls: sections with a title, each one text */
};

enum option_change { OPTION_RELOAD, OPTION_RESTART };

struct option {
        const char *name; /* "limits.message_size"; without a dot: no section */
        enum option_type type;
        enum option_change change; /* what makes a new value take effect */
        size_t offset;             /* in struct config */

        /* As in the file; the items of a list stand apart by one blank. NULL
         * is empty, or worked out by config.c, and then said in default_text. */
        const char *value;
        const char *role_value[ROLE_COUNT]; /* where a role differs */
        const char *default_text;

        uint64_t min, max; /* of numbers; with zero_is_none, 0 too: no limit */
        bool zero_is_none;

        const char *brief;   /* one line, a sentence without its full stop */
        const char *text;    /* whole sentences; a line break is a paragraph */
        const char *example; /* a value as it stands behind "name = " */
};

extern const struct option options[];
extern const size_t option_count;

/* Sections, in the order of the manual. */
struct option_section {
        const char *name;
        const char *brief;
};
extern const struct option_section option_sections[];
extern const size_t option_section_count;

/* The row of "limits.message_size", or NULL. */
const struct option *option_find(struct span name);

/* The known name most like `name`, when they are alike enough to ask "did you
 * mean"; else NULL. Tried: options, sections, and an option's last word. */
const char *option_suggest(struct span name);

bool option_is_list(const struct option *o);

/* Octets that the field of this type takes. */
size_t option_size(enum option_type type);

static inline void *option_field(const struct option *o, struct config *c)
{
        return (char *) c + o->offset;
}
static inline const void *option_field_const(const struct option *o, const struct config *c)
{
        return (const char *) c + o->offset;
}

/* Reads `texts` (one, where the option is no list) into the option's field of
 * `c`. Memory is the arena's. 0; -ENOMEM; -EINVAL, with what is wrong and what
 * to do appended to `why`. */
int option_parse(const struct option *o, struct config_list texts, struct arena *arena,
                 struct config *c, struct buffer *why);

/* The field as texts that option_parse() reads to an equal field. 0, -ENOMEM. */
int option_format(const struct option *o, const struct config *c, struct arena *arena,
                  struct config_list *ret_texts);

/* A network as it stands in the file. 0, or -EINVAL as option_parse(). */
int option_parse_network(struct span s, struct config_network *ret_n, struct buffer *why);

/* A section dnsbl "zone" { … } as one text, and back (option_dnsbl.c):
 *
 *     zone line=12 answers=127.0.0.2,127.0.0.3 allow=yes on_outage=tempfail message=…
 *
 * The spans of `*ret_d` point into `s`. As option_parse(). */
int option_dnsbl_parse(struct span s, struct arena *arena, struct config_dnsbl *ret_d,
                       struct buffer *why);

/* The same as it stands in the file. 0 or as buffer_append(). */
int option_dnsbl_print(struct span text, struct buffer *b);

/* What may be set in such a section; the names, ended by NULL. The first is a list. */
extern const char *const option_dnsbl_names[];

/* A default as texts: cut at blanks. */
int option_default_texts(const struct option *o, const char *value, struct arena *arena,
                         struct config_list *ret_texts);

const char *role_name(enum role role);                         /* "backup-mx" */
const char *listen_protocol_name(enum listen_protocol protocol); /* "smtp" */

/* Does TLS come first on such a connection? */
bool listen_protocol_is_tls(enum listen_protocol protocol);
