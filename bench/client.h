/* What the load generators share: a socket, clocks, latencies. On failure of the machine they end the program. */
#ifndef OTTLA_BENCH_CLIENT_H
#define OTTLA_BENCH_CLIENT_H

#include "base/bytes.h"

#include <netinet/in.h>

enum { SAMPLES_MAX = 4 << 20 };

/* Latencies; past SAMPLES_MAX they are not kept. */
struct samples {
    int32_t *us;
    size_t n;
};

double now_s(void);
/* The CPU time of a process, threads that have ended included; of no process (0) none. */
double cpu_of_s(int pid);

__attribute__((noreturn)) void die(const char *what);
int connect_to(const struct sockaddr_in *address);
void read_fully(int fd, uint8_t *data, size_t len);

/* True when `arg` is name=…; `value` is then what stands behind it. */
bool option_is(const char *arg, const char *name, const char **value);

void samples_init(struct samples *samples);
void samples_add(struct samples *samples, double us);
void samples_sort(struct samples *samples);
/* 0 when there are none; they have to be sorted. */
int32_t samples_quantile(const struct samples *samples, double q);

#endif
