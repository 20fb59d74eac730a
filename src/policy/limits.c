#include "policy/limits.h"

static struct verdict refuse(const struct config *c, uint16_t code, struct span words,
                             const char *option)
{
        const size_t blank = span_find(words, ' '); /* "5.4.6 Text" */

        return (struct verdict) {
                .code = code,
                .enhanced = span_first(words, blank),
                .text = span_skip(words, blank + 1),
                .rule = span_from_string(option),
                .origin = span_from_string(config_origin(c, option)),
        };
}

struct verdict limits_connection(const struct config *c, unsigned total, unsigned total_max,
                                 unsigned of_client)
{
        if (total_max && total > total_max)
                return refuse(c, 421, SPAN_LITERAL("4.3.2 Too many connections, try again later"),
                              "limits.connections");
        if (c->limits.connections_per_client && of_client > c->limits.connections_per_client)
                return refuse(c, 421, SPAN_LITERAL("4.7.0 Too many connections from your network"),
                              "limits.connections_per_client");
        return (struct verdict) {0};
}

struct verdict limits_hops(const struct config *c, unsigned received_fields)
{
        if (c->limits.received_hops && received_fields > c->limits.received_hops)
                return refuse(c, 554, SPAN_LITERAL("5.4.6 Too many hops, the message is looping"),
                              "limits.received_hops");
        return (struct verdict) {0};
}

struct verdict limits_header(const struct config *c)
{
        return refuse(c, 552, SPAN_LITERAL("5.3.4 Header section too large"),
                      "limits.header_size");
}

struct verdict limits_header_fields(const struct config *c)
{
        return refuse(c, 552, SPAN_LITERAL("5.3.4 Too many header fields"),
                      "limits.header_fields");
}

struct verdict limits_messages(const struct config *c, unsigned count)
{
        if (c->limits.messages_per_minute && count > c->limits.messages_per_minute)
                return refuse(c, 451,
                              SPAN_LITERAL("4.7.1 Too many messages from your network, try "
                                           "again in a minute"),
                              "limits.messages_per_minute");
        return (struct verdict) {0};
}

struct verdict limits_recipients(const struct config *c, unsigned count)
{
        if (c->limits.recipients_per_minute && count > c->limits.recipients_per_minute)
                return refuse(c, 451,
                              SPAN_LITERAL("4.7.1 Too many recipients from your network, try "
                                           "again in a minute"),
                              "limits.recipients_per_minute");
        return (struct verdict) {0};
}

unsigned limits_recipients_max(const struct config *c, unsigned room)
{
        return c->limits.recipients && c->limits.recipients < room ? c->limits.recipients : room;
}

struct verdict limits_message_recipients(const struct config *c)
{
        return refuse(c, 452, SPAN_LITERAL("4.5.3 Too many recipients"), "limits.recipients");
}

struct verdict limits_message_size(const struct config *c, uint64_t size)
{
        if (c->limits.message_size && size > c->limits.message_size)
                return refuse(c, 552, SPAN_LITERAL("5.3.4 Message too big"),
                              "limits.message_size");
        return (struct verdict) {0};
}

struct verdict limits_sender_messages(const struct config *c, unsigned count)
{
        if (c->limits.sender_messages_per_minute && count > c->limits.sender_messages_per_minute)
                return refuse(c, 451,
                              SPAN_LITERAL("4.7.1 Too many messages of this sender, try again "
                                           "in a minute"),
                              "limits.sender_messages_per_minute");
        return (struct verdict) {0};
}

struct verdict limits_sender_recipients(const struct config *c, unsigned count)
{
        if (c->limits.sender_recipients_per_minute &&
            count > c->limits.sender_recipients_per_minute)
                return refuse(c, 451,
                              SPAN_LITERAL("4.7.1 Too many recipients of this sender, try again "
                                           "in a minute"),
                              "limits.sender_recipients_per_minute");
        return (struct verdict) {0};
}

struct verdict limits_errors(const struct config *c, unsigned count)
{
        if (c->limits.errors_per_minute && count > c->limits.errors_per_minute)
                return refuse(c, 421, SPAN_LITERAL("4.7.0 Too many errors from your network"),
                              "limits.errors_per_minute");
        return (struct verdict) {0};
}

struct verdict limits_body_memory(const struct config *c, uint64_t held)
{
        if (held > c->limits.body_memory)
                return refuse(c, 452, SPAN_LITERAL("4.3.1 Too many messages at once, try again "
                                                   "later"),
                              "limits.body_memory");
        return (struct verdict) {0};
}

struct verdict limits_slow(const struct config *c, enum limits_slow what)
{
        static const struct {
                struct span words;
                const char *option;
        } slow[] = {
                [LIMITS_SLOW_COMMAND] = {SPAN("4.4.2 No command came for too long"),
                                         "limits.command_timeout"},
                [LIMITS_SILENT_DATA] = {SPAN("4.4.2 Nothing of the message came for too long"),
                                        "limits.data_timeout"},
                [LIMITS_SLOW_DATA] = {SPAN("4.4.2 The message comes too slowly"),
                                      "limits.data_rate"},
                [LIMITS_SLOW_TLS] = {SPAN("4.4.2 The TLS handshake took too long"),
                                     "limits.tls_timeout"},
        };

        return refuse(c, 421, slow[what].words, slow[what].option);
}

struct verdict limits_connection_time(const struct config *c, uint64_t age_ms)
{
        if (c->limits.connection_time_ms && age_ms > c->limits.connection_time_ms)
                return refuse(c, 421,
                              SPAN_LITERAL("4.4.2 This connection has lasted long enough"),
                              "limits.connection_time");
        return (struct verdict) {0};
}

struct verdict limits_turn(const struct config *c, bool is_early)
{
        if (is_early)
                return refuse(c, 554, SPAN_LITERAL("5.5.0 You spoke before the greeting"),
                              "smtp.strict_turns");
        return refuse(c, 554, SPAN_LITERAL("5.5.0 You spoke without waiting for the answer"),
                      "smtp.strict_turns");
}
