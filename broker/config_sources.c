/* Where the text of options comes from: the properties file, the environment, the command line, and
 * what a broker has that was given no file.
 *
 * Variables of the environment are read as Kafka's images do: KAFKA_NUM_PARTITIONS is
 * num.partitions; CLUSTER_ID (KAFKA_KRAFT_CLUSTER_ID in some) is the id of a cluster that is made;
 * KAFKA_ADVERTISED_LISTENERS alone sets the listeners too, on all addresses. */
#define _GNU_SOURCE
#include "broker/config.h"

#include "base/file.h"
#include "base/refuse.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILE_LIMIT_BYTES = 1 << 20 };

static bool is_there(const struct config *config, const char *name)
{
    return properties_get(&config->properties, name) != NULL;
}

void config_use_shipped_defaults(struct config *config)
{
    static const struct {
        const char *name;
        const char *value;
        const char *other; /* says the same */
    } SHIPPED[] = {
        {"broker.id", "0", "node.id"},
        {"log.dirs", "./data", "log.dir"},
        {"offsets.topic.replication.factor", "1", NULL},
        {"transaction.state.log.replication.factor", "1", NULL},
        {"transaction.state.log.min.isr", "1", NULL},
        {"group.initial.rebalance.delay.ms", "0", NULL},
    };
    for (size_t i = 0; i < sizeof(SHIPPED) / sizeof(SHIPPED[0]); i++) {
        if (!is_there(config, SHIPPED[i].name) &&
            (SHIPPED[i].other == NULL || !is_there(config, SHIPPED[i].other))) {
            properties_set(&config->properties, SHIPPED[i].name, SHIPPED[i].value);
        }
    }
}

err config_read_file(struct config *config, const char *path, char reason[CONFIG_REASON_BYTES])
{
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(fs_system(), path, FILE_LIMIT_BYTES, &text, &len);
    if (e != OK) {
        snprintf(reason, CONFIG_REASON_BYTES, "cannot read %s: %s", path, err_text(e));
        return e;
    }
    int line = 0;
    e = properties_parse(&config->properties, text, len, &line);
    free(text);
    if (e != OK) {
        snprintf(reason, CONFIG_REASON_BYTES, "%s, line %d: broken \\u escape", path, line);
    }
    return e;
}

/* '_' is a dot, "__" an underscore, "___" a dash; lower case. */
static char *name_of_variable(const char *variable, size_t len)
{
    char *name = xmalloc(len + 1);
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        if (variable[i] != '_') {
            name[out++] = (char)tolower((unsigned char)variable[i++]);
            continue;
        }
        size_t run = 1;
        while (run < 3 && i + run < len && variable[i + run] == '_') {
            run++;
        }
        name[out++] = run == 1 ? '.' : run == 2 ? '_' : '-';
        i += run;
    }
    name[out] = '\0';
    return name;
}

/* Variables that steer the images' scripts and the JVM; no options. */
static bool is_image_variable(const char *name)
{
    static const char *const PREFIXES[] = {
        "heap.", "jvm.",  "jmx.", "log4j.", "opts",   "gc.",          "version",
        "home",  "debug", "mode", "cfg.",   "tools.", "create.topics" /* arguments.c reads it */};
    for (size_t i = 0; i < sizeof(PREFIXES) / sizeof(PREFIXES[0]); i++) {
        if (strncmp(name, PREFIXES[i], strlen(PREFIXES[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* What Kubernetes says of a service that is called kafka; no option either. */
static bool is_service_variable(const char *name)
{
    return strcmp(name, "port") == 0 || strncmp(name, "port.", 5) == 0 ||
           strncmp(name, "service.", 8) == 0;
}

static void read_variable(struct config *config, const char *variable, const char *equals)
{
    size_t skip = strncmp(variable, "KAFKA_CFG_", 10) == 0 ? 10 : 6;
    char *name = name_of_variable(variable + skip, (size_t)(equals - variable) - skip);
    if (strcmp(name, "kraft.cluster.id") == 0) {
        properties_set(&config->properties, "ottla.cluster.id", equals + 1);
    } else if (!is_image_variable(name) && !is_service_variable(name)) {
        properties_set(&config->properties, name, equals + 1);
    }
    free(name);
}

/* "A://h:1,B://i:2" becomes "A://:1,B://:2". */
static char *on_all_addresses(const char *advertised)
{
    char *out = xstrdup("");
    for (const char *at = advertised; *at != '\0';) {
        size_t len = strcspn(at, ",");
        const char *host = memmem(at, len, "://", 3);
        const char *colon = memrchr(at, ':', len);
        char *longer = host == NULL || colon <= host + 2
                           ? xasprintf("%s%.*s", out, (int)len, at) /* refused by the listeners */
                           : xasprintf("%s%.*s%.*s", out, (int)(host + 3 - at), at,
                                       (int)(at + len - colon), colon);
        free(out);
        at += len;
        out = *at == ',' ? xasprintf("%s,", longer) : xstrdup(longer);
        free(longer);
        at += *at == ',' ? 1 : 0;
    }
    return out;
}

void config_read_environment(struct config *config, char *const *environment)
{
    bool advertised = false;
    for (; *environment != NULL; environment++) {
        const char *variable = *environment;
        const char *equals = strchr(variable, '=');
        if (equals == NULL) {
            continue;
        }
        if (strncmp(variable, "CLUSTER_ID=", 11) == 0) {
            properties_set(&config->properties, "ottla.cluster.id", equals + 1);
        } else if (strncmp(variable, "KAFKA_", 6) == 0) {
            read_variable(config, variable, equals);
            advertised |= strncmp(variable, "KAFKA_ADVERTISED_LISTENERS=", 27) == 0;
        }
    }
    if (advertised && !is_there(config, "listeners")) {
        char *listeners =
            on_all_addresses(properties_get(&config->properties, "advertised.listeners"));
        properties_set(&config->properties, "listeners", listeners);
        free(listeners);
    }
}

err config_override(struct config *config, const char *name_and_value,
                    char reason[CONFIG_REASON_BYTES])
{
    const char *equals = strchr(name_and_value, '=');
    if (equals == NULL || equals == name_and_value) {
        return refuse(reason, CONFIG_REASON_BYTES, "--override wants name=value, not \"%s\"",
                      name_and_value);
    }
    char *name = strndup(name_and_value, (size_t)(equals - name_and_value));
    properties_set(&config->properties, name, equals + 1);
    free(name);
    return OK;
}
