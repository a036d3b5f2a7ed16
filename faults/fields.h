/* Fields of messages by their names, on the tables of the codec (protocol/table.h). `in` is a struct of the shape. */
#ifndef OTTLA_FAULTS_FIELDS_H
#define OTTLA_FAULTS_FIELDS_H

#include "protocol/table.h"

/* An array's elements. */
struct elements {
    const uint8_t *data;
    int32_t count; /* 0 also for null */
};

struct elements field_elements(const struct field *field, const uint8_t *in);
struct str field_str(const struct field *field, const uint8_t *in);
int32_t field_int32(const struct field *field, const uint8_t *in);
struct uuid field_uuid(const struct field *field, const uint8_t *in);

/* Do two fields, of a request and of its answer, say the same? Topics and partitions have several names. */
bool field_same(const struct field *a, const struct field *b);
bool field_is_topic(const struct field *field);
bool field_is_partition(const struct field *field);

/* All fields of a shape that the version has, tagged ones after the others. */
#define shape_each(item, shape, version)                                                           \
    for (const struct field *item = shape_next((shape), NULL, (version)); item != NULL;            \
         item = shape_next((shape), item, (version)))
/* The one after `field`; NULL is before the first, and after the last. */
const struct field *shape_next(const struct shape *shape, const struct field *field, int version);

#endif
