/* Connections, over TCP against a loop on a thread of its own: framing, order, muting, limits,
 * slow readers, silence, memory.
 *
 * The layer above is made up: a frame is echoed, except those that begin with
 *   P  parked until the test lets it go, then echoed
 *   K  the same, and its buffer is kept meanwhile; it is a large one
 *   C  the connection is broken after what is queued
 *   X  conn_close() in the middle of the frame
 *   B  answered with ANSWER_BYTES bytes
 *   F  answered with a file range between two bytes of memory */
#define _GNU_SOURCE
#include "broker/net/conn.h"

#include "broker/tests/net_util.h"
#include "storage/file_cache.h"

#include <pthread.h>

enum {
    THROTTLE_MS = 150,
    FRAME_MAX = 100 << 20,
    ANSWER_BYTES = 32 << 10,
    PARKED_BYTES = 256,
    FILE_BYTES = 300000
};

static struct {
    struct loop *loop;
    struct net_loop net;
    pthread_t thread;
    int listener;
    int port;
    char dir[64];
    struct file_cache *files;

    atomic_int frames_n;
    atomic_int opened_n;
    atomic_int closes_n; /* on_close */
    atomic_int gone_n;   /* on_conn_gone */
    struct conn *_Atomic parked;
    uint8_t parked_frame[PARKED_BYTES];
    size_t parked_len;
    struct buffer kept;
    uint8_t *kept_frame;
    size_t kept_len;
    struct net_memory memory;
    struct loop_task task;
    int to_open;
} t;

/* ---- the layer above ---- */

static void echo(struct conn *conn, const uint8_t *frame, size_t len)
{
    put_frame(conn_out(conn), frame, len);
}

static void answer_file(struct conn *conn)
{
    struct open_file *file = NULL;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", t.dir);
    CU_ASSERT_EQUAL(file_cache_acquire(t.files, path, NULL, &file), OK);
    writer_i32(conn_out(conn), FILE_BYTES - 1000 + 2);
    writer_i8(conn_out(conn), '<');
    writer_splice(conn_out(conn), file, 1000, FILE_BYTES - 1000);
    writer_i8(conn_out(conn), '>');
}

static enum frame_result on_frame(void *context, struct conn *conn, uint8_t *frame, size_t len)
{
    static const uint8_t big[ANSWER_BYTES];
    CU_ASSERT_PTR_EQUAL(context, &t);
    atomic_fetch_add(&t.frames_n, 1);
    switch (len == 0 ? '\0' : frame[0]) {
    case 'P':
        memcpy(t.parked_frame, frame, len);
        t.parked_len = len;
        atomic_store(&t.parked, conn);
        return FRAME_PARKED;
    case 'K':
        CU_ASSERT(conn_give_frame(conn, len, &t.kept));
        t.kept_frame = frame;
        t.kept_len = len;
        atomic_store(&t.parked, conn);
        return FRAME_PARKED;
    case 'C':
        echo(conn, frame, len);
        return FRAME_CLOSE;
    case 'X':
        conn_close(conn);
        return FRAME_DONE;
    case 'B':
        put_frame(conn_out(conn), big, sizeof(big));
        break;
    case 'F':
        answer_file(conn);
        break;
    default:
        echo(conn, frame, len);
        break;
    }
    memset(frame, 0xee, len); /* the bytes may be changed */
    return FRAME_DONE;
}

static void on_close(void *context, struct conn *conn)
{
    (void)context;
    CU_ASSERT_PTR_EQUAL(atomic_load(&t.parked), conn);
    atomic_store(&t.parked, NULL);
    atomic_fetch_add(&t.closes_n, 1);
}

static void on_gone(void *context, struct conn *conn)
{
    (void)context;
    (void)conn;
    atomic_fetch_add(&t.gone_n, 1);
}

/* ---- one loop ---- */

static void *loop_thread(void *argument)
{
    (void)argument;
    loop_run(t.loop);
    net_loop_deinit(&t.net);
    return NULL;
}

static const struct net_limits LIMITS = {.frame_bytes_max = FRAME_MAX,
                                         .idle_ms = 600000,
                                         .partial_idle_ms = 30000,
                                         .send_buffer_bytes = -1,
                                         .receive_buffer_bytes = -1};

static void begin(struct net_limits limits)
{
    struct conn_handler handler = {.on_frame = on_frame, .on_close = on_close, .context = &t};
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    t.files = file_cache_new(fs_system(), 10);
    MUST(loop_new(clock_system(), sockets_system(), &t.loop));
    t.memory.buffered_bytes_max = SIZE_MAX / 2;
    net_loop_init(&t.net, t.loop, &handler, &limits, &t.memory);
    t.net.on_conn_gone = on_gone;
    struct sockaddr_in address = {.sin_family = AF_INET};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    t.listener = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL_FATAL(bind(t.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(t.listener, 1000), 0);
    socklen_t len = sizeof(address);
    getsockname(t.listener, (struct sockaddr *)&address, &len);
    t.port = ntohs(address.sin_port);
    pthread_create(&t.thread, NULL, loop_thread, NULL);
}

static void end(void)
{
    loop_stop(t.loop);
    pthread_join(t.thread, NULL);
    loop_free(t.loop);
    close(t.listener);
    file_cache_free(t.files);
    temp_dir_remove(t.dir);
}

static void on_open_task(struct loop_task *task)
{
    (void)task;
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    getpeername(t.to_open, (struct sockaddr *)&peer, &len);
    conn_open(&t.net, t.to_open, NULL, &peer);
    atomic_fetch_add(&t.opened_n, 1);
}

/* The other end of a client's socket becomes a connection of the loop. */
static void take_conn(void)
{
    int opened = atomic_load(&t.opened_n);
    t.to_open = accept4(t.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CU_ASSERT_FATAL(t.to_open >= 0);
    t.task.run = on_open_task;
    loop_post(t.loop, &t.task);
    EVENTUALLY(atomic_load(&t.opened_n) > opened);
}

static int open_conn(void)
{
    int client = client_connect(t.port);
    take_conn();
    return client;
}

static void on_resume_task(struct loop_task *task)
{
    (void)task;
    struct conn *conn = atomic_exchange(&t.parked, NULL);
    struct buffer kept = t.kept;
    t.kept = (struct buffer){0};
    if (conn != NULL) {
        bool keeps = kept.data != NULL;
        echo(conn, keeps ? t.kept_frame : t.parked_frame, keeps ? t.kept_len : t.parked_len);
        net_loop_return(&t.net, &kept);
        conn_resume(conn);
    } else {
        net_loop_return(&t.net, &kept);
    }
}

static void resume(void)
{
    EVENTUALLY(atomic_load(&t.parked) != NULL);
    t.task.run = on_resume_task;
    loop_post(t.loop, &t.task);
}

static bool send_frame(int client, const char *text)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    put_frame(&w, text, strlen(text));
    bool sent = client_send(client, w.data, w.len);
    writer_deinit(&w);
    return sent;
}

static bool echoes(int client, const char *text)
{
    return client_frame_is(client, text, strlen(text));
}

/* ---- framing ---- */

static void test_split_at_every_byte(void)
{
    begin(LIMITS);
    static const char *const FRAMES[] = {"one", "", "the third is a little longer"};
    struct writer w;
    writer_init(&w, 1000);
    for (int i = 0; i < 3; i++) {
        put_frame(&w, FRAMES[i], strlen(FRAMES[i]));
    }
    int client = open_conn();
    for (size_t cut = 1; cut < w.len; cut++) {
        CU_ASSERT(client_send(client, w.data, cut));
        sleep_ms(2);
        CU_ASSERT(client_send(client, w.data + cut, w.len - cut));
        for (int i = 0; i < 3; i++) {
            CU_ASSERT_FATAL(echoes(client, FRAMES[i]));
        }
    }
    for (size_t i = 0; i < w.len; i++) {
        CU_ASSERT(client_send(client, w.data + i, 1));
        sleep_ms(1);
    }
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_FATAL(echoes(client, FRAMES[i]));
    }
    writer_deinit(&w);
    close(client);
    end();
}

struct sender {
    int fd;
    const struct writer *w;
};

static void *send_all(void *argument)
{
    const struct sender *sender = argument;
    CU_ASSERT(client_send(sender->fd, sender->w->data, sender->w->len));
    return NULL;
}

/* Frames of all sizes, in pieces that fit nothing, answered in order. */
static void test_pipelining(void)
{
    begin(LIMITS);
    enum { N = 800 };
    struct seeded_random random;
    seeded_random_init(&random, 11);
    struct writer w;
    static uint8_t frame[300000];
    size_t starts[N + 1];
    writer_init(&w, 1 << 30);
    for (int i = 0; i < N; i++) {
        size_t len = random_below(&random.random, i % 50 == 0 ? sizeof(frame) : 900);
        memset(frame, '0' + i % 10, len);
        starts[i] = w.len;
        put_frame(&w, frame, len);
    }
    starts[N] = w.len;
    int client = open_conn();
    struct sender sender = {client, &w};
    pthread_t thread;
    pthread_create(&thread, NULL, send_all, &sender);
    for (int i = 0; i < N; i++) {
        CU_ASSERT_FATAL(
            client_frame_is(client, w.data + starts[i] + 4, starts[i + 1] - starts[i] - 4));
    }
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(atomic_load(&t.frames_n), N);
    writer_deinit(&w);
    close(client);
    end();
}

static void test_muting(void)
{
    begin(LIMITS);
    int client = open_conn();
    CU_ASSERT(send_frame(client, "a") && send_frame(client, "Park") && send_frame(client, "b"));
    CU_ASSERT(echoes(client, "a"));
    EVENTUALLY(atomic_load(&t.parked) != NULL);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT(send_frame(client, "c"));
        sleep_ms(1);
    }
    CU_ASSERT_EQUAL(atomic_load(&t.frames_n), 2);
    resume();
    CU_ASSERT(echoes(client, "Park") && echoes(client, "b"));
    for (int i = 0; i < 20; i++) {
        CU_ASSERT(echoes(client, "c"));
    }
    /* Parked twice in a row, with the second frame already there. */
    CU_ASSERT(send_frame(client, "P1") && send_frame(client, "P2") && send_frame(client, "d"));
    resume();
    CU_ASSERT(echoes(client, "P1"));
    resume();
    CU_ASSERT(echoes(client, "P2") && echoes(client, "d"));
    close(client);
    EVENTUALLY(atomic_load(&t.gone_n) == 1);
    CU_ASSERT_EQUAL(atomic_load(&t.closes_n), 0);
    end();
}

/* The end of a connection whose request is parked is told, once; half-closed it is answered. */
static void test_closed_while_parked(void)
{
    begin(LIMITS);
    int client = open_conn();
    CU_ASSERT(send_frame(client, "P"));
    EVENTUALLY(atomic_load(&t.parked) != NULL);
    struct linger hard = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(client);
    EVENTUALLY(atomic_load(&t.closes_n) == 1);
    EVENTUALLY(atomic_load(&t.gone_n) == 1);
    client = open_conn();
    CU_ASSERT(send_frame(client, "Pq") && send_frame(client, "r"));
    shutdown(client, SHUT_WR);
    sleep_ms(20);
    resume();
    CU_ASSERT(echoes(client, "Pq") && echoes(client, "r"));
    CU_ASSERT(client_sees_end(client));
    close(client);
    EVENTUALLY(atomic_load(&t.gone_n) == 2);
    end();
}

static void test_closing_frames(void)
{
    begin(LIMITS);
    int client = open_conn();
    CU_ASSERT(send_frame(client, "a") && send_frame(client, "Close") && send_frame(client, "b"));
    CU_ASSERT(echoes(client, "a") && echoes(client, "Close"));
    CU_ASSERT(client_sees_end(client));
    CU_ASSERT_EQUAL(atomic_load(&t.frames_n), 2);
    close(client);
    client = open_conn();
    CU_ASSERT(send_frame(client, "X"));
    CU_ASSERT(client_sees_end(client));
    close(client);
    EVENTUALLY(atomic_load(&t.gone_n) == 2);
    CU_ASSERT_EQUAL(atomic_load(&t.closes_n), 0);
    end();
}

/* Answers to the frames before are sent; nothing after is read. */
static void test_oversize_frames(void)
{
    static const int32_t SIZES[] = {1001, INT32_MAX, -1, INT32_MIN, 1195725856 /* "GET " */};
    struct net_limits limits = LIMITS;
    limits.frame_bytes_max = 1000;
    begin(limits);
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        for (int turn = 0; turn < 2; turn++) {
            struct writer w;
            writer_init(&w, 10000);
            put_frame(&w, "before", 6);
            writer_i32(&w, SIZES[i]);
            size_t split = turn == 0 ? w.len : w.len - 2;
            put_frame(&w, "after", 5);
            int client = open_conn();
            CU_ASSERT(client_send(client, w.data, split));
            sleep_ms(turn * 3);
            (void)client_send(client, w.data + split, w.len - split);
            CU_ASSERT(echoes(client, "before"));
            CU_ASSERT(client_sees_end(client));
            close(client);
            writer_deinit(&w);
        }
    }
    CU_ASSERT_EQUAL(atomic_load(&t.frames_n), 10);
    uint8_t frame[1000] = {0};
    struct writer w;
    writer_init(&w, 2000);
    put_frame(&w, frame, sizeof(frame));
    int client = open_conn();
    CU_ASSERT(client_send(client, w.data, w.len) && client_frame_is(client, frame, 1000));
    close(client);
    writer_deinit(&w);
    end();
}

static void test_large_frame(void)
{
    begin(LIMITS);
    enum { LARGE = 40 << 20 };
    struct writer w;
    writer_init(&w, 1 << 30);
    uint8_t *data = xmalloc(LARGE);
    struct seeded_random random;
    seeded_random_init(&random, 1);
    for (size_t i = 0; i < LARGE; i += 64) {
        memset(data + i, (int)random_u64(&random.random), 64);
    }
    data[0] = 'e';
    put_frame(&w, data, LARGE);
    put_frame(&w, "x", 1);
    for (int turn = 0; turn < 2; turn++) {
        int client = open_conn();
        struct sender sender = {client, &w};
        pthread_t thread;
        pthread_create(&thread, NULL, send_all, &sender);
        CU_ASSERT(client_frame_is(client, data, LARGE));
        CU_ASSERT(echoes(client, "x"));
        pthread_join(thread, NULL);
        close(client);
    }
    free(data);
    writer_deinit(&w);
    end();
}

/* ---- sending ---- */

/* Frames that keep their buffers, with others close behind them. */
static void test_kept_frames(void)
{
    enum { LARGE = 1 << 20, FRAMES = 5 };
    begin(LIMITS);
    int client = open_conn();
    static uint8_t large[LARGE] = "K";
    struct writer w;
    writer_init(&w, FRAMES * (LARGE + 100));
    for (int i = 0; i < FRAMES; i++) {
        large[1] = (uint8_t)i;
        put_frame(&w, large, LARGE - (size_t)i * 100);
        put_frame(&w, "small", 5);
    }
    struct sender sender = {client, &w};
    pthread_t thread;
    pthread_create(&thread, NULL, send_all, &sender);
    for (int i = 0; i < FRAMES; i++) {
        resume();
        large[1] = (uint8_t)i;
        CU_ASSERT(client_frame_is(client, large, LARGE - (size_t)i * 100));
        CU_ASSERT(echoes(client, "small"));
    }
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(atomic_load(&t.memory.buffered_bytes), 0);
    CU_ASSERT(client_send(client, w.data, LARGE + 4));
    EVENTUALLY(atomic_load(&t.parked) != NULL);
    CU_ASSERT(atomic_load(&t.memory.buffered_bytes) >= LARGE);
    struct linger hard = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(client);
    EVENTUALLY(atomic_load(&t.gone_n) == 1);
    t.task.run = on_resume_task;
    loop_post(t.loop, &t.task);
    EVENTUALLY(atomic_load(&t.memory.buffered_bytes) == 0);
    writer_deinit(&w);
    end();
}

static void test_slow_reader(void)
{
    struct net_limits limits = LIMITS;
    limits.send_buffer_bytes = 16384;
    begin(limits);
    enum { N = 400 };
    int client = open_conn();
    for (int i = 0; i < N; i++) {
        CU_ASSERT(send_frame(client, i % 2 == 0 ? "B" : "small"));
    }
    sleep_ms(100);
    int handled = atomic_load(&t.frames_n);
    sleep_ms(50);
    CU_ASSERT_EQUAL(atomic_load(&t.frames_n), handled); /* it waits for the reader */
    /* Two batches, what the sockets hold (the client's is large), and no more. */
    CU_ASSERT((int64_t)handled / 2 * ANSWER_BYTES < (8 << 20));
    CU_ASSERT(handled < N);
    int other = open_conn();
    CU_ASSERT(send_frame(other, "not held up") && echoes(other, "not held up"));
    for (int i = 0; i < N; i++) {
        size_t len = 0;
        char *data = client_frame(client, &len);
        CU_ASSERT_PTR_NOT_NULL_FATAL(data);
        CU_ASSERT_EQUAL(len, i % 2 == 0 ? ANSWER_BYTES : 5);
        free(data);
    }
    CU_ASSERT(send_frame(client, "Park"));
    resume();
    CU_ASSERT(echoes(client, "Park"));
    close(client);
    close(other);
    end();
}

/* A slow reader that goes away lets go of what was queued for it. */
static void test_slow_reader_goes(void)
{
    struct net_limits limits = LIMITS;
    limits.send_buffer_bytes = 16384;
    begin(limits);
    char path[128];
    snprintf(path, sizeof(path), "%s/file", t.dir);
    uint8_t *data = xcalloc(1, FILE_BYTES);
    MUST(fs_write_atomic(fs_system(), path, bytes_of(data, FILE_BYTES)));
    free(data);
    int client = open_conn();
    for (int i = 0; i < 100; i++) {
        CU_ASSERT(send_frame(client, "F"));
    }
    sleep_ms(50);
    CU_ASSERT(atomic_load(&t.frames_n) < 100);
    close(client);
    EVENTUALLY(atomic_load(&t.gone_n) == 1);
    end(); /* the sanitizer sees a file that was not released */
}

static void test_file_ranges(void)
{
    begin(LIMITS);
    char path[128];
    snprintf(path, sizeof(path), "%s/file", t.dir);
    uint8_t *data = xmalloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        data[i] = (uint8_t)(i * 7 + i / 256);
    }
    MUST(fs_write_atomic(fs_system(), path, bytes_of(data, FILE_BYTES)));
    int client = open_conn();
    for (int i = 0; i < 10; i++) {
        CU_ASSERT(send_frame(client, "F") && send_frame(client, "between"));
    }
    for (int i = 0; i < 10; i++) {
        size_t len = 0;
        char *answer = client_frame(client, &len);
        CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
        CU_ASSERT_EQUAL_FATAL(len, FILE_BYTES - 1000 + 2);
        CU_ASSERT(answer[0] == '<' && answer[len - 1] == '>');
        CU_ASSERT_EQUAL(memcmp(answer + 1, data + 1000, FILE_BYTES - 1000), 0);
        free(answer);
        CU_ASSERT(echoes(client, "between"));
    }
    free(data);
    close(client);
    end();
}

/* How many bytes come until the end. */
static size_t bytes_until_end(int client)
{
    uint8_t *data = xmalloc(FILE_BYTES);
    size_t len = 0;
    ssize_t n = 0;
    do {
        n = recv(client, data, FILE_BYTES, 0);
        len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    free(data);
    return len;
}

/* The file is cut there while an answer of it is being sent to somebody who does not read. Returns how
 * much of the answer arrives. */
static size_t answer_of_cut_file(int64_t position)
{
    struct net_limits limits = LIMITS;
    struct open_file *file = NULL;
    char path[128];
    limits.send_buffer_bytes = 16384;
    begin(limits);
    snprintf(path, sizeof(path), "%s/file", t.dir);
    uint8_t *data = xcalloc(1, FILE_BYTES);
    MUST(fs_write_atomic(fs_system(), path, bytes_of(data, FILE_BYTES)));
    free(data);
    int client = client_connect_small(t.port);
    take_conn();
    CU_ASSERT(send_frame(client, "F"));
    EVENTUALLY(atomic_load(&t.frames_n) == 1);
    sleep_ms(20); /* both buffers are full */
    MUST(file_cache_acquire(t.files, path, NULL, &file));
    open_file_cut(t.files, file, position);
    open_file_release(file);
    shutdown(client, SHUT_WR); /* where nothing fails it ends after the answer */
    size_t len = bytes_until_end(client);
    close(client);
    EVENTUALLY(atomic_load(&t.gone_n) == 1);
    end();
    return len;
}

/* Nobody gets other bytes than were promised: the answer ends, and the connection with it. */
static void test_file_is_cut(void)
{
    enum { WHOLE = 4 + 2 + FILE_BYTES - 1000 };
    size_t len = answer_of_cut_file(FILE_BYTES - 1);
    CU_ASSERT(len > 0 && len < WHOLE);
    CU_ASSERT_EQUAL(answer_of_cut_file(FILE_BYTES), WHOLE);
}

/* ---- silence ---- */

static int ms_until_end(int client)
{
    int64_t start_ms = now_ms();
    CU_ASSERT(client_sees_end(client));
    return (int)(now_ms() - start_ms);
}

static void on_throttle_task(struct loop_task *task)
{
    struct conn *conn = atomic_load(&t.parked);
    conn_throttle(conn, THROTTLE_MS);
    on_resume_task(task);
}

/* The answer goes out at once; what waits, in a buffer or in the socket, is looked at afterwards. */
static void test_throttle(void)
{
    begin(LIMITS);
    int client = open_conn();
    CU_ASSERT(send_frame(client, "Park"));
    EVENTUALLY(atomic_load(&t.parked) != NULL);
    CU_ASSERT(send_frame(client, "second"));
    int64_t began_ms = clock_monotonic_ms(clock_system());
    t.task.run = on_throttle_task;
    loop_post(t.loop, &t.task);
    CU_ASSERT(echoes(client, "Park"));
    CU_ASSERT(send_frame(client, "third"));
    CU_ASSERT(echoes(client, "second"));
    CU_ASSERT(clock_monotonic_ms(clock_system()) - began_ms >= THROTTLE_MS);
    CU_ASSERT(echoes(client, "third"));
    CU_ASSERT(send_frame(client, "Park"));
    EVENTUALLY(atomic_load(&t.parked) != NULL);
    t.task.run = on_throttle_task; /* one that ends meanwhile */
    loop_post(t.loop, &t.task);
    CU_ASSERT(echoes(client, "Park"));
    close(client);
    end();
}

static void test_idle(void)
{
    struct net_limits limits = LIMITS;
    limits.idle_ms = 200;
    begin(limits);
    int silent = open_conn();
    int talking = open_conn();
    for (int i = 0; i < 8; i++) {
        sleep_ms(40);
        CU_ASSERT(send_frame(talking, "x") && echoes(talking, "x"));
    }
    CU_ASSERT(ms_until_end(silent) < 40);
    int ms = ms_until_end(talking);
    CU_ASSERT(ms >= 150 && ms < 2000);
    close(silent);
    close(talking);
    end();
}

/* A frame that does not come to its end has its own, shorter time; that others may be silent for
 * longer, or for ever, changes nothing for either. */
static void test_idle_in_a_frame(void)
{
    for (int turn = 0; turn < 2; turn++) {
        struct net_limits limits = LIMITS;
        limits.idle_ms = turn == 0 ? 600000 : -1;
        limits.partial_idle_ms = 100;
        begin(limits);
        int silent = open_conn();
        int partial = open_conn();
        int parked = open_conn();
        CU_ASSERT(send_frame(parked, "P"));
        EVENTUALLY(atomic_load(&t.parked) != NULL);
        CU_ASSERT(client_send(parked, "\0\0", 2));
        CU_ASSERT(client_send(partial, "\0\0\0\5ab", 6));
        int ms = ms_until_end(partial);
        CU_ASSERT(ms >= 90 && ms < 2000);
        CU_ASSERT(send_frame(silent, "still here") && echoes(silent, "still here"));
        resume();
        CU_ASSERT(echoes(parked, "P"));
        close(silent);
        close(partial);
        close(parked);
        end();
    }
}

/* One that comes when the loop has ended is closed. */
static void test_opened_after_the_end(void)
{
    begin(LIMITS);
    int client = client_connect(t.port);
    int fd = accept4(t.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    loop_stop(t.loop);
    pthread_join(t.thread, NULL);
    conn_open(&t.net, fd, NULL, &peer);
    CU_ASSERT(client_sees_end(client));
    CU_ASSERT_EQUAL(atomic_load(&t.net.conns_n), 0);
    close(client);
    pthread_create(&t.thread, NULL, loop_thread, NULL);
    end();
}

/* ---- memory ---- */

#ifdef __SANITIZE_THREAD__
enum { SHADOW = 6 }; /* what the sanitizer has beside each byte */
#elif defined(__SANITIZE_ADDRESS__)
enum { SHADOW = 2 }; /* it keeps what was freed: every buffer that was grown out of */
#else
enum { SHADOW = 1 };
#endif

static size_t resident_bytes(void)
{
    size_t pages = 0;
    size_t resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fscanf(file, "%zu %zu", &pages, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_memory_grows_with_what_arrived(void)
{
    begin(LIMITS);
    enum { CLIENTS = 200, SENT = 10 };
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = open_conn();
    }
    size_t before = resident_bytes();
    uint8_t bytes[4 + SENT] = {0};
    store_u32(bytes, FRAME_MAX);
    for (int i = 0; i < CLIENTS; i++) {
        CU_ASSERT(client_send(clients[i], bytes, sizeof(bytes)));
    }
    int other = open_conn();
    CU_ASSERT(send_frame(other, "x") && echoes(other, "x"));
    sleep_ms(20);
    size_t after = resident_bytes();
    CU_ASSERT(after < before + SHADOW * (8 << 20));
    /* 64 KiB more of each: a small multiple of what came. */
    static const uint8_t more[64 << 10];
    for (int i = 0; i < CLIENTS; i++) {
        CU_ASSERT(client_send(clients[i], more, sizeof(more)));
    }
    sleep_ms(100);
    CU_ASSERT(resident_bytes() < before + CLIENTS * sizeof(more) * 3 * SHADOW + (8 << 20));
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
    close(other);
    EVENTUALLY(atomic_load(&t.gone_n) == CLIENTS + 1);
    end();
}

/* ---- buffers ---- */

static void test_buffer_pool(void)
{
    struct buffer_pool pool;
    buffer_pool_init(&pool);
    struct buffer small = buffer_acquire(&pool, 1);
    CU_ASSERT_EQUAL(small.cap, 1 << BUFFER_CLASS_MIN);
    uint8_t *first = small.data;
    buffer_release(&pool, &small);
    CU_ASSERT_PTR_NULL(small.data);
    buffer_release(&pool, &small);
    CU_ASSERT_PTR_EQUAL((small = buffer_acquire(&pool, 1000)).data, first);
    CU_ASSERT_PTR_NULL(buffer_acquire_kept(&pool, 1).data);
    buffer_release(&pool, &small);
    CU_ASSERT_PTR_NULL(buffer_acquire_kept(&pool, 1025).data);
    small = buffer_acquire_kept(&pool, 10);
    CU_ASSERT_PTR_EQUAL(small.data, first);
    buffer_release(&pool, &small);
    struct buffer huge = buffer_acquire(&pool, (1 << BUFFER_CLASS_MAX) + 1);
    CU_ASSERT_EQUAL(huge.cap, (1 << BUFFER_CLASS_MAX) + 1);
    buffer_release(&pool, &huge);
    struct buffer many[20];
    for (int i = 0; i < 20; i++) {
        many[i] = buffer_acquire(&pool, 1 << 20);
    }
    for (int i = 0; i < 20; i++) {
        buffer_release(&pool, &many[i]);
    }
    CU_ASSERT(pool.kept_bytes <= BUFFER_POOL_KEPT_BYTES);
    CU_ASSERT(pool.kept_bytes > BUFFER_POOL_KEPT_BYTES / 2);
    buffer_pool_deinit(&pool);
}

SUITE("conn", TEST(test_split_at_every_byte), TEST(test_pipelining), TEST(test_muting),
      TEST(test_closed_while_parked), TEST(test_closing_frames), TEST(test_oversize_frames),
      TEST(test_large_frame), TEST(test_kept_frames), TEST(test_slow_reader),
      TEST(test_slow_reader_goes), TEST(test_file_ranges), TEST(test_file_is_cut),
      TEST(test_throttle), TEST(test_idle), TEST(test_idle_in_a_frame),
      TEST(test_opened_after_the_end), TEST(test_memory_grows_with_what_arrived),
      TEST(test_buffer_pool))
