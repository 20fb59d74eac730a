/* Endpoints: where a socket listens or connects to; an IPv4 or IPv6 address
 * with a port, or the path of a Unix socket.
 *
 * (Not called address: that is what mail has.) All sockets made here are
 * non-blocking, close-on-exec and, for TCP, without Nagle's delay, since
 * streams gather their output themselves. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/span.h"

struct endpoint {
        union {
                struct sockaddr any;
                struct sockaddr_in ipv4;
                struct sockaddr_in6 ipv6;
                struct sockaddr_un path;
        } at;
        socklen_t len;
        bool is_both; /* "*": both families, on one IPv6 socket where there is IPv6 */
};

/* The host is "192.0.2.1", "2001:db8::1" (a scope as in fe80::1%eth0 is taken)
 * or "*"; no names. 0 or -EINVAL. */
int endpoint_from_host(struct span host, uint16_t port, struct endpoint *ret);

/* 0, or -EINVAL: empty, or longer than a socket path may be (107 octets). */
int endpoint_from_path(struct span path, struct endpoint *ret);

/* From 16 octets, IPv4 as ::ffff:a.b.c.d; and back (all 0 for a path). */
void endpoint_from_octets(const unsigned char octets[16], uint16_t port, struct endpoint *ret);
void endpoint_to_octets(const struct endpoint *e, unsigned char ret[16]);

/* "192.0.2.1:25", "[2001:db8::1]:25", "*:25", "unix:/run/x". 0 or -EINVAL. */
int endpoint_parse(struct span text, struct endpoint *ret);

/* What endpoint_parse() reads back; without port and brackets. Each returns
 * `out`, which holds ENDPOINT_TEXT_MAX bytes. An IPv4 address that came over an
 * IPv6 socket is written as the IPv4 address it is. */
enum { ENDPOINT_TEXT_MAX = 128 };
const char *endpoint_format(const struct endpoint *e, char *out);
const char *endpoint_format_host(const struct endpoint *e, char *out);

uint16_t endpoint_port(const struct endpoint *e); /* 0 for a path */
bool endpoint_is_path(const struct endpoint *e);

/* A listening socket. `may_share`: SO_REUSEPORT, several sockets on one port.
 * An explicit IPv6 address takes IPv6 only; "*" both families. A socket file
 * that nobody listens on any more is replaced. 0 or a negative errno. */
int endpoint_listen(const struct endpoint *e, bool may_share, int backlog, int *ret_fd);

/* One waiting connection. -EAGAIN: none; -EMFILE and the like. `ret_peer` may
 * be NULL. */
int endpoint_accept(int listener_fd, int *ret_fd, struct endpoint *ret_peer);

/* Begins to connect; stream_new() waits for it when `*ret_connecting`. `source`
 * is NULL or the address to come from. 0 or a negative errno. */
int endpoint_connect(const struct endpoint *e, const struct endpoint *source, int *ret_fd,
                     bool *ret_connecting);

/* The other end of a connected socket, and this one. 0 or a negative errno. */
int endpoint_of_peer(int fd, struct endpoint *ret);
int endpoint_of_socket(int fd, struct endpoint *ret);
