/* Compaction of the broker's logs (storage/plog.h cleans one): log.cleaner.*, and retention of topics that are
 * compacted. (reference: storage format §12)
 *
 * Each of log.cleaner.threads takes the log with the largest dirty part above its topic's bound, or one of which
 * some has waited too long, cleans it once, and looks again. When there is none it sleeps: for
 * log.cleaner.backoff.ms if logs have changed meanwhile, until the earliest time at which a lag has passed, or until it is
 * woken. A log that cannot be cleaned is set aside alone, until the next start. */
#ifndef OTTLA_BROKER_CLEANER_H
#define OTTLA_BROKER_CLEANER_H

#include "broker/config.h"
#include "broker/replica/replicas.h"

struct cleaner;

struct cleaner_config {
    struct threads *threads;
    struct clock *clock;
    struct sockets *sockets; /* for the threads' loops */
    struct replicas *replicas;
    struct logs *logs;
    /* Any thread: files wait to be removed. */
    void (*files_dropped)(void *context);
    void *context;
};

struct cleaner *cleaner_new(const struct cleaner_config *config);
/* One thread at a time calls this and the next two. Nothing starts with log.cleaner.enable=false. */
NODISCARD err cleaner_start(struct cleaner *cleaner, const struct config *options);
/* Goes on with what the options say by now, if it was started. */
NODISCARD err cleaner_take_options(struct cleaner *cleaner, const struct config *options);
/* Gives up what is being cleaned, and ends the threads. */
void cleaner_stop(struct cleaner *cleaner);
void cleaner_free(struct cleaner *cleaner); /* stopped; NULL is fine */
/* Any thread, cheap: logs have changed. */
void cleaner_wake(struct cleaner *cleaner);

#endif
