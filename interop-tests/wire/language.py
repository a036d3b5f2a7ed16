"""The language of the case files: reading it, computing values, matching patterns. README.md describes it.

A file is a list of cases, a case a list of statements. A statement is one line, or several while brackets are open; a line that begins with => belongs to the one before.
"""

import re
import time
from dataclasses import dataclass, field

from . import records, schema

_TOKEN = re.compile(r"""
    (?P<space>[ \t\n]+|\#[^\n]*)
  | (?P<hex>x"[0-9a-fA-F\s]*")
  | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<number>-?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)
  | (?P<var>\$[A-Za-z_][A-Za-z0-9_]*)
  | (?P<conn>@[A-Za-z0-9_]+)
  | (?P<op>=>|\.\.\.|[{}\[\]():,+*=.-])
""", re.X)


_NAMES = ("topic", "group", "txn")  # variables that begin so are new names without having been set


class CaseError(Exception):
    """The case file itself is wrong."""


@dataclass
class Statement:
    line: int
    verb: str
    tokens: list
    only: str | None = None  # kafka or ottla


@dataclass
class Case:
    title: str
    line: int
    needs: list | None = None  # not None: skipped where the broker does not offer these or another API of the case
    whole: bool = False  # only in the whole run
    statements: list = field(default_factory=list)


@dataclass
class CaseFile:
    path: str
    overrides: dict = field(default_factory=dict)
    needs: list | None = None
    cases: list = field(default_factory=list)


def tokenize(text: str, where: str) -> list:
    out, at = [], 0
    while at < len(text):
        m = _TOKEN.match(text, at)
        if not m:
            raise CaseError(f"{where}: cannot read {text[at:at + 20]!r}")
        if m.lastgroup != "space":
            out.append((m.lastgroup, m.group()))
        at = m.end()
    return out


def _open_brackets(text: str) -> int:
    stripped = re.sub(r'"(?:[^"\\]|\\.)*"|#[^\n]*', "", text)
    return sum(stripped.count(c) for c in "({[") - sum(stripped.count(c) for c in ")}]")


def parse_file(path) -> CaseFile:
    out = CaseFile(str(path))
    lines = open(path).read().splitlines()
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at]
        at += 1
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        where = f"{path}:{number}"
        if text.startswith("broker "):
            out.overrides.update(item.split("=", 1) for item in text.split()[1:])
            continue
        if re.match(r"optional\b", text):
            needs = text.split()[1:]
            if out.cases:
                out.cases[-1].needs = needs
            else:
                out.needs = needs
            continue
        if text == "whole" and out.cases:
            out.cases[-1].whole = True
            continue
        if text.startswith("case "):
            out.cases.append(Case(text[5:].strip(), number, needs=out.needs))
            continue
        if not out.cases:
            raise CaseError(f"{where}: a statement outside of a case")
        while at < len(lines) and (_open_brackets(text) > 0 or lines[at].lstrip().startswith("=>")):
            text += "\n" + lines[at]
            at += 1
        m = re.match(r"(?:(kafka|ottla):\s*)?([a-z]+)\b", text)
        if not m:
            raise CaseError(f"{where}: no verb in {text!r}")
        out.cases[-1].statements.append(
            Statement(number, m.group(2), tokenize(text[m.end():], where), m.group(1)))
    return out


# --- values and patterns: both are parsed to nodes; a node is evaluated (in requests) or matched (in answers)

@dataclass
class Node:
    kind: str
    value: object = None
    items: list = field(default_factory=list)


class Parser:
    def __init__(self, tokens: list):
        self.tokens, self.at = tokens, 0

    def peek(self, text: str | None = None):
        token = self.tokens[self.at] if self.at < len(self.tokens) else (None, None)
        return token if text is None else token[1] == text

    def next(self, kind: str | None = None, text: str | None = None) -> str:
        token = self.peek()
        if token[0] is None or (kind and token[0] != kind) or (text and token[1] != text):
            raise CaseError(f"expected {text or kind}, found {token[1]!r}")
        self.at += 1
        return token[1]

    def accept(self, text: str) -> bool:
        if self.peek(text):
            self.at += 1
            return True
        return False

    def done(self) -> bool:
        return self.at >= len(self.tokens)

    def expression(self) -> Node:
        node = self.term()
        while self.peek("+") or self.peek("-"):
            node = Node("add" if self.next() == "+" else "sub", None, [node, self.term()])
        return node

    def term(self) -> Node:
        kind, text = self.peek()
        if kind == "number":
            self.next()
            return Node("value", float(text) if "." in text else int(text, 0))
        if kind == "string":
            self.next()
            return Node("value", re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "0": "\0"}.get(m[1], m[1]), text[1:-1]))
        if kind == "hex":
            self.next()
            return Node("value", bytes.fromhex(text[2:-1]))
        if kind == "var":
            self.next()
            return Node("var", text[1:])
        if kind == "name":
            self.next()
            if text in ("null", "true", "false"):
                return Node("value", {"null": None, "true": True, "false": False}[text])
            if self.accept("("):
                return Node("call", text, self.list(")"))
            return Node("value", text)
        if self.accept("*"):
            return Node("any")
        if self.accept("..."):
            return Node("rest")
        if self.accept("("):
            node = self.expression()
            self.next(text=")")
            return node
        if self.accept("["):
            return Node("list", None, self.list("]"))
        if self.accept("{"):
            items = []
            while not self.accept("}"):
                key = self.next()
                self.next(text=":")
                items.append((key.strip('"'), self.expression()))
                self.accept(",")
            return Node("struct", None, items)
        raise CaseError(f"unexpected {text!r}")

    def list(self, end: str) -> list:
        items = []
        while not self.accept(end):
            items.append(self.expression())
            self.accept(",")
        return items


def _data(value) -> bytes:
    return value.encode() if isinstance(value, str) else value


class Scope:
    """The variables of a case, and the functions."""

    _serial = 0

    def __init__(self, apis: dict):
        Scope._serial += 1
        self.suffix = f"{int(time.time() * 1000) % 10 ** 9}-{Scope._serial}"
        self.apis = apis
        self.vars = {}

    def lookup(self, name: str):
        if name not in self.vars:
            if not name.startswith(_NAMES):
                raise CaseError(f"${name} has no value yet")
            self.vars[name] = f"{name}-{self.suffix}"
        return self.vars[name]

    def known(self, name: str) -> bool:
        return name in self.vars or name.startswith(_NAMES)

    def eval(self, node: Node):
        if node.kind == "value":
            return node.value
        if node.kind == "var":
            return self.lookup(node.value)
        if node.kind == "list":
            return [self.eval(n) for n in node.items]
        if node.kind == "struct":
            return {k: self.eval(v) for k, v in node.items}
        if node.kind in ("add", "sub"):
            a, b = (self.eval(n) for n in node.items)
            if node.kind == "sub":
                return a - b
            if isinstance(a, (bytes, str)) and isinstance(b, (bytes, str)) and type(a) is not type(b):
                return _data(a) + _data(b)
            return a + b
        if node.kind == "call":
            function = getattr(self, "f_" + node.value, None)
            if function is None:
                raise CaseError(f"no function {node.value}()")
            return function(*[self.eval(n) for n in node.items])
        raise CaseError(f"{node.kind} is a pattern, not a value")

    # bytes by type
    def f_i8(self, *v): return b"".join((n & 0xFF).to_bytes(1, "big") for n in v)
    def f_i16(self, *v): return b"".join((n & 0xFFFF).to_bytes(2, "big") for n in v)
    def f_i32(self, *v): return b"".join((n & 0xFFFFFFFF).to_bytes(4, "big") for n in v)
    def f_i64(self, *v): return b"".join((n & (1 << 64) - 1).to_bytes(8, "big") for n in v)
    def f_uvarint(self, v): return schema.uvarint(v)
    def f_varint(self, v): return records.varint(v)
    def f_str(self, v): return b"\xff\xff" if v is None else self.f_i16(len(_data(v))) + _data(v)
    def f_cstr(self, v): return b"\0" if v is None else schema.uvarint(len(_data(v)) + 1) + _data(v)
    def f_bytes(self, v): return b"\xff\xff\xff\xff" if v is None else self.f_i32(len(v)) + _data(v)
    def f_cbytes(self, v): return self.f_cstr(v)

    def f_tags(self, *pairs):
        """tags(number, bytes, number, bytes …): a tag section, in this order."""
        out = schema.uvarint(len(pairs) // 2)
        for number, value in zip(pairs[::2], pairs[1::2]):
            out += schema.uvarint(number) + schema.uvarint(len(value)) + value
        return out

    # whole messages
    def _api(self, name): return self.apis[name]

    def f_body(self, name, version, values):
        return schema.encode_body(self._api(name), version, values)

    def f_request(self, name, version, values, correlation=1):
        api = self._api(name)
        return (schema.encode_header(api.key, version, correlation, "wire", version in api.flexible)
                + schema.encode_body(api, version, values))

    def f_header(self, key, version, correlation, client, flexible=False):
        return schema.encode_header(key, version, correlation, client, flexible)

    def f_framed(self, data): return self.f_i32(len(data)) + data

    # records
    def f_batch(self, b=None): return records.batch(b)
    def f_record(self, index, r): return records.record(index, r)
    def f_message(self, m=None): return records.message(m)
    def f_compress(self, codec, data): return records.compress(codec, _data(data))

    # cutting and pasting
    def f_rep(self, v, n): return v * n
    def f_cut(self, data, n): return data[:n]
    def f_skip(self, data, n): return data[n:]
    def f_patch(self, data, at, new): return data[:at] + new + data[at + len(new):]
    def f_len(self, v): return len(v)
    def f_hexstr(self, v): return _data(v).hex()
    def f_now(self): return int(time.time() * 1000)
    def f_range(self, a, b): return list(range(a, b))
    def f_elem(self, v, n): return v[n]

    # --- patterns

    def match(self, node: Node, value, at: str = "answer") -> None:
        """Raises AssertionError that says where and how value differs."""
        if node.kind == "any":
            return
        if node.kind == "var" and not self.known(node.value):
            self.vars[node.value] = value
            return
        if node.kind == "struct":
            assert isinstance(value, dict), f"{at}: {show(value)} has no fields"
            for key, pattern in node.items:
                assert key in value, f"{at}: no field {key}; there are {', '.join(value)}"
                self.match(pattern, value[key], f"{at}.{key}")
            return
        if node.kind == "list":
            assert isinstance(value, list), f"{at}: {show(value)} is not a list"
            patterns = node.items
            if patterns and patterns[-1].kind == "rest":
                patterns = patterns[:-1]
                assert len(value) >= len(patterns), f"{at}: {len(value)} entries, at least {len(patterns)} expected"
            else:
                assert len(value) == len(patterns), f"{at}: {len(value)} entries, {len(patterns)} expected: {show(value)}"
            for i, pattern in enumerate(patterns):
                self.match(pattern, value[i], f"{at}[{i}]")
            return
        if node.kind == "call" and hasattr(self, "p_" + node.value):
            return getattr(self, "p_" + node.value)(node.items, value, at)
        expected = self.eval(node)
        if isinstance(value, bytes) and isinstance(expected, str):
            expected = expected.encode()
        assert expected == value and type(expected) == type(value) or (
            isinstance(expected, int) and isinstance(value, int) and expected == value), \
            f"{at}: {show(value)}, expected {show(expected)}"

    def p_any(self, options, value, at):
        problems = []
        for option in options:
            try:
                return self.match(option, value, at)
            except AssertionError as e:
                problems.append(str(e))
        raise AssertionError(f"{at}: {show(value)} is none of those expected ({'; '.join(problems)})")

    def p_not(self, items, value, at):
        try:
            self.match(items[0], value, at)
        except AssertionError:
            return
        raise AssertionError(f"{at}: {show(value)} is what must not be")

    def p_gt(self, items, value, at): assert value > self.eval(items[0]), f"{at}: {value} is not > {self.eval(items[0])}"
    def p_ge(self, items, value, at): assert value >= self.eval(items[0]), f"{at}: {value} is not >= {self.eval(items[0])}"
    def p_le(self, items, value, at): assert value <= self.eval(items[0]), f"{at}: {value} is not <= {self.eval(items[0])}"
    def p_lt(self, items, value, at): assert value < self.eval(items[0]), f"{at}: {value} is not < {self.eval(items[0])}"

    def p_like(self, items, value, at):
        pattern = self.eval(items[0])
        assert isinstance(value, str) and re.fullmatch(pattern, value, re.S), f"{at}: {show(value)} is not like {pattern!r}"

    def p_size(self, items, value, at):
        self.match(items[0], len(value) if value is not None else -1, f"size of {at}")

    def p_none(self, items, value, at):
        assert not value, f"{at}: {show(value)}, nothing expected (null or empty)"

    def p_has(self, items, value, at):
        """Each pattern has an entry of its own, in any order; others may be there."""
        left = list(value)
        for pattern in items:
            problems = []
            for i, entry in enumerate(left):
                try:
                    self.match(pattern, entry, at)
                except AssertionError as e:
                    problems.append(str(e))
                    continue
                del left[i]
                break
            else:
                # The deepest difference is likely to be that of the entry that was meant.
                problems.sort(key=lambda text: (".name:" in text or "index:" in text, text))
                raise AssertionError(f"{at}: no entry fits; {'; '.join(problems[:3]) or 'there is none'}")

    def p_only(self, items, value, at):
        """As has(), and no others."""
        self.p_has(items, value, at)
        assert len(value) == len(items), f"{at}: {len(value)} entries, {len(items)} expected: {show(value)}"

    def p_hasnot(self, items, value, at):
        for entry in value:
            self.p_not(items, entry, at)

    def p_batches(self, items, value, at):
        self.match(items[0], records.parse(value or b""), f"{at} as batches")

    def p_all(self, items, value, at):
        for pattern in items:
            self.match(pattern, value, at)


def show(value, limit: int = 600) -> str:
    def plain(v):
        if isinstance(v, bytes):
            return f'x"{v.hex()}"' if len(v) <= 80 else f'x"{v[:40].hex()}…" ({len(v)} bytes)'
        if isinstance(v, dict):
            return "{" + ", ".join(f"{k}: {plain(x)}" for k, x in v.items()) + "}"
        if isinstance(v, list):
            return "[" + ", ".join(map(plain, v)) + "]"
        return repr(v) if isinstance(v, str) else {None: "null", True: "true", False: "false"}.get(v, str(v)) \
            if v is None or isinstance(v, bool) else str(v)
    text = plain(value)
    return text if len(text) <= limit else text[:limit] + "…"
