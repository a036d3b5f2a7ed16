/* Finding bytes by offset, and offsets by time.
 *
 * Runs beside appends. The guard is taken for a moment to find the segment and, at the tail, the
 * position; then the segment is held by reference and the files are searched without any lock. What
 * is below the published size never changes, except under a truncation or a deletion: a search that
 * failed beside one is done again. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include <stdlib.h>

enum { RETRIES_MAX = 8, RECORD_BYTES_LIMIT = 512 * 1024 * 1024 };

/* A segment as a reader sees it at one moment. Holds a reference. */
struct view {
    struct segment *segment;
    int64_t size_bytes;
    int64_t next_base; /* of the following segment; INT64_MAX in the last */
    bool start_known;  /* the tail told where `offset` is */
    bool limit_known;  /* the tail told where `max_offset` is */
    struct tail_batch start;
    int64_t limit_position;
};

/* The first batch in the tail whose last offset is at or above `offset`. False if the tail does not
 * reach back that far. *batch NULL: there is none, it is the end. */
static bool tail_find(const struct plog *log, int64_t offset, const struct tail_batch **batch)
{
    *batch = NULL;
    uint64_t oldest = log->tail_count > TAIL_BATCHES ? log->tail_count - TAIL_BATCHES : 0;
    for (uint64_t i = log->tail_count; i > oldest; i--) {
        const struct tail_batch *at = &log->tail[(i - 1) % TAIL_BATCHES];
        if (at->last_offset < offset) {
            return true;
        }
        *batch = at;
        if (at->base_offset <= offset) {
            return true;
        }
    }
    return false;
}

static void view_take(struct plog *log, int64_t offset, int64_t max_offset, struct view *view)
{
    const struct tail_batch *batch = NULL;
    size_t i = plog_segment_at(log, offset);
    *view = (struct view){.segment = log->segments[i], .next_base = INT64_MAX};
    view->size_bytes = atomic_load(&view->segment->size_bytes);
    segment_retain(view->segment);
    if (i + 1 < log->segments_n) {
        view->next_base = log->segments[i + 1]->base_offset;
    } else if (tail_find(log, offset, &batch)) {
        view->start_known = batch != NULL;
        view->start = batch != NULL ? *batch : view->start;
    }
    if (max_offset >= view->next_base || max_offset >= plog_end_offset(log)) {
        view->limit_known = true;
        view->limit_position = view->size_bytes;
    } else if (view->next_base == INT64_MAX && tail_find(log, max_offset, &batch)) {
        view->limit_known = true;
        view->limit_position = batch != NULL ? batch->position : view->size_bytes;
    }
}

/* Fills in what the tail did not know. E_NOT_FOUND: nothing at or after `offset` in this segment.
 */
static err view_complete(struct view *view, struct open_file *file, int64_t offset,
                         int64_t max_offset)
{
    struct placed_batch found;
    int fd = open_file_fd(file);
    if (!view->start_known) {
        TRY(segment_find(view->segment, fd, offset, view->size_bytes, &found));
        view->start = (struct tail_batch){
            .base_offset = found.header.base_offset,
            .last_offset = batch_last_offset(&found.header),
            .position = found.position,
            .size_bytes = found.header.size_bytes,
        };
    }
    if (!view->limit_known) {
        err e = segment_find(view->segment, fd, max_offset, view->size_bytes, &found);
        if (e != OK && e != E_NOT_FOUND) {
            return e;
        }
        view->limit_position = e == OK ? found.position : view->size_bytes;
    }
    return OK;
}

static void range_fill(const struct view *view, size_t max_bytes, bool min_one,
                       struct log_range *range)
{
    CHECK(view->limit_position > view->start.position && view->start.size_bytes > 0);
    int64_t available = view->limit_position - view->start.position;
    range->position = view->start.position;
    range->base_offset = view->start.base_offset;
    range->len = (uint64_t)available < max_bytes ? (size_t)available : max_bytes;
    if (min_one && range->len < (size_t)view->start.size_bytes) {
        range->len = (size_t)view->start.size_bytes;
    }
}

static err read_once(struct plog *log, int64_t offset, int64_t max_offset, size_t max_bytes,
                     bool min_one, struct log_range *range)
{
    for (;;) {
        struct view view;
        struct open_file *file = NULL;
        guard_lock(log);
        int64_t end_offset = plog_end_offset(log);
        if (offset < plog_start_offset(log) || offset > end_offset) {
            guard_unlock(log);
            return ERR_OFFSET_OUT_OF_RANGE;
        }
        max_offset = max_offset < end_offset ? max_offset : end_offset;
        if (offset >= max_offset) {
            guard_unlock(log);
            return OK;
        }
        view_take(log, offset, max_offset, &view);
        guard_unlock(log);
        err e = segment_file(view.segment, &file);
        if (e == OK) {
            e = view_complete(&view, file, offset, max_offset);
        }
        segment_release(view.segment);
        if (e == OK && view.start.position < view.limit_position) {
            range->file = file;
            range_fill(&view, max_bytes, min_one, range);
            range->next_segment = view.next_base < max_offset &&
                                  range->position + (int64_t)range->len >= view.limit_position;
            return OK;
        }
        open_file_release(file);
        if (e == E_NOT_FOUND && view.next_base < max_offset) {
            offset = view.next_base; /* compaction left nothing here */
            continue;
        }
        return e == E_NOT_FOUND ? OK : e;
    }
}

err plog_read(struct plog *log, int64_t offset, int64_t max_offset, size_t max_bytes, bool min_one,
              struct log_range *range)
{
    err e = OK;
    for (int i = 0; i < RETRIES_MAX; i++) {
        *range = (struct log_range){.base_offset = -1};
        if (plog_is_offline(log)) {
            return ERR_KAFKA_STORAGE_ERROR;
        }
        struct log_moment moment = plog_moment(log);
        e = read_once(log, offset, max_offset, max_bytes, min_one, range);
        if (!plog_read_again(log, &moment, e)) {
            return plog_read_fail(log, e, "reading");
        }
        log_range_release(range);
    }
    return ERR_KAFKA_STORAGE_ERROR; /* one cut after the other: the client comes back */
}

err log_range_read(const struct log_range *range, size_t offset, void *data, size_t len)
{
    CHECK(offset <= range->len && len <= range->len - offset);
    return len == 0 ? OK
                    : open_file_read(range->file, data, len, range->position + (int64_t)offset);
}

void log_range_release(struct log_range *range)
{
    open_file_release(range->file);
    range->file = NULL;
}

/* Position of `offset` in its segment, as a number that grows across segments. */
static err bytes_between(struct plog *log, int64_t offset, int64_t max_offset, int64_t *bytes)
{
    CHECK(offset >= 0);
    *bytes = 0;
    for (;;) {
        struct view view;
        struct open_file *file = NULL;
        guard_lock(log);
        if (offset >= max_offset) {
            guard_unlock(log);
            return OK;
        }
        view_take(log, offset, max_offset, &view);
        guard_unlock(log);
        err e = OK;
        if (!view.start_known || !view.limit_known) {
            e = segment_file(view.segment, &file);
            e = e == OK ? view_complete(&view, file, offset, max_offset) : e;
            open_file_release(file);
        }
        segment_release(view.segment);
        if (e != OK && e != E_NOT_FOUND) {
            return e;
        }
        if (e == OK && view.limit_position > view.start.position) {
            *bytes += view.limit_position - view.start.position;
        }
        if (view.next_base >= max_offset) {
            return OK;
        }
        offset = view.next_base;
    }
}

int64_t plog_bytes_between(struct plog *log, int64_t offset, int64_t max_offset)
{
    int64_t bytes = 0;
    int64_t end_offset = plog_end_offset(log);
    int64_t start_offset = plog_start_offset(log);
    max_offset = max_offset < end_offset ? max_offset : end_offset;
    offset = offset > start_offset ? offset : start_offset;
    if (plog_is_offline(log)) {
        return 0;
    }
    uint32_t cuts = atomic_load(&log->cuts);
    err e = bytes_between(log, offset, max_offset, &bytes);
    if (e != OK && !cut_beside(log, cuts)) {
        err_ignore(plog_read_fail(log, e, "counting bytes")); /* the next read answers it */
    }
    return e == OK ? bytes : 0;
}

/* A look for a record by time in one batch. */
struct record_search {
    int64_t timestamp; /* wanted: at or after this; exactly this if `exact` */
    int64_t start_offset;
    bool exact;
    struct found_offset *found;
};

static bool record_matches(const struct record_search *search, int64_t timestamp, int64_t offset)
{
    return offset >= search->start_offset &&
           (search->exact ? timestamp == search->timestamp : timestamp >= search->timestamp);
}

static void found_set(struct found_offset *found, int64_t offset, int64_t timestamp,
                      const struct batch *batch)
{
    *found = (struct found_offset){
        .offset = offset, .timestamp = timestamp, .leader_epoch = batch->leader_epoch};
}

/* In old formats an entry is judged as a whole: its own offset, the last of a compressed one. */
static err search_batch(const struct record_search *search, struct bytes bytes,
                        const struct batch *batch)
{
    if (batch->magic < 2) {
        if (record_matches(search, batch->max_timestamp, batch->base_offset)) {
            found_set(search->found, batch->base_offset, batch->max_timestamp, batch);
        }
        return OK;
    }
    struct writer scratch;
    struct bytes body;
    writer_init(&scratch, RECORD_BYTES_LIMIT);
    err e = batch_body(bytes, &scratch, RECORD_BYTES_LIMIT, &body);
    if (e == OK) {
        struct record_iter iter;
        struct record record;
        record_iter_init(&iter, body, batch->count);
        while (record_iter_next(&iter, &record)) {
            int64_t timestamp = batch_is(batch, BATCH_LOG_APPEND_TIME)
                                    ? batch->max_timestamp
                                    : batch->base_timestamp + record.timestamp_delta;
            int64_t offset = batch->base_offset + record.offset_delta;
            if (record_matches(search, timestamp, offset)) {
                found_set(search->found, offset, timestamp, batch);
                break;
            }
        }
    }
    writer_deinit(&scratch);
    /* A payload that cannot be inflated was accepted as it came; it has no records for us. */
    return OK;
}

static err search_placed(const struct record_search *search, struct fs *fs, int fd,
                         const struct placed_batch *placed)
{
    size_t len = (size_t)placed->header.size_bytes;
    uint8_t *bytes = malloc(len);
    if (bytes == NULL) {
        return E_LIMIT;
    }
    err e = fs_read(fs, fd, bytes, len, placed->position);
    e = e == OK ? search_batch(search, bytes_of(bytes, len), &placed->header) : e;
    free(bytes);
    return e;
}

/* Searches the batches that may match by their header. */
static err search_batches(const struct record_search *search, struct scan *scan)
{
    struct placed_batch placed;
    err e = OK;
    while (e == OK && search->found->offset < 0 &&
           (e = scan_next(scan, &placed.header, &placed.position)) == OK) {
        const struct batch *batch = &placed.header;
        bool may = search->exact ? batch->max_timestamp == search->timestamp
                                 : batch->max_timestamp >= search->timestamp;
        if (may && batch_last_offset(batch) >= search->start_offset) {
            e = search_placed(search, scan->fs, scan->fd, &placed);
        }
    }
    return e == E_NOT_FOUND ? OK : e;
}

static err search_segment(const struct record_search *search, struct segment *segment)
{
    int64_t size_bytes = atomic_load(&segment->size_bytes);
    int64_t position = 0;
    struct open_file *file = NULL;
    struct scan scan;
    TRY(segment_file(segment, &file));
    int fd = open_file_fd(file);
    err e = segment_seek_time(segment, fd, search->timestamp, size_bytes, &position);
    if (e == OK) {
        scan_init(&scan, segment->offsets.env->fs, fd, position, size_bytes);
        e = search_batches(search, &scan);
    }
    open_file_release(file);
    return e;
}

/* What a sealed segment says stays: it is asked once. */
static err list_max_timestamp(struct plog *log, struct segment_list *list, size_t i)
{
    if (list->max_timestamps[i] != INT64_MIN) {
        return OK;
    }
    struct segment *segment = list->segments[i];
    bool sealed = i + 1 < list->count;
    int64_t offset = segment->base_offset;
    TRY(segment_max_timestamp(segment, sealed, &list->max_timestamps[i], &offset));
    guard_lock(log);
    if (sealed && !segment->max_timestamp_known && !atomic_load(&segment->dropped)) {
        segment->max_timestamp = list->max_timestamps[i];
        segment->max_timestamp_offset = offset;
        segment->max_timestamp_known = true;
    }
    guard_unlock(log);
    return OK;
}

static err offset_for_timestamp(struct plog *log, int64_t timestamp, struct found_offset *found)
{
    struct segment_list list;
    struct record_search search = {
        .timestamp = timestamp, .start_offset = plog_start_offset(log), .found = found};
    plog_segments_take(log, &list);
    err e = OK;
    for (size_t i = 0; e == OK && i < list.count && found->offset < 0; i++) {
        bool passed =
            i + 1 < list.count && list.segments[i + 1]->base_offset <= search.start_offset;
        e = passed ? OK : list_max_timestamp(log, &list, i);
        if (e == OK && !passed && list.max_timestamps[i] >= timestamp) {
            e = search_segment(&search, list.segments[i]);
        }
    }
    plog_segments_release(&list);
    return e;
}

static const struct found_offset NOT_FOUND = {.offset = -1, .timestamp = -1, .leader_epoch = -1};

err plog_offset_for_timestamp(struct plog *log, int64_t timestamp, int64_t max_offset,
                              struct found_offset *found)
{
    for (int i = 0; i < RETRIES_MAX; i++) {
        *found = NOT_FOUND;
        if (plog_is_offline(log)) {
            return ERR_KAFKA_STORAGE_ERROR;
        }
        struct log_moment moment = plog_moment(log);
        err e = offset_for_timestamp(log, timestamp, found);
        if (!plog_read_again(log, &moment, e)) {
            *found = found->offset >= max_offset ? NOT_FOUND : *found;
            return plog_read_fail(log, e, "searching by time");
        }
    }
    *found = NOT_FOUND;
    return ERR_KAFKA_STORAGE_ERROR; /* as plog_read */
}

static err offset_for_max_timestamp(struct plog *log, struct found_offset *found)
{
    struct segment_list list;
    plog_segments_take(log, &list);
    size_t best = 0;
    err e = OK;
    for (size_t i = 0; e == OK && i < list.count; i++) {
        e = list_max_timestamp(log, &list, i);
        if (list.max_timestamps[i] > list.max_timestamps[best]) {
            best = i;
        }
    }
    if (e == OK && list.max_timestamps[best] >= 0) {
        struct record_search search = {.timestamp = list.max_timestamps[best],
                                       .start_offset = plog_start_offset(log),
                                       .exact = true,
                                       .found = found};
        e = search_segment(&search, list.segments[best]);
    }
    plog_segments_release(&list);
    return e;
}

err plog_offset_for_max_timestamp(struct plog *log, struct found_offset *found)
{
    for (int i = 0; i < RETRIES_MAX; i++) {
        *found = NOT_FOUND;
        if (plog_is_offline(log)) {
            return ERR_KAFKA_STORAGE_ERROR;
        }
        struct log_moment moment = plog_moment(log);
        err e = offset_for_max_timestamp(log, found);
        if (!plog_read_again(log, &moment, e)) {
            return plog_read_fail(log, e, "searching by time");
        }
    }
    *found = NOT_FOUND;
    return ERR_KAFKA_STORAGE_ERROR; /* as plog_read */
}

enum { TIMESTAMP_LATEST = -1, TIMESTAMP_EARLIEST = -2 };

/* Is entry i (a segment, or the end after them) written at or before `timestamp`? */
static err modified_by(const struct segment_list *list, size_t i, int64_t now_ms, int64_t timestamp,
                       bool *yes)
{
    int64_t mtime_ms = now_ms;
    if (i < list->count) {
        TRY(segment_mtime_ms(list->segments[i], &mtime_ms));
    }
    *yes = mtime_ms <= timestamp;
    return OK;
}

/* As Kafka's legacyFetchOffsetsBefore: candidates are the segments' bases and, if the last segment
 * has data, the end; from the newest that was written by then, backwards. */
static err offsets_before(struct plog *log, int64_t timestamp, int64_t end_offset, int32_t max,
                          struct arena *arena, int64_t **offsets, int32_t *count)
{
    struct segment_list list;
    plog_segments_take(log, &list);
    bool has_end = atomic_load(&list.segments[list.count - 1]->size_bytes) > 0;
    size_t candidates = list.count + (has_end ? 1 : 0);
    size_t n = timestamp == TIMESTAMP_EARLIEST ? 1 : candidates;
    int64_t now_ms = clock_wall_ms(log->env->clock);
    err e = OK;
    while (e == OK && timestamp >= 0 && n > 0) {
        bool yes = false;
        e = modified_by(&list, n - 1, now_ms, timestamp, &yes);
        if (yes) {
            break;
        }
        n--;
    }
    *count = 0;
    *offsets = arena_array(arena, n == 0 ? 1 : n, sizeof(**offsets));
    e = e == OK && *offsets == NULL ? E_LIMIT : e;
    int64_t start_offset = plog_start_offset(log);
    for (; e == OK && n > 0 && *count < max; n--) {
        int64_t offset = n > list.count ? end_offset : list.segments[n - 1]->base_offset;
        offset = offset < start_offset ? start_offset : offset;
        offset = offset > end_offset ? end_offset : offset;
        if (*count == 0 || (*offsets)[*count - 1] != end_offset || offset != end_offset) {
            (*offsets)[(*count)++] = offset;
        }
    }
    plog_segments_release(&list);
    return e;
}

err plog_offsets_before(struct plog *log, int64_t timestamp, int64_t end_offset, int32_t max,
                        struct arena *arena, int64_t **offsets, int32_t *count)
{
    for (int i = 0; i < RETRIES_MAX; i++) {
        if (plog_is_offline(log)) {
            return ERR_KAFKA_STORAGE_ERROR;
        }
        struct log_moment moment = plog_moment(log);
        err e = offsets_before(log, timestamp, end_offset, max, arena, offsets, count);
        if (!plog_read_again(log, &moment, e)) {
            return plog_read_fail(log, e, "reading modification times");
        }
    }
    return ERR_KAFKA_STORAGE_ERROR; /* as plog_read */
}
