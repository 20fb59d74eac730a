/* Any octets as a snapshot whose checksum is right, as only our own bugs or a
 * broken-in compiler could make one: it is refused, or can be asked for any key
 * without a step outside the map. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "config/snapshot.h"
#include "config/snapshot_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes what is checked first right, so that the rest is reached. */
static void put_right(char *copy, size_t size)
{
        struct snapshot_header header;

        memcpy(&header, copy, sizeof header);
        header.magic = SNAPSHOT_MAGIC;
        header.format = SNAPSHOT_FORMAT;
        header.table_count = SNAPSHOT_TABLE_END;
        header.size = size;
        memcpy(copy, &header, sizeof header);
        header.checksum = snapshot_checksum(span_make(copy, size));
        memcpy(copy, &header, sizeof header);
}

static void ask(const struct snapshot *s, struct span key)
{
        struct span value;
        uint32_t line;
        volatile char sum = 0;

        for (int table = SNAPSHOT_DOMAINS; table < SNAPSHOT_TABLE_END; table++) {
                const struct span source = snapshot_source(s, (enum snapshot_table) table);

                if (source.len)
                        sum = (char) (sum + source.p[0] + source.p[source.len - 1]);
                if (snapshot_get(s, (enum snapshot_table) table, key, &value, &line) && value.len)
                        sum = (char) (sum + value.p[0] + value.p[value.len - 1]);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct snapshot *s = NULL;
        char *copy;
        int fd;

        if (size < sizeof(struct snapshot_header))
                return 0;
        copy = malloc(size);
        fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (!copy || fd < 0)
                abort();
        memcpy(copy, data, size);
        put_right(copy, size);
        if (file_write_all(fd, copy, size) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) < 0)
                abort();
        if (snapshot_open(fd, &s) == 0) {
                ask(s, SPAN_LITERAL("a@example.jp"));
                ask(s, SPAN_LITERAL("EXAMPLE.JP"));
                ask(s, (struct span) {NULL, 0});
                ask(s, span_make(copy, size < 64 ? size : 64));
        }
        snapshot_close(s);
        close(fd);
        free(copy);
        return 0;
}
