/* Producer state of one log: idempotence, transactions, snapshots. (reference: coordinators §3,
 * storage format §7)
 *
 * Lock: none of its own. Whoever appends changes it; the lists of transactions are also read by
 * others, so the log's guard is held around producers_apply(), producers_lso() and the loading. */
#ifndef OTTLA_STORAGE_PRODUCERS_H
#define OTTLA_STORAGE_PRODUCERS_H

#include "base/map.h"
#include "storage/plog.h"
#include "storage/txnindex.h"

enum { PRODUCER_BATCHES_MAX = 5 };

/* One of the last five batches. */
struct producer_batch {
    int32_t last_sequence;
    int64_t last_offset;
    int32_t offset_delta;
    int64_t timestamp;
};

struct producer {
    int64_t id;
    int16_t epoch;
    int32_t coordinator_epoch; /* -1: no marker seen */
    int64_t last_timestamp;    /* of the last batch or marker */
    int64_t txn_first_offset;  /* -1: none open */
    int batches_n;
    struct producer_batch batches[PRODUCER_BATCHES_MAX]; /* oldest first */
};

/* A transaction: open, or decided but not yet below the high watermark. */
struct txn_span {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* the marker's; -1 while open */
};

struct txn_list {
    struct txn_span *spans; /* owned; ascending by first offset */
    size_t count;
    size_t cap;
};

/* A producer that wants to begin a transaction here: the coordinator is being asked whether it has, or has
 * said so (KIP-890). It goes with the first batch, or with a marker, so that an answer which is of before
 * that marker opens nothing. */
struct verification {
    uint64_t guard; /* never given twice */
    bool verified;
    int16_t epoch;
    int32_t lowest_sequence; /* that was tried */
    int64_t since_ms;
};

struct producers {
    struct map by_id;         /* of struct producer, owned */
    struct map verifications; /* by producer id, owned */
    uint64_t guards;          /* the last one given */
    struct txn_list open;
    struct txn_list decided;
    int64_t end_offset; /* everything below is accounted for */
};

/* What a control batch says; type -1: not a transaction marker (to be ignored). */
struct marker {
    int type;
    int32_t coordinator_epoch;
};
/* Reads the record of a control batch of format 2. E_MALFORMED if it is none. */
NODISCARD err marker_parse(struct bytes batch, struct marker *marker);

/* A control batch of a producer, which must hold a marker that can be read. Not one that compaction has emptied. */
bool batch_is_marker(const struct batch *batch);

void producers_init(struct producers *producers);
void producers_deinit(struct producers *producers);
void producers_clear(struct producers *producers, int64_t end_offset);

/* How an append is judged. */
struct producers_rules {
    enum append_origin origin;
    bool verify;    /* transaction.partition.verification.enable */
    uint64_t guard; /* of producers_verify(), of who appends; 0: none */
};
/* May this batch (with a producer id) be appended? `marker` NULL for data. OK; 45, 47, 48 or 52;
 * and *duplicate set when it is an exact repetition. Changes nothing. */
NODISCARD err producers_check(const struct producers *producers, const struct batch *batch,
                              const struct marker *marker, const struct producers_rules *rules,
                              const struct producer_batch **duplicate);

/* The first batch of a transaction (`sequence` -1: of a coordinator) is to be verified: a guard for
 * producers_verified(). 0: it is open already, and nothing needs to be asked. */
uint64_t producers_verify(struct producers *producers, int64_t producer_id, int16_t epoch,
                          int32_t sequence, int64_t now_ms);
/* The coordinator has confirmed it. Nothing happens if the guard is not in force any more. */
void producers_verified(struct producers *producers, int64_t producer_id, uint64_t guard);
/* Accounts for an appended batch. True if it aborted a transaction, with the txnindex entry. */
bool producers_apply(struct producers *producers, const struct batch *batch,
                     const struct marker *marker, struct txn_entry *aborted);

/* The lists of transactions are in order and say what the producers say. */
void producers_check_whole(const struct producers *producers);

/* First offset that is not decided and below the high watermark, or INT64_MAX. */
int64_t producers_first_unstable(struct producers *producers, int64_t high_watermark);
/* Forgets idle producers without an open transaction. */
void producers_expire(struct producers *producers, int64_t now_ms, int64_t expiration_ms);

/* "<offset>.snapshot". Writing does not sync unless asked; without that a file that says the same stays as it
 * is. Loading replaces the state; E_CORRUPT
 * when the file is damaged; expired producers are left out. */
NODISCARD err producers_save(const struct producers *producers, struct fs *fs, const char *path,
                             bool sync);
NODISCARD err producers_load(struct producers *producers, struct fs *fs, const char *path,
                             int64_t offset, int64_t now_ms, int64_t expiration_ms);

#endif
