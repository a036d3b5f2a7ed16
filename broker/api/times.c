/* A request's times cost two looks at the clock: one when it is answered, one when the answer has been written;
 * where it begins the loop's last look is taken. */
#include "broker/api/times.h"

#include "base/log.h"
#include "broker/api/fetch_asked.h"
#include "broker/broker.h"

enum { KEY_FETCH = 1, CLIENT_ID_MAX_BYTES = 256 };

static const char REQUEST_LOGGER[] = "kafka.request.logger";

static bool wants_times(const struct api_loop *home)
{
    return home->metrics != NULL || log_is_on(LOG_DEBUG, REQUEST_LOGGER);
}

static int64_t look_at_clock(struct api_loop *home)
{
    home->looked_us = clock_monotonic_us(home->broker->clock);
    return home->looked_us;
}

/* A request begins where the loop last looked at the clock in this turn: what lies between is its own way
 * through the socket. */
void req_times_begin(struct req *r)
{
    if (wants_times(r->home)) {
        int64_t turn_us = loop_now_us(r->home->loop);
        r->times.arrived = turn_us;
        r->times.begun = r->home->looked_us > turn_us ? r->home->looked_us : turn_us;
    }
}

void req_times_handled(struct req *r)
{
    if (r->times.begun != 0) {
        r->times.handled = look_at_clock(r->home);
    }
}

static int kind_of_fetch(const struct req *r)
{
    if (r->schema->key != KEY_FETCH) {
        return -1;
    }
    return fetch_replica_of(r->in) >= 0 ? REQUEST_FETCH_FOLLOWER : REQUEST_FETCH_CONSUMER;
}

/* The address is the connection's, which may be gone. */
static const char *peer_of(const struct req *r)
{
    return r->conn == NULL ? "gone" : conn_peer(r->conn);
}

/* The client's name for a line's field: as long as leaves room for the others, and without what would end it. */
static const char *client_of(const struct req *r, char text[CLIENT_ID_MAX_BYTES])
{
    size_t len = r->client_id.len;
    if (len >= CLIENT_ID_MAX_BYTES) {
        len = CLIENT_ID_MAX_BYTES - 1;
        while (len > 0 && ((unsigned char)r->client_id.data[len] & 0xc0) == 0x80) {
            len--; /* within a character */
        }
    }
    for (size_t i = 0; i < len; i++) {
        char c = r->client_id.data[i];
        text[i] = c;
        if (c == '"' || c == '\0') {
            text[i] = '?';
        }
    }
    text[len] = '\0';
    return text;
}

static void count_request(struct req *r, int64_t now_us, bool answered)
{
    const struct request_done done = {.name = r->schema->key,
                                      .also = kind_of_fetch(r),
                                      .version = r->version,
                                      .bytes = r->frame_bytes,
                                      .throttle_us = (int64_t)r->throttle_ms * 1000,
                                      .times = r->times,
                                      .answered = answered};
    struct sending *before = answered ? conn_sending(r->conn) : NULL;
    struct sending *all = loop_metrics_done(r->home->metrics, &done, now_us, before);
    if (answered) {
        conn_set_sending(r->conn, all);
    }
    int64_t slow_ms = r->broker->config->ottla_request_slow_ms;
    int64_t took_ms = (r->times.handled - r->times.arrived) / 1000;
    if (slow_ms >= 0 && took_ms > slow_ms) {
        loop_metrics_slow(r->home->metrics, r->schema->key);
        char client[CLIENT_ID_MAX_BYTES];
        log_warn("api", "slow request api=%s version=%d took_ms=%lld client_id=\"%s\" peer=%s",
                 r->schema->name, r->version, (long long)took_ms, client_of(r, client), peer_of(r));
    }
}

static void log_request(const struct req *r, int64_t now_us, bool answered)
{
    char client[CLIENT_ID_MAX_BYTES];
    log_debug(REQUEST_LOGGER,
              "completed request api=%s version=%d correlation_id=%d client_id=\"%s\" peer=%s "
              "listener=%s bytes=%zu queue_us=%lld local_us=%lld remote_us=%lld answered=%s",
              r->schema->name, r->version, r->correlation_id, client_of(r, client), peer_of(r),
              r->listener->name, r->frame_bytes, (long long)(r->times.begun - r->times.arrived),
              (long long)(r->times.handled - r->times.begun),
              (long long)(now_us - r->times.handled), answered ? "true" : "false");
}

void req_times_end(struct req *r, bool answered)
{
    if (r->times.begun == 0) {
        return;
    }
    int64_t now_us = look_at_clock(r->home);
    r->times.handled = r->times.handled != 0 ? r->times.handled : now_us;
    if (r->home->metrics != NULL) {
        count_request(r, now_us, answered);
    }
    if (log_is_on(LOG_DEBUG, REQUEST_LOGGER)) {
        log_request(r, now_us, answered);
    }
}

void req_times_sent(void *context, struct sending *sending)
{
    struct api_loop *home = context;
    loop_metrics_sent(home->metrics, sending, look_at_clock(home));
}
