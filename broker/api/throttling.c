#include "broker/api/throttling.h"

#include "broker/api/authorize.h"
#include "broker/broker.h"
#include "protocol/table.h"

enum { PERCENT = 100, US_PER_SECOND = 1000000 };

struct quota_client throttling_client(const struct req *r)
{
    return (struct quota_client){.user = r->session->principal.name, .client_id = r->client_id};
}

/* What brokers ask of each other, and logins: nobody is known yet. */
static bool is_exempt(const struct req *r)
{
    int16_t key = r->schema->key;
    return key == API_SASL_HANDSHAKE || key == API_SASL_AUTHENTICATE ||
           authorize_is_among_brokers(key);
}

void throttling_clock_start(struct req *r)
{
    r->working_since_us =
        quotas_active(r->broker->quotas, QUOTA_REQUEST) ? clock_monotonic_us(r->broker->clock) : 0;
}

void throttling_clock_stop(struct req *r)
{
    if (r->working_since_us > 0) {
        r->worked_us += clock_monotonic_us(r->broker->clock) - r->working_since_us;
        r->working_since_us = 0;
    }
}

void throttling_record(struct req *r, enum quota_type type, double amount)
{
    if (!quotas_active(r->broker->quotas, type)) {
        return;
    }
    struct quota_client client = throttling_client(r);
    int32_t throttle_ms = quotas_record(r->broker->quotas, type, &client, amount);
    r->throttle_ms = throttle_ms > r->throttle_ms ? throttle_ms : r->throttle_ms;
}

void throttling_record_time(struct req *r)
{
    if (r->time_recorded || r->no_answer || !quotas_active(r->broker->quotas, QUOTA_REQUEST) ||
        is_exempt(r)) {
        return;
    }
    throttling_clock_stop(r);
    r->time_recorded = true;
    throttling_record(r, QUOTA_REQUEST, (double)r->worked_us * PERCENT / US_PER_SECOND);
}

/* The first version whose clients know the error. */
static int16_t strict_since(const struct req *r)
{
    switch (r->schema->key) {
    case API_CREATE_TOPICS:
        return 6;
    case API_DELETE_TOPICS:
        return 5;
    default: /* CreatePartitions */
        return 3;
    }
}

err throttling_mutate(void *context, int32_t partitions)
{
    struct req *r = context;
    struct quota_client client = throttling_client(r);
    int32_t throttle_ms = 0;
    err e = quotas_mutate(r->broker->quotas, &client, partitions, r->version >= strict_since(r),
                          &throttle_ms);
    r->throttle_ms = throttle_ms > r->throttle_ms ? throttle_ms : r->throttle_ms;
    return e;
}

/* Where the answer says it; NULL: nowhere. */
static int32_t *throttle_time_of(const struct req *r)
{
    const struct shape *shape = r->schema->response->shape;
    for (size_t i = 0; i < shape->fields_n; i++) {
        if (strcmp(shape->fields[i].name, "throttle_time_ms") == 0) {
            return (int32_t *)(void *)((uint8_t *)r->out + shape->fields[i].offset);
        }
    }
    return NULL;
}

void throttling_tell(struct req *r)
{
    throttling_record_time(r);
    int32_t *told = r->throttle_ms > 0 ? throttle_time_of(r) : NULL;
    if (told != NULL) {
        *told = r->throttle_ms;
    }
}
