#include "process/edge/edge_words.h"

#include <stdio.h>
#include <stdlib.h>

#include "message/trace.h"
#include "process/edge/edge.h"
#include "process/edge/edge_record.h"
#include "process/edge/edge_session.h"

/* "192.0.2.1" of "[192.0.2.1]", "2001:db8::1" of "[IPv6:2001:db8::1]" */
static struct span bare_address(const struct edge_client *c)
{
        struct span text = span_from_string(c->text);

        if (c->is_unix)
                return (struct span) {0};
        text = span_skip(span_first(text, text.len - 1), 1);
        return span_starts_with_nocase(text, SPAN_LITERAL("IPv6:")) ? span_skip(text, 5) : text;
}

static int begin_trace(const struct edge_session *s, const char *protocol, struct buffer *out,
                       size_t *ret_column)
{
        struct tls_session *tls = stream_tls(s->stream);
        char note[48] = "";
        struct trace_received received = {
                .helo_name = span_from_string(s->helo_name),
                .client_name = span_from_string(s->client_name),
                .client_address = bare_address(&s->client),
                .hostname = span_from_string(s->hostname),
                .protocol = span_from_string(protocol),
        };

        if (s->client.is_local_user) {
                received.helo_name = (struct span) {0};
                snprintf(note, sizeof note, "from uid %u", (unsigned) s->client.uid);
                received.note = span_from_string(note);
        }
        if (tls) {
                received.tls_version = span_from_string(tls_session_version(tls));
                received.tls_cipher = span_from_string(tls_session_cipher(tls));
        }
        return trace_begin_received(&received, out, ret_column);
}

static struct edge_words *make(const struct edge_session *s, const char *protocol)
{
        struct buffer *text = &s->edge->text;
        char host[EDGE_RECORD_HOST_MAX];
        const struct span host_text = edge_record_format_host(s, host);
        struct edge_words *w;
        size_t column, session_len;
        char *octets;

        edge_record_describe_session(s, text);
        session_len = text->len;
        if (begin_trace(s, protocol, text, &column) < 0)
                return NULL;
        w = malloc(sizeof *w + text->len + host_text.len);
        if (!w)
                return NULL;
        octets = (char *) (w + 1);
        memcpy(octets, buffer_span(text).p, text->len);
        memcpy(octets + text->len, host_text.p, host_text.len);
        *w = (struct edge_words) {
                .trace = span_make(octets + session_len, text->len - session_len),
                .trace_column = column,
                .host = span_make(octets + text->len, host_text.len),
                .session = span_make(octets, session_len),
                .protocol = protocol,
        };
        return w;
}

const struct edge_words *edge_words_of(struct edge_session *s)
{
        const char *protocol = edge_record_protocol(s);

        if (s->words && s->words->protocol == protocol)
                return s->words;
        edge_words_forget(s);
        s->words = make(s, protocol);
        return s->words;
}

void edge_words_forget(struct edge_session *s)
{
        free(s->words);
        s->words = NULL;
}
