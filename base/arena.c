/* Bump allocation in chunks that double, up to a cap.
 *
 * The first chunk is kept over a reset, so that a connection at work does not call malloc for its
 * small requests. Memory is zeroed when it is handed out: generated structs rely on it. */
#define _GNU_SOURCE
#include "base/arena.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK_MIN_BYTES = 4096, CHUNK_KEPT_BYTES = 16384, CHUNK_MAX_BYTES = 1 << 20 };

struct arena_chunk {
    struct arena_chunk *older;
    size_t size;
    _Alignas(16) uint8_t data[];
};

void arena_init(struct arena *arena, size_t cap_bytes)
{
    *arena = (struct arena){.cap_bytes = cap_bytes};
}

void arena_deinit(struct arena *arena)
{
    while (arena->chunks != NULL) {
        struct arena_chunk *older = arena->chunks->older;
        free(arena->chunks);
        arena->chunks = older;
    }
    arena->next = arena->end = NULL;
    arena->used_bytes = 0;
}

void arena_reset(struct arena *arena, size_t cap_bytes)
{
    struct arena_chunk *kept = NULL;
    while (arena->chunks != NULL) {
        struct arena_chunk *older = arena->chunks->older;
        if (kept == NULL && arena->chunks->size <= CHUNK_KEPT_BYTES) {
            kept = arena->chunks;
        } else {
            free(arena->chunks);
        }
        arena->chunks = older;
    }
    *arena = (struct arena){.cap_bytes = cap_bytes};
    if (kept != NULL) {
        kept->older = NULL;
        arena->chunks = kept;
        arena->next = kept->data;
        arena->end = kept->data + kept->size;
    }
}

/* A chunk for at least `size` bytes, and at most `rest`, so that all chunks together stay within
 * the cap. */
static bool chunk_add(struct arena *arena, size_t size, size_t rest)
{
    size_t last = arena->chunks == NULL ? CHUNK_MIN_BYTES / 2 : arena->chunks->size;
    size_t want = last * 2 > CHUNK_MAX_BYTES ? CHUNK_MAX_BYTES : last * 2;
    want = want > rest ? rest : want;
    want = want < size ? size : want;
    struct arena_chunk *chunk = malloc(sizeof(*chunk) + want);
    if (chunk == NULL) {
        return false;
    }
    chunk->older = arena->chunks;
    chunk->size = want;
    arena->chunks = chunk;
    arena->next = chunk->data;
    arena->end = chunk->data + want;
    return true;
}

/* What counts against the cap is memory, not wishes: sizes as they are rounded, and the end of a
 * chunk that was too small. Otherwise many tiny allocations take a multiple of the cap. */
static void *reserve(struct arena *arena, size_t size)
{
    if (size > arena->cap_bytes || size > SIZE_MAX / 2) {
        return NULL;
    }
    size_t rounded = size == 0 ? 16 : (size + 15) & ~(size_t)15;
    size_t lost = (size_t)(arena->end - arena->next);
    lost = lost < rounded ? lost : 0;
    if (arena->used_bytes + lost + rounded > arena->cap_bytes) {
        return NULL;
    }
    if ((size_t)(arena->end - arena->next) < rounded) {
        if (!chunk_add(arena, rounded,
                       (arena->cap_bytes - arena->used_bytes - lost) & ~(size_t)15)) {
            return NULL;
        }
        arena->used_bytes += lost;
    }
    void *memory = arena->next;
    arena->next += rounded;
    arena->used_bytes += rounded;
    return memory;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *memory = reserve(arena, size);
    return memory == NULL ? NULL : memset(memory, 0, size);
}

void *arena_copy(struct arena *arena, struct bytes bytes)
{
    void *memory = reserve(arena, bytes.len);
    return memory == NULL || bytes.len == 0 ? memory : memcpy(memory, bytes.data, bytes.len);
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    return arena_alloc(arena, total);
}

struct str arena_str(struct arena *arena, struct str s)
{
    char *copy = s.data == NULL ? NULL : reserve(arena, s.len + 1);
    if (copy == NULL) {
        return (struct str){0};
    }
    memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';
    return (struct str){.data = copy, .len = s.len};
}

struct str arena_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        return (struct str){0};
    }
    struct str copy = arena_str(arena, (struct str){.data = text, .len = (size_t)length});
    free(text);
    return copy;
}
