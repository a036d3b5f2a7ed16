/* Where a broker listens, and how much of the machine it takes for that: descriptors, threads, memory. */
#define _GNU_SOURCE
#include "broker/broker_internal.h"

#include "base/refuse.h"
#include "broker/net/host_name.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    PARTIAL_FRAME_IDLE_MS = 30000,
    OPEN_FILES_SHARE = 2, /* one half of the descriptors for files, the rest for connections */
    OPEN_FILES_MIN = 64,
    OPEN_FILES_MAX = 100000,
    DESCRIPTORS_RESERVED = 64,
};

/* ---- limits ---- */

/* As the command has raised it; in another program's process it is that program's. */
static int64_t descriptors_max(void)
{
    struct rlimit limit = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
}

int broker_open_files_max(void)
{
    int64_t share = descriptors_max() / OPEN_FILES_SHARE;
    return share < OPEN_FILES_MIN ? OPEN_FILES_MIN
                                  : (int)(share > OPEN_FILES_MAX ? OPEN_FILES_MAX : share);
}

/* The rest is for connections, less what the broker itself needs: a flood of them must not keep it
 * from opening its files. */
static int32_t connections_max(const struct config *config)
{
    int64_t rest = descriptors_max() - broker_open_files_max() - DESCRIPTORS_RESERVED;
    rest = rest < 1 ? 1 : rest;
    return config->max_connections < rest ? config->max_connections : (int32_t)rest;
}

int broker_threads_wanted(int32_t allowed)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 && cores < allowed ? (int)cores : allowed;
}

/* queued.max.request.bytes; without it a quarter of the machine's memory. */
static size_t buffered_bytes_max(const struct config *config)
{
    if (config->queued_max_request_bytes > 0) {
        return (size_t)config->queued_max_request_bytes;
    }
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages / 4 * (size_t)page_bytes : (size_t)1 << 30;
}

/* Times are added to it. */
static int64_t idle_ms(const struct config *config)
{
    return config->connections_max_idle_ms < INT64_MAX / 2 ? config->connections_max_idle_ms : -1;
}

int broker_buffer_bytes(const struct config *config, const char *name, int32_t value)
{
    return config_is_set(config, config_option(name)) ? value : -1;
}

/* ---- listeners ---- */

/* NULL: none is named. */
static const char *inter_broker_listener(const struct config *config)
{
    if (config->inter_broker_listener_name != NULL) {
        return config->inter_broker_listener_name;
    }
    return strcmp(config->security_inter_broker_protocol, "PLAINTEXT") != 0
               ? config->security_inter_broker_protocol
               : NULL;
}

/* Those of single listeners. */
static void take_listener_limits(struct broker *broker)
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        struct listener *listener = &broker->listeners.all[i];
        listener->conns_max =
            config_listener_limit(broker->config, listener->name, "max.connections");
        listener->conns_rate_max =
            config_listener_limit(broker->config, listener->name, "max.connection.creation.rate");
    }
}

static struct listener *listener_named(const struct broker *broker, const char *name)
{
    for (size_t i = 0; name != NULL && i < broker->listeners.count; i++) {
        if (strcasecmp(broker->listeners.all[i].name, name) == 0) {
            return &broker->listeners.all[i];
        }
    }
    return NULL;
}

bool broker_has_control_plane(const struct broker *broker)
{
    return broker->control_listener != broker->inter_broker_listener;
}

/* Where brokers, and their controller, talk to each other. Without a name it is PLAINTEXT, or where there
 * is none the first. */
static err take_brokers_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const char *control = broker->config->control_plane_listener_name;
    const struct listener *among = listener_named(broker, inter_broker_listener(broker->config));
    among = among != NULL ? among : listener_named(broker, "PLAINTEXT");
    among = among != NULL ? among : &broker->listeners.all[0];
    broker->inter_broker_listener = broker->control_listener = among->name;
    if (control == NULL) {
        return OK;
    }
    struct listener *of_controller = listener_named(broker, control);
    if (of_controller == NULL || of_controller == among) {
        return refuse(
            reason, BROKER_REASON_BYTES,
            "option control.plane.listener.name: \"%s\" must be one of the listeners, and "
            "not the one of the brokers among themselves (%s)",
            control, among->name);
    }
    of_controller->alone = true; /* load from clients does not delay it */
    broker->control_listener = of_controller->name;
    return OK;
}

err broker_parse_listeners(const struct config *config, struct listeners *listeners,
                           char reason[BROKER_REASON_BYTES])
{
    const struct listeners_config texts = {
        .listeners = config->listeners,
        .advertised = config->advertised_listeners,
        .protocol_map = config->listener_security_protocol_map,
        .controller_names = config->controller_listener_names,
        .inter_broker = inter_broker_listener(config),
        .inter_broker_option = config->inter_broker_listener_name != NULL
                                   ? "inter.broker.listener.name"
                                   : "security.inter.broker.protocol",
        .ip_overrides = config->max_connections_per_ip_overrides,
        .host_name = host_name_canonical,
    };
    return listeners_parse(&texts, listeners, reason, BROKER_REASON_BYTES);
}

err broker_bind_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const struct config *config = broker->config;
    TRY(broker_parse_listeners(config, &broker->listeners, reason));
    take_listener_limits(broker);
    TRY(take_brokers_listeners(broker, reason));
    TRY(broker_make_tls(broker, reason));
    TRY(broker_make_logins(broker, reason));
    broker->loops_n = broker_threads_wanted(config->num_network_threads) +
                      (broker_has_control_plane(broker) ? 1 : 0);
    struct server_config server = {
        .threads = broker->env.threads,
        .sockets = broker->env.sockets,
        .bound = broker->env.bound,
        .listeners = broker->listeners.all,
        .listeners_n = broker->listeners.count,
        .loops_n = broker->loops_n,
        .backlog = config->socket_listen_backlog_size,
        .conns_max = connections_max(config),
        .conns_per_ip_max = config->max_connections_per_ip,
        .ip_overrides = broker->listeners.ip_overrides,
        .ip_overrides_n = broker->listeners.ip_overrides_n,
        .quotas = broker->quotas,
        .rate = {.max = config->max_connection_creation_rate,
                 .samples = broker_quota_samples(config)},
        .buffered_bytes_max = buffered_bytes_max(config),
        .limits = {.frame_bytes_max = config->socket_request_max_bytes,
                   .login_bytes_max = config->sasl_server_max_receive_size,
                   .idle_ms = idle_ms(config),
                   .refusal_ms = config->connection_failed_authentication_delay_ms,
                   .partial_idle_ms = PARTIAL_FRAME_IDLE_MS,
                   .send_buffer_bytes = broker_buffer_bytes(config, "socket.send.buffer.bytes",
                                                            config->socket_send_buffer_bytes),
                   .receive_buffer_bytes = broker_buffer_bytes(
                       config, "socket.receive.buffer.bytes", config->socket_receive_buffer_bytes)},
    };
    return server_new(broker->clock, &server, &broker->server, reason, BROKER_REASON_BYTES);
}

/* What clients are told to connect to, and the machine's name where a listener binds all addresses. */
void broker_make_endpoints(struct broker *broker)
{
    char hostname[LISTENER_HOST_MAX] = "localhost";
    (void)gethostname(hostname, sizeof(hostname) - 1);
    broker->endpoints = xcalloc(broker->listeners.count, sizeof(*broker->endpoints));
    for (size_t i = 0; i < broker->listeners.count; i++) {
        struct listener *l = &broker->listeners.all[i];
        bool advertised = l->advertised_host[0] != '\0';
        bool any = l->host[0] == '\0' || strcmp(l->host, "0.0.0.0") == 0;
        const char *host = advertised ? l->advertised_host : any ? hostname : l->host;
        broker->endpoints[i] = (struct znode_endpoint){
            .listener = str_of(l->name),
            .host = (struct str){.data = xstrdup(host), .len = strlen(host)},
            .port = listener_told_port(l),
            .security_protocol = str_of(security_protocol_name(l->security_protocol)),
        };
    }
}
