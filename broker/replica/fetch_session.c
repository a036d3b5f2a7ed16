/* The cache: a map from id to session, and a list by last use, under one mutex. A session has its
 * own mutex, held for the handling of a request (not while one is parked): a client that uses one
 * session over two connections at once is serialized by the epoch anyway. */
#include "broker/replica/fetch_session.h"

#include "protocol/error.h"

#include <stdlib.h>

enum { IDLE_MS = 120000, KEY_MAX = 260, PARTITIONS_MAX = 1 << 20 };

struct fetch_sessions {
    struct random *random; /* of ids */
    pthread_mutex_t lock;
    int32_t slots;
    size_t partitions_n; /* the sizes of all sessions */
    int64_t evictions;
    struct map by_id;
    struct list used; /* least recently first */
};

struct fetch_sessions *fetch_sessions_new(int32_t slots, struct random *random)
{
    struct fetch_sessions *sessions = xcalloc(1, sizeof(*sessions));
    pthread_mutex_init(&sessions->lock, NULL);
    sessions->random = random;
    sessions->slots = slots;
    map_init(&sessions->by_id);
    list_init(&sessions->used);
    return sessions;
}

struct fetch_session *fetch_session_new(bool uses_ids, bool privileged)
{
    struct fetch_session *session = xcalloc(1, sizeof(*session));
    pthread_mutex_init(&session->lock, NULL);
    session->refs = 1;
    session->epoch = 1;
    session->uses_ids = uses_ids;
    session->privileged = privileged;
    list_init(&session->partitions);
    list_init(&session->link);
    map_init(&session->by_key);
    return session;
}

static void partition_free(struct session_partition *p)
{
    free((void *)(uintptr_t)p->topic.data);
    free(p);
}

void fetch_session_free(struct fetch_session *session)
{
    if (session == NULL) {
        return;
    }
    list_each_safe (item, &session->partitions) {
        partition_free(container_of(item, struct session_partition, link));
    }
    map_deinit(&session->by_key);
    standing_drop(session->standing);
    pthread_mutex_destroy(&session->lock);
    free(session);
}

/* Under the cache's lock. */
static void unref(struct fetch_session *session)
{
    if (--session->refs == 0) {
        fetch_session_free(session);
    }
}

static void remove_locked(struct fetch_sessions *sessions, struct fetch_session *session)
{
    if (map_remove_i64(&sessions->by_id, session->id) == NULL) {
        return;
    }
    sessions->partitions_n -= session->size;
    list_remove(&session->link);
    unref(session);
}

void fetch_sessions_free(struct fetch_sessions *sessions)
{
    if (sessions == NULL) {
        return;
    }
    list_each_safe (item, &sessions->used) {
        remove_locked(sessions, container_of(item, struct fetch_session, link));
    }
    map_deinit(&sessions->by_id);
    pthread_mutex_destroy(&sessions->lock);
    free(sessions);
}

static int32_t epoch_after(int32_t epoch)
{
    return epoch == INT32_MAX ? 1 : epoch + 1;
}

err fetch_session_continue(struct fetch_sessions *sessions, int32_t id, int32_t epoch,
                           bool uses_ids, int64_t now_ms, struct fetch_session **out)
{
    pthread_mutex_lock(&sessions->lock);
    struct fetch_session *session = map_get_i64(&sessions->by_id, id);
    if (session != NULL) {
        session->refs++;
        session->used_ms = now_ms;
        list_remove(&session->link);
        list_append(&sessions->used, &session->link);
    }
    pthread_mutex_unlock(&sessions->lock);
    if (session == NULL) {
        return ERR_FETCH_SESSION_ID_NOT_FOUND;
    }
    pthread_mutex_lock(&session->lock);
    err e = session->epoch != epoch         ? ERR_INVALID_FETCH_SESSION_EPOCH
            : session->uses_ids != uses_ids ? ERR_FETCH_SESSION_TOPIC_ID_ERROR
                                            : OK;
    if (e != OK) {
        fetch_session_done(sessions, session);
        return e;
    }
    session->epoch = epoch_after(epoch);
    *out = session;
    return OK;
}

struct fetch_session *fetch_session_find(struct fetch_sessions *sessions, int32_t id)
{
    pthread_mutex_lock(&sessions->lock);
    struct fetch_session *session = map_get_i64(&sessions->by_id, id);
    if (session != NULL) {
        session->refs++;
    }
    pthread_mutex_unlock(&sessions->lock);
    if (session != NULL) {
        pthread_mutex_lock(&session->lock);
    }
    return session;
}

void fetch_session_done(struct fetch_sessions *sessions, struct fetch_session *session)
{
    size_t size = session->by_key.count;
    pthread_mutex_unlock(&session->lock);
    pthread_mutex_lock(&sessions->lock);
    if (map_get_i64(&sessions->by_id, session->id) == session) {
        bool grown = size > session->size;
        sessions->partitions_n += size - session->size;
        session->size = size;
        if (grown && sessions->partitions_n > PARTITIONS_MAX) {
            remove_locked(sessions, session);
        }
    }
    unref(session);
    pthread_mutex_unlock(&sessions->lock);
}

void fetch_session_remove(struct fetch_sessions *sessions, int32_t id)
{
    pthread_mutex_lock(&sessions->lock);
    struct fetch_session *session = map_get_i64(&sessions->by_id, id);
    if (session != NULL) {
        remove_locked(sessions, session);
    }
    pthread_mutex_unlock(&sessions->lock);
}

/* May `fresh` take the place of `old`? */
static bool may_evict(const struct fetch_session *old, const struct fetch_session *fresh,
                      int64_t now_ms)
{
    if (now_ms - old->used_ms > IDLE_MS || (fresh->privileged && !old->privileged)) {
        return true;
    }
    return fresh->privileged == old->privileged && now_ms - old->created_ms > IDLE_MS &&
           old->size < fresh->size;
}

static bool has_room(const struct fetch_sessions *sessions, const struct fetch_session *fresh)
{
    return (int64_t)sessions->by_id.count < sessions->slots &&
           sessions->partitions_n + fresh->size <= PARTITIONS_MAX;
}

static struct fetch_session *find_evictable(struct fetch_sessions *sessions,
                                            const struct fetch_session *fresh, int64_t now_ms)
{
    list_each (item, &sessions->used) {
        struct fetch_session *old = container_of(item, struct fetch_session, link);
        if (may_evict(old, fresh, now_ms)) {
            return old;
        }
    }
    return NULL;
}

static bool make_room(struct fetch_sessions *sessions, const struct fetch_session *fresh,
                      int64_t now_ms)
{
    while (!has_room(sessions, fresh)) {
        struct fetch_session *old = find_evictable(sessions, fresh, now_ms);
        if (old == NULL || fresh->size > PARTITIONS_MAX) {
            return false;
        }
        remove_locked(sessions, old);
        sessions->evictions++;
    }
    return true;
}

struct fetch_sessions_figures fetch_sessions_tell(struct fetch_sessions *sessions)
{
    pthread_mutex_lock(&sessions->lock);
    struct fetch_sessions_figures figures = {.sessions = (int64_t)sessions->by_id.count,
                                             .partitions = (int64_t)sessions->partitions_n,
                                             .evictions = sessions->evictions};
    pthread_mutex_unlock(&sessions->lock);
    return figures;
}

bool fetch_session_keep(struct fetch_sessions *sessions, struct fetch_session *session,
                        int64_t now_ms)
{
    session->size = session->by_key.count;
    pthread_mutex_lock(&sessions->lock);
    bool room = make_room(sessions, session, now_ms);
    if (room) {
        do {
            session->id = (int32_t)random_below(sessions->random, INT32_MAX) + 1;
        } while (map_get_i64(&sessions->by_id, session->id) != NULL);
        session->created_ms = session->used_ms = now_ms;
        (void)map_set_i64(&sessions->by_id, session->id, session);
        list_append(&sessions->used, &session->link);
        sessions->partitions_n += session->size;
    }
    pthread_mutex_unlock(&sessions->lock);
    return room;
}

/* ---- partitions ---- */

static struct bytes key_of(const struct fetch_session *session, struct str topic,
                           struct uuid topic_id, int32_t partition, uint8_t key[KEY_MAX])
{
    size_t len = session->uses_ids ? sizeof(topic_id) : topic.len;
    const void *name = session->uses_ids ? (const void *)topic_id.bytes : topic.data;
    if (len > KEY_MAX - sizeof(partition)) {
        len = KEY_MAX - sizeof(partition); /* no such topic exists: any answer is "unknown" */
    }
    if (len > 0) {
        memcpy(key, name, len);
    }
    memcpy(key + len, &partition, sizeof(partition));
    return bytes_of(key, len + sizeof(partition));
}

struct session_partition *fetch_session_partition(struct fetch_session *session, struct str topic,
                                                  struct uuid topic_id, int32_t partition)
{
    uint8_t buffer[KEY_MAX];
    struct bytes key = key_of(session, topic, topic_id, partition, buffer);
    struct session_partition *p = map_get(&session->by_key, key);
    if (p == NULL) {
        p = xcalloc(1, sizeof(*p));
        p->topic = (struct str){.data = str_dup(topic), .len = topic.len};
        p->topic_id = topic_id;
        p->partition = partition;
        p->high_watermark = -1;
        p->told_log_start_offset = -1;
        (void)map_set(&session->by_key, key, p);
        list_append(&session->partitions, &p->link);
    }
    return p;
}

void fetch_session_forget(struct fetch_session *session, struct str topic, struct uuid topic_id,
                          int32_t partition)
{
    uint8_t buffer[KEY_MAX];
    struct session_partition *p =
        map_remove(&session->by_key, key_of(session, topic, topic_id, partition, buffer));
    if (p != NULL) {
        list_remove(&p->link);
        partition_free(p);
    }
}

size_t fetch_session_size(const struct fetch_session *session)
{
    return session->by_key.count;
}

void fetch_session_set_standing(struct fetch_session *session, struct standing *standing)
{
    standing_drop(session->standing);
    session->standing = standing;
}
