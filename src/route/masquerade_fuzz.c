/* Any octets as a header: rewritten once it stays as it is, and no line comes
 * or goes. */
#include <stdlib.h>
#include <unistd.h>

#include "config/snapshot_build.h"
#include "route/masquerade.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *config;
static struct snapshot *site;

static void prepare(void)
{
        struct buffer error = BUFFER_INIT(4096);
        struct snapshot_build *b;
        int fd;

        if (config_parse(SPAN_LITERAL("hostname = \"a.b\"\ndomains = { \"a.b\" }\n"
                                      "masquerade { as = \"c.d\" domains = { \"e.f\" } "
                                      "always_add_domain = yes }\n"),
                         "conf", &config, &error) < 0 ||
            snapshot_build_new(1, 1, &b) < 0 ||
            snapshot_build_add(b, SNAPSHOT_DOMAINS, SPAN_LITERAL("a.b"), SPAN_LITERAL(""), 1) < 0 ||
            snapshot_build_finish(b, &error, &fd) < 0 || snapshot_open(fd, &site) < 0)
                abort();
        close(fd);
        snapshot_build_free(b);
}

static size_t count_lines(struct span s)
{
        size_t n = 0;

        for (size_t i = 0; i < s.len; i++)
                n += s.p[i] == '\n';
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span header = span_make((const char *) data, size);
        struct buffer once = BUFFER_INIT(1 << 20), twice = BUFFER_INIT(1 << 20);
        unsigned changed;

        if (!config)
                prepare();
        if (masquerade_header(config, site, header, &once, &changed) > 0) {
                /* A fold within an address goes with it. */
                if (count_lines(buffer_span(&once)) > count_lines(header))
                        abort();
                if (masquerade_header(config, site, buffer_span(&once), &twice, &changed) > 0 &&
                    !span_equal(buffer_span(&once), buffer_span(&twice)))
                        abort();
        }
        buffer_done(&once);
        buffer_done(&twice);
        return 0;
}
