/* Listeners from the options' texts: what is read, and each refusal. */
#include "broker/net/listeners.h"

#include "base/tests/suite.h"

#define DEFAULT_MAP                                                                                \
    "PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,"                 \
    "INSIDE:PLAINTEXT,outside:plaintext,CONTROLLER:PLAINTEXT,SECRET:SASL_SSL"

static char reason[200];
static int names_asked;

static void host_name(char host[LISTENER_HOST_MAX])
{
    names_asked++;
    snprintf(host, LISTENER_HOST_MAX, "this.example");
}

static struct listeners_config config_of(const char *listeners, const char *advertised)
{
    return (struct listeners_config){.listeners = listeners,
                                     .advertised = advertised,
                                     .protocol_map = DEFAULT_MAP,
                                     .controller_names = "CONTROLLER, BACKSTAGE",
                                     .host_name = host_name};
}

static struct listeners parsed(const struct listeners_config *config)
{
    struct listeners out;
    reason[0] = '\0';
    names_asked = 0;
    err e = listeners_parse(config, &out, reason, sizeof(reason));
    CU_ASSERT_EQUAL(e, OK);
    if (e != OK) {
        printf("\"%s\"\n", reason);
    }
    return out;
}

static struct listeners parsed_of(const char *listeners, const char *advertised)
{
    const struct listeners_config config = config_of(listeners, advertised);
    return parsed(&config);
}

static void is(const struct listener *l, const char *name, const char *host, int port)
{
    CU_ASSERT_STRING_EQUAL(l->name, name);
    CU_ASSERT_STRING_EQUAL(l->host, host);
    CU_ASSERT_EQUAL(l->port, port);
    CU_ASSERT_EQUAL(l->conns_max, INT32_MAX);
}

static void test_listeners(void)
{
    struct listeners l =
        parsed_of("plaintext://:9092, INSIDE://10.0.0.1:0,,OUTSIDE://[::1]:65535", NULL);
    CU_ASSERT_EQUAL_FATAL(l.count, 3);
    is(&l.all[0], "PLAINTEXT", "", 9092);
    is(&l.all[1], "INSIDE", "10.0.0.1", 0);
    is(&l.all[2], "OUTSIDE", "::1", 65535);
    CU_ASSERT_STRING_EQUAL(l.all[0].advertised_host, "");
    CU_ASSERT_EQUAL(listener_told_port(&l.all[0]), 9092);
    listeners_deinit(&l);
    l = parsed_of("CONTROLLER://:9093,PLAINTEXT://h:1,backstage://:9094", NULL);
    CU_ASSERT_EQUAL_FATAL(l.count, 1);
    is(&l.all[0], "PLAINTEXT", "h", 1);
    listeners_deinit(&l);
}

static void test_advertised(void)
{
    struct listeners l = parsed_of("INSIDE://:9092,OUTSIDE://:9093,PLAINTEXT://:9094",
                                   "outside://example.org:19093,INSIDE://[fe80::1]:0");
    CU_ASSERT_EQUAL_FATAL(l.count, 3);
    is(&l.all[1], "OUTSIDE", "", 9093);
    CU_ASSERT_STRING_EQUAL(l.all[1].advertised_host, "example.org");
    CU_ASSERT_EQUAL(listener_told_port(&l.all[1]), 19093);
    CU_ASSERT_STRING_EQUAL(l.all[0].advertised_host, "fe80::1");
    CU_ASSERT_EQUAL(listener_told_port(&l.all[0]), 9092); /* 0: the one that is bound */
    CU_ASSERT_STRING_EQUAL(l.all[2].advertised_host, "");
    CU_ASSERT_EQUAL(names_asked, 0);
    listeners_deinit(&l);
    /* A controller's listener is left out, as Kafka 3.9 does. */
    l = parsed_of("INSIDE://:9092,CONTROLLER://:9093", "CONTROLLER://h:9093,INSIDE://h:9092");
    CU_ASSERT_EQUAL_FATAL(l.count, 1);
    CU_ASSERT_STRING_EQUAL(l.all[0].advertised_host, "h");
    listeners_deinit(&l);
    /* No host: this machine's name, as in Kafka. */
    l = parsed_of("INSIDE://:9092", "INSIDE://:9095");
    CU_ASSERT_EQUAL_FATAL(l.count, 1);
    CU_ASSERT_STRING_EQUAL(l.all[0].advertised_host, "this.example");
    CU_ASSERT_EQUAL(listener_told_port(&l.all[0]), 9095);
    CU_ASSERT_EQUAL(names_asked, 1);
    listeners_deinit(&l);
}

static void test_ip_overrides(void)
{
    struct listeners_config config = config_of("INSIDE://:1", NULL);
    config.ip_overrides = "127.0.0.9:3, ::1:0,LocalHost:99999999999";
    struct listeners l = parsed(&config);
    CU_ASSERT_EQUAL_FATAL(l.ip_overrides_n, 3);
    CU_ASSERT_STRING_EQUAL(l.ip_overrides[0].address, "127.0.0.9");
    CU_ASSERT_EQUAL(l.ip_overrides[0].conns_max, 3);
    CU_ASSERT_STRING_EQUAL(l.ip_overrides[1].address, "::1");
    CU_ASSERT_EQUAL(l.ip_overrides[1].conns_max, 0);
    CU_ASSERT_STRING_EQUAL(l.ip_overrides[2].address, "127.0.0.1");
    CU_ASSERT_EQUAL(l.ip_overrides[2].conns_max, INT32_MAX);
    listeners_deinit(&l);
}

static void refused(const struct listeners_config *config, const char *sentence)
{
    struct listeners out;
    reason[0] = '\0';
    CU_ASSERT_EQUAL(listeners_parse(config, &out, reason, sizeof(reason)), E_CONFIG);
    CU_ASSERT_STRING_EQUAL(reason, sentence);
    if (strcmp(reason, sentence) != 0) {
        printf("\"%s\"\n", reason);
    }
    listeners_deinit(&out);
}

static void listeners_refused(const char *text, const char *sentence)
{
    const struct listeners_config config = config_of(text, NULL);
    refused(&config, sentence);
}

static void advertised_refused(const char *text, const char *sentence)
{
    const struct listeners_config config =
        config_of("INSIDE://:9092,CONTROLLER://:9093,OUTSIDE://:9094", text);
    refused(&config, sentence);
}

static void test_inter_broker(void)
{
    struct listeners_config config = config_of("INSIDE://:1,OUTSIDE://:2", NULL);
    config.inter_broker = "inside";
    config.inter_broker_option = "inter.broker.listener.name";
    struct listeners l = parsed(&config);
    listeners_deinit(&l);
    config.advertised = "INSIDE://h:1";
    l = parsed(&config);
    listeners_deinit(&l);
    config.advertised = "OUTSIDE://h:1";
    refused(&config, "option inter.broker.listener.name: inside is not in advertised.listeners");
    config.advertised = NULL;
    config.inter_broker = "SSL";
    config.inter_broker_option = "security.inter.broker.protocol";
    refused(&config, "option security.inter.broker.protocol: SSL is not in listeners");
}

static void test_bad_urls(void)
{
    static const char *const BAD[] = {
        "PLAINTEXT",     "PLAINTEXT:9092",  "://:9092",        "PLAINTEXT://",
        "PLAINTEXT://h", "PLAINTEXT://h:",  "PLAINTEXT://h:x", "INSIDE://h:-1",
        "INSIDE://h:+1", "INSIDE://:65536", "INSIDE://:1x",    "INSIDE://:99999999999"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        char sentence[200];
        snprintf(sentence, sizeof(sentence),
                 "option listeners: \"%s\" is not allowed; it must be NAME://host:port", BAD[i]);
        listeners_refused(BAD[i], sentence);
    }
    char text[LISTENER_HOST_MAX + 100];
    memset(text, 'n', sizeof(text));
    snprintf(text + LISTENER_NAME_MAX, sizeof(text) - LISTENER_NAME_MAX, "://:1");
    const struct listeners_config long_name = config_of(text, NULL);
    struct listeners out;
    CU_ASSERT_EQUAL(listeners_parse(&long_name, &out, reason, sizeof(reason)), E_CONFIG);
    memset(text, 'h', sizeof(text));
    memcpy(text, "INSIDE://", 9);
    snprintf(text + 9 + LISTENER_HOST_MAX, 20, ":1");
    CU_ASSERT_EQUAL(listeners_parse(&long_name, &out, reason, sizeof(reason)), E_CONFIG);
    text[9 + LISTENER_HOST_MAX - 1] = ':'; /* the longest host */
    text[9 + LISTENER_HOST_MAX] = '1';
    text[9 + LISTENER_HOST_MAX + 1] = '\0';
    CU_ASSERT_EQUAL(listeners_parse(&long_name, &out, reason, sizeof(reason)), OK);
    CU_ASSERT_EQUAL(strlen(out.all[0].host), LISTENER_HOST_MAX - 1);
    listeners_deinit(&out);
}

static void test_refusals(void)
{
    listeners_refused("", "option listeners: at least one NAME://host:port is needed");
    listeners_refused(" , ", "option listeners: at least one NAME://host:port is needed");
    listeners_refused("CONTROLLER://:9093",
                      "option listeners: all are in controller.listener.names; at least one "
                      "NAME://host:port for clients is needed");
    listeners_refused("INSIDE://:1,inside://:2", "option listeners: INSIDE is there twice");
    listeners_refused("UNKNOWN://:1", "option listener.security.protocol.map: no protocol for "
                                      "listener UNKNOWN");
    listeners_refused("SAS://:1", "option listener.security.protocol.map: no protocol for "
                                  "listener SAS");
    advertised_refused("INSIDE:1", "option advertised.listeners: \"INSIDE:1\" is not allowed; it "
                                   "must be NAME://host:port");
    advertised_refused("PLAINTEXT://h:1",
                       "option advertised.listeners: PLAINTEXT is not in listeners");
    advertised_refused("INSIDE://h:1,INSIDE://h:2",
                       "option advertised.listeners: INSIDE is there twice");
    advertised_refused("OUTSIDE://0.0.0.0:9094",
                       "option advertised.listeners: OUTSIDE: clients cannot connect to 0.0.0.0; "
                       "name a host that they can reach");
    static const char *const OVERRIDES[] = {"a", "a:", ":1", "a:-1", "a:1x", "a:x"};
    for (size_t i = 0; i < sizeof(OVERRIDES) / sizeof(OVERRIDES[0]); i++) {
        struct listeners_config config = config_of("INSIDE://:1", NULL);
        config.ip_overrides = OVERRIDES[i];
        char sentence[200];
        snprintf(sentence, sizeof(sentence),
                 "option max.connections.per.ip.overrides: \"%s\" is not allowed; it must be "
                 "address:count",
                 OVERRIDES[i]);
        refused(&config, sentence);
    }
}

SUITE("listeners", TEST(test_listeners), TEST(test_advertised), TEST(test_ip_overrides),
      TEST(test_inter_broker), TEST(test_bad_urls), TEST(test_refusals))
