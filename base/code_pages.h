/* What of the program's code stays in memory. */
#ifndef OTTLA_BASE_CODE_PAGES_H
#define OTTLA_BASE_CODE_PAGES_H

/* Unmaps the pages of code and constants that the process has touched so far; what is used again comes back from the
 * page cache, by a minor fault. For after the start, whose code is not needed again. Any thread may run meanwhile. */
void code_pages_give_back(void);

#endif
