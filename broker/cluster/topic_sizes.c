#include "broker/cluster/topic_sizes.h"

#include "base/list.h"
#include "protocol/topic_name.h"
#include "zk/znodes.h"

#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20 };

static int32_t size_of(struct arena *arena, const struct coord_op *get)
{
    struct znode_topic topic;
    if (get->error == E_NOT_FOUND) {
        return 0;
    }
    return get->error == OK && znode_topic_decode(arena, get->value, &topic) == OK
               ? topic.partitions_n
               : -1;
}

/* A name that no topic can have, from a damaged record, makes no path. */
static err read_all(struct topic_sizes_question *question, struct arena *arena)
{
    struct coord_op *gets = arena_array(arena, question->count, sizeof(*gets));
    int32_t **answers = arena_array(arena, question->count, sizeof(*answers));
    size_t count = 0;
    TRY(gets == NULL || answers == NULL ? E_LIMIT : OK);
    for (size_t i = 0; i < question->count; i++) {
        bool legal = topic_name_is_legal(question->topics[i]);
        question->partitions[i] = legal ? -1 : 0;
        if (legal) {
            const char *path = znode_topic_path(arena, question->topics[i]);
            TRY(path == NULL ? E_LIMIT : OK);
            answers[count] = &question->partitions[i];
            gets[count++] = (struct coord_op){.type = COORD_GET, .path = path};
        }
    }
    TRY(coord_run(question->coord, gets, count, arena));
    for (size_t i = 0; i < count; i++) {
        *answers[i] = size_of(arena, &gets[i]);
    }
    return OK;
}

static void on_answered(struct loop_task *task)
{
    struct topic_sizes_question *question = container_of(task, struct topic_sizes_question, task);
    question->done(question);
}

static void on_ask(struct loop_task *task)
{
    struct topic_sizes_question *question = container_of(task, struct topic_sizes_question, task);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    (void)read_all(question, &arena); /* what is not answered is not known */
    arena_deinit(&arena);
    question->task.run = on_answered;
    loop_post(question->loop, &question->task);
}

void topic_sizes_ask(struct topic_sizes_question *question, struct loop *control,
                     struct coord *coord)
{
    question->coord = coord;
    question->task.run = on_ask;
    loop_post(control, &question->task);
}
