/* The session file, as properties:
 *
 *   version=1
 *   directory=64769.1311234            device and inode of the directory it was written in
 *   boot=2c6f…                         what the kernel calls this run of the machine
 *   session=10000f5a1b20003
 *   password=0123456789abcdef0123456789abcdef
 *
 * A copied directory has another inode, so its file is not used; a renamed one keeps it. Where the
 * numbers change by themselves (another mount after a restart) a new session begins, which costs
 * the wait for the old one's end and nothing else. A file without `boot` is of a former run.
 *
 * base/file.h makes files that everybody may read, so the file is created here: exclusively, under
 * a temporary name, with its mode from the first moment. */
#define _GNU_SOURCE
#include "zk/zookeeper_session_file.h"

#include "base/file.h"
#include "base/properties.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

enum { FILE_BYTES_MAX = 512, BOOT_BYTES_MAX = 64 };

/* malloc'd. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return xstrdup(".");
    }
    return slash == path ? xstrdup("/") : xasprintf("%.*s", (int)(slash - path), path);
}

/* Which directory this is, as text; malloc'd. */
static err directory_identity(const char *path, char **identity)
{
    struct stat st;
    char *directory = directory_of(path);
    int result = stat(directory, &st);
    err e = result == 0 ? OK : err_from_errno(errno);
    free(directory);
    if (e == OK) {
        *identity =
            xasprintf("%llu.%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    }
    return e;
}

/* "" where it is not told. */
static void boot_id(char out[BOOT_BYTES_MAX])
{
    out[0] = '\0';
    int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t len = read(fd, out, BOOT_BYTES_MAX - 1);
        out[len < 0 ? 0 : len] = '\0';
        out[strcspn(out, "\n")] = '\0';
        close(fd);
    }
}

/* ---- reading ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly `count` bytes of lower case hexadecimal digits, and nothing after them. */
static bool hex_parse(const char *text, uint8_t *bytes, size_t count)
{
    if (text == NULL || strlen(text) != 2 * count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is(const struct properties *properties, const char *name, const char *expected)
{
    const char *value = properties_get(properties, name);
    return value != NULL && strcmp(value, expected) == 0;
}

static err parse(const struct properties *properties, const char *identity,
                 struct zookeeper_session *session)
{
    uint8_t id[sizeof(session->id)];
    if (!is(properties, "version", "1") || !is(properties, "directory", identity) ||
        !hex_parse(properties_get(properties, "session"), id, sizeof(id)) ||
        !hex_parse(properties_get(properties, "password"), session->password,
                   sizeof(session->password))) {
        return E_MALFORMED;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < sizeof(id); i++) {
        number = number << 8 | id[i];
    }
    session->id = (int64_t)number;
    char boot[BOOT_BYTES_MAX];
    boot_id(boot);
    session->machine_restarted = !is(properties, "boot", boot);
    return number == 0 ? E_MALFORMED : OK;
}

err session_file_read(const char *path, struct zookeeper_session *session)
{
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(fs_system(), path, FILE_BYTES_MAX, &text, &len);
    if (e == err_from_errno(ENOENT)) {
        return E_NOT_FOUND;
    }
    if (e != OK) {
        return e == E_LIMIT ? E_MALFORMED : e;
    }
    char *identity = NULL;
    int line = 0;
    struct properties properties;
    properties_init(&properties);
    e = directory_identity(path, &identity);
    if (e == OK) {
        e = properties_parse(&properties, text, len, &line);
    }
    if (e == OK) {
        e = parse(&properties, identity, session);
    }
    properties_deinit(&properties);
    free(identity);
    free(text);
    return e;
}

/* ---- writing ---- */

/* malloc'd. */
static char *file_text(const char *identity, const struct zookeeper_session *session)
{
    char password[2 * SESSION_PASSWORD_BYTES + 1];
    for (size_t i = 0; i < SESSION_PASSWORD_BYTES; i++) {
        snprintf(password + 2 * i, 3, "%02x", session->password[i]);
    }
    char boot[BOOT_BYTES_MAX];
    boot_id(boot);
    return xasprintf("version=1\ndirectory=%s\nboot=%s\nsession=%016llx\npassword=%s\n", identity,
                     boot, (unsigned long long)session->id, password);
}

/* A new file that only its owner may read, from the moment it is there. */
static err private_file_write(const char *path, const char *text)
{
    TRY(fs_unlink(fs_system(), path)); /* of a process that was killed here */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    err e = fs_write(fs_system(), fd, bytes_of(text, strlen(text)), 0);
    if (e == OK) {
        e = fs_datasync(fs_system(), fd);
    }
    fs_close(fs_system(), fd);
    return e;
}

err session_file_write(const char *path, const struct zookeeper_session *session)
{
    char *identity = NULL;
    TRY(directory_identity(path, &identity));
    char *text = file_text(identity, session);
    char *temporary = xasprintf("%s.tmp", path);
    char *directory = directory_of(path);
    err e = private_file_write(temporary, text);
    if (e == OK) {
        e = fs_rename(fs_system(), temporary, path);
    }
    if (e == OK) {
        e = fs_sync_dir(fs_system(), directory);
    }
    free(directory);
    free(temporary);
    free(text);
    free(identity);
    return e;
}

err session_file_remove(const char *path)
{
    return fs_unlink(fs_system(), path);
}
