/* The cache of open files, and what becomes of a range that was promised to somebody when its log is
 * cut. */
#include "storage/file_cache.h"

#include "storage/tests/util.h"

static struct open_file *acquire(struct place *p, const char *name)
{
    struct open_file *file = NULL;
    char *path = place_path(p, name);
    MUST(file_cache_acquire(p->env.files, path, NULL, &file));
    free(path);
    return file;
}

static err read_at(struct open_file *file, int64_t position, char *text, size_t len)
{
    text[len] = '\0';
    return open_file_read(file, text, len, position);
}

static void test_same_file(void)
{
    struct place p = {0};
    place_make(&p);
    spit(&p, "f", "0123456789", 10);
    struct open_file *one = acquire(&p, "f");
    struct open_file *same = acquire(&p, "f");
    CU_ASSERT_PTR_EQUAL(one, same);
    open_file_release(same);
    char *path = place_path(&p, "f");
    file_cache_forget(p.env.files, path);
    CU_ASSERT_EQUAL(unlink(path), 0);
    spit(&p, "f", "abc", 3);
    struct open_file *other = acquire(&p, "f");
    char text[8];
    CU_ASSERT_PTR_NOT_EQUAL(one, other);
    MUST(read_at(one, 7, text, 3)); /* a reference stays valid */
    CU_ASSERT_STRING_EQUAL(text, "789");
    MUST(read_at(other, 0, text, 3));
    CU_ASSERT_STRING_EQUAL(text, "abc");
    CU_ASSERT_EQUAL(read_at(other, 1, text, 3), ERR_KAFKA_STORAGE_ERROR);
    free(path);
    open_file_release(one);
    open_file_release(other);
    place_remove(&p);
}

/* More files than descriptors: the oldest are closed, those that are held stay. */
static void test_eviction(void)
{
    enum { FILES = 200 };
    struct place p = {0};
    struct open_file *held[FILES];
    char name[16];
    char text[16];
    place_make(&p);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%d", i);
        snprintf(text, sizeof(text), "%03d", i);
        spit(&p, name, text, 3);
        held[i] = acquire(&p, name);
    }
    for (int i = 0; i < FILES; i++) {
        char expected[16];
        snprintf(expected, sizeof(expected), "%03d", i);
        MUST(read_at(held[i], 0, text, 3));
        CU_ASSERT_STRING_EQUAL(text, expected);
        open_file_release(held[i]);
    }
    place_remove(&p);
}

/* Who holds the file from before gets nothing from the cut on; who opens it anew gets what is there. */
static void test_cut(void)
{
    struct place p = {0};
    char text[16];
    place_make(&p);
    spit(&p, "f", "0123456789", 10);
    struct open_file *before = acquire(&p, "f");
    CU_ASSERT(!open_file_is_cut(before, INT64_MAX));
    open_file_cut(p.env.files, before, 6);
    struct open_file *after = acquire(&p, "f");
    CU_ASSERT_PTR_NOT_EQUAL(before, after);
    CU_ASSERT(!open_file_is_cut(before, 6) && open_file_is_cut(before, 7));
    MUST(read_at(before, 0, text, 6));
    CU_ASSERT_EQUAL(read_at(before, 0, text, 7), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(read_at(before, 8, text, 1), ERR_KAFKA_STORAGE_ERROR);
    MUST(read_at(after, 0, text, 10));
    open_file_cut(p.env.files, before, 8); /* what is gone does not come back */
    CU_ASSERT(open_file_is_cut(before, 7));
    open_file_cut(p.env.files, before, 2);
    CU_ASSERT(open_file_is_cut(before, 3) && !open_file_is_cut(before, 2));
    CU_ASSERT(!open_file_is_cut(after, 10));
    open_file_release(before);
    open_file_release(after);
    place_remove(&p);
}

/* A range of a log that is cut, and written anew: the old one never yields the new bytes, and the log is
 * none the worse. */
static void test_range_of_a_cut_log(void)
{
    struct place p = {0};
    struct log_range kept;
    struct log_range lost;
    struct log_range anew;
    place_make(&p);
    struct plog *log = must_open(&p, &(struct how){.config = log_config_default(), .clean = true});
    for (int i = 0; i < 4; i++) {
        must_append(log, 2);
    }
    MUST(plog_read(log, 0, 4, 1 << 20, true, &kept));
    MUST(plog_read(log, 0, 8, 1 << 20, true, &lost));
    uint8_t *bytes = xmalloc(lost.len);
    MUST(log_range_read(&lost, 0, bytes, lost.len));
    MUST(plog_truncate(log, 4));
    CU_ASSERT_EQUAL(log_range_read(&lost, 0, bytes, lost.len), ERR_KAFKA_STORAGE_ERROR);
    must_append(log, 2);
    must_append(log, 2);
    CU_ASSERT_EQUAL(log_range_read(&lost, 0, bytes, lost.len), ERR_KAFKA_STORAGE_ERROR);
    MUST(log_range_read(&lost, 0, bytes, kept.len)); /* what was not cut */
    MUST(log_range_read(&kept, 0, bytes, kept.len));
    CU_ASSERT(!plog_is_offline(log));
    MUST(plog_read(log, 0, 8, 1 << 20, true, &anew));
    MUST(log_range_read(&anew, 0, bytes, anew.len));
    log_range_release(&kept);
    log_range_release(&lost);
    log_range_release(&anew);
    free(bytes);
    MUST(plog_close(log));
    place_remove(&p);
}

SUITE("files", TEST(test_same_file), TEST(test_eviction), TEST(test_cut),
      TEST(test_range_of_a_cut_log))
