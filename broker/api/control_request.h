/* What the handlers of a controller's requests share: all but the schema. */
#ifndef OTTLA_BROKER_API_CONTROL_REQUEST_H
#define OTTLA_BROKER_API_CONTROL_REQUEST_H

#include "broker/api/request.h"

/* Has the request carried out in its turn, on the state thread (cluster/requests_in.h); it waits
 * meanwhile. */
enum req_status control_request(struct req *r);

#endif
