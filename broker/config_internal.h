/* What the files of the configuration share. */
#ifndef OTTLA_BROKER_CONFIG_INTERNAL_H
#define OTTLA_BROKER_CONFIG_INTERNAL_H

#include "broker/config.h"

/* Without the blanks around it; to be freed. */
char *config_trimmed(const char *text);

/* config_check.c. Before the fields are filled: names that are unknown, passed over or refused. */
NODISCARD err config_check_names(const struct config *config, char reason[CONFIG_REASON_BYTES]);
/* Warns if the option is passed over and the value is not its default; `name` is what was set. */
void config_warn_passed(const struct option *option, const char *name, const char *value);
/* After: values that do not go together. */
NODISCARD err config_check_together(const struct config *config, char reason[CONFIG_REASON_BYTES]);

#endif
