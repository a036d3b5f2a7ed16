/* While a worker has it, the login is the worker's: who frees it meanwhile only leaves it, and the loop frees it when
 * the worker is done. */
#include "broker/net/peer_login.h"

#include "base/list.h"
#include "base/workers.h"

#include <stdlib.h>

enum { WORK_BYTES = 4 << 10 };

struct peer_login {
    struct peer_login_config config;
    struct sasl_client *client;
    struct work work;
    struct waiter waiter;
    struct loop_task task;
    bool at_work;
    bool left;
};

static void on_task(struct loop_task *task);

static void run(struct work *work)
{
    sasl_client_work(container_of(work, struct peer_login, work)->client);
}

static void on_done(struct waiter *waiter)
{
    struct peer_login *login = container_of(waiter, struct peer_login, waiter);
    loop_post(login->config.loop, &login->task);
}

struct peer_login *peer_login_new(const struct peer_login_config *config)
{
    struct peer_login *login = xcalloc(1, sizeof(*login));
    login->config = *config;
    login->client = sasl_client_new(config->identity, config->random, config->clock);
    login->work = (struct work){.run = run, .done = &login->waiter, .bytes = WORK_BYTES};
    login->waiter.wake = on_done;
    login->task.run = on_task;
    return login;
}

void peer_login_free(struct peer_login *login)
{
    if (login != NULL && login->at_work) {
        login->left = true;
    } else if (login != NULL) {
        sasl_client_free(login->client);
        free(login);
    }
}

static void on_task(struct loop_task *task)
{
    struct peer_login *login = container_of(task, struct peer_login, task);
    login->at_work = false;
    if (login->left) {
        peer_login_free(login);
    } else {
        login->config.worked(login->config.context, !login->work.cancelled);
    }
}

struct bytes peer_login_frame(const struct peer_login *login)
{
    return sasl_client_frame(login->client);
}

enum sasl_client_step peer_login_take(struct peer_login *login, struct bytes answer)
{
    enum sasl_client_step step = sasl_client_take(login->client, answer);
    if (step == SASL_CLIENT_WORK) {
        login->at_work = workers_submit(login->config.workers, &login->work);
        return login->at_work ? SASL_CLIENT_WORK : SASL_CLIENT_FAILED;
    }
    return step;
}

int64_t peer_login_lifetime_ms(const struct peer_login *login)
{
    return sasl_client_lifetime_ms(login->client);
}

const char *peer_login_why(const struct peer_login *login)
{
    return sasl_client_why(login->client);
}
