#include "process/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "config/snapshot.h"
#include "config/tls_policy.h"
#include "net/tls/tls.h"
#include "process/sealed.h"

enum { PEM_MAX = 512 * 1024, ENCODED_MAX = 16 * 1024 * 1024 };

static const char *origin_of(const struct config *c, const char *option)
{
        const char *origin = config_origin(c, option);

        return origin ? origin : option;
}

static int append_pem(const struct config *c, const char *option, struct span path,
                      struct buffer *pem, struct buffer *error)
{
        char name[4096];
        int r;

        if (path.len >= sizeof name)
                return -ENAMETOOLONG;
        memcpy(name, path.p, path.len);
        name[path.len] = '\0';
        r = file_read_at(AT_FDCWD, name, pem);
        if (r == 0)
                r = buffer_append(pem, "\n", 1);
        if (r < 0)
                buffer_printf(error, "%s: cannot read %s = \"%s\": %s\n", origin_of(c, option),
                              option, name, strerror(-r));
        return r;
}

/* A run of octets that only the edges see, sealed; wiped here. */
static int seal_pem(const char *name, struct buffer *pem, int *ret_fd, struct buffer *error)
{
        const int r = sealed_new(name, buffer_span(pem), ret_fd);

        if (r < 0)
                buffer_printf(error, "certificate: %s\n", strerror(-r));
        return r;
}

static void wipe(struct buffer *pem)
{
        if (pem->data)
                explicit_bzero(pem->data, pem->room);
        buffer_done(pem);
}

static int complain(const struct config *c, const char *option, const char *text,
                    struct buffer *error)
{
        buffer_printf(error, "%s: the certificate cannot be used: %s\n", origin_of(c, option),
                      text);
        return -EINVAL;
}

/* The edges parse it all again; here it is only to refuse a bad one in time. */
static int read_default(struct settings *s, struct tls_context **ret_tls, struct buffer *error)
{
        const struct config *c = s->config;
        struct buffer pem = BUFFER_INIT(PEM_MAX);
        char text[TLS_ERROR_MAX] = "";
        int r = append_pem(c, "tls.certificate", c->tls.certificate, &pem, error);

        if (r == 0 && c->tls.key.len)
                r = append_pem(c, "tls.key", c->tls.key, &pem, error);
        if (r == 0 && tls_context_new_server(buffer_span(&pem), ret_tls, text) < 0)
                r = complain(c, "tls.certificate", text, error);
        if (r == 0)
                r = seal_pem("hayauma-tls", &pem, &s->tls_fd, error);
        wipe(&pem);
        return r;
}

static int read_more(struct settings *s, size_t i, struct tls_context *tls, struct buffer *error)
{
        const struct config *c = s->config;
        struct buffer pem = BUFFER_INIT(PEM_MAX);
        char text[TLS_ERROR_MAX] = "";
        int r = append_pem(c, "tls.more_certificates", c->tls.more_certificates.items[i], &pem,
                           error);

        if (r == 0 && tls_context_add_certificate(tls, buffer_span(&pem), text) < 0)
                r = complain(c, "tls.more_certificates", text, error);
        if (r == 0)
                r = seal_pem("hayauma-tls", &pem, &s->more_tls_fds[s->more_tls_count], error);
        s->more_tls_count += r == 0;
        wipe(&pem);
        return r;
}

static int read_client_ca(struct settings *s, struct tls_context *tls, struct buffer *error)
{
        const struct config *c = s->config;
        struct buffer pem = BUFFER_INIT(PEM_MAX);
        char text[TLS_ERROR_MAX] = "";
        int r = append_pem(c, "tls.client_ca", c->tls.client_ca, &pem, error);

        if (r == 0 && tls_context_set_client_ca(tls, buffer_span(&pem), text) < 0)
                r = complain(c, "tls.client_ca", text, error);
        if (r == 0)
                r = seal_pem("hayauma-tls", &pem, &s->client_ca_fd, error);
        wipe(&pem);
        return r;
}

/* A store of a hundred authorities costs a megabyte in each relay: only where
 * somebody has to be checked with it. */
static bool wants_ca(const struct config *c)
{
        if (c->auth.relay_logins.len)
                return true;
        for (size_t i = 0; i < c->tls_policy.count; i++) {
                struct tls_policy p;
                const char *why;

                if (tls_policy_parse(c->tls_policy.items[i], &p, &why) == 0 &&
                    p.level == TLS_LEVEL_VERIFY)
                        return true;
        }
        return false;
}

/* What relays check other servers with. The default's file may be missing: then
 * nobody can be checked, and relays say so. */
static int read_ca(struct settings *s, struct buffer *error)
{
        const struct config *c = s->config;
        const bool is_default = strcmp(config_origin(c, "tls.ca"), "default") == 0;
        struct buffer pem = BUFFER_INIT(PEM_MAX), quiet = BUFFER_INIT(1024);
        struct tls_context *tls = NULL;
        char text[TLS_ERROR_MAX] = "";
        int r = append_pem(c, "tls.ca", c->tls.ca, &pem, is_default ? &quiet : error);

        if (r == 0 && tls_context_new_client(buffer_span(&pem), &tls, text) < 0)
                r = complain(c, "tls.ca", text, error);
        if (r == 0)
                r = seal_pem("hayauma-ca", &pem, &s->ca_fd, error);
        else if (is_default && r != -ENOMEM)
                r = 0;
        tls_context_unref(tls);
        buffer_done(&quiet);
        wipe(&pem);
        return r;
}

static int read_tls(struct settings *s, struct buffer *error)
{
        const struct config *c = s->config;
        const size_t more = c->tls.more_certificates.count;
        struct tls_context *tls = NULL;
        int r = wants_ca(c) ? read_ca(s, error) : 0;

        if (c->tls.certificate.len == 0 || r < 0)
                return r;
        s->more_tls_fds = calloc(more + 1, sizeof *s->more_tls_fds);
        r = s->more_tls_fds ? read_default(s, &tls, error) : -ENOMEM;
        for (size_t i = 0; i < more && r == 0; i++)
                r = read_more(s, i, tls, error);
        if (r == 0 && c->tls.client_ca.len)
                r = read_client_ca(s, tls, error);
        if (r == 0)
                s->tls_ends_at = tls_context_ends_at(tls);
        tls_context_unref(tls);
        return r;
}

static int seal_config(struct settings *s, struct buffer *error)
{
        struct buffer text = BUFFER_INIT(ENCODED_MAX);
        int r = config_encode(s->config, &text);

        if (r == 0)
                r = sealed_new("hayauma-config", buffer_span(&text), &s->config_fd);
        if (r < 0)
                buffer_printf(error, "configuration: %s\n", strerror(-r));
        buffer_done(&text);
        return r;
}

int settings_read(const char *path, struct settings *ret_settings, struct buffer *error)
{
        struct settings s = SETTINGS_INIT;
        int r = config_read(path, &s.config, error);

        if (r == 0)
                r = read_tls(&s, error);
        if (r == 0)
                r = seal_config(&s, error);
        if (r < 0) {
                settings_done(&s);
                return r;
        }
        *ret_settings = s;
        return 0;
}

static void close_if_open(int fd)
{
        if (fd >= 0)
                close(fd);
}

static void tls_done(struct settings *s)
{
        close_if_open(s->tls_fd);
        close_if_open(s->client_ca_fd);
        close_if_open(s->ca_fd);
        for (size_t i = 0; i < s->more_tls_count; i++)
                close(s->more_tls_fds[i]);
        free(s->more_tls_fds);
}

int settings_refresh_tls(struct settings *s, struct buffer *error)
{
        struct settings fresh = SETTINGS_INIT;
        int r;

        fresh.config = s->config;
        r = read_tls(&fresh, error);
        if (r < 0) {
                tls_done(&fresh);
                return r;
        }
        tls_done(s);
        s->tls_fd = fresh.tls_fd;
        s->client_ca_fd = fresh.client_ca_fd;
        s->ca_fd = fresh.ca_fd;
        s->more_tls_fds = fresh.more_tls_fds;
        s->more_tls_count = fresh.more_tls_count;
        s->tls_ends_at = fresh.tls_ends_at;
        return 0;
}

size_t settings_tls_files(const struct config *c, struct span *ret_paths, size_t max)
{
        const struct span fixed[] = {c->tls.certificate, c->tls.key, c->tls.client_ca,
                                     wants_ca(c) ? c->tls.ca : (struct span) {0},
                                     c->auth.relay_logins};
        size_t count = 0;

        for (size_t i = 0; i < sizeof fixed / sizeof fixed[0] && count < max; i++)
                if (fixed[i].len)
                        ret_paths[count++] = fixed[i];
        for (size_t i = 0; i < c->tls.more_certificates.count && count < max; i++)
                ret_paths[count++] = c->tls.more_certificates.items[i];
        return count;
}

void settings_done(struct settings *s)
{
        close_if_open(s->config_fd);
        tls_done(s);
        close_if_open(s->snapshot_fd);
        config_free(s->config);
        *s = SETTINGS_INIT;
}

int settings_set_snapshot(struct settings *s, int fd, uint64_t users_min)
{
        struct snapshot *snapshot;
        uint64_t users;
        int r = snapshot_open(fd, &snapshot);

        if (r < 0)
                return r;
        users = snapshot_count(snapshot, SNAPSHOT_USERS);
        snapshot_close(snapshot);
        if (users < users_min)
                return -ENODATA;
        s->users = users;
        close_if_open(s->snapshot_fd);
        s->snapshot_fd = fd;
        return 0;
}
