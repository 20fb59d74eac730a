/* A client that logs in and leaves, over and over: connect, EHLO, AUTH, QUIT.
 *
 *   login_bench PORT MECHANISM USER PASSWORD COUNT CONNECTIONS [tls|resume]
 *   login_bench floor PORT          a server that says yes to PLAIN and knows nothing
 *
 * One thread, CONNECTIONS at a time, each from an address of its own
 * (127.1.0.1 and on); `tls` has each begin with TLS and a full handshake,
 * `resume` with a session of before. MECHANISM is PLAIN or
 * SCRAM-SHA-256, which derives SaltedPassword once for a salt, as clients that
 * stay for long do (RFC 5802 section 5.1), and checks what the server proves.
 *
 * Prints JSON: seconds, logins, CPU time of its own, and when it was refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
        KEY = 32, /* octets of SHA-256 */
        ROOM = 4096, CONNECTIONS_MAX = 1000, ADDRESSES = 200, EVENTS = 64,
        NONCE = 18, FIRST_BARE = 400,
};

enum state { CONNECTING, GREETING, HELLO, FIRST, FINAL, GRANTED, QUITTING };

struct client {
        int fd;
        unsigned number;
        enum state state;
        SSL *ssl;
        bool is_secure;
        char in[ROOM];
        size_t in_len;
        char first_bare[FIRST_BARE]; /* of SCRAM */
        unsigned char proof[KEY];    /* the server's, as it must be */
};

static struct {
        int port, poll;
        bool is_scram;
        const char *mechanism, *user, *password;
        long begun, done, count;
        SSL_CTX *tls;
        SSL_SESSION *session; /* of before, where sessions are resumed */
        bool may_resume;
        char plain[ROOM]; /* the whole command */
        char salt[200];   /* what the keys below were made of */
        unsigned char client_key[KEY], stored_key[KEY], server_key[KEY];
} bench;

static void fail(const char *what)
{
        fprintf(stderr, "login_bench: %s: %s\n", what, strerror(errno));
        exit(1);
}

static void give_up(const char *what, const char *text)
{
        fprintf(stderr, "login_bench: %s: %s\n", what, text);
        exit(1);
}

static double now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* ---- one connection ---- */

static void watch(struct client *c, uint32_t events, int how)
{
        struct epoll_event e = {.events = events, .data.ptr = c};

        if (epoll_ctl(bench.poll, how, c->fd, &e) < 0)
                fail("epoll_ctl");
}

static void begin(struct client *c)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t) bench.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in own = {.sin_family = AF_INET};
        const int one = 1;

        own.sin_addr.s_addr = htonl(0x7f010001u + (uint32_t) (bench.begun % ADDRESSES));
        bench.begun++;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                fail("socket");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (const struct sockaddr *) &own, sizeof own) < 0)
                fail("bind");
        if (connect(c->fd, (const struct sockaddr *) &at, sizeof at) < 0 && errno != EINPROGRESS)
                fail("connect");
        c->state = GREETING;
        c->in_len = 0;
        if (bench.tls) {
                c->state = CONNECTING;
                c->ssl = SSL_new(bench.tls);
                SSL_set_fd(c->ssl, c->fd);
                SSL_set_connect_state(c->ssl);
                if (bench.session)
                        SSL_set_session(c->ssl, bench.session);
        }
        watch(c, bench.tls ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD);
}

static void end(struct client *c)
{
        if (c->ssl) {
                if (bench.may_resume && !bench.session)
                        bench.session = SSL_get1_session(c->ssl);
                SSL_shutdown(c->ssl);
                SSL_free(c->ssl);
                c->ssl = NULL;
        }
        close(c->fd);
        bench.done++;
        if (bench.begun < bench.count)
                begin(c);
}

static void put(struct client *c, const char *text, size_t len)
{
        const ssize_t n = c->ssl ? SSL_write(c->ssl, text, (int) len)
                                 : send(c->fd, text, len, MSG_NOSIGNAL);

        if (n != (ssize_t) len)
                fail("write");
}

/* ---- SCRAM (RFC 5802 section 3) ---- */

static void hmac(const unsigned char key[KEY], const char *text, size_t len,
                 unsigned char out[KEY])
{
        unsigned n = KEY;

        if (!HMAC(EVP_sha256(), key, KEY, (const unsigned char *) text, len, out, &n))
                give_up("HMAC", "failed");
}

static void derive(const char *salt, int iterations)
{
        unsigned char raw[200], salted[KEY];
        unsigned n = KEY;
        int len = EVP_DecodeBlock(raw, (const unsigned char *) salt, (int) strlen(salt));

        for (size_t i = strlen(salt); i > 0 && salt[i - 1] == '='; i--)
                len--;
        if (len <= 0 || PKCS5_PBKDF2_HMAC(bench.password, (int) strlen(bench.password), raw, len,
                                          iterations, EVP_sha256(), KEY, salted) != 1)
                give_up("salt", salt);
        hmac(salted, "Client Key", 10, bench.client_key);
        hmac(salted, "Server Key", 10, bench.server_key);
        EVP_Digest(bench.client_key, KEY, bench.stored_key, &n, EVP_sha256(), NULL);
        snprintf(bench.salt, sizeof bench.salt, "%s", salt);
}

/* "AUTH MECHANISM base64" and the like, of `len` octets. */
static void put_base64(struct client *c, const char *before, const char *octets, size_t len)
{
        char text[ROOM];
        size_t at = (size_t) snprintf(text, sizeof text, "%s", before);

        at += (size_t) EVP_EncodeBlock((unsigned char *) text + at,
                                       (const unsigned char *) octets, (int) len);
        text[at++] = '\r';
        text[at++] = '\n';
        put(c, text, at);
}

static void put_first(struct client *c)
{
        static const char hex[] = "0123456789abcdef";
        char text[FIRST_BARE + 3], nonce[NONCE + 1];

        for (int i = 0; i < NONCE; i++)
                nonce[i] = hex[random() & 15];
        nonce[NONCE] = '\0';
        snprintf(c->first_bare, sizeof c->first_bare, "n=%s,r=%s", bench.user, nonce);
        snprintf(text, sizeof text, "n,,%s", c->first_bare);
        put_base64(c, "AUTH SCRAM-SHA-256 ", text, strlen(text));
}

/* What the reply "334 base64" says, with a NUL. */
static void read_challenge(const struct client *c, char out[ROOM])
{
        char line[ROOM];
        const char *text = c->in + 4;
        const size_t len = strcspn(text, "\r\n");
        int n;

        snprintf(line, sizeof line, "%.*s", (int) len, text);
        n = EVP_DecodeBlock((unsigned char *) out, (const unsigned char *) line, (int) len);
        for (size_t i = len; i > 0 && line[i - 1] == '='; i--)
                n--;
        out[n > 0 ? n : 0] = '\0';
}

static void put_final(struct client *c)
{
        char server_first[ROOM], text[ROOM], all[3 * ROOM], salt[200], nonce[200], proof64[60];
        unsigned char proof[KEY];
        int iterations;

        read_challenge(c, server_first);
        if (sscanf(server_first, "r=%199[^,],s=%199[^,],i=%d", nonce, salt, &iterations) != 3)
                give_up("challenge", server_first);
        if (strcmp(salt, bench.salt) != 0)
                derive(salt, iterations);
        snprintf(text, sizeof text, "c=biws,r=%s", nonce);
        snprintf(all, sizeof all, "%s,%s,%s", c->first_bare, server_first, text);
        hmac(bench.stored_key, all, strlen(all), proof);
        for (int i = 0; i < KEY; i++)
                proof[i] ^= bench.client_key[i];
        hmac(bench.server_key, all, strlen(all), c->proof);
        EVP_EncodeBlock((unsigned char *) proof64, proof, KEY);
        snprintf(all, sizeof all, "%s,p=%s", text, proof64);
        put_base64(c, "", all, strlen(all));
}

static void check_proof(struct client *c)
{
        char text[ROOM], wanted[60] = "v=";

        read_challenge(c, text);
        EVP_EncodeBlock((unsigned char *) wanted + 2, c->proof, KEY);
        if (strcmp(text, wanted) != 0)
                give_up("the server's proof", text);
        put(c, "\r\n", 2);
}

/* ---- replies ---- */

static void expect(const struct client *c, const char *code)
{
        if (memcmp(c->in, code, 3) != 0)
                give_up("refused", c->in);
}

static void on_reply(struct client *c)
{
        switch (c->state) {
        case GREETING:
                expect(c, "220");
                put(c, "EHLO client.example.net\r\n", 25);
                c->state = HELLO;
                break;
        case HELLO:
                expect(c, "250");
                c->state = bench.is_scram ? FIRST : GRANTED;
                if (bench.is_scram)
                        put_first(c);
                else
                        put(c, bench.plain, strlen(bench.plain));
                break;
        case FIRST:
                expect(c, "334");
                put_final(c);
                c->state = FINAL;
                break;
        case FINAL:
                expect(c, "334");
                check_proof(c);
                c->state = GRANTED;
                break;
        case GRANTED:
                expect(c, "235");
                put(c, "QUIT\r\n", 6);
                c->state = QUITTING;
                break;
        default:
                expect(c, "221");
                end(c);
                return;
        }
        c->in_len = 0;
}

/* Whether the last line of a reply is there: "250 …". */
static bool is_complete(const struct client *c)
{
        const char *line;

        if (c->in_len < 6 || c->in[c->in_len - 1] != '\n')
                return false;
        line = memrchr(c->in, '\n', c->in_len - 1);
        line = line ? line + 1 : c->in;
        return line + 4 < c->in + c->in_len && line[3] == ' ';
}

static void on_readable(struct client *c)
{
        ssize_t n = c->ssl ? SSL_read(c->ssl, c->in + c->in_len, (int) (ROOM - 1 - c->in_len))
                           : recv(c->fd, c->in + c->in_len, ROOM - 1 - c->in_len, 0);

        if (n < 0 && (c->ssl ? SSL_get_error(c->ssl, (int) n) == SSL_ERROR_WANT_READ
                             : errno == EAGAIN))
                return;
        if (n <= 0)
                give_up("the server", c->in_len ? c->in : "closed the connection");
        c->in_len += (size_t) n;
        c->in[c->in_len] = '\0';
        if (is_complete(c))
                on_reply(c);
}

static void on_handshake(struct client *c)
{
        const int r = SSL_do_handshake(c->ssl);
        const int error = r == 1 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, r);

        if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ &&
            error != SSL_ERROR_WANT_WRITE)
                give_up("TLS", "the handshake failed");
        if (error == SSL_ERROR_NONE)
                c->state = GREETING;
        watch(c, error == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
        if (c->state == GREETING)
                on_readable(c); /* the greeting may have come with it */
}

/* ---- the least that a server can do ---- */

/* One answer to each read, whatever was said; the client is the one above. */
static void answer(int fd, int poll)
{
        static const char hello[] = "250-floor\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n";
        char text[ROOM];
        const ssize_t n = recv(fd, text, sizeof text, 0);
        const char *said = n <= 0         ? NULL
                           : text[0] == 'E' ? hello
                           : text[0] == 'A' ? "235 2.7.0 Logged in\r\n"
                                            : "221 2.0.0 Goodbye\r\n";

        if (said)
                (void) !send(fd, said, strlen(said), MSG_NOSIGNAL);
        if (said && text[0] != 'Q')
                return;
        epoll_ctl(poll, EPOLL_CTL_DEL, fd, NULL);
        close(fd);
}

static void serve_floor(int port)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
        const int poll = epoll_create1(0);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];

        setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        if (bind(listener, (const struct sockaddr *) &at, sizeof at) < 0 ||
            listen(listener, CONNECTIONS_MAX) < 0 ||
            epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e) < 0)
                fail("listen");
        for (;;) {
                const int n = epoll_wait(poll, events, EVENTS, -1);

                for (int i = 0; i < n; i++) {
                        const int fd = events[i].data.fd;

                        if (fd != listener) {
                                answer(fd, poll);
                                continue;
                        }
                        e.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                        if (e.data.fd < 0)
                                continue;
                        epoll_ctl(poll, EPOLL_CTL_ADD, e.data.fd, &e);
                        (void) !send(e.data.fd, "220 floor\r\n", 11, MSG_NOSIGNAL);
                }
        }
}

/* ---- the run ---- */

static void prepare(int argc, char **argv)
{
        char octets[1000];
        const int len = snprintf(octets, sizeof octets, "%c%s%c%s", 0, argv[3], 0, argv[4]);

        bench.port = (int) strtol(argv[1], NULL, 10);
        bench.mechanism = argv[2];
        bench.is_scram = strcmp(argv[2], "SCRAM-SHA-256") == 0;
        bench.user = argv[3];
        bench.password = argv[4];
        bench.count = strtol(argv[5], NULL, 10);
        bench.poll = epoll_create1(0);
        snprintf(bench.plain, sizeof bench.plain, "AUTH PLAIN ");
        EVP_EncodeBlock((unsigned char *) bench.plain + 11, (const unsigned char *) octets, len);
        snprintf(bench.plain + strlen(bench.plain), 3, "\r\n");
        if (argc <= 7)
                return;
        bench.tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_verify(bench.tls, SSL_VERIFY_NONE, NULL);
        bench.may_resume = strcmp(argv[7], "resume") == 0;
}

static void run(void)
{
        while (bench.done < bench.count) {
                struct epoll_event events[EVENTS];
                const int n = epoll_wait(bench.poll, events, EVENTS, 30000);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        give_up("the server", "is silent");
                for (int i = 0; i < n; i++) {
                        struct client *c = events[i].data.ptr;

                        if (c->state == CONNECTING)
                                on_handshake(c);
                        else
                                on_readable(c);
                }
        }
}

int main(int argc, char **argv)
{
        static struct client clients[CONNECTIONS_MAX];
        const long connections = argc >= 7 ? strtol(argv[6], NULL, 10) : 0;
        struct rusage used;
        double begun;

        if (argc == 3 && strcmp(argv[1], "floor") == 0)
                serve_floor((int) strtol(argv[2], NULL, 10));
        if (connections < 1 || connections > CONNECTIONS_MAX || argc > 8)
                give_up("usage", "login_bench PORT MECHANISM USER PASSWORD COUNT CONNECTIONS "
                                 "[tls|resume]");
        prepare(argc, argv);
        begun = now();
        for (long i = 0; i < connections && bench.begun < bench.count; i++)
                begin(&clients[i]);
        run();
        getrusage(RUSAGE_SELF, &used);
        printf("{\"seconds\": %.6f, \"count\": %ld, \"client_cpu_seconds\": %.6f}\n",
               now() - begun, bench.done,
               (double) (used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                       (double) (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
        return 0;
}
