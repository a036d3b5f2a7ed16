/* Reads structs whose type only the table knows: by copies of the right size, at the offset that the table says. */
#define _GNU_SOURCE
#include "faults/fields.h"

#include <string.h>

static const struct field *next_in_version(const struct field *from, const struct field *end,
                                           int version)
{
    while (from < end && !field_in_version(from, version)) {
        from++;
    }
    return from < end ? from : NULL;
}

const struct field *shape_next(const struct shape *shape, const struct field *field, int version)
{
    const struct field *end = shape->fields + shape->fields_n;
    const struct field *tagged_end = shape->tagged + shape->tagged_n;
    bool is_tagged =
        field != NULL && shape->tagged_n > 0 && field >= shape->tagged && field < tagged_end;
    if (!is_tagged) {
        const struct field *found =
            next_in_version(field == NULL ? shape->fields : field + 1, end, version);
        if (found != NULL || shape->tagged_n == 0) {
            return found;
        }
    }
    return next_in_version(is_tagged ? field + 1 : shape->tagged, tagged_end, version);
}

struct elements field_elements(const struct field *field, const uint8_t *in)
{
    struct elements elements;
    memcpy(&elements.data, in + field->offset, sizeof(elements.data));
    memcpy(&elements.count, in + field->count_offset, sizeof(elements.count));
    elements.count = elements.data == NULL || elements.count < 0 ? 0 : elements.count;
    return elements;
}

struct str field_str(const struct field *field, const uint8_t *in)
{
    struct str text;
    memcpy(&text, in + field->offset, sizeof(text));
    return text;
}

int32_t field_int32(const struct field *field, const uint8_t *in)
{
    int32_t number;
    memcpy(&number, in + field->offset, sizeof(number));
    return number;
}

struct uuid field_uuid(const struct field *field, const uint8_t *in)
{
    struct uuid id;
    memcpy(&id, in + field->offset, sizeof(id));
    return id;
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(name, *names) == 0) {
            return true;
        }
    }
    return false;
}

bool field_is_topic(const struct field *field)
{
    static const char *const NAMES[] = {"name",        "topic",  "topic_name",
                                        "topic_names", "topics", NULL};
    return field->type == FIELD_STRING && is_one_of(field->name, NAMES);
}

bool field_is_partition(const struct field *field)
{
    static const char *const NAMES[] = {
        "partition_index", "partition",         "index", "partition_id",
        "partitions",      "partition_indexes", NULL};
    return field->type == FIELD_INT32 && is_one_of(field->name, NAMES);
}

bool field_same(const struct field *a, const struct field *b)
{
    if (a->type != b->type || ((a->flags ^ b->flags) & FIELD_ARRAY) != 0) {
        return false;
    }
    return strcmp(a->name, b->name) == 0 || (field_is_topic(a) && field_is_topic(b)) ||
           (field_is_partition(a) && field_is_partition(b));
}
