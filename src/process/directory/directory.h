/* What the files of the directory process share: one struct of the whole
 * process.
 *
 *   directory.c            the role: start, peers, users file, status
 *   directory_login.c      logins of clients: SASL, passwords, throttling
 *   directory_quota.c      recipients an hour and a day of each account
 *   directory_relay.c      logins of ours to other servers
 *   checks.c               the threads that compare passwords
 *   pam_check.c            local accounts: children that ask PAM */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "auth/password.h"
#include "auth/password_cache.h"
#include "auth/relay_logins.h"
#include "auth/sasl.h"
#include "auth/sasl_client.h"
#include "auth/throttle.h"
#include "auth/users.h"
#include "base/list.h"
#include "base/table.h"
#include "process/directory/checks.h"
#include "process/directory/pam_check.h"
#include "process/process.h"

struct directory;

/* A process that asks. */
struct asker {
        struct list_node node;
        struct directory *directory;
        enum process_kind kind;
        unsigned number;
        struct channel *channel;
        struct list_node logins; /* struct login */
        size_t login_count;
        struct list_node relay_logins; /* struct relay_exchange */
        size_t relay_login_count;
};

struct directory_counters {
        uint64_t granted, refused, malformed, turned_away, from_cache, checked;
};

struct directory {
        struct process *process;
        struct list_node askers;
        size_t asker_count;
        struct users *users; /* never NULL once it runs */
        int users_fd;        /* of the start, not read yet; else -1 */
        bool is_loading;
        int next_users_fd;   /* came while another was being read; else -1 */
        struct sasl_engine *sasl;
        struct sasl_client_engine *sasl_client;
        struct relay_logins *relay_logins; /* NULL: none were read yet */
        struct password_cache *cache;
        struct throttle *throttle;
        struct checks *checks;
        struct pam_check *pam; /* NULL: PAM is not asked */
        unsigned threads;
        struct table logins; /* by asker and number */
        struct table quotas; /* by account */
        struct list_node quota_ages;
        char false_hash[PASSWORD_HASH_MAX]; /* what accounts there are not are compared with */
        struct directory_counters counters;
};

/* The account that logs in by this name: an address of it, or its local part
 * alone in the first of our domains. NULL: none, or it is disabled. */
const struct users_account *directory_find(struct directory *d, struct span login_name);

/* directory_login.c */
void directory_login_start(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void directory_login_step(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void directory_login_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
/* The asker goes away: so do its logins. */
void directory_login_forget(struct asker *a);

/* directory_relay.c */
void directory_relay_read(struct directory *d, int fd); /* takes `fd` over */
void directory_relay_tell(struct asker *a);
void directory_relay_start(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void directory_relay_step(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void directory_relay_cancel(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
void directory_relay_forget(struct asker *a);

/* directory_quota.c */
void directory_quota_ask(struct channel *ch, void *arg, const union ipc_message *m, int *fd);
