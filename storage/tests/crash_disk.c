/* A node is a file (bytes now, bytes as of its last sync, the writes since) or a directory (names now, names as of its
 * last sync, the changes since). Nodes live as long as their disk, so that an open descriptor outlives its name.
 *
 * A crash is not carried out on the disk: another one is made, which holds what is left. So a scenario goes on after
 * each of its changes has been tried as its last one. */
#define _GNU_SOURCE
#include "storage/tests/crash_disk.h"

#include "base/list.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR_BYTES = 512, FD_FIRST = 1 << 16, FDS_MAX = 256 };

struct content {
    uint8_t *data;
    size_t size;
    size_t cap;
};

/* A write, or (no data) a new size. */
struct pending {
    uint8_t *data;
    size_t position;
    size_t len;
    bool stuck; /* a sync of it has failed */
};

struct name {
    char *text;
    struct node *node;
};

struct names {
    struct name *all;
    size_t n;
};

/* `to` gets the node, `from` is no more; either may be NULL. */
struct change {
    char *from;
    char *to;
    struct node *node;
};

struct node {
    struct node *next; /* of the disk */
    struct node *copy; /* while a disk is copied */
    bool is_dir;
    int64_t mtime_ms;
    int lock_fd; /* -1: none */
    struct content now;
    struct content durable;
    struct pending *pending;
    size_t pending_n;
    struct names names;
    struct names durable_names;
    struct change *changes;
    size_t changes_n;
    bool stuck; /* a sync of the directory has failed */
};

struct open_fd {
    struct node *node; /* NULL: free */
    char *path;
};

struct crash_disk {
    struct fs fs;
    struct clock *wall;
    struct disk_watch watch;
    struct node *nodes;
    struct node *root;
    struct open_fd fds[FDS_MAX];
    struct node *last_written; /* by the last change, if it was a write */
};

static struct crash_disk *disk_of(struct fs *fs)
{
    return container_of(fs, struct crash_disk, fs);
}

static int fail(int error)
{
    errno = error;
    return -1;
}

const char *disk_function_name(enum disk_function function)
{
    static const char *const NAMES[DISK_FUNCTIONS] = {
        "open",   "pread",  "pwritev", "ftruncate", "fdatasync", "fsync",
        "rename", "unlink", "mkdir",   "rmdir",     "stat",      "fstat",
        "list",   "lock",   "syncfs",  "space",     "set_mtime"};
    return NAMES[function];
}

const char *crash_kind_name(enum crash_kind kind)
{
    static const char *const NAMES[] = {
#define EACH(name) #name,
        CRASH_KINDS(EACH)
#undef EACH
    };
    return NAMES[kind];
}

/* ---- contents ---- */

static void content_resize(struct content *content, size_t size)
{
    if (size > content->cap) {
        content->cap = size < 256 ? 256 : size * 2;
        content->data = xrealloc(content->data, content->cap);
    }
    if (size > content->size) {
        memset(content->data + content->size, 0, size - content->size);
    }
    content->size = size;
}

static void content_write(struct content *content, size_t position, const uint8_t *data, size_t len)
{
    if (position + len > content->size) {
        content_resize(content, position + len);
    }
    if (len > 0) {
        memcpy(content->data + position, data, len);
    }
}

static void content_copy(struct content *to, const struct content *from)
{
    content_resize(to, 0);
    content_write(to, 0, from->data, from->size);
}

static void pending_apply(struct content *content, const struct pending *pending)
{
    if (pending->data == NULL) {
        content_resize(content, pending->position);
    } else {
        content_write(content, pending->position, pending->data, pending->len);
    }
}

static void pending_add(struct node *node, const uint8_t *data, size_t position, size_t len)
{
    struct pending pending = {.position = position, .len = len};
    if (data != NULL) {
        pending.data = xmalloc(len + 1);
        memcpy(pending.data, data, len);
    }
    node->pending = xrealloc(node->pending, (node->pending_n + 1) * sizeof(*node->pending));
    node->pending[node->pending_n++] = pending;
    pending_apply(&node->now, &pending);
}

/* What can be made durable is. */
static void node_sync(struct node *node)
{
    size_t left = 0;
    for (size_t i = 0; i < node->pending_n; i++) {
        if (node->pending[i].stuck) {
            node->pending[left++] = node->pending[i];
            continue;
        }
        pending_apply(&node->durable, &node->pending[i]);
        free(node->pending[i].data);
    }
    node->pending_n = left;
}

/* ---- names ---- */

static struct node *node_new(struct crash_disk *disk, bool is_dir)
{
    struct node *node = xcalloc(1, sizeof(*node));
    node->is_dir = is_dir;
    node->lock_fd = -1;
    node->next = disk->nodes;
    disk->nodes = node;
    return node;
}

static struct name *name_find(const struct names *names, const char *text, size_t len)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strncmp(names->all[i].text, text, len) == 0 && names->all[i].text[len] == '\0') {
            return &names->all[i];
        }
    }
    return NULL;
}

static void name_remove(struct names *names, const char *text)
{
    struct name *name = name_find(names, text, strlen(text));
    if (name != NULL) {
        free(name->text);
        *name = names->all[--names->n];
    }
}

static void name_add(struct names *names, const char *text, struct node *node)
{
    name_remove(names, text);
    names->all = xrealloc(names->all, (names->n + 1) * sizeof(*names->all));
    names->all[names->n++] = (struct name){.text = xstrdup(text), .node = node};
}

static void names_copy(struct names *to, const struct names *from)
{
    while (to->n > 0) {
        name_remove(to, to->all[0].text);
    }
    for (size_t i = 0; i < from->n; i++) {
        name_add(to, from->all[i].text, from->all[i].node);
    }
}

static void change_apply(struct names *names, const struct change *change)
{
    if (change->from != NULL) {
        name_remove(names, change->from);
    }
    if (change->to != NULL) {
        name_add(names, change->to, change->node);
    }
}

static void dir_change(struct node *dir, const char *from, const char *to, struct node *node)
{
    struct change change = {.from = from == NULL ? NULL : xstrdup(from),
                            .to = to == NULL ? NULL : xstrdup(to),
                            .node = node};
    dir->changes = xrealloc(dir->changes, (dir->changes_n + 1) * sizeof(*dir->changes));
    dir->changes[dir->changes_n++] = change;
    change_apply(&dir->names, &change);
}

static void dir_sync(struct node *dir)
{
    if (dir->stuck) {
        return;
    }
    names_copy(&dir->durable_names, &dir->names);
    for (size_t i = 0; i < dir->changes_n; i++) {
        free(dir->changes[i].from);
        free(dir->changes[i].to);
    }
    dir->changes_n = 0;
}

/* The directory that a path is in, and its last name; NULL: no such directory. */
static struct node *parent_find(const struct crash_disk *disk, const char *path, const char **last)
{
    struct node *dir = disk->root;
    while (*path == '/') {
        path++;
    }
    for (const char *slash; (slash = strchr(path, '/')) != NULL && slash[1] != '\0';) {
        const struct name *name = name_find(&dir->names, path, (size_t)(slash - path));
        if (name == NULL || !name->node->is_dir) {
            return NULL;
        }
        dir = name->node;
        path = slash + 1;
    }
    *last = path;
    return dir;
}

static struct node *node_find(const struct crash_disk *disk, const char *path)
{
    const char *last = NULL;
    const struct node *dir = parent_find(disk, path, &last);
    if (dir == NULL || *last == '\0') {
        return dir == NULL ? NULL : disk->root;
    }
    const struct name *name = name_find(&dir->names, last, strlen(last));
    return name == NULL ? NULL : name->node;
}

/* ---- the calls ---- */

static const struct open_fd *fd_find(const struct crash_disk *disk, int fd)
{
    CHECK(fd >= FD_FIRST && fd < FD_FIRST + FDS_MAX && disk->fds[fd - FD_FIRST].node != NULL);
    return &disk->fds[fd - FD_FIRST];
}

static int ask(const struct crash_disk *disk, enum disk_function function, const char *path)
{
    return disk->watch.before == NULL ? 0 : disk->watch.before(disk->watch.context, function, path);
}

static void tell(struct crash_disk *disk, struct node *written)
{
    disk->last_written = written;
    if (disk->watch.changed != NULL) {
        disk->watch.changed(disk->watch.context);
    }
}

#define ASK(function, path)                                                                        \
    int asked = ask(disk_of(fs), (function), (path));                                              \
    if (asked > 0) {                                                                               \
        return fail(asked);                                                                        \
    }

static int fd_new(struct crash_disk *disk, struct node *node, const char *path)
{
    for (int i = 0; i < FDS_MAX; i++) {
        if (disk->fds[i].node == NULL) {
            disk->fds[i] = (struct open_fd){.node = node, .path = xstrdup(path)};
            return FD_FIRST + i;
        }
    }
    return fail(EMFILE);
}

static int disk_open(struct fs *fs, const char *path, int flags)
{
    struct crash_disk *disk = disk_of(fs);
    const char *last = NULL;
    ASK(DISK_OPEN, path)
    struct node *dir = parent_find(disk, path, &last);
    struct node *node = node_find(disk, path);
    bool creates = node == NULL && (flags & O_CREAT) != 0;
    if (dir == NULL || (node == NULL && !creates)) {
        return fail(ENOENT);
    }
    if (node != NULL && (flags & O_DIRECTORY) != 0 && !node->is_dir) {
        return fail(ENOTDIR);
    }
    if (creates) {
        node = node_new(disk, false);
        node->mtime_ms = clock_wall_ms(disk->wall);
        dir_change(dir, NULL, last, node);
    }
    bool cuts = (flags & O_TRUNC) != 0 && node->now.size > 0;
    if (cuts) {
        pending_add(node, NULL, 0, 0);
    }
    int fd = fd_new(disk, node, path);
    if (creates || cuts) {
        tell(disk, NULL);
    }
    return fd;
}

static int disk_close(struct fs *fs, int fd)
{
    struct open_fd *open = &disk_of(fs)->fds[fd_find(disk_of(fs), fd) - disk_of(fs)->fds];
    if (open->node->lock_fd == fd) {
        open->node->lock_fd = -1;
    }
    free(open->path);
    *open = (struct open_fd){0};
    return 0;
}

static ssize_t disk_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    ASK(DISK_PREAD, open->path)
    const struct content *now = &open->node->now;
    if ((size_t)position >= now->size) {
        return 0;
    }
    size_t n = now->size - (size_t)position;
    n = n < len ? n : len;
    n = asked == DISK_SHORT && n > 1 ? n / 2 : n;
    memcpy(data, now->data + position, n);
    return (ssize_t)n;
}

static uint8_t *gather(const struct iovec *parts, int parts_n, size_t *len)
{
    *len = 0;
    for (int i = 0; i < parts_n; i++) {
        *len += parts[i].iov_len;
    }
    uint8_t *data = xmalloc(*len + 1);
    size_t at = 0;
    for (int i = 0; i < parts_n; i++) {
        memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    return data;
}

static ssize_t disk_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                            int64_t position)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    ASK(DISK_PWRITEV, open->path)
    struct node *node = open->node;
    size_t len = 0;
    uint8_t *data = gather(parts, parts_n, &len);
    len = asked == DISK_SHORT && len > 1 ? len / 2 : len;
    pending_add(node, data, (size_t)position, len);
    free(data);
    node->mtime_ms = clock_wall_ms(disk_of(fs)->wall);
    tell(disk_of(fs), node);
    return (ssize_t)len;
}

static int disk_ftruncate(struct fs *fs, int fd, int64_t size)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    ASK(DISK_FTRUNCATE, open->path)
    struct node *node = open->node;
    if (node->now.size != (size_t)size) {
        pending_add(node, NULL, (size_t)size, 0);
        node->mtime_ms = clock_wall_ms(disk_of(fs)->wall);
        tell(disk_of(fs), NULL);
    }
    return 0;
}

/* What a sync that fails was to write is never written. */
static void node_stick(struct node *node)
{
    node->stuck = node->is_dir;
    for (size_t i = 0; i < node->pending_n; i++) {
        node->pending[i].stuck = true;
    }
}

static int sync_fd(struct fs *fs, int fd, enum disk_function function)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    int error = ask(disk_of(fs), function, open->path);
    if (error > 0) {
        if (error != EINTR) {
            node_stick(open->node);
        }
        return fail(error);
    }
    if (open->node->is_dir) {
        dir_sync(open->node);
    } else {
        node_sync(open->node);
    }
    tell(disk_of(fs), NULL);
    return 0;
}

static int disk_fdatasync(struct fs *fs, int fd)
{
    return sync_fd(fs, fd, DISK_FDATASYNC);
}

static int disk_fsync(struct fs *fs, int fd)
{
    return sync_fd(fs, fd, DISK_FSYNC);
}

static int disk_syncfs(struct fs *fs, int fd)
{
    struct crash_disk *disk = disk_of(fs);
    int error = ask(disk, DISK_SYNCFS, fd_find(disk, fd)->path);
    for (struct node *node = disk->nodes; node != NULL; node = node->next) {
        if (error > 0) {
            node_stick(node);
        } else if (node->is_dir) {
            dir_sync(node);
        } else {
            node_sync(node);
        }
    }
    if (error > 0) {
        return fail(error);
    }
    tell(disk, NULL);
    return 0;
}

static int disk_rename(struct fs *fs, const char *from, const char *to)
{
    struct crash_disk *disk = disk_of(fs);
    const char *from_name = NULL;
    const char *to_name = NULL;
    ASK(DISK_RENAME, from)
    struct node *dir = parent_find(disk, from, &from_name);
    struct node *node = node_find(disk, from);
    if (dir == NULL || node == NULL) {
        return fail(ENOENT);
    }
    CHECK(parent_find(disk, to, &to_name) == dir); /* one journal for both */
    dir_change(dir, from_name, to_name, node);
    tell(disk, NULL);
    return 0;
}

static int remove_name(struct fs *fs, enum disk_function function, const char *path)
{
    struct crash_disk *disk = disk_of(fs);
    const char *last = NULL;
    ASK(function, path)
    struct node *dir = parent_find(disk, path, &last);
    const struct node *node = node_find(disk, path);
    if (dir == NULL || node == NULL) {
        return fail(ENOENT);
    }
    if (node->is_dir != (function == DISK_RMDIR)) {
        return fail(node->is_dir ? EISDIR : ENOTDIR);
    }
    if (node->names.n > 0) {
        return fail(ENOTEMPTY);
    }
    dir_change(dir, last, NULL, NULL);
    tell(disk, NULL);
    return 0;
}

static int disk_unlink(struct fs *fs, const char *path)
{
    return remove_name(fs, DISK_UNLINK, path);
}

static int disk_rmdir(struct fs *fs, const char *path)
{
    return remove_name(fs, DISK_RMDIR, path);
}

static int disk_mkdir(struct fs *fs, const char *path)
{
    struct crash_disk *disk = disk_of(fs);
    const char *last = NULL;
    ASK(DISK_MKDIR, path)
    struct node *dir = parent_find(disk, path, &last);
    if (dir == NULL || node_find(disk, path) != NULL) {
        return fail(dir == NULL ? ENOENT : EEXIST);
    }
    dir_change(dir, NULL, last, node_new(disk, true));
    tell(disk, NULL);
    return 0;
}

static int stat_of(const struct node *node, struct fs_stat *stat)
{
    if (node == NULL) {
        return fail(ENOENT);
    }
    *stat = (struct fs_stat){
        .size = (int64_t)node->now.size, .mtime_ms = node->mtime_ms, .is_dir = node->is_dir};
    return 0;
}

static int disk_stat(struct fs *fs, const char *path, struct fs_stat *stat)
{
    ASK(DISK_STAT, path)
    return stat_of(node_find(disk_of(fs), path), stat);
}

static int disk_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    ASK(DISK_FSTAT, open->path)
    return stat_of(open->node, stat);
}

static int disk_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    ASK(DISK_LIST, path)
    const struct node *dir = node_find(disk_of(fs), path);
    if (dir == NULL || !dir->is_dir) {
        return fail(dir == NULL ? ENOENT : ENOTDIR);
    }
    for (size_t i = 0; i < dir->names.n; i++) {
        each(context, dir->names.all[i].text, dir->names.all[i].node->is_dir);
    }
    return 0;
}

static int disk_lock(struct fs *fs, int fd)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    ASK(DISK_LOCK, open->path)
    if (open->node->lock_fd >= 0) {
        return fail(EAGAIN);
    }
    open->node->lock_fd = fd;
    return 0;
}

static int disk_space(struct fs *fs, const char *path, struct fs_space *space)
{
    ASK(DISK_SPACE, path)
    *space = (struct fs_space){
        .total_bytes = (int64_t)1 << 40, .usable_bytes = (int64_t)1 << 39, .usable_files = 1 << 20};
    return 0;
}

/* So there is no reserve. */
static int disk_allocate(struct fs *fs, int fd, int64_t size)
{
    (void)fs;
    (void)fd;
    (void)size;
    return fail(EOPNOTSUPP);
}

static int disk_set_mtime(struct fs *fs, int fd, int64_t mtime_ms)
{
    const struct open_fd *open = fd_find(disk_of(fs), fd);
    ASK(DISK_SET_MTIME, open->path)
    open->node->mtime_ms = mtime_ms;
    return 0;
}

static int disk_drop_cache(struct fs *fs, int fd, int64_t len)
{
    (void)fs;
    (void)fd;
    (void)len;
    return 0;
}

/* ---- life ---- */

static struct crash_disk *disk_bare(struct clock *wall)
{
    static const struct fs_ops OPS = {
        .open = disk_open,
        .close = disk_close,
        .pread = disk_pread,
        .pwritev = disk_pwritev,
        .ftruncate = disk_ftruncate,
        .fdatasync = disk_fdatasync,
        .fsync = disk_fsync,
        .rename = disk_rename,
        .unlink = disk_unlink,
        .mkdir = disk_mkdir,
        .rmdir = disk_rmdir,
        .stat = disk_stat,
        .fstat = disk_fstat,
        .list = disk_list,
        .lock = disk_lock,
        .syncfs = disk_syncfs,
        .allocate = disk_allocate,
        .space = disk_space,
        .set_mtime = disk_set_mtime,
        .drop_cache = disk_drop_cache,
    };
    struct crash_disk *disk = xcalloc(1, sizeof(*disk));
    disk->fs.ops = &OPS;
    disk->wall = wall;
    return disk;
}

struct crash_disk *crash_disk_new(struct clock *wall)
{
    struct crash_disk *disk = disk_bare(wall);
    disk->root = node_new(disk, true);
    return disk;
}

static void names_free(struct names *names)
{
    while (names->n > 0) {
        name_remove(names, names->all[0].text);
    }
    free(names->all);
}

static void node_free(struct node *node)
{
    for (size_t i = 0; i < node->pending_n; i++) {
        free(node->pending[i].data);
    }
    for (size_t i = 0; i < node->changes_n; i++) {
        free(node->changes[i].from);
        free(node->changes[i].to);
    }
    names_free(&node->names);
    names_free(&node->durable_names);
    free(node->pending);
    free(node->changes);
    free(node->now.data);
    free(node->durable.data);
    free(node);
}

void crash_disk_free(struct crash_disk *disk)
{
    for (struct node *node = disk->nodes, *next; node != NULL; node = next) {
        next = node->next;
        node_free(node);
    }
    for (int i = 0; i < FDS_MAX; i++) {
        free(disk->fds[i].path);
    }
    free(disk);
}

struct fs *crash_disk_fs(struct crash_disk *disk)
{
    return &disk->fs;
}

void crash_disk_watch(struct crash_disk *disk, const struct disk_watch *watch)
{
    disk->watch = watch == NULL ? (struct disk_watch){0} : *watch;
}

/* ---- crashes ---- */

struct crash {
    const struct crash_disk *from;
    struct crash_disk *to;
    enum crash_kind kind;
    uint64_t state; /* of chance */
};

static uint64_t chance(struct crash *crash, uint64_t n)
{
    crash->state = crash->state * 6364136223846793005u + 1442695040888963407u;
    return (crash->state >> 33) % n;
}

/* The sectors of a write that reached the disk; the others are as they were, or zeros. */
static void apply_sectors(struct crash *crash, struct content *to, const struct pending *pending)
{
    size_t end = pending->position + pending->len;
    if (end > to->size) {
        content_resize(to, end);
    }
    for (size_t at = pending->position; at < end;) {
        size_t next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        next = next < end ? next : end;
        if (chance(crash, 2) == 0) {
            memcpy(to->data + at, pending->data + (at - pending->position), next - at);
        }
        at = next;
    }
}

/* Each of what is pending by chance: not at all, its size alone, some sectors, all. */
static void apply_some(struct crash *crash, struct content *to, const struct node *node)
{
    uint64_t lost = chance(crash, 4); /* of four: all there, ..., most gone */
    for (size_t i = 0; i < node->pending_n; i++) {
        const struct pending *pending = &node->pending[i];
        size_t end = pending->position + pending->len;
        if (chance(crash, 4) >= lost) {
            pending_apply(to, pending);
        } else if (pending->data != NULL && chance(crash, 3) == 0 && end > to->size) {
            content_resize(to, end);
        } else if (pending->data != NULL && chance(crash, 2) == 0) {
            apply_sectors(crash, to, pending);
        }
    }
}

/* The last write ends at a sector's border, or was not begun. */
static void apply_torn(struct crash *crash, struct content *to, const struct node *node)
{
    for (size_t i = 0; i + 1 < node->pending_n; i++) {
        pending_apply(to, &node->pending[i]);
    }
    const struct pending *last = &node->pending[node->pending_n - 1];
    size_t first = last->position / SECTOR_BYTES + 1;
    size_t borders = (last->position + last->len - 1) / SECTOR_BYTES + 1 - first;
    size_t cut =
        borders == 0 ? last->position : (first + (size_t)chance(crash, borders)) * SECTOR_BYTES;
    content_write(to, last->position, last->data, cut - last->position);
}

static void crash_file(struct crash *crash, const struct node *node, struct node *left)
{
    bool is_torn = crash->kind == CRASH_TORN && node == crash->from->last_written;
    if (is_torn || crash->kind == CRASH_ANY) {
        content_copy(&left->now, &node->durable);
    } else if (crash->kind == CRASH_POWER || crash->kind == CRASH_NAMES) {
        content_copy(&left->now, &node->durable);
    } else {
        content_copy(&left->now, &node->now);
    }
    if (is_torn) {
        apply_torn(crash, &left->now, node);
    } else if (crash->kind == CRASH_ANY) {
        apply_some(crash, &left->now, node);
    }
    content_copy(&left->durable, &left->now);
}

static struct node *crash_node(struct crash *crash, struct node *node);

static void crash_dir(struct crash *crash, const struct node *dir, struct node *left)
{
    struct names names = {0};
    size_t kept = dir->changes_n;
    if (crash->kind == CRASH_POWER || crash->kind == CRASH_BYTES) {
        kept = 0;
    } else if (crash->kind == CRASH_ANY) {
        kept = (size_t)chance(crash, dir->changes_n + 1);
    }
    names_copy(&names, &dir->durable_names);
    for (size_t i = 0; i < kept; i++) {
        change_apply(&names, &dir->changes[i]);
    }
    for (size_t i = 0; i < names.n; i++) {
        name_add(&left->names, names.all[i].text, crash_node(crash, names.all[i].node));
    }
    names_copy(&left->durable_names, &left->names);
    names_free(&names);
}

static struct node *crash_node(struct crash *crash, struct node *node)
{
    if (node->copy == NULL) {
        node->copy = node_new(crash->to, node->is_dir);
        node->copy->mtime_ms = node->mtime_ms;
        if (node->is_dir) {
            crash_dir(crash, node, node->copy);
        } else {
            crash_file(crash, node, node->copy);
        }
    }
    return node->copy;
}

struct crash_disk *crash_disk_after(const struct crash_disk *disk, enum crash_kind kind,
                                    uint64_t seed, struct clock *wall)
{
    if (kind == CRASH_TORN && (disk->last_written == NULL || disk->last_written->pending_n == 0)) {
        return NULL;
    }
    struct crash crash = {
        .from = disk, .to = disk_bare(wall), .kind = kind, .state = seed * 2654435761u + 1};
    for (struct node *node = disk->nodes; node != NULL; node = node->next) {
        node->copy = NULL;
    }
    crash.to->root = crash_node(&crash, disk->root);
    return crash.to;
}

/* ---- to look at ---- */

bool crash_disk_is_stuck(const struct crash_disk *disk)
{
    bool is_stuck = false;
    for (const struct node *node = disk->nodes; node != NULL; node = node->next) {
        is_stuck |= node->stuck;
        for (size_t i = 0; i < node->pending_n; i++) {
            is_stuck |= node->pending[i].stuck;
        }
    }
    return is_stuck;
}

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    for (; len > 0; at++, len--) {
        hash = (hash ^ *at) * 0x100000001b3u;
    }
    return hash;
}

/* Suffixes with a space behind each; NULL: none. */
static bool ends_with_any(const char *text, const char *suffixes)
{
    for (const char *at = suffixes; at != NULL && *at != '\0'; at = strchr(at, ' ') + 1) {
        size_t suffix_len = (size_t)(strchr(at, ' ') - at);
        size_t len = strlen(text);
        if (len >= suffix_len && memcmp(text + len - suffix_len, at, suffix_len) == 0) {
            return true;
        }
    }
    return false;
}

/* A sum over the names, whose order means nothing. */
static uint64_t node_hash(const struct node *node, const char *without)
{
    uint64_t sum = 1;
    if (!node->is_dir) {
        return mix(mix(7, &node->now.size, sizeof(node->now.size)), node->now.data, node->now.size);
    }
    for (size_t i = 0; i < node->names.n; i++) {
        const struct name *name = &node->names.all[i];
        uint64_t of = node_hash(name->node, without);
        sum += ends_with_any(name->text, without)
                   ? 0
                   : mix(mix(3, &of, sizeof(of)), name->text, strlen(name->text));
    }
    return sum;
}

uint64_t crash_disk_hash(const struct crash_disk *disk, const char *without)
{
    return node_hash(disk->root, without);
}

struct bytes crash_disk_peek(const struct crash_disk *disk, const char *path)
{
    const struct node *node = node_find(disk, path);
    return node == NULL || node->is_dir ? (struct bytes){0}
                                        : bytes_of(node->now.data, node->now.size);
}

static void node_print(const struct node *node, const char *name, int depth)
{
    if (ends_with_any(name, ".deleted ")) {
        return;
    }
    printf("%*s%s size=%zu synced=%zu pending=%zu hash=%016llx\n", depth * 2, "", name,
           node->now.size, node->durable.size, node->is_dir ? node->changes_n : node->pending_n,
           (unsigned long long)node_hash(node, NULL));
    if (strstr(name, "checkpoint") != NULL) {
        printf("%*s%.*s\n", depth * 2, "", (int)node->now.size, (const char *)node->now.data);
    }
    for (size_t i = 0; i < node->names.n; i++) {
        node_print(node->names.all[i].node, node->names.all[i].text, depth + 1);
    }
}

void crash_disk_print(const struct crash_disk *disk)
{
    node_print(disk->root, "/", 0);
}
