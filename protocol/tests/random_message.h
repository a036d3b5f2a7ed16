/* Random values of any message of any version, and their comparison, from the schema's tables. */
#ifndef OTTLA_PROTOCOL_RANDOM_MESSAGE_H
#define OTTLA_PROTOCOL_RANDOM_MESSAGE_H

#include "protocol/table.h"

#include <stdio.h>

struct random {
    uint64_t state;
};

static inline uint32_t random_u32(struct random *r)
{
    r->state = r->state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(r->state >> 33);
}

static inline uint32_t random_below(struct random *r, uint32_t n)
{
    return random_u32(r) % n;
}

static inline int64_t random_i64(struct random *r)
{
    uint64_t v = (uint64_t)random_u32(r) << 40 ^ (uint64_t)random_u32(r) << 20 ^ random_u32(r);
    return (int64_t)(v >> random_below(r, 64));
}

struct filler {
    struct random *random;
    struct arena *arena;
    int version;
};

static void fill_struct(struct filler *f, const struct shape *shape, uint8_t *out);

static inline const void *random_blob(struct filler *f, bool text, size_t len)
{
    uint8_t *at = arena_alloc(f->arena, len + 1);
    CHECK(at != NULL);
    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)(text ? 'a' + random_below(f->random, 26) : random_u32(f->random));
    }
    if (text && len >= 2 && random_below(f->random, 4) == 0) {
        memcpy(at, "\xc3\xa9", 2);
    }
    return at;
}

static inline int16_t random_code(struct filler *f, const struct field *field)
{
    if (field->errors == NULL) {
        return (int16_t)random_u32(f->random);
    }
    uint32_t i = random_below(f->random, (uint32_t)field->errors->count + 2);
    return i < field->errors->count ? field->errors->codes[i]
                                    : (int16_t)(i == field->errors->count ? 0 : -1);
}

static inline void fill_value(struct filler *f, const struct field *field, uint8_t *at)
{
    struct random *r = f->random;
    bool null = field_is_nullable(field, f->version) && random_below(r, 4) == 0;
    int64_t number = random_i64(r);
    switch (field->type) {
    case FIELD_INT16:
        *(int16_t *)(void *)at = random_code(f, field);
        break;
    case FIELD_BOOL:
        *(bool *)at = (number & 1) != 0;
        break;
    case FIELD_FLOAT64:
        *(double *)(void *)at = (double)number / 8;
        break;
    case FIELD_UUID:
        memcpy(at, random_blob(f, false, 16), 16);
        break;
    case FIELD_STRING: {
        struct str s = {.len = random_below(r, 200) == 0 ? 300 : random_below(r, 8)};
        s.data = random_blob(f, true, s.len);
        *(struct str *)(void *)at = null ? (struct str){0} : s;
        break;
    }
    case FIELD_BYTES:
    case FIELD_RECORDS: {
        struct bytes b = {.len = random_below(r, 10)};
        b.data = random_blob(f, false, b.len);
        b = null ? (struct bytes){0} : b;
        memcpy(at, &b, sizeof(b)); /* the first member of struct records too */
        break;
    }
    case FIELD_STRUCT:
        fill_struct(f, field->shape, at);
        break;
    default:
        memcpy(at, &number, field_element_size(field)); /* little-endian: the low bytes */
    }
}

static inline void fill_field(struct filler *f, const struct field *field, uint8_t *out)
{
    struct random *r = f->random;
    bool null = field_is_nullable(field, f->version) && random_below(r, 4) == 0;
    if ((field->flags & FIELD_ARRAY) != 0) {
        int32_t count = null ? -1 : (int32_t)random_below(r, 3);
        size_t size = field_element_size(field);
        uint8_t *items = count <= 0 ? NULL : arena_array(f->arena, (size_t)count, size);
        memcpy(out + field->count_offset, &count, sizeof(count));
        memcpy(out + field->offset, &items, sizeof(items));
        for (int32_t i = 0; i < count; i++) {
            fill_value(f, field, items + (size_t)i * size);
        }
    } else if (field_is_pointer(field)) {
        uint8_t *pointed = null ? NULL : arena_alloc(f->arena, field->shape->size);
        memcpy(out + field->offset, &pointed, sizeof(pointed));
        if (pointed != NULL) {
            fill_struct(f, field->shape, pointed);
        }
    } else {
        fill_value(f, field, out + field->offset);
    }
}

static void fill_struct(struct filler *f, const struct shape *shape, uint8_t *out)
{
    memcpy(out, shape->defaults, shape->size);
    for (size_t i = 0; i < shape->fields_n; i++) {
        if (field_in_version(&shape->fields[i], f->version)) {
            fill_field(f, &shape->fields[i], out);
        }
    }
    for (size_t i = 0; i < shape->tagged_n; i++) {
        if (field_in_version(&shape->tagged[i], f->version) && random_below(f->random, 2) == 0) {
            fill_field(f, &shape->tagged[i], out);
        }
    }
}

/* A value in which every field that the version has is random, and every other its default. */
static inline void *random_message(const struct message *message, int version,
                                   struct random *random, struct arena *arena)
{
    struct filler f = {.random = random, .arena = arena, .version = version};
    void *out = arena_alloc(arena, message->shape->size);
    CHECK(out != NULL);
    fill_struct(&f, message->shape, out);
    return out;
}

/* The name of the first field that differs, or NULL. */
static const char *struct_difference(const struct shape *shape, const uint8_t *a, const uint8_t *b);

static inline const char *value_difference(const struct field *field, const uint8_t *a,
                                           const uint8_t *b)
{
    bool same = false;
    switch (field->type) {
    case FIELD_STRING:
        same =
            str_equal(*(const struct str *)(const void *)a, *(const struct str *)(const void *)b);
        break;
    case FIELD_BYTES:
    case FIELD_RECORDS: {
        const struct bytes *x = (const void *)a;
        const struct bytes *y = (const void *)b;
        same = (x->data == NULL) == (y->data == NULL) && bytes_equal(*x, *y);
        break;
    }
    case FIELD_STRUCT:
        return struct_difference(field->shape, a, b);
    default:
        same = memcmp(a, b, field_element_size(field)) == 0;
    }
    return same ? NULL : field->name;
}

static inline const char *field_difference(const struct field *field, const uint8_t *a,
                                           const uint8_t *b)
{
    if ((field->flags & FIELD_ARRAY) == 0 && !field_is_pointer(field)) {
        return value_difference(field, a + field->offset, b + field->offset);
    }
    const uint8_t *x = *(uint8_t *const *)(const void *)(a + field->offset);
    const uint8_t *y = *(uint8_t *const *)(const void *)(b + field->offset);
    if ((field->flags & FIELD_ARRAY) != 0) {
        int32_t n = *(const int32_t *)(const void *)(a + field->count_offset);
        if (n != *(const int32_t *)(const void *)(b + field->count_offset)) {
            return field->name;
        }
        const char *difference = NULL;
        size_t size = field_element_size(field);
        for (int32_t i = 0; i < n && difference == NULL; i++) {
            difference = value_difference(field, x + (size_t)i * size, y + (size_t)i * size);
        }
        return difference;
    }
    if ((x == NULL) != (y == NULL)) {
        return field->name;
    }
    return x == NULL ? NULL : struct_difference(field->shape, x, y);
}

static const char *struct_difference(const struct shape *shape, const uint8_t *a, const uint8_t *b)
{
    const char *difference = NULL;
    for (size_t i = 0; i < shape->fields_n && difference == NULL; i++) {
        difference = field_difference(&shape->fields[i], a, b);
    }
    for (size_t i = 0; i < shape->tagged_n && difference == NULL; i++) {
        difference = field_difference(&shape->tagged[i], a, b);
    }
    return difference;
}

#endif
