/* The operations, each beside what the model says of it. Comparing is in crash_check.c. */
#define _GNU_SOURCE
#include "storage/tests/crash_world.h"

#include "base/arena.h"
#include "storage/producers.h"
#include "storage/tests/util.h"

static const char *const DIRS[] = {"/d0", "/d1"};

/* ---- the world ---- */

void world_init(struct world *w, uint64_t seed, size_t dirs_n)
{
    *w = (struct world){.dirs_n = dirs_n, .scenario = ""};
    log_set_level(getenv("VERBOSE") == NULL ? LOG_OFF : LOG_DEBUG);
    manual_clock_init(&w->clock, T0_MS + 1000000);
    seeded_random_init(&w->random, seed);
    w->disk = crash_disk_new(&w->clock.clock);
}

void world_deinit(struct world *w)
{
    for (size_t i = 0; i < w->models_n; i++) {
        for (size_t j = 0; j < w->models[i].n; j++) {
            free(w->models[i].all[j].bytes);
        }
        free(w->models[i].all);
    }
    crash_disk_free(w->disk);
}

static struct log_config config_of_topic(struct str topic)
{
    struct log_config config = log_config_default();
    config.segment_bytes = 1800;
    config.index_interval_bytes = 250;
    config.file_delete_delay_ms = 1000;
    config.retention_bytes = 4000;
    config.cleanup_compact = topic.data[0] == 'c';
    config.cleanup_delete = !config.cleanup_compact;
    config.min_cleanable_dirty_ratio = 0;
    return config;
}

static struct log_config config_of(void *context, struct str topic)
{
    (void)context;
    return config_of_topic(topic);
}

err world_boot(struct world *w)
{
    char reason[LOGS_REASON_BYTES];
    struct logs_identity identity;
    struct logs_open how = {.dirs = (char *const *)(uintptr_t)DIRS,
                            .dirs_n = w->dirs_n,
                            .broker_id = -1,
                            .config_of = config_of,
                            .sync_all_from = w->sync_all_from};
    w->promises_nothing = crash_disk_is_stuck(w->disk);
    crash_disk_watch(w->disk, &w->watch);
    w->env = (struct storage_env){.fs = crash_disk_fs(w->disk),
                                  .clock = &w->clock.clock,
                                  .random = &w->random.random,
                                  .files = file_cache_new(crash_disk_fs(w->disk), 16)};
    err e = logs_lock(&w->env, &how, &w->logs, &identity, reason);
    if (e == OK) {
        e = logs_load(w->logs, 1, "cluster", reason);
    }
    if (e != OK) {
        snprintf(w->where, sizeof(w->where), "%.120s", reason);
        world_kill(w);
    }
    return e;
}

static void end(struct world *w)
{
    file_cache_free(w->env.files);
    w->env.files = NULL;
    w->logs = NULL;
}

void world_stop(struct world *w)
{
    if (w->logs != NULL) {
        logs_close(w->logs);
    }
    end(w);
}

void world_kill(struct world *w)
{
    logs_abandon(w->logs);
    end(w);
}

/* What a power cut may have taken is promised no more. */
static void model_lose(struct log_model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->all[i].state == WRITTEN_ACKED && m->all[i].last_offset >= m->flushed) {
            m->all[i].state = WRITTEN_MAYBE;
        }
    }
    m->in_cache = m->on_disk;
    m->start_in_cache = m->start_on_disk;
}

void world_crash(struct world *w, enum crash_kind kind, uint64_t seed)
{
    struct crash_disk *left = crash_disk_after(w->disk, kind, seed, &w->clock.clock);
    if (w->logs != NULL) {
        world_kill(w);
    }
    crash_disk_free(w->disk);
    w->disk = left;
    for (size_t i = 0; kind != CRASH_KILL && i < w->models_n; i++) {
        model_lose(&w->models[i]);
    }
    w->moment++;
}

/* ---- the model ---- */

static struct written *model_find(struct log_model *m, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->all[i].len == len && memcmp(m->all[i].bytes, bytes, len) == 0) {
            return &m->all[i];
        }
    }
    return NULL;
}

/* Of what was written before `n`. */
static void end_txn(struct log_model *m, size_t n, int64_t producer_id, bool commit)
{
    for (size_t i = 0; i < n; i++) {
        if (m->all[i].producer_id == producer_id && m->all[i].outcome == TXN_OPEN) {
            m->all[i].outcome = commit ? TXN_COMMITTED : TXN_ABORTED;
        }
    }
}

/* As the markers that are there decide. */
static void learn_outcomes(struct log_model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct written *b = &m->all[i];
        struct batch batch;
        struct marker marker;
        batch_parse(b->bytes, &batch);
        if (batch_is(&batch, BATCH_TRANSACTIONAL) && !batch_is(&batch, BATCH_CONTROL)) {
            b->outcome = TXN_OPEN;
        } else if (b->state == WRITTEN_ACKED && batch_is_marker(&batch) &&
                   marker_parse(bytes_of(b->bytes, b->len), &marker) == OK) {
            end_txn(m, i, b->producer_id, marker.type == CONTROL_COMMIT);
        }
    }
}

static void learn(struct log_model *m, struct plog *log, bool promises)
{
    struct found found;
    if (found_read(log, &found) != OK) { /* its disk fails: nothing is learnt */
        found_free(&found);
        return;
    }
    for (size_t i = 0; i < m->n; i++) {
        int64_t last = m->all[i].last_offset;
        /* what retention took, or what a clean may have changed */
        bool stays = last < found.start || (m->is_compacted && last < m->flushed);
        m->all[i].state = stays ? m->all[i].state : WRITTEN_GONE;
    }
    for (size_t i = 0; i < found.n; i++) {
        struct written *b =
            model_find(m, found.all[i].bytes, (size_t)found.all[i].header.size_bytes);
        if (b != NULL) {
            b->state = WRITTEN_ACKED;
        }
    }
    learn_outcomes(m);
    m->topic_id = plog_topic_id(log); /* none, after a crash inside of its creation */
    m->flushed = promises ? found.end : m->flushed;
    m->start_in_cache = m->start_on_disk = found.start;
    found_free(&found);
}

void world_learn(struct world *w)
{
    for (size_t i = 0; i < w->models_n; i++) {
        struct log_model *m = &w->models[i];
        struct plog *log = world_log(w, m);
        if (log == NULL && logs_dirs_online(w->logs) < w->dirs_n) {
            continue;
        }
        m->in_cache = m->on_disk = log == NULL ? LOG_ABSENT : LOG_THERE;
        if (log != NULL) {
            learn(m, log, !w->promises_nothing);
        }
    }
    w->moment++;
}

static struct topic_partition name_of(const struct log_model *m)
{
    return (struct topic_partition){.topic = str_of(m->topic), .partition = m->partition};
}

struct plog *world_log(const struct world *w, const struct log_model *m)
{
    return logs_get(w->logs, name_of(m));
}

static void model_forget(struct log_model *m, int64_t from)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->all[i].last_offset >= from) {
            m->all[i].state = WRITTEN_GONE;
        }
    }
    m->flushed = m->flushed < from ? m->flushed : from;
}

static struct log_model *model_of(struct world *w, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < w->models_n; i++) {
        if (strcmp(w->models[i].topic, topic) == 0 && w->models[i].partition == partition) {
            return &w->models[i];
        }
    }
    CHECK(w->models_n < WORLD_LOGS_MAX);
    struct log_model *m = &w->models[w->models_n++];
    *m = (struct log_model){.topic = topic, .partition = partition};
    return m;
}

err world_create(struct world *w, const char *topic, int32_t partition, struct log_model **m)
{
    struct log_model *made = model_of(w, topic, partition);
    struct plog *log = NULL;
    made->config = config_of_topic(str_of(topic));
    made->is_compacted = made->config.cleanup_compact;
    made->topic_id = uuid_random(&w->random.random);
    made->in_cache = made->on_disk = LOG_MAYBE;
    made->start_in_cache = made->start_on_disk = made->start_most = made->cleaned_most = 0;
    model_forget(made, 0);
    w->moment++;
    *m = made;
    TRY(logs_create(w->logs, name_of(made), made->topic_id, &made->config, &log));
    made->in_cache = LOG_THERE;
    w->moment++;
    return OK;
}

err world_delete(struct world *w, struct log_model *m)
{
    m->in_cache = m->on_disk = LOG_MAYBE;
    w->moment++;
    TRY(logs_delete(w->logs, name_of(m)));
    m->in_cache = m->on_disk = LOG_ABSENT;
    w->moment++;
    return OK;
}

/* ---- appends ---- */

uint32_t world_below(struct world *w, uint32_t n)
{
    return random_below(&w->random.random, n);
}

static void note_written(struct log_model *m, const struct writer *bytes, enum txn_outcome outcome)
{
    struct batch batch;
    batch_parse(bytes->data, &batch);
    m->all = xrealloc(m->all, (m->n + 1) * sizeof(*m->all));
    m->all[m->n++] = (struct written){.outcome = outcome,
                                      .base_offset = batch.base_offset,
                                      .last_offset = batch_last_offset(&batch),
                                      .producer_id = batch.producer_id,
                                      .bytes = xmalloc(bytes->len),
                                      .len = bytes->len};
    memcpy(m->all[m->n - 1].bytes, bytes->data, bytes->len);
}

/* The bytes as they will be; then what becomes of them. */
static err append(struct world *w, struct log_model *m, struct writer *bytes,
                  enum append_origin origin)
{
    struct plog *log = world_log(w, m);
    struct append_result result;
    struct batch batch;
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    batch_set_base_offset(bytes->data, plog_end_offset(log));
    batch_set_leader_epoch(bytes->data, m->epoch);
    batch_parse(bytes->data, &batch);
    bool is_txn = batch_is(&batch, BATCH_TRANSACTIONAL) && !batch_is(&batch, BATCH_CONTROL);
    note_written(m, bytes, is_txn ? TXN_OPEN : TXN_NONE);
    size_t at = m->n - 1;
    err e = plog_append(log, bytes->data, bytes->len, origin, m->epoch, &result);
    if (e == OK) {
        CU_ASSERT_EQUAL(result.base_offset, m->all[at].base_offset);
        m->all[at].state = WRITTEN_ACKED;
        w->moment++;
    }
    return e;
}

/* What the log knows of a producer; false: nothing. */
static bool producer_find(struct plog *log, int64_t id, struct producer_info *found)
{
    struct arena arena;
    struct producer_info *infos = NULL;
    int32_t count = 0;
    bool is_known = false;
    arena_init(&arena, 1 << 20);
    err e = plog_producers(log, &arena, &infos, &count);
    for (int32_t i = 0; e == OK && i < count; i++) {
        if (infos[i].producer_id == id) {
            *found = infos[i];
            is_known = true;
        }
    }
    arena_deinit(&arena);
    return is_known;
}

static void build(struct world *w, struct plog *log, int producer, int records, struct writer *out)
{
    struct batch_builder builder;
    bool is_txn = producer >= 0 && producer < WORLD_TXN_PRODUCERS;
    batch_begin(&builder, out, (int16_t)(is_txn ? BATCH_TRANSACTIONAL : 0));
    if (producer >= 0) {
        struct producer_info info;
        bool is_known = producer_find(log, 100 + producer, &info);
        builder.producer_id = 100 + producer;
        builder.producer_epoch = is_known ? info.epoch : 0;
        builder.base_sequence = is_known ? info.last_sequence + 1 : 0;
    }
    for (int i = 0; i < records; i++) {
        char key[16];
        char value[400];
        int key_len = snprintf(key, sizeof(key), "key-%u", world_below(w, WORLD_KEYS));
        int value_len = snprintf(value, sizeof(value), "value-%d-%0*d", w->values++,
                                 1 + (int)world_below(w, 300), 0);
        batch_add(&builder, w->clock.now_ms, bytes_of(key, (size_t)key_len),
                  bytes_of(value, (size_t)value_len));
    }
    MUST(batch_end(&builder));
}

err world_append(struct world *w, struct log_model *m, int producer, int records)
{
    struct plog *log = world_log(w, m);
    struct writer bytes;
    if (log == NULL || plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    w->clock.now_ms += 10;
    writer_init(&bytes, 1 << 20);
    build(w, log, producer, records, &bytes);
    err e = append(w, m, &bytes, APPEND_CLIENT);
    writer_deinit(&bytes);
    return e;
}

err world_append_any(struct world *w, struct log_model *m)
{
    int producer = (int)world_below(w, WORLD_PRODUCERS) - 1;
    if (producer >= 0 && producer < WORLD_TXN_PRODUCERS && world_below(w, 2) == 0) {
        return world_end_txn(w, m, producer, world_below(w, 2) == 0);
    }
    return world_append(w, m, producer, 1 + (int)world_below(w, 4));
}

err world_end_txn(struct world *w, struct log_model *m, int producer, bool commit)
{
    struct plog *log = world_log(w, m);
    struct producer_info info;
    struct writer bytes;
    if (log == NULL || plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (!producer_find(log, 100 + producer, &info) || info.txn_start_offset < 0) {
        return OK;
    }
    writer_init(&bytes, 1 << 20);
    make_marker(&bytes, 100 + producer, info.epoch, commit, 0);
    err e = append(w, m, &bytes, APPEND_COORDINATOR);
    writer_deinit(&bytes);
    if (e == OK) {
        end_txn(m, m->n, 100 + producer, commit);
    }
    return e;
}

err world_new_epoch(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    m->epoch++;
    return plog_assign_epoch(log, m->epoch, plog_end_offset(log));
}

/* ---- promises ---- */

err world_flush(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    TRY(plog_flush(log));
    if (w->promises_nothing) {
        return OK;
    }
    m->flushed = plog_end_offset(log);
    m->on_disk = LOG_THERE;
    m->start_on_disk = m->start_on_disk > m->start_in_cache ? m->start_on_disk : m->start_in_cache;
    w->moment++;
    return OK;
}

err world_roll(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    (void)w;
    return log == NULL ? E_NOT_FOUND : plog_roll(log);
}

err world_checkpoint(struct world *w)
{
    int64_t starts[WORLD_LOGS_MAX] = {0};
    for (size_t i = 0; i < w->models_n; i++) {
        struct plog *log = world_log(w, &w->models[i]);
        starts[i] = log == NULL || plog_is_offline(log) ? -1 : plog_start_offset(log);
    }
    TRY(logs_write_recovery_points(w->logs));
    for (size_t i = 0; i < w->models_n; i++) {
        struct plog *log = world_log(w, &w->models[i]);
        if (starts[i] >= 0 && log != NULL && !plog_is_offline(log)) {
            w->models[i].start_in_cache = w->models[i].start_on_disk = starts[i];
        }
    }
    w->moment++;
    return OK;
}

err world_advance_start(struct world *w, struct log_model *m, int64_t offset)
{
    struct plog *log = world_log(w, m);
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    m->start_most = offset > m->start_most ? offset : m->start_most;
    w->moment++;
    return plog_advance_start(log, offset);
}

err world_retain(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    int deleted = 0;
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    m->start_most = plog_end_offset(log);
    w->moment++;
    TRY(plog_apply_retention(log, plog_end_offset(log), &deleted));
    return deleted > 0 ? world_checkpoint(w) : OK;
}

/* Before a cut: what was promised up to there is promised no more, also on the disk. */
static err promise_less(struct world *w, struct log_model *m, int64_t offset)
{
    struct plog *log = world_log(w, m);
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    int64_t before = plog_recovery_point(log);
    model_forget(m, offset);
    w->moment++;
    plog_promise_less(log, offset);
    return plog_recovery_point(log) < before ? logs_write_recovery_points(w->logs) : OK;
}

err world_truncate(struct world *w, struct log_model *m, int64_t offset)
{
    TRY(promise_less(w, m, offset));
    return plog_truncate(world_log(w, m), offset);
}

err world_start_at(struct world *w, struct log_model *m, int64_t offset)
{
    TRY(promise_less(w, m, offset));
    model_forget(m, 0);
    m->start_in_cache = m->start_on_disk = 0; /* where a directory without a segment begins */
    m->start_most = m->start_most > offset ? m->start_most : offset;
    w->moment++;
    return plog_truncate_fully_and_start_at(world_log(w, m), offset);
}

static void no_lock(void *context)
{
    (void)context;
}

static bool always(void *context, int64_t bytes)
{
    (void)context;
    (void)bytes;
    return true;
}

err world_clean(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    struct plog_dirt dirt;
    struct plog_cleaned cleaned;
    struct plog_clean how = {.map_bytes = 1 << 16,
                             .map_load = 0.9,
                             .io_bytes = 600,
                             .lock = no_lock,
                             .unlock = no_lock,
                             .go_on = always};
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    int64_t stable = plog_last_stable_offset(log, plog_end_offset(log));
    TRY(plog_find_dirt(log, stable, &dirt));
    if (dirt.first_dirty >= dirt.end) {
        return OK;
    }
    m->cleaned_most = dirt.end;
    w->moment++;
    TRY(plog_clean(log, &dirt, &how, &cleaned));
    return logs_write_checkpoint(w->logs, LOGS_CLEANED);
}

int64_t world_some_base(struct world *w, const struct log_model *m)
{
    struct plog *log = world_log(w, m);
    int64_t start = plog_start_offset(log);
    int64_t found = plog_end_offset(log);
    uint32_t seen = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct written *b = &m->all[i];
        if (b->state == WRITTEN_ACKED && b->base_offset >= start && world_below(w, ++seen) == 0) {
            found = b->base_offset;
        }
    }
    return found;
}

/* ---- moving ---- */

err world_move_begin(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    struct plog *future = NULL;
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    struct logs_whereabouts where = logs_where(w->logs, plog_name(log));
    return logs_move_begin(w->logs, plog_name(log), where.dir == 0 ? 1 : 0, &future);
}

err world_move_on(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    struct plog *future = log == NULL ? NULL : logs_where(w->logs, plog_name(log)).future;
    struct found found;
    if (future == NULL) {
        return E_NOT_FOUND;
    }
    err e = found_read(log, &found);
    for (size_t i = 0; e == OK && i < found.n; i++) {
        const struct batch *batch = &found.all[i].header;
        struct append_result result;
        if (batch_last_offset(batch) >= plog_end_offset(future)) {
            e = plog_append(future, found.all[i].bytes, (size_t)batch->size_bytes,
                            APPEND_REPLICATION, m->epoch, &result);
        }
    }
    int64_t end = found.end;
    found_free(&found);
    TRY(e);
    TRY(plog_advance_start(future, plog_start_offset(log)));
    return plog_end_offset(future) < end ? plog_skip_to(future, end) : OK;
}

err world_move_end(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    if (log == NULL) {
        return E_NOT_FOUND;
    }
    struct topic_partition name = plog_name(log);
    struct plog *future = logs_where(w->logs, name).future;
    TRY(world_move_on(w, m));
    TRY(plog_flush(future));
    TRY(logs_move_publish(w->logs, name, &future));
    TRY(world_append_any(w, m));
    TRY(world_move_on(w, m));
    TRY(plog_succeed(future, log));
    logs_move_swap(w->logs, name);
    TRY(world_append_any(w, m));
    TRY(world_flush(w, m));
    TRY(logs_move_end(w->logs, name));
    return world_append_any(w, m);
}
