/* The first loop accepts, for all: a Kafka client keeps few, long connections, so what matters is
 * that they spread evenly, not how fast they are accepted. A new connection goes to the loop that
 * has the fewest.
 *
 * Limits. Over max.connections the listening sockets are not polled until a connection ends, as
 * Kafka's acceptor blocks; over max.connections.per.ip the new socket is closed at once. A file
 * descriptor shortage pauses accepting for a moment, and never ends anything. Over a rate, that of
 * all listeners or its own, a listener is not polled for as long as that takes; a connection of an
 * address over its own rate is not read, and closed after that time. The counts are guarded by one
 * leaf mutex, taken when a connection comes or goes. */
#define _GNU_SOURCE
#include "broker/net/server.h"

#include "base/log.h"
#include "base/map.h"
#include "base/sampled_rate.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ACCEPT_PAUSE_MS = 100, ACCEPTS_PER_EVENT = 64, HELD_MAX = 1000 };

/* Connections per second; without samples there is no limit. */
struct rate {
    struct sampled_rate taken;
    int32_t max;
};

struct acceptor {
    struct io_watch watch;
    struct rate rate;
    struct timer slow; /* runs while the listener has taken too many for now */
    struct server *server;
    struct listener *listener;
    int32_t conns_n;            /* of this listener; under the lock */
    struct conn_counts *counts; /* one for each loop */
};

struct conn_counts {
    _Atomic int64_t created;
    _Atomic int64_t closed;
};

struct server {
    struct server_config config;
    struct acceptor *acceptors;
    struct net_loop *nets;
    struct net_memory memory;
    struct rate rate;
    struct list held; /* struct held */
    int held_n;
    struct thread **threads;   /* of the loops; NULL: not started */
    struct timer resume_timer; /* on the first loop */
    pthread_mutex_t lock;      /* leaf; guards the counts */
    struct map per_ip;         /* address → (void *)count */
    int32_t conns_n;
    bool paused; /* accepting waits for a connection to end or for the timer */
    struct loop_task unpause;
    bool unpause_posted;
    struct loop_task stop_accepting;
};

/* A connection on its way from the accepting loop to its own. */
struct handover {
    struct loop_task task;
    struct net_loop *net;
    struct listener *listener;
    int fd;
    struct sockaddr_storage peer;
};

/* A connection of an address that makes too many: it is not read, and closed after a while. On the first
 * loop. */
struct held {
    struct list link;
    struct timer timer;
    struct server *server;
    int fd;
};

static void pause_accepting(struct server *server, bool timed)
{
    for (size_t i = 0; i < server->config.listeners_n; i++) {
        err_ignore(io_watch_set(server->nets[0].loop, &server->acceptors[i].watch, 0));
    }
    pthread_mutex_lock(&server->lock);
    server->paused = true;
    pthread_mutex_unlock(&server->lock);
    if (timed) {
        timer_start(server->nets[0].loop, &server->resume_timer, ACCEPT_PAUSE_MS);
    }
}

static void resume_acceptor(struct acceptor *acceptor)
{
    if (acceptor->watch.fd >= 0 && !timer_is_running(&acceptor->slow)) {
        err_ignore(io_watch_set(acceptor->server->nets[0].loop, &acceptor->watch, EPOLLIN));
    }
}

static void resume_accepting(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->paused = false;
    server->unpause_posted = false;
    pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < server->config.listeners_n; i++) {
        resume_acceptor(&server->acceptors[i]);
    }
}

static void on_resume_timer(struct timer *timer)
{
    resume_accepting(container_of(timer, struct server, resume_timer));
}

static void on_unpause(struct loop_task *task)
{
    resume_accepting(container_of(task, struct server, unpause));
}

/* ---- counting ---- */

static int32_t ip_limit(const struct server *server, const char *address)
{
    for (size_t i = 0; i < server->config.ip_overrides_n; i++) {
        if (strcmp(server->config.ip_overrides[i].address, address) == 0) {
            return server->config.ip_overrides[i].conns_max;
        }
    }
    return server->config.conns_per_ip_max;
}

static intptr_t ip_count(struct server *server, const char *address)
{
    return (intptr_t)map_get_str(&server->per_ip, str_of(address));
}

static void ip_count_add(struct server *server, const char *address, intptr_t n)
{
    intptr_t count = ip_count(server, address) + n;
    if (count == 0) {
        (void)map_remove_str(&server->per_ip, str_of(address));
    } else {
        (void)map_set_str(&server->per_ip, str_of(address), (void *)count);
    }
}

/* One that its address or its listener has too many of is closed, and others are accepted; with too
 * many in all nobody is, until one goes. */
enum admission { ADMITTED, REFUSED_ONE, REFUSED_TOTAL };

static enum admission admit(struct server *server, struct acceptor *acceptor, const char *address)
{
    pthread_mutex_lock(&server->lock);
    enum admission result = ADMITTED;
    if (ip_count(server, address) >= ip_limit(server, address) ||
        acceptor->conns_n >= acceptor->listener->conns_max) {
        result = REFUSED_ONE;
    } else if (server->conns_n >= server->config.conns_max) {
        result = REFUSED_TOTAL;
        server->paused = true; /* here, so that no end of a connection is missed */
    } else {
        ip_count_add(server, address, 1);
        server->conns_n++;
        acceptor->conns_n++;
    }
    pthread_mutex_unlock(&server->lock);
    return result;
}

static struct acceptor *acceptor_of(struct server *server, const struct listener *listener)
{
    size_t i = 0;
    while (server->acceptors[i].listener != listener) {
        i++;
    }
    return &server->acceptors[i];
}

/* Runs on the loop of the connection that ends. */
static void on_conn_gone(void *context, struct conn *conn)
{
    struct server *server = context;
    pthread_mutex_lock(&server->lock);
    ip_count_add(server, conn_peer(conn) + 1, -1);
    server->conns_n--;
    struct acceptor *acceptor = acceptor_of(server, conn_listener(conn));
    acceptor->conns_n--;
    acceptor->counts[conn_loop(conn) - server->nets].closed++;
    bool unpause = server->paused && !server->unpause_posted;
    server->unpause_posted |= unpause;
    pthread_mutex_unlock(&server->lock);
    if (unpause) {
        loop_post(server->nets[0].loop, &server->unpause);
    }
}

/* ---- rates ---- */

static void rate_init(struct rate *rate, int32_t max, const struct quota_samples *samples)
{
    rate->max = max;
    rate->taken = (struct sampled_rate){.samples_max = samples->n, .sample_ms = samples->ms};
    if (max != INT32_MAX && samples->n > 0) {
        rate->taken.samples = xcalloc((size_t)samples->n, sizeof(*rate->taken.samples));
    }
}

/* One has come. Milliseconds until the next one is welcome. */
static int64_t rate_take(struct rate *rate, int64_t now_ms)
{
    if (rate->taken.samples == NULL) {
        return 0;
    }
    sampled_rate_record(&rate->taken, 1, now_ms);
    double ms = sampled_rate_excess_ms(&rate->taken, rate->max, now_ms);
    return (int64_t)(ms > (double)rate->taken.sample_ms ? (double)rate->taken.sample_ms : ms);
}

static void on_slow_over(struct timer *timer)
{
    struct acceptor *acceptor = container_of(timer, struct acceptor, slow);
    pthread_mutex_lock(&acceptor->server->lock);
    bool paused = acceptor->server->paused;
    pthread_mutex_unlock(&acceptor->server->lock);
    if (!paused) {
        resume_acceptor(acceptor);
    }
}

/* False: the listener takes no more for now. */
static bool count_rate(struct acceptor *acceptor)
{
    struct loop *loop = acceptor->server->nets[0].loop;
    int64_t own_ms = rate_take(&acceptor->rate, loop_now_ms(loop));
    int64_t all_ms = rate_take(&acceptor->server->rate, loop_now_ms(loop));
    int64_t wait_ms = own_ms > all_ms ? own_ms : all_ms;
    if (wait_ms > 0) {
        err_ignore(io_watch_set(loop, &acceptor->watch, 0));
        timer_start(loop, &acceptor->slow, wait_ms);
    }
    return wait_ms == 0;
}

static void release_held(struct held *held)
{
    struct server *server = held->server;
    timer_stop(server->nets[0].loop, &held->timer);
    server->config.sockets->ops->close(server->config.sockets, held->fd);
    list_remove(&held->link);
    server->held_n--;
    free(held);
}

static void release_all_held(struct server *server)
{
    list_each_safe (item, &server->held) {
        release_held(container_of(item, struct held, link));
    }
}

static void on_held_over(struct timer *timer)
{
    release_held(container_of(timer, struct held, timer));
}

/* Does the address make too many connections? Then the socket is taken from the caller. */
static bool hold_back(struct server *server, int fd, const char *address)
{
    struct quotas *quotas = server->config.quotas;
    int32_t wait_ms = quotas == NULL ? 0 : quotas_connect(quotas, str_of(address));
    if (wait_ms == 0) {
        return false;
    }
    if (server->held_n == HELD_MAX) {
        server->config.sockets->ops->close(server->config.sockets, fd);
        return true;
    }
    struct held *held = xcalloc(1, sizeof(*held));
    *held = (struct held){.server = server, .fd = fd, .timer.fire = on_held_over};
    list_append(&server->held, &held->link);
    server->held_n++;
    timer_start(server->nets[0].loop, &held->timer, wait_ms);
    return true;
}

/* ---- accepting ---- */

static void on_handover(struct loop_task *task)
{
    struct handover *h = container_of(task, struct handover, task);
    conn_open(h->net, h->fd, h->listener, &h->peer);
    free(h);
}

static bool one_is_alone(const struct server *server)
{
    for (size_t i = 0; i < server->config.listeners_n; i++) {
        if (server->config.listeners[i].alone) {
            return true;
        }
    }
    return false;
}

static struct net_loop *loop_for(struct server *server, const struct listener *listener)
{
    int last = server->config.loops_n - 1;
    if (listener->alone) {
        return &server->nets[last];
    }
    struct net_loop *best = &server->nets[0];
    int shared_n = one_is_alone(server) ? last : last + 1;
    for (int i = 1; i < shared_n; i++) {
        if (atomic_load(&server->nets[i].conns_n) < atomic_load(&best->conns_n)) {
            best = &server->nets[i];
        }
    }
    return best;
}

/* False: stop accepting for now. */
static bool accept_one(struct acceptor *acceptor)
{
    struct server *server = acceptor->server;
    struct sockets *sockets = server->config.sockets;
    struct sockaddr_storage peer = {0};
    int fd = sockets->ops->accept(sockets, acceptor->watch.fd, &peer);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("server", "cannot accept: %s; trying again in %d ms", strerrordesc_np(errno),
                     ACCEPT_PAUSE_MS);
            pause_accepting(server, true);
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    char address[PEER_TEXT_MAX];
    peer_format(&peer, address);
    bool goes_on = count_rate(acceptor);
    if (hold_back(server, fd, address + 1)) {
        return goes_on;
    }
    enum admission admission = admit(server, acceptor, address + 1); /* as on_conn_gone counts */
    if (admission != ADMITTED) {
        sockets->ops->close(sockets, fd);
        if (admission == REFUSED_TOTAL) {
            pause_accepting(server, false);
        }
        return admission == REFUSED_ONE && goes_on;
    }
    struct net_loop *net = loop_for(server, acceptor->listener);
    acceptor->counts[net - server->nets].created++;
    struct handover *h = xcalloc(1, sizeof(*h));
    *h = (struct handover){.task.run = on_handover,
                           .net = net,
                           .listener = acceptor->listener,
                           .fd = fd,
                           .peer = peer};
    loop_post(h->net->loop, &h->task);
    return goes_on;
}

static void on_acceptable(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct acceptor *acceptor = container_of(watch, struct acceptor, watch);
    for (int i = 0; i < ACCEPTS_PER_EVENT && accept_one(acceptor); i++) {
    }
}

/* ---- binding ---- */

/* One that was handed in; -1: none. */
static int take_bound(const struct server *server, const struct listener *listener,
                      const struct sockaddr_storage *address)
{
    struct bound_sockets *bound = server->config.bound;
    return bound == NULL ? -1 : bound->take(bound, listener->name, address);
}

static int bind_address(const struct server *server, const struct listener *listener,
                        const struct addrinfo *info)
{
    struct sockets *sockets = server->config.sockets;
    struct sockaddr_storage address = {0};
    memcpy(&address, info->ai_addr, info->ai_addrlen);
    int fd = take_bound(server, listener, &address);
    return fd >= 0 ? fd : sockets->ops->listen(sockets, &address, server->config.backlog);
}

static int port_of(struct sockets *sockets, int fd)
{
    struct sockaddr_storage address = {0};
    char service[16] = "0";
    if (sockets->ops->local_address(sockets, fd, &address) != 0 ||
        getnameinfo((struct sockaddr *)&address, socket_address_len(&address), NULL, 0, service,
                    sizeof(service), NI_NUMERICSERV) != 0) {
        return 0;
    }
    return (int)strtol(service, NULL, 10);
}

/* All addresses means both families where the machine has them. */
static int listen_on(const struct server *server, const struct listener *listener, char *reason,
                     size_t size)
{
    char port[16];
    snprintf(port, sizeof(port), "%d", listener->port);
    bool any = listener->host[0] == '\0' || strcmp(listener->host, "0.0.0.0") == 0;
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM,
                             .ai_family = listener->host[0] == '\0' ? AF_INET6 : AF_UNSPEC};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(any ? NULL : listener->host, port, &hints, &found);
    if (any && listener->host[0] != '\0' && failed == 0) {
        freeaddrinfo(found);
        hints.ai_family = AF_INET;
        failed = getaddrinfo(NULL, port, &hints, &found);
    }
    if (failed != 0) {
        snprintf(reason, size, "listener %s: cannot resolve %s: %s", listener->name, listener->host,
                 gai_strerror(failed));
        return -1;
    }
    int fd = bind_address(server, listener, found);
    int saved = errno;
    freeaddrinfo(found);
    if (fd < 0 && listener->host[0] == '\0' && saved == EAFNOSUPPORT) {
        struct listener v4 = *listener;
        snprintf(v4.host, sizeof(v4.host), "0.0.0.0");
        return listen_on(server, &v4, reason, size);
    }
    if (fd < 0) {
        snprintf(reason, size, "listener %s: cannot listen on %s:%d: %s", listener->name,
                 listener->host, listener->port, strerrordesc_np(saved));
    }
    return fd;
}

err server_new(struct clock *clock, const struct server_config *config, struct server **out,
               char *reason, size_t reason_size)
{
    struct server *server = xcalloc(1, sizeof(*server));
    server->config = *config;
    server->memory.buffered_bytes_max = config->buffered_bytes_max;
    pthread_mutex_init(&server->lock, NULL);
    map_init(&server->per_ip);
    server->nets = xcalloc((size_t)config->loops_n, sizeof(*server->nets));
    server->threads = xcalloc((size_t)config->loops_n, sizeof(*server->threads));
    server->acceptors = xcalloc(config->listeners_n, sizeof(*server->acceptors));
    server->resume_timer.fire = on_resume_timer;
    server->unpause.run = on_unpause;
    list_init(&server->held);
    rate_init(&server->rate, config->rate.max, &config->rate.samples);
    for (size_t i = 0; i < config->listeners_n; i++) {
        server->acceptors[i].watch.fd = -1;
        server->acceptors[i].counts =
            xcalloc((size_t)config->loops_n, sizeof(*server->acceptors[i].counts));
    }
    for (int i = 0; i < config->loops_n; i++) {
        err e = loop_new(clock, config->sockets, &server->nets[i].loop);
        if (e != OK) {
            snprintf(reason, reason_size, "cannot create an event loop: %s", err_text(e));
            server_free(server);
            return e;
        }
    }
    for (size_t i = 0; i < config->listeners_n; i++) {
        struct listener *listener = &config->listeners[i];
        struct acceptor *acceptor = &server->acceptors[i];
        int fd = take_bound(server, listener, NULL);
        fd = fd >= 0 ? fd : listen_on(server, listener, reason, reason_size);
        if (fd < 0) {
            server_free(server);
            return E_CONFIG;
        }
        listener->port = port_of(config->sockets, fd);
        acceptor->watch = (struct io_watch){.fd = fd, .ready = on_acceptable};
        acceptor->server = server;
        acceptor->listener = listener;
        acceptor->slow.fire = on_slow_over;
        rate_init(&acceptor->rate, listener->conns_rate_max, &config->rate.samples);
    }
    err e =
        config->bound == NULL ? OK : config->bound->all_bound(config->bound, reason, reason_size);
    if (e != OK) {
        server_free(server);
        return e;
    }
    *out = server;
    return OK;
}

struct server_conns server_conns(const struct server *server, size_t listener, int loop)
{
    struct conn_counts *counts = &server->acceptors[listener].counts[loop];
    return (struct server_conns){.created = counts->created, .closed = counts->closed};
}

int server_loops(const struct server *server)
{
    return server->config.loops_n;
}

struct net_loop *server_loop(struct server *server, int index)
{
    return &server->nets[index];
}

err server_start(struct server *server, const struct conn_handler *handlers)
{
    for (int i = 0; i < server->config.loops_n; i++) {
        struct net_loop *net = &server->nets[i];
        net_loop_init(net, net->loop, &handlers[i], &server->config.limits, &server->memory);
        net->on_conn_gone = on_conn_gone;
        net->gone_context = server;
    }
    for (size_t i = 0; i < server->config.listeners_n; i++) {
        TRY(io_watch_set(server->nets[0].loop, &server->acceptors[i].watch, EPOLLIN));
    }
    /* The loop that accepts comes last: nobody is served before all run. */
    for (int i = server->config.loops_n - 1; i >= 0; i--) {
        char name[24];
        snprintf(name, sizeof(name), "net-%d", i);
        err e = thread_start(server->config.threads, name, THREAD_SERVES, server->nets[i].loop,
                             &server->threads[i]);
        if (e != OK) {
            server_stop(server);
            return e;
        }
    }
    return OK;
}

static void on_stop_accepting(struct loop_task *task)
{
    struct server *server = container_of(task, struct server, stop_accepting);
    struct sockets *sockets = server->config.sockets;
    timer_stop(server->nets[0].loop, &server->resume_timer);
    release_all_held(server);
    for (size_t i = 0; i < server->config.listeners_n; i++) {
        struct acceptor *acceptor = &server->acceptors[i];
        timer_stop(server->nets[0].loop, &acceptor->slow);
        if (acceptor->watch.fd >= 0) {
            err_ignore(io_watch_set(server->nets[0].loop, &acceptor->watch, 0));
            sockets->ops->close(sockets, acceptor->watch.fd);
            acceptor->watch.fd = -1;
        }
    }
}

void server_stop_accepting(struct server *server)
{
    server->stop_accepting.run = on_stop_accepting;
    loop_post(server->nets[0].loop, &server->stop_accepting);
}

void server_stop(struct server *server)
{
    for (int i = 0; i < server->config.loops_n; i++) {
        loop_stop(server->nets[i].loop);
    }
    for (int i = 0; i < server->config.loops_n; i++) {
        if (server->threads[i] != NULL) {
            thread_join(server->config.threads, server->threads[i]);
            server->threads[i] = NULL;
            net_loop_deinit(&server->nets[i]);
        }
    }
}

void server_free(struct server *server)
{
    if (server == NULL) {
        return;
    }
    for (size_t i = 0; i < server->config.listeners_n; i++) {
        if (server->acceptors[i].watch.fd >= 0) {
            server->config.sockets->ops->close(server->config.sockets,
                                               server->acceptors[i].watch.fd);
        }
        free(server->acceptors[i].counts);
        free(server->acceptors[i].rate.taken.samples);
    }
    release_all_held(server);
    free(server->rate.taken.samples);
    for (int i = 0; i < server->config.loops_n; i++) {
        loop_free(server->nets[i].loop);
    }
    map_deinit(&server->per_ip);
    pthread_mutex_destroy(&server->lock);
    free(server->acceptors);
    free(server->nets);
    free(server->threads);
    free(server);
}
