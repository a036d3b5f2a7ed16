/* Record batches, format v2: header access in place, records, building. Format v0 and v1 message
 * sets are protocol/legacy.h's.
 *
 * Bytes of a batch (all big-endian): base offset 0-7, length 8-11 (of what follows it), leader
 * epoch 12-15, magic 16, CRC-32C 17-20 (over byte 21 to the end), attributes 21-22, last offset
 * delta 23-26, base timestamp 27-34, max timestamp 35-42, producer id 43-50, producer epoch 51-52,
 * base sequence 53-56, record count 57-60, records 61-. */
#ifndef OTTLA_PROTOCOL_BATCH_H
#define OTTLA_PROTOCOL_BATCH_H

#include "base/err.h"
#include "base/reader.h"
#include "base/writer.h"

enum {
    BATCH_HEADER_BYTES = 61,
    BATCH_PREFIX_BYTES = 12,      /* base offset and length, common to all formats */
    BATCH_LENGTH_MIN = 61 - 12,   /* least value of the length field in v2 */
    BATCH_MAGIC_PREFIX_BYTES = 17 /* enough to see the magic */
};

enum codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };

enum {
    BATCH_CODEC_MASK = 0x07,
    BATCH_LOG_APPEND_TIME = 0x08,
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON = 0x40,
};

enum control_type { CONTROL_ABORT = 0, CONTROL_COMMIT = 1 };

/* A header, taken apart. */
struct batch {
    int64_t base_offset;
    int32_t size_bytes; /* of the whole batch, prefix included */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
};

/* Takes a v2 header apart; needs BATCH_HEADER_BYTES. Checks nothing. */
void batch_parse(const uint8_t *header, struct batch *batch);

static inline int64_t batch_last_offset(const struct batch *batch)
{
    return (int64_t)((uint64_t)batch->base_offset + (uint64_t)(int64_t)batch->last_offset_delta);
}

static inline enum codec batch_codec(const struct batch *batch)
{
    return (enum codec)(batch->attributes & BATCH_CODEC_MASK);
}

static inline bool batch_is(const struct batch *batch, int attribute)
{
    return (batch->attributes & attribute) != 0;
}

/* The last sequence number of a batch: 2147483647 is followed by 0. */
int32_t batch_last_sequence(const struct batch *batch);
/* `sequence` plus `n`, wrapping as above. */
int32_t sequence_add(int32_t sequence, int32_t n);

/* CRC over a whole batch of `len` bytes (at least BATCH_HEADER_BYTES). */
uint32_t batch_crc(const uint8_t *batch, size_t len);
/* Stores the CRC that the bytes have now. */
void batch_crc_update(uint8_t *batch, size_t len);

/* Writes of single fields. The first two are outside of the CRC. */
void batch_set_base_offset(uint8_t *batch, int64_t base_offset);
void batch_set_leader_epoch(uint8_t *batch, int32_t leader_epoch);
void batch_set_attributes(uint8_t *batch, int16_t attributes);
void batch_set_max_timestamp(uint8_t *batch, int64_t max_timestamp);

/* The time of a record, given its delta; deltas of a peer may wrap, as in Java. */
static inline int64_t batch_timestamp(const struct batch *batch, int64_t timestamp_delta)
{
    return batch_is(batch, BATCH_LOG_APPEND_TIME)
               ? batch->max_timestamp
               : (int64_t)((uint64_t)batch->base_timestamp + (uint64_t)timestamp_delta);
}

/* The offset of a record, given its delta. */
static inline int64_t batch_offset(const struct batch *batch, int32_t offset_delta)
{
    return (int64_t)((uint64_t)batch->base_offset + (uint64_t)(int64_t)offset_delta);
}

/* One record; views into the batch. */
struct record {
    int8_t attributes;
    int64_t timestamp_delta;
    int32_t offset_delta;
    struct bytes key;   /* data NULL: null */
    struct bytes value; /* data NULL: null */
    int32_t headers_n;
    struct bytes headers; /* encoded, all of them; record_header_next() reads one */
};

/* Walks the records of an uncompressed (or decompressed) batch body, that is bytes 61 to the end.
 * After the last record `error` is OK, or E_MALFORMED when a record breaks a rule: lengths, header
 * counts, null header keys, fewer or more bytes than `count` records; E_CORRUPT when the length of one
 * is a varint of more than five bytes, for which Kafka has a code of its own. Offset deltas are not
 * judged. */
struct record_iter {
    struct reader reader;
    int32_t left;
    err error;
};
void record_iter_init(struct record_iter *iter, struct bytes body, int32_t count);
bool record_iter_next(struct record_iter *iter, struct record *record);
bool record_header_next(struct reader *headers, struct str *key, struct bytes *value);

/* The body of a batch, inflated if it is compressed. `scratch` holds inflated bytes (initialized by
 * the caller, cleared here); E_LIMIT when it would grow past limit_bytes, E_CORRUPT when it cannot
 * be inflated. */
NODISCARD err batch_body(struct bytes batch, struct writer *scratch, size_t limit_bytes,
                         struct bytes *body);

/* Compression of a whole body; level 0 is the codec's default. Read is what Java reads
 * (protocol/inflate.h), up to limit_bytes behind what `out` has: E_LIMIT when it is more, E_CORRUPT
 * when it cannot be inflated; `out` then holds a part. */
NODISCARD err codec_compress(enum codec codec, int level, struct bytes input, struct writer *out);
NODISCARD err codec_decompress(enum codec codec, struct bytes input, size_t limit_bytes,
                               struct writer *out);

/* Builds one batch at the end of a writer: begin, add records, end. */
struct batch_builder {
    struct writer *out;
    size_t start; /* where in `out` the batch begins */
    int16_t attributes;
    int64_t base_timestamp; /* the first record's, unless has_base_timestamp was set before it */
    bool has_base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t last_offset_delta; /* of the last record; may be set higher before batch_end */
    int32_t count;
    int level; /* of the codec; 0 is its default */
};
/* attributes: codec and flags. Producer id, epoch and sequence begin as -1, none; fields may be
 * set until batch_end. */
void batch_begin(struct batch_builder *builder, struct writer *out, int16_t attributes);
/* A null key or value has data NULL; no headers; the next offset delta. */
void batch_add(struct batch_builder *builder, int64_t timestamp_ms, struct bytes key,
               struct bytes value);
/* A copy of a record at its own delta, headers included; for re-encoding. */
void batch_add_record(struct batch_builder *builder, int64_t timestamp_ms, int32_t offset_delta,
                      const struct record *record);
/* Compresses if asked, writes header, length and CRC. Base offset 0, leader epoch -1. */
NODISCARD err batch_end(struct batch_builder *builder);

#endif
