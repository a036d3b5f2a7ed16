/* What a leader says to a client's batches: the golden rows of Kafka 3.9.1, each with its code, and
 * what is changed in a batch that is taken. */
#include "util.h"

struct bench {
    struct log_config config;
    struct validate_rules rules;
    struct writer in;
    struct arena arena;
    struct validated out;
};

static void setup(struct bench *b)
{
    *b = (struct bench){.config = log_config_default()};
    b->rules = (struct validate_rules){.config = &b->config,
                                       .now_ms = T0_MS + 5000,
                                       .zstd_allowed = true,
                                       .inflated_limit_bytes = 1 << 24};
    writer_init(&b->in, 1 << 26);
    arena_init(&b->arena, 1 << 20);
}

static void teardown(struct bench *b)
{
    writer_deinit(&b->out.rewritten);
    writer_deinit(&b->in);
    arena_deinit(&b->arena);
}

static err validate(struct bench *b)
{
    writer_deinit(&b->out.rewritten);
    return validate_batches(&b->rules, b->in.data, b->in.len, &b->arena, &b->out);
}

static size_t add(struct bench *b, int count, int attributes)
{
    return make_batch(&b->in, &(struct batch_spec){.count = count, .attributes = attributes}, 0);
}

static void recrc(struct bench *b)
{
    batch_crc_update(b->in.data, b->in.len);
}

/* A fresh batch of two records, changed by the case, then judged. */
#define ROW(code, change)                                                                          \
    do {                                                                                           \
        struct bench b;                                                                            \
        setup(&b);                                                                                 \
        add(&b, 2, 0);                                                                             \
        uint8_t *at = b.in.data;                                                                   \
        (void)at;                                                                                  \
        change;                                                                                    \
        CU_ASSERT_EQUAL(validate(&b), (code));                                                     \
        teardown(&b);                                                                              \
    } while (0)
/* The same with the CRC made right again. */
#define CHANGED(code, change)                                                                      \
    ROW(code, {                                                                                    \
        change;                                                                                    \
        recrc(&b);                                                                                 \
    })

static void test_framing(void)
{
    ROW(OK, );
    for (size_t len = 0; len < 12; len++) {
        ROW(ERR_INVALID_RECORD, b.in.len = len); /* no batch */
    }
    ROW(ERR_INVALID_RECORD, b.in.len -= 1); /* longer than the field */
    ROW(ERR_INVALID_RECORD, add(&b, 1, 0)); /* two */
    ROW(ERR_INVALID_RECORD, at[16] = 0);    /* old formats */
    ROW(ERR_INVALID_RECORD, at[16] = 1);
    ROW(ERR_CORRUPT_MESSAGE, at[16] = 3);
    ROW(ERR_CORRUPT_MESSAGE, at[16] = 0xff);
    ROW(ERR_CORRUPT_MESSAGE, store_u32(at + 8, 13));
    ROW(ERR_CORRUPT_MESSAGE, store_u32(at + 8, 0xffffffff));
    ROW(ERR_CORRUPT_MESSAGE, store_u32(at + 8, 14));
    ROW(ERR_CORRUPT_MESSAGE, store_u32(at + 8, 48));
    ROW(ERR_CORRUPT_MESSAGE, at[17] ^= 1);
    ROW(ERR_CORRUPT_MESSAGE, b.in.data[b.in.len - 1] ^= 1);
    for (size_t tail = 1; tail < 20; tail++) { /* trimmed in silence */
        struct bench b;
        setup(&b);
        size_t size = add(&b, 2, 0);
        memset(writer_grow(&b.in, tail), 0x20, tail);
        b.in.data[size + (tail > 16 ? 16 : 0)] = 2;
        CU_ASSERT_EQUAL(validate(&b), OK);
        CU_ASSERT_EQUAL(b.out.len, size);
        teardown(&b);
    }
}

static void test_header_rules(void)
{
    ROW(ERR_MESSAGE_TOO_LARGE, b.config.max_message_bytes = (int32_t)b.in.len - 1);
    ROW(OK, b.config.max_message_bytes = (int32_t)b.in.len);
    ROW(ERR_INVALID_RECORD, batch_set_base_offset(at, 1));
    CHANGED(ERR_INVALID_RECORD, store_u32(at + 57, 0)); /* count */
    CHANGED(ERR_INVALID_RECORD, store_u32(at + 57, (uint32_t)-1));
    CHANGED(ERR_INVALID_RECORD, store_u32(at + 57, 3));
    CHANGED(ERR_INVALID_RECORD, store_u32(at + 23, 5)); /* last offset delta */
    CHANGED(ERR_INVALID_RECORD, store_u32(at + 23, (uint32_t)-1));
    CHANGED(ERR_INVALID_RECORD, at[22] |= BATCH_CONTROL);
    CHANGED(ERR_INVALID_RECORD, store_u64(at + 43, 5)); /* producer id, no sequence */
    CHANGED(OK, {
        store_u64(at + 43, 5);
        store_u32(at + 53, 0); /* a sequence; producer epoch -1 is accepted */
    });
    CHANGED(ERR_UNKNOWN_SERVER_ERROR, at[22] |= 5); /* codecs that do not exist */
    CHANGED(ERR_UNKNOWN_SERVER_ERROR, at[22] |= 7);
    ROW(ERR_CORRUPT_MESSAGE, {
        batch_set_base_offset(at, 0);
        store_u32(at + 57, 3); /* the CRC is judged before the count */
    });
}

static void test_attribute_bits(void)
{
    struct bench b;
    setup(&b);
    add(&b, 2, 0x7fc0 & ~BATCH_DELETE_HORIZON);
    MUST(validate(&b));
    struct batch batch;
    batch_parse(b.out.data, &batch);
    CU_ASSERT_EQUAL(batch.attributes, 0x7f80); /* as sent: nothing had to be rewritten */
    teardown(&b);
    setup(&b);
    add(&b, 2, 0x7f80 | BATCH_LOG_APPEND_TIME);
    MUST(validate(&b));
    batch_parse(b.out.data, &batch);
    CU_ASSERT_EQUAL(batch.attributes, 0);
    CU_ASSERT_EQUAL(batch.crc, batch_crc(b.out.data, b.out.len));
    teardown(&b);
}

static void test_record_rules(void)
{
    enum { FIRST = BATCH_HEADER_BYTES };
    CHANGED(ERR_INVALID_RECORD, at[FIRST] += 2); /* length */
    CHANGED(ERR_INVALID_RECORD, at[FIRST] -= 2);
    CHANGED(ERR_INVALID_RECORD, b.in.data[b.in.len - 1] = 1);    /* header count -1 */
    CHANGED(ERR_INVALID_RECORD, b.in.data[b.in.len - 1] = 0x7e); /* huge */
    CHANGED(OK, at[FIRST + 1] = 77); /* record attributes are not looked at */
    CHANGED(OK, at[FIRST + 3] = 40); /* nor are offset deltas */
    CHANGED(ERR_UNKNOWN_SERVER_ERROR, memset(at + FIRST, 0xff, 5)); /* a varint that is too long */
    CHANGED(ERR_INVALID_RECORD, {                                   /* one that is cut */
                                  memset(at + FIRST, 0xff, 4);
                                  b.in.len = FIRST + 4;
                                  store_u32(at + 8, FIRST + 4 - 12);
    });
    struct bench b; /* bytes after the last record */
    setup(&b);
    size_t size = add(&b, 2, 0);
    memset(writer_grow(&b.in, 3), 0, 3);
    store_u32(b.in.data + 8, (uint32_t)(size + 3 - 12));
    recrc(&b);
    CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_RECORD);
    CU_ASSERT_TRUE(b.out.log_start_known);
    teardown(&b);
}

static void add_keyless(struct bench *b, int attributes)
{
    struct batch_builder builder;
    batch_begin(&builder, &b->in, (int16_t)attributes);
    batch_add(&builder, T0_MS, bytes_of("k", 1), bytes_of("v", 1));
    batch_add(&builder, T0_MS, (struct bytes){0}, bytes_of("v", 1));
    batch_add(&builder, T0_MS, (struct bytes){0}, bytes_of("v", 1));
    MUST(batch_end(&builder));
}

static void test_compacted(void)
{
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        struct bench b;
        setup(&b);
        add_keyless(&b, codec);
        MUST(validate(&b));
        b.config.cleanup_compact = true;
        CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_RECORD);
        CU_ASSERT_EQUAL_FATAL(b.out.record_errors_n, 2);
        CU_ASSERT_EQUAL(b.out.record_errors[0].index, 1);
        CU_ASSERT_EQUAL(b.out.record_errors[1].index, 2);
        CU_ASSERT_PTR_NOT_NULL(b.out.message);
        CU_ASSERT_TRUE(b.out.log_start_known);
        teardown(&b);
    }
}

static void test_timestamps(void)
{
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec += 3) {
        struct bench b;
        setup(&b);
        make_batch(&b.in,
                   &(struct batch_spec){.count = 3,
                                        .attributes = codec,
                                        .timestamps = {T0_MS, T0_MS + 9000, T0_MS + 5000}},
                   0);
        MUST(validate(&b));
        struct batch batch;
        batch_parse(b.out.data, &batch);
        CU_ASSERT_EQUAL(batch.max_timestamp, T0_MS + 9000);
        b.config.message_timestamp_after_max_ms = 3999;
        CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_TIMESTAMP);
        CU_ASSERT_EQUAL_FATAL(b.out.record_errors_n, 1);
        CU_ASSERT_EQUAL(b.out.record_errors[0].index, 1);
        b.config.message_timestamp_after_max_ms = 4000;
        MUST(validate(&b));
        b.config.message_timestamp_before_max_ms = 4999;
        CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_TIMESTAMP);
        CU_ASSERT_EQUAL(b.out.record_errors[0].index, 0);
        b.config.message_timestamp_before_max_ms = 5000;
        MUST(validate(&b));
        teardown(&b);
    }
    /* a maximum that is wrong is put right, with the CRC */
    CHANGED(OK, batch_set_max_timestamp(at, T0_MS + 77));
    struct bench b;
    setup(&b);
    add(&b, 2, 0);
    batch_set_max_timestamp(b.in.data, T0_MS + 77);
    recrc(&b);
    MUST(validate(&b));
    struct batch batch;
    batch_parse(b.out.data, &batch);
    CU_ASSERT_EQUAL(batch.max_timestamp, T0_MS + 1);
    CU_ASSERT_EQUAL(batch.crc, batch_crc(b.out.data, b.out.len));
    CU_ASSERT_EQUAL(b.out.append_time_ms, -1);
    teardown(&b);
}

static void test_log_append_time(void)
{
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        struct bench b;
        setup(&b);
        add(&b, 2, codec | BATCH_LOG_APPEND_TIME);
        MUST(validate(&b)); /* cleared */
        struct batch batch;
        batch_parse(b.out.data, &batch);
        CU_ASSERT_FALSE(batch_is(&batch, BATCH_LOG_APPEND_TIME));
        CU_ASSERT_EQUAL(batch.crc, batch_crc(b.out.data, b.out.len));
        b.config.log_append_time = true;
        MUST(validate(&b));
        batch_parse(b.out.data, &batch);
        CU_ASSERT_TRUE(batch_is(&batch, BATCH_LOG_APPEND_TIME));
        CU_ASSERT_EQUAL(batch.max_timestamp, T0_MS + 5000);
        CU_ASSERT_EQUAL(batch.base_timestamp, T0_MS);
        CU_ASSERT_EQUAL(batch.crc, batch_crc(b.out.data, b.out.len));
        CU_ASSERT_EQUAL(b.out.append_time_ms, T0_MS + 5000);
        /* a producer may not set it there */
        CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_TIMESTAMP);
        teardown(&b);
    }
}

static void test_codecs(void)
{
    for (int from = CODEC_NONE; from < CODEC_COUNT; from++) {
        for (int to = COMPRESSION_PRODUCER; to < CODEC_COUNT; to++) {
            struct bench b;
            setup(&b);
            struct batch_spec spec = {.count = 20,
                                      .attributes = from | BATCH_TRANSACTIONAL,
                                      .producer_id = 9,
                                      .epoch = 3,
                                      .sequence = 5};
            make_batch(&b.in, &spec, 0);
            b.config.compression_type = to;
            MUST(validate(&b));
            struct batch batch;
            batch_parse(b.out.data, &batch);
            CU_ASSERT_EQUAL((int)batch_codec(&batch), to < 0 ? from : to);
            CU_ASSERT_EQUAL(b.out.data == b.in.data, to < 0 || to == from);
            CU_ASSERT_EQUAL(batch.crc, batch_crc(b.out.data, b.out.len));
            CU_ASSERT(batch.producer_id == 8 && batch.producer_epoch == 3 &&
                      batch.base_sequence == 5 && batch.count == 20 &&
                      batch.last_offset_delta == 19 && batch_is(&batch, BATCH_TRANSACTIONAL));
            struct writer scratch;
            struct bytes body;
            struct record_iter iter;
            struct record record;
            writer_init(&scratch, 1 << 20);
            MUST(batch_body(bytes_of(b.out.data, b.out.len), &scratch, 1 << 20, &body));
            record_iter_init(&iter, body, batch.count);
            int i = 0;
            for (; record_iter_next(&iter, &record); i++) {
                CU_ASSERT_EQUAL(record.offset_delta, i);
                CU_ASSERT_EQUAL(batch.base_timestamp + record.timestamp_delta, T0_MS + i);
            }
            CU_ASSERT_EQUAL(i, 20);
            writer_deinit(&scratch);
            teardown(&b);
        }
    }
    ROW(ERR_MESSAGE_TOO_LARGE, {
        b.in.len = 0;
        make_batch(&b.in, &(struct batch_spec){.count = 50, .value_bytes = 900, .attributes = 1},
                   0);
        b.config.compression_type = CODEC_NONE;
        b.config.max_message_bytes = 10000;
    });
    ROW(ERR_UNSUPPORTED_COMPRESSION_TYPE, {
        b.in.len = 0;
        add(&b, 2, CODEC_ZSTD);
        b.rules.zstd_allowed = false;
    });
    ROW(ERR_MESSAGE_TOO_LARGE,
        { /* a bomb, where all records are held at once */
          b.in.len = 0;
          make_batch(&b.in,
                     &(struct batch_spec){.count = 200, .value_bytes = 4000, .attributes = 4}, 0);
          b.config.compression_type = CODEC_LZ4;
          b.rules.inflated_limit_bytes = 100000;
        });
}

/* A payload that cannot be inflated is refused, unless it is not looked at. */
static void test_bad_payload(void)
{
    for (int codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct bench b;
        setup(&b);
        size_t size = add(&b, 20, codec);
        memset(b.in.data + BATCH_HEADER_BYTES, 0xee, size - BATCH_HEADER_BYTES);
        recrc(&b);
        CU_ASSERT_EQUAL(validate(&b), ERR_UNKNOWN_SERVER_ERROR);
        CU_ASSERT_TRUE(b.out.log_start_known);
        b.rules.compressed_unchecked = true;
        MUST(validate(&b));
        b.config.cleanup_compact = true;
        CU_ASSERT_EQUAL(validate(&b), ERR_UNKNOWN_SERVER_ERROR);
        b.config.cleanup_compact = false;
        b.config.compression_type = codec == CODEC_GZIP ? CODEC_LZ4 : CODEC_GZIP;
        CU_ASSERT_EQUAL(validate(&b), ERR_UNKNOWN_SERVER_ERROR);
        teardown(&b);
    }
}

/* In place of what is there: two records whose offset deltas and count are given. */
static void add_deltas(struct bench *b, int codec, int32_t first, int32_t second, int32_t count)
{
    b->in.len = 0;
    struct batch_builder builder;
    struct record record = {.key = bytes_of("k", 1)};
    batch_begin(&builder, &b->in, (int16_t)codec);
    batch_add_record(&builder, T0_MS, first, &record);
    batch_add_record(&builder, T0_MS, second, &record);
    builder.count = count;
    builder.last_offset_delta = count - 1;
    MUST(batch_end(&builder));
}

/* Counted and numbered right: inside of a compressed batch; -1 is Kafka's code for the second. An
 * uncompressed one is stored as it was sent; one that is encoded anew is numbered anew. */
static void test_deltas_and_counts(void)
{
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        err deltas = codec == CODEC_NONE ? OK : ERR_UNKNOWN_SERVER_ERROR;
        ROW(OK, add_deltas(&b, codec, 0, 1, 2));
        ROW(deltas, add_deltas(&b, codec, 0, 0, 2));
        ROW(deltas, add_deltas(&b, codec, 1, 0, 2));
        ROW(deltas, add_deltas(&b, codec, 0, -1, 2));
        ROW(ERR_INVALID_RECORD, add_deltas(&b, codec, 0, 1, 1));
        ROW(ERR_INVALID_RECORD, add_deltas(&b, codec, 0, 1, 3));
        ROW(OK, {
            add_deltas(&b, codec, 1, 0, 2);
            b.config.compression_type = codec == CODEC_GZIP ? CODEC_LZ4 : CODEC_GZIP;
        });
    }
}

/* A zstd batch of one record: so many blocks of 128 KiB of zeros, four bytes each. */
static void add_bomb(struct bench *b, int blocks)
{
    struct writer *w = &b->in;
    size_t value = (size_t)blocks << 17;
    struct batch_builder builder;
    batch_begin(&builder, w, CODEC_NONE);
    MUST(batch_end(&builder));
    writer_bytes(w, "\x28\xb5\x2f\xfd\0\x58", 6); /* a window of 2 MiB */
    size_t block = w->len;
    writer_bytes(w, "\0\0\0\2\0\0\0\1", 8); /* a length that nobody believes, no key */
    writer_varint(w, (int32_t)value);
    w->data[block] = (uint8_t)((w->len - block - 3) << 3); /* a raw block */
    for (int i = 0; i < blocks; i++) {
        writer_bytes(w, "\x02\0\x10\0", 4); /* 2^17 times a zero */
    }
    writer_bytes(w, "\x09\0\0\0", 4); /* the last block: no headers */
    store_u32(w->data + 8, (uint32_t)(w->len - BATCH_PREFIX_BYTES));
    store_u32(w->data + 57, 1); /* count */
    batch_set_attributes(w->data, CODEC_ZSTD);
    recrc(b);
}

/* Bounded in memory by the window of the codec, in time by 1 GiB. */
static void test_bombs(void)
{
    static const int BLOCKS[] = {1, 100, 8191, 8192, 16000};
    for (size_t i = 0; i < sizeof(BLOCKS) / sizeof(BLOCKS[0]); i++) {
        ROW(BLOCKS[i] < 8192 ? OK : ERR_MESSAGE_TOO_LARGE, {
            b.in.len = 0;
            add_bomb(&b, BLOCKS[i]);
        });
        ROW(BLOCKS[i] == 1 ? OK : E_BUSY, {
            b.in.len = 0;
            add_bomb(&b, BLOCKS[i]);
            b.rules.hurried_bytes_max = 1 << 20;
        });
    }
}

/* Who must not be held up is told so, and the batch is as it was. */
static void test_hurry(void)
{
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        struct bench b;
        setup(&b);
        make_batch(&b.in,
                   &(struct batch_spec){.count = 50, .value_bytes = 900, .attributes = codec}, 0);
        batch_set_max_timestamp(b.in.data, 5); /* to be put right */
        recrc(&b);
        uint32_t crc = batch_crc(b.in.data, b.in.len);
        b.rules.hurried_bytes_max = 20000;
        CU_ASSERT_EQUAL(validate(&b), codec == CODEC_NONE ? OK : E_BUSY);
        CU_ASSERT_EQUAL(crc == batch_crc(b.in.data, b.in.len), codec != CODEC_NONE);
        b.rules.hurried_bytes_max = 0;
        MUST(validate(&b));
        b.config.compression_type = codec == CODEC_GZIP ? CODEC_LZ4 : CODEC_GZIP;
        b.rules.hurried_bytes_max = 20000;
        CU_ASSERT_EQUAL(validate(&b), E_BUSY);
        teardown(&b);
    }
}

static void test_log_start_is_told(void)
{
    static const struct {
        size_t at;
        uint8_t value;
        bool fix_crc;
        bool known;
    } ROWS[] = {{17, 0xaa, false, false}, /* CRC: 2 */
                {16, 1, false, false},    /* magic: 87 by the request's rules */
                {7, 1, false, true},      /* base offset: 87 */
                {60, 9, true, true}};     /* count: 87 */
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct bench b;
        setup(&b);
        add(&b, 2, 0);
        b.in.data[ROWS[i].at] = ROWS[i].value;
        if (ROWS[i].fix_crc) {
            recrc(&b);
        }
        CU_ASSERT(validate(&b) > 0);
        CU_ASSERT_EQUAL(b.out.log_start_known, ROWS[i].known);
        teardown(&b);
    }
}

/* A coordinator's markers, and what old producers send. */
static void test_other_callers(void)
{
    struct bench b;
    setup(&b);
    make_marker(&b.in, 5, 0, true, 1);
    CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_RECORD);
    b.rules.control_allowed = true;
    b.config.compression_type = CODEC_GZIP;
    b.config.cleanup_compact = true;
    MUST(validate(&b));
    CU_ASSERT_PTR_EQUAL(b.out.data, b.in.data);
    teardown(&b);
    setup(&b);
    b.rules.old_formats = true;
    MUST(validate(&b)); /* nothing is no error in old versions */
    CU_ASSERT_EQUAL(b.out.len, 0);
    add(&b, 2, 0);
    MUST(validate(&b));
    add(&b, 3, CODEC_SNAPPY);
    CU_ASSERT_EQUAL(validate(&b), ERR_INVALID_RECORD);
    teardown(&b);
}

SUITE("validate", TEST(test_framing), TEST(test_header_rules), TEST(test_attribute_bits),
      TEST(test_record_rules), TEST(test_compacted), TEST(test_timestamps),
      TEST(test_log_append_time), TEST(test_codecs), TEST(test_bad_payload),
      TEST(test_deltas_and_counts), TEST(test_bombs), TEST(test_hurry),
      TEST(test_log_start_is_told), TEST(test_other_callers))
