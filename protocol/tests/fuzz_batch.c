/* Fuzz: any bytes as a record set. Batches are taken apart, inflated and walked; the set is
 * converted up, and what comes out down again.
 *
 * Input: one byte of options, then the set. */
#include "protocol/legacy.h"
#include "protocol/skim.h"

#include <stdlib.h>
#include <zlib.h>

enum { INFLATED_BYTES_MAX = 1 << 20, OUTPUT_BYTES_MAX = 64 << 20 };

/* What can be inflated and walked can be skimmed; skimming takes what else there is to its end. */
static void skim_batch(struct bytes bytes, bool is_sound)
{
    struct batch batch;
    struct skim skim;
    struct skimmed record;
    batch_parse(bytes.data, &batch);
    if (batch_codec(&batch) == CODEC_NONE || batch.count < 0) {
        return;
    }
    struct bytes payload =
        bytes_of(bytes.data + BATCH_HEADER_BYTES, bytes.len - BATCH_HEADER_BYTES);
    struct inflater *inflater = inflater_new(batch_codec(&batch), payload, 0);
    skim_init(&skim, inflater, batch.count, INFLATED_BYTES_MAX);
    while (skim_next(&skim, &record)) {
    }
    CHECK(skim.error == OK || !is_sound);
    inflater_free(inflater);
}

/* Walks a batch of format v2; true when every record of it is in order. */
static bool walk_batch(struct bytes bytes)
{
    struct batch batch;
    struct writer scratch;
    struct bytes body;
    batch_parse(bytes.data, &batch);
    (void)batch_last_offset(&batch);
    (void)batch_last_sequence(&batch);
    (void)batch_crc(bytes.data, bytes.len);
    writer_init(&scratch, INFLATED_BYTES_MAX);
    err e = batch_body(bytes, &scratch, INFLATED_BYTES_MAX, &body);
    CHECK(scratch.len <= INFLATED_BYTES_MAX);
    if (e == OK) {
        struct record_iter iter;
        struct record record;
        record_iter_init(&iter, body, batch.count);
        while (record_iter_next(&iter, &record)) {
            struct reader headers = reader_of(record.headers);
            struct str key;
            struct bytes value;
            int32_t n = 0;
            while (record_header_next(&headers, &key, &value)) {
                n++;
            }
            CHECK(n == record.headers_n);
            (void)batch_timestamp(&batch, record.timestamp_delta);
            (void)batch_offset(&batch, record.offset_delta);
        }
        e = iter.error;
    }
    writer_deinit(&scratch);
    return e == OK;
}

static void walk_all(struct bytes set)
{
    struct reader r = reader_of(set);
    while (reader_left(&r) >= BATCH_HEADER_BYTES) {
        struct batch batch;
        batch_parse(r.next, &batch);
        if (batch.size_bytes < BATCH_HEADER_BYTES || (size_t)batch.size_bytes > reader_left(&r)) {
            return;
        }
        struct bytes bytes = reader_bytes(&r, (size_t)batch.size_bytes);
        skim_batch(bytes, walk_batch(bytes));
    }
}

static void convert(struct bytes set, int8_t magic)
{
    struct writer up;
    struct writer down;
    writer_init(&up, OUTPUT_BYTES_MAX);
    writer_init(&down, OUTPUT_BYTES_MAX);
    if (legacy_up_convert(set, INT32_MAX, INFLATED_BYTES_MAX, &up) == OK) {
        walk_all(bytes_of(up.data, up.len));
        (void)legacy_down_convert(bytes_of(up.data, up.len), magic, 1, INFLATED_BYTES_MAX, &down);
    }
    writer_clear(&down);
    (void)legacy_down_convert(set, magic, 1, INFLATED_BYTES_MAX, &down);
    writer_deinit(&up);
    writer_deinit(&down);
}

/* A body alone, as any codec. */
static void inflate_raw(struct bytes input, uint8_t codec)
{
    struct writer out;
    writer_init(&out, INFLATED_BYTES_MAX);
    (void)codec_decompress((enum codec)(codec & BATCH_CODEC_MASK), input, INFLATED_BYTES_MAX, &out);
    CHECK(out.len <= INFLATED_BYTES_MAX);
    writer_deinit(&out);
}

/* Gives the entries of an old message set the CRC that they should have: what lies behind that
 * check would hardly be reached otherwise. */
static void repair_entries(uint8_t *set, size_t len)
{
    for (size_t at = 0; len - at >= 17;) {
        size_t size = load_u32(set + at + 8);
        if (size < 5 || size > len - at - 12) {
            return;
        }
        if (set[at + 16] < 2) {
            store_u32(set + at + 12, (uint32_t)crc32(0, set + at + 16, (uInt)(size - 4)));
        }
        at += 12 + size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct bytes set = bytes_of(data + 1, size - 1);
    inflate_raw(set, data[0]);
    walk_all(set);
    convert(set, (int8_t)(data[0] >> 7));
    uint8_t *repaired = malloc(size);
    memcpy(repaired, set.data, set.len);
    repair_entries(repaired, set.len);
    convert(bytes_of(repaired, set.len), (int8_t)(data[0] >> 7));
    free(repaired);
    return 0;
}
