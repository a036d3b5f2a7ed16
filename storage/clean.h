/* What compaction keeps of a batch. No files: batches in, batches out. (reference: storage format §12)
 *
 * One struct clean goes once over the batches of a log from its start: of each key the record with the
 * largest offset stays, tombstones and markers until their delete horizon, nothing of aborted
 * transactions, and an empty header where a producer's sequence would be lost. What is behind the map's
 * end stays as it is. Batches that are not of format 2 stay as they are, and so does one that cannot be
 * inflated. One thread. */
#ifndef OTTLA_STORAGE_CLEAN_H
#define OTTLA_STORAGE_CLEAN_H

#include "base/map.h"
#include "protocol/batch.h"
#include "storage/clean_map.h"
#include "storage/txnindex.h"

/* ---- transactions, as a pass meets them ---- */

struct clean_txns {
    struct txn_entry *waiting; /* aborted ones, ascending by first offset; owned */
    size_t begun_n;            /* of those: the pass has come to them */
    size_t waiting_n;
    size_t waiting_cap;
    struct map aborted;   /* producer id → struct aborted_txn of clean.c, owned */
    struct map committed; /* producer ids with a batch in this pass and no marker yet */
};

void clean_txns_init(struct clean_txns *txns);
void clean_txns_deinit(struct clean_txns *txns);
/* A transaction that was aborted, from an index; the same one again is harmless. */
void clean_txns_add(struct clean_txns *txns, const struct txn_entry *entry);
/* Each batch, in order. True: nothing of it has to stay: it is of an aborted transaction, or a marker of one of
 * which no batch was met. `marker` NULL: it is none. `kept` (may be NULL): *has_kept, an entry for the index of what is
 * kept. */
struct marker;
bool clean_txns_pass(struct clean_txns *txns, const struct batch *batch,
                     const struct marker *marker, struct txn_entry *kept, bool *has_kept);

/* ---- the map ---- */

/* Puts the keys of a whole batch of format 2 from `from` on into the map; those of an aborted transaction not. False: the
 * map is full. */
NODISCARD err clean_map_batch(struct clean_map *map, struct clean_txns *txns, struct bytes bytes,
                              const struct batch *batch, int64_t from, struct writer *scratch,
                              bool *full);

/* ---- what stays ---- */

/* The last that a producer has written: that header must stay. */
struct clean_producer {
    int64_t last_offset; /* of data; -1: only a marker is known */
    int16_t epoch;
};

struct clean {
    const struct clean_map *map;
    struct clean_txns txns;
    struct map producers; /* id → struct clean_producer, owned */
    int64_t now_ms;
    int64_t delete_retention_ms;
    struct writer scratch; /* inflated records */
    struct writer stays;   /* a byte for each record of the batch: does it stay? */
};

void clean_init(struct clean *clean, const struct clean_map *map, int64_t now_ms,
                int64_t delete_retention_ms);
void clean_deinit(struct clean *clean);
/* Which producers are active, anew. */
void clean_forget_producers(struct clean *clean);
void clean_note_producer(struct clean *clean, int64_t id, struct clean_producer producer);

/* What becomes of a batch besides. */
struct cleaned {
    bool has_aborted; /* `aborted` belongs into the index of transactions */
    struct txn_entry aborted;
};
/* Writes to `out` what stays of a whole, sound batch. E_LIMIT: no memory; E_CORRUPT: a marker that is none. */
NODISCARD err clean_batch(struct clean *clean, struct bytes bytes, const struct batch *batch,
                          struct writer *out, struct cleaned *cleaned);

#endif
