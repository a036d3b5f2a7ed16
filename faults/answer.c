/* Built by the tables: the array of the answer takes its elements from the array of the request that has the same name,
 * or from the first one that is not empty (keys become coordinators), and each element what has the same name. Where the
 * request lists plain numbers or texts they are the first field of that type. Arrays in which nothing can carry an error
 * stay empty.
 *
 * An answer to Metadata without brokers would leave a client with nobody to ask again. So the handler answers first, as
 * if no topic had been asked for, and the topics are added. */
#define _GNU_SOURCE
#include "faults/answer.h"

#include "broker/api/api.h"
#include "broker/broker.h"
#include "broker/cluster/metadata.h"
#include "faults/fields.h"

#include <string.h>

enum { UNKNOWN_SERVER = ERR_UNKNOWN_SERVER_ERROR };

struct answering {
    struct req *r;
    int16_t code;
    int set; /* fields that say it */
};

static bool may_carry(const struct field *field, int16_t code)
{
    if ((field->flags & FIELD_ERROR) == 0 ||
        strcmp(field->name, "topic_config_error_code") == 0) { /* not of what was asked */
        return false;
    }
    for (size_t i = 0; field->errors != NULL && i < field->errors->count; i++) {
        if (field->errors->codes[i] == code) {
            return true;
        }
    }
    return field->errors == NULL || code == UNKNOWN_SERVER;
}

/* In any version where `version` is -1. */
static bool shape_may_carry(const struct shape *shape, int version, int16_t code)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        if (version >= 0 && !field_in_version(field, version)) {
            continue;
        }
        if (may_carry(field, code) ||
            (field->type == FIELD_STRUCT && shape_may_carry(field->shape, version, code))) {
            return true;
        }
    }
    return false;
}

bool answer_may_say(const struct api_schema *api, int16_t code)
{
    return shape_may_carry(api->response->shape, -1, code);
}

/* ---- what the elements of an array are made from ---- */

static const struct field *source_of(const struct answering *a, const struct field *array,
                                     const struct shape *from, const uint8_t *in)
{
    const struct field *first = NULL;
    shape_each (field, from, a->r->version) {
        if ((field->flags & FIELD_ARRAY) == 0) {
            continue;
        }
        if (strcmp(field->name, array->name) == 0) {
            return field;
        }
        if (first == NULL && field_elements(field, in).count > 0) {
            first = field;
        }
    }
    return first;
}

static void copy(const struct field *to, uint8_t *out, const uint8_t *value)
{
    memcpy(out + to->offset, value, field_element_size(to));
}

/* The fields of a struct of the request that the answer has too. */
static void copy_same(const struct answering *a, const struct shape *shape, uint8_t *out,
                      const struct shape *from, const uint8_t *in)
{
    shape_each (to, shape, a->r->version) {
        if ((to->flags & (FIELD_ARRAY | FIELD_ERROR)) != 0 || to->type == FIELD_STRUCT) {
            continue;
        }
        shape_each (field, from, a->r->version) {
            if (field_same(to, field)) {
                copy(to, out, in + field->offset);
                break;
            }
        }
    }
}

static void copy_plain(const struct answering *a, const struct shape *shape, uint8_t *out,
                       const struct field *list, const uint8_t *value)
{
    shape_each (to, shape, a->r->version) {
        if (to->type == list->type && (to->flags & (FIELD_ARRAY | FIELD_ERROR)) == 0) {
            copy(to, out, value);
            return;
        }
    }
}

static void fill(struct answering *a, const struct shape *shape, uint8_t *out,
                 const struct shape *from, const uint8_t *in);

static void fill_array(struct answering *a, const struct field *array, uint8_t *out,
                       const struct shape *from, const uint8_t *in)
{
    const struct field *source = source_of(a, array, from, in);
    struct elements asked = source == NULL ? (struct elements){0} : field_elements(source, in);
    size_t size = array->shape->size;
    uint8_t *made = asked.count == 0 ? NULL : req_array(a->r, asked.count, size);
    if (made == NULL) {
        return;
    }
    for (int32_t i = 0; i < asked.count; i++) {
        const uint8_t *element = asked.data + (size_t)i * field_element_size(source);
        uint8_t *to = made + (size_t)i * size;
        memcpy(to, array->shape->defaults, size);
        if (source->type == FIELD_STRUCT) {
            copy_same(a, array->shape, to, source->shape, element);
            fill(a, array->shape, to, source->shape, element);
        } else {
            static const struct shape NOTHING = {.name = "nothing"};
            copy_plain(a, array->shape, to, source, element);
            fill(a, array->shape, to, &NOTHING, element);
        }
    }
    memcpy(out + array->offset, &made, sizeof(made));
    memcpy(out + array->count_offset, &asked.count, sizeof(asked.count));
}

/* An error of the whole stands alone: below it nothing was asked any more. */
static bool fill_own(struct answering *a, const struct shape *shape, uint8_t *out)
{
    shape_each (field, shape, a->r->version) {
        if (may_carry(field, a->code)) {
            memcpy(out + field->offset, &a->code, sizeof(a->code));
            a->set++;
            return true;
        }
    }
    return false;
}

static void fill(struct answering *a, const struct shape *shape, uint8_t *out,
                 const struct shape *from, const uint8_t *in)
{
    if (fill_own(a, shape, out)) {
        return;
    }
    shape_each (field, shape, a->r->version) {
        if ((field->flags & FIELD_ARRAY) != 0 && field->type == FIELD_STRUCT &&
            shape_may_carry(field->shape, a->r->version, a->code)) {
            fill_array(a, field, out, from, in);
        }
    }
}

/* ---- the whole ---- */

static bool knows_brokers(const struct req *r)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool knows = metadata->brokers_n > 0;
    metadata_release(metadata);
    return knows;
}

static bool begin_metadata(struct req *r)
{
    struct metadata_request none;
    metadata_request_init(&none);
    none.topics_n = 0;
    if (r->version < 1 || !knows_brokers(r)) {
        return false; /* in version 0 no topics mean all */
    }
    const void *in = r->in;
    r->in = &none;
    enum req_status status = api_handle(r);
    r->in = in;
    CHECK(status != REQ_PARKED); /* it waits for nothing but the first brokers */
    return status == REQ_DONE;
}

bool answer_with(struct req *r, int16_t code)
{
    struct answering a = {.r = r, .code = code};
    const struct message *message = r->schema->response;
    void *out = req_alloc(r, message->shape->size);
    if (out == NULL) {
        return false;
    }
    message_init(message, out);
    fill(&a, message->shape, out, r->schema->request->shape, r->in);
    if (a.set == 0) {
        return false;
    }
    if (r->schema->key == API_METADATA) {
        struct metadata_response *topics = out;
        struct metadata_response *whole = r->out;
        if (!begin_metadata(r)) {
            return false;
        }
        whole->topics = topics->topics;
        whole->topics_n = topics->topics_n;
        return true;
    }
    r->out = out;
    return true;
}
