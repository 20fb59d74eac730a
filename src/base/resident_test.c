/* A process that gave its memory back is smaller, and as it was. */
#include "base/resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sanitizer.h"
#include "base/test.h"

enum { BLOCKS = 4000, OCTETS = 4096 };

static unsigned written = 1; /* must stay what it becomes */
static void (*const relocated)(void) = resident_give_back;

static long resident_pages(void)
{
        FILE *f = fopen("/proc/self/statm", "r");
        char text[128] = "", *rest;
        long pages;

        assert_non_null(f);
        assert_non_null(fgets(text, sizeof text, f));
        fclose(f);
        strtol(text, &rest, 10);
        pages = strtol(rest, NULL, 10);
        return pages;
}

static void fill(char *blocks[])
{
        for (size_t i = 0; i < BLOCKS; i++) {
                blocks[i] = malloc(OCTETS);
                assert_non_null(blocks[i]);
                memset(blocks[i], (int) i, OCTETS);
        }
}

TEST(gives_back)
{
        static char *blocks[BLOCKS];
        long before;

        fill(blocks);
        written = 2;
        before = resident_pages();
        for (size_t i = 0; i + 1 < BLOCKS; i++) /* the last keeps the heap from shrinking */
                free(blocks[i]);
        for (unsigned i = 0; i < 3; i++)
                relocated();
        if (!IS_SANITIZED)
                assert_true(resident_pages() < before - BLOCKS / 2);
        assert_int_equal(2, written);
        assert_int_equal((char) (BLOCKS - 1), blocks[BLOCKS - 1][OCTETS - 1]);
        free(blocks[BLOCKS - 1]);
}

TEST_MAIN()
