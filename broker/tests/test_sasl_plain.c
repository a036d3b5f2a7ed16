/* PLAIN: messages, users, and what failures are told. */
#include "broker/security/sasl_plain.h"

#include "base/tests/suite.h"
#include "protocol/error.h"

static struct plain_users users;

static void begin(void)
{
    struct properties options;
    properties_init(&options);
    properties_set(&options, "username", "broker");
    properties_set(&options, "password", "inside");
    properties_set(&options, "user_alice", "secret");
    properties_set(&options, "user_bob", "");
    plain_users_init(&users, &options, random_system());
    properties_deinit(&options);
}

#define MESSAGE(literal) bytes_of(literal, sizeof(literal) - 1)

static void refused(struct bytes message, const char *words)
{
    char text[PLAIN_TEXT_MAX];
    struct str name;
    CU_ASSERT_EQUAL(sasl_plain_login(&users, message, &name, text), ERR_SASL_AUTHENTICATION_FAILED);
    CU_ASSERT_STRING_EQUAL(text, words);
}

static void taken(struct bytes message)
{
    char text[PLAIN_TEXT_MAX];
    struct str name = {0};
    CU_ASSERT_EQUAL(sasl_plain_login(&users, message, &name, text), OK);
    CU_ASSERT(str_is(name, "alice"));
}

static void test_logins(void)
{
    begin();
    taken(MESSAGE("\0alice\0secret"));
    taken(MESSAGE("alice\0alice\0secret"));
    plain_users_deinit(&users);
}

static void test_refusals(void)
{
    static const char NOBODY[] = "Authentication failed: Invalid username or password";
    begin();
    refused(MESSAGE("\0alice\0secreT"), NOBODY);
    refused(MESSAGE("\0alice\0secret "), NOBODY);
    refused(MESSAGE("\0alic\0secret"), NOBODY);
    refused(MESSAGE("\0broker\0inside"), NOBODY);
    refused(MESSAGE("\0Alice\0secret"), NOBODY);
    refused(MESSAGE("\0\0secret"), "Authentication failed: username not specified");
    refused(MESSAGE("\0bob\0"), "Authentication failed: password not specified");
    refused(MESSAGE("bob\0alice\0secret"),
            "Authentication failed: Client requested an authorization id that is different from "
            "username");
    refused(MESSAGE(""), "Invalid SASL/PLAIN response: expected 3 tokens, got 1");
    refused((struct bytes){0}, "Invalid SASL/PLAIN response: expected 3 tokens, got 1");
    refused(MESSAGE("\0a"), "Invalid SASL/PLAIN response: expected 3 tokens, got 2");
    refused(MESSAGE("\0alice\0secret\0"), "Invalid SASL/PLAIN response: expected 3 tokens, got 4");
    refused(MESSAGE("\0\0\0\0\0\0"), "Invalid SASL/PLAIN response: expected 3 tokens, got 4");
    plain_users_deinit(&users);
}

SUITE("sasl_plain", TEST(test_logins), TEST(test_refusals))
