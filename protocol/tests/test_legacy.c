/* Message sets of the old formats, up and down: known bytes, what is kept and dropped, and
 * refusals. */
#include "protocol/legacy.h"

#include "protocol/error.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { LIMIT = 1 << 20 };

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

static struct bytes written(const struct writer *w)
{
    return bytes_of(w->data, w->len);
}

/* One entry, written without legacy.c. */
static void put_entry(struct writer *w, int64_t offset, int8_t magic, int8_t attributes,
                      int64_t timestamp, struct bytes value)
{
    struct writer body;
    writer_init(&body, LIMIT);
    writer_i8(&body, magic);
    writer_i8(&body, attributes);
    if (magic == 1) {
        writer_i64(&body, timestamp);
    }
    writer_i32(&body, -1);
    writer_i32(&body, value.data == NULL ? -1 : (int32_t)value.len);
    writer_bytes(&body, value.data, value.len);
    writer_i64(w, offset);
    writer_i32(w, (int32_t)body.len + 4);
    writer_i32(w, (int32_t)crc32(0, body.data, (uInt)body.len));
    writer_bytes(w, body.data, body.len);
    writer_deinit(&body);
}

struct seen {
    int count;
    int64_t offsets[16];
    int64_t timestamps[16];
    char values[16][16];
};

/* The records of one v2 batch, whatever its codec. */
static struct seen read_batch(struct bytes bytes)
{
    struct seen seen = {0};
    struct batch batch;
    struct writer scratch;
    writer_init(&scratch, LIMIT);
    CU_ASSERT_FATAL(bytes.len >= BATCH_HEADER_BYTES);
    batch_parse(bytes.data, &batch);
    CU_ASSERT_EQUAL_FATAL(batch.size_bytes, (int32_t)bytes.len);
    CU_ASSERT_EQUAL(batch.crc, batch_crc(bytes.data, bytes.len));
    struct bytes body;
    CU_ASSERT_EQUAL_FATAL(batch_body(bytes, &scratch, LIMIT, &body), OK);
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, batch.count);
    for (; record_iter_next(&iter, &record); seen.count++) {
        CU_ASSERT_FATAL(seen.count < 16);
        seen.offsets[seen.count] = batch_offset(&batch, record.offset_delta);
        seen.timestamps[seen.count] = batch_timestamp(&batch, record.timestamp_delta);
        memcpy(seen.values[seen.count], record.value.data, record.value.len);
    }
    CU_ASSERT_EQUAL(iter.error, OK);
    writer_deinit(&scratch);
    return seen;
}

/* A v2 batch at offset 100 with the values a, b, c at the times 7, 9, 8. */
static void put_batch(struct writer *w, int16_t attributes)
{
    size_t start = w->len;
    struct batch_builder b;
    batch_begin(&b, w, attributes);
    batch_add(&b, 7, (struct bytes){0}, text("a"));
    batch_add(&b, 9, text("key"), text("b"));
    batch_add(&b, 8, (struct bytes){0}, text("c"));
    CU_ASSERT_EQUAL(batch_end(&b), OK);
    batch_set_base_offset(w->data + start, 100);
}

/* The three records of put_batch as Kafka 3.9.1's MemoryRecordsBuilder writes them. */
static const struct {
    int8_t magic;
    int16_t codec;
    const char *hex;
} KAFKAS[] = {
    {0, CODEC_NONE,
     "00000000000000640000000f51df3a320000ffffffff00000001610000000000000065000000122ab3f7"
     "910000000000036b6579000000016200000000000000660000000fbfd15b1e0000ffffffff0000000163"},
    {0, CODEC_GZIP,
     "000000000000006600000055df54a9d70001ffffffff000000471f8b08000000000000ff636000831420"
     "e60fbc6f65c4c0f01f08803cc644880c432a100b696dfe3e11cc63ce4ead04c9264165d3401af75f8c96"
     "43684c060007a6136b54000000"},
    {0, CODEC_SNAPPY,
     "00000000000000660000006c059de4850002ffffffff0000005e82534e41505059000000000100000001"
     "0000004a54000009014c640000000f51df3a320000ffffffff0000000161091a240065000000122ab3f7"
     "9105100c036b6579011e0062050e08000066013938bfd15b1e0000ffffffff0000000163"},
    {0, CODEC_LZ4,
     "000000000000006600000068dd4746c70003ffffffff0000005a04224d1860401a4b00000012000100f2"
     "05640000000f51df3a320000ffffffff00000001611a00a10065000000122ab3f791100040036b65791e"
     "0011620e00300000663900f000bfd15b1e0000ffffffff000000016300000000"},
    {1, CODEC_NONE,
     "000000000000006400000017d56ed99001000000000000000007ffffffff000000016100000000000000"
     "650000001ac39c519e01000000000000000009000000036b657900000001620000000000000066000000"
     "17ca6be33101000000000000000008ffffffff0000000163"},
    {1, CODEC_GZIP,
     "000000000000006600000060b89290e301010000000000000009ffffffff0000004a1f8b080000000000"
     "00ff63608003f1ab79372730c278ecff8100483326420540325287e704ce832be10462e6ecd44a906412"
     "548c0964d0a9ecc78670551c3083920186dda9a76c000000"},
    {1, CODEC_SNAPPY,
     "00000000000000660000007bb33509fe01020000000000000009ffffffff0000006582534e4150505900"
     "0000000100000001000000516c000019011417d56ed9900111102407ffffffff00000001610d12011a10"
     "1ac39c519e010905011c09000000036b65790126006205122c00000200000017ca6be331010d11280008"
     "ffffffff0000000163"},
    {1, CODEC_LZ4,
     "0000000000000066000000752f736caa01030000000000000009ffffffff0000005f04224d1860408250"
     "000000160001006417d56ed990011000a307ffffffff00000001611200001a00501ac39c519e09000102"
     "008009000000036b6579260011621200b500000200000017ca6be3312600a008ffffffff000000016300"
     "000000"},
};

static void put_hex(struct writer *w, const char *hex)
{
    for (unsigned byte = 0; sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        writer_i8(w, (int8_t)byte);
    }
}

static void test_as_kafka_writes_them(void)
{
    for (size_t i = 0; i < sizeof(KAFKAS) / sizeof(KAFKAS[0]); i++) {
        struct writer kafka;
        struct writer in;
        struct writer out;
        writer_init(&kafka, LIMIT);
        writer_init(&in, LIMIT);
        writer_init(&out, LIMIT);
        put_hex(&kafka, KAFKAS[i].hex);
        CU_ASSERT_EQUAL_FATAL(legacy_up_convert(written(&kafka), INT32_MAX, LIMIT, &out), OK);
        struct seen seen = read_batch(written(&out));
        CU_ASSERT_EQUAL(seen.count, 3);
        CU_ASSERT_STRING_EQUAL(seen.values[2], "c");
        CU_ASSERT_EQUAL(seen.timestamps[1], KAFKAS[i].magic == 0 ? -1 : 9);
        put_batch(&in, KAFKAS[i].codec);
        writer_clear(&out);
        CU_ASSERT_EQUAL(legacy_down_convert(written(&in), KAFKAS[i].magic, 0, LIMIT, &out), OK);
        if (KAFKAS[i].codec == CODEC_NONE) {
            CU_ASSERT(bytes_equal(written(&out), written(&kafka)));
        } else if (KAFKAS[i].codec == CODEC_LZ4) {
            /* The frame's header, with the checksum that magic 0 has. */
            size_t frame = KAFKAS[i].magic == 0 ? 26 : 34;
            CU_ASSERT(memcmp(out.data + frame, kafka.data + frame, 7) == 0);
        }
        writer_deinit(&kafka);
        writer_deinit(&in);
        writer_deinit(&out);
    }
}

static void test_down_and_up_again(void)
{
    for (int8_t magic = 0; magic <= 1; magic++) {
        for (int16_t codec = CODEC_NONE; codec <= CODEC_LZ4; codec++) {
            struct writer in;
            struct writer old;
            struct writer up;
            writer_init(&in, LIMIT);
            writer_init(&old, LIMIT);
            writer_init(&up, LIMIT);
            put_batch(&in, codec);
            CU_ASSERT_EQUAL(legacy_down_convert(written(&in), magic, 0, LIMIT, &old), OK);
            CU_ASSERT_EQUAL(old.data[16], magic);
            CU_ASSERT_EQUAL(load_u64(old.data), codec == CODEC_NONE ? 100 : 102);
            if (magic == 1) {
                CU_ASSERT_EQUAL(load_u64(old.data + 18), codec == CODEC_NONE ? 7 : 9);
            }
            CU_ASSERT_EQUAL_FATAL(legacy_up_convert(written(&old), INT32_MAX, LIMIT, &up), OK);
            struct seen seen = read_batch(written(&up));
            CU_ASSERT_EQUAL(seen.count, 3);
            CU_ASSERT_STRING_EQUAL(seen.values[1], "b");
            CU_ASSERT_EQUAL(seen.offsets[2], 2);
            CU_ASSERT_EQUAL(seen.timestamps[1], magic == 0 ? -1 : 9);
            struct batch batch;
            batch_parse(up.data, &batch);
            CU_ASSERT_EQUAL(batch_codec(&batch), (enum codec)codec);
            CU_ASSERT_EQUAL(batch.base_offset, 0);
            writer_deinit(&in);
            writer_deinit(&old);
            writer_deinit(&up);
        }
    }
}

static void test_one_to_zero(void)
{
    for (int16_t codec = CODEC_NONE; codec <= CODEC_LZ4; codec++) {
        struct writer in;
        struct writer one;
        struct writer zero;
        struct writer direct;
        writer_init(&in, LIMIT);
        writer_init(&one, LIMIT);
        writer_init(&zero, LIMIT);
        writer_init(&direct, LIMIT);
        put_batch(&in, codec);
        CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 1, 0, LIMIT, &one), OK);
        CU_ASSERT_EQUAL(legacy_down_convert(written(&one), 0, 0, LIMIT, &zero), OK);
        CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 0, 0, LIMIT, &direct), OK);
        CU_ASSERT(bytes_equal(written(&zero), written(&direct)));
        /* Already old enough: as it is. */
        writer_clear(&direct);
        CU_ASSERT_EQUAL(legacy_down_convert(written(&zero), 1, 0, LIMIT, &direct), OK);
        CU_ASSERT(bytes_equal(written(&zero), written(&direct)));
        writer_deinit(&in);
        writer_deinit(&one);
        writer_deinit(&zero);
        writer_deinit(&direct);
    }
}

static void test_what_down_conversion_drops(void)
{
    struct writer in;
    struct writer out;
    writer_init(&in, LIMIT);
    writer_init(&out, LIMIT);
    put_batch(&in, BATCH_CONTROL | BATCH_TRANSACTIONAL);
    CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 1, 0, LIMIT, &out), OK);
    CU_ASSERT_EQUAL(out.len, 0);
    /* Records below the fetch offset; a part of a batch at the end. */
    writer_clear(&in);
    put_batch(&in, 0);
    put_batch(&in, 0);
    CU_ASSERT_EQUAL(legacy_down_convert(bytes_of(in.data, in.len - 1), 1, 102, LIMIT, &out), OK);
    CU_ASSERT_EQUAL(load_u64(out.data), 102);
    CU_ASSERT_EQUAL(out.len, 12 + 22 + 1);
    /* A compressed batch goes whole. */
    writer_clear(&in);
    writer_clear(&out);
    put_batch(&in, CODEC_GZIP);
    CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 1, 102, LIMIT, &out), OK);
    writer_clear(&in);
    CU_ASSERT_EQUAL(legacy_up_convert(written(&out), INT32_MAX, LIMIT, &in), OK);
    CU_ASSERT_EQUAL(read_batch(written(&in)).count, 3);
    writer_clear(&in);
    put_batch(&in, CODEC_ZSTD);
    CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 1, 0, LIMIT, &out),
                    ERR_UNSUPPORTED_COMPRESSION_TYPE);
    writer_clear(&in);
    put_batch(&in, CODEC_GZIP);
    CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 1, 0, 5, &out), E_LIMIT);
    writer_deinit(&in);
    writer_deinit(&out);
}

static void test_log_append_time(void)
{
    struct writer in;
    struct writer out;
    writer_init(&in, LIMIT);
    writer_init(&out, LIMIT);
    for (int16_t codec = CODEC_NONE; codec <= CODEC_GZIP; codec++) {
        writer_clear(&in);
        writer_clear(&out);
        put_batch(&in, (int16_t)(BATCH_LOG_APPEND_TIME | codec));
        CU_ASSERT_EQUAL(legacy_down_convert(written(&in), 1, 0, LIMIT, &out), OK);
        CU_ASSERT_EQUAL(out.data[17], BATCH_LOG_APPEND_TIME | codec);
        CU_ASSERT_EQUAL(load_u64(out.data + 18), 9);
        writer_clear(&in);
        CU_ASSERT_EQUAL(legacy_up_convert(written(&out), INT32_MAX, LIMIT, &in), OK);
        CU_ASSERT_EQUAL(in.data[22], BATCH_LOG_APPEND_TIME | codec);
        CU_ASSERT_EQUAL(read_batch(written(&in)).timestamps[0], 9);
    }
    writer_deinit(&in);
    writer_deinit(&out);
}

/* Entries become one batch; a part of one at the end is ignored. */
static void test_several_entries(void)
{
    struct writer in;
    struct writer out;
    writer_init(&in, LIMIT);
    writer_init(&out, LIMIT);
    put_entry(&in, 0, 1, 0, 44, text("x"));
    put_entry(&in, 9, 1, 0, 55, text("y"));
    put_entry(&in, 3, 1, 0, 66, text("z"));
    size_t whole = in.len;
    put_entry(&in, 4, 1, 0, 77, text("cut"));
    in.len -= 2;
    CU_ASSERT_EQUAL(legacy_up_convert(written(&in), INT32_MAX, LIMIT, &out), OK);
    struct seen seen = read_batch(written(&out));
    CU_ASSERT(seen.count == 3 && seen.offsets[2] == 2 && seen.timestamps[2] == 66);
    writer_clear(&out);
    in.len = 5;
    CU_ASSERT_EQUAL(legacy_up_convert(written(&in), INT32_MAX, LIMIT, &out), OK);
    CU_ASSERT_EQUAL(out.len, 0);
    in.len = whole;
    int32_t entry = (int32_t)whole / 3;
    CU_ASSERT_EQUAL(legacy_up_convert(written(&in), entry, LIMIT, &out), OK);
    CU_ASSERT_EQUAL(legacy_up_convert(written(&in), entry - 1, LIMIT, &out), ERR_MESSAGE_TOO_LARGE);
    writer_deinit(&in);
    writer_deinit(&out);
}

static err up(const struct writer *in)
{
    struct writer out;
    writer_init(&out, LIMIT);
    err e = legacy_up_convert(written(in), INT32_MAX, LIMIT, &out);
    writer_deinit(&out);
    return e;
}

/* A wrapper of gzip around what `inner` holds. */
static void put_wrapper(struct writer *w, int8_t magic, const struct writer *inner)
{
    struct writer packed;
    writer_init(&packed, LIMIT);
    CU_ASSERT_EQUAL(codec_compress(CODEC_GZIP, 0, written(inner), &packed), OK);
    put_entry(w, 5, magic, CODEC_GZIP, 1, written(&packed));
    writer_deinit(&packed);
}

static void test_refusals(void)
{
    struct writer in;
    struct writer inner;
    writer_init(&in, LIMIT);
    writer_init(&inner, LIMIT);
    put_entry(&in, 0, 1, 0, 5, text("value"));
    for (size_t i = 12; i < in.len; i++) {
        in.data[i] ^= 1;
        CU_ASSERT_EQUAL(up(&in), ERR_CORRUPT_MESSAGE);
        in.data[i] ^= 1;
    }
    CU_ASSERT_EQUAL(up(&in), OK);
    store_u32(in.data + 8, 13); /* shorter than any entry */
    CU_ASSERT_EQUAL(up(&in), ERR_CORRUPT_MESSAGE);
    writer_clear(&in);
    put_entry(&in, 0, 1, CODEC_GZIP, 5, (struct bytes){0});
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    writer_clear(&in);
    put_entry(&in, 0, 1, CODEC_GZIP, 5, text("not gzip"));
    CU_ASSERT_EQUAL(up(&in), ERR_UNKNOWN_SERVER_ERROR);
    for (int8_t codec = CODEC_GZIP; codec <= CODEC_LZ4; codec++) {
        writer_clear(&in);
        put_entry(&in, 0, 0, codec, 5, text(""));
        CU_ASSERT_EQUAL(up(&in), ERR_UNKNOWN_SERVER_ERROR);
    }
    for (int8_t codec = CODEC_ZSTD; codec <= BATCH_CODEC_MASK; codec++) {
        writer_clear(&in);
        put_entry(&in, 0, 1, codec, 5, text("x"));
        CU_ASSERT_EQUAL(up(&in),
                        codec == CODEC_ZSTD ? ERR_INVALID_RECORD : ERR_UNKNOWN_SERVER_ERROR);
    }
    /* A wrapper with nothing inside, with an entry of another magic, with a wrapper inside. */
    writer_clear(&in);
    put_wrapper(&in, 1, &inner);
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    writer_clear(&in);
    put_entry(&inner, 0, 0, 0, 0, text("x"));
    put_wrapper(&in, 1, &inner);
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    writer_clear(&in);
    put_wrapper(&in, 0, &inner);
    CU_ASSERT_EQUAL(up(&in), OK);
    put_entry(&in, 1, 0, 0, 0, text("beside a wrapper"));
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    writer_clear(&in);
    put_wrapper(&in, 0, &inner);
    writer_clear(&inner);
    writer_bytes(&inner, in.data, in.len);
    writer_clear(&in);
    put_wrapper(&in, 0, &inner);
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    /* An inner entry with a wrong CRC; a part of one behind a whole one, and alone. */
    writer_clear(&inner);
    put_entry(&inner, 0, 0, 0, 0, text("x"));
    inner.data[inner.len - 1] ^= 1;
    writer_clear(&in);
    put_wrapper(&in, 0, &inner);
    CU_ASSERT_EQUAL(up(&in), ERR_CORRUPT_MESSAGE);
    inner.data[inner.len - 1] ^= 1;
    put_entry(&inner, 0, 0, 0, 0, text("x"));
    inner.len -= 1;
    writer_clear(&in);
    put_wrapper(&in, 0, &inner);
    CU_ASSERT_EQUAL(up(&in), OK);
    inner.len = 20;
    writer_clear(&in);
    put_wrapper(&in, 0, &inner);
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    /* Two magics. */
    writer_clear(&in);
    put_entry(&in, 0, 0, 0, 0, text("x"));
    put_entry(&in, 0, 1, 0, 0, text("x"));
    CU_ASSERT_EQUAL(up(&in), ERR_INVALID_RECORD);
    writer_deinit(&in);
    writer_deinit(&inner);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("legacy", NULL, NULL);
    CU_add_test(suite, "as Kafka writes them", test_as_kafka_writes_them);
    CU_add_test(suite, "down and up again", test_down_and_up_again);
    CU_add_test(suite, "one to zero", test_one_to_zero);
    CU_add_test(suite, "what down-conversion drops", test_what_down_conversion_drops);
    CU_add_test(suite, "log append time", test_log_append_time);
    CU_add_test(suite, "several entries", test_several_entries);
    CU_add_test(suite, "refusals", test_refusals);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
