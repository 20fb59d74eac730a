#include "config/config_check.h"

#include <stdlib.h>
#include <string.h>

#include "config/options.h"

struct check {
        const struct config *c;
        const struct syntax_setting *settings;
        struct syntax_errors *errors;
        struct arena *arena;
};

/* The line an option is set in; 0 when it is not. */
static unsigned line_of(const struct check *k, const char *option)
{
        return k->settings[option_find(span_from_string(option)) - options].line;
}

#define WRONG(k, option, ...)                                                                      \
        syntax_error_add((k)->errors, (k)->arena, line_of((k), (option)), __VA_ARGS__)

static void check_identity(const struct check *k)
{
        const struct config *c = k->c;
        enum { RUN_DIR_MAX = 90 };

        if (!k->settings[option_find(SPAN_LITERAL("hostname")) - options].is_set)
                WRONG(k, "hostname", "hostname is not set; write hostname = \"mx1.example.jp\" "
                                     "with "
                      "the full name of this machine");
        if (c->run_dir.len > RUN_DIR_MAX)
                WRONG(k, "run_dir", "run_dir: the path may have at most %d octets; choose a "
                                    "shorter "
                      "one", RUN_DIR_MAX);
}

static void check_role(const struct check *k)
{
        const struct config *c = k->c;
        const bool has_route = c->relay_domains.count || c->smart_host.len || c->local_relay.len ||
                               c->tables.mailertable.len;

        switch (c->role) {
        case ROLE_MAILBOX:
                if (c->domains.count == 0)
                        WRONG(k, "domains", "domains is empty, so this mailbox server would take "
                              "mail for nobody; write domains = { \"example.jp\" }");
                break;
        case ROLE_GATEWAY:
        case ROLE_RELAY:
                if (!has_route && c->domains.count == 0)
                        WRONG(k, "relay_domains", "role %s has nowhere to pass mail on to; set "
                              "relay_domains, smart_host or local_relay", role_name(c->role));
                break;
        case ROLE_BACKUP_MX:
                if (c->relay_domains.count == 0)
                        WRONG(k, "relay_domains", "relay_domains is empty; name the domains this "
                              "machine is the backup MX of");
                break;
        case ROLE_FALLBACK:
                if (c->relay_networks.count == 0)
                        WRONG(k, "relay_networks", "relay_networks is empty; name the servers "
                                                   "whose "
                              "mail this fallback takes");
                break;
        }
}

static bool same_place(const struct config_listen *a, const struct config_listen *b)
{
        return a->is_unix == b->is_unix && a->port == b->port && span_equal(a->host, b->host);
}

/* A port that is open and answers nobody would be worse than this message. */
static bool is_served(enum listen_protocol protocol)
{
        return protocol != LISTEN_HTTP;
}

static void check_listen(const struct check *k)
{
        const struct config_listens *l = &k->c->listen;

        if (l->count == 0)
                WRONG(k, "listen", "listen is empty, so no mail could come in; write listen = { "
                      "\"smtp://*:25\" }");
        for (size_t i = 0; i < l->count; i++) {
                const struct config_listen *item = &l->items[i];

                if (!is_served(item->protocol))
                        WRONG(k, "listen", "listen: \"%.*s\": this version does not serve %s; take "
                              "it out", (int) item->text.len, item->text.p,
                              listen_protocol_name(item->protocol));
                else if (listen_protocol_is_tls(item->protocol) && !k->c->tls.certificate.len)
                        WRONG(k, "listen", "listen: \"%.*s\" begins with TLS; set tls.certificate, "
                              "or take it out", (int) item->text.len, item->text.p);
                for (size_t j = 0; j < i; j++)
                        if (same_place(item, &l->items[j]))
                                WRONG(k, "listen", "listen: \"%.*s\" and \"%.*s\" are the same "
                                      "place; take one out", (int) l->items[j].text.len,
                                      l->items[j].text.p, (int) item->text.len, item->text.p);
        }
}

/* One domain and which option names it: sorted, doubles stand side by side. */
struct named {
        struct span domain;
        const char *option;
};

static int compare_named(const void *a, const void *b)
{
        const struct named *left = a, *right = b;
        const size_t len = left->domain.len < right->domain.len ? left->domain.len
                                                                : right->domain.len;
        const int order = len ? memcmp(left->domain.p, right->domain.p, len) : 0;

        if (order)
                return order;
        if (left->domain.len != right->domain.len)
                return left->domain.len < right->domain.len ? -1 : 1;
        return strcmp(left->option, right->option); /* domains before relay_domains */
}

static void check_domains(const struct check *k)
{
        const struct config_list *lists[] = {&k->c->domains, &k->c->relay_domains};
        static const char *const names[] = {"domains", "relay_domains"};
        const size_t count = lists[0]->count + lists[1]->count;
        struct named *all = arena_alloc(k->arena, (count + 1) * sizeof *all);
        size_t n = 0;

        if (!all) {
                WRONG(k, "domains", "domains: there is not enough memory to compare them");
                return;
        }
        for (size_t l = 0; l < 2; l++)
                for (size_t i = 0; i < lists[l]->count; i++)
                        all[n++] = (struct named) {lists[l]->items[i], names[l]};
        qsort(all, count, sizeof *all, compare_named);
        for (size_t i = 1; i < count; i++) {
                const struct span domain = all[i].domain;

                if (!span_equal(domain, all[i - 1].domain))
                        continue;
                if (all[i].option == all[i - 1].option)
                        WRONG(k, all[i].option, "%s: \"%.*s\" is named twice; remove one",
                              all[i].option, (int) domain.len, domain.p);
                else
                        WRONG(k, all[i].option, "relay_domains: \"%.*s\" is in domains too; a "
                              "domain is either delivered here or passed on", (int) domain.len,
                              domain.p);
        }
}

static void check_masquerade(const struct check *k)
{
        const struct config *c = k->c;

        if (c->masquerade.as.len)
                return;
        if (c->masquerade.domains.count)
                WRONG(k, "masquerade.domains", "masquerade.domains is set without masquerade.as, "
                      "so there is nothing to show instead; set both");
        if (c->masquerade.envelope && !c->tables.genericstable.len)
                WRONG(k, "masquerade.envelope", "masquerade.envelope is set without masquerade.as "
                      "or a genericstable, so it changes nothing; set one of them");
}

static void check_tls(const struct check *k)
{
        if (k->c->tls.key.len && !k->c->tls.certificate.len)
                WRONG(k, "tls.key", "tls.key is set without tls.certificate; set both");
        if (k->c->tls.more_certificates.count && !k->c->tls.certificate.len)
                WRONG(k, "tls.more_certificates", "tls.more_certificates is set without "
                      "tls.certificate, which clients get that ask for no name; set it");
}

static void check_queue(const struct check *k)
{
        const struct config *c = k->c;

        if (c->queue.retry_min_ms > c->queue.retry_max_ms)
                WRONG(k, "queue.retry_min", "queue.retry_min is more than queue.retry_max; make it "
                      "less");
        if (c->queue.warn_after_ms && c->queue.warn_after_ms >= c->queue.lifetime_ms)
                WRONG(k, "queue.warn_after", "queue.warn_after is not before the end of "
                      "queue.lifetime; make it less, or 0 for no warning");
        if (c->limits.message_size && c->limits.header_size > c->limits.message_size)
                WRONG(k, "limits.header_size", "limits.header_size is more than "
                      "limits.message_size; make it less");
}

void config_check(const struct config *c, const struct syntax_setting *settings,
                  struct syntax_errors *errors, struct arena *arena)
{
        const struct check k = {.c = c, .settings = settings, .errors = errors, .arena = arena};

        if (errors->count)
                return; /* what could not be read would seem to be missing */
        check_identity(&k);
        check_role(&k);
        check_listen(&k);
        check_domains(&k);
        check_masquerade(&k);
        check_tls(&k);
        check_queue(&k);
}
