/* The SCRAM users, as the store has them: written by the control thread, asked by the loops. One lock, a
 * leaf. */
#ifndef OTTLA_BROKER_SECURITY_SCRAM_USERS_H
#define OTTLA_BROKER_SECURITY_SCRAM_USERS_H

#include "broker/security/scram.h"

struct scram_users;

struct scram_users *scram_users_new(void);
void scram_users_free(struct scram_users *users);

/* What the user has of a mechanism becomes this; NULL: nothing. */
void scram_users_set(struct scram_users *users, struct str name, enum scram_mechanism mechanism,
                     const struct scram_credential *credential);
/* Has the user one? Copied into `out`. */
bool scram_users_get(struct scram_users *users, struct str name, enum scram_mechanism mechanism,
                     struct scram_credential *out);
/* Calls for each user that has any; iterations 0: not of that mechanism. Under the lock. */
void scram_users_each(struct scram_users *users,
                      void (*each)(void *context, struct str name,
                                   const int32_t iterations[SCRAM_MECHANISMS + 1]),
                      void *context);

#endif
