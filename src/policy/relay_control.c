#include "policy/relay_control.h"

static struct verdict allowed(struct span rule, struct span origin)
{
        return (struct verdict) {.rule = rule, .origin = origin};
}

static struct verdict denied(struct span rule, struct span origin)
{
        return (struct verdict) {
                .code = 550,
                .enhanced = SPAN("5.7.1"),
                .text = SPAN("Relaying denied"),
                .rule = rule,
                .origin = origin,
        };
}

/* Is the sender's domain one of them? Bounces have none, and are of use only to
 * whom they go to. */
static bool is_sender_of(const struct config_list *domains, struct span mail_from)
{
        struct span domain = span_skip(mail_from, span_find_last(mail_from, '@') + 1);

        if (domains->count == 0 || mail_from.len == 0)
                return true;
        if (span_find(mail_from, '@') == SIZE_MAX)
                return false;
        if (domain.len && domain.p[domain.len - 1] == '.')
                domain.len--;
        for (size_t i = 0; i < domains->count; i++) {
                const struct span item = domains->items[i];

                if (item.p[0] == '.' ? span_ends_with_nocase(domain, item) &&
                                               domain.len > item.len
                                     : span_equal_nocase(domain, item))
                        return true;
        }
        return false;
}

struct verdict relay_control_judge(const struct config *c, const struct relay_client *client,
                                   const struct route *route)
{
        const struct span networks_origin = span_from_string(config_origin(c, "relay_networks"));
        const bool is_of_network = config_networks_contain(&c->relay_networks, client->address);

        if (route->is_ours)
                return allowed(route->rule, route->origin);
        if (client->is_local_user)
                return allowed(SPAN_LITERAL("local submission"), SPAN_LITERAL("default"));
        if (client->is_logged_in)
                return allowed(SPAN_LITERAL("login"), SPAN_LITERAL("default"));
        if (client->has_certificate)
                return allowed(SPAN_LITERAL("relay_certificates"),
                               span_from_string(config_origin(c, "relay_certificates")));
        if (!is_of_network && client->access_relay.len == 0 && !client->has_read_mail)
                return denied(SPAN_LITERAL("relay_networks"), networks_origin);
        if (!is_sender_of(&c->relay_mail_from, client->mail_from))
                return denied(SPAN_LITERAL("relay_mail_from"),
                              span_from_string(config_origin(c, "relay_mail_from")));
        if (is_of_network)
                return allowed(SPAN_LITERAL("relay_networks"), networks_origin);
        if (client->access_relay.len)
                return allowed(SPAN_LITERAL("access"), client->access_relay);
        return allowed(SPAN_LITERAL("pop_before_smtp"),
                       span_from_string(config_origin(c, "pop_before_smtp")));
}
