/* Messages under way. One list for the whole model, by the time when they are due. Those of one connection
 * and direction keep their order, whatever their delays, as over TCP. What a cut holds up stays in its
 * place in the list and is passed over. */
#define _GNU_SOURCE
#include "zk/model/model.h"

#include <stdlib.h>

enum { PACKET_BYTES_MAX = 256 << 20 };

struct packet *packet_new(struct coord_model_way *way, enum packet_kind kind)
{
    struct packet *packet = xcalloc(1, sizeof(*packet));
    list_init(&packet->link);
    packet->way = way;
    packet->kind = kind;
    arena_init(&packet->arena, PACKET_BYTES_MAX);
    return packet;
}

void packet_free(struct packet *packet)
{
    list_remove(&packet->link);
    arena_deinit(&packet->arena);
    free(packet);
}

static bool is_held(const struct packet *packet)
{
    unsigned direction = packet->to_client ? COORD_MODEL_ANSWERS : COORD_MODEL_REQUESTS;
    return (packet->way->cut & direction) != 0;
}

static int64_t delay_ms(const struct coord_model_way *way)
{
    int32_t span = way->delay_max_ms - way->delay_min_ms;
    int64_t more = span == 0 ? 0 : random_below(way->model->random, (uint32_t)span + 1);
    return way->delay_min_ms + more;
}

void wire_send(struct packet *packet, bool to_client)
{
    struct coord_model_way *way = packet->way;
    int64_t *last_ms = &way->last_due_ms[to_client ? 1 : 0];
    packet->to_client = to_client;
    packet->due_ms = way->model->now_ms + delay_ms(way);
    packet->due_ms = packet->due_ms < *last_ms ? *last_ms : packet->due_ms;
    *last_ms = packet->due_ms;
    struct list *before = way->model->packets.prev;
    while (before != &way->model->packets &&
           container_of(before, struct packet, link)->due_ms > packet->due_ms) {
        before = before->prev;
    }
    list_prepend(before, &packet->link);
}

struct packet *wire_next(const struct coord_model *model)
{
    list_each (item, &model->packets) {
        struct packet *packet = container_of(item, struct packet, link);
        if (!is_held(packet)) {
            return packet;
        }
    }
    return NULL;
}

void wire_restart(struct coord_model_way *way)
{
    memset(way->last_due_ms, 0, sizeof(way->last_due_ms));
}

void wire_drop(struct coord_model_way *way, int64_t connection, bool broken)
{
    list_each_safe (item, &way->model->packets) {
        struct packet *packet = container_of(item, struct packet, link);
        if (packet->way == way && packet->connection == connection &&
            (broken || packet->to_client || is_held(packet))) {
            packet_free(packet);
        }
    }
}

void wire_forget(struct coord_model_way *way)
{
    list_each (item, &way->model->packets) {
        struct packet *packet = container_of(item, struct packet, link);
        if (packet->way == way) {
            packet->step = NULL;
        }
    }
}
