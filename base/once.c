/* A map under a mutex: who asks does so rarely. */
#include "base/once.h"

void once_init(struct once *once)
{
    pthread_mutex_init(&once->lock, NULL);
    map_init(&once->names);
}

void once_deinit(struct once *once)
{
    map_deinit(&once->names);
    pthread_mutex_destroy(&once->lock);
}

bool once_first(struct once *once, struct str name)
{
    pthread_mutex_lock(&once->lock);
    bool first = once->names.count < ONCE_NAMES_MAX && map_get_str(&once->names, name) == NULL;
    if (first) {
        (void)map_set_str(&once->names, name, once);
    }
    pthread_mutex_unlock(&once->lock);
    return first;
}
