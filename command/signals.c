/* Two exchanges of one phase decide what was first. The thread is cancelled where it waits for a signal, never
 * within `hup`, which may hold the lock of the log. */
#define _GNU_SOURCE
#include "command/signals.h"

#include "base/err.h"
#include "base/log.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_STOPPED_STARTING = 130 };

enum phase { STARTING, SERVING, SIGNALLED };

struct signals {
    sigset_t set;
    atomic_int phase;
    void (*hup)(void *context);
    void *context;
    bool hup_stops;
    sem_t stop; /* posted with the first signal after the start */
    int number; /* of it */
    pthread_t thread;
};

static void take_hup(struct signals *signals)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    signals->hup(signals->context);
    pthread_setcancelstate(before, NULL);
}

static void *take(void *argument)
{
    struct signals *signals = argument;
    while (sigwait(&signals->set, &signals->number) == 0 && signals->number == SIGHUP &&
           !signals->hup_stops) {
        take_hup(signals);
    }
    if (atomic_exchange(&signals->phase, SIGNALLED) == STARTING) {
        log_warn("broker", "stopped during the start signal=%s", strsignal(signals->number));
        _exit(EXIT_STOPPED_STARTING);
    }
    sem_post(&signals->stop);
    return NULL;
}

struct signals *signals_new(void (*hup)(void *context), void *context)
{
    struct signals *signals = xcalloc(1, sizeof(*signals));
    signals->hup = hup;
    signals->context = context;
    signals->hup_stops = isatty(STDERR_FILENO);
    sigemptyset(&signals->set);
    sigaddset(&signals->set, SIGTERM);
    sigaddset(&signals->set, SIGINT);
    sigaddset(&signals->set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sem_init(&signals->stop, 0, 0);
    CHECK(pthread_create(&signals->thread, NULL, take, signals) == 0);
    return signals;
}

void signals_begin_serving(struct signals *signals)
{
    if (atomic_exchange(&signals->phase, SERVING) == SIGNALLED) {
        for (;;) {
            pause(); /* the process is about to end */
        }
    }
}

bool signals_have_come(const struct signals *signals)
{
    return atomic_load(&signals->phase) == SIGNALLED;
}

const char *signals_wait(struct signals *signals)
{
    while (sem_wait(&signals->stop) != 0) {
    }
    return strsignal(signals->number);
}

void signals_free(struct signals *signals)
{
    pthread_cancel(signals->thread); /* it waits on where the start failed */
    pthread_join(signals->thread, NULL);
    sem_destroy(&signals->stop);
    free(signals);
}
