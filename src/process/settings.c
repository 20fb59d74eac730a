#include "process/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "config/snapshot.h"
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

/* The edges parse it again; here it is only to refuse a bad one in time. */
static int check_pem(const struct config *c, struct span pem, struct buffer *error)
{
        char text[TLS_ERROR_MAX] = "";
        struct tls_context *tls;
        int r = tls_context_new_server(pem, &tls, text);

        if (r < 0)
                buffer_printf(error, "%s: the certificate cannot be used: %s\n",
                              origin_of(c, "tls.certificate"), text);
        else
                tls_context_unref(tls);
        return r;
}

static int read_tls(struct settings *s, struct buffer *error)
{
        const struct config *c = s->config;
        struct buffer pem = BUFFER_INIT(PEM_MAX);
        int r;

        if (c->tls.certificate.len == 0)
                return 0;
        r = append_pem(c, "tls.certificate", c->tls.certificate, &pem, error);
        if (r == 0 && c->tls.key.len)
                r = append_pem(c, "tls.key", c->tls.key, &pem, error);
        if (r == 0)
                r = check_pem(c, buffer_span(&pem), error);
        if (r == 0) {
                r = sealed_new("hayauma-tls", buffer_span(&pem), &s->tls_fd);
                if (r < 0)
                        buffer_printf(error, "certificate: %s\n", strerror(-r));
        }
        if (pem.data)
                explicit_bzero(pem.data, pem.room);
        buffer_done(&pem);
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

void settings_done(struct settings *s)
{
        close_if_open(s->config_fd);
        close_if_open(s->tls_fd);
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
