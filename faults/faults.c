/* One lock for the rules and for what is held. It is held while a rule is looked for and what it does is begun, so that
 * a rule which is removed lets go of all that it has caught: a request is in the list before the lock is given up.
 *
 * A request that waits is parked (broker/api/request.h) with an API of its own kind in r->api: one whose requests are
 * woken when their connection closes. It leaves the list in its resume function, on its own loop; until then it lives, so
 * that whoever holds the lock may wake it. */
#define _GNU_SOURCE
#include "faults/faults.h"

#include "base/err.h"
#include "broker/api/api.h"
#include "faults/answer.h"

#include <pthread.h>
#include <stdlib.h>

struct faults {
    pthread_mutex_t lock;
    struct list rules; /* struct rule */
    struct list held;  /* struct held */
    int64_t rules_n;
    int64_t last_id;
};

/* In its request's memory. */
struct held {
    struct list link;
    struct faults *faults;
    struct req *r;
    int64_t rule_id; /* 0: nothing ends it but the client */
};

static const struct api WAITING = {.handle = NULL, .flags = API_PARKS | API_CANCEL_ON_CLOSE};

struct faults *faults_new(void)
{
    struct faults *faults = xcalloc(1, sizeof(*faults));
    pthread_mutex_init(&faults->lock, NULL);
    list_init(&faults->rules);
    list_init(&faults->held);
    return faults;
}

void faults_free(struct faults *faults)
{
    (void)faults_clear(faults, 0);
    pthread_mutex_destroy(&faults->lock);
    free(faults);
}

/* ---- requests ---- */

static enum req_status go_on(struct req *r)
{
    struct held *held = r->state;
    struct faults *faults = held->faults;
    pthread_mutex_lock(&faults->lock);
    list_remove(&held->link);
    pthread_mutex_unlock(&faults->lock);
    r->state = NULL;
    if (r->conn == NULL) {
        return REQ_CLOSE; /* nobody waits for it any more */
    }
    if (r->timed_out) { /* it is late enough */
        r->timed_out = false;
        return api_handle(r);
    }
    return faults_intercept(faults, r);
}

/* With the lock. timeout_ms < 0: until it is woken. */
static enum req_status wait_locked(struct faults *faults, struct req *r, int64_t rule_id,
                                   int64_t timeout_ms)
{
    struct held *held = req_alloc(r, sizeof(*held));
    if (held == NULL) {
        return REQ_CLOSE;
    }
    *held = (struct held){.faults = faults, .r = r, .rule_id = rule_id};
    r->state = held;
    r->api = &WAITING;
    req_park(r, timeout_ms, go_on);
    list_append(&faults->held, &held->link);
    return REQ_PARKED;
}

static bool wants_no_answer(const struct req *r)
{
    return r->schema->key == API_PRODUCE && ((const struct produce_request *)r->in)->acks == 0;
}

/* With the lock. *handled: false where the request is to be carried out as if there were no rule. */
static enum req_status act_locked(struct faults *faults, struct rule *rule, struct req *r,
                                  bool *handled)
{
    *handled = true;
    rule->hits++;
    switch (rule->action) {
    case FAULT_ERROR:
        if (wants_no_answer(r)) {
            return REQ_CLOSE; /* all that a broker can do then */
        }
        if (answer_with(r, rule->error)) {
            return REQ_DONE;
        }
        rule->hits--; /* there is nothing in it that could carry the error */
        break;
    case FAULT_DELAY:
        return wait_locked(faults, r, rule->id, rule->delay_ms);
    case FAULT_DROP:
        return wait_locked(faults, r, 0, -1);
    case FAULT_HOLD:
        return wait_locked(faults, r, rule->id, -1);
    case FAULT_CLOSE:
        return REQ_CLOSE;
    case FAULT_LOSE:
        r->answer_lost = true;
        break;
    }
    *handled = false;
    return REQ_DONE;
}

enum req_status faults_intercept(void *context, struct req *r)
{
    struct faults *faults = context;
    enum req_status status = REQ_DONE;
    bool handled = false;
    pthread_mutex_lock(&faults->lock);
    list_each (item, &faults->rules) {
        struct rule *rule = container_of(item, struct rule, link);
        if (rule_matches(rule, r)) {
            status = act_locked(faults, rule, r, &handled);
            break;
        }
    }
    pthread_mutex_unlock(&faults->lock);
    return handled ? status : api_handle(r);
}

/* ---- rules ---- */

int64_t faults_add(struct faults *faults, struct rule *rule)
{
    pthread_mutex_lock(&faults->lock);
    int64_t id = 0;
    if (faults->rules_n < FAULTS_RULES_MAX) {
        id = rule->id = ++faults->last_id;
        faults->rules_n++;
        list_append(&faults->rules, &rule->link);
    }
    pthread_mutex_unlock(&faults->lock);
    return id;
}

static void wake_locked(struct faults *faults, int64_t rule_id)
{
    list_each (item, &faults->held) {
        struct held *held = container_of(item, struct held, link);
        if (held->rule_id == rule_id) {
            req_wake(held->r);
        }
    }
}

int64_t faults_clear(struct faults *faults, int64_t id)
{
    int64_t cleared = 0;
    pthread_mutex_lock(&faults->lock);
    list_each_safe (item, &faults->rules) {
        struct rule *rule = container_of(item, struct rule, link);
        if (id == 0 || rule->id == id) {
            list_remove(&rule->link);
            wake_locked(faults, rule->id);
            rule_free(rule);
            faults->rules_n--;
            cleared++;
        }
    }
    pthread_mutex_unlock(&faults->lock);
    return cleared;
}

json_t *faults_show(struct faults *faults)
{
    json_t *all = json_array();
    pthread_mutex_lock(&faults->lock);
    list_each (item, &faults->rules) {
        struct rule *rule = container_of(item, struct rule, link);
        int64_t held = 0;
        list_each (h, &faults->held) {
            held += container_of(h, struct held, link)->rule_id == rule->id ? 1 : 0;
        }
        (void)json_array_append_new(all, rule_show(rule, held));
    }
    pthread_mutex_unlock(&faults->lock);
    return all;
}
