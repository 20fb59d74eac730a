/* How many recipients an account sent to in the running hour and day: what a
 * stolen password may spend before somebody looks. In memory; a restart begins
 * anew. Windows are fixed hours and days since 1970. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/users.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "process/directory/directory.h"

#define HOUR_US (UINT64_C(3600) * 1000000)

enum { ACCOUNTS_MAX = 100 * 1000, HOURS_A_DAY = 24 };

struct quota {
        struct table_node by_account;
        struct list_node age; /* the one asked for last stands last */
        uint64_t hour, day;   /* which they are */
        uint64_t in_hour, in_day;
        bool was_said;     /* in this hour: once is enough */
        bool was_told;     /* to postmaster, in this day */
        char account[USERS_ADDRESS_MAX];
};

static struct quota *find(struct directory *d, struct span account)
{
        const uint64_t hash = hash_span(account, hash_seed());

        for (struct table_node *n = table_first(&d->quotas, hash); n; n = table_next(n)) {
                struct quota *q = TABLE_OBJECT(n, struct quota, by_account);

                if (span_equal(span_from_string(q->account), account))
                        return q;
        }
        return NULL;
}

static struct quota *add(struct directory *d, struct span account)
{
        struct quota *q;

        if (account.len >= USERS_ADDRESS_MAX)
                return NULL;
        if (d->quotas.count >= ACCOUNTS_MAX) {
                q = LIST_OBJECT(d->quota_ages.next, struct quota, age);
                table_remove(&d->quotas, &q->by_account);
                list_remove(&q->age);
                free(q);
        }
        q = calloc(1, sizeof *q);
        if (!q || table_add(&d->quotas, &q->by_account, hash_span(account, hash_seed())) < 0) {
                free(q);
                return NULL;
        }
        memcpy(q->account, account.p, account.len);
        return q;
}

static void roll(struct quota *q, uint64_t now_us)
{
        const uint64_t hour = now_us / HOUR_US, day = hour / HOURS_A_DAY;

        if (q->hour != hour) {
                q->hour = hour;
                q->in_hour = 0;
                q->was_said = false;
        }
        if (q->day != day) {
                q->day = day;
                q->in_day = 0;
                q->was_told = false;
        }
}

/* NULL: granted, and counted. */
static const char *judge(const struct config *c, struct quota *q, uint32_t recipients,
                         bool *ret_is_of_day)
{
        const uint64_t hour_max = c->auth.recipients_per_hour;
        const uint64_t day_max = c->auth.recipients_per_day;

        if (hour_max && q->in_hour + recipients > hour_max)
                return "Too many recipients in one hour, try again later";
        *ret_is_of_day = day_max && q->in_day + recipients > day_max;
        if (*ret_is_of_day)
                return "Too many recipients in one day, try again tomorrow";
        q->in_hour += recipients;
        q->in_day += recipients;
        return NULL;
}

void directory_quota_ask(struct channel *ch, void *arg, const union ipc_message *m, int *fd)
{
        const struct ipc_quota_ask *ask = &m->quota_ask;
        struct directory *d = ((struct asker *) arg)->directory;
        struct quota *q = find(d, ask->account);
        const char *why = NULL;
        bool is_news = false, is_of_day = false;

        (void) fd;
        if (!q && (q = add(d, ask->account)))
                list_append(&d->quota_ages, &q->age);
        if (q) {
                list_remove(&q->age);
                list_append(&d->quota_ages, &q->age);
                roll(q, clock_now_us());
                why = judge(d->process->config, q, ask->recipients, &is_of_day);
                is_news = why && !q->was_told;
                q->was_told = q->was_told || why;
        }
        if (q && why && !q->was_said) {
                q->was_said = true;
                log_event(LOG_WARNING, "account_over_quota", LOG_SPAN("account", ask->account),
                          LOG_U64("in_hour", q->in_hour), LOG_U64("in_day", q->in_day),
                          LOG_TEXT("text", why));
        }
        CHANNEL_SEND(ch, quota_answer, -1, .query = ask->query, .is_granted = !why,
                     .is_news = is_news, .is_of_day = is_of_day,
                     .text = span_from_string(why ? why : ""));
}
