/* The properties of Kafka's LineMessageReader and DefaultMessageFormatter, with their defaults. A line for the producer is
 * "h1:v1,h2:v2<tab>key<tab>value" with everything asked for. */
#define _GNU_SOURCE
#include "cli/message_lines.h"

#include "base/refuse.h"

#include <string.h>
#include <strings.h>

/* ---- properties ---- */

struct property_of {
    const char *name;
    bool *flag; /* one of the two */
    const char **text;
};

static err set_property(const struct property_of *table, size_t table_n, const char *given,
                        char *reason)
{
    const char *equals = strchr(given, '=');
    size_t len = equals == NULL ? strlen(given) : (size_t)(equals - given);
    for (size_t i = 0; i < table_n; i++) {
        if (strlen(table[i].name) != len || strncmp(table[i].name, given, len) != 0) {
            continue;
        }
        const char *value = equals == NULL ? "" : equals + 1;
        if (table[i].flag != NULL) {
            *table[i].flag = strcasecmp(value, "true") == 0;
        } else {
            *table[i].text = value;
        }
        return OK;
    }
    return refuse(reason, CLI_REASON_BYTES, "--property %s: there is no property %.*s here", given,
                  (int)len, given);
}

static err set_properties(const struct property_of *table, size_t table_n,
                          const struct cli_options *options, char *reason)
{
    size_t at = 0;
    for (const char *given; (given = cli_next_value(options, "property", &at)) != NULL;) {
        TRY(set_property(table, table_n, given, reason));
    }
    return OK;
}

err line_reader_init(struct line_reader *reader, const struct cli_options *options, char *reason)
{
    *reader = (struct line_reader){.key_separator = "\t",
                                   .headers_delimiter = "\t",
                                   .headers_separator = ",",
                                   .headers_key_separator = ":"};
    const struct property_of table[] = {
        {"parse.key", &reader->parse_key, NULL},
        {"parse.headers", &reader->parse_headers, NULL},
        {"ignore.error", &reader->ignore_error, NULL},
        {"key.separator", NULL, &reader->key_separator},
        {"headers.delimiter", NULL, &reader->headers_delimiter},
        {"headers.separator", NULL, &reader->headers_separator},
        {"headers.key.separator", NULL, &reader->headers_key_separator},
        {"null.marker", NULL, &reader->null_marker},
    };
    TRY(set_properties(table, sizeof(table) / sizeof(table[0]), options, reason));
    bool empty = *reader->key_separator == '\0' || *reader->headers_delimiter == '\0' ||
                 *reader->headers_separator == '\0' || *reader->headers_key_separator == '\0';
    return empty ? refuse(reason, CLI_REASON_BYTES, "a separator must not be empty") : OK;
}

err line_writer_init(struct line_writer *writer, const struct cli_options *options, char *reason)
{
    *writer = (struct line_writer){.print_value = true,
                                   .key_separator = "\t",
                                   .line_separator = "\n",
                                   .headers_separator = ",",
                                   .null_literal = "null"};
    const struct property_of table[] = {
        {"print.timestamp", &writer->print_timestamp, NULL},
        {"print.partition", &writer->print_partition, NULL},
        {"print.offset", &writer->print_offset, NULL},
        {"print.headers", &writer->print_headers, NULL},
        {"print.key", &writer->print_key, NULL},
        {"print.value", &writer->print_value, NULL},
        {"key.separator", NULL, &writer->key_separator},
        {"line.separator", NULL, &writer->line_separator},
        {"headers.separator", NULL, &writer->headers_separator},
        {"null.literal", NULL, &writer->null_literal},
    };
    return set_properties(table, sizeof(table) / sizeof(table[0]), options, reason);
}

/* ---- reading ---- */

/* Cuts what stands before the separator off the line. */
static bool cut(struct str *line, const char *separator, struct str *before)
{
    const char *found = memmem(line->data, line->len, separator, strlen(separator));
    if (found == NULL) {
        return false;
    }
    *before = (struct str){line->data, (size_t)(found - line->data)};
    size_t skip = before->len + strlen(separator);
    line->data += skip;
    line->len -= skip;
    return true;
}

static struct bytes as_bytes(const struct line_reader *reader, struct str text)
{
    bool null = reader->null_marker != NULL && str_is(text, reader->null_marker);
    return null ? (struct bytes){0} : bytes_of(text.data, text.len);
}

static err read_headers(const struct line_reader *reader, struct str text, struct record *record,
                        struct writer *headers, char *reason)
{
    for (bool more = true; more;) {
        struct str one;
        struct str name;
        more = cut(&text, reader->headers_separator, &one);
        one = more ? one : text;
        if (!cut(&one, reader->headers_key_separator, &name)) {
            return refuse_with(E_MALFORMED, reason, CLI_REASON_BYTES,
                               "No header key separator found in pair '%.*s' on line number %lld",
                               (int)one.len, one.data, (long long)reader->line_number);
        }
        struct bytes value = as_bytes(reader, one);
        writer_varint(headers, (int32_t)name.len);
        writer_bytes(headers, name.data, name.len);
        writer_varint(headers, value.data == NULL ? -1 : (int32_t)value.len);
        writer_bytes(headers, value.data, value.len);
        record->headers_n++;
    }
    return headers->failed ? E_LIMIT : OK;
}

static err missing(const struct line_reader *reader, const char *what, struct str line,
                   char *reason)
{
    return refuse_with(E_MALFORMED, reason, CLI_REASON_BYTES,
                       "No %s found on line number %lld: '%.*s'", what,
                       (long long)reader->line_number, (int)line.len, line.data);
}

err line_read(struct line_reader *reader, struct str line, struct record *record,
              struct writer *headers, char *reason)
{
    *record = (struct record){0};
    reader->line_number++;
    struct str whole = line;
    struct str part;
    writer_clear(headers);
    if (reader->parse_headers) {
        if (cut(&line, reader->headers_delimiter, &part)) {
            if (reader->null_marker == NULL || !str_is(part, reader->null_marker)) {
                TRY(read_headers(reader, part, record, headers, reason));
            }
        } else if (!reader->ignore_error) {
            return missing(reader, "header delimiter", whole, reason);
        }
    }
    if (reader->parse_key) {
        if (cut(&line, reader->key_separator, &part)) {
            record->key = as_bytes(reader, part);
        } else if (!reader->ignore_error) {
            return missing(reader, "key separator", whole, reason);
        }
    }
    record->value = as_bytes(reader, line);
    record->headers = bytes_of(headers->data, headers->len);
    return OK;
}

/* ---- writing ---- */

static void put(const struct line_writer *writer, struct bytes bytes, FILE *out)
{
    if (bytes.data == NULL) {
        fputs(writer->null_literal, out);
    } else {
        fwrite(bytes.data, 1, bytes.len, out);
    }
}

static void put_headers(const struct line_writer *writer, const struct record *record, FILE *out)
{
    if (record->headers_n == 0) {
        fputs("NO_HEADERS", out);
        return;
    }
    struct reader headers = reader_of(record->headers);
    struct str key;
    struct bytes value;
    for (int32_t i = 0; i < record->headers_n && record_header_next(&headers, &key, &value); i++) {
        fputs(i == 0 ? "" : writer->headers_separator, out);
        fwrite(key.data, 1, key.len, out);
        fputc(':', out);
        put(writer, value, out);
    }
}

void line_write(const struct line_writer *writer, const struct shown_record *shown, FILE *out)
{
    bool later = false; /* something stands there already */
    if (writer->print_timestamp) {
        fprintf(out, "%s:%lld", shown->log_append_time ? "LogAppendTime" : "CreateTime",
                (long long)shown->timestamp_ms);
        later = true;
    }
    if (writer->print_partition) {
        fprintf(out, "%sPartition:%d", later ? writer->key_separator : "", shown->partition);
        later = true;
    }
    if (writer->print_offset) {
        fprintf(out, "%sOffset:%lld", later ? writer->key_separator : "", (long long)shown->offset);
        later = true;
    }
    if (writer->print_headers) {
        fputs(later ? writer->key_separator : "", out);
        put_headers(writer, shown->record, out);
        later = true;
    }
    if (writer->print_key) {
        fputs(later ? writer->key_separator : "", out);
        put(writer, shown->record->key, out);
        later = true;
    }
    if (writer->print_value) {
        fputs(later ? writer->key_separator : "", out);
        put(writer, shown->record->value, out);
    }
    fputs(writer->line_separator, out);
}
