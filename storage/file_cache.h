/* A bounded cache of open files: ten thousand partitions do not need ten thousand descriptors.
 *
 * An open_file is reference-counted: whoever sends from it (sendfile of a fetch answer) holds a
 * reference, and the descriptor stays valid until it is released, also when the file has been
 * evicted, renamed or unlinked meanwhile. Thread-safe; its lock is a leaf. */
#ifndef OTTLA_STORAGE_FILE_CACHE_H
#define OTTLA_STORAGE_FILE_CACHE_H

#include "base/file.h"
#include "storage/health.h"

struct file_cache;
struct open_file;

struct file_cache *file_cache_new(struct fs *fs, int files_max);
void file_cache_free(struct file_cache *cache);

/* Opens `path` read-write, or finds it open. Every acquire is paired with a release. `health` is told
 * of reads that fail (NULL: nobody is). */
NODISCARD err file_cache_acquire(struct file_cache *cache, const char *path, struct health *health,
                                 struct open_file **file);
void open_file_retain(struct open_file *file);
void open_file_release(struct open_file *file);
int open_file_fd(const struct open_file *file);
/* Reads exactly `len` bytes. KAFKA_STORAGE_ERROR when the disk fails, after which the file's log is
 * offline, or when the file was cut meanwhile. */
NODISCARD err open_file_read(struct open_file *file, void *data, size_t len, int64_t position);
/* For whoever reads by the descriptor itself (sendfile): `e` is an errno's error. */
void open_file_failed(struct open_file *file, err e);
/* What is at and above `position` is cut off, and other bytes may come in its place: whoever has promised
 * bytes from there to somebody must not send them any more. Told before the file is cut; the cache opens
 * another open_file for what comes later. */
void open_file_cut(struct file_cache *cache, struct open_file *file, int64_t position);
/* Is a range that ends there cut? To be asked after its bytes were taken, too. */
bool open_file_is_cut(const struct open_file *file, int64_t end);
/* Forgets a path before it is renamed or removed; references stay valid. */
void file_cache_forget(struct file_cache *cache, const char *path);

#endif
