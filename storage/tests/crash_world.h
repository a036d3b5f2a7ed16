/* A broker's logs on a disk that may crash (crash_disk.h), and a model of what was written and of what was promised: by an
 * append that returned, by a flush, by a checkpoint. Whatever a crash leaves is opened and compared with it.
 *
 * Each operation tells the model before it is called what may be true from now on, and after it has returned what
 * must be true; so the model is right inside of the call, too, where crashes come. An operation that fails promises
 * nothing. */
#ifndef OTTLA_STORAGE_TESTS_CRASH_WORLD_H
#define OTTLA_STORAGE_TESTS_CRASH_WORLD_H

#include "base/random.h"
#include "storage/logs.h"
#include "storage/tests/crash_disk.h"

enum { WORLD_LOGS_MAX = 4, WORLD_KEYS = 9, WORLD_PRODUCERS = 5, WORLD_TXN_PRODUCERS = 2 };

enum written_state {
    WRITTEN_MAYBE, /* the append has not returned, or failed */
    WRITTEN_ACKED,
    WRITTEN_GONE /* cut, lost by a crash: may be there, need not */
};

enum txn_outcome { TXN_NONE, TXN_OPEN, TXN_COMMITTED, TXN_ABORTED };

/* A batch that was handed to a log. */
struct written {
    enum written_state state;
    enum txn_outcome outcome;
    int64_t base_offset;
    int64_t last_offset;
    int64_t producer_id; /* -1: none */
    uint8_t *bytes;      /* as they should stand in the file */
    size_t len;
};

enum existence { LOG_ABSENT, LOG_MAYBE, LOG_THERE };

/* "In the cache": after the end of the process; "on the disk": after a power cut. */
struct log_model {
    const char *topic;
    int32_t partition;
    bool is_compacted;
    struct uuid topic_id;
    struct log_config config;
    int32_t epoch;
    struct written *all; /* in the order of their appends */
    size_t n;
    enum existence in_cache;
    enum existence on_disk;
    int64_t flushed; /* what is acknowledged below is on the disk */
    int64_t start_in_cache;
    int64_t start_on_disk;
    int64_t start_most;
    int64_t cleaned_most;
};

struct world {
    struct crash_disk *disk;
    struct manual_clock clock;
    struct seeded_random random;
    struct storage_env env;
    struct logs *logs; /* NULL: closed */
    size_t dirs_n;
    size_t sync_all_from; /* as of struct logs_open */
    bool
        promises_nothing; /* this process found bytes that cannot be made durable, and cannot know it */
    struct log_model models[WORLD_LOGS_MAX];
    size_t models_n;
    struct disk_watch watch; /* of the disk, whichever it is */
    uint64_t moment;         /* counts what changed in the model */
    int values;
    /* For lines about what is wrong: where we are. */
    const char *scenario;
    char where[128];
    bool prints; /* what is on the disk, and every line of the log */
    int failures;
    struct {
        uint64_t opened;
        uint64_t batches; /* that were promised, and found */
        uint64_t producers;
        uint64_t aborted;
        uint64_t keys;
        uint64_t lost; /* batches that a crash had a right to take */
    } seen;
};

void world_init(struct world *w, uint64_t seed, size_t dirs_n);
void world_deinit(struct world *w);
/* A process begins: locks and loads. */
NODISCARD err world_boot(struct world *w);
/* It ends, with or without a clean stop. */
void world_stop(struct world *w);
void world_kill(struct world *w);
/* The disk becomes what a crash leaves of it, and the process that begins then is believed: what it finds is what was
 * written, and promised. world_boot() and world_learn() follow. */
void world_crash(struct world *w, enum crash_kind kind, uint64_t seed);
void world_learn(struct world *w);

/* A new log. The model lives as long as the world; one of the same name is used again. */
NODISCARD err world_create(struct world *w, const char *topic, int32_t partition,
                           struct log_model **m);
NODISCARD err world_delete(struct world *w, struct log_model *m);
/* NULL when there is none. */
struct plog *world_log(const struct world *w, const struct log_model *m);

uint32_t world_below(struct world *w, uint32_t n);
/* One batch with chosen keys; of a producer (from 0; the first WORLD_TXN_PRODUCERS write transactions), or -1. */
NODISCARD err world_append(struct world *w, struct log_model *m, int producer, int records);
/* Any. */
NODISCARD err world_append_any(struct world *w, struct log_model *m);
/* Ends the transaction of a producer that has one open. */
NODISCARD err world_end_txn(struct world *w, struct log_model *m, int producer, bool commit);
NODISCARD err world_new_epoch(struct world *w, struct log_model *m);
NODISCARD err world_flush(struct world *w, struct log_model *m);
NODISCARD err world_roll(struct world *w, struct log_model *m);
NODISCARD err world_checkpoint(struct world *w);
NODISCARD err world_advance_start(struct world *w, struct log_model *m, int64_t offset);
/* As the broker's housekeeping does it: the files first, then the checkpoints. */
NODISCARD err world_retain(struct world *w, struct log_model *m);
/* As a follower does it: what is promised goes back, on the disk too, then the log is cut where a batch begins. */
NODISCARD err world_truncate(struct world *w, struct log_model *m, int64_t offset);
NODISCARD err world_start_at(struct world *w, struct log_model *m, int64_t offset);
NODISCARD err world_clean(struct world *w, struct log_model *m);
/* To the other of two directories: makes the copy; copies what is there by now; copies the rest, and gives it the log's
 * place, with appends where others would append. */
NODISCARD err world_move_begin(struct world *w, struct log_model *m);
NODISCARD err world_move_on(struct world *w, struct log_model *m);
NODISCARD err world_move_end(struct world *w, struct log_model *m);

/* The offset of some batch that is acknowledged, from the log's start on; the end when there is none. */
int64_t world_some_base(struct world *w, const struct log_model *m);

/* The batches of a log, read one by one. */
struct found_batch {
    struct batch header;
    uint8_t *bytes;
};
struct found {
    int64_t start;
    int64_t end;
    struct found_batch *all;
    size_t n;
};
/* An error, too, when some offset does not lead to the batch that holds it, or to the next. */
NODISCARD err found_read(struct plog *log, struct found *found);
void found_free(struct found *found);

/* Opens what a crash left, twice, and compares it with what was promised. Takes the disk. */
void world_check(struct world *w, struct crash_disk *left, enum crash_kind kind);

#endif
