/* Unit tests: a thin layer over cmocka.
 *
 *   TEST(name_of_the_rule) { CHECK(condition, label); }
 *   TEST_WITH(name_of_the_rule, make_world, end_world) { … }
 *   TEST_MAIN()
 *
 * TEST_WITH: functions of cmocka's type (NULL: none) that run before and after
 * the test, the second also when it failed. Each TEST registers itself. CHECK
 * prints `label` (the row of a table) when it fails and ends that test. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { TEST_MAX = 256 };
static struct CMUnitTest test_all[TEST_MAX];
static size_t test_count;

#define TEST(test_name) TEST_WITH(test_name, NULL, NULL)

#define TEST_WITH(test_name, before, after)                                                        \
        static void test_name(void **state);                                                       \
        __attribute__((constructor)) static void test_name##_add(void)                             \
        {                                                                                          \
                test_all[test_count++] = (struct CMUnitTest) {#test_name, test_name, before,       \
                                                              after, NULL};                        \
        }                                                                                          \
        static void test_name(void **state __attribute__((unused)))

#define CHECK(condition, label)                                                                    \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        print_error("case: %s\n", (label));                                        \
                        assert_true(condition);                                                    \
                }                                                                                  \
        } while (0)

#define TEST_MAIN()                                                                                \
        int main(void)                                                                             \
        {                                                                                          \
                return _cmocka_run_group_tests(__FILE__, test_all, test_count, NULL, NULL);        \
        }
