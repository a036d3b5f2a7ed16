/* A compressed payload, inflated piece by piece in bounded memory.
 *
 * What is taken and what is refused is what Java's readers take and refuse, not what the libraries
 * do: a payload that passes here can be read by a Java consumer (reference: hardening §1).
 * Where that is surprising:
 *
 * - gzip: members one after another; what follows a member and is no member is passed over, and so
 *   is a remainder that is too short for one. Unknown header flags are ignored, a header's checksum
 *   is not.
 * - snappy: xerial's frame, also several joined, or one raw block. Fewer than four bytes at the end
 *   are passed over.
 * - lz4: one frame; what follows it is not looked at. Linked blocks, dictionaries and unknown flags
 *   are refused. Checksums of header and blocks are checked, that of the content, and its size, are
 *   not.
 * - zstd: frames one after another, also skippable ones, with a window of up to 128 MiB. Nothing
 *   else may follow. A last frame that is cut is passed over where another one has ended in the
 *   same 128 KiB of input.
 *
 * Memory of one: at most 64 KiB and 90 of state; for lz4 the block, which is 4 MiB at most; for zstd
 * the window; for snappy the block, which is at most 22 times its input, or two of 64 KiB. */
#ifndef OTTLA_PROTOCOL_INFLATE_H
#define OTTLA_PROTOCOL_INFLATE_H

#include "protocol/batch.h"

struct inflater;

enum inflate_flags {
    INFLATE_LZ4_HEADER_UNCHECKED = 1, /* the header's checksum is not looked at: magic 0 */
};

/* For any codec but CODEC_NONE; NULL without memory. The input is not copied: it stays until the
 * end. */
struct inflater *inflater_new(enum codec codec, struct bytes input, int flags);
void inflater_free(struct inflater *f); /* NULL is fine */

/* Inflaters that are used again, one of a codec: to make one costs as much as to inflate a small batch.
 * One thread's; zeros at the beginning. What has taken much memory is not kept. */
struct inflaters {
    struct inflater *spare[CODEC_COUNT];
};
void inflaters_deinit(struct inflaters *inflaters);
/* As inflater_new and inflater_free; NULL keeps none. */
struct inflater *inflaters_take(struct inflaters *inflaters, enum codec codec, struct bytes input,
                                int flags);
void inflaters_return(struct inflaters *inflaters, struct inflater *f);

/* The next piece, which is valid until the next call, or at the end one without bytes. E_CORRUPT: a
 * Java consumer could not read on. Not called again after an error. */
NODISCARD err inflater_next(struct inflater *f, struct bytes *piece);
/* All that is left, behind what `out` has. E_LIMIT when it is more than limit_bytes. */
NODISCARD err inflater_all(struct inflater *f, size_t limit_bytes, struct writer *out);

#endif
