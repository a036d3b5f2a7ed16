/* A walk over the request. A struct that has a topic's name or id is about that topic; partitions are looked for below
 * it, as structs with a number or as a list of numbers. */
#define _GNU_SOURCE
#include "faults/about.h"

#include "broker/broker.h"
#include "broker/cluster/metadata.h"
#include "faults/fields.h"

struct wanted {
    const struct req *r;
    struct str topic;
    int32_t partition;
};

static bool has_id_of(const struct wanted *wanted, struct uuid id)
{
    struct metadata *metadata = metadata_acquire(wanted->r->broker->metadata);
    const struct topic_info *topic = uuid_is_zero(id) ? NULL : metadata_topic_by_id(metadata, id);
    bool found = topic != NULL && str_equal(topic->name, wanted->topic);
    metadata_release(metadata);
    return found;
}

static bool is_topic(const struct wanted *wanted, const struct shape *shape, const uint8_t *in)
{
    shape_each (field, shape, wanted->r->version) {
        if ((field->flags & FIELD_ARRAY) != 0) {
            continue;
        }
        if (field_is_topic(field) && str_equal(field_str(field, in), wanted->topic)) {
            return true;
        }
        if (field->type == FIELD_UUID && strcmp(field->name, "topic_id") == 0 &&
            has_id_of(wanted, field_uuid(field, in))) {
            return true;
        }
    }
    return false;
}

/* Below a topic. */
static bool has_partition(const struct wanted *wanted, const struct shape *shape, const uint8_t *in)
{
    shape_each (field, shape, wanted->r->version) {
        if ((field->flags & FIELD_ARRAY) == 0) {
            if (field_is_partition(field) && field_int32(field, in) == wanted->partition) {
                return true;
            }
            continue;
        }
        struct elements elements = field_elements(field, in);
        for (int32_t i = 0; i < elements.count; i++) {
            const uint8_t *element = elements.data + (size_t)i * field_element_size(field);
            int32_t number;
            if (field->type == FIELD_STRUCT && has_partition(wanted, field->shape, element)) {
                return true;
            }
            if (field_is_partition(field) &&
                (memcpy(&number, element, sizeof(number)), number == wanted->partition)) {
                return true;
            }
        }
    }
    return false;
}

static bool names(const struct wanted *wanted, const struct shape *shape, const uint8_t *in);

static bool element_names(const struct wanted *wanted, const struct field *field,
                          const uint8_t *element)
{
    if (field->type == FIELD_STRING) { /* a list of names */
        struct str name;
        memcpy(&name, element, sizeof(name));
        return wanted->partition < 0 && field_is_topic(field) && str_equal(name, wanted->topic);
    }
    if (field->type != FIELD_STRUCT) {
        return false;
    }
    if (is_topic(wanted, field->shape, element)) {
        return wanted->partition < 0 || has_partition(wanted, field->shape, element);
    }
    return names(wanted, field->shape, element);
}

static bool names(const struct wanted *wanted, const struct shape *shape, const uint8_t *in)
{
    shape_each (field, shape, wanted->r->version) {
        struct elements elements =
            (field->flags & FIELD_ARRAY) != 0 ? field_elements(field, in) : (struct elements){0};
        for (int32_t i = 0; i < elements.count; i++) {
            if (element_names(wanted, field,
                              elements.data + (size_t)i * field_element_size(field))) {
                return true;
            }
        }
    }
    return false;
}

bool request_names(const struct req *r, struct str topic, int32_t partition)
{
    const struct wanted wanted = {.r = r, .topic = topic, .partition = partition};
    return names(&wanted, r->schema->request->shape, r->in);
}
