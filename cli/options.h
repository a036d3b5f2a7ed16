/* Options of a tool's command line, as Kafka's tools take them: --name, --name value, --name=value, in any order.
 * Nothing is abbreviated. */
#ifndef OTTLA_CLI_OPTIONS_H
#define OTTLA_CLI_OPTIONS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum cli_option_kind {
    CLI_FLAG,
    CLI_VALUE,
    CLI_VALUES,   /* may be given several times */
    CLI_OPTIONAL, /* with or without a value */
};

struct cli_option {
    const char *name;
    enum cli_option_kind kind;
    const char *help;
};

struct cli_given {
    const struct cli_option *option;
    const char *value; /* NULL: a flag */
};

/* What was given, in order; the values point into argv. */
struct cli_options {
    const struct cli_option *table; /* ends with a NULL name */
    struct cli_given *given;
    size_t given_n;
};

/* E_CONFIG with the sentence of Kafka's tools in `reason`, where there is one: something that is no option, a value
 * that is missing, an argument that belongs to no option. */
NODISCARD err cli_options_parse(struct cli_options *options, const struct cli_option *table,
                                int argc, char **argv, char *reason);
void cli_options_deinit(struct cli_options *options);

bool cli_has(const struct cli_options *options, const char *name);
/* The value, or NULL. */
const char *cli_value(const struct cli_options *options, const char *name);
/* The next value of an option that may be given several times, from *at on, which begins as 0; NULL: no more. */
const char *cli_next_value(const struct cli_options *options, const char *name, size_t *at);
/* A whole number; `number` stays as it is where the option is not given. E_CONFIG with the reason. */
NODISCARD err cli_number(const struct cli_options *options, const char *name, int64_t min,
                         int64_t max, int64_t *number, char *reason);

void cli_print_options(const struct cli_option *table);

enum { CLI_REASON_BYTES = 768 };

#endif
