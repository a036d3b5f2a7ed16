/* What the broker asks the machine itself is answered the same everywhere: it decides how many loops there
 * are, and how much memory may be used. Linked by -Wl,--wrap, as sim/locks.c. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <unistd.h>

enum { CORES = 2, PAGES = 1 << 20, PAGE_BYTES = 4096, FILES_MAX = 4096 };

long __wrap_sysconf(int name);
int __wrap_getrlimit(int resource, struct rlimit *limit);
int __wrap_setrlimit(int resource, const struct rlimit *limit);

long __wrap_sysconf(int name)
{
    switch (name) {
    case _SC_NPROCESSORS_ONLN:
        return CORES;
    case _SC_PHYS_PAGES:
        return PAGES;
    case _SC_PAGESIZE:
        return PAGE_BYTES;
    default:
        return -1;
    }
}

int __wrap_getrlimit(int resource, struct rlimit *limit)
{
    (void)resource;
    *limit = (struct rlimit){.rlim_cur = FILES_MAX, .rlim_max = FILES_MAX};
    return 0;
}

int __wrap_setrlimit(int resource, const struct rlimit *limit)
{
    (void)resource;
    (void)limit;
    return 0;
}
