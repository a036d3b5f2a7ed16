/* Any bytes as the .log of a segment: recovery ends, keeps a sound prefix, keeps the same at a
 * second start, and every offset of it can be read. The first byte says whether CRCs are made
 * right. */
#include "base/log.h"
#include "storage/logs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_crcs(uint8_t *data, size_t len)
{
    for (size_t at = 0; len - at >= BATCH_HEADER_BYTES;) {
        struct batch batch;
        batch_parse(data + at, &batch);
        if (batch.size_bytes < BATCH_HEADER_BYTES || (size_t)batch.size_bytes > len - at) {
            return;
        }
        batch_crc_update(data + at, (size_t)batch.size_bytes);
        at += (size_t)batch.size_bytes;
    }
}

static void read_everything(struct plog *log)
{
    int64_t end = plog_end_offset(log);
    int64_t offset = plog_start_offset(log);
    for (int i = 0; offset < end && i < 1000; i++) {
        struct log_range range;
        CHECK(plog_read(log, offset, end, 1, true, &range) == OK);
        CHECK(range.file != NULL && range.len > 0);
        log_range_release(&range);
        offset = range.base_offset >= offset ? range.base_offset + 1 : offset + 1;
    }
    struct found_offset found;
    (void)!plog_offset_for_timestamp(log, 0, end, &found);
    (void)!plog_offset_for_max_timestamp(log, &found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    log_set_level(LOG_OFF);
    char dir[] = "/tmp/storage-fuzz-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    uint8_t *copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    if (data[0] != 0) {
        fix_crcs(copy, size - 1);
    }
    char *path = xasprintf("%s/00000000000000000000.log", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && write(fd, copy, size - 1) == (ssize_t)(size - 1));
    close(fd);
    struct storage_env env = {.fs = fs_system(),
                              .clock = clock_system(),
                              .random = random_system(),
                              .files = file_cache_new(fs_system(), 8)};
    struct plog_open how = {
        .dir = dir, .name = {STR("t"), 0}, .config = log_config_default(), .clean = false};
    how.config.index_interval_bytes = 50;
    int64_t end = -1;
    for (int i = 0; i < 2; i++) {
        struct plog *log = NULL;
        CHECK(plog_open(&env, &how, &log) == OK);
        CHECK(end < 0 || end == plog_end_offset(log));
        end = plog_end_offset(log);
        read_everything(log);
        plog_abandon(log);
    }
    file_cache_free(env.files);
    CHECK(fs_remove_dir(fs_system(), dir) == OK);
    free(path);
    free(copy);
    return 0;
}
