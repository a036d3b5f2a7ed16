/* What who asks is allowed to do, looked at in one place, before a handler sees the request: api.def says for each API
 * what it needs. Refused requests are answered here. Of a request that names several things, each for itself, those that are
 * refused are taken out: the handler sees the others, and the refused ones are put behind what it answers.
 *
 * Where an answer tells only what may be seen, its handler asks. Without an authorizer everybody may do everything, and a
 * request costs one branch. (reference: security §4) */
#ifndef OTTLA_BROKER_API_AUTHORIZE_H
#define OTTLA_BROKER_API_AUTHORIZE_H

#include "broker/api/request.h"
#include "broker/security/authorizer.h"

enum authorized {
    AUTHORIZED, /* the handler's turn */
    ANSWERED, /* `out` is filled; or no answer is wanted, and the client is told by a closed connection */
    UNANSWERABLE,
};

/* Begins; the request is decoded, and its broker has an authorizer. */
enum authorized authorize_begin(struct req *r);
/* The handler has filled `out`: what was refused is added. False: no memory. */
bool authorize_add_refused(struct req *r);
/* The request ends. */
void authorize_end(struct req *r);

/* Is it what brokers ask of each other: does it need ClusterAction, whoever asks? */
bool authorize_is_among_brokers(int16_t key);

/* ---- for handlers whose answers filter ---- */

/* May they? It is logged where they may not: they have asked for it. */
bool req_may(const struct req *r, enum acl_operation operation, enum acl_type type,
             struct str name);
/* The same, but they have not asked for this one, and nothing is logged. */
bool req_sees(const struct req *r, enum acl_operation operation, enum acl_type type,
              struct str name);
/* The operations that they are allowed, by bits; without an authorizer all that there are. */
int32_t req_operations(const struct req *r, enum acl_type type, struct str name);
/* Those of the cluster, which only who may describe it is told. */
int32_t req_cluster_operations(const struct req *r);

#endif
