/* Which things a request has named, and how often: topics, partitions, resources.
 *
 * A request may name a hundred thousand; comparing each with all others would stop a loop for
 * minutes. The first few are compared, as in every honest request; only what comes after them costs
 * memory. Names are views: they live as long as the request. */
#ifndef OTTLA_BASE_SEEN_H
#define OTTLA_BASE_SEEN_H

#include "base/map.h"
#include "base/writer.h"

enum { SEEN_FEW = 16 };

/* What makes two of them the same; unused fields are zero. */
struct seen_key {
    struct str name;
    struct uuid id;
    int32_t number;
};

struct seen {
    struct seen_key few[SEEN_FEW];
    int32_t times[SEEN_FEW];
    int32_t few_n;
    struct map many; /* the key's bytes → (void *)times */
    struct writer scratch;
};

void seen_init(struct seen *seen);
void seen_deinit(struct seen *seen);
/* Notes it once more; returns how often it was there before. */
int32_t seen_add(struct seen *seen, const struct seen_key *key);
int32_t seen_times(struct seen *seen, const struct seen_key *key);

#endif
