/* Preferred leaders: the first replica of each partition leads again, if it lives and is in sync,
 * when somebody asks for it by a znode or when the brokers lead too unequal shares. */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"

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
    struct ctl_decision d;
    controller_decision_init(c, &d);
    for (int32_t i = 0; i < wish.count; i++) {
        struct ctl_topic *topic = ctl_topic_find(&c->state, wish.topics[i]);
        if (ctl_partition_find(topic, wish.partitions[i]) != NULL && !topic->deleting) {
            err_ignore(ctl_prefer(&d, topic, wish.partitions[i])); /* nobody waits for an answer */
        }
    }
    ctl_writes_add(&d.writes, (struct coord_op){.type = COORD_DELETE,
                                                .path = ZNODE_PREFERRED_ELECTION,
                                                .version = COORD_ANY_VERSION});
    TRY(controller_carry_out(c, &d));
    return controller_read_node(c, ZNODE_PREFERRED_ELECTION, COORD_WATCH, &get);
}

static void prefer_imbalanced(struct ctl_decision *d, const struct topic_list *list)
{
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            const struct ctl_partition *partition = &list->topics[t]->partitions[p];
            const struct id_list *replicas = &partition->replicas;
            const struct ctl_broker *broker =
                replicas->count == 0 ? NULL : ctl_broker_find(d->state, replicas->ids[0]);
            if (broker != NULL && broker->wants_more && !ctl_is_moving(partition)) {
                err_ignore(ctl_prefer(d, list->topics[t], p));
            }
        }
    }
}

err controller_prefer_imbalanced(struct controller *c)
{
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    struct ctl_decision d;
    bool any = false;
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        struct ctl_broker *broker = &c->state.brokers[b];
        broker->wants_more = ctl_is_imbalanced(&c->state, broker->id, c->config.imbalance_percent);
        any |= broker->wants_more;
    }
    return any ? controller_decide(c, &all, prefer_imbalanced, &d) : OK;
}
