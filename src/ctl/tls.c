#include "ctl/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/file.h"
#include "base/number.h"
#include "ctl/console.h"
#include "net/tls/certificate.h"

const char tls_help[] =
        "hayauma tls self-signed [NAME…] [--out FILE] [--days N]\n"
        "hayauma tls csr [NAME…] [--out FILE]\n"
        "hayauma tls ca FOLDER [NAME…] [--days N]\n"
        "\n"
        "self-signed makes a certificate and its key in one file, NAME.pem, which\n"
        "tls.certificate may name. csr makes NAME.csr, to send to an authority, and\n"
        "NAME.key, to keep. ca makes an authority of your own in FOLDER (ca.pem, which\n"
        "clients may be told to trust, and ca.key), unless it is there, and with it\n"
        "FOLDER/NAME.pem: a NAME with \"@\" is a mail address, for a client that logs in\n"
        "by certificate (tls.client_ca).\n"
        "Without a name it is the hostname of the configuration. Several names go into\n"
        "one certificate. A file that exists is never written over.\n";

enum {
        PEM_MAX = 256 * 1024,
        DAYS_MAX = 36500,
        DAYS_DEFAULT = 365,
        DAYS_AUTHORITY = 3650,
        PATH_SIZE = 4096,
};

struct tls_command {
        const char *config_file, *out, *days_text;
        unsigned days; /* 0: not said */
        struct span names[CERTIFICATE_NAMES_MAX];
        size_t name_count;
        struct config *config; /* of the hostname */
};

/* New, whole, and with a key in it nobody's but ours. */
static int write_new(const char *path, struct span first, struct span second, mode_t mode)
{
        const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        int r;

        if (fd < 0)
                return console_fail(errno == EEXIST ? EX_CANTCREAT : EX_IOERR,
                                    "cannot make \"%s\": %s", path,
                                    errno == EEXIST ? "it is there already; move it away, or say "
                                                      "--out"
                                                    : strerror(errno));
        r = file_write_all(fd, first.p, first.len);
        if (r == 0 && second.len)
                r = file_write_all(fd, second.p, second.len);
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        close(fd);
        if (r == 0) {
                printf("%s\n", path);
                return EX_OK;
        }
        unlink(path);
        return console_fail(EX_IOERR, "cannot write \"%s\": %s", path, strerror(-r));
}

static void wipe(struct buffer *b)
{
        if (b->data)
                explicit_bzero(b->data, b->room);
        buffer_done(b);
}

/* "NAME.pem" where --out says nothing. */
static const char *out_path(const struct tls_command *t, const char *folder, const char *ending,
                            char path[PATH_SIZE])
{
        snprintf(path, PATH_SIZE, "%s%s%.*s%s", folder, folder[0] ? "/" : "",
                 (int) t->names[0].len, t->names[0].p, ending);
        return path;
}

static int self_signed(const struct tls_command *t)
{
        const struct certificate_order order = {
                .names = t->names, .name_count = t->name_count,
                .days = t->days ? t->days : DAYS_DEFAULT,
        };
        struct buffer certificate = BUFFER_INIT(PEM_MAX), key = BUFFER_INIT(PEM_MAX);
        char error[TLS_ERROR_MAX] = "", path[PATH_SIZE];
        int status = EX_DATAERR;

        if (certificate_make(&order, (struct span) {0}, &certificate, &key, error) < 0)
                console_fail(status, "%s", error);
        else
                status = write_new(t->out ? t->out : out_path(t, "", ".pem", path),
                                   buffer_span(&certificate), buffer_span(&key), 0600);
        buffer_done(&certificate);
        wipe(&key);
        return status;
}

static int request(const struct tls_command *t)
{
        const struct certificate_order order = {.names = t->names, .name_count = t->name_count};
        struct buffer text = BUFFER_INIT(PEM_MAX), key = BUFFER_INIT(PEM_MAX);
        char error[TLS_ERROR_MAX] = "", path[PATH_SIZE];
        int status = EX_DATAERR;

        if (certificate_request(&order, &text, &key, error) < 0)
                console_fail(status, "%s", error);
        else
                status = write_new(out_path(t, "", ".key", path), buffer_span(&key),
                                   (struct span) {0}, 0600);
        if (status == EX_OK)
                status = write_new(t->out ? t->out : out_path(t, "", ".csr", path),
                                   buffer_span(&text), (struct span) {0}, 0644);
        buffer_done(&text);
        wipe(&key);
        return status;
}

/* ---- an authority of one's own ---- */

static int make_authority(const struct tls_command *t, const char *folder)
{
        const struct span name = SPAN("mail-authority");
        const struct certificate_order order = {
                .names = &name, .name_count = 1, .is_authority = true,
                .days = t->days > DAYS_AUTHORITY ? t->days : DAYS_AUTHORITY,
        };
        struct buffer certificate = BUFFER_INIT(PEM_MAX), key = BUFFER_INIT(PEM_MAX);
        char error[TLS_ERROR_MAX] = "", path[PATH_SIZE];
        int status = EX_SOFTWARE;

        if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
                status = console_fail(EX_CANTCREAT, "cannot make \"%s\": %s", folder,
                                      strerror(errno));
        } else if (certificate_make(&order, (struct span) {0}, &certificate, &key, error) < 0) {
                console_fail(status, "%s", error);
        } else {
                snprintf(path, sizeof path, "%s/ca.key", folder);
                status = write_new(path, buffer_span(&key), (struct span) {0}, 0600);
        }
        if (status == EX_OK) {
                snprintf(path, sizeof path, "%s/ca.pem", folder);
                status = write_new(path, buffer_span(&certificate), (struct span) {0}, 0644);
        }
        buffer_done(&certificate);
        wipe(&key);
        return status;
}

/* Certificate and key of the authority, made where there is none. */
static int read_authority(const struct tls_command *t, const char *folder, struct buffer *pem)
{
        char path[PATH_SIZE];
        int status, r;

        snprintf(path, sizeof path, "%s/ca.key", folder);
        if (access(path, F_OK) < 0) {
                status = make_authority(t, folder);
                if (status != EX_OK)
                        return status;
        }
        r = file_read_at(AT_FDCWD, path, pem);
        if (r == 0) {
                snprintf(path, sizeof path, "%s/ca.pem", folder);
                r = file_read_at(AT_FDCWD, path, pem);
        }
        return r < 0 ? console_fail(EX_NOINPUT, "cannot read \"%s\": %s", path, strerror(-r))
                     : EX_OK;
}

static int sign(const struct tls_command *t, const char *folder)
{
        const struct certificate_order order = {
                .names = t->names, .name_count = t->name_count,
                .days = t->days ? t->days : DAYS_DEFAULT,
        };
        struct buffer authority = BUFFER_INIT(PEM_MAX);
        struct buffer certificate = BUFFER_INIT(PEM_MAX), key = BUFFER_INIT(PEM_MAX);
        char error[TLS_ERROR_MAX] = "", path[PATH_SIZE];
        int status = read_authority(t, folder, &authority);

        if (status == EX_OK && certificate_make(&order, buffer_span(&authority), &certificate,
                                                &key, error) < 0)
                status = console_fail(EX_DATAERR, "%s", error);
        if (status == EX_OK)
                status = write_new(t->out ? t->out : out_path(t, folder, ".pem", path),
                                   buffer_span(&certificate), buffer_span(&key), 0600);
        wipe(&authority);
        buffer_done(&certificate);
        wipe(&key);
        return status;
}

/* ---- the command ---- */

static int take_names(struct tls_command *t, int count, char **words)
{
        int status;

        for (int i = 0; i < count; i++) {
                if (t->name_count == CERTIFICATE_NAMES_MAX)
                        return console_fail(EX_USAGE, "at most %d names fit into a certificate",
                                            CERTIFICATE_NAMES_MAX);
                if (strchr(words[i], '/'))
                        return console_fail(EX_USAGE, "\"%s\" is no name", words[i]);
                t->names[t->name_count++] = span_from_string(words[i]);
        }
        if (t->name_count)
                return EX_OK;
        status = console_config(t->config_file, &t->config);
        if (status == EX_OK)
                t->names[t->name_count++] = t->config->hostname;
        return status;
}

static int take_days(struct tls_command *t)
{
        uint64_t days;

        if (!t->days_text)
                return EX_OK;
        if (number_parse(span_from_string(t->days_text), DAYS_MAX, &days) < 0 || days == 0)
                return console_fail(EX_USAGE, "--days is 1 to %d", DAYS_MAX);
        t->days = (unsigned) days;
        return EX_OK;
}

int tls_run(int argc, char **argv)
{
        struct tls_command t = {0};
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&t.config_file),
                { "out", false, &t.out, NULL },
                { "days", false, &t.days_text, NULL },
        };
        const int words = console_options(argc, argv, options, 3);
        const char *verb = words > 0 ? argv[1] : "";
        const int first = strcmp(verb, "ca") == 0 ? 3 : 2; /* of the names */
        int status;

        if (words < 0)
                return EX_USAGE;
        if (words < first - 1 || (first == 2 && strcmp(verb, "self-signed") != 0 &&
                                  strcmp(verb, "csr") != 0))
                return console_fail(EX_USAGE, "say self-signed, csr, or ca FOLDER; `hayauma tls "
                                    "--help` says more");
        status = take_days(&t);
        if (status == EX_OK)
                status = take_names(&t, words - first + 1, argv + first);
        if (status == EX_OK)
                status = first == 3 ? sign(&t, argv[2])
                                    : strcmp(verb, "csr") == 0 ? request(&t) : self_signed(&t);
        config_free(t.config);
        return status;
}
