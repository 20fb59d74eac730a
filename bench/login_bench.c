/* A client that logs in and leaves, over and over: connect, EHLO, AUTH, QUIT.
 *
 *   login_bench PORT MECHANISM USER PASSWORD COUNT CONNECTIONS [tls|resume]
 *   login_bench floor PORT          a server that says yes to PLAIN and knows nothing
 *
 * One thread, CONNECTIONS at a time; `tls` has each begin with TLS and a full
 * handshake, `resume` with a session of before. MECHANISM is PLAIN or
 * SCRAM-SHA-256, which derives SaltedPassword once for a salt, as clients that
 * stay for long do (RFC 5802 section 5.1), and checks what the server proves.
 *
 * It shares the machine with what it measures, so it does little: a login is
 * socket, connect, one epoll_ctl (edge-triggered), a recv and a send a reply, and
 * an ordinary close (no SO_LINGER: the server, which closes first, keeps its
 * TIME_WAIT as it would elsewhere). Messages are prepared, keys and the halves of
 * HMAC that depend on keys alone are kept: two HMACs are left of SCRAM, by the
 * processor's own SHA instructions.
 *
 * Prints JSON: seconds, logins, CPU time of its own, and when it was refused. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_CTX is copied by assignment, EVP's is not */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
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
        KEY = 32, BLOCK = 64, /* octets of SHA-256 */
        ROOM = 4096, CONNECTIONS_MAX = 1000, EVENTS = 256,
        NONCE = 18, USER_MAX = 300, FIRST_BARE = USER_MAX + NONCE + 5,
};

enum state { CONNECTING, GREETING, HELLO, FIRST, FINAL, GRANTED, QUITTING };

/* What HMAC-SHA-256 has made of a key before there is a text. */
struct keyed {
        SHA256_CTX inner, outer;
};

struct client {
        int fd;
        enum state state;
        SSL *ssl;
        size_t in_len, first_len;
        char first[FIRST_BARE + 3]; /* of SCRAM, with "n,," */
        unsigned char proof[KEY];   /* the server's, as it must be */
        char in[ROOM];
};

static struct {
        int port, poll;
        bool is_scram;
        const char *user, *password;
        long begun, done, count;
        SSL_CTX *tls;
        SSL_SESSION *session; /* of before, where sessions are resumed */
        bool may_resume;
        char plain[ROOM]; /* the whole command */
        size_t plain_len;
        uint64_t nonce;
        char salt[200]; /* what the keys below were made of, and iterations */
        size_t salt_len;
        unsigned char client_key[KEY];
        struct keyed stored_key, server_key;
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

        bench.begun++;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (c->fd < 0)
                fail("socket");
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
        watch(c, bench.tls ? EPOLLOUT : EPOLLIN | EPOLLET, EPOLL_CTL_ADD);
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

static void sha256(const void *text, size_t len, unsigned char out[KEY])
{
        SHA256_CTX state;

        SHA256_Init(&state);
        SHA256_Update(&state, text, len);
        SHA256_Final(out, &state);
}

static void set_key(struct keyed *k, const unsigned char key[KEY])
{
        unsigned char pad[BLOCK];

        for (int i = 0; i < BLOCK; i++)
                pad[i] = (i < KEY ? key[i] : 0) ^ 0x36;
        SHA256_Init(&k->inner);
        SHA256_Update(&k->inner, pad, BLOCK);
        for (int i = 0; i < BLOCK; i++)
                pad[i] ^= 0x36 ^ 0x5c;
        SHA256_Init(&k->outer);
        SHA256_Update(&k->outer, pad, BLOCK);
}

static void hmac(const struct keyed *k, const char *text, size_t len, unsigned char out[KEY])
{
        SHA256_CTX state = k->inner;

        SHA256_Update(&state, text, len);
        SHA256_Final(out, &state);
        state = k->outer;
        SHA256_Update(&state, out, KEY);
        SHA256_Final(out, &state);
}

static void derive(const char *salt, size_t salt_len, int iterations)
{
        unsigned char raw[200], salted[KEY], key[KEY];
        struct keyed k;
        int len = EVP_DecodeBlock(raw, (const unsigned char *) salt, (int) salt_len);

        for (size_t i = salt_len; i > 0 && salt[i - 1] == '='; i--)
                len--;
        if (len <= 0 || PKCS5_PBKDF2_HMAC(bench.password, (int) strlen(bench.password), raw, len,
                                          iterations, EVP_sha256(), KEY, salted) != 1)
                give_up("salt", salt);
        set_key(&k, salted);
        hmac(&k, "Client Key", 10, bench.client_key);
        hmac(&k, "Server Key", 10, key);
        set_key(&bench.server_key, key);
        sha256(bench.client_key, KEY, key);
        set_key(&bench.stored_key, key);
}

static size_t put_text(char *out, const char *text, size_t len)
{
        memcpy(out, text, len);
        return len;
}

static size_t put_base64(char *out, const void *octets, size_t len)
{
        return (size_t) EVP_EncodeBlock((unsigned char *) out, octets, (int) len);
}

static void put_first(struct client *c)
{
        static const char command[] = "AUTH SCRAM-SHA-256 ", hex[] = "0123456789abcdef";
        char text[sizeof command + 2 * sizeof c->first + 3];
        size_t len = put_text(text, command, sizeof command - 1);
        uint64_t nonce = bench.nonce += 0x9e3779b97f4a7c15; /* never the same twice */

        for (int i = 0; i < NONCE; i++, nonce = nonce << 4 | nonce >> 60)
                c->first[c->first_len - NONCE + (size_t) i] = hex[nonce & 15];
        len += put_base64(text + len, c->first, c->first_len);
        len += put_text(text + len, "\r\n", 2);
        put(c, text, len);
}

/* What the reply "334 base64" says, with a NUL. */
static size_t read_challenge(const struct client *c, char out[ROOM])
{
        size_t len = c->in_len - 6; /* "334 " and CRLF */
        int n;

        n = c->in_len < 7 ? -1 : EVP_DecodeBlock((unsigned char *) out,
                                                 (const unsigned char *) c->in + 4, (int) len);
        for (; n > 0 && c->in[4 + len - 1] == '='; len--)
                n--;
        out[n > 0 ? n : 0] = '\0';
        return n > 0 ? (size_t) n : 0;
}

/* "r=NONCE,s=SALT,i=ITERATIONS": its nonce's length; new keys where the salt is new. */
static size_t take_challenge(const char *text, size_t len)
{
        const char *salt = strstr(text, ",s="), *count = salt ? strstr(salt, ",i=") : NULL;

        if (!count || strncmp(text, "r=", 2) != 0)
                give_up("challenge", text);
        if (bench.salt_len != (size_t) (text + len - salt) ||
            memcmp(bench.salt, salt, bench.salt_len) != 0) {
                bench.salt_len = (size_t) (text + len - salt);
                if (bench.salt_len > sizeof bench.salt)
                        give_up("salt", salt);
                memcpy(bench.salt, salt, bench.salt_len);
                derive(salt + 3, (size_t) (count - salt) - 3, (int) strtol(count + 3, NULL, 10));
        }
        return (size_t) (salt - text);
}

static void put_final(struct client *c)
{
        char challenge[ROOM], all[3 * ROOM], text[2 * ROOM];
        const size_t challenge_len = read_challenge(c, challenge);
        const size_t nonce_len = take_challenge(challenge, challenge_len);
        unsigned char proof[KEY];
        size_t len = put_text(all, c->first + 3, c->first_len - 3), final_at;

        all[len++] = ',';
        len += put_text(all + len, challenge, challenge_len);
        all[len++] = ',';
        final_at = len;
        len += put_text(all + len, "c=biws,", 7);
        len += put_text(all + len, challenge, nonce_len);
        hmac(&bench.stored_key, all, len, proof);
        for (int i = 0; i < KEY; i++)
                proof[i] ^= bench.client_key[i];
        hmac(&bench.server_key, all, len, c->proof);
        len += put_text(all + len, ",p=", 3);
        len += put_base64(all + len, proof, KEY);
        len = put_base64(text, all + final_at, len - final_at);
        len += put_text(text + len, "\r\n", 2);
        put(c, text, len);
}

static void check_proof(struct client *c)
{
        char text[ROOM], wanted[60] = "v=";

        (void) read_challenge(c, text);
        put_base64(wanted + 2, c->proof, KEY);
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
                        put(c, bench.plain, bench.plain_len);
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

/* One answer to each read, whatever was said; the client is the one above. The last
 * one waits for the end, which closing sends: one packet. */
static void answer(int fd)
{
        static const char hello[] = "250-floor\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n";
        char text[ROOM];
        const ssize_t n = recv(fd, text, sizeof text, 0);
        const bool is_last = n <= 0 || text[0] == 'Q';
        const char *said = is_last          ? "221 2.0.0 Goodbye\r\n"
                           : text[0] == 'E' ? hello
                                            : "235 2.7.0 Logged in\r\n";

        (void) !send(fd, said, strlen(said), is_last ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL);
        if (is_last)
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
                                answer(fd);
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
        bench.is_scram = strcmp(argv[2], "SCRAM-SHA-256") == 0;
        bench.user = argv[3];
        bench.password = argv[4];
        bench.count = strtol(argv[5], NULL, 10);
        bench.poll = epoll_create1(0);
        bench.nonce = (uint64_t) getpid() << 32 ^ (uint64_t) time(NULL);
        bench.plain_len = put_text(bench.plain, "AUTH PLAIN ", 11);
        bench.plain_len += put_base64(bench.plain + bench.plain_len, octets, (size_t) len);
        bench.plain_len += put_text(bench.plain + bench.plain_len, "\r\n", 2);
        if (argc <= 7)
                return;
        bench.tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_verify(bench.tls, SSL_VERIFY_NONE, NULL);
        bench.may_resume = strcmp(argv[7], "resume") == 0;
}

/* The nonce is left open. */
static void prepare_client(struct client *c)
{
        c->first_len = (size_t) snprintf(c->first, sizeof c->first, "n,,n=%s,r=%0*d", bench.user,
                                         NONCE, 0);
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
        if (connections < 1 || connections > CONNECTIONS_MAX || argc > 8 ||
            strlen(argv[3]) > USER_MAX)
                give_up("usage", "login_bench PORT MECHANISM USER PASSWORD COUNT CONNECTIONS "
                                 "[tls|resume]");
        prepare(argc, argv);
        begun = now();
        for (long i = 0; i < connections && bench.begun < bench.count; i++) {
                prepare_client(&clients[i]);
                begin(&clients[i]);
        }
        run();
        getrusage(RUSAGE_SELF, &used);
        printf("{\"seconds\": %.6f, \"count\": %ld, \"client_cpu_seconds\": %.6f}\n",
               now() - begun, bench.done,
               (double) (used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                       (double) (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
        return 0;
}
