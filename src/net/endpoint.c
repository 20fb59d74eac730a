#include "net/endpoint.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/number.h"

enum { HOST_MAX = INET6_ADDRSTRLEN + IF_NAMESIZE };

static const unsigned char mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static void set_ipv6(struct endpoint *e, const struct in6_addr *a, uint16_t port)
{
        *e = (struct endpoint) {.len = sizeof e->at.ipv6};
        e->at.ipv6.sin6_family = AF_INET6;
        e->at.ipv6.sin6_addr = *a;
        e->at.ipv6.sin6_port = htons(port);
}

static void set_ipv4(struct endpoint *e, struct in_addr a, uint16_t port)
{
        *e = (struct endpoint) {.len = sizeof e->at.ipv4};
        e->at.ipv4.sin_family = AF_INET;
        e->at.ipv4.sin_addr = a;
        e->at.ipv4.sin_port = htons(port);
}

int endpoint_from_host(struct span host, uint16_t port, struct endpoint *ret)
{
        char text[HOST_MAX];
        struct in_addr ipv4;
        struct in6_addr ipv6;
        unsigned scope = 0;
        char *percent;

        if (span_equal(host, SPAN_LITERAL("*"))) {
                set_ipv6(ret, &in6addr_any, port);
                ret->is_both = true;
                return 0;
        }
        if (host.len == 0 || host.len >= sizeof text || memchr(host.p, 0, host.len))
                return -EINVAL;
        memcpy(text, host.p, host.len);
        text[host.len] = 0;
        if (inet_pton(AF_INET, text, &ipv4) == 1) {
                set_ipv4(ret, ipv4, port);
                return 0;
        }
        percent = strchr(text, '%');
        if (percent) {
                *percent = 0;
                scope = if_nametoindex(percent + 1);
                if (scope == 0)
                        return -EINVAL;
        }
        if (inet_pton(AF_INET6, text, &ipv6) != 1)
                return -EINVAL;
        set_ipv6(ret, &ipv6, port);
        ret->at.ipv6.sin6_scope_id = scope;
        return 0;
}

int endpoint_from_path(struct span path, struct endpoint *ret)
{
        if (path.len == 0 || path.len >= sizeof ret->at.path.sun_path
            || memchr(path.p, 0, path.len))
                return -EINVAL;
        *ret = (struct endpoint) {0};
        ret->at.path.sun_family = AF_UNIX;
        memcpy(ret->at.path.sun_path, path.p, path.len);
        ret->len = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + path.len + 1);
        return 0;
}

void endpoint_from_octets(const unsigned char octets[16], uint16_t port, struct endpoint *ret)
{
        if (memcmp(octets, mapped_prefix, sizeof mapped_prefix) == 0) {
                struct in_addr a;

                memcpy(&a, octets + 12, 4);
                set_ipv4(ret, a, port);
        } else {
                struct in6_addr a;

                memcpy(&a, octets, 16);
                set_ipv6(ret, &a, port);
        }
}

void endpoint_to_octets(const struct endpoint *e, unsigned char ret[16])
{
        memset(ret, 0, 16);
        if (e->at.any.sa_family == AF_INET) {
                memcpy(ret, mapped_prefix, sizeof mapped_prefix);
                memcpy(ret + 12, &e->at.ipv4.sin_addr, 4);
        } else if (e->at.any.sa_family == AF_INET6) {
                memcpy(ret, &e->at.ipv6.sin6_addr, 16);
        }
}

int endpoint_parse(struct span text, struct endpoint *ret)
{
        struct span unix_prefix = SPAN("unix:"), host;
        size_t colon;
        uint64_t port;

        if (span_starts_with_nocase(text, unix_prefix))
                return endpoint_from_path(span_skip(text, unix_prefix.len), ret);
        colon = span_find_last(text, ':');
        if (colon == SIZE_MAX || number_parse(span_skip(text, colon + 1), 65535, &port) < 0)
                return -EINVAL;
        host = span_first(text, colon);
        if (host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
                host = span_make(host.p + 1, host.len - 2);
        else if (span_find(host, ':') != SIZE_MAX)
                return -EINVAL; /* an IPv6 address has brackets here */
        return endpoint_from_host(host, (uint16_t) port, ret);
}

static bool is_mapped(const struct endpoint *e)
{
        return e->at.any.sa_family == AF_INET6
               && memcmp(&e->at.ipv6.sin6_addr, mapped_prefix, sizeof mapped_prefix) == 0;
}

const char *endpoint_format_host(const struct endpoint *e, char *out)
{
        char scope[IF_NAMESIZE];
        size_t len;

        if (e->is_both) {
                snprintf(out, ENDPOINT_TEXT_MAX, "*");
        } else if (e->at.any.sa_family == AF_INET) {
                inet_ntop(AF_INET, &e->at.ipv4.sin_addr, out, ENDPOINT_TEXT_MAX);
        } else if (is_mapped(e)) {
                inet_ntop(AF_INET, e->at.ipv6.sin6_addr.s6_addr + 12, out, ENDPOINT_TEXT_MAX);
        } else if (e->at.any.sa_family == AF_INET6) {
                inet_ntop(AF_INET6, &e->at.ipv6.sin6_addr, out, ENDPOINT_TEXT_MAX);
                len = strlen(out);
                if (e->at.ipv6.sin6_scope_id && if_indextoname(e->at.ipv6.sin6_scope_id, scope))
                        snprintf(out + len, ENDPOINT_TEXT_MAX - len, "%%%s", scope);
        } else if (endpoint_is_path(e) && e->len > offsetof(struct sockaddr_un, sun_path)) {
                snprintf(out, ENDPOINT_TEXT_MAX, "%.*s", (int) sizeof e->at.path.sun_path,
                         e->at.path.sun_path);
        } else {
                out[0] = 0; /* the nameless other end of a Unix socket */
        }
        return out;
}

const char *endpoint_format(const struct endpoint *e, char *out)
{
        char host[ENDPOINT_TEXT_MAX];
        bool is_bracketed = e->at.any.sa_family == AF_INET6 && !is_mapped(e) && !e->is_both;

        endpoint_format_host(e, host);
        if (endpoint_is_path(e))
                snprintf(out, ENDPOINT_TEXT_MAX, "unix:%.*s", ENDPOINT_TEXT_MAX - 6, host);
        else
                snprintf(out, ENDPOINT_TEXT_MAX, "%s%.*s%s:%u", is_bracketed ? "[" : "",
                         ENDPOINT_TEXT_MAX - 10, host, is_bracketed ? "]" : "", endpoint_port(e));
        return out;
}

uint16_t endpoint_port(const struct endpoint *e)
{
        if (e->at.any.sa_family == AF_INET)
                return ntohs(e->at.ipv4.sin_port);
        return e->at.any.sa_family == AF_INET6 ? ntohs(e->at.ipv6.sin6_port) : 0;
}

bool endpoint_is_path(const struct endpoint *e)
{
        return e->at.any.sa_family == AF_UNIX;
}

static int switch_on(int fd, int level, int option)
{
        const int on = 1;

        return setsockopt(fd, level, option, &on, sizeof on) < 0 ? -errno : 0;
}

static int open_socket(const struct endpoint *e, int *ret_fd)
{
        int fd = socket(e->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        /* Accepted sockets inherit it from the listening one. */
        if (!endpoint_is_path(e))
                switch_on(fd, IPPROTO_TCP, TCP_NODELAY);
        *ret_fd = fd;
        return 0;
}

static int close_and(int fd, int r)
{
        close(fd);
        return r;
}

/* Does nobody listen on this socket file? */
static bool is_stale(const struct endpoint *e)
{
        bool connecting;
        int fd, r = endpoint_connect(e, NULL, &fd, &connecting);

        if (r == 0)
                close(fd);
        return r == -ECONNREFUSED;
}

static int bind_to(int fd, const struct endpoint *e)
{
        if (bind(fd, &e->at.any, e->len) == 0)
                return 0;
        if (errno == EADDRINUSE && endpoint_is_path(e) && is_stale(e)) {
                unlink(e->at.path.sun_path);
                return bind(fd, &e->at.any, e->len) == 0 ? 0 : -errno;
        }
        return -errno;
}

static int set_listener_options(int fd, const struct endpoint *e, bool may_share)
{
        const int v6_only = !e->is_both;
        int r;

        if (endpoint_is_path(e))
                return 0;
        r = switch_on(fd, SOL_SOCKET, SO_REUSEADDR);
        if (r == 0 && may_share)
                r = switch_on(fd, SOL_SOCKET, SO_REUSEPORT);
        if (r == 0 && e->at.any.sa_family == AF_INET6
            && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) < 0)
                r = -errno;
        return r;
}

static int listen_at(const struct endpoint *e, bool may_share, int backlog, int *ret_fd)
{
        int fd, r = open_socket(e, &fd);

        if (r < 0)
                return r;
        r = set_listener_options(fd, e, may_share);
        if (r == 0)
                r = bind_to(fd, e);
        if (r == 0 && listen(fd, backlog) < 0)
                r = -errno;
        if (r < 0)
                return close_and(fd, r);
        *ret_fd = fd;
        return 0;
}

int endpoint_listen(const struct endpoint *e, bool may_share, int backlog, int *ret_fd)
{
        int r = listen_at(e, may_share, backlog, ret_fd);

        if (e->is_both && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
                struct endpoint ipv4; /* a machine without IPv6 */

                set_ipv4(&ipv4, (struct in_addr) {INADDR_ANY}, endpoint_port(e));
                r = listen_at(&ipv4, may_share, backlog, ret_fd);
        }
        return r;
}

int endpoint_accept(int listener_fd, int *ret_fd, struct endpoint *ret_peer)
{
        struct endpoint peer = {.len = sizeof peer.at};
        int fd;

        do
                fd = accept4(listener_fd, &peer.at.any, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        if (ret_peer)
                *ret_peer = peer;
        return 0;
}

int endpoint_connect(const struct endpoint *e, const struct endpoint *source, int *ret_fd,
                     bool *ret_connecting)
{
        int fd, r = open_socket(e, &fd);

        if (r < 0)
                return r;
        if (source && bind(fd, &source->at.any, source->len) < 0)
                return close_and(fd, -errno);
        if (connect(fd, &e->at.any, e->len) < 0 && errno != EINPROGRESS)
                return close_and(fd, -errno);
        *ret_connecting = !endpoint_is_path(e); /* a path connects at once or not at all */
        *ret_fd = fd;
        return 0;
}

int endpoint_of_peer(int fd, struct endpoint *ret)
{
        struct endpoint e = {.len = sizeof e.at};

        if (getpeername(fd, &e.at.any, &e.len) < 0)
                return -errno;
        *ret = e;
        return 0;
}

int endpoint_of_socket(int fd, struct endpoint *ret)
{
        struct endpoint e = {.len = sizeof e.at};

        if (getsockname(fd, &e.at.any, &e.len) < 0)
                return -errno;
        *ret = e;
        return 0;
}
