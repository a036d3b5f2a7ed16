/* A capped arena: memory for one request, released as a whole.
 *
 * Everything a request decodes or builds lives here until the answer is encoded. The cap is what
 * bounds a hostile request's memory: past it arena_alloc returns NULL.
 * Not locked: one thread at a time. */
#ifndef OTTLA_BASE_ARENA_H
#define OTTLA_BASE_ARENA_H

#include "base/bytes.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first */
    uint8_t *next;
    uint8_t *end;
    size_t used_bytes; /* sum of all allocations since the last reset */
    size_t cap_bytes;
};

void arena_init(struct arena *arena, size_t cap_bytes);
void arena_deinit(struct arena *arena);
/* Forgets every allocation and keeps at most one small chunk for the next use. */
void arena_reset(struct arena *arena, size_t cap_bytes);

/* Zeroed memory, aligned to 16 bytes, or NULL past the cap. */
void *arena_alloc(struct arena *arena, size_t size);
/* The same for an array; NULL also when the product overflows. */
void *arena_array(struct arena *arena, size_t count, size_t size);
/* A copy, aligned as well, or NULL past the cap. */
void *arena_copy(struct arena *arena, struct bytes bytes);
/* A copy that is also terminated; the null string past the cap. */
struct str arena_str(struct arena *arena, struct str s);
/* Formatted text; the null string past the cap. */
__attribute__((format(printf, 2, 3))) struct str arena_format(struct arena *arena,
                                                              const char *format, ...);

#endif
