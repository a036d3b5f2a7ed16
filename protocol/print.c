/* Messages as readable text, for logs and tests: name{field=value, …}, on one line.
 *
 * Only what the version carries is shown, tagged fields only when they are on the wire. Record sets
 * are shown by length, other bytes in hex and cut; fields that the schema marks as secret are never
 * shown. */
#include "protocol/table.h"

#include "protocol/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { HEX_BYTES_MAX = 64 };

struct printer {
    struct writer *writer;
    int version;
};

static void print_struct(const struct printer *p, const struct shape *shape, const uint8_t *in);

__attribute__((format(printf, 2, 3))) static void print_text(const struct printer *p,
                                                             const char *format, ...)
{
    char text[128];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(length >= 0 && (size_t)length < sizeof(text));
    writer_bytes(p->writer, text, (size_t)length);
}

static void print_string(const struct printer *p, struct str s)
{
    if (s.data == NULL) {
        print_text(p, "null");
        return;
    }
    print_text(p, "\"");
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '"' || c == '\\') {
            print_text(p, "\\%c", c);
        } else if ((unsigned char)c < 0x20 || c == 0x7f) {
            print_text(p, "\\x%02x", (unsigned)(unsigned char)c);
        } else {
            writer_bytes(p->writer, &c, 1);
        }
    }
    print_text(p, "\"");
}

static void print_bytes(const struct printer *p, struct bytes b)
{
    if (b.data == NULL) {
        print_text(p, "null");
        return;
    }
    print_text(p, "0x");
    size_t shown = b.len > HEX_BYTES_MAX ? HEX_BYTES_MAX : b.len;
    for (size_t i = 0; i < shown; i++) {
        print_text(p, "%02x", b.data[i]);
    }
    if (shown < b.len) {
        print_text(p, "...(%zu bytes)", b.len);
    }
}

static void print_records(const struct printer *p, const struct records *records)
{
    if (records->data.data == NULL && records->file == NULL) {
        print_text(p, "null");
    } else {
        print_text(p, "(%zu bytes%s)", records->data.len,
                   records->file == NULL ? "" : " of a file");
    }
}

static void print_integer(const struct printer *p, const struct field *field, int64_t value)
{
    if ((field->flags & FIELD_ERROR) != 0) {
        print_text(p, "%s", kafka_error_name((int)value));
    } else {
        print_text(p, "%" PRId64, value);
    }
}

static void print_value(const struct printer *p, const struct field *field, const uint8_t *at)
{
    switch (field->type) {
    case FIELD_INT8:
        print_integer(p, field, *(const int8_t *)at);
        break;
    case FIELD_INT16:
        print_integer(p, field, *(const int16_t *)(const void *)at);
        break;
    case FIELD_INT32:
        print_integer(p, field, *(const int32_t *)(const void *)at);
        break;
    case FIELD_INT64:
        print_integer(p, field, *(const int64_t *)(const void *)at);
        break;
    case FIELD_BOOL:
        print_text(p, "%s", *(const bool *)at ? "true" : "false");
        break;
    case FIELD_FLOAT64:
        print_text(p, "%.17g", *(const double *)(const void *)at);
        break;
    case FIELD_UUID: {
        char text[UUID_TEXT_LEN + 1];
        uuid_format(*(const struct uuid *)(const void *)at, text);
        print_text(p, "%s", text);
        break;
    }
    case FIELD_STRING:
        print_string(p, *(const struct str *)(const void *)at);
        break;
    case FIELD_BYTES:
        print_bytes(p, *(const struct bytes *)(const void *)at);
        break;
    case FIELD_RECORDS:
        print_records(p, (const void *)at);
        break;
    default:
        print_struct(p, field->shape, at);
    }
}

static void print_array(const struct printer *p, const struct field *field, const uint8_t *in)
{
    int32_t count = *(const int32_t *)(const void *)(in + field->count_offset);
    const uint8_t *items = *(uint8_t *const *)(const void *)(in + field->offset);
    if (count < 0) {
        print_text(p, "null");
        return;
    }
    print_text(p, "[");
    for (int32_t i = 0; i < count; i++) {
        print_text(p, i == 0 ? "" : ", ");
        print_value(p, field, items + (size_t)i * field_element_size(field));
    }
    print_text(p, "]");
}

static void print_field(const struct printer *p, const struct field *field, const uint8_t *in)
{
    if ((field->flags & FIELD_SECRET) != 0) {
        print_text(p, "***");
    } else if ((field->flags & FIELD_ARRAY) != 0) {
        print_array(p, field, in);
    } else if (!field_is_pointer(field)) {
        print_value(p, field, in + field->offset);
    } else {
        const uint8_t *pointed = *(uint8_t *const *)(const void *)(in + field->offset);
        if (pointed == NULL) {
            print_text(p, "null");
        } else {
            print_struct(p, field->shape, pointed);
        }
    }
}

static void print_struct(const struct printer *p, const struct shape *shape, const uint8_t *in)
{
    const char *separator = "";
    print_text(p, "{");
    for (size_t i = 0; i < shape->fields_n + shape->tagged_n; i++) {
        bool tagged = i >= shape->fields_n;
        const struct field *field =
            tagged ? &shape->tagged[i - shape->fields_n] : &shape->fields[i];
        if (!field_in_version(field, p->version) ||
            (tagged && field_is_default(shape, field, in))) {
            continue;
        }
        print_text(p, "%s%s=", separator, field->name);
        separator = ", ";
        print_field(p, field, in);
    }
    print_text(p, "}");
}

void message_print(const struct message *message, int version, const void *in,
                   struct writer *writer)
{
    struct printer p = {.writer = writer, .version = version};
    print_text(&p, "%s", message->name);
    print_struct(&p, message->shape, in);
}
