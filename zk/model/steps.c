/* How a call runs on a client of the model, as in zookeeper_calls.c: each operation is a step, a window of
 * them is under way, in the caller's order. What was under way when the connection was lost is sent
 * again; a write that is refused then is compared with what is there (coord_remote.h).
 *
 * Answers come in turns, whoever makes them: while this call waits, also those of others. A packet has its
 * own copy of what is asked, since it may arrive when the call is over. */
#define _GNU_SOURCE
#include "zk/model/client.h"

#include <stdlib.h>

enum { IN_FLIGHT_MAX = 10 };

enum step_state { STEP_READY, STEP_SENT, STEP_DONE };

struct step {
    struct coord_op *ops;
    size_t ops_n;
    enum step_state state;
    int losses;
    err error;
};

struct call {
    struct step *steps;
    size_t steps_n;
    size_t first; /* none before it is ready */
    size_t left;
    size_t under_way;
    struct arena *arena;
};

/* ---- questions ---- */

static struct bytes data_copy(struct arena *arena, struct bytes data)
{
    if (data.data == NULL) {
        return data;
    }
    uint8_t *copy = arena_alloc(arena, data.len + 1);
    CHECK(copy != NULL);
    memcpy(copy, data.data, data.len);
    return bytes_of(copy, data.len);
}

static struct packet *question(const struct client *client, struct step *step)
{
    struct packet *packet = packet_new(client->way, PACKET_CALL);
    struct arena *arena = &packet->arena;
    packet->step = step;
    packet->ops_n = step->ops_n;
    packet->ops = arena_array(arena, step->ops_n, sizeof(*packet->ops));
    CHECK(packet->ops != NULL);
    for (size_t i = 0; i < step->ops_n; i++) {
        const struct coord_op *op = &step->ops[i];
        packet->ops[i] = (struct coord_op){.type = op->type,
                                           .path = arena_str(arena, str_of(op->path)).data,
                                           .data = data_copy(arena, op->data),
                                           .version = op->version,
                                           .flags = op->flags};
        CHECK(packet->ops[i].path != NULL);
    }
    return packet;
}

void steps_pump(struct client *client)
{
    struct call *call = client->call;
    while (call != NULL && client->state == CLIENT_UP && call->under_way < IN_FLIGHT_MAX &&
           call->first < call->steps_n) {
        struct step *step = &call->steps[call->first++];
        if (step->state == STEP_READY) {
            step->state = STEP_SENT;
            call->under_way++;
            client_send(client, question(client, step));
        }
    }
}

/* ---- answers ---- */

static void step_finish(struct call *call, struct step *step, err e)
{
    step->state = STEP_DONE;
    step->error = e;
    call->left--;
}

static err children_copy(struct arena *arena, struct coord_op *op, const struct coord_op *from)
{
    size_t count = (size_t)from->children_n;
    op->children = arena_array(arena, count + 1, sizeof(*op->children));
    if (op->children == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        op->children[i] = arena_str(arena, str_of(from->children[i])).data;
        if (op->children[i] == NULL) {
            return E_LIMIT;
        }
    }
    op->children_n = from->children_n;
    return OK;
}

static err value_copy(struct arena *arena, struct coord_op *op, const struct coord_op *from)
{
    if (from->value.data == NULL) {
        return OK;
    }
    uint8_t *copy = arena_alloc(arena, from->value.len + 1);
    if (copy == NULL) {
        return E_LIMIT;
    }
    memcpy(copy, from->value.data, from->value.len);
    op->value = bytes_of(copy, from->value.len);
    return OK;
}

static err result_copy(struct arena *arena, struct coord_op *op, const struct coord_op *from)
{
    op->stat = from->stat;
    if (op->type == COORD_CREATE) {
        remote_created_path_set(op, from->created_path);
    }
    if (op->type == COORD_CHILDREN) {
        return children_copy(arena, op, from);
    }
    return op->type == COORD_GET ? value_copy(arena, op, from) : OK;
}

static void watch_note(struct client *client, const struct coord_op *op, err e)
{
    if ((op->flags & COORD_WATCH) == 0) {
        return;
    }
    if (op->type == COORD_GET) {
        client_watch_add(client, op->path, e == OK ? WATCHED_NODE : WATCHED_ABSENT);
    } else if (op->type == COORD_CHILDREN && e == OK) {
        client_watch_add(client, op->path, WATCHED_CHILDREN);
    }
}

void steps_answered(struct client *client, struct packet *packet)
{
    struct step *step = packet->step;
    if (step == NULL) {
        return;
    }
    struct call *call = client->call;
    err e = packet->error;
    for (size_t i = 0; i < step->ops_n; i++) {
        if (packet->error == OK) {
            err copied = result_copy(call->arena, &step->ops[i], &packet->ops[i]);
            e = e == OK ? copied : e;
        }
        step->ops[i].error = packet->ops[i].error;
    }
    watch_note(client, step->ops, packet->error);
    call->under_way--;
    step_finish(call, step, e);
    steps_pump(client);
}

void steps_lost(struct client *client)
{
    struct call *call = client->call;
    wire_forget(client->way);
    for (size_t i = 0; call != NULL && i < call->steps_n; i++) {
        struct step *step = &call->steps[i];
        if (step->state == STEP_SENT && ++step->losses >= REMOTE_LOSSES_MAX) {
            step_finish(call, step, E_UNKNOWN_OUTCOME);
        } else if (step->state == STEP_SENT) {
            step->state = STEP_READY;
        }
    }
    if (call != NULL) {
        call->first = 0;
        call->under_way = 0;
    }
}

/* ---- a call ---- */

/* Runs the steps to their end, whatever that is. */
static void call_drive(struct client *client, struct step *steps, size_t count, struct arena *arena)
{
    struct call call = {.steps = steps, .steps_n = count, .left = count, .arena = arena};
    struct coord_model *model = client->way->model;
    int64_t since_ms = clock_monotonic_ms(model->clock);
    CHECK(client->call == NULL);
    (void)coord_model_turn(model);
    client->call = &call;
    err obstacle = client_obstacle(client);
    if (obstacle == OK) {
        steps_pump(client);
        (void)coord_model_turn(model);
    }
    while (call.left > 0 && (obstacle = client_obstacle(client)) == OK) {
        client_wait(client, since_ms);
    }
    for (size_t i = 0; i < count; i++) {
        if (steps[i].state != STEP_DONE) {
            step_finish(&call, &steps[i], obstacle);
        }
    }
    wire_forget(client->way);
    client->call = NULL;
}

static void read_fresh(void *context, struct coord_op *found, struct arena *arena)
{
    struct step step = {.ops = found, .ops_n = 1};
    call_drive(context, &step, 1, arena);
    found->error = step.error;
}

static struct remote_reader fresh_reader(struct client *client)
{
    return (struct remote_reader){
        .read = read_fresh, .context = client, .session_id = client->session_id};
}

/* ---- the interface ---- */

err steps_run(struct client *client, struct coord_op *ops, size_t count, struct arena *arena)
{
    struct step *steps = xcalloc(count + 1, sizeof(*steps));
    size_t steps_n = 0;
    for (size_t i = 0; i < count; i++) {
        ops[i].error = remote_op_prepare(&ops[i], arena);
        if (ops[i].error == OK && remote_request_bytes(&ops[i]) > REMOTE_REQUEST_BYTES_MAX) {
            ops[i].error = E_LIMIT;
        }
        if (ops[i].error == OK) {
            steps[steps_n++] = (struct step){.ops = &ops[i], .ops_n = 1};
        }
    }
    call_drive(client, steps, steps_n, arena);
    struct remote_reader reader = fresh_reader(client);
    for (size_t i = 0; i < steps_n; i++) {
        remote_settle_lost(&reader, steps[i].ops, steps[i].error, steps[i].losses);
    }
    free(steps);
    return remote_run_finish(ops, count);
}

static err multi_prepare(struct coord_op *ops, size_t count, struct arena *arena)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK(ops[i].type != COORD_GET && ops[i].type != COORD_CHILDREN);
        ops[i].error = remote_op_prepare(&ops[i], arena);
        TRY(ops[i].error);
        bytes += remote_request_bytes(&ops[i]);
        if (bytes > REMOTE_REQUEST_BYTES_MAX) {
            ops[i].error = E_LIMIT;
            return E_LIMIT;
        }
    }
    return OK;
}

err steps_multi(struct client *client, struct coord_op *ops, size_t count, struct arena *arena)
{
    if (count == 0) {
        return OK;
    }
    TRY(multi_prepare(ops, count, arena));
    struct step step = {.ops = ops, .ops_n = count};
    call_drive(client, &step, 1, arena);
    err e = step.error;
    if (step.losses > 0 && remote_is_refusal(e)) {
        struct remote_reader reader = fresh_reader(client);
        e = remote_settle_multi(&reader, ops, count, e);
    }
    for (size_t i = 0; i < count; i++) {
        remote_op_finish(&ops[i], e);
    }
    return e;
}
