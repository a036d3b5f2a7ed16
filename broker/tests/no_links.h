/* A controller's links to nobody, for tests of what it writes. */
#ifndef OTTLA_BROKER_TESTS_NO_LINKS_H
#define OTTLA_BROKER_TESTS_NO_LINKS_H

#include "base/tests/suite.h"
#include "broker/cluster/controller.h"

UNUSED static void send_nowhere(void *context, int32_t broker, int16_t api_key, int version,
                                const void *request)
{
    (void)context;
    (void)broker;
    (void)api_key;
    (void)version;
    (void)request;
}

UNUSED static void talk_to_nobody(void *context, const struct link_target *targets, int32_t count)
{
    (void)context;
    (void)targets;
    (void)count;
}

#define NO_LINKS ((struct controller_links){.send = send_nowhere, .set_targets = talk_to_nobody})

#endif
