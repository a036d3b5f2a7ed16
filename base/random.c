/* getrandom() behind the table, and splitmix64, which passes from any seed through all 2^64 states. */
#include "base/random.h"

#include "base/err.h"
#include "base/list.h"

#include <sys/random.h>

static void system_fill(struct random *random, void *data, size_t len)
{
    (void)random;
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((uint8_t *)data + done, len - done, 0);
        CHECK(n > 0 || errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
}

struct random *random_system(void)
{
    static struct random random = {.fill = system_fill};
    return &random;
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void seeded_fill(struct random *random, void *data, size_t len)
{
    struct seeded_random *seeded = container_of(random, struct seeded_random, random);
    pthread_mutex_lock(&seeded->lock);
    for (size_t done = 0; done < len; done += sizeof(uint64_t)) {
        uint64_t word = splitmix64(&seeded->state);
        size_t left = len - done;
        memcpy((uint8_t *)data + done, &word, left < sizeof(word) ? left : sizeof(word));
    }
    pthread_mutex_unlock(&seeded->lock);
}

void seeded_random_init(struct seeded_random *random, uint64_t seed)
{
    *random = (struct seeded_random){.random.fill = seeded_fill, .state = seed};
    pthread_mutex_init(&random->lock, NULL);
}

uint64_t random_u64(struct random *random)
{
    uint64_t word;
    random->fill(random, &word, sizeof(word));
    return word;
}

uint32_t random_below(struct random *random, uint32_t n)
{
    CHECK(n > 0);
    return (uint32_t)((random_u64(random) >> 32) * n >> 32);
}

struct uuid uuid_random(struct random *random)
{
    struct uuid id;
    do {
        random->fill(random, id.bytes, sizeof(id.bytes));
        id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
        id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    } while (id.bytes[0] >> 2 == 62); /* 62 is '-' */
    return id;
}
