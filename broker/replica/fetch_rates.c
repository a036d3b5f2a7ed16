/* Two periods: the one that is counted, and the one before it. */
#include "broker/replica/fetch_rates.h"

enum { PERIOD_MS = 30000 };

void fetch_rates_init(struct fetch_rates *rates)
{
    pthread_mutex_init(&rates->lock, NULL);
    list_init(&rates->all);
}

void fetch_rates_deinit(struct fetch_rates *rates)
{
    pthread_mutex_destroy(&rates->lock);
}

static void go_on(struct fetch_rate *rate, int64_t now_ms)
{
    int64_t periods = (now_ms - rate->began_ms) / PERIOD_MS;
    if (periods > 0) {
        rate->count_before = periods == 1 ? rate->count : 0;
        rate->count = 0;
        rate->began_ms += periods * PERIOD_MS;
    }
}

static double per_second(const struct fetch_rate *rate, int64_t now_ms)
{
    int64_t since_ms = now_ms - rate->began_ms + (rate->count_before > 0 ? PERIOD_MS : 0);
    double seconds = since_ms < 1000 ? 1 : (double)since_ms / 1000;
    return (rate->count + rate->count_before) / seconds;
}

double fetch_rates_least(struct fetch_rates *rates, int64_t now_ms)
{
    double least = -1;
    pthread_mutex_lock(&rates->lock);
    list_each (item, &rates->all) {
        struct fetch_rate *rate = container_of(item, struct fetch_rate, link);
        go_on(rate, now_ms);
        double one = per_second(rate, now_ms);
        if (rate->follows_n > 0 && (least < 0 || one < least)) {
            least = one;
        }
    }
    pthread_mutex_unlock(&rates->lock);
    return least < 0 ? 0 : least;
}

void fetch_rate_begin(struct fetch_rates *rates, struct fetch_rate *rate, int64_t now_ms)
{
    *rate = (struct fetch_rate){.began_ms = now_ms};
    if (rates == NULL) {
        return;
    }
    pthread_mutex_lock(&rates->lock);
    list_append(&rates->all, &rate->link);
    pthread_mutex_unlock(&rates->lock);
}

void fetch_rate_end(struct fetch_rates *rates, struct fetch_rate *rate)
{
    if (rates == NULL) {
        return;
    }
    pthread_mutex_lock(&rates->lock);
    list_remove(&rate->link);
    pthread_mutex_unlock(&rates->lock);
}

void fetch_rate_follows(struct fetch_rates *rates, struct fetch_rate *rate, int32_t change)
{
    if (rates == NULL) {
        return;
    }
    pthread_mutex_lock(&rates->lock);
    rate->follows_n += change;
    pthread_mutex_unlock(&rates->lock);
}

void fetch_rate_count(struct fetch_rates *rates, struct fetch_rate *rate, int64_t now_ms)
{
    if (rates == NULL) {
        return;
    }
    pthread_mutex_lock(&rates->lock);
    go_on(rate, now_ms);
    rate->count++;
    pthread_mutex_unlock(&rates->lock);
}
