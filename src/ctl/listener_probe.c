#include "ctl/listener_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/file.h"
#include "net/endpoint.h"
#include "net/tls/session.h"

enum { PATIENCE_S = 5, LINE_MAX_OCTETS = 1024, LINES_MAX = 60, PEM_MAX = 1 << 20 };

static bool fail(struct listener_probe *p, const char *what, const char *why)
{
        snprintf(p->trouble, sizeof p->trouble, "%s%s%.150s", what, why ? ": " : "",
                 why ? why : "");
        return false;
}

/* "*" is asked on this machine. */
static int connect_to(const struct config_listen *l, int *ret_fd)
{
        const struct timeval patience = {.tv_sec = PATIENCE_S};
        const bool is_any = span_equal(l->host, SPAN_LITERAL("*")) ||
                            span_equal(l->host, SPAN_LITERAL("0.0.0.0"));
        struct endpoint e;
        int r = endpoint_from_host(is_any ? SPAN_LITERAL("127.0.0.1") :
                                   span_equal(l->host, SPAN_LITERAL("::")) ? SPAN_LITERAL("::1")
                                                                           : l->host,
                                   l->port, &e);
        int fd;

        if (r < 0)
                return r;
        fd = socket(e.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (connect(fd, &e.at.any, e.len) < 0) {
                r = -errno;
                close(fd);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

/* A line, octet by octet: nothing behind it is taken, since TLS may begin there. */
static bool read_line(int fd, char line[LINE_MAX_OCTETS])
{
        size_t len = 0;

        while (len + 1 < LINE_MAX_OCTETS) {
                if (recv(fd, line + len, 1, 0) != 1)
                        return false;
                if (line[len++] == '\n') {
                        line[len] = '\0';
                        return true;
                }
        }
        return false;
}

/* Says `text` (NULL: nothing), and reads until a line begins with `wanted`. A line
 * that begins with `refused`, if any, is the other answer. */
static bool ask(struct listener_probe *p, int fd, const char *text, const char *wanted,
                const char *refused)
{
        char line[LINE_MAX_OCTETS];

        if (text && send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
                return fail(p, "it does not listen to us", strerror(errno));
        for (int i = 0; i < LINES_MAX; i++) {
                if (!read_line(fd, line))
                        return fail(p, "it gives no answer", NULL);
                line[strcspn(line, "\r\n")] = '\0';
                if (strncmp(line, wanted, strlen(wanted)) == 0)
                        return true;
                if (refused && strncmp(line, refused, strlen(refused)) == 0)
                        return fail(p, "it answers", line);
        }
        return fail(p, "it answers with too many lines", NULL);
}

/* Up to where TLS may begin. `*ret_can`: it offers that. */
static bool speak(struct listener_probe *p, enum listen_protocol protocol, int fd, bool *ret_can)
{
        *ret_can = true;
        switch (protocol) {
        case LISTEN_SMTP:
        case LISTEN_SUBMISSION:
        case LISTEN_LMTP:
                if (!ask(p, fd, NULL, "220 ", "5") ||
                    !ask(p, fd, protocol == LISTEN_LMTP ? "LHLO localhost\r\n"
                                                        : "EHLO localhost\r\n", "250 ", "5"))
                        return false;
                *ret_can = ask(p, fd, "STARTTLS\r\n", "220 ", "5");
                break;
        case LISTEN_IMAP:
                if (!ask(p, fd, NULL, "* OK", "* B"))
                        return false;
                *ret_can = ask(p, fd, "a STARTTLS\r\n", "a OK", "a ");
                break;
        case LISTEN_POP3:
                if (!ask(p, fd, NULL, "+OK", "-ERR"))
                        return false;
                *ret_can = ask(p, fd, "STLS\r\n", "+OK", "-ERR");
                break;
        default:
                break;
        }
        if (!*ret_can)
                p->trouble[0] = '\0';
        return true;
}

static void handshake(struct listener_probe *p, int fd, struct span server_name)
{
        char error[TLS_ERROR_MAX];
        struct tls_context *context;
        struct tls_session *session = NULL;
        int reason;

        if (tls_context_new_client((struct span) {0}, &context, error) < 0) {
                fail(p, "TLS cannot be used here", error);
                return;
        }
        if (tls_session_new(context, fd, server_name, &session) < 0) {
                fail(p, "TLS cannot be used here", NULL);
        } else if (tls_session_handshake(session) != TLS_DONE) {
                fail(p, "TLS", tls_session_error(session, &reason));
        } else {
                p->has_tls = tls_session_peer_certificate(session, p->names, &p->ends_at);
                snprintf(p->version, sizeof p->version, "%s", tls_session_version(session));
                snprintf(p->cipher, sizeof p->cipher, "%s", tls_session_cipher(session));
                tls_session_shutdown(session);
        }
        tls_session_free(session);
        tls_context_unref(context);
}

bool listener_probe(const struct config_listen *l, struct span server_name,
                    struct listener_probe *ret)
{
        bool can_tls = true;
        int fd = -1, r;

        *ret = (struct listener_probe) {0};
        if (l->is_unix || l->protocol == LISTEN_HTTP || l->protocol >= LISTEN_LOCAL)
                return false;
        r = connect_to(l, &fd);
        if (r < 0) {
                fail(ret, "nobody answers", strerror(-r));
                return true;
        }
        if (speak(ret, l->protocol, fd, &can_tls) && can_tls)
                handshake(ret, fd, server_name);
        close(fd);
        return true;
}

size_t listener_probe_names(const struct config *c, char (*names)[TLS_NAMES_MAX], size_t max)
{
        size_t count = 0;

        snprintf(names[count++], TLS_NAMES_MAX, "%.*s", (int) c->hostname.len, c->hostname.p);
        for (size_t i = 0; i < c->tls.more_certificates.count && count < max; i++) {
                const struct span path = c->tls.more_certificates.items[i];
                struct buffer pem = BUFFER_INIT(PEM_MAX);
                char text[4096];

                snprintf(text, sizeof text, "%.*s", (int) path.len, path.p);
                if (file_read_at(AT_FDCWD, text, &pem) == 0 &&
                    tls_names_of(buffer_span(&pem), names[count])) {
                        names[count][strcspn(names[count], " ")] = '\0';
                        count++;
                }
                if (pem.data) /* the key stands in it, too */
                        explicit_bzero(pem.data, pem.room);
                buffer_done(&pem);
        }
        return count;
}
