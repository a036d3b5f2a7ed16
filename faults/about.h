/* What a request is about: topics and partitions, wherever the messages of its API have them; found in the tables that
 * the schemas became, so that no API needs code of its own. */
#ifndef OTTLA_FAULTS_ABOUT_H
#define OTTLA_FAULTS_ABOUT_H

#include "broker/api/request.h"

/* Does the request name the topic, and the partition of it? `partition` -1: any, or none. */
bool request_names(const struct req *r, struct str topic, int32_t partition);

#endif
