/* How much clients may have: bytes that they produce and consume, the share of a thread that their requests
 * take, partitions that they create and delete, and the connections that an address may make (KIP-13, 55, 124,
 * 219, 599, 612).
 *
 * Who is meant is decided as in Kafka, for each kind by itself; the first of these that has a limit:
 *
 *   user and client    user and default client    user
 *   default user and client    default user and default client    default user
 *   client    default client
 *
 * A limit of a user, his own or the default's, is one for all his clients; of the others, one for each pair
 * or client. Rates are those of the last `samples` samples, so that a burst goes through and is paid for
 * afterwards. (reference: coordinators §7, security §5)
 *
 * Any thread; one leaf lock, which is not taken where no limit is set. */
#ifndef OTTLA_BROKER_SECURITY_QUOTAS_H
#define OTTLA_BROKER_SECURITY_QUOTAS_H

#include "base/clock.h"
#include "broker/security/client_entity.h"

enum quota_type {
    QUOTA_PRODUCE,
    QUOTA_CONSUME,
    QUOTA_REQUEST,    /* percent of one thread */
    QUOTA_MUTATION,   /* partitions; a token bucket */
    QUOTA_CONNECTION, /* of addresses */
    QUOTA_TYPES,
};

/* The names of the limits in requests and in the store, and what they may be. */
struct quota_key {
    const char *name;
    bool is_whole; /* a whole number, */
    double most;   /* at most this */
    bool of_ips;
};
extern const struct quota_key QUOTA_KEYS[QUOTA_TYPES];

/* The limits of one entity, by type; negative: none. */
struct quota_limits {
    double limit[QUOTA_TYPES];
};
extern const struct quota_limits QUOTA_NO_LIMITS;

/* How rates are measured: samples.n of samples.ms each. */
struct quota_samples {
    int n;
    int64_t ms;
};
struct quotas_config {
    struct clock *clock;
    struct quota_samples samples;          /* quota.window.… */
    struct quota_samples mutation_samples; /* controller.quota.window.… */
};

struct quotas;

struct quotas *quotas_new(const struct quotas_config *config);
void quotas_free(struct quotas *quotas);

/* The limits of an entity are these now. */
void quotas_set(struct quotas *quotas, const struct client_entity *entity,
                const struct quota_limits *limits);
/* Tells of every entity that has limits. `visit` may not call back. */
void quotas_each(struct quotas *quotas, void *context,
                 void (*visit)(void *context, const struct client_entity *entity,
                               const struct quota_limits *limits));

/* May anybody be limited? Cheap. */
bool quotas_active(const struct quotas *quotas, enum quota_type type);

/* Who asks; texts are copied where they are kept. */
struct quota_client {
    struct str user;
    struct str client_id;
};

/* Records an amount. Returns for how many milliseconds nothing more is to be taken from the client: 0: it
 * is within its limit. */
int32_t quotas_record(struct quotas *quotas, enum quota_type type,
                      const struct quota_client *client, double amount);
/* Takes an amount back: it was not used. */
void quotas_unrecord(struct quotas *quotas, enum quota_type type, const struct quota_client *client,
                     double amount);
/* What can be recorded without being held back, with nothing recorded before: a bound for one fetch.
 * Infinite without a limit. */
double quotas_burst(struct quotas *quotas, enum quota_type type, const struct quota_client *client);

/* Partitions are to be created or deleted. `strict`: THROTTLING_QUOTA_EXCEEDED while the client has used more than
 * it may, and nothing is recorded; otherwise it may go on, and is held back. `throttle_ms` is then set, otherwise
 * left. (KIP-599) */
NODISCARD err quotas_mutate(struct quotas *quotas, const struct quota_client *client,
                            double partitions, bool strict, int32_t *throttle_ms);

/* A connection from an address, as text. Milliseconds for which it is to be held, then closed; 0: it is welcome. */
int32_t quotas_connect(struct quotas *quotas, struct str ip);

#endif
