/* What an interrupted deletion, compaction or split leaves in a directory, finished before loading.
 *
 *   *.deleted   waiting for its end: removed
 *   *.cleaned   output that was not complete: removed, and with it .swap files at or above the
 * lowest one (a split that had not renamed all of its output)
 *   *.swap      complete output: replaces every segment in [its base, its end), then gets its name
 *   *.tmp       half a checkpoint: removed */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name);
    size_t suffix_len = strlen(suffix);
    return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* The number that a file of a segment begins with, whatever follows the first dot. */
static bool leading_offset(const char *name, int64_t *offset)
{
    char digits[OFFSET_DIGITS + 2];
    const char *dot = strchr(name, '.');
    size_t len = dot == NULL ? 0 : (size_t)(dot - name);
    if (len == 0 || len > OFFSET_DIGITS) {
        return false;
    }
    memcpy(digits, name, len);
    memcpy(digits + len, ".", 2);
    return segment_name_parse(digits, ".", offset);
}

static err remove_name(struct plog *log, const char *name)
{
    char *path = xasprintf("%s/%s", log->dir, name);
    err e = fs_unlink(log->env->fs, path);
    free(path);
    return e;
}

/* Where the batches of "<base>.log.swap" end. */
static err swap_end(struct plog *log, const char *name, int64_t base_offset, int64_t *end_offset)
{
    char *path = xasprintf("%s/%s", log->dir, name);
    int fd = -1;
    int64_t size = 0;
    err e = fs_open(log->env->fs, path, O_RDONLY, &fd);
    free(path);
    TRY(e);
    e = fs_size(log->env->fs, fd, &size);
    *end_offset = base_offset;
    if (e == OK) {
        struct scan scan;
        struct batch batch;
        int64_t position = 0;
        scan_init(&scan, log->env->fs, fd, 0, size);
        while ((e = scan_next(&scan, &batch, &position)) == OK) {
            *end_offset = batch_last_offset(&batch) + 1;
        }
    }
    fs_close(log->env->fs, fd);
    return e == E_NOT_FOUND ? OK : e;
}

static err remove_leftovers(struct plog *log, const struct name_list *names, bool *changed,
                            int64_t *lowest_cleaned)
{
    *lowest_cleaned = INT64_MAX;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        int64_t offset = 0;
        if (ends_with(name, SUFFIX_CLEANED) && leading_offset(name, &offset) &&
            offset < *lowest_cleaned) {
            *lowest_cleaned = offset;
        }
    }
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        int64_t offset = 0;
        bool unfinished = ends_with(name, SUFFIX_SWAP) && leading_offset(name, &offset) &&
                          offset >= *lowest_cleaned;
        if (unfinished || ends_with(name, SUFFIX_CLEANED) || ends_with(name, SUFFIX_DELETED) ||
            ends_with(name, ".tmp")) {
            TRY(remove_name(log, name));
            *changed = true;
        }
    }
    return OK;
}

static err remove_replaced(struct plog *log, const struct name_list *names, int64_t from,
                           int64_t to)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        int64_t offset = 0;
        if (leading_offset(name, &offset) && offset >= from && offset < to &&
            !ends_with(name, SUFFIX_SWAP) && !ends_with(name, SUFFIX_CLEANED) &&
            !ends_with(name, SUFFIX_DELETED)) {
            log_info(AREA, "removing a replaced file dir=%s name=%s", log->dir, name);
            TRY(remove_name(log, name));
        }
    }
    return OK;
}

static err rename_swaps(struct plog *log, const struct name_list *names, int64_t below)
{
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        int64_t offset = 0;
        if (!ends_with(name, SUFFIX_SWAP) || !leading_offset(name, &offset) || offset >= below) {
            continue;
        }
        char *from = xasprintf("%s/%s", log->dir, name);
        char *to = xstrdup(from);
        to[strlen(to) - strlen(SUFFIX_SWAP)] = '\0';
        err e = fs_rename(log->env->fs, from, to);
        free(from);
        free(to);
        TRY(e);
    }
    return OK;
}

err swap_finish(struct plog *log, const struct name_list *names, bool *changed)
{
    int64_t lowest_cleaned = INT64_MAX;
    int64_t from = INT64_MAX;
    int64_t to = INT64_MIN;
    *changed = false;
    TRY(remove_leftovers(log, names, changed, &lowest_cleaned));
    bool swaps = false;
    for (size_t i = 0; i < names->count; i++) {
        const char *name = names->names[i];
        int64_t base = 0;
        if (!ends_with(name, SUFFIX_SWAP) || !leading_offset(name, &base) ||
            base >= lowest_cleaned) {
            continue;
        }
        swaps = true;
        if (ends_with(name, SUFFIX_LOG SUFFIX_SWAP)) {
            int64_t end = 0;
            TRY(swap_end(log, name, base, &end));
            from = base < from ? base : from;
            to = end > to ? end : to;
        }
    }
    if (!swaps) {
        return OK;
    }
    *changed = true;
    if (from < to) {
        TRY(remove_replaced(log, names, from, to));
    }
    TRY(rename_swaps(log, names, lowest_cleaned));
    return fs_sync_dir(log->env->fs, log->dir);
}
