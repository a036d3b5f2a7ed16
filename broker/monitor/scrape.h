/* A page of all metrics, collected from the parts of a broker by whoever asks for it.
 *
 * Loops are not stopped for it: what they count is read while they go on; partitions and groups are looked
 * at under their own locks, one after the other. One scrape at a time. */
#ifndef OTTLA_BROKER_MONITOR_SCRAPE_H
#define OTTLA_BROKER_MONITOR_SCRAPE_H

#include "broker/broker.h"
#include "broker/metrics/page.h"
#include "broker/monitor/window.h"

/* What is kept from one page to the next. */
struct scrape_state {
    struct window requests; /* of histograms: the last 5 to 10 minutes */
    struct window rates;    /* of rates: the last 30 s to a minute */
    int64_t last_took_us;
};

struct scrape {
    struct broker *broker;
    struct scrape_state *state;
    struct page *page;
    int64_t now_us;
    struct metadata *metadata; /* NULL: the parts of the broker are not to be looked at */
    bool is_controller;
    int64_t left_out;
};

/* Writes all families. `phase` as the broker's state; before it serves, and when it stops, only what is
 * of the process. */
void scrape_all(struct scrape *scrape, int phase);
void scrape_state_deinit(struct scrape_state *state);

/* ---- the parts, each of its families ---- */

void scrape_requests(struct scrape *scrape);   /* scrape_requests.c */
void scrape_network(struct scrape *scrape);    /* scrape_network.c */
void scrape_partitions(struct scrape *scrape); /* scrape_partitions.c */
void scrape_cluster(struct scrape *scrape);    /* scrape_cluster.c */
void scrape_groups(struct scrape *scrape);     /* scrape_groups.c */
void scrape_process(struct scrape *scrape);    /* scrape_process.c */

#endif
