/* How a call runs. Each operation is a step; the steps that can be sent stand in `ready`, in the
 * caller's order, and at most in_flight_max of them are under way. An answer ends its step, or puts
 * it back: for a second question, or because the connection was lost. So order is kept also when
 * things are sent again (a parent before its child).
 *
 * A call that ends early (interrupted, expired) forgets its requests; they are freed when their late
 * answers come, or with the handle.
 *
 * Loss: whatever was under way when the connection was lost is sent again once the connection is back.
 * A write that is refused then is compared with what is there (coord_remote.h), read after a sync.
 *
 * Watches on a node that is absent: a get that finds none sets no watch, an exists does. So a get
 * with a watch is followed by an exists where it found nothing; and that one, if the node has come
 * meanwhile, by a get. The watch stands before the answer that is believed: nothing is missed.
 *
 * A server closes the connection on a request over its jute.maxbuffer (0xfffff), each time it is
 * sent again; so nothing near that is sent. The window also keeps the client's wake-up pipe from
 * filling: when it is full, the client closes its socket on the caller's thread. */
#define _GNU_SOURCE
#include "zk/zookeeper_client.h"

#include <stdlib.h>

static size_t request_bytes(const struct zookeeper_calls *calls, const struct coord_op *op)
{
    return calls->chroot_len + remote_request_bytes(op);
}

/* ---- steps ---- */

static void step_finish(struct call *call, struct step *step, err e)
{
    step->done = true;
    step->error = e;
    call->left--;
}

/* Back into `ready`, before every step that comes after it. */
static void step_again(struct call *call, struct step *step)
{
    struct list *after = call->ready.next;
    while (after != &call->ready && container_of(after, struct step, link) < step) {
        after = after->next;
    }
    list_append(after, &step->link);
}

static void step_lost(struct call *call, struct step *step)
{
    if (++step->losses >= REMOTE_LOSSES_MAX) {
        step_finish(call, step, E_UNKNOWN_OUTCOME);
    } else {
        step_again(call, step);
    }
}

void step_answered(struct zookeeper_calls *calls, struct step *step, int rc, err e)
{
    struct call *call = calls->call;
    call->under_way--;
    if (calls->latency_us != NULL && !zookeeper_is_loss(rc)) {
        histogram_record(calls->latency_us, clock_monotonic_us(clock_system()) - step->sent_us);
    }
    bool watches = step->ops->type == COORD_GET && (step->ops->flags & COORD_WATCH) != 0;
    if (zookeeper_is_loss(rc)) {
        step_lost(call, step);
    } else if (zookeeper_is_end_of_session(rc)) {
        calls->link = LINK_EXPIRED;
        step_again(call, step);
    } else if (step->ask == ASK_OP && watches && rc == ZNONODE) {
        step->ask = ASK_ABSENT;
        step_again(call, step);
    } else if (step->ask == ASK_ABSENT && rc == ZOK) {
        step->ask = ASK_OP;
        step_again(call, step);
    } else {
        step_finish(call, step, rc == ZOK ? e : zookeeper_err(rc));
    }
}

/* Does the client see it as we do? Its events come a little later than its state. To ask it for a
 * transaction when the session has just expired would be worse than useless: it frees memory that is
 * not its own then (zoo_amulti, 3.8.0). */
static bool is_connected(struct zookeeper_calls *calls)
{
    if (zoo_state(calls->handle) == ZOO_CONNECTED_STATE) {
        return true;
    }
    calls->link = is_unrecoverable(calls->handle) ? LINK_EXPIRED : LINK_DOWN;
    return false;
}

/* Takes the first step that is ready. */
static void send_next(struct zookeeper_calls *calls)
{
    struct call *call = calls->call;
    struct step *step = container_of(call->ready.next, struct step, link);
    list_remove(&step->link);
    call->under_way++;
    step->sent_us = clock_monotonic_us(clock_system());
    int rc = request_send(calls, step, step);
    if (rc != ZOK) {
        step_answered(calls, step, rc, OK);
    }
}

/* ---- a call ---- */

err calls_obstacle(const struct zookeeper_calls *calls)
{
    if (calls->interrupted) {
        return E_CLOSED;
    }
    if (calls->link == LINK_EXPIRED) {
        return E_SESSION;
    }
    if (calls->link == LINK_REFUSED) {
        return err_from_errno(EACCES);
    }
    return clock_monotonic_ms(clock_system()) >= calls->deadline_ms ? E_BUSY : OK;
}

void calls_wait(struct zookeeper_calls *calls, int64_t until_ms)
{
    if (until_ms == INT64_MAX) {
        pthread_cond_wait(&calls->changed, &calls->lock);
        return;
    }
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    pthread_cond_timedwait(&calls->changed, &calls->lock, &until);
}

/* Ends what has not ended; answers that are still to come are not wanted. */
static void call_abandon(struct zookeeper_calls *calls, err e)
{
    struct call *call = calls->call;
    for (size_t i = 0; i < call->steps_n; i++) {
        if (!call->steps[i].done) {
            step_finish(call, &call->steps[i], e);
        }
    }
    requests_forget(calls);
}

/* Runs the steps to their end, whatever that is. Locked. */
static void call_drive(struct zookeeper_calls *calls, struct step *steps, size_t count,
                       struct arena *arena)
{
    struct call call = {.steps = steps, .steps_n = count, .left = count, .arena = arena};
    list_init(&call.ready);
    for (size_t i = 0; i < count; i++) {
        list_append(&call.ready, &steps[i].link);
    }
    CHECK(calls->call == NULL);
    calls->call = &call;
    err obstacle = OK;
    while (call.left > 0 && (obstacle = calls_obstacle(calls)) == OK) {
        bool can_send = calls->link == LINK_UP && call.under_way < calls->in_flight_max &&
                        !list_empty(&call.ready);
        if (!can_send) {
            calls_wait(calls, calls->deadline_ms);
        } else if (is_connected(calls)) {
            send_next(calls);
        }
    }
    call_abandon(calls, obstacle);
    calls->call = NULL;
}

/* ---- a refusal of what was sent twice ---- */

static void read_fresh(void *context, struct coord_op *found, struct arena *arena)
{
    struct step step = {.ask = ASK_FRESH, .ops = found, .ops_n = 1};
    call_drive(context, &step, 1, arena);
    found->error = step.error;
}

/* Locked. */
static struct remote_reader fresh_reader(struct zookeeper_calls *calls)
{
    return (struct remote_reader){
        .read = read_fresh, .context = calls, .session_id = calls->session_id};
}

/* ---- the interface ---- */

void calls_init(struct zookeeper_calls *calls)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&calls->lock, NULL);
    pthread_cond_init(&calls->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    calls->deadline_ms = INT64_MAX;
    list_init(&calls->requests);
}

void calls_deinit(struct zookeeper_calls *calls)
{
    requests_free(calls);
    pthread_cond_destroy(&calls->changed);
    pthread_mutex_destroy(&calls->lock);
}

err calls_run(struct zookeeper_calls *calls, struct coord_op *ops, size_t count,
              struct arena *arena)
{
    struct step *steps = xcalloc(count + 1, sizeof(*steps));
    size_t steps_n = 0;
    for (size_t i = 0; i < count; i++) {
        ops[i].error = remote_op_prepare(&ops[i], arena);
        if (ops[i].error == OK && request_bytes(calls, &ops[i]) > REMOTE_REQUEST_BYTES_MAX) {
            ops[i].error = E_LIMIT;
        }
        if (ops[i].error == OK) {
            steps[steps_n++] = (struct step){.ask = ASK_OP, .ops = &ops[i], .ops_n = 1};
        }
    }
    pthread_mutex_lock(&calls->lock);
    call_drive(calls, steps, steps_n, arena);
    struct remote_reader reader = fresh_reader(calls);
    for (size_t i = 0; i < steps_n; i++) {
        remote_settle_lost(&reader, steps[i].ops, steps[i].error, steps[i].losses);
    }
    pthread_mutex_unlock(&calls->lock);
    free(steps);
    return remote_run_finish(ops, count);
}

static err multi_prepare(struct zookeeper_calls *calls, struct coord_op *ops, size_t count,
                         struct arena *arena)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        ops[i].error = remote_op_prepare(&ops[i], arena);
        TRY(ops[i].error);
        bytes += request_bytes(calls, &ops[i]);
        if (bytes > REMOTE_REQUEST_BYTES_MAX) {
            ops[i].error = E_LIMIT;
            return E_LIMIT;
        }
    }
    return OK;
}

/* The answer to a transaction says of a created node only its path: the stat is read. Another may
 * have deleted it since; then there is none. */
static err created_stats_read(struct zookeeper_calls *calls, struct coord_op *ops, size_t count,
                              struct arena *arena)
{
    struct step *steps = xcalloc(count + 1, sizeof(*steps));
    struct coord_op *reads = xcalloc(count + 1, sizeof(*reads));
    struct coord_op **created = xcalloc(count + 1, sizeof(*created));
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].type == COORD_CREATE && ops[i].created_path != NULL) {
            created[n] = &ops[i];
            reads[n] = (struct coord_op){.type = COORD_GET, .path = ops[i].created_path};
            steps[n] = (struct step){.ask = ASK_STAT, .ops = &reads[n], .ops_n = 1};
            n++;
        }
    }
    call_drive(calls, steps, n, arena);
    err e = OK;
    for (size_t i = 0; i < n; i++) {
        created[i]->stat = reads[i].stat;
        e = steps[i].error == OK || remote_is_refusal(steps[i].error) ? e : steps[i].error;
    }
    free(created);
    free(reads);
    free(steps);
    return e;
}

err calls_multi(struct zookeeper_calls *calls, struct coord_op *ops, size_t count,
                struct arena *arena)
{
    if (count == 0) {
        return OK;
    }
    TRY(multi_prepare(calls, ops, count, arena));
    struct step step = {.ask = ASK_MULTI, .ops = ops, .ops_n = count};
    pthread_mutex_lock(&calls->lock);
    call_drive(calls, &step, 1, arena);
    err e = step.error;
    if (step.losses > 0 && remote_is_refusal(e)) {
        struct remote_reader reader = fresh_reader(calls);
        e = remote_settle_multi(&reader, ops, count, e);
    }
    if (e == OK) {
        e = created_stats_read(calls, ops, count, arena);
    }
    pthread_mutex_unlock(&calls->lock);
    for (size_t i = 0; i < count; i++) {
        remote_op_finish(&ops[i], e);
    }
    return e;
}

err calls_drain(struct zookeeper_calls *calls, int64_t patience_ms)
{
    int64_t until_ms = clock_monotonic_ms(clock_system()) + patience_ms;
    pthread_mutex_lock(&calls->lock);
    struct coord_op nothing = {.type = COORD_GET, .path = "/"};
    struct step step = {.ask = ASK_STAT, .ops = &nothing, .ops_n = 1};
    err e = zookeeper_err(request_send(calls, &step, NULL));
    while (e == OK && !list_empty(&calls->requests)) {
        if (clock_monotonic_ms(clock_system()) >= until_ms) {
            e = E_BUSY;
        } else {
            calls_wait(calls, until_ms);
        }
    }
    pthread_mutex_unlock(&calls->lock);
    return e;
}
