/* Every key and value begins with its version as int16; the generated codec does the rest. Offsets
 * are written as value version 3, or 1 when the client set its own retention; groups as version 3:
 * what Kafka 3.9 writes. Version 4 of both is read too. */
#include "broker/coordinator/offsets.h"

#include "protocol/messages.h"

#include <stdlib.h>

enum {
    OFFSET_KEY_VERSION = 1,
    GROUP_KEY_VERSION = 2,
    OFFSET_VALUE_VERSION = 3,
    OFFSET_VALUE_EXPIRING_VERSION = 1,
    GROUP_VALUE_VERSION = 3,
    VALUE_VERSION_MAX = 4,
    RECORD_LIMIT_BYTES = 64 << 20,
    KEY_MAX = 300,
};

/* ---- the table ---- */

static struct bytes key_of(struct str topic, int32_t partition, uint8_t key[KEY_MAX])
{
    size_t len = topic.len > KEY_MAX - sizeof(partition) ? KEY_MAX - sizeof(partition) : topic.len;
    memcpy(key, topic.data, len);
    memcpy(key + len, &partition, sizeof(partition));
    return bytes_of(key, len + sizeof(partition));
}

struct committed *offsets_get(const struct group *group, struct str topic, int32_t partition)
{
    uint8_t key[KEY_MAX];
    return topic.data == NULL ? NULL : map_get(&group->offsets, key_of(topic, partition, key));
}

static void committed_free(struct committed *value)
{
    if (value != NULL) {
        free((void *)(uintptr_t)value->metadata.data);
        free((void *)(uintptr_t)value->topic.data);
        free(value);
    }
}

void offsets_set(struct group *group, const struct committed *value)
{
    uint8_t key[KEY_MAX];
    struct committed *copy = xcalloc(1, sizeof(*copy));
    *copy = *value;
    copy->metadata = (struct str){0};
    copy->topic = (struct str){0};
    group_set_text(&copy->metadata, value->metadata);
    group_set_text(&copy->topic, value->topic);
    committed_free(map_set(&group->offsets, key_of(value->topic, value->partition, key), copy));
}

void offsets_remove(struct group *group, struct str topic, int32_t partition)
{
    uint8_t key[KEY_MAX];
    committed_free(map_remove(&group->offsets, key_of(topic, partition, key)));
}

void offsets_clear(struct group *group)
{
    map_each (entry, &group->offsets) {
        committed_free(entry->value);
    }
    map_deinit(&group->offsets);
    map_init(&group->offsets);
}

/* ---- writing ---- */

static err encode(const struct message *message, int16_t version, const void *in,
                  struct writer *out)
{
    writer_init(out, RECORD_LIMIT_BYTES);
    writer_i16(out, version);
    err e = message_encode(message, version, in, out);
    return e != OK || out->failed ? E_LIMIT : OK;
}

static err add_record(struct batch_builder *batch, int64_t now_ms, const struct writer *key,
                      const struct writer *value)
{
    batch_add(batch, now_ms, bytes_of(key->data, key->len),
              value == NULL ? (struct bytes){0} : bytes_of(value->data, value->len));
    return OK;
}

static err offset_key(struct str group_id, struct str topic, int32_t partition, struct writer *key)
{
    struct offset_commit_key in = {.group = group_id, .topic = topic, .partition = partition};
    return encode(&offset_commit_key_message, OFFSET_KEY_VERSION, &in, key);
}

err record_add_offset(struct batch_builder *batch, int64_t now_ms, struct str group_id,
                      const struct committed *c)
{
    struct writer key;
    struct writer value;
    struct offset_commit_value in = {.offset = c->offset,
                                     .leader_epoch = c->leader_epoch,
                                     .metadata = c->metadata,
                                     .commit_timestamp = c->commit_ms,
                                     .expire_timestamp = c->expire_ms};
    err e = offset_key(group_id, c->topic, c->partition, &key);
    err f = encode(&offset_commit_value_message,
                   c->expire_ms >= 0 ? OFFSET_VALUE_EXPIRING_VERSION : OFFSET_VALUE_VERSION, &in,
                   &value);
    if (e == OK && f == OK) {
        e = add_record(batch, now_ms, &key, &value);
    }
    writer_deinit(&key);
    writer_deinit(&value);
    return e != OK ? e : f;
}

err record_add_offset_tombstone(struct batch_builder *batch, int64_t now_ms, struct str group_id,
                                struct str topic, int32_t partition)
{
    struct writer key;
    err e = offset_key(group_id, topic, partition, &key);
    if (e == OK) {
        e = add_record(batch, now_ms, &key, NULL);
    }
    writer_deinit(&key);
    return e;
}

static err group_key(struct str group_id, struct writer *key)
{
    struct group_metadata_key in = {.group = group_id};
    return encode(&group_metadata_key_message, GROUP_KEY_VERSION, &in, key);
}

static struct group_metadata_value_member *members_of(const struct group *group)
{
    struct group_metadata_value_member *members = xcalloc(group->by_id.count, sizeof(*members));
    int32_t n = 0;
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        members[n++] = (struct group_metadata_value_member){
            .member_id = m->id,
            .group_instance_id = m->instance_id,
            .client_id = m->client_id,
            .client_host = m->client_host,
            .rebalance_timeout = m->rebalance_timeout_ms,
            .session_timeout = m->session_timeout_ms,
            .subscription = member_metadata(group, m),
            .assignment = m->assignment,
        };
    }
    return members;
}

err record_add_group(struct batch_builder *batch, int64_t now_ms, const struct group *group)
{
    struct writer key;
    struct writer value;
    struct group_metadata_value in = {
        .protocol_type = group->protocol_type.data == NULL ? STR("") : group->protocol_type,
        .generation = group->generation,
        .protocol = group->protocol_name,
        .leader = group->leader_id,
        .current_state_timestamp = group->state_timestamp_ms,
        .members = members_of(group),
        .members_n = group_size(group),
    };
    err e = group_key(group->id, &key);
    err f = encode(&group_metadata_value_message, GROUP_VALUE_VERSION, &in, &value);
    if (e == OK && f == OK) {
        e = add_record(batch, now_ms, &key, &value);
    }
    free(in.members);
    writer_deinit(&key);
    writer_deinit(&value);
    return e != OK ? e : f;
}

err record_add_group_tombstone(struct batch_builder *batch, int64_t now_ms, struct str group_id)
{
    struct writer key;
    err e = group_key(group_id, &key);
    if (e == OK) {
        e = add_record(batch, now_ms, &key, NULL);
    }
    writer_deinit(&key);
    return e;
}

/* ---- reading ---- */

err record_key_read(struct bytes key, struct arena *arena, struct record_key *out)
{
    *out = (struct record_key){0};
    struct reader reader = reader_of(key);
    int16_t version = reader_i16(&reader);
    if (reader.failed || version < 0) {
        return E_MALFORMED;
    }
    if (version <= OFFSET_KEY_VERSION) {
        struct offset_commit_key in;
        TRY(message_decode(&offset_commit_key_message, version, &reader, arena, &in));
        *out = (struct record_key){.kind = RECORD_OFFSET,
                                   .group_id = in.group,
                                   .topic = in.topic,
                                   .partition = in.partition};
    } else if (version == GROUP_KEY_VERSION) {
        struct group_metadata_key in;
        TRY(message_decode(&group_metadata_key_message, version, &reader, arena, &in));
        *out = (struct record_key){.kind = RECORD_GROUP, .group_id = in.group};
    }
    return OK;
}

err record_offset_read(struct bytes value, struct arena *arena, struct committed *out)
{
    struct reader reader = reader_of(value);
    int16_t version = reader_i16(&reader);
    struct offset_commit_value in;
    if (reader.failed || version < 0 || version > VALUE_VERSION_MAX) {
        return E_MALFORMED;
    }
    TRY(message_decode(&offset_commit_value_message, version, &reader, arena, &in));
    *out = (struct committed){
        .offset = in.offset,
        .leader_epoch = in.leader_epoch,
        .metadata = in.metadata,
        .commit_ms = in.commit_timestamp,
        .expire_ms = version == OFFSET_VALUE_EXPIRING_VERSION ? in.expire_timestamp : -1};
    return OK;
}

err record_group_read(struct bytes value, struct arena *arena, int64_t now_ms, struct group *group)
{
    struct reader reader = reader_of(value);
    int16_t version = reader_i16(&reader);
    struct group_metadata_value in;
    if (reader.failed || version < 0 || version > VALUE_VERSION_MAX) {
        return E_MALFORMED;
    }
    TRY(message_decode(&group_metadata_value_message, version, &reader, arena, &in));
    if (in.members_n > 0 && in.protocol.data == NULL) {
        return E_MALFORMED;
    }
    group->generation = in.generation;
    group->state = in.members_n > 0 ? GROUP_STABLE : GROUP_EMPTY;
    group->state_timestamp_ms = in.current_state_timestamp;
    group_set_text(&group->protocol_type, in.protocol_type);
    group_set_text(&group->protocol_name, in.protocol);
    for (int32_t i = 0; i < in.members_n; i++) {
        const struct group_metadata_value_member *from = &in.members[i];
        if (group_member(group, from->member_id) != NULL ||
            (from->group_instance_id.data != NULL &&
             map_get_str(&group->by_instance, from->group_instance_id) != NULL)) {
            return E_MALFORMED; /* a member twice */
        }
        struct member *m = group_add_loaded(group, from->member_id, from->group_instance_id,
                                            from->client_id, from->client_host);
        m->session_timeout_ms = from->session_timeout;
        m->rebalance_timeout_ms =
            from->rebalance_timeout < 0 ? from->session_timeout : from->rebalance_timeout;
        m->session_deadline_ms = now_ms + m->session_timeout_ms;
        member_set_protocol(m, in.protocol, from->subscription);
        member_set_assignment(m, from->assignment);
    }
    if (group_member(group, in.leader) != NULL) {
        group_set_text(&group->leader_id, in.leader); /* otherwise the first member leads */
    }
    return OK;
}
