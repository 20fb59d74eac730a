#include "queue/host_set.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"

enum { HASH_LEN = 34 }; /* "#", two hashes in hexadecimal, and the NUL of snprintf() */

struct writer {
        char *out;
        size_t len;
        bool is_cut;
};

static void put(struct writer *w, struct span s)
{
        const size_t room = HOST_SET_KEY_MAX - HASH_LEN - w->len;

        if (w->is_cut || s.len > room) {
                w->is_cut = true;
                return;
        }
        if (s.len)
                memcpy(w->out + w->len, s.p, s.len);
        w->len += s.len;
}

struct span host_set_key(struct ipc_items hosts, uint16_t port, bool are_secure,
                         char out[HOST_SET_KEY_MAX])
{
        struct reader each = ipc_items_read(hosts);
        uint64_t hash = port + (are_secure ? 65536U : 0), other_hash = ~hash;
        struct writer w = {.out = out};
        struct span separator = {NULL, 0};
        struct ipc_mx_host h;
        unsigned last = 0;

        w.len = (size_t) snprintf(out, HOST_SET_KEY_MAX, "%s:%u:", are_secure ? "mxs" : "mx",
                                  port);
        while (ipc_next_mx_host(&each, &h)) {
                if (separator.p)
                        separator = h.preference == last ? SPAN_LITERAL(",") : SPAN_LITERAL(">");
                put(&w, separator);
                put(&w, h.name);
                hash = hash_span(separator, hash_span(h.name, hash));
                other_hash = hash_span(separator, hash_span(h.name, other_hash));
                last = h.preference;
                separator = SPAN_LITERAL(",");
        }
        if (w.is_cut)
                w.len += (size_t) snprintf(out + w.len, HASH_LEN, "#%016" PRIx64 "%016" PRIx64,
                                           hash, other_hash);
        return span_make(out, w.len);
}
