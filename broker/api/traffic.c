/* A failed request, in Kafka's sense, is one that fails for a reason that clients do not meet in the course of
 * things: leaders move, records are too large, disks fail, and these have metrics of their own. */
#include "broker/api/traffic.h"

#include "broker/api/api.h"

static void count(const struct req *r, struct partition *p, enum topic_counter counter, uint64_t n)
{
    topic_counters_add_alone(&r->home->metrics->all_topics, counter, n);
    if (p != NULL) {
        topic_counters_add(partition_counters(p), counter, n);
    }
}

static bool counts_as_failed_produce(err e)
{
    switch (kafka_error_of_log(e)) {
    case OK:
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
    case ERR_NOT_LEADER_OR_FOLLOWER:
    case ERR_MESSAGE_TOO_LARGE:
    case ERR_RECORD_LIST_TOO_LARGE:
    case ERR_CORRUPT_MESSAGE:
    case ERR_KAFKA_STORAGE_ERROR:
    case ERR_INVALID_TOPIC_EXCEPTION:
        return false;
    default:
        return true;
    }
}

static bool counts_as_failed_fetch(err e)
{
    return kafka_error_wire(e) == ERR_UNKNOWN_SERVER_ERROR;
}

void traffic_produced(const struct req *r, struct partition *p,
                      const struct traffic_produced *produced)
{
    if (r->home->metrics == NULL) {
        return;
    }
    count(r, p, COUNT_PRODUCE_REQUESTS, 1);
    if (produced->error == OK) {
        count(r, p, COUNT_BYTES_IN, produced->bytes);
        count(r, p, COUNT_MESSAGES_IN, (uint64_t)produced->records);
    } else if (produced->error == ERR_MESSAGE_TOO_LARGE) {
        count(r, p, COUNT_BYTES_REJECTED, produced->bytes);
    }
    if (counts_as_failed_produce(produced->error)) {
        count(r, p, COUNT_FAILED_PRODUCE, 1);
    }
    if (produced->converted > 0) {
        count(r, p, COUNT_PRODUCE_CONVERSIONS, (uint64_t)produced->converted);
    }
}

void traffic_fetched(const struct req *r, struct partition *p,
                     const struct traffic_fetched *fetched)
{
    if (r->home->metrics == NULL) {
        return;
    }
    if (fetched->by_replica) {
        topic_counters_add_alone(&r->home->metrics->all_topics, COUNT_REPLICATION_BYTES_OUT,
                                 fetched->bytes);
    } else if (fetched->bytes > 0) {
        count(r, p, COUNT_BYTES_OUT, fetched->bytes);
    }
    count(r, p, COUNT_FETCH_REQUESTS, 1);
    if (counts_as_failed_fetch(fetched->error)) {
        count(r, p, COUNT_FAILED_FETCH, 1);
    }
    if (fetched->converted) {
        count(r, p, COUNT_FETCH_CONVERSIONS, 1);
    }
}
