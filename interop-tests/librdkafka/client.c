/* A client on librdkafka's C API, driven by test_librdkafka.py.
 *
 *   client produce BROKERS TOPIC FIRST COUNT CODEC     idempotent; values are the numbers FIRST … FIRST+COUNT-1
 *   client consume BROKERS TOPIC PARTITIONS COUNT      assigned from the beginning
 *   client group   BROKERS TOPIC GROUP COUNT           subscribed, from the earliest; commits at the end
 *
 * Prints "partition offset key value" for each record acknowledged or consumed. Exit status 0 when COUNT was reached.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEADLINE_S = 60, POLL_MS = 100 };

static int acked;
static int failed;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        die(name, error);
}

static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char error[256];
    rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof error);
    if (client == NULL)
        die("rd_kafka_new", error);
    return client;
}

static void print_record(const rd_kafka_message_t *m)
{
    printf("%d %lld %.*s %.*s\n", m->partition, (long long)m->offset, (int)m->key_len, (const char *)m->key,
           (int)m->len, (const char *)m->payload);
}

static void on_delivery(rd_kafka_t *client, const rd_kafka_message_t *m, void *opaque)
{
    (void)client;
    (void)opaque;
    if (m->err) {
        fprintf(stderr, "not delivered: %s\n", rd_kafka_err2str(m->err));
        failed++;
    } else {
        print_record(m);
        acked++;
    }
}

static int produce(rd_kafka_conf_t *conf, const char *topic, int first, int count)
{
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *producer = client_new(RD_KAFKA_PRODUCER, conf);
    for (int i = first; i < first + count; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "k%d", i);
        snprintf(value, sizeof value, "%d", i);
        rd_kafka_resp_err_t err;
        while ((err = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_KEY(key, strlen(key)),
                                        RD_KAFKA_V_VALUE(value, strlen(value)),
                                        RD_KAFKA_V_HEADER("number", value, strlen(value)),
                                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END)) ==
               RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(producer, POLL_MS);
        if (err)
            die("produce", rd_kafka_err2str(err));
        rd_kafka_poll(producer, 0);
    }
    rd_kafka_flush(producer, DEADLINE_S * 1000);
    rd_kafka_destroy(producer);
    return acked == count && failed == 0 ? 0 : 1;
}

static int consume(rd_kafka_t *consumer, int count, int commit)
{
    time_t deadline = time(NULL) + DEADLINE_S;
    int got = 0;
    while (got < count && time(NULL) < deadline) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, POLL_MS);
        if (m == NULL)
            continue;
        if (m->err == 0) {
            print_record(m);
            got++;
        } else if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            fprintf(stderr, "consume: %s\n", rd_kafka_message_errstr(m));
        }
        rd_kafka_message_destroy(m);
    }
    if (commit) {
        rd_kafka_resp_err_t err = rd_kafka_commit(consumer, NULL, 0);
        if (err)
            die("commit", rd_kafka_err2str(err));
    }
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return got == count ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc < 6)
        die("usage", "see the head of client.c");
    const char *mode = argv[1], *topic = argv[3];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[2]);
    if (strcmp(mode, "produce") == 0) {
        set(conf, "enable.idempotence", "true");
        set(conf, "compression.codec", argc > 6 ? argv[6] : "none");
        return produce(conf, topic, atoi(argv[4]), atoi(argv[5]));
    }
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    set(conf, "auto.offset.reset", "earliest");
    set(conf, "enable.auto.commit", "false");
    int is_group = strcmp(mode, "group") == 0;
    set(conf, "group.id", is_group ? argv[4] : "not used");
    rd_kafka_t *consumer = client_new(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_resp_err_t err;
    if (is_group) {
        rd_kafka_topic_partition_list_add(list, topic, RD_KAFKA_PARTITION_UA);
        err = rd_kafka_subscribe(consumer, list);
    } else {
        for (int p = 0; p < atoi(argv[4]); p++)
            rd_kafka_topic_partition_list_add(list, topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
        err = rd_kafka_assign(consumer, list);
    }
    if (err)
        die("subscribe or assign", rd_kafka_err2str(err));
    rd_kafka_topic_partition_list_destroy(list);
    return consume(consumer, atoi(argv[5]), is_group);
}
