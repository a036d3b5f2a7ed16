#!/usr/bin/env python3
"""Compares protocol/schema/ with the message definitions inside of Kafka's own jars.

    check_schemas.py kafka-clients-3.9.1.jar kafka-group-coordinator-3.9.1.jar \\
        kafka-transaction-coordinator-3.9.1.jar

Every API that a broker in ZooKeeper mode has must be in a schema and the other way round; every
message must have the same versions and first flexible version, and every field, in wire order, the
same name (after snake case and RENAMED), type, versions, nullable versions, tag, default, and
length in flexible versions. Versions of a field are compared as far as the fields around it go: two
structs that differ in nothing else are one in a schema. Exits with 1 when anything differs.
"""

import json
import os
import re
import sys
import zipfile

import generate

# Fields whose name in Kafka says less than what they hold: (message, Kafka's name) -> ours.
RENAMED = {
    ("ProduceRequest", "TopicData"): "topics",
    ("ProduceRequest", "PartitionData"): "partitions",
    ("ProduceResponse", "Responses"): "topics",
    ("ProduceResponse", "PartitionResponses"): "partitions",
    ("FetchRequest", "ForgottenTopicsData"): "forgotten_topics",
    ("FetchResponse", "Responses"): "topics",
    ("DeleteTopicsResponse", "Responses"): "topics",
    ("AlterConfigsResponse", "Responses"): "resources",
    ("IncrementalAlterConfigsResponse", "Responses"): "resources",
    ("AlterPartitionReassignmentsResponse", "Responses"): "topics",
    ("ElectLeadersResponse", "PartitionResult"): "partition_results",
}
# What an answer has where nothing is known: Kafka's handlers set it, and its messages would have 0.
NOTHING_KNOWN = {
    "ProduceResponse.topics.partitions.base_offset",
    "OffsetFetchResponse.topics.partitions.committed_offset",
    "OffsetFetchResponse.groups.topics.partitions.committed_offset",
    "FindCoordinatorResponse.node_id",
    "FindCoordinatorResponse.port",
    "FindCoordinatorResponse.coordinators.node_id",
    "FindCoordinatorResponse.coordinators.port",
    "DeleteRecordsResponse.topics.partitions.low_watermark",
    "InitProducerIdResponse.producer_epoch",
}
RECORDS = (
    "RequestHeader ResponseHeader ConsumerProtocolSubscription ConsumerProtocolAssignment"
    " OffsetCommitKey OffsetCommitValue GroupMetadataKey GroupMetadataValue"
    " TransactionLogKey TransactionLogValue"
).split()
END = 32767  # "and all later versions"


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.replace("KRaft", "Kraft")).lower()


def without_comments(text):
    """JSON with // comments, which Kafka's files have."""
    return re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*', lambda m: m[1] or "", text)


def load_jars(paths):
    found = {}
    for path in paths:
        with zipfile.ZipFile(path) as jar:
            for name in jar.namelist():
                if name.startswith("common/message/") and name.endswith(".json"):
                    message = json.loads(without_comments(jar.read(name).decode()))
                    found[message["name"]] = message
    return found


def parse_range(text):
    if text is None or text == "none":
        return None
    low, dash, high = text.partition("-")
    if text.endswith("+"):
        return (int(text[:-1]), END)
    return (int(low), int(high if dash else low))


def overlap(a, b):
    if a is None or b is None:
        return None
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, high) if low <= high else None


def kafka_default(field):
    """Kafka's default as the notation of a schema writes it; None is zero or empty."""
    value = field.get("default")
    if value is None or field["type"] == "records":
        return None
    value = str(value).strip()
    if value == "null":
        return value
    if value.lower() in ("true", "false"):
        return "true" if value.lower() == "true" else None
    if value == "" or not re.fullmatch(r"-?(0x)?[0-9a-fA-F]+", value):
        return value or None
    return str(int(value, 0)) if int(value, 0) != 0 else None


class Checker:
    def __init__(self):
        self.differences = 0
        self.fields = 0

    def expect(self, where, what, ours, kafkas):
        if ours != kafkas:
            self.differences += 1
            print(f"{where}: {what}: ours {ours}, Kafka's {kafkas}")

    def field(self, where, ours, kafka, versions, structs):
        """Compares one field that lives in `versions` at most; Kafka's may not exist there."""
        self.fields += 1
        kafka_versions = overlap(parse_range(kafka["versions"]), versions)
        mine = overlap(ours.versions, versions)
        self.expect(where, "versions", mine, kafka_versions)
        array = kafka["type"].startswith("[]")
        base = kafka["type"][2:] if array else kafka["type"]
        self.expect(where, "array", ours.array, array)
        if base[0].isupper():
            self.expect(where, "struct", ours.struct is not None, True)
            if ours.struct is not None:
                children = kafka.get("fields") or structs[base]
                self.struct(where, ours.struct, children, kafka_versions, structs)
        else:
            self.expect(where, "type", "int16" if ours.base == "err" else ours.base, base)
        self.expect(
            where,
            "nullable",
            overlap(ours.null, mine),
            overlap(parse_range(kafka.get("nullableVersions")), kafka_versions),
        )
        self.expect(where, "tag", ours.tag, kafka.get("tag"))
        if "tag" in kafka:
            tagged = overlap(parse_range(kafka["taggedVersions"]), versions)
            self.expect(where, "tagged versions", mine, tagged)
        if where in NOTHING_KNOWN:
            self.expect(where, "default", ours.default, "-1")
        else:
            self.expect(where, "default", ours.default, kafka_default(kafka))
        self.expect(where, "inflexible", ours.inflexible, kafka.get("flexibleVersions") == "none")

    def struct(self, where, ours, kafka_fields, versions, structs):
        message = where.split(".")[0]
        names = [RENAMED.get((message, f["name"]), snake(f["name"])) for f in kafka_fields]
        self.expect(where, "fields", [f.name for f in ours.fields], names)
        for mine, kafka, name in zip(ours.fields, kafka_fields, names):
            if mine.name == name and versions is not None:
                self.field(f"{where}.{name}", mine, kafka, versions, structs)

    def message(self, ours, kafka):
        name = kafka["name"]
        versions = parse_range(kafka["validVersions"])
        self.expect(name, "versions", ours.versions, versions)
        flexible = parse_range(kafka["flexibleVersions"])
        self.expect(name, "flexible", ours.flexible, flexible[0] if flexible else generate.NONE)
        structs = {s["name"]: s["fields"] for s in kafka.get("commonStructs", [])}
        self.struct(name, ours.root, kafka["fields"], versions, structs)


def main():
    schema_dir = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schema")
    parser = generate.parse_directory(schema_dir)
    kafka = load_jars(sys.argv[1:])
    checker = Checker()
    keys = {
        m["apiKey"]: m["name"]
        for m in kafka.values()
        if m["type"] == "request" and "zkBroker" in m.get("listeners", [])
    }
    checker.expect("apis", "keys", sorted(a.key for a in parser.apis), sorted(keys))
    by_name = {message.c_name: message for message in parser.messages}
    wanted = [name for key in sorted(keys) for name in (keys[key], keys[key][:-7] + "Response")]
    checker.expect(
        "messages", "names", sorted(by_name), sorted(snake(name) for name in wanted + RECORDS)
    )
    for name in wanted + RECORDS:
        if name not in kafka:
            checker.expect(name, "definition", "present", "in none of the jars")
        elif snake(name) in by_name:
            checker.message(by_name[snake(name)], kafka[name])
    print(
        f"{len(wanted + RECORDS)} messages, {checker.fields} fields,"
        f" {checker.differences} differences"
    )
    return 1 if checker.differences else 0


if __name__ == "__main__":
    sys.exit(main())
