/* Time in the model, and what its owner may do.
 *
 * A turn does one thing after the other, each at its own time, until nothing is due by now: a turn that
 * comes late does what earlier ones would have done. At the same time packets come first, in the order
 * in which they were sent, then clients, then sessions that expire: whoever has pinged in time
 * lives. */
#define _GNU_SOURCE
#include "zk/model/model.h"

#include <inttypes.h>
#include <stdlib.h>

struct coord_model *coord_model_new(struct clock *clock, struct random *random)
{
    struct coord_model *model = xcalloc(1, sizeof(*model));
    model->clock = clock;
    model->random = random;
    model->now_ms = clock_monotonic_ms(clock);
    list_init(&model->ways);
    list_init(&model->packets);
    list_init(&model->sessions);
    tree_init(&model->tree);
    return model;
}

void coord_model_free(struct coord_model *model)
{
    list_each_safe (item, &model->packets) {
        packet_free(container_of(item, struct packet, link));
    }
    list_each_safe (way_item, &model->ways) {
        struct coord_model_way *way = container_of(way_item, struct coord_model_way, link);
        CHECK(way->client == NULL);
        free(way);
    }
    ensemble_deinit(model);
    tree_deinit(&model->tree);
    free(model);
}

struct coord_model_way *coord_model_way_new(struct coord_model *model,
                                            const struct coord_model_config *config)
{
    struct coord_model_way *way = xcalloc(1, sizeof(*way));
    CHECK(config->session_timeout_ms > 0);
    way->model = model;
    way->config = *config;
    list_append(&model->ways, &way->link);
    return way;
}

/* ---- time ---- */

/* Whose timer is the next, or NULL. */
static struct client *client_next_due(const struct coord_model *model)
{
    struct client *next = NULL;
    list_each (item, &model->ways) {
        struct client *client = container_of(item, struct coord_model_way, link)->client;
        if (client != NULL &&
            (next == NULL || client_next_due_ms(client) < client_next_due_ms(next))) {
            next = client;
        }
    }
    return next;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t coord_model_next_due_ms(const struct coord_model *model)
{
    const struct packet *packet = wire_next(model);
    const struct client *client = client_next_due(model);
    int64_t due_ms = ensemble_next_due_ms(model);
    due_ms = client == NULL ? due_ms : earlier(due_ms, client_next_due_ms(client));
    return packet == NULL ? due_ms : earlier(due_ms, packet->due_ms);
}

/* Does what is due next, at its time. */
static void do_next(struct coord_model *model, int64_t due_ms)
{
    struct packet *packet = wire_next(model);
    struct client *client = client_next_due(model);
    model->now_ms = due_ms > model->now_ms ? due_ms : model->now_ms;
    if (packet != NULL && packet->due_ms <= due_ms) {
        list_remove(&packet->link);
        if (packet->to_client) {
            client_receive(packet->way->client, packet);
        } else {
            ensemble_receive(model, packet);
        }
    } else if (client != NULL && client_next_due_ms(client) <= due_ms) {
        client_tick(client);
    } else {
        ensemble_expire_due(model);
    }
}

bool coord_model_turn(struct coord_model *model)
{
    CHECK(!model->turning); /* an event only posts */
    model->turning = true;
    int64_t until_ms = clock_monotonic_ms(model->clock);
    bool any = false;
    for (int64_t due_ms; (due_ms = coord_model_next_due_ms(model)) <= until_ms; any = true) {
        do_next(model, due_ms);
    }
    model->now_ms = until_ms;
    model->turning = false;
    return any;
}

/* ---- faults ---- */

void coord_model_cut(struct coord_model_way *way, enum coord_model_direction direction)
{
    (void)coord_model_turn(way->model);
    way->cut = direction;
}

void coord_model_heal(struct coord_model_way *way)
{
    (void)coord_model_turn(way->model);
    way->cut = 0;
    (void)coord_model_turn(way->model);
}

void coord_model_break(struct coord_model_way *way)
{
    (void)coord_model_turn(way->model);
    if (way->client != NULL) {
        client_break(way->client);
        (void)coord_model_turn(way->model);
    }
}

void coord_model_lose(struct coord_model_way *way, int skip, int count, bool applies)
{
    (void)coord_model_turn(way->model);
    way->lose_skip = skip;
    way->lose_left = count;
    way->lose_applies = applies;
}

void coord_model_lose_some(struct coord_model_way *way, uint32_t per_million)
{
    (void)coord_model_turn(way->model);
    way->lose_per_million = per_million;
}

void coord_model_delay(struct coord_model_way *way, int32_t min_ms, int32_t max_ms)
{
    CHECK(min_ms >= 0 && max_ms >= min_ms);
    (void)coord_model_turn(way->model);
    way->delay_min_ms = min_ms;
    way->delay_max_ms = max_ms;
}

void coord_model_expire(struct coord_model_way *way)
{
    (void)coord_model_turn(way->model);
    if (way->client != NULL) {
        ensemble_expire(way->model, client_session_id(way->client));
        (void)coord_model_turn(way->model);
    }
}

void coord_model_remove(struct coord_model *model, const char *path)
{
    (void)coord_model_turn(model);
    ensemble_remove(model, path);
    (void)coord_model_turn(model);
}

void coord_model_kill(struct coord_model_way *way)
{
    (void)coord_model_turn(way->model);
    if (way->client != NULL) {
        client_kill(way->client);
    }
}

/* ---- to look at ---- */

static int compare_paths(const void *a, const void *b)
{
    return strcmp((*(const struct tree_node *const *)a)->path,
                  (*(const struct tree_node *const *)b)->path);
}

static void node_print(const struct tree_node *node, FILE *out)
{
    const struct coord_stat *stat = &node->stat;
    fprintf(out,
            "%s czxid=%" PRId64 " mzxid=%" PRId64 " pzxid=%" PRId64 " ctime=%" PRId64
            " mtime=%" PRId64 " version=%d creates=%d owner=%" PRIx64 " data=",
            node->path, stat->czxid, stat->mzxid, node->pzxid, stat->ctime_ms, stat->mtime_ms,
            stat->version, node->creates, stat->ephemeral_owner);
    if (node->data == NULL) {
        fprintf(out, "null");
    }
    for (int32_t i = 0; i < stat->data_len; i++) {
        uint8_t c = node->data[i];
        fprintf(out, c > ' ' && c < 0x7f && c != '\\' ? "%c" : "\\%02x", c);
    }
    fputc('\n', out);
}

bool coord_model_peek(const struct coord_model *model, const char *path, struct bytes *value,
                      int32_t *version)
{
    const struct tree_node *node = tree_find(&model->tree, path);
    if (node != NULL) {
        *value = bytes_of(node->data, (size_t)node->stat.data_len);
        *version = node->stat.version;
    }
    return node != NULL;
}

void coord_model_print(struct coord_model *model, FILE *out)
{
    (void)coord_model_turn(model);
    size_t n = 0;
    const struct tree_node **nodes = xcalloc(model->tree.nodes.count, sizeof(*nodes));
    map_each (entry, &model->tree.nodes) {
        nodes[n++] = entry->value;
    }
    qsort(nodes, n, sizeof(*nodes), compare_paths);
    fprintf(out, "zxid=%" PRId64 "\n", model->zxid);
    for (size_t i = 0; i < n; i++) {
        node_print(nodes[i], out);
    }
    free(nodes);
    ensemble_print_sessions(model, out);
}
