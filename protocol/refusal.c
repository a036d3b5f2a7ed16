/* Goes over the tables of two messages side by side, of the request and of the answer. Texts are copied, since an answer
 * may outlive the frame of its request. */
#include "protocol/refusal.h"

#include "protocol/table.h"

#include <string.h>

/* ---- fields ---- */

static const struct field *field_named(const struct shape *shape, int version, const char *name)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        if (field_in_version(&shape->fields[i], version) &&
            strcmp(shape->fields[i].name, name) == 0) {
            return &shape->fields[i];
        }
    }
    return NULL;
}

static bool is_number(uint8_t type)
{
    return type == FIELD_INT8 || type == FIELD_INT16 || type == FIELD_INT32 || type == FIELD_INT64;
}

static void view(const struct field *field, uint8_t *in, struct message_array *array)
{
    array->shape = field->shape;
    array->size = field_element_size(field);
    array->count_at = (int32_t *)(void *)(in + field->count_offset);
    array->elements_at = (void **)(void *)(in + field->offset);
    array->count = *array->count_at;
    array->elements = *array->elements_at;
}

bool message_array_of(const struct message *message, int version, void *in, const char *name,
                      struct message_array *array)
{
    const struct field *field = field_named(message->shape, version, name);
    if (field == NULL) {
        return false;
    }
    CHECK((field->flags & FIELD_ARRAY) != 0);
    view(field, in, array);
    return true;
}

static struct str text_at(const uint8_t *at)
{
    struct str text;
    memcpy(&text, at, sizeof(text));
    return text;
}

bool message_text_of(const struct message *message, int version, const void *in, const char *name,
                     struct str *text)
{
    const struct field *field = field_named(message->shape, version, name);
    if (field == NULL) {
        return false;
    }
    CHECK(field->type == FIELD_STRING && (field->flags & FIELD_ARRAY) == 0);
    *text = text_at((const uint8_t *)in + field->offset);
    return true;
}

struct str message_element_text(const struct message_array *array, int32_t at, const char *name)
{
    const uint8_t *element = array->elements + (size_t)at * array->size;
    if (array->shape == NULL) {
        return text_at(element);
    }
    for (size_t i = 0; i < array->shape->fields_n; i++) {
        if (strcmp(array->shape->fields[i].name, name) == 0) {
            return text_at(element + array->shape->fields[i].offset);
        }
    }
    CHECK(false); /* an element's name is a field of it */
    return (struct str){0};
}

static int64_t number_at(uint8_t type, const uint8_t *at)
{
    int8_t i8 = 0;
    int16_t i16 = 0;
    int32_t i32 = 0;
    int64_t i64 = 0;
    switch (type) {
    case FIELD_INT8:
        memcpy(&i8, at, sizeof(i8));
        return i8;
    case FIELD_INT16:
        memcpy(&i16, at, sizeof(i16));
        return i16;
    case FIELD_INT32:
        memcpy(&i32, at, sizeof(i32));
        return i32;
    default:
        memcpy(&i64, at, sizeof(i64));
        return i64;
    }
}

int64_t message_element_number(const struct message_array *array, int32_t at)
{
    const struct field *first = array->shape == NULL ? NULL : &array->shape->fields[0];
    return first == NULL || !is_number(first->type)
               ? 0
               : number_at(first->type, array->elements + (size_t)at * array->size + first->offset);
}

/* ---- the answer's side ---- */

static bool is_plain(const struct field *field, uint8_t type)
{
    return field->type == type && (field->flags & (FIELD_ARRAY | FIELD_ERROR)) == 0;
}

static bool is_message(const struct field *field)
{
    return strcmp(field->name, "error_message") == 0;
}

static bool has_error(const struct shape *shape, int version)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        if ((shape->fields[i].flags & FIELD_ERROR) != 0 &&
            field_in_version(&shape->fields[i], version)) {
            return true;
        }
    }
    return false;
}

/* The array of structs that have errors, or whose own arrays have. */
static const struct field *array_with_errors(const struct shape *shape, int version)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        bool structs = (field->flags & FIELD_ARRAY) != 0 && field->type == FIELD_STRUCT;
        if (structs && field_in_version(field, version) &&
            (has_error(field->shape, version) ||
             array_with_errors(field->shape, version) != NULL)) {
            return field;
        }
    }
    return NULL;
}

static const struct field *first_array(const struct shape *shape, int version)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        if ((shape->fields[i].flags & FIELD_ARRAY) != 0 &&
            field_in_version(&shape->fields[i], version)) {
            return &shape->fields[i];
        }
    }
    return NULL;
}

static void set_errors_in(const struct field *fields, size_t fields_n, uint8_t *out,
                          const struct refusal *refusal)
{
    for (size_t i = 0; i < fields_n; i++) {
        if ((fields[i].flags & FIELD_ERROR) != 0) {
            memcpy(out + fields[i].offset, &refusal->error, sizeof(refusal->error));
        } else if (is_plain(&fields[i], FIELD_STRING) && is_message(&fields[i])) {
            memcpy(out + fields[i].offset, &refusal->message, sizeof(refusal->message));
        }
    }
}

static void set_errors(const struct shape *shape, uint8_t *out, const struct refusal *refusal)
{
    set_errors_in(shape->fields, shape->fields_n, out, refusal);
    set_errors_in(shape->tagged, shape->tagged_n, out, refusal);
}

/* Into the first field of that type. */
static err put(const struct shape *to, uint8_t *out, uint8_t type, const uint8_t *from, size_t size,
               struct arena *arena)
{
    for (size_t i = 0; i < to->fields_n; i++) {
        if (!is_plain(&to->fields[i], type) || is_message(&to->fields[i])) {
            continue;
        }
        if (type == FIELD_STRING) {
            struct str text = text_at(from);
            struct str copy = arena_str(arena, text);
            memcpy(out + to->fields[i].offset, &copy, sizeof(copy));
            return copy.data == NULL && text.data != NULL ? E_LIMIT : OK;
        }
        memcpy(out + to->fields[i].offset, from, size);
        return OK;
    }
    return OK;
}

/* Its first field, and its first text. */
static err put_names(const struct shape *from, const uint8_t *in, const struct shape *to,
                     uint8_t *out, struct arena *arena)
{
    bool named = false;
    for (size_t i = 0; i < from->fields_n; i++) {
        const struct field *field = &from->fields[i];
        bool text = is_plain(field, FIELD_STRING);
        bool first = i == 0 && (is_number(field->type) || field->type == FIELD_UUID);
        if ((text && !named) || first) {
            TRY(put(to, out, field->type, in + field->offset, field_element_size(field), arena));
        }
        named |= text;
    }
    return OK;
}

static err refuse_inside(const struct field *request, uint8_t *in, const struct field *response,
                         uint8_t *out, int version, const struct refusal *refusal,
                         struct arena *arena);

/* Its elements are named alike, and have no errors. */
static err echo(const struct shape *from, uint8_t *in, const struct shape *to, uint8_t *out,
                int version, const char *name, struct arena *arena)
{
    struct message_array asked;
    struct message_array told;
    view(field_named(from, version, name), in, &asked);
    view(field_named(to, version, name), out, &told);
    uint8_t *elements = arena_array(arena, asked.count < 0 ? 0 : (size_t)asked.count, told.size);
    if (elements == NULL) {
        return E_LIMIT;
    }
    for (int32_t i = 0; i < asked.count; i++) {
        const uint8_t *element = asked.elements + (size_t)i * asked.size;
        memcpy(elements + (size_t)i * told.size, told.shape->defaults, told.size);
        for (size_t f = 0; f < told.shape->fields_n; f++) {
            const struct field *field = &told.shape->fields[f];
            const struct field *same = field_named(asked.shape, version, field->name);
            CHECK(same != NULL && is_plain(field, FIELD_STRING) && is_plain(same, FIELD_STRING));
            struct str copy = arena_str(arena, text_at(element + same->offset));
            memcpy(elements + (size_t)i * told.size + field->offset, &copy, sizeof(copy));
        }
    }
    *told.elements_at = elements;
    *told.count_at = asked.count;
    return OK;
}

/* One element of the request, or an element's type when `from` is NULL. */
static err refuse_element(const struct message_array *array, uint8_t type, int32_t at,
                          const struct shape *to, uint8_t *out, int version,
                          const struct refusal *refusal, struct arena *arena)
{
    uint8_t *in = array->elements + (size_t)at * array->size;
    memcpy(out, to->defaults, to->size);
    set_errors(to, out, refusal);
    if (array->shape == NULL) {
        return put(to, out, type, in, array->size, arena);
    }
    TRY(put_names(array->shape, in, to, out, arena));
    if (refusal->echoed != NULL) {
        return echo(array->shape, in, to, out, version, refusal->echoed, arena);
    }
    const struct field *inside = array_with_errors(to, version);
    if (inside == NULL || has_error(to, version)) {
        return OK;
    }
    return refuse_inside(first_array(array->shape, version), in, inside, out, version, refusal,
                         arena);
}

static err refuse_inside(const struct field *request, uint8_t *in, const struct field *response,
                         uint8_t *out, int version, const struct refusal *refusal,
                         struct arena *arena)
{
    struct message_array from;
    struct message_array to;
    CHECK(request != NULL);
    view(request, in, &from);
    view(response, out, &to);
    if (from.count <= 0) {
        return OK;
    }
    uint8_t *elements = arena_array(arena, (size_t)(to.count + from.count), to.size);
    if (elements == NULL) {
        return E_LIMIT;
    }
    if (to.count > 0) {
        memcpy(elements, to.elements, (size_t)to.count * to.size);
    }
    *to.elements_at = elements;
    for (int32_t i = 0; i < from.count; i++) {
        TRY(refuse_element(&from, request->type, i, to.shape,
                           elements + (size_t)(to.count + i) * to.size, version, refusal, arena));
    }
    *to.count_at = to.count + from.count;
    return OK;
}

static err refuse_flat(const struct field *asked, uint8_t *in, const struct field *answers,
                       uint8_t *out, int version, const struct refusal *refusal,
                       struct arena *arena)
{
    struct message_array outer;
    view(asked, in, &outer);
    for (int32_t i = 0; i < outer.count; i++) {
        TRY(refuse_inside(first_array(outer.shape, version),
                          outer.elements + (size_t)i * outer.size, answers, out, version, refusal,
                          arena));
    }
    return OK;
}

err message_refuse(const struct message *request, const struct message *response, int version,
                   const void *in, void *out, const struct refusal *refusal, struct arena *arena)
{
    uint8_t *request_in = (uint8_t *)(uintptr_t)in;
    set_errors(response->shape, out, refusal);
    const struct field *answers = array_with_errors(response->shape, version);
    if (answers == NULL || (has_error(response->shape, version) && !refusal->inside)) {
        return OK;
    }
    for (size_t i = 0; i < request->shape->fields_n; i++) {
        const struct field *asked = &request->shape->fields[i];
        if ((asked->flags & FIELD_ARRAY) != 0 && field_in_version(asked, version)) {
            TRY(refusal->flat
                    ? refuse_flat(asked, request_in, answers, out, version, refusal, arena)
                    : refuse_inside(asked, request_in, answers, out, version, refusal, arena));
        }
    }
    return OK;
}

/* ---- some of them ---- */

err refused_init(const struct message *response, int version, int32_t room, struct refused *refused,
                 struct arena *arena)
{
    const struct field *answers = array_with_errors(response->shape, version);
    CHECK(answers != NULL);
    *refused = (struct refused){.shape = answers->shape, .room = room};
    refused->elements = arena_array(arena, (size_t)room, answers->shape->size);
    return refused->elements == NULL ? E_LIMIT : OK;
}

err refused_add(struct refused *refused, int version, const struct message_array *array, int32_t at,
                const struct refusal *refusal, struct arena *arena)
{
    CHECK(refused->count < refused->room);
    uint8_t *out = refused->elements + (size_t)refused->count * refused->shape->size;
    TRY(refuse_element(array, FIELD_STRING, at, refused->shape, out, version, refusal, arena));
    refused->count++;
    return OK;
}

bool message_has_error(const struct message *response, int version)
{
    return has_error(response->shape, version);
}

static bool is_error(const struct shape *shape, int version, const uint8_t *out)
{
    int16_t code = 0;
    for (size_t i = 0; i < shape->fields_n && code == 0; i++) {
        if ((shape->fields[i].flags & FIELD_ERROR) != 0 &&
            field_in_version(&shape->fields[i], version)) {
            memcpy(&code, out + shape->fields[i].offset, sizeof(code));
        }
    }
    return code != 0;
}

err refused_append(const struct refused *refused, const struct message *response, int version,
                   void *out, struct arena *arena)
{
    struct message_array array;
    if (is_error(response->shape, version, out)) {
        return OK;
    }
    view(array_with_errors(response->shape, version), out, &array);
    int32_t there = array.count < 0 ? 0 : array.count;
    uint8_t *all = arena_array(arena, (size_t)(there + refused->count), array.size);
    if (all == NULL) {
        return E_LIMIT;
    }
    if (there > 0) {
        memcpy(all, array.elements, (size_t)there * array.size);
    }
    memcpy(all + (size_t)there * array.size, refused->elements,
           (size_t)refused->count * array.size);
    *array.elements_at = all;
    *array.count_at = there + refused->count;
    return OK;
}
