/* An index is a file of sorted entries, and the newest few hundred of them in memory.
 *
 *   entry 0 ............ file_n-1 | file_n ........ file_n+tail_n-1
 *   in the file (pread)             in `tail` (as they will be written)
 *
 * An append puts an entry into the tail; when the tail is full its older half is written with one
 * pwrite and leaves it. Without room on the disk it stays, and is tried with the next entry. Nothing here is synced on the append path: after a crash the indexes of the
 * unflushed segments are rebuilt from the log. Entry numbers never change, so a reader may look one
 * up in two steps while entries move from memory to the file.
 *
 * Kafka maps its index files and preallocates the active ones; a mapping of a file that grows turns
 * a full disk into a signal, so we do neither. A search in the file reads single entries until the
 * range is small, then that range at once: about a dozen preads for the largest index. */
#define _GNU_SOURCE
#include "storage/index.h"

#include "base/reader.h"
#include "base/writer.h"
#include "storage/names.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { TAIL_FIRST = 16, TAIL_MAX = 512, SEARCH_AT_ONCE = 256 };

void index_init(struct index *index, const struct storage_env *env, const char *log_path,
                int entry_bytes)
{
    CHECK(entry_bytes == OFFSET_ENTRY_BYTES || entry_bytes == TIME_ENTRY_BYTES);
    *index = (struct index){.env = env, .log_path = log_path, .entry_bytes = entry_bytes};
    pthread_mutex_init(&index->lock, NULL);
}

void index_deinit(struct index *index)
{
    free(index->tail);
    free(index->confirmed);
    pthread_mutex_destroy(&index->lock);
}

static const char *index_suffix(const struct index *index)
{
    return index->entry_bytes == OFFSET_ENTRY_BYTES ? SUFFIX_INDEX : SUFFIX_TIMEINDEX;
}

static err index_file(struct index *index, struct open_file **file)
{
    char path[PATH_MAX];
    segment_sibling(index->log_path, index_suffix(index), path);
    return file_cache_acquire(index->env->files, path, NULL, file);
}

static err begin_empty(struct index *index, int flags)
{
    char path[PATH_MAX];
    int fd = -1;
    segment_sibling(index->log_path, index_suffix(index), path);
    TRY(fs_open(index->env->fs, path, O_RDWR | O_CREAT | flags, &fd));
    fs_close(index->env->fs, fd);
    pthread_mutex_lock(&index->lock);
    index->opened = true;
    index->file_n = index->tail_n = index->found_n = 0;
    pthread_mutex_unlock(&index->lock);
    return OK;
}

err index_create(struct index *index)
{
    return begin_empty(index, O_TRUNC);
}

err index_restart(struct index *index)
{
    index->remade = true;
    return begin_empty(index, 0);
}

static err index_open(struct index *index)
{
    pthread_mutex_lock(&index->lock);
    bool opened = index->opened;
    pthread_mutex_unlock(&index->lock);
    if (opened) {
        return OK;
    }
    struct open_file *file = NULL;
    int64_t size = 0;
    TRY(index_file(index, &file));
    err e = fs_size(index->env->fs, open_file_fd(file), &size);
    open_file_release(file);
    TRY(e);
    pthread_mutex_lock(&index->lock);
    if (!index->opened) {
        index->opened = true;
        int64_t n = size / index->entry_bytes;
        index->file_n = index->found_n = n > INT32_MAX ? INT32_MAX : (int32_t)n;
    }
    pthread_mutex_unlock(&index->lock);
    return OK;
}

err index_count(struct index *index, int32_t *count)
{
    TRY(index_open(index));
    pthread_mutex_lock(&index->lock);
    *count = index->file_n + index->tail_n;
    pthread_mutex_unlock(&index->lock);
    return OK;
}

int64_t index_column_of(const struct index *index, const uint8_t *entry, enum index_column column)
{
    CHECK(column !=
          (index->entry_bytes == OFFSET_ENTRY_BYTES ? COLUMN_TIMESTAMP : COLUMN_POSITION));
    struct reader r = reader_of(bytes_of(entry, (size_t)index->entry_bytes));
    if (index->entry_bytes == OFFSET_ENTRY_BYTES) {
        int32_t relative = reader_i32(&r);
        return column == COLUMN_POSITION ? reader_i32(&r) : relative;
    }
    int64_t timestamp = reader_i64(&r);
    return column == COLUMN_TIMESTAMP ? timestamp : reader_i32(&r);
}

/* Entries of a sorted array in memory that are below `value`. */
static int32_t count_below(const struct index *index, const uint8_t *entries, int32_t n,
                           enum index_column column, int64_t value)
{
    int32_t low = 0;
    while (low < n) {
        int32_t middle = low + (n - low) / 2;
        const uint8_t *entry = entries + (size_t)middle * (size_t)index->entry_bytes;
        if (index_column_of(index, entry, column) < value) {
            low = middle + 1;
        } else {
            n = middle;
        }
    }
    return low;
}

static err file_lower_bound(struct index *index, int32_t file_n, enum index_column column,
                            int64_t value, int32_t *n)
{
    uint8_t block[SEARCH_AT_ONCE * INDEX_ENTRY_BYTES_MAX];
    struct fs *fs = index->env->fs;
    size_t width = (size_t)index->entry_bytes;
    struct open_file *file = NULL;
    TRY(index_file(index, &file));
    int32_t low = 0;
    int32_t high = file_n;
    err e = OK;
    while (e == OK && high - low > SEARCH_AT_ONCE) {
        int32_t middle = low + (high - low) / 2;
        e = fs_read(fs, open_file_fd(file), block, width, (int64_t)middle * index->entry_bytes);
        if (e == OK && index_column_of(index, block, column) < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (e == OK && high > low) {
        e = fs_read(fs, open_file_fd(file), block, (size_t)(high - low) * width,
                    (int64_t)low * index->entry_bytes);
    }
    if (e == OK) {
        *n = low + count_below(index, block, high - low, column, value);
    }
    open_file_release(file);
    return e;
}

err index_lower_bound(struct index *index, enum index_column column, int64_t value, int32_t limit,
                      int32_t *n)
{
    CHECK(limit >= 0);
    TRY(index_open(index));
    pthread_mutex_lock(&index->lock);
    int32_t file_n = index->file_n < limit ? index->file_n : limit;
    int32_t tail_n = index->tail_n < limit - file_n ? index->tail_n : limit - file_n;
    bool in_tail =
        file_n == 0 || (tail_n > 0 && index_column_of(index, index->tail, column) < value);
    if (in_tail) {
        *n = file_n + count_below(index, index->tail, tail_n, column, value);
    }
    pthread_mutex_unlock(&index->lock);
    return in_tail ? OK : file_lower_bound(index, file_n, column, value, n);
}

err index_run_below(struct index *index, enum index_column column, int64_t value, int32_t *n)
{
    uint8_t entry[INDEX_ENTRY_BYTES_MAX];
    int32_t count = 0;
    TRY(index_count(index, &count));
    for (*n = 0; *n < count; (*n)++) {
        TRY(index_get(index, *n, entry));
        if (index_column_of(index, entry, column) >= value) {
            break;
        }
    }
    return OK;
}

bool index_is_trusted(struct index *index, int32_t n)
{
    CHECK(n >= 0);
    pthread_mutex_lock(&index->lock);
    bool ours = n >= index->found_n;
    bool known = n < index->confirmed_n && (index->confirmed[n / 8] >> (n % 8) & 1) != 0;
    pthread_mutex_unlock(&index->lock);
    return ours || known;
}

void index_trust(struct index *index, int32_t n)
{
    CHECK(n >= 0);
    pthread_mutex_lock(&index->lock);
    if (index->confirmed == NULL && index->found_n > 0) {
        index->confirmed_n = index->found_n;
        index->confirmed = xcalloc((size_t)index->found_n / 8 + 1, 1);
    }
    if (n < index->confirmed_n) {
        index->confirmed[n / 8] = (uint8_t)(index->confirmed[n / 8] | 1 << (n % 8));
    }
    pthread_mutex_unlock(&index->lock);
}

err index_get(struct index *index, int32_t n, uint8_t entry[INDEX_ENTRY_BYTES_MAX])
{
    TRY(index_open(index));
    size_t width = (size_t)index->entry_bytes;
    pthread_mutex_lock(&index->lock);
    bool in_tail = n >= index->file_n;
    bool exists = n >= 0 && n < index->file_n + index->tail_n;
    if (in_tail && exists) {
        memcpy(entry, index->tail + (size_t)(n - index->file_n) * width, width);
    }
    pthread_mutex_unlock(&index->lock);
    if (!exists) {
        return E_NOT_FOUND;
    }
    if (in_tail) {
        return OK;
    }
    struct open_file *file = NULL;
    TRY(index_file(index, &file));
    err e =
        fs_read(index->env->fs, open_file_fd(file), entry, width, (int64_t)n * index->entry_bytes);
    open_file_release(file);
    return e;
}

/* Do these bytes stand there already? An ext4 takes 0.2 ms to cut a file and fill it again, which ten thousand idle
 * logs would cost a start two seconds (bench/logs). */
static bool file_has(struct index *index, int fd, struct bytes entries, int64_t position)
{
    uint8_t *there = xmalloc(entries.len);
    bool same = fs_read(index->env->fs, fd, there, entries.len, position) == OK &&
                memcmp(there, entries.data, entries.len) == 0;
    free(there);
    return same;
}

/* Writes the first `n` entries of the tail to the file and drops them from memory. Only the writer
 * changes the tail, so it reads it without the lock. */
static err tail_write(struct index *index, int32_t n)
{
    CHECK(n >= 0 && n <= index->tail_n);
    if (n == 0) {
        return OK;
    }
    size_t width = (size_t)index->entry_bytes;
    struct open_file *file = NULL;
    TRY(index_file(index, &file));
    err e = OK;
    int fd = open_file_fd(file);
    struct bytes entries = bytes_of(index->tail, (size_t)n * width);
    int64_t position = (int64_t)index->file_n * index->entry_bytes;
    if (!index->remade || !file_has(index, fd, entries, position)) {
        e = fs_write(index->env->fs, fd, entries, position);
        atomic_store(&index->dirty, true);
    }
    open_file_release(file);
    TRY(e);
    pthread_mutex_lock(&index->lock);
    index->file_n += n;
    index->tail_n -= n;
    memmove(index->tail, index->tail + (size_t)n * width, (size_t)index->tail_n * width);
    pthread_mutex_unlock(&index->lock);
    return OK;
}

err index_append(struct index *index, const uint8_t *entry)
{
    TRY(index_open(index));
    if (index->tail_n >= TAIL_MAX) {
        err e = tail_write(index, index->tail_n - TAIL_MAX / 2);
        TRY(err_is_no_room(e) ? OK : e);
    }
    size_t width = (size_t)index->entry_bytes;
    pthread_mutex_lock(&index->lock);
    if (index->tail_n == index->tail_cap) {
        index->tail_cap = index->tail_cap == 0 ? TAIL_FIRST : index->tail_cap * 2;
        index->tail = xrealloc(index->tail, (size_t)index->tail_cap * width);
    }
    memcpy(index->tail + (size_t)index->tail_n * width, entry, width);
    index->tail_n++;
    pthread_mutex_unlock(&index->lock);
    return OK;
}

err index_truncate(struct index *index, int32_t n)
{
    TRY(index_open(index));
    pthread_mutex_lock(&index->lock);
    bool in_file = n < index->file_n;
    CHECK(n >= 0);
    if (n < index->found_n) {
        index->found_n = n; /* entries that take their numbers are ours */
    }
    if (in_file) {
        index->file_n = n;
        index->tail_n = 0;
    } else if (n - index->file_n < index->tail_n) {
        index->tail_n = n - index->file_n;
    }
    pthread_mutex_unlock(&index->lock);
    if (!in_file) {
        return OK;
    }
    struct open_file *file = NULL;
    TRY(index_file(index, &file));
    err e = fs_truncate(index->env->fs, open_file_fd(file), (int64_t)n * index->entry_bytes);
    open_file_release(file);
    atomic_store(&index->dirty, true);
    return e;
}

/* What the file held before it was made again, and is not in it any more. */
static err cut_rest(struct index *index)
{
    struct open_file *file = NULL;
    int64_t size = 0;
    int64_t end = (int64_t)index->file_n * index->entry_bytes;
    TRY(index_file(index, &file));
    err e = fs_size(index->env->fs, open_file_fd(file), &size);
    if (e == OK && size != end) {
        e = fs_truncate(index->env->fs, open_file_fd(file), end);
        atomic_store(&index->dirty, true);
    }
    open_file_release(file);
    index->remade = e != OK;
    return e;
}

err index_write(struct index *index)
{
    TRY(index_open(index));
    TRY(tail_write(index, index->tail_n));
    TRY(index->remade ? cut_rest(index) : OK);
    pthread_mutex_lock(&index->lock);
    free(index->tail);
    index->tail = NULL;
    index->tail_cap = 0;
    pthread_mutex_unlock(&index->lock);
    return OK;
}

err index_flush(struct index *index)
{
    if (!atomic_exchange(&index->dirty, false)) {
        return OK;
    }
    struct open_file *file = NULL;
    TRY(index_file(index, &file));
    err e = fs_datasync(index->env->fs, open_file_fd(file));
    open_file_release(file);
    return e;
}

err offset_index_append(struct index *index, int32_t relative, int32_t position)
{
    CHECK(relative >= 0 && position >= 0);
    uint8_t entry[OFFSET_ENTRY_BYTES];
    store_u32(entry, (uint32_t)relative);
    store_u32(entry + 4, (uint32_t)position);
    return index_append(index, entry);
}
