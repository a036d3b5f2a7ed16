/* Partitions that are told something move to the end of their session's order when it was bytes, so
 * that under the byte limits each has its turn. */
#include "broker/api/fetch_asked.h"

#include "base/seen.h"
#include "broker/broker.h"

enum { FIRST_TOPIC_ID_VERSION = 13 };

/* Who asks in another leader epoch may not have taken what was told in the one before. */
static void remember(struct session_partition *p, const struct fetch_request_partition *in)
{
    if (p->leader_epoch != in->current_leader_epoch) {
        p->high_watermark = -1;
        p->told_log_start_offset = -1;
    }
    p->fetch_offset = in->fetch_offset;
    p->log_start_offset = in->log_start_offset;
    p->max_bytes = in->partition_max_bytes;
    p->leader_epoch = in->current_leader_epoch;
    p->last_fetched_epoch = in->last_fetched_epoch;
}

/* Adds what the request names to a session. A partition named twice is one. */
static void session_update(struct fetch_session *session, const struct fetch_request *in)
{
    for (int32_t t = 0; t < in->topics_n; t++) {
        const struct fetch_request_topic *topic = &in->topics[t];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            remember(fetch_session_partition(session, topic->topic, topic->topic_id,
                                             topic->partitions[i].partition),
                     &topic->partitions[i]);
        }
    }
    for (int32_t t = 0; t < in->forgotten_topics_n; t++) {
        const struct fetch_request_forgotten_topic *topic = &in->forgotten_topics[t];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            fetch_session_forget(session, topic->topic, topic->topic_id, topic->partitions[i]);
        }
    }
}

static void add(struct fetch_asked *asked, const struct session_partition *from, struct str topic)
{
    asked->partitions[asked->partitions_n++] = (struct asked_partition){
        .topic = topic,
        .topic_id = from->topic_id,
        .number = from->partition,
        .offset = from->fetch_offset,
        .leader_epoch = from->leader_epoch,
        .last_fetched_epoch = from->last_fetched_epoch,
        .replica_log_start_offset = from->log_start_offset,
        .max_bytes = from->max_bytes < 0 ? 0 : (size_t)from->max_bytes,
        .told_high_watermark = from->high_watermark,
        .told_log_start_offset = from->told_log_start_offset,
    };
}

static err read_session(struct req *r, struct fetch_asked *asked,
                        const struct fetch_session *session)
{
    int32_t count = (int32_t)fetch_session_size(session);
    asked->partitions = req_array(r, count, sizeof(*asked->partitions));
    if (asked->partitions == NULL) {
        return E_LIMIT;
    }
    list_each (item, &session->partitions) {
        const struct session_partition *p = container_of(item, struct session_partition, link);
        add(asked, p, arena_str(&r->arena, p->topic));
    }
    return OK;
}

static void add_named(struct fetch_asked *asked, const struct fetch_request_topic *topic,
                      const struct fetch_request_partition *in, struct seen *seen)
{
    struct seen_key key = {.name = topic->topic, .id = topic->topic_id, .number = in->partition};
    if (seen_add(seen, &key) > 0) {
        return;
    }
    struct session_partition one = {.topic_id = topic->topic_id,
                                    .partition = in->partition,
                                    .high_watermark = -1,
                                    .told_log_start_offset = -1};
    remember(&one, in);
    add(asked, &one, topic->topic);
}

static err read_full(struct req *r, struct fetch_asked *asked)
{
    const struct fetch_request *in = r->in;
    int32_t total = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        total += in->topics[t].partitions_n;
    }
    asked->partitions = req_array(r, total, sizeof(*asked->partitions));
    if (asked->partitions == NULL) {
        return E_LIMIT;
    }
    struct seen seen;
    seen_init(&seen);
    for (int32_t t = 0; t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            add_named(asked, &in->topics[t], &in->topics[t].partitions[i], &seen);
        }
    }
    seen_deinit(&seen);
    return OK;
}

err fetch_asked_read(struct req *r, struct fetch_asked *asked)
{
    const struct fetch_request *in = r->in;
    struct fetch_sessions *sessions = r->broker->fetch_sessions;
    if (in->session_epoch == SESSION_EPOCH_FINAL || in->session_epoch == SESSION_EPOCH_INITIAL) {
        if (in->session_id != 0) {
            fetch_session_remove(sessions, in->session_id);
        }
        asked->keep = in->session_epoch == SESSION_EPOCH_INITIAL;
        return read_full(r, asked);
    }
    struct fetch_session *session = NULL;
    TRY(fetch_session_continue(sessions, in->session_id, in->session_epoch,
                               r->version >= FIRST_TOPIC_ID_VERSION, r->now_ms, &session));
    asked->session_id = session->id;
    asked->next_epoch = session->epoch;
    asked->incremental = true;
    bool same_life = session->broker_epoch == in->replica_state.replica_epoch;
    session->broker_epoch = in->replica_state.replica_epoch;
    if (in->topics_n == 0 && in->forgotten_topics_n == 0 && same_life) {
        int64_t wait_ms = in->max_wait_ms < 0 ? 0 : in->max_wait_ms;
        asked->standing = standing_enter(session->standing, r->now_ms + wait_ms);
    }
    err e = OK;
    if (asked->standing == NULL) {
        fetch_session_set_standing(session, NULL);
        session_update(session, in);
        e = read_session(r, asked, session);
    }
    bool empty = fetch_session_size(session) == 0;
    fetch_session_done(sessions, session);
    if (empty) {
        fetch_session_remove(sessions, asked->session_id);
        asked->session_id = 0;
    }
    return e;
}

err fetch_asked_look(struct req *r, struct fetch_asked *asked)
{
    struct fetch_sessions *sessions = r->broker->fetch_sessions;
    struct fetch_session *session = fetch_session_find(sessions, asked->session_id);
    if (session == NULL) {
        return ERR_FETCH_SESSION_ID_NOT_FOUND;
    }
    fetch_session_set_standing(session, NULL);
    err e = read_session(r, asked, session);
    fetch_session_done(sessions, session);
    return e;
}

void fetch_asked_stand(struct req *r, const struct fetch_asked *asked, struct standing *standing)
{
    struct fetch_sessions *sessions = r->broker->fetch_sessions;
    struct fetch_session *session = fetch_session_find(sessions, asked->session_id);
    /* Another request may have come, and asked for more. */
    bool stands = session != NULL && session->epoch == asked->next_epoch;
    if (stands) {
        fetch_session_set_standing(session, standing);
    } else {
        standing_drop(standing);
    }
    if (session != NULL) {
        fetch_session_done(sessions, session);
    }
}

bool fetch_asked_tells(const struct fetch_asked *asked, const struct asked_partition *partition)
{
    return !asked->incremental || partition->failed || partition->has_bytes ||
           partition->diverged || partition->sent_away ||
           partition->high_watermark != partition->told_high_watermark ||
           partition->log_start_offset != partition->told_log_start_offset;
}

static void session_note(struct fetch_session *session, const struct asked_partition *told)
{
    struct session_partition *p =
        fetch_session_partition(session, told->topic, told->topic_id, told->number);
    bool taken = !told->failed && !told->diverged; /* who cuts its log takes nothing else */
    p->high_watermark = taken ? told->high_watermark : -1;
    p->told_log_start_offset = taken ? told->log_start_offset : -1;
    if (told->has_bytes) {
        list_remove(&p->link);
        list_append(&session->partitions, &p->link);
    }
}

/* A full request that wants a session gets one with what it asked for, while there is room. */
static int32_t session_make(struct req *r, const struct fetch_asked *asked)
{
    struct fetch_session *session =
        fetch_session_new(r->version >= FIRST_TOPIC_ID_VERSION, fetch_replica_of(r->in) >= 0);
    session_update(session, r->in);
    for (int32_t i = 0; i < asked->partitions_n; i++) {
        session_note(session, &asked->partitions[i]);
    }
    if (fetch_session_keep(r->broker->fetch_sessions, session, r->now_ms)) {
        return session->id;
    }
    fetch_session_free(session);
    return 0;
}

static void session_tell(struct req *r, const struct fetch_asked *asked)
{
    struct fetch_sessions *sessions = r->broker->fetch_sessions;
    struct fetch_session *session =
        asked->session_id == 0 ? NULL : fetch_session_find(sessions, asked->session_id);
    if (session == NULL) {
        return;
    }
    for (int32_t i = 0; i < asked->partitions_n; i++) {
        if (fetch_asked_tells(asked, &asked->partitions[i])) {
            session_note(session, &asked->partitions[i]);
        }
    }
    fetch_session_done(sessions, session);
}

int32_t fetch_asked_done(struct req *r, const struct fetch_asked *asked)
{
    if (asked->incremental) {
        session_tell(r, asked);
        return asked->session_id;
    }
    return asked->keep ? session_make(r, asked) : 0;
}
