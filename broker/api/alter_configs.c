/* Names first: a resource that comes again refuses the one before it too. */
#include "broker/api/alter_configs.h"

#include "base/seen.h"
#include "broker/broker.h"

static struct seen_key key_of(const struct config_change *change)
{
    return (struct seen_key){.name = change->name, .number = change->resource_type};
}

static struct altered alter_one(struct req *r, const struct config_change *change, bool twice)
{
    char message[CONFIG_REASON_BYTES] = "Each resource must appear at most once.";
    err e = twice ? ERR_INVALID_REQUEST : config_alter(&r->broker->config_editor, change, message);
    return (struct altered){.error_code = kafka_error_wire(e),
                            .message =
                                e == OK ? (struct str){0} : arena_str(&r->arena, str_of(message))};
}

struct altered *alter_resources(struct req *r, const struct config_change *changes, int32_t count)
{
    struct altered *altered = req_array(r, count, sizeof(*altered));
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; i < count; i++) {
        struct seen_key key = key_of(&changes[i]);
        (void)seen_add(&seen, &key);
    }
    for (int32_t i = 0; altered != NULL && i < count; i++) {
        struct seen_key key = key_of(&changes[i]);
        altered[i] = alter_one(r, &changes[i], seen_times(&seen, &key) > 1);
    }
    seen_deinit(&seen);
    return altered;
}
