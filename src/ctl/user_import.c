#include "ctl/user_import.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "auth/password.h"
#include "base/clock.h"
#include "ctl/console.h"

enum { JOBS_MAX = 256, MANY_PASSWORDS = 200, SAY_EVERY_US = 10 * 1000000,
       LOOK_EVERY_NS = 20 * 1000000 };

/* Stands for the hash of a {PLAIN} password while the rest is checked. */
static const char stand_in[] = "{SHA}AAAAAAAAAAAAAAAAAAAAAAAAAAA=";

struct line {
        struct span text;     /* as it came, trimmed */
        struct span password; /* of {PLAIN}; else empty */
        struct buffer made;   /* "{ARGON2ID}…:scram-sha-256=…" of it */
        int result;
};

struct lines {
        struct line *items;
        size_t count, room;
        size_t plain_count;
        atomic_size_t next, done;
};

static void lines_done(struct lines *l)
{
        for (size_t i = 0; i < l->count; i++)
                buffer_done(&l->items[i].made);
        free(l->items);
}

/* ---- reading ------------------------------------------------------------ */

static int add_line(struct lines *l, struct span text)
{
        char hash[PASSWORD_HASH_MAX];
        const char *why;
        struct line *line;
        size_t colon;

        if (l->count == l->room) {
                const size_t room = l->room ? l->room * 2 : 256;
                struct line *items = reallocarray(l->items, room, sizeof *items);

                if (!items)
                        return -ENOMEM;
                l->items = items;
                l->room = room;
        }
        line = &l->items[l->count++];
        *line = (struct line) {.text = text, .made = BUFFER_INIT(1024)};
        colon = span_find(text, ':');
        if (text.len && text.p[0] != '#' && colon != SIZE_MAX &&
            password_import(span_skip(text, colon + 1), hash, &line->password, &why) == 1) {
                line->text = span_first(text, colon);
                l->plain_count++;
        }
        return 0;
}

static int split_lines(struct lines *l, struct span text)
{
        struct span line;
        int r = 0;

        while (r == 0 && text.len && span_split(&text, '\n', &line)) {
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                r = add_line(l, line);
        }
        return r;
}

/* The lines as text of a users file, so that its parser judges them, with
 * their numbers. */
static int join_lines(const struct lines *l, struct buffer *b)
{
        int r = 0;

        for (size_t i = 0; i < l->count && r == 0; i++) {
                const struct line *line = &l->items[i];
                const struct span made = line->made.len ? buffer_span(&line->made)
                                                        : span_from_string(stand_in);

                r = buffer_append_span(b, line->text);
                if (r == 0 && line->password.len)
                        r = buffer_append(b, ":", 1);
                if (r == 0 && line->password.len)
                        r = buffer_append_span(b, made);
                if (r == 0)
                        r = buffer_append(b, "\n", 1);
        }
        return r;
}

static int parse_lines(const struct lines *l, const char *name, struct users **ret_users)
{
        struct buffer b = BUFFER_INIT(USERS_FILE_MAX), error = BUFFER_INIT(64 * 1024);
        int r = join_lines(l, &b), status = EX_OK;

        if (r == 0)
                r = users_parse(buffer_span(&b), name, ret_users, &error);
        if (r == -EINVAL)
                status = console_fail(EX_DATAERR, "nothing was imported, because these lines are "
                                      "wrong:\n%.*s", (int) (error.len ? error.len - 1 : 0),
                                      buffer_span(&error).p);
        else if (r < 0)
                status = console_fail(EX_OSERR, "cannot read %s: %s", name, strerror(-r));
        buffer_done(&b);
        buffer_done(&error);
        return status;
}

int user_import_may_put(const struct users *users, const struct users_account *a,
                        bool may_replace)
{
        struct span rest = a->addresses, word = a->address;

        if (!users)
                return EX_OK;
        do {
                const struct users_account *owner = users_owner(users, word);

                if (owner && !span_equal_nocase(owner->address, a->address))
                        return console_fail(EX_CANTCREAT, "nothing was changed: %.*s belongs to "
                                            "the account %.*s (line %u): take it from there first",
                                            (int) word.len, word.p, (int) owner->address.len,
                                            owner->address.p, owner->line);
                if (owner && !may_replace)
                        return console_fail(EX_CANTCREAT, "nothing was changed: there is an account"
                                            " %.*s (line %u): change its password with \"hayauma "
                                            "user passwd\", or import with --replace",
                                            (int) a->address.len, a->address.p, owner->line);
        } while (span_split(&rest, ',', &word));
        return EX_OK;
}

/* ---- hashing ------------------------------------------------------------ */

static int hash_line(struct line *line)
{
        char hash[PASSWORD_HASH_MAX];
        struct password_scram scram;
        int r = password_hash(line->password, hash);

        if (r == 0)
                r = buffer_append_string(&line->made, hash);
        if (r < 0)
                return r;
        r = password_scram_make(line->password, &scram);
        if (r == -EINVAL)
                return 0; /* SASLprep refuses it: then it is for PLAIN only */
        if (r == 0)
                r = buffer_append_string(&line->made, ":scram-sha-256=");
        return r == 0 ? password_scram_format(&scram, &line->made) : r;
}

static void *hash_lines(void *arg)
{
        struct lines *l = arg;
        size_t i;

        while ((i = atomic_fetch_add(&l->next, 1)) < l->count) {
                struct line *line = &l->items[i];

                if (line->password.len) {
                        line->result = hash_line(line);
                        atomic_fetch_add(&l->done, 1);
                }
        }
        return NULL;
}

/* Says how it goes until all is done: every ten seconds, to people. */
static void watch(const struct lines *l, uint64_t began_us)
{
        uint64_t said_us = began_us;

        for (;;) {
                const size_t done = atomic_load(&l->done);
                const uint64_t now_us = clock_monotonic_us();

                if (done == l->plain_count)
                        return;
                if (done && now_us - said_us >= SAY_EVERY_US) {
                        const double left_s = (double) (now_us - began_us) / 1e6 *
                                              (double) (l->plain_count - done) / (double) done;

                        fprintf(stderr, "%zu of %zu passwords hashed, about %.0f minutes left\n",
                                done, l->plain_count, left_s / 60);
                        said_us = now_us;
                }
                nanosleep(&(struct timespec) {.tv_nsec = LOOK_EVERY_NS}, NULL);
        }
}

static int hash_all(struct lines *l, unsigned jobs)
{
        pthread_t threads[JOBS_MAX];
        const long cores = sysconf(_SC_NPROCESSORS_ONLN);
        unsigned count = jobs ? jobs : cores > 0 ? (unsigned) cores : 1, started = 0;
        int r = 0;

        if (count > JOBS_MAX)
                count = JOBS_MAX;
        if (l->plain_count >= MANY_PASSWORDS)
                fprintf(stderr, "Hashing %zu {PLAIN} passwords takes about %.0f minutes on %u "
                        "processors; hashes would be taken at once.\n", l->plain_count,
                        (double) l->plain_count * 0.08 / 60 / count + 1, count);
        while (started < count && pthread_create(&threads[started], NULL, hash_lines, l) == 0)
                started++;
        if (started == 0)
                hash_lines(l);
        watch(l, clock_monotonic_us());
        for (unsigned i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
        for (size_t i = 0; i < l->count && r == 0; i++)
                r = l->items[i].result;
        return r < 0 ? console_fail(EX_OSERR, "cannot hash a password, nothing was imported: %s",
                                    strerror(-r))
                     : EX_OK;
}

int user_import_parse(struct span text, const char *name, const struct user_import *import,
                      struct users **ret_users)
{
        struct lines l = {0};
        struct users *users = NULL;
        const struct users_account *a;
        size_t i = 0;
        int status = split_lines(&l, text) < 0
                             ? console_fail(EX_OSERR, "there is not enough memory for %s", name)
                             : parse_lines(&l, name, &users);

        while (status == EX_OK && (a = users_next(users, &i)))
                status = user_import_may_put(import->existing, a, import->may_replace);
        if (status == EX_OK && l.plain_count) {
                users = users_free(users);
                status = hash_all(&l, import->jobs);
                if (status == EX_OK)
                        status = parse_lines(&l, name, &users);
        }
        lines_done(&l);
        if (status == EX_OK)
                *ret_users = users;
        else
                users_free(users);
        return status;
}
