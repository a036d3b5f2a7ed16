/* From a certificate's name to a principal's. The rows are what Kafka 3.9.1's SslPrincipalMapper answers. */
#include "broker/security/principal_rules.h"

#include "base/tests/suite.h"

static char reason[256];

/* Malloc'd; NULL: refused, or no rule applies. */
static char *mapped(const char *rules, const char *dn)
{
    struct principal_rules *parsed = NULL;
    reason[0] = '\0';
    if (principal_rules_parse(rules, &parsed, reason, sizeof(reason)) != OK) {
        return NULL;
    }
    char *name = principal_rules_apply(parsed, dn);
    principal_rules_free(parsed);
    return name;
}

static void gives(const char *rules, const char *dn, const char *expected)
{
    char *name = mapped(rules, dn);
    CU_ASSERT_STRING_EQUAL(reason, "");
    CU_ASSERT_STRING_EQUAL(name == NULL ? "(none)" : name, expected);
    free(name);
}

static void refused(const char *rules, const char *sentence)
{
    CU_ASSERT_PTR_NULL(mapped(rules, "CN=q"));
    CU_ASSERT_STRING_EQUAL(reason, sentence);
}

static void test_rules(void)
{
    static const char USERS[] = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/,"
                                "RULE:^CN=(.*?),OU=(.*?),.*$/$1@$2/U,DEFAULT";
    gives("RULE:^.*CN=(Carol),.*O=Acme.*$/mapped-$1/L,DEFAULT", "CN=Carol,OU=data,O=Acme,C=NL",
          "mapped-carol");
    gives(USERS, "CN=duke,OU=ServiceUsers,O=Org", "duke");
    gives(USERS, "CN=duke,OU=Other,O=Org", "DUKE@OTHER");
    gives(USERS, "CN=duke", "CN=duke");
    gives("RULE:^CN=(q,r)$/$1/,DEFAULT", "CN=q,r", "q,r");
    gives("RULE:a|b/x/", "a", "x");
    gives("RULE:b/x/", "abc", "(none)");
    gives("RULE:^a$/b/", "CN=q", "(none)");
}

static void test_lists(void)
{
    gives("DEFAULT", "CN=x", "CN=x");
    gives(NULL, "CN=x", "CN=x");
    gives("", "CN=x", "(none)");
    gives(",,DEFAULT, ,", "CN=q", "CN=q");
    gives("RULE:^CN=(.*)$/$1/L  ,  DEFAULT", "CN=Q", "q");
    gives("DEFAULT\nRULE:a/b/", "a", "b"); /* as in Kafka, where a line's end ends no rule */
}

static void test_replacements(void)
{
    gives("RULE:.*/x/", "CN=a", "xx");
    gives("RULE:^CN=(.*)$/$2$1$12/", "CN=x", "$2xx2");
    gives("RULE:^CN=(.*)$/$10/", "CN=q", "q0");
    gives("RULE:^CN=(.*)$/a\\/b$1/", "CN=q", "a/bq");
    gives("RULE:^CN=(.*)$/\\$1/", "CN=q", "$1");
    gives("RULE:^(.*)$/$1/U", "CN=Zoë", "CN=ZOË");
    gives("RULE:^(.*)$/$1/L", "CN=ZOË", "cn=zoë");
}

static void test_refusals(void)
{
    refused("FOO", "Invalid rule: `FOO`, unmatched substring: `FOO`");
    refused("DEFAULT junk", "Invalid rule: `DEFAULT junk`, unmatched substring: ` junk`");
    refused("RULE:^CN=x/y", "Invalid rule: `RULE:^CN=x/y`, unmatched substring: `RULE:^CN=x/y`");
    refused("RULE:^CN=(.*)$/$1/Lx",
            "Invalid rule: `RULE:^CN=(.*)$/$1/Lx`, unmatched substring: `x`");
    refused("RULE://x/", "Invalid rule: `RULE://x/`, unmatched substring: `x/`");
    refused("RULE:[/x/", "Invalid rule: `RULE:[/x/`, its pattern or replacement is none");
    refused("RULE:^CN=(.*)$/$x/",
            "Invalid rule: `RULE:^CN=(.*)$/$x/`, its pattern or replacement is none");
}

/* A pattern that would take for ever on a name that a client has chosen applies to nobody, and lets no later rule
 * decide. */
static void test_bound(void)
{
    char dn[256] = "CN=";
    memset(dn + 3, 'a', 200);
    snprintf(dn + 203, sizeof(dn) - 203, ",b");
    int64_t begun_ms = now_ms();
    gives("RULE:^CN=(a+)+b$/x/,DEFAULT", dn, "(none)");
    CU_ASSERT(now_ms() - begun_ms < 2000);
}

SUITE("principal_rules", TEST(test_rules), TEST(test_lists), TEST(test_replacements),
      TEST(test_refusals), TEST(test_bound))
