/* Record batches of format v2: fields in place, the walk over records, and the builder.
 *
 * A record is: length varint (of what follows) · attributes i8 · timestamp delta varlong · offset
 * delta varint · key length varint (negative: null) · key · value length varint · value · header
 * count varint · headers, each a key (length varint, never null) and a value (as above).
 *
 * Nothing here takes a lock or keeps state between calls. */
#include "protocol/batch.h"

#include "base/crc32c.h"

/* Where the fields of a header are. */
enum {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21, /* the CRC begins here */
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_COUNT = 57,
};

enum { VARINT_BYTES_MAX = 5 };

void batch_parse(const uint8_t *header, struct batch *batch)
{
    batch->base_offset = (int64_t)load_u64(header + AT_BASE_OFFSET);
    int32_t length = (int32_t)load_u32(header + AT_LENGTH);
    batch->size_bytes =
        length > INT32_MAX - BATCH_PREFIX_BYTES ? INT32_MAX : length + BATCH_PREFIX_BYTES;
    batch->leader_epoch = (int32_t)load_u32(header + AT_LEADER_EPOCH);
    batch->magic = (int8_t)header[AT_MAGIC];
    batch->crc = load_u32(header + AT_CRC);
    batch->attributes = (int16_t)load_u16(header + AT_ATTRIBUTES);
    batch->last_offset_delta = (int32_t)load_u32(header + AT_LAST_OFFSET_DELTA);
    batch->base_timestamp = (int64_t)load_u64(header + AT_BASE_TIMESTAMP);
    batch->max_timestamp = (int64_t)load_u64(header + AT_MAX_TIMESTAMP);
    batch->producer_id = (int64_t)load_u64(header + AT_PRODUCER_ID);
    batch->producer_epoch = (int16_t)load_u16(header + AT_PRODUCER_EPOCH);
    batch->base_sequence = (int32_t)load_u32(header + AT_BASE_SEQUENCE);
    batch->count = (int32_t)load_u32(header + AT_COUNT);
}

int32_t sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((int64_t)sequence + n) & INT32_MAX);
}

int32_t batch_last_sequence(const struct batch *batch)
{
    return batch->base_sequence < 0 ? batch->base_sequence
                                    : sequence_add(batch->base_sequence, batch->last_offset_delta);
}

uint32_t batch_crc(const uint8_t *batch, size_t len)
{
    CHECK(len >= BATCH_HEADER_BYTES);
    return crc32c(0, batch + AT_ATTRIBUTES, len - AT_ATTRIBUTES);
}

void batch_crc_update(uint8_t *batch, size_t len)
{
    store_u32(batch + AT_CRC, batch_crc(batch, len));
}

void batch_set_base_offset(uint8_t *batch, int64_t base_offset)
{
    store_u64(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
}

void batch_set_leader_epoch(uint8_t *batch, int32_t leader_epoch)
{
    store_u32(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void batch_set_attributes(uint8_t *batch, int16_t attributes)
{
    store_u16(batch + AT_ATTRIBUTES, (uint16_t)attributes);
}

void batch_set_max_timestamp(uint8_t *batch, int64_t max_timestamp)
{
    store_u64(batch + AT_MAX_TIMESTAMP, (uint64_t)max_timestamp);
}

/* ---- records ---- */

void record_iter_init(struct record_iter *iter, struct bytes body, int32_t count)
{
    *iter = (struct record_iter){.reader = reader_of(body), .left = count};
    if (count < 0) {
        iter->error = E_MALFORMED;
        iter->left = 0;
    }
}

/* Bytes behind their varint length; negative is null. */
static struct bytes read_nullable(struct reader *r)
{
    int32_t len = reader_varint(r);
    return len < 0 ? (struct bytes){0} : reader_bytes(r, (size_t)len);
}

bool record_header_next(struct reader *headers, struct str *key, struct bytes *value)
{
    if (reader_left(headers) == 0) {
        return false;
    }
    struct bytes text = read_nullable(headers);
    headers->failed |= text.data == NULL;
    *key = (struct str){.data = (const char *)text.data, .len = text.len};
    *value = read_nullable(headers);
    return !headers->failed;
}

static void skip_headers(struct reader *r, int32_t count)
{
    /* A negative count is a huge one here. */
    r->failed |= (size_t)count > reader_left(r) / 2;
    struct str key;
    struct bytes value;
    for (int32_t i = 0; i < count; i++) {
        if (!record_header_next(r, &key, &value)) {
            r->failed = true;
            return;
        }
    }
}

/* A varint of more than five bytes, not one that is cut. */
static bool varint_is_too_long(struct reader r)
{
    struct bytes at = reader_bytes(&r, VARINT_BYTES_MAX);
    for (size_t i = 0; i < at.len; i++) {
        if (at.data[i] < 0x80) {
            return false;
        }
    }
    return at.len == VARINT_BYTES_MAX;
}

static err read_record(struct reader *reader, struct record *record)
{
    struct reader start = *reader;
    int32_t len = reader_varint(reader);
    if (reader->failed) {
        return varint_is_too_long(start) ? E_CORRUPT : E_MALFORMED;
    }
    if (len < 0) {
        return E_MALFORMED;
    }
    struct bytes body = reader_bytes(reader, (size_t)len);
    struct reader r = reader_of(body);
    record->attributes = reader_i8(&r);
    record->timestamp_delta = reader_varlong(&r);
    record->offset_delta = reader_varint(&r);
    record->key = read_nullable(&r);
    record->value = read_nullable(&r);
    record->headers_n = reader_varint(&r);
    const uint8_t *headers = r.next;
    if (record->headers_n != 0) {
        skip_headers(&r, record->headers_n);
    }
    if (r.failed || reader_left(&r) != 0) {
        return E_MALFORMED;
    }
    record->headers = bytes_of(headers, (size_t)(r.next - headers));
    return OK;
}

bool record_iter_next(struct record_iter *iter, struct record *record)
{
    if (iter->error != OK) {
        return false;
    }
    if (iter->left == 0) {
        iter->error = reader_left(&iter->reader) == 0 ? OK : E_MALFORMED;
        return false;
    }
    iter->error = read_record(&iter->reader, record);
    iter->left--;
    return iter->error == OK;
}

err batch_body(struct bytes batch, struct writer *scratch, size_t limit_bytes, struct bytes *body)
{
    if (batch.len < BATCH_HEADER_BYTES) {
        return E_MALFORMED;
    }
    struct batch header;
    batch_parse(batch.data, &header);
    *body = bytes_of(batch.data + BATCH_HEADER_BYTES, batch.len - BATCH_HEADER_BYTES);
    if (batch_codec(&header) == CODEC_NONE) {
        return OK;
    }
    writer_clear(scratch);
    TRY(codec_decompress(batch_codec(&header), *body, limit_bytes, scratch));
    static const uint8_t NOTHING[1] = {0};
    *body = bytes_of(scratch->len == 0 ? NOTHING : scratch->data, scratch->len);
    return OK;
}

/* ---- building ---- */

void batch_begin(struct batch_builder *builder, struct writer *out, int16_t attributes)
{
    *builder = (struct batch_builder){.out = out,
                                      .start = out->len,
                                      .attributes = attributes,
                                      .base_timestamp = -1,
                                      .max_timestamp = -1,
                                      .producer_id = -1,
                                      .producer_epoch = -1,
                                      .base_sequence = -1,
                                      .last_offset_delta = -1};
    uint8_t *header = writer_grow(out, BATCH_HEADER_BYTES);
    if (header != NULL) {
        memset(header, 0, BATCH_HEADER_BYTES);
    }
}

static size_t nullable_size(struct bytes b)
{
    return b.data == NULL ? varlong_size(-1) : varlong_size((int64_t)b.len) + b.len;
}

static void write_nullable(struct writer *w, struct bytes b)
{
    writer_varint(w, b.data == NULL ? -1 : (int32_t)b.len);
    writer_bytes(w, b.data, b.len);
}

void batch_add_record(struct batch_builder *builder, int64_t timestamp_ms, int32_t offset_delta,
                      const struct record *record)
{
    if (builder->count == 0 && !builder->has_base_timestamp) {
        builder->base_timestamp = timestamp_ms;
    }
    struct writer *w = builder->out;
    int64_t timestamp_delta = (int64_t)((uint64_t)timestamp_ms - (uint64_t)builder->base_timestamp);
    size_t len = 1 + varlong_size(timestamp_delta) + varlong_size(offset_delta) +
                 nullable_size(record->key) + nullable_size(record->value) +
                 varlong_size(record->headers_n) + record->headers.len;
    if (len > INT32_MAX) {
        w->failed = true;
        return;
    }
    writer_varint(w, (int32_t)len);
    writer_i8(w, record->attributes);
    writer_varlong(w, timestamp_delta);
    writer_varint(w, offset_delta);
    write_nullable(w, record->key);
    write_nullable(w, record->value);
    writer_varint(w, record->headers_n);
    writer_bytes(w, record->headers.data, record->headers.len);
    if (builder->count == 0 || timestamp_ms > builder->max_timestamp) {
        builder->max_timestamp = timestamp_ms;
    }
    builder->count++;
    builder->last_offset_delta = offset_delta;
}

void batch_add(struct batch_builder *builder, int64_t timestamp_ms, struct bytes key,
               struct bytes value)
{
    batch_add_record(builder, timestamp_ms, builder->last_offset_delta + 1,
                     &(struct record){.key = key, .value = value});
}

/* Replaces the records by their compressed form. */
static err compress_body(struct batch_builder *builder, enum codec codec)
{
    struct writer *out = builder->out;
    size_t body_at = builder->start + BATCH_HEADER_BYTES;
    struct writer packed;
    writer_init(&packed, out->limit_bytes);
    err e = codec_compress(codec, builder->level, bytes_of(out->data + body_at, out->len - body_at),
                           &packed);
    if (e == OK) {
        out->len = body_at;
        writer_bytes(out, packed.data, packed.len);
    }
    writer_deinit(&packed);
    return e;
}

err batch_end(struct batch_builder *builder)
{
    struct writer *out = builder->out;
    if (out->failed) {
        return E_LIMIT;
    }
    enum codec codec = (enum codec)(builder->attributes & BATCH_CODEC_MASK);
    if (codec != CODEC_NONE) {
        TRY(compress_body(builder, codec));
    }
    if (out->failed || out->len - builder->start > INT32_MAX) {
        return E_LIMIT;
    }
    uint8_t *header = out->data + builder->start;
    size_t len = out->len - builder->start;
    store_u32(header + AT_LENGTH, (uint32_t)(len - BATCH_PREFIX_BYTES));
    batch_set_leader_epoch(header, -1);
    header[AT_MAGIC] = 2;
    batch_set_attributes(header, builder->attributes);
    store_u32(header + AT_LAST_OFFSET_DELTA,
              (uint32_t)(builder->last_offset_delta < 0 ? 0 : builder->last_offset_delta));
    store_u64(header + AT_BASE_TIMESTAMP, (uint64_t)builder->base_timestamp);
    batch_set_max_timestamp(header, builder->max_timestamp);
    store_u64(header + AT_PRODUCER_ID, (uint64_t)builder->producer_id);
    store_u16(header + AT_PRODUCER_EPOCH, (uint16_t)builder->producer_epoch);
    store_u32(header + AT_BASE_SEQUENCE, (uint32_t)builder->base_sequence);
    store_u32(header + AT_COUNT, (uint32_t)builder->count);
    batch_crc_update(header, len);
    return OK;
}
