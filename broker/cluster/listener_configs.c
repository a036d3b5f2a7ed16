/* Names of listeners that there are not, and options that take effect at the next start only, are refused, as all of that
 * kind is (broker_config_alter.h); Kafka stores them. */
#include "broker/cluster/listener_configs.h"

#include "base/log.h"
#include "base/refuse.h"
#include "broker/security/password_encoder.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AREA   "broker-configs"
#define PREFIX "listener.name."

static bool is_of_listener(const char *name)
{
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0;
}

bool listener_option_is_live(const struct config *config, const char *name)
{
    const struct option *option = config_listener_option(config, name);
    return option != NULL && option->fate == FATE_IN_FORCE && option->dynamic == PER_BROKER &&
           strncmp(option->name, "ssl.", 4) == 0;
}

static bool is_password(const struct config *config, const char *name)
{
    const struct option *option = config_listener_option(config, name);
    return option != NULL && option->type == OPTION_PASSWORD;
}

static struct password_encoding encoding_of(const struct config *config)
{
    return (struct password_encoding){.secret = config->password_encoder_secret,
                                      .old_secret = config->password_encoder_old_secret,
                                      .key_factory = config->password_encoder_keyfactory_algorithm,
                                      .key_bits = config->password_encoder_key_length,
                                      .iterations = config->password_encoder_iterations};
}

/* What the node's text means; malloc'd. NULL, with a warning: it cannot be read. */
static char *opened(const struct config *config, const char *name, const char *text)
{
    if (!is_password(config, name)) {
        return xstrdup(text);
    }
    const struct password_encoding encoding = encoding_of(config);
    char *plain = NULL;
    err e = password_decode(&encoding, text, &plain);
    if (e != OK) {
        log_warn(AREA, "password ignored name=%.100s reason=\"%s\"", name,
                 e == E_MALFORMED ? "it is not encrypted as Kafka does it"
                                  : "password.encoder.secret is not the one that encrypted it");
    }
    return plain;
}

/* ---- what the node says ---- */

static bool node_has(const struct znode_config *node, const char *name)
{
    for (int32_t i = 0; i < node->entries_n; i++) {
        if (str_is(node->entries[i].name, name)) {
            return true;
        }
    }
    return false;
}

static int drop_missing(struct config *config, const struct znode_config *node)
{
    int dropped = 0;
    for (size_t i = config->dynamic.count; i-- > 0;) {
        const char *name = config->dynamic.items[i].name;
        if (is_of_listener(name) && !node_has(node, name)) {
            properties_remove(&config->dynamic, name);
            dropped++;
        }
    }
    return dropped;
}

int listener_configs_set(struct config *config, const struct znode_config *node)
{
    int changed = drop_missing(config, node);
    for (int32_t i = 0; i < node->entries_n; i++) {
        const char *name = node->entries[i].name.data;
        if (!is_of_listener(name)) {
            continue;
        }
        if (!listener_option_is_live(config, name)) {
            log_warn(AREA, "option of a listener ignored name=%.100s", name);
            continue;
        }
        char *plain = opened(config, name, node->entries[i].value.data);
        const char *known = properties_get(&config->dynamic, name);
        if (plain != NULL && (known == NULL || strcmp(known, plain) != 0)) {
            properties_set(&config->dynamic, name, plain);
            changed++;
        }
        free(plain);
    }
    return changed;
}

/* NULL: it is as it should be, or nobody can read it. */
static char *renewed(const struct password_encoding *encoding, const char *text)
{
    struct password_encoding present = *encoding;
    present.old_secret = NULL;
    char *plain = NULL;
    char *fresh = NULL;
    if (password_decode(&present, text, &plain) == E_CONFIG &&
        password_decode(encoding, text, &plain) == OK &&
        password_encode(&present, plain, &fresh) != OK) {
        fresh = NULL;
    }
    free(plain);
    return fresh;
}

bool listener_configs_renew(const struct config *config, struct arena *arena,
                            struct znode_config *node)
{
    const struct password_encoding encoding = encoding_of(config);
    bool changed = false;
    for (int32_t i = 0; encoding.old_secret != NULL && i < node->entries_n; i++) {
        struct znode_config_entry *entry = &node->entries[i];
        char *fresh =
            is_password(config, entry->name.data) ? renewed(&encoding, entry->value.data) : NULL;
        if (fresh != NULL) {
            entry->value = arena_str(arena, str_of(fresh));
            changed = true;
        }
        free(fresh);
    }
    return changed;
}

/* ---- what somebody wants it to say ---- */

/* Kafka takes these for listeners alone. */
static bool wants_prefix(const char *name)
{
    static const char *const NAMES[] = {"ssl.keystore.type",       "ssl.keystore.location",
                                        "ssl.keystore.password",   "ssl.key.password",
                                        "ssl.keystore.key",        "ssl.keystore.certificate.chain",
                                        "ssl.truststore.type",     "ssl.truststore.location",
                                        "ssl.truststore.password", "ssl.truststore.certificates"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            return true;
        }
    }
    return false;
}

enum wrong { RIGHT, LACKS_PREFIX, OF_ALL, NOT_LIVE };

static enum wrong judge(const struct config *config, const char *name, bool all)
{
    if (wants_prefix(name)) {
        return LACKS_PREFIX;
    }
    if (!is_of_listener(name)) {
        return RIGHT;
    }
    return all ? OF_ALL : listener_option_is_live(config, name) ? RIGHT : NOT_LIVE;
}

static err refuse_those(const struct config *config, const struct properties *news, bool all,
                        enum wrong which, char message[CONFIG_REASON_BYTES])
{
    static const char *const WORDS[] = {
        [LACKS_PREFIX] = "These security configs can be dynamically updated only per-listener "
                         "using the listener prefix: HashSet(",
        [OF_ALL] = "Cannot update these configs at default cluster level, broker id must be "
                   "specified: Set(",
        [NOT_LIVE] = "Cannot update these configs dynamically: Set("};
    message[0] = '\0';
    for (size_t i = 0; i < news->count; i++) {
        if (judge(config, news->items[i].name, all) == which) {
            refuse_name(message, CONFIG_REASON_BYTES, WORDS[which], ", ",
                        str_of(news->items[i].name));
        }
    }
    size_t len = strlen(message);
    if (len == 0) {
        return OK;
    }
    snprintf(message + len, CONFIG_REASON_BYTES - len, ")");
    return ERR_INVALID_REQUEST;
}

err listener_configs_check(const struct config *config, const struct properties *news, bool all,
                           char message[CONFIG_REASON_BYTES])
{
    TRY(refuse_those(config, news, all, LACKS_PREFIX, message));
    TRY(refuse_those(config, news, all, OF_ALL, message));
    return refuse_those(config, news, all, NOT_LIVE, message);
}

static bool is_unchanged(const struct properties *before, const struct property *item)
{
    const char *known = properties_get(before, item->name);
    return known != NULL && strcmp(known, item->value) == 0;
}

void listener_configs_open(const struct config *config, const struct properties *before,
                           const struct properties *after, struct properties *plain)
{
    for (size_t i = 0; i < after->count; i++) {
        const struct property *item = &after->items[i];
        if (!listener_option_is_live(config, item->name)) {
            continue;
        }
        char *text = is_unchanged(before, item) ? opened(config, item->name, item->value)
                                                : xstrdup(item->value);
        if (text != NULL) {
            properties_set(plain, item->name, text);
        }
        free(text);
    }
}

err listener_configs_seal(const struct config *config, const struct properties *before,
                          struct properties *after, int32_t broker_id,
                          char message[CONFIG_REASON_BYTES])
{
    const struct password_encoding encoding = encoding_of(config);
    for (size_t i = 0; i < after->count; i++) {
        const struct property *item = &after->items[i];
        if (!is_password(config, item->name) || is_unchanged(before, item)) {
            continue;
        }
        char *text = NULL;
        if (password_encode(&encoding, item->value, &text) != OK) {
            return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                               "Invalid config value for resource ConfigResource(type=BROKER, "
                               "name='%d'): Password encoder secret not configured",
                               broker_id);
        }
        properties_set(after, item->name, text);
        free(text);
    }
    return OK;
}
