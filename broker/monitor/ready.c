/* A broker that is cut off from ZooKeeper goes on serving records, but nobody new should be sent to it; and
 * while a coordinator is being loaded its groups are answered to come again. */
#include "broker/monitor/ready.h"

#include "broker/coordinator/group_shard.h"
#include "broker/coordinator/txn_shard.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void say(char reasons[READY_REASONS_BYTES],
                                                      const char *format, ...)
{
    size_t len = strlen(reasons);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reasons + len, READY_REASONS_BYTES - len, format, args);
    va_end(args);
}

static void none(struct shard *shard, void *context)
{
    (void)shard;
    (void)context;
}

static bool knows_controller(const struct broker *broker)
{
    struct metadata *metadata = metadata_acquire(broker->metadata);
    bool known = metadata->controller_id >= 0;
    metadata_release(metadata);
    return known;
}

void ready_look(const struct broker *broker, char reasons[READY_REASONS_BYTES])
{
    reasons[0] = '\0';
    struct membership_figures membership = membership_tell(broker->membership);
    if (!membership.connected) {
        say(reasons, "ZooKeeper is out of reach\n");
    } else if (!membership.settled) {
        say(reasons, "the broker is not registered, or knows no controller\n");
    }
    if (!knows_controller(broker)) {
        say(reasons, "no controller has told the metadata yet\n");
    }
    if (shards_each(&broker->groups->shards, none, NULL) != OK) {
        say(reasons, "groups are being loaded\n");
    }
    if (shards_each(&broker->txns->shards, none, NULL) != OK) {
        say(reasons, "transactions are being loaded\n");
    }
    size_t failed = logs_dirs(broker->logs) - logs_dirs_online(broker->logs);
    if (logs_dirs_online(broker->logs) == 0) {
        say(reasons, "all %zu log directories have failed\n", failed);
    }
}
