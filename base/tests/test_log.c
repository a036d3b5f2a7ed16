/* Log lines: their form, nothing that forges a second one, whole lines from many threads. */
#include "base/tests/suite.h"
#include "base/utf8.h"

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

static void write_long_characters(void)
{
    static char text[5000];
    for (size_t i = 0; i + 3 < sizeof(text); i += 3) {
        memcpy(text + i, "\xe2\x82\xac", 3);
    }
    log_set_format(LOG_FORMAT_JSON);
    for (int i = 0; i < 4; i++) { /* one of them ends between two characters */
        log_info("area", "%.*s%s", i, "abc", text);
    }
    log_info("area", "%.*s%s", 2, "ab", "\xc3\xa9");
    log_set_format(LOG_FORMAT_KAFKA);
}

static void test_characters_are_not_cut(void)
{
    const char *text = capture(write_long_characters);
    CU_ASSERT_EQUAL(lines_in(text), 5);
    CU_ASSERT(utf8_is_valid(str_of(text)));
    CU_ASSERT(strchr(text, '?') == NULL); /* in JSON what is no UTF-8 is replaced */
    CU_ASSERT(strstr(text, "\"ab\xc3\xa9\"") != NULL);
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

static void write_areas(void)
{
    int api = log_area_of(STR("api"));
    log_set_area_level(api, LOG_DEBUG);
    log_debug("api", "told");
    log_debug("broker", "not told");
    log_set_level(LOG_ERROR);
    log_info("api", "told too");
    log_unset_area_level(api);
    log_info("api", "not told");
}

static void test_levels_of_areas(void)
{
    const char *text = capture(write_areas);
    CU_ASSERT_EQUAL(lines_in(text), 2);
    CU_ASSERT(!matches(text, "not told") && matches(text, "DEBUG told \\(api\\)"));
    CU_ASSERT_EQUAL(log_area_of(STR("nowhere")), -1);
}

static void write_json(void)
{
    log_set_format(LOG_FORMAT_JSON);
    log_info("broker", "listening listener=%s port=%d path=\"%s\"", "PLAINTEXT", 9092, "a b");
    log_warn("broker", "no pairs here, \"quoted\" \\ %s", "\xff\xc3\xa9\n");
    log_info("broker", "a=1 then text");
    log_info("broker", "all=1 of=x");
    log_info("broker", "numbers zero=0 long=1234567890123456 lead=01 minus=-5 empty= dash=-");
    log_set_format(LOG_FORMAT_KAFKA);
}

static void test_json(void)
{
    const char *text = capture(write_json);
    CU_ASSERT_EQUAL(lines_in(text), 5);
    CU_ASSERT(matches(text, "^\\{\"time\":\"[0-9-]{10}T[0-9:]{8}\\.[0-9]{3}Z\",\"level\":\"INFO\","
                            "\"logger\":\"broker\",\"message\":\"listening\",\"fields\":\\{"
                            "\"listener\":\"PLAINTEXT\",\"port\":9092,\"path\":\"a b\"\\}\\}\n"));
    CU_ASSERT(strstr(text, "\"message\":\"no pairs here, \\\"quoted\\\" \\\\ ?\?\?\?\"}\n") !=
              NULL);
    CU_ASSERT(strstr(text, "\"message\":\"a=1 then text\"}\n") != NULL);
    CU_ASSERT(strstr(text, "\"message\":\"\",\"fields\":{\"all\":1,\"of\":\"x\"}}\n") != NULL);
    CU_ASSERT(strstr(text, "\"zero\":0,\"long\":\"1234567890123456\",\"lead\":\"01\",\"minus\":-5,"
                           "\"empty\":\"\",\"dash\":\"-\"}") != NULL);
}

static void write_json_at_its_longest(void)
{
    static char text[4000];
    memset(text, '"', sizeof(text) - 1);
    log_set_format(LOG_FORMAT_JSON);
    log_info("broker", "%s", text);
    log_info("broker", "next");
    log_set_format(LOG_FORMAT_KAFKA);
}

static void test_json_at_its_longest(void)
{
    const char *text = capture(write_json_at_its_longest);
    CU_ASSERT_EQUAL(lines_in(text), 2);
    CU_ASSERT(matches(text, "\"\\}\n.*\"message\":\"next\"\\}\n$"));
}

static void write_flood(void)
{
    log_set_rate(10);
    for (int i = 0; i < 1000; i++) {
        log_warn("broker", "provoked by \"%s\" i=%d", "x", i);
        log_fatal("broker", "never left out");
    }
    log_info("broker", "another kind");
    sleep_ms(1100); /* the next second: what this is about */
    log_set_format(LOG_FORMAT_JSON);
    log_info("api", "a kind that was not left out i=%d", -1);
    log_set_format(LOG_FORMAT_KAFKA);
    log_set_rate(0);
}

/* The thousand may meet the end of a second, and then twenty of them are told. */
static void test_flood(void)
{
    const char *text = capture(write_flood);
    int told = 0;
    for (const char *at = text; (at = strstr(at, "WARN provoked")) != NULL; at++) {
        told++;
    }
    CU_ASSERT(told == 10 || told == 20);
    CU_ASSERT(matches(
        text,
        "\"logger\":\"broker\",\"message\":\"lines left out, there were too many\",\"fields\":"
        "\\{\"count\":9[0-9]0,\"of\":\"provoked by\"\\}\\}"));
    CU_ASSERT(strstr(text, "another kind") != NULL && strstr(text, "\"i\":-1") != NULL);
}

static void test_file(void)
{
    char path[] = "/tmp/ottla-log-XXXXXX";
    char moved[sizeof(path) + 2];
    close(mkstemp(path));
    snprintf(moved, sizeof(moved), "%s.1", path);
    CU_ASSERT(log_open_file("/nowhere/at/all") != OK);
    MUST(log_open_file(path));
    log_set_level(LOG_INFO);
    log_info("broker", "before");
    CU_ASSERT_EQUAL(rename(path, moved), 0);
    log_info("broker", "still before");
    MUST(log_reopen());
    log_info("broker", "after");
    log_set_level(LOG_OFF);
    char command[256];
    snprintf(command, sizeof(command),
             "test $(wc -l <%s) = 2 && test $(wc -l <%s) = 1 && grep -q after %s", moved, path,
             path);
    CU_ASSERT_EQUAL(system(command), 0);
    unlink(path);
    unlink(moved);
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
      TEST(test_characters_are_not_cut), TEST(test_levels), TEST(test_lines_stay_whole),
      TEST(test_levels_of_areas), TEST(test_json), TEST(test_json_at_its_longest), TEST(test_flood),
      TEST(test_file))
