/* What a schema looks like to the walker: the rows that protocol/generate.py writes into messages.c
 * and codec.c walks over. Nobody else needs this file. */
#ifndef OTTLA_PROTOCOL_TABLE_H
#define OTTLA_PROTOCOL_TABLE_H

#include "protocol/codec.h"

enum field_type {
    FIELD_INT8,
    FIELD_INT16,
    FIELD_INT32,
    FIELD_INT64,
    FIELD_BOOL,
    FIELD_FLOAT64,
    FIELD_UUID,
    FIELD_STRING,
    FIELD_BYTES,
    FIELD_RECORDS,
    FIELD_STRUCT,
};

enum field_flag {
    FIELD_ARRAY = 1,      /* `type` is the type of the elements */
    FIELD_INFLEXIBLE = 2, /* keeps the two-byte length in flexible versions too */
    FIELD_SECRET = 4,     /* not printed */
    FIELD_ERROR = 8,      /* an error code: printed by name */
};

struct error_list {
    size_t count;
    const int16_t *codes; /* ascending; without 0 and -1, which are always allowed */
};

/* One field. Versions are inclusive; a field that is never null has null_min > null_max. */
struct field {
    const char *name;
    const struct shape *shape;       /* of a struct, or of an array's elements */
    const struct error_list *errors; /* NULL: any code */
    uint16_t offset;                 /* in the struct */
    uint16_t count_offset;           /* of an array's `_n`, in the struct */
    uint8_t type;
    uint8_t flags;
    int16_t tag; /* -1: not tagged */
    int16_t min;
    int16_t max;
    int16_t null_min;
    int16_t null_max;
};

/* One struct. Its size on the wire is at least size_min[version]. */
struct shape {
    const char *name; /* of the struct */
    size_t size;
    const void *defaults; /* a value of the struct */
    const uint16_t *size_min;
    const struct field *fields; /* in wire order */
    size_t fields_n;
    const struct field *tagged; /* ascending by tag */
    size_t tagged_n;
};

struct message {
    const char *name;
    int16_t version_min;
    int16_t version_max;
    int16_t flexible_min; /* 32767: none */
    const struct shape *shape;
};

static inline bool field_in_version(const struct field *field, int version)
{
    return version >= field->min && version <= field->max;
}

static inline bool field_is_nullable(const struct field *field, int version)
{
    return version >= field->null_min && version <= field->null_max;
}

/* A struct stands in place, unless it may be null: then it is behind a pointer. */
static inline bool field_is_pointer(const struct field *field)
{
    return field->type == FIELD_STRUCT && field->null_min <= field->null_max;
}

/* Bytes of one value, or of one element of an array, in memory. */
static inline size_t field_element_size(const struct field *field)
{
    static const uint8_t SIZES[] = {
        [FIELD_INT8] = sizeof(int8_t),        [FIELD_INT16] = sizeof(int16_t),
        [FIELD_INT32] = sizeof(int32_t),      [FIELD_INT64] = sizeof(int64_t),
        [FIELD_BOOL] = sizeof(bool),          [FIELD_FLOAT64] = sizeof(double),
        [FIELD_UUID] = sizeof(struct uuid),   [FIELD_STRING] = sizeof(struct str),
        [FIELD_BYTES] = sizeof(struct bytes), [FIELD_RECORDS] = sizeof(struct records),
    };
    return field->type == FIELD_STRUCT ? field->shape->size : SIZES[field->type];
}

/* Whether `in`, a struct of that shape, has a field's default: a tagged field is then not written.
 */
bool field_is_default(const struct shape *shape, const struct field *field, const uint8_t *in);

#endif
