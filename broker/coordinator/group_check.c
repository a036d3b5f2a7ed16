/* What holds of a group between any two events, in every state. */
#include "broker/coordinator/group.h"

static void check_member_of(const struct group *group, const struct member *m)
{
    CHECK(m->id.data != NULL && map_get_str(&group->by_id, m->id) == m);
    CHECK(m->instance_id.data == NULL || map_get_str(&group->by_instance, m->instance_id) == m);
    CHECK(map_get_str(&group->pending, m->id) == NULL);
    CHECK(m->join_waiter == NULL || m->sync_waiter == NULL);
    CHECK(m->join_waiter == NULL || group->state == GROUP_PREPARING_REBALANCE);
    CHECK(m->sync_waiter == NULL || group->state == GROUP_COMPLETING_REBALANCE);
    CHECK(!m->is_new || group->state == GROUP_PREPARING_REBALANCE);
}

void group_check(const struct group *group)
{
    size_t members_n = 0;
    size_t statics_n = 0;
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        check_member_of(group, m);
        statics_n += m->instance_id.data != NULL ? 1 : 0;
        members_n++;
    }
    CHECK(members_n == group->by_id.count && statics_n == group->by_instance.count);
    CHECK(members_n == 0 || (group->state != GROUP_EMPTY && group->state != GROUP_DEAD));
    CHECK(members_n == 0 || group_member(group, group->leader_id) != NULL);
    CHECK(members_n == 0 || group->protocol_type.data != NULL);
    bool has_generation =
        group->state == GROUP_COMPLETING_REBALANCE || group->state == GROUP_STABLE;
    CHECK(!has_generation || (members_n > 0 && group->protocol_name.data != NULL));
    CHECK(!group->storing || group->state == GROUP_COMPLETING_REBALANCE);
    CHECK(!group->initial_delay || group->state == GROUP_PREPARING_REBALANCE);
}
