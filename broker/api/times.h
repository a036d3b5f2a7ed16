/* How long requests take, for the metrics (metrics/request_metrics.h), the line of a slow one, and the line of
 * each where somebody asks for these (the logger kafka.request.logger at DEBUG). Nothing is looked at where
 * nobody wants to know.
 *
 * Thread: the request's loop. */
#ifndef OTTLA_BROKER_API_TIMES_H
#define OTTLA_BROKER_API_TIMES_H

#include "broker/api/api.h"

void req_times_begin(struct req *r);
/* Its handler has returned for the first time. */
void req_times_handled(struct req *r);
/* It is done; `answered`: its answer is in the connection's output. */
void req_times_end(struct req *r, bool answered);
/* For struct conn_handler; `context` is the loop's struct api_loop. */
void req_times_sent(void *context, struct sending *sending);

#endif
