/* Answers that say an error, for requests of any API, without carrying them out.
 *
 * The error stands in the outermost field that may carry it (the lists of errors in protocol/schema/): of the whole
 * answer, or of each topic, partition, group or key that was asked. */
#ifndef OTTLA_FAULTS_ANSWER_H
#define OTTLA_FAULTS_ANSWER_H

#include "broker/api/request.h"

/* May an answer of the API carry the code, in any version? */
bool answer_may_say(const struct api_schema *api, int16_t code);
/* Fills r->out. False: nothing in this answer can carry the code (a Metadata request for no topic, say), and r->out is
 * as it was. */
bool answer_with(struct req *r, int16_t code);

#endif
