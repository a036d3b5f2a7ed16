/* A refusal: one sentence for the user, and the error that goes with it. */
#ifndef OTTLA_BASE_REFUSE_H
#define OTTLA_BASE_REFUSE_H

#include "base/bytes.h"
#include "base/err.h"

#include <stddef.h>

/* Writes the sentence into `reason`, cut to `size`. Returns `code`. */
NODISCARD __attribute__((format(printf, 4, 5))) err refuse_with(err code, char *reason, size_t size,
                                                                const char *format, ...);
/* Adds a name to a sentence that lists them, which begins with `first`; `reason` is "" before. */
void refuse_name(char *reason, size_t size, const char *first, const char *between,
                 struct str name);
/* The same as refuse_with for options: E_CONFIG. */
NODISCARD __attribute__((format(printf, 3, 4))) err refuse(char *reason, size_t size,
                                                           const char *format, ...);

#endif
