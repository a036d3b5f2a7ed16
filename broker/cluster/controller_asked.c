/* What brokers ask of their controller: another set of in-sync replicas, to be let go, producer ids; and
 * what clients do: elections. All answers are those of the moment; nobody is waited for. (reference:
 * zookeeper §5.4, §5.5, §5.6, replication §9, requests §6.6) */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"
#include "broker/cluster/producer_ids.h"
#include "protocol/error.h"

enum { FIRST_INELIGIBLE_VERSION = 2, TRIES_MAX = 5 };

/* An error that a decision's writes met: the store's ends the office. */
static err failed(struct controller *c, err e, const char *what)
{
    controller_event_done(c, e, what);
    return e == OK ? OK : ERR_NOT_CONTROLLER;
}

/* ---- AlterPartition ---- */

static err check_asker(const struct controller *c, int32_t broker_id, int64_t broker_epoch)
{
    err e = controller_check_broker(c, broker_id, broker_epoch);
    return e == ERR_BROKER_ID_NOT_REGISTERED ? ERR_STALE_BROKER_EPOCH : e;
}

typedef struct alter_partition_request_topic alter_topic;
typedef struct alter_partition_request_partition alter_partition;

static struct id_list isr_of(struct controller *c, const alter_partition *in)
{
    if (in->new_isr_with_epochs_n <= 0) {
        return (struct id_list){.ids = in->new_isr, .count = in->new_isr_n < 0 ? 0 : in->new_isr_n};
    }
    struct id_list isr = {.count = in->new_isr_with_epochs_n};
    isr.ids = controller_alloc(c, (size_t)isr.count, sizeof(*isr.ids));
    for (int32_t i = 0; i < isr.count; i++) {
        isr.ids[i] = in->new_isr_with_epochs[i].broker_id;
    }
    return isr;
}

static const int64_t *epochs_of(struct controller *c, const alter_partition *in)
{
    if (in->new_isr_with_epochs_n <= 0) {
        return NULL;
    }
    int64_t *epochs = controller_alloc(c, (size_t)in->new_isr_with_epochs_n, sizeof(*epochs));
    for (int32_t i = 0; i < in->new_isr_with_epochs_n; i++) {
        epochs[i] = in->new_isr_with_epochs[i].broker_epoch;
    }
    return epochs;
}

static err alter_one(struct controller *c, struct ctl_decision *d, int32_t leader,
                     struct ctl_topic *topic, const alter_partition *in)
{
    if (ctl_partition_find(topic, in->partition_index) == NULL) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    const struct ctl_isr_wish wish = {.leader = leader,
                                      .leader_epoch = in->leader_epoch,
                                      .partition_epoch = in->partition_epoch,
                                      .isr = isr_of(c, in),
                                      .broker_epochs = epochs_of(c, in),
                                      .leader_recovery_state = in->leader_recovery_state};
    return ctl_alter_isr(d, topic, in->partition_index, &wish);
}

static struct ctl_topic *topic_of(const struct controller *c, const alter_topic *in)
{
    return uuid_is_zero(in->topic_id) ? ctl_topic_find(&c->state, in->topic_name)
                                      : ctl_topic_by_id(&c->state, in->topic_id);
}

/* Where the error is OK, the state is filled in when the writes are made. */
static void decide_alter(struct controller *c, struct ctl_decision *d,
                         const struct alter_partition_request *request, struct parts *named,
                         struct alter_partition_response *response)
{
    for (int32_t t = 0; t < request->topics_n; t++) {
        const alter_topic *in = &request->topics[t];
        struct ctl_topic *topic = topic_of(c, in);
        struct alter_partition_response_topic *out = &response->topics[t];
        for (int32_t i = 0; i < in->partitions_n; i++) {
            err e =
                uuid_is_zero(in->topic_id) ? ERR_UNKNOWN_TOPIC_OR_PARTITION : ERR_UNKNOWN_TOPIC_ID;
            if (topic != NULL) {
                e = alter_one(c, d, request->broker_id, topic, &in->partitions[i]);
            }
            out->partitions[i].partition_index = in->partitions[i].partition_index;
            out->partitions[i].error_code = (int16_t)e;
            if (ctl_partition_find(topic, in->partitions[i].partition_index) != NULL) {
                parts_add(named, d->arena, topic, in->partitions[i].partition_index);
            }
        }
    }
}

/* Where somebody else has written to one of the partitions, the others are decided on again: that one is
 * refused by its epoch then. */
static err write_altered(struct controller *c, const struct alter_partition_request *request,
                         struct parts *named, struct alter_partition_response *response)
{
    err e = OK;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        struct ctl_decision d;
        *named = (struct parts){0};
        controller_decision_init(c, &d);
        decide_alter(c, &d, request, named, response);
        e = controller_commit(c, &d.writes);
        if (e != E_VERSION || !c->active) {
            return e;
        }
        struct topic_list list = parts_topics(named, &c->arena);
        TRY(controller_load_states(c, &list));
    }
    return e;
}

/* What is written is told, and so is what was refused: the leader may lack it. */
static void fill_altered(struct controller *c, const struct alter_partition_request *request,
                         struct arena *arena, bool old, struct alter_partition_response *response)
{
    for (int32_t t = 0; t < request->topics_n; t++) {
        const struct ctl_topic *topic = topic_of(c, &request->topics[t]);
        struct alter_partition_response_topic *topic_out = &response->topics[t];
        for (int32_t i = 0; i < topic_out->partitions_n; i++) {
            struct alter_partition_response_partition *out = &topic_out->partitions[i];
            if (out->error_code == ERR_INELIGIBLE_REPLICA && old) {
                out->error_code = ERR_OPERATION_NOT_ATTEMPTED;
            }
            if (out->error_code != OK) {
                continue;
            }
            const struct ctl_partition *p = &topic->partitions[out->partition_index];
            size_t isr_bytes = (size_t)p->state.isr.count * sizeof(int32_t);
            out->leader_id = p->state.leader;
            out->leader_epoch = p->state.leader_epoch;
            out->isr = arena_copy(arena, bytes_of(p->state.isr.ids, isr_bytes));
            out->isr_n = out->isr == NULL ? 0 : p->state.isr.count;
            out->leader_recovery_state = p->state.leader_recovery_state;
            out->partition_epoch = p->state_version;
        }
    }
}

static bool prepare(const struct alter_partition_request *request, struct arena *arena,
                    struct alter_partition_response *response)
{
    size_t topics_n = (size_t)(request->topics_n < 0 ? 0 : request->topics_n);
    response->topics = arena_array(arena, topics_n, sizeof(*response->topics));
    for (size_t t = 0; response->topics != NULL && t < topics_n; t++) {
        struct alter_partition_response_topic *out = &response->topics[t];
        size_t n =
            (size_t)(request->topics[t].partitions_n < 0 ? 0 : request->topics[t].partitions_n);
        out->topic_name = request->topics[t].topic_name;
        out->topic_id = request->topics[t].topic_id;
        out->partitions = arena_array(arena, n, sizeof(*out->partitions));
        if (out->partitions == NULL) {
            return false;
        }
        out->partitions_n = (int32_t)n;
    }
    response->topics_n = response->topics == NULL ? 0 : (int32_t)topics_n;
    return response->topics != NULL;
}

void controller_alter_partition(struct controller *c, int version,
                                const struct alter_partition_request *request, struct arena *arena,
                                struct alter_partition_response *response)
{
    err e = check_asker(c, request->broker_id, request->broker_epoch);
    if (e == OK && !prepare(request, arena, response)) {
        e = ERR_UNKNOWN_SERVER_ERROR;
    }
    if (e != OK) {
        response->error_code = (int16_t)e;
        return;
    }
    struct parts named;
    e = write_altered(c, request, &named, response);
    if (e == OK) {
        fill_altered(c, request, arena, version < FIRST_INELIGIBLE_VERSION, response);
        controller_send_metadata(c, &named);
        e = controller_check_moves(c, &named);
    }
    e = failed(c, e, "AlterPartition");
    if (e != OK) {
        response->topics_n = 0;
        response->error_code = (int16_t)e;
    }
}

/* ---- ControlledShutdown ---- */

static err check_leaver(const struct controller *c, int32_t broker_id, int64_t broker_epoch)
{
    if (!c->active) {
        return ERR_STALE_CONTROLLER_EPOCH;
    }
    const struct ctl_broker *broker = ctl_broker_find(&c->state, broker_id);
    if (broker == NULL) {
        return broker_epoch == -1 ? ERR_BROKER_NOT_AVAILABLE : ERR_UNKNOWN_SERVER_ERROR;
    }
    return broker_epoch == -1 || broker_epoch == broker->epoch ? OK : ERR_STALE_BROKER_EPOCH;
}

/* What it follows it is to fetch no more, before others hear of it. */
static void stop_followed(struct controller *c, const struct ctl_broker *broker)
{
    struct parts followed = {0};
    struct topic_list all = ctl_all_topics(&c->state, &c->arena);
    for (int32_t t = 0; t < all.count; t++) {
        for (int32_t p = 0; p < all.topics[t]->partitions_n; p++) {
            const struct ctl_partition *partition = &all.topics[t]->partitions[p];
            if (partition->replicas.count > 1 && partition->state_version != CTL_NO_STATE &&
                partition->state.leader != broker->id &&
                id_list_holds(&partition->replicas, broker->id)) {
                parts_add(&followed, &c->arena, all.topics[t], p);
            }
        }
    }
    controller_send_stops(c, broker, &followed, false);
}

/* The broker itself is told what it led, so that it stops; what it followed it has stopped. */
static void tell_handed_over(struct controller *c, const struct ctl_decision *d, int32_t broker,
                             const struct parts *led)
{
    for (int32_t b = 0; b < c->state.brokers_n; b++) {
        const struct ctl_broker *to = &c->state.brokers[b];
        controller_send_roles_to(c, to, to->id == broker ? led : &d->changed);
    }
    controller_send_states(c, &d->changed);
}

static err hand_over(struct controller *c, int32_t broker, struct parts *remaining)
{
    err e = OK;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        struct ctl_decision d;
        struct parts led = {0};
        *remaining = (struct parts){0};
        controller_decision_init(c, &d);
        ctl_shut_down(&d, broker, &led, remaining);
        e = controller_commit(c, &d.writes);
        if (e == OK) {
            tell_handed_over(c, &d, broker, &led);
        }
        if (e != E_VERSION || !c->active) {
            return e;
        }
        struct topic_list all = ctl_all_topics(&c->state, &c->arena);
        TRY(controller_load_states(c, &all));
    }
    return e;
}

static err let_go(struct controller *c, struct ctl_broker *broker, struct parts *remaining)
{
    log_info("controller", "broker shuts down broker=%d", broker->id);
    broker->shuts_down = true;
    stop_followed(c, broker);
    return hand_over(c, broker->id, remaining);
}

void controller_controlled_shutdown(struct controller *c,
                                    const struct controlled_shutdown_request *request,
                                    struct arena *arena,
                                    struct controlled_shutdown_response *response)
{
    err e = check_leaver(c, request->broker_id, request->broker_epoch);
    response->error_code = (int16_t)e;
    if (e != OK) {
        return;
    }
    struct parts remaining = {0};
    e = let_go(c, ctl_broker_find(&c->state, request->broker_id), &remaining);
    response->remaining_partitions =
        arena_array(arena, (size_t)remaining.count, sizeof(*response->remaining_partitions));
    for (int32_t i = 0; e == OK && response->remaining_partitions != NULL && i < remaining.count;
         i++) {
        struct controlled_shutdown_response_remaining_partition *out =
            &response->remaining_partitions[response->remaining_partitions_n++];
        out->topic_name = arena_str(arena, remaining.all[i].topic->name);
        out->partition_index = remaining.all[i].partition;
    }
    controller_event_done(c, e, "ControlledShutdown");
    response->error_code = e == OK ? OK : ERR_STALE_CONTROLLER_EPOCH;
}

/* ---- AllocateProducerIds ---- */

void controller_allocate_producer_ids(struct controller *c,
                                      const struct allocate_producer_ids_request *request,
                                      struct allocate_producer_ids_response *response)
{
    err e = controller_check_broker(c, request->broker_id, request->broker_epoch);
    if (e == OK) {
        producer_ids_answer(c->config.coord, request, response);
    } else {
        response->error_code = (int16_t)e;
    }
}

void controller_answer(void *controller, int16_t api_key, const void *request, struct arena *arena,
                       void *response)
{
    struct controller *c = controller;
    if (api_key == KEY_ALTER_PARTITION) {
        controller_alter_partition(c, api_schema_of(api_key)->version_max, request, arena,
                                   response);
    } else {
        CHECK(api_key == KEY_ALLOCATE_PRODUCER_IDS);
        controller_allocate_producer_ids(c, request, response);
    }
}

/* ---- ElectLeaders ---- */

static err elect_one(struct controller *c, struct ctl_decision *d,
                     const struct controller_election *election)
{
    struct ctl_topic *topic = ctl_topic_find(&c->state, election->topic);
    if (ctl_partition_find(topic, election->partition) == NULL) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (topic->deleting) {
        return ERR_INVALID_TOPIC_EXCEPTION;
    }
    return election->unclean ? ctl_elect_unclean(d, topic, election->partition)
                             : ctl_prefer(d, topic, election->partition);
}

err controller_elect_leaders(struct controller *c, struct controller_election *elections,
                             int32_t count)
{
    if (!c->active) {
        return ERR_NOT_CONTROLLER;
    }
    struct ctl_decision d;
    controller_decision_init(c, &d);
    for (int32_t i = 0; i < count; i++) {
        elections[i].error = elect_one(c, &d, &elections[i]);
    }
    for (int32_t i = 0; i < count; i++) {
        if (elections[i].error == OK) {
            const struct ctl_topic *topic = ctl_topic_find(&c->state, elections[i].topic);
            elections[i].leader_epoch =
                topic->partitions[elections[i].partition].state.leader_epoch;
        }
    }
    return failed(c, controller_carry_out(c, &d), "ElectLeaders");
}

int32_t controller_partitions(struct controller *c, struct arena *arena,
                              struct controller_election **elections)
{
    struct parts parts = {0};
    struct topic_list all = ctl_all_topics(&c->state, arena);
    parts_add_topics(&parts, arena, &all);
    *elections = arena_array(arena, (size_t)parts.count, sizeof(**elections));
    for (int32_t i = 0; *elections != NULL && i < parts.count; i++) {
        (*elections)[i].topic = arena_str(arena, parts.all[i].topic->name);
        (*elections)[i].partition = parts.all[i].partition;
    }
    return *elections == NULL ? 0 : parts.count;
}
