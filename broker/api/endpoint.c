/* With nothing advertised, the local address of the client's own connection is what surely reaches
 * this broker. */
#include "broker/api/endpoint.h"

#include "broker/broker.h"

#include <netdb.h>
#include <sys/socket.h>

static bool local_address(struct req *r, struct client_endpoint *endpoint)
{
    struct sockaddr_storage address = {0};
    char host[NI_MAXHOST];
    if (r->conn == NULL || !conn_local_address(r->conn, &address) ||
        getnameinfo((struct sockaddr *)&address, socket_address_len(&address), host, sizeof(host),
                    NULL, 0, NI_NUMERICHOST) != 0) {
        return false;
    }
    const char *text = strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host;
    endpoint->host = arena_str(&r->arena, str_of(text));
    endpoint->port = r->listener->port;
    return endpoint->host.data != NULL;
}

bool endpoint_for_client(struct req *r, const struct broker_info *broker,
                         struct client_endpoint *endpoint)
{
    const struct listener *listener = r->listener;
    if (broker->id == r->broker->id && listener->advertised_host[0] == '\0') {
        return local_address(r, endpoint);
    }
    const struct broker_endpoint *found = broker_endpoint_of(broker, listener->name);
    if (found == NULL) {
        return false;
    }
    endpoint->host = str_of(found->host);
    endpoint->port = found->port;
    return true;
}

struct client_broker *brokers_for_client(struct req *r, const struct metadata *metadata,
                                         int32_t *count)
{
    struct client_broker *brokers = req_array(r, metadata->brokers_n, sizeof(*brokers));
    *count = 0;
    for (int32_t i = 0; brokers != NULL && i < metadata->brokers_n; i++) {
        const struct broker_info *info = &metadata->brokers[i];
        struct client_broker *broker = &brokers[*count];
        if (endpoint_for_client(r, info, &broker->endpoint)) {
            broker->id = info->id;
            broker->rack = str_of(info->rack);
            (*count)++;
        }
    }
    return brokers;
}
