/* Any octets as each table: rows that can all be found again, or errors. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct buffer error = BUFFER_INIT(1 << 20);
        struct snapshot_build *b = NULL;
        struct snapshot *s = NULL;
        int fd = -1;
        int r = snapshot_build_new(1, size, &b);

        if (r == 0)
                r = table_users_parse(span_make((const char *) data, size), SPAN_LITERAL("users"),
                                      b, &error);
        if ((r == 0) != (error.len == 0))
                abort();
        if (r == 0)
                r = snapshot_build_finish(b, &error, &fd);
        if (r == 0) {
                struct span value, again;

                if (snapshot_open(fd, &s) < 0)
                        abort();
                /* An account's own address leads to itself. */
                if (snapshot_get(s, SNAPSHOT_USERS, SPAN_LITERAL("b@example.jp"), &value, NULL) &&
                    (!snapshot_get(s, SNAPSHOT_USERS, value, &again, NULL) ||
                     !span_equal(value, again)))
                        abort();
                snapshot_close(s);
                close(fd);
        }
        snapshot_build_free(b);
        buffer_done(&error);
        return 0;
}
