/* From events to decisions, and from decisions to writes and requests.
 *
 * An event re-reads what changed and puts it into the model (controller_state.h), which decides; the
 * writes are made, and when they are all made the requests go out. An event that meets an error of
 * the store ends the leadership: the next election starts from what is really there. */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"
#include "broker/cluster/controller_requests.h"
#include "broker/cluster/untold.h"
#include "protocol/error.h"

#include <stdlib.h>

struct controller *controller_new(const struct controller_config *config)
{
    struct controller *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    c->known_leader = -1;
    c->requested_n = -1;
    ctl_state_init(&c->state, config->broker_id);
    c->state.unclean_allowed = config->unclean_allowed;
    c->state.context = config->unclean_context;
    c->state.events = config->events;
    map_init(&c->ignored);
    arena_init(&c->arena, CONTROLLER_ARENA_BYTES);
    return c;
}

void controller_free(struct controller *c)
{
    if (c == NULL) {
        return;
    }
    ctl_state_deinit(&c->state);
    map_deinit(&c->ignored);
    arena_deinit(&c->arena);
    free(c);
}

bool controller_is_active(const struct controller *c)
{
    return c->active;
}

bool controller_is_settled(const struct controller *c)
{
    return c->active || c->follows;
}

err controller_check_broker(const struct controller *c, int32_t broker_id, int64_t broker_epoch)
{
    if (!c->active) {
        return ERR_NOT_CONTROLLER;
    }
    const struct ctl_broker *broker = ctl_broker_find(&c->state, broker_id);
    if (broker == NULL) {
        return ERR_BROKER_ID_NOT_REGISTERED;
    }
    return broker->epoch == broker_epoch ? OK : ERR_STALE_BROKER_EPOCH;
}

void controller_resign(struct controller *c, const char *why)
{
    if (c->active) {
        log_warn("controller", "resigned epoch=%d why=\"%s\"", c->state.epoch, why);
    }
    if (c->active) {
        c->config.links.set_targets(c->config.links.context, NULL, 0);
    }
    c->active = false;
    c->follows = false;
    ctl_state_clear(&c->state);
}

/* ---- deletion ---- */

static err delete_znodes(struct controller *c, const struct ctl_topic *topic)
{
    const char *paths[] = {znode_topic_path(&c->arena, topic->name),
                           znode_topic_config_path(&c->arena, topic->name),
                           znode_delete_topic_path(&c->arena, topic->name)};
    return controller_remove_trees(c, paths, 3);
}

static err finish_deletion(struct controller *c, struct ctl_topic *topic)
{
    TRY(delete_znodes(c, topic));
    log_info("controller", "topic deleted topic=%.*s", (int)topic->name.len, topic->name.data);
    ctl_remove_topic(&c->state, topic);
    return controller_note_requested(c);
}

static void tell_deletion(struct controller *c, struct ctl_topic *topic)
{
    struct parts parts = {0};
    struct topic_list one = {.topics = &topic, .count = 1};
    parts_add_topics(&parts, &c->arena, &one);
    controller_send_metadata(c, &parts);
}

static bool all_are_registered(const struct controller *c, const struct id_list *brokers)
{
    for (int32_t i = 0; i < brokers->count; i++) {
        if (ctl_broker_find(&c->state, brokers->ids[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Clients hear of it first, then the replicas go; when every broker has confirmed, the znodes. One that
 * is not there is asked when it comes. */
static err delete_topic(struct controller *c, struct ctl_topic *topic)
{
    if (!topic->deleting) {
        ctl_begin_deletion(topic);
        tell_deletion(c, topic);
        if (!all_are_registered(c, &topic->stops)) {
            log_warn("controller", "deletion waits for an offline replica topic=%.*s",
                     (int)topic->name.len, topic->name.data);
        }
    }
    controller_send_deletion(c, topic);
    return topic->stops.count == 0 ? finish_deletion(c, topic) : OK;
}

static err remove_request(struct controller *c, const char *name)
{
    struct coord_op op = {.type = COORD_DELETE,
                          .path = znode_delete_topic_path(&c->arena, str_of(name)),
                          .version = COORD_ANY_VERSION};
    return controller_checked_multi(c, &op, 1);
}

static err on_delete_requests(struct controller *c)
{
    struct coord_op list;
    TRY(controller_read_children(c, ZNODE_DELETE_TOPICS, COORD_WATCH, &list));
    for (int32_t i = 0; i < list.children_n; i++) {
        struct ctl_topic *topic = ctl_topic_find(&c->state, str_of(list.children[i]));
        TRY(topic == NULL || !c->config.delete_topic_enable ? remove_request(c, list.children[i])
                                                            : delete_topic(c, topic));
    }
    return OK;
}

/* ---- topics ---- */

static bool is_child(const struct coord_op *list, struct str name)
{
    int32_t low = 0;
    int32_t high = list->children_n;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        int order = strcmp(list->children[middle], name.data);
        if (order == 0) {
            return true;
        }
        low = order < 0 ? middle + 1 : low;
        high = order < 0 ? high : middle;
    }
    return false;
}

/* Nodes that somebody else has deleted: the controller knows nothing of these topics any more. */
static void forget_missing(struct controller *c, const struct coord_op *list)
{
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    for (int32_t t = 0; t < all.count; t++) {
        if (!is_child(list, all.topics[t]->name)) {
            log_warn("controller", "topic node vanished topic=%.*s", (int)all.topics[t]->name.len,
                     all.topics[t]->name.data);
            ctl_remove_topic(&c->state, all.topics[t]);
        }
    }
}

static err on_topics_created(struct controller *c, const char *const *names, int32_t count)
{
    struct topic_list list;
    TRY(controller_load_topics(c, names, count, &list));
    if (list.count == 0) {
        return OK;
    }
    log_info("controller", "topics created count=%d first=%.*s", list.count,
             (int)list.topics[0]->name.len, list.topics[0]->name.data);
    struct ctl_decision d;
    return controller_decide(c, &list, ctl_settle_and_tell, &d);
}

static err on_topics_changed(struct controller *c)
{
    struct coord_op children;
    TRY(controller_read_children(c, ZNODE_TOPICS, COORD_WATCH, &children));
    forget_missing(c, &children);
    const char **fresh = controller_alloc(c, (size_t)children.children_n, sizeof(*fresh));
    int32_t fresh_n = 0;
    for (int32_t i = 0; i < children.children_n; i++) {
        struct str name = str_of(children.children[i]);
        if (ctl_topic_find(&c->state, name) == NULL && map_get_str(&c->ignored, name) == NULL) {
            fresh[fresh_n++] = children.children[i];
        }
    }
    return on_topics_created(c, fresh, fresh_n);
}

/* Partitions were added, or what could not be read can be. */
static err on_topic_changed(struct controller *c, const char *name)
{
    struct ctl_topic *known = ctl_topic_find(&c->state, str_of(name));
    if (known == NULL) {
        (void)map_remove_str(&c->ignored, str_of(name));
        return on_topics_created(c, &name, 1);
    }
    int32_t before = known->partitions_n;
    struct topic_list list;
    TRY(controller_load_topics(c, &name, 1, &list));
    if (list.count == 0 || known->deleting || known->partitions_n == before) {
        return OK;
    }
    log_info("controller", "partitions added topic=%s from=%d to=%d", name, before,
             known->partitions_n);
    return controller_settle(c, &list);
}

/* ---- brokers ---- */

/* Of all topics, those partitions that a broker has a replica of. */
static struct parts parts_of(struct controller *c, int32_t broker)
{
    struct parts parts = {0};
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    for (int32_t t = 0; t < all.count; t++) {
        for (int32_t p = 0; p < all.topics[t]->partitions_n; p++) {
            if (id_list_holds(&all.topics[t]->partitions[p].replicas, broker)) {
                parts_add(&parts, &c->arena, all.topics[t], p);
            }
        }
    }
    return parts;
}

/* Those that have a state, or would if it could be read. */
static struct parts all_parts(struct controller *c)
{
    struct parts parts = {0};
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    for (int32_t t = 0; t < all.count; t++) {
        for (int32_t i = 0; i < all.topics[t]->partitions_n; i++) {
            const struct ctl_partition *p = &all.topics[t]->partitions[i];
            if (p->state_version != CTL_NO_STATE || p->unreadable) {
                parts_add(&parts, &c->arena, all.topics[t], i);
            }
        }
    }
    return parts;
}

static void forget_asked(struct ctl_topic *topic, int32_t broker)
{
    id_list_remove(&topic->asked, broker);
    id_list_remove(&topic->told, broker);
}

/* What a former life of the broker was asked to delete is asked again. */
static void forget_all_asked(struct controller *c, int32_t broker)
{
    map_each (entry, &c->state.topics) {
        forget_asked(entry->value, broker);
    }
}

/* A broker that has come is told everything; the others, that its replicas are there. */
static void welcome(struct controller *c, const struct ctl_broker *broker)
{
    struct parts all = all_parts(c);
    struct parts its = parts_of(c, broker->id);
    log_info("controller", "broker came broker=%d epoch=%lld replicas=%d", broker->id,
             (long long)broker->epoch, its.count);
    controller_send_metadata_to(c, broker, &all);
    controller_send_roles_to(c, broker, &its);
    controller_stop_left(c, broker);
    for (int32_t b = 0; b < c->state.brokers_n && its.count > 0; b++) {
        if (c->state.brokers[b].id != broker->id) {
            controller_send_metadata_to(c, &c->state.brokers[b], &its);
        }
    }
}

/* Has a replica gone with its broker of which nothing is to be decided, since it was not in sync? */
static bool has_lost_idle(const struct ctl_partition *p, const struct id_list *left)
{
    for (int32_t i = 0; i < left->count; i++) {
        if (id_list_holds(&p->replicas, left->ids[i]) && ctl_replica_is_idle(p, left->ids[i])) {
            return true;
        }
    }
    return false;
}

static struct parts lost_idle(struct controller *c, const struct topic_list *list,
                              const struct id_list *left)
{
    struct parts parts = {0};
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            if (has_lost_idle(&list->topics[t]->partitions[p], left)) {
                parts_add(&parts, &c->arena, list->topics[t], p);
            }
        }
    }
    return parts;
}

/* First what has ended: brokers that are gone, and former lives of those that are there again. Then what
 * has begun. */
static err on_brokers_changed(struct controller *c)
{
    struct id_list left;
    TRY(controller_load_brokers(c, &left));
    struct parts none = {0};
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    bool news = false;
    bool bounced = false;
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        news |= c->state.brokers[b].news != CTL_BROKER_STAYED;
        bounced |= c->state.brokers[b].news == CTL_BROKER_BOUNCED;
    }
    controller_send_targets(c);
    controller_send_metadata(c, &none);
    if (left.count > 0 || bounced) {
        struct parts idle = lost_idle(c, &all, &left);
        TRY(controller_settle(c, &all));
        controller_send_states(c, &idle);
    }
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        struct ctl_broker *broker = &c->state.brokers[b];
        bool is_new = broker->news != CTL_BROKER_STAYED;
        broker->news = CTL_BROKER_STAYED;
        if (is_new) {
            forget_all_asked(c, broker->id);
            welcome(c, broker);
        }
    }
    if (news) {
        TRY(controller_settle(c, &all));
    }
    TRY(controller_check_all_moves(c));
    return on_delete_requests(c); /* one may have waited for this broker */
}

/* The brokers that the notifications name; one in another form, which somebody has written by hand, names
 * nobody. */
static err read_log_dir_events(struct controller *c, const struct coord_op *list,
                               struct id_list *brokers)
{
    size_t count = (size_t)list->children_n;
    struct coord_op *gets = controller_alloc(c, count, sizeof(*gets));
    *brokers = (struct id_list){.ids = controller_alloc(c, count, sizeof(*brokers->ids))};
    for (size_t i = 0; i < count; i++) {
        gets[i] = (struct coord_op){
            .type = COORD_GET,
            .path = arena_format(&c->arena, "%s/%s", ZNODE_LOG_DIR_EVENTS, list->children[i]).data};
    }
    TRY(coord_run(c->config.coord, gets, count, &c->arena));
    for (size_t i = 0; i < count; i++) {
        int32_t id = -1;
        if (gets[i].error == OK && znode_log_dir_event_decode(gets[i].value, &id) == OK &&
            !id_list_holds(brokers, id)) {
            brokers->ids[brokers->count++] = id;
        }
    }
    return OK;
}

/* A broker says that a directory has failed: asked for its roles again, it tells which. */
static err on_log_dir_events(struct controller *c)
{
    struct coord_op list;
    struct id_list brokers;
    TRY(controller_read_children(c, ZNODE_LOG_DIR_EVENTS, COORD_WATCH, &list));
    if (list.children_n == 0) {
        return OK;
    }
    TRY(read_log_dir_events(c, &list, &brokers));
    TRY(controller_remove_children(c, ZNODE_LOG_DIR_EVENTS, &list));
    for (int32_t i = 0; i < brokers.count; i++) {
        const struct ctl_broker *broker = ctl_broker_find(&c->state, brokers.ids[i]);
        if (broker != NULL) {
            struct parts its = parts_of(c, broker->id);
            controller_ask_roles(c, broker, &its);
        }
    }
    return OK;
}

/* ---- answers ---- */

typedef struct leader_and_isr_response_partition_error role_answer;

enum { FIRST_ROLES_ANSWERED_BY_ID = 5 }; /* of LeaderAndIsr's versions */

/* Replicas of one broker of which an answer was news. */
struct roles_news {
    struct parts failed; /* they are to stop */
    struct parts told;   /* with nothing to be decided: that they are offline, or not any more */
};

/* True: there was news of this topic, which is not being deleted. NULL: no such topic. */
static bool note_answers(struct controller *c, int32_t broker, const role_answer *answers,
                         int32_t count, struct ctl_topic *topic, struct roles_news *news)
{
    bool some = false;
    for (int32_t i = 0; topic != NULL && i < count; i++) {
        const role_answer *p = &answers[i];
        bool failed = p->error_code == ERR_KAFKA_STORAGE_ERROR;
        if (p->error_code != OK && p->error_code != ERR_STALE_CONTROLLER_EPOCH) {
            log_error("controller",
                      "replica refused its role broker=%d topic=%.*s partition=%d error=%s", broker,
                      (int)topic->name.len, topic->name.data, p->partition_index,
                      kafka_error_name(p->error_code));
        }
        bool tells = failed || p->error_code == OK; /* other errors say nothing of the directory */
        if (!tells || !ctl_set_replica_offline(topic, p->partition_index, broker, failed) ||
            topic->deleting) {
            continue;
        }
        some = true;
        if (failed) {
            parts_add(&news->failed, &c->arena, topic, p->partition_index);
        }
        if (!failed || ctl_replica_is_idle(&topic->partitions[p->partition_index], broker)) {
            parts_add(&news->told, &c->arena, topic, p->partition_index);
        }
    }
    return some;
}

/* How many of these partitions are of the topic of the first. */
static int32_t of_one_topic(const role_answer *in, int32_t count)
{
    int32_t n = 1;
    while (n < count && str_equal(in[n].topic_name, in[0].topic_name)) {
        n++;
    }
    return n;
}

/* A replica whose directory does not work cannot lead, and is to stop as others do; one that works again
 * may. Topics are told by their ids, or, in versions that do not have them, partitions one after the
 * other. */
static err on_roles_answered(struct controller *c, int32_t broker,
                             const struct leader_and_isr_response *response)
{
    bool by_id = c->config.versions.leader_and_isr >= FIRST_ROLES_ANSWERED_BY_ID;
    int32_t count = by_id ? response->topics_n : response->partition_errors_n;
    struct topic_list changed = {
        .topics = controller_alloc(c, (size_t)(count < 0 ? 0 : count), sizeof(*changed.topics))};
    struct roles_news news = {0};
    for (int32_t i = 0, n = 1; i < count; i += n) {
        const role_answer *answers = NULL;
        struct ctl_topic *topic = NULL;
        int32_t answers_n = 0;
        if (by_id) {
            answers = response->topics[i].partition_errors;
            answers_n = response->topics[i].partition_errors_n;
            topic = ctl_topic_by_id(&c->state, response->topics[i].topic_id);
        } else {
            answers = &response->partition_errors[i];
            answers_n = n = of_one_topic(answers, count - i);
            topic = ctl_topic_find(&c->state, answers->topic_name);
        }
        if (note_answers(c, broker, answers, answers_n, topic, &news)) {
            changed.topics[changed.count++] = topic;
        }
    }
    if (changed.count == 0) {
        return OK;
    }
    TRY(controller_settle(c, &changed));
    controller_send_states(c, &news.told);
    const struct ctl_broker *to = ctl_broker_find(&c->state, broker);
    if (to != NULL) {
        controller_send_stops(c, to, &news.failed, false);
    }
    return OK;
}

/* What an answer says of a topic; Apache's brokers name partitions in any order. */
struct topic_stopped {
    struct ctl_topic *topic; /* NULL: there is none (any more) */
    int32_t partitions_n;
    err failed;
};

/* Of a topic that is being deleted: each broker answers twice, when it has stopped and when it has deleted
 * its replicas. */
static err on_topic_stopped(struct controller *c, int32_t broker, bool deletes,
                            const struct topic_stopped *stopped)
{
    struct ctl_topic *topic = stopped->topic;
    if (!id_list_holds(&topic->stops, broker) || id_list_holds(&topic->told, broker) != deletes ||
        stopped->partitions_n < ctl_replicas_on(topic, broker)) {
        return OK; /* one that had left before, or of what was asked before */
    }
    if (stopped->failed != OK) {
        log_error("controller", "replicas cannot be deleted broker=%d topic=%.*s error=%s", broker,
                  (int)topic->name.len, topic->name.data, kafka_error_name(stopped->failed));
        forget_asked(topic, broker); /* again with the next deletion, or broker */
    } else if (!deletes) {
        controller_send_deletion_next(c, topic, broker);
    } else if (ctl_confirm_deletion(topic, broker)) {
        return finish_deletion(c, topic);
    }
    return OK;
}

/* Of others, the partitions that have stopped, or not. Who has been told of a later leader epoch answers a
 * request that is not meant any more: it is to be a replica again, or another request is on its way. */
static void add_stopped(struct controller *c, struct left_answer *answer, struct ctl_topic *topic,
                        int32_t partition, err e)
{
    if (ctl_partition_find(topic, partition) != NULL && !topic->deleting &&
        e != ERR_FENCED_LEADER_EPOCH) {
        parts_add(e == OK ? &answer->done : &answer->refused, &c->arena, topic, partition);
    }
}

static struct topic_stopped *topic_stopped(struct controller *c, struct map *topics,
                                           struct str name)
{
    struct topic_stopped *stopped = map_get_str(topics, name);
    if (stopped == NULL) {
        stopped = controller_alloc(c, 1, sizeof(*stopped));
        stopped->topic = ctl_topic_find(&c->state, name);
        (void)map_set_str(topics, name, stopped);
    }
    return stopped;
}

static err on_stop_answered(struct controller *c, int32_t broker, bool deletes,
                            const struct stop_replica_response *response)
{
    struct left_answer left = {.broker = broker, .deletes = deletes};
    struct map topics;
    map_init(&topics);
    for (int32_t i = 0; i < response->partition_errors_n; i++) {
        const struct stop_replica_response_partition_error *in = &response->partition_errors[i];
        struct topic_stopped *stopped = topic_stopped(c, &topics, in->topic_name);
        err failed = response->error_code != OK ? response->error_code : in->error_code;
        stopped->partitions_n++;
        stopped->failed = stopped->failed == OK ? failed : stopped->failed;
        add_stopped(c, &left, stopped->topic, in->partition_index, failed);
    }
    err e = OK;
    map_each (entry, &topics) {
        const struct topic_stopped *stopped = entry->value;
        if (e == OK && stopped->topic != NULL && stopped->topic->deleting) {
            e = on_topic_stopped(c, broker, deletes, stopped);
        }
    }
    map_deinit(&topics);
    return e == OK ? controller_on_left(c, &left) : e;
}

/* ---- events ---- */

void controller_event_done(struct controller *c, err e, const char *what)
{
    arena_reset(&c->arena, CONTROLLER_ARENA_BYTES);
    if (e != OK && e != E_CLOSED) { /* E_CLOSED: the broker stops */
        log_error("controller", "event failed event=%s error=\"%s\"", what, err_text(e));
        controller_resign(c, "an event failed; it will be looked at again from the start");
    }
}

static err on_controller_changed(struct controller *c);

static err on_child_of(struct controller *c, enum coord_watch_type type, const char *path)
{
    size_t topics_len = sizeof(ZNODE_TOPICS) - 1;
    size_t ids_len = sizeof(ZNODE_BROKER_IDS) - 1;
    bool topic = strncmp(path, ZNODE_TOPICS "/", topics_len + 1) == 0;
    if (type == COORD_NODE_DELETED && topic) {
        (void)map_remove_str(&c->ignored, str_of(path + topics_len + 1));
    }
    if (type != COORD_NODE_CHANGED) {
        return OK;
    }
    if (topic) {
        return on_topic_changed(c, path + topics_len + 1);
    }
    return strncmp(path, ZNODE_BROKER_IDS "/", ids_len + 1) == 0 ? on_brokers_changed(c) : OK;
}

void controller_on_watch(struct controller *c, enum coord_watch_type type, const char *path)
{
    static const struct {
        const char *path;
        err (*act)(struct controller *c);
    } WATCHED[] = {
        {ZNODE_TOPICS, on_topics_changed},
        {ZNODE_DELETE_TOPICS, on_delete_requests},
        {ZNODE_BROKER_IDS, on_brokers_changed},
        {ZNODE_LOG_DIR_EVENTS, on_log_dir_events},
        {ZNODE_PREFERRED_ELECTION, controller_prefer_requested},
        {ZNODE_REASSIGNMENTS, controller_move_requested},
    };
    if (strcmp(path, ZNODE_CONTROLLER) == 0) {
        controller_event_done(c, on_controller_changed(c), path);
        return;
    }
    if (!c->active) {
        return;
    }
    for (size_t i = 0; i < sizeof(WATCHED) / sizeof(WATCHED[0]); i++) {
        if (strcmp(path, WATCHED[i].path) == 0) {
            controller_event_done(c, WATCHED[i].act(c), path);
            return;
        }
    }
    controller_event_done(c, on_child_of(c, type, path), path);
}

void controller_on_answer(struct controller *c, int32_t broker_id, const struct told_request *told,
                          const void *response)
{
    if (!c->active || told->controller_epoch != c->state.epoch) {
        return; /* to a controller that is no more */
    }
    const struct ctl_broker *broker = ctl_broker_find(&c->state, broker_id);
    if (broker == NULL || broker->epoch != told->broker_epoch) {
        return; /* of a broker that is no more: it is asked again when it comes */
    }
    err e = OK;
    if (told->api_key == KEY_LEADER_AND_ISR) {
        e = on_roles_answered(c, broker_id, response);
    } else if (told->api_key == KEY_STOP_REPLICA) {
        e = on_stop_answered(c, broker_id, told->deletes, response);
    }
    controller_event_done(c, e, "answer");
}

void controller_reconsider(struct controller *c, struct str name)
{
    if (!c->active) {
        return;
    }
    struct ctl_topic *topic = name.data == NULL ? NULL : ctl_topic_find(&c->state, name);
    struct topic_list list = {.topics = &topic, .count = topic == NULL || topic->deleting ? 0 : 1};
    if (name.data == NULL) {
        list = ctl_all_topics(&c->state, &c->arena);
    }
    controller_event_done(c, controller_settle(c, &list), "options");
}

void controller_rebalance(struct controller *c)
{
    if (c->active) {
        controller_event_done(c, controller_prefer_imbalanced(c), "rebalance");
    }
}

/* ---- taking over ---- */

static err ensure_feature(struct controller *c)
{
    struct coord_op get;
    TRY(controller_read_node(c, ZNODE_FEATURE, 0, &get));
    if (get.error != E_NOT_FOUND) {
        return get.error;
    }
    struct coord_op create = {.type = COORD_CREATE,
                              .path = ZNODE_FEATURE,
                              .data =
                                  znode_feature_encode(&c->arena, c->config.versions.feature_node)};
    return controller_checked_multi(c, &create, 1);
}

/* What was told to a controller before is not for this one: it reads everything anyway. */
static err drop_notifications(struct controller *c, const char *path, int flags)
{
    struct coord_op list;
    TRY(controller_read_children(c, path, flags, &list));
    return controller_remove_children(c, path, &list);
}

/* Without those that a former life leads: of them the steps that follow tell. */
static struct parts parts_to_tell(struct controller *c)
{
    struct parts with_state = all_parts(c);
    struct parts told = {0};
    for (int32_t i = 0; i < with_state.count; i++) {
        const struct part *part = &with_state.all[i];
        if (!ctl_is_led_by_former_life(&c->state, &part->topic->partitions[part->partition])) {
            parts_add(&told, &c->arena, part->topic, part->partition);
        }
    }
    return told;
}

/* Everybody is told what is in the store; then who does not live is dropped, then others are elected:
 * two steps, as with Kafka's controller, and two leader epochs. */
static err take_over_states(struct controller *c, const struct topic_list *all)
{
    struct ctl_decision d;
    struct parts parts = parts_to_tell(c);
    if (parts.count > 0) {
        controller_send_roles(c, &parts);
        controller_send_metadata(c, &parts);
    }
    TRY(controller_decide(c, all, ctl_drop_dead, &d));
    return controller_settle(c, all);
}

static err take_over(struct controller *c)
{
    ctl_state_clear(&c->state);
    map_deinit(&c->ignored);
    map_init(&c->ignored);
    c->requested_n = -1; /* until it is read */
    TRY(ensure_feature(c));
    TRY(drop_notifications(c, ZNODE_LOG_DIR_EVENTS, COORD_WATCH));
    TRY(drop_notifications(c, ZNODE_ISR_CHANGES, 0));
    struct id_list left;
    TRY(controller_load_brokers(c, &left));
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        c->state.brokers[b].news = CTL_BROKER_STAYED;
    }
    struct parts none = {0};
    controller_send_targets(c);
    controller_send_metadata(c, &none);
    struct coord_op names;
    TRY(controller_read_children(c, ZNODE_TOPICS, COORD_WATCH, &names));
    struct topic_list all;
    TRY(controller_load_topics(c, names.children, names.children_n, &all));
    TRY(take_over_states(c, &all));
    TRY(on_delete_requests(c));
    TRY(controller_resume_moves(c));
    TRY(controller_move_requested(c));
    return controller_prefer_requested(c);
}

static err elect(struct controller *c)
{
    bool elected = false;
    TRY(controller_stand(c, &elected));
    return elected ? take_over(c) : OK;
}

/* The controller came, went, or is another one. */
static err on_controller_changed(struct controller *c)
{
    bool there = false;
    bool own = false;
    TRY(controller_read_office(c, &there, &own));
    if (c->active && own) {
        return OK;
    }
    controller_resign(c, "its node is gone");
    return there ? OK : elect(c);
}

err controller_elect(struct controller *c)
{
    c->unreadable = NULL;
    err e = elect(c);
    controller_event_done(c, e, c->unreadable == NULL ? "election" : c->unreadable);
    return e;
}

const char *controller_unreadable(const struct controller *c)
{
    return c->unreadable;
}
