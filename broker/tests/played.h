/* A broker that a test plays by hand: it listens, has one connection, and is asked by what is tested, whose
 * loops are turned by the test. Requests are decoded, answers encoded, or made of any bytes. */
#ifndef OTTLA_BROKER_TESTS_PLAYED_H
#define OTTLA_BROKER_TESTS_PLAYED_H

#include "broker/tests/net_util.h"
#include "protocol/exchange.h"

#include <errno.h>

enum { PLAYED_ARENA_BYTES = 256 << 20, PLAYED_FRAME_BYTES = 64 << 20 };

struct played {
    void (*turn)(void); /* turns the loops until nothing happens any more */
    int listener;
    int32_t port;
    int conn; /* -1: none */

    /* The request that came last; in the arena. */
    struct arena arena;
    struct exchange asked;
    int32_t correlation;
    struct str client_id;
    void *request; /* of the API's type */
    size_t request_bytes;
};

UNUSED static void played_listen(struct played *b)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)b->port)};
    socklen_t len = sizeof(any);
    int one = 1;
    inet_pton(AF_INET, "127.0.0.1", &any.sin_addr);
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(b->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    CU_ASSERT_EQUAL_FATAL(bind(b->listener, (struct sockaddr *)&any, sizeof(any)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(b->listener, 5), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(b->listener, (struct sockaddr *)&any, &len), 0);
    b->port = ntohs(any.sin_port);
}

UNUSED static void played_begin(struct played *b, void (*turn)(void))
{
    *b = (struct played){.turn = turn, .conn = -1, .listener = -1};
    arena_init(&b->arena, PLAYED_ARENA_BYTES);
    played_listen(b);
}

UNUSED static void played_hang_up(struct played *b)
{
    close(b->conn);
    b->conn = -1;
}

/* As a process that is killed: what was not read is answered by a reset. */
UNUSED static void played_reset(struct played *b)
{
    struct linger at_once = {.l_onoff = 1};
    setsockopt(b->conn, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    played_hang_up(b);
}

UNUSED static void played_end(struct played *b)
{
    if (b->conn >= 0) {
        close(b->conn);
    }
    close(b->listener);
    arena_deinit(&b->arena);
}

UNUSED static bool played_accept(struct played *b)
{
    if (b->conn < 0) {
        int one = 1;
        struct timeval timeout = {.tv_sec = PATIENCE_MS / 1000};
        b->conn = accept(b->listener, NULL, NULL);
        if (b->conn >= 0) {
            setsockopt(b->conn, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
            setsockopt(b->conn, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        }
    }
    return b->conn >= 0;
}

/* Has a byte come, or the end, on a connection that is there, or comes now? */
UNUSED static bool played_hears(struct played *b)
{
    uint8_t byte;
    b->turn();
    return played_accept(b) &&
           (recv(b->conn, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN);
}

/* Nothing comes. */
UNUSED static bool played_silence(struct played *b)
{
    for (int i = 0; i < 5; i++) {
        if (played_hears(b)) {
            return false;
        }
        sleep_ms(1);
    }
    return true;
}

UNUSED static bool played_heard(struct played *b)
{
    int64_t until_ms = now_ms() + PATIENCE_MS;
    while (!played_hears(b)) {
        if (now_ms() > until_ms) {
            return false;
        }
        sleep_ms(1);
    }
    return true;
}

/* The other side gives the connection up. */
UNUSED static bool played_is_left(struct played *b)
{
    uint8_t byte;
    bool left = played_heard(b) && recv(b->conn, &byte, 1, MSG_DONTWAIT) <= 0;
    played_hang_up(b);
    return left;
}

UNUSED static bool played_decode(struct played *b, struct bytes frame)
{
    struct reader reader = reader_of(frame);
    struct request_header header;
    int16_t key = (int16_t)(load_u32(frame.data) >> 16);
    int16_t version = (int16_t)load_u32(frame.data);
    const struct api_schema *api = api_schema_of(key);
    CU_ASSERT_PTR_NOT_NULL_FATAL(api);
    MUST(message_decode(&request_header_message, api_request_header_version(api, version), &reader,
                        &b->arena, &header));
    b->asked = (struct exchange){.api_key = key, .version = version};
    b->correlation = header.correlation_id;
    b->client_id = header.client_id;
    b->request = arena_alloc(&b->arena, message_struct_size(api->request));
    message_init(api->request, b->request);
    return message_decode(api->request, version, &reader, &b->arena, b->request) == OK;
}

/* Waits for the next request; NULL unless it is of that API. The one before is gone. */
UNUSED static const void *played_next(struct played *b, int16_t api_key)
{
    uint8_t size[4];
    if (!played_heard(b) || !client_receive(b->conn, size, sizeof(size))) {
        printf("\nnothing is asked, api %d was expected\n", api_key);
        CU_FAIL("nothing is asked");
        return NULL;
    }
    arena_reset(&b->arena, PLAYED_ARENA_BYTES);
    b->request_bytes = load_u32(size);
    uint8_t *frame = arena_alloc(&b->arena, b->request_bytes);
    CU_ASSERT_FATAL(client_receive(b->conn, frame, b->request_bytes));
    bool whole = played_decode(b, bytes_of(frame, b->request_bytes));
    bool expected = whole && b->asked.api_key == api_key;
    if (!expected) {
        printf("\napi %d is asked, %d was expected\n", b->asked.api_key, api_key);
    }
    CU_ASSERT(expected);
    return expected ? b->request : NULL;
}

/* The answer to the last request as a frame, its length before it; the caller deinits `out`. */
UNUSED static void played_encode(struct played *b, const void *response, struct writer *out)
{
    const struct api_schema *api = api_schema_of(b->asked.api_key);
    struct response_header header = {.correlation_id = b->correlation};
    writer_init(out, PLAYED_FRAME_BYTES);
    writer_i32(out, 0);
    MUST(message_encode(&response_header_message,
                        api_response_header_version(api, b->asked.version), &header, out));
    MUST(message_encode(api->response, b->asked.version, response, out));
    store_u32(out->data, (uint32_t)(out->len - 4));
}

UNUSED static void played_send(struct played *b, const void *data, size_t len)
{
    CU_ASSERT(client_send(b->conn, data, len));
    b->turn();
}

UNUSED static void played_answer(struct played *b, const void *response)
{
    struct writer out;
    played_encode(b, response, &out);
    played_send(b, out.data, out.len);
    writer_deinit(&out);
}

/* A frame that answers the last request with these bytes after the correlation id. */
UNUSED static void played_answer_bytes(struct played *b, const void *data, size_t len)
{
    struct writer out;
    writer_init(&out, PLAYED_FRAME_BYTES);
    writer_i32(&out, (int32_t)(4 + len));
    writer_i32(&out, b->correlation);
    writer_bytes(&out, data, len);
    played_send(b, out.data, out.len);
    writer_deinit(&out);
}

#endif
