#include "policy/relay_control.h"

static struct verdict allowed(struct span rule, struct span origin)
{
        return (struct verdict) {.rule = rule, .origin = origin};
}

struct verdict relay_control_judge(const struct config *c, const struct relay_client *client,
                                   const struct route *route)
{
        const struct span networks_origin = span_from_string(config_origin(c, "relay_networks"));

        if (route->is_ours)
                return allowed(route->rule, route->origin);
        if (client->is_local_user)
                return allowed(SPAN_LITERAL("local submission"), SPAN_LITERAL("default"));
        if (client->is_logged_in)
                return allowed(SPAN_LITERAL("login"), SPAN_LITERAL("default"));
        if (config_networks_contain(&c->relay_networks, client->address))
                return allowed(SPAN_LITERAL("relay_networks"), networks_origin);
        return (struct verdict) {
                .code = 550,
                .enhanced = SPAN("5.7.1"),
                .text = SPAN("Relaying denied"),
                .rule = SPAN("relay_networks"),
                .origin = networks_origin,
        };
}
