/* The map is made with the first key that finds the short list full, so that a small request pays
 * neither for its seed nor for its slots. */
#include "base/seen.h"

void seen_init(struct seen *seen)
{
    seen->few_n = 0;
}

void seen_deinit(struct seen *seen)
{
    if (seen->few_n == SEEN_FEW) {
        map_deinit(&seen->many);
        writer_deinit(&seen->scratch);
    }
}

static int32_t *find_few(struct seen *seen, const struct seen_key *key)
{
    for (int32_t i = 0; i < seen->few_n; i++) {
        if (seen->few[i].number == key->number && uuid_equal(seen->few[i].id, key->id) &&
            str_equal(seen->few[i].name, key->name)) {
            return &seen->times[i];
        }
    }
    return NULL;
}

/* The name comes last: all before it has a fixed size. */
static struct bytes bytes_of_key(struct seen *seen, const struct seen_key *key)
{
    struct writer *w = &seen->scratch;
    writer_clear(w);
    writer_i32(w, key->number);
    writer_bytes(w, key->id.bytes, sizeof(key->id.bytes));
    writer_i8(w, key->name.data != NULL);
    if (key->name.len > 0) {
        writer_bytes(w, key->name.data, key->name.len);
    }
    CHECK(!w->failed);
    return bytes_of(w->data, w->len);
}

int32_t seen_add(struct seen *seen, const struct seen_key *key)
{
    int32_t *times = find_few(seen, key);
    if (times != NULL) {
        return (*times)++;
    }
    if (seen->few_n < SEEN_FEW) {
        seen->few[seen->few_n] = *key;
        seen->times[seen->few_n++] = 1;
        if (seen->few_n == SEEN_FEW) {
            map_init(&seen->many);
            writer_init(&seen->scratch, SIZE_MAX);
        }
        return 0;
    }
    struct bytes bytes = bytes_of_key(seen, key);
    intptr_t before = (intptr_t)map_get(&seen->many, bytes);
    (void)map_set(&seen->many, bytes, (void *)(before + 1));
    return (int32_t)before;
}

int32_t seen_times(struct seen *seen, const struct seen_key *key)
{
    const int32_t *times = find_few(seen, key);
    if (times != NULL) {
        return *times;
    }
    return seen->few_n < SEEN_FEW
               ? 0
               : (int32_t)(intptr_t)map_get(&seen->many, bytes_of_key(seen, key));
}
