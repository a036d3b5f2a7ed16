/* Chance, as a thing that is handed in: the system's, which nobody can foresee, or one that a seed
 * makes repeat. Thread-safe. */
#ifndef OTTLA_BASE_RANDOM_H
#define OTTLA_BASE_RANDOM_H

#include "base/bytes.h"

#include <pthread.h>

struct random {
    void (*fill)(struct random *random, void *data, size_t len);
};

/* The system's generator, fit for secrets; one for everybody, without state. */
struct random *random_system(void);

/* The same numbers after each init with the same seed, in the order in which they are asked for. Not
 * for secrets: for tests and simulation. */
struct seeded_random {
    struct random random;
    pthread_mutex_t lock;
    uint64_t state;
};
void seeded_random_init(struct seeded_random *random, uint64_t seed);

uint64_t random_u64(struct random *random);
/* 0 to n - 1; n > 0. */
uint32_t random_below(struct random *random, uint32_t n);
/* Of version 4. Never one whose text begins with '-': command-line tools would take it for an option. */
struct uuid uuid_random(struct random *random);

#endif
