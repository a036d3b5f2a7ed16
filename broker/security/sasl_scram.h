/* The two sides of a SCRAM login as state machines: messages in, messages out. They know neither a
 * connection nor where credentials come from. RFC 5802. (reference: security §3) */
#ifndef OTTLA_BROKER_SECURITY_SASL_SCRAM_H
#define OTTLA_BROKER_SECURITY_SASL_SCRAM_H

#include "base/random.h"
#include "broker/security/scram.h"

enum { SCRAM_USER_MAX = 512, SCRAM_MESSAGE_MAX = 4096 };

/* ---- the broker's side ---- */

struct scram_server;

/* Begins with what the client says first. NULL: it is no such message. */
struct scram_server *scram_server_new(struct bytes first);
void scram_server_free(struct scram_server *scram);
/* Who wants to log in: a user, or (by_token) the id of a delegation token. */
const char *scram_server_user(const struct scram_server *scram);
bool scram_server_by_token(const struct scram_server *scram);
/* Does the client want to be somebody else? */
bool scram_server_is_foreign(const struct scram_server *scram);
/* The answer, valid as long as the machine. With `known` false the credential is a feigned one: all goes
 * its way, and fails at the end. */
struct bytes scram_server_challenge(struct scram_server *scram, struct random *random,
                                    const struct scram_credential *credential, bool known);
/* What the client says last. False: it has not proved that it knows the password. */
NODISCARD bool scram_server_finish(struct scram_server *scram, struct bytes final,
                                   struct bytes *answer);

/* ---- the side of who logs in ---- */

struct scram_client;

struct scram_client *scram_client_new(enum scram_mechanism mechanism, struct str user,
                                      struct str password, struct random *random);
void scram_client_free(struct scram_client *scram);
/* What it says first. Messages are valid until the next call. */
struct bytes scram_client_first(struct scram_client *scram);
/* Takes the server's challenge. E_MALFORMED: it is none, or asks for more work than any Kafka does. */
NODISCARD err scram_client_challenged(struct scram_client *scram, struct bytes challenge);
/* After that: makes the proof, which takes milliseconds: on a worker. */
void scram_client_work(struct scram_client *scram);
struct bytes scram_client_final(struct scram_client *scram);
/* Has the server proved that it knows the user, too? */
NODISCARD bool scram_client_trusts(const struct scram_client *scram, struct bytes answer);

#endif
