/* From events to decisions, and from decisions to writes and requests.
 *
 * An event re-reads what changed and puts it into the model (controller_state.h), which decides; the
 * writes are made, and when they are all made the requests go out. An event that meets an error of
 * the store ends the leadership: the next election starts from what is really there. */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"
#include "protocol/error.h"

#include <stdlib.h>

struct controller *controller_new(const struct controller_config *config)
{
    struct controller *c = xcalloc(1, sizeof(*c));
    c->config = *config;
    c->known_leader = -1;
    ctl_state_init(&c->state, config->broker_id);
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
    c->active = false;
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
    return OK;
}

/* Clients hear of it first, then the replicas go; when every broker has confirmed, the znodes. */
static err begin_deletion(struct controller *c, struct ctl_topic *topic)
{
    if (topic->stops.count > 0) {
        return OK; /* under way */
    }
    bool all_live = ctl_begin_deletion(&c->state, topic);
    struct topic_list list = {.topics = &topic, .count = 1};
    controller_send_metadata(c, &list);
    if (!all_live) {
        log_warn("controller", "deletion waits for an offline replica topic=%.*s",
                 (int)topic->name.len, topic->name.data);
        return OK;
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
                                                            : begin_deletion(c, topic));
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
    return controller_settle_and_send(c, &list);
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
    return controller_settle_and_send(c, &list);
}

/* ---- brokers ---- */

static err on_brokers_changed(struct controller *c)
{
    TRY(controller_load_brokers(c));
    struct topic_list none = {0};
    controller_send_metadata(c, &none);
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    TRY(controller_settle_and_send(c, &all));
    return on_delete_requests(c); /* one may have waited for this broker */
}

/* A broker says that a directory has failed: asked for its roles again, it tells which. */
static err on_log_dir_events(struct controller *c)
{
    struct coord_op list;
    TRY(controller_read_children(c, ZNODE_LOG_DIR_EVENTS, COORD_WATCH, &list));
    if (list.children_n == 0) {
        return OK;
    }
    TRY(controller_remove_children(c, ZNODE_LOG_DIR_EVENTS, &list));
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    controller_send_roles(c, &all);
    return OK;
}

/* ---- answers ---- */

/* A replica whose directory does not work cannot lead; one that works again may. */
static err on_roles_answered(struct controller *c, int32_t broker,
                             const struct leader_and_isr_response *response)
{
    struct topic_list changed = {
        .topics = controller_alloc(c, (size_t)response->topics_n, sizeof(*changed.topics))};
    for (int32_t t = 0; t < response->topics_n; t++) {
        const struct leader_and_isr_response_topic *in = &response->topics[t];
        struct ctl_topic *topic = ctl_topic_by_id(&c->state, in->topic_id);
        bool news = false;
        for (int32_t i = 0; topic != NULL && i < in->partition_errors_n; i++) {
            const struct leader_and_isr_response_partition_error *p = &in->partition_errors[i];
            bool failed = p->error_code == ERR_KAFKA_STORAGE_ERROR;
            news |= ctl_set_replica_offline(topic, p->partition_index, broker, failed);
            if (p->error_code != OK && p->error_code != ERR_STALE_CONTROLLER_EPOCH) {
                log_error("controller",
                          "replica refused its role broker=%d topic=%.*s partition=%d error=%s",
                          broker, (int)topic->name.len, topic->name.data, p->partition_index,
                          kafka_error_name(p->error_code));
            }
        }
        if (news && !topic->deleting) {
            changed.topics[changed.count++] = topic;
        }
    }
    return changed.count == 0 ? OK : controller_settle_and_send(c, &changed);
}

static err on_stop_answered(struct controller *c, int32_t broker,
                            const struct stop_replica_response *response)
{
    if (response->partition_errors_n <= 0) {
        return OK;
    }
    struct ctl_topic *topic = ctl_topic_find(&c->state, response->partition_errors[0].topic_name);
    err failed = response->error_code;
    for (int32_t i = 0; i < response->partition_errors_n; i++) {
        failed = failed == OK ? response->partition_errors[i].error_code : failed;
    }
    if (topic == NULL || !topic->deleting) {
        return OK;
    }
    if (failed != OK) {
        log_error("controller", "replicas cannot be deleted broker=%d topic=%.*s error=%s", broker,
                  (int)topic->name.len, topic->name.data, kafka_error_name(failed));
        topic->stops.count = 0; /* tried again when a broker comes, or another deletion */
        return OK;
    }
    return ctl_confirm_deletion(topic, broker) ? finish_deletion(c, topic) : OK;
}

/* ---- events ---- */

static void event_done(struct controller *c, err e, const char *what)
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
    };
    if (strcmp(path, ZNODE_CONTROLLER) == 0) {
        event_done(c, on_controller_changed(c), path);
        return;
    }
    if (!c->active) {
        return;
    }
    for (size_t i = 0; i < sizeof(WATCHED) / sizeof(WATCHED[0]); i++) {
        if (strcmp(path, WATCHED[i].path) == 0) {
            event_done(c, WATCHED[i].act(c), path);
            return;
        }
    }
    event_done(c, on_child_of(c, type, path), path);
}

void controller_on_answer(struct controller *c, int32_t broker_id, int16_t api_key,
                          int32_t controller_epoch, const void *response)
{
    if (!c->active || controller_epoch != c->state.epoch) {
        return; /* to a controller that is no more */
    }
    err e = OK;
    if (api_key == KEY_LEADER_AND_ISR) {
        e = on_roles_answered(c, broker_id, response);
    } else if (api_key == KEY_STOP_REPLICA) {
        e = on_stop_answered(c, broker_id, response);
    }
    event_done(c, e, "answer");
}

void controller_rebalance(struct controller *c)
{
    if (!c->active || !ctl_is_imbalanced(&c->state, c->config.imbalance_percent)) {
        return;
    }
    event_done(c, controller_prefer_all(c), "rebalance");
}

/* ---- taking over ---- */

static err ensure_feature(struct controller *c)
{
    struct coord_op get;
    TRY(controller_read_node(c, ZNODE_FEATURE, 0, &get));
    if (get.error != E_NOT_FOUND) {
        return get.error;
    }
    struct coord_op create = {
        .type = COORD_CREATE, .path = ZNODE_FEATURE, .data = znode_feature_encode(&c->arena)};
    return controller_checked_multi(c, &create, 1);
}

/* What was told to a controller before is not for this one: it reads everything anyway. */
static err drop_notifications(struct controller *c, const char *path, int flags)
{
    struct coord_op list;
    TRY(controller_read_children(c, path, flags, &list));
    return controller_remove_children(c, path, &list);
}

static err take_over(struct controller *c)
{
    ctl_state_clear(&c->state);
    map_deinit(&c->ignored);
    map_init(&c->ignored);
    TRY(ensure_feature(c));
    TRY(drop_notifications(c, ZNODE_LOG_DIR_EVENTS, COORD_WATCH));
    TRY(drop_notifications(c, ZNODE_ISR_CHANGES, 0));
    TRY(controller_load_brokers(c));
    struct topic_list none = {0};
    controller_send_metadata(c, &none);
    struct coord_op names;
    TRY(controller_read_children(c, ZNODE_TOPICS, COORD_WATCH, &names));
    struct topic_list all;
    TRY(controller_load_topics(c, names.children, names.children_n, &all));
    TRY(controller_settle_and_send(c, &all));
    TRY(on_delete_requests(c));
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
    event_done(c, e, c->unreadable == NULL ? "election" : c->unreadable);
    return e;
}

const char *controller_unreadable(const struct controller *c)
{
    return c->unreadable;
}
