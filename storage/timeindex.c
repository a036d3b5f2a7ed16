/* What is particular to the time index: an entry says "up to this offset, no timestamp is larger".
 *
 * Entries ascend strictly by timestamp and weakly by offset, so one that would not is left out: a
 * search by time then starts early, never late. */
#include "storage/index.h"

#include "base/writer.h"

err time_index_get(struct index *index, int32_t n, struct time_entry *entry)
{
    uint8_t bytes[INDEX_ENTRY_BYTES_MAX];
    TRY(index_get(index, n, bytes));
    *entry = (struct time_entry){
        .timestamp = index_column_of(index, bytes, COLUMN_TIMESTAMP),
        .relative = (int32_t)index_column_of(index, bytes, COLUMN_OFFSET),
    };
    return OK;
}

static err time_index_last(struct index *index, struct time_entry *entry)
{
    int32_t count = 0;
    *entry = (struct time_entry){.timestamp = -1};
    TRY(index_count(index, &count));
    return count == 0 ? OK : time_index_get(index, count - 1, entry);
}

err time_index_append(struct index *index, int64_t timestamp, int32_t relative)
{
    CHECK(relative >= 0);
    struct time_entry last;
    uint8_t entry[TIME_ENTRY_BYTES];
    TRY(time_index_last(index, &last));
    if (timestamp <= last.timestamp || relative < last.relative) {
        return OK;
    }
    store_u64(entry, (uint64_t)timestamp);
    store_u32(entry + 8, (uint32_t)relative);
    return index_append(index, entry);
}
