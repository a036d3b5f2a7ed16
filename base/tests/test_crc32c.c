/* CRC-32C: known values (RFC 3720, B.4), and the portable code against whatever was built. */
#define crc32c crc32c_portable
#include "base/crc32c_portable.c"
#undef crc32c

#include "base/tests/suite.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t len);

static void fill(uint8_t data[32], int first, int step)
{
    for (int i = 0; i < 32; i++) {
        data[i] = (uint8_t)(first + i * step);
    }
}

static void test_known_values(void)
{
    static const struct {
        int first;
        int step;
        uint32_t crc;
    } RFC[] = {{0, 0, 0x8a9136aa}, {0xff, 0, 0x62a8ab43}, {0, 1, 0x46dd794e}, {31, -1, 0x113fdb5c}};
    for (size_t i = 0; i < sizeof(RFC) / sizeof(RFC[0]); i++) {
        uint8_t data[32];
        fill(data, RFC[i].first, RFC[i].step);
        CU_ASSERT_EQUAL(crc32c(0, data, 32), RFC[i].crc);
        CU_ASSERT_EQUAL(crc32c_portable(0, data, 32), RFC[i].crc);
    }
    CU_ASSERT_EQUAL(crc32c(0, "123456789", 9), 0xe3069283);
    CU_ASSERT_EQUAL(crc32c_portable(0, "123456789", 9), 0xe3069283);
    CU_ASSERT_EQUAL(crc32c(0, NULL, 0), 0);
    CU_ASSERT_EQUAL(crc32c_portable(0, NULL, 0), 0);
}

static void test_portable_is_the_same(void)
{
    static uint8_t data[5000];
    struct seeded_random random;
    seeded_random_init(&random, 7);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)random_u64(&random.random);
    }
    for (size_t len = 0; len < 600; len++) {
        const uint8_t *at = data + random_below(&random.random, 4000);
        uint32_t crc = (uint32_t)random_u64(&random.random);
        CU_ASSERT_EQUAL_FATAL(crc32c(crc, at, len), crc32c_portable(crc, at, len));
    }
}

static void test_pieces_make_the_whole(void)
{
    static uint8_t data[3000];
    struct seeded_random random;
    seeded_random_init(&random, 8);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)random_u64(&random.random);
    }
    uint32_t whole = crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 13) {
        CU_ASSERT_EQUAL(crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut), whole);
    }
}

SUITE("crc32c", TEST(test_known_values), TEST(test_portable_is_the_same),
      TEST(test_pieces_make_the_whole))
