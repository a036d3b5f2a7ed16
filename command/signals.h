/* The signals of the command: SIGTERM and SIGINT stop it, SIGHUP is somebody's wish that it reads its files again.
 *
 * They are taken by a thread of their own, so that one that comes during the start (which may wait long for
 * ZooKeeper) is not left waiting: nothing is acknowledged yet, and the process ends as it is, with status 130.
 * What comes first decides: the signal, and then no client is served any more, or signals_begin_serving(), and
 * then the signal stops the broker cleanly. */
#ifndef OTTLA_COMMAND_SIGNALS_H
#define OTTLA_COMMAND_SIGNALS_H

#include <stdbool.h>

struct signals;

/* Before there is any thread: all that come are born with the signals blocked. `hup` is called on the thread of the
 * signals, while no other of them is taken. On a terminal SIGHUP stops too: the terminal goes, and the broker with it. */
struct signals *signals_new(void (*hup)(void *context), void *context);
/* Does not return if a stop has come before. */
void signals_begin_serving(struct signals *signals);
/* Has a stop come since? */
bool signals_have_come(const struct signals *signals);
/* Waits for it; its name. */
const char *signals_wait(struct signals *signals);
/* Waits until `hup` has returned. */
void signals_free(struct signals *signals);

#endif
