/* What the TLS of a broker is made of: a context for each listener that has it, and one for this broker as a client
 * of others, on the listener that brokers use among themselves and on the controller's. */
#define _GNU_SOURCE
#include "broker/broker_internal.h"

#include "base/log.h"
#include "broker/security/tls_options.h"
#include "broker/security/tls_slot.h"

#include <openssl/crypto.h>

static err make_slot(const struct broker *broker, const char *listener, enum tls_side side,
                     struct tls_slot **slot, char reason[BROKER_REASON_BYTES])
{
    struct tls_context *context = NULL;
    TRY(tls_options_context(broker->config, listener, side, &context, reason));
    *slot = tls_slot_new(context);
    return OK;
}

static const struct listener *listener_of(const struct broker *broker, const char *name)
{
    size_t i = 0;
    while (strcmp(broker->listeners.all[i].name, name) != 0) {
        i++;
    }
    return &broker->listeners.all[i];
}

/* A broker that is alone asks nobody. */
static err make_security(const struct broker *broker, const char *listener,
                         struct peer_security *security, char reason[BROKER_REASON_BYTES])
{
    bool needed = protocol_has_tls(listener_of(broker, listener)->security_protocol) &&
                  config_uses_zookeeper(broker->config);
    return needed ? make_slot(broker, listener, TLS_CLIENT, &security->tls, reason) : OK;
}

err broker_make_tls(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        struct listener *listener = &broker->listeners.all[i];
        if (protocol_has_tls(listener->security_protocol)) {
            TRY(make_slot(broker, listener->name, TLS_SERVER, &listener->tls, reason));
            log_info("tls", "listener has TLS listener=%s library=\"%s\" ktls=no", listener->name,
                     OpenSSL_version(OPENSSL_VERSION));
        }
    }
    TRY(make_security(broker, broker->inter_broker_listener, &broker->inter_broker_security,
                      reason));
    return broker_has_control_plane(broker)
               ? make_security(broker, broker->control_listener, &broker->control_security, reason)
               : OK;
}

err broker_check_tls(const struct config *config, const struct listeners *listeners,
                     char reason[BROKER_REASON_BYTES])
{
    for (size_t i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->all[i];
        struct tls_context *context = NULL;
        if (protocol_has_tls(listener->security_protocol)) {
            TRY(tls_options_context(config, listener->name, TLS_SERVER, &context, reason));
        }
        tls_context_release(context);
    }
    return OK;
}

const struct peer_security *broker_control_security(const struct broker *broker)
{
    return broker_has_control_plane(broker) ? &broker->control_security
                                            : &broker->inter_broker_security;
}

void broker_free_tls(struct broker *broker)
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        tls_slot_free(broker->listeners.all[i].tls);
        broker->listeners.all[i].tls = NULL;
    }
    tls_slot_free(broker->inter_broker_security.tls);
    tls_slot_free(broker->control_security.tls);
}
