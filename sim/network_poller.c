/* A poller has a list of the sockets that it watches; what is ready is looked up when it is asked, by level as
 * epoll does it. A task that waits is woken when one of them may be ready. */
#define _GNU_SOURCE
#include "sim/network_internal.h"

#include <stdlib.h>

static uint32_t readiness(const struct socket *s)
{
    if (s->listens) {
        return list_empty(&s->accepted) || socket_is_dead(s) ? 0 : EPOLLIN;
    }
    if (socket_is_dead(s)) {
        return EPOLLERR | EPOLLHUP;
    }
    uint32_t events = 0;
    if (s->error != 0) {
        return EPOLLERR | EPOLLIN | EPOLLOUT;
    }
    if (s->in_done < s->in_len || s->ended) {
        events |= EPOLLIN;
    }
    if (s->connected &&
        (s->other == NULL ||
         s->other->pieces_bytes + s->other->in_len - s->other->in_done < NETWORK_WINDOW_BYTES)) {
        events |= EPOLLOUT;
    }
    return events;
}

static uint32_t reported(const struct socket *s)
{
    return readiness(s) & (s->wanted.events | EPOLLERR | EPOLLHUP);
}

void socket_tell(struct socket *s)
{
    struct net_poller *poller = s->poller;
    if (poller != NULL && poller->waiting != NULL && reported(s) != 0) {
        task_wake(poller->network->sched, poller->waiting);
    }
}

static struct net_poller *poller_of(struct poller *poller)
{
    return container_of(poller, struct net_poller, poller);
}

static int poller_set(struct poller *poller, int fd, uint32_t had, const struct epoll_event *event)
{
    struct net_poller *p = poller_of(poller);
    (void)had;
    struct socket *s = socket_at(p->network, fd);
    if (s == NULL) {
        errno = ENOENT;
        return -1;
    }
    list_remove(&s->poller_link);
    s->wanted = *event;
    s->poller = event->events == 0 ? NULL : p;
    if (event->events != 0) {
        list_append(&p->watched, &s->poller_link);
    }
    return 0;
}

static int take_events(struct net_poller *p, struct epoll_event *events, int events_max)
{
    int n = 0;
    list_each (item, &p->watched) {
        const struct socket *s = container_of(item, struct socket, poller_link);
        uint32_t are = reported(s);
        if (are != 0 && n < events_max) {
            events[n++] = (struct epoll_event){.events = are, .data = s->wanted.data};
        }
    }
    return n;
}

static int poller_wait(struct poller *poller, struct epoll_event *events, int events_max,
                       int timeout_ms)
{
    struct net_poller *p = poller_of(poller);
    struct sched *sched = p->network->sched;
    int64_t until_us =
        timeout_ms < 0 ? SCHED_FOREVER_US : sched_now_us(sched) + timeout_ms * 1000LL;
    p->waiting = sched_current(sched);
    if (p->woken || timeout_ms == 0 || take_events(p, events, events_max) > 0) {
        sched_yield_now(sched); /* others have their turn too */
    }
    int n = 0;
    while ((n = take_events(p, events, events_max)) == 0 && !p->woken &&
           sched_now_us(sched) < until_us) {
        sched_block(sched, until_us);
    }
    p->waiting = NULL;
    p->woken = false;
    return n;
}

static void poller_wake(struct poller *poller)
{
    struct net_poller *p = poller_of(poller);
    p->woken = true;
    if (p->waiting != NULL) {
        task_wake(p->network->sched, p->waiting);
    }
}

static void poller_free(struct poller *poller)
{
    struct net_poller *p = poller_of(poller);
    list_each_safe (item, &p->watched) {
        struct socket *s = container_of(item, struct socket, poller_link);
        list_remove(item);
        s->poller = NULL;
    }
    free(p);
}

struct poller *network_poller_new(struct sockets *sockets)
{
    static const struct poller_ops OPS = {
        .set = poller_set, .wait = poller_wait, .wake = poller_wake, .free = poller_free};
    struct net_poller *p = xcalloc(1, sizeof(*p));
    p->poller.ops = &OPS;
    p->network = process_of(sockets)->host->network;
    list_init(&p->watched);
    return &p->poller;
}
