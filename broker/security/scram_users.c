#include "broker/security/scram_users.h"

#include "base/map.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

struct user {
    struct scram_credential *credentials[SCRAM_MECHANISMS + 1]; /* by mechanism; NULL: none */
};

struct scram_users {
    pthread_mutex_t lock;
    struct map users;
};

struct scram_users *scram_users_new(void)
{
    struct scram_users *users = xcalloc(1, sizeof(*users));
    CHECK(pthread_mutex_init(&users->lock, NULL) == 0);
    map_init(&users->users);
    return users;
}

static void drop(struct scram_credential *credential)
{
    if (credential != NULL) {
        OPENSSL_cleanse(credential, sizeof(*credential));
        free(credential);
    }
}

static void user_free(struct user *user)
{
    for (int i = 0; user != NULL && i <= SCRAM_MECHANISMS; i++) {
        drop(user->credentials[i]);
    }
    free(user);
}

void scram_users_free(struct scram_users *users)
{
    if (users == NULL) {
        return;
    }
    map_each (entry, &users->users) {
        user_free(entry->value);
    }
    map_deinit(&users->users);
    CHECK(pthread_mutex_destroy(&users->lock) == 0);
    free(users);
}

static bool has_none(const struct user *user)
{
    bool any = false;
    for (int i = 0; i <= SCRAM_MECHANISMS; i++) {
        any |= user->credentials[i] != NULL;
    }
    return !any;
}

static void set_locked(struct scram_users *users, struct str name, enum scram_mechanism mechanism,
                       const struct scram_credential *credential)
{
    struct user *user = map_get_str(&users->users, name);
    if (user == NULL) {
        if (credential == NULL) {
            return;
        }
        user = xcalloc(1, sizeof(*user));
        map_set_str(&users->users, name, user);
    }
    drop(user->credentials[mechanism]);
    user->credentials[mechanism] = NULL;
    if (credential != NULL) {
        user->credentials[mechanism] = xmalloc(sizeof(*credential));
        *user->credentials[mechanism] = *credential;
    }
    if (has_none(user)) {
        user_free(map_remove_str(&users->users, name));
    }
}

void scram_users_set(struct scram_users *users, struct str name, enum scram_mechanism mechanism,
                     const struct scram_credential *credential)
{
    pthread_mutex_lock(&users->lock);
    set_locked(users, name, mechanism, credential);
    pthread_mutex_unlock(&users->lock);
}

bool scram_users_get(struct scram_users *users, struct str name, enum scram_mechanism mechanism,
                     struct scram_credential *out)
{
    pthread_mutex_lock(&users->lock);
    const struct user *user = map_get_str(&users->users, name);
    const struct scram_credential *found = user == NULL ? NULL : user->credentials[mechanism];
    if (found != NULL) {
        *out = *found;
    }
    pthread_mutex_unlock(&users->lock);
    return found != NULL;
}

void scram_users_each(struct scram_users *users,
                      void (*each)(void *context, struct str name,
                                   const int32_t iterations[SCRAM_MECHANISMS + 1]),
                      void *context)
{
    pthread_mutex_lock(&users->lock);
    map_each (entry, &users->users) {
        const struct user *user = entry->value;
        int32_t iterations[SCRAM_MECHANISMS + 1] = {0};
        for (int i = 1; i <= SCRAM_MECHANISMS; i++) {
            iterations[i] = user->credentials[i] == NULL ? 0 : user->credentials[i]->iterations;
        }
        each(context, (struct str){(const char *)entry->key, entry->key_len}, iterations);
    }
    pthread_mutex_unlock(&users->lock);
}
