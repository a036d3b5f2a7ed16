#!/usr/bin/env python3
"""Writes a seed corpus for the fuzz targets from the golden frames.

    fuzz_seeds.py golden_frames.txt OUT_DIR    (writes OUT_DIR/request and OUT_DIR/batch)
"""

import os
import sys

PRODUCE, FETCH = 0, 1
KEYS = [*range(52), 56, 57, 58, 60, 61, 65, 66, 67, 68, 69]  # the order of api_schemas()


def frames(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if words and not words[0].startswith("#"):
                yield int(words[0]), int(words[1]), words[2], bytes.fromhex(words[3])


def write(directory, name, data):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name), "wb") as f:
        f.write(data)


def record_sets(frame):
    """Everything behind an offset of 0 to 9 that could be the begin of a record set."""
    at = frame.find(bytes(7))
    while at >= 0:
        size = int.from_bytes(frame[at + 8 : at + 12], "big")
        if 14 <= size <= len(frame) - at - 12 and frame[at + 16] <= 2:
            yield frame[at : at + 12 + size]
            at += 12 + size - 1
        at = frame.find(bytes(7), at + 1)


def main():
    source, out = sys.argv[1:]
    for i, (key, version, kind, frame) in enumerate(frames(source)):
        # The first three bytes choose the kind of message, then message and version.
        choice = bytes([0, 0, 0]) if kind == "request" else bytes([1, KEYS.index(key), version])
        body = frame if kind == "request" else frame[4:]
        write(os.path.join(out, "request"), f"{i:03}", choice + body)
        if (key, kind) in ((PRODUCE, "request"), (FETCH, "response")):
            for j, records in enumerate(record_sets(frame)):
                magic = records[16]
                codec = records[22] & 7 if magic == 2 else records[17] & 7
                write(os.path.join(out, "batch"), f"{i:03}-{j}", bytes([codec]) + records)
                if magic == 2 and codec != 0:
                    write(os.path.join(out, "batch"), f"{i:03}-{j}b", bytes([codec]) + records[61:])


if __name__ == "__main__":
    main()
