/* Entries are appended straight to the file: a marker that aborts is rare. Nothing is kept in
 * memory but their number, which is what a reader beside the writer may see. */
#define _GNU_SOURCE
#include "storage/txnindex.h"

#include "base/reader.h"
#include "base/writer.h"
#include "storage/names.h"

#include <fcntl.h>

enum { ENTRIES_AT_ONCE = 64 };

void txn_index_init(struct txn_index *index, const struct storage_env *env, const char *log_path,
                    bool exists)
{
    index->env = env;
    index->log_path = log_path;
    atomic_init(&index->entries_n, exists ? -1 : 0);
    atomic_init(&index->dirty, false);
}

static err txn_file(struct txn_index *index, struct open_file **file)
{
    char path[PATH_MAX];
    segment_sibling(index->log_path, SUFFIX_TXNINDEX, path);
    return file_cache_acquire(index->env->files, path, NULL, file);
}

static err txn_count(struct txn_index *index, int64_t *count)
{
    *count = atomic_load(&index->entries_n);
    if (*count >= 0) {
        return OK;
    }
    struct open_file *file = NULL;
    int64_t size = 0;
    TRY(txn_file(index, &file));
    err e = fs_size(index->env->fs, open_file_fd(file), &size);
    open_file_release(file);
    TRY(e);
    *count = size / TXN_ENTRY_BYTES;
    int64_t unknown = -1;
    atomic_compare_exchange_strong(&index->entries_n, &unknown, *count);
    return OK;
}

err txn_index_append(struct txn_index *index, const struct txn_entry *entry)
{
    int64_t count = 0;
    TRY(txn_count(index, &count));
    if (count == 0) {
        char path[PATH_MAX];
        int fd = -1;
        segment_sibling(index->log_path, SUFFIX_TXNINDEX, path);
        TRY(fs_open(index->env->fs, path, O_RDWR | O_CREAT, &fd));
        fs_close(index->env->fs, fd);
    }
    uint8_t bytes[TXN_ENTRY_BYTES];
    store_u16(bytes, 0);
    store_u64(bytes + 2, (uint64_t)entry->producer_id);
    store_u64(bytes + 10, (uint64_t)entry->first_offset);
    store_u64(bytes + 18, (uint64_t)entry->last_offset);
    store_u64(bytes + 26, (uint64_t)entry->last_stable_offset);
    struct open_file *file = NULL;
    TRY(txn_file(index, &file));
    err e = fs_write(index->env->fs, open_file_fd(file), bytes_of(bytes, sizeof(bytes)),
                     count * TXN_ENTRY_BYTES);
    open_file_release(file);
    TRY(e);
    atomic_store(&index->dirty, true);
    atomic_store(&index->entries_n, count + 1);
    return OK;
}

static err entry_parse(const uint8_t *bytes, struct txn_entry *entry)
{
    struct reader r = reader_of(bytes_of(bytes, TXN_ENTRY_BYTES));
    int16_t version = reader_i16(&r);
    entry->producer_id = reader_i64(&r);
    entry->first_offset = reader_i64(&r);
    entry->last_offset = reader_i64(&r);
    entry->last_stable_offset = reader_i64(&r);
    bool sane =
        version >= 0 && entry->first_offset >= 0 && entry->last_offset >= entry->first_offset;
    return sane ? OK : E_CORRUPT;
}

err txn_index_each(struct txn_index *index,
                   bool (*each)(void *context, const struct txn_entry *entry), void *context)
{
    uint8_t block[ENTRIES_AT_ONCE * TXN_ENTRY_BYTES];
    int64_t count = 0;
    TRY(txn_count(index, &count));
    if (count == 0) {
        return OK;
    }
    struct open_file *file = NULL;
    TRY(txn_file(index, &file));
    err e = OK;
    bool more = true;
    for (int64_t at = 0; e == OK && more && at < count; at += ENTRIES_AT_ONCE) {
        size_t n = count - at < ENTRIES_AT_ONCE ? (size_t)(count - at) : ENTRIES_AT_ONCE;
        e = fs_read(index->env->fs, open_file_fd(file), block, n * TXN_ENTRY_BYTES,
                    at * TXN_ENTRY_BYTES);
        for (size_t i = 0; e == OK && more && i < n; i++) {
            struct txn_entry entry;
            e = entry_parse(block + i * TXN_ENTRY_BYTES, &entry);
            more = e == OK && each(context, &entry);
        }
    }
    open_file_release(file);
    return e;
}

struct keep {
    int64_t offset;
    int64_t n;
};

static bool count_kept(void *context, const struct txn_entry *entry)
{
    struct keep *keep = context;
    if (entry->last_offset >= keep->offset) {
        return false;
    }
    keep->n++;
    return true;
}

err txn_index_truncate(struct txn_index *index, int64_t offset)
{
    int64_t count = 0;
    TRY(txn_count(index, &count));
    if (count == 0) {
        return OK;
    }
    struct keep keep = {.offset = offset};
    if (offset > 0) {
        TRY(txn_index_each(index, count_kept, &keep));
    }
    if (keep.n == count) {
        return OK;
    }
    struct open_file *file = NULL;
    TRY(txn_file(index, &file));
    err e = fs_truncate(index->env->fs, open_file_fd(file), keep.n * TXN_ENTRY_BYTES);
    open_file_release(file);
    if (e == OK) {
        atomic_store(&index->dirty, true);
        atomic_store(&index->entries_n, keep.n);
    }
    return e;
}

err txn_index_flush(struct txn_index *index)
{
    if (!atomic_exchange(&index->dirty, false)) {
        return OK;
    }
    struct open_file *file = NULL;
    TRY(txn_file(index, &file));
    err e = fs_datasync(index->env->fs, open_file_fd(file));
    open_file_release(file);
    return e;
}
