/* What tests of transcripts share: their lines (tests/transcripts/README.md says
 * how they are written). What fails, fails the test. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/span.h"
#include "base/test.h"

static inline int test_transcript_hex(char c)
{
        return c >= '0' && c <= '9' ? c - '0' : ascii_lower(c) - 'a' + 10;
}

/* The octets that stand for the escape at `p`; returns how long it is. */
static inline size_t test_transcript_escape(const char *p, struct buffer *out)
{
        static const char names[] = "rn0t\\", octets[] = "\r\n\0\t\\";
        const char *found = strchr(names, p[1]);
        char c = found ? octets[found - names] : '\0';

        CHECK(found || p[1] == 'x', p);
        if (!found)
                c = (char) (test_transcript_hex(p[2]) << 4 | test_transcript_hex(p[3]));
        CHECK(buffer_append(out, &c, 1) == 0, "memory");
        return found ? 2 : 4;
}

/* Text with "\r \n \0 \t \\ \xHH" as octets, and "{x*100}" as a hundred times x. */
static inline void test_transcript_append(struct buffer *out, struct span text)
{
        size_t i = 0;

        while (i < text.len) {
                const char *p = text.p + i;

                if (*p == '\\' && i + 1 < text.len) {
                        i += test_transcript_escape(p, out);
                } else if (*p == '{' && text.len - i > 3 && p[2] == '*') {
                        for (long n = strtol(p + 3, NULL, 10); n > 0; n--)
                                CHECK(buffer_append(out, p + 1, 1) == 0, "memory");
                        i += span_find(span_skip(text, i), '}') + 1;
                } else {
                        CHECK(buffer_append(out, p, 1) == 0, "memory");
                        i++;
                }
        }
}

static inline void test_transcript_read(const char *path, struct buffer *out)
{
        FILE *f = fopen(path, "r");
        char block[4096];
        size_t n;

        CHECK(f, path);
        while ((n = fread(block, 1, sizeof block, f)) > 0)
                CHECK(buffer_append(out, block, n) == 0, "memory");
        fclose(f);
}
