#include "process/resolver/lookup.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <unistd.h>

#include "base/list.h"

/* Where Debian's package dns-root-data keeps the key of the root. */
#define ROOT_KEY "/usr/share/dns/root.key"

enum { RCODE_NOERROR = 0, RCODE_NXDOMAIN = 3 };

struct lookups {
        struct loop *loop;
        struct ub_ctx *unbound;
        struct poller *poller;
        struct list_node waiting, asked; /* struct lookup */
        size_t waiting_count, at_work;   /* how many are in them */
        struct deferred next; /* starts who waits, after a cancellation */
};

struct lookup {
        struct list_node node; /* in `waiting` or `asked` */
        struct lookups *lookups;
        struct timer *timeout; /* NULL while waiting */
        int async_id;
        int type;
        char name[DNS_NAME_MAX + 1];
        lookup_fn *done;
        void *arg;
};

static void start_waiting(struct lookups *l);

/* ---- the library ---- */

static int from_unbound(int error)
{
        return error == UB_NOERROR ? 0 : error == UB_NOMEM ? -ENOMEM : -EIO;
}

static int set_options(struct ub_ctx *unbound)
{
        static const char *const options[][2] = {
                /* Labs and sites have name servers on this very host. */
                { "do-not-query-localhost:", "no" },
                { "val-log-level:", "0" },
                { "outgoing-range:", "1024" },
                { "num-queries-per-thread:", "1024" },
                { "msg-cache-size:", "16m" },
                { "rrset-cache-size:", "32m" },
                /* A zone that vanished and came back is asked for again soon. */
                { "cache-max-negative-ttl:", "900" },
        };

        for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
                const int error = ub_ctx_set_option(unbound, options[i][0], options[i][1]);

                if (error)
                        return from_unbound(error);
        }
        return 0;
}

static int set_servers(struct ub_ctx *unbound, const struct config *config)
{
        char text[256];
        int r = 0;

        for (size_t i = 0; r == 0 && i < config->dns.servers.count; i++) {
                const struct span server = config->dns.servers.items[i];

                if (server.len >= sizeof text)
                        return -EINVAL;
                memcpy(text, server.p, server.len);
                text[server.len] = '\0';
                r = from_unbound(ub_ctx_set_fwd(unbound, text));
        }
        return r;
}

/* /dev/null, a file without a key, switches validation off: for labs whose root
 * is nobody's. */
static int set_trust_anchor(struct ub_ctx *unbound, const struct config *config)
{
        const struct span path = config->dns.trust_anchor;
        char text[4096];

        if (path.len == 0) {
                if (access(ROOT_KEY, R_OK) < 0)
                        return 0;
                return from_unbound(ub_ctx_add_ta_file(unbound, ROOT_KEY));
        }
        if (path.len >= sizeof text)
                return -ENAMETOOLONG;
        memcpy(text, path.p, path.len);
        text[path.len] = '\0';
        if (access(text, R_OK) < 0)
                return -errno;
        return from_unbound(ub_ctx_add_ta_file(unbound, text));
}

static int configure(struct lookups *l, const struct config *config, const char **ret_what)
{
        int r;

        *ret_what = "libunbound";
        l->unbound = ub_ctx_create();
        if (!l->unbound)
                return -ENOMEM;
        r = set_options(l->unbound);
        if (r == 0)
                r = from_unbound(ub_ctx_async(l->unbound, 1));
        if (r < 0)
                return r;
        *ret_what = "dns.servers";
        r = set_servers(l->unbound, config);
        if (r < 0)
                return r;
        *ret_what = "dns.trust_anchor";
        r = set_trust_anchor(l->unbound, config);
        if (r < 0)
                return r;
        /* The first datum makes the library read all its files, now while
         * that is possible. RFC 6761 section 6.4 has the name for good. */
        return from_unbound(ub_ctx_zone_add(l->unbound, "invalid.", "static"));
}

static void on_next(struct deferred *d)
{
        start_waiting((struct lookups *) (void *) ((char *) d - offsetof(struct lookups, next)));
}

static void on_answers(void *arg, int events)
{
        struct lookups *l = arg;

        (void) events;
        ub_process(l->unbound);
        start_waiting(l);
}

int lookups_new(struct loop *loop, const struct config *config, struct lookups **ret_l,
                const char **ret_what)
{
        struct lookups *l = calloc(1, sizeof *l);
        int r;

        *ret_what = "memory";
        if (!l)
                return -ENOMEM;
        l->loop = loop;
        l->next.run = on_next;
        list_init(&l->waiting);
        list_init(&l->asked);
        r = configure(l, config, ret_what);
        if (r == 0)
                r = poller_new(loop, ub_fd(l->unbound), on_answers, l, &l->poller);
        if (r < 0) {
                if (l->unbound)
                        ub_ctx_delete(l->unbound);
                free(l);
                return r;
        }
        poller_set(l->poller, POLL_READ);
        *ret_l = l;
        return 0;
}

static void ignore(void *arg, const struct lookup_answer *answer)
{
        (void) arg;
        (void) answer;
}

int lookups_start(struct lookups *l)
{
        struct lookup *lookup;

        /* The first question makes the thread. */
        return lookup_new(l, SPAN_LITERAL("start.invalid"), DNS_TYPE_A, ignore, NULL, &lookup);
}

/* ---- questions ---- */

static struct lookup *lookup_free(struct lookup *lookup)
{
        list_remove(&lookup->node);
        timer_free(lookup->timeout);
        free(lookup);
        return NULL;
}

static void finish(struct lookup *lookup, const struct lookup_answer *answer)
{
        lookup_fn *done = lookup->done;
        void *arg = lookup->arg;

        lookup->lookups->at_work--;
        lookup_free(lookup);
        done(arg, answer);
}

struct lookups *lookups_free(struct lookups *l)
{
        if (!l)
                return NULL;
        poller_free(l->poller);
        ub_ctx_delete(l->unbound); /* ends the thread; no answer comes from now on */
        deferred_cancel(&l->next);
        LIST_FOR_EACH(node, &l->asked)
                lookup_free(LIST_OBJECT(node, struct lookup, node));
        LIST_FOR_EACH(node, &l->waiting)
                lookup_free(LIST_OBJECT(node, struct lookup, node));
        free(l);
        return NULL;
}

/* libunbound hands out forged data with rcode 0 and havedata set: `bogus` is
 * the first thing to look at. */
static enum dns_status status_of(const struct ub_result *result)
{
        if (result->bogus)
                return DNS_BOGUS;
        if (result->rcode == RCODE_NOERROR)
                return result->havedata ? DNS_OK : DNS_NODATA;
        return result->rcode == RCODE_NXDOMAIN ? DNS_NXDOMAIN : DNS_SERVFAIL;
}

static void on_result(void *arg, int error, struct ub_result *result)
{
        struct lookup_answer answer = {.status = DNS_SERVFAIL};

        if (!error && result) {
                answer.status = status_of(result);
                answer.is_secure = result->secure && !result->bogus;
                answer.is_alias = result->canonname != NULL;
                answer.ttl_s = result->ttl > 0 ? (uint32_t) result->ttl : 0;
        }
        if (answer.status == DNS_OK) {
                answer.rdata = result->data;
                answer.rdata_len = result->len;
                while (result->data[answer.count])
                        answer.count++;
        }
        finish(arg, &answer);
        ub_resolve_free(result);
}

static void on_timeout(void *arg)
{
        static const struct lookup_answer answer = {.status = DNS_TIMEOUT};
        struct lookup *lookup = arg;
        struct lookups *l = lookup->lookups;

        ub_cancel(l->unbound, lookup->async_id);
        finish(lookup, &answer);
        start_waiting(l);
}

static int start(struct lookup *lookup)
{
        struct lookups *l = lookup->lookups;
        int r = timer_new(l->loop, on_timeout, lookup, &lookup->timeout);

        if (r < 0)
                return r;
        l->at_work++;
        list_append(&l->asked, &lookup->node);
        r = from_unbound(ub_resolve_async(l->unbound, lookup->name, lookup->type, DNS_CLASS_IN,
                                          lookup, on_result, &lookup->async_id));
        if (r < 0)
                l->at_work--;
        else
                timer_set(lookup->timeout, LOOKUP_TIMEOUT_MS);
        return r;
}

static void start_waiting(struct lookups *l)
{
        static const struct lookup_answer failed = {.status = DNS_SERVFAIL};

        while (l->at_work < LOOKUPS_AT_WORK && !list_is_empty(&l->waiting)) {
                struct lookup *lookup =
                        LIST_OBJECT(list_take_first(&l->waiting), struct lookup, node);

                l->waiting_count--;
                if (start(lookup) < 0) {
                        l->at_work++; /* finish() takes it off */
                        finish(lookup, &failed);
                }
        }
}

int lookup_new(struct lookups *l, struct span name, int type, lookup_fn *done, void *arg,
               struct lookup **ret_lookup)
{
        struct lookup *lookup = calloc(1, sizeof *lookup);
        int r = 0;

        assert(name.len <= DNS_NAME_MAX);
        if (!lookup)
                return -ENOMEM;
        *lookup = (struct lookup) {.lookups = l, .type = type, .done = done, .arg = arg};
        memcpy(lookup->name, name.p, name.len);
        if (l->at_work < LOOKUPS_AT_WORK) {
                r = start(lookup);
        } else {
                list_append(&l->waiting, &lookup->node);
                l->waiting_count++;
        }
        if (r < 0) {
                lookup_free(lookup);
                return r;
        }
        *ret_lookup = lookup;
        return 0;
}

struct lookup *lookup_cancel(struct lookup *lookup)
{
        if (!lookup)
                return NULL;
        if (!lookup->timeout) {
                lookup->lookups->waiting_count--;
        } else {
                ub_cancel(lookup->lookups->unbound, lookup->async_id);
                lookup->lookups->at_work--;
                loop_defer(lookup->lookups->loop, &lookup->lookups->next);
        }
        return lookup_free(lookup);
}

size_t lookups_at_work(const struct lookups *l)
{
        return l->at_work;
}

size_t lookups_waiting(const struct lookups *l)
{
        return l->waiting_count;
}
