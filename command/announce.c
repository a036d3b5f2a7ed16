/* First topics are made as any client would make them, through a listener: so they are there for clients too. */
#include "command/announce.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/ready_file.h"
#include "broker/version.h"

#include <string.h>

enum { FIRST_TOPICS_MS = 60000, AGAIN_US = 300000 };

/* ---- topics ---- */

/* Brokers of a cluster start at the same time: a topic may want more replicas than there are brokers
 * yet, and the controller may be changing. What time does not mend: a mistake in the wish, and what a
 * broker that runs alone lacks. */
static bool is_of_the_start(const struct broker *broker, err e)
{
    bool local = e < ERR_UNKNOWN_SERVER_ERROR; /* no answer */
    return (local || e == ERR_INVALID_REPLICATION_FACTOR || e == ERR_NOT_CONTROLLER) &&
           config_uses_zookeeper(broker->config);
}

/* The controller's own takes no clients; one between brokers does. */
static const struct listener *listener_for_clients(const struct broker *broker)
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        if (strcmp(broker->listeners.all[i].name, broker->inter_broker_listener) == 0) {
            return &broker->listeners.all[i];
        }
    }
    return &broker->listeners.all[0];
}

err announce_first_topics(const struct broker *broker, const struct arguments *arguments,
                          const struct signals *signals, char reason[BROKER_REASON_BYTES])
{
    const struct listener *listener = listener_for_clients(broker);
    int64_t until_ms = clock_monotonic_ms(clock_system()) + FIRST_TOPICS_MS;
    for (;;) {
        err e = first_topics_create(&arguments->topics, listener_local_host(listener),
                                    listener->port, reason);
        if (e == OK || !is_of_the_start(broker, e) ||
            clock_monotonic_ms(clock_system()) > until_ms) {
            return e;
        }
        clock_sleep_us(clock_system(), AGAIN_US);
        if (signals_have_come(signals)) {
            return OK;
        }
    }
}

/* ---- lines ---- */

void announce_ready(const struct broker *broker)
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        const struct listener *l = &broker->listeners.all[i];
        const char *host = l->advertised_host[0] != '\0' ? l->advertised_host
                           : l->host[0] == '\0' || strcmp(l->host, "0.0.0.0") == 0 ? "localhost"
                                                                                   : l->host;
        log_info("broker", "listening listener=%s bootstrap.servers=%s:%d", l->name, host,
                 listener_told_port(l));
    }
    log_info("broker", "Kafka version: " OTTLA_KAFKA_VERSION);
    log_info("broker",
             "[BrokerLifecycleManager id=%d] The broker has been unfenced. Transitioning from "
             "RECOVERY to RUNNING.",
             broker->id);
    log_info("broker", "[KafkaRaftServer nodeId=%d] Kafka Server started", broker->id);
    log_info("broker", "[KafkaServer id=%d] started version=%s cluster=%s", broker->id,
             OTTLA_VERSION, broker->cluster_id);
}
