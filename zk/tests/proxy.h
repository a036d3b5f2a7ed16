/* A TCP proxy before a ZooKeeper that loses connections when it is told to: a thread of the test.
 *
 * It knows the frames of the protocol (four bytes of length; a request begins with its number and
 * its type, an answer with the number), and serves one connection at a time, which is what one
 * client has. */
#ifndef OTTLA_ZK_TESTS_PROXY_H
#define OTTLA_ZK_TESTS_PROXY_H

#include "base/tests/suite.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

/* Types of requests. */
enum {
    TYPE_DELETE = 2,
    TYPE_EXISTS = 3,
    TYPE_GET = 4,
    TYPE_SET = 5,
    TYPE_CHILDREN = 12,
    TYPE_MULTI = 14,
    TYPE_CREATE = 15,
};

enum { FRAME_BYTES_MAX = 2 << 20, PROXY_TURN_MS = 5 };

struct proxy {
    int port;
    int server_port;
    int listener;
    pthread_t thread;
    uint8_t *frame;

    pthread_mutex_t lock; /* of what follows */
    bool ends;
    bool blocked;  /* no connection lives */
    int cut_type;  /* requests of this type are lost, */
    int cuts_left; /* so many of them, */
    int skip;      /* after this many */
    bool applies;  /* the server has them, only the answer is lost */
    int cuts;      /* done */
};

struct proxied {
    int client;
    int server;
    bool closing; /* after the answer to: */
    int32_t last_xid;
};

static inline int socket_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* A listening socket on a free port. */
static inline int socket_listen(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 16), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static inline int32_t frame_number(const uint8_t *at)
{
    uint32_t number = 0;
    memcpy(&number, at, sizeof(number));
    return (int32_t)ntohl(number);
}

/* The length of the frame with its four bytes of length, or 0 at the end of the connection. */
static inline size_t frame_read(int fd, uint8_t *frame)
{
    if (recv(fd, frame, 4, MSG_WAITALL) != 4) {
        return 0;
    }
    int32_t len = frame_number(frame);
    if (len < 0 || len > FRAME_BYTES_MAX - 4 ||
        recv(fd, frame + 4, (size_t)len, MSG_WAITALL) != len) {
        return 0;
    }
    return (size_t)len + 4;
}

static inline bool frame_write(int fd, const uint8_t *frame, size_t len)
{
    return send(fd, frame, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Is the request in `frame` one that is to be lost? */
static inline bool proxy_cuts(struct proxy *proxy, size_t len, bool *applies)
{
    pthread_mutex_lock(&proxy->lock);
    bool type = proxy->cuts_left > 0 && len >= 12 && frame_number(proxy->frame + 4) > 0 &&
                frame_number(proxy->frame + 8) == proxy->cut_type;
    bool cut = type && proxy->skip == 0;
    proxy->skip -= type && !cut ? 1 : 0;
    proxy->cuts_left -= cut ? 1 : 0;
    proxy->cuts += cut ? 1 : 0;
    *applies = !cut || proxy->applies;
    pthread_mutex_unlock(&proxy->lock);
    return cut;
}

/* False when the connection is to end. What comes after a lost request is lost too. */
static inline bool proxy_request(struct proxy *proxy, struct proxied *c, bool first)
{
    size_t len = frame_read(c->client, proxy->frame);
    bool applies = true;
    if (len == 0 || c->closing) {
        return len > 0;
    }
    if (!first && proxy_cuts(proxy, len, &applies)) {
        c->closing = true;
        c->last_xid = frame_number(proxy->frame + 4);
    }
    return applies && frame_write(c->server, proxy->frame, len);
}

static inline bool proxy_answer(struct proxy *proxy, struct proxied *c)
{
    size_t len = frame_read(c->server, proxy->frame);
    if (len == 0 || (c->closing && len >= 8 && frame_number(proxy->frame + 4) == c->last_xid)) {
        return false;
    }
    return frame_write(c->client, proxy->frame, len);
}

static inline bool proxy_goes_on(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    bool on = !proxy->ends && !proxy->blocked;
    pthread_mutex_unlock(&proxy->lock);
    return on;
}

static inline void proxy_serve(struct proxy *proxy, int client)
{
    struct proxied c = {.client = client, .server = socket_to(proxy->server_port)};
    bool on = c.server >= 0 && proxy_goes_on(proxy) && proxy_request(proxy, &c, true);
    while (on && proxy_goes_on(proxy)) {
        struct pollfd fds[] = {{.fd = client, .events = POLLIN},
                               {.fd = c.server, .events = POLLIN}};
        poll(fds, 2, PROXY_TURN_MS);
        if (fds[1].revents != 0) {
            on = proxy_answer(proxy, &c);
        }
        if (on && fds[0].revents != 0) {
            on = proxy_request(proxy, &c, false);
        }
    }
    close(client);
    if (c.server >= 0) {
        close(c.server);
    }
}

static inline void *proxy_main(void *context)
{
    struct proxy *proxy = context;
    for (;;) {
        pthread_mutex_lock(&proxy->lock);
        bool ends = proxy->ends;
        pthread_mutex_unlock(&proxy->lock);
        if (ends) {
            return NULL;
        }
        struct pollfd fd = {.fd = proxy->listener, .events = POLLIN};
        if (poll(&fd, 1, PROXY_TURN_MS) > 0) {
            int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
            int yes = 1;
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
            proxy_serve(proxy, client);
        }
    }
}

static inline void proxy_begin(struct proxy *proxy, int server_port)
{
    *proxy = (struct proxy){.server_port = server_port, .frame = xmalloc(FRAME_BYTES_MAX)};
    pthread_mutex_init(&proxy->lock, NULL);
    proxy->listener = socket_listen(&proxy->port);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&proxy->thread, NULL, proxy_main, proxy), 0);
}

static inline void proxy_end(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->ends = true;
    pthread_mutex_unlock(&proxy->lock);
    pthread_join(proxy->thread, NULL);
    close(proxy->listener);
    free(proxy->frame);
    pthread_mutex_destroy(&proxy->lock);
}

static inline void proxy_block(struct proxy *proxy, bool blocked)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->blocked = blocked;
    pthread_mutex_unlock(&proxy->lock);
}

/* From now on `count` requests of a type are lost, after the first `skip` of them. */
static inline void proxy_cut(struct proxy *proxy, int type, int skip, int count, bool applies)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->cut_type = type;
    proxy->skip = skip;
    proxy->cuts_left = count;
    proxy->applies = applies;
    proxy->cuts = 0;
    pthread_mutex_unlock(&proxy->lock);
}

static inline int proxy_cuts_done(struct proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    int cuts = proxy->cuts;
    pthread_mutex_unlock(&proxy->lock);
    return cuts;
}

#endif
