/* Written under another name and renamed: whoever sees the file sees all of it. */
#define _GNU_SOURCE
#include "broker/ready_file.h"

#include "base/file.h"
#include "base/refuse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *listener_local_host(const struct listener *listener)
{
    bool all = listener->host[0] == '\0' || strcmp(listener->host, "0.0.0.0") == 0 ||
               strcmp(listener->host, "::") == 0;
    return all ? "localhost" : listener->host;
}

static err refuse_file(const char *path, err e, char *reason)
{
    return refuse_with(e, reason, BROKER_REASON_BYTES, "--ready-file %s: %s", path, err_text(e));
}

err ready_file_clear(const char *path, char reason[BROKER_REASON_BYTES])
{
    return unlink(path) == 0 || errno == ENOENT ? OK
                                                : refuse_file(path, err_from_errno(errno), reason);
}

err ready_file_write(const char *path, const struct broker *broker, const char *more,
                     char reason[BROKER_REASON_BYTES])
{
    char *text = xstrdup("");
    for (size_t i = 0; i < broker->listeners.count; i++) {
        const struct listener *l = &broker->listeners.all[i];
        const char *host = listener_local_host(l);
        char *longer = xasprintf(strchr(host, ':') == NULL ? "%s%s=%s:%d\n" : "%s%s=[%s]:%d\n",
                                 text, l->name, host, l->port);
        free(text);
        text = longer;
    }
    char *whole = xasprintf("%s%s", text, more);
    free(text);
    text = whole;
    err e = fs_write_atomic(fs_system(), path, bytes_of(text, strlen(text)));
    free(text);
    return e == OK ? OK : refuse_file(path, e, reason);
}
