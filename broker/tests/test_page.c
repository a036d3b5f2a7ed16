/* The text of a page of metrics, its dialects, and what is escaped; windows; what loops count. */
#define _GNU_SOURCE
#include "base/tests/suite.h"
#include "broker/metrics/page.h"
#include "broker/metrics/request_metrics.h"
#include "broker/monitor/window.h"

static struct page page;

static void begin(enum metric_dialect dialect, bool openmetrics)
{
    page_deinit(&page);
    page_init(&page, dialect, openmetrics);
}

/* The page so far is this text. */
static bool page_is(const char *text)
{
    bool same = page.len == strlen(text) && memcmp(page.data, text, page.len) == 0;
    if (!same) {
        fprintf(stderr, "%.*s", (int)page.len, page.data);
    }
    return same;
}

static bool page_has(const char *text)
{
    return memmem(page.data, page.len, text, strlen(text)) != NULL;
}

/* ---- families ---- */

static void test_family_with_and_without_labels(void)
{
    struct labels labels = {0};
    begin(DIALECT_JMX_EXPORTER, false);
    page_family(&page, METRIC_EXP_BROKERS);
    page_integer(&page, NULL, -3);
    labels_add(&labels, "topic", STR("t"));
    labels_add_number(&labels, "partition", 7);
    page_integer(&page, &labels, INT64_MIN);
    CU_ASSERT(page_is("# HELP kafka_brokers Brokers that live.\n"
                      "# TYPE kafka_brokers gauge\n"
                      "kafka_brokers -3\n"
                      "kafka_brokers{topic=\"t\",partition=\"7\"} -9223372036854775808\n"));
    labels_deinit(&labels);
}

static void test_family_without_values_is_left_out(void)
{
    begin(DIALECT_JMX_EXPORTER, false);
    page_family(&page, METRIC_EXP_BROKERS);
    page_family(&page, METRIC_EXP_GROUP_LAG);
    page_end(&page);
    CU_ASSERT_EQUAL(page.len, 0);
}

static void write_meter(enum metric_dialect dialect, bool openmetrics)
{
    begin(dialect, openmetrics);
    page_family(&page, METRIC_BYTES_IN);
    page_integer(&page, NULL, 5);
    page_family(&page, METRIC_NETWORK_IDLE);
    page_real(&page, NULL, 0.25);
    page_end(&page);
}

static void test_dialects(void)
{
    write_meter(DIALECT_JMX_EXPORTER, false);
    CU_ASSERT(page_has("TYPE kafka_server_brokertopicmetrics_bytesin_total counter\n"));
    CU_ASSERT(page_has("\nkafka_server_brokertopicmetrics_bytesin_total 5\n"));
    CU_ASSERT(page_has("\nkafka_network_socketserver_networkprocessoravgidle_percent 0.25\n"));
    write_meter(DIALECT_STRIMZI, false);
    CU_ASSERT(page_has("\nkafka_server_brokertopicmetrics_bytesinpersec_total 5\n"));
    CU_ASSERT(page_has("\nkafka_network_socketserver_networkprocessoravgidlepercent 0.25\n"));
    write_meter(DIALECT_CONFLUENT, false);
    CU_ASSERT(page_has("TYPE kafka_server_brokertopicmetrics_bytesinpersec untyped\n"));
    CU_ASSERT(page_has("\nkafka_server_brokertopicmetrics_bytesinpersec 5\n"));
}

static void test_openmetrics(void)
{
    write_meter(DIALECT_JMX_EXPORTER, true);
    CU_ASSERT(page_has("TYPE kafka_server_brokertopicmetrics_bytesin counter\n"));
    CU_ASSERT(page_has("\nkafka_server_brokertopicmetrics_bytesin_total 5\n"));
    CU_ASSERT(memcmp(page.data + page.len - 6, "# EOF\n", 6) == 0);
    write_meter(DIALECT_CONFLUENT, true);
    CU_ASSERT(page_has("TYPE kafka_server_brokertopicmetrics_bytesinpersec unknown\n"));
}

/* Every name is one that Prometheus takes, and none is there twice. */
static void test_names(void)
{
    for (int i = 0; i < METRICS_N; i++) {
        const struct metric_family *family = metric_family_of((enum metric)i);
        size_t len = strlen(family->name);
        CU_ASSERT(len > 0 && strspn(family->name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len);
        CU_ASSERT(strchr(family->help, '\n') == NULL && strchr(family->help, '\\') == NULL);
        for (int j = 0; j < i; j++) {
            CU_ASSERT(strcmp(metric_family_of((enum metric)j)->name, family->name) != 0);
        }
    }
}

/* ---- labels ---- */

static void test_labels_are_escaped(void)
{
    struct labels labels = {0};
    labels_add(&labels, "a", STR("q\" b\\ n\n"));
    labels_add(&labels, "b", STR("\xc3\xa9"));
    labels_add(&labels, "c", STR("x\xff\xc3"));
    const char *wanted = "a=\"q\\\" b\\\\ n\\n\",b=\"\xc3\xa9\",c=\"x??\"";
    CU_ASSERT(labels.len == strlen(wanted) && memcmp(labels.text, wanted, labels.len) == 0);
    labels_deinit(&labels);
}

static void test_long_labels(void)
{
    static char text[40000];
    memset(text, '"', sizeof(text));
    struct labels labels = {0};
    labels_add(&labels, "a", (struct str){.data = text, .len = sizeof(text)});
    CU_ASSERT_EQUAL(labels.len, 2 * sizeof(text) + 4);
    begin(DIALECT_JMX_EXPORTER, false);
    page_family(&page, METRIC_EXP_BROKERS);
    page_integer(&page, &labels, 1);
    CU_ASSERT(page.len > 2 * sizeof(text));
    labels_deinit(&labels);
}

static void test_histogram(void)
{
    struct histogram_counts all = {0};
    struct histogram_counts recent = {0};
    struct labels labels = {0};
    labels_add(&labels, "request", STR("Fetch"));
    all.counts[5] = 7;
    all.sum = 2500;
    recent.counts[5] = 1;
    begin(DIALECT_JMX_EXPORTER, false);
    page_family(&page, METRIC_REQUEST_TOTAL_TIME);
    page_histogram(&page, &labels, &recent, &all);
    CU_ASSERT(page_has("TYPE kafka_network_requestmetrics_totaltimems summary\n"));
    CU_ASSERT(page_has("\nkafka_network_requestmetrics_totaltimems{request=\"Fetch\",quantile=\"0."
                       "999\"} 0.005\n"));
    CU_ASSERT(page_has("\nkafka_network_requestmetrics_totaltimems_sum{request=\"Fetch\"} 2.5\n"));
    CU_ASSERT(page_has("\nkafka_network_requestmetrics_totaltimems_count{request=\"Fetch\"} 7\n"));
    labels_deinit(&labels);
}

/* ---- windows ---- */

static uint64_t looked(struct window *window, uint64_t count, int64_t now_us)
{
    window_begin(window, now_us);
    window_take(window, 3, &count, 1);
    window_end(window, now_us);
    return count;
}

static void test_window(void)
{
    struct window window;
    window_init(&window, 100, 1000);
    CU_ASSERT_EQUAL(looked(&window, 5, 1010), 5); /* since the start */
    CU_ASSERT_EQUAL(looked(&window, 7, 1100), 7); /* the newer look is this one from here on */
    CU_ASSERT_EQUAL(looked(&window, 8, 1150), 8);
    CU_ASSERT_EQUAL(looked(&window, 20, 1200), 13); /* since 1100 */
    CU_ASSERT_EQUAL(looked(&window, 20, 1250), 13);
    CU_ASSERT_EQUAL(looked(&window, 20, 1300), 0);
    window_deinit(&window);
}

/* ---- what a loop counts ---- */

static uint64_t recorded(const struct request_metrics *of, enum request_part part, uint64_t *sum_us)
{
    struct histogram_counts counts = {0};
    histogram_add(&of->parts_us[part], &counts);
    *sum_us = counts.sum;
    return histogram_count(&counts);
}

static void test_request_parts(void)
{
    struct loop_metrics metrics = {.spare = NULL};
    const struct request_done done = {
        .name = 1,
        .also = REQUEST_FETCH_CONSUMER,
        .version = 12,
        .bytes = 100,
        .throttle_us = 3000,
        .times = {.arrived = 1000, .begun = 1010, .handled = 1030},
        .answered = true,
    };
    struct sending *sending = loop_metrics_done(&metrics, &done, 1100, NULL);
    sending = loop_metrics_done(&metrics, &done, 1100, sending);
    struct request_metrics *of[] = {loop_metrics_of(&metrics, 1),
                                    loop_metrics_of(&metrics, REQUEST_FETCH_CONSUMER)};
    uint64_t sum_us = 0;
    CU_ASSERT_EQUAL(recorded(of[0], REQUEST_TOTAL, &sum_us), 0); /* nothing is sent yet */
    loop_metrics_sent(&metrics, sending, 1105);
    static const uint64_t SUMS_US[] = {
        [REQUEST_TOTAL] = 210,  [REQUEST_QUEUE] = 20, [REQUEST_LOCAL] = 40,
        [REQUEST_REMOTE] = 140, [REQUEST_SEND] = 10,  [REQUEST_THROTTLE] = 6000};
    for (int name = 0; name < 2; name++) {
        for (int part = 0; part < REQUEST_PARTS_N; part++) {
            CU_ASSERT_EQUAL(recorded(of[name], (enum request_part)part, &sum_us), 2);
            CU_ASSERT_EQUAL(sum_us, SUMS_US[part]);
        }
        CU_ASSERT_EQUAL(atomic_load(&of[name]->by_version[12]), 2);
    }
    loop_metrics_deinit(&metrics);
}

static void test_request_without_an_answer(void)
{
    struct loop_metrics metrics = {.spare = NULL};
    const struct request_done done = {
        .name = 0, .also = -1, .version = 99, .times = {.arrived = 5, .begun = 5, .handled = 7}};
    CU_ASSERT_PTR_NULL(loop_metrics_done(&metrics, &done, 9, NULL));
    uint64_t sum_us = 0;
    const struct request_metrics *of = loop_metrics_of(&metrics, 0);
    CU_ASSERT_EQUAL(recorded(of, REQUEST_TOTAL, &sum_us), 1);
    CU_ASSERT_EQUAL(sum_us, 4);
    CU_ASSERT_EQUAL(atomic_load(&of->by_version[REQUEST_VERSIONS_MAX - 1]), 1);
    loop_metrics_deinit(&metrics);
}

static void test_end(void)
{
    page_deinit(&page);
}

SUITE("page", TEST(test_family_with_and_without_labels),
      TEST(test_family_without_values_is_left_out), TEST(test_dialects), TEST(test_openmetrics),
      TEST(test_names), TEST(test_labels_are_escaped), TEST(test_long_labels), TEST(test_histogram),
      TEST(test_window), TEST(test_request_parts), TEST(test_request_without_an_answer),
      TEST(test_end))
