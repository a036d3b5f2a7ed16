#define _GNU_SOURCE
#include "broker/net/host_name.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void host_name_canonical(char host[LISTENER_HOST_MAX])
{
    snprintf(host, LISTENER_HOST_MAX, "localhost");
    (void)gethostname(host, LISTENER_HOST_MAX - 1);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0) {
        return;
    }
    /* One that does not fit leaves the host name. */
    if (getnameinfo(found->ai_addr, found->ai_addrlen, host, LISTENER_HOST_MAX, NULL, 0, 0) != 0) {
        (void)gethostname(host, LISTENER_HOST_MAX - 1);
    }
    freeaddrinfo(found);
}
