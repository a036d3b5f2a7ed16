/* The broker, for its own files: broker.c (start and stop), broker_listeners.c (where it listens, and what
 * of the machine it takes), broker_tls.c (what its TLS is made of), broker_parts.c (what it is made of). All run before its threads do. */
#ifndef OTTLA_BROKER_BROKER_INTERNAL_H
#define OTTLA_BROKER_BROKER_INTERNAL_H

#include "broker/broker.h"
#include "broker/security/client_entity.h"
#include "storage/logs.h"

/* ---- broker_listeners.c ---- */

/* One half of the descriptors is for files. */
int broker_open_files_max(void);
/* Over what rates of clients are measured. */
struct quota_samples broker_quota_samples(const struct config *config);
/* So many as are allowed, but no more than the machine has cores. */
int broker_threads_wanted(int32_t allowed);
/* An option that is a socket's buffer; -1 where it is not set, so that the kernel chooses. */
int broker_buffer_bytes(const struct config *config, const char *name, int32_t value);
/* Has the controller a listener, and a loop, of its own? */
bool broker_has_control_plane(const struct broker *broker);
/* What the options say of listeners; nothing is bound. To be freed by listeners_deinit() in either case. */
NODISCARD err broker_parse_listeners(const struct config *config, struct listeners *listeners,
                                     char reason[BROKER_REASON_BYTES]);
NODISCARD err broker_bind_listeners(struct broker *broker, char reason[BROKER_REASON_BYTES]);
/* What clients are told to connect to. */
void broker_make_endpoints(struct broker *broker);

/* ---- broker_logins.c ---- */

/* Who may log in where, as the options say it, and as whom this broker does: nothing is kept of it, or the broker has
 * it. The listeners have been parsed. */
NODISCARD err broker_check_logins(const struct broker_env *env, const struct config *config,
                                  struct listeners *listeners, char reason[BROKER_REASON_BYTES]);
/* Users and tokens, of whom the store will tell. */
void broker_make_users(struct broker *broker);
NODISCARD err broker_make_logins(struct broker *broker, char reason[BROKER_REASON_BYTES]);
void broker_free_logins(struct broker *broker);
/* The SCRAM credentials of a user are these now. */
void broker_take_scram_user(struct broker *broker, const struct client_entity *entity,
                            const struct znode_config *config);

/* ---- broker_tls.c ---- */

/* Keys and trust of the listeners that have TLS, and of this broker towards others. Nothing of TLS is touched where no
 * listener has it. */
NODISCARD err broker_make_tls(struct broker *broker, char reason[BROKER_REASON_BYTES]);
void broker_free_tls(struct broker *broker);
/* Towards others on the listener on which the controller talks to brokers. */
const struct peer_security *broker_control_security(const struct broker *broker);
/* Control thread: makes anew what is made of options or files that have changed; what cannot be stays as it is, with
 * a line that says why. */
void broker_reload_tls(struct broker *broker);
/* Control thread. config_editor.check_tls */
NODISCARD err broker_check_tls_change(void *context, const struct properties *listener_options,
                                      char message[CONFIG_REASON_BYTES]);
/* Could they be made? */
NODISCARD err broker_check_tls(const struct config *config, const struct listeners *listeners,
                               char reason[BROKER_REASON_BYTES]);

/* ---- broker_parts.c ---- */

/* The store, of which it must be known that these log directories belong to it. */
NODISCARD err broker_connect_store(struct broker *broker, const struct logs_identity *identity,
                                   char reason[BROKER_REASON_BYTES]);
/* What the store has to say is read; nothing that was read may change unseen. */
NODISCARD err broker_read_options(struct broker *broker);
/* All that begins when logs, store and listeners are there. */
void broker_make_parts(struct broker *broker);

#endif
