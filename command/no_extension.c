/* The broker as it is. */
#include "command/extension.h"

struct extension *extension_new(void)
{
    return NULL;
}

const char *extension_help(void)
{
    return "";
}

bool extension_take(struct extension *extension, const char *argument)
{
    (void)extension;
    (void)argument;
    return false;
}

err extension_begin(struct extension *extension, struct config *config, struct broker_env *env,
                    char reason[BROKER_REASON_BYTES])
{
    (void)extension;
    (void)config;
    (void)env;
    (void)reason;
    return OK;
}

err extension_serve(struct extension *extension, struct broker *broker, const char **ready_line,
                    char reason[BROKER_REASON_BYTES])
{
    (void)extension;
    (void)broker;
    (void)reason;
    *ready_line = "";
    return OK;
}

void extension_leave(struct extension *extension)
{
    (void)extension;
}

void extension_free(struct extension *extension)
{
    (void)extension;
}
