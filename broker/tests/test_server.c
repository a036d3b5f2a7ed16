/* Listening and the limits of connections: per address, of a listener, of all; loops share the
 * connections; stopping. And a whole broker: when it begins to serve. */
#define _GNU_SOURCE
#include "broker/net/server.h"

#include "broker/broker.h"
#include "broker/tests/net_util.h"
#include "storage/tests/fault_fs.h"
#include "zk/coord.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

enum { LOOPS = 3 };

static struct server *server;
static struct listener listeners[2];
static atomic_int frames_n;

static enum frame_result on_frame(void *context, struct conn *conn, uint8_t *frame, size_t len)
{
    (void)context;
    atomic_fetch_add(&frames_n, 1);
    if (len > 0 && frame[0] == 'A') { /* who am I? */
        put_frame(conn_out(conn), conn_peer(conn), strlen(conn_peer(conn)));
    } else if (len > 0 && frame[0] == 'L') { /* where did I come in? */
        put_frame(conn_out(conn), conn_listener(conn)->name, strlen(conn_listener(conn)->name));
    } else {
        put_frame(conn_out(conn), frame, len);
    }
    return FRAME_DONE;
}

static void on_close(void *context, struct conn *conn)
{
    (void)context;
    (void)conn;
}

static struct server_config config_of(void)
{
    memset(listeners, 0, sizeof(listeners));
    for (int i = 0; i < 2; i++) {
        snprintf(listeners[i].name, sizeof(listeners[i].name), "LISTENER%d", i);
        snprintf(listeners[i].host, sizeof(listeners[i].host), "127.0.0.1");
        listeners[i].conns_max = INT32_MAX;
    }
    return (struct server_config){.threads = threads_system(),
                                  .sockets = sockets_system(),
                                  .listeners = listeners,
                                  .listeners_n = 2,
                                  .loops_n = LOOPS,
                                  .backlog = 50,
                                  .conns_max = INT32_MAX,
                                  .conns_per_ip_max = INT32_MAX,
                                  .limits = {.frame_bytes_max = 1000,
                                             .idle_ms = 600000,
                                             .partial_idle_ms = 30000,
                                             .send_buffer_bytes = -1,
                                             .receive_buffer_bytes = -1}};
}

static void begin(const struct server_config *config)
{
    char reason[256] = "";
    struct conn_handler handler = {.on_frame = on_frame, .on_close = on_close};
    struct conn_handler handlers[LOOPS] = {handler, handler, handler};
    atomic_store(&frames_n, 0);
    MUST(server_new(clock_system(), config, &server, reason, sizeof(reason)));
    MUST(server_start(server, handlers));
}

static void end(void)
{
    server_stop_accepting(server);
    server_stop(server);
    for (int i = 0; i < server_loops(server); i++) {
        loop_drain(server_loop(server, i)->loop);
    }
    server_free(server);
}

static bool talks(int client)
{
    return client_send(client, "\0\0\0\2hi", 6) && client_frame_is(client, "hi", 2);
}

static bool answers(int client, const char *question, const char *expected)
{
    struct writer w;
    writer_init(&w, 100);
    put_frame(&w, question, strlen(question));
    bool same =
        client_send(client, w.data, w.len) && client_frame_is(client, expected, strlen(expected));
    writer_deinit(&w);
    return same;
}

static void test_listeners(void)
{
    struct server_config config = config_of();
    begin(&config);
    CU_ASSERT(listeners[0].port > 0 && listeners[1].port > 0);
    CU_ASSERT_NOT_EQUAL(listeners[0].port, listeners[1].port);
    int a = client_connect(listeners[0].port);
    int b = client_connect_from("127.0.0.9", listeners[1].port);
    CU_ASSERT(answers(a, "L", "LISTENER0") && answers(b, "L", "LISTENER1"));
    CU_ASSERT(answers(a, "A", "/127.0.0.1") && answers(b, "A", "/127.0.0.9"));
    close(a);
    close(b);
    end();
}

/* All addresses: an IPv4 client of the socket for both families is shown as IPv4. */
static void test_all_addresses(void)
{
    struct server_config config = config_of();
    listeners[0].host[0] = '\0';
    snprintf(listeners[1].host, LISTENER_HOST_MAX, "0.0.0.0");
    begin(&config);
    for (int i = 0; i < 2; i++) {
        int client = client_connect(listeners[i].port);
        CU_ASSERT(answers(client, "A", "/127.0.0.1"));
        close(client);
    }
    end();
}

/* Connections are counted by this text when they come and when they go: no scope, no mapping. */
static void test_addresses_as_text(void)
{
    static const char *const ADDRESSES[][2] = {
        {"::ffff:10.1.2.3", "/10.1.2.3"}, {"fe80::1", "/fe80::1"}, {"::1", "/::1"}};
    char text[PEER_TEXT_MAX];
    for (size_t i = 0; i < sizeof(ADDRESSES) / sizeof(ADDRESSES[0]); i++) {
        struct sockaddr_storage peer = {0};
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&peer;
        in6->sin6_family = AF_INET6;
        in6->sin6_scope_id = 1; /* "fe80::1%lo" to getnameinfo() */
        CU_ASSERT_EQUAL(inet_pton(AF_INET6, ADDRESSES[i][0], &in6->sin6_addr), 1);
        peer_format(&peer, text);
        CU_ASSERT_STRING_EQUAL(text, ADDRESSES[i][1]);
    }
}

static void test_port_is_taken(void)
{
    struct server_config config = config_of();
    begin(&config);
    struct server *other = NULL;
    struct listener taken = listeners[0];
    struct server_config again = config;
    again.listeners = &taken;
    again.listeners_n = 1;
    char reason[256] = "";
    CU_ASSERT_NOT_EQUAL(server_new(clock_system(), &again, &other, reason, sizeof(reason)), OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "LISTENER0"));
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "in use"));
    snprintf(taken.host, sizeof(taken.host), "no.such.host.invalid");
    CU_ASSERT_NOT_EQUAL(server_new(clock_system(), &again, &other, reason, sizeof(reason)), OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "no.such.host.invalid"));
    end();
}

static void test_connections_are_shared(void)
{
    struct server_config config = config_of();
    begin(&config);
    int clients[30];
    for (int i = 0; i < 30; i++) {
        clients[i] = client_connect(listeners[0].port);
        CU_ASSERT(talks(clients[i]));
    }
    for (int i = 0; i < LOOPS; i++) {
        CU_ASSERT_EQUAL(atomic_load(&server_loop(server, i)->conns_n), 10);
    }
    for (int i = 0; i < 30; i++) {
        close(clients[i]);
    }
    end();
}

static int conns_n(void)
{
    int n = 0;
    for (int i = 0; i < LOOPS; i++) {
        n += atomic_load(&server_loop(server, i)->conns_n);
    }
    return n;
}

static void test_limit_per_address(void)
{
    static const struct ip_override OVERRIDES[] = {{"127.0.0.2", 1}, {"127.0.0.3", 0}};
    struct server_config config = config_of();
    config.conns_per_ip_max = 3;
    config.ip_overrides = OVERRIDES;
    config.ip_overrides_n = 2;
    begin(&config);
    int clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = client_connect(listeners[i % 2].port);
        CU_ASSERT(talks(clients[i]));
    }
    for (int i = 0; i < 5; i++) {
        int refused = client_connect(listeners[0].port);
        CU_ASSERT(client_sees_end(refused));
        close(refused);
    }
    int other = client_connect_from("127.0.0.2", listeners[0].port);
    CU_ASSERT(talks(other));
    int second = client_connect_from("127.0.0.2", listeners[0].port);
    CU_ASSERT(client_sees_end(second));
    int never = client_connect_from("127.0.0.3", listeners[0].port);
    CU_ASSERT(client_sees_end(never));
    close(clients[0]);
    EVENTUALLY(conns_n() == 3);
    clients[0] = client_connect(listeners[0].port);
    CU_ASSERT(talks(clients[0]));
    for (int i = 0; i < 3; i++) {
        close(clients[i]);
    }
    close(other);
    close(second);
    close(never);
    end();
}

/* One that is served; at the limit another may still be in its way. */
static int client_served(int port)
{
    int64_t until_ms = now_ms() + PATIENCE_MS;
    int client = client_connect(port);
    while (!talks(client) && now_ms() < until_ms) {
        close(client);
        client = client_connect(port);
    }
    return client;
}

/* Over the limit of all, nobody is accepted until somebody goes. */
static void test_limit_of_all(void)
{
    struct server_config config = config_of();
    config.conns_max = 2;
    begin(&config);
    for (int turn = 0; turn < 50; turn++) {
        int a = client_served(listeners[0].port);
        int b = client_served(listeners[1].port);
        CU_ASSERT_FATAL(talks(a) && talks(b));
        int c = client_connect(listeners[turn % 2].port); /* in the backlog, or closed */
        close(turn % 3 == 0 ? a : b);
        close(c);
        close(turn % 3 == 0 ? b : a);
        EVENTUALLY(conns_n() == 0);
    }
    end();
}

static void test_limit_of_a_listener(void)
{
    struct server_config config = config_of();
    listeners[0].conns_max = 1;
    begin(&config);
    int a = client_connect(listeners[0].port);
    CU_ASSERT(talks(a));
    int more = client_connect(listeners[0].port);
    CU_ASSERT_FALSE(talks(more));
    int other = client_served(listeners[1].port); /* the other listener's go on */
    CU_ASSERT(talks(other));
    close(other);
    close(a);
    close(more);
    EVENTUALLY(conns_n() == 0);
    a = client_served(listeners[0].port);
    CU_ASSERT(talks(a));
    close(a);
    end();
}

/* ---- many at once ---- */

enum { THREADS = 6, ROUNDS = 150 };

static void *come_and_go(void *argument)
{
    int *talked = argument;
    for (int i = 0; i < ROUNDS; i++) {
        int client = client_connect(listeners[i % 2].port);
        *talked += talks(client); /* refused ones see the end */
        close(client);
    }
    return NULL;
}

/* Clients that come and go at the limit: accepting never stops for good. */
static void test_at_the_limit(void)
{
    struct server_config config = config_of();
    config.conns_max = 2;
    begin(&config);
    pthread_t threads[THREADS];
    int talked[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, come_and_go, &talked[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT(talked[i] > 0);
    }
    EVENTUALLY(conns_n() == 0);
    int client = client_served(listeners[0].port);
    CU_ASSERT(talks(client));
    close(client);
    end();
}

/* Connections on their way to a loop when everything stops are closed, not lost. */
static void test_stop_while_they_come(void)
{
    for (int turn = 0; turn < 20; turn++) {
        struct server_config config = config_of();
        begin(&config);
        int clients[10];
        for (int i = 0; i < 10; i++) {
            clients[i] = client_connect(listeners[0].port);
        }
        end();
        for (int i = 0; i < 10; i++) {
            CU_ASSERT(client_sees_end(clients[i]));
            close(clients[i]);
        }
    }
}

/* ---- a whole broker, on an embedded store ---- */

static struct {
    struct config config;
    char dir[64];
    struct broker *broker;
    char reason[BROKER_REASON_BYTES];
} b;

static void broker_begin_with(struct threads *threads)
{
    char dirs[96];
    snprintf(b.dir, sizeof(b.dir), "/tmp/ottla-test-server-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(b.dir));
    snprintf(dirs, sizeof(dirs), "log.dirs=%s", b.dir);
    config_init(&b.config);
    MUST(config_override(&b.config, dirs, b.reason));
    MUST(config_override(&b.config, "listeners=PLAINTEXT://127.0.0.1:0", b.reason));
    MUST(config_finish(&b.config, b.reason));
    struct broker_env env = broker_env_system();
    env.threads = threads;
    MUST(broker_start(&env, &b.config, &b.broker, b.reason));
}

static void broker_begin(void)
{
    broker_begin_with(threads_system());
}

static void broker_gone(void)
{
    char command[96];
    config_deinit(&b.config);
    snprintf(command, sizeof(command), "rm -r '%s'", b.dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static void broker_end(void)
{
    broker_stop(b.broker);
    broker_gone();
}

static bool is_readable(int fd, int wait_ms)
{
    struct pollfd watch = {.fd = fd, .events = POLLIN};
    return poll(&watch, 1, wait_ms) == 1;
}

/* Until it is told to serve no client has an answer, however long it may wait at the door. */
static const uint8_t api_versions[] = {0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff};

static void test_nobody_is_served_before(void)
{
    broker_begin();
    int client = client_connect(b.broker->listeners.all[0].port);
    CU_ASSERT_TRUE(client_send(client, api_versions, sizeof(api_versions)));
    CU_ASSERT_FALSE(is_readable(client, 100));
    MUST(broker_serve(b.broker, b.reason));
    CU_ASSERT_TRUE(is_readable(client, PATIENCE_MS));
    close(client);
    broker_end();
}

/* Threads of which one cannot be started, which takes a while to be found out. */
struct short_threads {
    struct threads threads;
    int left;
    int client; /* who must not be answered meanwhile */
};

static err short_start(struct threads *threads, const char *name, enum thread_rank rank,
                       struct loop *loop, struct thread **thread)
{
    struct short_threads *s = container_of(threads, struct short_threads, threads);
    if (s->left == 0) {
        CU_ASSERT_FALSE(is_readable(s->client, 50));
        return err_from_errno(EAGAIN);
    }
    s->left--;
    return thread_start(threads_system(), name, rank, loop, thread);
}

static void short_join(struct threads *threads, struct thread *thread)
{
    (void)threads;
    thread_join(threads_system(), thread);
}

/* Whichever it is that cannot be started: nothing is left, and nobody was served. */
static void test_threads_run_short(void)
{
    enum { CLIENTS = 4 };
    bool failed = true;
    int n = 0;
    for (; failed; n++) {
        struct short_threads s = {.threads = {.start = short_start, .join = short_join}, .left = n};
        int clients[CLIENTS];
        broker_begin_with(&s.threads);
        for (int i = 0; i < CLIENTS; i++) {
            clients[i] = client_connect(b.broker->listeners.all[0].port);
            CU_ASSERT_TRUE(client_send(clients[i], api_versions, sizeof(api_versions)));
        }
        s.client = clients[0];
        failed = broker_serve(b.broker, b.reason) != OK;
        CU_ASSERT_TRUE(!failed || b.reason[0] != '\0');
        for (int i = 0; i < CLIENTS; i++) {
            CU_ASSERT_TRUE(failed ? client_sees_end(clients[i])
                                  : is_readable(clients[i], PATIENCE_MS));
            close(clients[i]);
        }
        if (failed) {
            broker_gone();
        } else {
            broker_end();
        }
    }
    CU_ASSERT_TRUE(n > 4); /* flush, background, control, one loop at least */
}

/* CreateTopics v2: one topic with one partition, 10 s. */
static int ask_for_topic(const char *name)
{
    struct writer body;
    writer_init(&body, 1000);
    writer_i16(&body, 19);
    writer_i16(&body, 2);
    writer_i32(&body, 77);
    writer_i16(&body, -1);
    writer_i32(&body, 1);
    writer_i16(&body, (int16_t)strlen(name));
    writer_bytes(&body, name, strlen(name));
    writer_i32(&body, 1);
    writer_i16(&body, 1);
    writer_i32(&body, 0);
    writer_i32(&body, 0);
    writer_i32(&body, 10000);
    writer_i8(&body, 0);
    struct writer frame;
    writer_init(&frame, 1000);
    put_frame(&frame, body.data, body.len);
    int fd = client_connect(b.broker->listeners.all[0].port);
    CU_ASSERT_TRUE(client_send(fd, frame.data, frame.len));
    writer_deinit(&body);
    writer_deinit(&frame);
    return fd;
}

static int conns(void)
{
    int n = 0;
    for (int i = 0; i < b.broker->loops_n; i++) {
        n += atomic_load(&server_loop(b.broker->server, i)->conns_n);
    }
    return n;
}

static bool has_topic(const char *name)
{
    struct metadata *metadata = metadata_acquire(b.broker->metadata);
    bool there = metadata_topic(metadata, str_of(name)) != NULL;
    metadata_release(metadata);
    return there;
}

/* The control thread as it is while the store is out of reach. */
struct outage {
    struct loop_task task;
    sem_t over;
};

static void until_over(struct loop_task *task)
{
    CU_ASSERT_EQUAL(sem_wait(&container_of(task, struct outage, task)->over), 0);
}

static void outage_begin(struct outage *outage)
{
    outage->task = (struct loop_task){.run = until_over};
    sem_init(&outage->over, 0, 0);
    loop_post(b.broker->control, &outage->task);
}

/* Requests that wait for the control thread go with their clients, whether these reset or close;
 * the others are carried out, and one that waits holds no stop up. */
static void test_clients_give_up(void)
{
    struct linger reset = {.l_onoff = 1};
    struct outage outage;
    broker_begin();
    MUST(broker_serve(b.broker, b.reason));
    outage_begin(&outage);
    int clients[3] = {ask_for_topic("reset"), ask_for_topic("closed"), ask_for_topic("patient")};
    EVENTUALLY(conns() == 3);
    setsockopt(clients[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(clients[0]);
    EVENTUALLY(conns() == 2);
    close(clients[1]);
    EVENTUALLY(conns() == 1);
    CU_ASSERT_FALSE(is_readable(clients[2], 50));
    sem_post(&outage.over);
    CU_ASSERT_TRUE(is_readable(clients[2], PATIENCE_MS));
    CU_ASSERT_TRUE(has_topic("patient"));
    CU_ASSERT_FALSE(has_topic("reset"));
    CU_ASSERT_FALSE(has_topic("closed"));
    outage_begin(&outage);
    int late = ask_for_topic("late");
    EVENTUALLY(conns() == 2);
    sem_post(&outage.over);
    broker_end();
    close(clients[2]);
    close(late);
    sem_destroy(&outage.over);
}

/* ---- a start that fails ---- */

/* The config of a broker with the directory of `b`, which is there already. */
static void config_again(void)
{
    char dirs[96];
    snprintf(dirs, sizeof(dirs), "log.dirs=%s", b.dir);
    config_init(&b.config);
    MUST(config_override(&b.config, dirs, b.reason));
    MUST(config_override(&b.config, "listeners=PLAINTEXT://127.0.0.1:0", b.reason));
    MUST(config_finish(&b.config, b.reason));
}

/* Whichever operation on a file it is that fails, what was begun ends without a trace in memory, and
 * the next start finds everything. */
static void test_disk_fails_at_the_start(void)
{
    broker_begin();
    MUST(broker_serve(b.broker, b.reason));
    int client = ask_for_topic("topic");
    CU_ASSERT_TRUE(is_readable(client, PATIENCE_MS));
    close(client);
    broker_stop(b.broker);
    config_deinit(&b.config);
    int refused = 0;
    bool hit = true;
    for (int n = 1; hit; n++) {
        struct fault_fs fault = {.fs.ops = &FAULT_OPS, .fail_at = n};
        struct broker_env env = broker_env_system();
        env.fs = &fault.fs;
        config_again();
        err e = broker_start(&env, &b.config, &b.broker, b.reason);
        hit = fault.calls >= n;
        if (e == OK) {
            MUST(broker_serve(b.broker, b.reason));
            CU_ASSERT_TRUE(has_topic("topic"));
            broker_stop(b.broker);
        } else {
            CU_ASSERT_TRUE(b.reason[0] != '\0');
            refused++;
        }
        config_deinit(&b.config);
    }
    CU_ASSERT_TRUE(refused > 5);
    config_again();
    struct broker_env env = broker_env_system();
    MUST(broker_start(&env, &b.config, &b.broker, b.reason));
    MUST(broker_serve(b.broker, b.reason));
    CU_ASSERT_TRUE(has_topic("topic"));
    broker_end();
}

/* A store of which one call fails. */
struct failing_coord {
    struct coord coord;
    struct coord *store;
    int calls;
    int fail_at;
    err error;
};

static struct coord *store_of(struct coord *coord)
{
    return container_of(coord, struct failing_coord, coord)->store;
}

static bool coord_fails(struct coord *coord, err *e)
{
    struct failing_coord *f = container_of(coord, struct failing_coord, coord);
    *e = f->error;
    return ++f->calls == f->fail_at;
}

static err failing_run(struct coord *coord, struct coord_op *ops, size_t count, struct arena *arena)
{
    err e = OK;
    return coord_fails(coord, &e) ? e : coord_run(store_of(coord), ops, count, arena);
}

static err failing_multi(struct coord *coord, struct coord_op *ops, size_t count,
                         struct arena *arena)
{
    err e = OK;
    return coord_fails(coord, &e) ? e : coord_multi(store_of(coord), ops, count, arena);
}

static int64_t failing_session_id(struct coord *coord)
{
    return coord_session_id(store_of(coord));
}

static bool failing_owned(struct coord *coord, int64_t session_id)
{
    return coord_owned(store_of(coord), session_id);
}

static err failing_renew(struct coord *coord)
{
    return coord_renew(store_of(coord));
}

static void failing_interrupt(struct coord *coord)
{
    coord_interrupt(store_of(coord));
}

static void failing_close(struct coord *coord)
{
    coord_close(store_of(coord));
}

static const struct coord_ops FAILING_OPS = {.run = failing_run,
                                             .multi = failing_multi,
                                             .session_id = failing_session_id,
                                             .owned = failing_owned,
                                             .renew = failing_renew,
                                             .interrupt = failing_interrupt,
                                             .close = failing_close};

/* The first call is this one. */
static err failing_open(void *context, const struct coord_events *events, struct coord **coord,
                        char *reason)
{
    struct failing_coord *f = context;
    char path[96];
    if (++f->calls == f->fail_at) {
        return f->error;
    }
    snprintf(path, sizeof(path), "%s/ottla-coordination.db", b.dir);
    *coord = &f->coord;
    return coord_embedded_open(path, clock_system(), events, &f->store, reason);
}

static void check_store_fails(err error)
{
    int refused = 0;
    bool hit = true;
    broker_begin();
    MUST(broker_serve(b.broker, b.reason));
    broker_stop(b.broker);
    config_deinit(&b.config);
    for (int n = 1; hit; n++) {
        struct failing_coord f = {.coord.ops = &FAILING_OPS, .fail_at = n, .error = error};
        struct broker_env env = broker_env_system();
        env.coord_open = failing_open;
        env.coord_context = &f;
        config_again();
        err e = broker_start(&env, &b.config, &b.broker, b.reason);
        hit = f.calls >= n;
        CU_ASSERT_TRUE(e == OK || b.reason[0] != '\0');
        refused += e != OK;
        if (e == OK) {
            MUST(broker_serve(b.broker, b.reason));
            broker_stop(b.broker);
        }
        config_deinit(&b.config);
    }
    CU_ASSERT_TRUE(refused > 5);
    config_again();
    struct broker_env env = broker_env_system();
    MUST(broker_start(&env, &b.config, &b.broker, b.reason));
    MUST(broker_serve(b.broker, b.reason));
    broker_end();
}

/* Whichever call of the store it is: the same. */
static void test_store_fails_at_the_start(void)
{
    check_store_fails(E_SESSION);
    check_store_fails(E_CLOSED);
    check_store_fails(err_from_errno(EIO));
}

SUITE("server", TEST(test_listeners), TEST(test_all_addresses), TEST(test_addresses_as_text),
      TEST(test_port_is_taken), TEST(test_connections_are_shared), TEST(test_limit_per_address),
      TEST(test_limit_of_all), TEST(test_limit_of_a_listener), TEST(test_at_the_limit),
      TEST(test_stop_while_they_come), TEST(test_nobody_is_served_before),
      TEST(test_threads_run_short), TEST(test_disk_fails_at_the_start),
      TEST(test_store_fails_at_the_start), TEST(test_clients_give_up))
