/* ISO-2022-JP (RFC 1468) by a table: what nearly all of it is, several times as
 * fast as through a converter that also knows what is rare or wrong.
 *
 * Pure, apart from memory for the output. */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

enum { ISO_2022_JP_ROWS = 94, ISO_2022_JP_CELLS = 94 };

/* What a pair of octets means as UTF-8: row and cell count from 0; `len` 0: the
 * table does not know. */
struct iso_2022_jp_table {
        struct {
                char octets[3];
                uint8_t len;
        } cells[ISO_2022_JP_ROWS][ISO_2022_JP_CELLS];
};

/* Appends text as UTF-8, up to the line in which there is anything that is not
 * ASCII, JIS X 0201 Roman where it is ASCII, or a pair of JIS X 0208 (by "ESC $ B")
 * of which the table knows. What is left over begins in ASCII, as text does. 0 with
 * the octets read, all or less; or as buffer_reserve(). */
int iso_2022_jp_read(const struct iso_2022_jp_table *t, struct span text, struct buffer *out,
                     size_t *ret_used);
