/* Reader and writer against each other: every cut of an input, variable-length integers at their
 * edges, limits; ids as text. */
#include "base/bytes.h"

#include "base/reader.h"
#include "base/tests/suite.h"
#include "base/writer.h"

enum { NO_LIMIT = 1 << 20 };

static const int64_t EDGES[] = {
    0,          1,         -1,        63,        64,         -64,
    -65,        127,       128,       8191,      8192,       -8193,
    1048575,    1048576,   134217727, 134217728, 2147483647, -2147483648LL,
    4294967295, 1LL << 41, 1LL << 55, 1LL << 62, INT64_MAX,  INT64_MIN};
enum { EDGES_N = sizeof(EDGES) / sizeof(EDGES[0]) };

static void write_everything(struct writer *w)
{
    for (int i = 0; i < EDGES_N; i++) {
        writer_i8(w, (int8_t)EDGES[i]);
        writer_i16(w, (int16_t)EDGES[i]);
        writer_i32(w, (int32_t)EDGES[i]);
        writer_i64(w, EDGES[i]);
        writer_uvarint(w, (uint32_t)EDGES[i]);
        writer_varint(w, (int32_t)EDGES[i]);
        writer_varlong(w, EDGES[i]);
        writer_bytes(w, "xyz", (size_t)i % 4);
    }
}

/* How many values were read before the reader failed, all of them equal to what was written. */
static bool read_everything(struct reader *r)
{
    bool same = true;
    for (int i = 0; i < EDGES_N && !r->failed; i++) {
        int8_t i8 = reader_i8(r);
        same &= r->failed || i8 == (int8_t)EDGES[i];
        int16_t i16 = reader_i16(r);
        same &= r->failed || i16 == (int16_t)EDGES[i];
        int32_t i32 = reader_i32(r);
        same &= r->failed || i32 == (int32_t)EDGES[i];
        int64_t i64 = reader_i64(r);
        same &= r->failed || i64 == EDGES[i];
        uint32_t uvarint = reader_uvarint(r);
        same &= r->failed || uvarint == (uint32_t)EDGES[i];
        int32_t varint = reader_varint(r);
        same &= r->failed || varint == (int32_t)EDGES[i];
        int64_t varlong = reader_varlong(r);
        same &= r->failed || varlong == EDGES[i];
        struct bytes bytes = reader_bytes(r, (size_t)i % 4);
        same &= r->failed || bytes_equal(bytes, bytes_of("xyz", (size_t)i % 4));
    }
    return same;
}

static void test_round_trip_and_every_cut(void)
{
    struct writer w;
    writer_init(&w, NO_LIMIT);
    write_everything(&w);
    CU_ASSERT_FALSE_FATAL(w.failed);
    for (size_t len = 0; len <= w.len; len++) {
        uint8_t *copy = xmalloc(len); /* of its own, so that the sanitizer sees a byte too many */
        memcpy(copy, w.data, len);
        struct reader r = reader_of(bytes_of(copy, len));
        CU_ASSERT(read_everything(&r));
        CU_ASSERT_EQUAL(r.failed, len < w.len);
        CU_ASSERT(r.failed || reader_left(&r) == 0);
        free(copy);
    }
    writer_deinit(&w);
}

static void test_failure_is_sticky(void)
{
    struct reader r = reader_of(bytes_of("\1\2\3\4\5", 5));
    CU_ASSERT_EQUAL(reader_i64(&r), 0);
    CU_ASSERT(r.failed);
    CU_ASSERT_EQUAL(reader_i8(&r), 0);
    CU_ASSERT_EQUAL(reader_left(&r), 0);
    CU_ASSERT_PTR_NULL(reader_take(&r, 0));
    CU_ASSERT_EQUAL(reader_uvarint(&r), 0);
    r = reader_of((struct bytes){0});
    CU_ASSERT_EQUAL(reader_left(&r), 0);
    CU_ASSERT_PTR_NULL(reader_take(&r, 1));
    r = reader_of(bytes_of("x", 1));
    CU_ASSERT_PTR_NULL(reader_take(&r, SIZE_MAX));
}

static bool varint_fits(const char *bytes, size_t len, int which)
{
    struct reader r = reader_of(bytes_of(bytes, len));
    if (which == 0) {
        (void)reader_uvarint(&r);
    } else if (which == 1) {
        (void)reader_varint(&r);
    } else {
        (void)reader_varlong(&r);
    }
    return !r.failed;
}

static void test_varints_are_bounded(void)
{
    static const char LONG[] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    for (int which = 0; which < 2; which++) {
        CU_ASSERT(varint_fits("\xff\xff\xff\xff\x0f", 5, which));
        CU_ASSERT_FALSE(varint_fits("\xff\xff\xff\xff\xff\x01", 6, which));
        CU_ASSERT_FALSE(varint_fits(LONG, 12, which));
    }
    CU_ASSERT(varint_fits("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, 2));
    CU_ASSERT_FALSE(varint_fits(LONG, 12, 2));
    CU_ASSERT(varint_fits("\x80\x80\x00", 3, 0)); /* longer than needed is legal */
}

static void test_sizes(void)
{
    for (int i = 0; i < EDGES_N; i++) {
        struct writer w;
        writer_init(&w, NO_LIMIT);
        writer_uvarint(&w, (uint32_t)EDGES[i]);
        CU_ASSERT_EQUAL(w.len, uvarint_size((uint32_t)EDGES[i]));
        writer_clear(&w);
        writer_varlong(&w, EDGES[i]);
        CU_ASSERT_EQUAL(w.len, varlong_size(EDGES[i]));
        writer_deinit(&w);
    }
}

static void test_writer_limit(void)
{
    struct writer w;
    writer_init(&w, 1000);
    for (int i = 0; i < 125; i++) {
        writer_i64(&w, i);
    }
    CU_ASSERT_FALSE(w.failed);
    writer_i8(&w, 1);
    CU_ASSERT(w.failed && w.len == 1000);
    writer_bytes(&w, "", 0);
    CU_ASSERT_PTR_NULL(writer_grow(&w, 1));
    writer_clear(&w);
    CU_ASSERT(!w.failed && writer_grow(&w, 1000) != NULL);
    CU_ASSERT_PTR_NULL(writer_grow(&w, SIZE_MAX));
    writer_deinit(&w);
}

static void test_splices(void)
{
    struct writer w;
    int file = 0;
    writer_init(&w, NO_LIMIT);
    for (int i = 0; i < 20; i++) {
        writer_i32(&w, i);
        writer_splice(&w, &file, i * 100, 10);
    }
    CU_ASSERT_EQUAL_FATAL(w.splices_n, 20);
    CU_ASSERT_EQUAL(w.spliced_bytes, 200);
    for (size_t i = 0; i < 20; i++) {
        CU_ASSERT_EQUAL(w.splices[i].at, (i + 1) * 4);
        CU_ASSERT_EQUAL(w.splices[i].position, (int64_t)i * 100);
    }
    writer_clear(&w);
    CU_ASSERT(w.splices_n == 0 && w.spliced_bytes == 0);
    writer_deinit(&w);
}

/* Values of java.util.UUID and org.apache.kafka.common.Uuid. */
static void test_uuid_text(void)
{
    static const struct {
        uint8_t bytes[16];
        const char *text;
    } KNOWN[] = {
        {{0}, "AAAAAAAAAAAAAAAAAAAAAA"},
        {{[15] = 1}, "AAAAAAAAAAAAAAAAAAAAAQ"},
        {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
         "_____________________w"},
        {{0x51, 0x60, 0xa2, 0x9f, 0x04, 0xac, 0x43, 0x88, 0xaf, 0x15, 0x3e, 0x95, 0x5f, 0x03, 0x0b,
          0x0c},
         "UWCinwSsQ4ivFT6VXwMLDA"},
    };
    char text[UUID_TEXT_LEN + 1];
    struct uuid id;
    for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++) {
        memcpy(id.bytes, KNOWN[i].bytes, 16);
        uuid_format(id, text);
        CU_ASSERT_STRING_EQUAL(text, KNOWN[i].text);
        struct uuid back = {{9}};
        CU_ASSERT(uuid_parse(str_of(KNOWN[i].text), &back) && uuid_equal(back, id));
    }
    for (int i = 0; i < 5000; i++) {
        id = uuid_random(random_system());
        uuid_format(id, text);
        struct uuid back;
        CU_ASSERT_FATAL(text[0] != '-' && strlen(text) == UUID_TEXT_LEN);
        CU_ASSERT_FATAL(uuid_parse(str_of(text), &back) && uuid_equal(back, id));
        CU_ASSERT_FATAL((id.bytes[6] & 0xf0) == 0x40 && (id.bytes[8] & 0xc0) == 0x80);
    }
    static const char *const BAD[] = {"",
                                      "AAAAAAAAAAAAAAAAAAAAA",
                                      "AAAAAAAAAAAAAAAAAAAAAAA",
                                      "AAAAAAAAAAAAAAAAAAAAA=",
                                      "AAAAAAAAAA+AAAAAAAAAAA",
                                      "AAAAAAAAAA/AAAAAAAAAAA",
                                      "AAAAAAAAAA AAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        CU_ASSERT_FALSE(uuid_parse(str_of(BAD[i]), &id));
    }
    CU_ASSERT_FALSE(uuid_parse((struct str){.data = "AAAAAAAAAA\0AAAAAAAAAAA", .len = 22}, &id));
}

static void test_views(void)
{
    CU_ASSERT(str_equal((struct str){0}, (struct str){0}));
    CU_ASSERT_FALSE(str_equal((struct str){0}, STR("")));
    CU_ASSERT(str_equal(STR(""), (struct str){.data = "x", .len = 0}));
    CU_ASSERT_FALSE(str_is(STR("ab"), "abc"));
    CU_ASSERT_PTR_NULL(str_dup((struct str){0}));
    char *copy = str_dup((struct str){.data = "abc", .len = 2});
    CU_ASSERT_STRING_EQUAL(copy, "ab");
    free(copy);
}

static void test_error_texts(void)
{
    CU_ASSERT_EQUAL(err_to_errno(err_from_errno(ENOSPC)), ENOSPC);
    CU_ASSERT_EQUAL(err_to_errno(E_LIMIT), 0);
    CU_ASSERT_EQUAL(err_to_errno(-1), 0);
    CU_ASSERT_STRING_EQUAL(err_text(err_from_errno(ENOENT)), "No such file or directory");
    for (err e = E_UNKNOWN_OUTCOME; e <= E_LIMIT; e++) {
        CU_ASSERT_PTR_NULL(strstr(err_text(e), "Kafka"));
    }
}

SUITE("bytes", TEST(test_round_trip_and_every_cut), TEST(test_failure_is_sticky),
      TEST(test_varints_are_bounded), TEST(test_sizes), TEST(test_writer_limit), TEST(test_splices),
      TEST(test_uuid_text), TEST(test_views), TEST(test_error_texts))
