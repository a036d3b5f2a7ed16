/* FindCoordinator, of one key. */
#define _GNU_SOURCE
#include "cli/coordinator.h"

#include "base/clock.h"
#include "base/refuse.h"
#include "protocol/error.h"

enum { AGAIN_US = 20000 };

err coordinator_of_group(struct brokers *brokers, const char *group, struct client **client)
{
    int64_t deadline_ms = clock_monotonic_ms(clock_system()) + brokers->timeout_ms;
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = str_of(group);
    for (;;) {
        struct find_coordinator_response answer;
        TRY(brokers_ask(brokers, NULL,
                        &(struct client_question){API_FIND_COORDINATOR, 0, 3, &request, &answer}));
        if (answer.error_code == 0) {
            return brokers_client(brokers, answer.node_id, client);
        }
        bool passing = answer.error_code == ERR_COORDINATOR_NOT_AVAILABLE ||
                       answer.error_code == ERR_COORDINATOR_LOAD_IN_PROGRESS;
        if (!passing || clock_monotonic_ms(clock_system()) >= deadline_ms) {
            return refuse_with(answer.error_code, brokers->reason, CLIENT_REASON_BYTES,
                               "no coordinator for group %s: %s", group,
                               kafka_error_name(answer.error_code));
        }
        clock_sleep_us(clock_system(), AGAIN_US);
    }
}
