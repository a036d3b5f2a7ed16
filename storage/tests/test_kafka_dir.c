/* A directory that Kafka 3.9.1 wrote: opens clean, reads back as Kafka's own dump tool printed it,
 * and comes out of a recovery from the .log files alone with the same indexes and snapshots. */
#include "util.h"

#include "storage/segment.h"

struct dump {
    char *text;
    size_t len;
};

static struct log_config config_of(void *context, struct str topic)
{
    (void)context;
    struct log_config config = log_config_default();
    config.retention_ms = -1;
    config.producer_id_expiration_ms = INT64_MAX / 4;
    if (str_is(topic, "plain")) {
        config.segment_bytes = 1000;
        config.index_interval_bytes = 150;
    } else if (str_is(topic, "txn")) {
        config.segment_bytes = 700;
        config.index_interval_bytes = 100;
    } else if (str_is(topic, "trim")) {
        config.segment_bytes = 400;
    } else if (str_is(topic, "comp")) {
        config.segment_bytes = 500;
        config.cleanup_compact = true;
        config.cleanup_delete = false;
    }
    return config;
}

static void copy_fixture(struct place *p)
{
    place_make(p);
    run("cp -r '%s'/tests/kafka-data-dir/. '%s'", SOURCE_DIR, p->dir);
}

static struct logs *load(struct place *p)
{
    char *dirs[] = {p->dir};
    struct logs_open how = {.dirs = dirs, .dirs_n = 1, .broker_id = 4, .config_of = config_of};
    struct logs *logs = NULL;
    struct logs_identity identity;
    char reason[LOGS_REASON_BYTES] = "";
    MUST(logs_lock(&p->env, &how, &logs, &identity, reason));
    CU_ASSERT_EQUAL(identity.broker_id, 4);
    CU_ASSERT_STRING_EQUAL(identity.cluster_id, "Mt0xTSq6QeavvJg7W3l2fg");
    MUST(logs_load(logs, 4, identity.cluster_id, reason));
    return logs;
}

static struct plog *get(struct logs *logs, const char *topic)
{
    struct plog *log =
        logs_get(logs, (struct topic_partition){.topic = str_of(topic), .partition = 0});
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    return log;
}

static int64_t number_after(const char *line, const char *label)
{
    const char *at = strstr(line, label);
    return at == NULL ? INT64_MIN : strtoll(at + strlen(label), NULL, 10);
}

/* Reading state over decoded.txt. */
struct reading {
    struct place *p;
    struct logs *logs;
    struct plog *log; /* of the file that is dumped */
    char file[128];
    struct batch batch;
    uint8_t *bytes;
    size_t len;
    struct writer scratch;
    struct record_iter records;
    int64_t entries; /* of the index or snapshot */
    int batches_seen;
    int records_seen;
    int entries_seen;
};

static void read_batch(struct reading *r, const char *line)
{
    int64_t base = number_after(line, "baseOffset: ");
    struct log_range range;
    MUST(plog_read(r->log, base < plog_start_offset(r->log) ? plog_start_offset(r->log) : base,
                   INT64_MAX, 1, true, &range));
    free(r->bytes);
    r->len = range.len;
    r->bytes = malloc(r->len);
    MUST(fs_read(fs_system(), open_file_fd(range.file), r->bytes, r->len, range.position));
    CU_ASSERT_EQUAL(range.base_offset, base);
    CU_ASSERT_EQUAL(range.position, number_after(line, " position: "));
    log_range_release(&range);
    batch_parse(r->bytes, &r->batch);
    const struct batch *b = &r->batch;
    CU_ASSERT_EQUAL(b->base_offset, base);
    CU_ASSERT_EQUAL(batch_last_offset(b), number_after(line, "lastOffset: "));
    CU_ASSERT_EQUAL(b->count, number_after(line, "count: "));
    CU_ASSERT_EQUAL(b->base_sequence, number_after(line, "baseSequence: "));
    CU_ASSERT_EQUAL(batch_last_sequence(b), number_after(line, "lastSequence: "));
    CU_ASSERT_EQUAL(b->producer_id, number_after(line, "producerId: "));
    CU_ASSERT_EQUAL(b->producer_epoch, number_after(line, "producerEpoch: "));
    CU_ASSERT_EQUAL(b->leader_epoch, number_after(line, "partitionLeaderEpoch: "));
    CU_ASSERT_EQUAL(b->size_bytes, number_after(line, " size: "));
    CU_ASSERT_EQUAL(b->crc, (uint32_t)number_after(line, "crc: "));
    CU_ASSERT_EQUAL(batch_crc(r->bytes, r->len), b->crc);
    CU_ASSERT_EQUAL(batch_is(b, BATCH_TRANSACTIONAL),
                    strstr(line, "isTransactional: true") != NULL);
    CU_ASSERT_EQUAL(batch_is(b, BATCH_CONTROL), strstr(line, "isControl: true") != NULL);
    CU_ASSERT_EQUAL(batch_is(b, BATCH_LOG_APPEND_TIME), strstr(line, "LogAppendTime: ") != NULL);
    int64_t time = number_after(line, "CreateTime: ");
    CU_ASSERT_EQUAL(b->max_timestamp,
                    time == INT64_MIN ? number_after(line, "LogAppendTime: ") : time);
    struct bytes body;
    MUST(batch_body(bytes_of(r->bytes, r->len), &r->scratch, 1 << 24, &body));
    record_iter_init(&r->records, body, b->count);
    r->batches_seen++;
}

static void read_record(struct reading *r, const char *line)
{
    struct record record;
    CU_ASSERT_FATAL(record_iter_next(&r->records, &record));
    CU_ASSERT_EQUAL(r->batch.base_offset + record.offset_delta, number_after(line, "offset: "));
    CU_ASSERT_EQUAL(record.key.data == NULL ? -1 : (int64_t)record.key.len,
                    number_after(line, "keySize: "));
    CU_ASSERT_EQUAL(record.value.data == NULL ? -1 : (int64_t)record.value.len,
                    number_after(line, "valueSize: "));
    int64_t time = number_after(line, "CreateTime: ");
    if (time != INT64_MIN) {
        CU_ASSERT_EQUAL(r->batch.base_timestamp + record.timestamp_delta, time);
    }
    const char *key = strstr(line, " key: ");
    const char *payload = strstr(line, " payload: ");
    if (key != NULL && record.key.data != NULL && key[6] != '{' && key[6] != 't') {
        CU_ASSERT(strncmp(key + 6, (const char *)record.key.data, record.key.len) == 0);
    }
    if (payload != NULL && record.value.data != NULL && key != NULL && key[6] == 'k') {
        CU_ASSERT(strncmp(payload + 10, (const char *)record.value.data, record.value.len) == 0);
    }
    CU_ASSERT_EQUAL(record.headers_n > 0, strstr(line, "headerKeys: []") == NULL);
    r->records_seen++;
}

/* "offset: O position: P" and "timestamp: T offset: O", compared with the file's bytes. */
static void read_entry(struct reading *r, const char *line, int64_t base)
{
    size_t len = 0;
    uint8_t *bytes = slurp(r->p, r->file, &len);
    bool time = strncmp(line, "timestamp: ", 11) == 0;
    size_t width = time ? TIME_ENTRY_BYTES : OFFSET_ENTRY_BYTES;
    CU_ASSERT_FATAL((size_t)(r->entries + 1) * width <= len);
    struct reader entry = reader_of(bytes_of(bytes + (size_t)r->entries * width, width));
    if (time) {
        CU_ASSERT_EQUAL(reader_i64(&entry), number_after(line, "timestamp: "));
        CU_ASSERT_EQUAL(base + reader_i32(&entry), number_after(line, "offset: "));
    } else {
        CU_ASSERT_EQUAL(base + reader_i32(&entry), number_after(line, "offset: "));
        CU_ASSERT_EQUAL(reader_i32(&entry), number_after(line, "position: "));
    }
    r->entries++;
    r->entries_seen++;
    free(bytes);
}

static void begin_file(struct reading *r, const char *name)
{
    snprintf(r->file, sizeof(r->file), "%s", name);
    r->entries = 0;
    const char *slash = strchr(name, '/');
    const char *dash = slash;
    while (*dash != '-') {
        dash--;
    }
    char topic[64];
    snprintf(topic, sizeof(topic), "%.*s", (int)(dash - name), name);
    r->log = get(r->logs, topic);
}

static void compare_with_dump(struct place *p, struct logs *logs, struct reading *r, bool indexes)
{
    bool below = false; /* the log's start: Kafka's tool prints the whole file */
    *r = (struct reading){.p = p, .logs = logs};
    writer_init(&r->scratch, 1 << 24);
    char *text = NULL;
    size_t len = 0;
    MUST(fs_read_all(fs_system(), SOURCE_DIR "/tests/kafka-data-dir/decoded.txt", 1 << 24, &text,
                     &len));
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "Dumping ", 8) == 0) {
            begin_file(r, line + 8);
        } else if (strncmp(line, "baseOffset: ", 12) == 0) {
            below = number_after(line, "lastOffset: ") < plog_start_offset(r->log);
            if (!below) {
                read_batch(r, line);
            }
        } else if (strncmp(line, "| ", 2) == 0) {
            if (!below) {
                read_record(r, line);
            }
        } else if (indexes && strncmp(line, "offset: ", 8) == 0) {
            read_entry(r, line, strtoll(strchr(r->file, '/') + 1, NULL, 10));
        } else if (indexes && strncmp(line, "timestamp: ", 11) == 0) {
            read_entry(r, line, strtoll(strchr(r->file, '/') + 1, NULL, 10));
        }
    }
    free(text);
    free(r->bytes);
    writer_deinit(&r->scratch);
    CU_ASSERT_EQUAL(r->batches_seen, 119);
    CU_ASSERT_EQUAL(r->records_seen, 191);
    CU_ASSERT_EQUAL(r->entries_seen, indexes ? 46 : 0);
}

static void check_state(struct logs *logs)
{
    struct plog *trim = get(logs, "trim");
    CU_ASSERT_EQUAL(plog_start_offset(trim), 7);
    CU_ASSERT_EQUAL(plog_end_offset(trim), 12);
    CU_ASSERT_EQUAL(plog_end_offset(get(logs, "plain")), 46);
    CU_ASSERT_EQUAL(plog_end_offset(get(logs, "comp")), 43);
    CU_ASSERT_EQUAL(plog_start_offset(get(logs, "comp")), 24);
    struct plog *txn = get(logs, "txn");
    CU_ASSERT_EQUAL(plog_end_offset(txn), 22);
    CU_ASSERT_EQUAL(plog_open_txns(txn), 1);
    CU_ASSERT_EQUAL(plog_last_stable_offset(txn, 22), 21);
    CU_ASSERT_EQUAL(plog_latest_epoch(get(logs, "plain")), 2);
    CU_ASSERT_EQUAL(plog_epoch_of(get(logs, "plain"), 42), 0);
    CU_ASSERT_EQUAL(plog_epoch_of(get(logs, "plain"), 43), 2);
    struct arena arena;
    struct aborted_txn *aborted = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_aborted_txns(txn, 0, 22, &arena, &aborted, &count));
    CU_ASSERT_EQUAL_FATAL(count, 5);
    CU_ASSERT(aborted[0].producer_id == 1 && aborted[2].first_offset == 9);
    MUST(plog_aborted_txns(txn, 17, 19, &arena, &aborted, &count));
    CU_ASSERT_EQUAL(count, 0);
    struct producer_info *producers = NULL;
    MUST(plog_producers(txn, &arena, &producers, &count));
    CU_ASSERT_EQUAL(count, 2);
    arena_deinit(&arena);
    check_every_offset(get(logs, "plain"));
    check_every_offset(get(logs, "comp"));
    check_every_offset(trim);
    check_every_offset(txn);
    check_every_offset(get(logs, "codecs"));
    check_every_offset(get(logs, "__consumer_offsets"));
    check_every_offset(get(logs, "__transaction_state"));
}

/* Files with these names (a shell pattern) are as Kafka wrote them, byte for byte. */
static void compare_files(struct place *p, const char *names)
{
    char command[2048];
    snprintf(command, sizeof(command),
             "here=$PWD; cd '%s/tests/kafka-data-dir' && for f in %s; do "
             "cmp \"$f\" \"$here/%s/$f\" || exit 1; done",
             SOURCE_DIR, names, p->dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void test_clean(void)
{
    struct place p;
    struct reading r;
    copy_fixture(&p);
    struct logs *logs = load(&p);
    CU_ASSERT_TRUE(logs_were_clean(logs));
    CU_ASSERT_FALSE(exists(&p, ".kafka_cleanshutdown"));
    compare_with_dump(&p, logs, &r, true);
    check_state(logs);
    CU_ASSERT_EQUAL(
        logs_checkpointed_high_watermark(logs, (struct topic_partition){STR("plain"), 0}), 46);
    logs_close(logs);
    CU_ASSERT_TRUE(exists(&p, ".kafka_cleanshutdown"));
    CU_ASSERT_FALSE(exists(&p, ".lock"));
    compare_files(&p, "*/*.log */*.index */*.timeindex */*.txnindex */partition.metadata "
                      "meta.properties .kafka_cleanshutdown log-start-offset-checkpoint");
    /* The older of two snapshots beyond the last segment goes at a load, Kafka's too. */
    CU_ASSERT_FALSE(exists(&p, "plain-0/00000000000000000043.snapshot"));
    compare_files(&p, "[!p]*/*.snapshot plain-0/00*46.snapshot plain-0/00*36.snapshot");
    place_reboot(&p);
    logs = load(&p);
    CU_ASSERT_TRUE(logs_were_clean(logs));
    check_state(logs);
    logs_close(logs);
    place_remove(&p);
}

/* Only the .log files, the topic ids and the start offsets are left. */
static void test_rebuilt(void)
{
    struct place p;
    struct reading r;
    copy_fixture(&p);
    run("cd '%s' && rm -f .kafka_cleanshutdown recovery-point-offset-checkpoint */*.index "
        "*/*.timeindex */*.txnindex */*.snapshot",
        p.dir, "");
    for (int round = 0; round < 2; round++) {
        struct logs *logs = load(&p);
        CU_ASSERT_FALSE(logs_were_clean(logs));
        compare_with_dump(&p, logs, &r, false);
        check_state(logs);
        logs_abandon(logs); /* killed: the next one recovers again */
        place_reboot(&p);
    }
    struct logs *logs = load(&p);
    logs_close(logs);
    compare_files(&p, "*/*.log */*.txnindex");
    /* Not those of segments that lived through a restart, which begins counting again. */
    compare_files(&p, "codecs-0/*index idem-0/*index lat-0/*index old-0/*index comp-0/*index "
                      "trim-0/*index plain-0/*00.*index plain-0/*18.*index txn-0/*00.*index "
                      "txn-0/*02.*index txn-0/*21.*index");
    compare_files(&p, "txn-0/*.snapshot idem-0/*.snapshot codecs-0/*.snapshot");
    place_remove(&p);
}

/* Appending to what Kafka left. */
static void test_continue(void)
{
    struct place p;
    copy_fixture(&p);
    struct logs *logs = load(&p);
    struct plog *plain = get(logs, "plain");
    for (int i = 0; i < 50; i++) {
        must_append(plain, 2);
    }
    check_every_offset(plain);
    struct plog *txn = get(logs, "txn");
    CU_ASSERT_EQUAL(append_marker(txn, 1, 3, false, 0), ERR_INVALID_PRODUCER_EPOCH);
    CU_ASSERT_EQUAL(append_marker(txn, 1, 4, false, -1), ERR_TRANSACTION_COORDINATOR_FENCED);
    MUST(append_marker(txn, 1, 4, false, 1));
    CU_ASSERT_EQUAL(plog_open_txns(txn), 0);
    CU_ASSERT_EQUAL(plog_last_stable_offset(txn, 22), 21);
    CU_ASSERT_EQUAL(plog_last_stable_offset(txn, 23), 23);
    struct plog *idem = get(logs, "idem");
    struct batch_spec spec = {.count = 4, .producer_id = 1, .sequence = 8};
    struct append_result result;
    MUST(append_spec(idem, &spec, &result));
    CU_ASSERT_TRUE(result.duplicate);
    CU_ASSERT_EQUAL(result.base_offset, 8);
    spec.sequence = 13;
    CU_ASSERT_EQUAL(append_spec(idem, &spec, &result), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    spec.sequence = 12;
    MUST(append_spec(idem, &spec, &result));
    CU_ASSERT_EQUAL(result.base_offset, 12);
    logs_close(logs);
    place_reboot(&p);
    logs = load(&p);
    CU_ASSERT_TRUE(logs_were_clean(logs));
    CU_ASSERT_EQUAL(plog_end_offset(get(logs, "plain")), 146);
    check_every_offset(get(logs, "plain"));
    logs_close(logs);
    place_remove(&p);
}

SUITE("a directory of Kafka's", TEST(test_clean), TEST(test_rebuilt), TEST(test_continue))
