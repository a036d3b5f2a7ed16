/* A move goes from hand to hand, and is touched by one thread at a time:
 *
 *   a mover's thread     copies pieces until it has nearly all, and flushes
 *   the state thread     publishes the copy, copies the rest, and makes it the log
 *   the flush thread     comes to it when the new log is flushed
 *   the state thread     deletes the former log, and the move is done
 *
 * A move that is given up, since its partition goes or is to be elsewhere, notices by its number (partition.h) when it is
 * next looked at. */
#include "broker/replica/dir_mover.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define AREA "mover"

enum {
    THREADS_MAX = 64,
    PIECE_BYTES = 128 << 10,
    FLUSH_BYTES = 16 << 20,
    NEARLY_BYTES = 256 << 10, /* no more is left: nearly all is copied */
    LEFT_MAX_BYTES = 4 << 20, /* that may be copied on the state thread */
    ROUNDS_MAX = 64,
    PAUSE_MS = 20,
    PAUSE_MAX_MS = 2000,
};

struct move {
    struct list link;     /* of the thread's */
    struct list all_link; /* of the mover's */
    struct dir_mover *mover;
    struct dir_mover_thread *thread;
    struct partition *p; /* a reference */
    uint32_t number;
    struct loop_task task;
    struct timer timer; /* the state thread's */
    bool said;          /* why it pauses */
    int64_t due_ms;
    int64_t pause_ms; /* the last one; 0: none since the last success */
    int64_t copied_bytes;
    int64_t unflushed_bytes;
    int64_t began_ms;
    int64_t end_offset; /* where the two logs were equal */
};

struct dir_mover_thread {
    struct dir_mover *mover;
    struct loop *loop; /* NULL: not begun */
    struct thread *thread;
    struct timer timer;
    struct list moves; /* struct move, by link */
    struct move_buffer buffer;
};

struct dir_mover {
    struct dir_mover_config config;
    int threads_n;
    struct dir_mover_thread threads[THREADS_MAX];
    /* The state thread's. */
    struct move_buffer buffer;
    bool stopped;
    struct list all; /* struct move, by all_link */
};

static void buffer_empty(struct move_buffer *buffer)
{
    free(buffer->bytes);
    buffer->bytes = NULL;
    buffer->size = 0;
}

/* ---- moves ---- */

static void move_forget(struct move *move)
{
    list_remove(&move->all_link);
    partition_release(move->p);
    free(move);
}

static void pass_on(struct move *move, struct loop *loop, void (*run)(struct loop_task *task))
{
    move->task.run = run;
    loop_post(loop, &move->task);
}

static void say(struct move *move, err e, const char *what)
{
    struct topic_partition name = partition_name(move->p);
    log_error(AREA, "%s topic=%.*s partition=%d error=\"%s\"", what, (int)name.topic.len,
              name.topic.data, name.partition, err_text(e));
}

/* On the state thread: there is no copy any more, or will be none. */
static void give_up(struct dir_mover *mover, struct partition *p)
{
    partition_give_up_move(p);
    logs_move_give_up(mover->config.logs, partition_name(p));
    mover->config.files_dropped(mover->config.context);
}

/* ---- the end, on the state thread ---- */

static void on_flushed(struct loop_task *task);

static void begin(struct dir_mover *mover, struct partition *p, size_t dir);

/* Somebody has wanted it in a third directory meanwhile. */
static void go_where_wished(struct dir_mover *mover, struct partition *p)
{
    struct logs *logs = mover->config.logs;
    ssize_t wish = logs_wished(logs, partition_name(p));
    struct logs_whereabouts where = logs_where(logs, partition_name(p));
    if (wish != LOGS_NO_DIR && where.dir != LOGS_NO_DIR && wish != where.dir) {
        begin(mover, p, (size_t)wish);
    }
}

static void say_moved(const struct move *move)
{
    const struct dir_mover *mover = move->mover;
    struct topic_partition name = partition_name(move->p);
    log_info(AREA, "moved topic=%.*s partition=%d bytes=%lld ms=%lld", (int)name.topic.len,
             name.topic.data, name.partition, (long long)move->copied_bytes,
             (long long)(clock_monotonic_ms(mover->config.clock) - move->began_ms));
}

static void end(struct move *move)
{
    struct dir_mover *mover = move->mover;
    err e = logs_move_end(mover->config.logs, partition_name(move->p));
    if (e != OK &&
        partition_is_online(move->p)) { /* another time there is room for the checkpoints */
        timer_start(mover->config.state, &move->timer, PAUSE_MAX_MS);
        return;
    }
    if (e == OK) {
        say_moved(move);
        mover->config.files_dropped(mover->config.context);
        go_where_wished(mover, move->p);
    }
    move_forget(move);
}

static void on_end_again(struct timer *timer)
{
    struct move *move = container_of(timer, struct move, timer);
    if (partition_is_online(move->p) &&
        logs_where(move->mover->config.logs, partition_name(move->p)).ends) {
        end(move);
    } else {
        move_forget(move);
    }
}

static void on_swapped(struct loop_task *task)
{
    struct move *move = container_of(task, struct move, task);
    struct dir_mover *mover = move->mover;
    if (mover->stopped) {
        return;
    }
    err e = partition_release_former(move->p, move->end_offset);
    if (e == E_BUSY) {
        pass_on(move, mover->config.flush, on_flushed);
    } else if (e == OK) {
        err_ignore(replicas_checkpoint_high_watermarks(mover->config.replicas, true)); /* a hint */
        end(move);
    } else {
        if (e == ERR_KAFKA_STORAGE_ERROR) {
            say(move, e, "has moved to a directory that has failed since; what it was is kept");
        }
        move_forget(move);
    }
}

/* On the flush thread, behind the flush that was asked for. */
static void on_flushed(struct loop_task *task)
{
    struct move *move = container_of(task, struct move, task);
    pass_on(move, move->mover->config.state, on_swapped);
}

/* The copy gets its final name, and everything. E_BUSY: there is too much left to be copied here. */
static err finish(struct move *move)
{
    struct dir_mover *mover = move->mover;
    struct topic_partition name = partition_name(move->p);
    struct plog *future = logs_where(mover->config.logs, name).future;
    struct move_progress progress;
    err e = partition_move_on(move->p, move->number, &mover->buffer, &progress);
    TRY(e == OK && progress.left_bytes > LEFT_MAX_BYTES ? E_BUSY : e);
    partition_hold_move(move->p);
    TRY(logs_move_publish(mover->config.logs, name, &future));
    partition_go_on_moving(move->p, future);
    progress.left_bytes = 1;
    for (int i = 0; i < ROUNDS_MAX && e == OK && progress.left_bytes > 0; i++) {
        e = partition_move_on(move->p, move->number, &mover->buffer, &progress);
        move->copied_bytes += progress.copied_bytes;
    }
    TRY(partition_swap_log(move->p, &mover->buffer, &move->end_offset));
    logs_move_swap(mover->config.logs, name);
    return OK;
}

/* Where the log's own disk has failed the copy may be all that there is: it stays for the next start. */
static void end_badly(struct move *move, err e)
{
    struct dir_mover *mover = move->mover;
    say(move, e, "cannot be moved");
    if (partition_is_online(move->p)) {
        give_up(mover, move->p);
    } else {
        partition_give_up_move(move->p);
        logs_move_set_aside(mover->config.logs, partition_name(move->p));
    }
    move_forget(move);
}

static void on_added(struct loop_task *task);

static void on_copied(struct loop_task *task)
{
    struct move *move = container_of(task, struct move, task);
    struct dir_mover *mover = move->mover;
    if (mover->stopped) {
        return;
    }
    if (!partition_is_moved_as(move->p, move->number)) {
        move_forget(move);
        return;
    }
    err e = finish(move);
    buffer_empty(&mover->buffer);
    if (e == OK) {
        pass_on(move, mover->config.flush, on_flushed);
    } else if (e == E_BUSY) {
        pass_on(move, move->thread->loop, on_added);
    } else {
        end_badly(move, e);
    }
}

static void on_copy_failed(struct loop_task *task)
{
    struct move *move = container_of(task, struct move, task);
    if (move->mover->stopped) {
        return;
    }
    if (partition_is_moved_as(move->p, move->number)) {
        say(move, ERR_KAFKA_STORAGE_ERROR, "cannot be moved, the copy's disk has failed");
        give_up(move->mover, move->p);
    }
    move_forget(move);
}

/* It is another move's, or nobody's: the partition has gone, or its own disk has failed. */
static void on_gone(struct loop_task *task)
{
    struct move *move = container_of(task, struct move, task);
    if (!move->mover->stopped) {
        move_forget(move);
    }
}

/* ---- copying, on a mover's thread ---- */

static void leave(struct move *move, void (*run)(struct loop_task *task))
{
    list_remove(&move->link);
    pass_on(move, move->mover->config.state, run);
}

static void pause_move(struct move *move, err e)
{
    if (!move->said && e != E_BUSY) {
        say(move, e, "cannot be copied now, it is tried again");
        move->said = true;
    }
    move->pause_ms = move->pause_ms == 0 ? PAUSE_MS : move->pause_ms * 2;
    move->pause_ms = move->pause_ms < PAUSE_MAX_MS ? move->pause_ms : PAUSE_MAX_MS;
    move->due_ms = loop_now_ms(move->thread->loop) + move->pause_ms;
}

static err copy(struct move *move, struct move_progress *progress)
{
    TRY(partition_move_on(move->p, move->number, &move->thread->buffer, progress));
    move->copied_bytes += progress->copied_bytes;
    move->unflushed_bytes += progress->copied_bytes;
    throttle_record(move->mover->config.throttle, progress->copied_bytes);
    if (move->unflushed_bytes >= FLUSH_BYTES || progress->left_bytes < NEARLY_BYTES) {
        move->unflushed_bytes = 0;
        return partition_flush_move(move->p, move->number);
    }
    return OK;
}

static void go_on(struct move *move)
{
    struct move_progress progress;
    err e = copy(move, &progress);
    if (e == OK && progress.left_bytes < NEARLY_BYTES) {
        leave(move, on_copied);
    } else if (e == OK) {
        move->pause_ms = 0;
        move->said = false;
    } else if (progress.future_failed) {
        leave(move, on_copy_failed);
    } else if (e == E_NOT_FOUND || !partition_is_online(move->p)) {
        leave(move, on_gone);
    } else {
        pause_move(move, e);
    }
}

static void on_timer(struct timer *timer)
{
    struct dir_mover_thread *thread = container_of(timer, struct dir_mover_thread, timer);
    int64_t next_ms = INT64_MAX;
    list_each_safe (item, &thread->moves) {
        struct move *move = container_of(item, struct move, link);
        int64_t wait_ms = throttle_wait_ms(thread->mover->config.throttle);
        int64_t due_ms = move->due_ms - loop_now_ms(thread->loop);
        if (wait_ms <= 0 && due_ms <= 0) {
            go_on(move);
            wait_ms = due_ms = 0;
        }
        wait_ms = wait_ms > due_ms ? wait_ms : due_ms;
        next_ms = next_ms < wait_ms ? next_ms : wait_ms;
    }
    if (list_empty(&thread->moves)) {
        buffer_empty(&thread->buffer);
    } else {
        timer_start(thread->loop, &thread->timer, next_ms);
    }
}

static void on_added(struct loop_task *task)
{
    struct move *move = container_of(task, struct move, task);
    struct dir_mover_thread *thread = move->thread;
    list_append(&thread->moves, &move->link);
    timer_start(thread->loop, &thread->timer, 0);
}

/* ---- beginning, on the state thread ---- */

static err start_thread(struct dir_mover *mover, struct dir_mover_thread *thread)
{
    char name[16];
    if (thread->loop != NULL) {
        return OK;
    }
    *thread = (struct dir_mover_thread){
        .mover = mover, .timer.fire = on_timer, .buffer.piece_bytes = PIECE_BYTES};
    list_init(&thread->moves);
    snprintf(name, sizeof(name), "mover-%d", (int)(thread - mover->threads));
    TRY(loop_new(mover->config.clock, mover->config.sockets, &thread->loop));
    err e = thread_start(mover->config.threads, name, THREAD_TENDS, thread->loop, &thread->thread);
    if (e != OK) {
        loop_free(thread->loop);
        thread->loop = NULL;
    }
    return e;
}

/* The copy is there; a thread fills it. */
static err fill(struct dir_mover *mover, struct partition *p, size_t dir, struct plog *future)
{
    struct dir_mover_thread *thread = &mover->threads[dir % (size_t)mover->threads_n];
    TRY(start_thread(mover, thread));
    struct move *move = xcalloc(1, sizeof(*move));
    *move = (struct move){.mover = mover,
                          .thread = thread,
                          .p = p,
                          .timer.fire = on_end_again,
                          .number = partition_begin_move(p, future),
                          .began_ms = clock_monotonic_ms(mover->config.clock)};
    partition_retain(p);
    list_append(&mover->all, &move->all_link);
    pass_on(move, thread->loop, on_added);
    return OK;
}

static err begin_in(struct dir_mover *mover, struct partition *p, size_t dir)
{
    struct plog *future = NULL;
    TRY(logs_move_begin(mover->config.logs, partition_name(p), dir, &future));
    err e = fill(mover, p, dir, future);
    if (e != OK) {
        logs_move_give_up(mover->config.logs, partition_name(p));
    }
    return e;
}

static void begin(struct dir_mover *mover, struct partition *p, size_t dir)
{
    struct topic_partition name = partition_name(p);
    err e = begin_in(mover, p, dir);
    if (e != OK) {
        log_error(AREA, "cannot begin to move topic=%.*s partition=%d error=\"%s\"",
                  (int)name.topic.len, name.topic.data, name.partition, err_text(e));
    }
}

void dir_mover_resume(struct dir_mover *mover, struct partition *p)
{
    struct logs_whereabouts where = logs_where(mover->config.logs, partition_name(p));
    if (mover->stopped) {
        return;
    }
    if (where.future == NULL) {
        go_where_wished(mover, p);
    } else if (fill(mover, p, (size_t)where.future_dir, where.future) != OK) {
        logs_move_give_up(mover->config.logs, partition_name(p));
    }
}

/* What of it is here. */
static err alter_here(struct dir_mover *mover, struct partition *p, ssize_t dir)
{
    struct logs_whereabouts where = logs_where(mover->config.logs, partition_name(p));
    if (!partition_is_online(p) || where.dir == LOGS_NO_DIR) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    bool is_there = where.dir == dir || where.future_dir == dir;
    return is_there || where.ends ? OK : begin_in(mover, p, (size_t)dir);
}

static err alter(struct dir_mover *mover, struct topic_partition name, ssize_t dir)
{
    struct logs_whereabouts where = logs_where(mover->config.logs, name);
    struct partition *p = replicas_find(mover->config.replicas, name.topic, name.partition);
    if (p != NULL && where.future != NULL && where.future_dir != dir) {
        give_up(mover, p);
    }
    bool is_there = where.dir == dir || where.future_dir == dir;
    logs_wish(mover->config.logs, name, is_there ? LOGS_NO_DIR : dir);
    err e = p != NULL                                             ? alter_here(mover, p, dir)
            : mover->config.is_known(mover->config.context, name) ? ERR_REPLICA_NOT_AVAILABLE
                                                                  : ERR_UNKNOWN_TOPIC_OR_PARTITION;
    if (p != NULL) {
        partition_release(p);
    }
    return e;
}

err dir_mover_alter(struct dir_mover *mover, struct topic_partition name, struct str path)
{
    size_t dir = 0;
    if (mover->stopped) {
        return ERR_BROKER_NOT_AVAILABLE;
    }
    if (!logs_move_fits(name)) {
        return ERR_INVALID_TOPIC_EXCEPTION;
    }
    if (!logs_find_dir(mover->config.logs, path, &dir)) {
        return ERR_LOG_DIR_NOT_FOUND;
    }
    return logs_dir_is_online(mover->config.logs, dir) ? alter(mover, name, (ssize_t)dir)
                                                       : ERR_KAFKA_STORAGE_ERROR;
}

/* ---- life ---- */

struct dir_mover *dir_mover_new(const struct dir_mover_config *config)
{
    struct dir_mover *mover = xcalloc(1, sizeof(*mover));
    int threads_n = config->threads_n > 0 ? config->threads_n : (int)logs_dirs(config->logs);
    mover->config = *config;
    mover->buffer.piece_bytes = PIECE_BYTES;
    mover->threads_n = threads_n < THREADS_MAX ? threads_n : THREADS_MAX;
    list_init(&mover->all);
    return mover;
}

void dir_mover_stop(struct dir_mover *mover)
{
    if (mover == NULL || mover->stopped) {
        return;
    }
    mover->stopped = true;
    for (int i = 0; i < THREADS_MAX; i++) {
        struct dir_mover_thread *thread = &mover->threads[i];
        if (thread->loop != NULL) {
            loop_stop(thread->loop);
            thread_join(mover->config.threads, thread->thread);
            timer_stop(thread->loop, &thread->timer);
            loop_free(thread->loop);
            thread->loop = NULL;
            free(thread->buffer.bytes);
        }
    }
    list_each (item, &mover->all) {
        struct move *move = container_of(item, struct move, all_link);
        timer_stop(mover->config.state, &move->timer);
        partition_release(move->p);
        move->p = NULL;
    }
}

void dir_mover_free(struct dir_mover *mover)
{
    if (mover == NULL) {
        return;
    }
    list_each_safe (item, &mover->all) {
        struct move *move = container_of(item, struct move, all_link);
        list_remove(&move->all_link);
        free(move);
    }
    free(mover);
}
