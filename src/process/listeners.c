#include "process/listeners.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { BACKLOG = 4096, LISTENERS_MAX = 4096 };

union address {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
        struct sockaddr_un path;
};

/* "*" is both families: :: with mapped IPv4, or 0.0.0.0 without IPv6. */
static int resolve(const struct config_listen *listen, bool with_ipv6, union address *ret,
                   socklen_t *ret_size)
{
        const bool is_any = span_equal(listen->host, SPAN_LITERAL("*"));
        char host[INET6_ADDRSTRLEN + 1];

        *ret = (union address) {0};
        if (listen->host.len >= sizeof host)
                return -EINVAL;
        memcpy(host, listen->host.p, listen->host.len);
        host[listen->host.len] = '\0';
        if (is_any || strchr(host, ':')) {
                if (is_any && !with_ipv6)
                        return -EAFNOSUPPORT;
                ret->ipv6.sin6_family = AF_INET6;
                ret->ipv6.sin6_port = htons(listen->port);
                *ret_size = sizeof ret->ipv6;
                return is_any || inet_pton(AF_INET6, host, &ret->ipv6.sin6_addr) == 1 ? 0 : -EINVAL;
        }
        ret->ipv4.sin_family = AF_INET;
        ret->ipv4.sin_port = htons(listen->port);
        *ret_size = sizeof ret->ipv4;
        return inet_pton(AF_INET, host, &ret->ipv4.sin_addr) == 1 ? 0 : -EINVAL;
}

static int set_option(int fd, int level, int option, int value)
{
        return setsockopt(fd, level, option, &value, sizeof value) < 0 ? -errno : 0;
}

static int bind_address(const union address *a, socklen_t size, bool is_any, bool is_shared)
{
        _cleanup_(close_fd) int fd =
                socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r, taken;

        if (fd < 0)
                return -errno;
        r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (r == 0 && is_shared)
                r = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        if (r == 0 && a->any.sa_family == AF_INET6)
                r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_any);
        /* What accept() gives inherits it: replies are whole when they are sent,
         * and none waits for the client's acknowledgement of the one before. */
        if (r == 0)
                r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (r == 0 && bind(fd, &a->any, size) < 0)
                r = -errno;
        if (r == 0 && listen(fd, BACKLOG) < 0)
                r = -errno;
        if (r < 0)
                return r;
        taken = fd;
        fd = -1;
        return taken;
}

static int bind_tcp(const struct config_listen *listen, bool is_shared)
{
        const bool is_any = span_equal(listen->host, SPAN_LITERAL("*"));
        union address a;
        socklen_t size;
        int r = resolve(listen, true, &a, &size);

        if (r == 0)
                r = bind_address(&a, size, is_any, is_shared);
        if (r == -EAFNOSUPPORT && is_any) { /* a host without IPv6 */
                a = (union address) {0};
                a.ipv4.sin_family = AF_INET;
                a.ipv4.sin_port = htons(listen->port);
                r = bind_address(&a, sizeof a.ipv4, is_any, is_shared);
        }
        return r;
}

static bool somebody_listens(const struct sockaddr_un *a)
{
        _cleanup_(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        /* EAGAIN: there is one, and its queue is full. */
        return fd >= 0 && (connect(fd, (const struct sockaddr *) a, sizeof *a) == 0 ||
                           errno == EAGAIN || errno == EINPROGRESS);
}

int listeners_unix(const char *path, unsigned mode)
{
        _cleanup_(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        struct stat st;
        int taken;

        if (fd < 0)
                return -errno;
        if (strlen(path) >= sizeof a.sun_path)
                return -ENAMETOOLONG;
        memcpy(a.sun_path, path, strlen(path));
        if (somebody_listens(&a))
                return -EADDRINUSE;
        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
                unlink(path);
        if (bind(fd, (const struct sockaddr *) &a, sizeof a) < 0 || chmod(path, mode) < 0 ||
            listen(fd, BACKLOG) < 0)
                return -errno;
        taken = fd;
        fd = -1;
        return taken;
}

static int bind_unix(const struct config_listen *listen)
{
        char path[sizeof ((struct sockaddr_un *) 0)->sun_path];

        if (listen->host.len >= sizeof path)
                return -ENAMETOOLONG;
        memcpy(path, listen->host.p, listen->host.len);
        path[listen->host.len] = '\0';
        return listeners_unix(path, 0666);
}

/* SO_REUSEPORT would let a second program of the same user share our port in
 * silence. So the first socket of an address asks for the port alone. */
static int port_is_free(const struct config_listen *listen)
{
        const int fd = bind_tcp(listen, false);

        if (fd < 0)
                return fd;
        close(fd);
        return 0;
}

static bool is_open(struct listeners *l, struct span address)
{
        bool found = false;

        for (size_t i = 0; i < l->count; i++) {
                if (span_equal(address, span_from_string(l->items[i].address))) {
                        l->items[i].is_kept = true;
                        found = true;
                }
        }
        return found;
}

static bool is_login(const struct config_listen *listen)
{
        return listen->protocol == LISTEN_IMAP || listen->protocol == LISTEN_IMAPS ||
               listen->protocol == LISTEN_POP3 || listen->protocol == LISTEN_POP3S;
}

bool listeners_is_for(const struct listener *item, const struct listeners_edges *edges,
                      unsigned edge)
{
        if (item->edge >= 0)
                return (unsigned) item->edge == edge;
        return (edge >= edges->smtp) == (item->is_login && edges->login > 0);
}

/* Takes `fd` over, also when it fails. */
static int add(struct listeners *l, const struct config_listen *listen, int edge, int fd)
{
        const struct span address = listen->text;
        struct listener *items;

        if (fd < 0)
                return fd;
        items = address.len < sizeof items->address && l->count < LISTENERS_MAX
                        ? realloc(l->items, (l->count + 1) * sizeof *items)
                        : NULL;
        if (!items) {
                close(fd);
                return -ENOMEM;
        }
        l->items = items;
        items[l->count] = (struct listener) {
                .edge = edge, .is_login = is_login(listen), .fd = fd, .is_new = true,
                .is_kept = true};
        memcpy(items[l->count].address, address.p, address.len);
        l->count++;
        return 0;
}

static int open_one(struct listeners *l, const struct config_listen *listen,
                    const struct listeners_edges *edges)
{
        const bool is_apart = is_login(listen) && edges->login > 0;
        const unsigned first = is_apart ? edges->smtp : 0;
        const unsigned count = is_apart ? edges->login : edges->smtp;
        int r;

        if (is_open(l, listen->text))
                return 0;
        if (listen->is_unix)
                return add(l, listen, -1, bind_unix(listen));
        r = port_is_free(listen);
        for (unsigned i = 0; r == 0 && i < count; i++)
                r = add(l, listen, (int) (first + i), bind_tcp(listen, true));
        return r;
}

static void explain(const struct config *config, const struct config_listen *listen, int r,
                    struct buffer *error)
{
        const char *origin = config_origin(config, "listen");
        const char *hint = "";

        if (r == -EADDRINUSE)
                hint = ": another program listens there; stop it or choose another port";
        else if (r == -EACCES)
                hint = ": ports below 1024 need root or CAP_NET_BIND_SERVICE";
        else if (r == -EADDRNOTAVAIL)
                hint = ": this host does not have that address";
        buffer_printf(error, "%s: cannot listen on %.*s: %s%s\n", origin ? origin : "listen",
                      (int) listen->text.len, listen->text.p, strerror(-r), hint);
}

int listeners_bind(struct listeners *l, const struct config *config,
                   const struct listeners_edges *edges, struct buffer *error)
{
        int failed = 0;

        for (size_t i = 0; i < l->count; i++) {
                l->items[i].is_new = false;
                l->items[i].is_kept = false;
        }
        for (size_t i = 0; i < config->listen.count; i++) {
                const int r = open_one(l, &config->listen.items[i], edges);

                if (r < 0) {
                        explain(config, &config->listen.items[i], r, error);
                        failed = r;
                }
        }
        if (failed)
                listeners_undo(l);
        return failed;
}

static void close_those(struct listeners *l, bool (*is_spent)(const struct listener *))
{
        size_t left = 0;

        for (size_t i = 0; i < l->count; i++) {
                if (is_spent(&l->items[i]))
                        close(l->items[i].fd);
                else
                        l->items[left++] = l->items[i];
        }
        l->count = left;
}

static bool is_unwanted(const struct listener *item)
{
        return !item->is_kept;
}

static bool is_new(const struct listener *item)
{
        return item->is_new;
}

static bool is_any(const struct listener *item)
{
        (void) item;
        return true;
}

void listeners_keep(struct listeners *l)
{
        close_those(l, is_unwanted);
}

void listeners_undo(struct listeners *l)
{
        close_those(l, is_new);
}

void listeners_close(struct listeners *l)
{
        close_those(l, is_any);
        free(l->items);
        *l = LISTENERS_INIT;
}
