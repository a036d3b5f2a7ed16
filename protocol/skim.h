/* A walk over the records of a compressed payload while it is inflated, which keeps nothing of them:
 * what a leader has to know of a batch that it stores as it came.
 *
 * It reads as Kafka's leader does, which is not quite as a consumer does: the length in front of a
 * record is read and not believed; only the fields are walked. A batch with such a wrong length is
 * stored by both, and no consumer reads it. */
#ifndef OTTLA_PROTOCOL_SKIM_H
#define OTTLA_PROTOCOL_SKIM_H

#include "protocol/inflate.h"

struct skimmed {
    int64_t timestamp_delta;
    int32_t offset_delta;
    bool has_key;
};

/* After the last record `error` is OK; E_MALFORMED: a record breaks a rule, or there are fewer or
 * more bytes than `count` records; E_CORRUPT: it cannot be inflated; E_LIMIT: it is more than
 * bytes_max. */
struct skim {
    struct inflater *inflater;
    const uint8_t *next;
    const uint8_t *end;
    size_t bytes_left;
    int32_t left;
    err error;
};

void skim_init(struct skim *s, struct inflater *inflater, int32_t count, size_t bytes_max);
bool skim_next(struct skim *s, struct skimmed *record);

#endif
