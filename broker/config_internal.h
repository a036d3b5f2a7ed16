/* What the files of the configuration share. */
#ifndef OTTLA_BROKER_CONFIG_INTERNAL_H
#define OTTLA_BROKER_CONFIG_INTERNAL_H

#include "broker/config.h"

/* Without the blanks around it; to be freed. */
char *config_trimmed(const char *text);

/* What becomes of a name that is set. */
enum judged {
    JUDGED_IN_FORCE,
    JUDGED_NOTHING_SAID, /* not built, but the value is its default, or empty */
    JUDGED_PASSED,
    JUDGED_UNUSED,
    JUDGED_REFUSED,
    JUDGED_DYNAMIC, /* it is no option of a file */
    JUDGED_UNKNOWN,
};

struct judgement {
    enum judged judged;
    const struct option *option; /* NULL: there is none */
    const char *why;             /* of what is passed over, unused or refused */
};

/* config_check.c. Of one name, by itself; without the value's own check. */
struct judgement config_judge(const struct config *config, const char *name, const char *value);

/* config.c. Is the value, blanks around it aside, one that the option may have? */
NODISCARD err config_check_value(const struct option *option, const char *text,
                                 char reason[CONFIG_REASON_BYTES]);

/* config_check.c. Before the fields are filled: names that are unknown, passed over or refused. */
NODISCARD err config_check_names(const struct config *config, char reason[CONFIG_REASON_BYTES]);
/* Warns if the option is passed over and the value is not its default; `name` is what was set. */
void config_warn_passed(const struct option *option, const char *name, const char *value);
/* After: values that do not go together. */
NODISCARD err config_check_together(const struct config *config, char reason[CONFIG_REASON_BYTES]);

#endif
