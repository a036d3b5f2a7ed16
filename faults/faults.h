/* Faults that a test asks for: a broker that answers with errors, late, or not at all.
 *
 * The rules are in order; the first one that matches a request takes it. Any thread. */
#ifndef OTTLA_FAULTS_FAULTS_H
#define OTTLA_FAULTS_FAULTS_H

#include "faults/rules.h"

struct faults;

enum { FAULTS_RULES_MAX = 1000 };

struct faults *faults_new(void);
/* Nobody uses it any more. */
void faults_free(struct faults *faults);

/* In the place of a handler: struct broker_env. */
enum req_status faults_intercept(void *faults, struct req *r);

/* Takes the rule over and returns its id; 0: there are too many, the rule stays the caller's. */
int64_t faults_add(struct faults *faults, struct rule *rule);
/* Removes one rule, or all (id 0); what waits for them is carried out. Returns how many. */
int64_t faults_clear(struct faults *faults, int64_t id);
/* To be released by the caller: an array of all rules. */
json_t *faults_show(struct faults *faults);

#endif
