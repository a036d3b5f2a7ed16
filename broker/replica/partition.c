/* Leader state of one partition.
 *
 * High watermark: the least end offset over the in-sync replicas. With this broker alone in the ISR
 * that is the log's end; where every message must be on disk before it is acknowledged
 * (flush.messages=1) it is what has been flushed. It never goes back while one leads.
 *
 * Waking. An append moves the high watermark under the lock and then goes over the watches: a
 * produce waits for an offset, a fetch for a number of bytes, over all its partitions together,
 * counted down in one atomic. req_wake only posts; the waiter re-evaluates on its own loop, so a
 * wake-up too many does no harm. */
#define _GNU_SOURCE
#include "broker/replica/partition.h"

#include "base/log.h"
#include "broker/api/request.h"
#include "broker/replica/flusher.h"

#include <stdlib.h>

struct partition *partition_new(struct topic_partition name, struct uuid topic_id,
                                const struct partition_env *env)
{
    struct partition *p = xcalloc(1, sizeof(*p));
    /* An append is a few microseconds: two loops that meet here spin for a moment before they sleep.
     * bench/compare, one record a request on 16 connections: a quarter more requests. */
    pthread_mutexattr_t adaptive;
    pthread_mutexattr_init(&adaptive);
    pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&p->lock, &adaptive);
    pthread_mutexattr_destroy(&adaptive);
    pthread_cond_init(&p->unpinned, NULL);
    atomic_store(&p->refs, 1);
    p->name = (struct topic_partition){
        .topic = {.data = str_dup(name.topic), .len = name.topic.len}, .partition = name.partition};
    p->topic_id = topic_id;
    p->env = env;
    p->state.leader = -1;
    p->state.leader_epoch = -1;
    p->state.partition_epoch = -1;
    list_init(&p->watches);
    list_init(&p->flush_link);
    return p;
}

void partition_retain(struct partition *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
}

void partition_release(struct partition *p)
{
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    CHECK(list_empty(&p->watches));
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->unpinned);
    free((void *)(uintptr_t)p->name.topic.data);
    free(p);
}

err partition_check_locked(const struct partition *p, int32_t leader_epoch, bool any_replica)
{
    if (leader_epoch >= 0 && leader_epoch < p->state.leader_epoch) {
        return ERR_FENCED_LEADER_EPOCH;
    }
    if (leader_epoch > p->state.leader_epoch) {
        return ERR_UNKNOWN_LEADER_EPOCH;
    }
    if (p->log == NULL || plog_is_offline(p->log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    return p->is_leader || any_replica ? OK : ERR_NOT_LEADER_OR_FOLLOWER;
}

err partition_pin(struct partition *p, int32_t leader_epoch, bool any_replica, struct plog **log)
{
    pthread_mutex_lock(&p->lock);
    err e = partition_check_locked(p, leader_epoch, any_replica);
    if (e == OK) {
        p->pins++;
        *log = p->log;
    }
    pthread_mutex_unlock(&p->lock);
    return e;
}

void partition_unpin(struct partition *p)
{
    pthread_mutex_lock(&p->lock);
    CHECK(p->pins > 0);
    if (--p->pins == 0) {
        pthread_cond_broadcast(&p->unpinned);
    }
    pthread_mutex_unlock(&p->lock);
}

struct plog *partition_detach_log(struct partition *p)
{
    pthread_mutex_lock(&p->lock);
    struct plog *log = p->log;
    p->log = NULL;
    p->is_leader = false;
    while (p->pins > 0) {
        pthread_cond_wait(&p->unpinned, &p->lock);
    }
    list_each_safe (item, &p->watches) {
        req_wake(container_of(item, struct watch, link)->req);
    }
    pthread_mutex_unlock(&p->lock);
    return log;
}

/* ---- the high watermark ---- */

/* Every acknowledged message is on disk first. */
static bool acks_need_flush(const struct log_config *config)
{
    return config->flush_messages <= 1;
}

static void wake_watches(struct partition *p, int64_t high_watermark, int64_t readable_bytes)
{
    list_each_safe (item, &p->watches) {
        struct watch *watch = container_of(item, struct watch, link);
        if (watch->offset >= 0) {
            if (high_watermark >= watch->offset) {
                req_wake(watch->req);
            }
        } else if (atomic_fetch_sub(watch->wanted_bytes, readable_bytes) <= readable_bytes) {
            req_wake(watch->req);
        }
    }
}

static void advance_high_watermark(struct partition *p, const struct log_config *config,
                                   int64_t appended_bytes)
{
    if (!p->is_leader || p->state.isr.count > 1) {
        return; /* moved by followers' fetches */
    }
    int64_t safe = acks_need_flush(config) ? plog_recovery_point(p->log) : plog_end_offset(p->log);
    if (safe <= partition_high_watermark(p)) {
        return;
    }
    atomic_store_explicit(&p->high_watermark, safe, memory_order_release);
    wake_watches(p, safe, appended_bytes);
    if (p->env->on_progress != NULL) {
        p->env->on_progress(p->env->context);
    }
    if (p->on_high_watermark != NULL) {
        p->on_high_watermark(p->on_high_watermark_context, p);
    }
}

/* By flush.messages, and when a segment is full: it becomes durable in the background. */
static void ask_for_flush(struct partition *p, const struct log_config *config,
                          const struct append_result *result)
{
    p->unflushed_records += result->last_offset - result->base_offset + 1;
    if (result->rolled || p->unflushed_records >= config->flush_messages) {
        p->unflushed_records = 0;
        flusher_queue(p->env->flusher, p);
    }
}

void partition_flushed(struct partition *p, err outcome)
{
    pthread_mutex_lock(&p->lock);
    if (outcome != OK) {
        log_error("flusher",
                  "flush failed, the log is offline topic=%.*s partition=%d error=\"%s\"",
                  (int)p->name.topic.len, p->name.topic.data, p->name.partition, err_text(outcome));
        list_each_safe (item, &p->watches) {
            req_wake(container_of(item, struct watch, link)->req);
        }
    } else if (p->log != NULL) {
        struct log_config config = plog_config(p->log);
        advance_high_watermark(p, &config, INT32_MAX);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- appending ---- */

static int32_t min_isr(const struct partition *p, const struct log_config *config)
{
    return config->min_insync_replicas < p->state.replicas.count ? config->min_insync_replicas
                                                                 : p->state.replicas.count;
}

static err append_locked(struct partition *p, uint8_t *batches, size_t len,
                         enum append_origin origin, int16_t required_acks,
                         struct partition_append *appended)
{
    TRY(partition_check_locked(p, -1, false));
    struct log_config config = plog_config(p->log);
    appended->log_start_offset = plog_start_offset(p->log);
    if (required_acks == -1 && p->state.isr.count < min_isr(p, &config)) {
        return ERR_NOT_ENOUGH_REPLICAS;
    }
    TRY(plog_append(p->log, batches, len, origin, p->state.leader_epoch, &appended->result));
    appended->log_start_offset = plog_start_offset(p->log);
    appended->required_offset = appended->result.last_offset + 1;
    if (!appended->result.duplicate) {
        ask_for_flush(p, &config, &appended->result);
        advance_high_watermark(p, &config, (int64_t)len);
    }
    return OK;
}

err partition_append(struct partition *p, uint8_t *batches, size_t len, enum append_origin origin,
                     int16_t required_acks, struct partition_append *appended)
{
    *appended = (struct partition_append){.log_start_offset = -1};
    pthread_mutex_lock(&p->lock);
    err e = append_locked(p, batches, len, origin, required_acks, appended);
    pthread_mutex_unlock(&p->lock);
    return e;
}

/* ---- roles ---- */

static err become_locked(struct partition *p, const struct partition_state *state)
{
    bool new_epoch = state->leader_epoch > p->state.leader_epoch;
    if (!new_epoch && state->partition_epoch < p->state.partition_epoch) {
        return OK;
    }
    bool lead = state->leader == p->env->broker_id;
    p->state = *state;
    p->is_leader = lead && p->log != NULL;
    if (p->log == NULL) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (lead && new_epoch) {
        TRY(plog_assign_epoch(p->log, state->leader_epoch, plog_end_offset(p->log)));
    }
    if (lead) {
        struct log_config config = plog_config(p->log);
        if (acks_need_flush(&config) && plog_recovery_point(p->log) < plog_end_offset(p->log)) {
            flusher_queue(p->env->flusher, p);
        }
        advance_high_watermark(p, &config, INT32_MAX);
    } else {
        list_each_safe (item, &p->watches) {
            req_wake(container_of(item, struct watch, link)->req);
        }
    }
    return OK;
}

err partition_become(struct partition *p, const struct partition_state *state)
{
    pthread_mutex_lock(&p->lock);
    err e = become_locked(p, state);
    pthread_mutex_unlock(&p->lock);
    return e;
}

/* ---- watches ---- */

void watch_add(struct watch *watch, struct partition *p)
{
    partition_retain(p);
    watch->partition = p;
    pthread_mutex_lock(&p->lock);
    list_append(&p->watches, &watch->link);
    /* What came between the caller's look and now must not be missed. */
    int64_t high_watermark = partition_high_watermark(p);
    bool ready = p->log == NULL || (watch->offset >= 0 ? high_watermark >= watch->offset
                                                       : high_watermark != watch->seen);
    pthread_mutex_unlock(&p->lock);
    if (ready) {
        req_wake(watch->req);
    }
}

void watch_remove(struct watch *watch)
{
    struct partition *p = watch->partition;
    if (p == NULL) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    list_remove(&watch->link);
    pthread_mutex_unlock(&p->lock);
    watch->partition = NULL;
    partition_release(p);
}

int64_t partition_last_stable_offset(struct partition *p, struct plog *log)
{
    return plog_last_stable_offset(log, partition_high_watermark(p));
}
