/* What a build of the command may have besides the broker, linked in one object beside main.c. The broker's own has
 * nothing (no_extension.c). Each function is called once, in this order, by the command's main thread. */
#ifndef OTTLA_COMMAND_EXTENSION_H
#define OTTLA_COMMAND_EXTENSION_H

#include "broker/broker.h"

struct extension;

/* NULL: there is none; the other functions take that. */
struct extension *extension_new(void);
/* Its part of the help; "" for none. */
const char *extension_help(void);
/* An argument of the command line that the command itself does not know. False: not its either. */
bool extension_take(struct extension *extension, const char *argument);
/* The options are read to their end; the broker has not started. */
NODISCARD err extension_begin(struct extension *extension, struct config *config,
                              struct broker_env *env, char reason[BROKER_REASON_BYTES]);
/* The broker serves clients. *ready_line is a line for the ready file, or "", and lives as long as the extension. */
NODISCARD err extension_serve(struct extension *extension, struct broker *broker,
                              const char **ready_line, char reason[BROKER_REASON_BYTES]);
/* Before it stops. */
void extension_leave(struct extension *extension);
void extension_free(struct extension *extension);

#endif
