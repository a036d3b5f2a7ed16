/* What the tests of net share: sockets of a client that blocks, and frames. */
#ifndef OTTLA_BROKER_TESTS_NET_UTIL_H
#define OTTLA_BROKER_TESTS_NET_UTIL_H

#include "base/reader.h"
#include "base/tests/suite.h"
#include "base/writer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* A connection to 127.0.0.1, from that source address; reads time out. `receive_bytes`: the size of its
 * buffer, 0: the system's. */
UNUSED static int client_connect_as(const char *source, int port, int receive_bytes)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, source, &from.sin_addr);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    struct timeval timeout = {.tv_sec = PATIENCE_MS / 1000};
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (receive_bytes > 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

UNUSED static int client_connect_from(const char *source, int port)
{
    return client_connect_as(source, port, 0);
}

UNUSED static int client_connect(int port)
{
    return client_connect_from("127.0.0.1", port);
}

/* One that takes little before it is read. */
UNUSED static int client_connect_small(int port)
{
    return client_connect_as("127.0.0.1", port, 4096);
}

UNUSED static bool client_send(int fd, const void *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        data = (const uint8_t *)data + n;
        len -= (size_t)n;
    }
    return true;
}

UNUSED static bool client_receive(int fd, void *data, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, data, len, 0);
        if (n <= 0) {
            return false;
        }
        data = (uint8_t *)data + n;
        len -= (size_t)n;
    }
    return true;
}

/* Has the other side closed, with nothing left to read? */
UNUSED static bool client_sees_end(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

UNUSED static void put_frame(struct writer *w, const void *data, size_t len)
{
    writer_i32(w, (int32_t)len);
    writer_bytes(w, data, len);
}

/* Receives a frame; malloc'd and terminated. NULL at the end. */
UNUSED static char *client_frame(int fd, size_t *len)
{
    uint8_t size[4];
    if (!client_receive(fd, size, sizeof(size))) {
        return NULL;
    }
    *len = load_u32(size);
    char *data = xmalloc(*len + 1);
    if (!client_receive(fd, data, *len)) {
        free(data);
        return NULL;
    }
    data[*len] = '\0';
    return data;
}

UNUSED static bool client_frame_is(int fd, const void *expected, size_t expected_len)
{
    size_t len = 0;
    char *data = client_frame(fd, &len);
    bool same = data != NULL && len == expected_len && memcmp(data, expected, len) == 0;
    free(data);
    return same;
}

#endif
