/* The look at the records of one partition before they are appended (storage/validate.h): on the
 * loop while it is short, and by a worker when it takes long. */
#ifndef OTTLA_BROKER_API_PRODUCE_CHECK_H
#define OTTLA_BROKER_API_PRODUCE_CHECK_H

#include "base/workers.h"
#include "broker/api/request.h"
#include "storage/plog.h"
#include "storage/validate.h"

struct produce_check {
    struct work work;
    struct req *req;
    struct log_config config;
    struct validate_rules rules;
    struct bytes records; /* changed in place */
    int64_t log_start_offset;
    struct validated found; /* the caller deinits `rewritten` */
    err result;
};

/* The rules that are about the request and not about a log. */
NODISCARD err produce_check_begin(struct produce_check *check, struct req *r, struct bytes records);
/* After OK: takes what it needs of the log, and looks by all rules; E_BUSY when that takes longer than a
 * loop has, and then nothing is changed. */
NODISCARD err produce_check_records(struct produce_check *check, struct plog *log);
/* After E_BUSY, with the request parked and the records in its memory: a worker looks and wakes the
 * request, the outcome is in `result`; E_CLOSED: it never did, the broker stops. False: no worker
 * can be had. */
bool produce_check_by_worker(struct produce_check *check, struct bytes records);
/* After E_BUSY: looks all the same, however long it takes. */
NODISCARD err produce_check_here(struct produce_check *check);
/* Errors after which Kafka tells the log's real start. */
bool produce_check_tells_log_start(const struct produce_check *check, err e);

#endif
