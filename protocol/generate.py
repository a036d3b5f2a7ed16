#!/usr/bin/env python3
"""Turns protocol/schema/*.msg into messages.h and messages.c.

    generate.py SCHEMA_DIR ERROR_DEF OUT_DIR

The notation, by example:

    heartbeat key 12 versions 0-4 flexible 4+      an API: request and response follow
    request
      group_id string                              a field: name, type, attributes; wire order
      topics   []topic?2+ 0-7                      an array of struct topic, null from version 2
        name string                                  its fields, indented
      leader   struct leader 10+ tag 0             a single struct, tagged
    offset_commit_key record versions 0-1          a message of its own; also `header`

Types: int8 int16 int32 int64 bool float64 uuid string bytes records, and err, an int16 error code.
`?` after a type: may be null, in the versions that follow it or in all. A struct that is named a
second time without fields is the one above it.

Attributes, in any order: a version range (`3+`, `0-7`, `1`; when absent, wherever the struct around
it is), `tag N`, `default V` (of a number, a bool, or null; otherwise zero, empty), `inflexible`
(keeps the old string length in flexible versions), `secret` (never printed). An `errors A B` line
below an err field lists the codes it may carry. `#` begins a comment.
"""

import os
import re
import sys

TYPES = {  # name: (enum, C type, fixed size or None)
    "int8": ("FIELD_INT8", "int8_t", 1),
    "int16": ("FIELD_INT16", "int16_t", 2),
    "err": ("FIELD_INT16", "int16_t", 2),
    "int32": ("FIELD_INT32", "int32_t", 4),
    "int64": ("FIELD_INT64", "int64_t", 8),
    "bool": ("FIELD_BOOL", "bool", 1),
    "float64": ("FIELD_FLOAT64", "double", 8),
    "uuid": ("FIELD_UUID", "struct uuid", 16),
    "string": ("FIELD_STRING", "struct str", None),
    "bytes": ("FIELD_BYTES", "struct bytes", None),
    "records": ("FIELD_RECORDS", "struct records", None),
}
NONE = 32767


class SchemaError(Exception):
    pass


class Field:
    """One row of a schema. `versions` and `null` are (min, max) or, for null, None."""

    def __init__(self, name, base, array, versions):
        self.name, self.base, self.array, self.versions = name, base, array, versions
        self.null = None
        self.tag = None
        self.default = None
        self.inflexible = False
        self.secret = False
        self.errors = None
        self.struct = None


class Struct:
    def __init__(self, c_name):
        self.c_name = c_name
        self.fields = []


class Message:
    """One request, response, record or header; `structs` in the order of definition, root last."""

    def __init__(self, c_name, versions, flexible):
        self.c_name, self.versions, self.flexible = c_name, versions, flexible
        self.root = Struct(c_name)
        self.named = {}
        self.structs = []


class Api:
    def __init__(self, name, key, versions, flexible):
        self.name, self.key, self.versions, self.flexible = name, key, versions, flexible
        self.request = Message(name + "_request", versions, flexible)
        self.response = Message(name + "_response", versions, flexible)


def parse_range(text, whole):
    """A version range inside the message's; None when the word is no range."""
    match = re.fullmatch(r"(\d+)(\+|-(\d+))?", text)
    if match is None:
        return None
    low = int(match[1])
    high = whole[1] if match[2] == "+" else int(match[3] or low)
    if low > high or low < whole[0] or high > whole[1]:
        raise SchemaError(f"versions {text} outside of {whole[0]}-{whole[1]}")
    return (low, high)


def parse_field(words, whole):
    """(field, names a struct) of a field's line in a message of versions `whole`."""
    match = re.fullmatch(r"(\[\])?(\w+)(\?(\S*))?", words[1])
    if words[1] == "struct":
        match = re.fullmatch(r"()(\w+)(\?(\S*))?", words[2])
    if match is None:
        raise SchemaError(f"no type: {words[1]}")
    rest = words[3:] if words[1] == "struct" else words[2:]
    field = Field(words[0], match[2], match[1] == "[]", whole)
    while rest:
        word = rest.pop(0)
        versions = parse_range(word, whole)
        if versions is not None:
            field.versions = versions
        elif word == "tag":
            field.tag = int(rest.pop(0))
        elif word == "default":
            field.default = rest.pop(0)
        elif word in ("inflexible", "secret"):
            setattr(field, word, True)
        else:
            raise SchemaError(f"unknown attribute {word}")
    if match[3]:
        field.null = parse_range(match[4], whole) if match[4] else whole
    is_struct = words[1] == "struct" or match[2] not in TYPES
    if is_struct and words[1] != "struct" and not field.array:
        raise SchemaError(f"unknown type {match[2]}")
    return field, is_struct


class Parser:
    """Reads files one after the other; `apis` and `messages` are the result."""

    def __init__(self):
        self.apis = []
        self.messages = []
        self.stack = []  # [indentation of its fields or None, struct], from the root down
        self.message = None
        self.field = None

    def top_line(self, words):
        versions_at = words.index("versions")
        versions = parse_range(words[versions_at + 1], (0, 1000))
        flexible = NONE
        if "flexible" in words:
            flexible = int(words[words.index("flexible") + 1].rstrip("+"))
        if words[1] == "key":
            self.apis.append(Api(words[0], int(words[2]), versions, flexible))
            self.messages += [self.apis[-1].request, self.apis[-1].response]
            self.stack = []
        elif words[1] in ("record", "header"):
            self.begin(Message(words[0], versions, flexible))
            self.messages.append(self.message)
        else:
            raise SchemaError("expected: NAME key|record|header")

    def begin(self, message):
        self.message = message
        message.structs = [message.root]
        self.stack = [[None, message.root]]
        self.field = None

    def field_line(self, indent, words):
        if not self.stack:
            raise SchemaError("field outside of a message")
        while len(self.stack) > 1 and indent <= self.stack[-2][0]:
            self.stack.pop()
        level = self.stack[-1]
        if level[0] is None:
            level[0] = indent
        if indent != level[0]:
            raise SchemaError("indentation")
        field, is_struct = parse_field(words, self.message.versions)
        if any(other.name == field.name for other in level[1].fields):
            raise SchemaError(f"field {field.name} twice")
        level[1].fields.append(field)
        self.field = field
        if is_struct:
            known = self.message.named.get(field.base)
            field.struct = known or Struct(f"{self.message.c_name}_{field.base}")
            if known is None:
                self.message.named[field.base] = field.struct
                self.message.structs.append(field.struct)
            self.stack.append([None, field.struct])

    def line(self, text):
        code = text.split("#", 1)[0].rstrip()
        if not code:
            return
        indent = len(code) - len(code.lstrip())
        words = code.split()
        if indent == 0 and words[0] in ("request", "response") and len(words) == 1:
            self.begin(getattr(self.apis[-1], words[0]))
        elif indent == 0:
            self.top_line(words)
        elif words[0] == "errors":
            if self.field is None or self.field.base != "err":
                raise SchemaError("errors of what?")
            self.field.errors = (self.field.errors or []) + words[1:]
        else:
            self.field_line(indent, words)

    def file(self, path):
        with open(path, encoding="utf-8") as lines:
            for number, text in enumerate(lines, 1):
                try:
                    self.line(text)
                except (SchemaError, ValueError, IndexError) as e:
                    sys.exit(f"{path}:{number}: {e}")


def parse_directory(directory):
    parser = Parser()
    for name in sorted(os.listdir(directory)):
        if name.endswith(".msg"):
            parser.file(os.path.join(directory, name))
    parser.apis.sort(key=lambda api: api.key)
    return parser


def min_size(struct, version, flexible_min):
    """The least bytes a struct takes on the wire in a version."""
    flexible = version >= flexible_min
    total = 1 if flexible else 0
    for f in struct.fields:
        if f.tag is not None or not f.versions[0] <= version <= f.versions[1]:
            continue
        if f.array:
            total += 1 if flexible else 4
        elif f.struct is not None:
            null = f.null is not None and f.null[0] <= version <= f.null[1]
            total += 1 if null else min_size(f.struct, version, flexible_min)
        elif TYPES[f.base][2] is not None:
            total += TYPES[f.base][2]
        elif flexible and not f.inflexible:
            total += 1
        else:
            total += 2 if f.base == "string" else 4
    return total


def c_type(field):
    return f"struct {field.struct.c_name}" if field.struct else TYPES[field.base][1]


def c_members(struct):
    for f in struct.fields:
        if f.array:
            yield f"    {c_type(f)} *{f.name};"
            yield f"    int32_t {f.name}_n;" + (" /* -1: null */" if f.null else "")
        elif f.struct and f.null:
            yield f"    {c_type(f)} *{f.name}; /* NULL: null */"
        else:
            yield f"    {c_type(f)} {f.name};" + (" /* may be null */" if f.null else "")


def c_default(struct):
    """The initializer of a struct's default value."""
    parts = []
    for f in struct.fields:
        if f.array:
            if f.default == "null":
                parts.append(f".{f.name}_n = -1")
        elif f.struct:
            if not f.null:
                parts.append(f".{f.name} = {c_default(f.struct)}")
        elif f.base in ("string", "bytes"):
            if f.default != "null":
                empty = '""' if f.base == "string" else "EMPTY_BYTES"
                parts.append(f".{f.name} = {{{empty}, 0}}")
        elif f.base != "records" and f.default is not None:
            number = f.default
            if number == "-2147483648":
                number = "INT32_MIN"
            parts.append(f".{f.name} = {number}")
    return "{" + (", ".join(parts) or "0") + "}"


def by_dependency(message):
    """Structs so that each stands after those it holds."""
    done = []

    def visit(struct):
        if struct in done:
            return
        for f in struct.fields:
            if f.struct is not None:
                visit(f.struct)
        done.append(struct)

    visit(message.root)
    return done


def camel(name):
    return "".join(part.capitalize() for part in name.split("_"))


def header(parser):
    out = [
        "/* Generated by protocol/generate.py from protocol/schema/. */",
        "#ifndef OTTLA_PROTOCOL_MESSAGES_H",
        "#define OTTLA_PROTOCOL_MESSAGES_H",
        "",
        '#include "protocol/codec.h"',
        "",
        "/* The keys of the APIs. */",
        "enum api_key {",
    ]
    out += [f"    API_{api.name.upper()} = {api.key}," for api in parser.apis]
    out += ["};", ""]
    for message in parser.messages:
        for struct in by_dependency(message):
            name = struct.c_name
            out += [f"struct {name} {{"]
            out += list(c_members(struct)) or ["    char empty; /* no fields */"]
            out += [
                "};",
                f"extern const struct {name} {name}_default;",
                f"static inline void {name}_init(struct {name} *x)",
                "{",
                f"    *x = {name}_default;",
                "}",
                "",
            ]
        out += [f"extern const struct message {message.c_name}_message;", ""]
    out += ["#endif"]
    return "\n".join(out) + "\n"


def c_field(struct, f, errors):
    flags = [
        flag
        for flag, on in (
            ("FIELD_ARRAY", f.array),
            ("FIELD_INFLEXIBLE", f.inflexible),
            ("FIELD_SECRET", f.secret),
            ("FIELD_ERROR", f.base == "err"),
        )
        if on
    ]
    null = f.null or (NONE, -1)
    row = [
        f'.name = "{f.name}"',
        f".type = {'FIELD_STRUCT' if f.struct else TYPES[f.base][0]}",
        f".offset = offsetof(struct {struct.c_name}, {f.name})",
        f".tag = {-1 if f.tag is None else f.tag}",
        f".min = {f.versions[0]}, .max = {f.versions[1]}",
        f".null_min = {null[0]}, .null_max = {null[1]}",
    ]
    if flags:
        row.append(f".flags = {' | '.join(flags)}")
    if f.array:
        row.append(f".count_offset = offsetof(struct {struct.c_name}, {f.name}_n)")
    if f.struct:
        row.append(f".shape = &{f.struct.c_name}_shape")
    if f.errors:
        row.append(f".errors = &{errors[tuple(f.errors)]}")
    return "    {" + ", ".join(row) + "},"


def c_shape(message, struct, errors):
    name = struct.c_name
    plain = [f for f in struct.fields if f.tag is None]
    tagged = sorted((f for f in struct.fields if f.tag is not None), key=lambda f: f.tag)
    out = [f"const struct {name} {name}_default = {c_default(struct)};"]
    for title, fields in (("fields", plain), ("tagged", tagged)):
        if fields:
            out.append(f"static const struct field {name}_{title}[] = {{")
            out += [c_field(struct, f, errors) for f in fields]
            out.append("};")
    sizes = [min_size(struct, v, message.flexible) for v in range(message.versions[1] + 1)]
    out += [
        f"static const uint16_t {name}_size_min[] = {{{', '.join(map(str, sizes))}}};",
        f"static const struct shape {name}_shape = {{",
        f'    .name = "{name}", .size = sizeof(struct {name}), .defaults = &{name}_default,',
        f"    .size_min = {name}_size_min,",
    ]
    for title, fields in (("fields", plain), ("tagged", tagged)):
        if fields:
            out.append(f"    .{title} = {name}_{title}, .{title}_n = {len(fields)},")
    return out + ["};", ""]


def error_lists(parser, codes):
    """C text of the error lists, and their names by tuple of codes."""
    out, names = [], {}
    for message in parser.messages:
        for struct in by_dependency(message):
            for f in struct.fields:
                if not f.errors or tuple(f.errors) in names:
                    continue
                unknown = [e for e in f.errors if e not in codes]
                if unknown:
                    sys.exit(f"{struct.c_name}.{f.name}: unknown error {unknown[0]}")
                numbers = sorted({codes[e] for e in f.errors})
                name = f"errors_{len(names)}"
                names[tuple(f.errors)] = name
                out += [
                    f"static const int16_t {name}_codes[] = {{{', '.join(map(str, numbers))}}};",
                    f"static const struct error_list {name} = {{{len(numbers)}, {name}_codes}};",
                ]
    return out + [""], names


def source(parser, codes):
    out = [
        "/* Generated by protocol/generate.py from protocol/schema/. */",
        '#include "protocol/messages.h"',
        "",
        '#include "protocol/table.h"',
        "",
        '#define EMPTY_BYTES ((const uint8_t *)"")',
        "",
    ]
    lists, errors = error_lists(parser, codes)
    out += lists
    for message in parser.messages:
        for struct in by_dependency(message):
            out += c_shape(message, struct, errors)
        out += [
            f"const struct message {message.c_name}_message = {{",
            f'    "{message.c_name}", {message.versions[0]}, {message.versions[1]},'
            f" {message.flexible}, &{message.c_name}_shape,",
            "};",
            "",
        ]
    out.append("static const struct api_schema APIS[] = {")
    for api in parser.apis:
        out.append(
            f'    {{{api.key}, "{camel(api.name)}", {api.versions[0]}, {api.versions[1]},'
            f" {api.flexible}, &{api.name}_request_message, &{api.name}_response_message}},"
        )
    highest = parser.apis[-1].key
    index = {api.key: i for i, api in enumerate(parser.apis)}
    out += [
        "};",
        "",
        "/* The place in APIS of each key, or -1. */",
        f"static const int8_t BY_KEY[] = {{{', '.join(str(index.get(k, -1)) for k in range(highest + 1))}}};",
        "",
        "const struct api_schema *api_schema_of(int16_t key)",
        "{",
        f"    return key < 0 || key > {highest} || BY_KEY[key] < 0 ? NULL : &APIS[BY_KEY[key]];",
        "}",
        "",
        "const struct api_schema *api_schemas(size_t *count)",
        "{",
        "    *count = sizeof(APIS) / sizeof(APIS[0]);",
        "    return APIS;",
        "}",
    ]
    return "\n".join(out) + "\n"


def write_if_changed(path, text):
    try:
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                os.utime(path)
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    schema_dir, error_def, out_dir = sys.argv[1:]
    with open(error_def, encoding="utf-8") as f:
        codes = {m[2]: int(m[1]) for m in re.finditer(r"KAFKA_ERROR\((-?\d+), (\w+)\)", f.read())}
    parser = parse_directory(schema_dir)
    write_if_changed(os.path.join(out_dir, "messages.h"), header(parser))
    write_if_changed(os.path.join(out_dir, "messages.c"), source(parser, codes))


if __name__ == "__main__":
    main()
