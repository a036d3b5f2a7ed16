/* Event loops, connections, fetch sessions. */
#include "broker/monitor/scrape.h"

#include <stdlib.h>

/* ---- loops ---- */

enum { RATES_BUSY, RATES_CREATED, RATES_CLOSED };

static double idle_part(struct scrape *scrape)
{
    const struct broker *broker = scrape->broker;
    uint64_t *busy_us = xcalloc((size_t)broker->loops_n, sizeof(*busy_us));
    for (int i = 0; i < broker->loops_n; i++) {
        busy_us[i] = (uint64_t)loop_busy_us(server_loop(broker->server, i)->loop);
    }
    window_take(&scrape->state->rates, RATES_BUSY, busy_us, (size_t)broker->loops_n);
    uint64_t sum_us = 0;
    for (int i = 0; i < broker->loops_n; i++) {
        sum_us += busy_us[i];
    }
    free(busy_us);
    double all_us =
        (double)window_us(&scrape->state->rates, scrape->now_us) * (double)broker->loops_n;
    double busy = all_us > 0 ? (double)sum_us / all_us : 0;
    return busy > 1 ? 0 : 1 - busy;
}

static void scrape_loops(struct scrape *scrape)
{
    const struct broker *broker = scrape->broker;
    struct page *page = scrape->page;
    double idle = idle_part(scrape);
    page_family(page, METRIC_NETWORK_IDLE);
    page_real(page, NULL, idle);
    page_family(page, METRIC_HANDLER_IDLE);
    page_real(page, NULL, idle);
    page_family(page, METRIC_LOOP_BUSY);
    struct labels labels = {0};
    for (int i = 0; i < broker->loops_n; i++) {
        labels_cut(&labels, 0);
        labels_add_number(&labels, "loop", i);
        page_real(page, &labels, (double)loop_busy_us(server_loop(broker->server, i)->loop) / 1e6);
    }
    labels_deinit(&labels);
    page_family(page, METRIC_REQUEST_QUEUE);
    page_integer(page, NULL, 0);
    page_family(page, METRIC_RESPONSE_QUEUE);
    page_integer(page, NULL, 0);
    page_family(page, METRIC_LOCK_WAITS);
    page_integer(page, NULL, (int64_t)events_count(&broker->events, EVENT_LOCK_WAITS));
    page_family(page, METRIC_LOCK_WAIT_TIME);
    page_real(page, NULL, (double)events_count(&broker->events, EVENT_LOCK_WAIT_US) / 1e6);
}

/* ---- connections ---- */

/* Of each listener on each loop, listeners first. */
struct conns {
    size_t count;
    struct labels *labels;
    uint64_t *created;
    uint64_t *closed;
    uint64_t *created_lately;
    uint64_t *closed_lately;
};

static struct conns conns_collect(struct scrape *scrape)
{
    const struct broker *broker = scrape->broker;
    size_t loops_n = (size_t)broker->loops_n;
    struct conns c = {.count = broker->listeners.count * loops_n};
    c.labels = xcalloc(c.count, sizeof(*c.labels));
    uint64_t **arrays[] = {&c.created, &c.closed, &c.created_lately, &c.closed_lately};
    for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
        *arrays[i] = xcalloc(c.count, sizeof(uint64_t));
    }
    for (size_t i = 0; i < c.count; i++) {
        struct server_conns conns = server_conns(broker->server, i / loops_n, (int)(i % loops_n));
        c.created[i] = c.created_lately[i] = (uint64_t)conns.created;
        c.closed[i] = c.closed_lately[i] = (uint64_t)conns.closed;
        labels_add(&c.labels[i], "listener", str_of(broker->listeners.all[i / loops_n].name));
        labels_add_number(&c.labels[i], "networkProcessor", (int64_t)(i % loops_n));
    }
    window_take(&scrape->state->rates, RATES_CREATED, c.created_lately, c.count);
    window_take(&scrape->state->rates, RATES_CLOSED, c.closed_lately, c.count);
    return c;
}

static void conns_deinit(struct conns *c)
{
    for (size_t i = 0; i < c->count; i++) {
        labels_deinit(&c->labels[i]);
    }
    free(c->labels);
    free(c->created);
    free(c->closed);
    free(c->created_lately);
    free(c->closed_lately);
}

static void totals_family(struct page *page, enum metric metric, const struct conns *c,
                          const uint64_t *counts)
{
    page_family(page, metric);
    for (size_t i = 0; i < c->count; i++) {
        page_integer(page, &c->labels[i], (int64_t)counts[i]);
    }
}

static void rates_family(struct scrape *scrape, enum metric metric, const struct conns *c,
                         const uint64_t *counts)
{
    double seconds = (double)window_us(&scrape->state->rates, scrape->now_us) / 1e6;
    page_family(scrape->page, metric);
    for (size_t i = 0; i < c->count; i++) {
        page_real(scrape->page, &c->labels[i], seconds > 0 ? (double)counts[i] / seconds : 0);
    }
}

static void scrape_connections(struct scrape *scrape)
{
    struct page *page = scrape->page;
    struct conns c = conns_collect(scrape);
    page_family(page, METRIC_CONNECTION_COUNT);
    for (size_t i = 0; i < c.count; i++) {
        int64_t open = (int64_t)(c.created[i] - c.closed[i]);
        page_integer(page, &c.labels[i], open < 0 ? 0 : open);
    }
    rates_family(scrape, METRIC_CONNECTION_CREATION_RATE, &c, c.created_lately);
    rates_family(scrape, METRIC_CONNECTION_CLOSE_RATE, &c, c.closed_lately);
    totals_family(page, METRIC_CONNECTION_CREATIONS, &c, c.created);
    totals_family(page, METRIC_CONNECTION_CLOSES, &c, c.closed);
    conns_deinit(&c);
}

void scrape_network(struct scrape *scrape)
{
    struct page *page = scrape->page;
    scrape_loops(scrape);
    scrape_connections(scrape);
    struct fetch_sessions_figures sessions = fetch_sessions_tell(scrape->broker->fetch_sessions);
    page_family(page, METRIC_FETCH_SESSIONS);
    page_integer(page, NULL, sessions.sessions);
    page_family(page, METRIC_FETCH_SESSION_PARTITIONS);
    page_integer(page, NULL, sessions.partitions);
    page_family(page, METRIC_FETCH_SESSION_EVICTIONS);
    page_integer(page, NULL, sessions.evictions);
}
