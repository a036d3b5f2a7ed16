/* A short sorted array; a log sees a handful of epochs in its life. Both columns ascend strictly in
 * epoch and weakly in offset, and a new entry evicts those that would break this, as Kafka's cache
 * does: the newest word about an epoch wins. */
#include "storage/epochs.h"

#include <stdlib.h>

void epochs_deinit(struct epochs *epochs)
{
    free(epochs->entries);
    *epochs = (struct epochs){0};
}

void epochs_check(const struct epochs *epochs)
{
    CHECK(epochs->count <= epochs->cap);
    for (size_t i = 0; i < epochs->count; i++) {
        const struct epoch_entry *entry = &epochs->entries[i];
        CHECK(entry->epoch >= 0 && entry->start_offset >= 0);
        CHECK(i == 0 ||
              (entry[-1].epoch < entry->epoch && entry[-1].start_offset <= entry->start_offset));
    }
}

bool epochs_assign(struct epochs *epochs, int32_t epoch, int64_t start_offset)
{
    if (epoch < 0 || start_offset < 0) {
        return false;
    }
    if (epochs->count > 0) {
        const struct epoch_entry *last = &epochs->entries[epochs->count - 1];
        if (last->epoch == epoch && start_offset >= last->start_offset) {
            return false;
        }
    }
    while (epochs->count > 0 && (epochs->entries[epochs->count - 1].epoch >= epoch ||
                                 epochs->entries[epochs->count - 1].start_offset >= start_offset)) {
        epochs->count--;
    }
    if (epochs->count == epochs->cap) {
        epochs->cap = epochs->cap == 0 ? 4 : epochs->cap * 2;
        epochs->entries = xrealloc(epochs->entries, epochs->cap * sizeof(*epochs->entries));
    }
    epochs->entries[epochs->count++] =
        (struct epoch_entry){.epoch = epoch, .start_offset = start_offset};
    return true;
}

bool epochs_confirm(struct epochs *epochs, int32_t epoch, int64_t offset)
{
    CHECK(epoch >= 0 && offset >= 0);
    if (epochs_of_offset(epochs, offset) == epoch) {
        return false;
    }
    while (epochs->count > 0 && (epochs->entries[epochs->count - 1].epoch > epoch ||
                                 epochs->entries[epochs->count - 1].start_offset > offset)) {
        epochs->count--;
    }
    (void)epochs_assign(epochs, epoch, offset);
    return true;
}

bool epochs_truncate_end(struct epochs *epochs, int64_t offset)
{
    CHECK(offset >= 0);
    size_t before = epochs->count;
    while (epochs->count > 0 && epochs->entries[epochs->count - 1].start_offset >= offset) {
        epochs->count--;
    }
    return epochs->count != before;
}

bool epochs_truncate_start(struct epochs *epochs, int64_t offset)
{
    CHECK(offset >= 0);
    size_t drop = 0; /* entries before the last one at or below `offset` */
    while (drop + 1 < epochs->count && epochs->entries[drop + 1].start_offset <= offset) {
        drop++;
    }
    if (epochs->count == 0 || (drop == 0 && epochs->entries[0].start_offset >= offset)) {
        return false;
    }
    memmove(epochs->entries, epochs->entries + drop,
            (epochs->count - drop) * sizeof(*epochs->entries));
    epochs->count -= drop;
    epochs->entries[0].start_offset = offset;
    return true;
}

bool epochs_clear(struct epochs *epochs)
{
    bool changed = epochs->count > 0;
    epochs->count = 0;
    return changed;
}

int32_t epochs_latest(const struct epochs *epochs)
{
    return epochs->count == 0 ? -1 : epochs->entries[epochs->count - 1].epoch;
}

int32_t epochs_of_offset(const struct epochs *epochs, int64_t offset)
{
    for (size_t i = epochs->count; i > 0; i--) {
        if (epochs->entries[i - 1].start_offset <= offset) {
            return epochs->entries[i - 1].epoch;
        }
    }
    return -1;
}

void epochs_end_of(const struct epochs *epochs, int32_t wanted, int64_t log_end_offset,
                   int32_t *epoch, int64_t *end_offset)
{
    CHECK(log_end_offset >= 0);
    *epoch = -1;
    *end_offset = -1;
    if (wanted < 0 || epochs->count == 0) {
        return;
    }
    if (wanted == epochs_latest(epochs)) {
        *epoch = wanted;
        *end_offset = log_end_offset;
        return;
    }
    size_t higher = 0;
    while (higher < epochs->count && epochs->entries[higher].epoch <= wanted) {
        higher++;
    }
    if (higher == epochs->count) {
        return; /* an epoch we have not heard of */
    }
    *epoch = higher == 0 ? wanted : epochs->entries[higher - 1].epoch;
    *end_offset = epochs->entries[higher].start_offset;
}
