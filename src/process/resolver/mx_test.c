/* The resolver against a real name server (nsd on loopback), plain and with
 * DNSSEC, also under the confinement that it has in the resolver process.
 * Skipped where nsd is not installed. */
#include "process/resolver/mx.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"
#include "process/confine.h"

#define NO_ANCHOR "/dev/null" /* switches validation off */

enum { ANSWER_MAX_MS = 120 * 1000 };

static const char zone[] =
        "$ORIGIN example.net.\n$TTL 300\n"
        "@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n"
        "@ MX 20 mx2\n@ MX 10 mx1\n@ A 192.0.2.9\n"
        "mx1 A 192.0.2.1\nmx1 A 192.0.2.2\nmx1 AAAA 2001:db8::1\nmx2 A 192.0.2.3\n"
        "implicit A 192.0.2.4\nnull MX 0 .\nnodata TXT \"text\"\n"
        "noaddress MX 10 missing\nhalf MX 10 missing\nhalf MX 20 mx2\n"
        "alias CNAME example.net.\nstrange MX 10 a\\032b\n"
        "loop MX 10 localhost.\n";

static char folder[64]; /* empty: there is none */
static pid_t nsd;
static uint16_t port;

/* ---- the name server ---- */

static void write_file(const char *name, const char *text)
{
        FILE *f = fopen(name, "w");

        assert_non_null(f);
        fputs(text, f);
        fclose(f);
}

static uint16_t free_port(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t size = sizeof a;
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *) &a, sizeof a), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &a, &size), 0);
        close(fd);
        return ntohs(a.sin_port);
}

/* A question for the SOA of example.net, as octets. */
static bool server_answers(void)
{
        static const char question[] = "\1\1\0\0\0\1\0\0\0\0\0\0\7example\3net\0\0\6\0\1";
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        char answer[512];
        bool good = connect(fd, (struct sockaddr *) &a, sizeof a) == 0 &&
                    send(fd, question, sizeof question - 1, 0) > 0 && poll(&p, 1, 100) == 1 &&
                    recv(fd, answer, sizeof answer, 0) > 12 && (answer[3] & 0xf) == 0;

        close(fd);
        return good;
}

static void run_in_folder(const char *command)
{
        char cd[80];
        int status;
        pid_t pid;

        assert_int_equal(chdir(folder), 0);
        pid = fork();
        if (pid == 0) {
                execl("/bin/sh", "sh", "-ec", command, (char *) NULL);
                _exit(127);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        snprintf(cd, sizeof cd, "in %s", folder);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, cd);
}

/* False: it ended, since somebody else took the port meanwhile. */
static bool try_server(const char *zone_file)
{
        char text[1024];

        port = free_port();
        snprintf(text, sizeof text,
                 "server:\n ip-address: 127.0.0.1@%u\n rrl-ratelimit: 0\n username: \"\"\n"
                 " chroot: \"\"\n zonesdir: \"%s\"\n pidfile: \"%s/nsd.pid\"\n database: \"\"\n"
                 " xfrdfile: \"%s/xfrd.state\"\n zonelistfile: \"%s/zone.list\"\n xfrdir: \"%s\"\n"
                 " logfile: \"%s/nsd.log\"\n server-count: 1\n"
                 "remote-control:\n control-enable: no\n"
                 "zone:\n name: example.net\n zonefile: %s\n",
                 port, folder, folder, folder, folder, folder, folder, zone_file);
        assert_int_equal(chdir(folder), 0);
        write_file("nsd.conf", text);
        nsd = fork();
        if (nsd == 0) {
                setpgid(0, 0);
                prctl(PR_SET_PDEATHSIG, SIGTERM); /* also when a check fails */
                execl("/usr/sbin/nsd", "nsd", "-d", "-c", "nsd.conf", (char *) NULL);
                _exit(127);
        }
        setpgid(nsd, nsd);
        for (int i = 0; i < 2400; i++) { /* until it answers, for two minutes */
                if (server_answers())
                        return true;
                if (waitpid(nsd, NULL, WNOHANG) == nsd)
                        return false;
                poll(NULL, 0, 50);
        }
        fail_msg("nsd does not answer");
        return false;
}

static void start_server(const char *zone_file)
{
        for (int i = 0; i < 5; i++)
                if (try_server(zone_file))
                        return;
        fail_msg("nsd does not start");
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
        (void) st;
        (void) kind;
        (void) where;
        return remove(path);
}

/* After each test, and after one that failed too: stops the server, removes
 * the folder. */
static int clean_up(void **state)
{
        (void) state;
        if (nsd > 0) {
                kill(-nsd, SIGTERM); /* nsd's own processes are in its group */
                waitpid(nsd, NULL, 0);
                nsd = 0;
        }
        if (!folder[0])
                return 0;
        if (chdir("/") < 0 || nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) < 0)
                return -1;
        folder[0] = '\0';
        return 0;
}

static bool make_folder(void)
{
        if (access("/usr/sbin/nsd", X_OK) < 0)
                return false;
        snprintf(folder, sizeof folder, "/tmp/hayauma-mx-test-XXXXXX");
        assert_non_null(mkdtemp(folder));
        assert_int_equal(chdir(folder), 0);
        write_file("example.net", zone);
        return true;
}

/* ---- one question ---- */

struct result {
        bool is_done;
        struct mx_answer answer;
        struct mx_host hosts[MX_HOSTS_MAX];
};

static void on_answer(void *arg, const struct mx_answer *answer)
{
        struct result *result = arg;

        result->is_done = true;
        result->answer = *answer;
        if (answer->count)
                memcpy(result->hosts, answer->hosts, answer->count * sizeof *answer->hosts);
}

static void resolve(struct loop *loop, struct lookups *lookups, const char *name, bool is_host,
                    struct result *result)
{
        const struct mx_question question = {
                .name = span_from_string(name), .is_host = is_host, .done = on_answer,
                .arg = result,
        };
        const uint64_t end_us = clock_monotonic_us() + ANSWER_MAX_MS * 1000ULL;
        struct mx *mx;

        memset(result, 0, sizeof *result);
        if (mx_new(loop, lookups, &question, &mx) < 0 || result->is_done) { /* not from within */
                print_error("case: %s: answered too early\n", name);
                result->is_done = false;
                return;
        }
        while (!result->is_done && clock_monotonic_us() < end_us)
                loop_run_once(loop, 100);
        if (!result->is_done)
                mx_cancel(mx);
}

static struct config *make_config(const char *trust_anchor)
{
        struct buffer error = BUFFER_INIT(4096);
        struct config *config;
        char text[512];

        snprintf(text, sizeof text,
                 "hostname = \"mx.example.jp\"\ndomains = {\"example.jp\"}\n"
                 "dns { servers = { \"127.0.0.1@%u\" } "
                 "trust_anchor = \"%s\" }\n",
                 port, trust_anchor);
        if (config_parse(span_from_string(text), "test", &config, &error) < 0)
                fail_msg("%.*s", (int) error.len, error.data);
        buffer_done(&error);
        return config;
}

/* ---- tables ---- */

static const struct {
        const char *name, *question;
        bool is_host;
        enum dns_status status;
        size_t count;
        const char *first_host;
        uint16_t first_preference;
        unsigned first_ipv4, first_ipv6;
} cases[] = {
        { "two hosts by preference", "example.net", false, DNS_OK, 2, "mx1.example.net", 10, 2, 1 },
        { "upper case", "EXAMPLE.NET", false, DNS_OK, 2, "mx1.example.net", 10, 2, 1 },
        { "a single host, no MX look-up", "example.net", true, DNS_OK, 1, "example.net", 0, 1, 0 },
        { "implicit MX", "implicit.example.net", false, DNS_OK, 1, "implicit.example.net", 0, 1,
          0 },
        { "null MX", "null.example.net", false, DNS_NULL_MX, 0, "", 0, 0, 0 },
        { "neither MX nor address", "nodata.example.net", false, DNS_NODATA, 1,
          "nodata.example.net", 0, 0, 0 },
        { "no such name", "nx.example.net", false, DNS_NXDOMAIN, 0, "", 0, 0, 0 },
        { "no such host", "nx.example.net", true, DNS_NXDOMAIN, 1, "nx.example.net", 0, 0, 0 },
        { "MX without address", "noaddress.example.net", false, DNS_NODATA, 1,
          "missing.example.net", 10, 0, 0 },
        { "one MX of two has an address", "half.example.net", false, DNS_OK, 2,
          "missing.example.net", 10, 0, 0 },
        { "alias", "alias.example.net", false, DNS_OK, 2, "mx1.example.net", 10, 2, 1 },
        { "exchange no host can have", "strange.example.net", false, DNS_SERVFAIL, 0, "", 0, 0, 0 },
        { "localhost", "localhost", false, DNS_OK, 1, "localhost", 0, 1, 1 },
        { "below localhost", "a.localhost", true, DNS_OK, 1, "a.localhost", 0, 1, 1 },
        { "MX to localhost", "loop.example.net", false, DNS_OK, 1, "localhost", 10, 1, 1 },
        { "a name the server refuses", "example.org", false, DNS_SERVFAIL, 0, "", 0, 0, 0 },
};

static bool is_as_wanted(size_t i, const struct result *result)
{
        const struct mx_host *first = &result->hosts[0];

        return result->is_done && result->answer.status == cases[i].status &&
               result->answer.count == cases[i].count &&
               (!result->answer.is_secure || strstr(cases[i].question, "localhost")) &&
               (result->answer.count == 0 ||
                (strcmp(first->name, cases[i].first_host) == 0 &&
                 first->preference == cases[i].first_preference &&
                 first->ipv4_count == cases[i].first_ipv4 &&
                 first->ipv6_count == cases[i].first_ipv6));
}

static bool all_are_as_wanted(struct loop *loop, struct lookups *lookups)
{
        struct result result;
        bool good = true;

        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                resolve(loop, lookups, cases[i].question, cases[i].is_host, &result);
                if (is_as_wanted(i, &result))
                        continue;
                print_error("case: %s: %s, %zu hosts\n", cases[i].name,
                            dns_status_name(result.answer.status), result.answer.count);
                good = false;
        }
        return good;
}

/* As the resolver process: read first, be confined, then start the thread. In
 * a child, where no assertion may jump back into the test runner. */
static int resolve_confined(const struct config *config)
{
        const struct confine_identity self = {.state_fd = -1, .config = config, .name = "test/0"};
        struct loop *loop = loop_new();
        struct lookups *lookups;
        const char *what = "";

        setenv("HAYAUMA_SECCOMP_KILL", "1", 1);
        if (confine_warm_up(PROCESS_RESOLVER, &what) < 0 ||
            lookups_new(loop, config, &lookups, &what) < 0 ||
            confine_apply(PROCESS_RESOLVER, &self, &what) < 0 || lookups_start(lookups) < 0) {
                print_error("%s\n", what);
                return 2;
        }
        return all_are_as_wanted(loop, lookups) ? 0 : 1;
}

TEST_WITH(mail_hosts, NULL, clean_up)
{
        struct lookups *lookups;
        struct config *config;
        struct loop *loop;
        const char *what;
        int status;
        pid_t child;

        if (!make_folder())
                skip();
        start_server("example.net");
        config = make_config(NO_ANCHOR);
        child = fork(); /* before there are threads */
        if (child == 0)
                _exit(resolve_confined(config));
        loop = loop_new();
        assert_int_equal(lookups_new(loop, config, &lookups, &what), 0);
        assert_int_equal(lookups_start(lookups), 0);
        CHECK(all_are_as_wanted(loop, lookups), "unconfined");
        assert_int_equal(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "confined");
        lookups_free(lookups);
        loop_free(loop);
        config_free(config);
}

static void ignore(void *arg, const struct mx_answer *answer)
{
        (void) answer;
        ++*(unsigned *) arg;
}

/* Far more questions than fit, half of them given up at once: the rest are
 * answered, once each. */
TEST_WITH(many_questions_and_cancelling, NULL, clean_up)
{
        enum { COUNT = 3000 };
        static struct mx *asked[COUNT];
        const uint64_t end_us = clock_monotonic_us() + ANSWER_MAX_MS * 1000ULL;
        struct lookups *lookups;
        struct config *config;
        struct loop *loop;
        unsigned answers = 0;
        const char *what;

        if (!make_folder())
                skip();
        start_server("example.net");
        loop = loop_new();
        config = make_config(NO_ANCHOR);
        assert_int_equal(lookups_new(loop, config, &lookups, &what), 0);
        for (unsigned i = 0; i < COUNT; i++) {
                char name[64];
                struct mx_question question = {.done = ignore, .arg = &answers};

                snprintf(name, sizeof name, "h%u.example.net", i);
                question.name = span_from_string(name);
                question.is_host = i % 3 == 0;
                assert_int_equal(mx_new(loop, lookups, &question, &asked[i]), 0);
        }
        CHECK(lookups_at_work(lookups) == LOOKUPS_AT_WORK, "bounded");
        for (unsigned i = 0; i < COUNT; i += 2)
                mx_cancel(asked[i]);
        while (answers < COUNT / 2 && clock_monotonic_us() < end_us)
                loop_run_once(loop, 100);
        CHECK(answers == COUNT / 2, "each is answered");
        CHECK(lookups_at_work(lookups) == 0 && lookups_waiting(lookups) == 0, "none is left");
        lookups_free(lookups);
        loop_free(loop);
        config_free(config);
}

static void check_signed(const char *anchor, enum dns_status status, bool is_secure)
{
        struct config *config = make_config(anchor);
        struct loop *loop = loop_new();
        struct lookups *lookups;
        struct result result;
        const char *what;

        assert_int_equal(lookups_new(loop, config, &lookups, &what), 0);
        resolve(loop, lookups, "example.net", false, &result);
        CHECK(result.answer.status == status, anchor);
        CHECK(result.answer.is_secure == is_secure, anchor);
        if (status == DNS_OK)
                CHECK(result.hosts[0].is_secure == is_secure, anchor);
        else
                CHECK(result.answer.count == 0, "forged data is not handed out");
        resolve(loop, lookups, "nx.example.net", false, &result);
        CHECK(result.answer.status == (status == DNS_OK ? DNS_NXDOMAIN : status), anchor);
        lookups_free(lookups);
        loop_free(loop);
        config_free(config);
}

TEST_WITH(dnssec, NULL, clean_up)
{
        char anchor[128];

        if (access("/usr/bin/ldns-signzone", X_OK) < 0 || !make_folder())
                skip();
        run_in_folder("k=$(ldns-keygen -k -a ECDSAP256SHA256 example.net) && "
                      "ldns-signzone -n example.net $k && cp $k.ds good.ds && "
                      "w=$(ldns-keygen -k -a ECDSAP256SHA256 example.net) && cp $w.ds wrong.ds");
        start_server("example.net.signed");
        check_signed(NO_ANCHOR, DNS_OK, false);
        snprintf(anchor, sizeof anchor, "%s/good.ds", folder);
        check_signed(anchor, DNS_OK, true);
        snprintf(anchor, sizeof anchor, "%s/wrong.ds", folder);
        check_signed(anchor, DNS_BOGUS, false);
}

TEST_MAIN()
