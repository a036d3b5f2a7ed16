/* The client side of the model: the coord.h of one broker, as the C client of ZooKeeper keeps it.
 *
 * Connection: it asks for a session, new or its own, until it is answered; gives an attempt up after a third of
 * the session's timeout, and waits by chance up to a second before the next one. Connected, it sends a
 * ping each third of the timeout, and gives the connection up when it has heard nothing for two
 * thirds. That the session has expired it hears from the ensemble only.
 *
 * Told are changes, as in coord_zookeeper.c: the first connection of a session is told by the return of
 * the call that waits for it. Watches are noted here too, and are part of each new connection's
 * first message; one that nobody has noted any more is not told. */
#define _GNU_SOURCE
#include "zk/model/client.h"

#include <stdlib.h>

enum { BACKOFF_MS = 1000, CLOSE_PATIENCE_MS = 1500, UNATTENDED_MS = 3600 * 1000 };

static struct client *client_of(struct coord *coord)
{
    return container_of(coord, struct client, coord);
}

static int64_t now_ms(const struct client *client)
{
    return client->way->model->now_ms;
}

/* A third of the session's timeout, so many times. */
static int64_t thirds_ms(const struct client *client, int times)
{
    int64_t ms = (int64_t)client->way->config.session_timeout_ms * times / 3;
    return ms < 1 ? 1 : ms;
}

/* ---- what is told ---- */

static void tell_session(const struct client *client, enum coord_session state)
{
    if (client->established && client->events.session != NULL) {
        client->events.session(client->events.context, state);
    }
}

/* Which notes an event takes, as in the C client. */
static unsigned bits_of(enum coord_watch_type type)
{
    switch (type) {
    case COORD_CHILDREN_CHANGED:
        return WATCHED_CHILDREN;
    case COORD_NODE_DELETED:
        return WATCHED_NODE | WATCHED_ABSENT | WATCHED_CHILDREN;
    default:
        return WATCHED_NODE | WATCHED_ABSENT;
    }
}

static void watched_set(struct client *client, const char *path, unsigned bits)
{
    if (bits == 0) {
        (void)map_remove_str(&client->watched, str_of(path));
    } else {
        (void)map_set_str(&client->watched, str_of(path), (void *)(uintptr_t)bits);
    }
}

static unsigned watched_bits(const struct client *client, const char *path)
{
    return (unsigned)(uintptr_t)map_get_str(&client->watched, str_of(path));
}

void client_watch_add(struct client *client, const char *path, unsigned bits)
{
    watched_set(client, path, watched_bits(client, path) | bits);
}

static void on_watch(struct client *client, const struct packet *packet)
{
    unsigned has = watched_bits(client, packet->path);
    unsigned bits = bits_of(packet->watch_type);
    if ((has & bits) != 0) {
        watched_set(client, packet->path, has & ~bits);
        client->events.watch(client->events.context, packet->watch_type, packet->path);
    }
}

/* ---- the connection ---- */

void client_send(struct client *client, struct packet *packet)
{
    packet->connection = client->connection;
    packet->session_id = client->session_id;
    wire_send(packet, false);
}

/* What the client watches, as operations: a path, and bits for flags. */
static void watched_list(const struct client *client, struct packet *packet)
{
    packet->ops = arena_array(&packet->arena, client->watched.count + 1, sizeof(*packet->ops));
    CHECK(packet->ops != NULL);
    map_each (entry, &client->watched) {
        struct str path = {(const char *)entry->key, entry->key_len};
        packet->ops[packet->ops_n++] = (struct coord_op){
            .path = arena_str(&packet->arena, path).data, .flags = (int)(uintptr_t)entry->value};
    }
}

static void connect_try(struct client *client)
{
    client->state = CLIENT_CONNECTING;
    client->connection = ++client->way->model->connections;
    client->attempt_ms = now_ms(client) + thirds_ms(client, 1);
    wire_restart(client->way);
    struct packet *packet = packet_new(client->way, PACKET_CONNECT);
    watched_list(client, packet);
    packet->connection = client->connection;
    packet->session_id = client->wanted_session;
    packet->zxid = client->seen_zxid;
    wire_send(packet, false);
}

/* The next attempt is made after a while, or at once. */
static void connection_lost(struct client *client, bool broken, int64_t pause_ms)
{
    bool was_up = client->state == CLIENT_UP;
    wire_drop(client->way, client->connection, broken);
    client->connection = 0;
    client->state = CLIENT_DOWN;
    client->attempt_ms = now_ms(client) + pause_ms;
    steps_lost(client);
    if (was_up) {
        tell_session(client, COORD_DISCONNECTED);
    }
}

void client_break(struct client *client)
{
    if (client->state == CLIENT_UP || client->state == CLIENT_CONNECTING) {
        connection_lost(client, true, 0);
    }
}

static int64_t backoff_ms(const struct client *client)
{
    return 1 + random_below(client->way->model->random, BACKOFF_MS);
}

static void on_connected(struct client *client, const struct packet *packet)
{
    client->state = CLIENT_UP;
    client->ping_ms = now_ms(client) + thirds_ms(client, 1);
    client->session_id = client->wanted_session = packet->session_id;
    client->way->kept_session = packet->session_id;
    tell_session(client, COORD_CONNECTED);
    client->established = true;
    steps_pump(client);
}

static void on_expired(struct client *client)
{
    client->state = CLIENT_EXPIRED;
    map_deinit(&client->watched);
    tell_session(client, COORD_EXPIRED);
}

static void receive(struct client *client, struct packet *packet)
{
    switch (packet->kind) {
    case PACKET_CONNECT:
        on_connected(client, packet);
        break;
    case PACKET_EXPIRED:
        on_expired(client);
        break;
    case PACKET_WATCH:
        on_watch(client, packet);
        break;
    case PACKET_BROKEN:
        connection_lost(client, true, 0);
        break;
    case PACKET_CLOSE:
        client->closed = true;
        break;
    default:
        client->seen_zxid = packet->zxid;
        steps_answered(client, packet);
    }
}

void client_receive(struct client *client, struct packet *packet)
{
    if (client != NULL && client->connection == packet->connection) {
        client->heard_ms = now_ms(client);
        receive(client, packet);
    }
    packet_free(packet);
}

/* When a connection that is up is given up, if nothing is heard. */
static int64_t silence_ms(const struct client *client)
{
    return client->heard_ms + thirds_ms(client, 2);
}

int64_t client_next_due_ms(const struct client *client)
{
    if (client->killed || client->state == CLIENT_EXPIRED) {
        return INT64_MAX;
    }
    if (client->state != CLIENT_UP) {
        return client->attempt_ms;
    }
    return client->ping_ms < silence_ms(client) ? client->ping_ms : silence_ms(client);
}

void client_tick(struct client *client)
{
    if (client->state == CLIENT_DOWN) {
        connect_try(client);
    } else if (client->state == CLIENT_CONNECTING) {
        connection_lost(client, false, backoff_ms(client));
    } else if (silence_ms(client) <= now_ms(client)) {
        connection_lost(client, false, 0);
    } else {
        client->ping_ms = now_ms(client) + thirds_ms(client, 1);
        client_send(client, packet_new(client->way, PACKET_PING));
    }
}

/* ---- waiting ---- */

err client_obstacle(const struct client *client)
{
    if (client->interrupted) {
        return E_CLOSED;
    }
    if (client->state == CLIENT_EXPIRED) {
        return E_SESSION;
    }
    return clock_monotonic_ms(client->way->model->clock) >= client->deadline_ms ? E_BUSY : OK;
}

void client_wait(struct client *client, int64_t since_ms)
{
    const struct coord_model_config *config = &client->way->config;
    struct coord_model *model = client->way->model;
    if (config->wait != NULL) {
        config->wait(config->wait_context);
    } else {
        int64_t at_ms = clock_monotonic_ms(model->clock);
        int64_t due_ms = coord_model_next_due_ms(model);
        CHECK(due_ms < INT64_MAX && at_ms - since_ms < UNATTENDED_MS);
        clock_sleep_us(model->clock, due_ms > at_ms ? (due_ms - at_ms) * 1000 : 0);
    }
    (void)coord_model_turn(model);
}

/* OK when connected, or what client_obstacle says. */
static err connected_wait(struct client *client)
{
    int64_t since_ms = clock_monotonic_ms(client->way->model->clock);
    (void)coord_model_turn(client->way->model);
    err e = OK;
    while ((e = client_obstacle(client)) == OK && client->state != CLIENT_UP) {
        client_wait(client, since_ms);
    }
    return e;
}

/* ---- the beginning and the end of a session ---- */

/* From now on it looks for a session: this one, or a new one (0). After a turn. */
static void session_seek(struct client *client, int64_t session_id)
{
    client->state = CLIENT_DOWN;
    client->attempt_ms = now_ms(client);
    client->wanted_session = session_id;
    client->established = false;
}

static void former_add(struct client *client, int64_t session_id)
{
    client->former[client->former_n++ % CLIENT_FORMER_MAX] = session_id;
}

/* The session of the way's last client if there is one that lives, else a new one. */
static err session_open(struct client *client)
{
    int64_t old = client->way->config.keeps_session ? client->way->kept_session : 0;
    session_seek(client, old);
    err e = connected_wait(client);
    if (e == E_SESSION) {
        former_add(client, old);
        session_seek(client, 0);
        e = connected_wait(client);
    }
    return e;
}

static void close_ask(struct client *client)
{
    int64_t since_ms = clock_monotonic_ms(client->way->model->clock);
    client_send(client, packet_new(client->way, PACKET_CLOSE));
    (void)coord_model_turn(client->way->model);
    while (!client->closed && client->state == CLIENT_UP &&
           clock_monotonic_ms(client->way->model->clock) - since_ms < CLOSE_PATIENCE_MS) {
        client_wait(client, since_ms);
    }
}

/* Ends the session if the ensemble can be reached in time; frees. */
static void client_end(struct client *client)
{
    struct coord_model_way *way = client->way;
    if (!client->killed) {
        (void)coord_model_turn(way->model);
        client->established = false; /* nothing more is told of the session */
        if (client->state == CLIENT_UP) {
            close_ask(client);
        }
    }
    if (client->closed || client->state == CLIENT_EXPIRED) {
        way->kept_session = 0;
    }
    wire_drop(way, client->connection, false);
    map_deinit(&client->watched);
    way->client = NULL;
    free(client);
}

void client_kill(struct client *client)
{
    wire_forget(client->way);
    client->killed = true;
    client->interrupted = true;
    client->connection = 0;
    client->state = CLIENT_DOWN;
}

int64_t client_session_id(const struct client *client)
{
    return client->session_id;
}

/* ---- the interface ---- */

static err model_run(struct coord *coord, struct coord_op *ops, size_t count, struct arena *arena)
{
    return steps_run(client_of(coord), ops, count, arena);
}

static err model_multi(struct coord *coord, struct coord_op *ops, size_t count, struct arena *arena)
{
    return steps_multi(client_of(coord), ops, count, arena);
}

static int64_t model_session_id(struct coord *coord)
{
    return client_of(coord)->session_id;
}

static bool model_owned(struct coord *coord, int64_t session_id)
{
    const struct client *client = client_of(coord);
    bool owned = session_id == client->session_id;
    for (size_t i = 0; i < CLIENT_FORMER_MAX; i++) {
        owned = owned || session_id == client->former[i];
    }
    return owned && session_id != 0;
}

static err model_renew(struct coord *coord)
{
    struct client *client = client_of(coord);
    (void)coord_model_turn(client->way->model);
    err e = client_obstacle(client);
    if (e != E_SESSION) {
        return e;
    }
    former_add(client, client->session_id);
    session_seek(client, 0);
    return connected_wait(client);
}

static void model_interrupt(struct coord *coord)
{
    client_of(coord)->interrupted = true;
}

static void model_close(struct coord *coord)
{
    client_end(client_of(coord));
}

static struct client *client_new(struct coord_model_way *way, const struct coord_events *events)
{
    static const struct coord_ops OPS = {.run = model_run,
                                         .multi = model_multi,
                                         .session_id = model_session_id,
                                         .owned = model_owned,
                                         .renew = model_renew,
                                         .interrupt = model_interrupt,
                                         .close = model_close};
    struct client *client = xcalloc(1, sizeof(*client));
    client->coord.ops = &OPS;
    client->way = way;
    client->events = *events;
    client->deadline_ms = clock_monotonic_ms(way->model->clock) + way->config.connection_timeout_ms;
    map_init(&client->watched);
    CHECK(way->client == NULL);
    way->client = client;
    return client;
}

err coord_model_open(void *context, const struct coord_events *events, struct coord **coord,
                     char *reason)
{
    struct coord_model_way *way = context;
    (void)coord_model_turn(way->model);
    struct client *client = client_new(way, events);
    err e = session_open(client);
    if (e != OK) {
        snprintf(reason, COORD_REASON_BYTES,
                 "coordination model: the ensemble did not answer within %d ms",
                 way->config.connection_timeout_ms);
        client_end(client);
        return e;
    }
    client->deadline_ms = INT64_MAX;
    *coord = &client->coord;
    return OK;
}
