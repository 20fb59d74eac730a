#include "process/relay/relay_socket.h"

#include <errno.h>
#include <unistd.h>

#include "process/relay/relay_connection.h"

int relay_socket_ask(struct relay_connection *c, const struct relay_address *a)
{
        struct relay *r = c->destination->relay;
        char path[ENDPOINT_TEXT_MAX];
        int s;

        if (!r->process->supervisor)
                return -ENOTCONN;
        c->socket.number = ++r->socket_last;
        s = table_add(&r->sockets, &c->socket.by_number, c->socket.number);
        if (s < 0)
                return s;
        c->socket.is_asked = true;
        endpoint_format_host(&a->at, path);
        s = CHANNEL_SEND(r->process->supervisor, socket_query, -1, .query = c->socket.number,
                         .path = span_from_string(path));
        if (s < 0)
                relay_socket_end(c);
        return s;
}

void relay_socket_end(struct relay_connection *c)
{
        if (c->socket.is_asked)
                table_remove(&c->destination->relay->sockets, &c->socket.by_number);
        c->socket.is_asked = false;
}

void relay_socket_answer(struct process *p, uint64_t query, int result, int fd)
{
        struct relay *r = p->role;
        struct table_node *n = table_first(&r->sockets, query);
        struct relay_connection *c;

        if (!n) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        c = TABLE_OBJECT(n, struct relay_connection, socket.by_number);
        relay_socket_end(c);
        relay_connection_attach(c, result, fd);
}
