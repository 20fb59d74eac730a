/* The users file: who has an account here, one a line.
 *
 *   address:{SCHEME}hash[:name=value …]
 *
 *   alice@example.jp:{ARGON2ID}$argon2id$v=19$…:scram-sha-256=100000,c2Fs…,…,… quota=10G
 *
 * Fields, separated by blanks, each at most once:
 *
 *   scram-sha-256=iterations,salt,StoredKey,ServerKey   (base64; RFC 5802 section 3)
 *   apop=…           the password itself in base64, for APOP (RFC 1939) and CRAM-MD5 (RFC
 *                    2195): only where a client can do nothing better
 *   scram-sha-1=…    the same for SCRAM-SHA-1, for clients that know no better
 *   addresses=a,b    more addresses whose mail goes to this account
 *   quota=10G        0 or absent: none
 *   flags=a,b        words of letters, digits and "-"
 *
 * Blank lines and lines that start with "#" are kept as they stand when a
 * program edits the file. Addresses are compared in canonical form
 * (address_canonical); no address may belong to two accounts. What is not
 * exactly this is an error with file and line, and the file as a whole is then
 * not used: half of the accounts would be worse than those of yesterday.
 *
 * Who edits the file by program holds a lock (PATH.lock) and replaces it as a
 * whole, so a reader sees one edition or the other and needs no lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

enum {
        USERS_LINE_MAX = 64 * 1024,
        USERS_ERRORS_MAX = 20, /* lines of error text from one parse */
};
#define USERS_FILE_MAX ((size_t) 1 << 30)

struct users;

/* Spans live as long as the struct users, or until this account is put or
 * removed. Absent fields are empty. */
struct users_account {
        struct span address;   /* canonical */
        struct span hash;      /* "{SCHEME}…", see password.h */
        struct span scram;     /* as password_scram_format() writes it */
        struct span scram_sha1; /* the same with shorter keys */
        struct span apop;      /* the password in base64: apop.h */
        struct span addresses; /* canonical, separated by commas */
        struct span flags;     /* as written */
        uint64_t quota;        /* octets; 0: none */
        uint32_t line;         /* where it was read; 0: not yet in the file */
};

/* Parses a copy of `text`; `name` stands in messages. 0; -EINVAL with, in
 * `error` (appended), a line "users:17: …" for each thing that is wrong, with
 * what to do; -EMSGSIZE (above USERS_FILE_MAX); -ENOMEM. */
int users_parse(struct span text, const char *name, struct users **ret_u, struct buffer *error);
struct users *users_free(struct users *u);

/* The account whose own address this is, in any case, or NULL. */
const struct users_account *users_find(const struct users *u, struct span address);

/* The account this address belongs to: its own, or one of its `addresses`. */
const struct users_account *users_owner(const struct users *u, struct span address);

size_t users_count(const struct users *u);

/* In the order of the file: start with *position = 0. NULL at the end. */
const struct users_account *users_next(const struct users *u, size_t *position);

/* The canonical form of an address that may name an account, written to `out`,
 * which holds USERS_ADDRESS_MAX. 0, or -EINVAL: not local@domain, or with
 * octets that cannot stand in the file (blanks, controls, ":" and ","). */
enum { USERS_ADDRESS_MAX = 320 };
int users_canonical(struct span address, char *out);

/* Adds an account, or replaces the one of that address; everything is copied.
 * 0; -EINVAL (address, hash or a field that does not parse back); -EEXIST (an
 * address belongs to another account); -ENOMEM. On failure nothing changed. */
int users_put(struct users *u, const struct users_account *a);

/* 0 or -ENOENT. */
int users_remove(struct users *u, struct span address);

/* The file's text: untouched lines exactly as they were read, accounts that
 * were put in canonical form, new ones at the end. 0 or as buffer_append(). */
int users_format(const struct users *u, struct buffer *b);

/* Reads and parses. As users_parse(), or -errno of opening and reading. */
int users_read(const char *path, struct users **ret_u, struct buffer *error);

/* An edit: lock, read (no file is an empty one), change `users`, commit. */
struct users_edit {
        struct users *users;
        char *path; /* symbolic links resolved: they stay */
        int lock_fd;
};
#define USERS_EDIT_INIT ((struct users_edit) {.lock_fd = -1})

/* 0; -ETIMEDOUT (another edit held the lock for `wait_ms`); as users_read().
 * On failure there is nothing to end. */
int users_edit_begin(const char *path, unsigned wait_ms, struct users_edit *ret_e,
                     struct buffer *error);

/* Replaces the file; it keeps owner, group and mode, a new one has mode 0640.
 * The edit still has to be ended. 0 or -errno. */
int users_edit_commit(struct users_edit *e);

/* Gives up what is not committed, and the lock. */
void users_edit_end(struct users_edit *e);
