/* An answer that waits for its socket is remembered by the connection, in a list of entries that the loop
 * uses again and again: a client that pipelines has several. */
#include "broker/metrics/request_metrics.h"

#include "base/err.h"

#include <stdlib.h>

enum { SPARE_MAX = 256 };

static void count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

struct request_metrics *loop_metrics_of(struct loop_metrics *metrics, int name)
{
    struct request_metrics *of =
        atomic_load_explicit(&metrics->requests[name], memory_order_relaxed);
    if (of == NULL) {
        of = xcalloc(1, sizeof(*of));
        atomic_store_explicit(&metrics->requests[name], of, memory_order_release);
    }
    return of;
}

void loop_metrics_slow(struct loop_metrics *metrics, int name)
{
    count(&loop_metrics_of(metrics, name)->slow);
}

void loop_metrics_deinit(struct loop_metrics *metrics)
{
    for (int i = 0; i < REQUEST_NAMES_N; i++) {
        free(atomic_load(&metrics->requests[i]));
    }
    while (metrics->spare != NULL) {
        struct sending *entry = metrics->spare;
        metrics->spare = entry->next;
        free(entry);
    }
}

/* ---- sending ---- */

static struct sending *sending_acquire(struct loop_metrics *metrics)
{
    struct sending *entry = metrics->spare;
    if (entry == NULL) {
        return xcalloc(1, sizeof(*entry));
    }
    metrics->spare = entry->next;
    metrics->spare_n--;
    return entry;
}

static void sending_release(struct loop_metrics *metrics, struct sending *entry)
{
    if (metrics->spare_n >= SPARE_MAX) {
        free(entry);
        return;
    }
    entry->next = metrics->spare;
    metrics->spare = entry;
    metrics->spare_n++;
}

void loop_metrics_sent(struct loop_metrics *metrics, struct sending *all, int64_t now_us)
{
    while (all != NULL) {
        struct sending *entry = all;
        all = entry->next;
        for (int i = 0; i < 2 && entry->of[i] != NULL; i++) {
            struct histogram *parts = entry->of[i]->parts_us;
            histogram_record(&parts[REQUEST_SEND], now_us - entry->answered_us);
            histogram_record(&parts[REQUEST_TOTAL], now_us - entry->arrived_us);
        }
        sending_release(metrics, entry);
    }
}

/* ---- a request is done ---- */

static struct request_metrics *record(struct loop_metrics *metrics, int name,
                                      const struct request_done *done, int64_t now_us)
{
    struct request_metrics *of = loop_metrics_of(metrics, name);
    const struct request_times *times = &done->times;
    histogram_record(&of->parts_us[REQUEST_QUEUE], times->begun - times->arrived);
    histogram_record(&of->parts_us[REQUEST_LOCAL], times->handled - times->begun);
    histogram_record(&of->parts_us[REQUEST_REMOTE], now_us - times->handled);
    if (done->throttle_us > 0) {
        histogram_record(&of->parts_us[REQUEST_THROTTLE], done->throttle_us);
    }
    histogram_record(&of->bytes, (int64_t)done->bytes);
    count(&of->by_version[done->version < REQUEST_VERSIONS_MAX ? done->version
                                                               : REQUEST_VERSIONS_MAX - 1]);
    if (!done->answered) {
        histogram_record(&of->parts_us[REQUEST_SEND], 0);
        histogram_record(&of->parts_us[REQUEST_TOTAL], now_us - times->arrived);
    }
    return of;
}

struct sending *loop_metrics_done(struct loop_metrics *metrics, const struct request_done *done,
                                  int64_t now_us, struct sending *before)
{
    struct request_metrics *of = record(metrics, done->name, done, now_us);
    struct request_metrics *also =
        done->also < 0 ? NULL : record(metrics, done->also, done, now_us);
    if (!done->answered) {
        return before;
    }
    struct sending *entry = sending_acquire(metrics);
    *entry = (struct sending){
        .next = before, .of = {of, also}, .arrived_us = done->times.arrived, .answered_us = now_us};
    return entry;
}
