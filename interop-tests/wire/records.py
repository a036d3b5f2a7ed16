"""Record batches (format 2) and old message sets, made to order: every field of the header can be set, also wrongly."""

import gzip
import struct
import time
import zlib

from .schema import Malformed, Reader, uvarint

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def _crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _xxh32(data: bytes) -> int:
    """xxHash32 of fewer than 16 bytes, seed 0: all an LZ4 frame header needs."""
    p2, p3, p4, p5, mask = 2246822519, 3266489917, 668265263, 374761393, 0xFFFFFFFF
    rot = lambda x, r: (x << r | x >> 32 - r) & mask  # noqa: E731
    h, at = (p5 + len(data)) & mask, 0
    while at + 4 <= len(data):
        h = rot((h + struct.unpack_from("<I", data, at)[0] * p3) & mask, 17) * p4 & mask
        at += 4
    for byte in data[at:]:
        h = rot((h + byte * p5) & mask, 11) * 2654435761 & mask
    h = (h ^ h >> 15) * p2 & mask
    h = (h ^ h >> 13) * p3 & mask
    return h ^ h >> 16


def _snappy_raw(data: bytes) -> bytes:
    """Valid snappy made of literals only."""
    out = uvarint(len(data))
    for at in range(0, len(data), 60):
        piece = data[at:at + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    return out


_LZ4_FLAGS = {"lz4": 0x60, "lz4-linked": 0x40, "lz4-dictionary": 0x61, "lz4-block-checksums": 0x70,
              "lz4-content-checksum": 0x64, "lz4-content-size": 0x68}


def _lz4(flags: int, data: bytes) -> bytes:
    """A frame with one block that is stored; checksums are right while the data is shorter than 16 bytes."""
    assert len(data) <= 65536
    descriptor = bytes([flags, 0x40])  # blocks of at most 64 KiB
    if flags & 0x08:
        descriptor += struct.pack("<Q", len(data))
    if flags & 0x01:
        descriptor += struct.pack("<I", 7)
    block = struct.pack("<I", len(data) | 1 << 31) + data
    if flags & 0x10:
        block += struct.pack("<I", _xxh32(data))
    content = struct.pack("<I", _xxh32(data)) if flags & 0x04 else b""
    return b"\x04\x22\x4d\x18" + descriptor + bytes([_xxh32(descriptor) >> 8 & 0xFF]) + block + bytes(4) + content


def _zstd(window_log: int, data: bytes) -> bytes:
    """A frame without its content's size, with one raw block."""
    assert len(data) < 1 << 17
    return b"\x28\xb5\x2f\xfd" + bytes([0, window_log - 10 << 3]) + struct.pack("<I", len(data) << 3 | 1)[:3] + data


def compress(codec: str, data: bytes) -> bytes:
    """A stream of the codec; snappy, lz4 and zstd store their input as it is.

    none gzip snappy snappy-raw lz4 zstd; the lz4 flags in _LZ4_FLAGS; zstd-window-N.
    """
    if codec in ("none", 0):
        return data
    if codec == "gzip":
        return gzip.compress(data, mtime=0)
    if codec == "snappy-raw":
        return _snappy_raw(data)
    if codec == "snappy":
        block = _snappy_raw(data)
        return b"\x82SNAPPY\0" + struct.pack(">iii", 1, 1, len(block)) + block
    if codec in _LZ4_FLAGS:
        return _lz4(_LZ4_FLAGS[codec], data)
    if codec.startswith("zstd"):
        return _zstd(int(codec.removeprefix("zstd").removeprefix("-window-") or 17), data)
    raise ValueError(f"no codec {codec}")


def _bytes(value) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def varint(value: int) -> bytes:
    return uvarint((value << 1 ^ value >> 63) & (1 << 64) - 1)


def _varbytes(value) -> bytes:
    data = _bytes(value)
    return varint(-1) if data is None else varint(len(data)) + data


def record(index: int, r) -> bytes:
    """A record from {key, value, headers, timestamp_delta, offset_delta, attributes, ...}.

    To make it wrong: `length` replaces the length, `header_count` the count, `tail` is added inside.
    """
    if isinstance(r, bytes):
        return r
    if isinstance(r, str):
        r = {"value": r}
    headers = r.get("headers", {})
    headers = list(headers.items()) if isinstance(headers, dict) else headers
    body = (struct.pack(">b", r.get("attributes", 0)) + varint(r.get("timestamp_delta", 0))
            + varint(r.get("offset_delta", index)) + _varbytes(r.get("key")) + _varbytes(r.get("value"))
            + varint(r.get("header_count", len(headers))))
    for key, value in headers:
        body += _varbytes(key) + _varbytes(value)
    body += r.get("tail", b"")
    return varint(r.get("length", len(body))) + body


def batch(b: dict | None = None) -> bytes:
    """A record batch. Without arguments: one valid record with the value "v", created now.

    records      list of records (dict, or a string for a value), default ["v"]
    codec        as compress() has it; sets the attribute bits and compresses
    payload      replaces the encoded and compressed records
    base_offset leader_epoch magic attributes last_offset_delta base_timestamp max_timestamp producer_id
    producer_epoch base_sequence count   the header's fields
    length       the length field; crc: the CRC field, or "bad"
    """
    b = dict(b or {})
    records = b.pop("records", ["v"])
    codec = b.pop("codec", "none")
    payload = b.pop("payload", None)
    if payload is None:
        payload = compress(codec, b"".join(record(i, r) for i, r in enumerate(records)))
    timestamp = b.pop("base_timestamp", None)
    timestamp = int(time.time() * 1000) if timestamp is None else timestamp
    deltas = [r.get("timestamp_delta", 0) for r in records if isinstance(r, dict)]
    body = struct.pack(
        ">hiqqqhii", b.pop("attributes", CODECS[codec.split("-")[0]]),
        b.pop("last_offset_delta", len(records) - 1), timestamp,
        b.pop("max_timestamp", timestamp + max([0, *deltas])), b.pop("producer_id", -1), b.pop("producer_epoch", -1),
        b.pop("base_sequence", -1), b.pop("count", len(records))) + payload
    crc = b.pop("crc", None)
    if crc is None:
        crc = crc32c(body)
    elif crc == "bad":
        crc = crc32c(body) ^ 1
    head = struct.pack(">ibI", b.pop("leader_epoch", -1), b.pop("magic", 2), crc)
    out = struct.pack(">qi", b.pop("base_offset", 0), b.pop("length", len(head) + len(body))) + head + body
    if b:
        raise ValueError(f"a batch has no {', '.join(b)}")
    return out


def message(m: dict | None = None) -> bytes:
    """An entry of an old message set (magic 0 or 1)."""
    m = dict(m or {})
    magic = m.pop("magic", 1)
    key, value = _bytes(m.pop("key", None)), _bytes(m.pop("value", "v"))
    body = struct.pack(">bb", magic, m.pop("attributes", 0))
    if magic >= 1:
        body += struct.pack(">q", m.pop("timestamp", int(time.time() * 1000)))
    for data in (key, value):
        body += struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data
    crc = m.pop("crc", None)
    crc = zlib.crc32(body) if crc is None else zlib.crc32(body) ^ 1 if crc == "bad" else crc
    body = struct.pack(">I", crc) + body
    out = struct.pack(">qi", m.pop("offset", 0), m.pop("length", len(body))) + body
    if m:
        raise ValueError(f"a message has no {', '.join(m)}")
    return out


def _payload(codec: int, data: bytes) -> bytes | None:
    if codec == 0:
        return data
    if codec == 1:
        return gzip.decompress(data)
    return None  # the other codecs are compared as bytes


def parse(data: bytes) -> list:
    """The batches (or old messages) in a record set, as dicts. What is cut off at the end is {"partial": size}."""
    out, at = [], 0
    while at < len(data):
        if len(data) - at < 17:
            out.append({"partial": len(data) - at})
            break
        base_offset, length = struct.unpack_from(">qi", data, at)
        whole = data[at:at + 12 + length]
        if length < 14 or len(whole) < 12 + length:
            out.append({"partial": len(data) - at})
            break
        magic = whole[16]
        b = {"base_offset": base_offset, "length": length, "magic": magic, "size": len(whole)}
        if magic == 2:
            (b["leader_epoch"], _, b["crc"], b["attributes"], b["last_offset_delta"], b["base_timestamp"],
             b["max_timestamp"], b["producer_id"], b["producer_epoch"], b["base_sequence"], b["count"]) = \
                struct.unpack_from(">ibIhiqqqhii", whole, 12)
            b["crc_ok"] = crc32c(whole[21:]) == b["crc"]
            b["codec"] = b["attributes"] & 7
            b["payload"] = whole[61:]
            try:
                b["records"] = _records(_payload(b["codec"], b["payload"]), b["count"])
            except Malformed:
                b["records"] = None
        else:
            b["attributes"] = whole[17]
            b["crc_ok"] = zlib.crc32(whole[16:]) == struct.unpack_from(">I", whole, 12)[0]
            r = Reader(whole[18:])
            b["timestamp"] = r.fixed(">q") if magic == 1 else -1
            for name in ("key", "value"):
                n = r.fixed(">i")
                b[name] = None if n < 0 else r.take(n)
        out.append(b)
        at += len(whole)
    return out


def _records(payload: bytes | None, count: int) -> list | None:
    if payload is None:
        return None
    r, out = Reader(payload), []
    for _ in range(count):
        r.varint()
        one = {"attributes": r.fixed(">b"), "timestamp_delta": r.varint(), "offset_delta": r.varint()}
        for name in ("key", "value"):
            n = r.varint()
            one[name] = None if n < 0 else r.take(n)
        one["headers"] = []
        for _ in range(r.varint()):
            key = r.take(r.varint())
            n = r.varint()
            one["headers"].append([key, None if n < 0 else r.take(n)])
        out.append(one)
    return out
