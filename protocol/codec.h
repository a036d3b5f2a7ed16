/* Decoding and encoding of every message of the Kafka protocol, from generated tables.
 *
 * Each message has a struct (protocol/messages.h, generated from protocol/schema/) and a table
 * that describes it; one walker goes over the table. Layout by version is the walker's business:
 * a struct has the fields of all versions, and a field that the version lacks has its default.
 *
 * In the structs: int8_t .. int64_t, bool, double, struct uuid; `struct str` for strings (data NULL
 * is null); `struct bytes` for bytes; `struct records` for record sets; an array is a pointer
 * `topics` with a count `topics_n` (-1 is null); a nullable struct is a pointer.
 *
 * Memory: decoded views point into the input, arrays into the arena; both must outlive the struct.
 * Errors: E_MALFORMED when the input breaks the format, E_LIMIT when the arena is full.
 *
 * A version outside of the message's range is a bug of the caller, and checked. */
#ifndef OTTLA_PROTOCOL_CODEC_H
#define OTTLA_PROTOCOL_CODEC_H

#include "base/arena.h"
#include "base/reader.h"
#include "base/writer.h"

#include <stdatomic.h>

/* A record set: bytes in memory (data), or a range of a file: then `file` is not NULL, `data.data`
 * is NULL and `data.len` is the length of the range. All zero is the null record set. */
struct records {
    struct bytes data;
    const void *file;
    int64_t position;
};

/* The description of one message; generated. */
struct message;

/* Sets every field to its default, arrays empty. */
void message_init(const struct message *message, void *out);
NODISCARD err message_decode(const struct message *message, int version, struct reader *reader,
                             struct arena *arena, void *out);
/* E_LIMIT when the writer fails; E_MALFORMED when a field is null that may not be in this version,
 * or a string is longer than 32767 bytes. */
NODISCARD err message_encode(const struct message *message, int version, const void *in,
                             struct writer *writer);
/* How often each error code, from -1 on, went out; written by one thread, read by any. */
enum { ERROR_CODES_N = 160 };
struct error_counts {
    _Atomic uint64_t by_code[ERROR_CODES_N]; /* [code + 1] */
};
/* The same as message_encode(), and the error codes that it contains are counted. */
NODISCARD err message_encode_counting(const struct message *message, int version, const void *in,
                                      struct writer *writer, struct error_counts *errors);
/* The encoded size, spliced file ranges included. */
size_t message_size(const struct message *message, int version, const void *in);
/* Readable text, for logs and tests: one line, field=value. Secrets (fields marked so in the
 * schema) are shown as "***". */
void message_print(const struct message *message, int version, const void *in,
                   struct writer *writer);

/* Says the error where the message has a field for it, and nothing around it is in an array. */
void message_set_error(const struct message *message, int version, void *out, int16_t code);

const char *message_name(const struct message *message);
/* How many bytes its struct takes. */
size_t message_struct_size(const struct message *message);

/* What the schema says of one API. */
struct api_schema {
    int16_t key;
    const char *name; /* as in Kafka: "FindCoordinator" */
    int16_t version_min;
    int16_t version_max;
    int16_t flexible_min; /* first flexible version; 32767: none */
    const struct message *request;
    const struct message *response;
};

/* Which version of request_header and response_header goes with a version of an API. The answer to
 * ApiVersions has header 0 always: the client does not know yet whom it talks to. */
int api_request_header_version(const struct api_schema *api, int version);
int api_response_header_version(const struct api_schema *api, int version);

/* NULL for a key that a ZooKeeper-mode 3.9 broker does not have. */
const struct api_schema *api_schema_of(int16_t key);
/* All of them, ascending by key. */
const struct api_schema *api_schemas(size_t *count);

#endif
