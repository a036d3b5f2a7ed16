/* The indexes of a cleaned segment are small: at most an entry for each index.interval.bytes. They are kept until the
 * end, and written at once. */
#define _GNU_SOURCE
#include "storage/clean_files.h"

#include "base/planted.h"
#include "storage/scan.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const SUFFIXES[] = {SUFFIX_LOG, SUFFIX_INDEX, SUFFIX_TIMEINDEX, SUFFIX_TXNINDEX};
enum { KINDS = sizeof(SUFFIXES) / sizeof(SUFFIXES[0]) };

static void path_of(const struct clean_files *files, const char *kind, const char *suffix,
                    char path[PATH_MAX])
{
    char both[32];
    int len = snprintf(both, sizeof(both), "%s%s", kind, suffix);
    CHECK(len > 0 && (size_t)len < sizeof(both));
    segment_sibling(files->log_path, both, path);
}

err clean_files_begin(struct clean_files *files, const struct storage_env *env, const char *dir,
                      int64_t base_offset, int32_t index_interval_bytes)
{
    char path[PATH_MAX];
    *files = (struct clean_files){.env = env,
                                  .log_path = segment_path(dir, base_offset, SUFFIX_LOG),
                                  .fd = -1,
                                  .base_offset = base_offset,
                                  .index_interval_bytes = index_interval_bytes,
                                  .max_timestamp = -1,
                                  .max_timestamp_offset = base_offset,
                                  .last_indexed_timestamp = -1};
    writer_init(&files->offsets, SIZE_MAX);
    writer_init(&files->times, SIZE_MAX);
    writer_init(&files->txns, SIZE_MAX);
    path_of(files, SUFFIX_LOG, SUFFIX_CLEANED, path);
    return fs_open(env_fs_of_records(env), path, O_RDWR | O_CREAT | O_TRUNC, &files->fd);
}

static int32_t relative(const struct clean_files *files, int64_t offset)
{
    return (int32_t)(offset - files->base_offset);
}

/* As in any segment: only larger timestamps get an entry. */
static void index_time(struct clean_files *files)
{
    if (files->max_timestamp > files->last_indexed_timestamp) {
        writer_i64(&files->times, files->max_timestamp);
        writer_i32(&files->times, relative(files, files->max_timestamp_offset));
        files->last_indexed_timestamp = files->max_timestamp;
    }
}

/* As an append does it. */
static err index_batch(struct clean_files *files, const struct batch *batch)
{
    int64_t last = batch_last_offset(batch);
    if (files->size_bytes + batch->size_bytes > INT32_MAX ||
        last - files->base_offset > INT32_MAX) {
        return E_LIMIT;
    }
    if (batch->max_timestamp > files->max_timestamp) {
        files->max_timestamp = batch->max_timestamp;
        files->max_timestamp_offset = last;
    }
    if (files->bytes_since_index > files->index_interval_bytes) {
        writer_i32(&files->offsets, relative(files, last));
        writer_i32(&files->offsets, (int32_t)files->size_bytes);
        index_time(files);
        files->bytes_since_index = 0;
    }
    files->bytes_since_index += batch->size_bytes;
    files->size_bytes += batch->size_bytes;
    return OK;
}

err clean_files_add(struct clean_files *files, struct bytes batches)
{
    struct batch batch;
    int64_t position = files->size_bytes;
    for (size_t at = 0; at < batches.len; at += (size_t)batch.size_bytes) {
        TRY(header_parse(batches.data + at, batches.len - at, &batch));
        TRY(index_batch(files, &batch));
    }
    return fs_write(env_fs_of_records(files->env), files->fd, batches, position);
}

void clean_files_add_txn(struct clean_files *files, const struct txn_entry *entry)
{
    txn_entry_write(&files->txns, entry);
}

static err write_whole(const struct clean_files *files, const char *kind,
                       const struct writer *content)
{
    char path[PATH_MAX];
    int fd = -1;
    if (content->failed) {
        return E_LIMIT;
    }
    path_of(files, kind, SUFFIX_CLEANED, path);
    struct fs *fs = env_fs_of_records(files->env);
    TRY(fs_open(fs, path, O_RDWR | O_CREAT | O_TRUNC, &fd));
    err e = fs_write(fs, fd, bytes_of(content->data, content->len), 0);
    e = e == OK && !planted(MISTAKE_NO_CLEANED_SYNC) ? fs_datasync(fs, fd) : e;
    fs_close(fs, fd);
    return e;
}

err clean_files_finish(struct clean_files *files, int64_t mtime_ms)
{
    struct fs *fs = files->env->fs;
    index_time(files);
    TRY(write_whole(files, SUFFIX_INDEX, &files->offsets));
    TRY(write_whole(files, SUFFIX_TIMEINDEX, &files->times));
    if (files->txns.len > 0) {
        TRY(write_whole(files, SUFFIX_TXNINDEX, &files->txns));
    }
    TRY(fs_set_mtime_ms(fs, files->fd, mtime_ms));
    TRY(planted(MISTAKE_NO_CLEANED_SYNC) ? OK : fs_datasync(fs, files->fd));
    fs_drop_cache(fs, files->fd, files->size_bytes);
    fs_close(fs, files->fd);
    files->fd = -1;
    return OK;
}

err clean_files_rename(const struct clean_files *files, const char *from, const char *to)
{
    for (int i = 0; i < KINDS; i++) {
        char old[PATH_MAX];
        char renamed[PATH_MAX];
        path_of(files, SUFFIXES[i], from, old);
        path_of(files, SUFFIXES[i], to, renamed);
        if (strcmp(SUFFIXES[i], SUFFIX_TXNINDEX) != 0 || files->txns.len > 0) {
            TRY(fs_rename(files->env->fs, old, renamed));
        }
    }
    return OK;
}

void clean_files_discard(struct clean_files *files)
{
    for (int i = 0; i < KINDS; i++) {
        char path[PATH_MAX];
        path_of(files, SUFFIXES[i], SUFFIX_CLEANED, path);
        err_ignore(fs_unlink(files->env->fs, path)); /* the next open removes it */
    }
}

void clean_files_deinit(struct clean_files *files)
{
    if (files->fd >= 0) {
        fs_close(files->env->fs, files->fd);
    }
    writer_deinit(&files->offsets);
    writer_deinit(&files->times);
    writer_deinit(&files->txns);
    free(files->log_path);
    *files = (struct clean_files){.fd = -1};
}
