#include "process/edge/edge_trial.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "policy/limits.h"
#include "process/edge/edge.h"
#include "process/edge/edge_session.h"

enum { RECORDS_MAX = 1024 * 1024 };

struct verdict edge_trial_begin(struct edge_session *s, const struct xclient *x)
{
        static const struct verdict no_memory = {421, SPAN("4.3.0"), SPAN("Out of memory"),
                                                 SPAN("memory"), SPAN("default")};
        struct edge *e = s->edge;
        const uint64_t key = meters_client(&e->meters, x->address);
        char *account = NULL;

        if (x->login.len) {
                account = strndup(x->login.p, x->login.len);
                if (!account)
                        return no_memory;
        }
        free(s->login.account);
        s->login.account = account;
        if (!s->is_trial)
                s->trial = BUFFER_INIT(RECORDS_MAX);
        s->is_trial = true;
        s->client.is_unix = s->client.is_local_user = false;
        edge_checks_forget(s);
        edge_listener_describe(x->address, x->port, &s->client);
        return limits_connection(e->process->config, 0, 0, meters_held(&e->meters, key) + 1);
}

void edge_trial_keep(struct edge_session *s, struct span record)
{
        const size_t len = s->trial.len;

        if (write_octets(&s->trial, record) < 0)
                s->trial.len = len;
}

void edge_trial_tell(struct edge_session *s)
{
        if (s->is_trial && s->trial.len)
                (void) stream_write(s->stream, buffer_span(&s->trial));
        buffer_clear(&s->trial);
}
