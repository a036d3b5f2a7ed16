/* ottla --check: the options that are set, in groups by what becomes of them, those first that somebody has to look at;
 * then the sentence with which a start would be refused, if it would. The judgement is the start's own (config_check.c):
 * nothing is decided here. */
#define _GNU_SOURCE
#include "broker/config_report.h"

#include "base/log.h"
#include "broker/broker_internal.h"
#include "broker/config_internal.h"

#include <string.h>

/* The groups, in the order in which they are shown. */
enum group { REFUSED, UNKNOWN, WITHOUT_EFFECT, IN_FORCE, GROUPS_N };

static const char *const TITLES[GROUPS_N] = {
    [REFUSED] = "Refused: the broker does not start with these",
    [UNKNOWN] =
        "Unknown to Kafka 3.9 and to Ottla: ignored, with a warning (a mistake in the name?)",
    [WITHOUT_EFFECT] = "Without effect here",
    [IN_FORCE] = "In force",
};

struct judged_property {
    const struct property *property;
    struct judgement judgement;
    enum group group;
    char reason[CONFIG_REASON_BYTES]; /* of a value that is not allowed */
};

static struct judged_property judge(const struct config *config, const struct property *property)
{
    struct judged_property judged = {
        .property = property, .judgement = config_judge(config, property->name, property->value)};
    const struct option *option = judged.judgement.option;
    if (option != NULL && judged.judgement.judged != JUDGED_DYNAMIC && *property->value != '\0' &&
        config_check_value(option, property->value, judged.reason) != OK) {
        judged.group = REFUSED;
        return judged;
    }
    switch (judged.judgement.judged) {
    case JUDGED_REFUSED:
        judged.group = REFUSED;
        break;
    case JUDGED_UNKNOWN:
        judged.group = UNKNOWN;
        break;
    case JUDGED_IN_FORCE:
        judged.group = IN_FORCE;
        break;
    default:
        judged.group = WITHOUT_EFFECT;
        break;
    }
    return judged;
}

static void print_why(const struct judged_property *judged, FILE *out)
{
    const struct judgement *judgement = &judged->judgement;
    if (judged->reason[0] != '\0') {
        fprintf(out, "      %s\n", judged->reason);
        return;
    }
    switch (judgement->judged) {
    case JUDGED_REFUSED:
    case JUDGED_PASSED:
        fprintf(out, "      %s\n", judgement->why);
        break;
    case JUDGED_UNUSED:
        fprintf(out, "      Kafka does not use it either without %s\n", judgement->why);
        break;
    case JUDGED_NOTHING_SAID:
        fputs("      not built, but this value asks for nothing\n", out);
        break;
    case JUDGED_DYNAMIC:
        fputs("      it is no option of a file; kafka-configs sets it\n", out);
        break;
    default:
        break;
    }
}

/* A mistyped name of a secret is no option, and still says what the secret is. */
static bool is_secret(const struct judged_property *judged)
{
    static const char *const WORDS[] = {"pass", "secret", "key", "jaas", "token", "credential"};
    const struct option *option = judged->judgement.option;
    bool secret = option != NULL ? option->type == OPTION_PASSWORD : judged->group == REFUSED;
    for (size_t i = 0; option == NULL && i < sizeof(WORDS) / sizeof(WORDS[0]); i++) {
        secret |= strcasestr(judged->property->name, WORDS[i]) != NULL;
    }
    return secret;
}

static void print_group(const struct config *config, enum group group, FILE *out)
{
    bool first = true;
    for (size_t i = 0; i < config->properties.count; i++) {
        struct judged_property judged = judge(config, &config->properties.items[i]);
        if (judged.group != group) {
            continue;
        }
        if (first) {
            fprintf(out, "\n%s:\n\n", TITLES[group]);
            first = false;
        }
        bool secret = is_secret(&judged);
        fprintf(out, "  %s=%s\n", judged.property->name, secret ? "***" : judged.property->value);
        print_why(&judged, out);
    }
}

/* What a start looks at before it touches anything. */
static err finish(struct config *config, char reason[BROKER_REASON_BYTES])
{
    TRY(config_finish(config, reason));
    struct listeners listeners = {0};
    const struct broker_env env = broker_env_system();
    err e = broker_parse_listeners(config, &listeners, reason);
    e = e == OK ? broker_check_tls(config, &listeners, reason) : e;
    e = e == OK ? broker_check_logins(&env, config, &listeners, reason) : e;
    listeners_deinit(&listeners);
    return e;
}

bool config_report(struct config *config, const char *source, FILE *out)
{
    size_t n = config->properties.count;
    fprintf(out, "%s: %zu option%s set\n", source, n, n == 1 ? "" : "s");
    for (int group = 0; group < GROUPS_N; group++) {
        print_group(config, (enum group)group, out);
    }
    enum log_level level = log_level();
    log_set_level(LOG_OFF); /* all of it is said above */
    char reason[BROKER_REASON_BYTES];
    err e = finish(config, reason);
    log_set_level(level);
    if (e != OK) {
        fprintf(out, "\nThe broker would not start: %s\n", reason);
    } else {
        fprintf(out, "\nThe broker would start. It keeps topics %s, and its logs in %s.\n",
                config_uses_zookeeper(config) ? "in ZooKeeper" : "in its first log directory",
                config->log_dirs);
    }
    return e == OK;
}
