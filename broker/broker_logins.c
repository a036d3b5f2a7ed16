/* Logins: what each listener with SASL needs, the users and tokens that all of them share, and the identity of this
 * broker among its like. */
#define _GNU_SOURCE
#include "broker/broker_internal.h"

#include "base/log.h"
#include "base/refuse.h"

#include <stdlib.h>
#include <strings.h>

static struct sasl_stores stores_of(const struct broker_env *env)
{
    return (struct sasl_stores){.random = env->random,
                                .threads = env->threads,
                                .clock = env->clock,
                                .sockets = env->sockets};
}

static void free_listeners(struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++) {
        struct listener *listener = &listeners->all[i];
        sasl_listener_free((struct sasl_listener *)(uintptr_t)listener->sasl);
        listener->sasl = NULL;
    }
}

static err make_listeners(const struct config *config, const struct sasl_stores *stores,
                          struct listeners *listeners, char reason[BROKER_REASON_BYTES])
{
    for (size_t i = 0; i < listeners->count; i++) {
        struct listener *listener = &listeners->all[i];
        const struct sasl_listener_config how = {.config = config,
                                                 .name = listener->name,
                                                 .host = listener->host,
                                                 .protocol = listener->security_protocol,
                                                 .stores = *stores};
        struct sasl_listener *made = NULL;
        if (protocol_has_sasl(listener->security_protocol)) {
            TRY(sasl_listener_new(&how, &made, reason, BROKER_REASON_BYTES));
        }
        listener->sasl = made;
    }
    return OK;
}

/* Where brokers talk by SASL they must be able to log in. */
static err read_identity(const struct config *config, const struct listeners *listeners,
                         const char *name, struct sasl_identity *identity,
                         char reason[BROKER_REASON_BYTES])
{
    const struct listener *found = NULL;
    for (size_t i = 0; i < listeners->count; i++) {
        bool same = strcasecmp(listeners->all[i].name, name) == 0;
        found = same ? &listeners->all[i] : found;
    }
    if (found == NULL || !protocol_has_sasl(found->security_protocol)) {
        return OK;
    }
    TRY(sasl_identity_read(config, found->name, identity, reason, BROKER_REASON_BYTES));
    return found->sasl->enabled[identity->mechanism]
               ? OK
               : refuse(reason, BROKER_REASON_BYTES,
                        "option sasl.mechanism.inter.broker.protocol: %s is not among "
                        "sasl.enabled.mechanisms of listener %s",
                        sasl_mechanism_name(identity->mechanism), found->name);
}

/* The listener among brokers, as far as the options name one. */
static const char *named(const struct config *config)
{
    return config->inter_broker_listener_name != NULL ? config->inter_broker_listener_name
                                                      : config->security_inter_broker_protocol;
}

err broker_check_logins(const struct broker_env *env, const struct config *config,
                        struct listeners *listeners, char reason[BROKER_REASON_BYTES])
{
    struct sasl_identity identity = {0};
    struct sasl_stores stores = stores_of(env);
    err e = make_listeners(config, &stores, listeners, reason);
    e = e == OK ? read_identity(config, listeners, named(config), &identity, reason) : e;
    sasl_identity_deinit(&identity);
    free_listeners(listeners);
    return e;
}

static const char *token_key(const struct config *config)
{
    return config->delegation_token_secret_key != NULL ? config->delegation_token_secret_key
                                                       : config->delegation_token_master_key;
}

void broker_make_users(struct broker *broker)
{
    broker->scram_users = scram_users_new();
    broker->tokens = tokens_new(token_key(broker->config), broker->env.random);
}

static void use_identity(const struct broker *broker, struct peer_security *security,
                         const struct sasl_identity *identity)
{
    security->identity = identity->user == NULL ? NULL : identity;
    security->random = broker->env.random;
    security->clock = broker->clock;
}

/* A broker that is alone asks nobody; it is told of what would not do all the same. */
static err make_identities(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    const struct config *config = broker->config;
    const char *name =
        config_uses_zookeeper(config) ? broker->inter_broker_listener : named(config);
    TRY(read_identity(config, &broker->listeners, name, &broker->identity, reason));
    if (broker_has_control_plane(broker)) {
        TRY(read_identity(config, &broker->listeners, broker->control_listener,
                          &broker->control_identity, reason));
    }
    use_identity(broker, &broker->inter_broker_security, &broker->identity);
    use_identity(broker, &broker->control_security, &broker->control_identity);
    return OK;
}

err broker_make_logins(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    struct sasl_stores stores = stores_of(&broker->env);
    stores.users = broker->scram_users;
    stores.tokens = broker->tokens;
    TRY(make_listeners(broker->config, &stores, &broker->listeners, reason));
    return make_identities(broker, reason);
}

void broker_free_logins(struct broker *broker)
{
    free_listeners(&broker->listeners);
    sasl_identity_deinit(&broker->identity);
    sasl_identity_deinit(&broker->control_identity);
    scram_users_free(broker->scram_users);
    tokens_free(broker->tokens);
}

/* ---- users ---- */

static const struct znode_config_entry *entry_of(const struct znode_config *config,
                                                 const char *name)
{
    for (int32_t i = 0; i < config->entries_n; i++) {
        if (str_is(config->entries[i].name, name)) {
            return &config->entries[i];
        }
    }
    return NULL;
}

void broker_take_scram_user(struct broker *broker, const struct client_entity *entity,
                            const struct znode_config *config)
{
    if (entity->user.kind != ENTITY_NAMED || entity->client.kind != ENTITY_NONE) {
        return;
    }
    for (int i = SCRAM_SHA_256; i <= SCRAM_SHA_512; i++) {
        enum scram_mechanism mechanism = (enum scram_mechanism)i;
        struct scram_credential credential;
        const struct znode_config_entry *entry = entry_of(config, scram_mechanism_name(mechanism));
        bool fine =
            entry != NULL && scram_credential_parse(mechanism, entry->value, &credential) == OK;
        if (entry != NULL && !fine) {
            log_error("sasl", "a credential cannot be read, and is left out user=%.*s mechanism=%s",
                      (int)entity->user.name.len, entity->user.name.data,
                      scram_mechanism_name(mechanism));
        }
        scram_users_set(broker->scram_users, entity->user.name, mechanism,
                        fine ? &credential : NULL);
    }
}
