/* kafka-console-producer: lines of standard input as records.
 *
 * What one read of the input brings is sent at once, as one batch for each partition, and waited for: a pipe fills large
 * reads, a terminal sends a line each. The producer is idempotent: it has an id, and its batches sequence numbers, so
 * that a batch whose answer was lost is sent again without becoming two. Records with a key go where Java's clients send
 * them; those without to one partition for each read, another one for the next. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/random.h"
#include "base/refuse.h"
#include "cli/command_config.h"
#include "cli/message_lines.h"
#include "cli/partitioner.h"
#include "cli/tools.h"
#include "cli/topic_view.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 60000,
    DELIVERY_MS = 120000, /* Kafka's delivery.timeout.ms */
    READ_BYTES = 256 << 10,
    BATCH_FULL_BYTES = 800 << 10, /* below the million that a broker takes by default */
    BATCH_LIMIT_BYTES = 128 << 20,
    ANSWER_LIMIT_BYTES = 16 << 20,
    AGAIN_US = 50000,
};

static const struct cli_option OPTIONS[] = {
    {"bootstrap-server", CLI_VALUE, "where a broker is: host:port"},
    {"broker-list", CLI_VALUE, "the same, as it was called"},
    {"topic", CLI_VALUE, "where to write"},
    {"property", CLI_VALUES,
     "parse.key, key.separator, parse.headers, headers.delimiter, headers.separator, "
     "headers.key.separator, null.marker, ignore.error"},
    {"compression-codec", CLI_VALUE, "none, gzip, snappy, lz4 or zstd"},
    {"request-required-acks", CLI_VALUE, "-1 or all, 1, 0"},
    {"producer-property", CLI_VALUES, "has no effect here"},
    {"producer.config", CLI_VALUE, "a file of client options"},
    {"sync", CLI_FLAG, "has no effect here: each read is waited for"},
    {"timeout", CLI_VALUE, "has no effect here"},
    {"batch-size", CLI_VALUE, "has no effect here"},
    {"version", CLI_FLAG, "the version of Kafka whose tool this is like"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

/* What is to be sent to one partition. */
struct pending {
    struct writer batch;
    struct batch_builder builder;
    int32_t sequence; /* of the next record */
};

struct producer {
    struct cli_options options;
    struct brokers brokers;
    struct topic_view view;
    struct line_reader reader;
    struct pending *pending; /* by partition */
    int32_t partitions_n;    /* as they were at the begin: a key stays where it was */
    struct writer headers;
    int16_t acks;
    int16_t codec;
    int64_t id;
    int16_t epoch;
    int32_t sticky; /* where records without a key go */
    bool failed;    /* something was not delivered, which is said */
    char reason[CLI_REASON_BYTES];
};

/* ---- sending ---- */

static err ask_id(struct producer *p)
{
    struct init_producer_id_request request;
    init_producer_id_request_init(&request);
    request.transactional_id = (struct str){0};
    request.transaction_timeout_ms = TIMEOUT_MS;
    struct init_producer_id_response answer;
    TRY(brokers_ask(&p->brokers, NULL,
                    &(struct client_question){API_INIT_PRODUCER_ID, 0, 0, &request, &answer}));
    if (answer.error_code != 0) {
        return refuse_with(answer.error_code, p->brokers.reason, CLIENT_REASON_BYTES,
                           "no producer id: %s", kafka_error_name(answer.error_code));
    }
    p->id = answer.producer_id;
    p->epoch = answer.producer_epoch;
    return OK;
}

/* One attempt. The error is one of the answer, or a local one. */
static err send_once(struct producer *p, int32_t partition)
{
    struct produce_request_partition records;
    produce_request_partition_init(&records);
    records.index = partition;
    records.records = (struct records){
        .data = bytes_of(p->pending[partition].batch.data, p->pending[partition].batch.len)};
    struct produce_request_topic topic = {
        .name = str_of(p->view.topic), .partitions = &records, .partitions_n = 1};
    struct produce_request request;
    produce_request_init(&request);
    request.acks = p->acks;
    request.timeout_ms = TIMEOUT_MS / 2;
    request.topics = &topic;
    request.topics_n = 1;
    if (partition >= p->view.partitions_n) {
        return refuse_with(ERR_UNKNOWN_TOPIC_OR_PARTITION, p->brokers.reason, CLIENT_REASON_BYTES,
                           "the partition is there no more");
    }
    struct client *client;
    TRY(brokers_client(&p->brokers, p->view.leaders[partition], &client));
    struct produce_response answer;
    struct client_question question = {API_PRODUCE, 3, 0, &request, &answer};
    struct arena arena;
    arena_init(&arena, ANSWER_LIMIT_BYTES);
    err e = p->acks == 0 ? client_tell(client, &question) : client_ask(client, &question, &arena);
    if (e != OK) {
        snprintf(p->brokers.reason, CLIENT_REASON_BYTES, "%s", client_reason(client));
        brokers_forget_client(&p->brokers, client);
    } else if (p->acks != 0) {
        bool there = answer.topics_n == 1 && answer.topics[0].partitions_n == 1;
        e = there ? answer.topics[0].partitions[0].error_code : E_MALFORMED;
        snprintf(p->brokers.reason, CLIENT_REASON_BYTES, "%s",
                 there ? kafka_error_name(e) : "an answer of something else");
    }
    arena_deinit(&arena);
    return e == ERR_DUPLICATE_SEQUENCE_NUMBER ? OK : e;
}

static bool is_passing(err e)
{
    return err_is_local(e) ? e != E_UNSUPPORTED && e != E_LIMIT : error_is_passing((int16_t)e);
}

static err send_patiently(struct producer *p, int32_t partition)
{
    int64_t deadline_ms = clock_monotonic_ms(clock_system()) + DELIVERY_MS;
    for (;;) {
        err e = send_once(p, partition);
        if (e == OK || !is_passing(e) || clock_monotonic_ms(clock_system()) >= deadline_ms) {
            return e;
        }
        clock_sleep_us(clock_system(), AGAIN_US);
        err_ignore(brokers_reconnect(&p->brokers)); /* the next attempt meets what is wrong */
        err_ignore(topic_view_refresh(&p->view, &p->brokers, TIMEOUT_MS));
    }
}

/* Whether they are stored is not known: the numbers that they had must not come again. */
static void begin_numbers_anew(struct producer *p)
{
    if (p->id >= 0 && ask_id(p) != OK) {
        p->id = -1;
        p->epoch = -1;
    }
    for (int32_t i = 0; i < p->partitions_n; i++) {
        p->pending[i].sequence = 0;
    }
}

static void flush_partition(struct producer *p, int32_t partition)
{
    struct pending *pending = &p->pending[partition];
    int32_t count = pending->builder.count;
    if (count == 0) {
        return;
    }
    err e = batch_end(&pending->builder);
    if (e != OK) {
        snprintf(p->brokers.reason, CLIENT_REASON_BYTES, "the batch is too large");
    } else {
        e = send_patiently(p, partition);
    }
    if (e != OK) {
        p->failed = true;
        fprintf(stderr, "%d record%s for %s-%d %s lost: %s\n", count, count == 1 ? "" : "s",
                p->view.topic, partition, count == 1 ? "is" : "are", p->brokers.reason);
        begin_numbers_anew(p);
    } else {
        pending->sequence = sequence_add(pending->sequence, count);
    }
    pending->builder.count = 0;
    writer_clear(&pending->batch);
}

static void flush_all(struct producer *p)
{
    for (int32_t i = 0; i < p->partitions_n; i++) {
        flush_partition(p, i);
    }
    p->sticky = (int32_t)random_below(random_system(), (uint32_t)p->partitions_n);
}

/* ---- lines ---- */

static void add(struct producer *p, const struct record *record)
{
    int32_t partition =
        record->key.data == NULL ? p->sticky : partition_of_key(record->key, p->partitions_n);
    struct pending *pending = &p->pending[partition];
    size_t more = record->key.len + record->value.len + record->headers.len;
    if (pending->builder.count > 0 && pending->batch.len + more > BATCH_FULL_BYTES) {
        flush_partition(p, partition);
    }
    if (pending->builder.count == 0) {
        batch_begin(&pending->builder, &pending->batch, p->codec);
        pending->builder.producer_id = p->id;
        pending->builder.producer_epoch = p->epoch;
        pending->builder.base_sequence = p->id < 0 ? -1 : pending->sequence;
    }
    batch_add_record(&pending->builder, clock_wall_ms(clock_system()), pending->builder.count,
                     record);
}

static err take_line(struct producer *p, const char *line, size_t len)
{
    struct record record;
    len -= len > 0 && line[len - 1] == '\r' ? 1 : 0;
    TRY(line_read(&p->reader, (struct str){line, len}, &record, &p->headers, p->reason));
    add(p, &record);
    return OK;
}

static void prompt(void)
{
    if (isatty(STDIN_FILENO)) {
        fputs(">", stdout);
        fflush(stdout);
    }
}

/* All of the input, read by read; what follows the last line end is a line at the end. */
static err take_input(struct producer *p)
{
    char *text = NULL;
    size_t len = 0;
    size_t cap = 0;
    err e = OK;
    for (prompt(); e == OK; prompt()) {
        if (cap - len < READ_BYTES) {
            cap = len + 2 * READ_BYTES;
            text = xrealloc(text, cap);
        }
        ssize_t got = read(STDIN_FILENO, text + len, READ_BYTES);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
        size_t at = 0;
        for (char *end; e == OK && (end = memchr(text + at, '\n', len - at)) != NULL;
             at = (size_t)(end - text) + 1) {
            e = take_line(p, text + at, (size_t)(end - text) - at);
        }
        memmove(text, text + at, len - at);
        len -= at;
        flush_all(p);
    }
    if (e == OK && len > 0) {
        e = take_line(p, text, len);
    }
    flush_all(p);
    free(text);
    return e;
}

/* ---- the command line ---- */

static err read_codec(struct producer *p)
{
    static const char *const NAMES[CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};
    const char *name = cli_value(&p->options, "compression-codec");
    for (int16_t i = 0; name != NULL && i < CODEC_COUNT; i++) {
        if (strcmp(NAMES[i], name) == 0) {
            p->codec = i;
            return OK;
        }
    }
    return name == NULL ? OK
                        : refuse(p->reason, CLI_REASON_BYTES,
                                 "--compression-codec is none, gzip, snappy, lz4 or zstd");
}

static err read_acks(struct producer *p)
{
    const char *acks = cli_value(&p->options, "request-required-acks");
    p->acks = -1;
    if (acks == NULL || strcmp(acks, "all") == 0 || strcmp(acks, "-1") == 0) {
        return OK;
    }
    if (strcmp(acks, "1") != 0 && strcmp(acks, "0") != 0) {
        return refuse(p->reason, CLI_REASON_BYTES, "--request-required-acks is -1, all, 1 or 0");
    }
    p->acks = (int16_t)(acks[0] - '0');
    return OK;
}

static err prepare(struct producer *p)
{
    if (cli_value(&p->options, "topic") == NULL) {
        return refuse(p->reason, CLI_REASON_BYTES, "Missing required argument \"[topic]\"");
    }
    if (cli_value(&p->options, "bootstrap-server") == NULL &&
        cli_value(&p->options, "broker-list") == NULL) {
        return refuse(p->reason, CLI_REASON_BYTES,
                      "Missing required argument \"[bootstrap-server]\"");
    }
    TRY(read_codec(p));
    TRY(read_acks(p));
    TRY(command_config_check(cli_value(&p->options, "producer.config"), p->reason));
    return line_reader_init(&p->reader, &p->options, p->reason);
}

/* Patiently, too: a broker may be starting. */
static err ask_what_is_needed(struct producer *p)
{
    int64_t deadline_ms = clock_monotonic_ms(clock_system()) + TIMEOUT_MS;
    for (;;) {
        err e = topic_view_refresh(&p->view, &p->brokers, TIMEOUT_MS);
        e = e == OK && p->acks == -1 ? ask_id(p) : e;
        if (e == OK || !is_passing(e) || clock_monotonic_ms(clock_system()) >= deadline_ms) {
            return e;
        }
        TRY(brokers_reconnect(&p->brokers));
    }
}

static err begin(struct producer *p)
{
    const char *server = cli_value(&p->options, "bootstrap-server");
    server = server != NULL ? server : cli_value(&p->options, "broker-list");
    p->view.topic = cli_value(&p->options, "topic");
    p->id = -1;
    p->epoch = -1;
    TRY(brokers_open(&p->brokers, server, cli_value(&p->options, "producer.config"), TIMEOUT_MS,
                     true));
    TRY(ask_what_is_needed(p));
    p->partitions_n = p->view.partitions_n;
    p->sticky = (int32_t)random_below(random_system(), (uint32_t)p->partitions_n);
    p->pending = xcalloc((size_t)p->partitions_n, sizeof(*p->pending));
    for (int32_t i = 0; i < p->partitions_n; i++) {
        writer_init(&p->pending[i].batch, BATCH_LIMIT_BYTES);
    }
    writer_init(&p->headers, BATCH_LIMIT_BYTES);
    return OK;
}

static int produce(struct producer *p)
{
    err e = begin(p);
    if (e != OK) {
        fprintf(stderr, "%s\n", p->brokers.reason);
    } else {
        e = take_input(p);
        if (e != OK) {
            fprintf(stderr, "org.apache.kafka.common.KafkaException: %s\n", p->reason);
        }
    }
    for (int32_t i = 0; i < p->partitions_n; i++) {
        writer_deinit(&p->pending[i].batch);
    }
    free(p->pending);
    writer_deinit(&p->headers);
    topic_view_deinit(&p->view);
    brokers_close(&p->brokers);
    return e == OK && !p->failed ? 0 : 1;
}

static int usage(const char *what)
{
    fprintf(stderr, "%s\n", what);
    cli_print_options(OPTIONS);
    return 1;
}

int tool_console_producer(int argc, char **argv)
{
    struct producer p = {0};
    int status;
    if (cli_options_parse(&p.options, OPTIONS, argc, argv, p.reason) != OK) {
        status = usage(p.reason);
    } else if (cli_has(&p.options, "help")) {
        status = usage("Writes the lines of standard input to a topic.");
    } else if (cli_has(&p.options, "version")) {
        puts(CLI_KAFKA_VERSION);
        status = 0;
    } else if (prepare(&p) != OK) {
        status = usage(p.reason);
    } else {
        status = produce(&p);
    }
    cli_options_deinit(&p.options);
    return status;
}
