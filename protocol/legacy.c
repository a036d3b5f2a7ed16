/* Message sets of the formats 0 and 1, one entry after another:
 *
 *   offset i64 · size i32 (of what follows) · CRC-32 (IEEE) u32 (from magic to the end) · magic i8
 * · attributes i8 · [magic 1: timestamp i64] · key length i32 · key · value length i32 · value
 *
 * A compressed entry is a wrapper: no key, and a whole message set, compressed, as its value. Inner
 * offsets are absolute in magic 0; in magic 1 they are relative, and the wrapper's offset is that
 * of the last inner entry. Wrapper and inner entries have one magic; an inner entry is not a
 * wrapper.
 *
 * LZ4 in magic 0 has a wrong header checksum (KAFKA-3160): its first clients computed it from the
 * frame's magic number on. It is written so and, as Kafka does, not looked at when reading. */
#include "protocol/legacy.h"

#include "protocol/error.h"
#include "protocol/inflate.h"
#include "protocol/xxh32.h"

#include <zlib.h>

enum {
    ENTRY_SIZE_MIN = 4 + 1 + 1 + 4 + 4, /* crc, magic, attributes, two lengths */
    V2_SIZE_MIN = BATCH_LENGTH_MIN,
    AT_SIZE = 8,
    AT_CRC = 12,
    AT_MAGIC = 16,
    AT_ATTRIBUTES = 17,
};

/* One entry, taken apart; views into the set. */
struct entry {
    int64_t offset;
    int8_t magic;
    int8_t attributes;
    int64_t timestamp; /* -1 in magic 0 */
    struct bytes key;
    struct bytes value;
};

static enum codec entry_codec(const struct entry *entry)
{
    return (enum codec)(entry->attributes & BATCH_CODEC_MASK);
}

static bool entry_log_append_time(const struct entry *entry)
{
    return entry->magic == 1 && (entry->attributes & BATCH_LOG_APPEND_TIME) != 0;
}

/* The next whole entry or batch of any magic, with its prefix; false at the end or when only a part
 * of one is left. */
static bool next_whole(struct reader *set, struct bytes *whole)
{
    struct reader r = *set;
    (void)reader_i64(&r);
    int32_t size = reader_i32(&r);
    if (r.failed || size < 0 || (size_t)size > reader_left(&r)) {
        return false;
    }
    *whole = reader_bytes(set, BATCH_PREFIX_BYTES + (size_t)size);
    return true;
}

/* Where next_whole() found none: whether a size is there that no entry can have. */
static bool next_is_bad(const struct reader *set)
{
    struct reader r = *set;
    (void)reader_i64(&r);
    int32_t size = reader_i32(&r);
    return !r.failed && size < ENTRY_SIZE_MIN;
}

/* Whether there is a magic, and the bytes that its format needs at least. */
static err whole_magic(struct bytes whole, int8_t *magic)
{
    if (whole.len < BATCH_PREFIX_BYTES + ENTRY_SIZE_MIN) {
        return ERR_CORRUPT_MESSAGE;
    }
    *magic = (int8_t)whole.data[AT_MAGIC];
    if (*magic < 0 || *magic > 2) {
        return ERR_CORRUPT_MESSAGE;
    }
    return *magic == 2 && whole.len < BATCH_PREFIX_BYTES + V2_SIZE_MIN ? ERR_CORRUPT_MESSAGE : OK;
}

static struct bytes read_nullable(struct reader *r)
{
    int32_t len = reader_i32(r);
    return len < 0 ? (struct bytes){0} : reader_bytes(r, (size_t)len);
}

static bool entry_crc_is_right(struct bytes whole)
{
    return crc32(0, whole.data + AT_MAGIC, (uInt)(whole.len - AT_MAGIC)) ==
           load_u32(whole.data + AT_CRC);
}

/* Takes apart an entry of magic 0 or 1; the CRC is not looked at. ERR_UNKNOWN_SERVER_ERROR when it
 * is longer than it says. */
static err entry_parse(struct bytes whole, struct entry *entry)
{
    struct reader r = reader_of(whole);
    entry->offset = reader_i64(&r);
    (void)reader_i64(&r); /* size, CRC */
    entry->magic = reader_i8(&r);
    entry->attributes = reader_i8(&r);
    entry->timestamp = entry->magic == 1 ? reader_i64(&r) : -1;
    entry->key = read_nullable(&r);
    entry->value = read_nullable(&r);
    return r.failed ? ERR_UNKNOWN_SERVER_ERROR : OK;
}

/* ---- the LZ4 header of magic 0 ---- */

enum { LZ4_MAGIC_BYTES = 4 };

/* Gives an LZ4 frame the header checksum of magic 0. */
static void lz4_header_checksum(uint8_t *frame, size_t len)
{
    if (len < LZ4_MAGIC_BYTES + 3) {
        return;
    }
    size_t descriptor = 2;
    descriptor += (frame[LZ4_MAGIC_BYTES] & 0x08) != 0 ? 8 : 0; /* content size */
    if (len > LZ4_MAGIC_BYTES + descriptor) {
        frame[LZ4_MAGIC_BYTES + descriptor] =
            (uint8_t)(xxh32(frame, LZ4_MAGIC_BYTES + descriptor) >> 8);
    }
}

/* ---- inflating a wrapper ---- */

static err wrapper_decompress(const struct entry *wrapper, size_t limit_bytes, struct writer *out)
{
    int flags = wrapper->magic == 0 ? INFLATE_LZ4_HEADER_UNCHECKED : 0;
    struct inflater *f = inflater_new(entry_codec(wrapper), wrapper->value, flags);
    err e = f == NULL ? E_LIMIT : inflater_all(f, limit_bytes, out);
    inflater_free(f);
    return e;
}

/* Checks every inner entry and finds the offset of the last one. */
static err check_inner(struct bytes inner, int8_t magic, int64_t *last_offset)
{
    struct reader r = reader_of(inner);
    struct bytes whole;
    bool any = false;
    for (; next_whole(&r, &whole); any = true) {
        struct entry entry;
        int8_t inner_magic = 0;
        TRY(whole_magic(whole, &inner_magic));
        if (inner_magic != magic) {
            return ERR_INVALID_RECORD;
        }
        if (!entry_crc_is_right(whole)) {
            return ERR_CORRUPT_MESSAGE;
        }
        TRY(entry_parse(whole, &entry));
        if (entry_codec(&entry) != CODEC_NONE) {
            return ERR_INVALID_RECORD;
        }
        *last_offset = entry.offset;
    }
    if (next_is_bad(&r)) {
        return ERR_CORRUPT_MESSAGE;
    }
    return any ? OK : ERR_INVALID_RECORD;
}

/* The message set inside of a wrapper, checked, and what to add to its offsets. The codes are those
 * of legacy_up_convert; zstd is UNSUPPORTED_COMPRESSION_TYPE. */
static err wrapper_open(const struct entry *wrapper, size_t limit_bytes, struct writer *scratch,
                        struct bytes *inner, int64_t *offset_base)
{
    if (entry_codec(wrapper) == CODEC_ZSTD) {
        return ERR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    if (wrapper->value.data == NULL) {
        return ERR_INVALID_RECORD;
    }
    writer_clear(scratch);
    err e = wrapper_decompress(wrapper, limit_bytes, scratch);
    if (e != OK) {
        return e == E_CORRUPT ? ERR_UNKNOWN_SERVER_ERROR : e;
    }
    *inner = bytes_of(scratch->data, scratch->len);
    int64_t last_offset = 0;
    TRY(check_inner(*inner, wrapper->magic, &last_offset));
    *offset_base =
        wrapper->magic == 0 ? 0 : (int64_t)((uint64_t)wrapper->offset - (uint64_t)last_offset);
    return OK;
}

static int64_t offset_add(int64_t base, int64_t offset)
{
    return (int64_t)((uint64_t)base + (uint64_t)offset);
}

/* The next entry of a checked inner set, with its absolute offset and the time that counts. */
static bool inner_next(struct reader *inner, const struct entry *wrapper, int64_t offset_base,
                       struct entry *entry)
{
    struct bytes whole;
    if (!next_whole(inner, &whole)) {
        return false;
    }
    CHECK(entry_parse(whole, entry) == OK);
    entry->offset = offset_add(offset_base, entry->offset);
    if (entry_log_append_time(wrapper)) {
        entry->timestamp = wrapper->timestamp;
    }
    return true;
}

/* ---- writing entries ---- */

static void write_nullable(struct writer *w, struct bytes b)
{
    writer_i32(w, b.data == NULL ? -1 : (int32_t)b.len);
    writer_bytes(w, b.data, b.len);
}

static void entry_write(struct writer *w, const struct entry *entry)
{
    size_t start = w->len;
    writer_i64(w, entry->offset);
    writer_i32(w, 0);
    writer_i32(w, 0);
    writer_i8(w, entry->magic);
    writer_i8(w, entry->attributes);
    if (entry->magic == 1) {
        writer_i64(w, entry->timestamp);
    }
    write_nullable(w, entry->key);
    write_nullable(w, entry->value);
    if (w->failed || w->len - start > INT32_MAX) {
        w->failed = true;
        return;
    }
    uint8_t *at = w->data + start;
    size_t len = w->len - start;
    store_u32(at + AT_SIZE, (uint32_t)(len - BATCH_PREFIX_BYTES));
    store_u32(at + AT_CRC, (uint32_t)crc32(0, at + AT_MAGIC, (uInt)(len - AT_MAGIC)));
}

/* Writes the records of one batch or wrapper: entries, or one wrapper around them. */
struct set_builder {
    struct writer *out;
    struct writer inner; /* entries to be compressed */
    int8_t magic;
    enum codec codec;
    bool log_append_time;
    int64_t first_offset;
    int64_t last_offset;
    int64_t max_timestamp;
    bool any;
};

static void set_begin(struct set_builder *b, struct writer *out, int8_t magic, enum codec codec)
{
    *b = (struct set_builder){.out = out, .magic = magic, .codec = codec};
    writer_init(&b->inner, INT32_MAX);
}

static void set_add(struct set_builder *b, struct entry entry)
{
    if (!b->any) {
        b->any = true;
        b->first_offset = entry.offset;
        b->max_timestamp = entry.timestamp;
    }
    b->last_offset = entry.offset;
    b->max_timestamp = entry.timestamp > b->max_timestamp ? entry.timestamp : b->max_timestamp;
    entry.magic = b->magic;
    entry.attributes = b->magic == 1 && b->log_append_time ? BATCH_LOG_APPEND_TIME : 0;
    if (b->codec == CODEC_NONE) {
        entry_write(b->out, &entry);
        return;
    }
    if (b->magic == 1) {
        entry.offset = (int64_t)((uint64_t)entry.offset - (uint64_t)b->first_offset);
    }
    entry_write(&b->inner, &entry);
}

static err set_write_wrapper(struct set_builder *b)
{
    if (b->inner.failed) {
        return E_LIMIT;
    }
    struct writer packed;
    writer_init(&packed, INT32_MAX);
    err e = codec_compress(b->codec, 0, bytes_of(b->inner.data, b->inner.len), &packed);
    if (e == OK) {
        if (b->magic == 0 && b->codec == CODEC_LZ4) {
            lz4_header_checksum(packed.data, packed.len);
        }
        struct entry wrapper = {
            .offset = b->last_offset,
            .magic = b->magic,
            .attributes = (int8_t)b->codec,
            .timestamp = b->max_timestamp,
            .value = bytes_of(packed.data, packed.len),
        };
        if (b->magic == 1 && b->log_append_time) {
            wrapper.attributes |= BATCH_LOG_APPEND_TIME;
        }
        entry_write(b->out, &wrapper);
    }
    writer_deinit(&packed);
    return e;
}

static err set_end(struct set_builder *b)
{
    err e = b->any && b->codec != CODEC_NONE ? set_write_wrapper(b) : OK;
    writer_deinit(&b->inner);
    return e;
}

/* ---- down ---- */

struct down {
    int8_t magic;
    int64_t fetch_offset;
    size_t limit_bytes;
    struct writer scratch;
    struct writer *out;
};

/* Kafka drops records below the fetch offset only where it need not recompress for it. */
static bool is_wanted(const struct down *d, enum codec codec, int64_t offset)
{
    return codec != CODEC_NONE || offset >= d->fetch_offset;
}

static err down_batch(struct down *d, struct bytes whole)
{
    struct batch batch;
    batch_parse(whole.data, &batch);
    if (batch_is(&batch, BATCH_CONTROL)) {
        return OK;
    }
    if (batch_codec(&batch) >= CODEC_ZSTD) {
        return ERR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    struct bytes body;
    err e = batch_body(whole, &d->scratch, d->limit_bytes, &body);
    if (e != OK) {
        return e == E_LIMIT ? e : ERR_CORRUPT_MESSAGE;
    }
    struct set_builder set;
    set_begin(&set, d->out, d->magic, batch_codec(&batch));
    set.log_append_time = batch_is(&batch, BATCH_LOG_APPEND_TIME);
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, batch.count);
    while (record_iter_next(&iter, &record)) {
        int64_t offset = batch_offset(&batch, record.offset_delta);
        if (is_wanted(d, set.codec, offset)) {
            set_add(&set, (struct entry){
                              .offset = offset,
                              .timestamp = batch_timestamp(&batch, record.timestamp_delta),
                              .key = record.key,
                              .value = record.value,
                          });
        }
    }
    e = set_end(&set);
    return iter.error != OK ? ERR_CORRUPT_MESSAGE : e;
}

/* Magic 1 as magic 0. */
static err down_entry(struct down *d, struct bytes whole)
{
    struct entry entry;
    if (!entry_crc_is_right(whole) || entry_parse(whole, &entry) != OK) {
        return ERR_CORRUPT_MESSAGE;
    }
    if (entry_codec(&entry) == CODEC_NONE) {
        if (is_wanted(d, CODEC_NONE, entry.offset)) {
            entry.magic = d->magic;
            entry.attributes = 0;
            entry_write(d->out, &entry);
        }
        return OK;
    }
    struct bytes inner;
    int64_t base = 0;
    err e = wrapper_open(&entry, d->limit_bytes, &d->scratch, &inner, &base);
    if (e != OK) {
        return e == E_LIMIT || e == ERR_UNSUPPORTED_COMPRESSION_TYPE ? e : ERR_CORRUPT_MESSAGE;
    }
    struct set_builder set;
    set_begin(&set, d->out, d->magic, entry_codec(&entry));
    struct reader r = reader_of(inner);
    struct entry record;
    while (inner_next(&r, &entry, base, &record)) {
        set_add(&set, record);
    }
    return set_end(&set);
}

static err down_all(struct down *d, struct bytes batches)
{
    struct reader r = reader_of(batches);
    struct bytes whole;
    while (next_whole(&r, &whole)) {
        int8_t magic = 0;
        TRY(whole_magic(whole, &magic));
        if (magic <= d->magic) {
            writer_bytes(d->out, whole.data, whole.len);
        } else {
            TRY(magic == 2 ? down_batch(d, whole) : down_entry(d, whole));
        }
    }
    return d->out->failed ? E_LIMIT : OK;
}

err legacy_down_convert(struct bytes batches, int8_t magic, int64_t fetch_offset,
                        size_t inflated_limit_bytes, struct writer *out)
{
    CHECK(magic == 0 || magic == 1);
    struct down d = {.magic = magic,
                     .fetch_offset = fetch_offset,
                     .limit_bytes = inflated_limit_bytes,
                     .out = out};
    writer_init(&d.scratch, inflated_limit_bytes);
    err e = down_all(&d, batches);
    writer_deinit(&d.scratch);
    return e;
}

/* ---- up ---- */

/* Sizes and CRCs of all entries first, then what may stand beside what: the first entry in *first,
 * not taken apart; none: without bytes. */
static err check_set(struct bytes set, int32_t entry_bytes_max, struct bytes *first)
{
    struct reader r = reader_of(set);
    struct bytes whole;
    int count = 0;
    bool any_wrapper = false;
    bool mixed = false;
    *first = (struct bytes){0};
    for (; next_whole(&r, &whole); count++) {
        int8_t magic = 0;
        TRY(whole_magic(whole, &magic));
        if (whole.len > (size_t)entry_bytes_max) {
            return ERR_MESSAGE_TOO_LARGE;
        }
        if (magic < 2 && !entry_crc_is_right(whole)) {
            return ERR_CORRUPT_MESSAGE;
        }
        *first = count == 0 ? whole : *first;
        any_wrapper |= magic == 2 || (whole.data[AT_ATTRIBUTES] & BATCH_CODEC_MASK) != 0;
        mixed |= first->data[AT_MAGIC] != whole.data[AT_MAGIC];
    }
    if (next_is_bad(&r)) {
        return ERR_CORRUPT_MESSAGE;
    }
    return mixed || (any_wrapper && count > 1) ? ERR_INVALID_RECORD : OK;
}

static void up_add(struct batch_builder *builder, const struct entry *entry)
{
    if (entry_log_append_time(entry)) {
        builder->attributes |= BATCH_LOG_APPEND_TIME;
    }
    batch_add(builder, entry->timestamp, entry->key, entry->value);
}

static err up_wrapper(const struct entry *wrapper, size_t limit_bytes, struct writer *out)
{
    struct batch_builder builder;
    struct writer scratch;
    struct bytes inner;
    int64_t base = 0;
    writer_init(&scratch, limit_bytes);
    err e = wrapper_open(wrapper, limit_bytes, &scratch, &inner, &base);
    if (e == OK) {
        batch_begin(&builder, out, (int16_t)entry_codec(wrapper));
        if (entry_log_append_time(wrapper)) {
            builder.attributes |= BATCH_LOG_APPEND_TIME;
        }
        struct reader r = reader_of(inner);
        struct entry entry;
        while (inner_next(&r, wrapper, base, &entry)) {
            up_add(&builder, &entry);
        }
        e = batch_end(&builder);
    }
    writer_deinit(&scratch);
    return e == ERR_UNSUPPORTED_COMPRESSION_TYPE ? ERR_INVALID_RECORD : e;
}

err legacy_up_convert(struct bytes set, int32_t entry_bytes_max, size_t inflated_limit_bytes,
                      struct writer *out)
{
    struct bytes whole;
    TRY(check_set(set, entry_bytes_max, &whole));
    if (whole.len == 0) {
        return OK;
    }
    struct entry entry;
    TRY(entry_parse(whole, &entry));
    if (entry_codec(&entry) != CODEC_NONE) {
        return up_wrapper(&entry, inflated_limit_bytes, out);
    }
    struct batch_builder builder;
    batch_begin(&builder, out, CODEC_NONE);
    struct reader r = reader_of(set);
    while (next_whole(&r, &whole)) {
        TRY(entry_parse(whole, &entry));
        up_add(&builder, &entry);
    }
    return batch_end(&builder);
}
