#include "broker/cluster/broker_clients.h"

#include "base/map.h"

#include <stdlib.h>

struct one {
    struct broker_clients *all;
    int32_t broker_id;
    struct broker_client *client;
};

struct broker_clients {
    struct broker_clients_config config;
    struct map by_id; /* struct one */
    bool stopped;
};

struct broker_clients *broker_clients_new(const struct broker_clients_config *config)
{
    struct broker_clients *clients = xcalloc(1, sizeof(*clients));
    clients->config = *config;
    map_init(&clients->by_id);
    return clients;
}

void broker_clients_stop(struct broker_clients *clients)
{
    clients->stopped = true;
    map_each (entry, &clients->by_id) {
        broker_client_stop(((struct one *)entry->value)->client);
    }
}

void broker_clients_free(struct broker_clients *clients)
{
    if (clients == NULL) {
        return;
    }
    map_each (entry, &clients->by_id) {
        struct one *one = entry->value;
        broker_client_free(one->client);
        free(one);
    }
    map_deinit(&clients->by_id);
    free(clients);
}

static bool address_of(void *context, struct peer_address *address)
{
    const struct one *one = context;
    const struct broker_clients_config *config = &one->all->config;
    return config->address(config->context, one->broker_id, address);
}

static struct one *one_new(struct broker_clients *clients, int32_t broker_id)
{
    const struct broker_clients_config *config = &clients->config;
    struct one *one = xcalloc(1, sizeof(*one));
    *one = (struct one){.all = clients, .broker_id = broker_id};
    one->client = broker_client_new(
        &(struct broker_client_config){.broker_id = config->broker_id,
                                       .loop = config->loop,
                                       .workers = config->workers,
                                       .address = address_of,
                                       .context = one,
                                       .security = config->security,
                                       .connect_timeout_ms = config->connect_timeout_ms,
                                       .timeout_ms = config->timeout_ms});
    if (clients->stopped) {
        broker_client_stop(one->client);
    }
    return one;
}

struct broker_client *broker_clients_get(struct broker_clients *clients, int32_t broker_id)
{
    struct one *one = map_get_i64(&clients->by_id, broker_id);
    if (one == NULL) {
        one = one_new(clients, broker_id);
        map_set_i64(&clients->by_id, broker_id, one);
    }
    return one->client;
}
