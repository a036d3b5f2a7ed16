/* What the unit tests of base, zk and broker share: a program with one suite, a directory of its own,
 * waiting for what another thread does. */
#ifndef OTTLA_BASE_TESTS_SUITE_H
#define OTTLA_BASE_TESTS_SUITE_H

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/random.h"

#include <CUnit/Basic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MUST(expression) CU_ASSERT_EQUAL_FATAL((expression), OK)

/* ---- waiting ---- */

#define UNUSED __attribute__((unused))

enum { PATIENCE_MS = 20000 };

UNUSED static void sleep_ms(int ms)
{
    clock_sleep_us(clock_system(), ms * 1000);
}

UNUSED static int64_t now_ms(void)
{
    return clock_monotonic_ms(clock_system());
}

/* Waits until the expression is true. */
#define EVENTUALLY(expression)                                                                     \
    do {                                                                                           \
        int64_t until_ms = now_ms() + PATIENCE_MS;                                                 \
        while (!(expression) && now_ms() < until_ms) {                                             \
            sleep_ms(1);                                                                           \
        }                                                                                          \
        CU_ASSERT(expression);                                                                     \
    } while (0)

/* ---- a directory that goes with the program ---- */

static inline void temp_dir_remove(const char *path)
{
    char command[256];
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    if (system(command) != 0) {
        fprintf(stderr, "%s stays behind\n", path);
    }
}

/* `path` has room for 64 bytes. */
static inline void temp_dir_make(char *path)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/ottla-test-XXXXXX", base == NULL ? "/tmp" : base);
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
}

/* ---- the program ---- */

struct suite_test {
    const char *name;
    void (*run)(void);
};

/* Runs all tests, or those whose name contains the argument. */
static inline int suite_run(const char *name, const struct suite_test *tests, size_t count,
                            int argc, char **argv)
{
    log_set_level(LOG_OFF);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite(name, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        if (argc < 2 || strstr(tests[i].name, argv[1]) != NULL) {
            CU_add_test(suite, tests[i].name, tests[i].run);
        }
    }
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}

#define TEST(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }
#define SUITE(name, ...)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        const struct suite_test tests[] = {__VA_ARGS__};                                           \
        return suite_run(name, tests, sizeof(tests) / sizeof(tests[0]), argc, argv);               \
    }

#endif
