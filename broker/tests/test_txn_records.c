/* Records of __transaction_state against the bytes that Kafka has there, and those that are damaged; and the
 * sets of partitions in them. Bytes are text, in hex; what is read is in memory of just that size. */
#include "broker/coordinator/txn_records.h"

#include "base/tests/suite.h"

enum { BYTES_MAX = 256, ARENA_BYTES = 1 << 20 };

static const int64_t UPDATE_MS = 0x0102030405060708;
static const int64_t START_MS = 0x1112131415161718;

#define UPDATED       "0102030405060708"
#define STARTED       "1112131415161718"
#define NEVER         "ffffffffffffffff"
#define PRODUCER      "0000000000000007"
#define EPOCH_TIMEOUT "0005 0000ea60"
#define TOPICS        "00000002 000161 00000002 00000000 00000001 000162 00000001 00000003"
/* The same of version 1, which is flexible. */
#define TOPICS_1 "03 0261 03 00000000 00000001 00 0262 02 00000003 00"

static const struct {
    enum txn_state state;
    const char *partitions; /* NULL: none */
    int64_t start_ms;
    const char *hex;
} VALUES[] = {
    {TXN_EMPTY, NULL, -1, "0000" PRODUCER EPOCH_TIMEOUT "00 ffffffff" UPDATED NEVER},
    {TXN_ONGOING, "a-0,a-1,b-3", START_MS,
     "0000" PRODUCER EPOCH_TIMEOUT "01" TOPICS UPDATED STARTED},
    {TXN_ONGOING, NULL, START_MS, "0000" PRODUCER EPOCH_TIMEOUT "01 00000000" UPDATED STARTED},
    {TXN_PREPARE_COMMIT, "a-0,a-1,b-3", START_MS,
     "0000" PRODUCER EPOCH_TIMEOUT "02" TOPICS UPDATED STARTED},
    {TXN_PREPARE_ABORT, "a-0,a-1,b-3", START_MS,
     "0000" PRODUCER EPOCH_TIMEOUT "03" TOPICS UPDATED STARTED},
    {TXN_COMPLETE_COMMIT, NULL, START_MS,
     "0000" PRODUCER EPOCH_TIMEOUT "04 00000000" UPDATED STARTED},
    {TXN_COMPLETE_ABORT, NULL, START_MS,
     "0000" PRODUCER EPOCH_TIMEOUT "05 00000000" UPDATED STARTED},
};
enum { VALUES_N = sizeof(VALUES) / sizeof(VALUES[0]) };

/* ---- bytes as text ---- */

/* Malloc'd, just that large. */
static struct bytes bytes_of_hex(const char *hex)
{
    uint8_t bytes[BYTES_MAX];
    size_t len = 0;
    while (*hex != '\0') {
        char digits[3] = {hex[0], hex[1], '\0'};
        bytes[len++] = (uint8_t)strtoul(digits, NULL, 16);
        hex += hex[2] == ' ' ? 3 : 2;
    }
    uint8_t *data = xmalloc(len + (len == 0));
    memcpy(data, bytes, len);
    return bytes_of(data, len);
}

static void drop(struct bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static void check_bytes(struct bytes bytes, const char *hex)
{
    struct bytes expected = bytes_of_hex(hex);
    CU_ASSERT(bytes_equal(bytes, expected));
    drop(expected);
}

/* "a-0,b-3" */
static struct txn_partitions *partitions_of(const char *text)
{
    struct topic_partition names[16];
    size_t count = 0;
    while (text != NULL && *text != '\0') {
        const char *dash = strchr(text, '-');
        names[count++] = (struct topic_partition){
            .topic = {.data = text, .len = (size_t)(dash - text)}, .partition = atoi(dash + 1)};
        text = strchr(dash, ',') == NULL ? NULL : strchr(dash, ',') + 1;
    }
    return count == 0 ? NULL : txn_partitions_new(names, count);
}

static void check_partitions(const struct txn_partitions *set, const char *expected)
{
    char text[BYTES_MAX] = "";
    size_t len = 0;
    for (int32_t i = 0; i < txn_partitions_count(set); i++) {
        const struct topic_partition *p = &set->items[i];
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%.*s-%d", i == 0 ? "" : ",",
                                (int)p->topic.len, p->topic.data, p->partition);
    }
    CU_ASSERT_STRING_EQUAL(text, expected == NULL ? "" : expected);
}

/* ---- writing ---- */

static void check_written(err (*add)(struct batch_builder *batch, const void *values),
                          const void *values, const char *key, const char *value)
{
    struct writer writer;
    struct batch_builder batch;
    struct record_iter iter;
    struct record record;
    writer_init(&writer, 1 << 16);
    batch_begin(&batch, &writer, CODEC_NONE);
    MUST(add(&batch, values));
    MUST(batch_end(&batch));
    record_iter_init(
        &iter, bytes_of(writer.data + BATCH_HEADER_BYTES, writer.len - BATCH_HEADER_BYTES), 1);
    CU_ASSERT_FATAL(record_iter_next(&iter, &record));
    check_bytes(record.key, key);
    CU_ASSERT_EQUAL(record.value.data == NULL, value == NULL);
    if (value != NULL) {
        check_bytes(record.value, value);
    }
    CU_ASSERT(!record_iter_next(&iter, &record) && iter.error == OK);
    writer_deinit(&writer);
}

static err add_value(struct batch_builder *batch, const void *values)
{
    return txn_record_add(batch, UPDATE_MS, STR("my-id"), values);
}

static err add_tombstone(struct batch_builder *batch, const void *values)
{
    (void)values;
    return txn_record_add_tombstone(batch, UPDATE_MS, STR("my-id"));
}

#define MY_ID "0000 0005 6d792d6964"

static void test_written(void)
{
    for (size_t i = 0; i < VALUES_N; i++) {
        struct txn_values values = {.state = VALUES[i].state,
                                    .producer_id = 7,
                                    .last_producer_id = 6, /* it and the next are not in the log */
                                    .epoch = 5,
                                    .last_epoch = 4,
                                    .timeout_ms = 60000,
                                    .start_ms = VALUES[i].start_ms,
                                    .update_ms = UPDATE_MS,
                                    .partitions = partitions_of(VALUES[i].partitions)};
        check_written(add_value, &values, MY_ID, VALUES[i].hex);
        txn_partitions_release(values.partitions);
    }
    check_written(add_tombstone, NULL, MY_ID, NULL);
}

/* A set without partitions is none. */
static void test_written_without_partitions(void)
{
    struct txn_values values = {.state = TXN_ONGOING,
                                .producer_id = 7,
                                .epoch = 5,
                                .timeout_ms = 60000,
                                .start_ms = START_MS,
                                .update_ms = UPDATE_MS,
                                .partitions = txn_partitions_new(NULL, 0)};
    check_written(add_value, &values, MY_ID, VALUES[2].hex);
    txn_partitions_release(values.partitions);
}

/* ---- reading ---- */

static err read_value(struct bytes bytes, struct txn_values *values)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    *values = (struct txn_values){0};
    err e = txn_record_read(bytes, &arena, values);
    arena_deinit(&arena);
    return e;
}

/* An error, with nothing to release; or a transaction that can go on from there. */
static err read_and_check(struct bytes bytes)
{
    struct txn_values values;
    err e = read_value(bytes, &values);
    if (e == OK) {
        struct txn *txn = txn_new_loaded(STR("id"), &values);
        txn_check(txn);
        txn_free(txn);
    } else {
        CU_ASSERT_PTR_NULL(values.partitions);
    }
    return e;
}

static err read_hex(const char *hex)
{
    struct bytes bytes = bytes_of_hex(hex);
    err e = read_and_check(bytes);
    drop(bytes);
    return e;
}

static void check_read(const char *hex, enum txn_state state, const char *partitions,
                       int64_t start_ms)
{
    struct txn_values values;
    struct bytes bytes = bytes_of_hex(hex);
    MUST(read_value(bytes, &values));
    drop(bytes); /* nothing points there */
    CU_ASSERT_EQUAL(values.state, state);
    CU_ASSERT(values.producer_id == 7 && values.epoch == 5 && values.timeout_ms == 60000);
    CU_ASSERT(values.last_producer_id == -1 && values.last_epoch == -1);
    CU_ASSERT(values.update_ms == UPDATE_MS && values.start_ms == start_ms);
    check_partitions(values.partitions, partitions);
    txn_partitions_release(values.partitions);
}

static void test_read(void)
{
    for (size_t i = 0; i < VALUES_N; i++) {
        check_read(VALUES[i].hex, VALUES[i].state, VALUES[i].partitions, VALUES[i].start_ms);
    }
}

/* Another order, null where an array is usual and the other way round; Empty has no start. */
static void test_read_otherwise(void)
{
    check_read("0000" PRODUCER EPOCH_TIMEOUT
               "01 00000003 000162 00000001 00000003 000161 00000001 00000001 000161 00000002 "
               "00000000 00000001" UPDATED STARTED,
               TXN_ONGOING, "a-0,a-1,b-3", START_MS);
    check_read("0000" PRODUCER EPOCH_TIMEOUT "00 00000000" UPDATED STARTED, TXN_EMPTY, NULL, -1);
    check_read("0000" PRODUCER EPOCH_TIMEOUT "01 ffffffff" UPDATED STARTED, TXN_ONGOING, NULL,
               START_MS);
    check_read("0000" PRODUCER EPOCH_TIMEOUT "04 ffffffff" UPDATED STARTED, TXN_COMPLETE_COMMIT,
               NULL, START_MS);
}

/* Version 1, as later releases write it: also with the producer ids of before and after (tags 0 and 1) and the
 * client's version (tag 2). */
#define VALUE_1 "0001" PRODUCER EPOCH_TIMEOUT "01" TOPICS_1 UPDATED STARTED
static void test_read_version_1(void)
{
    check_read(VALUE_1 "00", TXN_ONGOING, "a-0,a-1,b-3", START_MS);
    check_read(VALUE_1 "03 0008 0000000000000006 0108 0000000000000008 0202 0002", TXN_ONGOING,
               "a-0,a-1,b-3", START_MS);
    check_read("0001" PRODUCER EPOCH_TIMEOUT "00 00" UPDATED NEVER "00", TXN_EMPTY, NULL, -1);
    check_read("0001" PRODUCER EPOCH_TIMEOUT "05 01" UPDATED STARTED "00", TXN_COMPLETE_ABORT, NULL,
               START_MS);
}

static void test_unknown_versions(void)
{
    CU_ASSERT_EQUAL(read_hex("0002" PRODUCER EPOCH_TIMEOUT "00 00" UPDATED NEVER "00"),
                    E_UNSUPPORTED);
    CU_ASSERT_EQUAL(read_hex("7fff"), E_UNSUPPORTED);
    CU_ASSERT_EQUAL(read_hex("ffff" PRODUCER EPOCH_TIMEOUT "00 ffffffff" UPDATED NEVER),
                    E_UNSUPPORTED);
}

/* What no coordinator can have written. */
static void test_contradictions(void)
{
    static const char *const malformed[] = {
        "0000" PRODUCER EPOCH_TIMEOUT "06 00000000" UPDATED NEVER,   /* Dead */
        "0000" PRODUCER EPOCH_TIMEOUT "07 00000000" UPDATED STARTED, /* PrepareEpochFence */
        "0000" PRODUCER EPOCH_TIMEOUT "08 00000000" UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "ff 00000000" UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "00" TOPICS UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "04" TOPICS UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "05" TOPICS UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "01 7fffffff" UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "01 00000001 ffff 00000000" UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "01 00000001 000161 ffffffff" UPDATED STARTED,
        "0000" PRODUCER EPOCH_TIMEOUT "01 00000001 000161 7fffffff" UPDATED STARTED,
        "0000" NEVER EPOCH_TIMEOUT "00 ffffffff" UPDATED NEVER,
        "0000" PRODUCER "ffff 0000ea60 00 ffffffff" UPDATED NEVER,
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        CU_ASSERT_EQUAL(read_hex(malformed[i]), E_MALFORMED);
    }
}

/* ---- damage ---- */

/* The whole value is sound; every prefix of it is not, and every byte that is another one does no harm. */
static void check_damage(const char *hex)
{
    struct bytes whole = bytes_of_hex(hex);
    MUST(read_and_check(whole));
    for (size_t len = 0; len < whole.len; len++) {
        uint8_t *prefix = xmalloc(len + (len == 0));
        memcpy(prefix, whole.data, len);
        CU_ASSERT_EQUAL(read_and_check(bytes_of(prefix, len)), E_MALFORMED);
        free(prefix);
    }
    for (size_t at = 0; at < whole.len; at++) {
        for (int value = 0; value < 256; value++) {
            uint8_t *damaged = xmalloc(whole.len);
            memcpy(damaged, whole.data, whole.len);
            damaged[at] = (uint8_t)value;
            err e = read_and_check(bytes_of(damaged, whole.len));
            CU_ASSERT(e == OK || e == E_MALFORMED || (e == E_UNSUPPORTED && at < 2));
            free(damaged);
        }
    }
    drop(whole);
}

static void test_damaged_values(void)
{
    for (size_t i = 0; i < VALUES_N; i++) {
        check_damage(VALUES[i].hex);
    }
    check_damage(VALUE_1 "00");
    check_damage(VALUE_1 "03 0008 0000000000000006 0108 0000000000000008 0202 0002");
}

/* ---- keys ---- */

/* `id` NULL: passed over. */
static void check_key(struct bytes bytes, err error, const char *id)
{
    struct arena arena;
    struct str read;
    arena_init(&arena, ARENA_BYTES);
    CU_ASSERT_EQUAL(txn_record_read_key(bytes, &arena, &read), error);
    if (error == OK) {
        CU_ASSERT(str_equal(read, str_of(id)));
    }
    arena_deinit(&arena);
}

static void check_key_hex(const char *hex, err error, const char *id)
{
    struct bytes bytes = bytes_of_hex(hex);
    check_key(bytes, error, id);
    drop(bytes);
}

static void test_keys(void)
{
    check_key_hex(MY_ID, OK, "my-id");
    check_key_hex("0000 0000", OK, "");
    check_key_hex("0001 0005 6d792d6964", OK, NULL); /* of what is not known here */
    check_key_hex("0001", OK, NULL);
    check_key_hex("ffff 0005 6d792d6964", E_MALFORMED, NULL);
    check_key_hex("0000 ffff", E_MALFORMED, NULL);
    check_key_hex("0000 fffe", E_MALFORMED, NULL);
    check_key_hex("0000 0006 6d792d6964", E_MALFORMED, NULL);
    struct bytes whole = bytes_of_hex(MY_ID);
    for (size_t len = 0; len < whole.len; len++) {
        uint8_t *prefix = xmalloc(len + (len == 0));
        memcpy(prefix, whole.data, len);
        check_key(bytes_of(prefix, len), E_MALFORMED, NULL);
        free(prefix);
    }
    drop(whole);
}

/* ---- sets of partitions ---- */

/* In any order, also twice; by topic, then by number. */
static void test_sets(void)
{
    static const char *const rows[][2] = {
        {"a-0", "a-0"},
        {"a-1,a-0", "a-0,a-1"},
        {"b-0,a-10,a-9,a-9,b-0", "a-9,a-10,b-0"},
        {"ab-0,a-1,b-0,abc-5,a-0", "a-0,a-1,ab-0,abc-5,b-0"},
        {"z-1,z-1,z-1", "z-1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct txn_partitions *set = partitions_of(rows[i][0]);
        check_partitions(set, rows[i][1]);
        txn_partitions_release(set);
    }
    struct txn_partitions *none = txn_partitions_new(NULL, 0);
    CU_ASSERT_EQUAL(txn_partitions_count(none), 0);
    txn_partitions_release(none);
}

/* The names are its own. */
static void test_set_is_a_copy(void)
{
    char name[] = "topic";
    struct topic_partition names[] = {{.topic = str_of(name), .partition = 4},
                                      {.topic = str_of(name), .partition = 2}};
    struct txn_partitions *set = txn_partitions_new(names, 2);
    CU_ASSERT_PTR_EQUAL(txn_partitions_retain(set), set);
    memset(name, 'x', sizeof(name) - 1);
    txn_partitions_release(set);
    check_partitions(set, "topic-2,topic-4");
    txn_partitions_release(set);
    txn_partitions_release(NULL);
    CU_ASSERT_PTR_NULL(txn_partitions_retain(NULL));
}

static void test_union(void)
{
    static const char *const rows[][3] = {
        {NULL, NULL, ""},
        {NULL, "a-0", "a-0"},
        {"a-0", "a-0", "a-0"},
        {"a-0,b-1", "a-1,b-0,b-1", "a-0,a-1,b-0,b-1"},
        {"a-0,a-1,a-2", "c-0", "a-0,a-1,a-2,c-0"},
        {"ab-0", "a-7,b-2", "a-7,ab-0,b-2"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct txn_partitions *a = partitions_of(rows[i][0]);
        struct txn_partitions *b = partitions_of(rows[i][1]);
        struct txn_partitions *ab = txn_partitions_union(a, b);
        struct txn_partitions *ba = txn_partitions_union(b, a);
        bool smaller = txn_partitions_count(a) < txn_partitions_count(ab);
        CU_ASSERT(txn_partitions_hold_all(ab, a) && txn_partitions_hold_all(ab, b));
        CU_ASSERT_EQUAL(txn_partitions_hold_all(a, ab), !smaller);
        txn_partitions_release(a);
        txn_partitions_release(b);
        check_partitions(ab, rows[i][2]);
        check_partitions(ba, rows[i][2]);
        txn_partitions_release(ab);
        txn_partitions_release(ba);
    }
}

static void test_hold(void)
{
    struct txn_partitions *set = partitions_of("a-1,a-3,ab-2,b-0");
    CU_ASSERT(txn_partitions_hold(set, STR("a"), 1) && txn_partitions_hold(set, STR("a"), 3));
    CU_ASSERT(txn_partitions_hold(set, STR("ab"), 2) && txn_partitions_hold(set, STR("b"), 0));
    CU_ASSERT(!txn_partitions_hold(set, STR("a"), 2) && !txn_partitions_hold(set, STR("a"), 0));
    CU_ASSERT(!txn_partitions_hold(set, STR("ab"), 1) && !txn_partitions_hold(set, STR(""), 1));
    CU_ASSERT(!txn_partitions_hold(set, STR("abc"), 2) && !txn_partitions_hold(set, STR("A"), 1));
    CU_ASSERT_FALSE(txn_partitions_hold(NULL, STR("a"), 1));
    CU_ASSERT(txn_partitions_hold_all(set, NULL) && txn_partitions_hold_all(NULL, NULL));
    CU_ASSERT_FALSE(txn_partitions_hold_all(NULL, set));
    CU_ASSERT_EQUAL(txn_partitions_of_topic(set, 0), 2);
    CU_ASSERT_EQUAL(txn_partitions_of_topic(set, 1), 1);
    CU_ASSERT_EQUAL(txn_partitions_of_topic(set, 2), 1);
    CU_ASSERT_EQUAL(txn_partitions_of_topic(set, 3), 1);
    txn_partitions_release(set);
}

SUITE("txn records", TEST(test_written), TEST(test_written_without_partitions), TEST(test_read),
      TEST(test_read_otherwise), TEST(test_read_version_1), TEST(test_unknown_versions),
      TEST(test_contradictions), TEST(test_damaged_values), TEST(test_keys), TEST(test_sets),
      TEST(test_set_is_a_copy), TEST(test_union), TEST(test_hold))
