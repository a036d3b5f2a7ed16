/* Frames of real clients and a real broker, recorded in golden_frames.txt: each decodes completely
 * and encodes to the same bytes. A frame that a client wrote differently although it means the same
 * does not belong into the file. */
#include "protocol/legacy.h"
#include "protocol/messages.h"
#include "protocol/table.h"

#include <CUnit/Basic.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_BYTES_MAX = 1 << 20, ARENA_BYTES = 16 << 20, FRAMES_MIN = 50 };

struct golden {
    const struct api_schema *api;
    int version;
    bool request;
    uint8_t *frame;
    size_t len;
};

static size_t records_seen;

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* False for a comment, an empty line, or one that cannot be read; the latter fails the test. */
static bool golden_parse(const char *line, uint8_t *buffer, struct golden *golden)
{
    while (isspace((unsigned char)*line)) {
        line++;
    }
    if (*line == '#' || *line == '\0') {
        return false;
    }
    int key = 0;
    int at = 0;
    char kind[16];
    if (sscanf(line, "%d %d %15s %n", &key, &golden->version, kind, &at) != 3) {
        CU_FAIL("line");
        return false;
    }
    golden->api = api_schema_of((int16_t)key);
    golden->request = strcmp(kind, "request") == 0;
    golden->frame = buffer;
    golden->len = 0;
    const char *hex = line + at;
    while (isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1])) {
        buffer[golden->len++] = (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
        hex += 2;
    }
    CU_ASSERT_PTR_NOT_NULL_FATAL(golden->api);
    return true;
}

static void check_batch(struct bytes bytes)
{
    struct batch batch;
    struct bytes body;
    struct record_iter iter;
    struct record record;
    struct writer scratch;
    writer_init(&scratch, ARENA_BYTES);
    CU_ASSERT_FATAL(bytes.len >= BATCH_HEADER_BYTES);
    batch_parse(bytes.data, &batch);
    CU_ASSERT_EQUAL(batch.crc, batch_crc(bytes.data, bytes.len));
    CU_ASSERT_EQUAL_FATAL(batch_body(bytes, &scratch, ARENA_BYTES, &body), OK);
    record_iter_init(&iter, body, batch.count);
    while (record_iter_next(&iter, &record)) {
        records_seen++;
    }
    CU_ASSERT_EQUAL(iter.error, OK);
    writer_deinit(&scratch);
}

/* The record sets of real producers and brokers, of every format, are read to their end. */
static void check_records(const struct records *records)
{
    struct reader r = reader_of(records->data);
    while (reader_left(&r) >= BATCH_MAGIC_PREFIX_BYTES) {
        size_t size = load_u32(r.next + 8) + BATCH_PREFIX_BYTES;
        struct bytes bytes = reader_bytes(&r, size);
        if (r.failed) {
            return; /* a part of one, which clients pass over */
        }
        struct writer up;
        writer_init(&up, ARENA_BYTES);
        if (bytes.data[16] < 2) {
            CU_ASSERT_EQUAL_FATAL(legacy_up_convert(bytes, INT32_MAX, ARENA_BYTES, &up), OK);
            bytes = bytes_of(up.data, up.len);
        }
        check_batch(bytes);
        writer_deinit(&up);
    }
}

static void check_record_sets(const struct golden *golden, const void *body)
{
    if (golden->api->key == API_PRODUCE && golden->request) {
        const struct produce_request *in = body;
        for (int32_t i = 0; i < in->topics_n; i++) {
            for (int32_t j = 0; j < in->topics[i].partitions_n; j++) {
                check_records(&in->topics[i].partitions[j].records);
            }
        }
    } else if (golden->api->key == API_FETCH && !golden->request) {
        const struct fetch_response *out = body;
        for (int32_t i = 0; i < out->topics_n; i++) {
            for (int32_t j = 0; j < out->topics[i].partitions_n; j++) {
                check_records(&out->topics[i].partitions[j].records);
            }
        }
    }
}

static err reencode(const struct golden *golden, struct arena *arena, struct writer *w)
{
    struct request_header request;
    struct response_header response;
    const struct api_schema *api = golden->api;
    const struct message *header =
        golden->request ? &request_header_message : &response_header_message;
    void *head = golden->request ? (void *)&request : (void *)&response;
    int header_version = golden->request ? api_request_header_version(api, golden->version)
                                         : api_response_header_version(api, golden->version);
    const struct message *message = golden->request ? api->request : api->response;
    void *body = arena_alloc(arena, message_struct_size(message));
    struct reader r = reader_of(bytes_of(golden->frame, golden->len));
    TRY(message_decode(header, header_version, &r, arena, head));
    if (golden->request &&
        (request.request_api_key != api->key || request.request_api_version != golden->version)) {
        return E_MALFORMED;
    }
    TRY(message_decode(message, golden->version, &r, arena, body));
    if (reader_left(&r) != 0) {
        return E_MALFORMED;
    }
    check_record_sets(golden, body);
    TRY(message_encode(header, header_version, head, w));
    CU_ASSERT_EQUAL(w->len + message_size(message, golden->version, body), golden->len);
    return message_encode(message, golden->version, body, w);
}

static void check_golden(const struct golden *golden, size_t number)
{
    struct arena arena;
    struct writer w;
    arena_init(&arena, 16 * golden->len + 64 * 1024);
    writer_init(&w, ARENA_BYTES);
    err e = reencode(golden, &arena, &w);
    if (e != OK || !bytes_equal(bytes_of(w.data, w.len), bytes_of(golden->frame, golden->len))) {
        fprintf(stderr, "golden_frames.txt:%zu: %s v%d %s: %s\n", number, golden->api->name,
                golden->version, golden->request ? "request" : "response",
                e == OK ? "other bytes" : err_text(e));
        CU_FAIL("frame");
    }
    writer_deinit(&w);
    arena_deinit(&arena);
}

static void test_golden_frames(void)
{
    FILE *file = fopen(SOURCE_DIR "/tests/golden_frames.txt", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *line = malloc(LINE_BYTES_MAX);
    uint8_t *frame = malloc(LINE_BYTES_MAX / 2);
    size_t number = 0;
    size_t frames = 0;
    while (fgets(line, LINE_BYTES_MAX, file) != NULL) {
        number++;
        struct golden golden;
        if (golden_parse(line, frame, &golden)) {
            frames++;
            check_golden(&golden, number);
        }
    }
    CU_ASSERT(frames >= FRAMES_MIN);
    CU_ASSERT(records_seen > 0);
    free(frame);
    free(line);
    fclose(file);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("golden", NULL, NULL);
    CU_add_test(suite, "golden frames", test_golden_frames);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
