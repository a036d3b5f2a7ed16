/* The command line of the broker. */
#ifndef OTTLA_COMMAND_ARGUMENTS_H
#define OTTLA_COMMAND_ARGUMENTS_H

#include "command/extension.h"
#include "cli/first_topics.h"

struct arguments {
    const char *file; /* NULL: none */
    const char **overrides;
    int overrides_n;
    const char *ready_file; /* NULL: none */
    struct first_topics topics;
    bool in_memory;
    struct extension *extension; /* handed in; takes what the command does not know */
    bool check;                  /* says what it would do, and does nothing */
};

/* Returns -1 to go on, or an exit status: what was asked for is printed, or what is wrong is said. The texts point into
 * argv. To be freed by arguments_deinit() in any case. */
int arguments_parse(struct arguments *arguments, struct extension *extension, int argc,
                    char **argv);
void arguments_deinit(struct arguments *arguments);

#endif
