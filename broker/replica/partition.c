/* Leader state of one partition.
 *
 * High watermark: the least end offset over the in-sync replicas, and those about to join them
 * (followers.h); it stands still while fewer are in sync than min.insync.replicas asks for. With this
 * broker alone that is the log's end; where every message must be on disk before it is acknowledged
 * (flush.messages=1) it is what has been flushed. It never goes back while one leads; a follower has
 * its leader's, as far as its own log reaches. It never leaves the log: the start moves up to it at
 * most, and a truncation takes it along.
 *
 * Acknowledging. An offset alone says little: the log below it may have been replaced while another
 * broker led. So an append carries its leader epoch, and counts as committed only while this broker
 * has led without interruption since: `led_since` is the epoch in which that began. A new epoch is an
 * interruption when this broker did not lead just before it, or when epochs are missing in between,
 * in which somebody else may have led. (reference: hardening §6, replication §5)
 *
 * Waking. An append moves the high watermark under the lock and then goes over the watches: a
 * produce waits for an offset, a fetch for a number of bytes, over all its partitions together,
 * counted down in one atomic. A waiter only posts and looks again by itself, so a wake-up too many
 * does no harm.
 *
 * Flushing. A partition queues itself on the flush loop, which takes all that came while it waited
 * for the disk: with many producers the cost of an fdatasync is shared (group commit). A partition
 * stays pinned while its log is flushed. */
#define _GNU_SOURCE
#include "broker/replica/partition_internal.h"

#include "base/check.h"
#include "base/log.h"
#include "base/planted.h"

#include <stdlib.h>

static void on_flush(struct loop_task *task);

/* ---- what always holds ---- */

/* The high watermark lies in the log: retention and DeleteRecords stop at it, a truncation takes it
 * along. A log that went offline in the middle of one says nothing any more. */
static void check_log_and_high_watermark(const struct partition *p)
{
    int64_t high_watermark = partition_high_watermark(p);
    if (p->log != NULL && !plog_is_offline(p->log)) {
        CHECK(high_watermark >= plog_start_offset(p->log));
        CHECK(high_watermark <= plog_end_offset(p->log));
    }
    CHECK(p->log != NULL || (p->gone > 0 && !p->is_leader));
}

static void partition_check(const struct partition *p)
{
    check_log_and_high_watermark(p);
    CHECK(p->pins >= 0 && p->former_pins >= 0 && atomic_load(&p->refs) > 0);
    CHECK(p->former == NULL || (!p->is_moving && p->former != p->log));
    CHECK(p->led_since <= p->state.leader_epoch);
    CHECK(!p->is_leader || (p->led_since >= 0 && p->state.leader == p->env->broker_id));
    CHECK(p->state.isr.count >= 0 && p->state.replicas.count >= 0);
    CHECK(p->unflushed_records >= 0);
    list_each (item, &p->watches) {
        const struct watch *watch = container_of(item, struct watch, link);
        CHECK(watch->partition == p && watch->waiter != NULL);
        CHECK(watch->offset >= 0 || watch->wanted_bytes != NULL);
    }
}

/* Who must wait tells for how long, where somebody wants to know. */
static void lock_with_a_wait(struct partition *p, struct events *events)
{
    int64_t began_us = clock_monotonic_us(events->clock);
    pthread_mutex_lock(&p->lock);
    int64_t waited_us = clock_monotonic_us(events->clock) - began_us;
    events_add(events, EVENT_LOCK_WAITS, 1);
    events_add(events, EVENT_LOCK_WAIT_US, (uint64_t)waited_us);
}

void partition_lock(struct partition *p)
{
    struct events *events = p->events;
    if (events == NULL) {
        pthread_mutex_lock(&p->lock);
    } else if (pthread_mutex_trylock(&p->lock) != 0) {
        lock_with_a_wait(p, events);
    }
}

static void tell_failure(struct partition *p)
{
    if (p->state.replicas.count > 1 && p->env->log_failed != NULL) {
        p->failure_told = true;
        p->env->log_failed(p->env->failed_context);
    }
}

void partition_unlock(struct partition *p)
{
    if (p->log != NULL && !p->failure_told && plog_failed_alone(p->log)) {
        tell_failure(p);
    }
    if (DEBUG_CHECKS) {
        partition_check(p);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- life ---- */

static void take_config(struct partition *p, const struct log_config *config)
{
    p->min_insync_replicas = config->min_insync_replicas;
    p->flush_messages = config->flush_messages;
    p->flush_ms = config->flush_ms;
}

struct partition *partition_new(struct topic_partition name, struct uuid topic_id,
                                const struct partition_env *env, struct plog *log,
                                int64_t high_watermark)
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
    p->events = env->events;
    p->log = log;
    p->flush.run = on_flush;
    p->state.leader = -1;
    p->state.leader_epoch = -1;
    p->state.partition_epoch = -1;
    p->led_since = -1;
    p->oldest_txn.offset = -1;
    list_init(&p->watches);
    struct log_config config = plog_config(log);
    take_config(p, &config);
    CHECK(high_watermark >= plog_start_offset(log) && high_watermark <= plog_end_offset(log));
    atomic_store(&p->high_watermark, high_watermark);
    return p;
}

void partition_retain(struct partition *p)
{
    CHECK(atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed) > 0);
}

void partition_release(struct partition *p)
{
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    CHECK(list_empty(&p->watches) && p->pins == 0 && p->former_pins == 0);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->unpinned);
    free((void *)(uintptr_t)p->name.topic.data);
    free(p->isr_ids);
    free(p->replica_ids);
    partition_isr_settle(p);
    followers_deinit(&p->followers);
    free(p);
}

struct topic_partition partition_name(const struct partition *p)
{
    return p->name;
}

struct uuid partition_topic_id(struct partition *p)
{
    partition_lock(p);
    struct uuid id = p->topic_id;
    partition_unlock(p);
    return id;
}

static err take_topic_id(struct partition *p, struct uuid id)
{
    if (uuid_is_zero(id) || uuid_equal(p->topic_id, id)) {
        return OK;
    }
    if (!uuid_is_zero(p->topic_id)) {
        return ERR_INCONSISTENT_TOPIC_ID;
    }
    if (p->log != NULL) {
        TRY(plog_set_topic_id(p->log, id));
    }
    if (p->future != NULL) {
        TRY(plog_set_topic_id(p->future, id));
    }
    p->topic_id = id;
    return OK;
}

err partition_take_topic_id(struct partition *p, struct uuid id)
{
    partition_lock(p);
    err e = take_topic_id(p, id);
    partition_unlock(p);
    return e;
}

int64_t partition_high_watermark(const struct partition *p)
{
    return atomic_load_explicit(&p->high_watermark, memory_order_acquire);
}

struct topic_counters *partition_counters(struct partition *p)
{
    return &p->counters;
}

/* ---- checks ---- */

err partition_check_log(const struct partition *p)
{
    if (p->log == NULL) {
        return p->gone;
    }
    return plog_is_offline(p->log) ? ERR_KAFKA_STORAGE_ERROR : OK;
}

static err check_epoch(const struct partition *p, int32_t leader_epoch)
{
    if (leader_epoch >= 0 && leader_epoch < p->state.leader_epoch) {
        return ERR_FENCED_LEADER_EPOCH;
    }
    return leader_epoch > p->state.leader_epoch ? ERR_UNKNOWN_LEADER_EPOCH : OK;
}

err partition_check_role(const struct partition *p, int32_t leader_epoch, bool any_replica)
{
    TRY(p->gone);
    TRY(check_epoch(p, leader_epoch));
    TRY(partition_check_log(p));
    return p->is_leader || any_replica ? OK : ERR_NOT_LEADER_OR_FOLLOWER;
}

/* ---- waking ---- */

/* Whoever waits, for whatever: it has changed what this broker may say of the partition. */
void partition_wake_all(struct partition *p)
{
    atomic_fetch_add(&p->changes, 1);
    list_each_safe (item, &p->watches) {
        waiter_wake(container_of(item, struct watch, link)->waiter);
    }
}

static void count_down(struct watch *watch, int64_t readable_bytes)
{
    if (atomic_fetch_sub(watch->wanted_bytes, readable_bytes) <= readable_bytes) {
        waiter_wake(watch->waiter);
    }
}

/* Replicas read what consumers may not see yet. */
void partition_wake_replicas(struct partition *p, int64_t appended_bytes)
{
    if (p->to_end_watches == 0) {
        return;
    }
    list_each_safe (item, &p->watches) {
        struct watch *watch = container_of(item, struct watch, link);
        if (watch->to_end) {
            count_down(watch, appended_bytes);
        }
    }
}

static void wake_satisfied(struct partition *p, int64_t high_watermark, int64_t readable_bytes)
{
    list_each_safe (item, &p->watches) {
        struct watch *watch = container_of(item, struct watch, link);
        if (watch->offset >= 0) {
            if (high_watermark >= watch->offset && !watch->starts) {
                waiter_wake(watch->waiter);
            }
        } else if (!watch->to_end) {
            count_down(watch, readable_bytes);
        }
    }
}

static int64_t low_watermark_of(const struct partition *p)
{
    int64_t least = plog_start_offset(p->log);
    for (int32_t i = 0; i < p->followers.count; i++) {
        const struct follower *follower = &p->followers.all[i];
        bool lives =
            p->env->is_alive == NULL || p->env->is_alive(p->env->alive_context, follower->id);
        least = lives && follower->log_start_offset < least ? follower->log_start_offset : least;
    }
    return least;
}

/* A replica's log begins elsewhere, or nobody waits for it any more. */
static void wake_for_starts(struct partition *p)
{
    list_each_safe (item, &p->watches) {
        struct watch *watch = container_of(item, struct watch, link);
        if (watch->starts && low_watermark_of(p) >= watch->offset) {
            waiter_wake(watch->waiter);
        }
    }
}

void partition_upkeep_due(const struct partition *p)
{
    if (p->env->upkeep_due != NULL) {
        p->env->upkeep_due(p->env->context);
    }
}

void partition_set_high_watermark(struct partition *p, int64_t high_watermark,
                                  int64_t appended_bytes)
{
    if (high_watermark <= partition_high_watermark(p)) {
        return;
    }
    CHECK(high_watermark <= plog_end_offset(p->log));
    atomic_store_explicit(&p->high_watermark, high_watermark, memory_order_release);
    wake_satisfied(p, high_watermark, appended_bytes);
    partition_upkeep_due(p);
}

/* ---- reading ---- */

static err pin_if(struct partition *p, err checked, struct plog **log)
{
    if (checked == OK) {
        p->pins++;
        *log = p->log;
    }
    return checked;
}

err partition_pin(struct partition *p, int32_t leader_epoch, bool any_replica, struct plog **log)
{
    partition_lock(p);
    err e = pin_if(p, partition_check_role(p, leader_epoch, any_replica), log);
    partition_unlock(p);
    return e;
}

void partition_unpin(struct partition *p, const struct plog *log)
{
    partition_lock(p);
    int *pins = log == p->former ? &p->former_pins : &p->pins;
    CHECK(*pins > 0);
    if (--*pins == 0) {
        pthread_cond_broadcast(&p->unpinned);
    }
    partition_unlock(p);
}

bool partition_has_log(struct partition *p, const struct plog *log)
{
    partition_lock(p);
    bool has = p->log == log;
    partition_unlock(p);
    return has;
}

static err check_replica(const struct partition *p, int32_t leader_epoch, int32_t replica_id)
{
    TRY(partition_check_role(p, planted(MISTAKE_NO_FENCE) ? -1 : leader_epoch, false));
    if (followers_find(&p->followers, replica_id) != NULL) {
        return OK;
    }
    return leader_epoch >= 0 ? ERR_UNKNOWN_LEADER_EPOCH : ERR_NOT_LEADER_OR_FOLLOWER;
}

err partition_pin_for_replica(struct partition *p, int32_t leader_epoch, int32_t replica_id,
                              struct plog **log, int32_t *own_epoch)
{
    partition_lock(p);
    *own_epoch = p->state.leader_epoch;
    err e = pin_if(p, check_replica(p, leader_epoch, replica_id), log);
    partition_unlock(p);
    return e;
}

/* ---- appending ---- */

/* Every acknowledged message is on disk first. */
static bool acks_need_flush(const struct partition *p)
{
    return p->flush_messages <= 1;
}

/* Do so many in-sync replicas suffice? A topic that asks for more than it has replicas asks for all of
 * them. */
static bool suffices(const struct partition *p, int32_t in_sync)
{
    int32_t wanted = p->min_insync_replicas < p->state.replicas.count ? p->min_insync_replicas
                                                                      : p->state.replicas.count;
    return in_sync >= wanted;
}

static bool isr_suffices(const struct partition *p)
{
    return suffices(p, p->state.isr.count);
}

/* What is safe on this broker. */
int64_t partition_safe_end(const struct partition *p)
{
    return acks_need_flush(p) ? plog_recovery_point(p->log) : plog_end_offset(p->log);
}

/* What may be acknowledged: with acks=all what all have who count, else what is safe here. */
static int64_t acknowledged_below(const struct partition *p, int16_t required_acks)
{
    return required_acks == -1 ? partition_high_watermark(p) : partition_safe_end(p);
}

/* What is safe here, and at the replicas that count; nothing while too few are in sync. */
void partition_advance(struct partition *p, int64_t appended_bytes)
{
    if (!p->is_leader || (!isr_suffices(p) && !planted(MISTAKE_MOVES_BELOW_MIN_ISR))) {
        return;
    }
    int64_t safe = partition_safe_end(p);
    if (p->followers.count > 0) {
        const struct high_watermark_rule rule = {.own = safe,
                                                 .end_offset = plog_end_offset(p->log),
                                                 .now_ms = clock_monotonic_ms(p->env->clock),
                                                 .lag_ms = p->env->replica_lag_ms,
                                                 .is_alive = p->env->is_alive,
                                                 .context = p->env->alive_context};
        safe = followers_high_watermark(&p->followers, &rule);
    }
    partition_set_high_watermark(p, safe, appended_bytes);
}

bool partition_replica_fetched(struct partition *p, int32_t replica_id,
                               const struct replica_fetch *fetch)
{
    bool in_sync = false;
    partition_lock(p);
    struct follower *follower = followers_find(&p->followers, replica_id);
    bool same = p->state.leader_epoch == fetch->leader_epoch;
    if (same && partition_check_role(p, -1, false) == OK && follower != NULL) {
        bool starts_elsewhere = fetch->log_start_offset != follower->log_start_offset;
        follower_fetched(follower, fetch, clock_monotonic_ms(p->env->clock));
        if (starts_elsewhere) {
            wake_for_starts(p);
        }
        partition_isr_consider(p, follower);
        partition_advance(p, INT32_MAX);
        in_sync = p->pending == ISR_COMMITTED && replica_set_holds(&p->state.isr, replica_id);
    }
    partition_unlock(p);
    return in_sync;
}

int32_t partition_choose_replica(struct partition *p, const struct selector *selector,
                                 int64_t offset)
{
    partition_lock(p);
    int32_t chosen =
        p->is_leader ? selector_choose(selector, &p->followers, p->env->broker_id, offset) : -1;
    partition_unlock(p);
    return chosen;
}

bool partition_knows_high_watermark(struct partition *p)
{
    partition_lock(p);
    bool knows = !p->is_leader || partition_high_watermark(p) >= p->led_from;
    partition_unlock(p);
    return knows;
}

void partition_queue_flush(struct partition *p)
{
    if (!atomic_exchange(&p->flush_queued, true)) {
        partition_retain(p);
        loop_post(p->env->flush, &p->flush);
    }
}

/* By flush.messages, and when a segment is full: it becomes durable in the background. */
void partition_ask_for_flush(struct partition *p, const struct append_result *result)
{
    p->unflushed_records += result->last_offset - result->base_offset + 1;
    if (result->rolled || p->unflushed_records >= p->flush_messages) {
        p->unflushed_records = 0;
        partition_queue_flush(p);
    }
}

/* A disk that is full keeps nobody waiting who could write to another replica: the log is given up until the next start, as
 * Kafka does with its directory, and the controller hears of it (partition_unlock). */
static void leave_to_others(struct partition *p, err e)
{
    if (e == ERR_KAFKA_STORAGE_ERROR && p->state.isr.count > 1 && !plog_is_offline(p->log)) {
        plog_take_offline(p->log, err_from_errno(ENOSPC), "appending");
    }
}

static err append_as_leader(struct partition *p, uint8_t *batches, size_t len,
                            const struct partition_append_as *as, struct partition_append *appended)
{
    TRY(partition_check_role(p, -1, false));
    CHECK(p->led_since >= 0 && p->led_since <= p->state.leader_epoch);
    appended->log_start_offset = plog_start_offset(p->log);
    if (as->required_acks == -1 && !isr_suffices(p)) {
        return ERR_NOT_ENOUGH_REPLICAS;
    }
    err e = plog_append_verified(p->log, batches, len, as->origin, as->guard, p->state.leader_epoch,
                                 &appended->result);
    if (e != OK) {
        leave_to_others(p, e);
        return e;
    }
    CHECK(appended->result.last_offset >= appended->result.base_offset);
    CHECK(appended->result.last_offset < plog_end_offset(p->log));
    appended->log_start_offset = plog_start_offset(p->log);
    appended->required_offset = appended->result.last_offset + 1;
    appended->leader_epoch = p->state.leader_epoch;
    bool all_before_was_read = partition_high_watermark(p) == appended->result.base_offset;
    if (!appended->result.duplicate) {
        partition_ask_for_flush(p, &appended->result);
        partition_advance(p, all_before_was_read ? (int64_t)len : INT32_MAX);
        partition_wake_replicas(p, (int64_t)len);
        partition_isr_note_behind(p);
    }
    appended->committed = acknowledged_below(p, as->required_acks) >= appended->required_offset;
    return OK;
}

/* Kafka counts what its coordinators append as if they were producers. */
static void count_of_coordinator(struct partition *p, size_t len,
                                 const struct append_result *result)
{
    struct topic_counters *all[] = {&p->counters, &p->events->coordinators};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        topic_counters_add(all[i], COUNT_PRODUCE_REQUESTS, 1);
        topic_counters_add(all[i], COUNT_BYTES_IN, len);
        topic_counters_add(all[i], COUNT_MESSAGES_IN,
                           (uint64_t)(result->last_offset - result->base_offset + 1));
    }
}

err partition_append_as(struct partition *p, uint8_t *batches, size_t len,
                        const struct partition_append_as *as, struct partition_append *appended)
{
    *appended = (struct partition_append){.log_start_offset = -1};
    partition_lock(p);
    err e = append_as_leader(p, batches, len, as, appended);
    partition_unlock(p);
    if (e == OK && as->origin == APPEND_COORDINATOR && p->events != NULL) {
        count_of_coordinator(p, len, &appended->result);
    }
    return e;
}

err partition_append(struct partition *p, uint8_t *batches, size_t len, enum append_origin origin,
                     int16_t required_acks, struct partition_append *appended)
{
    struct partition_append_as as = {.origin = origin, .required_acks = required_acks};
    return partition_append_as(p, batches, len, &as, appended);
}

/* Has somebody else led since? Then what was appended may have gone again. */
static bool is_of_former_life(const struct partition *p, int32_t leader_epoch)
{
    return leader_epoch < p->led_since && !planted(MISTAKE_ACK_OF_FORMER_LIFE);
}

static err look_if_committed(const struct partition *p, const struct partition_append *appended,
                             int16_t required_acks, bool *committed)
{
    CHECK(appended->leader_epoch >= 0 && appended->required_offset > 0);
    TRY(partition_check_role(p, -1, false));
    if (is_of_former_life(p, appended->leader_epoch)) {
        return ERR_NOT_LEADER_OR_FOLLOWER;
    }
    *committed = acknowledged_below(p, required_acks) >= appended->required_offset;
    return *committed && required_acks == -1 && !suffices(p, partition_isr_maximal(p))
               ? ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND
               : OK;
}

err partition_is_committed(struct partition *p, const struct partition_append *appended,
                           int16_t required_acks, bool *committed)
{
    *committed = false;
    partition_lock(p);
    err e = look_if_committed(p, appended, required_acks, committed);
    partition_unlock(p);
    return e;
}

static err delete_records(struct partition *p, int64_t offset)
{
    TRY(partition_check_role(p, -1, false));
    int64_t high_watermark = partition_high_watermark(p);
    if (!plog_config(p->log).cleanup_delete) {
        return ERR_POLICY_VIOLATION;
    }
    if (offset < -1 || offset > high_watermark) {
        return ERR_OFFSET_OUT_OF_RANGE;
    }
    return plog_advance_start(p->log, offset == -1 ? high_watermark : offset);
}

err partition_low_watermark(struct partition *p, int64_t *low_watermark)
{
    partition_lock(p);
    err e = partition_check_role(p, -1, false);
    *low_watermark = e == OK ? low_watermark_of(p) : -1;
    partition_unlock(p);
    return e;
}

err partition_delete_records(struct partition *p, int64_t offset,
                             struct partition_deletion *deletion)
{
    partition_lock(p);
    err e = delete_records(p, offset);
    if (e == OK) {
        deletion->required_offset = offset == -1 ? partition_high_watermark(p) : offset;
        deletion->low_watermark = low_watermark_of(p);
        partition_upkeep_due(p);
        partition_wake_replicas(p, 1); /* they are to hear of it */
    }
    partition_unlock(p);
    return e;
}

/* ---- flushing ---- */

static void wake_safe_here(struct partition *p)
{
    list_each_safe (item, &p->watches) {
        struct watch *watch = container_of(item, struct watch, link);
        bool awaits = watch->here || watch->follows;
        if (awaits && partition_safe_end(p) >= watch->offset) {
            waiter_wake(watch->waiter);
        }
    }
}

/* Lets acknowledgements out, or tells those who wait for them that there will be none. */
static void after_flush(struct partition *p, err outcome)
{
    partition_lock(p);
    if (outcome != OK) {
        log_error("partition",
                  "flush failed, the log is offline topic=%.*s partition=%d error=\"%s\"",
                  (int)p->name.topic.len, p->name.topic.data, p->name.partition, err_text(outcome));
        partition_wake_all(p);
    } else if (p->log != NULL) {
        partition_advance(p, INT32_MAX);
        wake_safe_here(p);
        partition_upkeep_due(p); /* the recovery point has moved */
    }
    partition_unlock(p);
}

void partition_wake_if_offline(struct partition *p)
{
    partition_lock(p);
    if (p->log != NULL && plog_is_offline(p->log)) {
        partition_wake_all(p);
    }
    partition_unlock(p);
}

static void on_flush(struct loop_task *task)
{
    struct partition *p = container_of(task, struct partition, flush);
    struct plog *log = NULL;
    atomic_store(&p->flush_queued, false); /* what is appended from here on asks again */
    if (partition_pin(p, -1, true, &log) == OK) {
        int64_t began_us = clock_monotonic_us(p->env->clock);
        after_flush(p, plog_flush(log));
        partition_unpin(p, log);
        if (p->events != NULL) {
            histogram_record(&p->events->flush_us, clock_monotonic_us(p->env->clock) - began_us);
        }
    } else { /* another failure has taken the log offline: nobody is acknowledged any more */
        partition_lock(p);
        partition_wake_all(p);
        partition_unlock(p);
    }
    partition_release(p);
}

void partition_flush_if_due(struct partition *p, int64_t now_ms)
{
    partition_lock(p);
    bool pending = p->log != NULL && plog_recovery_point(p->log) < plog_end_offset(p->log);
    if (pending && now_ms - p->flushed_ms >= p->flush_ms) {
        p->flushed_ms = now_ms;
        partition_queue_flush(p);
    }
    partition_unlock(p);
}

/* ---- roles ---- */

struct partition_role partition_role(struct partition *p)
{
    partition_lock(p);
    struct partition_role role = {.leader = p->state.leader,
                                  .leader_epoch = p->state.leader_epoch,
                                  .led_since = p->led_since,
                                  .leads = p->is_leader};
    partition_unlock(p);
    return role;
}

bool partition_is_online(struct partition *p)
{
    partition_lock(p);
    bool online = partition_check_log(p) == OK;
    partition_unlock(p);
    return online;
}

bool partition_leads_for_others(struct partition *p)
{
    partition_lock(p);
    bool leads = p->is_leader && p->followers.count > 0;
    partition_unlock(p);
    return leads;
}

static err begin_to_lead(struct partition *p)
{
    CHECK(p->is_leader && p->led_since >= 0 && p->led_since <= p->state.leader_epoch);
    TRY(plog_assign_epoch(p->log, p->state.leader_epoch, plog_end_offset(p->log)));
    if (acks_need_flush(p) && plog_recovery_point(p->log) < plog_end_offset(p->log)) {
        partition_queue_flush(p);
    }
    p->led_from = plog_end_offset(p->log);
    partition_advance(p, INT32_MAX);
    partition_isr_note_behind(p);
    return OK;
}

/* The ids become the partition's own. `goes_on`: nobody else can have led since what is known of the
 * followers. */
static void take_state(struct partition *p, const struct partition_state *state, bool goes_on)
{
    int32_t *isr_ids = replica_ids_copy(&state->isr);
    int32_t *replica_ids = replica_ids_copy(&state->replicas);
    free(p->isr_ids);
    free(p->replica_ids);
    p->isr_ids = isr_ids;
    p->replica_ids = replica_ids;
    p->state = *state;
    p->state.isr.ids = isr_ids;
    p->state.replicas.ids = replica_ids;
    partition_isr_settle(p);
    followers_begin(&p->followers, &p->state.replicas, &p->state.isr, p->env->broker_id, goes_on,
                    clock_monotonic_ms(p->env->clock));
}

static err become(struct partition *p, const struct partition_state *state,
                  struct role_change *change)
{
    if (p->log == NULL) {
        return p->gone;
    }
    if (state->leader_epoch <= p->state.leader_epoch) {
        TRY(partition_check_log(p));
        return ERR_STALE_CONTROLLER_EPOCH;
    }
    p->gone = OK; /* a deletion that did not come to its end */
    bool next_epoch = state->leader_epoch == p->state.leader_epoch + 1;
    take_state(p, state, p->is_leader && next_epoch);
    p->is_leader = state->leader == p->env->broker_id && !plog_is_offline(p->log);
    change->leads = p->is_leader;
    change->uninterrupted = change->led && change->leads && next_epoch;
    if (p->is_leader && !change->uninterrupted) {
        p->led_since = state->leader_epoch;
    }
    TRY(partition_check_log(p));
    return p->is_leader ? begin_to_lead(p) : OK;
}

err partition_become(struct partition *p, const struct partition_state *state,
                     struct role_change *change)
{
    partition_lock(p);
    *change = (struct role_change){.led = p->is_leader, .leads = p->is_leader};
    err e = become(p, state, change);
    partition_wake_all(p);
    partition_unlock(p);
    return e;
}

err partition_resign(struct partition *p, int32_t leader_epoch, bool *led)
{
    partition_lock(p);
    *led = p->is_leader;
    err e =
        leader_epoch >= 0 && leader_epoch < p->state.leader_epoch ? ERR_FENCED_LEADER_EPOCH : OK;
    if (e == OK) {
        p->is_leader = false;
        if (leader_epoch == LEADER_EPOCH_DURING_DELETE) {
            p->gone = ERR_UNKNOWN_TOPIC_OR_PARTITION;
        }
        partition_wake_all(p);
        e = leader_epoch >= 0 ? partition_check_log(p) : OK;
    }
    partition_unlock(p);
    return e;
}

struct plog *partition_detach_log(struct partition *p, err gone)
{
    CHECK(gone > 0);
    partition_lock(p);
    struct plog *log = p->log;
    p->log = NULL;
    p->gone = gone;
    p->is_leader = false;
    partition_wake_all(
        p); /* a waiter looks again on a thread of its own: it need not be waited for */
    p->future = NULL;
    p->is_moving = false;
    while (p->pins > 0 || p->former_pins > 0 || p->future_pins > 0) {
        pthread_cond_wait(&p->unpinned, &p->lock);
    }
    p->former = NULL;
    partition_unlock(p);
    return log;
}

/* ---- from time to time ---- */

void partition_reconsider(struct partition *p)
{
    partition_lock(p);
    if (partition_check_log(p) == OK) {
        partition_advance(p, INT32_MAX);
        wake_for_starts(p);
    }
    partition_unlock(p);
}

void partition_set_config(struct partition *p, const struct log_config *config)
{
    partition_lock(p);
    if (p->log != NULL) {
        plog_set_config(p->log, config);
        take_config(p, config);
        partition_advance(p, INT32_MAX); /* fewer in-sync replicas may do now */
        partition_upkeep_due(p);         /* it may be compacted from now on */
    }
    partition_unlock(p);
}

void partition_set_throttled(struct partition *p, struct replica_throttled throttled)
{
    atomic_store(&p->throttled_as_leader, throttled.as_leader);
    atomic_store(&p->throttled_as_follower, throttled.as_follower);
}

struct replica_throttled partition_throttled(const struct partition *p)
{
    return (struct replica_throttled){.as_leader = atomic_load(&p->throttled_as_leader),
                                      .as_follower = atomic_load(&p->throttled_as_follower)};
}

bool partition_holds_back(struct partition *p, int32_t replica_id)
{
    if (p->env->leader_throttle == NULL || !atomic_load(&p->throttled_as_leader) ||
        throttle_wait_ms(p->env->leader_throttle) == 0) {
        return false;
    }
    partition_lock(p);
    bool in_sync = replica_set_holds(&p->state.isr, replica_id);
    partition_unlock(p);
    return !in_sync;
}

int partition_apply_retention(struct partition *p, bool compacted)
{
    int deleted = 0;
    partition_lock(p);
    bool is_due = partition_check_log(p) == OK && plog_is_compacted(p->log) == compacted;
    if (is_due && !atomic_load(&p->is_cleaned)) { /* or the clean would be for nothing */
        err e = plog_apply_retention(p->log, partition_high_watermark(p), &deleted);
        bool full = e == ERR_KAFKA_STORAGE_ERROR && !plog_is_offline(p->log); /* has been said */
        if (e != OK && !full) {
            log_error("partition", "retention failed topic=%.*s partition=%d error=\"%s\"",
                      (int)p->name.topic.len, p->name.topic.data, p->name.partition, err_text(e));
        }
    }
    if (deleted > 0) {
        partition_wake_replicas(p, 1);
    }
    partition_unlock(p);
    return deleted;
}

int64_t partition_remove_deleted(struct partition *p)
{
    struct plog *log = NULL;
    if (partition_pin(p, -1, true, &log) != OK) {
        return -1; /* an offline log's are removed at the next start */
    }
    int64_t more_ms = plog_remove_deleted(log);
    partition_unpin(p, log);
    return more_ms;
}

/* ---- watches ---- */

struct partition_seen partition_seen(const struct partition *p)
{
    return (struct partition_seen){.changes = atomic_load(&p->changes),
                                   .high_watermark = partition_high_watermark(p)};
}

/* Has it happened between the caller's look and now? */
static bool watch_is_satisfied(const struct watch *watch, const struct partition *p)
{
    int64_t high_watermark = partition_high_watermark(p);
    if (watch->offset < 0 && atomic_load(&p->changes) != watch->seen.changes) {
        return true;
    }
    if (watch->to_end && watch->seen.end_offset < 0) {
        return false;
    }
    if (partition_check_log(p) != OK) {
        return true;
    }
    if (watch->offset < 0) {
        return watch->to_end ? plog_end_offset(p->log) != watch->seen.end_offset ||
                                   plog_start_offset(p->log) != watch->seen.log_start_offset
                             : high_watermark != watch->seen.high_watermark;
    }
    if (watch->follows) {
        return partition_safe_end(p) >= watch->offset || p->is_leader ||
               p->state.leader_epoch != watch->leader_epoch;
    }
    if (watch->starts) {
        return !p->is_leader || low_watermark_of(p) >= watch->offset;
    }
    int64_t reached = watch->here ? partition_safe_end(p) : high_watermark;
    return reached >= watch->offset || !p->is_leader || is_of_former_life(p, watch->leader_epoch);
}

void watch_add(struct watch *watch, struct partition *p)
{
    CHECK(watch->partition == NULL && watch->waiter != NULL);
    CHECK(watch->offset >= 0 || watch->wanted_bytes != NULL);
    partition_retain(p);
    watch->partition = p;
    partition_lock(p);
    list_append(&p->watches, &watch->link);
    p->to_end_watches += watch->to_end ? 1 : 0;
    if (watch_is_satisfied(watch, p)) {
        waiter_wake(watch->waiter);
    }
    partition_unlock(p);
}

void watch_remove(struct watch *watch)
{
    struct partition *p = watch->partition;
    if (p == NULL) {
        return;
    }
    partition_lock(p);
    CHECK(!list_empty(&p->watches));
    list_remove(&watch->link);
    p->to_end_watches -= watch->to_end ? 1 : 0;
    partition_unlock(p);
    watch->partition = NULL;
    partition_release(p);
}
