"""Every API by every right, one at a time, and by none: the answers of Kafka 3.9.1 are in answers.json.

    OTTLA_RECORD=1 BROKER_UNDER_TEST=kafka …/pytest acls/test_matrix.py    writes it
"""

import json
import os
import pathlib

import pytest

from harness.wait import wait_for
from wire.player import APIS

from . import matrix
from .client import Client, with_authorizer

ANSWERS = pathlib.Path(__file__).parent / "answers.json"
RECORD = os.environ.get("OTTLA_RECORD") == "1"
# Kafka puts names of Java objects into these texts.
OTHER_TEXTS = {"DescribeAcls", "CreateAcls", "DeleteAcls", "AlterPartitionReassignments", "ListPartitionReassignments"}
# Refused alike, but the answer differs beside its codes: in lists that only brokers are told, in a list of what was
# asked for without any error, in one with an empty name; in null where nothing is; in how partitions are grouped.
# (And OffsetFetch v1, where Kafka tells who may not that there are no offsets: ours refuses each partition.)
OTHER_SHAPES = {"LeaderAndIsr", "LeaderAndIsr v7", "StopReplica", "StopReplica v1", "ListPartitionReassignments",
                "DescribeUserScramCredentials", "JoinGroup", "DescribeClientQuotas", "Fetch by id"}


def coordinators_are_there(root: Client) -> bool:
    found = [root.call("FindCoordinator", 3, {"key": k, "key_type": t})["error_code"] for k, t in ((matrix.G, 0), (matrix.X, 1))]
    begun = root.call("InitProducerId", 4, {"transactional_id": matrix.X, "transaction_timeout_ms": 60000})
    offsets = root.call("OffsetFetch", 5, {"group_id": matrix.G, "topics": None})
    return found == [0, 0] and begun["error_code"] == 0 and offsets["error_code"] == 0


@pytest.fixture(scope="module")
def asked():
    """A broker with a topic, a group with an offset, a transactional id; and its topic's id."""
    b = with_authorizer({"auto.create.topics.enable": "true"})
    try:
        b.start()
        root = Client(b.port)
        answer = root.call("CreateTopics", 7, {"topics": [{"name": matrix.T, "num_partitions": 1, "replication_factor": 1}], "timeout_ms": 10000})
        wait_for(lambda: coordinators_are_there(root), 30, "the coordinators")
        offset = {"partition_index": 0, "committed_offset": 5, "committed_metadata": ""}
        commit = root.call("OffsetCommit", 8, {"group_id": matrix.G, "topics": [{"name": matrix.T, "partitions": [offset]}]})
        assert commit["topics"][0]["partitions"][0]["error_code"] == 0
        yield b, answer["topics"][0]["topic_id"]
        root.close()
    finally:
        b.destroy()


def ask(client: Client, name: str, version: int, values: dict):
    return client.call(name.split()[0], version, values)


def ask_all(b, topic_id: bytes, names: list) -> dict:
    """By right, by request: what counts of the answers; of nobody's rights all of it."""
    root, found = Client(b.port), {}
    requests = matrix.requests(topic_id)
    for right, acls in matrix.rights().items():
        if acls:
            assert all(r["error_code"] == 0 for r in root.add_acls(*acls))
        alice = Client(b.sasl_port, "alice")
        found[right] = {}
        for name in names:
            answer = ask(alice, name, *requests[name])
            found[right][name] = matrix.outcome(answer)
            if right == "nothing":
                found.setdefault("nothing, all of it", {})[name] = matrix.whole(answer)
        alice.close()
        root.remove_acls(principal="User:alice")
    root.close()
    return found


def offered(b) -> set:
    client = Client(b.port)
    keys = {a["api_key"] for a in client.call("ApiVersions", 0, {})["api_keys"]}
    client.close()
    return keys


def differences(expected: dict, found: dict) -> list:
    return [f"{right}: {name}\n    Kafka {json.dumps(expected[right][name], sort_keys=True)}\n    here  {json.dumps(answer, sort_keys=True)}"
            for right, row in found.items() for name, answer in row.items() if expected[right][name] != answer]


def test_every_api_is_asked():
    named = {APIS[n.split()[0]].key for n in matrix.requests(b"\1" * 16)}
    free = {k for k, needs in matrix.served().items() if needs == "OPEN"}
    assert set(matrix.served()) - free <= named, "an API of api.def that the matrix does not ask"


def test_matrix(asked):
    b, topic_id = asked
    keys = offered(b)
    names = [n for n in matrix.requests(topic_id) if APIS[n.split()[0]].key in keys]
    found = json.loads(json.dumps(ask_all(b, topic_id, names)))
    if RECORD:
        assert b.kind == "kafka"
        ANSWERS.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    expected = json.loads(ANSWERS.read_text())
    for row in (*expected.values(), *found.values()):
        row |= {name: strip_messages(row[name]) for name in OTHER_TEXTS & row.keys()}
        if b.kind == "ottla":
            row |= {name: sorted(set(codes(row[name])), key=str) for name in OTHER_SHAPES & row.keys()}
    wrong = differences(expected, found)
    assert not wrong, f"{len(wrong)} answers differ\n" + "\n".join(wrong[:40])


def codes(answer, key: str = "") -> list:
    if isinstance(answer, (list, dict)):
        items = answer.items() if isinstance(answer, dict) else [(key, a) for a in answer]
        return [c for k, a in items for c in codes(a, k)]
    return [answer] if key.endswith("error_code") else []


def strip_messages(answer):
    if isinstance(answer, list):
        return [strip_messages(a) for a in answer]
    if isinstance(answer, dict):
        return {k: strip_messages(v) for k, v in answer.items() if k != "error_message"}
    return answer

