/* Options of single listeners (listener.name.<listener>.<option>) that change while a broker runs: those that its
 * TLS is made of. They are of the broker's own node (broker_configs.h), where passwords are encrypted.
 *
 * Thread: the control thread; at the start the one that starts. (reference: security §2) */
#ifndef OTTLA_BROKER_CLUSTER_LISTENER_CONFIGS_H
#define OTTLA_BROKER_CLUSTER_LISTENER_CONFIGS_H

#include "broker/config.h"
#include "zk/znodes.h"

/* Is it the name of such an option, of a listener that there is? */
bool listener_option_is_live(const struct config *config, const char *name);

/* What the node says becomes the broker's layer, and what it does not say goes. What is not readable (a password of another
 * secret) is left out, with a warning. Returns how many have changed. */
int listener_configs_set(struct config *config, const struct znode_config *node);

/* At the start: passwords in the node that password.encoder.old.secret opens and the present secret does not are encrypted with
 * that, in the arena. False: there are none. */
bool listener_configs_renew(const struct config *config, struct arena *arena,
                            struct znode_config *node);

/* May these be set in a broker's own layer (`all` false), or that of all brokers? INVALID_REQUEST with Kafka's words. */
NODISCARD err listener_configs_check(const struct config *config, const struct properties *news,
                                     bool all, char message[CONFIG_REASON_BYTES]);
/* The texts in force if `after` was written; `before` is what the node says now, with its passwords encrypted. */
void listener_configs_open(const struct config *config, const struct properties *before,
                           const struct properties *after, struct properties *plain);
/* Encrypts the passwords in `after` that are not of `before`. INVALID_CONFIG: there is no secret. */
NODISCARD err listener_configs_seal(const struct config *config, const struct properties *before,
                                    struct properties *after, int32_t broker_id,
                                    char message[CONFIG_REASON_BYTES]);

#endif
