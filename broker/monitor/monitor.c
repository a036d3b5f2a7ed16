/* A read-write lock lets many look at the broker's parts while one moment ends that: monitor_enter() takes
 * it for writing, and afterwards nobody looks at what the new phase says is going.
 *
 * A page serves everybody who had asked before it was begun: a hundred scrapes at the same time cost two
 * pages, and no one is told what was before it asked. */
#define _GNU_SOURCE
#include "broker/monitor/monitor.h"

#include "base/log.h"
#include "broker/monitor/http.h"
#include "broker/monitor/ready.h"
#include "broker/monitor/scrape.h"
#include "broker/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE_US ((int64_t)60 * 1000000)

enum { SMALL_BODY_BYTES = READY_REASONS_BYTES + 256 };

/* One that was made, for as many as send it. */
struct shared_page {
    struct page page;
    atomic_int refs;
    int64_t begun_us;
};

struct monitor {
    struct broker *broker;
    struct http_server *http;
    enum metric_dialect dialect;
    pthread_rwlock_t lock; /* guards the phase; held while parts are looked at */
    enum monitor_phase phase;
    pthread_mutex_t scrape_lock; /* guards what follows; taken before the other */
    struct scrape_state state;
    struct shared_page *last[2]; /* plain, OpenMetrics; NULL: none yet */
};

/* ---- small answers ---- */

static void answer_text(struct http_answer *answer, int status, const char *type, char *owned)
{
    answer->status = status;
    answer->type = type;
    answer->data = owned;
    answer->len = strlen(owned);
    answer->done = free;
    answer->data_owner = owned;
}

#define PLAIN "text/plain; charset=utf-8"
#define JSON  "application/json"

static void answer_alive(struct monitor *m, const struct http_request *request,
                         struct http_answer *answer)
{
    (void)m;
    (void)request;
    answer_text(answer, 200, PLAIN, xasprintf("ok\n"));
}

static void answer_ready(struct monitor *m, const struct http_request *request,
                         struct http_answer *answer)
{
    (void)request;
    static const char *const WHY_NOT[] = {[MONITOR_STARTING] = "the broker is starting\n",
                                          [MONITOR_SERVING] = "",
                                          [MONITOR_LEAVING] = "the broker is shutting down\n",
                                          [MONITOR_STOPPING] = "the broker is shutting down\n"};
    char reasons[READY_REASONS_BYTES];
    pthread_rwlock_rdlock(&m->lock);
    if (m->phase == MONITOR_SERVING) {
        ready_look(m->broker, reasons);
    } else {
        snprintf(reasons, sizeof(reasons), "%s", WHY_NOT[m->phase]);
    }
    pthread_rwlock_unlock(&m->lock);
    bool ready = reasons[0] == '\0';
    answer_text(answer, ready ? 200 : 503, PLAIN, xasprintf("%s", ready ? "ok\n" : reasons));
}

static void answer_state(struct monitor *m, const struct http_request *request,
                         struct http_answer *answer)
{
    (void)request;
    pthread_rwlock_rdlock(&m->lock);
    int phase = (int)m->phase;
    pthread_rwlock_unlock(&m->lock);
    answer_text(answer, 200, JSON, xasprintf("{\"brokerState\": %d}\n", phase));
}

static void answer_version(struct monitor *m, const struct http_request *request,
                           struct http_answer *answer)
{
    (void)m;
    (void)request;
    answer_text(answer, 200, JSON,
                xasprintf("{\"name\": \"ottla\", \"version\": \"%s\", \"kafka\": \"%s\"}\n",
                          OTTLA_VERSION, OTTLA_KAFKA_VERSION));
}

/* ---- the metrics ---- */

static void page_release(void *owner)
{
    struct shared_page *shared = owner;
    if (shared != NULL && atomic_fetch_sub(&shared->refs, 1) == 1) {
        page_deinit(&shared->page);
        free(shared);
    }
}

static struct shared_page *make_page(struct monitor *m, bool openmetrics)
{
    struct shared_page *shared = xcalloc(1, sizeof(*shared));
    atomic_store(&shared->refs, 1);
    page_init(&shared->page, m->dialect, openmetrics);
    shared->begun_us = clock_monotonic_us(clock_system());
    pthread_rwlock_rdlock(&m->lock);
    bool whole = m->phase == MONITOR_SERVING || m->phase == MONITOR_LEAVING;
    struct scrape scrape = {.broker = whole ? m->broker : NULL,
                            .state = &m->state,
                            .page = &shared->page,
                            .now_us = shared->begun_us};
    scrape_all(&scrape, (int)m->phase);
    pthread_rwlock_unlock(&m->lock);
    m->state.last_took_us = clock_monotonic_us(clock_system()) - shared->begun_us;
    return shared;
}

static struct shared_page *page_since(struct monitor *m, bool openmetrics, int64_t asked_us)
{
    pthread_mutex_lock(&m->scrape_lock);
    struct shared_page **last = &m->last[openmetrics];
    if (*last == NULL || (*last)->begun_us < asked_us) {
        page_release(*last);
        *last = make_page(m, openmetrics);
    }
    struct shared_page *shared = *last;
    atomic_fetch_add(&shared->refs, 1);
    pthread_mutex_unlock(&m->scrape_lock);
    return shared;
}

static void answer_metrics(struct monitor *m, const struct http_request *request,
                           struct http_answer *answer)
{
    bool openmetrics =
        request->accept != NULL && strstr(request->accept, "application/openmetrics-text") != NULL;
    struct shared_page *shared = page_since(m, openmetrics, clock_monotonic_us(clock_system()));
    answer->status = 200;
    answer->type = openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                               : "text/plain; version=0.0.4; charset=utf-8";
    answer->data = shared->page.data;
    answer->len = shared->page.len;
    answer->done = page_release;
    answer->data_owner = shared;
}

/* ---- paths ---- */

static const struct {
    const char *path;
    void (*answer)(struct monitor *m, const struct http_request *request,
                   struct http_answer *answer);
} PATHS[] = {
    {"/livez", answer_alive},           {"/readyz", answer_ready},
    {"/v1/ready", answer_ready},        {"/v1/status/ready", answer_ready},
    {"/v1/broker-state", answer_state}, {"/version", answer_version},
    {"/metrics", answer_metrics},       {"/public_metrics", answer_metrics},
};

static void handle(void *context, const struct http_request *request, struct http_answer *answer)
{
    struct monitor *m = context;
    bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        if (strcmp(request->path, PATHS[i].path) == 0) {
            if (reads) {
                PATHS[i].answer(m, request, answer);
            } else {
                answer_text(answer, 405, PLAIN, xasprintf("only GET and HEAD\n"));
            }
            return;
        }
    }
    answer_text(answer, 404, PLAIN,
                xasprintf("there are /livez, /readyz, /version and /metrics\n"));
}

/* ---- life ---- */

static enum metric_dialect dialect_of(const struct config *config)
{
    const char *name = config->ottla_metrics_dialect;
    return strcmp(name, "strimzi") == 0     ? DIALECT_STRIMZI
           : strcmp(name, "confluent") == 0 ? DIALECT_CONFLUENT
                                            : DIALECT_JMX_EXPORTER;
}

static void lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* Who scrapes all the time does not keep a broker from stopping. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

err monitor_start(struct broker *broker, struct monitor **out, char *reason, size_t reason_size)
{
    struct monitor *m = xcalloc(1, sizeof(*m));
    int64_t now_us = clock_monotonic_us(clock_system());
    m->broker = broker;
    m->dialect = dialect_of(broker->config);
    m->phase = MONITOR_STARTING;
    lock_init(&m->lock);
    pthread_mutex_init(&m->scrape_lock, NULL);
    window_init(&m->state.requests, 5 * MINUTE_US, now_us);
    window_init(&m->state.rates, MINUTE_US / 2, now_us);
    const struct http_config http = {.what = "option ottla.http.listener",
                                     .address = broker->config->ottla_http_listener,
                                     .allow_remote = broker->config->ottla_http_allow_remote,
                                     .handle = handle,
                                     .context = m};
    err e = http_start(&http, &m->http, reason, reason_size);
    if (e != OK) {
        monitor_stop(m);
        return e;
    }
    log_info("monitor", "listening http=http://%s paths=/metrics,/readyz,/livez,/version",
             http_address(m->http));
    *out = m;
    return OK;
}

void monitor_enter(struct monitor *monitor, enum monitor_phase phase)
{
    if (monitor != NULL) {
        pthread_rwlock_wrlock(&monitor->lock);
        monitor->phase = phase;
        pthread_rwlock_unlock(&monitor->lock);
    }
}

void monitor_stop(struct monitor *monitor)
{
    if (monitor == NULL) {
        return;
    }
    http_stop(monitor->http);
    page_release(monitor->last[false]);
    page_release(monitor->last[true]);
    scrape_state_deinit(&monitor->state);
    pthread_mutex_destroy(&monitor->scrape_lock);
    pthread_rwlock_destroy(&monitor->lock);
    free(monitor);
}
