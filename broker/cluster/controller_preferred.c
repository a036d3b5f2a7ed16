/* Preferred leaders: the first replica of each partition leads again, if it lives and is in sync,
 * when somebody asks for it by a znode or when the brokers lead too unequal shares. */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"

static struct topic_list prefer_all(struct controller *c, struct ctl_writes *writes)
{
    struct topic_list changed = {0};
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    for (int32_t t = 0; t < all.count; t++) {
        bool any = false;
        for (int32_t p = 0; p < all.topics[t]->partitions_n; p++) {
            any |= ctl_prefer(&c->state, &c->arena, all.topics[t], p, writes);
        }
        if (any) {
            all.topics[changed.count++] = all.topics[t]; /* never ahead of t */
        }
    }
    changed.topics = all.topics;
    return changed;
}

/* A topic of which several partitions changed is told once. */
static void list_add(struct topic_list *list, struct ctl_topic *topic)
{
    for (int32_t i = 0; i < list->count; i++) {
        if (list->topics[i] == topic) {
            return;
        }
    }
    list->topics[list->count++] = topic;
}

/* /admin/preferred_replica_election names partitions; it is deleted when they have been seen to. */
err controller_prefer_requested(struct controller *c)
{
    struct coord_op get;
    TRY(controller_read_node(c, ZNODE_PREFERRED_ELECTION, COORD_WATCH, &get));
    if (get.error == E_NOT_FOUND) {
        return OK;
    }
    TRY(get.error);
    struct znode_partitions wish;
    if (znode_partitions_decode(&c->arena, get.value, &wish) != OK) {
        log_error("controller", "node unreadable, removed path=%s", ZNODE_PREFERRED_ELECTION);
        wish = (struct znode_partitions){0};
    }
    struct ctl_writes writes = {0};
    struct topic_list changed = {
        .topics = controller_alloc(c, (size_t)wish.count, sizeof(*changed.topics))};
    for (int32_t i = 0; i < wish.count; i++) {
        struct ctl_topic *topic = ctl_topic_find(&c->state, wish.topics[i]);
        if (topic != NULL && !topic->deleting && wish.partitions[i] >= 0 &&
            wish.partitions[i] < topic->partitions_n &&
            ctl_prefer(&c->state, &c->arena, topic, wish.partitions[i], &writes)) {
            list_add(&changed, topic);
        }
    }
    ctl_writes_add(&writes, (struct coord_op){.type = COORD_DELETE,
                                              .path = ZNODE_PREFERRED_ELECTION,
                                              .version = COORD_ANY_VERSION});
    TRY(controller_commit_and_send(c, &writes, &changed));
    return controller_read_node(c, ZNODE_PREFERRED_ELECTION, COORD_WATCH, &get);
}

err controller_prefer_all(struct controller *c)
{
    struct ctl_writes writes = {0};
    struct topic_list changed = prefer_all(c, &writes);
    return controller_commit_and_send(c, &writes, &changed);
}
