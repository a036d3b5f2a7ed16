/* An inode is a file (bytes now, and bytes as of its last sync) or a directory (names now, names as of its
 * last sync, and the changes between the two). Inodes live as long as the disk: a simulation is short.
 *
 * A sync copies what the file is at its beginning, takes its time, and only then makes the copy durable: what
 * is written meanwhile is not, and power that goes meanwhile takes it along. */
#define _GNU_SOURCE
#include "sim/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR_BYTES = 512, FD_FIRST = 1 << 16, SYNC_US = 400 };

static const int64_t TOTAL_BYTES = (int64_t)1 << 40;

struct inode;

struct entry {
    char *name;
    struct inode *inode;
};

struct entries {
    struct entry *all;
    size_t n;
};

/* A change of a directory: `to` gets the inode, `from` is no more; either may be NULL. */
struct change {
    char *from;
    char *to;
    struct inode *inode;
};

struct content {
    uint8_t *data;
    size_t size;
    size_t cap;
};

struct inode {
    struct inode *next; /* of the disk */
    bool is_dir;
    struct content now;
    struct content durable;
    bool changed;        /* since the last sync */
    uint64_t syncs;      /* that have begun */
    uint64_t durable_of; /* the one that `durable` is of */
    int64_t mtime_ms;
    int lock_fd; /* who has it; -1: nobody */
    struct entries names;
    struct entries durable_names;
    struct change *changes;
    size_t changes_n;
};

struct open_fd {
    struct open_fd *next;
    int fd;
    struct inode *inode;
};

struct view {
    struct fs fs;
    struct view *next;
    struct disk *disk;
    struct clock *wall;
    struct open_fd *fds;
    bool dead;
    int64_t changes_left; /* 0: nothing is due */
    void (*at_change)(void *context);
    void *at_change_context;
};

struct disk {
    struct sched *sched;
    struct trace *trace;
    struct inode *inodes;
    struct inode *root;
    struct view *views;
    int next_fd;
    uint64_t power_losses;
    uint32_t errors_per_million;
    bool full;
    bool lying;
    int32_t sync_us;
    struct disk_counts counts;
};

static struct view *view_of(struct fs *fs)
{
    return container_of(fs, struct view, fs);
}

static int fail(int error)
{
    errno = error;
    return -1;
}

/* ---- names ---- */

static struct inode *inode_new(struct disk *disk, bool is_dir)
{
    struct inode *inode = xcalloc(1, sizeof(*inode));
    inode->is_dir = is_dir;
    inode->lock_fd = -1;
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

static struct entry *entry_find(const struct entries *entries, const char *name, size_t len)
{
    for (size_t i = 0; i < entries->n; i++) {
        if (strncmp(entries->all[i].name, name, len) == 0 && entries->all[i].name[len] == '\0') {
            return &entries->all[i];
        }
    }
    return NULL;
}

static void entry_remove(struct entries *entries, const char *name)
{
    struct entry *entry = entry_find(entries, name, strlen(name));
    if (entry != NULL) {
        free(entry->name);
        size_t at = (size_t)(entry - entries->all);
        memmove(entry, entry + 1, (entries->n - at - 1) * sizeof(*entry));
        entries->n--;
    }
}

static void entry_add(struct entries *entries, const char *name, struct inode *inode)
{
    entry_remove(entries, name);
    entries->all = xrealloc(entries->all, (entries->n + 1) * sizeof(*entries->all));
    entries->all[entries->n++] = (struct entry){.name = xstrdup(name), .inode = inode};
}

static void entries_copy(struct entries *to, const struct entries *from)
{
    while (to->n > 0) {
        entry_remove(to, to->all[0].name);
    }
    for (size_t i = 0; i < from->n; i++) {
        entry_add(to, from->all[i].name, from->all[i].inode);
    }
}

static void change_apply(struct entries *entries, const struct change *change)
{
    if (change->from != NULL) {
        entry_remove(entries, change->from);
    }
    if (change->to != NULL) {
        entry_add(entries, change->to, change->inode);
    }
}

static void changes_drop(struct inode *dir)
{
    for (size_t i = 0; i < dir->changes_n; i++) {
        free(dir->changes[i].from);
        free(dir->changes[i].to);
    }
    free(dir->changes);
    dir->changes = NULL;
    dir->changes_n = 0;
}

static void dir_change(struct inode *dir, const char *from, const char *to, struct inode *inode)
{
    struct change change = {.from = from == NULL ? NULL : xstrdup(from),
                            .to = to == NULL ? NULL : xstrdup(to),
                            .inode = inode};
    dir->changes = xrealloc(dir->changes, (dir->changes_n + 1) * sizeof(*dir->changes));
    dir->changes[dir->changes_n++] = change;
    change_apply(&dir->names, &change);
}

/* The directory that a path is in, and its last name; NULL: no such directory. */
static struct inode *parent_find(const struct disk *disk, const char *path, const char **last)
{
    struct inode *dir = disk->root;
    while (*path == '/') {
        path++;
    }
    for (const char *slash; (slash = strchr(path, '/')) != NULL && slash[1] != '\0';) {
        const struct entry *entry = entry_find(&dir->names, path, (size_t)(slash - path));
        if (entry == NULL || !entry->inode->is_dir) {
            return NULL;
        }
        dir = entry->inode;
        path = slash + 1;
    }
    *last = path;
    return dir;
}

static struct inode *inode_find(const struct disk *disk, const char *path)
{
    const char *last = NULL;
    const struct inode *dir = parent_find(disk, path, &last);
    const struct entry *entry = dir == NULL ? NULL : entry_find(&dir->names, last, strlen(last));
    return dir != NULL && *last == '\0' ? disk->root : entry == NULL ? NULL : entry->inode;
}

/* ---- content ---- */

static void content_resize(struct content *content, size_t size)
{
    if (size > content->cap) {
        content->cap = size < 1024 ? 1024 : size * 2;
        content->data = xrealloc(content->data, content->cap);
    }
    if (size > content->size) {
        memset(content->data + content->size, 0, size - content->size);
    }
    content->size = size;
}

static void content_copy(struct content *to, const struct content *from)
{
    content_resize(to, from->size);
    if (from->size > 0) {
        memcpy(to->data, from->data, from->size);
    }
}

/* ---- what may go wrong ---- */

/* False: the process has ended. A thread may be preempted here. */
static bool begin_op(struct view *view)
{
    sched_preempt(view->disk->sched);
    return !view->dead;
}

/* The same before something is changed. */
static bool begin_change(struct view *view)
{
    if (!begin_op(view)) {
        return false;
    }
    if (view->changes_left > 0 && --view->changes_left == 0) {
        view->at_change(view->at_change_context);
    }
    return !view->dead;
}

static bool has_error(struct disk *disk)
{
    bool hit = sched_chance(disk->sched, disk->errors_per_million);
    disk->counts.errors += hit ? 1 : 0;
    return hit;
}

/* ---- the table ---- */

static struct inode *fd_find(struct view *view, int fd)
{
    for (struct open_fd *open = view->fds; open != NULL; open = open->next) {
        if (open->fd == fd) {
            return open->inode;
        }
    }
    errno = EBADF;
    return NULL;
}

static int64_t wall_ms(const struct view *view)
{
    return clock_wall_ms(view->wall);
}

static struct inode *create(struct view *view, struct inode *dir, const char *name, bool is_dir)
{
    struct inode *inode = inode_new(view->disk, is_dir);
    inode->mtime_ms = wall_ms(view);
    dir_change(dir, NULL, name, inode);
    return inode;
}

static int disk_open(struct fs *fs, const char *path, int flags)
{
    struct view *view = view_of(fs);
    const char *last = NULL;
    bool changes = (flags & (O_CREAT | O_TRUNC)) != 0;
    if (changes ? !begin_change(view) : !begin_op(view)) {
        return fail(EIO);
    }
    struct inode *dir = parent_find(view->disk, path, &last);
    struct inode *inode = inode_find(view->disk, path);
    if (dir == NULL || (inode == NULL && (flags & O_CREAT) == 0)) {
        return fail(ENOENT);
    }
    if (inode != NULL && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
        return fail(EEXIST);
    }
    if (inode == NULL && view->disk->full) {
        view->disk->counts.full++;
        return fail(ENOSPC);
    }
    inode = inode == NULL ? create(view, dir, last, false) : inode;
    if ((flags & O_TRUNC) != 0) {
        content_resize(&inode->now, 0);
        inode->changed = true;
    }
    struct open_fd *open = xcalloc(1, sizeof(*open));
    *open = (struct open_fd){.next = view->fds, .fd = view->disk->next_fd++, .inode = inode};
    view->fds = open;
    return open->fd;
}

static int disk_close(struct fs *fs, int fd)
{
    struct view *view = view_of(fs);
    for (struct open_fd **at = &view->fds; *at != NULL; at = &(*at)->next) {
        struct open_fd *open = *at;
        if (open->fd == fd) {
            open->inode->lock_fd = open->inode->lock_fd == fd ? -1 : open->inode->lock_fd;
            *at = open->next;
            free(open);
            return 0;
        }
    }
    return fail(EBADF);
}

static ssize_t disk_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    struct view *view = view_of(fs);
    bool alive = begin_op(view);
    const struct inode *inode = fd_find(view, fd);
    if (!alive || inode == NULL || has_error(view->disk)) {
        return fail(EIO);
    }
    if ((size_t)position >= inode->now.size) {
        return 0;
    }
    size_t n = inode->now.size - (size_t)position;
    n = n < len ? n : len;
    memcpy(data, inode->now.data + position, n);
    return (ssize_t)n;
}

static ssize_t disk_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                            int64_t position)
{
    struct view *view = view_of(fs);
    struct disk *disk = view->disk;
    bool alive = begin_change(view);
    struct inode *inode = fd_find(view, fd);
    size_t len = 0;
    for (int i = 0; i < parts_n; i++) {
        len += parts[i].iov_len;
    }
    if (!alive || inode == NULL || has_error(disk)) {
        return fail(EIO);
    }
    size_t end = (size_t)position + len;
    if (end > inode->now.size && disk->full) {
        disk->counts.full++;
        return fail(ENOSPC);
    }
    content_resize(&inode->now, end > inode->now.size ? end : inode->now.size);
    for (int i = 0; i < parts_n; i++) {
        memcpy(inode->now.data + position, parts[i].iov_base, parts[i].iov_len);
        trace_bytes(disk->trace, parts[i].iov_base, parts[i].iov_len);
        position += (int64_t)parts[i].iov_len;
    }
    inode->changed = true;
    inode->mtime_ms = wall_ms(view);
    disk->counts.writes++;
    return (ssize_t)len;
}

static int disk_ftruncate(struct fs *fs, int fd, int64_t size)
{
    struct view *view = view_of(fs);
    bool alive = begin_change(view);
    struct inode *inode = fd_find(view, fd);
    if (!alive || inode == NULL || has_error(view->disk)) {
        return fail(EIO);
    }
    content_resize(&inode->now, (size_t)size);
    inode->changed = true;
    inode->mtime_ms = wall_ms(view);
    return 0;
}

static void sync_takes_time(struct disk *disk)
{
    if (sched_current(disk->sched) != NULL) {
        sched_sleep(disk->sched, sched_between(disk->sched, disk->sync_us / 10, disk->sync_us));
    }
}

static int sync_file(struct view *view, struct inode *inode)
{
    struct disk *disk = view->disk;
    struct content copy = {0};
    uint64_t power_losses = disk->power_losses;
    uint64_t sync = ++inode->syncs;
    if (disk->lying) {
        return 0;
    }
    content_copy(&copy, &inode->now);
    inode->changed = false;
    sync_takes_time(disk);
    bool failed = has_error(disk);
    if (disk->power_losses != power_losses || failed) {
        inode->changed = true;
        free(copy.data);
        return fail(EIO);
    }
    if (sync < inode->durable_of) { /* a quicker one that began later has ended before */
        free(copy.data);
        return 0;
    }
    free(inode->durable.data);
    inode->durable = copy;
    inode->durable_of = sync;
    return 0;
}

static void sync_dir(struct inode *dir)
{
    entries_copy(&dir->durable_names, &dir->names);
    changes_drop(dir);
}

static int disk_fsync(struct fs *fs, int fd)
{
    struct view *view = view_of(fs);
    bool alive = begin_change(view);
    struct inode *inode = fd_find(view, fd);
    if (!alive || inode == NULL) {
        return fail(EIO);
    }
    view->disk->counts.syncs++;
    trace_mix(view->disk->trace, (uint64_t)fd);
    if (inode->is_dir) {
        if (has_error(view->disk)) {
            return fail(EIO);
        }
        sync_dir(inode);
        return 0;
    }
    int outcome = sync_file(view, inode);
    return view->dead ? fail(EIO) : outcome;
}

static int disk_syncfs(struct fs *fs, int fd)
{
    struct view *view = view_of(fs);
    bool alive = begin_change(view);
    if (!alive || fd_find(view, fd) == NULL || has_error(view->disk)) {
        return fail(EIO);
    }
    for (struct inode *inode = view->disk->inodes; inode != NULL; inode = inode->next) {
        if (inode->is_dir) {
            sync_dir(inode);
        } else if (inode->changed) {
            content_copy(&inode->durable, &inode->now);
            inode->changed = false;
        }
    }
    return 0;
}

static int disk_rename(struct fs *fs, const char *from, const char *to)
{
    struct view *view = view_of(fs);
    const char *from_name = NULL;
    const char *to_name = NULL;
    if (!begin_change(view)) {
        return fail(EIO);
    }
    struct inode *dir = parent_find(view->disk, from, &from_name);
    struct inode *inode = inode_find(view->disk, from);
    if (dir == NULL || inode == NULL) {
        return fail(ENOENT);
    }
    CHECK(parent_find(view->disk, to, &to_name) ==
          dir); /* what else would need one journal for both */
    dir_change(dir, from_name, to_name, inode);
    return 0;
}

static int remove_name(struct fs *fs, const char *path, bool is_dir)
{
    struct view *view = view_of(fs);
    const char *last = NULL;
    if (!begin_change(view)) {
        return fail(EIO);
    }
    struct inode *dir = parent_find(view->disk, path, &last);
    const struct inode *inode = inode_find(view->disk, path);
    if (dir == NULL || inode == NULL) {
        return fail(ENOENT);
    }
    if (inode->is_dir != is_dir) {
        return fail(is_dir ? ENOTDIR : EISDIR);
    }
    if (inode->names.n > 0) {
        return fail(ENOTEMPTY);
    }
    dir_change(dir, last, NULL, NULL);
    return 0;
}

static int disk_unlink(struct fs *fs, const char *path)
{
    return remove_name(fs, path, false);
}

static int disk_rmdir(struct fs *fs, const char *path)
{
    return remove_name(fs, path, true);
}

static int disk_mkdir(struct fs *fs, const char *path)
{
    struct view *view = view_of(fs);
    const char *last = NULL;
    if (!begin_change(view)) {
        return fail(EIO);
    }
    struct inode *dir = parent_find(view->disk, path, &last);
    if (dir == NULL) {
        return fail(ENOENT);
    }
    if (inode_find(view->disk, path) != NULL) {
        return fail(EEXIST);
    }
    if (view->disk->full) {
        view->disk->counts.full++;
        return fail(ENOSPC);
    }
    create(view, dir, last, true);
    return 0;
}

static int stat_of(const struct inode *inode, struct fs_stat *stat)
{
    if (inode == NULL) {
        return -1;
    }
    *stat = (struct fs_stat){
        .size = (int64_t)inode->now.size, .mtime_ms = inode->mtime_ms, .is_dir = inode->is_dir};
    return 0;
}

static int disk_stat(struct fs *fs, const char *path, struct fs_stat *stat)
{
    struct view *view = view_of(fs);
    if (!begin_op(view)) {
        return fail(EIO);
    }
    errno = ENOENT;
    return stat_of(inode_find(view->disk, path), stat);
}

static int disk_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    struct view *view = view_of(fs);
    return begin_op(view) ? stat_of(fd_find(view, fd), stat) : fail(EIO);
}

static int disk_set_mtime(struct fs *fs, int fd, int64_t mtime_ms)
{
    struct view *view = view_of(fs);
    if (!begin_op(view)) {
        return fail(EIO);
    }
    fd_find(view, fd)->mtime_ms = mtime_ms;
    return 0;
}

static int disk_drop_cache(struct fs *fs, int fd, int64_t len)
{
    (void)fs;
    (void)fd;
    (void)len;
    return 0;
}

static int disk_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    struct view *view = view_of(fs);
    if (!begin_op(view)) {
        return fail(EIO);
    }
    const struct inode *dir = inode_find(view->disk, path);
    if (dir == NULL || !dir->is_dir) {
        return fail(dir == NULL ? ENOENT : ENOTDIR);
    }
    for (size_t i = 0; i < dir->names.n; i++) {
        each(context, dir->names.all[i].name, dir->names.all[i].inode->is_dir);
    }
    return 0;
}

static int disk_lock(struct fs *fs, int fd)
{
    struct view *view = view_of(fs);
    struct inode *inode = begin_op(view) ? fd_find(view, fd) : NULL;
    if (inode == NULL) {
        return fail(EIO);
    }
    if (inode->lock_fd >= 0 && inode->lock_fd != fd) {
        return fail(EAGAIN);
    }
    inode->lock_fd = fd;
    return 0;
}

static int disk_space(struct fs *fs, const char *path, struct fs_space *space)
{
    (void)path;
    *space = (struct fs_space){.total_bytes = TOTAL_BYTES,
                               .usable_bytes = view_of(fs)->disk->full ? 0 : TOTAL_BYTES,
                               .usable_files = INT64_MAX};
    return 0;
}

/* Files are kept in memory here: nothing is set aside. */
static int disk_allocate(struct fs *fs, int fd, int64_t size)
{
    (void)fs;
    (void)fd;
    (void)size;
    return fail(EOPNOTSUPP);
}

/* ---- life ---- */

static void make_root(struct disk *disk)
{
    disk->root = inode_new(disk, true);
    dir_change(disk->root, NULL, "data", inode_new(disk, true));
    sync_dir(disk->root);
}

struct disk *disk_new(struct sched *sched, struct trace *trace)
{
    struct disk *disk = xcalloc(1, sizeof(*disk));
    disk->sched = sched;
    disk->trace = trace;
    disk->next_fd = FD_FIRST;
    disk->sync_us = SYNC_US;
    make_root(disk);
    return disk;
}

/* What was there is freed with the disk. */
void disk_replace(struct disk *disk)
{
    for (struct view *view = disk->views; view != NULL; view = view->next) {
        disk_close_view(&view->fs);
    }
    make_root(disk);
}

static void entries_deinit(struct entries *entries)
{
    while (entries->n > 0) {
        entry_remove(entries, entries->all[0].name);
    }
    free(entries->all);
}

void disk_free(struct disk *disk)
{
    for (struct view *view = disk->views, *next; view != NULL; view = next) {
        next = view->next;
        disk_close_view(&view->fs);
        free(view);
    }
    for (struct inode *inode = disk->inodes, *next; inode != NULL; inode = next) {
        next = inode->next;
        changes_drop(inode);
        entries_deinit(&inode->names);
        entries_deinit(&inode->durable_names);
        free(inode->now.data);
        free(inode->durable.data);
        free(inode);
    }
    free(disk);
}

struct fs *disk_open_view(struct disk *disk, struct clock *wall)
{
    static const struct fs_ops OPS = {
        .open = disk_open,
        .close = disk_close,
        .pread = disk_pread,
        .pwritev = disk_pwritev,
        .allocate = disk_allocate,
        .ftruncate = disk_ftruncate,
        .fdatasync = disk_fsync,
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
        .space = disk_space,
        .set_mtime = disk_set_mtime,
        .drop_cache = disk_drop_cache,
    };
    struct view *view = xcalloc(1, sizeof(*view));
    *view = (struct view){.fs.ops = &OPS, .next = disk->views, .disk = disk, .wall = wall};
    disk->views = view;
    return &view->fs;
}

void disk_close_view(struct fs *fs)
{
    struct view *view = view_of(fs);
    view->dead = true;
    while (view->fds != NULL) {
        (void)disk_close(fs, view->fds->fd);
    }
}

void disk_at_change(struct fs *fs, int64_t changes, void (*run)(void *context), void *context)
{
    struct view *view = view_of(fs);
    view->changes_left = changes;
    view->at_change = run;
    view->at_change_context = context;
}

/* ---- power ---- */

/* What became of a file: sector by sector what was written, or what was there. */
static void file_lose_power(struct disk *disk, struct inode *inode)
{
    struct content left = {0};
    size_t now = inode->now.size;
    size_t was = inode->durable.size;
    size_t low = now < was ? now : was;
    size_t high = now < was ? was : now;
    size_t choice = (size_t)sched_below(disk->sched, 3);
    size_t size = choice == 0   ? now
                  : choice == 1 ? was
                                : (size_t)sched_between(disk->sched, (int64_t)low, (int64_t)high);
    bool all_old = sched_below(disk->sched, 3) == 0;
    content_resize(&left, size);
    for (size_t at = 0; at < size; at += SECTOR_BYTES) {
        bool old = all_old || sched_below(disk->sched, 2) == 0;
        const struct content *from = old ? &inode->durable : &inode->now;
        size_t end = at + SECTOR_BYTES < size ? at + SECTOR_BYTES : size;
        end = end < from->size ? end : from->size;
        if (end > at) {
            memcpy(left.data + at, from->data + at, end - at);
        }
        disk->counts.sectors_lost += old ? 1 : 0;
    }
    free(inode->now.data);
    inode->now = left;
    content_copy(&inode->durable, &left);
    inode->changed = false;
}

static void dir_lose_power(struct disk *disk, struct inode *dir)
{
    size_t kept = (size_t)sched_below(disk->sched, dir->changes_n + 1);
    entries_copy(&dir->names, &dir->durable_names);
    for (size_t i = 0; i < kept; i++) {
        change_apply(&dir->names, &dir->changes[i]);
    }
    sync_dir(dir);
}

void disk_lose_power(struct disk *disk)
{
    disk->power_losses++;
    for (struct view *view = disk->views; view != NULL; view = view->next) {
        disk_close_view(&view->fs);
    }
    for (struct inode *inode = disk->inodes; inode != NULL; inode = inode->next) {
        if (inode->is_dir) {
            dir_lose_power(disk, inode);
        } else if (inode->changed || inode->now.size != inode->durable.size) {
            file_lose_power(disk, inode);
        }
    }
}

/* ---- faults, and looks ---- */

void disk_set_errors(struct disk *disk, uint32_t per_million)
{
    disk->errors_per_million = per_million;
}

void disk_set_full(struct disk *disk, bool full)
{
    disk->full = full;
}

void disk_set_lying(struct disk *disk, bool lying)
{
    disk->lying = lying;
}

void disk_set_sync_us(struct disk *disk, int32_t max_us)
{
    disk->sync_us = max_us == 0 ? SYNC_US : max_us;
}

struct disk_counts disk_counts(const struct disk *disk)
{
    return disk->counts;
}

struct bytes disk_peek(const struct disk *disk, const char *path)
{
    const struct inode *inode = inode_find(disk, path);
    return inode == NULL || inode->is_dir ? (struct bytes){0}
                                          : bytes_of(inode->now.data, inode->now.size);
}

void disk_peek_names(const struct disk *disk, const char *path,
                     void (*each)(void *context, const char *name), void *context)
{
    const struct inode *dir = inode_find(disk, path);
    for (size_t i = 0; dir != NULL && i < dir->names.n; i++) {
        each(context, dir->names.all[i].name);
    }
}
