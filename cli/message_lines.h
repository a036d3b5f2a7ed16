/* Lines as records, and records as lines, in the forms of Kafka's console tools: what --property says. */
#ifndef OTTLA_CLI_MESSAGE_LINES_H
#define OTTLA_CLI_MESSAGE_LINES_H

#include "cli/options.h"
#include "protocol/batch.h"

#include <stdio.h>

/* ---- lines as records: kafka-console-producer ---- */

struct line_reader {
    bool parse_key;
    bool parse_headers;
    bool ignore_error;
    const char *key_separator;
    const char *headers_delimiter;     /* between headers and the rest */
    const char *headers_separator;     /* between two headers */
    const char *headers_key_separator; /* between the name and the value of one */
    const char *null_marker;           /* NULL: no text means null */
    int64_t line_number;
};

/* --property name=value, each. E_CONFIG with a sentence: the name is not one of these. */
NODISCARD err line_reader_init(struct line_reader *reader, const struct cli_options *options,
                               char *reason);
/* `line` without its end; key, value and headers are views of it, or in `headers`. E_MALFORMED with a sentence where
 * something that has to be in it is not. */
NODISCARD err line_read(struct line_reader *reader, struct str line, struct record *record,
                        struct writer *headers, char *reason);

/* ---- records as lines: kafka-console-consumer ---- */

struct line_writer {
    bool print_timestamp;
    bool print_partition;
    bool print_offset;
    bool print_headers;
    bool print_key;
    bool print_value;
    const char *key_separator;
    const char *line_separator;
    const char *headers_separator;
    const char *null_literal;
};

struct shown_record {
    const struct record *record;
    int64_t timestamp_ms;
    bool log_append_time;
    int32_t partition;
    int64_t offset;
};

NODISCARD err line_writer_init(struct line_writer *writer, const struct cli_options *options,
                               char *reason);
void line_write(const struct line_writer *writer, const struct shown_record *shown, FILE *out);

#endif
