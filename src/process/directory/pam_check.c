#include "process/directory/pam_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <seccomp.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "auth/password.h"

struct question {
        uint64_t id;
        char name[PAM_CHECK_NAME_MAX];
        char password[PASSWORD_OCTETS_MAX + 1];
};

struct reply {
        uint64_t id;
        int result; /* 0 or a negative errno */
};

struct pam_check {
        pthread_mutex_t mutex;
        pthread_cond_t freed;
        uint64_t last_id;
        unsigned left; /* children that answer */
        struct {
                int fd; /* -1: gone */
                bool is_busy;
        } children[PAM_CHECK_CHILDREN_MAX];
        unsigned count;
};

/* ---- the child ---- */

/* Loaded by who needs it: the other processes do without its memory. */
struct pam_calls {
        int (*start)(const char *, const char *, const struct pam_conv *, pam_handle_t **);
        int (*end)(pam_handle_t *, int);
        int (*authenticate)(pam_handle_t *, int);
        int (*acct_mgmt)(pam_handle_t *, int);
        int (*set_item)(pam_handle_t *, int, const void *);
};

static bool load_call(void *library, const char *name, void *ret_call)
{
        void *found = dlsym(library, name);

        memcpy(ret_call, &found, sizeof found); /* ISO C has no cast from data to function */
        return found;
}

static bool load(struct pam_calls *c)
{
        void *library = dlopen("libpam.so.0", RTLD_NOW);

        return library && load_call(library, "pam_start", &c->start) &&
               load_call(library, "pam_end", &c->end) &&
               load_call(library, "pam_authenticate", &c->authenticate) &&
               load_call(library, "pam_acct_mgmt", &c->acct_mgmt) &&
               load_call(library, "pam_set_item", &c->set_item);
}

static void free_answers(struct pam_response *answers, int count)
{
        for (int i = 0; i < count; i++) {
                if (answers[i].resp)
                        explicit_bzero(answers[i].resp, strlen(answers[i].resp));
                free(answers[i].resp);
        }
        free(answers);
}

/* Whatever is asked for without being shown is the password. */
static int converse(int count, const struct pam_message **messages, struct pam_response **ret,
                    void *arg)
{
        const struct question *q = arg;
        struct pam_response *answers;

        if (count <= 0 || count > PAM_MAX_NUM_MSG)
                return PAM_CONV_ERR;
        answers = calloc((size_t) count, sizeof *answers);
        if (!answers)
                return PAM_BUF_ERR;
        for (int i = 0; i < count; i++) {
                const int style = messages[i]->msg_style;

                if (style != PAM_PROMPT_ECHO_OFF && style != PAM_PROMPT_ECHO_ON)
                        continue;
                answers[i].resp = strdup(style == PAM_PROMPT_ECHO_OFF ? q->password : q->name);
                if (!answers[i].resp) {
                        free_answers(answers, count);
                        return PAM_BUF_ERR;
                }
        }
        *ret = answers;
        return PAM_SUCCESS;
}

/* Guessing is slowed down elsewhere (auth/throttle.h), without holding anybody up. */
static void no_delay(int result, unsigned us, void *arg)
{
        (void) result;
        (void) us;
        (void) arg;
}

static int ask(const struct pam_calls *c, const char *service, struct question *q)
{
        const struct pam_conv conversation = {converse, q};
        void (*delay)(int, unsigned, void *) = no_delay;
        const void *item;
        pam_handle_t *handle = NULL;
        int r = c->start(service, q->name, &conversation, &handle);

        if (r == PAM_SUCCESS) {
                memcpy(&item, &delay, sizeof item);
                (void) c->set_item(handle, PAM_FAIL_DELAY, item);
                r = c->authenticate(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
                if (r == PAM_SUCCESS)
                        r = c->acct_mgmt(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
                c->end(handle, r);
        }
        switch (r) {
        case PAM_SUCCESS:
                return 0;
        case PAM_SYSTEM_ERR:
        case PAM_SERVICE_ERR:
        case PAM_BUF_ERR:
        case PAM_OPEN_ERR:
        case PAM_SYMBOL_ERR:
        case PAM_ABORT:
        case PAM_AUTHINFO_UNAVAIL:
                return -EIO;
        default:
                return -EACCES;
        }
}

/* What a module never needs, and whoever took one over would want. */
static void confine(void)
{
        static const int calls[] = {
                SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
                SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(setns),
                SCMP_SYS(unshare), SCMP_SYS(init_module), SCMP_SYS(finit_module),
                SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(bpf), SCMP_SYS(reboot),
                SCMP_SYS(perf_event_open), SCMP_SYS(swapon), SCMP_SYS(mknod), SCMP_SYS(mknodat),
                SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4),
        };
        static const int families[] = {AF_INET, AF_INET6, AF_PACKET};
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        bool is_good = filter != NULL;

        for (size_t i = 0; is_good && i < sizeof calls / sizeof calls[0]; i++)
                is_good = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0) == 0;
        for (size_t i = 0; is_good && i < sizeof families / sizeof families[0]; i++)
                is_good = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1,
                                           SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) families[i])) == 0;
        if (!is_good || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_load(filter) < 0)
                _exit(1);
        seccomp_release(filter);
}

/* Standard error stays: what modules say goes into the log. */
static _Noreturn void serve(int fd, const char *service)
{
        const struct rlimit none = {0, 0};
        struct pam_calls calls = {0};
        struct question q;

        prctl(PR_SET_NAME, "hayauma-pam");
        signal(SIGTERM, SIG_DFL);
        setrlimit(RLIMIT_CORE, &none);
        if (dup2(fd, 3) < 0 || close_range(4, ~0U, 0) < 0 || !load(&calls))
                _exit(1);
        if (getuid() == 0) /* others need unix_chkpwd, which is set-gid */
                confine();
        for (;;) {
                struct reply reply = {0};

                if (recv(3, &q, sizeof q, 0) != sizeof q)
                        _exit(0); /* the directory is gone */
                q.name[sizeof q.name - 1] = q.password[sizeof q.password - 1] = '\0';
                reply.id = q.id;
                reply.result = ask(&calls, service, &q);
                explicit_bzero(&q, sizeof q);
                if (send(3, &reply, sizeof reply, MSG_NOSIGNAL) < 0)
                        _exit(0);
        }
}

/* ---- the directory's side ---- */

static int start_child(struct pam_check *p, const char *service)
{
        const struct timeval patience = {.tv_sec = PAM_CHECK_PATIENCE_S};
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        pid = fork();
        if (pid == 0)
                serve(pair[1], service);
        close(pair[1]);
        if (pid < 0) {
                close(pair[0]);
                return -errno;
        }
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        p->children[p->count++].fd = pair[0];
        p->left++;
        return 0;
}

int pam_check_new(struct span service, unsigned children, struct pam_check **ret_p)
{
        struct pam_check *p = calloc(1, sizeof *p);
        char name[PAM_CHECK_NAME_MAX];
        int r = 0;

        if (!p)
                return -ENOMEM;
        snprintf(name, sizeof name, "%.*s", (int) service.len, service.p);
        pthread_mutex_init(&p->mutex, NULL);
        pthread_cond_init(&p->freed, NULL);
        for (unsigned i = 0; i < children && i < PAM_CHECK_CHILDREN_MAX && r == 0; i++)
                r = start_child(p, name);
        if (p->count == 0) {
                free(p);
                return r < 0 ? r : -EINVAL;
        }
        *ret_p = p;
        return 0;
}

/* One that is free, for the caller alone; SIZE_MAX: none is left. */
static size_t take_child(struct pam_check *p, uint64_t *ret_id)
{
        size_t found = SIZE_MAX;

        pthread_mutex_lock(&p->mutex);
        while (p->left && found == SIZE_MAX) {
                for (size_t i = 0; i < p->count && found == SIZE_MAX; i++)
                        if (p->children[i].fd >= 0 && !p->children[i].is_busy)
                                found = i;
                if (found == SIZE_MAX)
                        pthread_cond_wait(&p->freed, &p->mutex);
        }
        if (found != SIZE_MAX)
                p->children[found].is_busy = true;
        *ret_id = ++p->last_id;
        pthread_mutex_unlock(&p->mutex);
        return found;
}

static void give_back(struct pam_check *p, size_t i, bool is_gone)
{
        pthread_mutex_lock(&p->mutex);
        p->children[i].is_busy = false;
        if (is_gone) {
                close(p->children[i].fd);
                p->children[i].fd = -1;
                p->left--;
        }
        pthread_cond_broadcast(&p->freed);
        pthread_mutex_unlock(&p->mutex);
}

int pam_check_verify(struct pam_check *p, struct span name, struct span password)
{
        struct question q = {0};
        struct reply reply = {0};
        ssize_t n = -1;
        size_t i;

        if (name.len == 0 || name.len >= sizeof q.name || password.len == 0 ||
            password.len >= sizeof q.password || memchr(password.p, 0, password.len))
                return -EACCES;
        i = take_child(p, &q.id);
        if (i == SIZE_MAX)
                return -EIO;
        memcpy(q.name, name.p, name.len);
        memcpy(q.password, password.p, password.len);
        if (send(p->children[i].fd, &q, sizeof q, MSG_NOSIGNAL) == sizeof q) {
                do /* answers to who was not patient enough come first */
                        n = recv(p->children[i].fd, &reply, sizeof reply, 0);
                while (n == sizeof reply && reply.id != q.id);
        }
        explicit_bzero(&q, sizeof q);
        give_back(p, i, n != sizeof reply && !(n < 0 && errno == EAGAIN));
        return n == sizeof reply ? reply.result : -EIO;
}

bool pam_check_is_lost(struct pam_check *p)
{
        bool is_lost;

        pthread_mutex_lock(&p->mutex);
        is_lost = p->left == 0;
        pthread_mutex_unlock(&p->mutex);
        return is_lost;
}
