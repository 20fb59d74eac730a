#include "auth/users.h"

#include <errno.h>
#include <stdlib.h>

#include "auth/apop.h"
#include "auth/password.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/number.h"
#include "base/table.h"

/* One line of the file. Comments have no account, removed ones no text. */
struct line {
        struct span text; /* without the line feed */
        struct users_account *account;
        bool is_changed; /* written from `account`, not from `text` */
        bool is_removed;
};

/* An address an account has. */
struct key {
        struct table_node node;
        struct span address;
        struct users_account *account;
        size_t line;
};

struct users {
        struct arena arena; /* accounts, keys, texts */
        struct line *lines;
        size_t line_count, line_room;
        struct table keys;
        size_t count;
};

/* ---- words -------------------------------------------------------------- */

/* What may stand in a word of the file: no blanks, no controls, and not what
 * separates words. Octets above 127 are for addresses (RFC 6531). */
static bool is_word(struct span s, const char *forbidden)
{
        for (size_t i = 0; i < s.len; i++) {
                const unsigned char c = (unsigned char) s.p[i];

                if (c <= ' ' || c == 0x7f || strchr(forbidden, c))
                        return false;
        }
        return s.len > 0;
}

int users_canonical(struct span address, char *out)
{
        const size_t at = span_find_last(address, '@');

        if (at == SIZE_MAX || at == 0 || at + 1 == address.len ||
            address.len >= USERS_ADDRESS_MAX || !is_word(address, ":,\"<>()\\;[]") ||
            address.p[0] == '#' || address.p[address.len - 1] == '.' ||
            address.p[at + 1] == '.' || span_find(span_first(address, at), '@') != SIZE_MAX)
                return -EINVAL;
        ascii_lower_copy(out, address);
        out[address.len] = '\0';
        return 0;
}

static bool is_flag(struct span s)
{
        for (size_t i = 0; i < s.len; i++) {
                const char c = ascii_lower(s.p[i]);

                if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
                        return false;
        }
        return s.len > 0;
}

static bool is_flags(struct span flags)
{
        struct span word;

        while (span_split(&flags, ',', &word))
                if (!is_flag(word))
                        return false;
        return true;
}

/* The comma-separated addresses in canonical form, in the arena. */
static int canonical_list(struct arena *arena, struct span list, struct span *ret)
{
        struct span word, rest = list;
        char *out = arena_alloc(arena, list.len + 1), one[USERS_ADDRESS_MAX];
        size_t len = 0;

        if (!out)
                return -ENOMEM;
        while (span_split(&rest, ',', &word)) {
                if (users_canonical(word, one) < 0)
                        return -EINVAL;
                if (len)
                        out[len++] = ',';
                memcpy(out + len, one, word.len);
                len += word.len;
        }
        *ret = span_make(out, len);
        return 0;
}

/* ---- one line ----------------------------------------------------------- */

/* Sets the field `word` ("name=value") of `*a`. NULL, or what is wrong. */
static const char *parse_field(struct arena *arena, struct span word, struct users_account *a)
{
        const size_t at = span_find(word, '=');
        const struct span name = span_first(word, at);
        const struct span value = span_skip(word, at == SIZE_MAX ? word.len : at + 1);
        struct password_scram scram;

        if (at == SIZE_MAX || value.len == 0)
                return "a field behind the hash is written name=value";
        if (span_equal(name, SPAN_LITERAL("scram-sha-256"))) {
                if (a->scram.len || password_scram_parse(value, &scram) < 0)
                        return "scram-sha-256 is iterations,salt,StoredKey,ServerKey, once: set "
                               "the password again with \"hayauma user passwd\"";
                a->scram = value;
        } else if (span_equal(name, SPAN_LITERAL("scram-sha-1"))) {
                if (a->scram_sha1.len ||
                    password_scram_parse_keys(value, PASSWORD_SCRAM_SHA1_KEY, &scram) < 0)
                        return "scram-sha-1 is iterations,salt,StoredKey,ServerKey, once";
                a->scram_sha1 = value;
        } else if (span_equal(name, SPAN_LITERAL("apop"))) {
                if (a->apop.len || !apop_is_secret(value))
                        return "apop is a password in base64, once: set it again with \"hayauma "
                               "user passwd --apop\"";
                a->apop = value;
        } else if (span_equal(name, SPAN_LITERAL("addresses"))) {
                if (a->addresses.len || canonical_list(arena, value, &a->addresses) < 0)
                        return "addresses is a list local@domain,local@domain, once";
        } else if (span_equal(name, SPAN_LITERAL("quota"))) {
                if (a->quota || size_parse(value, &a->quota) < 0)
                        return "quota is a size as in quota=10G, once";
        } else if (span_equal(name, SPAN_LITERAL("flags"))) {
                if (a->flags.len || !is_flags(value))
                        return "flags is a list of words separated by commas, once";
                a->flags = value;
        } else {
                return "the fields are scram-sha-256, scram-sha-1, apop, addresses, quota and "
                       "flags";
        }
        return NULL;
}

/* Parses one account. NULL, or what is wrong with it. */
static const char *parse_line(struct arena *arena, struct span text, struct users_account *a)
{
        char canonical[USERS_ADDRESS_MAX], hash[PASSWORD_HASH_MAX];
        struct span address, word, rest = text, ignored;
        const char *why;

        if (text.len > USERS_LINE_MAX)
                return "the line is too long";
        span_split(&rest, ':', &address);
        if (users_canonical(address, canonical) < 0)
                return "an account starts with its address, local@domain";
        a->address = arena_copy(arena, span_make(canonical, address.len));
        if (!a->address.p)
                return "there is not enough memory";
        if (!span_split(&rest, ':', &a->hash))
                return "the address is followed by \":\" and the password's hash";
        if (!is_word(a->hash, ":"))
                return "a hash has no blanks in it";
        switch (password_import(a->hash, hash, &ignored, &why)) {
        case 0: /* other names of a scheme become ours */
                if (!span_equal(a->hash, span_from_string(hash)))
                        a->hash = arena_copy(arena, span_from_string(hash));
                if (!a->hash.p)
                        return "there is not enough memory";
                break;
        case 1:
                return "a password must not stand here in plain text: set it with \"hayauma user "
                       "passwd\" or bring it in with \"hayauma user import\"";
        default:
                return why;
        }
        while (span_split(&rest, ' ', &word)) {
                word = span_trim(word);
                why = word.len ? parse_field(arena, word, a) : NULL;
                if (why)
                        return why;
        }
        return NULL;
}

static int format_account(const struct users_account *a, struct buffer *b)
{
        char quota[NUMBER_TEXT_MAX];
        const char *separator = ":";
        int r = buffer_printf(b, "%.*s:%.*s", (int) a->address.len, a->address.p,
                              (int) a->hash.len, a->hash.p);
        const struct {
                const char *name;
                struct span value;
        } fields[] = {
                { "scram-sha-256", a->scram },
                { "scram-sha-1", a->scram_sha1 },
                { "apop", a->apop },
                { "addresses", a->addresses },
                { "quota", a->quota ? span_from_string(size_format(a->quota, quota))
                                    : (struct span) {0} },
                { "flags", a->flags },
        };

        for (size_t i = 0; i < sizeof fields / sizeof fields[0] && r == 0; i++) {
                if (!fields[i].value.len)
                        continue;
                r = buffer_printf(b, "%s%s=%.*s", separator, fields[i].name,
                                  (int) fields[i].value.len, fields[i].value.p);
                separator = " ";
        }
        return r;
}

/* ---- keys --------------------------------------------------------------- */

static struct key *find_key(const struct users *u, struct span address)
{
        const uint64_t hash = hash_span_nocase(address, hash_seed());

        for (struct table_node *n = table_first(&u->keys, hash); n; n = table_next(n)) {
                struct key *key = TABLE_OBJECT(n, struct key, node);

                if (span_equal_nocase(key->address, address))
                        return key;
        }
        return NULL;
}

static int add_key(struct users *u, struct span address, struct users_account *a, size_t line)
{
        struct key *key = arena_alloc(&u->arena, sizeof *key);

        if (!key)
                return -ENOMEM;
        *key = (struct key) {.address = address, .account = a, .line = line};
        return table_add(&u->keys, &key->node, hash_span_nocase(address, hash_seed()));
}

/* The address of `a` that belongs to another account than `except`, or one
 * that it has twice; empty if there is none. */
static struct span find_conflict(const struct users *u, const struct users_account *a,
                                 const struct users_account *except)
{
        struct span rest = a->addresses, word, other, before;
        const struct key *key = find_key(u, a->address);

        if (key && key->account != except)
                return a->address;
        while (span_split(&rest, ',', &word)) {
                key = find_key(u, word);
                if ((key && key->account != except) || span_equal(word, a->address))
                        return word;
                before = span_first(a->addresses, (size_t) (word.p - a->addresses.p));
                while (before.len && span_split(&before, ',', &other))
                        if (span_equal(other, word))
                                return word;
        }
        return (struct span) {0};
}

static void remove_keys(struct users *u, const struct users_account *a)
{
        struct span rest = a->addresses, word = a->address;

        do {
                struct key *key = find_key(u, word);

                if (key && key->account == a)
                        table_remove(&u->keys, &key->node);
        } while (span_split(&rest, ',', &word));
}

static int add_keys(struct users *u, struct users_account *a, size_t line)
{
        struct span rest = a->addresses, word = a->address;
        int r;

        do
                r = add_key(u, word, a, line);
        while (r == 0 && span_split(&rest, ',', &word));
        if (r < 0)
                remove_keys(u, a);
        return r;
}

/* ---- the whole ---------------------------------------------------------- */

static int add_line(struct users *u, const struct line *l)
{
        if (u->line_count == u->line_room) {
                const size_t room = u->line_room ? u->line_room * 2 : 64;
                struct line *lines = reallocarray(u->lines, room, sizeof *lines);

                if (!lines)
                        return -ENOMEM;
                u->lines = lines;
                u->line_room = room;
        }
        u->lines[u->line_count++] = *l;
        return 0;
}

/* Errors of a parse: the first USERS_ERRORS_MAX are written. */
struct errors {
        const char *name;
        struct buffer *out;
        unsigned count;
};

static void add_error(struct errors *e, uint32_t line, const char *why, struct span about)
{
        if (e->count++ >= USERS_ERRORS_MAX)
                return;
        buffer_printf(e->out, "%s:%u: %s", e->name, line, why);
        if (about.len)
                buffer_printf(e->out, " %.*s", (int) about.len, about.p);
        buffer_append_string(e->out, "\n");
}

static int parse_account(struct users *u, struct span text, uint32_t number, struct errors *errors)
{
        struct users_account *a = arena_alloc(&u->arena, sizeof *a);
        const char *why;
        struct span conflict;
        int r;

        if (!a)
                return -ENOMEM;
        a->line = number;
        why = parse_line(&u->arena, text, a);
        if (why) {
                add_error(errors, number, why, (struct span) {0});
                return 0;
        }
        conflict = find_conflict(u, a, NULL);
        if (conflict.len) {
                add_error(errors, number, "an account above, or this one twice, already has",
                          conflict);
                return 0;
        }
        r = add_keys(u, a, u->line_count - 1);
        if (r == 0) {
                u->lines[u->line_count - 1].account = a;
                u->count++;
        }
        return r;
}

static int parse_all(struct users *u, struct span text, struct errors *errors)
{
        struct span rest = text, line;
        uint32_t number = 0;
        int r = 0;

        while (r == 0 && rest.len && span_split(&rest, '\n', &line)) {
                const struct span trimmed = span_trim(line);

                number++;
                r = add_line(u, &(struct line) {.text = line});
                if (r == 0 && trimmed.len && trimmed.p[0] != '#')
                        r = parse_account(u, trimmed, number, errors);
        }
        if (r == 0 && errors->count > USERS_ERRORS_MAX)
                buffer_printf(errors->out, "%s: %u more lines are wrong\n", errors->name,
                              errors->count - USERS_ERRORS_MAX);
        return r == 0 && errors->count ? -EINVAL : r;
}

int users_parse(struct span text, const char *name, struct users **ret_u, struct buffer *error)
{
        struct errors errors = {.name = name, .out = error};
        struct users *u;
        struct span copy;
        int r;

        if (text.len > USERS_FILE_MAX)
                return -EMSGSIZE;
        u = calloc(1, sizeof *u);
        if (!u)
                return -ENOMEM;
        u->arena = ARENA_INIT(SIZE_MAX / 2); /* the file's size is the bound */
        copy = arena_copy(&u->arena, text);
        r = copy.p ? parse_all(u, copy, &errors) : -ENOMEM;
        if (r < 0)
                u = users_free(u);
        else
                *ret_u = u;
        return r;
}

struct users *users_free(struct users *u)
{
        if (u) {
                table_done(&u->keys);
                arena_done(&u->arena);
                free(u->lines);
                free(u);
        }
        return NULL;
}

const struct users_account *users_owner(const struct users *u, struct span address)
{
        const struct key *key = find_key(u, address);

        return key ? key->account : NULL;
}

const struct users_account *users_find(const struct users *u, struct span address)
{
        const struct users_account *a = users_owner(u, address);

        return a && span_equal_nocase(a->address, address) ? a : NULL;
}

size_t users_count(const struct users *u)
{
        return u->count;
}

const struct users_account *users_next(const struct users *u, size_t *position)
{
        while (*position < u->line_count) {
                const struct line *l = &u->lines[(*position)++];

                if (l->account)
                        return l->account;
        }
        return NULL;
}

/* ---- changes ------------------------------------------------------------ */

/* Formats `*a` and parses that back into the arena: what is put is exactly
 * what the next reader will see. */
static int copy_account(struct users *u, const struct users_account *a, struct users_account **ret)
{
        struct buffer b = BUFFER_INIT(USERS_LINE_MAX);
        struct users_account *copy = arena_alloc(&u->arena, sizeof *copy);
        int r = copy ? format_account(a, &b) : -ENOMEM;
        struct span text = {0};

        if (r == 0) {
                text = arena_copy(&u->arena, buffer_span(&b));
                r = text.p ? 0 : -ENOMEM;
        }
        buffer_done(&b);
        if (r == -EMSGSIZE || (r == 0 && (memchr(text.p, '\n', text.len) ||
                                          parse_line(&u->arena, text, copy) != NULL)))
                return -EINVAL;
        *ret = copy;
        return r;
}

int users_put(struct users *u, const struct users_account *a)
{
        struct users_account *copy = NULL, *old = NULL;
        const struct key *key;
        size_t line = u->line_count;
        int r = copy_account(u, a, &copy);

        if (r < 0)
                return r;
        key = find_key(u, copy->address);
        if (key && span_equal(key->account->address, copy->address)) {
                old = key->account;
                line = key->line;
        }
        if (find_conflict(u, copy, old).len)
                return -EEXIST;
        copy->line = old ? old->line : 0;
        if (!old && (r = add_line(u, &(struct line) {0})) < 0)
                return r;
        if (old)
                remove_keys(u, old);
        r = add_keys(u, copy, line);
        if (r < 0) {
                if (old)
                        (void) add_keys(u, old, line);
                else
                        u->line_count--;
                return r;
        }
        u->lines[line].account = copy;
        u->lines[line].is_changed = true;
        u->count += !old;
        return 0;
}

int users_remove(struct users *u, struct span address)
{
        const struct key *key = find_key(u, address);
        struct line *l;

        if (!key || !span_equal_nocase(key->account->address, address))
                return -ENOENT;
        l = &u->lines[key->line];
        remove_keys(u, l->account);
        l->account = NULL;
        l->is_removed = true;
        u->count--;
        return 0;
}

int users_format(const struct users *u, struct buffer *b)
{
        int r = 0;

        for (size_t i = 0; i < u->line_count && r == 0; i++) {
                const struct line *l = &u->lines[i];

                if (l->is_removed)
                        continue;
                r = l->is_changed ? format_account(l->account, b) : buffer_append_span(b, l->text);
                if (r == 0)
                        r = buffer_append(b, "\n", 1);
        }
        return r;
}
