/* What can be inflated, row by row, as Kafka 3.9.1 answered. And the walk over records
 * that come in pieces. */
#include "protocol/skim.h"

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdlib.h>

enum { LIMIT = 64 << 20 };

static const char TEXT[] = "hello hello hello hello";

static const struct {
    enum codec codec;
    const char *what;
    const char *hex;
    err expected;
    const char *text;
} ROWS[] = {
    {CODEC_LZ4, "a block", "04224d186040820f0000006868656c6c6f2006005068656c6c6f00000000", OK,
     TEXT},
    {CODEC_LZ4, "stored",
     "04224d186040821700008068656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f00000000", OK, TEXT},
    {CODEC_LZ4, "linked blocks", "04224d184040c00f0000006868656c6c6f2006005068656c6c6f00000000",
     E_CORRUPT, NULL},
    {CODEC_LZ4, "a dictionary",
     "04224d18614007000000e30f0000006868656c6c6f2006005068656c6c6f00000000", E_CORRUPT, NULL},
    {CODEC_LZ4, "version 0", "04224d182040030f0000006868656c6c6f2006005068656c6c6f00000000",
     E_CORRUPT, NULL},
    {CODEC_LZ4, "reserved flag", "04224d186240f00f0000006868656c6c6f2006005068656c6c6f00000000",
     E_CORRUPT, NULL},
    {CODEC_LZ4, "content size, wrong",
     "04224d1868400500000000000000610f0000006868656c6c6f2006005068656c6c6f00000000", OK, TEXT},
    {CODEC_LZ4, "content checksum, wrong",
     "04224d186440a70f0000006868656c6c6f2006005068656c6c6f0000000001000000", OK, TEXT},
    {CODEC_LZ4, "content checksum, cut",
     "04224d186440a70f0000006868656c6c6f2006005068656c6c6f00000000010000", E_CORRUPT, NULL},
    {CODEC_LZ4, "block checksum",
     "04224d187040ad0f0000006868656c6c6f2006005068656c6c6fa90f8a3700000000", OK, TEXT},
    {CODEC_LZ4, "block checksum, wrong",
     "04224d187040ad0f0000006868656c6c6f2006005068656c6c6f0500000000000000", E_CORRUPT, NULL},
    {CODEC_LZ4, "header checksum, wrong",
     "04224d186040000f0000006868656c6c6f2006005068656c6c6f00000000", E_CORRUPT, NULL},
    {CODEC_LZ4, "block size 3", "04224d186030d40f0000006868656c6c6f2006005068656c6c6f00000000",
     E_CORRUPT, NULL},
    {CODEC_LZ4, "4 MiB", "04224d186070730f0000006868656c6c6f2006005068656c6c6f00000000", OK, TEXT},
    {CODEC_LZ4, "reserved in the descriptor",
     "04224d1860c02a0f0000006868656c6c6f2006005068656c6c6f00000000", E_CORRUPT, NULL},
    {CODEC_LZ4, "no end", "04224d186040820f0000006868656c6c6f2006005068656c6c6f", E_CORRUPT, NULL},
    {CODEC_LZ4, "another frame, not read",
     "04224d186040820f0000006868656c6c6f2006005068656c6c6f0000000004224d186040820f0000006868656c6c6"
     "f2006005068656c6c6f00000000",
     OK, TEXT},
    {CODEC_LZ4, "an end that is marked as stored",
     "04224d186040820f0000006868656c6c6f2006005068656c6c6f00000080", OK, TEXT},
    {CODEC_LZ4, "a skippable frame",
     "502a4d180000000004224d186040820f0000006868656c6c6f2006005068656c6c6f00000000", E_CORRUPT,
     NULL},
    {CODEC_LZ4, "a block beyond its size",
     "04224d186040820b0100001f780100fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
     "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe850787878787800"
     "000000",
     E_CORRUPT, NULL},
    {CODEC_GZIP, "a member", "1f8b08000000000000ffcb48cdc9c957c8402701e3513d8d17000000", OK, TEXT},
    {CODEC_GZIP, "two members",
     "1f8b08000000000000ffcb48cdc9c957c848cd0100d617830b090000001f8b08000000000000ffcbc957c848cdc98"
     "19200fca48b2c0e000000",
     OK, TEXT},
    {CODEC_GZIP, "rest that is none",
     "1f8b08000000000000ffcb48cdc9c957c8402701e3513d8d170000000101010101010101010101010101010101010"
     "10101010101010101010101",
     OK, TEXT},
    {CODEC_GZIP, "short rest that would be one",
     "1f8b08000000000000ffcb48cdc9c957c8402701e3513d8d170000001f8b08000000000000ff0300000000000000",
     OK, TEXT},
    {CODEC_GZIP, "member that is cut",
     "1f8b08000000000000ffcb48cdc9c957c8402701e3513d8d170000001f8b08000000000000ff03000000000000000"
     "0",
     E_CORRUPT, NULL},
    {CODEC_GZIP, "CRC, wrong", "1f8b08000000000000ffcb48cdc9c957c84027010100000017000000",
     E_CORRUPT, NULL},
    {CODEC_GZIP, "size, wrong", "1f8b08000000000000ffcb48cdc9c957c8402701e3513d8d01000000",
     E_CORRUPT, NULL},
    {CODEC_GZIP, "no deflate", "1f8b07000000000000ffcb48cdc9c957c8402701e3513d8d17000000",
     E_CORRUPT, NULL},
    {CODEC_GZIP, "unknown flags", "1f8b08e00000000000ffcb48cdc9c957c8402701e3513d8d17000000", OK,
     TEXT},
    {CODEC_GZIP, "name, comment, extra",
     "1f8b081c0000000000ff03006162636e006300cb48cdc9c957c8402701e3513d8d17000000", OK, TEXT},
    {CODEC_GZIP, "name without end", "1f8b08080000000000ff6ecb", E_CORRUPT, NULL},
    {CODEC_GZIP, "header CRC", "1f8b08020000000000ff90c9cb48cdc9c957c8402701e3513d8d17000000", OK,
     TEXT},
    {CODEC_GZIP, "header CRC, wrong",
     "1f8b08020000000000ff91c9cb48cdc9c957c8402701e3513d8d17000000", E_CORRUPT, NULL},
    {CODEC_GZIP, "zlib", "789ccb48cdc9c957c8402701680308b1", E_CORRUPT, NULL},
    {CODEC_SNAPPY, "raw", "171468656c6c6f20420600", OK, TEXT},
    {CODEC_SNAPPY, "raw and a byte", "171468656c6c6f2042060000", E_CORRUPT, NULL},
    {CODEC_SNAPPY, "xerial", "82534e415050590000000001000000010000000b171468656c6c6f20420600", OK,
     TEXT},
    {CODEC_SNAPPY, "two blocks",
     "82534e415050590000000001000000010000000b092068656c6c6f2068656c0000000100000000100e346c6f20686"
     "56c6c6f2068656c6c6f",
     OK, TEXT},
    {CODEC_SNAPPY, "joined",
     "82534e415050590000000001000000010000000b092068656c6c6f2068656c82534e4150505900000000010000000"
     "1000000100e346c6f2068656c6c6f2068656c6c6f",
     OK, TEXT},
    {CODEC_SNAPPY, "joined, version 0",
     "82534e415050590000000001000000010000000b092068656c6c6f2068656c82534e4150505900000000000000000"
     "1000000100e346c6f2068656c6c6f2068656c6c6f",
     E_CORRUPT, NULL},
    {CODEC_SNAPPY, "version 0", "82534e415050590000000000000000010000000b171468656c6c6f20420600",
     OK, TEXT},
    {CODEC_SNAPPY, "rest of 3",
     "82534e415050590000000001000000010000000b171468656c6c6f20420600000000", OK, TEXT},
    {CODEC_SNAPPY, "empty block",
     "82534e415050590000000001000000010000000b171468656c6c6f2042060000000000", E_CORRUPT, NULL},
    {CODEC_SNAPPY, "negative block",
     "82534e415050590000000001000000010000000b171468656c6c6f20420600fffffffb", E_CORRUPT, NULL},
    {CODEC_SNAPPY, "joined, cut",
     "82534e415050590000000001000000010000000b171468656c6c6f2042060082534e415050590000", E_CORRUPT,
     NULL},
    {CODEC_SNAPPY, "nothing", "", E_CORRUPT, NULL},
    {CODEC_ZSTD, "a frame", "28b52ffd20176500003068656c6c6f200100994b11", OK, TEXT},
    {CODEC_ZSTD, "two frames",
     "28b52ffd200949000068656c6c6f2068656c28b52ffd200e7100006c6f2068656c6c6f2068656c6c6f", OK,
     TEXT},
    {CODEC_ZSTD, "skippable", "502a4d1802000000616228b52ffd20176500003068656c6c6f200100994b11", OK,
     TEXT},
    {CODEC_ZSTD, "checksum, wrong", "28b52ffd24176500003068656c6c6f200100994b11175eae00", E_CORRUPT,
     NULL},
    {CODEC_ZSTD, "cut", "28b52ffd20176500003068656c6c6f200100994b", E_CORRUPT, NULL},
    {CODEC_ZSTD, "second frame, cut", "28b52ffd20176500003068656c6c6f200100994b1128b52ffd20", OK,
     TEXT},
    {CODEC_ZSTD, "zeros behind", "28b52ffd20176500003068656c6c6f200100994b110000", E_CORRUPT, NULL},
    {CODEC_ZSTD, "window of 128 MiB",
     "28b52ffd0088b9000068656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f", OK, TEXT},
    {CODEC_ZSTD, "of more", "28b52ffd0089b9000068656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f",
     E_CORRUPT, NULL},
    {CODEC_ZSTD, "content size, wrong",
     "28b52ffd2018b9000068656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f", E_CORRUPT, NULL},
    {CODEC_ZSTD, "dictionary", "28b52ffd210717b9000068656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f",
     E_CORRUPT, NULL},
    {CODEC_ZSTD, "before version 1", "27b52ffd20176500003068656c6c6f200100994b11", E_CORRUPT, NULL},
    {CODEC_ZSTD, "nothing", "", OK, ""},
};

/* Exactly as large as it is, so that a sanitizer sees what is read behind it. */
static struct bytes from_hex(const char *hex)
{
    size_t len = strlen(hex) / 2;
    uint8_t *data = malloc(len + (len == 0));
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        data[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return bytes_of(data, len);
}

static void test_rows(void)
{
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct bytes input = from_hex(ROWS[i].hex);
        struct writer out;
        writer_init(&out, LIMIT);
        err e = codec_decompress(ROWS[i].codec, input, LIMIT, &out);
        bool right = e == ROWS[i].expected &&
                     (e != OK ||
                      (out.len == strlen(ROWS[i].text) &&
                       bytes_equal(bytes_of(out.data, out.len), bytes_of(ROWS[i].text, out.len))));
        if (!right) {
            fprintf(stderr, "codec %d, %s: %d\n", ROWS[i].codec, ROWS[i].what, e);
        }
        CU_ASSERT_TRUE(right);
        writer_deinit(&out);
        free((void *)(uintptr_t)input.data);
    }
}

static bool row_is_right(size_t i, struct inflaters *inflaters, int pieces)
{
    struct bytes input = from_hex(ROWS[i].hex);
    struct inflater *f = inflaters_take(inflaters, ROWS[i].codec, input, 0);
    struct writer out;
    writer_init(&out, LIMIT);
    err e = OK;
    if (pieces < 0) {
        e = inflater_all(f, LIMIT, &out);
    }
    for (int n = 0; n < pieces && e == OK; n++) { /* and it is given back in the middle */
        struct bytes piece;
        e = inflater_next(f, &piece);
    }
    bool right =
        pieces >= 0 ||
        (e == ROWS[i].expected &&
         (e != OK || bytes_equal(bytes_of(out.data, out.len), bytes_of(ROWS[i].text, out.len))));
    inflaters_return(inflaters, f);
    writer_deinit(&out);
    free((void *)(uintptr_t)input.data);
    return right;
}

/* One that was used before, for any other row of its codec, to the end or not, is as good as new. */
static void test_used_again(void)
{
    size_t rows_n = sizeof(ROWS) / sizeof(ROWS[0]);
    struct inflaters inflaters = {0};
    int used_n = 0;
    for (size_t i = 0; i < rows_n; i++) {
        for (size_t before = 0; before < rows_n; before++) {
            if (ROWS[before].codec != ROWS[i].codec) {
                continue;
            }
            for (int pieces = -1; pieces <= 1; pieces++) {
                (void)row_is_right(before, &inflaters, pieces);
                used_n += inflaters.spare[ROWS[i].codec] != NULL ? 1 : 0;
                bool right = row_is_right(i, &inflaters, -1);
                if (!right) {
                    fprintf(stderr, "%s after %s, %d pieces\n", ROWS[i].what, ROWS[before].what,
                            pieces);
                }
                CU_ASSERT(right);
            }
        }
    }
    CU_ASSERT(used_n > 1000);
    inflaters_deinit(&inflaters);
}

/* Magic 0: any checksum of the header. */
static void test_unchecked_header(void)
{
    struct bytes input = from_hex("04224d18604000"
                                  "02000080"
                                  "6869"
                                  "00000000");
    for (int flags = 0; flags <= INFLATE_LZ4_HEADER_UNCHECKED; flags++) {
        struct inflater *f = inflater_new(CODEC_LZ4, input, flags);
        struct bytes piece;
        CU_ASSERT_EQUAL(inflater_next(f, &piece), flags == 0 ? E_CORRUPT : OK);
        CU_ASSERT(flags == 0 || (piece.len == 2 && memcmp(piece.data, "hi", 2) == 0));
        CU_ASSERT(flags == 0 || (inflater_next(f, &piece) == OK && piece.len == 0));
        inflater_free(f);
    }
    free((void *)(uintptr_t)input.data);
}

/* A stored block as large as the frame's blocks may be, and one that is larger. */
static void test_block_size(void)
{
    enum { BLOCK = 64 << 10 };
    static uint8_t zeros[BLOCK + 1];
    for (int32_t len = BLOCK; len <= BLOCK + 1; len++) {
        struct writer in;
        struct writer out;
        writer_init(&in, LIMIT);
        writer_init(&out, LIMIT);
        writer_bytes(&in, "\x04\x22\x4d\x18\x60\x40\x82", 7);
        writer_i32(&in, (int32_t)__builtin_bswap32((uint32_t)len | 1U << 31));
        writer_bytes(&in, zeros, (size_t)len);
        writer_i32(&in, 0);
        CU_ASSERT_EQUAL(codec_decompress(CODEC_LZ4, bytes_of(in.data, in.len), LIMIT, &out),
                        len == BLOCK ? OK : E_CORRUPT);
        writer_deinit(&in);
        writer_deinit(&out);
    }
}

/* ---- zstd ---- */

enum { STRETCH = 131075 }; /* what Java takes of its input at a time */

static void fill_at_random(uint8_t *data, size_t len)
{
    uint32_t seed = 7;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)(seed >> 24);
    }
}

/* What is inflated of a large frame and a tail behind it. */
static err inflate_with_tail(struct bytes frame, const char *tail, size_t *len)
{
    struct bytes behind = from_hex(tail);
    struct writer in;
    struct writer out;
    writer_init(&in, LIMIT);
    writer_init(&out, LIMIT);
    writer_bytes(&in, frame.data, frame.len);
    writer_bytes(&in, behind.data, behind.len);
    err e = codec_decompress(CODEC_ZSTD, bytes_of(in.data, in.len), LIMIT, &out);
    *len = out.len;
    writer_deinit(&in);
    writer_deinit(&out);
    free((void *)(uintptr_t)behind.data);
    return e;
}

/* Where a large frame ends within a stretch decides whether a cut one behind it counts. */
static void test_large_zstd_frames(void)
{
    enum { CONTENT_MAX = 3 * STRETCH, AROUND = 40 };
    static const char FRAME[] = "28b52ffd20176500003068656c6c6f200100994b11";
    static const char CUT[] = "28b52ffd20";
    static uint8_t content[CONTENT_MAX];
    fill_at_random(content, sizeof(content));
    int passed_over = 0;
    for (size_t len = 2 * STRETCH - AROUND; len < 2 * STRETCH; len++) {
        struct writer packed;
        size_t made = 0;
        writer_init(&packed, LIMIT);
        CU_ASSERT_EQUAL_FATAL(codec_compress(CODEC_ZSTD, 0, bytes_of(content, len), &packed), OK);
        struct bytes frame = bytes_of(packed.data, packed.len);
        bool same_stretch =
            (frame.len - 1) / STRETCH == (frame.len + strlen(CUT) / 2 - 1) / STRETCH;
        passed_over += same_stretch;
        CU_ASSERT(inflate_with_tail(frame, "", &made) == OK && made == len);
        CU_ASSERT(inflate_with_tail(frame, FRAME, &made) == OK && made == len + strlen(TEXT));
        CU_ASSERT_EQUAL(inflate_with_tail(frame, "0000", &made), E_CORRUPT);
        CU_ASSERT_EQUAL(inflate_with_tail(frame, CUT, &made), same_stretch ? OK : E_CORRUPT);
        frame.len--;
        CU_ASSERT_EQUAL(inflate_with_tail(frame, "", &made), E_CORRUPT);
        writer_deinit(&packed);
    }
    CU_ASSERT(passed_over > 0 && passed_over < AROUND);
}

/* What is wrong late in a large frame comes after what is before it. */
static void test_broken_zstd_frame(void)
{
    enum { BLOCK = 128 << 10, CONTENT = 2 * BLOCK + 6, SIZE_AT = 5 };
    static uint8_t content[CONTENT];
    fill_at_random(content, sizeof(content));
    for (int turn = 0; turn < 2; turn++) {
        struct writer packed;
        struct bytes piece;
        writer_init(&packed, LIMIT);
        CU_ASSERT_EQUAL_FATAL(
            codec_compress(CODEC_ZSTD, 0, bytes_of(content, sizeof(content)), &packed), OK);
        if (turn == 0) {
            packed.data[packed.len - CONTENT % BLOCK - 3] |= 3 << 1; /* a type of no block */
        } else {
            packed.data[SIZE_AT] ^= 1; /* of the content: a byte more than there are */
        }
        struct inflater *f = inflater_new(CODEC_ZSTD, bytes_of(packed.data, packed.len), 0);
        CU_ASSERT(inflater_next(f, &piece) == OK && piece.len > 0);
        CU_ASSERT_EQUAL(memcmp(piece.data, content, piece.len), 0);
        err e = OK;
        while (e == OK && piece.len > 0) {
            e = inflater_next(f, &piece);
        }
        CU_ASSERT_EQUAL(e, E_CORRUPT);
        inflater_free(f);
        writer_deinit(&packed);
    }
}

/* ---- skimming ---- */

/* Records of growing sizes, so that every field is cut by the end of some piece. */
static void put_records(struct writer *body, int count)
{
    struct batch_builder b;
    static uint8_t value[200];
    batch_begin(&b, body, CODEC_NONE);
    for (int i = 0; i < count; i++) {
        struct record record = {.key = i % 3 == 0 ? (struct bytes){0} : bytes_of("key", 3),
                                .value = bytes_of(value, (size_t)(i * 7 % 200)),
                                .headers_n = i % 5 == 0,
                                .headers = bytes_of("\2h\2x", i % 5 == 0 ? 4 : 0)};
        batch_add_record(&b, 1000 + i * 100, i, &record);
    }
    CU_ASSERT_EQUAL_FATAL(batch_end(&b), OK);
}

/* Blocks of `block` bytes, stored. */
static void put_snappy(struct writer *out, struct bytes body, size_t block)
{
    writer_bytes(out, "\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16);
    for (size_t at = 0; at < body.len; at += block) {
        size_t len = body.len - at < block ? body.len - at : block;
        writer_i32(out, (int32_t)len + 2);
        writer_i8(out, (int8_t)len);
        writer_i8(out, (int8_t)((len - 1) << 2));
        writer_bytes(out, body.data + at, len);
    }
}

static err skim_all(struct bytes payload, int count, size_t bytes_max, int *seen)
{
    struct skim s;
    struct skimmed record;
    struct inflater *f = inflater_new(CODEC_SNAPPY, payload, 0);
    skim_init(&s, f, count, bytes_max);
    for (*seen = 0; skim_next(&s, &record); (*seen)++) {
        CU_ASSERT(record.offset_delta == *seen && record.timestamp_delta == *seen * 100 &&
                  record.has_key == (*seen % 3 != 0));
    }
    inflater_free(f);
    return s.error;
}

static void test_skim_in_pieces(void)
{
    enum { COUNT = 300 };
    struct writer batch;
    struct writer payload;
    int seen = 0;
    writer_init(&batch, LIMIT);
    writer_init(&payload, LIMIT);
    put_records(&batch, COUNT);
    struct bytes body = bytes_of(batch.data + BATCH_HEADER_BYTES, batch.len - BATCH_HEADER_BYTES);
    for (size_t block = 1; block <= 60; block++) {
        writer_clear(&payload);
        put_snappy(&payload, body, block);
        struct bytes whole = bytes_of(payload.data, payload.len);
        CU_ASSERT_EQUAL(skim_all(whole, COUNT, body.len, &seen), OK);
        CU_ASSERT_EQUAL(seen, COUNT);
        CU_ASSERT_EQUAL(skim_all(whole, COUNT, body.len - 1, &seen), E_LIMIT);
        CU_ASSERT_EQUAL(skim_all(whole, COUNT - 1, LIMIT, &seen), E_MALFORMED);
        CU_ASSERT_EQUAL(seen, COUNT - 1);
        CU_ASSERT_EQUAL(skim_all(whole, COUNT + 1, LIMIT, &seen), E_MALFORMED);
        CU_ASSERT_EQUAL(seen, COUNT);
        whole.len -= 1;
        CU_ASSERT_EQUAL(skim_all(whole, COUNT, LIMIT, &seen), E_CORRUPT);
    }
    writer_deinit(&batch);
    writer_deinit(&payload);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("inflate", NULL, NULL);
    CU_add_test(suite, "rows", test_rows);
    CU_add_test(suite, "used again", test_used_again);
    CU_add_test(suite, "large zstd frames", test_large_zstd_frames);
    CU_add_test(suite, "broken zstd frame", test_broken_zstd_frame);
    CU_add_test(suite, "unchecked header", test_unchecked_header);
    CU_add_test(suite, "block size", test_block_size);
    CU_add_test(suite, "skim in pieces", test_skim_in_pieces);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
