/* One line reader for both formats: numbers are split off with strict rules, so that a damaged file
 * is noticed instead of half understood. Entries of epochs must ascend in both columns, as Kafka
 * writes them. */
#define _GNU_SOURCE
#include "storage/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHECKPOINT_BYTES_MAX = 256 * 1024 * 1024 };

struct lines {
    char *next;
    char *end;
};

/* The next line without its end; NULL when there is none. */
static char *line_next(struct lines *lines)
{
    CHECK(lines->next <= lines->end + 1);
    if (lines->next >= lines->end) {
        return NULL;
    }
    char *line = lines->next;
    char *newline = memchr(line, '\n', (size_t)(lines->end - line));
    if (newline == NULL) {
        newline = lines->end; /* fs_read_all left a zero byte there */
    }
    *newline = '\0';
    if (newline > line && newline[-1] == '\r') {
        newline[-1] = '\0';
    }
    lines->next = newline + 1;
    return line;
}

static bool number_parse(const char *text, int64_t min, int64_t max, int64_t *value)
{
    if (*text == '\0' || *text == ' ') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' && *value >= min && *value <= max;
}

/* Version and count; *count is -1 for an empty file. */
static err head_read(struct lines *lines, int64_t *count)
{
    int64_t version = 0;
    char *line = line_next(lines);
    *count = -1;
    if (line == NULL) {
        return OK;
    }
    if (!number_parse(line, 0, 0, &version)) {
        return E_MALFORMED;
    }
    line = line_next(lines);
    if (line == NULL || !number_parse(line, 0, INT32_MAX, count)) {
        return E_MALFORMED;
    }
    return OK;
}

/* E_NOT_FOUND does not leave this file: an absent checkpoint is an empty one. */
static err file_load(struct fs *fs, const char *path, char **text, size_t *len)
{
    *len = 0;
    err e = fs_read_all(fs, path, CHECKPOINT_BYTES_MAX, text, len);
    return err_to_errno(e) == ENOENT ? OK : e;
}

static err offset_line(char *line, offset_entry_fn *each, void *context)
{
    int64_t partition = 0;
    int64_t offset = 0;
    char *space = strchr(line, ' ');
    char *second = space == NULL ? NULL : strchr(space + 1, ' ');
    if (second == NULL) {
        return E_MALFORMED;
    }
    *space = *second = '\0';
    if (!number_parse(space + 1, 0, INT32_MAX, &partition) ||
        !number_parse(second + 1, 0, INT64_MAX, &offset)) {
        return E_MALFORMED;
    }
    each(context, (struct str){.data = line, .len = (size_t)(space - line)}, (int32_t)partition,
         offset);
    return OK;
}

err offset_checkpoint_read(struct fs *fs, const char *path, offset_entry_fn *each, void *context)
{
    char *text = NULL;
    size_t len = 0;
    TRY(file_load(fs, path, &text, &len));
    struct lines lines = {.next = text, .end = text + len};
    int64_t count = -1;
    err e = head_read(&lines, &count);
    int64_t seen = 0;
    for (char *line; e == OK && count >= 0 && (line = line_next(&lines)) != NULL; seen++) {
        e = offset_line(line, each, context);
    }
    if (e == OK && count >= 0 && seen != count) {
        e = E_MALFORMED;
    }
    free(text);
    return e;
}

void offset_checkpoint_begin(struct offset_checkpoint *checkpoint)
{
    writer_init(&checkpoint->lines, CHECKPOINT_BYTES_MAX);
    checkpoint->count = 0;
}

void offset_checkpoint_add(struct offset_checkpoint *checkpoint, struct str topic,
                           int32_t partition, int64_t offset)
{
    CHECK(partition >= 0 && offset >= 0);
    char numbers[48];
    int len = snprintf(numbers, sizeof(numbers), " %d %lld\n", partition, (long long)offset);
    writer_bytes(&checkpoint->lines, topic.data, topic.len);
    writer_bytes(&checkpoint->lines, numbers, (size_t)len);
    checkpoint->count++;
}

err offset_checkpoint_write(struct offset_checkpoint *checkpoint, struct fs *fs, const char *path,
                            bool durable)
{
    struct writer whole;
    writer_init(&whole, CHECKPOINT_BYTES_MAX);
    char head[24];
    int len = snprintf(head, sizeof(head), "0\n%d\n", checkpoint->count);
    writer_bytes(&whole, head, (size_t)len);
    writer_bytes(&whole, checkpoint->lines.data, checkpoint->lines.len);
    struct bytes text = bytes_of(whole.data, whole.len);
    err e = whole.failed || checkpoint->lines.failed ? E_LIMIT
            : durable                                ? fs_write_atomic(fs, path, text)
                                                     : fs_replace(fs, path, text);
    writer_deinit(&whole);
    writer_deinit(&checkpoint->lines);
    return e;
}

void offset_checkpoint_discard(struct offset_checkpoint *checkpoint)
{
    writer_deinit(&checkpoint->lines);
}

static err epoch_line(char *line, struct epoch_entry *entry)
{
    int64_t epoch = 0;
    int64_t offset = 0;
    char *space = strchr(line, ' ');
    if (space == NULL) {
        return E_MALFORMED;
    }
    *space = '\0';
    if (!number_parse(line, 0, INT32_MAX, &epoch) ||
        !number_parse(space + 1, 0, INT64_MAX, &offset)) {
        return E_MALFORMED;
    }
    *entry = (struct epoch_entry){.epoch = (int32_t)epoch, .start_offset = offset};
    return OK;
}

err epoch_checkpoint_read(struct fs *fs, const char *path, struct epoch_entry **entries,
                          size_t *count)
{
    char *text = NULL;
    size_t len = 0;
    *entries = NULL;
    *count = 0;
    TRY(file_load(fs, path, &text, &len));
    struct lines lines = {.next = text, .end = text + len};
    int64_t wanted = -1;
    err e = head_read(&lines, &wanted);
    if (e == OK && wanted > 0 && (size_t)wanted <= len) {
        *entries = xcalloc((size_t)wanted, sizeof(**entries));
    }
    for (char *line; e == OK && wanted >= 0 && (line = line_next(&lines)) != NULL;) {
        if (*entries == NULL || (int64_t)*count == wanted) {
            e = E_MALFORMED;
            break;
        }
        struct epoch_entry *entry = *entries + *count;
        e = epoch_line(line, entry);
        if (e == OK && *count > 0 &&
            (entry->epoch <= entry[-1].epoch || entry->start_offset < entry[-1].start_offset)) {
            e = E_MALFORMED;
        }
        (*count)++;
    }
    if (e == OK && wanted >= 0 && (int64_t)*count != wanted) {
        e = E_MALFORMED;
    }
    free(text);
    if (e != OK) {
        free(*entries);
        *entries = NULL;
        *count = 0;
    }
    return e;
}

err epoch_checkpoint_write(struct fs *fs, const char *path, const struct epoch_entry *entries,
                           size_t count)
{
    struct writer w;
    char line[48];
    writer_init(&w, CHECKPOINT_BYTES_MAX);
    writer_bytes(&w, line, (size_t)snprintf(line, sizeof(line), "0\n%zu\n", count));
    for (size_t i = 0; i < count; i++) {
        int len = snprintf(line, sizeof(line), "%d %lld\n", entries[i].epoch,
                           (long long)entries[i].start_offset);
        writer_bytes(&w, line, (size_t)len);
    }
    err e = w.failed ? E_LIMIT : fs_write_atomic(fs, path, bytes_of(w.data, w.len));
    writer_deinit(&w);
    return e;
}
