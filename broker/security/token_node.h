/* A delegation token's node in the coordination store, as Kafka writes it: JSON, with names encoded. What proves a token
 * is not in it. (reference: security §6) */
#ifndef OTTLA_BROKER_SECURITY_TOKEN_NODE_H
#define OTTLA_BROKER_SECURITY_TOKEN_NODE_H

#include "base/arena.h"
#include "broker/security/tokens.h"

/* In the arena; null past its cap. */
struct bytes token_node_encode(struct arena *arena, const struct token *token);
/* E_MALFORMED: it is none. All versions of Kafka's are read; memory is the arena's. */
NODISCARD err token_node_decode(struct arena *arena, struct bytes json, struct token *token);

#endif
