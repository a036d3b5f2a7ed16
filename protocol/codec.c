/* The walker: decodes, encodes and sizes any message of any version from its table (table.h).
 *
 * Rules of the format, as Kafka 3.9 reads and writes it:
 * - Flexible versions: lengths and counts are unsigned varints of the value plus one (0 is null),
 *   and each struct ends with a section of tagged fields. Others: int16 for strings, int32 for the
 *   rest, -1 is null.
 * - A negative length is null where null is allowed, and malformed elsewhere.
 * - A nullable struct begins with an int8, negative for null.
 * - Unknown tags are skipped and never stored. Of a known tag that comes twice the last one counts.
 *   Its size is bounded by the input and otherwise ignored.
 * - Tagged fields are written when they differ from their default, ascending by tag.
 *
 * Memory: a count is believed only if the bytes left could hold that many elements of their least
 * size, and the arena has a cap; so no input makes a decoder allocate without bound.
 *
 * The order of the checks in decode_struct is for the hot path: one compare of the version per
 * field, no call for a field that is not there. A reader that failed yields zeros and empty arrays,
 * so only loops look at it. */
#include "protocol/table.h"

#include "base/log.h"
#include "base/utf8.h"
#include "protocol/error.h"
#include "protocol/messages.h"

enum { STRING_BYTES_MAX = 32767 };

/* ---- decoding ---- */

struct decoder {
    struct reader *reader;
    struct arena *arena;
    int version;
    bool flexible;
    bool limit; /* the arena is full */
};

static void decode_struct(struct decoder *d, const struct shape *shape, uint8_t *out);

static void *decoder_alloc(struct decoder *d, size_t count, size_t size)
{
    void *memory = arena_array(d->arena, count, size);
    if (memory == NULL) {
        d->limit = true;
        d->reader->failed = true;
    }
    return memory;
}

/* A length or count; -1 for null, which fails the input where it is not allowed. */
static int32_t decode_length(struct decoder *d, bool nullable, bool compact)
{
    int32_t length = compact ? (int32_t)(reader_uvarint(d->reader) - 1U) : reader_i32(d->reader);
    if (length < 0) {
        d->reader->failed |= !nullable;
        return -1;
    }
    return length;
}

static struct str decode_string(struct decoder *d, bool nullable, bool compact)
{
    int32_t length =
        compact ? (int32_t)(reader_uvarint(d->reader) - 1U) : (int32_t)reader_i16(d->reader);
    if (length < 0 || length > STRING_BYTES_MAX) {
        d->reader->failed |= length > 0 || !nullable;
        return (struct str){0};
    }
    const uint8_t *at = reader_take(d->reader, (size_t)length);
    struct str text = {.data = (const char *)at, .len = at == NULL ? 0 : (size_t)length};
    if (at != NULL && !utf8_clean(&text, d->arena)) {
        d->limit = true;
        d->reader->failed = true;
    }
    return text;
}

static struct bytes decode_bytes(struct decoder *d, bool nullable)
{
    int32_t length = decode_length(d, nullable, d->flexible);
    return length < 0 ? (struct bytes){0} : reader_bytes(d->reader, (size_t)length);
}

/* One value that is no array. */
static inline void decode_value(struct decoder *d, const struct field *field, uint8_t *at)
{
    struct reader *r = d->reader;
    switch (field->type) {
    case FIELD_INT8:
        *(int8_t *)at = reader_i8(r);
        break;
    case FIELD_INT16:
        *(int16_t *)(void *)at = reader_i16(r);
        break;
    case FIELD_INT32:
        *(int32_t *)(void *)at = reader_i32(r);
        break;
    case FIELD_INT64:
        *(int64_t *)(void *)at = reader_i64(r);
        break;
    case FIELD_BOOL:
        *(bool *)at = reader_i8(r) != 0;
        break;
    case FIELD_FLOAT64: {
        int64_t bits = reader_i64(r);
        memcpy(at, &bits, sizeof(bits));
        break;
    }
    case FIELD_UUID: {
        const uint8_t *id = reader_take(r, sizeof(struct uuid));
        if (id != NULL) {
            memcpy(at, id, sizeof(struct uuid));
        }
        break;
    }
    case FIELD_STRING:
        *(struct str *)(void *)at =
            decode_string(d, field_is_nullable(field, d->version),
                          d->flexible && (field->flags & FIELD_INFLEXIBLE) == 0);
        break;
    case FIELD_BYTES:
        *(struct bytes *)(void *)at = decode_bytes(d, field_is_nullable(field, d->version));
        break;
    case FIELD_RECORDS:
        *(struct records *)(void *)at =
            (struct records){.data = decode_bytes(d, field_is_nullable(field, d->version))};
        break;
    default:
        decode_struct(d, field->shape, at);
    }
}

static size_t wire_size_min(const struct field *field, const struct decoder *d)
{
    switch (field->type) {
    case FIELD_STRING:
        return d->flexible ? 1 : 2;
    case FIELD_BYTES:
    case FIELD_RECORDS:
        return d->flexible ? 1 : 4;
    case FIELD_STRUCT:
        return field->shape->size_min[d->version] == 0 ? 1 : field->shape->size_min[d->version];
    default:
        return field_element_size(field);
    }
}

static void decode_array(struct decoder *d, const struct field *field, uint8_t *out)
{
    int32_t *count = (int32_t *)(void *)(out + field->count_offset);
    uint8_t **items = (uint8_t **)(void *)(out + field->offset);
    *items = NULL;
    *count = decode_length(d, field_is_nullable(field, d->version), d->flexible);
    if (*count <= 0) {
        return;
    }
    if ((size_t)*count > reader_left(d->reader) / wire_size_min(field, d)) {
        d->reader->failed = true;
        *count = 0;
        return;
    }
    size_t size = field_element_size(field);
    *items = decoder_alloc(d, (size_t)*count, size);
    if (*items == NULL) {
        *count = 0;
        return;
    }
    for (int32_t i = 0; i < *count && !d->reader->failed; i++) {
        decode_value(d, field, *items + (size_t)i * size);
    }
}

static void decode_pointer(struct decoder *d, const struct field *field, uint8_t *at)
{
    void **pointer = (void **)(void *)at;
    *pointer = NULL;
    if (field_is_nullable(field, d->version) && reader_i8(d->reader) < 0) {
        return;
    }
    *pointer = decoder_alloc(d, 1, field->shape->size);
    if (*pointer != NULL) {
        decode_struct(d, field->shape, *pointer);
    }
}

static void decode_field(struct decoder *d, const struct field *field, uint8_t *out)
{
    if ((field->flags & FIELD_ARRAY) != 0) {
        decode_array(d, field, out);
    } else if (field_is_pointer(field)) {
        decode_pointer(d, field, out + field->offset);
    } else {
        decode_value(d, field, out + field->offset);
    }
}

static const struct field *tagged_field(const struct shape *shape, uint32_t tag, int version)
{
    for (size_t i = 0; i < shape->tagged_n; i++) {
        if ((uint32_t)shape->tagged[i].tag == tag && field_in_version(&shape->tagged[i], version)) {
            return &shape->tagged[i];
        }
    }
    return NULL;
}

static void decode_tags(struct decoder *d, const struct shape *shape, uint8_t *out)
{
    uint32_t count = reader_uvarint(d->reader);
    for (uint32_t i = 0; i < count && !d->reader->failed; i++) {
        uint32_t tag = reader_uvarint(d->reader);
        uint32_t size = reader_uvarint(d->reader);
        const struct field *field = tagged_field(shape, tag, d->version);
        if (field == NULL) {
            (void)reader_take(d->reader, size);
        } else if (size > reader_left(d->reader)) {
            d->reader->failed = true;
        } else {
            decode_field(d, field, out);
        }
    }
}

static void decode_struct(struct decoder *d, const struct shape *shape, uint8_t *out)
{
    memcpy(out, shape->defaults, shape->size);
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        if (field_in_version(field, d->version)) {
            decode_field(d, field, out);
        }
    }
    if (d->flexible) {
        decode_tags(d, shape, out);
    }
}

err message_decode(const struct message *message, int version, struct reader *reader,
                   struct arena *arena, void *out)
{
    CHECK(version >= message->version_min && version <= message->version_max);
    struct decoder d = {.reader = reader,
                        .arena = arena,
                        .version = version,
                        .flexible = version >= message->flexible_min};
    decode_struct(&d, message->shape, out);
    if (d.limit) {
        return E_LIMIT;
    }
    return reader->failed ? E_MALFORMED : OK;
}

/* ---- defaults ---- */

static bool struct_is_default(const struct shape *shape, const uint8_t *in);

bool field_is_default(const struct shape *shape, const struct field *field, const uint8_t *in)
{
    const uint8_t *at = in + field->offset;
    const uint8_t *fallback = (const uint8_t *)shape->defaults + field->offset;
    if ((field->flags & FIELD_ARRAY) != 0) {
        return memcmp(in + field->count_offset,
                      (const uint8_t *)shape->defaults + field->count_offset, sizeof(int32_t)) == 0;
    }
    switch (field->type) {
    case FIELD_STRING:
        return str_equal(*(const struct str *)(const void *)at,
                         *(const struct str *)(const void *)fallback);
    case FIELD_BYTES: {
        struct bytes a = *(const struct bytes *)(const void *)at;
        struct bytes b = *(const struct bytes *)(const void *)fallback;
        return (a.data == NULL) == (b.data == NULL) && bytes_equal(a, b);
    }
    case FIELD_RECORDS: {
        const struct records *records = (const void *)at;
        return records->data.data == NULL && records->file == NULL;
    }
    case FIELD_STRUCT:
        if (field_is_pointer(field)) {
            return *(void *const *)(const void *)at == NULL;
        }
        /* Nearly always untouched: three of them are in each partition of a Fetch response. */
        return memcmp(at, field->shape->defaults, field->shape->size) == 0 ||
               struct_is_default(field->shape, at);
    default:
        return memcmp(at, fallback, field_element_size(field)) == 0;
    }
}

static bool struct_is_default(const struct shape *shape, const uint8_t *in)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        if (!field_is_default(shape, &shape->fields[i], in)) {
            return false;
        }
    }
    for (size_t i = 0; i < shape->tagged_n; i++) {
        if (!field_is_default(shape, &shape->tagged[i], in)) {
            return false;
        }
    }
    return true;
}

/* ---- sizes ---- */

struct walk {
    int version;
    bool flexible;
};

static size_t struct_size(struct walk k, const struct shape *shape, const uint8_t *in);

static size_t length_size(struct walk k, size_t length)
{
    return k.flexible ? uvarint_size((uint32_t)length + 1) : sizeof(int32_t);
}

static size_t value_size(struct walk k, const struct field *field, const uint8_t *at)
{
    switch (field->type) {
    case FIELD_STRING: {
        struct str text = *(const struct str *)(const void *)at;
        if (!k.flexible || (field->flags & FIELD_INFLEXIBLE) != 0) {
            return sizeof(int16_t) + text.len;
        }
        return text.data == NULL ? 1 : length_size(k, text.len) + text.len;
    }
    case FIELD_BYTES: {
        struct bytes bytes = *(const struct bytes *)(const void *)at;
        return bytes.data == NULL ? length_size(k, (size_t)-1)
                                  : length_size(k, bytes.len) + bytes.len;
    }
    case FIELD_RECORDS: {
        const struct records *records = (const void *)at;
        bool null = records->data.data == NULL && records->file == NULL;
        return null ? length_size(k, (size_t)-1)
                    : length_size(k, records->data.len) + records->data.len;
    }
    case FIELD_STRUCT:
        return struct_size(k, field->shape, at);
    case FIELD_BOOL:
        return 1;
    default:
        return field_element_size(field);
    }
}

static size_t array_size(struct walk k, const struct field *field, const uint8_t *in)
{
    int32_t count = *(const int32_t *)(const void *)(in + field->count_offset);
    if (count < 0) {
        return length_size(k, (size_t)-1);
    }
    const uint8_t *items = *(uint8_t *const *)(const void *)(in + field->offset);
    size_t total = length_size(k, (size_t)count);
    size_t size = field_element_size(field);
    for (int32_t i = 0; i < count; i++) {
        total += value_size(k, field, items + (size_t)i * size);
    }
    return total;
}

static size_t field_size(struct walk k, const struct field *field, const uint8_t *in)
{
    if ((field->flags & FIELD_ARRAY) != 0) {
        return array_size(k, field, in);
    }
    if (!field_is_pointer(field)) {
        return value_size(k, field, in + field->offset);
    }
    const uint8_t *pointed = *(uint8_t *const *)(const void *)(in + field->offset);
    return 1 + (pointed == NULL ? 0 : struct_size(k, field->shape, pointed));
}

/* Which tagged fields are written; a bit for each row of shape->tagged. */
static uint32_t tags_present(struct walk k, const struct shape *shape, const uint8_t *in)
{
    CHECK(shape->tagged_n <= 32);
    uint32_t present = 0;
    for (size_t i = 0; i < shape->tagged_n; i++) {
        if (field_in_version(&shape->tagged[i], k.version) &&
            !field_is_default(shape, &shape->tagged[i], in)) {
            present |= 1U << i;
        }
    }
    return present;
}

static size_t tags_size(struct walk k, const struct shape *shape, const uint8_t *in)
{
    uint32_t present = tags_present(k, shape, in);
    size_t total = uvarint_size((uint32_t)__builtin_popcount(present));
    for (size_t i = 0; i < shape->tagged_n; i++) {
        if ((present & 1U << i) != 0) {
            size_t size = field_size(k, &shape->tagged[i], in);
            total +=
                uvarint_size((uint32_t)shape->tagged[i].tag) + uvarint_size((uint32_t)size) + size;
        }
    }
    return total;
}

static size_t struct_size(struct walk k, const struct shape *shape, const uint8_t *in)
{
    size_t total = k.flexible ? tags_size(k, shape, in) : 0;
    for (size_t i = 0; i < shape->fields_n; i++) {
        if (field_in_version(&shape->fields[i], k.version)) {
            total += field_size(k, &shape->fields[i], in);
        }
    }
    return total;
}

size_t message_size(const struct message *message, int version, const void *in)
{
    CHECK(version >= message->version_min && version <= message->version_max);
    struct walk k = {.version = version, .flexible = version >= message->flexible_min};
    return struct_size(k, message->shape, in);
}

/* ---- encoding ---- */

struct encoder {
    struct writer *writer;
    struct walk walk;
    struct error_counts *errors; /* NULL: nobody counts */
    bool malformed;
};

static void encode_struct(struct encoder *c, const struct shape *shape, const uint8_t *in);

#ifdef OTTLA_CHECK_ERRORS
/* Debug builds: a field carries no code that the schema does not list. */
static void check_code(const struct field *field, int16_t code)
{
    if (field->errors == NULL || code == OK || code == ERR_UNKNOWN_SERVER_ERROR ||
        code == ERR_ILLEGAL_SASL_STATE) { /* any request may come between the steps of a login */
        return;
    }
    bool listed = false;
    for (size_t i = 0; i < field->errors->count; i++) {
        listed |= field->errors->codes[i] == code;
    }
    if (!listed) {
        log_fatal("protocol", "error code is not in the schema's list field=%s code=%s",
                  field->name, kafka_error_name(code));
    }
    CHECK(listed);
}
#else
static void check_code(const struct field *field, int16_t code)
{
    (void)field;
    (void)code;
}
#endif

static void count_error(struct error_counts *errors, int16_t code)
{
    if (code >= -1 && code + 1 < ERROR_CODES_N) {
        _Atomic uint64_t *count = &errors->by_code[code + 1];
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
}

/* The length of what follows, or null. */
static void encode_length(struct encoder *c, const struct field *field, bool null, size_t length)
{
    if (null && !field_is_nullable(field, c->walk.version)) {
        c->malformed = true;
    }
    if (length >= INT32_MAX) {
        c->writer->failed = true;
    }
    if (c->walk.flexible) {
        writer_uvarint(c->writer, null ? 0 : (uint32_t)length + 1);
    } else {
        writer_i32(c->writer, null ? -1 : (int32_t)length);
    }
}

static void encode_string(struct encoder *c, const struct field *field, struct str text)
{
    bool null = text.data == NULL;
    if (text.len > STRING_BYTES_MAX) {
        c->malformed = true;
        return;
    }
    if (c->walk.flexible && (field->flags & FIELD_INFLEXIBLE) == 0) {
        encode_length(c, field, null, text.len);
    } else {
        c->malformed |= null && !field_is_nullable(field, c->walk.version);
        writer_i16(c->writer, (int16_t)(null ? -1 : (int16_t)text.len));
    }
    writer_bytes(c->writer, text.data, text.len);
}

static void encode_records(struct encoder *c, const struct field *field,
                           const struct records *records)
{
    bool null = records->data.data == NULL && records->file == NULL;
    encode_length(c, field, null, records->data.len);
    if (records->file == NULL) {
        writer_bytes(c->writer, records->data.data, records->data.len);
    } else if (records->data.len > 0) {
        writer_splice(c->writer, records->file, records->position, records->data.len);
    }
}

static inline void encode_value(struct encoder *c, const struct field *field, const uint8_t *at)
{
    struct writer *w = c->writer;
    switch (field->type) {
    case FIELD_INT8:
        writer_i8(w, *(const int8_t *)at);
        break;
    case FIELD_INT16: {
        int16_t value = *(const int16_t *)(const void *)at;
        check_code(field, value);
        if (c->errors != NULL && (field->flags & FIELD_ERROR) != 0) {
            count_error(c->errors, value);
        }
        writer_i16(w, value);
        break;
    }
    case FIELD_INT32:
        writer_i32(w, *(const int32_t *)(const void *)at);
        break;
    case FIELD_INT64:
        writer_i64(w, *(const int64_t *)(const void *)at);
        break;
    case FIELD_BOOL:
        writer_i8(w, *(const bool *)at);
        break;
    case FIELD_FLOAT64: {
        int64_t bits = 0;
        memcpy(&bits, at, sizeof(bits));
        writer_i64(w, bits);
        break;
    }
    case FIELD_UUID:
        writer_bytes(w, at, sizeof(struct uuid));
        break;
    case FIELD_STRING:
        encode_string(c, field, *(const struct str *)(const void *)at);
        break;
    case FIELD_BYTES: {
        struct bytes bytes = *(const struct bytes *)(const void *)at;
        encode_length(c, field, bytes.data == NULL, bytes.len);
        writer_bytes(w, bytes.data, bytes.len);
        break;
    }
    case FIELD_RECORDS:
        encode_records(c, field, (const void *)at);
        break;
    default:
        encode_struct(c, field->shape, at);
    }
}

static void encode_array(struct encoder *c, const struct field *field, const uint8_t *in)
{
    int32_t count = *(const int32_t *)(const void *)(in + field->count_offset);
    const uint8_t *items = *(uint8_t *const *)(const void *)(in + field->offset);
    encode_length(c, field, count < 0, count < 0 ? 0 : (size_t)count);
    size_t size = field_element_size(field);
    for (int32_t i = 0; i < count; i++) {
        encode_value(c, field, items + (size_t)i * size);
    }
}

static void encode_field(struct encoder *c, const struct field *field, const uint8_t *in)
{
    if ((field->flags & FIELD_ARRAY) != 0) {
        encode_array(c, field, in);
    } else if (!field_is_pointer(field)) {
        encode_value(c, field, in + field->offset);
    } else {
        const uint8_t *pointed = *(uint8_t *const *)(const void *)(in + field->offset);
        c->malformed |= pointed == NULL && !field_is_nullable(field, c->walk.version);
        writer_i8(c->writer, pointed == NULL ? -1 : 1);
        if (pointed != NULL) {
            encode_struct(c, field->shape, pointed);
        }
    }
}

static void encode_tags(struct encoder *c, const struct shape *shape, const uint8_t *in)
{
    uint32_t present = tags_present(c->walk, shape, in);
    writer_uvarint(c->writer, (uint32_t)__builtin_popcount(present));
    for (size_t i = 0; i < shape->tagged_n; i++) {
        if ((present & 1U << i) != 0) {
            const struct field *field = &shape->tagged[i];
            writer_uvarint(c->writer, (uint32_t)field->tag);
            writer_uvarint(c->writer, (uint32_t)field_size(c->walk, field, in));
            encode_field(c, field, in);
        }
    }
}

static void encode_struct(struct encoder *c, const struct shape *shape, const uint8_t *in)
{
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        if (field_in_version(field, c->walk.version)) {
            encode_field(c, field, in);
        }
    }
    if (c->walk.flexible) {
        encode_tags(c, shape, in);
    }
}

err message_encode(const struct message *message, int version, const void *in,
                   struct writer *writer)
{
    return message_encode_counting(message, version, in, writer, NULL);
}

err message_encode_counting(const struct message *message, int version, const void *in,
                            struct writer *writer, struct error_counts *errors)
{
    CHECK(version >= message->version_min && version <= message->version_max);
    struct encoder c = {
        .writer = writer,
        .walk = {.version = version, .flexible = version >= message->flexible_min},
        .errors = errors,
    };
    encode_struct(&c, message->shape, in);
    if (c.malformed) {
        return E_MALFORMED;
    }
    return writer->failed ? E_LIMIT : OK;
}

/* ---- the rest ---- */

void message_init(const struct message *message, void *out)
{
    memcpy(out, message->shape->defaults, message->shape->size);
}

const char *message_name(const struct message *message)
{
    return message->name;
}

int api_request_header_version(const struct api_schema *api, int version)
{
    if (api->key == API_CONTROLLED_SHUTDOWN && version == 0) {
        return 0;
    }
    return version >= api->flexible_min ? 2 : 1;
}

int api_response_header_version(const struct api_schema *api, int version)
{
    return version >= api->flexible_min && api->key != API_API_VERSIONS ? 1 : 0;
}

size_t message_struct_size(const struct message *message)
{
    return message->shape->size;
}

void message_set_error(const struct message *message, int version, void *out, int16_t code)
{
    const struct shape *shape = message->shape;
    for (size_t i = 0; i < shape->fields_n; i++) {
        const struct field *field = &shape->fields[i];
        if ((field->flags & FIELD_ERROR) != 0 && (field->flags & FIELD_ARRAY) == 0 &&
            field_in_version(field, version)) {
            memcpy((uint8_t *)out + field->offset, &code, sizeof(code));
            return;
        }
    }
}
