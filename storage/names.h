/* The names of a partition's files. (reference: storage format §1) */
#ifndef OTTLA_STORAGE_NAMES_H
#define OTTLA_STORAGE_NAMES_H

#include "base/err.h"

#include <limits.h>
#include <stdint.h>

#define SUFFIX_LOG       ".log"
#define SUFFIX_INDEX     ".index"
#define SUFFIX_TIMEINDEX ".timeindex"
#define SUFFIX_TXNINDEX  ".txnindex"
#define SUFFIX_SNAPSHOT  ".snapshot"
#define SUFFIX_DELETED   ".deleted"
#define SUFFIX_CLEANED   ".cleaned"
#define SUFFIX_SWAP      ".swap"

enum { OFFSET_DIGITS = 20 };

/* "<dir>/<20 digits><suffix>", malloc'd. */
char *segment_path(const char *dir, int64_t base_offset, const char *suffix);
/* The path of a .log with another suffix. */
void segment_sibling(const char *log_path, const char *suffix, char path[PATH_MAX]);
/* Does `name` end in `suffix` and begin with 20 digits (or fewer: Kafka takes any number)? */
bool segment_name_parse(const char *name, const char *suffix, int64_t *offset);

#endif
