/* Names first: a resource that comes again refuses the one before it too. */
#include "broker/api/alter_configs.h"

#include "base/seen.h"
#include "broker/broker.h"

static struct seen_key key_of(const struct config_change *change)
{
    return (struct seen_key){.name = change->name, .number = change->resource_type};
}

static void alter_one(struct req *r, const struct config_change *change, bool twice,
                      struct altered *altered)
{
    char message[CONFIG_REASON_BYTES] = "Each resource must appear at most once.";
    err e = twice ? ERR_INVALID_REQUEST : config_alter(&r->broker->config_editor, change, message);
    altered->error_code = kafka_error_wire(e);
    if (e != OK) {
        altered->message = arena_str(&r->arena, str_of(message));
    }
}

static void alter_all(struct req *r, const struct config_change *changes, int32_t count,
                      struct altered *altered)
{
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; i < count; i++) {
        struct seen_key key = key_of(&changes[i]);
        (void)seen_add(&seen, &key);
    }
    for (int32_t i = 0; i < count; i++) {
        struct seen_key key = key_of(&changes[i]);
        alter_one(r, &changes[i], seen_times(&seen, &key) > 1, &altered[i]);
    }
    seen_deinit(&seen);
}

const struct altered *alter_resources(struct req *r, int32_t count,
                                      bool (*read)(struct req *r, int32_t at,
                                                   struct config_change *change))
{
    struct altered *altered = req_array(r, count, sizeof(*altered));
    struct config_change *changes = req_array(r, count, sizeof(*changes));
    if (altered == NULL || changes == NULL) {
        return NULL;
    }
    bool room = true;
    for (int32_t i = 0; i < count; i++) {
        room &= read(r, i, &changes[i]);
        altered[i] = (struct altered){.error_code = ERR_UNKNOWN_SERVER_ERROR,
                                      .resource_type = changes[i].resource_type,
                                      .name = changes[i].name};
    }
    if (room) {
        alter_all(r, changes, count, altered);
    }
    return altered;
}
