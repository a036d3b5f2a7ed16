/* Record batches: fields in place, the walk over records and what it refuses, the builder, and the
 * codecs with their bounds. */
#include "protocol/batch.h"

#include "base/crc32c.h"

#include <CUnit/Basic.h>
#include <stdlib.h>

enum { LIMIT = 16 << 20 };

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* A batch of `count` records with keys, values and nulls. */
static void build(struct writer *w, int16_t attributes, int count)
{
    struct batch_builder b;
    batch_begin(&b, w, attributes);
    for (int i = 0; i < count; i++) {
        char value[64];
        snprintf(value, sizeof(value), "value number %d", i);
        batch_add(&b, 1000 + (i ^ 1), i % 3 == 0 ? (struct bytes){0} : text("key"),
                  i % 5 == 4 ? (struct bytes){0} : text(value));
    }
    CU_ASSERT_EQUAL_FATAL(batch_end(&b), OK);
}

static void check_records(struct bytes body, int count)
{
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, count);
    int i = 0;
    for (; record_iter_next(&iter, &record); i++) {
        CU_ASSERT_EQUAL(record.offset_delta, i);
        CU_ASSERT_EQUAL(record.timestamp_delta, (i ^ 1) - 1);
        CU_ASSERT_EQUAL(record.key.data == NULL, i % 3 == 0);
        CU_ASSERT_EQUAL(record.value.data == NULL, i % 5 == 4);
        CU_ASSERT_EQUAL(record.headers_n, 0);
        CU_ASSERT_EQUAL(record.headers.len, 0);
    }
    CU_ASSERT_EQUAL(iter.error, OK);
    CU_ASSERT_EQUAL(i, count);
}

static void test_build_and_walk(void)
{
    for (int16_t codec = 0; codec < CODEC_COUNT; codec++) {
        struct writer w;
        struct writer scratch;
        writer_init(&w, LIMIT);
        writer_init(&scratch, LIMIT);
        writer_bytes(&w, "before", 6);
        build(&w, codec, 200);
        struct bytes bytes = bytes_of(w.data + 6, w.len - 6);
        struct batch batch;
        batch_parse(bytes.data, &batch);
        CU_ASSERT_EQUAL(batch.size_bytes, (int32_t)bytes.len);
        CU_ASSERT_EQUAL(batch.magic, 2);
        CU_ASSERT_EQUAL(batch.count, 200);
        CU_ASSERT_EQUAL(batch.last_offset_delta, 199);
        CU_ASSERT_EQUAL(batch.base_offset, 0);
        CU_ASSERT_EQUAL(batch.leader_epoch, -1);
        CU_ASSERT_EQUAL(batch.base_timestamp, 1001);
        CU_ASSERT_EQUAL(batch.max_timestamp, 1199);
        CU_ASSERT_EQUAL(batch.producer_id, -1);
        CU_ASSERT_EQUAL(batch.producer_epoch, -1);
        CU_ASSERT_EQUAL(batch.base_sequence, -1);
        CU_ASSERT_EQUAL(batch.crc, batch_crc(bytes.data, bytes.len));
        CU_ASSERT_EQUAL(batch_codec(&batch), (enum codec)codec);
        struct bytes body;
        CU_ASSERT_EQUAL_FATAL(batch_body(bytes, &scratch, LIMIT, &body), OK);
        check_records(body, 200);
        CU_ASSERT_EQUAL(batch_body(bytes, &scratch, body.len - 1, &body),
                        codec == CODEC_NONE ? OK : E_LIMIT);
        writer_deinit(&w);
        writer_deinit(&scratch);
    }
}

/* The bytes that Kafka's own producer makes for one record, key "k", value "v", at time 5. */
static void test_known_bytes(void)
{
    static const uint8_t RECORD[] = {0x10, 0, 0, 0, 2, 'k', 2, 'v', 0};
    struct writer w;
    writer_init(&w, LIMIT);
    struct batch_builder b;
    batch_begin(&b, &w, 0);
    batch_add(&b, 5, text("k"), text("v"));
    CU_ASSERT_EQUAL(batch_end(&b), OK);
    CU_ASSERT_EQUAL(w.len, BATCH_HEADER_BYTES + sizeof(RECORD));
    CU_ASSERT(memcmp(w.data + BATCH_HEADER_BYTES, RECORD, sizeof(RECORD)) == 0);
    CU_ASSERT_EQUAL(load_u32(w.data + 17), crc32c(0, w.data + 21, w.len - 21));
    writer_deinit(&w);
}

static void test_fields_in_place(void)
{
    struct writer w;
    writer_init(&w, LIMIT);
    build(&w, 0, 3);
    uint32_t crc = batch_crc(w.data, w.len);
    batch_set_base_offset(w.data, 1LL << 40);
    batch_set_leader_epoch(w.data, 77);
    CU_ASSERT_EQUAL(batch_crc(w.data, w.len), crc);
    batch_set_attributes(w.data, BATCH_LOG_APPEND_TIME);
    batch_set_max_timestamp(w.data, 5000);
    CU_ASSERT_NOT_EQUAL(batch_crc(w.data, w.len), crc);
    batch_crc_update(w.data, w.len);
    struct batch batch;
    batch_parse(w.data, &batch);
    CU_ASSERT_EQUAL(batch.crc, batch_crc(w.data, w.len));
    CU_ASSERT_EQUAL(batch_last_offset(&batch), (1LL << 40) + 2);
    CU_ASSERT_EQUAL(batch.leader_epoch, 77);
    CU_ASSERT(batch_is(&batch, BATCH_LOG_APPEND_TIME) && !batch_is(&batch, BATCH_CONTROL));
    CU_ASSERT_EQUAL(batch_timestamp(&batch, 1), 5000);
    writer_deinit(&w);
}

static void test_sequences(void)
{
    CU_ASSERT_EQUAL(sequence_add(5, 1), 6);
    CU_ASSERT_EQUAL(sequence_add(INT32_MAX, 1), 0);
    CU_ASSERT_EQUAL(sequence_add(INT32_MAX - 1, 3), 1);
    struct batch batch = {.base_sequence = INT32_MAX, .last_offset_delta = 2};
    CU_ASSERT_EQUAL(batch_last_sequence(&batch), 1);
    batch.base_sequence = -1;
    CU_ASSERT_EQUAL(batch_last_sequence(&batch), -1);
}

static err walk(const char *body, size_t len, int32_t count)
{
    uint8_t *copy = malloc(len + 1);
    memcpy(copy, body, len);
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, bytes_of(copy, len), count);
    while (record_iter_next(&iter, &record)) {
        struct reader headers = reader_of(record.headers);
        struct str key;
        struct bytes value;
        int32_t n = 0;
        while (record_header_next(&headers, &key, &value)) {
            n++;
        }
        CU_ASSERT_EQUAL(n, record.headers_n);
    }
    free(copy);
    return iter.error;
}
#define WALK(body, count) walk((body), sizeof(body) - 1, (count))

static void test_bad_records(void)
{
    /* length, attributes, timestamp delta, offset delta, key, value, headers */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\0", 1), OK);
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\0", 2), E_MALFORMED);   /* fewer */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\0", 0), E_MALFORMED);   /* more */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\0", -1), E_MALFORMED);  /* a negative count */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\0x", 1), E_MALFORMED);  /* bytes left */
    CU_ASSERT_EQUAL(WALK("\x0c\0\0\0\1\2v\0", 1), E_MALFORMED);   /* too short */
    CU_ASSERT_EQUAL(WALK("\x10\0\0\0\1\2v\0x", 1), E_MALFORMED);  /* too long */
    CU_ASSERT_EQUAL(WALK("\x0d\0\0\0\1\2v\0", 1), E_MALFORMED);   /* negative length */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\x20v\0", 1), E_MALFORMED); /* value past the end */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\1", 1), E_MALFORMED);   /* headers -1 */
    CU_ASSERT_EQUAL(WALK("\x0e\0\0\0\1\2v\2", 1), E_MALFORMED);   /* a header is missing */
    CU_ASSERT_EQUAL(WALK("\x14\0\0\0\1\2v\2\2h\1", 1), OK);       /* a null header value */
    CU_ASSERT_EQUAL(WALK("\x16\0\0\0\1\2v\2\2h\2x", 1), OK);
    CU_ASSERT_EQUAL(WALK("\x12\0\0\0\1\2v\2\1\1", 1), E_MALFORMED);     /* a null header key */
    CU_ASSERT_EQUAL(WALK("\x14\0\0\0\1\2v\xf8\xff\7", 1), E_MALFORMED); /* huge header count */
    CU_ASSERT_EQUAL(WALK("\xff\xff\xff\xff\xff\1", 1), E_CORRUPT);      /* varint too long */
    CU_ASSERT_EQUAL(WALK("", 0), OK);
    CU_ASSERT_EQUAL(WALK("", 1), E_MALFORMED);
}

static void test_headers_are_kept(void)
{
    static const char BODY[] = "\x16\0\0\0\1\2v\2\2h\2x";
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, bytes_of(BODY, sizeof(BODY) - 1), 1);
    CU_ASSERT_FATAL(record_iter_next(&iter, &record));
    struct writer w;
    writer_init(&w, LIMIT);
    struct batch_builder b;
    batch_begin(&b, &w, BATCH_TRANSACTIONAL);
    b.producer_id = 9;
    b.producer_epoch = 3;
    b.base_sequence = 7;
    batch_add_record(&b, 50, 4, &record);
    CU_ASSERT_EQUAL(batch_end(&b), OK);
    struct batch batch;
    batch_parse(w.data, &batch);
    CU_ASSERT_EQUAL(batch.last_offset_delta, 4);
    CU_ASSERT_EQUAL(batch.producer_id, 9);
    CU_ASSERT_EQUAL(batch.producer_epoch, 3);
    CU_ASSERT_EQUAL(batch.base_sequence, 7);
    record_iter_init(&iter, bytes_of(w.data + 61, w.len - 61), 1);
    CU_ASSERT_FATAL(record_iter_next(&iter, &record));
    CU_ASSERT_EQUAL(record.offset_delta, 4);
    CU_ASSERT_EQUAL(record.headers_n, 1);
    struct reader headers = reader_of(record.headers);
    struct str key;
    struct bytes value;
    CU_ASSERT(record_header_next(&headers, &key, &value));
    CU_ASSERT(str_is(key, "h") && bytes_equal(value, text("x")));
    CU_ASSERT(!record_header_next(&headers, &key, &value) && !headers.failed);
    writer_deinit(&w);
}

static void test_empty_batch(void)
{
    struct writer w;
    writer_init(&w, LIMIT);
    struct batch_builder b;
    batch_begin(&b, &w, 0);
    b.last_offset_delta = 9;
    CU_ASSERT_EQUAL(batch_end(&b), OK);
    struct batch batch;
    batch_parse(w.data, &batch);
    CU_ASSERT_EQUAL(w.len, BATCH_HEADER_BYTES);
    CU_ASSERT_EQUAL(batch.count, 0);
    CU_ASSERT_EQUAL(batch.last_offset_delta, 9);
    CU_ASSERT_EQUAL(batch.base_timestamp, -1);
    writer_deinit(&w);
}

static void test_builder_limit(void)
{
    struct writer w;
    writer_init(&w, 100);
    struct batch_builder b;
    batch_begin(&b, &w, 0);
    for (int i = 0; i < 10; i++) {
        batch_add(&b, 1, (struct bytes){0}, text("a value of some length"));
    }
    CU_ASSERT_EQUAL(batch_end(&b), E_LIMIT);
    writer_deinit(&w);
}

/* ---- codecs ---- */

static uint8_t *sample(size_t len, bool random)
{
    uint8_t *data = malloc(len + 1);
    uint32_t state = 1;
    for (size_t i = 0; i < len; i++) {
        state = state * 1664525 + 1013904223;
        data[i] = (uint8_t)(random ? state >> 24 : (uint8_t) "abcabcabd"[i % 9] + (state >> 31));
    }
    return data;
}

static void check_codec(enum codec codec, int level, size_t len, bool random)
{
    uint8_t *data = sample(len, random);
    struct writer packed;
    struct writer out;
    writer_init(&packed, LIMIT);
    writer_init(&out, LIMIT);
    CU_ASSERT_EQUAL_FATAL(codec_compress(codec, level, bytes_of(data, len), &packed), OK);
    struct bytes input = bytes_of(packed.data, packed.len);
    writer_bytes(&out, "x", 1);
    CU_ASSERT_EQUAL(codec_decompress(codec, input, len, &out), OK);
    CU_ASSERT(bytes_equal(bytes_of(out.data + 1, out.len - 1), bytes_of(data, len)));
    if (len > 0) {
        writer_clear(&out);
        CU_ASSERT_EQUAL(codec_decompress(codec, input, len - 1, &out), E_LIMIT);
        CU_ASSERT(out.len <= len);
        writer_clear(&out);
        CU_ASSERT_EQUAL(codec_decompress(codec, input, 0, &out), E_LIMIT);
    }
    writer_deinit(&packed);
    writer_deinit(&out);
    free(data);
}

static void test_codecs(void)
{
    static const size_t LENGTHS[] = {0, 1, 100, 32768, 65536, 65537, 300000};
    for (enum codec codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        for (size_t i = 0; i < sizeof(LENGTHS) / sizeof(LENGTHS[0]); i++) {
            check_codec(codec, 0, LENGTHS[i], true);
            check_codec(codec, 0, LENGTHS[i], false);
            check_codec(codec, 6, LENGTHS[i], false);
        }
    }
}

/* Every cut and many flips of a compressed body: an error or some output, within the bound. */
static void test_broken_input(void)
{
    uint8_t *data = sample(2000, false);
    for (enum codec codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct writer packed;
        struct writer out;
        writer_init(&packed, LIMIT);
        writer_init(&out, LIMIT);
        CU_ASSERT_EQUAL_FATAL(codec_compress(codec, 0, bytes_of(data, 2000), &packed), OK);
        for (size_t len = 0; len < packed.len; len++) {
            uint8_t *cut = malloc(len + 1);
            memcpy(cut, packed.data, len);
            writer_clear(&out);
            err e = codec_decompress(codec, bytes_of(cut, len), LIMIT, &out);
            /* What is cut right behind xerial's header is an empty stream, and so is no zstd frame. */
            bool empty =
                codec == CODEC_SNAPPY ? len >= 16 && len < 20 : codec == CODEC_ZSTD && len == 0;
            CU_ASSERT(e == (empty ? OK : E_CORRUPT));
            free(cut);
        }
        for (size_t i = 0; i < packed.len * 8; i++) {
            packed.data[i / 8] ^= (uint8_t)(1 << i % 8);
            writer_clear(&out);
            err e = codec_decompress(codec, bytes_of(packed.data, packed.len), 4000, &out);
            CU_ASSERT(e == OK || e == E_CORRUPT || e == E_LIMIT);
            CU_ASSERT(out.len <= 4000);
            packed.data[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        writer_deinit(&packed);
        writer_deinit(&out);
    }
    free(data);
    struct writer out;
    writer_init(&out, LIMIT);
    for (int codec = CODEC_COUNT; codec < 8; codec++) {
        CU_ASSERT_EQUAL(codec_decompress((enum codec)codec, text("abc"), LIMIT, &out), E_CORRUPT);
    }
    writer_deinit(&out);
}

/* Eight megabytes of zeros: refused at the limit, and little is allocated. */
static void test_bombs(void)
{
    size_t len = 8 << 20;
    uint8_t *zeros = calloc(1, len);
    for (enum codec codec = CODEC_GZIP; codec < CODEC_COUNT; codec++) {
        struct writer packed;
        struct writer out;
        writer_init(&packed, LIMIT);
        writer_init(&out, LIMIT);
        CU_ASSERT_EQUAL_FATAL(codec_compress(codec, 0, bytes_of(zeros, len), &packed), OK);
        CU_ASSERT(packed.len < len / 10);
        CU_ASSERT_EQUAL(codec_decompress(codec, bytes_of(packed.data, packed.len), 100000, &out),
                        E_LIMIT);
        CU_ASSERT(out.cap <= 300000);
        writer_deinit(&packed);
        writer_deinit(&out);
    }
    free(zeros);
    /* A raw snappy block that announces 4 GiB, and one that announces more than it can hold. */
    struct writer out;
    writer_init(&out, LIMIT);
    CU_ASSERT_EQUAL(
        codec_decompress(CODEC_SNAPPY, bytes_of("\xff\xff\xff\xff\x0f", 5), LIMIT, &out),
        E_CORRUPT);
    CU_ASSERT_EQUAL(codec_decompress(CODEC_SNAPPY, bytes_of("\x80\x80\x80\x04z", 5), LIMIT, &out),
                    E_CORRUPT);
    CU_ASSERT_EQUAL(out.cap, 0);
    writer_deinit(&out);
}

static void test_raw_snappy_and_joined_streams(void)
{
    struct writer out;
    writer_init(&out, LIMIT);
    CU_ASSERT_EQUAL(codec_decompress(CODEC_SNAPPY, bytes_of("\5\x10hello", 7), 5, &out), OK);
    CU_ASSERT(bytes_equal(bytes_of(out.data, out.len), text("hello")));
    writer_clear(&out);
    struct writer packed;
    writer_init(&packed, LIMIT);
    for (enum codec codec = CODEC_GZIP; codec <= CODEC_SNAPPY; codec++) {
        writer_clear(&out);
        writer_clear(&packed);
        CU_ASSERT_EQUAL(codec_compress(codec, 0, text("first "), &packed), OK);
        CU_ASSERT_EQUAL(codec_compress(codec, 0, text("second"), &packed), OK);
        CU_ASSERT_EQUAL(codec_decompress(codec, bytes_of(packed.data, packed.len), 12, &out), OK);
        CU_ASSERT(bytes_equal(bytes_of(out.data, out.len), text("first second")));
    }
    writer_deinit(&packed);
    writer_deinit(&out);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("batch", NULL, NULL);
    CU_add_test(suite, "build and walk", test_build_and_walk);
    CU_add_test(suite, "known bytes", test_known_bytes);
    CU_add_test(suite, "fields in place", test_fields_in_place);
    CU_add_test(suite, "sequences", test_sequences);
    CU_add_test(suite, "bad records", test_bad_records);
    CU_add_test(suite, "headers are kept", test_headers_are_kept);
    CU_add_test(suite, "empty batch", test_empty_batch);
    CU_add_test(suite, "builder limit", test_builder_limit);
    CU_add_test(suite, "codecs", test_codecs);
    CU_add_test(suite, "broken input", test_broken_input);
    CU_add_test(suite, "bombs", test_bombs);
    CU_add_test(suite, "raw snappy and joined streams", test_raw_snappy_and_joined_streams);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
