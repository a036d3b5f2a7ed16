/* The datagrams, and the watchdog.
 *
 * The watchdog is a token that goes round the loops: each, in its turn, posts it to the next. When it is back at the
 * first one, WATCHDOG=1 is sent, and a timer there begins the next round. So a loop that hangs holds the token, and
 * nothing is sent until it turns again; no thread and no lock are needed for it, and without WATCHDOG_USEC no loop is
 * ever woken. A ping from a thread of its own would say only that this thread lives.
 *
 * The control thread waits for ZooKeeper, and the flush thread for the disk, as long as it takes: they are not asked. */
#define _GNU_SOURCE
#include "command/supervised.h"

#include "base/list.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SEND_TIMEOUT_S = 2, MESSAGE_BYTES = 1024, USEC_PER_MS = 1000, OTHER_LOOPS = 2 };

struct supervised {
    int fd;
    struct sockaddr_un to;
    socklen_t to_len;

    int64_t ping_ms; /* 0: no watchdog */
    struct loop **loops;
    int loops_n;
    int at; /* of the loop that has the token */
    struct loop_task token;
    struct timer timer; /* on the first loop */
    atomic_bool ended;
};

/* ---- datagrams ---- */

/* A ping (MSG_DONTWAIT) that cannot be sent is not told: the next one comes. */
__attribute__((format(printf, 3, 4))) static void tell(struct supervised *s, int flags,
                                                       const char *format, ...)
{
    char message[MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    size_t size = len < MESSAGE_BYTES ? (size_t)len : MESSAGE_BYTES - 1;
    const struct sockaddr *to = (const struct sockaddr *)&s->to;
    if (sendto(s->fd, message, size, flags | MSG_NOSIGNAL, to, s->to_len) < 0 && flags == 0) {
        log_warn("broker", "cannot tell the supervisor what=\"%.*s\" error=\"%s\"",
                 (int)strcspn(message, "\n"), message, strerrordesc_np(errno));
    }
}

/* A path, or with '@' a name in the abstract name space. */
static bool address_of(const char *text, struct supervised *s)
{
    size_t len = strlen(text);
    if ((*text != '/' && *text != '@') || len < 2 || len >= sizeof(s->to.sun_path)) {
        return false;
    }
    s->to.sun_family = AF_UNIX;
    memcpy(s->to.sun_path, text, len);
    s->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*text == '/' ? 1 : 0));
    if (*text == '@') {
        s->to.sun_path[0] = '\0';
    }
    return true;
}

/* WATCHDOG_PID, where it is set, says whom it is meant for. */
static int64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != getpid())) {
        return 0;
    }
    char *end = NULL;
    errno = 0;
    long long value = strtoll(usec, &end, 10);
    if (*end != '\0' || errno != 0 || value / USEC_PER_MS < 2) {
        log_warn("broker", "no watchdog: WATCHDOG_USEC=%s is no number of microseconds from 2000",
                 usec);
        return 0;
    }
    return value / USEC_PER_MS / 2;
}

struct supervised *supervised_new(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || *path == '\0') {
        return NULL;
    }
    struct supervised *s = xcalloc(1, sizeof(*s));
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || !address_of(path, s)) {
        log_warn("broker", "nobody is told: NOTIFY_SOCKET=%s is not a path or @name", path);
        supervised_free(s);
        return NULL;
    }
    struct timeval patience = {.tv_sec = SEND_TIMEOUT_S};
    (void)setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    s->ping_ms = watchdog_ms();
    tell(s, 0, "STATUS=starting");
    return s;
}

void supervised_free(struct supervised *s)
{
    if (s == NULL) {
        return;
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s->loops);
    free(s);
}

/* ---- the watchdog ---- */

static void pass_on(struct supervised *s, int to)
{
    if (!atomic_load(&s->ended)) {
        s->at = to;
        loop_post(s->loops[to], &s->token);
    }
}

static void on_timer(struct timer *timer)
{
    struct supervised *s = container_of(timer, struct supervised, timer);
    pass_on(s, 1);
}

static void on_token(struct loop_task *task)
{
    struct supervised *s = container_of(task, struct supervised, token);
    if (s->at != 0) {
        pass_on(s, (s->at + 1) % s->loops_n);
    } else if (!atomic_load(&s->ended)) {
        tell(s, MSG_DONTWAIT, "WATCHDOG=1");
        timer_start(s->loops[0], &s->timer, s->ping_ms);
    }
}

static void begin_watch(struct supervised *s, struct broker *broker)
{
    int nets_n = server_loops(broker->server);
    s->loops = xcalloc((size_t)nets_n + OTHER_LOOPS, sizeof(struct loop *));
    s->loops[s->loops_n++] = broker->background;
    s->loops[s->loops_n++] = broker->state;
    for (int i = 0; i < nets_n; i++) {
        s->loops[s->loops_n++] = server_loop(broker->server, i)->loop;
    }
    s->token.run = on_token;
    s->timer.fire = on_timer;
    pass_on(s, 0);
}

/* What is on its way is dropped with the loops: they end before this does. */
void supervised_end_watch(struct supervised *s)
{
    if (s != NULL) {
        atomic_store(&s->ended, true);
    }
}

/* ---- states ---- */

void supervised_ready(struct supervised *s, struct broker *broker, const char *status)
{
    if (s == NULL) {
        return;
    }
    tell(s, 0, "READY=1\nSTATUS=%s", status);
    if (s->ping_ms > 0) {
        begin_watch(s, broker);
    }
}

void supervised_reloading(struct supervised *s)
{
    struct timespec now = {0};
    if (s != NULL) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        tell(s, 0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64,
             (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    }
}

void supervised_reloaded(struct supervised *s)
{
    if (s != NULL) {
        tell(s, 0, "READY=1");
    }
}

void supervised_stopping(struct supervised *s, const char *status)
{
    if (s != NULL) {
        tell(s, 0, "STOPPING=1\nSTATUS=%s", status);
    }
}
