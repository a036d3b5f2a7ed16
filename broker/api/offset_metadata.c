#include "broker/api/offset_metadata.h"

#include "protocol/error.h"

static size_t utf16_len(struct str s)
{
    size_t units = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.data[i];
        units += (c & 0xc0) != 0x80 ? (c >= 0xf0 ? 2 : 1) : 0;
    }
    return units;
}

bool offset_metadata_fits(const struct config *config, struct str metadata)
{
    return utf16_len(metadata) <= (size_t)config->offset_metadata_max_bytes;
}

err offset_store_err(err outcome)
{
    switch (outcome) {
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case ERR_NOT_ENOUGH_REPLICAS:
    case ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
        return ERR_COORDINATOR_NOT_AVAILABLE;
    case ERR_NOT_LEADER_OR_FOLLOWER:
    case ERR_KAFKA_STORAGE_ERROR:
        return ERR_NOT_COORDINATOR;
    case ERR_MESSAGE_TOO_LARGE:
    case ERR_RECORD_LIST_TOO_LARGE:
        return ERR_INVALID_COMMIT_OFFSET_SIZE;
    default:
        return outcome;
    }
}
