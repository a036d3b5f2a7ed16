/* Byte streams between hosts: order, delay, cuts, resets, ends of processes; and the broker's own server and
 * peer (broker/net/) over them. */
#include "sim/network.h"

#include "base/tests/suite.h"
#include "base/workers.h"
#include "broker/net/peer.h"
#include "broker/net/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum { PORT = 9092, SECOND_US = 1000000, FRAME_MAX = 1 << 20 };

static struct trace trace;
static struct sched *sched;
static struct network *network;
static struct sockets *hosts[3];
static int listener;
static int client;
static int served;

static struct sockaddr_storage address_of(int host)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    char text[NETWORK_ADDRESS_MAX];
    network_address(host, text);
    CU_ASSERT_EQUAL(inet_pton(AF_INET, text, &in.sin_addr), 1);
    memcpy(&storage, &in, sizeof(in));
    return storage;
}

static void begin(uint64_t seed)
{
    sched = sched_new(seed, &trace);
    network = network_new(sched, &trace);
    for (int i = 0; i < 3; i++) {
        hosts[i] = network_begin_process(network, i, NULL);
    }
}

static void end(void)
{
    network_free(network);
    sched_free(sched);
}

static void pass(int64_t us)
{
    sched_run(sched, sched_now_us(sched) + us);
}

static int connect_to(int from, int to)
{
    struct sockaddr_storage address = address_of(to);
    const struct socket_options options = {0};
    return hosts[from]->ops->connect(hosts[from], &address, &options);
}

/* A connection from host 0 to host 1. */
static void connected(uint64_t seed)
{
    struct sockaddr_storage address = address_of(1);
    struct sockaddr_storage peer;
    begin(seed);
    listener = hosts[1]->ops->listen(hosts[1], &address, 10);
    CU_ASSERT_FATAL(listener >= 0);
    client = connect_to(0, 1);
    pass(SECOND_US);
    served = hosts[1]->ops->accept(hosts[1], listener, &peer);
    CU_ASSERT_FATAL(served >= 0);
    CU_ASSERT_EQUAL(hosts[0]->ops->connect_result(hosts[0], client), 0);
}

static ssize_t put(const char *text)
{
    return hosts[0]->ops->send(hosts[0], client, text, strlen(text), false);
}

/* What has come by now, until there is no more. */
static const char *got(void)
{
    static char text[256];
    size_t n = 0;
    ssize_t more;
    while ((more = hosts[1]->ops->receive(hosts[1], served, text + n, sizeof(text) - 1 - n)) > 0) {
        n += (size_t)more;
    }
    text[n] = '\0';
    return more == 0 ? "end" : errno == EAGAIN ? text : "broken";
}

static void test_in_order(void)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        connected(seed);
        CU_ASSERT_STRING_EQUAL(got(), "");
        for (char c = 'a'; c <= 'z'; c++) {
            CU_ASSERT_EQUAL(put((char[]){c, '\0'}), 1);
        }
        CU_ASSERT_STRING_EQUAL(got(), ""); /* it takes a while */
        pass(SECOND_US);
        CU_ASSERT_STRING_EQUAL(got(), "abcdefghijklmnopqrstuvwxyz");
        end();
    }
}

static void test_cut_and_heal(void)
{
    connected(1);
    network_cut(network, 0, 1, true);
    CU_ASSERT(put("hi") > 0);
    pass(60LL * SECOND_US);
    CU_ASSERT_STRING_EQUAL(got(), "");
    CU_ASSERT(hosts[1]->ops->send(hosts[1], served, "yo", 2, false) ==
              2); /* the other way is open */
    pass(SECOND_US);
    char back[4] = "";
    CU_ASSERT(hosts[0]->ops->receive(hosts[0], client, back, sizeof(back)) > 0);
    network_cut(network, 0, 1, false);
    pass(SECOND_US);
    CU_ASSERT_STRING_EQUAL(got(), "hi");
    end();
}

/* What the host asks that has connected comes late; what it answers on the connections of others does not. */
static void test_late_questions(void)
{
    const struct network_delay late = {.min_us = SECOND_US * 2, .max_us = SECOND_US * 2};
    connected(1);
    network_delay_asking(network, 0, 1, late);
    network_delay_asking(network, 1, 0, late);
    CU_ASSERT(put("hi") > 0);
    CU_ASSERT_EQUAL(hosts[1]->ops->send(hosts[1], served, "yo", 2, false), 2);
    pass(SECOND_US);
    char back[4] = "";
    CU_ASSERT(hosts[0]->ops->receive(hosts[0], client, back, sizeof(back)) > 0);
    CU_ASSERT_STRING_EQUAL(got(), "");
    pass(SECOND_US * 2);
    CU_ASSERT_STRING_EQUAL(got(), "hi");
    end();
}

static void test_ends(void)
{
    connected(1);
    CU_ASSERT(put("last") > 0);
    hosts[0]->ops->close(hosts[0], client);
    pass(SECOND_US);
    CU_ASSERT(hosts[1]->ops->peer_has_closed(hosts[1], served));
    CU_ASSERT_STRING_EQUAL(got(), "end");
    end();
    connected(1);
    network_reset(network, 0, 1);
    CU_ASSERT_STRING_EQUAL(got(), "broken");
    CU_ASSERT(put("x") < 0);
    end();
    connected(1); /* a process is killed */
    network_end_process(network, hosts[0], false);
    CU_ASSERT(put("x") < 0);
    pass(SECOND_US);
    CU_ASSERT_STRING_EQUAL(got(), "end");
    end();
}

/* Nobody is told of a power loss; who speaks to the machine later hears that there is no such connection. */
static void test_power_loss(void)
{
    connected(1);
    network_end_process(network, hosts[1], true);
    CU_ASSERT(put("x") > 0);
    pass(60LL * SECOND_US);
    CU_ASSERT_EQUAL(hosts[0]->ops->connect_result(hosts[0], client), 0);
    hosts[1] = network_begin_process(network, 1, NULL);
    pass(SECOND_US);
    CU_ASSERT_EQUAL(hosts[0]->ops->connect_result(hosts[0], client), ECONNRESET);
    end();
}

static void test_refused(void)
{
    begin(1);
    client = connect_to(0, 1);
    pass(SECOND_US);
    CU_ASSERT_EQUAL(hosts[0]->ops->connect_result(hosts[0], client), ECONNREFUSED);
    end();
}

/* A stream holds so much, and no more. */
static void test_window(void)
{
    static char data[1 << 20];
    connected(1);
    size_t sent = 0;
    ssize_t n;
    while ((n = hosts[0]->ops->send(hosts[0], client, data, sizeof(data), false)) > 0) {
        sent += (size_t)n;
    }
    CU_ASSERT_EQUAL(errno, EAGAIN);
    CU_ASSERT(sent > 100000 && sent < sizeof(data));
    pass(SECOND_US);
    CU_ASSERT(hosts[0]->ops->send(hosts[0], client, data, 1, false) < 0);
    CU_ASSERT(hosts[1]->ops->receive(hosts[1], served, data, 1000) > 0);
    CU_ASSERT(hosts[0]->ops->send(hosts[0], client, data, 1, false) > 0);
    end();
}

/* ---- the broker's server and peer, on fibers ---- */

struct thread {
    struct task *task;
    struct loop *loop;
};

static void run_loop(void *context)
{
    loop_run(((struct thread *)context)->loop);
}

static err start_thread(struct threads *threads, const char *name, enum thread_rank rank,
                        struct loop *loop, struct thread **out)
{
    (void)rank;
    (void)threads;
    *out = xcalloc(1, sizeof(**out));
    (*out)->loop = loop;
    (*out)->task = task_spawn(sched, NULL, name, run_loop, *out);
    return OK;
}

static void join_thread(struct threads *threads, struct thread *thread)
{
    (void)threads;
    task_join(sched, thread->task);
    free(thread);
}

static struct threads threads = {.start = start_thread, .join = join_thread};

static int64_t virtual_ms(struct clock *clock)
{
    (void)clock;
    return sched_now_us(sched) / 1000;
}

static int64_t virtual_us(struct clock *clock)
{
    (void)clock;
    return sched_now_us(sched);
}

static struct clock virtual_clock = {.wall_ms = virtual_ms, .monotonic_us = virtual_us};

static enum frame_result echo(void *context, struct conn *conn, uint8_t *frame, size_t len)
{
    (void)context;
    writer_i32(conn_out(conn), (int32_t)len - 4);
    writer_bytes(conn_out(conn), frame + 4, len - 4); /* from the correlation id on */
    return FRAME_DONE;
}

static void on_close(void *context, struct conn *conn)
{
    (void)context;
    (void)conn;
}

static bool server_address(void *context, struct peer_address *address)
{
    (void)context;
    *address = (struct peer_address){.port = PORT};
    network_address(1, address->host);
    return true;
}

static struct peer_request request;
static err outcome;
static int answers;

static void on_done(struct peer_request *r, err e, uint8_t *frame, size_t len)
{
    (void)r;
    (void)frame;
    CU_ASSERT(e != OK || len == 4 + 5);
    outcome = e;
    answers++;
}

static void talk(void *context)
{
    struct server *server = NULL;
    static struct listener listeners[1];
    char reason[256] = "";
    (void)context;
    memset(listeners, 0, sizeof(listeners));
    snprintf(listeners[0].name, sizeof(listeners[0].name), "L");
    network_address(1, listeners[0].host);
    listeners[0].port = PORT;
    listeners[0].conns_max = INT32_MAX;
    const struct server_config config = {
        .threads = &threads,
        .sockets = hosts[1],
        .listeners = listeners,
        .listeners_n = 1,
        .loops_n = 2,
        .conns_max = INT32_MAX,
        .conns_per_ip_max = INT32_MAX,
        .limits = {.frame_bytes_max = FRAME_MAX, .idle_ms = 600000, .partial_idle_ms = 30000}};
    const struct conn_handler handler = {.on_frame = echo, .on_close = on_close};
    const struct conn_handler handlers[2] = {handler, handler};
    MUST(server_new(&virtual_clock, &config, &server, reason, sizeof(reason)));
    MUST(server_start(server, handlers));
    sched_sleep(sched, 100LL * SECOND_US);
    server_stop_accepting(server);
    server_stop(server);
    server_free(server);
}

static struct loop *peer_loop;
static struct peer *peer;
static struct loop_task ask_task;

static void ask(struct loop_task *task)
{
    static const uint8_t frame[] = {0, 1, 0, 1, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'};
    (void)task;
    request = (struct peer_request){
        .frame = frame, .frame_len = sizeof(frame), .timeout_ms = 5000, .done = on_done};
    peer_send(peer, &request);
}

static void ask_peer(void)
{
    ask_task.run = ask;
    loop_post(peer_loop, &ask_task);
}

static void talk_as_peer(void *context)
{
    struct stream_pool streams;
    (void)context;
    MUST(loop_new(&virtual_clock, hosts[0], &peer_loop));
    stream_pool_init(&streams, FRAME_MAX, NULL);
    const struct peer_config config = {.loop = peer_loop,
                                       .streams = &streams,
                                       .address = server_address,
                                       .connect_timeout_ms = 3000,
                                       .backoff_ms = 50,
                                       .backoff_max_ms = 1000,
                                       .receive_buffer_bytes = -1};
    peer = peer_new(&config);
    loop_run(peer_loop);
    peer_free(peer);
    (void)loop_drain(peer_loop);
    stream_pool_deinit(&streams);
    loop_free(peer_loop);
}

static void test_server_and_peer(void)
{
    begin(5);
    answers = 0;
    struct task *server = task_spawn(sched, NULL, "server", talk, NULL);
    struct task *asks = task_spawn(sched, NULL, "peer", talk_as_peer, NULL);
    pass(SECOND_US);
    ask_peer();
    pass(SECOND_US);
    CU_ASSERT_EQUAL(answers, 1);
    CU_ASSERT_EQUAL(outcome, OK);
    network_cut(network, 1, 0, true); /* asked, and not answered in time */
    ask_peer();
    pass(4LL * SECOND_US);
    CU_ASSERT_EQUAL(answers, 1);
    pass(2LL * SECOND_US);
    CU_ASSERT_EQUAL(answers, 2);
    CU_ASSERT_EQUAL(outcome, err_from_errno(ETIMEDOUT));
    ask_peer(); /* a new connection, which cannot be made */
    pass(5LL * SECOND_US);
    CU_ASSERT_EQUAL(answers, 3);
    CU_ASSERT_EQUAL(outcome, err_from_errno(ETIMEDOUT));
    network_cut(network, 1, 0, false);
    ask_peer();
    pass(5LL * SECOND_US);
    CU_ASSERT_EQUAL(answers, 4);
    CU_ASSERT_EQUAL(outcome, OK);
    loop_stop(peer_loop);
    CU_ASSERT(sched_run_task(sched, asks, sched_now_us(sched) + SECOND_US));
    CU_ASSERT(sched_run_task(sched, server, sched_now_us(sched) + 200LL * SECOND_US));
    end();
}

SUITE("network", TEST(test_in_order), TEST(test_cut_and_heal), TEST(test_late_questions),
      TEST(test_ends), TEST(test_power_loss), TEST(test_refused), TEST(test_window),
      TEST(test_server_and_peer))
