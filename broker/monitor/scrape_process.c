/* The process, as Prometheus' own clients tell of theirs; from /proc. */
#define _GNU_SOURCE
#include "broker/monitor/scrape.h"
#include "broker/version.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Fields of /proc/self/stat, counted from the one behind the name of the program. */
enum { STAT_UTIME = 11, STAT_STIME = 12, STAT_THREADS = 17, STAT_START = 19, STAT_VSIZE = 20 };
enum { STAT_RSS = 21, STAT_FIELDS = 22 };

static bool read_stat(double fields[STAT_FIELDS])
{
    FILE *file = fopen("/proc/self/stat", "re");
    char line[1024] = "";
    if (file == NULL) {
        return false;
    }
    bool read = fgets(line, sizeof(line), file) != NULL;
    fclose(file);
    char *at = read ? strrchr(line, ')') : NULL;
    if (at == NULL || strlen(at) < 4) {
        return false;
    }
    at += 4; /* ") S ": the state is a letter */
    fields[0] = 0;
    for (int i = 1; i < STAT_FIELDS; i++) {
        fields[i] = strtod(at, &at);
    }
    return true;
}

/* The machine's start, since 1970. */
static double boot_seconds(void)
{
    FILE *file = fopen("/proc/stat", "re");
    char line[256];
    double seconds = 0;
    while (file != NULL && seconds == 0 && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "btime ", 6) == 0) {
            seconds = strtod(line + 6, NULL);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return seconds;
}

static int64_t open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t count = -3; /* ".", "..", and the one that reads */
    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count < 0 ? 0 : count;
}

static void real(struct page *page, enum metric metric, double value)
{
    page_family(page, metric);
    page_real(page, NULL, value);
}

void scrape_process(struct scrape *scrape)
{
    struct page *page = scrape->page;
    struct labels labels = {0};
    labels_add(&labels, "version", STR(OTTLA_VERSION));
    labels_add(&labels, "kafka", STR(OTTLA_KAFKA_VERSION));
    page_family(page, METRIC_BUILD_INFO);
    page_integer(page, &labels, 1);
    labels_deinit(&labels);

    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    real(page, METRIC_OPEN_FDS, (double)open_fds());
    real(page, METRIC_MAX_FDS, (double)limit.rlim_cur);
    double stat[STAT_FIELDS];
    if (!read_stat(stat)) {
        return;
    }
    double tick = (double)sysconf(_SC_CLK_TCK);
    real(page, METRIC_CPU_SECONDS, (stat[STAT_UTIME] + stat[STAT_STIME]) / tick);
    real(page, METRIC_RESIDENT, stat[STAT_RSS] * (double)sysconf(_SC_PAGESIZE));
    real(page, METRIC_VIRTUAL, stat[STAT_VSIZE]);
    real(page, METRIC_START_TIME, boot_seconds() + stat[STAT_START] / tick);
    real(page, METRIC_THREADS, stat[STAT_THREADS]);
}
