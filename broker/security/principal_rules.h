/* ssl.principal.mapping.rules: how the name in a client's certificate becomes the name of a principal.
 *
 *   RULE:pattern/replacement/[L|U],DEFAULT,…
 *
 * The first rule whose pattern matches the whole name wins; DEFAULT leaves it as it is. Patterns are Perl's, which
 * for what such rules say are Java's. How long one may take is bounded: who brings a certificate chooses what
 * is matched. Any thread may ask. (reference: security §2) */
#ifndef OTTLA_BROKER_SECURITY_PRINCIPAL_RULES_H
#define OTTLA_BROKER_SECURITY_PRINCIPAL_RULES_H

#include "base/err.h"

#include <stddef.h>

struct principal_rules;

/* E_CONFIG with Kafka's sentence if a rule is wrong. `text` NULL: DEFAULT. */
NODISCARD err principal_rules_parse(const char *text, struct principal_rules **rules, char *reason,
                                    size_t reason_size);
void principal_rules_free(struct principal_rules *rules);
/* Malloc'd. NULL: no rule applies, or it would take too long. */
char *principal_rules_apply(const struct principal_rules *rules, const char *dn);

#endif
