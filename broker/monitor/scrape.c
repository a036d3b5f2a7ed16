/* The order of a page: what boards show first comes first. */
#include "broker/monitor/scrape.h"

void scrape_state_deinit(struct scrape_state *state)
{
    window_deinit(&state->requests);
    window_deinit(&state->rates);
}

static void scrape_parts(struct scrape *scrape)
{
    struct broker *broker = scrape->broker;
    struct scrape_state *state = scrape->state;
    scrape->metadata = metadata_acquire(broker->metadata);
    scrape->is_controller = membership_tell(broker->membership).is_controller;
    window_begin(&state->requests, scrape->now_us);
    window_begin(&state->rates, scrape->now_us);
    scrape_partitions(scrape);
    scrape_cluster(scrape);
    scrape_requests(scrape);
    scrape_network(scrape);
    scrape_groups(scrape);
    window_end(&state->requests, scrape->now_us);
    window_end(&state->rates, scrape->now_us);
    metadata_release(scrape->metadata);
}

void scrape_all(struct scrape *scrape, int phase)
{
    struct page *page = scrape->page;
    page_family(page, METRIC_BROKER_STATE);
    page_integer(page, NULL, phase);
    if (scrape->broker != NULL) {
        scrape_parts(scrape);
    }
    page_family(page, METRIC_SERIES_LEFT_OUT);
    page_integer(page, NULL, scrape->left_out);
    page_family(page, METRIC_SCRAPE_SECONDS);
    page_real(page, NULL, (double)scrape->state->last_took_us / 1e6);
    scrape_process(scrape);
    page_end(page);
}
