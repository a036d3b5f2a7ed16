/* Rules: which requests are interfered with, how, and how often. Read from JSON and shown as JSON:
 *
 *   {"api": "Produce",          the name or the number; without it every request of a client
 *    "client_id": "app",        only of this client
 *    "topic": "orders",         only those that name the topic
 *    "partition": 0,            and this partition of it
 *    "action": "error",         error, delay, drop, lose, close, hold
 *    "error": "NOT_LEADER_OR_FOLLOWER",   with action error: the name or the number
 *    "delay_ms": 500,                     with action delay
 *    "count": 2}                how many requests; 0: until it is cleared; without it 1, for hold 0 */
#ifndef OTTLA_FAULTS_RULES_H
#define OTTLA_FAULTS_RULES_H

#include "base/list.h"
#include "broker/api/request.h"

#include <jansson.h>

enum fault_action {
    FAULT_ERROR, /* answered with the error, not carried out */
    FAULT_DELAY, /* carried out later */
    FAULT_DROP,  /* neither carried out nor answered; the connection stays */
    FAULT_LOSE,  /* carried out, and the answer is lost; the connection stays */
    FAULT_CLOSE, /* the connection is closed, the request is not carried out */
    FAULT_HOLD,  /* waits until the rule is cleared, and is carried out then */
};

struct rule {
    struct list link;
    int64_t id;
    int16_t api_key;   /* -1: any */
    char *client_id;   /* NULL: any */
    char *topic;       /* NULL: any */
    int32_t partition; /* -1: any */
    enum fault_action action;
    int16_t error;
    int64_t delay_ms;
    int64_t count; /* 0: no end */
    int64_t hits;
};

enum { RULE_REASON_BYTES = 512 };

/* NULL with one sentence in `reason`. */
struct rule *rule_read(const char *text, size_t len, char reason[RULE_REASON_BYTES]);
void rule_free(struct rule *rule);
/* To be released by the caller. `held`: requests that wait for it. */
json_t *rule_show(const struct rule *rule, int64_t held);
/* Has it something left to do, and is this one of its requests? */
bool rule_matches(const struct rule *rule, const struct req *r);

#endif
