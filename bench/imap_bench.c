/* A client that is not the bottleneck: sends commands of IMAP or POP3 and reads
 * the answers without looking at them, but for their last line.
 *
 *   imap_bench commands PORT USER PASSWORD COMMAND…   after LOGIN, on one connection
 *   imap_bench logins PORT USER PASSWORD COUNT CONNECTIONS
 *   imap_bench retr PORT USER PASSWORD COUNT           POP3, pipelined
 *   imap_bench idle PORT USER PASSWORD COUNT FIRST     connections that wait in IDLE, from
 *                                                      127.1.x.y, until standard input ends
 *   imap_bench idle-tls …                              the same over TLS
 *
 * Prints JSON, a line each command or run: seconds, octets, and how it ended. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1024 * 1024, PER_ADDRESS = 200, RETR_AT_ONCE = 100 };

static char answer[ROOM];

static double now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static int number(const char *text)
{
        return (int) strtol(text, NULL, 10);
}

static void fail(const char *what)
{
        fprintf(stderr, "imap_bench: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int connect_from(int port, unsigned source)
{
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in own = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(0x7f010001u + source)};
        const int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

        if (fd < 0)
                fail("socket");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if ((source && bind(fd, (const struct sockaddr *) &own, sizeof own) < 0) ||
            connect(fd, (const struct sockaddr *) &at, sizeof at) < 0)
                fail("connect");
        return fd;
}

static void put(int fd, const char *text, size_t len)
{
        while (len) {
                const ssize_t n = write(fd, text, len);

                if (n <= 0)
                        fail("write");
                text += n;
                len -= (size_t) n;
        }
}

/* Reads until the last line so far begins with `begin`; that line stands at
 * `*ret_line` then. Returns the octets. */
static size_t read_until(int fd, const char *begin, const char **ret_line)
{
        const size_t begin_len = strlen(begin);
        size_t total = 0, len = 0;

        for (;;) {
                const char *line;
                ssize_t n;

                if (len > ROOM / 2) { /* the end is enough */
                        memmove(answer, answer + len - 1024, 1024);
                        len = 1024;
                }
                n = read(fd, answer + len, ROOM - len - 1);
                if (n <= 0)
                        fail("read");
                len += (size_t) n;
                total += (size_t) n;
                if (len < 2 || answer[len - 1] != '\n')
                        continue;
                line = memrchr(answer, '\n', len - 1);
                line = line ? line + 1 : answer;
                if ((size_t) (answer + len - line) < begin_len ||
                    memcmp(line, begin, begin_len) != 0)
                        continue;
                answer[len - 1] = '\0';
                *ret_line = line;
                return total;
        }
}

static int log_in(int port, const char *user, const char *password, unsigned source)
{
        const int fd = connect_from(port, source);
        const char *line;
        char text[600];

        read_until(fd, "* OK", &line);
        put(fd, text,
            (size_t) snprintf(text, sizeof text, "l LOGIN %s \"%s\"\r\n", user, password));
        read_until(fd, "l ", &line);
        if (strncmp(line, "l OK", 4) != 0) {
                fprintf(stderr, "imap_bench: LOGIN: %s\n", line);
                exit(1);
        }
        return fd;
}

static void commands(int port, char **words, int count)
{
        const int fd = log_in(port, words[0], words[1], 0);

        for (int i = 2; i < count; i++) {
                char tag[16], text[2000];
                const char *line;
                const int len = snprintf(text, sizeof text, "t%d %s\r\n", i, words[i]);
                const double begun = now();
                size_t octets;

                snprintf(tag, sizeof tag, "t%d ", i);
                put(fd, text, (size_t) len);
                octets = read_until(fd, tag, &line);
                printf("{\"seconds\": %.6f, \"octets\": %zu, \"is_ok\": %s}\n", now() - begun,
                       octets, strncmp(line + strlen(tag), "OK", 2) == 0 ? "true" : "false");
                fflush(stdout);
        }
        close(fd);
}

static void logins(int port, const char *user, const char *password, int count, int connections)
{
        const double begun = now();

        for (int c = 0; c < connections; c++) {
                if (fork() != 0)
                        continue;
                for (int i = 0; i < count / connections; i++) {
                        const int fd = log_in(port, user, password, 0);
                        const char *line;

                        put(fd, "s SELECT INBOX\r\n", 16);
                        read_until(fd, "s OK", &line);
                        put(fd, "o LOGOUT\r\n", 10);
                        read_until(fd, "o OK", &line);
                        close(fd);
                }
                _exit(0);
        }
        for (int c = 0; c < connections; c++) {
                int status;

                if (wait(&status) < 0 || status != 0)
                        exit(1);
        }
        printf("{\"seconds\": %.6f, \"count\": %d, \"is_ok\": true}\n", now() - begun,
               count / connections * connections);
}

/* Counts ends of messages, CRLF "." CRLF, across reads. */
static unsigned count_ends(const char *p, size_t n)
{
        static const char end[] = "\r\n.\r\n";
        static unsigned at;
        unsigned found = 0;

        for (size_t i = 0; i < n; i++) {
                if (at == 0) {
                        const char *next = memchr(p + i, '\r', n - i);

                        if (!next)
                                break;
                        i = (size_t) (next - p);
                }
                if (p[i] == end[at])
                        at++;
                else
                        at = p[i] == '\r';
                if (at == 5) {
                        found++;
                        at = 2; /* its CRLF may begin the next */
                }
        }
        return found;
}

static void retr(int port, const char *user, const char *password, unsigned count)
{
        const int fd = connect_from(port, 0);
        const char *line;
        char text[RETR_AT_ONCE * 16];
        double begun;
        size_t octets = 0;

        read_until(fd, "+OK", &line);
        put(fd, text, (size_t) snprintf(text, sizeof text, "USER %s\r\n", user));
        read_until(fd, "+OK", &line);
        put(fd, text, (size_t) snprintf(text, sizeof text, "PASS %s\r\n", password));
        read_until(fd, "+OK", &line);
        begun = now();
        for (unsigned sent = 0, got = 0; got < count;) {
                size_t len = 0;
                ssize_t n;

                /* One row of commands is always waiting at the server. */
                while (sent < count && sent < got + 2 * RETR_AT_ONCE && len + 16 < sizeof text)
                        len += (size_t) snprintf(text + len, 16, "RETR %u\r\n", ++sent);
                put(fd, text, len);
                n = read(fd, answer, ROOM);
                if (n <= 0)
                        fail("read");
                octets += (size_t) n;
                got += count_ends(answer, (size_t) n);
        }
        printf("{\"seconds\": %.6f, \"octets\": %zu, \"is_ok\": true}\n", now() - begun, octets);
        close(fd);
}

static void idle(int port, const char *user, const char *password, unsigned count, unsigned first)
{
        struct rlimit files;
        const char *line;
        char c;

        if (getrlimit(RLIMIT_NOFILE, &files) < 0)
                fail("getrlimit");
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
                fail("setrlimit");
        for (unsigned i = 0; i < count; i++) {
                const int fd = log_in(port, user, password, 1 + (first + i) / PER_ADDRESS);

                put(fd, "s SELECT INBOX\r\n", 16);
                read_until(fd, "s OK", &line);
                put(fd, "i IDLE\r\n", 8);
                read_until(fd, "+", &line);
        }
        puts("{\"is_ok\": true}");
        fflush(stdout);
        while (read(0, &c, 1) > 0)
                ;
}

/* One line that begins with `begin`; all before it is thrown away. */
static void read_tls(SSL *ssl, const char *begin)
{
        size_t len = 0;

        while (len < ROOM - 1) {
                const int n = SSL_read(ssl, answer + len, (int) (ROOM - 1 - len));
                const char *line;

                if (n <= 0)
                        fail("SSL_read");
                len += (size_t) n;
                answer[len] = '\0';
                line = len > 1 ? memrchr(answer, '\n', len - 1) : NULL;
                if (strncmp(line ? line + 1 : answer, begin, strlen(begin)) == 0)
                        return;
        }
}

static void idle_tls(int port, const char *user, const char *password, unsigned count,
                     unsigned first)
{
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        char text[600], c;

        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        for (unsigned i = 0; i < count; i++) {
                SSL *ssl = SSL_new(context);

                SSL_set_fd(ssl, connect_from(port, 1 + (first + i) / PER_ADDRESS));
                if (SSL_connect(ssl) != 1)
                        fail("SSL_connect");
                read_tls(ssl, "* OK");
                SSL_write(ssl, text, snprintf(text, sizeof text, "l LOGIN %s \"%s\"\r\n", user,
                                              password));
                read_tls(ssl, "l OK");
                SSL_write(ssl, "s SELECT INBOX\r\n", 16);
                read_tls(ssl, "s OK");
                SSL_write(ssl, "i IDLE\r\n", 8);
                read_tls(ssl, "+");
        }
        puts("{\"is_ok\": true}");
        fflush(stdout);
        while (read(0, &c, 1) > 0)
                ;
}

int main(int argc, char **argv)
{
        const int port = argc > 2 ? number(argv[2]) : 0;

        if (argc >= 5 && strcmp(argv[1], "commands") == 0)
                commands(port, argv + 3, argc - 3);
        else if (argc == 7 && strcmp(argv[1], "logins") == 0)
                logins(port, argv[3], argv[4], number(argv[5]), number(argv[6]));
        else if (argc == 6 && strcmp(argv[1], "retr") == 0)
                retr(port, argv[3], argv[4], (unsigned) number(argv[5]));
        else if (argc == 7 && strcmp(argv[1], "idle") == 0)
                idle(port, argv[3], argv[4], (unsigned) number(argv[5]),
                     (unsigned) number(argv[6]));
        else if (argc == 7 && strcmp(argv[1], "idle-tls") == 0)
                idle_tls(port, argv[3], argv[4], (unsigned) number(argv[5]),
                         (unsigned) number(argv[6]));
        else
                return 64;
        return 0;
}
