/* Logins of clients.
 *
 *   start ──► STEP ──CHALLENGE──► (client answers) ──step──► STEP …
 *              ├─ GRANTED ──────────────────────────────────► answered
 *              ├─ CHECK: cache, or a thread ──► right ──────► answered
 *              │                            └─► wrong ─┐
 *              └─ REFUSED ──────────────────────────────┴► WAITING ──► answered
 *
 * Every refusal comes at the same time after it was asked for, or later: how
 * long a comparison took, and whether there was one, does not show. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "process/directory/directory.h"

enum {
        LOGINS_MAX = 20000,    /* of one asker: more than it may have sessions */
        REFUSAL_MS = 400,      /* after the last message; more than a comparison takes */
        SERVICE_MAX = 24,
};

struct login {
        struct table_node by_number;
        struct list_node node; /* of the asker */
        struct asker *asker;   /* NULL: gone while a thread had work for it */
        uint64_t number;
        struct sasl *sasl;
        struct timer *timer;   /* a refusal that waits */
        uint64_t asked_ms;
        unsigned char client[16];
        char service[SERVICE_MAX + 1];
        struct check check;
        struct pam_check *pam; /* NULL: the hash is compared */
        bool is_checking;
        int verdict; /* of password_verify() */
        char hash[PASSWORD_HASH_MAX];
};

static uint64_t key_of(const struct asker *a, uint64_t number)
{
        return hash_span(span_make((const char *) &number, sizeof number),
                         hash_seed() + (uint64_t) a->kind * 256 + a->number);
}

static struct login *find(struct asker *a, uint64_t number)
{
        struct table_node *n = table_first(&a->directory->logins, key_of(a, number));

        for (; n; n = table_next(n)) {
                struct login *l = TABLE_OBJECT(n, struct login, by_number);

                if (l->asker == a && l->number == number)
                        return l;
        }
        return NULL;
}

static void destroy(struct login *l)
{
        sasl_free(l->sasl);
        timer_free(l->timer);
        explicit_bzero(l, sizeof *l);
        free(l);
}

/* Nobody waits for it any more. A thread may still be at work for it. */
static void drop(struct login *l)
{
        list_remove(&l->node);
        table_remove(&l->asker->directory->logins, &l->by_number);
        l->asker->login_count--;
        l->asker = NULL;
        if (!l->is_checking)
                destroy(l);
}

void directory_login_forget(struct asker *a)
{
        while (!list_is_empty(&a->logins))
                drop(LIST_OBJECT(a->logins.next, struct login, node));
}

/* ---- answers ---- */

static void answer(struct asker *a, uint64_t number, enum auth_status status, struct span octets,
                   struct span account)
{
        const struct users_account *found = account.len ? users_find(a->directory->users, account)
                                                        : NULL;

        CHANNEL_SEND(a->channel, auth_result, -1, .login = number, .status = (uint8_t) status,
                     .octets = octets, .account = account, .quota = found ? found->quota : 0);
}

static void end(struct login *l, enum auth_status status)
{
        answer(l->asker, l->number, status, (struct span) {0},
               status == AUTH_GRANTED ? sasl_account(l->sasl) : (struct span) {0});
        drop(l);
}

static const char *client_text(const struct login *l, char out[INET6_ADDRSTRLEN])
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

        if (memcmp(l->client, mapped, sizeof mapped) == 0)
                inet_ntop(AF_INET, l->client + 12, out, INET6_ADDRSTRLEN);
        else
                inet_ntop(AF_INET6, l->client, out, INET6_ADDRSTRLEN);
        return out;
}

/* The line that fail2ban looks for: docs/login.md has the expression. */
static void log_login(const struct login *l, bool is_granted, const char *why)
{
        char client[INET6_ADDRSTRLEN];

        log_event(is_granted ? LOG_INFO : LOG_NOTICE, is_granted ? "login" : "login_failed",
                  LOG_TEXT("client", client_text(l, client)), LOG_TEXT("service", l->service),
                  LOG_SPAN("mechanism", sasl_mechanism(l->sasl)->name),
                  LOG_SPAN("login_name", sasl_login_name(l->sasl)),
                  LOG_SPAN("account", sasl_account(l->sasl)), LOG_TEXT("reason", why));
}

static void grant(struct login *l, const char *how)
{
        struct directory *d = l->asker->directory;

        d->counters.granted++;
        throttle_succeeded(d->throttle, l->client, sasl_account(l->sasl),
                           loop_now_ms(d->process->loop));
        log_login(l, true, how);
        end(l, AUTH_GRANTED);
}

static void refuse_now(void *arg)
{
        end(arg, AUTH_REFUSED);
}

static void refuse(struct login *l, const char *why)
{
        struct directory *d = l->asker->directory;
        const uint64_t now_ms = loop_now_ms(d->process->loop);
        const uint64_t took_ms = now_ms - l->asked_ms;
        const struct span name = sasl_account(l->sasl).len ? sasl_account(l->sasl)
                                                           : sasl_login_name(l->sasl);
        uint64_t wait_ms = throttle_failed(d->throttle, l->client, name, now_ms);

        wait_ms += took_ms < REFUSAL_MS ? REFUSAL_MS - took_ms : 0;
        d->counters.refused++;
        log_login(l, false, why);
        if (timer_new(d->process->loop, refuse_now, l, &l->timer) < 0)
                end(l, AUTH_TROUBLE);
        else
                timer_set(l->timer, wait_ms);
}

/* ---- passwords ---- */

static void compare(struct check *c)
{
        struct login *l = (struct login *) (void *) ((char *) c - offsetof(struct login, check));

        if (l->pam)
                l->verdict = pam_check_verify(l->pam, password_pam_name(span_from_string(l->hash)),
                                              sasl_password(l->sasl));
        else
                l->verdict = password_verify(span_from_string(l->hash), sasl_password(l->sasl));
}

static void compared(struct check *c)
{
        struct login *l = (struct login *) (void *) ((char *) c - offsetof(struct login, check));
        struct directory *d;

        l->is_checking = false;
        if (!l->asker) {
                destroy(l);
                return;
        }
        d = l->asker->directory;
        d->counters.checked++;
        if (l->verdict == -EIO) {
                log_event(LOG_ERROR, "pam_cannot_tell", LOG_SPAN("account", sasl_account(l->sasl)));
                end(l, AUTH_TROUBLE);
                if (pam_check_is_lost(d->pam)) /* who begins anew has children again */
                        process_end(d->process);
        } else if (l->verdict == -ENOMEM) {
                end(l, AUTH_TROUBLE);
        } else if (sasl_account(l->sasl).len == 0) {
                refuse(l, "no such account");
        } else if (l->verdict < 0) {
                refuse(l, l->verdict == -EACCES ? "wrong password" : "its hash cannot be used");
        } else if (l->pam) { /* a change of the password would not be seen */
                grant(l, "password, says PAM");
        } else {
                password_cache_add(d->cache, sasl_account(l->sasl), span_from_string(l->hash),
                                   sasl_password(l->sasl), loop_now_ms(d->process->loop));
                grant(l, "password");
        }
}

static void check_password(struct login *l)
{
        struct directory *d = l->asker->directory;
        const struct span account = sasl_account(l->sasl);
        const struct users_account *a = account.len ? users_find(d->users, account) : NULL;
        const struct span hash = a ? a->hash : span_from_string(d->false_hash);

        if (a && password_cache_has(d->cache, account, hash, sasl_password(l->sasl),
                                    loop_now_ms(d->process->loop))) {
                d->counters.from_cache++;
                grant(l, "password, remembered");
                return;
        }
        snprintf(l->hash, sizeof l->hash, "%.*s", (int) hash.len, hash.p);
        l->pam = password_pam_name(hash).len ? d->pam : NULL;
        l->check = (struct check) {.work = compare, .done = compared};
        l->is_checking = checks_add(d->checks, &l->check) == 0;
        if (!l->is_checking)
                end(l, AUTH_TROUBLE);
}

/* ---- messages ---- */

static void step(struct login *l, struct span octets)
{
        struct directory *d = l->asker->directory;
        struct buffer out = BUFFER_INIT(SASL_BLOB_MAX);
        enum sasl_status status;
        const struct span known = sasl_login_name(l->sasl);
        const bool was_named = known.len > 0;

        l->asked_ms = loop_now_ms(d->process->loop);
        status = sasl_step(l->sasl, octets, &out);
        /* The name is known by now, and nothing costly was done for it. */
        if ((status == SASL_CHECK || (!was_named && sasl_login_name(l->sasl).len)) &&
            !throttle_may_try(d->throttle, l->client,
                              sasl_account(l->sasl).len ? sasl_account(l->sasl)
                                                        : sasl_login_name(l->sasl), l->asked_ms)) {
                d->counters.turned_away++;
                log_login(l, false, "too many failures");
                end(l, AUTH_LATER);
        } else if (status == SASL_CHALLENGE) {
                answer(l->asker, l->number, AUTH_CHALLENGE, buffer_span(&out), (struct span) {0});
        } else if (status == SASL_CHECK) {
                check_password(l);
        } else if (status == SASL_GRANTED) {
                grant(l, "proof");
        } else if (status == SASL_REFUSED) {
                refuse(l, sasl_account(l->sasl).len ? "wrong proof" : "no such account");
        } else {
                d->counters.malformed += status == SASL_MALFORMED;
                end(l, status == SASL_MALFORMED ? AUTH_MALFORMED : AUTH_TROUBLE);
        }
        buffer_done(&out);
}

static struct login *begin(struct asker *a, const struct ipc_auth_start *m, int *ret_error)
{
        const struct sasl_facts facts = {
                .exporter = m->exporter, .end_point = m->end_point,
                .external_name = m->certificate_name,
        };
        struct login *l = memory_zeroed(sizeof *l);
        struct span service;

        *ret_error = l ? sasl_new(a->directory->sasl, m->mechanism, &facts, &l->sasl) : -ENOMEM;
        if (*ret_error == 0)
                *ret_error = table_add(&a->directory->logins, &l->by_number, key_of(a, m->login));
        if (*ret_error < 0) {
                if (l)
                        destroy(l);
                return NULL;
        }
        l->asker = a;
        l->number = m->login;
        if (m->client_address.len == sizeof l->client)
                memcpy(l->client, m->client_address.p, sizeof l->client);
        service = span_first(m->service, SERVICE_MAX);
        memcpy(l->service, service.len ? service.p : "", service.len);
        list_append(&a->logins, &l->node);
        a->login_count++;
        return l;
}

void directory_login_start(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_auth_start *start = &m->auth_start;
        const struct span none = {0};
        struct asker *a = arg;
        struct login *l, *old = find(a, start->login);
        int error;

        (void) ch;
        (void) fd;
        if (old)
                drop(old);
        if (a->login_count >= LOGINS_MAX) {
                answer(a, start->login, AUTH_TROUBLE, none, none);
                return;
        }
        l = begin(a, start, &error);
        if (!l)
                answer(a, start->login, error == -ENOENT ? AUTH_UNKNOWN : AUTH_TROUBLE, none, none);
        else
                step(l, start->has_initial ? span_make(start->octets.p ? start->octets.p : "",
                                                       start->octets.len)
                                           : none);
}

void directory_login_step(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct span octets = m->auth_step.octets;
        struct asker *a = arg;
        struct login *l = find(a, m->auth_step.login);

        (void) ch;
        (void) fd;
        /* One that is unknown, or speaks out of turn, was never challenged. */
        if (!l || l->is_checking || l->timer)
                answer(a, m->auth_step.login, AUTH_TROUBLE, (struct span) {0}, (struct span) {0});
        else
                step(l, span_make(octets.p ? octets.p : "", octets.len));
}

void directory_login_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        struct login *l = find(arg, m->auth_cancel.login);

        (void) ch;
        (void) fd;
        if (l)
                drop(l);
}
