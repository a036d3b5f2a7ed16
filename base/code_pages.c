/* The kernel maps the code around whatever is touched: 64 KiB at a time, or as much as its page cache has in one piece,
 * which on Linux 6.18 is nearly all of a file. So a broker that idles would count megabytes of code that ran once, at
 * the start, or never. Nothing else unmaps it unless memory is short.
 *
 * Only what is mapped from a file and cannot be written is let go: by definition it is the same when it comes back. The
 * constants that were relocated (RELRO) were written, so they are in a segment that is loaded as writable: left alone. */
#define _GNU_SOURCE
#include "base/code_pages.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static int give_back(struct dl_phdr_info *info, size_t size, void *context)
{
    uintptr_t page = *(const uintptr_t *)context;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) == 0) {
            uintptr_t begin = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
            uintptr_t end = info->dlpi_addr + segment->p_vaddr + segment->p_memsz;
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
        }
    }
    return 0;
}

void code_pages_give_back(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)dl_iterate_phdr(give_back, &page);
}
