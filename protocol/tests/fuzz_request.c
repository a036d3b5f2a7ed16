/* Fuzz: any bytes as a frame, of a request (header and body), a response, or a stored record.
 *
 * Input: one byte that says which kind, two that choose message and version where there is no
 * header to do it, then the frame. What decodes is printed, sized, encoded, and decoded again to
 * the same bytes; memory stays within what a server allows for a frame of this size. */
#include "protocol/messages.h"
#include "protocol/table.h"

#include <stdlib.h>

enum { OUTPUT_BYTES_MAX = 64 << 20 };

static const struct message *const RECORDS[] = {
    &offset_commit_key_message,
    &offset_commit_value_message,
    &group_metadata_key_message,
    &group_metadata_value_message,
    &transaction_log_key_message,
    &transaction_log_value_message,
    &response_header_message,
    &consumer_protocol_subscription_message,
    &consumer_protocol_assignment_message,
};

static void encode_again(const struct message *message, int version, const void *in)
{
    struct arena arena;
    struct writer first;
    struct writer second;
    arena_init(&arena, OUTPUT_BYTES_MAX);
    writer_init(&first, OUTPUT_BYTES_MAX);
    writer_init(&second, OUTPUT_BYTES_MAX);
    err e = message_encode(message, version, in, &first);
    /* The one thing that can be read and not written: a string that grew by replaced bytes. */
    CHECK(e == OK || e == E_MALFORMED);
    if (e == OK) {
        CHECK(message_size(message, version, in) == first.len);
        void *again = arena_alloc(&arena, message_struct_size(message));
        struct reader r = reader_of(bytes_of(first.data, first.len));
        CHECK(message_decode(message, version, &r, &arena, again) == OK && reader_left(&r) == 0);
        CHECK(message_encode(message, version, again, &second) == OK);
        CHECK(bytes_equal(bytes_of(first.data, first.len), bytes_of(second.data, second.len)));
    }
    arena_deinit(&arena);
    writer_deinit(&first);
    writer_deinit(&second);
}

static void try_message(const struct message *message, int version, struct reader *r)
{
    struct arena arena;
    struct writer text;
    arena_init(&arena, 16 * reader_left(r) + 64 * 1024);
    writer_init(&text, OUTPUT_BYTES_MAX);
    void *out = malloc(message_struct_size(message));
    if (message_decode(message, version, r, &arena, out) == OK) {
        message_print(message, version, out, &text);
        encode_again(message, version, out);
    }
    free(out);
    writer_deinit(&text);
    arena_deinit(&arena);
}

static int version_of(const struct message *message, uint8_t choice)
{
    return message->version_min + choice % (message->version_max - message->version_min + 1);
}

/* A frame as a server sees it. */
static void try_request(struct reader *r)
{
    struct reader peek = *r;
    const struct api_schema *api = api_schema_of(reader_i16(&peek));
    int version = reader_i16(&peek);
    if (peek.failed || api == NULL || version < api->version_min || version > api->version_max) {
        return;
    }
    struct arena arena;
    struct request_header header;
    arena_init(&arena, 64 * 1024);
    if (message_decode(&request_header_message, api_request_header_version(api, version), r, &arena,
                       &header) == OK) {
        try_message(api->request, version, r);
    }
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) {
        return 0;
    }
    struct reader r = reader_of(bytes_of(data + 3, size - 3));
    size_t count = 0;
    const struct api_schema *apis = api_schemas(&count);
    const struct message *message = NULL;
    switch (data[0] % 3) {
    case 0:
        try_request(&r);
        return 0;
    case 1:
        message = apis[data[1] % count].response;
        break;
    default:
        message = RECORDS[data[1] % (sizeof(RECORDS) / sizeof(RECORDS[0]))];
    }
    try_message(message, version_of(message, data[2]), &r);
    return 0;
}
