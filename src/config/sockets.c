#include "config/sockets.h"

#include "message/next_hop.h"

static bool leads_to(struct span option, struct span path)
{
        struct next_hop hop;

        return next_hop_parse(option, &hop) == 0 && hop.is_unix && span_equal(hop.host, path);
}

bool sockets_may_reach(const struct config *c, struct span path)
{
        for (size_t i = 0; i < c->lmtp_sockets.count; i++)
                if (span_equal(c->lmtp_sockets.items[i], path))
                        return true;
        return leads_to(c->smart_host, path) || leads_to(c->local_relay, path);
}
