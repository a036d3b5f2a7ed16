/* Which options make the TLS of one listener: its own before the general ones. */
#ifndef OTTLA_BROKER_SECURITY_TLS_OPTIONS_H
#define OTTLA_BROKER_SECURITY_TLS_OPTIONS_H

#include "broker/config.h"
#include "broker/security/tls_context.h"

struct tls_listener {
    const char *name;
    int16_t protocol;
};

/* As long as no option changes. An empty text of a place or a password counts as none. */
struct tls_texts tls_options_of(const struct config *config, const struct tls_listener *listener);

/* The context of a listener, or of this broker as a client of that listener of others. E_CONFIG with one
 * sentence that names the listener. */
NODISCARD err tls_options_context(const struct config *config, const struct tls_listener *listener,
                                  enum tls_side side, struct tls_context **context,
                                  char reason[CONFIG_REASON_BYTES]);

#endif
