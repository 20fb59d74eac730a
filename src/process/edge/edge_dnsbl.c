#include "process/edge/edge_dnsbl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/edge/edge.h"
#include "process/edge/edge_checks.h"

enum {
        TEST_AGAIN_MS = 10 * 60 * 1000,
        TEST_SOON_MS = 60 * 1000, /* of one that is not in order */
        DOWN_MS = 30 * 1000,      /* then it is asked again */
        OUTAGES_MAX = 3,          /* one after the other: it is down */
        TOLD_MINUTES = 1,         /* what others are told holds so long */
        OWN_WORD_MS = 3 * 60 * 1000,
        KIND_ROOM = 300,
};

static const unsigned char test_points[2][16] = {
        {[10] = 0xff, [11] = 0xff, 127, 0, 0, 2}, /* must be listed */
        {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1}, /* must not */
};

static uint64_t now_ms(const struct edge_dnsbl *l)
{
        return loop_now_ms(l->edge->process->loop);
}

const struct config_dnsbl *edge_dnsbl_config(const struct edge_dnsbl *l)
{
        const struct config_dnsbls *all = &l->edge->process->config->dnsbl;

        for (size_t i = 0; i < all->count; i++)
                if (span_equal_nocase(all->items[i].zone, edge_dnsbl_zone(l)))
                        return &all->items[i];
        return NULL;
}

/* ---- its state ---- */

/* The permission, of no address, that stands for "this list is OFF" or DOWN. */
static uint64_t told_key(const struct edge_dnsbl *l, enum edge_dnsbl_state state)
{
        static const unsigned char nobody[16];
        char kind[KIND_ROOM];
        const int len = snprintf(kind, sizeof kind, "dnsbl %d %s", (int) state, l->zone);

        return meters_permission(&l->edge->meters, nobody,
                                 span_make(kind, len < KIND_ROOM ? (size_t) len : KIND_ROOM - 1));
}

static void tell_others(const struct edge_dnsbl *l)
{
        if (l->state == EDGE_DNSBL_OFF || l->state == EDGE_DNSBL_DOWN)
                meters_permit(&l->edge->meters, told_key(l, l->state), TOLD_MINUTES,
                              clock_now_us());
}

static void set_state(struct edge_dnsbl *l, enum edge_dnsbl_state state, const char *reason)
{
        static const char *const events[] = {
                [EDGE_DNSBL_UNKNOWN] = "dnsbl_unknown",
                [EDGE_DNSBL_GOOD] = "dnsbl_in_order",
                [EDGE_DNSBL_DOWN] = "dnsbl_does_not_answer",
                [EDGE_DNSBL_OFF] = "dnsbl_switched_off",
        };
        const bool is_news = l->state != state;

        if (state == EDGE_DNSBL_GOOD)
                l->own_until_ms = now_ms(l) + OWN_WORD_MS;
        snprintf(l->reason, sizeof l->reason, "%s", reason);
        l->state = state;
        if (state != EDGE_DNSBL_GOOD)
                l->test_at_ms = now_ms(l) + (state == EDGE_DNSBL_DOWN ? DOWN_MS : TEST_SOON_MS);
        if (is_news)
                log_event(state == EDGE_DNSBL_GOOD ? LOG_NOTICE : LOG_WARNING, events[state],
                          LOG_SPAN("zone", edge_dnsbl_zone(l)), LOG_TEXT("reason", reason));
}

static void believe_others(struct edge_dnsbl *l)
{
        static const enum edge_dnsbl_state states[] = {EDGE_DNSBL_OFF, EDGE_DNSBL_DOWN};

        if (l->state == EDGE_DNSBL_OFF || l->state == EDGE_DNSBL_DOWN ||
            now_ms(l) < l->own_until_ms || l->tests[0] || l->tests[1])
                return;
        for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
                if (meters_is_permitted(&l->edge->meters, told_key(l, states[i]),
                                        clock_now_us())) {
                        set_state(l, states[i], "another edge found it so");
                        return;
                }
}

static void switch_off(struct edge_dnsbl *l, const unsigned char address[4], const char *what)
{
        char reason[sizeof l->reason];

        snprintf(reason, sizeof reason, "it answers %u.%u.%u.%u: %s", address[0], address[1],
                 address[2], address[3], what);
        set_state(l, EDGE_DNSBL_OFF, reason);
        tell_others(l);
}

static void note_outage(struct edge_dnsbl *l, enum dns_status status)
{
        char reason[64];

        if (++l->outages < OUTAGES_MAX || l->state == EDGE_DNSBL_OFF)
                return;
        snprintf(reason, sizeof reason, "DNS says %s", dns_status_name(status));
        set_state(l, EDGE_DNSBL_DOWN, reason);
        tell_others(l);
}

static enum dnsbl_answer worst(const struct config_dnsbl *d, struct ipc_items records,
                               unsigned char ret_address[4])
{
        enum dnsbl_answer worst = DNSBL_UNLISTED;
        struct reader items = ipc_items_read(records);
        struct ipc_dns_record record;

        while (ipc_next_dns_record(&items, &record)) {
                const unsigned char *octets = (const unsigned char *) record.rdata.p;
                enum dnsbl_answer answer;

                if (record.rdata.len != 4)
                        continue;
                answer = dnsbl_judge(d, octets);
                if (answer == DNSBL_UNWANTED ? worst == DNSBL_UNLISTED
                                             : worst == DNSBL_UNWANTED || answer > worst) {
                        worst = answer;
                        memcpy(ret_address, octets, 4);
                }
        }
        return worst;
}

int edge_dnsbl_learn(struct edge_dnsbl *l, const struct edge_dns_answer *answer,
                     enum dnsbl_answer *ret_answer, unsigned char ret_address[4])
{
        static const struct config_dnsbl none = {.zone = SPAN("")};
        const struct config_dnsbl *d = edge_dnsbl_config(l);

        if (dns_status_is_temporary(answer->status)) {
                note_outage(l, answer->status);
                return -EAGAIN;
        }
        l->outages = 0;
        if (l->state == EDGE_DNSBL_DOWN)
                set_state(l, EDGE_DNSBL_GOOD, "it answers again");
        memset(ret_address, 0, 4);
        *ret_answer = worst(d ? d : &none, answer->records, ret_address);
        if (*ret_answer == DNSBL_REFUSING)
                switch_off(l, ret_address, "it refuses our questions");
        else if (*ret_answer == DNSBL_STRANGE)
                switch_off(l, ret_address, "that is no answer of a list");
        return 0;
}

/* ---- its tests ---- */

static void tested(struct edge_dnsbl *l)
{
        if (l->tests[0] || l->tests[1])
                return;
        if (l->test_outages == 2) {
                set_state(l, l->state == EDGE_DNSBL_OFF ? EDGE_DNSBL_OFF : EDGE_DNSBL_DOWN,
                          "its test points could not be looked up");
                tell_others(l);
        } else if (l->state == EDGE_DNSBL_UNKNOWN)
                set_state(l, EDGE_DNSBL_GOOD, "tested");
        else if (l->state == EDGE_DNSBL_OFF && !l->is_test_bad && l->test_outages == 0)
                set_state(l, EDGE_DNSBL_GOOD, "its test points are in order again");
        edge_checks_list_tested(l->edge);
}

/* 0, or -EAGAIN: no answer. */
static int learn_test(struct edge_dnsbl *l, const struct edge_dns_answer *answer,
                      enum dnsbl_answer *ret_meaning, unsigned char ret_address[4])
{
        const int r = edge_dnsbl_learn(l, answer, ret_meaning, ret_address);

        l->test_outages += r < 0;
        l->is_test_bad |= r == 0 && *ret_meaning >= DNSBL_REFUSING;
        return r;
}

/* The first test says that the list works at all: lists without it are known,
 * so this is a warning and no more. */
static void on_listed_test(void *arg, const struct edge_dns_answer *answer)
{
        struct edge_dnsbl *l = arg;
        enum dnsbl_answer meaning;
        unsigned char address[4];

        l->tests[0] = NULL;
        if (learn_test(l, answer, &meaning, address) == 0) {
                if (meaning == DNSBL_UNLISTED && !l->lists_nothing)
                        log_event(LOG_WARNING, "dnsbl_lists_nothing",
                                  LOG_SPAN("zone", edge_dnsbl_zone(l)),
                                  LOG_TEXT("reason", "its test point 127.0.0.2 is not listed: is "
                                                     "the zone right?"));
                l->lists_nothing = meaning == DNSBL_UNLISTED;
        }
        tested(l);
}

static void on_unlisted_test(void *arg, const struct edge_dns_answer *answer)
{
        struct edge_dnsbl *l = arg;
        enum dnsbl_answer meaning;
        unsigned char address[4];

        l->tests[1] = NULL;
        if (learn_test(l, answer, &meaning, address) == 0 &&
            (meaning == DNSBL_LISTED || meaning == DNSBL_UNWANTED)) {
                l->is_test_bad = true;
                switch_off(l, address, "it lists 127.0.0.1, so it lists everything");
        }
        tested(l);
}

static void test(struct edge_dnsbl *l)
{
        static edge_dns_fn *const on_test[2] = {on_listed_test, on_unlisted_test};
        char name[DNSBL_NAME_ROOM];
        size_t len;

        if (l->tests[0] || l->tests[1] || now_ms(l) < l->test_at_ms)
                return;
        l->test_at_ms = now_ms(l) + TEST_AGAIN_MS;
        l->test_outages = 0;
        l->is_test_bad = false;
        for (size_t i = 0; i < 2; i++)
                if (!dnsbl_name(test_points[i], edge_dnsbl_zone(l), name, &len) ||
                    edge_dns_ask(&l->edge->dns,
                                 &(struct edge_dns_query) {span_make(name, len), DNS_TYPE_A,
                                                           EDGE_DNSBL_MS, on_test[i], l},
                                 &l->tests[i]) < 0)
                        l->tests[i] = NULL;
        if (!l->tests[0] && !l->tests[1] && l->state == EDGE_DNSBL_UNKNOWN)
                l->state = EDGE_DNSBL_GOOD; /* no resolver: its own question will fail too */
}

/* ---- all of them ---- */

struct edge_dnsbl *edge_dnsbl_get(struct edge *e, struct span zone)
{
        struct edge_dnsbl *l = NULL;

        LIST_FOR_EACH(node, &e->dnsbls)
                if (span_equal_nocase(
                            edge_dnsbl_zone(LIST_OBJECT(node, struct edge_dnsbl, node)), zone))
                        l = LIST_OBJECT(node, struct edge_dnsbl, node);
        if (!l) {
                l = calloc(1, sizeof *l + zone.len + 1);
                if (!l)
                        return NULL;
                l->edge = e;
                l->zone_len = zone.len;
                memcpy(l->zone, zone.p, zone.len);
                list_append(&e->dnsbls, &l->node);
        }
        believe_others(l);
        test(l);
        return l;
}

void edge_dnsbl_free_all(struct edge *e)
{
        struct list_node *node;

        while ((node = list_take_first(&e->dnsbls))) {
                struct edge_dnsbl *l = LIST_OBJECT(node, struct edge_dnsbl, node);

                edge_dns_cancel(l->tests[0]);
                edge_dns_cancel(l->tests[1]);
                free(l);
        }
}

static void add(struct buffer *items, struct ipc_items *ret, const char *what,
                const struct edge_dnsbl *l, uint64_t value)
{
        char name[65];

        snprintf(name, sizeof name, "dnsbl_%s_%s", what, l->zone);
        (void) ipc_add_metric(items, ret, &(struct ipc_metric) {.name = span_from_string(name),
                                                                .value = value});
}

void edge_dnsbl_status(const struct edge *e, struct buffer *items, struct ipc_items *ret)
{
        LIST_FOR_EACH(node, &e->dnsbls) {
                const struct edge_dnsbl *l = LIST_OBJECT(node, struct edge_dnsbl, node);

                if (!edge_dnsbl_config(l))
                        continue;
                add(items, ret, "asked", l, l->asked);
                add(items, ret, "listed", l, l->listed);
                if (l->state == EDGE_DNSBL_OFF)
                        add(items, ret, "off", l, 1);
                if (l->state == EDGE_DNSBL_DOWN)
                        add(items, ret, "down", l, 1);
        }
}
