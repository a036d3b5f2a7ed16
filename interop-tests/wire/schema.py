"""Encodes and decodes messages of any API and version by the tables in schema.txt.

A request is a dict; a field that is absent has its default, a name the version does not know is an error (so that a
case cannot believe it sent something). A decoded answer is a dict with every field of the version.
"""

import pathlib
import struct
from dataclasses import dataclass, field

_FIXED = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "float64": ">d"}


class Malformed(Exception):
    pass


@dataclass
class Range:
    low: int = 0
    high: int = -1

    @staticmethod
    def parse(text: str) -> "Range":
        if text == "none":
            return Range()
        if text.endswith("+"):
            return Range(int(text[:-1]), 1 << 15)
        low, _, high = text.partition("-")
        return Range(int(low), int(high or low))

    def __contains__(self, version: int) -> bool:
        return self.low <= version <= self.high


@dataclass
class Field:
    name: str
    type: str
    array: bool
    versions: Range
    nullable: Range = field(default_factory=Range)
    tag: int | None = None
    tagged: Range = field(default_factory=Range)
    default: str | None = None
    fields: list = field(default_factory=list)

    def default_value(self, version: int):
        if self.default is not None:
            if self.default == "null":
                return None
            if self.type == "bool":
                return self.default.lower() == "true"
            return int(self.default, 0)
        if self.array:
            return []
        if self.type == "struct":
            return {}
        return {"string": "", "bytes": b"", "records": None, "uuid": bytes(16), "bool": False}.get(self.type, 0)


@dataclass
class Api:
    key: int
    name: str
    versions: Range
    flexible: Range
    request: list = field(default_factory=list)
    response: list = field(default_factory=list)

    def response_header_is_flexible(self, version: int) -> bool:
        return version in self.flexible and self.key != 18


def load(path: pathlib.Path | None = None) -> dict:
    """API by name and by key."""
    apis, api, levels = {}, None, []
    for line in (path or pathlib.Path(__file__).parent / "schema.txt").read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "api":
            api = Api(int(words[1]), words[2], Range.parse(words[3]), Range.parse(words[5]))
            apis[api.name] = apis[api.key] = api
        elif words[0] in ("request", "response") and not line.startswith(" "):
            levels = [getattr(api, words[0])]
        else:
            depth = (len(line) - len(line.lstrip())) // 2
            f = Field(words[0], words[1].removeprefix("[]"), words[1].startswith("[]"), Range.parse(words[2]))
            at = 3
            while at < len(words):
                if words[at] == "nullable":
                    f.nullable, at = Range.parse(words[at + 1]), at + 2
                elif words[at] == "tag":
                    f.tag, f.tagged, at = int(words[at + 1]), Range.parse(words[at + 2]), at + 3
                elif words[at] == "default":
                    f.default, at = words[at + 1], at + 2
            del levels[depth:]
            levels[depth - 1].append(f)
            levels.append(f.fields)
    return apis


def uvarint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value >= 0x80:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# --- encoding

def _length(n: int, flexible: bool, short: bool) -> bytes:
    """A length of a string, bytes or array; -1 is null."""
    if flexible:
        return uvarint(n + 1)
    return struct.pack(">h" if short else ">i", n)


def _encode_value(f: Field, value, version: int, flexible: bool) -> bytes:
    if f.type in _FIXED:
        return struct.pack(_FIXED[f.type], value)
    if f.type == "bool":
        return bytes([int(value)])
    if f.type == "uuid":
        return bytes(value)
    if f.type == "struct":
        if value is None:
            return b"\xff"
        head = b"\x01" if f.nullable.high >= 0 and version in f.nullable and not f.array else b""
        return head + encode_fields(f.fields, value, version, flexible)
    if value is None:
        return _length(-1, flexible, f.type == "string")
    data = value.encode() if isinstance(value, str) else bytes(value)
    return _length(len(data), flexible, f.type == "string") + data


def _encode_field(f: Field, value, version: int, flexible: bool) -> bytes:
    if not f.array:
        return _encode_value(f, value, version, flexible)
    if value is None:
        return _length(-1, flexible, False)
    return _length(len(value), flexible, False) + b"".join(
        _encode_value(f, item, version, flexible) for item in value)


def encode_fields(fields: list, values: dict, version: int, flexible: bool) -> bytes:
    known = {f.name for f in fields if version in f.versions}
    unknown = set(values) - known - {"tags"}
    if unknown:
        raise Malformed(f"no field {', '.join(sorted(unknown))} in version {version}; there are {', '.join(sorted(known))}")
    out, tagged = bytearray(), {}
    for f in fields:
        if version not in f.versions:
            continue
        value = values.get(f.name, f.default_value(version))
        if f.tag is not None and version in f.tagged:
            if f.name in values:
                tagged[f.tag] = _encode_field(f, value, version, flexible)
        else:
            out += _encode_field(f, value, version, flexible)
    if flexible:
        if "tags" in values:  # the whole section as bytes
            out += values["tags"]
        else:
            out += uvarint(len(tagged))
            for tag in sorted(tagged):
                out += uvarint(tag) + uvarint(len(tagged[tag])) + tagged[tag]
    return bytes(out)


# --- decoding

class Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self.data):
            raise Malformed(f"{n} bytes wanted at {self.at}, {len(self.data)} are there")
        self.at += n
        return self.data[self.at - n:self.at]

    def fixed(self, fmt: str):
        return struct.unpack(fmt, self.take(struct.calcsize(fmt)))[0]

    def uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise Malformed("varint too long")

    def varint(self) -> int:
        value = self.uvarint()
        return (value >> 1) ^ -(value & 1)

    def length(self, flexible: bool, short: bool) -> int:
        return self.uvarint() - 1 if flexible else self.fixed(">h" if short else ">i")


def _decode_value(f: Field, r: Reader, version: int, flexible: bool):
    if f.type in _FIXED:
        return r.fixed(_FIXED[f.type])
    if f.type == "bool":
        return bool(r.take(1)[0])
    if f.type == "uuid":
        return r.take(16)
    if f.type == "struct":
        if f.nullable.high >= 0 and version in f.nullable and not f.array and r.fixed(">b") < 0:
            return None
        return decode_fields(f.fields, r, version, flexible)
    n = r.length(flexible, f.type == "string")
    if n < 0:
        if version not in f.nullable and f.type != "records":
            raise Malformed(f"{f.name} is null and must not be")
        return None
    data = r.take(n)
    if f.type != "string":
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Malformed(f"{f.name} is not UTF-8: {data!r}") from None


def _decode_field(f: Field, r: Reader, version: int, flexible: bool):
    if not f.array:
        return _decode_value(f, r, version, flexible)
    n = r.length(flexible, False)
    if n < 0:
        if version not in f.nullable:
            raise Malformed(f"array {f.name} is null and must not be")
        return None
    return [_decode_value(f, r, version, flexible) for _ in range(n)]


def decode_fields(fields: list, r: Reader, version: int, flexible: bool) -> dict:
    out, by_tag = {}, {}
    for f in fields:
        if version not in f.versions:
            continue
        if f.tag is not None and version in f.tagged:
            by_tag[f.tag] = f
            out[f.name] = f.default_value(version)
        else:
            out[f.name] = _decode_field(f, r, version, flexible)
    if flexible:
        for _ in range(r.uvarint()):
            tag, size = r.uvarint(), r.uvarint()
            inner = Reader(r.take(size))
            if tag in by_tag:
                out[by_tag[tag].name] = _decode_field(by_tag[tag], inner, version, flexible)
            else:
                out[f"tag_{tag}"] = inner.data
    return out


def encode_body(api: Api, version: int, values: dict) -> bytes:
    return encode_fields(api.request, values, version, version in api.flexible)


def encode_header(key: int, version: int, correlation: int, client, flexible: bool, tags: bytes = b"\0") -> bytes:
    name = client.encode() if isinstance(client, str) else client
    head = struct.pack(">hhi", key, version, correlation)
    head += struct.pack(">h", -1) if name is None else struct.pack(">h", len(name)) + name
    return head + (tags if flexible else b"")


def _skip_tags(r: Reader) -> None:
    for _ in range(r.uvarint()):
        r.uvarint()
        r.take(r.uvarint())


def decode_request(apis: dict, frame: bytes) -> tuple:
    """(key, version, correlation id, client id, fields) of a request; bytes left over are an error."""
    r = Reader(frame)
    key, version, correlation, length = r.fixed(">h"), r.fixed(">h"), r.fixed(">i"), r.fixed(">h")
    client = None if length < 0 else r.take(length).decode()
    api = apis[key]
    flexible = version in api.flexible
    if flexible:
        _skip_tags(r)
    values = decode_fields(api.request, r, version, flexible)
    if r.at != len(frame):
        raise Malformed(f"{len(frame) - r.at} bytes are left after the request")
    return key, version, correlation, client, values


def decode_response(api: Api, version: int, frame: bytes) -> tuple:
    """(correlation id, fields) of an answer; bytes left over are an error."""
    r = Reader(frame)
    correlation = r.fixed(">i")
    flexible = version in api.flexible
    if api.response_header_is_flexible(version):
        _skip_tags(r)
    values = decode_fields(api.response, r, version, flexible)
    if r.at != len(frame):
        raise Malformed(f"{len(frame) - r.at} bytes are left after the answer")
    return correlation, values
