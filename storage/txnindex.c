/* Entries are appended straight to the file: a marker that aborts is rare. Nothing is kept in
 * memory but their number, which is what a reader beside the writer may see. */
#define _GNU_SOURCE
#include "storage/txnindex.h"

#include "base/reader.h"
#include "storage/names.h"

#include <fcntl.h>
#include <stdlib.h>

enum { ENTRIES_AT_ONCE = 64 };

void txn_index_init(struct txn_index *index, const struct storage_env *env, const char *log_path,
                    bool exists)
{
    index->env = env;
    index->log_path = log_path;
    atomic_init(&index->entries_n, exists ? -1 : 0);
    atomic_init(&index->found_n, 0);
    atomic_init(&index->proven, !exists);
    atomic_init(&index->dirty, false);
    pthread_mutex_init(&index->lock, NULL);
}

void txn_index_deinit(struct txn_index *index)
{
    pthread_mutex_destroy(&index->lock);
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
    if (atomic_compare_exchange_strong(&index->entries_n, &unknown, *count)) {
        atomic_store(&index->found_n, *count);
    } else {
        *count = unknown; /* somebody was faster, and may have made the file longer since */
    }
    return OK;
}

void txn_entry_write(struct writer *w, const struct txn_entry *entry)
{
    writer_i16(w, 0);
    writer_i64(w, entry->producer_id);
    writer_i64(w, entry->first_offset);
    writer_i64(w, entry->last_offset);
    writer_i64(w, entry->last_stable_offset);
}

static err write_entries(struct txn_index *index, const struct txn_entry *entries, int64_t count,
                         int64_t at)
{
    struct writer w;
    writer_init(&w, SIZE_MAX);
    for (int64_t i = 0; i < count; i++) {
        txn_entry_write(&w, &entries[i]);
    }
    struct open_file *file = NULL;
    err e = w.failed ? E_LIMIT : txn_file(index, &file);
    if (e == OK) {
        e = fs_write(index->env->fs, open_file_fd(file), bytes_of(w.data, w.len),
                     at * TXN_ENTRY_BYTES);
        open_file_release(file);
        atomic_store(&index->dirty, true);
    }
    writer_deinit(&w);
    return e;
}

static err create_if_empty(struct txn_index *index, int64_t count)
{
    char path[PATH_MAX];
    int fd = -1;
    if (count > 0) {
        return OK;
    }
    segment_sibling(index->log_path, SUFFIX_TXNINDEX, path);
    TRY(fs_open(index->env->fs, path, O_RDWR | O_CREAT, &fd));
    fs_close(index->env->fs, fd);
    return OK;
}

static err append_locked(struct txn_index *index, const struct txn_entry *entry)
{
    int64_t count = 0;
    TRY(txn_count(index, &count));
    TRY(create_if_empty(index, count));
    TRY(write_entries(index, entry, 1, count));
    atomic_store(&index->entries_n, count + 1);
    return OK;
}

err txn_index_append(struct txn_index *index, const struct txn_entry *entry)
{
    CHECK(entry->first_offset <= entry->last_offset);
    pthread_mutex_lock(&index->lock);
    err e = append_locked(index, entry);
    pthread_mutex_unlock(&index->lock);
    return e;
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

static err cut_file(struct txn_index *index, int64_t count)
{
    CHECK(count >= 0);
    struct open_file *file = NULL;
    TRY(txn_file(index, &file));
    err e = fs_truncate(index->env->fs, open_file_fd(file), count * TXN_ENTRY_BYTES);
    open_file_release(file);
    atomic_store(&index->dirty, true);
    return e;
}

/* A file without an entry is none. */
static err remove_file(struct txn_index *index)
{
    char path[PATH_MAX];
    segment_sibling(index->log_path, SUFFIX_TXNINDEX, path);
    TRY(fs_unlink(index->env->fs, path));
    file_cache_forget(index->env->files, path);
    atomic_store(&index->dirty, false);
    return OK;
}

static err make_room_locked(struct txn_index *index, int32_t more)
{
    int64_t count = 0;
    TRY(txn_count(index, &count));
    TRY(create_if_empty(index, count));
    struct txn_entry *nothing = xcalloc((size_t)more, sizeof(*nothing));
    err e = write_entries(index, nothing, more, count);
    free(nothing);
    if (e != OK) {
        TRY(count == 0 ? remove_file(index) : cut_file(index, count));
    }
    return e;
}

err txn_index_make_room(struct txn_index *index, int32_t count)
{
    CHECK(count > 0);
    pthread_mutex_lock(&index->lock);
    err e = make_room_locked(index, count);
    pthread_mutex_unlock(&index->lock);
    return e;
}

err txn_index_trim(struct txn_index *index)
{
    pthread_mutex_lock(&index->lock);
    int64_t count = 0;
    err e = txn_count(index, &count);
    if (e == OK) {
        e = count == 0 ? remove_file(index) : cut_file(index, count);
    }
    pthread_mutex_unlock(&index->lock);
    return e;
}

static err truncate_locked(struct txn_index *index, int64_t offset)
{
    int64_t count = 0;
    TRY(txn_count(index, &count));
    if (count == 0) {
        return OK;
    }
    struct keep keep = {.offset = offset};
    if (offset > 0) {
        err e = txn_index_each(index, count_kept, &keep);
        TRY(e == E_CORRUPT ? OK : e); /* in a log that cannot tell: what follows goes */
    }
    if (keep.n == count) {
        return OK;
    }
    TRY(cut_file(index, keep.n));
    atomic_store(&index->entries_n, keep.n);
    if (keep.n <= atomic_load(&index->found_n)) {
        atomic_store(&index->found_n, keep.n);
    }
    if (keep.n == 0) {
        atomic_store(&index->proven, true);
    }
    return OK;
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

err txn_index_truncate(struct txn_index *index, int64_t offset)
{
    CHECK(offset >= 0);
    pthread_mutex_lock(&index->lock);
    err e = truncate_locked(index, offset);
    pthread_mutex_unlock(&index->lock);
    return e;
}

bool txn_index_is_proven(struct txn_index *index)
{
    return atomic_load(&index->proven);
}

void txn_index_believe(struct txn_index *index)
{
    atomic_store(&index->proven, true);
}

void txn_index_retire(struct txn_index *index)
{
    pthread_mutex_lock(&index->lock);
    txn_index_believe(index);
    pthread_mutex_unlock(&index->lock);
}

struct comparison {
    const struct txn_entry *entries;
    int64_t count;
    int64_t n;
};

static bool compare_entry(void *context, const struct txn_entry *entry)
{
    struct comparison *comparison = context;
    if (comparison->n == comparison->count) {
        return false;
    }
    const struct txn_entry *right = &comparison->entries[comparison->n];
    bool same = entry->producer_id == right->producer_id &&
                entry->first_offset == right->first_offset &&
                entry->last_offset == right->last_offset &&
                entry->last_stable_offset == right->last_stable_offset;
    comparison->n += same ? 1 : 0;
    return same;
}

static err prove_locked(struct txn_index *index, const struct txn_entry *entries, int64_t count,
                        bool *changed)
{
    int64_t n = 0;
    struct comparison comparison = {.entries = entries, .count = count};
    TRY(txn_count(index, &n));
    int64_t found = atomic_load(&index->found_n);
    err e = txn_index_each(index, compare_entry, &comparison);
    TRY(e == E_CORRUPT || e == E_TRUNCATED ? OK : e);
    bool ours = n > found; /* entries of this process follow: their place is fixed */
    *changed = comparison.n < found || (!ours && count != found);
    if (!*changed || (ours && count < found)) {
        return OK;
    }
    int64_t right = ours ? found : count;
    TRY(write_entries(index, entries, right, 0));
    if (!ours) {
        TRY(cut_file(index, right));
        atomic_store(&index->entries_n, right);
        atomic_store(&index->found_n, right);
    }
    return OK;
}

err txn_index_prove(struct txn_index *index, const struct txn_entry *entries, int64_t count,
                    bool *changed)
{
    CHECK(count >= 0);
    *changed = false;
    pthread_mutex_lock(&index->lock);
    err e = atomic_load(&index->proven) ? OK : prove_locked(index, entries, count, changed);
    if (e == OK) {
        atomic_store(&index->proven, true);
    }
    pthread_mutex_unlock(&index->lock);
    return e;
}
