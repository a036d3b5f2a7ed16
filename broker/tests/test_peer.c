/* The client of other brokers, against a server that this test plays by hand on the same thread; time is
 * moved by hand. */
#define _GNU_SOURCE
#include "broker/net/peer.h"

#include "base/workers.h"
#include "broker/tests/net_util.h"

#include <errno.h>
#include <fcntl.h>

enum { FRAME_MAX = 1 << 20, PAUSE_MS = 10, PAUSE_MAX_MS = 35, CONNECT_MS = 1000, QUESTIONS = 8 };

struct question {
    struct peer_request request;
    uint8_t frame[64];
    int told; /* how often */
    err outcome;
    char answer[32];
    int order; /* in which it was told */
};

static struct {
    struct manual_clock clock;
    struct loop *loop;
    struct stream_pool streams;
    struct workers *workers;
    struct peer *peer;
    struct peer_address at;
    bool known;
    int listener;
    int conn; /* the server's end, -1 */
    int connected_n;
    int told_n;
    struct peer_request *greeting; /* sent first on each connection */
    struct question q[QUESTIONS];
} t;

static bool address_of(void *context, struct peer_address *address)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    *address = t.at;
    return t.known;
}

static void on_connected(void *context)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    t.connected_n++;
    if (t.greeting != NULL) {
        peer_send_first(t.peer, t.greeting);
    }
}

static void serve(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t len = sizeof(any);
    inet_pton(AF_INET, "127.0.0.1", &any.sin_addr);
    t.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CU_ASSERT_EQUAL_FATAL(bind(t.listener, (struct sockaddr *)&any, sizeof(any)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(t.listener, 5), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(t.listener, (struct sockaddr *)&any, &len), 0);
    t.at = (struct peer_address){.host = "127.0.0.1", .port = ntohs(any.sin_port)};
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    t.conn = -1;
    t.known = true;
    manual_clock_init(&t.clock, 1000000);
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.loop));
    stream_pool_init(&t.streams, FRAME_MAX, NULL);
    t.workers = workers_new(&(struct workers_config){.threads = threads_system(),
                                                     .sockets = sockets_system(),
                                                     .clock = clock_system(),
                                                     .threads_max = 1,
                                                     .queued_max = 10,
                                                     .queued_bytes_max = 1 << 20});
    serve();
    struct peer_config config = {.loop = t.loop,
                                 .streams = &t.streams,
                                 .workers = t.workers,
                                 .address = address_of,
                                 .connected = on_connected,
                                 .context = &t,
                                 .connect_timeout_ms = CONNECT_MS,
                                 .backoff_ms = PAUSE_MS,
                                 .backoff_max_ms = PAUSE_MAX_MS,
                                 .receive_buffer_bytes = -1};
    t.peer = peer_new(&config);
}

static void end(void)
{
    peer_free(t.peer);
    workers_stop(t.workers);
    workers_free(t.workers);
    loop_drain(t.loop);
    stream_pool_deinit(&t.streams);
    loop_free(t.loop);
    close(t.listener);
    if (t.conn >= 0) {
        close(t.conn);
    }
}

static void settle(void)
{
    while (loop_turn(t.loop)) {
    }
}

/* Turns the loop until it is so. */
static bool until(bool (*so)(void))
{
    for (int i = 0; i < PATIENCE_MS && !so(); i++) {
        settle();
        clock_sleep_us(clock_system(), 1000);
    }
    return so();
}

static bool accepted(void)
{
    if (t.conn < 0) {
        t.conn = accept4(t.listener, NULL, NULL, SOCK_CLOEXEC);
    }
    return t.conn >= 0;
}

static bool connected(void)
{
    return peer_is_connected(t.peer);
}

static bool disconnected(void)
{
    return !peer_is_connected(t.peer);
}

static int wanted_told;

static bool told_enough(void)
{
    return t.told_n >= wanted_told;
}

static bool until_told(int count)
{
    wanted_told = count;
    return until(told_enough);
}

static void hang_up(void)
{
    close(t.conn);
    t.conn = -1;
}

static void pass(int64_t ms)
{
    t.clock.now_ms += ms;
    settle();
}

static void on_done(struct peer_request *request, err outcome, uint8_t *frame, size_t len)
{
    struct question *q = container_of(request, struct question, request);
    q->told++;
    q->outcome = outcome;
    q->order = t.told_n++;
    CU_ASSERT_EQUAL(frame != NULL, outcome == OK);
    if (outcome == OK && len - 4 < sizeof(q->answer)) {
        memcpy(q->answer, frame + 4, len - 4);
        q->answer[len - 4] = '\0';
    }
}

static struct peer_request *make(int i, int64_t timeout_ms)
{
    struct question *q = &t.q[i];
    memset(q, 0, sizeof(*q));
    memset(q->frame, 0xee, 8);
    q->frame[8] = (uint8_t)('0' + i);
    q->request = (struct peer_request){
        .frame = q->frame, .frame_len = 9, .timeout_ms = timeout_ms, .done = on_done};
    return &q->request;
}

static void ask(int i, int64_t timeout_ms)
{
    peer_send(t.peer, make(i, timeout_ms));
}

/* What the server got: which question, by its last byte. */
static char receive(int32_t *correlation)
{
    uint8_t frame[13];
    CU_ASSERT(client_receive(t.conn, frame, sizeof(frame)));
    CU_ASSERT_EQUAL(load_u32(frame), 9);
    *correlation = (int32_t)load_u32(frame + 8);
    return (char)frame[12];
}

static void reply(int32_t correlation, const char *text)
{
    uint8_t frame[64];
    size_t len = strlen(text);
    store_u32(frame, (uint32_t)(4 + len));
    store_u32(frame + 4, (uint32_t)correlation);
    memcpy(frame + 8, text, len);
    CU_ASSERT(client_send(t.conn, frame, 8 + len));
}

/* Waits for a connection, and for this question on it. Returns its id. */
static int32_t get(int i)
{
    int32_t id = 0;
    CU_ASSERT_FATAL(until(accepted));
    CU_ASSERT(until(connected));
    CU_ASSERT_EQUAL(receive(&id), '0' + i);
    return id;
}

static bool nothing_more(void)
{
    uint8_t byte;
    settle();
    return recv(t.conn, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* ---- tests ---- */

static void test_one_at_a_time(void)
{
    int32_t id = 0;
    int32_t next = 0;
    begin();
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), INT64_MAX); /* nothing to ask: nothing is done */
    ask(0, -1);
    ask(1, -1);
    ask(2, -1);
    id = get(0);
    CU_ASSERT(nothing_more());
    reply(id, "a");
    CU_ASSERT(until_told(1));
    CU_ASSERT_EQUAL(t.q[0].outcome, OK);
    CU_ASSERT_STRING_EQUAL(t.q[0].answer, "a");
    CU_ASSERT_EQUAL(receive(&next), '1');
    CU_ASSERT_NOT_EQUAL(next, id);
    CU_ASSERT(peer_cancel(t.peer, &t.q[2].request));
    CU_ASSERT(!peer_cancel(t.peer, &t.q[2].request));
    CU_ASSERT(!peer_cancel(t.peer, &t.q[1].request)); /* it is being asked */
    reply(next, "");
    CU_ASSERT(until_told(2));
    CU_ASSERT(nothing_more());
    CU_ASSERT_EQUAL(t.connected_n, 1);
    end();
}

/* It is told once, and the others go by the next connection, after a pause that grows. */
static void test_broken(void)
{
    int32_t id = 0;
    begin();
    ask(0, -1);
    ask(1, -1);
    ask(2, -1);
    for (int i = 0; i < 2; i++) {
        id = get(i);
        hang_up();
        CU_ASSERT(until_told(i + 1));
        CU_ASSERT_EQUAL(t.q[i].outcome, E_CLOSED);
        CU_ASSERT_EQUAL(t.q[i].told, 1);
        int64_t pause_ms = i == 0 ? PAUSE_MS : 2 * PAUSE_MS;
        CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), t.clock.now_ms + pause_ms);
        pass(pause_ms - 1);
        CU_ASSERT(!accepted());
        pass(1);
    }
    id = get(2);
    reply(id, "x");
    CU_ASSERT(until_told(3));
    CU_ASSERT_EQUAL(t.q[2].outcome, OK);
    ask(3, -1); /* an answer ends the growing of pauses */
    settle();
    CU_ASSERT_EQUAL(receive(&id), '3');
    hang_up();
    CU_ASSERT(until_told(4));
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), t.clock.now_ms + PAUSE_MS);
    end();
}

/* The other side ends a connection that nobody uses: nobody is told, and there is no pause. */
static void test_idle_close(void)
{
    int32_t id = 0;
    begin();
    ask(0, -1);
    id = get(0);
    reply(id, "");
    CU_ASSERT(until_told(1));
    hang_up();
    CU_ASSERT(until(disconnected));
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), INT64_MAX);
    ask(1, -1);
    id = get(1);
    end();
    CU_ASSERT_EQUAL(t.q[1].outcome, E_CLOSED); /* told when the peer is freed */
}

static void test_nobody_there(void)
{
    begin();
    close(t.listener);
    ask(0, -1);
    ask(1, -1);
    CU_ASSERT(until_told(1));
    CU_ASSERT_EQUAL(t.q[0].outcome, err_from_errno(ECONNREFUSED));
    t.known = false;
    pass(PAUSE_MS);
    CU_ASSERT(until_told(2));
    CU_ASSERT_EQUAL(t.q[1].outcome, E_NOT_FOUND);
    ask(2, -1);
    ask(3, -1);
    pass(2 * PAUSE_MS);
    CU_ASSERT_EQUAL(t.q[2].outcome, E_NOT_FOUND);
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), t.clock.now_ms + PAUSE_MAX_MS); /* no longer */
    serve();
    t.known = true;
    pass(PAUSE_MAX_MS);
    CU_ASSERT_FATAL(until(accepted));
    CU_ASSERT(until(connected));
    end();
}

static void test_deadline(void)
{
    begin();
    ask(0, 500);
    ask(1, 500);
    (void)get(0);
    pass(499);
    CU_ASSERT_EQUAL(t.told_n, 0);
    pass(1);
    CU_ASSERT_EQUAL(t.told_n, 1);
    CU_ASSERT_EQUAL(t.q[0].outcome, err_from_errno(ETIMEDOUT));
    CU_ASSERT(!connected()); /* a late answer would be taken for the next one's */
    end();
}

/* It accepts in the kernel's queue, but the handshake never ends: as with a host that is off. */
static void test_connect_deadline(void)
{
    begin();
    t.at = (struct peer_address){.host = "192.0.2.1", .port = 9}; /* TEST-NET: nobody answers */
    ask(0, -1);
    settle();
    if (t.told_n == 0) { /* where there is no route it fails at once */
        pass(CONNECT_MS);
        CU_ASSERT_EQUAL(t.told_n, 1);
        CU_ASSERT_EQUAL(t.q[0].outcome, err_from_errno(ETIMEDOUT));
    }
    end();
}

static void check_bad_answer(const void *bytes, size_t len)
{
    begin();
    ask(0, -1);
    (void)get(0);
    CU_ASSERT(client_send(t.conn, bytes, len));
    CU_ASSERT(until_told(1));
    CU_ASSERT_EQUAL(t.q[0].outcome, E_MALFORMED);
    CU_ASSERT(!connected());
    end();
}

static void test_bad_answers(void)
{
    check_bad_answer("\0\0\0\4\x12\x34\x56\x78", 8); /* to another question */
    check_bad_answer("\0\0\0\2xx", 6);               /* to none */
    check_bad_answer("\x7f\xff\xff\xff", 4);         /* larger than is allowed */
    check_bad_answer("\xff\xff\xff\xff", 4);
}

/* An answer that nobody has asked for. */
static void test_unasked(void)
{
    int32_t id = 0;
    begin();
    ask(0, -1);
    id = get(0);
    reply(id, "a");
    reply(id, "b");
    CU_ASSERT(until_told(1));
    CU_ASSERT(until(disconnected));
    CU_ASSERT_EQUAL(t.told_n, 1);
    end();
}

/* An answer in ones of bytes. */
static void test_slow_answer(void)
{
    int32_t id = 0;
    uint8_t frame[14] = {0, 0, 0, 10};
    begin();
    ask(0, -1);
    id = get(0);
    store_u32(frame + 4, (uint32_t)id);
    memcpy(frame + 8, "answer", 6);
    for (size_t i = 0; i < sizeof(frame); i++) {
        CU_ASSERT_EQUAL(t.told_n, 0);
        CU_ASSERT(client_send(t.conn, frame + i, 1));
        clock_sleep_us(clock_system(), 1000);
        settle();
    }
    CU_ASSERT(until_told(1));
    CU_ASSERT_STRING_EQUAL(t.q[0].answer, "answer");
    end();
}

/* What must go first on each connection, before what waits. */
static void test_greeting(void)
{
    int32_t id = 0;
    begin();
    t.greeting = make(7, -1);
    ask(0, -1);
    for (int i = 0; i < 2; i++) {
        id = get(7);
        CU_ASSERT(nothing_more());
        reply(id, "hello");
        CU_ASSERT(until_told(2 * i + 1));
        CU_ASSERT_EQUAL(receive(&id), '0' + i);
        reply(id, "a");
        CU_ASSERT(until_told(2 * i + 2));
        peer_disconnect(t.peer);
        hang_up();
        if (i == 0) {
            t.greeting = make(7, -1);
            ask(1, -1);
        }
    }
    CU_ASSERT_EQUAL(t.connected_n, 2);
    end();
}

/* The broker has moved: what was being asked fails, the rest goes to the new place at once. */
static void test_moved(void)
{
    begin();
    ask(0, -1);
    ask(1, -1);
    (void)get(0);
    hang_up();
    close(t.listener);
    serve();
    peer_disconnect(t.peer);
    CU_ASSERT_EQUAL(t.q[0].outcome, E_CLOSED);
    (void)get(1);
    end();
}

/* A name is looked up by a worker, also one that nobody waits for any more. */
static void test_names(void)
{
    int32_t id = 0;
    begin();
    int32_t port = t.at.port;
    t.at = (struct peer_address){.host = "localhost", .port = port};
    ask(0, -1);
    id = get(0);
    reply(id, "");
    CU_ASSERT(until_told(1));
    peer_disconnect(t.peer);
    hang_up();
    t.at = (struct peer_address){.host = "no such host", .port = port};
    ask(1, -1);
    CU_ASSERT(until_told(2));
    CU_ASSERT_EQUAL(t.q[1].outcome, E_NOT_FOUND);
    pass(PAUSE_MS);
    ask(2, -1);
    end();
    CU_ASSERT_EQUAL(t.q[2].told, 1);
}

static void again(struct peer_request *request, err outcome, uint8_t *frame, size_t len)
{
    struct question *q = container_of(request, struct question, request);
    on_done(request, outcome, frame, len);
    if (q->told < 3) {
        peer_send_first(t.peer, request);
    }
}

/* Who is told asks again at once, as a controller does. */
static void test_asks_again(void)
{
    int32_t id = 0;
    begin();
    peer_send(t.peer, make(0, -1));
    t.q[0].request.done = again;
    ask(1, -1);
    for (int i = 0; i < 2; i++) {
        id = get(0);
        hang_up();
        CU_ASSERT(until_told(i + 1));
        pass(PAUSE_MS << i);
    }
    id = get(0);
    reply(id, "");
    CU_ASSERT(until_told(3));
    CU_ASSERT_EQUAL(t.q[0].outcome, OK);
    CU_ASSERT_EQUAL(receive(&id), '1');
    reply(id, "");
    CU_ASSERT(until_told(4));
    end();
}

static void refuse(struct peer_request *request, err outcome, uint8_t *frame, size_t len)
{
    on_done(request, outcome, frame, len);
    peer_send_first(t.peer, request);
    peer_refuse(t.peer);
}

/* Who is told finds that it is no answer: as if the connection had failed, each time. */
static void test_refused(void)
{
    int32_t id = 0;
    begin();
    peer_send(t.peer, make(0, -1));
    t.q[0].request.done = refuse;
    for (int i = 0; i < 2; i++) {
        id = get(0);
        reply(id, "?");
        CU_ASSERT(until_told(i + 1));
        CU_ASSERT(!connected());
        hang_up();
        pass((PAUSE_MS << i) - 1);
        CU_ASSERT(!accepted());
        pass(1);
    }
    t.q[0].request.done = on_done;
    id = get(0);
    reply(id, "");
    CU_ASSERT(until_told(3));
    ask(1, -1);
    settle();
    CU_ASSERT_EQUAL(receive(&id), '1');
    hang_up();
    CU_ASSERT(until_told(4));
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), t.clock.now_ms + PAUSE_MS);
    end();
}

/* A frame that is larger than what the socket takes at once. */
static void test_large(void)
{
    enum { LARGE = 8 << 20 };
    int32_t id = 0;
    uint8_t *large = xcalloc(LARGE + 4, 1);
    begin();
    peer_send(t.peer, make(0, -1));
    id = get(0);
    reply(id, "");
    CU_ASSERT(until_told(1));
    (void)make(1, -1);
    t.q[1].request.frame = large;
    t.q[1].request.frame_len = LARGE;
    peer_send(t.peer, &t.q[1].request);
    CU_ASSERT_EQUAL(fcntl(t.conn, F_SETFL, O_NONBLOCK), 0);
    uint8_t *got = xcalloc(LARGE + 4, 1);
    size_t len = 0;
    for (int i = 0; i < PATIENCE_MS && len < LARGE + 4; i++) {
        ssize_t n = recv(t.conn, got + len, LARGE + 4 - len, 0);
        len += n > 0 ? (size_t)n : 0;
        settle();
        if (n <= 0) {
            clock_sleep_us(clock_system(), 1000);
        }
    }
    CU_ASSERT_EQUAL(len, LARGE + 4);
    CU_ASSERT_EQUAL(load_u32(got), LARGE);
    reply((int32_t)load_u32(got + 8), "done");
    CU_ASSERT(until_told(2));
    CU_ASSERT_STRING_EQUAL(t.q[1].answer, "done");
    free(got);
    free(large);
    end();
}

SUITE("peer", TEST(test_one_at_a_time), TEST(test_broken), TEST(test_idle_close),
      TEST(test_nobody_there), TEST(test_deadline), TEST(test_connect_deadline),
      TEST(test_bad_answers), TEST(test_unasked), TEST(test_slow_answer), TEST(test_greeting),
      TEST(test_moved), TEST(test_names), TEST(test_asks_again), TEST(test_refused),
      TEST(test_large))
