/* What is to be said once and not again: a set of names that were met, with a bound. Thread-safe. */
#ifndef OTTLA_BASE_ONCE_H
#define OTTLA_BASE_ONCE_H

#include "base/map.h"

#include <pthread.h>

enum { ONCE_NAMES_MAX = 1000 };

struct once {
    pthread_mutex_t lock; /* leaf */
    struct map names;
};

void once_init(struct once *once);
void once_deinit(struct once *once);
/* True the first time for each name; when ONCE_NAMES_MAX were met, never again. */
bool once_first(struct once *once, struct str name);

#endif
