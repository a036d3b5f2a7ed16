/* Descriptors 3, 4, … with their names and addresses; each is given away once. */
#define _GNU_SOURCE
#include "command/inherited.h"

#include "base/list.h"
#include "base/log.h"
#include "base/refuse.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST_FD = 3, FDS_MAX = 64, ADDRESS_TEXT_MAX = 80 };

struct inherited_socket {
    int fd; /* -1: taken */
    char *name;
    struct sockaddr_storage address;
};

struct inherited {
    struct bound_sockets bound;
    struct inherited_socket sockets[FDS_MAX];
    int count;
};

static int number_in(const char *variable)
{
    const char *text = getenv(variable);
    char *end = NULL;
    long value = text == NULL ? 0 : strtol(text, &end, 10);
    return text == NULL || end == text || *end != '\0' || value < 0 || value > INT32_MAX
               ? 0
               : (int)value;
}

static void address_text(const struct sockaddr_storage *address, char text[ADDRESS_TEXT_MAX])
{
    char host[NI_MAXHOST] = "?";
    char port[NI_MAXSERV] = "?";
    (void)getnameinfo((const struct sockaddr *)address, socket_address_len(address), host,
                      sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, ADDRESS_TEXT_MAX, address->ss_family == AF_INET6 ? "[%.50s]:%s" : "%.50s:%s",
             host, port);
}

/* Its flags become those of a socket of the broker's own. */
static bool take_over(struct inherited_socket *s)
{
    int listening = 0;
    int type = 0;
    socklen_t int_len = sizeof(int);
    socklen_t len = sizeof(s->address);
    return getsockopt(s->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_len) == 0 &&
           listening != 0 && getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &int_len) == 0 &&
           type == SOCK_STREAM && getsockname(s->fd, (struct sockaddr *)&s->address, &len) == 0 &&
           (s->address.ss_family == AF_INET || s->address.ss_family == AF_INET6) &&
           fcntl(s->fd, F_SETFD, FD_CLOEXEC) == 0 &&
           fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_NONBLOCK) == 0;
}

/* ---- who wants which ---- */

static bool is_any(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
    }
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static in_port_t port_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? ((const struct sockaddr_in *)address)->sin_port
                                         : ((const struct sockaddr_in6 *)address)->sin6_port;
}

/* All addresses are all addresses, whether of one family or of both. */
static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (port_of(a) != port_of(b) || (is_any(a) && is_any(b))) {
        return port_of(a) == port_of(b);
    }
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    }
    return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
                              &((const struct sockaddr_in6 *)b)->sin6_addr);
}

static int take(struct bound_sockets *bound, const char *listener,
                const struct sockaddr_storage *address)
{
    struct inherited *inherited = container_of(bound, struct inherited, bound);
    for (int i = 0; i < inherited->count; i++) {
        struct inherited_socket *s = &inherited->sockets[i];
        if (s->fd >= 0 && (address == NULL ? strcasecmp(s->name, listener) == 0
                                           : same_address(&s->address, address))) {
            int fd = s->fd;
            s->fd = -1;
            log_info("broker", "a listener takes a socket that was handed to it listener=%s fd=%d",
                     listener, fd);
            return fd;
        }
    }
    return -1;
}

/* Its clients would wait for ever: systemd keeps it open. */
static err all_bound(struct bound_sockets *bound, char *reason, size_t size)
{
    const struct inherited *inherited = container_of(bound, struct inherited, bound);
    for (int i = 0; i < inherited->count; i++) {
        const struct inherited_socket *s = &inherited->sockets[i];
        if (s->fd >= 0) {
            char address[ADDRESS_TEXT_MAX];
            address_text(&s->address, address);
            return refuse(reason, size,
                          "LISTEN_FDS: no listener has the name or the address of descriptor %d "
                          "(\"%.100s\", %s)",
                          s->fd, s->name, address);
        }
    }
    return OK;
}

/* ---- begin and end ---- */

static void forget_environment(void)
{
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDNAMES");
}

/* The names of LISTEN_FDNAMES stand between colons; some may be missing. */
static err read_sockets(struct inherited *inherited, int count, char reason[BROKER_REASON_BYTES])
{
    const char *names = getenv("LISTEN_FDNAMES");
    names = names == NULL ? "" : names;
    for (int i = 0; i < count; i++) {
        struct inherited_socket *s = &inherited->sockets[inherited->count++];
        size_t len = strcspn(names, ":");
        *s = (struct inherited_socket){.fd = FIRST_FD + i, .name = strndup(names, len)};
        names += names[len] == ':' ? len + 1 : len;
        if (!take_over(s)) {
            return refuse(reason, BROKER_REASON_BYTES,
                          "LISTEN_FDS: descriptor %d (\"%.100s\") is not a listening TCP socket",
                          s->fd, s->name);
        }
    }
    return OK;
}

err inherited_open(struct inherited **out, char reason[BROKER_REASON_BYTES])
{
    int count = number_in("LISTEN_PID") == getpid() ? number_in("LISTEN_FDS") : 0;
    if (count == 0) {
        forget_environment();
        return OK;
    }
    if (count > FDS_MAX) {
        return refuse(reason, BROKER_REASON_BYTES, "LISTEN_FDS: %d are more than %d", count,
                      FDS_MAX);
    }
    struct inherited *inherited = xcalloc(1, sizeof(*inherited));
    inherited->bound = (struct bound_sockets){.take = take, .all_bound = all_bound};
    err e = read_sockets(inherited, count, reason);
    forget_environment();
    if (e != OK) {
        inherited_free(inherited);
        return e;
    }
    *out = inherited;
    return OK;
}

struct bound_sockets *inherited_sockets(struct inherited *inherited)
{
    return inherited == NULL ? NULL : &inherited->bound;
}

void inherited_free(struct inherited *inherited)
{
    for (int i = 0; inherited != NULL && i < inherited->count; i++) {
        if (inherited->sockets[i].fd >= 0) {
            close(inherited->sockets[i].fd);
        }
        free(inherited->sockets[i].name);
    }
    free(inherited);
}
