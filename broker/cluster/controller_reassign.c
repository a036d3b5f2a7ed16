/* Reassignments, decided on the model (reference: zookeeper §9, replication §2; KIP-455):
 *
 *   begun     the replicas are the target and then those of before; another leader epoch, so that the
 *             leader counts those that are added
 *   reached   all of the target are in sync: they alone are the replicas, one of them leads
 *   left      who is no replica any more leaves the ISR, and deletes its own
 *
 * A second plan takes the place of the first: who is in neither it nor the replicas before the first leaves
 * at once. No plan is taken after which nobody would be left who is in sync. */
#include "broker/cluster/controller_decide.h"

#include "base/planted.h"
#include "protocol/error.h"

bool ctl_is_moving(const struct ctl_partition *p)
{
    return p->adding.count > 0 || p->removing.count > 0;
}

/* ---- lists ---- */

static struct id_list list_new(struct arena *arena, int32_t room)
{
    struct id_list list = {.ids = arena_array(arena, (size_t)room, sizeof(*list.ids))};
    CHECK(list.ids != NULL);
    return list;
}

/* Those of a list that are not in another. */
static struct id_list without(struct arena *arena, const struct id_list *list,
                              const struct id_list *others)
{
    struct id_list rest = list_new(arena, list->count);
    for (int32_t i = 0; i < list->count; i++) {
        if (!id_list_holds(others, list->ids[i])) {
            rest.ids[rest.count++] = list->ids[i];
        }
    }
    return rest;
}

struct id_list ctl_target(const struct ctl_partition *p, struct arena *arena)
{
    return without(arena, &p->replicas, &p->removing);
}

static struct str list_text(struct arena *arena, const struct id_list *list)
{
    struct str text = STR("");
    for (int32_t i = 0; i < list->count; i++) {
        text = arena_format(arena, "%.*s%s%d", (int)text.len, text.data, i == 0 ? "" : ",",
                            list->ids[i]);
    }
    return text;
}

/* ---- a plan ---- */

static err refuse_plan(struct str *message, struct str text)
{
    *message = text;
    return ERR_INVALID_REPLICA_ASSIGNMENT;
}

static bool names_one_twice(const struct id_list *list)
{
    for (int32_t i = 1; i < list->count; i++) {
        const struct id_list before = {.ids = list->ids, .count = i};
        if (id_list_holds(&before, list->ids[i])) {
            return true;
        }
    }
    return false;
}

static bool names_none(const struct id_list *list)
{
    for (int32_t i = 0; i < list->count; i++) {
        if (list->ids[i] < 0) {
            return true;
        }
    }
    return false;
}

/* `origin` are the replicas of before any plan. */
static err check_target(const struct ctl_state *state, struct arena *arena,
                        const struct id_list *origin, const struct id_list *target,
                        struct str *message)
{
    if (target->count <= 0) {
        return refuse_plan(message, STR("The list of replicas is empty."));
    }
    if (target->count > state->brokers_n + origin->count) {
        return refuse_plan(message, STR("The list of replicas is longer than there are brokers."));
    }
    if (names_one_twice(target)) {
        return refuse_plan(message, arena_format(arena, "A replica is named twice: %s.",
                                                 list_text(arena, target).data));
    }
    if (names_none(target)) {
        return refuse_plan(message, arena_format(arena, "There is no such broker id: %s.",
                                                 list_text(arena, target).data));
    }
    struct id_list added = without(arena, target, origin);
    for (int32_t i = 0; i < added.count; i++) {
        if (!ctl_broker_is_live(state, added.ids[i])) {
            return refuse_plan(message, arena_format(arena,
                                                     "A broker that is not alive cannot get a "
                                                     "replica: %s.",
                                                     list_text(arena, &added).data));
        }
    }
    return OK;
}

/* Is any of these in sync? Nobody is as long as there is no state. */
static bool any_in_sync(const struct ctl_partition *p, const struct id_list *replicas)
{
    for (int32_t i = 0; i < replicas->count; i++) {
        if (id_list_holds(&p->state.isr, replicas->ids[i])) {
            return true;
        }
    }
    return p->state_version == CTL_NO_STATE || p->state.isr.count == 0;
}

static void add_all(struct id_list *list, const struct id_list *more)
{
    for (int32_t i = 0; i < more->count; i++) {
        id_list_add(list, more->ids[i]);
    }
}

static void remove_all(struct id_list *list, const struct id_list *less)
{
    for (int32_t i = 0; i < less->count; i++) {
        id_list_remove(list, less->ids[i]);
    }
}

/* Both, in the arena; they have nobody in common. */
static struct id_list joined(struct arena *arena, const struct id_list *list,
                             const struct id_list *more)
{
    struct id_list all = list_new(arena, list->count + more->count);
    for (int32_t i = 0; i < list->count; i++) {
        all.ids[all.count++] = list->ids[i];
    }
    for (int32_t i = 0; i < more->count; i++) {
        all.ids[all.count++] = more->ids[i];
    }
    return all;
}

/* The replicas, of which the first are the target and those of `origin` were there before any plan. */
static void take_replicas(struct ctl_partition *p, struct arena *arena,
                          const struct id_list *replicas, const struct id_list *target,
                          const struct id_list *origin)
{
    struct id_list adding = without(arena, replicas, origin);
    struct id_list removing = without(arena, replicas, target);
    struct id_list fresh = without(arena, &adding, &p->replicas);
    struct id_list gone = without(arena, &p->replicas, replicas);
    add_all(&p->fresh, &fresh);
    add_all(&p->leaving, &gone);
    remove_all(&p->fresh, &gone);
    remove_all(&p->leaving, replicas);
    remove_all(&p->asked, replicas);
    remove_all(&p->told, replicas);
    id_list_set(&p->replicas, replicas->ids, replicas->count);
    id_list_set(&p->adding, adding.ids, adding.count);
    id_list_set(&p->removing, removing.ids, removing.count);
}

err ctl_reassign(const struct ctl_state *state, struct arena *arena, struct ctl_topic *topic,
                 int32_t partition, const struct id_list *target, struct str *message)
{
    struct ctl_partition *p = ctl_partition_find(topic, partition);
    struct id_list origin =
        p == NULL ? (struct id_list){0} : without(arena, &p->replicas, &p->adding);
    if (target == NULL && (p == NULL || !ctl_is_moving(p))) {
        *message = STR("No reassignment of the partition is in progress.");
        return ERR_NO_REASSIGNMENT_IN_PROGRESS;
    }
    target = target == NULL ? &origin : target;
    TRY(check_target(state, arena, &origin, target, message));
    if (p == NULL || topic->deleting) {
        *message = STR("The partition does not exist.");
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct id_list rest = without(arena, &origin, target);
    struct id_list replicas = joined(arena, target, &rest);
    if (!any_in_sync(p, &replicas)) {
        return refuse_plan(message, STR("None of the replicas that would be left is in sync."));
    }
    take_replicas(p, arena, &replicas, target, &origin);
    return OK;
}

/* ---- on the way ---- */

bool ctl_is_reached(const struct ctl_state *state, struct arena *arena,
                    const struct ctl_partition *p)
{
    struct id_list target = ctl_target(p, arena);
    bool any_lives = false;
    for (int32_t i = 0; i < target.count; i++) {
        if (!id_list_holds(&p->state.isr, target.ids[i]) && !planted(MISTAKE_LEAVES_EARLY)) {
            return false;
        }
        any_lives |= ctl_replica_is_live(state, p, target.ids[i]);
    }
    return any_lives && p->state_version != CTL_NO_STATE;
}

void ctl_arrive(struct ctl_topic *topic, int32_t partition, struct arena *arena)
{
    struct ctl_partition *p = &topic->partitions[partition];
    struct id_list target = ctl_target(p, arena);
    p->node_due |= ctl_is_moving(p);
    take_replicas(p, arena, &target, &target, &target);
}

void ctl_lead_assigned(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    if (p->state_version == CTL_NO_STATE || p->unreadable) {
        return;
    }
    if (!id_list_holds(&p->replicas, p->state.leader) || !ctl_leader_lives(d, p)) {
        struct id_list live = ctl_live_replicas(d, p, &p->state.isr);
        bool stays = id_list_holds(&p->replicas, p->state.leader) && ctl_leads_on(d->state, p);
        if (live.count > 0) {
            p->state.leader = live.ids[0];
        } else if (!stays) {
            p->state.leader = CTL_NO_LEADER;
        }
    }
    ctl_write_next_epoch(d, topic, partition);
}

bool ctl_has_unassigned(const struct ctl_partition *p)
{
    for (int32_t i = 0; p->state_version != CTL_NO_STATE && i < p->state.isr.count; i++) {
        if (!id_list_holds(&p->replicas, p->state.isr.ids[i])) {
            return true;
        }
    }
    return false;
}

void ctl_leave_unassigned(struct ctl_partition *p, struct arena *arena)
{
    struct id_list gone = without(arena, &p->state.isr, &p->replicas);
    add_all(&p->leaving, &gone);
}

void ctl_drop_unassigned(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition)
{
    struct ctl_partition *p = &topic->partitions[partition];
    struct id_list gone = without(d->arena, &p->state.isr, &p->replicas);
    if (p->state_version == CTL_NO_STATE || p->unreadable || gone.count == 0 ||
        gone.count == p->state.isr.count) {
        return;
    }
    remove_all(&p->state.isr, &gone);
    ctl_write_next_epoch(d, topic, partition);
}

/* What the node says of a partition: one that has arrived is said to move until its end is due, and who has left
 * then stays in the lists over another plan, too. */
static void fill_lists(struct ctl_decision *d, const struct ctl_partition *p,
                       struct id_list *replicas, struct id_list *adding, struct id_list *removing)
{
    *replicas = p->node_due ? joined(d->arena, &p->replicas, &p->leaving) : p->replicas;
    *adding = p->adding;
    *removing = p->node_due ? joined(d->arena, &p->removing, &p->leaving) : p->removing;
}

void ctl_write_node(struct ctl_decision *d, struct ctl_topic *topic)
{
    size_t count = (size_t)topic->partitions_n;
    struct id_list *lists = arena_array(d->arena, count * 3, sizeof(*lists));
    CHECK(lists != NULL);
    for (size_t i = 0; i < count; i++) {
        fill_lists(d, &topic->partitions[i], &lists[i], &lists[count + i], &lists[2 * count + i]);
    }
    const struct znode_topic node = {.id = topic->id,
                                     .partitions = lists,
                                     .adding = lists + count,
                                     .removing = lists + 2 * count,
                                     .partitions_n = topic->partitions_n};
    ctl_writes_add(&d->writes, (struct coord_op){.type = COORD_SET,
                                                 .path = znode_topic_path(d->arena, topic->name),
                                                 .data = znode_topic_encode(d->arena, &node),
                                                 .version = topic->version});
    topic->version++;
}
