/* Delegation tokens in the coordination store: reading all of them, following what is changed by whom ever, making,
 * renewing and ending them; the controller removes those that have expired.
 *
 * They are in Kafka's nodes, and each change leaves a notification that every broker follows, of Kafka's or ours.
 *
 * Thread: the start's, then the control thread. (reference: security §6) */
#ifndef OTTLA_BROKER_CLUSTER_DELEGATION_TOKENS_H
#define OTTLA_BROKER_CLUSTER_DELEGATION_TOKENS_H

#include "base/clock.h"
#include "base/loop.h"
#include "broker/security/tokens.h"
#include "zk/coord.h"

struct delegation_tokens;

struct delegation_tokens_config {
    struct coord *coord;
    struct clock *clock;
    struct random *random;
    struct loop *control;
    struct tokens *tokens; /* what is read is put there */
    int64_t life_max_ms;   /* delegation.token.max.lifetime.ms */
    int64_t expiry_ms;     /* delegation.token.expiry.time.ms */
    int64_t check_ms;      /* delegation.token.expiry.check.interval.ms */
    bool (*is_controller)(void *context);
    void *context;
};

struct delegation_tokens *delegation_tokens_new(const struct delegation_tokens_config *config);
void delegation_tokens_free(struct delegation_tokens *delegation);

/* As acls.h has them. */
NODISCARD err delegation_tokens_load(struct delegation_tokens *delegation);
bool delegation_tokens_watches(const char *path);
NODISCARD err delegation_tokens_on_watch(struct delegation_tokens *delegation);
bool delegation_tokens_are_watched(const struct delegation_tokens *delegation);
void delegation_tokens_forget_watch(struct delegation_tokens *delegation);

/* ---- changing: each is in force here when it returns ---- */

/* `token` has owner, requester and renewers; id and times are filled in. `life_ms` <= 0: as long as may be. The id is in
 * the arena. Errors of the store. */
NODISCARD err delegation_tokens_create(struct delegation_tokens *delegation, struct token *token,
                                       int64_t life_ms, struct arena *arena);
/* `period_ms` < 0: the usual. DELEGATION_TOKEN_NOT_FOUND, _OWNER_MISMATCH, _EXPIRED, in that order; errors of the
 * store. */
NODISCARD err delegation_tokens_renew(struct delegation_tokens *delegation, struct bytes hmac,
                                      const struct principal *who, int64_t period_ms,
                                      int64_t *expires_ms);
/* The same; `period_ms` < 0: it is removed, also when it has expired. */
NODISCARD err delegation_tokens_expire(struct delegation_tokens *delegation, struct bytes hmac,
                                       const struct principal *who, int64_t period_ms,
                                       int64_t *expires_ms);

#endif
