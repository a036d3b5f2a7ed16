#define _GNU_SOURCE
#include "bench/client.h"
#include "base/err.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double cpu_of_s(int pid)
{
    clockid_t id;
    struct timespec ts;
    if (pid == 0 || clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &ts) != 0) {
        return 0;
    }
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void die(const char *what)
{
    perror(what);
    exit(1);
}

int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        die("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

void read_fully(int fd, uint8_t *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, data + done, len - done, 0);
        if (n <= 0) {
            die("recv");
        }
        done += (size_t)n;
    }
}

bool option_is(const char *arg, const char *name, const char **value)
{
    size_t len = strlen(name);
    *value = arg + len + 1;
    return strncmp(arg, name, len) == 0 && arg[len] == '=';
}

void samples_init(struct samples *samples)
{
    samples->us = xcalloc(SAMPLES_MAX, sizeof(*samples->us));
    samples->n = 0;
}

void samples_add(struct samples *samples, double us)
{
    if (samples->n < SAMPLES_MAX) {
        samples->us[samples->n++] = us > 2e9 ? INT32_MAX : (int32_t)us;
    }
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

void samples_sort(struct samples *samples)
{
    qsort(samples->us, samples->n, sizeof(*samples->us), compare);
}

int32_t samples_quantile(const struct samples *samples, double q)
{
    return samples->n == 0 ? 0 : samples->us[(size_t)((double)(samples->n - 1) * q)];
}
