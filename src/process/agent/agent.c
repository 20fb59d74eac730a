#include "process/agent/agent.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "process/process.h"

enum { TASK_MEMORY_MAX = 4 * 1024 * 1024, FLUSH_MS = 10 * 1000,
       PLACES_MAX = 1000 /* what an outcome has room for */ };

void agent_reply_set(struct agent_reply *r, uint16_t code, const char *enhanced, const char *format,
                     ...)
{
        va_list args;

        r->code = code;
        snprintf(r->enhanced, sizeof r->enhanced, "%s", enhanced);
        va_start(args, format);
        vsnprintf(r->text, sizeof r->text, format, args);
        va_end(args);
}

static int copy(struct agent_task *t, struct span text, struct span *ret)
{
        *ret = arena_copy(&t->arena, text);
        return ret->p ? 0 : -ENOMEM;
}

static int take_recipients(struct agent_task *t, struct ipc_items recipients)
{
        struct reader each = ipc_items_read(recipients);
        struct ipc_target target;
        int r = 0;

        t->recipients = arena_alloc(&t->arena, (recipients.count + 1) * sizeof *t->recipients);
        if (!t->recipients)
                return -ENOMEM;
        while (r == 0 && ipc_next_target(&each, &target)) {
                t->recipients[t->recipient_count].index = target.index;
                r = copy(t, target.rcpt_to, &t->recipients[t->recipient_count++].rcpt_to);
        }
        return r;
}

static int job(struct process *p, const struct ipc_job *m, int fd)
{
        struct agent_task *t = p->role ? NULL : calloc(1, sizeof *t);
        int r;

        if (!t)
                return p->role ? -EPROTO : -ENOMEM;
        t->arena = ARENA_INIT(TASK_MEMORY_MAX);
        t->job = m->job;
        t->message_id = m->message_id;
        t->body_len = m->body_len;
        t->body_fd = fd;
        p->role = t;
        r = copy(t, m->next_hop, &t->next_hop);
        if (r == 0)
                r = copy(t, m->mail_from, &t->mail_from);
        return r < 0 ? r : take_recipients(t, m->recipients);
}

static int confine(struct process *p, bool is_privileged)
{
        struct agent_task *t = p->role;
        int r = t ? agent_owner_find(t, p->config, p->snapshot, is_privileged) : -EPROTO;

        return r < 0 ? r : agent_owner_become(t, is_privileged);
}

static void deliver(const struct process *p, const struct agent_recipient *to,
                    struct agent_reply *ret)
{
        const struct agent_task *t = p->role;

        if (t->refusal.code)
                *ret = t->refusal;
        else if (t->what.p[0] == '|')
                agent_program_run(t, to, p->config->agent.timeout_ms, ret);
        else
                agent_file_append(t, ret);
        log_event(LOG_NOTICE, "delivered_by_agent", LOG_U64("message_id", t->message_id),
                  LOG_SPAN("rcpt_to", to->rcpt_to), LOG_SPAN("next_hop", t->next_hop),
                  LOG_SPAN("user", t->user), LOG_U64("code", ret->code),
                  LOG_TEXT("text", ret->text));
}

/* Where a .forward leads; too many places are none. */
static int tell_places(const struct agent_task *t, struct buffer *places)
{
        int r = agent_forward_read(t, places);

        if (r == -EMSGSIZE) {
                buffer_clear(places);
                r = buffer_append_string(places, "mailbox\n");
        }
        return r;
}

/* All of the work, then the one answer; nothing else is going on here. */
static int start(struct process *p)
{
        struct agent_task *t = p->role;
        struct buffer items = BUFFER_INIT(IPC_PAYLOAD_MAX), places = BUFFER_INIT(PLACES_MAX);
        struct ipc_items results = {0};
        int r = 0;

        if (t->is_forward && t->number == 0)
                r = tell_places(t, &places);
        else if (t->is_forward && !agent_forward_find(t))
                agent_reply_set(&t->refusal, 451, "4.3.5", "the .forward does not name such a "
                                "program or file any more");
        for (size_t i = 0; r == 0 && i < t->recipient_count; i++) {
                struct agent_reply reply = {0};

                if (places.len)
                        agent_reply_set(&reply, 250, "2.1.5", "forwarded");
                else
                        deliver(p, &t->recipients[i], &reply);
                r = ipc_add_result(&items, &results, &(struct ipc_result) {
                        .index = t->recipients[i].index, .code = reply.code,
                        .enhanced = span_from_string(reply.enhanced),
                        .text = span_from_string(reply.text)});
        }
        if (r == 0)
                r = CHANNEL_SEND(p->supervisor, outcome, -1, .job = t->job,
                                 .message_id = t->message_id, .host = SPAN("agent"),
                                 .detail = buffer_span(&places), .results = results);
        if (r == 0)
                r = channel_flush(p->supervisor, FLUSH_MS);
        buffer_done(&items);
        buffer_done(&places);
        process_end(p);
        return r;
}

const struct process_role agent_role = {
        .kind = PROCESS_AGENT,
        .job = job,
        .confine = confine,
        .start = start,
};
