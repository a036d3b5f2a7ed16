/* Three maps under one lock:
 *
 *   limits    entity → struct limits        what was set
 *   clients   user, client → struct client  which buckets they have, found once for each generation of limits
 *   buckets   type, user, client → struct bucket, where "no user" or "no client" stands for all of them
 *
 * Clients choose their names, so that maps could grow without bound: when there are twice as many entries as
 * after the last look, those that were idle for longer than rates look back go. Nothing is lost by that. */
#include "broker/security/quotas.h"

#include "base/map.h"
#include "protocol/error.h"
#include "base/sampled_rate.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEP_FLOOR = 1024, MS_PER_SECOND = 1000 };

const struct quota_key QUOTA_KEYS[QUOTA_TYPES] = {
    [QUOTA_PRODUCE] = {.name = "producer_byte_rate", .is_whole = true, .most = 9.2e18},
    [QUOTA_CONSUME] = {.name = "consumer_byte_rate", .is_whole = true, .most = 9.2e18},
    [QUOTA_REQUEST] = {.name = "request_percentage", .most = INFINITY},
    [QUOTA_MUTATION] = {.name = "controller_mutation_rate", .most = INFINITY},
    [QUOTA_CONNECTION] = {.name = "connection_creation_rate",
                          .is_whole = true,
                          .most = INT32_MAX,
                          .of_ips = true},
};

const struct quota_limits QUOTA_NO_LIMITS = {{-1, -1, -1, -1, -1}};

struct limits {
    struct client_entity entity; /* its texts are the limits' */
    struct quota_limits values;
};

struct bucket {
    int refs; /* of clients */
    int64_t used_ms;
    double tokens; /* of a token bucket, at used_ms */
    struct sampled_rate rate;
    struct rate_sample samples[];
};

struct client {
    uint64_t generation; /* of the limits that were looked at */
    int64_t used_ms;
    double limit[QUOTA_TYPES];
    struct bucket *buckets[QUOTA_TYPES]; /* NULL: no limit */
};

struct quotas {
    struct quotas_config config;
    atomic_bool active[QUOTA_TYPES]; /* has been limited since the start */
    pthread_mutex_t lock;            /* leaf; guards the rest */
    struct map limits;
    struct map clients;
    struct map buckets;
    uint64_t generation;
    size_t sweep_at;
};

struct quotas *quotas_new(const struct quotas_config *config)
{
    struct quotas *quotas = xcalloc(1, sizeof(*quotas));
    quotas->config = *config;
    quotas->sweep_at = SWEEP_FLOOR;
    pthread_mutex_init(&quotas->lock, NULL);
    map_init(&quotas->limits);
    map_init(&quotas->clients);
    map_init(&quotas->buckets);
    return quotas;
}

static void limits_free(struct limits *limits)
{
    if (limits != NULL) {
        free((void *)(uintptr_t)limits->entity.user.name.data);
        free((void *)(uintptr_t)limits->entity.client.name.data);
        free((void *)(uintptr_t)limits->entity.ip.name.data);
        free(limits);
    }
}

void quotas_free(struct quotas *quotas)
{
    if (quotas == NULL) {
        return;
    }
    map_each (entry, &quotas->limits) {
        limits_free(entry->value);
    }
    map_each (entry2, &quotas->clients) {
        free(entry2->value);
    }
    map_each (entry3, &quotas->buckets) {
        free(entry3->value);
    }
    map_deinit(&quotas->limits);
    map_deinit(&quotas->clients);
    map_deinit(&quotas->buckets);
    pthread_mutex_destroy(&quotas->lock);
    free(quotas);
}

bool quotas_active(const struct quotas *quotas, enum quota_type type)
{
    return atomic_load_explicit(&quotas->active[type], memory_order_relaxed);
}

/* ---- keys ---- */

enum { KEY_SMALL_BYTES = 256, KEY_PARTS = 3 };

/* Parts, each with its kind and length, so that no two entities look alike. */
struct key {
    uint8_t small[KEY_SMALL_BYTES];
    uint8_t *data;
    size_t len;
};

static void key_make(struct key *key, uint8_t first, const struct entity_part *parts, int parts_n)
{
    size_t size = 1;
    for (int i = 0; i < parts_n; i++) {
        size += 1 + sizeof(size_t) + parts[i].name.len;
    }
    key->data = size <= sizeof(key->small) ? key->small : xcalloc(1, size);
    key->data[0] = first;
    key->len = 1;
    for (int i = 0; i < parts_n; i++) {
        size_t len = parts[i].name.len;
        key->data[key->len++] = (uint8_t)parts[i].kind;
        memcpy(key->data + key->len, &len, sizeof(len));
        key->len += sizeof(len);
        if (len > 0) {
            memcpy(key->data + key->len, parts[i].name.data, len);
        }
        key->len += len;
    }
}

static void key_free(struct key *key)
{
    if (key->data != key->small) {
        free(key->data);
    }
}

static void *find(const struct map *map, uint8_t first, const struct entity_part *parts,
                  int parts_n)
{
    struct key key;
    key_make(&key, first, parts, parts_n);
    void *found = map_get(map, bytes_of(key.data, key.len));
    key_free(&key);
    return found;
}

/* ---- limits ---- */

static struct entity_part part_copy(const struct entity_part *part)
{
    struct entity_part copy = {.kind = part->kind};
    if (part->name.len > 0) {
        copy.name = (struct str){.data = str_dup(part->name), .len = part->name.len};
    }
    return copy;
}

static bool has_limits(const struct quota_limits *limits)
{
    for (int i = 0; i < QUOTA_TYPES; i++) {
        if (limits->limit[i] >= 0) {
            return true;
        }
    }
    return false;
}

void quotas_set(struct quotas *quotas, const struct client_entity *entity,
                const struct quota_limits *values)
{
    const struct entity_part parts[KEY_PARTS] = {entity->user, entity->client, entity->ip};
    struct key key;
    key_make(&key, 0, parts, KEY_PARTS);
    struct limits *limits = NULL;
    if (has_limits(values)) {
        limits = xcalloc(1, sizeof(*limits));
        limits->entity = (struct client_entity){.user = part_copy(&entity->user),
                                                .client = part_copy(&entity->client),
                                                .ip = part_copy(&entity->ip)};
        limits->values = *values;
    }
    struct bytes at = bytes_of(key.data, key.len);
    pthread_mutex_lock(&quotas->lock);
    limits_free(limits == NULL ? map_remove(&quotas->limits, at)
                               : map_set(&quotas->limits, at, limits));
    quotas->generation++;
    for (int i = 0; i < QUOTA_TYPES; i++) {
        if (values->limit[i] >= 0) {
            atomic_store(&quotas->active[i], true);
        }
    }
    pthread_mutex_unlock(&quotas->lock);
    key_free(&key);
}

void quotas_each(struct quotas *quotas, void *context,
                 void (*visit)(void *context, const struct client_entity *entity,
                               const struct quota_limits *limits))
{
    pthread_mutex_lock(&quotas->lock);
    map_each (entry, &quotas->limits) {
        const struct limits *limits = entry->value;
        visit(context, &limits->entity, &limits->values);
    }
    pthread_mutex_unlock(&quotas->lock);
}

/* ---- who has which bucket ---- */

/* One row of the order in quotas.h: who it looks for, and whose bucket that is. */
struct level {
    enum entity_part_kind user;
    enum entity_part_kind client;
    bool by_user;
    bool by_client;
};

static const struct level LEVELS[] = {
    {ENTITY_NAMED, ENTITY_NAMED, true, true},     {ENTITY_NAMED, ENTITY_DEFAULT, true, true},
    {ENTITY_NAMED, ENTITY_NONE, true, false},     {ENTITY_DEFAULT, ENTITY_NAMED, true, true},
    {ENTITY_DEFAULT, ENTITY_DEFAULT, true, true}, {ENTITY_DEFAULT, ENTITY_NONE, true, false},
    {ENTITY_NONE, ENTITY_NAMED, false, true},     {ENTITY_NONE, ENTITY_DEFAULT, false, true},
};
enum { LEVELS_N = sizeof(LEVELS) / sizeof(LEVELS[0]) };

static struct entity_part part_of(enum entity_part_kind kind, struct str name)
{
    return (struct entity_part){.kind = kind,
                                .name = kind == ENTITY_NAMED ? name : (struct str){0}};
}

static const struct quota_samples *samples_of(const struct quotas *quotas, enum quota_type type)
{
    return type == QUOTA_MUTATION ? &quotas->config.mutation_samples : &quotas->config.samples;
}

static struct bucket *bucket_of(struct quotas *quotas, enum quota_type type,
                                const struct entity_part *parts, int parts_n, double limit)
{
    struct bucket *bucket = find(&quotas->buckets, (uint8_t)type, parts, parts_n);
    if (bucket != NULL) {
        return bucket;
    }
    const struct quota_samples *samples = samples_of(quotas, type);
    bucket = xcalloc(1, sizeof(*bucket) + (size_t)samples->n * sizeof(bucket->samples[0]));
    bucket->rate = (struct sampled_rate){
        .samples = bucket->samples, .samples_max = samples->n, .sample_ms = samples->ms};
    bucket->tokens = limit * (double)samples->n * (double)samples->ms / MS_PER_SECOND;
    bucket->used_ms = clock_monotonic_ms(quotas->config.clock);
    struct key key;
    key_make(&key, (uint8_t)type, parts, parts_n);
    (void)map_set(&quotas->buckets, bytes_of(key.data, key.len), bucket);
    key_free(&key);
    return bucket;
}

static void resolve_type(struct quotas *quotas, struct client *client, enum quota_type type,
                         const struct quota_client *who)
{
    struct bucket *before = client->buckets[type];
    client->buckets[type] = NULL;
    for (int i = 0; i < LEVELS_N && client->buckets[type] == NULL; i++) {
        const struct level *level = &LEVELS[i];
        const struct entity_part sought[KEY_PARTS] = {part_of(level->user, who->user),
                                                      part_of(level->client, who->client_id)};
        const struct limits *limits = find(&quotas->limits, 0, sought, KEY_PARTS);
        if (limits == NULL || limits->values.limit[type] < 0) {
            continue;
        }
        const struct entity_part owner[] = {
            part_of(level->by_user ? ENTITY_NAMED : ENTITY_NONE, who->user),
            part_of(level->by_client ? ENTITY_NAMED : ENTITY_NONE, who->client_id)};
        client->limit[type] = limits->values.limit[type];
        client->buckets[type] = bucket_of(quotas, type, owner, 2, client->limit[type]);
        client->buckets[type]->refs++;
    }
    if (before != NULL) {
        before->refs--;
    }
}

static void client_release(struct client *client)
{
    for (int type = 0; type < QUOTA_TYPES; type++) {
        if (client->buckets[type] != NULL) {
            client->buckets[type]->refs--;
        }
    }
    free(client);
}

static int64_t memory_ms(const struct quotas *quotas)
{
    const struct quota_samples *a = &quotas->config.samples;
    const struct quota_samples *b = &quotas->config.mutation_samples;
    return a->n * a->ms > b->n * b->ms ? a->n * a->ms : b->n * b->ms;
}

/* Removes the entries of a map that were idle for so long. */
static void sweep_map(struct map *map, int64_t before_ms, bool are_clients)
{
    struct bytes *idle = xcalloc(map->count + 1, sizeof(*idle));
    size_t idle_n = 0;
    map_each (entry, map) {
        const struct client *client = entry->value;
        const struct bucket *bucket = entry->value;
        if (are_clients ? client->used_ms < before_ms
                        : bucket->refs == 0 && bucket->used_ms < before_ms) {
            idle[idle_n++] = bytes_of(entry->key, entry->key_len);
        }
    }
    for (size_t i = 0; i < idle_n; i++) {
        void *gone = map_remove(map, idle[i]);
        if (are_clients) {
            client_release(gone);
        } else {
            free(gone);
        }
    }
    free(idle);
}

static void sweep(struct quotas *quotas, int64_t now_ms)
{
    if (quotas->clients.count + quotas->buckets.count < quotas->sweep_at) {
        return;
    }
    int64_t before_ms = now_ms - memory_ms(quotas);
    sweep_map(&quotas->clients, before_ms, true);
    sweep_map(&quotas->buckets, before_ms, false);
    size_t left = quotas->clients.count + quotas->buckets.count;
    quotas->sweep_at = left * 2 < SWEEP_FLOOR ? SWEEP_FLOOR : left * 2;
}

static struct client *client_of(struct quotas *quotas, const struct quota_client *who,
                                int64_t now_ms)
{
    const struct entity_part parts[] = {part_of(ENTITY_NAMED, who->user),
                                        part_of(ENTITY_NAMED, who->client_id)};
    struct key key;
    key_make(&key, 0, parts, 2);
    struct client *client = map_get(&quotas->clients, bytes_of(key.data, key.len));
    if (client == NULL) {
        sweep(quotas, now_ms);
        client = xcalloc(1, sizeof(*client));
        client->generation = quotas->generation + 1; /* none */
        (void)map_set(&quotas->clients, bytes_of(key.data, key.len), client);
    }
    key_free(&key);
    if (client->generation != quotas->generation) {
        for (int type = 0; type < QUOTA_CONNECTION; type++) {
            resolve_type(quotas, client, (enum quota_type)type, who);
        }
        client->generation = quotas->generation;
    }
    client->used_ms = now_ms;
    return client;
}

/* ---- rates ---- */

static int32_t whole_ms(double ms, double most_ms)
{
    ms = ms > most_ms ? most_ms : ms;
    return ms > INT32_MAX ? INT32_MAX : (int32_t)llround(ms);
}

static int32_t record(struct quotas *quotas, enum quota_type type, const struct quota_client *who,
                      double amount)
{
    int64_t now_ms = clock_monotonic_ms(quotas->config.clock);
    int32_t throttle_ms = 0;
    pthread_mutex_lock(&quotas->lock);
    struct client *client = client_of(quotas, who, now_ms);
    struct bucket *bucket = client->buckets[type];
    if (bucket != NULL) {
        bucket->used_ms = now_ms;
        sampled_rate_record(&bucket->rate, amount, now_ms);
        throttle_ms = whole_ms(sampled_rate_excess_ms(&bucket->rate, client->limit[type], now_ms),
                               type == QUOTA_REQUEST ? (double)bucket->rate.sample_ms : INFINITY);
    }
    pthread_mutex_unlock(&quotas->lock);
    return throttle_ms;
}

int32_t quotas_record(struct quotas *quotas, enum quota_type type, const struct quota_client *who,
                      double amount)
{
    return quotas_active(quotas, type) ? record(quotas, type, who, amount) : 0;
}

void quotas_unrecord(struct quotas *quotas, enum quota_type type, const struct quota_client *who,
                     double amount)
{
    (void)quotas_record(quotas, type, who, -amount);
}

double quotas_burst(struct quotas *quotas, enum quota_type type, const struct quota_client *who)
{
    if (!quotas_active(quotas, type)) {
        return INFINITY;
    }
    double burst = INFINITY;
    pthread_mutex_lock(&quotas->lock);
    struct client *client = client_of(quotas, who, clock_monotonic_ms(quotas->config.clock));
    if (client->buckets[type] != NULL) {
        const struct quota_samples *samples = samples_of(quotas, type);
        burst = client->limit[type] * (double)((samples->n - 1) * samples->ms) / MS_PER_SECOND;
    }
    pthread_mutex_unlock(&quotas->lock);
    return burst;
}

/* ---- partitions ---- */

static void refill(struct quotas *quotas, struct bucket *bucket, double limit, int64_t now_ms)
{
    const struct quota_samples *samples = &quotas->config.mutation_samples;
    double most = limit * (double)(samples->n * samples->ms) / MS_PER_SECOND;
    bucket->tokens += limit * (double)(now_ms - bucket->used_ms) / MS_PER_SECOND;
    bucket->tokens = bucket->tokens > most ? most : bucket->tokens;
    bucket->used_ms = now_ms;
}

static int32_t debt_ms(const struct quotas *quotas, const struct bucket *bucket, double limit)
{
    const struct quota_samples *samples = &quotas->config.mutation_samples;
    return limit <= 0 ? (int32_t)(samples->n * samples->ms)
                      : whole_ms(-bucket->tokens / limit * MS_PER_SECOND, INFINITY);
}

static err mutate(struct quotas *quotas, struct client *client, double partitions, bool strict,
                  int32_t *throttle_ms)
{
    struct bucket *bucket = client->buckets[QUOTA_MUTATION];
    double limit = client->limit[QUOTA_MUTATION];
    if (bucket == NULL) {
        return OK;
    }
    refill(quotas, bucket, limit, clock_monotonic_ms(quotas->config.clock));
    bool in_debt = bucket->tokens < 0;
    if (!in_debt || !strict) {
        bucket->tokens -= partitions;
    }
    if (strict ? in_debt : bucket->tokens < 0) {
        *throttle_ms = debt_ms(quotas, bucket, limit);
    }
    return strict && in_debt ? ERR_THROTTLING_QUOTA_EXCEEDED : OK;
}

err quotas_mutate(struct quotas *quotas, const struct quota_client *who, double partitions,
                  bool strict, int32_t *throttle_ms)
{
    if (!quotas_active(quotas, QUOTA_MUTATION)) {
        return OK;
    }
    pthread_mutex_lock(&quotas->lock);
    struct client *client = client_of(quotas, who, clock_monotonic_ms(quotas->config.clock));
    err e = mutate(quotas, client, partitions, strict, throttle_ms);
    pthread_mutex_unlock(&quotas->lock);
    return e;
}

/* ---- connections ---- */

static int32_t connect_limited(struct quotas *quotas, struct str ip)
{
    const struct entity_part own[KEY_PARTS] = {{0}, {0}, part_of(ENTITY_NAMED, ip)};
    const struct entity_part of_all[KEY_PARTS] = {{0}, {0}, {.kind = ENTITY_DEFAULT}};
    const struct limits *limits = find(&quotas->limits, 0, own, KEY_PARTS);
    if (limits == NULL || limits->values.limit[QUOTA_CONNECTION] < 0) {
        limits = find(&quotas->limits, 0, of_all, KEY_PARTS);
    }
    if (limits == NULL || limits->values.limit[QUOTA_CONNECTION] < 0) {
        return 0;
    }
    int64_t now_ms = clock_monotonic_ms(quotas->config.clock);
    double limit = limits->values.limit[QUOTA_CONNECTION];
    sweep(quotas, now_ms);
    struct bucket *bucket = bucket_of(quotas, QUOTA_CONNECTION, &own[2], 1, limit);
    bucket->used_ms = now_ms;
    sampled_rate_record(&bucket->rate, 1, now_ms);
    int32_t throttle_ms = whole_ms(sampled_rate_excess_ms(&bucket->rate, limit, now_ms),
                                   (double)bucket->rate.sample_ms);
    if (throttle_ms > 0) {
        sampled_rate_record(&bucket->rate, -1, now_ms); /* it is not made */
    }
    return throttle_ms;
}

int32_t quotas_connect(struct quotas *quotas, struct str ip)
{
    if (!quotas_active(quotas, QUOTA_CONNECTION)) {
        return 0;
    }
    pthread_mutex_lock(&quotas->lock);
    int32_t throttle_ms = connect_limited(quotas, ip);
    pthread_mutex_unlock(&quotas->lock);
    return throttle_ms;
}
