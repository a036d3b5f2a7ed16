/* Base offsets in twenty digits, so that names sort as numbers do. */
#define _GNU_SOURCE
#include "storage/names.h"

#include <string.h>

char *segment_path(const char *dir, int64_t base_offset, const char *suffix)
{
    CHECK(base_offset >= 0);
    return xasprintf("%s/%0*lld%s", dir, OFFSET_DIGITS, (long long)base_offset, suffix);
}

void segment_sibling(const char *log_path, const char *suffix, char path[PATH_MAX])
{
    CHECK(strlen(log_path) > strlen(SUFFIX_LOG));
    size_t stem = strlen(log_path) - strlen(SUFFIX_LOG);
    size_t suffix_len = strlen(suffix);
    CHECK(stem + suffix_len < PATH_MAX);
    memcpy(path, log_path, stem);
    memcpy(path + stem, suffix, suffix_len + 1);
}

bool segment_name_parse(const char *name, const char *suffix, int64_t *offset)
{
    size_t len = strlen(name);
    size_t suffix_len = strlen(suffix);
    if (len <= suffix_len || len - suffix_len > OFFSET_DIGITS ||
        strcmp(name + len - suffix_len, suffix) != 0) {
        return false;
    }
    *offset = 0;
    for (size_t i = 0; i < len - suffix_len; i++) {
        int digit = name[i] - '0';
        if (digit < 0 || digit > 9 || *offset > (INT64_MAX - digit) / 10) {
            return false;
        }
        *offset = *offset * 10 + digit;
    }
    return true;
}
