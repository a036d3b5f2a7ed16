"""The tree: after the same actions a broker has left in ZooKeeper what Kafka 3.9.1 leaves there.

A Kafka and the broker under test, each with a chroot of one ZooKeeper, are told the same. Then the trees are compared
path by path: data with the types of its JSON, null data or empty, how often a node was written, ephemeral or not, ACLs.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import broker as brokers
from harness import clients, toolhost
from harness.wait import Timeout, wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
admin = pytest.importorskip("confluent_kafka.admin")
pytestmark = [pytest.mark.skipif(bool(toolhost.missing("3.9.1")), reason=f"skipped, because {toolhost.missing('3.9.1')}")]

# What must differ, by path and member: it is replaced by its name when it has the form it must have.
OWN = [
    (r"/cluster/id", "id", r"[A-Za-z0-9_-]{22}"),
    (r"/controller|/brokers/ids/\d+", "timestamp", r"1[0-9]{12}"),
    (r"/brokers/topics/[^/]+", "topic_id", r"(?!-)[A-Za-z0-9_-]{22}"),
]


def readable(path: str, node, port: int) -> str:
    """A node as one line of text, without what must differ."""
    data = "null" if node.data is None else repr(node.data.decode())
    if node.data and node.data[:1] == b"{":
        assert not re.search(rb'[:,{}]\s', node.data), f"{path}: JSON with spaces: {node.data}"
        members = json.loads(node.data.replace(b"127.0.0.1:%d" % port, b"127.0.0.1:<port>"))
        if path.startswith("/brokers/ids/"):
            assert members["port"] == port, members
            members["port"] = 0
        for where, name, form in OWN:
            if re.fullmatch(where, path) and isinstance(members[name], str) and re.fullmatch(form, members[name]):
                members[name] = f"<{name}>"
        data = json.dumps(members, sort_keys=True)
    kind = "ephemeral" if node.ephemeral else "persistent"
    return f"{kind}, version {node.version}, {', '.join(node.acl)}, {data}"


def differences(kafka, other) -> list:
    """Path by path."""
    want, got = ({path: readable(path, node, b.port) for path, node in b.zookeeper.tree(b.chroot).items()}
                 for b in (kafka, other))
    return [f"{path}\n    Kafka:      {want.get(path, 'not there')}\n    under test: {got.get(path, 'not there')}"
            for path in sorted(want | got) if want.get(path) != got.get(path)]


def assert_same(kafka, other, known: set) -> None:
    """In the end: both of them work on after they have answered. What an earlier step found is told once."""
    def new():
        return [d for d in differences(kafka, other) if d not in known]
    try:
        wait_for(lambda: not new(), 8, "the trees to be the same", interval_s=0.2)
    except Timeout:
        found = new()
        known.update(found)
        assert not found, f"{len(found)} nodes differ:\n" + "\n".join(found)


@pytest.fixture(scope="module")
def pair():
    """A Kafka, the broker under test, what is known to differ, and a way to do something to both at a time."""
    two = [brokers.Kafka(), brokers.new_broker()]
    try:
        with ThreadPoolExecutor(2) as pool:
            def both(action):
                return list(pool.map(action, two))
            both(lambda b: b.start())
            yield (*two, set(), both)
    finally:
        for b in two:
            b.destroy()


def run(b, tool, *args):
    return toolhost.tools("3.9.1").run(tool, "--bootstrap-server", b.bootstrap, *args)


def configs(b, topic, *args):
    run(b, "kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", topic, *args)


def produce(b, topic, **more):
    p = ck.Producer({"bootstrap.servers": b.bootstrap, **more})
    for i in range(10):
        p.produce(topic, f"{i}")
    assert p.flush(30) == 0


def commit(b, topic):
    c = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": "g", "auto.offset.reset": "earliest",
                     "enable.auto.commit": False})
    c.subscribe([topic])
    wait_for(lambda: c.consume(10, 0.2), 30, "records")
    c.commit(asynchronous=False)
    c.close()


# In this order; each is done to both brokers, and then the trees are compared.
STEPS = {
    "started": lambda b: None,
    "a topic": lambda b: clients.create_topic(b, "plain"),
    "a topic with configs": lambda b: clients.create_topic(
        b, "wide", 3, retention_ms=123456, cleanup_policy="compact,delete"),
    "by kafka-topics": lambda b: run(b, "kafka-topics", "--create", "--topic", "by.tool", "--partitions", "2",
                                     "--config", "segment.bytes=1000000"),
    "assigned by hand": lambda b: run(b, "kafka-topics", "--create", "--topic", "by_hand", "--replica-assignment", "0,0"),
    "configs added": lambda b: configs(b, "wide", "--add-config", "max.message.bytes=200000,retention.ms=7"),
    "configs deleted": lambda b: configs(b, "wide", "--delete-config", "retention.ms,cleanup.policy,max.message.bytes"),
    "first configs": lambda b: configs(b, "plain", "--add-config", "segment.ms=100000"),
    "more partitions": lambda b: run(b, "kafka-topics", "--alter", "--topic", "plain", "--partitions", "4"),
    "a topic deleted": lambda b: run(b, "kafka-topics", "--delete", "--topic", "wide"),
    "and created again": lambda b: wait_for(lambda: clients.create_topic(b, "wide"), 15, "the name to be free again"),
    "made by producing": lambda b: produce(b, "made"),
    "a producer id": lambda b: produce(b, "plain", **{"enable.idempotence": True}),
    "another producer id": lambda b: produce(b, "plain", **{"enable.idempotence": True}),
    "a group commits": lambda b: commit(b, "made"),
    "a restart": lambda b: b.restart(),
    "a producer id after a restart": lambda b: produce(b, "plain", **{"enable.idempotence": True}),
    "a deletion after a restart": lambda b: run(b, "kafka-topics", "--delete", "--topic", "by.tool"),
    "kill -9": lambda b: b.crash(),
    "a topic after kill -9": lambda b: clients.create_topic(b, "late", 2),
}


@pytest.mark.parametrize("step", STEPS)
def test_same_tree(pair, step):
    kafka, other, known, both = pair
    both(STEPS[step])
    assert_same(kafka, other, known)


def test_zookeeper_shell(pair):
    """What users see who look with Kafka's tool."""
    kafka, other, _, _ = pair

    def shell(b, *command):
        out = toolhost.tools("3.9.1").run("zookeeper-shell", "-server", f"127.0.0.1:{b.zookeeper.port}{b.chroot}",
                                          *command).out
        # the event of the connection may come between the lines of an answer
        return [line for line in out.splitlines() if line and not line.startswith(("Connecting to ", "WATCHER::", "WatchedEvent "))]

    for where in ("/", "/config", "/brokers/topics"):
        assert shell(kafka, "ls", "-R", where) == shell(other, "ls", "-R", where)
    node = other.zookeeper.tree(other.chroot)
    for path in ("/controller", "/controller_epoch", "/brokers/ids/0", "/brokers/topics/plain", "/config/topics/plain",
                 "/brokers/topics/plain/partitions/0/state", "/brokers/topics/plain/partitions"):
        assert shell(other, "get", path) == ["null" if node[path].data is None else node[path].data.decode()]
