/* Partitions on the move, from a plan to the last znode (reference: zookeeper §9, replication §2).
 *
 * The topic's node says where a partition goes before anybody is told, and that it is there only when those
 * that have left have deleted what they had: a controller that takes over reads it and goes on. Who is not
 * there to delete its replica is not waited for, and is told when it comes while this is the controller. */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"
#include "protocol/error.h"

enum { TRIES_MAX = 5 };

/* ---- lists ---- */

static struct ctl_partition *of(const struct part *part)
{
    return &part->topic->partitions[part->partition];
}

/* Those of all topics that are so. */
static struct parts all_that(struct controller *c, bool (*are)(const struct ctl_partition *p))
{
    struct parts found = {0};
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    for (int32_t t = 0; t < all.count; t++) {
        for (int32_t p = 0; p < all.topics[t]->partitions_n; p++) {
            if (are(&all.topics[t]->partitions[p])) {
                parts_add(&found, &c->arena, all.topics[t], p);
            }
        }
    }
    return found;
}

static bool is_requested(const struct ctl_partition *p)
{
    return p->requested && (ctl_is_moving(p) || p->node_due);
}

/* Their nodes are not as the model took them to be. */
static err load_again(struct controller *c, const struct topic_list *topics)
{
    const char **names = controller_alloc(c, (size_t)topics->count, sizeof(*names));
    struct topic_list loaded;
    log_warn("controller", "a topic was changed by somebody else, reading again");
    for (int32_t t = 0; t < topics->count; t++) {
        topics->topics[t]->version = CTL_NO_STATE;
        names[t] = topics->topics[t]->name.data;
    }
    return controller_load_topics(c, names, topics->count, &loaded);
}

static struct id_list copied(struct arena *arena, const struct id_list *list)
{
    struct id_list copy = {.ids = arena_array(arena, (size_t)list->count, sizeof(*copy.ids))};
    copy.count = copy.ids == NULL ? 0 : list->count;
    if (copy.count > 0) {
        memcpy(copy.ids, list->ids, (size_t)copy.count * sizeof(*copy.ids));
    }
    return copy;
}

static void say(const char *what, const struct parts *parts)
{
    if (parts->count > 0) {
        log_info("controller", "%s count=%d first=%.*s-%d", what, parts->count,
                 (int)parts->all[0].topic->name.len, parts->all[0].topic->name.data,
                 parts->all[0].partition);
    }
}

/* ---- who leaves ---- */

/* Each is asked once in its life. */
static void stop_leaving_of(struct controller *c, const struct ctl_broker *broker,
                            const struct parts *parts)
{
    struct parts its = {0};
    for (int32_t i = 0; i < parts->count; i++) {
        struct ctl_partition *p = of(&parts->all[i]);
        if (id_list_holds(&p->leaving, broker->id) && !id_list_holds(&p->asked, broker->id)) {
            id_list_add(&p->asked, broker->id);
            parts_add(&its, &c->arena, parts->all[i].topic, parts->all[i].partition);
        }
    }
    controller_send_stops(c, broker, &its, false);
}

static void stop_leaving(struct controller *c, const struct parts *parts)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        stop_leaving_of(c, &c->state.brokers[b], parts);
    }
}

void controller_stop_left(struct controller *c, const struct ctl_broker *broker)
{
    struct parts all = {0};
    struct topic_list topics = ctl_all_topics(&c->state, &c->arena);
    parts_add_topics(&all, &c->arena, &topics);
    for (int32_t i = 0; i < all.count; i++) {
        id_list_remove(&of(&all.all[i])->asked, broker->id);
        id_list_remove(&of(&all.all[i])->told, broker->id);
    }
    stop_leaving_of(c, broker, &all);
}

static bool is_waited_for(const struct controller *c, const struct ctl_partition *p)
{
    for (int32_t i = 0; i < p->leaving.count; i++) {
        if (ctl_broker_find(&c->state, p->leaving.ids[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* ---- the end ---- */

/* Another has written the topic's node: its lists are there again, and it has arrived again. */
static err arrive_again(struct controller *c, const struct parts *parts)
{
    struct topic_list topics = parts_topics(parts, &c->arena);
    TRY(load_again(c, &topics));
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        if (ctl_is_moving(of(part)) && ctl_is_reached(&c->state, &c->arena, of(part))) {
            ctl_arrive(part->topic, part->partition, &c->arena);
        }
    }
    return OK;
}

/* Of these, those that nobody is waited for. */
static err finish(struct controller *c, const struct parts *parts)
{
    struct parts due = {0};
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        if (of(part)->node_due && !part->topic->deleting && !is_waited_for(c, of(part))) {
            parts_add(&due, &c->arena, part->topic, part->partition);
        }
    }
    err e = OK;
    for (int tries = 0; tries < TRIES_MAX && due.count > 0; tries++) {
        struct ctl_decision d;
        struct topic_list topics = parts_topics(&due, &c->arena);
        controller_decision_init(c, &d);
        for (int32_t i = 0; i < due.count; i++) {
            of(&due.all[i])->node_due = false;
        }
        for (int32_t t = 0; t < topics.count; t++) {
            ctl_write_node(&d, topics.topics[t]);
        }
        e = controller_commit(c, &d.writes);
        if (e != E_VERSION || !c->active) {
            break;
        }
        TRY(arrive_again(c, &due));
    }
    if (e == OK && due.count > 0) {
        say("reassignments completed", &due);
        controller_send_metadata(c, &due);
        e = controller_note_requested(c);
    }
    return e;
}

/* All of their targets are in sync. */
static err complete(struct controller *c, const struct parts *parts)
{
    if (parts->count == 0) {
        return OK;
    }
    for (int32_t i = 0; i < parts->count; i++) {
        ctl_arrive(parts->all[i].topic, parts->all[i].partition, &c->arena);
    }
    TRY(controller_decide_each(c, parts, ctl_lead_assigned));
    stop_leaving(c, parts);
    TRY(controller_decide_each(c, parts, ctl_drop_unassigned));
    return finish(c, parts);
}

static struct parts reached(struct controller *c, const struct parts *parts)
{
    struct parts list = {0};
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        if (ctl_is_moving(of(part)) && !part->topic->deleting &&
            ctl_is_reached(&c->state, &c->arena, of(part))) {
            parts_add(&list, &c->arena, part->topic, part->partition);
        }
    }
    return list;
}

err controller_check_moves(struct controller *c, const struct parts *parts)
{
    struct parts there = reached(c, parts);
    TRY(complete(c, &there));
    return finish(c, parts);
}

err controller_check_all_moves(struct controller *c)
{
    struct parts all = {0};
    struct topic_list topics = ctl_all_topics(&c->state, &c->arena);
    parts_add_topics(&all, &c->arena, &topics);
    return controller_check_moves(c, &all);
}

/* Is it what is waited for of this partition? The broker may have been told to stop, or to delete, for
 * another reason, or in a move before this one. */
static bool is_answered(const struct ctl_partition *p, const struct left_answer *answer)
{
    return id_list_holds(&p->leaving, answer->broker) && id_list_holds(&p->asked, answer->broker) &&
           id_list_holds(&p->told, answer->broker) == answer->deletes;
}

static void let_go_of(struct ctl_partition *p, int32_t broker)
{
    id_list_remove(&p->asked, broker);
    id_list_remove(&p->told, broker);
    id_list_remove(&p->leaving, broker);
}

err controller_on_left(struct controller *c, const struct left_answer *answer)
{
    struct parts next = {0};
    struct parts gone = {0};
    for (int32_t i = 0; i < answer->done.count; i++) {
        const struct part *part = &answer->done.all[i];
        if (is_answered(of(part), answer) && !answer->deletes) {
            id_list_add(&of(part)->told, answer->broker);
            parts_add(&next, &c->arena, part->topic, part->partition);
        } else if (is_answered(of(part), answer)) {
            let_go_of(of(part), answer->broker);
            parts_add(&gone, &c->arena, part->topic, part->partition);
        }
    }
    for (int32_t i = 0; i < answer->refused.count; i++) {
        const struct part *part = &answer->refused.all[i];
        if (is_answered(of(part), answer)) {
            log_error("controller", "replica cannot be deleted broker=%d topic=%.*s partition=%d",
                      answer->broker, (int)part->topic->name.len, part->topic->name.data,
                      part->partition);
            let_go_of(of(part), answer->broker); /* its directory has failed */
            parts_add(&gone, &c->arena, part->topic, part->partition);
        }
    }
    controller_send_stops(c, ctl_broker_find(&c->state, answer->broker), &next, true);
    return finish(c, &gone);
}

/* ---- the beginning ---- */

static err reassign_one(struct controller *c, struct arena *arena,
                        struct controller_reassignment *plan, struct parts *taken)
{
    struct ctl_topic *topic = ctl_topic_find(&c->state, plan->topic);
    TRY(ctl_reassign(&c->state, arena, topic, plan->partition,
                     plan->cancel ? NULL : &plan->replicas, &plan->message));
    topic->partitions[plan->partition].requested = plan->by_node;
    parts_add(taken, &c->arena, topic, plan->partition);
    return OK;
}

/* The nodes say where they go. */
static err write_plans(struct controller *c, struct arena *arena,
                       struct controller_reassignment *plans, int32_t count, struct parts *taken)
{
    err e = OK;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        struct ctl_decision d;
        *taken = (struct parts){0};
        for (int32_t i = 0; i < count; i++) {
            plans[i].error = reassign_one(c, arena, &plans[i], taken);
        }
        TRY(controller_note_requested(c)); /* what asked for another target is not to come back */
        struct topic_list topics = parts_topics(taken, &c->arena);
        controller_decision_init(c, &d);
        for (int32_t t = 0; t < topics.count; t++) {
            ctl_write_node(&d, topics.topics[t]);
        }
        e = controller_commit(c, &d.writes);
        if (e != E_VERSION || !c->active) {
            return e;
        }
        TRY(load_again(c, &topics));
    }
    return e;
}

/* What is on the move from now on gets another leader epoch. */
static err begin(struct controller *c, const struct parts *parts)
{
    struct parts under_way = {0};
    struct parts there = {0};
    for (int32_t i = 0; i < parts->count; i++) {
        const struct part *part = &parts->all[i];
        bool is_there = ctl_is_reached(&c->state, &c->arena, of(part));
        parts_add(is_there ? &there : &under_way, &c->arena, part->topic, part->partition);
    }
    TRY(controller_decide_each(c, &under_way, ctl_lead_assigned));
    stop_leaving(c, &under_way);
    TRY(controller_decide_each(c, &under_way, ctl_drop_unassigned));
    return complete(c, &there);
}

static err reassign(struct controller *c, struct controller_reassignment *plans, int32_t count,
                    struct arena *arena)
{
    struct parts taken;
    TRY(write_plans(c, arena, plans, count, &taken));
    if (taken.count == 0) {
        return OK;
    }
    say("reassignments begun", &taken);
    TRY(begin(c, &taken));
    struct topic_list topics = parts_topics(&taken, &c->arena);
    TRY(controller_settle(c, &topics)); /* one that had no replica alive may have one now */
    return controller_check_moves(c, &taken);
}

/* A plan was cancelled, or another made, by a controller that did not live to take out of the ISR who has left. */
static bool goes_on(const struct ctl_partition *p)
{
    return ctl_is_moving(p) || ctl_has_unassigned(p);
}

err controller_resume_moves(struct controller *c)
{
    struct parts parts = all_that(c, goes_on);
    say("reassignments go on", &parts);
    for (int32_t i = 0; i < parts.count; i++) {
        ctl_leave_unassigned(of(&parts.all[i]), &c->arena);
    }
    return parts.count == 0 ? OK : begin(c, &parts);
}

/* ---- plans in a znode ---- */

static struct bytes requested(struct controller *c, int32_t *count)
{
    struct parts parts = all_that(c, is_requested);
    struct znode_reassignments list = {
        .all = controller_alloc(c, (size_t)parts.count, sizeof(*list.all))};
    for (int32_t i = 0; i < parts.count; i++) {
        const struct part *part = &parts.all[i];
        list.all[list.count++] =
            (struct znode_reassignment){.topic = part->topic->name,
                                        .partition = part->partition,
                                        .replicas = ctl_target(of(part), &c->arena)};
    }
    *count = list.count;
    return znode_reassignments_encode(&c->arena, &list);
}

/* The node has what is still to be done; when that is nothing it goes. */
err controller_note_requested(struct controller *c)
{
    int32_t count = 0;
    if (c->requested_n < 0) {
        return OK; /* there is no such node */
    }
    struct bytes left = requested(c, &count);
    if (count == c->requested_n) {
        return OK;
    }
    struct coord_op op = {.type = count == 0 ? COORD_DELETE : COORD_SET,
                          .path = ZNODE_REASSIGNMENTS,
                          .data = left,
                          .version = COORD_ANY_VERSION};
    err e = controller_checked_multi(c, &op, 1);
    c->requested_n = count == 0 ? -1 : count;
    return e == E_NOT_FOUND && c->active ? OK : e;
}

static bool same_ids(const struct id_list *one, const struct id_list *other)
{
    return one->count == other->count &&
           memcmp(one->ids, other->ids, (size_t)one->count * sizeof(*one->ids)) == 0;
}

/* Is the partition on its way there already, or there? It is noted whose wish that is. */
static bool is_under_way(struct controller *c, const struct znode_reassignment *wish)
{
    struct ctl_partition *p =
        ctl_partition_find(ctl_topic_find(&c->state, wish->topic), wish->partition);
    if (p == NULL) {
        return false;
    }
    struct id_list target = ctl_target(p, &c->arena);
    bool same = same_ids(&target, &wish->replicas);
    p->requested |= same;
    return same;
}

static err take_requested(struct controller *c, const struct znode_reassignments *wish)
{
    struct controller_reassignment *plans =
        controller_alloc(c, (size_t)wish->count, sizeof(*plans));
    int32_t count = 0;
    for (int32_t i = 0; i < wish->count; i++) {
        if (!is_under_way(c, &wish->all[i])) {
            plans[count++] = (struct controller_reassignment){.topic = wish->all[i].topic,
                                                              .partition = wish->all[i].partition,
                                                              .replicas = wish->all[i].replicas,
                                                              .by_node = true};
        }
    }
    TRY(reassign(c, plans, count, &c->arena));
    for (int32_t i = 0; i < count; i++) {
        if (plans[i].error != OK) {
            log_error("controller", "reassignment refused topic=%.*s partition=%d reason=\"%.*s\"",
                      (int)plans[i].topic.len, plans[i].topic.data, plans[i].partition,
                      (int)plans[i].message.len, plans[i].message.data);
        }
    }
    return OK;
}

err controller_move_requested(struct controller *c)
{
    struct coord_op get;
    struct znode_reassignments wish;
    TRY(controller_read_node(c, ZNODE_REASSIGNMENTS, COORD_WATCH, &get));
    c->requested_n = -1;
    if (get.error == E_NOT_FOUND) {
        return OK;
    }
    TRY(get.error);
    if (znode_reassignments_decode(&c->arena, get.value, &wish) != OK) {
        log_error("controller", "node unreadable, removed path=%s", ZNODE_REASSIGNMENTS);
        wish = (struct znode_reassignments){0};
    }
    TRY(take_requested(c, &wish));
    c->requested_n = wish.count == 0 ? 1 : wish.count; /* an empty one goes, too */
    return controller_note_requested(c);
}

/* ---- what is asked ---- */

err controller_reassign(struct controller *c, struct controller_reassignment *plans, int32_t count,
                        struct arena *arena)
{
    if (!c->active) {
        return ERR_NOT_CONTROLLER;
    }
    err e = reassign(c, plans, count, arena);
    controller_event_done(c, e, "reassignment");
    return e == OK ? OK : ERR_NOT_CONTROLLER;
}

err controller_reassignments(struct controller *c, struct arena *arena,
                             struct controller_move **moves, int32_t *count)
{
    if (!c->active) {
        return ERR_NOT_CONTROLLER;
    }
    struct parts moving = all_that(c, ctl_is_moving);
    *moves = arena_array(arena, (size_t)moving.count, sizeof(**moves));
    *count = *moves == NULL ? 0 : moving.count;
    for (int32_t i = 0; i < *count; i++) {
        const struct part *part = &moving.all[i];
        (*moves)[i] = (struct controller_move){.topic = arena_str(arena, part->topic->name),
                                               .partition = part->partition,
                                               .replicas = copied(arena, &of(part)->replicas),
                                               .adding = copied(arena, &of(part)->adding),
                                               .removing = copied(arena, &of(part)->removing)};
    }
    controller_event_done(c, OK, "list");
    return *moves == NULL ? ERR_UNKNOWN_SERVER_ERROR : OK;
}
