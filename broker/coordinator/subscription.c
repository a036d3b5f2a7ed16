/* Each member's metadata for the protocol that the group has chosen is read. */
#include "broker/coordinator/subscription.h"

#include "protocol/messages.h"

enum { ARENA_BYTES = 16 << 20, VERSION_MAX = 3 };

bool group_is_of_consumers(const struct group *group)
{
    return str_is(group->protocol_type, "consumer");
}

static err read_member(struct subscription *subscription, struct bytes metadata,
                       struct arena *arena)
{
    struct consumer_protocol_subscription said;
    struct reader reader = reader_of(metadata);
    int16_t version = reader_i16(&reader);
    if (reader.failed || version < 0) {
        return E_MALFORMED;
    }
    version = version > VERSION_MAX ? VERSION_MAX : version;
    TRY(message_decode(&consumer_protocol_subscription_message, version, &reader, arena, &said));
    for (int32_t i = 0; i < said.topics_n; i++) {
        (void)map_set_str(&subscription->topics, said.topics[i], subscription);
    }
    return OK;
}

void subscription_read(struct subscription *subscription, const struct group *group)
{
    *subscription = (struct subscription){.known = group_is_of_consumers(group) &&
                                                   group->protocol_name.data != NULL};
    map_init(&subscription->topics);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        if (subscription->known &&
            read_member(subscription, member_metadata(group, m), &arena) != OK) {
            subscription->known = false;
        }
        arena_reset(&arena, ARENA_BYTES);
    }
    arena_deinit(&arena);
}

void subscription_deinit(struct subscription *subscription)
{
    map_deinit(&subscription->topics);
}

bool subscription_holds(const struct subscription *subscription, struct str topic)
{
    return map_get_str(&subscription->topics, topic) != NULL;
}
