/* Tools speak PLAINTEXT only, as the broker does. */
#define _GNU_SOURCE
#include "cli/command_config.h"

#include "base/file.h"
#include "base/properties.h"
#include "base/refuse.h"
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT_BYTES = 1 << 20 };

err command_config_check(const char *path, char *reason)
{
    if (path == NULL) {
        return OK;
    }
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(fs_system(), path, FILE_LIMIT_BYTES, &text, &len);
    if (e != OK) {
        return refuse(reason, CLI_REASON_BYTES, "cannot read %s: %s", path, err_text(e));
    }
    struct properties properties;
    properties_init(&properties);
    int line = 0;
    e = properties_parse(&properties, text, len, &line);
    free(text);
    const char *protocol = properties_get(&properties, "security.protocol");
    if (e != OK) {
        e = refuse(reason, CLI_REASON_BYTES, "%s, line %d: broken \\u escape", path, line);
    } else if (protocol != NULL && strcmp(protocol, "PLAINTEXT") != 0) {
        e = refuse(reason, CLI_REASON_BYTES,
                   "%s: security.protocol=%s is not built into these tools; PLAINTEXT is", path,
                   protocol);
    }
    properties_deinit(&properties);
    return e;
}
