/* Any bytes as a client's batches, under rules that the first bytes choose: no crash, and what is
 * taken is whole batches with a right CRC. */
#include "base/err.h"
#include "storage/validate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct log_config config = log_config_default();
    config.cleanup_compact = (data[0] & 1) != 0;
    config.log_append_time = (data[0] & 2) != 0;
    config.message_timestamp_after_max_ms = (data[0] & 4) != 0 ? 1000 : INT64_MAX;
    config.compression_type = (data[1] & 7) % 6 - 1;
    struct validate_rules rules = {.config = &config,
                                   .now_ms = 1700000000000,
                                   .old_formats = (data[0] & 8) != 0,
                                   .zstd_allowed = (data[0] & 16) != 0,
                                   .control_allowed = (data[0] & 32) != 0,
                                   .compressed_unchecked = (data[1] & 8) != 0,
                                   .inflated_limit_bytes = 1 << 20};
    struct validated out;
    struct arena arena;
    uint8_t *copy = malloc(size);
    size_t len = size - 2;
    memcpy(copy, data + 2, len);
    if ((data[0] & 64) != 0 && len >= BATCH_HEADER_BYTES) { /* past the CRC */
        batch_crc_update(copy, len);
    }
    uint8_t *before = malloc(size);
    memcpy(before, copy, len);
    arena_init(&arena, 1 << 20);
    /* In a hurry first: no answer, and nothing is changed, or the answer without one. */
    rules.hurried_bytes_max = (size_t)1 << (data[1] >> 4);
    err hurried = validate_batches(&rules, copy, len, &arena, &out);
    writer_deinit(&out.rewritten);
    CHECK(hurried != E_BUSY || memcmp(copy, before, len) == 0);
    memcpy(copy, before, len);
    rules.hurried_bytes_max = 0;
    err e = validate_batches(&rules, copy, len, &arena, &out);
    CHECK(hurried == E_BUSY || hurried == e);
    if (e == OK) {
        for (size_t at = 0; at < out.len;) {
            struct batch batch;
            CHECK(out.len - at >= BATCH_HEADER_BYTES);
            batch_parse(out.data + at, &batch);
            CHECK((size_t)batch.size_bytes <= out.len - at);
            CHECK(batch_crc(out.data + at, (size_t)batch.size_bytes) ==
                  load_u32(out.data + at + 17));
            at += (size_t)batch.size_bytes;
        }
    }
    writer_deinit(&out.rewritten);
    arena_deinit(&arena);
    free(copy);
    free(before);
    return 0;
}
