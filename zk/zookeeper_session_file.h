/* The file that keeps a ZooKeeper session over the end of the process: its number and its password.
 *
 * Whoever has both owns the session, so the file is for its owner alone (mode 0600), and it says in
 * which directory it was written: the copy of a data directory does not take a running broker's
 * session away. Not locked: one process at a time, whose directory is locked (.lock). */
#ifndef OTTLA_ZK_ZOOKEEPER_SESSION_FILE_H
#define OTTLA_ZK_ZOOKEEPER_SESSION_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { SESSION_PASSWORD_BYTES = 16 };

struct zookeeper_session {
    int64_t id;
    uint8_t password[SESSION_PASSWORD_BYTES];
    bool machine_restarted; /* since the file was written; told by reading */
};

/* OK; E_NOT_FOUND when there is no file; E_MALFORMED for one that is no session file, or was not
 * written here; or -errno. */
NODISCARD err session_file_read(const char *path, struct zookeeper_session *session);

/* Replaces the file so that a crash leaves the old or the new one. */
NODISCARD err session_file_write(const char *path, const struct zookeeper_session *session);

/* A file that is not there is no error. */
NODISCARD err session_file_remove(const char *path);

#endif
