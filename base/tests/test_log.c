/* Log lines: their form, nothing that forges a second one, whole lines from many threads. */
#include "base/tests/suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>

static char captured[1 << 20];

/* What `write` puts on standard error. */
static const char *capture(void (*write)(void))
{
    char path[] = "/tmp/ottla-log-XXXXXX";
    int file = mkstemp(path);
    CU_ASSERT_FATAL(file >= 0);
    int saved = dup(STDERR_FILENO);
    (void)fcntl(file, F_SETFL, O_APPEND);
    dup2(file, STDERR_FILENO);
    log_set_level(LOG_INFO);
    write();
    log_set_level(LOG_OFF);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file, captured, sizeof(captured) - 1, 0);
    CU_ASSERT_FATAL(n >= 0);
    captured[n] = '\0';
    close(file);
    unlink(path);
    return captured;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    CU_ASSERT_EQUAL_FATAL(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static int lines_in(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n';
    }
    return n;
}

static void write_form(void)
{
    log_warn("test", "topic created topic=%s partitions=%d", "a", 3);
}

static void test_form(void)
{
    CU_ASSERT(matches(capture(write_form),
                      "^\\[[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3}\\] WARN "
                      "topic created topic=a partitions=3 \\(test\\)\n$"));
}

static void write_forged(void)
{
    log_error("test", "client=%s", "x\n[2026-01-01 00:00:00,000] INFO forged (a)\r\t\x1b[31m\x7f");
}

static void test_no_forged_line(void)
{
    const char *text = capture(write_forged);
    CU_ASSERT_EQUAL(lines_in(text), 1);
    CU_ASSERT(matches(text, "client=x\\?\\[2026"));
    for (const char *c = text; *c != '\0'; c++) {
        CU_ASSERT(*c == '\n' || (unsigned char)*c >= 0x20);
        CU_ASSERT(*c != 0x7f);
    }
}

static void write_long(void)
{
    static char text[5000];
    memset(text, 'y', sizeof(text) - 1);
    log_info("area", "%s", text);
    log_info("area", "next");
}

static void test_long_line_is_cut(void)
{
    const char *text = capture(write_long);
    CU_ASSERT_EQUAL(lines_in(text), 2);
    CU_ASSERT(matches(text, "yyy \\(area\\)\n"));
    CU_ASSERT(strlen(text) < 2048 + 100);
}

static void write_levels(void)
{
    log_debug("test", "not told");
    log_info("test", "told");
    log_set_level(LOG_ERROR);
    log_warn("test", "not told");
    log_fatal("test", "told");
}

static void test_levels(void)
{
    const char *text = capture(write_levels);
    CU_ASSERT_EQUAL(lines_in(text), 2);
    CU_ASSERT(!matches(text, "not told") && matches(text, "INFO told") &&
              matches(text, "FATAL told"));
}

enum { THREADS = 4, LINES = 300 };

static void *write_many(void *argument)
{
    for (int i = 0; i < LINES; i++) {
        log_info("test", "thread=%d line=%d end", *(int *)argument, i);
    }
    return NULL;
}

static void write_from_threads(void)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        pthread_create(&threads[i], NULL, write_many, &numbers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void test_lines_stay_whole(void)
{
    char *text = xstrdup(capture(write_from_threads));
    int whole = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        whole += matches(line, "^\\[[^]]*\\] INFO thread=[0-9]+ line=[0-9]+ end \\(test\\)$");
    }
    CU_ASSERT_EQUAL(whole, THREADS * LINES);
    free(text);
}

SUITE("log", TEST(test_form), TEST(test_no_forged_line), TEST(test_long_line_is_cut),
      TEST(test_levels), TEST(test_lines_stay_whole))
