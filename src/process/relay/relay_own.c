#include "process/relay/relay_own.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

enum { OWN_MAX = 1024 }; /* addresses; a host with more compares only the first */

static unsigned char own[OWN_MAX][16];
static size_t own_count;

static bool take(const struct sockaddr *a)
{
        struct endpoint e = {.len = 0};

        if (a && a->sa_family == AF_INET)
                memcpy(&e.at.ipv4, a, e.len = sizeof e.at.ipv4);
        else if (a && a->sa_family == AF_INET6)
                memcpy(&e.at.ipv6, a, e.len = sizeof e.at.ipv6);
        if (!e.len)
                return false;
        endpoint_to_octets(&e, own[own_count++]);
        return true;
}

int relay_own_init(void)
{
        struct ifaddrs *all;

        own_count = 0;
        if (getifaddrs(&all) < 0)
                return -errno;
        for (const struct ifaddrs *i = all; i && own_count < OWN_MAX; i = i->ifa_next)
                take(i->ifa_addr);
        freeifaddrs(all);
        return 0;
}

/* 127.0.0.0/8 is this host whatever its interfaces say. */
static bool is_of_this_host(const unsigned char octets[16])
{
        static const unsigned char loopback[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};

        if (memcmp(octets, loopback, sizeof loopback) == 0)
                return true;
        for (size_t i = 0; i < own_count; i++)
                if (memcmp(own[i], octets, 16) == 0)
                        return true;
        return false;
}

bool relay_own_is(const struct config *c, const struct endpoint *at)
{
        unsigned char octets[16], listening[16];

        endpoint_to_octets(at, octets);
        for (size_t i = 0; i < c->listen.count; i++) {
                const struct config_listen *l = &c->listen.items[i];
                struct endpoint e;

                if (l->protocol != LISTEN_SMTP || l->is_unix || l->port != endpoint_port(at) ||
                    endpoint_from_host(l->host, l->port, &e) < 0)
                        continue;
                endpoint_to_octets(&e, listening);
                if (memcmp(listening, octets, 16) == 0)
                        return true;
                if ((e.is_both || span_equal(l->host, SPAN_LITERAL("0.0.0.0")) ||
                     span_equal(l->host, SPAN_LITERAL("::"))) && is_of_this_host(octets))
                        return true;
        }
        return false;
}
