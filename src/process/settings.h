/* What one reading of the configuration gives: the configuration itself, and
 * in sealed form what every process is sent of it. A reload makes a new one
 * beside the old and exchanges them, or keeps the old. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "config/config.h"

struct settings {
        struct config *config;
        int config_fd;   /* config_encode() */
        int tls_fd;      /* certificate and key; -1: none */
        int *more_tls_fds;    /* of tls.more_certificates */
        size_t more_tls_count;
        int client_ca_fd;     /* -1: none */
        int ca_fd;       /* what other servers are checked with; -1: nobody checks any */
        int64_t tls_ends_at;  /* the first certificate to end, seconds since 1970; 0: none */
        int snapshot_fd; /* -1: not compiled */
        uint64_t users;  /* how many the snapshot has */
};
#define SETTINGS_INIT ((struct settings) {.config_fd = -1, .tls_fd = -1, \
                                            .client_ca_fd = -1, .ca_fd = -1, .snapshot_fd = -1})

/* Reads configuration and certificate; the snapshot comes later. On failure
 * lines for people were appended to `error`, each "file:line: …", and
 * `*ret_settings` is untouched. 0 or a negative errno. */
int settings_read(const char *path, struct settings *ret_settings, struct buffer *error);

/* Reads the certificates again, whose files have changed. On failure the old
 * ones stay. As settings_read(). */
int settings_refresh_tls(struct settings *s, struct buffer *error);

/* The files they are read from, and that of relay_logins: for the watch. At most
 * `max`; returns how many. */
size_t settings_tls_files(const struct config *c, struct span *ret_paths, size_t max);

void settings_done(struct settings *s);

/* Takes the snapshot over. 0; -ENODATA where it has fewer than `users_min`
 * users; or as snapshot_open(). */
int settings_set_snapshot(struct settings *s, int fd, uint64_t users_min);
