/* Properties of every message of every version: what is encoded decodes to itself, its size is
 * foretold, every cut is an error, and no input uses more memory than the arena allows. Then the
 * rules of the format one by one. */
#include "base/log.h"
#include "protocol/codec.h"
#include "protocol/error.h"
#include "protocol/messages.h"
#include "base/utf8.h"
#include "random_message.h"

#include <CUnit/Basic.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 40, ARENA_BYTES = 1 << 20, HEAP_SLACK_BYTES = 1024 };

static const struct message *const RECORDS[] = {
    &request_header_message,
    &response_header_message,
    &offset_commit_key_message,
    &offset_commit_value_message,
    &group_metadata_key_message,
    &group_metadata_value_message,
    &transaction_log_key_message,
    &transaction_log_value_message,
    &consumer_protocol_subscription_message,
    &consumer_protocol_assignment_message,
};

typedef void check_fn(const struct message *message, int version, struct random *random);

static void each_version(const struct message *message, check_fn *check)
{
    for (int v = message->version_min; v <= message->version_max; v++) {
        struct random random = {.state = (uint64_t)v * 77 + 5};
        check(message, v, &random);
    }
}

static void each_message(check_fn *check)
{
    size_t count = 0;
    const struct api_schema *apis = api_schemas(&count);
    CU_ASSERT_EQUAL(count, 62);
    for (size_t i = 0; i < count; i++) {
        each_version(apis[i].request, check);
        each_version(apis[i].response, check);
    }
    for (size_t i = 0; i < sizeof(RECORDS) / sizeof(RECORDS[0]); i++) {
        each_version(RECORDS[i], check);
    }
}

static struct reader reader_of_writer(const struct writer *w)
{
    return reader_of(bytes_of(w->data == NULL ? (const uint8_t *)"" : w->data, w->len));
}

static void fail_message(const struct message *message, int version, const char *what)
{
    fprintf(stderr, "%s v%d: %s\n", message->name, version, what);
    CU_FAIL("message");
}

static void check_round_trip(const struct message *message, int version, struct random *random)
{
    struct arena arena;
    struct writer first;
    struct writer second;
    arena_init(&arena, ARENA_BYTES);
    writer_init(&first, ARENA_BYTES);
    writer_init(&second, ARENA_BYTES);
    for (int round = 0; round < ROUNDS; round++) {
        arena_reset(&arena, ARENA_BYTES);
        writer_clear(&first);
        writer_clear(&second);
        void *in = random_message(message, version, random, &arena);
        void *out = arena_alloc(&arena, message->shape->size);
        CU_ASSERT_EQUAL_FATAL(message_encode(message, version, in, &first), OK);
        if (message_size(message, version, in) != first.len) {
            fail_message(message, version, "size");
        }
        if (first.len < message->shape->size_min[version]) {
            fail_message(message, version, "least size");
        }
        struct reader reader = reader_of_writer(&first);
        CU_ASSERT_EQUAL_FATAL(message_decode(message, version, &reader, &arena, out), OK);
        if (reader_left(&reader) != 0) {
            fail_message(message, version, "bytes left");
        }
        const char *difference = struct_difference(message->shape, in, out);
        if (difference != NULL) {
            fail_message(message, version, difference);
        }
        CU_ASSERT_EQUAL_FATAL(message_encode(message, version, out, &second), OK);
        CU_ASSERT(bytes_equal(bytes_of(first.data, first.len), bytes_of(second.data, second.len)));
    }
    arena_deinit(&arena);
    writer_deinit(&first);
    writer_deinit(&second);
}

static void test_round_trip(void)
{
    each_message(check_round_trip);
}

static void check_defaults(const struct message *message, int version, struct random *random)
{
    (void)random;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    void *in = arena_alloc(&arena, message->shape->size);
    void *out = arena_alloc(&arena, message->shape->size);
    message_init(message, in);
    struct writer w;
    writer_init(&w, ARENA_BYTES);
    /* A default may be null in versions that do not allow it: an error, not a crash. */
    if (message_encode(message, version, in, &w) == OK) {
        struct reader r = reader_of_writer(&w);
        CU_ASSERT_EQUAL(message_decode(message, version, &r, &arena, out), OK);
        CU_ASSERT_PTR_NULL(struct_difference(message->shape, in, out));
    }
    writer_deinit(&w);
    arena_deinit(&arena);
}

static void test_defaults(void)
{
    each_message(check_defaults);
    struct fetch_request fetch;
    fetch_request_init(&fetch);
    CU_ASSERT_EQUAL(fetch.max_bytes, 0x7fffffff);
    CU_ASSERT_EQUAL(fetch.session_epoch, -1);
    CU_ASSERT_EQUAL(fetch.replica_state.replica_epoch, -1);
    CU_ASSERT(!str_is_null(fetch.rack_id) && str_is_null(fetch.cluster_id));
}

/* The input is copied to memory of its exact size, so that a sanitizer sees any overrun. */
static err decode_copy(const struct message *message, int version, struct bytes input,
                       struct arena *arena)
{
    uint8_t *copy = malloc(input.len == 0 ? 1 : input.len);
    memcpy(copy, input.data, input.len);
    struct reader r = reader_of(bytes_of(copy, input.len));
    void *out = arena_alloc(arena, message->shape->size);
    err e = message_decode(message, version, &r, arena, out);
    if (e == OK) {
        struct writer w;
        writer_init(&w, ARENA_BYTES);
        message_print(message, version, out, &w);
        CU_ASSERT(w.len > 0);
        writer_deinit(&w);
    }
    free(copy);
    return e;
}

static void check_cuts(const struct message *message, int version, struct random *random)
{
    struct arena arena;
    struct writer w;
    arena_init(&arena, ARENA_BYTES);
    writer_init(&w, ARENA_BYTES);
    for (int round = 0; round < 3; round++) {
        writer_clear(&w);
        arena_reset(&arena, ARENA_BYTES);
        void *in = random_message(message, version, random, &arena);
        CU_ASSERT_EQUAL_FATAL(message_encode(message, version, in, &w), OK);
        for (size_t len = 0; len < w.len; len++) {
            arena_reset(&arena, ARENA_BYTES);
            if (decode_copy(message, version, bytes_of(w.data, len), &arena) != E_MALFORMED) {
                fail_message(message, version, "a cut message was decoded");
            }
        }
    }
    writer_deinit(&w);
    arena_deinit(&arena);
}

static void test_cut_at_every_byte(void)
{
    each_message(check_cuts);
}

/* Decodes with the arena that a server gives a frame of this size. */
static void decode_hostile(const struct message *message, int version, struct bytes input,
                           struct arena *arena)
{
    arena_deinit(arena);
    size_t heap_before = mallinfo2().uordblks;
    size_t cap = 16 * input.len + 64 * 1024 + message->shape->size;
    arena_reset(arena, cap);
    err e = decode_copy(message, version, input, arena);
    CU_ASSERT(e == OK || e == E_MALFORMED || e == E_LIMIT);
    CU_ASSERT(arena->used_bytes <= cap);
    CU_ASSERT(mallinfo2().uordblks <= heap_before + cap + HEAP_SLACK_BYTES);
}

static void check_hostile(const struct message *message, int version, struct random *random)
{
    static uint8_t frame[4096];
    struct arena arena;
    arena_init(&arena, 0);
    for (int fill = 0; fill < 4; fill++) {
        memset(frame, (const uint8_t[]){0, 1, 2, 0x7f}[fill], sizeof(frame));
        decode_hostile(message, version, bytes_of(frame, sizeof(frame)), &arena);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof(frame); i++) {
            frame[i] = (uint8_t)(random_below(random, 3) == 0 ? random_u32(random)
                                                              : random_below(random, 4));
        }
        decode_hostile(message, version, bytes_of(frame, 1 + random_below(random, 4096)), &arena);
    }
    arena_deinit(&arena);
}

/* Valid messages in which each place in turn holds a huge count or length. */
static void check_mutations(const struct message *message, int version, struct random *random)
{
    static const char *const HUGE_COUNTS[] = {"\x7f\xff\xff\xff", "\xff\xff\xff\xff\x0f",
                                              "\x80\x80\x80\x80\x80", "\x80\0\0\0", "\x7f\xff"};
    static const size_t LENGTHS[] = {4, 5, 5, 4, 2};
    struct arena values;
    struct arena arena;
    struct writer w;
    arena_init(&values, ARENA_BYTES);
    arena_init(&arena, 0);
    writer_init(&w, ARENA_BYTES);
    void *in = random_message(message, version, random, &values);
    CU_ASSERT_EQUAL_FATAL(message_encode(message, version, in, &w), OK);
    uint8_t *frame = malloc(w.len + 8);
    for (size_t at = 0; at < w.len; at++) {
        for (size_t i = 0; i < 5; i++) {
            memcpy(frame, w.data, w.len);
            memcpy(frame + at, HUGE_COUNTS[i], LENGTHS[i]);
            decode_hostile(message, version, bytes_of(frame, w.len), &arena);
        }
    }
    free(frame);
    writer_deinit(&w);
    arena_deinit(&arena);
    arena_deinit(&values);
}

static void test_memory_is_bounded(void)
{
    each_message(check_hostile);
    each_message(check_mutations);
}

/* However an arena is filled, its memory stays within its cap. */
static void test_arena_is_bounded(void)
{
    static const size_t SIZES[] = {1, 17, 2500, 5000, 70000};
    for (size_t i = 0; i < 5; i++) {
        size_t cap = 200000;
        size_t heap_before = mallinfo2().uordblks;
        struct arena arena;
        arena_init(&arena, cap);
        for (size_t n = 0; arena_alloc(&arena, SIZES[i]) != NULL && n < cap; n++) {
            CU_ASSERT(mallinfo2().uordblks <= heap_before + cap + HEAP_SLACK_BYTES);
        }
        CU_ASSERT(arena.used_bytes <= cap);
        CU_ASSERT_PTR_NULL(arena_alloc(&arena, SIZE_MAX - 5));
        arena_deinit(&arena);
    }
}

static err decode_bytes_as(const struct message *message, int version, const char *data, size_t len,
                           void *out)
{
    static struct arena arena;
    arena_deinit(&arena);
    arena_init(&arena, ARENA_BYTES);
    struct reader r = reader_of(bytes_of(data, len));
    err e = message_decode(message, version, &r, &arena, out);
    return e == OK && reader_left(&r) != 0 ? E_TRUNCATED : e;
}
#define DECODE(name, version, text, out)                                                           \
    decode_bytes_as(&name##_message, (version), (text), sizeof(text) - 1, (out))

static void test_nulls(void)
{
    struct metadata_request m;
    CU_ASSERT_EQUAL(DECODE(metadata_request, 1, "\xff\xff\xff\xff", &m), OK);
    CU_ASSERT_EQUAL(m.topics_n, -1);
    CU_ASSERT_EQUAL(DECODE(metadata_request, 1, "\xff\xff\xff\xfe", &m), OK);
    CU_ASSERT_EQUAL(m.topics_n, -1);
    CU_ASSERT_EQUAL(DECODE(metadata_request, 0, "\xff\xff\xff\xff", &m), E_MALFORMED);
    CU_ASSERT_EQUAL(DECODE(metadata_request, 1, "\0\0\0\1\xff\xff", &m), E_MALFORMED);
    struct request_header h;
    CU_ASSERT_EQUAL(DECODE(request_header, 1, "\0\3\0\1\0\0\0\7\xff\xfe", &h), OK);
    CU_ASSERT(str_is_null(h.client_id));
    CU_ASSERT_EQUAL(h.correlation_id, 7);
    struct produce_request p;
    CU_ASSERT_EQUAL(DECODE(produce_request, 9, "\0\0\1\0\0\0\0\1\0", &p), OK);
    CU_ASSERT(str_is_null(p.transactional_id));
    CU_ASSERT_EQUAL(DECODE(produce_request, 9, "\0\0\1\0\0\0\0\0\0", &p), E_MALFORMED);
}

static void test_null_that_may_not_be(void)
{
    struct writer w;
    writer_init(&w, 1000);
    struct find_coordinator_request find;
    find_coordinator_request_init(&find);
    find.key = (struct str){0};
    CU_ASSERT_EQUAL(message_encode(&find_coordinator_request_message, 0, &find, &w), E_MALFORMED);
    CU_ASSERT_EQUAL(message_encode(&find_coordinator_request_message, 4, &find, &w), OK);
    static char text[40000];
    memset(text, 'a', sizeof(text));
    find.key = (struct str){text, 32768};
    CU_ASSERT_EQUAL(message_encode(&find_coordinator_request_message, 0, &find, &w), E_MALFORMED);
    find.key = STR("k");
    w.limit_bytes = w.len + 2;
    CU_ASSERT_EQUAL(message_encode(&find_coordinator_request_message, 0, &find, &w), E_LIMIT);
    writer_deinit(&w);
}

static void test_long_string_and_varint(void)
{
    static char frame[40000] = {1};
    struct heartbeat_request h;
    /* The length and one, as a varint; generation 0, member id "", no tags. */
    memcpy(frame, "\x80\x80\x02", 3);
    memcpy(frame + 3 + 32767, "\0\0\0\0\1\0\0", 7);
    CU_ASSERT_EQUAL(decode_bytes_as(&heartbeat_request_message, 4, frame, 3 + 32767 + 4 + 3, &h),
                    OK);
    CU_ASSERT_EQUAL(h.group_id.len, 32767);
    memcpy(frame, "\x81\x80\x02", 3);
    memcpy(frame + 3 + 32768, "\0\0\0\0\1\0\0", 7);
    CU_ASSERT_EQUAL(decode_bytes_as(&heartbeat_request_message, 4, frame, 3 + 32768 + 4 + 3, &h),
                    E_MALFORMED);
    CU_ASSERT_EQUAL(DECODE(heartbeat_request, 4, "\x81\x80\x80\x80\x80\0", &h), E_MALFORMED);
}

/* A count that the input cannot hold is refused before anything is allocated for it. */
static void test_huge_count(void)
{
    static const char FRAME[200] = "\0\0\0\x62"; /* 98 topics in 196 bytes are possible, */
    static const char MORE[200] = "\0\0\0\x63";  /* 99 are not */
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct metadata_request m;
    struct reader r = reader_of(bytes_of(FRAME, sizeof(FRAME)));
    CU_ASSERT_EQUAL(message_decode(&metadata_request_message, 0, &r, &arena, &m), OK);
    CU_ASSERT_EQUAL(m.topics_n, 98);
    arena_reset(&arena, ARENA_BYTES);
    r = reader_of(bytes_of(MORE, sizeof(MORE)));
    CU_ASSERT_EQUAL(message_decode(&metadata_request_message, 0, &r, &arena, &m), E_MALFORMED);
    CU_ASSERT_EQUAL(arena.used_bytes, 0);
    arena_deinit(&arena);
}

/* An ApiVersions v3 request has two strings; its tags are all unknown. */
#define API_VERSIONS "\2a\2b"
static void test_tags(void)
{
    struct api_versions_request a;
    CU_ASSERT_EQUAL(DECODE(api_versions_request, 3, API_VERSIONS "\0", &a), OK);
    CU_ASSERT_EQUAL(DECODE(api_versions_request, 3, API_VERSIONS "\2\x09\2xy\1\0", &a), OK);
    CU_ASSERT_EQUAL(DECODE(api_versions_request, 3, API_VERSIONS "\2\1\1x\1\1y", &a), OK);
    CU_ASSERT_EQUAL(DECODE(api_versions_request, 3, API_VERSIONS, &a), E_MALFORMED);
    CU_ASSERT_EQUAL(DECODE(api_versions_request, 3, API_VERSIONS "\1\0\5x", &a), E_MALFORMED);
    CU_ASSERT_EQUAL(DECODE(api_versions_request, 3, API_VERSIONS "\xff\xff\xff\xff\xf", &a),
                    E_MALFORMED);
    /* DescribeLogDirs' neighbours have none; the Fetch request has two known tags. */
#define FETCH "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\0\0\1\1\1"
    struct fetch_request f;
    CU_ASSERT_EQUAL(DECODE(fetch_request, 15, FETCH "\1\0\3\3cd", &f), OK);
    CU_ASSERT(str_is(f.cluster_id, "cd"));
    /* Twice: the last wins. Out of order. A size larger than the value. */
    CU_ASSERT_EQUAL(DECODE(fetch_request, 15, FETCH "\2\0\3\3cd\0\2\2e", &f), OK);
    CU_ASSERT(str_is(f.cluster_id, "e"));
    CU_ASSERT_EQUAL(
        DECODE(fetch_request, 15, FETCH "\2\1\x0d\0\0\0\5\0\0\0\0\0\0\0\6\0\0\3\3cd", &f), OK);
    CU_ASSERT_EQUAL(f.replica_state.replica_id, 5);
    CU_ASSERT_EQUAL(f.replica_state.replica_epoch, 6);
    CU_ASSERT_EQUAL(DECODE(fetch_request, 15, FETCH "\2\0\4\3cd\7\1z", &f), OK);
    CU_ASSERT_EQUAL(DECODE(fetch_request, 15, FETCH "\1\0\x7f\3cd", &f), E_MALFORMED);
    /* Tag 1 is unknown before version 15. */
    CU_ASSERT_EQUAL(DECODE(fetch_request, 13, "\0\0\0\7" FETCH "\1\1\2xy", &f), OK);
    CU_ASSERT_EQUAL(f.replica_id, 7);
}

static void test_text_is_made_valid(void)
{
    static const struct {
        const char *in;
        const char *out;
    } CASES[] = {
        {"plain", "plain"},
        {"longer ascii text \xc3\xa9 and more", "longer ascii text \xc3\xa9 and more"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"a\xff"
         "b",
         "a?b"},
        {"\x80\x80", "??"},
        {"\xc0\xaf", "??"},
        {"\xc3", "?"},
        {"\xc3(", "?("},
        {"\xe0\x80\x80", "???"},
        {"\xe2\x82", "?"},
        {"\xe2\x82(", "?("},
        {"\xe2(\x82", "?(?"},
        {"\xed\xa0\x80", "?"},
        {"\xed\xa0\x80\xed\xb0\x80", "??"},
        {"\xf0\x9f\x98", "?"},
        {"\xf0\x9f\x98(", "?("},
        {"\xf0\x80\x80\x80", "????"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xf5\x80", "??"},
        {"\xf8\x88\x80\x80\x80", "?????"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct arena arena;
        arena_init(&arena, 4096);
        struct str text = str_of(CASES[i].in);
        CU_ASSERT(utf8_clean(&text, &arena));
        char want[128] = "";
        size_t len = 0;
        for (const char *c = CASES[i].out; *c != '\0'; c++) {
            memcpy(want + len, *c == '?' ? "\xef\xbf\xbd" : (const char[3]){*c}, 3);
            len += *c == '?' ? 3 : 1;
        }
        want[len] = '\0';
        if (!str_is(text, want)) {
            fprintf(stderr, "case %zu: %.*s\n", i, (int)text.len, text.data);
            CU_FAIL("text");
        }
        arena_deinit(&arena);
    }
}

static void test_records_of_a_file(void)
{
    struct fetch_response_partition partition;
    fetch_response_partition_init(&partition);
    int file = 0;
    partition.records = (struct records){.data = {NULL, 1000}, .file = &file, .position = 4096};
    struct fetch_response_topic topic;
    fetch_response_topic_init(&topic);
    topic.partitions = &partition;
    topic.partitions_n = 1;
    struct fetch_response out;
    fetch_response_init(&out);
    out.topics = &topic;
    out.topics_n = 1;
    struct writer w;
    writer_init(&w, 100000);
    CU_ASSERT_EQUAL(message_encode(&fetch_response_message, 13, &out, &w), OK);
    CU_ASSERT_EQUAL(w.splices_n, 1);
    CU_ASSERT_EQUAL(w.splices[0].position, 4096);
    CU_ASSERT_EQUAL(w.splices[0].len, 1000);
    CU_ASSERT_EQUAL(w.splices[0].at, w.len - 3); /* the tag sections follow */
    CU_ASSERT_EQUAL(w.len + 1000, message_size(&fetch_response_message, 13, &out));
    writer_deinit(&w);
}

static void test_print(void)
{
    struct writer w;
    writer_init(&w, 10000);
    struct sasl_authenticate_request auth;
    sasl_authenticate_request_init(&auth);
    auth.auth_bytes = bytes_of("\0user\0hunter2", 13);
    message_print(&sasl_authenticate_request_message, 2, &auth, &w);
    struct str text = {(const char *)w.data, w.len};
    CU_ASSERT(str_is(text, "sasl_authenticate_request{auth_bytes=***}"));
    writer_clear(&w);
    struct heartbeat_response h;
    heartbeat_response_init(&h);
    h.error_code = ERR_REBALANCE_IN_PROGRESS;
    message_print(&heartbeat_response_message, 1, &h, &w);
    text = (struct str){(const char *)w.data, w.len};
    CU_ASSERT(
        str_is(text, "heartbeat_response{throttle_time_ms=0, error_code=REBALANCE_IN_PROGRESS}"));
    writer_deinit(&w);
}

static void test_apis(void)
{
    CU_ASSERT_PTR_NULL(api_schema_of(-1));
    CU_ASSERT_PTR_NULL(api_schema_of(52));
    CU_ASSERT_PTR_NULL(api_schema_of(1000));
    const struct api_schema *api = api_schema_of(API_FIND_COORDINATOR);
    CU_ASSERT_STRING_EQUAL(api->name, "FindCoordinator");
    CU_ASSERT_EQUAL(api->version_max, 6);
    CU_ASSERT_EQUAL(api_request_header_version(api, 2), 1);
    CU_ASSERT_EQUAL(api_request_header_version(api, 3), 2);
    CU_ASSERT_EQUAL(api_response_header_version(api, 3), 1);
    CU_ASSERT_EQUAL(api_response_header_version(api_schema_of(API_API_VERSIONS), 3), 0);
    CU_ASSERT_EQUAL(api_request_header_version(api_schema_of(API_CONTROLLED_SHUTDOWN), 0), 0);
    CU_ASSERT_STRING_EQUAL(api_schema_of(API_LEADER_AND_ISR)->name, "LeaderAndIsr");
}

#ifdef OTTLA_CHECK_ERRORS
/* Whether encoding the code ends the process. */
static bool encoding_aborts(int16_t code)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct heartbeat_response h;
        struct writer w;
        heartbeat_response_init(&h);
        h.error_code = code;
        writer_init(&w, 1000);
        log_set_level(LOG_OFF);
        (void)freopen("/dev/null", "w", stderr);
        _exit(message_encode(&heartbeat_response_message, 4, &h, &w) == OK ? 0 : 1);
    }
    int status = 0;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void test_only_listed_codes(void)
{
    CU_ASSERT(!encoding_aborts(OK));
    CU_ASSERT(!encoding_aborts(ERR_UNKNOWN_SERVER_ERROR));
    CU_ASSERT(!encoding_aborts(ERR_ILLEGAL_GENERATION));
    CU_ASSERT(encoding_aborts(ERR_NOT_CONTROLLER));
}
#else
static void test_only_listed_codes(void)
{
    /* Checked in debug builds. */
}
#endif

static void test_error_names(void)
{
    CU_ASSERT_STRING_EQUAL(kafka_error_name(0), "NONE");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(6), "NOT_LEADER_OR_FOLLOWER");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(-1), "UNKNOWN_SERVER_ERROR");
    CU_ASSERT_STRING_EQUAL(kafka_error_name(4711), "UNKNOWN_CODE");
    CU_ASSERT_EQUAL(kafka_error_wire(OK), 0);
    CU_ASSERT_EQUAL(kafka_error_wire(ERR_FENCED_LEADER_EPOCH), 74);
    CU_ASSERT_EQUAL(kafka_error_wire(E_LIMIT), -1);
    CU_ASSERT_EQUAL(kafka_error_of_log(E_CORRUPT), 56);
    CU_ASSERT_EQUAL(kafka_error_of_log(E_LIMIT), -1); /* no disk has failed */
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("codec", NULL, NULL);
    CU_add_test(suite, "round trip", test_round_trip);
    CU_add_test(suite, "defaults", test_defaults);
    CU_add_test(suite, "cut at every byte", test_cut_at_every_byte);
    CU_add_test(suite, "memory is bounded", test_memory_is_bounded);
    CU_add_test(suite, "arena is bounded", test_arena_is_bounded);
    CU_add_test(suite, "nulls", test_nulls);
    CU_add_test(suite, "null that may not be", test_null_that_may_not_be);
    CU_add_test(suite, "long string and varint", test_long_string_and_varint);
    CU_add_test(suite, "huge count", test_huge_count);
    CU_add_test(suite, "tags", test_tags);
    CU_add_test(suite, "text is made valid", test_text_is_made_valid);
    CU_add_test(suite, "records of a file", test_records_of_a_file);
    CU_add_test(suite, "print", test_print);
    CU_add_test(suite, "apis", test_apis);
    CU_add_test(suite, "only listed codes", test_only_listed_codes);
    CU_add_test(suite, "error names", test_error_names);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
