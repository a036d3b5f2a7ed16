/* JAAS entries: what Java's tokenizer makes of them, and each refusal. */
#include "broker/security/jaas.h"

#include "base/tests/suite.h"

#define PLAIN_CLASS "org.apache.kafka.common.security.plain.PlainLoginModule"
#define SCRAM_CLASS "org.apache.kafka.common.security.scram.ScramLoginModule"
#define OAUTH_CLASS "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"

static char reason[512];

static void check(const char *text, enum jaas_module module, const char *name, const char *value)
{
    struct jaas jaas;
    reason[0] = '\0';
    CU_ASSERT_EQUAL(jaas_parse(text, &jaas, reason, sizeof(reason)), OK);
    CU_ASSERT_STRING_EQUAL(reason, "");
    CU_ASSERT_EQUAL(jaas.module, module);
    if (name != NULL) {
        const char *found = properties_get(&jaas.options, name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(found);
        CU_ASSERT_STRING_EQUAL(found, value);
    }
    jaas_deinit(&jaas);
}

static void value(const char *written, const char *read)
{
    char *text = xasprintf(PLAIN_CLASS " required a=%s;", written);
    check(text, JAAS_PLAIN, "a", read);
    free(text);
}

static void refused(const char *text, const char *words)
{
    struct jaas jaas;
    CU_ASSERT_EQUAL(jaas_parse(text, &jaas, reason, sizeof(reason)), E_CONFIG);
    CU_ASSERT_STRING_EQUAL(reason, words);
    jaas_deinit(&jaas);
}

static void test_entries(void)
{
    check(PLAIN_CLASS " required;", JAAS_PLAIN, NULL, NULL);
    check(" " SCRAM_CLASS "\n REQUISITE // why not\n /* and */ username = \"x\" ;", JAAS_SCRAM,
          "username", "x");
    check(OAUTH_CLASS " Optional unsecuredLoginStringClaim_sub='b';", JAAS_OAUTHBEARER,
          "unsecuredLoginStringClaim_sub", "b");
    check(PLAIN_CLASS " sufficient a=b a=c;", JAAS_PLAIN, "a", "c");
}

static void test_values(void)
{
    value("word", "word");
    value("w.o-r_d$1", "w.o-r_d$1");
    value("_1", "_1");
    value("\"\"", "");
    value("\"b;o\\\"b\"", "b;o\"b");
    value("'b\"o'", "b\"o");
    value("\"a\\\\b\\n\\t\\q\\101\\1234\\7\"", "a\\b\n\tqAS4\a");
    value("\"\\377\"", "\xc3\xbf");
    value("\"// no /* comment\"", "// no /* comment");
    value("\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac");
}

static void test_refusals(void)
{
    refused("", "JAAS config property does not contain any login modules");
    refused(" /* x", "JAAS config property does not contain any login modules");
    refused("; x", "Login module not specified in JAAS config");
    refused(PLAIN_CLASS, "Login module control flag not specified in JAAS config");
    refused(PLAIN_CLASS " perhaps;", "Invalid login module control flag 'perhaps' in JAAS config");
    refused(PLAIN_CLASS " required", "JAAS config entry not terminated by semi-colon");
    refused(PLAIN_CLASS " required a=b", "JAAS config entry not terminated by semi-colon");
    refused(PLAIN_CLASS " required b;", "Value not specified for key 'b' in JAAS config");
    refused(PLAIN_CLASS " required b=;", "Value not specified for key 'b' in JAAS config");
    refused(PLAIN_CLASS " required b=12;", "Value not specified for key 'b' in JAAS config");
    refused(PLAIN_CLASS " required b=-x;", "Value not specified for key 'b' in JAAS config");
    refused(PLAIN_CLASS " required b=.x;", "Value not specified for key 'b' in JAAS config");
    refused(PLAIN_CLASS " required ;" SCRAM_CLASS " required;",
            "JAAS config property contains 2 login modules, should be 1 module");
    refused("com.sun.security.auth.module.JndiLoginModule required;",
            "login module com.sun.security.auth.module.JndiLoginModule is not known; it must be "
            "Kafka's PlainLoginModule, ScramLoginModule or OAuthBearerLoginModule");
}

/* What a properties file makes of one backslash: the string ends before b. */
static void test_eaten_backslash(void)
{
    refused(PLAIN_CLASS " required p=\"b;o\"b\";",
            "Value not specified for key 'b' in JAAS config");
}

static void test_no_secret_is_told(void)
{
    struct jaas jaas;
    CU_ASSERT_EQUAL(jaas_parse(PLAIN_CLASS " required password=\"swordfish\" x=\"swordfish\" y;",
                               &jaas, reason, sizeof(reason)),
                    E_CONFIG);
    CU_ASSERT_PTR_NULL(strstr(reason, "swordfish"));
    jaas_deinit(&jaas);
}

SUITE("jaas", TEST(test_entries), TEST(test_values), TEST(test_refusals),
      TEST(test_eaten_backslash), TEST(test_no_secret_is_told))
