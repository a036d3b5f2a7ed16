/* Everything waits by a poller with one descriptor in it, until a deadline. */
#include "sim/client.h"

#include "protocol/exchange.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 16 << 20,
    REQUEST_BYTES_MAX = 4 << 20,
    BROKER_PORT = 9092,
    LENGTH_BYTES = 4,
    CORRELATION_AT = 8
};

void client_init(struct client *client, struct sched *sched, struct network *network, int number)
{
    *client = (struct client){.sched = sched};
    client->sockets = network_begin_process(network, CLIENT_HOST_FIRST + number, NULL);
    client->poller = client->sockets->ops->poller_new(client->sockets);
    arena_init(&client->arena, ARENA_BYTES);
    for (int i = 0; i < CLIENT_BROKERS_MAX; i++) {
        client->fds[i] = -1;
    }
}

static void disconnect(struct client *client, int broker)
{
    if (client->fds[broker] >= 0) {
        client->sockets->ops->close(client->sockets, client->fds[broker]);
        client->fds[broker] = -1;
    }
}

void client_deinit(struct client *client)
{
    for (int i = 0; i < CLIENT_BROKERS_MAX; i++) {
        disconnect(client, i);
    }
    client->poller->ops->free(client->poller);
    arena_deinit(&client->arena);
    free(client->frame);
}

/* False: it was not in time. */
static bool wait_for(struct client *client, int fd, uint32_t events, int64_t deadline_us)
{
    const struct epoll_event wanted = {.events = events};
    const struct epoll_event none = {0};
    struct epoll_event event;
    int64_t left_us = deadline_us - sched_now_us(client->sched);
    int timeout_ms = left_us <= 0 ? 0 : (int)((left_us + 999) / 1000);
    (void)client->poller->ops->set(client->poller, fd, 0, &wanted);
    int n = client->poller->ops->wait(client->poller, &event, 1, timeout_ms);
    (void)client->poller->ops->set(client->poller, fd, events, &none);
    return n > 0;
}

static err connect_to(struct client *client, int broker, int64_t deadline_us)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&address;
    char text[NETWORK_ADDRESS_MAX];
    const struct socket_options options = {0};
    network_address(broker, text);
    in->sin_family = AF_INET;
    in->sin_port = htons(BROKER_PORT);
    CHECK(inet_pton(AF_INET, text, &in->sin_addr) == 1);
    int fd = client->sockets->ops->connect(client->sockets, &address, &options);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    client->fds[broker] = fd;
    if (!wait_for(client, fd, EPOLLOUT, deadline_us)) {
        return err_from_errno(ETIMEDOUT);
    }
    int error = client->sockets->ops->connect_result(client->sockets, fd);
    return error == 0 ? OK : err_from_errno(error);
}

static err send_all(struct client *client, int fd, const struct writer *frame, int64_t deadline_us)
{
    for (size_t done = 0; done < frame->len;) {
        ssize_t n = client->sockets->ops->send(client->sockets, fd, frame->data + done,
                                               frame->len - done, false);
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EAGAIN) {
            return err_from_errno(errno);
        } else if (!wait_for(client, fd, EPOLLOUT, deadline_us)) {
            return err_from_errno(ETIMEDOUT);
        }
    }
    return OK;
}

static err receive_all(struct client *client, int fd, uint8_t *data, size_t len,
                       int64_t deadline_us)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = client->sockets->ops->receive(client->sockets, fd, data + done, len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            return E_CLOSED;
        } else if (errno != EAGAIN) {
            return err_from_errno(errno);
        } else if (!wait_for(client, fd, EPOLLIN, deadline_us)) {
            return err_from_errno(ETIMEDOUT);
        }
    }
    return OK;
}

static err receive_frame(struct client *client, int fd, size_t *len, int64_t deadline_us)
{
    uint8_t length[LENGTH_BYTES];
    TRY(receive_all(client, fd, length, sizeof(length), deadline_us));
    *len = load_u32(length);
    CHECK(*len < ARENA_BYTES);
    if (*len > client->frame_cap) {
        client->frame_cap = *len * 2;
        client->frame = xrealloc(client->frame, client->frame_cap);
    }
    return receive_all(client, fd, client->frame, *len, deadline_us);
}

static void write_request(struct client *client, struct writer *out,
                          const struct exchange *exchange, const void *request)
{
    writer_i32(out, 0);
    CHECK(exchange_encode(exchange, (struct str){0}, request, out) == OK);
    store_u32(out->data, (uint32_t)(out->len - LENGTH_BYTES));
    store_u32(out->data + CORRELATION_AT, (uint32_t)++client->correlation_id);
}

static void read_answer(struct client *client, const struct exchange *exchange, size_t len,
                        void *response)
{
    struct bytes frame = bytes_of(client->frame, len);
    CHECK(len >= sizeof(uint32_t) && load_u32(frame.data) == (uint32_t)client->correlation_id);
    err e = exchange_decode(exchange, frame, &client->arena, response);
    CHECK(e == OK); /* a broker's answers are well-formed */
}

err client_ask(struct client *client, int broker, int16_t key, int version, const void *request,
               void *response, int64_t timeout_ms)
{
    const struct exchange exchange = {.api_key = key, .version = version};
    int64_t deadline_us = sched_now_us(client->sched) + timeout_ms * 1000;
    struct writer out;
    size_t len = 0;
    arena_reset(&client->arena, ARENA_BYTES);
    err e = client->fds[broker] < 0 ? connect_to(client, broker, deadline_us) : OK;
    writer_init(&out, REQUEST_BYTES_MAX);
    write_request(client, &out, &exchange, request);
    e = e == OK ? send_all(client, client->fds[broker], &out, deadline_us) : e;
    writer_deinit(&out);
    e = e == OK ? receive_frame(client, client->fds[broker], &len, deadline_us) : e;
    if (e != OK) {
        disconnect(client, broker);
        return e;
    }
    read_answer(client, &exchange, len, response);
    return OK;
}
