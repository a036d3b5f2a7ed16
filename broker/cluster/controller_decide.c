/* Elections and in-sync replicas (reference: zookeeper §8, replication §6):
 *
 *   trigger            leader                                     in-sync replicas
 *   new partition      first live replica                         all live replicas; waits if none
 *   leader is gone     first assigned that lives and is in sync   those of them that live
 *   … unclean          first assigned that lives                  it alone; the partition recovers
 *   preferred          the first assigned, if it lives, in sync   unchanged
 *   shutdown           first assigned that lives and is in sync   without the one that shuts down
 *   follower is gone   unchanged                                  without it, if it is not the last
 *   leader's wish      unchanged                                  the wish
 *
 * When nobody can lead, the last in-sync replicas keep their claim. A broker that has ended and begun
 * again counts as gone and come, also where nobody saw it go (it was the controller itself, or its session
 * went on): a leader would go on in the same epoch with another log. "Lives" means that the broker
 * is registered, does not shut down, and has not refused the partition for its directory. All but the
 * leader's wish raise the leader epoch by one. */
#include "broker/cluster/controller_decide.h"

#include "base/log.h"
#include "base/planted.h"
#include "protocol/error.h"

#include <stdlib.h>

enum { PERCENT = 100, RECOVERED = 0, RECOVERING = 1 };

bool ctl_replica_is_live(const struct ctl_state *state, const struct ctl_partition *p, int32_t id)
{
    return ctl_broker_is_live(state, id) && !id_list_holds(&p->offline, id);
}

/* Has the broker begun its present life after the state was last written? Then nobody has taken notice
 * that the one before ended, perhaps with records that were not on the disk: where others are in sync
 * they count, and it does not. With a single replica there is nobody to differ from. */
static bool has_restarted(const struct ctl_state *state, const struct ctl_partition *p, int32_t id)
{
    const struct ctl_broker *broker = ctl_broker_find(state, id);
    return p->replicas.count > 1 && broker != NULL && broker->epoch > p->state_zxid &&
           !planted(MISTAKE_NO_BOUNCE);
}

bool ctl_is_led_by_former_life(const struct ctl_state *state, const struct ctl_partition *p)
{
    return p->state.leader != CTL_NO_LEADER && has_restarted(state, p, p->state.leader);
}

/* The assigned replicas that live, of those in `among` if it is given. */
struct id_list ctl_live_replicas(const struct ctl_decision *d, const struct ctl_partition *p,
                                 const struct id_list *among)
{
    struct id_list live = {.ids =
                               arena_array(d->arena, (size_t)p->replicas.count, sizeof(*live.ids))};
    CHECK(live.ids != NULL);
    for (int32_t i = 0; i < p->replicas.count; i++) {
        int32_t id = p->replicas.ids[i];
        if (ctl_replica_is_live(d->state, p, id) && (among == NULL || id_list_holds(among, id))) {
            live.ids[live.count++] = id;
        }
    }
    return live;
}

/* Members that live, in the order of the set: those that have not restarted unnoticed, if there are such. */
static struct id_list live_members(const struct ctl_decision *d, const struct ctl_partition *p)
{
    const struct id_list *isr = &p->state.isr;
    struct id_list live = {.ids = arena_array(d->arena, (size_t)isr->count, sizeof(*live.ids))};
    CHECK(live.ids != NULL);
    for (int pass = 0; pass < 2 && live.count == 0; pass++) {
        for (int32_t i = 0; i < isr->count; i++) {
            int32_t id = isr->ids[i];
            if (ctl_replica_is_live(d->state, p, id) &&
                (pass == 1 || !has_restarted(d->state, p, id))) {
                live.ids[live.count++] = id;
            }
        }
    }
    return live;
}

static int64_t newest_life(const struct ctl_state *state)
{
    int64_t newest = 0;
    for (int32_t i = 0; i < state->brokers_n; i++) {
        newest = state->brokers[i].epoch > newest ? state->brokers[i].epoch : newest;
    }
    return newest;
}

/* ---- writes ---- */

static void write_first(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (!topic->partitions_there) {
        const char *path = znode_partitions_path(d->arena, topic->name);
        ctl_writes_add(&d->writes, (struct coord_op){.type = COORD_CREATE, .path = path});
        topic->partitions_there = true;
    }
    if (!p->node_there) {
        const char *path = znode_partition_path(d->arena, topic->name, partition);
        ctl_writes_add(&d->writes, (struct coord_op){.type = COORD_CREATE, .path = path});
    }
    ctl_writes_add(&d->writes,
                   (struct coord_op){.type = COORD_CREATE,
                                     .path = znode_state_path(d->arena, topic->name, partition),
                                     .data = znode_state_encode(d->arena, &p->state)});
    p->state_version = 0;
    p->state_zxid = newest_life(d->state);
    p->node_there = true;
    p->is_new = true;
    parts_add(&d->changed, d->arena, topic, partition);
}

static void write_state(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    p->state.controller_epoch = d->state->epoch;
    ctl_writes_add(&d->writes,
                   (struct coord_op){.type = COORD_SET,
                                     .path = znode_state_path(d->arena, topic->name, partition),
                                     .data = znode_state_encode(d->arena, &p->state),
                                     .version = p->state_version});
    p->state_version++;
    p->state_zxid = newest_life(d->state);
    parts_add(&d->changed, d->arena, topic, partition);
}

void ctl_write_next_epoch(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    topic->partitions[partition].state.leader_epoch++;
    write_state(d, topic, partition);
}

/* ---- settling ---- */

/* False: nobody lives. */
static bool elect_first(struct ctl_decision *d, struct ctl_partition *p)
{
    struct id_list live = ctl_live_replicas(d, p, NULL);
    if (live.count == 0) {
        return false;
    }
    p->state.leader = live.ids[0];
    p->state.leader_epoch = 0;
    p->state.controller_epoch = d->state->epoch;
    id_list_set(&p->state.isr, live.ids, live.count);
    return true;
}

static bool elect_unclean(const struct ctl_decision *d, struct ctl_partition *p)
{
    struct id_list live = ctl_live_replicas(d, p, NULL);
    if (live.count == 0) {
        return false;
    }
    p->state.leader = live.ids[0];
    p->state.leader_recovery_state = RECOVERING;
    id_list_set(&p->state.isr, live.ids, 1);
    return true;
}

static void say_unclean(const struct ctl_decision *d, const struct ctl_topic *topic,
                        int32_t partition)
{
    events_add(d->state->events, EVENT_UNCLEAN_ELECTIONS, 1);
    log_warn("controller",
             "unclean election: records that the new leader does not have are lost topic=%.*s "
             "partition=%d leader=%d",
             (int)topic->name.len, topic->name.data, partition,
             topic->partitions[partition].state.leader);
}

static bool unclean_allowed(const struct ctl_state *state, struct str topic)
{
    return state->unclean_allowed != NULL && state->unclean_allowed(state->context, topic);
}

bool ctl_leads_on(const struct ctl_state *state, const struct ctl_partition *p)
{
    const struct ctl_broker *leader = ctl_broker_find(state, p->state.leader);
    return leader != NULL && leader->shuts_down && !id_list_holds(&p->offline, leader->id);
}

/* The leader does not live. False: nothing better is known than what is there. */
static bool elect_another(const struct ctl_decision *d, const struct ctl_topic *topic,
                          int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    struct id_list isr = live_members(d, p);
    struct id_list live = ctl_live_replicas(d, p, &isr);
    if (live.count > 0) {
        p->state.leader = live.ids[0];
        id_list_set(&p->state.isr, isr.ids, isr.count);
        return true;
    }
    if (ctl_leads_on(d->state, p)) {
        return false;
    }
    if (unclean_allowed(d->state, topic->name) && elect_unclean(d, p)) {
        say_unclean(d, topic, partition);
        return true;
    }
    bool news = p->state.leader != CTL_NO_LEADER;
    p->state.leader = CTL_NO_LEADER;
    return news;
}

bool ctl_leader_lives(const struct ctl_decision *d, const struct ctl_partition *p)
{
    int32_t leader = p->state.leader;
    return leader != CTL_NO_LEADER && ctl_replica_is_live(d->state, p, leader) &&
           !has_restarted(d->state, p, leader);
}

/* Who does not live leaves the ISR. False: all live. */
static bool drop_dead_members(const struct ctl_decision *d, struct ctl_partition *p)
{
    struct id_list live = live_members(d, p);
    if (live.count == p->state.isr.count || live.count == 0) {
        return false;
    }
    id_list_set(&p->state.isr, live.ids, live.count);
    return true;
}

static void settle_partition(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->unreadable) {
        return;
    }
    if (p->state_version == CTL_NO_STATE) {
        if (elect_first(d, p)) {
            write_first(d, topic, partition);
        }
        return;
    }
    bool changed =
        ctl_leader_lives(d, p) ? drop_dead_members(d, p) : elect_another(d, topic, partition);
    if (changed) {
        ctl_write_next_epoch(d, topic, partition);
    }
}

void ctl_settle(struct ctl_decision *d, const struct topic_list *list)
{
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t p = 0; p < list->topics[t]->partitions_n; p++) {
            settle_partition(d, list->topics[t], p);
        }
    }
}

/* What is decided already may be the work of a controller that died before it told anybody. */
void ctl_settle_and_tell(struct ctl_decision *d, const struct topic_list *list)
{
    ctl_settle(d, list);
    d->changed = (struct parts){0};
    parts_add_topics(&d->changed, d->arena, list);
}

void ctl_drop_dead(struct ctl_decision *d, const struct topic_list *list)
{
    for (int32_t t = 0; t < list->count; t++) {
        for (int32_t i = 0; i < list->topics[t]->partitions_n; i++) {
            struct ctl_partition *p = &list->topics[t]->partitions[i];
            if (p->unreadable || p->state_version == CTL_NO_STATE) {
                continue;
            }
            bool changed = drop_dead_members(d, p);
            if (p->state.leader != CTL_NO_LEADER && !ctl_leader_lives(d, p)) {
                p->state.leader = CTL_NO_LEADER;
                changed = true;
            }
            if (changed) {
                ctl_write_next_epoch(d, list->topics[t], i);
            }
        }
    }
}

/* ---- shutdown ---- */

/* It shuts down, so it does not live: who else is in sync? */
static void hand_over(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition,
                      int32_t broker, struct parts *led, struct parts *remaining)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->unreadable || p->state_version == CTL_NO_STATE || p->replicas.count < 2 ||
        !id_list_holds(&p->replicas, broker)) {
        return;
    }
    if (p->state.leader != broker) {
        if (id_list_holds(&p->state.isr, broker) && p->state.isr.count > 1) {
            id_list_remove(&p->state.isr, broker);
            ctl_write_next_epoch(d, topic, partition);
        }
        return;
    }
    struct id_list live = ctl_live_replicas(d, p, &p->state.isr);
    if (live.count == 0) {
        parts_add(remaining, d->arena, topic, partition);
        return;
    }
    p->state.leader = live.ids[0];
    id_list_remove(&p->state.isr, broker);
    ctl_write_next_epoch(d, topic, partition);
    parts_add(led, d->arena, topic, partition);
}

void ctl_shut_down(struct ctl_decision *d, int32_t broker, struct parts *led,
                   struct parts *remaining)
{
    struct topic_list all = ctl_all_topics(d->state, d->arena);
    for (int32_t t = 0; t < all.count; t++) {
        for (int32_t p = 0; p < all.topics[t]->partitions_n; p++) {
            hand_over(d, all.topics[t], p, broker, led, remaining);
        }
    }
}

/* ---- elections that are asked for ---- */

err ctl_prefer(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->state_version == CTL_NO_STATE || p->replicas.count == 0) {
        return OK;
    }
    int32_t preferred = p->replicas.ids[0];
    if (p->state.leader == preferred) {
        return ERR_ELECTION_NOT_NEEDED;
    }
    if (!ctl_replica_is_live(d->state, p, preferred) || !id_list_holds(&p->state.isr, preferred)) {
        return ERR_PREFERRED_LEADER_NOT_AVAILABLE;
    }
    p->state.leader = preferred;
    ctl_write_next_epoch(d, topic, partition);
    return OK;
}

err ctl_elect_unclean(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->state_version == CTL_NO_STATE) {
        return OK;
    }
    if (ctl_leader_lives(d, p)) {
        return ERR_ELECTION_NOT_NEEDED;
    }
    struct id_list live = ctl_live_replicas(d, p, &p->state.isr);
    if (live.count > 0) {
        (void)elect_another(d, topic, partition);
    } else if (elect_unclean(d, p)) {
        say_unclean(d, topic, partition);
    } else {
        return ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE;
    }
    ctl_write_next_epoch(d, topic, partition);
    return OK;
}

/* ---- a leader's wish ---- */

static bool holds_all(const struct id_list *list, const struct id_list *of)
{
    for (int32_t i = 0; i < of->count; i++) {
        if (!id_list_holds(list, of->ids[i])) {
            return false;
        }
    }
    return true;
}

/* Neither names one twice, then. */
static bool same_members(const struct id_list *isr, const struct id_list *wish)
{
    return isr->count == wish->count && holds_all(isr, wish) && holds_all(wish, isr);
}

/* All are assigned: is each named once, and the leader among them? */
static bool is_isr(const struct ctl_partition *p, const struct id_list *wish, int32_t leader)
{
    if (wish->count > p->replicas.count || !id_list_holds(wish, leader)) {
        return false;
    }
    for (int32_t i = 1; i < wish->count; i++) {
        const struct id_list before = {.ids = wish->ids, .count = i};
        if (id_list_holds(&before, wish->ids[i])) {
            return false;
        }
    }
    return true;
}

/* Has who is to join registered anew since the leader has heard of it? It may come with another disk. Apache's
 * controller does not ask that in ZooKeeper mode. (KIP-903) */
static bool is_of_former_life(const struct ctl_decision *d, const struct ctl_partition *p,
                              const struct ctl_isr_wish *wish, int32_t member)
{
    int32_t id = wish->isr.ids[member];
    if (wish->broker_epochs == NULL || wish->broker_epochs[member] < 0 ||
        id_list_holds(&p->state.isr, id)) {
        return false;
    }
    return wish->broker_epochs[member] != ctl_broker_find(d->state, id)->epoch;
}

/* In Kafka's order; that it is the leader who asks, and names each member once, is ours. (reference:
 * replication §9) */
static err check_wish(const struct ctl_decision *d, const struct ctl_partition *p,
                      const struct ctl_isr_wish *wish)
{
    if (wish->partition_epoch > p->state_version || wish->leader_epoch > p->state.leader_epoch) {
        return ERR_NOT_CONTROLLER;
    }
    if ((wish->leader_epoch < p->state.leader_epoch || wish->leader != p->state.leader) &&
        !planted(MISTAKE_ANY_WISH)) {
        return ERR_FENCED_LEADER_EPOCH;
    }
    if (same_members(&p->state.isr, &wish->isr) &&
        wish->leader_recovery_state == p->state.leader_recovery_state) {
        return OK;
    }
    if (wish->partition_epoch < p->state_version && !planted(MISTAKE_ANY_WISH)) {
        return ERR_INVALID_UPDATE_VERSION;
    }
    bool recovering = wish->leader_recovery_state == RECOVERING;
    if (recovering && (wish->isr.count > 1 || p->state.leader_recovery_state == RECOVERED)) {
        return ERR_INVALID_REQUEST;
    }
    for (int32_t i = 0; i < wish->isr.count; i++) {
        if (!id_list_holds(&p->replicas, wish->isr.ids[i]) ||
            !ctl_broker_is_live(d->state, wish->isr.ids[i]) || is_of_former_life(d, p, wish, i)) {
            return ERR_INELIGIBLE_REPLICA;
        }
    }
    return is_isr(p, &wish->isr, wish->leader) ? OK : ERR_INVALID_REQUEST;
}

err ctl_alter_isr(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition,
                  const struct ctl_isr_wish *wish)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->state_version == CTL_NO_STATE) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    TRY(check_wish(d, p, wish));
    if (same_members(&p->state.isr, &wish->isr) &&
        wish->leader_recovery_state == p->state.leader_recovery_state) {
        return OK;
    }
    id_list_set(&p->state.isr, wish->isr.ids, wish->isr.count);
    p->state.leader_recovery_state = wish->leader_recovery_state;
    write_state(d, topic, partition);
    return OK;
}

/* ---- balance ---- */

bool ctl_is_imbalanced(const struct ctl_state *state, int32_t broker, int32_t percent)
{
    int64_t preferred = 0;
    int64_t led_by_others = 0;
    map_each (entry, &state->topics) {
        const struct ctl_topic *topic = entry->value;
        for (int32_t i = 0; i < topic->partitions_n && !topic->deleting; i++) {
            const struct ctl_partition *p = &topic->partitions[i];
            if (p->replicas.count > 0 && p->replicas.ids[0] == broker) {
                preferred++;
                led_by_others += p->state.leader != broker ? 1 : 0;
            }
        }
    }
    return led_by_others * PERCENT > preferred * percent;
}

/* ---- deletion ---- */

void ctl_begin_deletion(struct ctl_topic *topic)
{
    topic->deleting = true;
    topic->stops.count = 0;
    topic->asked.count = 0;
    topic->told.count = 0;
    for (int32_t p = 0; p < topic->partitions_n; p++) {
        const struct id_list *replicas = &topic->partitions[p].replicas;
        for (int32_t r = 0; r < replicas->count; r++) {
            id_list_add(&topic->stops, replicas->ids[r]);
        }
    }
}

bool ctl_confirm_deletion(struct ctl_topic *topic, int32_t broker)
{
    if (!id_list_holds(&topic->stops, broker)) {
        return false;
    }
    id_list_remove(&topic->stops, broker);
    return topic->stops.count == 0;
}
