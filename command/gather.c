/* In order: the last one that sets an option wins. */
#define _GNU_SOURCE
#include "command/gather.h"

#include "base/refuse.h"
#include "cli/cli.h"

#include <unistd.h>

err gather_texts(struct config *config, const struct arguments *arguments,
                 char reason[CONFIG_REASON_BYTES])
{
    if (arguments->file != NULL) {
        cli_hint(arguments->file);
        TRY(config_read_file(config, arguments->file, reason));
    }
    config_read_environment(config, environ);
    for (int i = 0; i < arguments->overrides_n; i++) {
        TRY(config_override(config, arguments->overrides[i], reason));
    }
    if (arguments->file == NULL) {
        config_use_shipped_defaults(config);
    }
    return OK;
}

/* Logs that are forgotten, of topics that ZooKeeper keeps, would be taken for lost. */
static err use_memory(struct config *config, struct memory_dir **memory,
                      char reason[CONFIG_REASON_BYTES])
{
    const char *zookeeper = properties_get(&config->properties, "zookeeper.connect");
    if (zookeeper != NULL && *zookeeper != '\0') {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "--in-memory: zookeeper.connect is set, and what ZooKeeper keeps of topics "
                      "would not be forgotten with their records; remove one of the two");
    }
    return *memory == NULL ? memory_dir_make(true, memory, reason) : OK;
}

err gather_config(struct config *config, const struct arguments *arguments,
                  struct memory_dir **memory, char reason[CONFIG_REASON_BYTES])
{
    TRY(gather_texts(config, arguments, reason));
    if (arguments->in_memory) {
        TRY(use_memory(config, memory, reason));
        properties_set(&config->properties, "log.dirs", memory_dir_path(*memory));
    }
    return config_finish(config, reason);
}
