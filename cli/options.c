/* A table of options and what was given of them. The sentences are those of Kafka's tools, which scripts see. */
#define _GNU_SOURCE
#include "cli/options.h"

#include "base/refuse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option *option_named(const struct cli_option *table, struct str name)
{
    for (; table->name != NULL; table++) {
        if (str_is(name, table->name)) {
            return table;
        }
    }
    return NULL;
}

/* One option, with the value behind "=" or in the next argument; *i is moved over what it took. */
static err take(struct cli_options *options, int argc, char **argv, int *i, char *reason)
{
    const char *argument = argv[*i];
    if (argument[0] != '-' || argument[1] == '\0') {
        return refuse(reason, CLI_REASON_BYTES, "\"%s\" belongs to no option", argument);
    }
    const char *name = argument + (argument[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    size_t len = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const struct cli_option *option = option_named(options->table, (struct str){name, len});
    if (option == NULL) {
        return refuse(reason, CLI_REASON_BYTES, "%.*s is not a recognized option", (int)len, name);
    }
    const char *value = equals == NULL ? NULL : equals + 1;
    if (option->kind == CLI_FLAG && value != NULL) {
        return refuse(reason, CLI_REASON_BYTES, "option %s takes no value", option->name);
    }
    bool follows = *i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0;
    if (option->kind == CLI_OPTIONAL && value == NULL && follows) {
        value = argv[++*i];
    }
    if ((option->kind == CLI_VALUE || option->kind == CLI_VALUES) && value == NULL) {
        if (!follows) {
            return refuse(reason, CLI_REASON_BYTES, "Option %s requires an argument", option->name);
        }
        value = argv[++*i];
    }
    if (option->kind == CLI_VALUE && cli_has(options, option->name)) {
        return refuse(reason, CLI_REASON_BYTES,
                      "Found multiple arguments for option %s, but you asked for only one",
                      option->name);
    }
    options->given[options->given_n++] = (struct cli_given){option, value};
    return OK;
}

err cli_options_parse(struct cli_options *options, const struct cli_option *table, int argc,
                      char **argv, char *reason)
{
    *options = (struct cli_options){.table = table,
                                    .given = xcalloc((size_t)argc + 1, sizeof(struct cli_given))};
    for (int i = 0; i < argc; i++) {
        TRY(take(options, argc, argv, &i, reason));
    }
    return OK;
}

void cli_options_deinit(struct cli_options *options)
{
    free(options->given);
}

const char *cli_next_value(const struct cli_options *options, const char *name, size_t *at)
{
    while (*at < options->given_n) {
        const struct cli_given *given = &options->given[(*at)++];
        if (strcmp(given->option->name, name) == 0) {
            return given->value;
        }
    }
    return NULL;
}

const char *cli_value(const struct cli_options *options, const char *name)
{
    size_t at = 0;
    return cli_next_value(options, name, &at);
}

bool cli_has(const struct cli_options *options, const char *name)
{
    for (size_t i = 0; i < options->given_n; i++) {
        if (strcmp(options->given[i].option->name, name) == 0) {
            return true;
        }
    }
    return false;
}

err cli_number(const struct cli_options *options, const char *name, int64_t min, int64_t max,
               int64_t *number, char *reason)
{
    const char *text = cli_value(options, name);
    if (text == NULL) {
        return OK;
    }
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || parsed < min || parsed > max) {
        return refuse(reason, CLI_REASON_BYTES, "Cannot parse argument '%s' of option %s", text,
                      name);
    }
    *number = parsed;
    return OK;
}

void cli_print_options(const struct cli_option *table)
{
    for (; table->name != NULL; table++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s", table->name,
                 table->kind == CLI_FLAG ? "" : " VALUE");
        fprintf(stderr, "  %-42s%s\n", left, table->help);
    }
}
