/* A process is a task that starts the broker, waits until it is told to stop, and stops it; the broker's threads
 * are tasks too. They share a group, by which they stand still together. */
#define _GNU_SOURCE
#include "sim/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MAX_US = 50000, /* a call of the store looks at least so often whether it is interrupted */
    LOOK_US = 1000,
    NAME_BYTES = 24,
    OPTION_BYTES = 128,
};

static const int64_t WALL_START_MS = 1700000000000;

struct node_clock {
    struct clock clock;
    struct sched *sched;
    int64_t offset_ms;
};

struct process {
    struct node *node;
    struct threads threads;
    struct fs *fs;
    struct sockets *sockets;
    struct coord_events events; /* the broker's */
    struct config config;
    struct broker *broker;
    struct task *task;
    enum node_state state;
    bool dead;
    bool stop_wanted;
    bool ended;
    int users; /* of the broker */
    int life;
};

struct node {
    struct node_env env;
    int id;
    struct node_clock clock;
    struct disk *disk;
    struct coord_model_way *way;
    struct task_group group;
    struct process **processes; /* by life */
    int lives;
    bool power_at_change; /* what node_kill_at_change was told */
    int refusals;
    char reason[BROKER_REASON_BYTES];
};

struct thread {
    struct task *task;
    struct loop *loop;
};

static struct process *current(const struct node *node)
{
    struct process *p = node->lives == 0 ? NULL : node->processes[node->lives - 1];
    return p == NULL || p->dead ? NULL : p;
}

/* ---- time ---- */

static int64_t clock_monotonic(struct clock *clock)
{
    return sched_now_us(container_of(clock, struct node_clock, clock)->sched);
}

static int64_t clock_wall(struct clock *clock)
{
    return WALL_START_MS + clock_monotonic(clock) / 1000 +
           container_of(clock, struct node_clock, clock)->offset_ms;
}

static void clock_sleep(struct clock *clock, int64_t us)
{
    sched_sleep(container_of(clock, struct node_clock, clock)->sched, us);
}

void node_set_clock(struct node *node, int64_t offset_ms)
{
    node->clock.offset_ms = offset_ms;
}

/* ---- threads ---- */

static void run_loop(void *context)
{
    struct thread *thread = context;
    loop_run(thread->loop);
}

static err start_thread(struct threads *threads, const char *name, enum thread_rank rank,
                        struct loop *loop, struct thread **out)
{
    (void)rank;
    struct node *node = container_of(threads, struct process, threads)->node;
    struct thread *thread = xcalloc(1, sizeof(*thread));
    char full[NAME_BYTES];
    snprintf(full, sizeof(full), "%d/%s", node->id, name);
    thread->loop = loop;
    thread->task = task_spawn(node->env.sched, &node->group, full, run_loop, thread);
    *out = thread;
    return OK;
}

static void join_thread(struct threads *threads, struct thread *thread)
{
    struct node *node = container_of(threads, struct process, threads)->node;
    task_join(node->env.sched, thread->task);
    free(thread);
}

/* ---- the store ---- */

/* A call of the control thread waits: until something happens, or a little. */
static void wait_for_store(void *context)
{
    struct node *node = context;
    int64_t now_us = sched_now_us(node->env.sched);
    int64_t due_ms = coord_model_next_due_ms(node->env.store);
    int64_t until_us =
        due_ms > (now_us + WAIT_MAX_US) / 1000 ? now_us + WAIT_MAX_US : due_ms * 1000;
    sched_block(node->env.sched, until_us);
}

/* Events come from inside of a turn of the model, which nobody else may enter. */
static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    struct process *p = context;
    sched_quiet_begin(p->node->env.sched);
    p->events.watch(p->events.context, type, path);
    sched_quiet_end(p->node->env.sched);
}

static void on_session(void *context, enum coord_session state)
{
    struct process *p = context;
    trace_line(p->node->env.trace, "broker %d: session %d", p->node->id, (int)state);
    sched_quiet_begin(p->node->env.sched);
    p->events.session(p->events.context, state);
    sched_quiet_end(p->node->env.sched);
}

static err open_store(void *context, const struct coord_events *events, struct coord **coord,
                      char *reason)
{
    struct process *p = context;
    const struct coord_events ours = {.watch = on_watch, .session = on_session, .context = p};
    p->events = *events;
    return coord_model_open(p->node->way, &ours, coord, reason);
}

/* ---- a process ---- */

static void set_option(struct process *p, const char *option)
{
    char reason[CONFIG_REASON_BYTES];
    CHECK(config_override(&p->config, option, reason) == OK);
}

static void make_config(struct process *p)
{
    char text[OPTION_BYTES];
    char address[NETWORK_ADDRESS_MAX];
    char reason[CONFIG_REASON_BYTES];
    config_init(&p->config);
    snprintf(text, sizeof(text), "broker.id=%d", p->node->id);
    set_option(p, text);
    network_address(p->node->id, address);
    snprintf(text, sizeof(text), "listeners=PLAINTEXT://%s:9092", address);
    set_option(p, text);
    set_option(p, "log.dirs=" SIM_LOG_DIR);
    set_option(p, "zookeeper.connect=model:2181");
    for (const char *const *option = p->node->env.options; *option != NULL; option++) {
        set_option(p, *option);
    }
    if (config_finish(&p->config, reason) != OK) {
        fprintf(stderr, "%s\n", reason);
        CHECK(false);
    }
}

static struct broker_env env_of(struct process *p)
{
    return (struct broker_env){.clock = &p->node->clock.clock,
                               .fs = p->fs,
                               .random = sched_random(p->node->env.sched),
                               .threads = &p->threads,
                               .sockets = p->sockets,
                               .coord_open = open_store,
                               .coord_context = p};
}

/* The last process must have left the way to the store. */
static void wait_for_last(struct process *p)
{
    const struct process *last = p->life == 0 ? NULL : p->node->processes[p->life - 1];
    while (last != NULL && !last->ended) {
        sched_sleep(p->node->env.sched, LOOK_US);
    }
}

static bool start_broker(struct process *p)
{
    struct node *node = p->node;
    struct broker_env env = env_of(p);
    char reason[BROKER_REASON_BYTES] = "";
    err e = broker_start(&env, &p->config, &p->broker, reason);
    if (e == OK) {
        e = broker_serve(p->broker, reason);
    }
    if (e != OK && !p->dead) {
        node->refusals++;
        snprintf(node->reason, sizeof(node->reason), "%s", reason);
        trace_line(node->env.trace, "broker %d: refused: %s", node->id, reason);
    }
    return e == OK;
}

static void serve(struct process *p)
{
    struct node *node = p->node;
    p->state = NODE_SERVING;
    trace_line(node->env.trace, "broker %d: serves", node->id);
    while (!p->stop_wanted && !p->dead) {
        sched_block(node->env.sched, SCHED_FOREVER_US);
    }
    p->state = NODE_STOPPING;
    while (p->users > 0) {
        sched_sleep(node->env.sched, LOOK_US);
    }
    broker_stop(p->broker);
}

static void run_process(void *context)
{
    struct process *p = context;
    wait_for_last(p);
    make_config(p);
    if (start_broker(p)) {
        serve(p);
    }
    config_deinit(&p->config);
    if (!p->dead) {
        trace_line(p->node->env.trace, "broker %d: ended", p->node->id);
        network_end_process(p->node->env.network, p->sockets, false);
        disk_close_view(p->fs);
        p->dead = true;
    }
    p->state = NODE_DOWN;
    p->ended = true;
}

void node_start(struct node *node)
{
    if (current(node) != NULL) {
        return;
    }
    char name[NAME_BYTES];
    struct process *p = xcalloc(1, sizeof(*p));
    p->node = node;
    p->threads = (struct threads){.start = start_thread, .join = join_thread};
    p->fs = disk_open_view(node->disk, &node->clock.clock);
    p->sockets = network_begin_process(node->env.network, node->id, p->fs);
    p->state = NODE_STARTING;
    p->life = node->lives;
    node->processes =
        xrealloc(node->processes, (size_t)(node->lives + 1) * sizeof(struct process *));
    node->processes[node->lives++] = p;
    snprintf(name, sizeof(name), "%d/main", node->id);
    trace_line(node->env.trace, "broker %d: begins", node->id);
    p->task = task_spawn(node->env.sched, &node->group, name, run_process, p);
}

void node_stop(struct node *node)
{
    struct process *p = current(node);
    if (p != NULL) {
        p->stop_wanted = true;
        task_wake(node->env.sched, p->task);
    }
}

/* ---- its end ---- */

static void end_process(struct process *p, bool power_loss)
{
    struct node *node = p->node;
    p->dead = true;
    node_resume(node);
    disk_close_view(p->fs);
    network_end_process(node->env.network, p->sockets, power_loss);
    sched_quiet_begin(node->env.sched);
    coord_model_kill(node->way);
    sched_quiet_end(node->env.sched);
    task_wake(node->env.sched, p->task);
}

void node_kill(struct node *node)
{
    struct process *p = current(node);
    if (p != NULL) {
        trace_line(node->env.trace, "broker %d: killed", node->id);
        end_process(p, false);
    }
}

void node_lose_power(struct node *node)
{
    struct process *p = current(node);
    trace_line(node->env.trace, "broker %d: loses power", node->id);
    if (p != NULL) {
        end_process(p, true);
    }
    disk_lose_power(node->disk);
}

static void at_change(void *context)
{
    struct node *node = context;
    if (node->power_at_change) {
        node_lose_power(node);
    } else {
        node_kill(node);
    }
}

void node_kill_at_change(struct node *node, int64_t changes, bool power_loss)
{
    struct process *p = current(node);
    if (p != NULL) {
        node->power_at_change = power_loss;
        disk_at_change(p->fs, changes, at_change, node);
    }
}

void node_pause(struct node *node)
{
    if (current(node) != NULL && !node->group.paused) {
        trace_line(node->env.trace, "broker %d: paused", node->id);
        node->group.paused = true;
        coord_model_cut(node->way, COORD_MODEL_BOTH);
    }
}

void node_resume(struct node *node)
{
    if (node->group.paused) {
        trace_line(node->env.trace, "broker %d: resumed", node->id);
        node->group.paused = false;
        coord_model_heal(node->way);
    }
}

void node_starve(struct node *node, const char *name, int64_t us)
{
    sched_starve(node->env.sched, &node->group, name, us);
}

/* ---- to look at ---- */

enum node_state node_state(const struct node *node)
{
    const struct process *p = current(node);
    return p == NULL ? NODE_DOWN : p->state;
}

bool node_is_paused(const struct node *node)
{
    return node->group.paused;
}

bool node_is_quiet(const struct node *node)
{
    return node->lives == 0 || node->processes[node->lives - 1]->ended;
}

int node_life(const struct node *node)
{
    return node->lives;
}

int node_refusals(const struct node *node)
{
    return node->refusals;
}

const char *node_reason(const struct node *node)
{
    return node->reason;
}

struct disk *node_disk(struct node *node)
{
    return node->disk;
}

struct coord_model_way *node_way(struct node *node)
{
    return node->way;
}

struct broker *node_acquire(struct node *node)
{
    struct process *p = current(node);
    if (p == NULL || p->state != NODE_SERVING || p->stop_wanted || node->group.paused) {
        return NULL;
    }
    p->users++;
    return p->broker;
}

void node_release(struct node *node, struct broker *broker)
{
    for (int i = node->lives - 1; i >= 0; i--) {
        struct process *p = node->processes[i];
        if (p->broker == broker && !p->ended) {
            p->users--;
            return;
        }
    }
    CHECK(false);
}

/* ---- life ---- */

struct node *node_new(const struct node_env *env, int id)
{
    struct node *node = xcalloc(1, sizeof(*node));
    node->env = *env;
    node->id = id;
    node->clock = (struct node_clock){
        .clock = {.wall_ms = clock_wall, .monotonic_us = clock_monotonic, .sleep_us = clock_sleep},
        .sched = env->sched};
    node->disk = disk_new(env->sched, env->trace);
    const struct coord_model_config way = {.session_timeout_ms = env->session_timeout_ms,
                                           .connection_timeout_ms = 6000,
                                           .keeps_session = env->keeps_session,
                                           .wait = wait_for_store,
                                           .wait_context = node};
    node->way = coord_model_way_new(env->store, &way);
    coord_model_delay(node->way, 0, 3);
    return node;
}

void node_free(struct node *node)
{
    for (int i = 0; i < node->lives; i++) {
        CHECK(node->processes[i]->ended);
        free(node->processes[i]);
    }
    free(node->processes);
    disk_free(node->disk);
    free(node);
}
