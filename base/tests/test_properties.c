/* Properties, as java.util.Properties reads them. */
#include "base/properties.h"

#include "base/tests/suite.h"

/* "name=value;" of everything that was read, or the line of the error. */
static const char *parsed(const char *text)
{
    static char out[1024];
    struct properties properties;
    properties_init(&properties);
    int line = 0;
    size_t len = strlen(text);
    char *copy = xmalloc(len); /* not terminated: nothing may read on */
    memcpy(copy, text, len);
    err e = properties_parse(&properties, copy, len, &line);
    free(copy);
    out[0] = '\0';
    if (e != OK) {
        CU_ASSERT_EQUAL(e, E_MALFORMED);
        snprintf(out, sizeof(out), "error in line %d", line);
    }
    for (size_t i = 0; e == OK && i < properties.count; i++) {
        size_t at = strlen(out);
        snprintf(out + at, sizeof(out) - at, "%s=%s;", properties.items[i].name,
                 properties.items[i].value);
    }
    properties_deinit(&properties);
    return out;
}

static void test_javas_rules(void)
{
    static const char *const CASES[][2] = {
        {"", ""},
        {"a=b", "a=b;"},
        {"a=b\nc=d\r\ne=f\rg=h", "a=b;c=d;e=f;g=h;"},
        {"  \t\f a = b ", "a=b ;"},
        {"a:b\nc d\ne \t= f\ng : h", "a=b;c=d;e=f;g=h;"},
        {"a = = b\nc:=d\ne==f", "a== b;c==d;e==f;"},
        {"# no=thing\n! no=thing\n  # no=thing\na=b # stays", "a=b # stays;"},
        {"# a comment is not continued \\\na=b", "a=b;"},
        {"a\nb=\nc:", "a=;b=;c=;"},
        {"a=b\\\n   c\\\r\n  d", "a=bcd;"},
        {"a\\\n b=c", "ab=c;"},
        {"a=b\\\n\nc=d", "a=b;c=d;"},
        {"a=b\\\n# no comment here", "a=b# no comment here;"},
        {"a\\ b\\=c\\:d=e", "a b=c:d=e;"},
        {"a=\\t\\n\\r\\f\\\\\\q\\\"", "a=\t\n\r\f\\q\";"},
        {"a=\\u0041\\u00e9\\u20ac", "a=A\xc3\xa9\xe2\x82\xac;"},
        {"a=\\u00E9x", "a=\xc3\xa9x;"},
        {"a=b\\", "a=b;"},
        {"a=1\nb=2\na=3", "a=3;b=2;"},
        {"=x", "=x;"},
        {"\n\n\r\n\r a=b\n\n", "a=b;"},
        {"log.dirs=C:\\\\kafka", "log.dirs=C:\\kafka;"},
        {"x=1\na=\\u12", "error in line 2"},
        {"x=1\n\n# c\na=\\\nb\\uzzzz", "error in line 4"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const char *got = parsed(CASES[i][0]);
        CU_ASSERT_STRING_EQUAL(got, CASES[i][1]);
        if (strcmp(got, CASES[i][1]) != 0) {
            printf("case %zu: got \"%s\", expected \"%s\"\n", i, got, CASES[i][1]);
        }
    }
}

static void test_set_and_get(void)
{
    struct properties properties;
    properties_init(&properties);
    CU_ASSERT_PTR_NULL(properties_get(&properties, "n0"));
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 100; i++) {
            char name[16];
            char value[16];
            snprintf(name, sizeof(name), "n%d", i);
            snprintf(value, sizeof(value), "v%d", i + turn);
            properties_set(&properties, name, value);
        }
    }
    CU_ASSERT_EQUAL(properties.count, 100);
    CU_ASSERT_STRING_EQUAL(properties_get(&properties, "n7"), "v8");
    CU_ASSERT_STRING_EQUAL(properties.items[99].name, "n99");
    CU_ASSERT_PTR_NULL(properties_get(&properties, "n100"));
    properties_deinit(&properties);
}

/* Any bytes are read or refused, never more than there are. */
static void test_any_bytes(void)
{
    static const char SOME[] = "ab=: \t\f\\\n\r#!u0041\0";
    struct seeded_random random;
    seeded_random_init(&random, 3);
    for (int turn = 0; turn < 20000; turn++) {
        size_t len = random_below(&random.random, 40);
        char *text = xmalloc(len);
        for (size_t i = 0; i < len; i++) {
            text[i] = SOME[random_below(&random.random, sizeof(SOME) - 1)];
        }
        struct properties properties;
        properties_init(&properties);
        int line = 0;
        err e = properties_parse(&properties, text, len, &line);
        CU_ASSERT_FATAL(e == OK || (e == E_MALFORMED && line > 0));
        properties_deinit(&properties);
        free(text);
    }
}

SUITE("properties", TEST(test_javas_rules), TEST(test_set_and_get), TEST(test_any_bytes))
