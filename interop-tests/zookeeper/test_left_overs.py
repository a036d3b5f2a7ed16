"""What others leave in ZooKeeper: halves, things nobody knows, and things nobody can read.

A controller that died half-way, a tool, a hand. What can be made whole is made whole. What cannot be understood is left
alone and told once, and everything else is served; a start is refused only where going on would be a guess about the
whole cluster. And what an outage or a node that cannot be read hides is not taken for "nothing is set".
"""

import base64
import contextlib
import json
import os
import threading
import time

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.tcp_proxy import TcpProxy
from harness.wait import wait_for
from wire import schema
from wire.player import APIS, Connection

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

IS_KAFKA = brokers.kind_under_test() == "kafka"
not_kafka = pytest.mark.skipif(IS_KAFKA, reason="Kafka resigns, ends, or does without a controller")

AGAIN_S = 10  # no longer may there be no controller
LONG_AGO_MS = 1_600_000_000_000

UNKNOWN_TOPIC_OR_PARTITION, INVALID_REPLICATION_FACTOR = 3, 38
TOPIC, SET = 2, 0


# --- requests, by the wire

class Asked:
    """A request that is under way."""

    def __init__(self, b, name: str, version: int, values: dict):
        self._api, self._version = APIS[name], version
        self.connection = Connection("127.0.0.1", b.port)
        frame = schema.encode_header(self._api.key, version, 1, "interop", version in self._api.flexible) \
            + schema.encode_body(self._api, version, values)
        self.connection.send(len(frame).to_bytes(4, "big") + frame)

    def answer(self, timeout_s: float) -> dict:
        try:
            return schema.decode_response(self._api, self._version, self.connection.frame(timeout_s))[1]
        finally:
            self.connection.close()


def ask(b, name: str, version: int, values: dict, timeout_s: float = 15) -> dict:
    return Asked(b, name, version, values).answer(timeout_s)


def delete_topics(b, *names) -> set:
    """The error codes."""
    answer = ask(b, "DeleteTopics", 1, {"topic_names": names, "timeout_ms": 10000})
    return {r["error_code"] for r in answer["responses"]}


def more_partitions(name: str, count: int) -> tuple:
    return "CreatePartitions", 0, {"topics": [{"name": name, "count": count, "assignments": None}], "timeout_ms": 5000}


def alter(topic: str, **configs) -> tuple:
    return "IncrementalAlterConfigs", 0, {"resources": [
        {"resource_type": TOPIC, "resource_name": topic,
         "configs": [{"name": k.replace("_", "."), "config_operation": SET, "value": v} for k, v in configs.items()]}]}


def describe(topic: str) -> tuple:
    return "DescribeConfigs", 1, {"resources": [
        {"resource_type": TOPIC, "resource_name": topic, "configuration_keys": None}]}


def described(answer: dict) -> dict:
    (result,) = answer["results"]
    assert result["error_code"] == 0, result["error_message"]
    return {c["name"]: c["value"] for c in result["configs"]}


def metadata(b) -> dict:
    return ask(b, "Metadata", 1, {"topics": None})


def leaders(b, topic: str) -> dict:
    """By partition; no partition of which no leader is known."""
    found = {t["name"]: t for t in metadata(b)["topics"]}
    partitions = found[topic]["partitions"] if topic in found else []
    return {p["partition_index"]: p["leader_id"] for p in partitions if p["leader_id"] >= 0}


def first_offset(b, topic: str) -> int:
    answer = ask(b, "ListOffsets", 1, {"topics": [{"name": topic, "partitions": [
        {"partition_index": 0, "timestamp": -2}]}]})
    return answer["topics"][0]["partitions"][0]["offset"]


def produce(b, topic: str, partition: int = 0, records: int = 1, timestamp: int = 0) -> None:
    said = []
    p = ck.Producer({"bootstrap.servers": b.bootstrap, "message.timeout.ms": 10000, "log_level": 0})
    for i in range(records):
        p.produce(topic, b"x", b"%d" % i, partition=partition, timestamp=timestamp,
                  on_delivery=lambda e, _: said.append(e and e.str()))
    p.flush(15)
    assert said == [None] * records, said


def serves(b, topic: str, partitions: int) -> None:
    """Every partition of a topic is led, and takes a record."""
    wait_for(lambda: leaders(b, topic) == {p: 0 for p in range(partitions)}, 10, f"the leaders of {topic}")
    before = clients.end_offsets(b, topic, partitions)
    for p in range(partitions):
        produce(b, topic, p)
    assert clients.end_offsets(b, topic, partitions) == [offset + 1 for offset in before]


def controls(b, within_s: float = AGAIN_S) -> str:
    """Within this time it does what only a controller does."""
    name = unique("after")

    def created():
        answer = ask(b, "CreateTopics", 1, {"topics": [{"name": name, "num_partitions": 1, "replication_factor": 1}],
                                            "timeout_ms": 2000}, timeout_s=3)
        assert answer["topics"][0]["error_code"] in (0, 36), answer  # 36: it was created the last time
        return True
    wait_for(created, within_s, "a topic to be created")
    serves(b, name, 1)
    return name


# --- ZooKeeper

def at_once(b, *nodes) -> None:
    """Creates these nodes, (path, data), in one transaction; what is there is changed."""
    with b.zookeeper.client(b.chroot) as k:
        t = k.transaction()
        for path, data in nodes:
            (t.set_data if k.exists(path) else t.create)(path, data)
        results = t.commit()
        assert not any(isinstance(r, Exception) for r in results), results


def change(b, path: str, data: bytes | None) -> None:
    with b.zookeeper.client(b.chroot) as k:
        k.set(path, data)


def node(b, path: str):
    return b.zookeeper.node(b.chroot + path)


def controller_epoch(b) -> int:
    return int(node(b, "/controller_epoch").data)


def topic_node(partitions: dict, topic_id: str | None = None) -> bytes:
    return json.dumps({"version": 3, "topic_id": topic_id or new_id(), "adding_replicas": {}, "removing_replicas": {},
                       "partitions": partitions}).encode()


def new_id() -> str:
    return base64.urlsafe_b64encode(b"\1" + os.urandom(15)).decode().rstrip("=")


def state(leader: int = 0, leader_epoch: int = 0) -> bytes:
    return json.dumps({"version": 1, "leader": leader, "leader_epoch": leader_epoch, "controller_epoch": 1,
                       "isr": [0]}).encode()


def new_election(b) -> None:
    """The controller's node goes away; it is elected again."""
    before = node(b, "/controller").czxid
    with b.zookeeper.client(b.chroot) as k:
        k.delete("/controller")
    elected_since(b, before)


def elected_since(b, czxid: int) -> None:
    def elected():
        now = node(b, "/controller")
        return now and now.czxid > czxid and json.loads(now.data)["brokerid"] == 0
    wait_for(elected, AGAIN_S, "a new election")


def config_changed(b, topic: str) -> None:
    with b.zookeeper.client(b.chroot) as k:
        k.create("/config/changes/config_change_",
                 json.dumps({"version": 2, "entity_path": f"topics/{topic}"}).encode(), sequence=True)


# --- the broker

def lines(b, *words) -> list:
    """What the log has said with these words since the last start."""
    return [line for line in b.said().splitlines() if all(w in line for w in words)]


def refused(b, *words) -> None:
    """A start: status 1, and one line that says why."""
    status, said = b.start_refused(10)
    assert status == 1, said
    why = [line for line in said.splitlines() if not line.startswith("[")]
    assert len(why) == 1 and why[0].startswith("ottla: cannot start: "), said
    assert all(word in why[0] for word in words), why[0]


@contextlib.contextmanager
def new_broker(**options):
    b = brokers.new_broker({k.replace("_", "."): v for k, v in options.items()})
    try:
        yield b.start()
    finally:
        b.destroy()


def ends_in_time(b) -> None:
    started = time.monotonic()
    b.stop()
    assert time.monotonic() - started < 5


# --- topics that are there in part

WHEN = ["while it runs", "before a start"]
HALVES = {
    "no partition": ["partitions"],
    "no state": ["partitions", "partitions/0"],
    "one state": ["partitions", "partitions/0", "partitions/0/state", "partitions/1"],
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("half", [pytest.param(h, marks=[] if h == "no state" else pytest.mark.whole) for h in HALVES])
def test_a_topic_that_was_half_created(broker, half, when):
    """A controller died while it wrote the partitions: the next one writes the rest."""
    if IS_KAFKA and half == "one state" and when == "while it runs":
        pytest.skip("Kafka wants to write the state that is there")
    b = broker
    epoch = controller_epoch(b)
    if when == "before a start":
        b.stop()
    below = [(f"/brokers/topics/half/{path}", state() if path.endswith("state") else b"") for path in HALVES[half]]
    at_once(b, ("/config/topics/half", b'{"version":1,"config":{}}'),
            ("/brokers/topics/half", topic_node({"0": [0], "1": [0]})), *below)
    if when == "before a start":
        b.start()
    serves(b, "half", 2)
    for p in range(2):
        assert json.loads(node(b, f"/brokers/topics/half/partitions/{p}/state").data)["leader"] == 0
    controls(b)
    assert controller_epoch(b) == epoch + (when == "before a start")
    if not IS_KAFKA:
        b.crash()
        serves(b, "half", 2)


def test_more_below_a_topic_than_it_has(broker):
    """Deletion takes everything."""
    b = broker
    unknown = ["partitions/7", "partitions/0/extra", "partitions/0/state/extra", "extra/deep", "partitions/7/state"]
    topics = [clients.create_topic(b, unique("t"), 2) for _ in unknown]
    before, epoch = node(b, "/controller").czxid, controller_epoch(b)
    for topic, path in zip(topics, unknown):
        b.zookeeper.create(f"{b.chroot}/brokers/topics/{topic}/{path}", b"?")
    assert delete_topics(b, *topics) == {0}

    def left():
        tree = b.zookeeper.tree(b.chroot)
        return [p for p in tree if any(p == f"{above}/{t}" or p.startswith(f"{above}/{t}/") for t in topics
                                       for above in ("/brokers/topics", "/config/topics", "/admin/delete_topics"))]
    wait_for(lambda: not left(), 15, "the topics' nodes to be gone")
    assert not {t["name"] for t in metadata(b)["topics"]} & set(topics)
    controls(b)
    assert (node(b, "/controller").czxid, controller_epoch(b)) == (before, epoch), "another election"
    clients.create_topic(b, topics[0], 2)
    serves(b, topics[0], 2)


def test_a_notification_that_cannot_be_deleted(broker):
    """It has a child. The next one is heard all the same, and so are elections and starts."""
    b = broker
    before = node(b, "/controller").czxid
    events = "/log_dir_event_notification/log_dir_event_"
    at_once(b, (f"{events}0000000000", b'{"version":1,"broker":0,"event":1}'), (f"{events}0000000000/below", b""))
    controls(b)

    def heard():
        with b.zookeeper.client(b.chroot) as k:
            path = k.create(events, b'{"version":1,"broker":0,"event":1}', sequence=True)
        wait_for(lambda: node(b, path) is None, 10, f"{path} to be deleted")
    heard()
    assert node(b, "/controller").czxid == before, "another election"
    new_election(b)
    controls(b)
    heard()
    b.restart()
    controls(b)
    if not IS_KAFKA:
        b.crash()
        controls(b)


# --- nodes that cannot be read

BAD_STATES = [b'{"x":1}', b"", None, state(leader_epoch=-5), state(leader_epoch=2147483647)]


@not_kafka
@pytest.mark.parametrize("when", WHEN)
def test_partition_states_that_cannot_be_read(broker, when):
    """Only these partitions are not led. Written by hand again, they are."""
    b = broker
    n = len(BAD_STATES)
    bad, good = [clients.create_topic(b, unique(t), n + 1) for t in ("bad", "good")]
    serves(b, bad, n + 1)
    paths = [f"/brokers/topics/{bad}/partitions/{p}/state" for p in range(n)]
    if when == "before a start":
        b.stop()
    for path, data in zip(paths, BAD_STATES):
        change(b, path, data)
    if when == "before a start":
        b.start()
    else:
        new_election(b)
    controls(b)
    wait_for(lambda: leaders(b, bad) == {n: 0}, 5, f"the leaders of {bad}: only of its last partition")
    produce(b, bad, n)
    serves(b, good, n + 1)
    said = [len(lines(b, path)) for path in paths]
    assert said == [1] * n, lines(b, f"/brokers/topics/{bad}/")
    assert [node(b, path).data for path in paths] == BAD_STATES

    for path in paths:
        change(b, path, state(leader_epoch=1))
    new_election(b)
    serves(b, bad, n + 1)


@not_kafka
@pytest.mark.parametrize("when", WHEN)
def test_topic_nodes_that_cannot_be_read(broker, when):
    """They are no topics until somebody repairs them, which needs no restart."""
    b = broker
    bad = {unique("bad"): data for data in (b"", b"x", b"null", b"{}", b"\xff\xfe", b'{"partitions":[]}')}
    if when == "before a start":
        b.stop()
    at_once(b, *[(f"/brokers/topics/{name}", data) for name, data in bad.items()])
    if when == "before a start":
        b.start()
    made = [controls(b), controls(b)]
    assert {t["name"] for t in metadata(b)["topics"]} == set(made)
    created = lines(b, "topics created")
    assert len(created) == 2 and all("count=1 " in line for line in created), created
    for name in bad:
        assert len(lines(b, name)) == 1, lines(b, name)
    before = node(b, "/controller").czxid
    for name in bad:
        change(b, f"/brokers/topics/{name}", topic_node({"0": [0], "1": [0]}))
    for name in bad:
        serves(b, name, 2)
    assert node(b, "/controller").czxid == before, "another election"


@not_kafka
def test_topic_names_that_no_topic_can_have(broker):
    b = broker
    names = ["x" * 250, "s" * 33000, "y z", "\u00fc", "a%b", "a:b", "c,d", "[e]"]
    at_once(b, *[(f"/brokers/topics/{name}", topic_node({"0": [0]})) for name in names])
    made = [controls(b)]

    def ignored():
        assert {t["name"] for t in metadata(b)["topics"]} == set(made)
        told = {name[:100] for name in names if lines(b, name[:100])}
        assert told | {"\u00fc"} == {name[:100] for name in names}  # which may be told as bytes
        assert {p.name for p in b.data_dir.iterdir() if p.is_dir()} == {f"{name}-0" for name in made}
    ignored()
    for life in (b.restart, b.crash):
        life()
        for name in made:
            serves(b, name, 1)
        made.append(controls(b))
        ignored()
    assert delete_topics(b, *made) == {0}
    wait_for(lambda: not metadata(b)["topics"], 10, "the topics to be gone")


REGISTRATION = (b'{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},'
                b'"endpoints":["PLAINTEXT://127.0.0.1:9"],"jmx_port":-1,"port":9,"host":"127.0.0.1","version":5,'
                b'"timestamp":"1700000000000"}')


@not_kafka
def test_broker_ids_that_are_no_numbers(broker):
    """As ZooKeeper writes a number there is one way to write it. A live broker is one, whatever its number."""
    b = broker
    for number in ("abc", "99999999999", "007", "-3"):
        at_once(b, (f"/brokers/ids/{number}", REGISTRATION))
    controls(b)
    assert [(x["node_id"], x["port"]) for x in metadata(b)["brokers"]] == [(0, b.port)]
    b.restart()
    controls(b)
    assert [(x["node_id"], x["port"]) for x in metadata(b)["brokers"]] == [(0, b.port)]
    b.stop()
    with b.zookeeper.client(b.chroot) as other:
        other.create("/brokers/ids/7", REGISTRATION, ephemeral=True)
        b.start()
        wait_for(lambda: {(0, b.port), (7, 9)} == {(x["node_id"], x["port"]) for x in metadata(b)["brokers"]}, 10,
                 "the other one to be known")
    wait_for(lambda: [0] == [x["node_id"] for x in metadata(b)["brokers"]], 10, "the other one to be gone")
    controls(b)


# --- the controller's epoch

@not_kafka
@pytest.mark.parametrize("value", ["x", "-9", "99999999999", ""])
def test_a_controller_epoch_that_cannot_be_read(broker, value):
    """Who goes on from a guess may be older than another controller."""
    b = broker
    topic, epoch = clients.create_topic(b, unique("t")), node(b, "/controller_epoch").data
    b.stop()
    change(b, "/controller_epoch", value.encode())
    refused(b, "/controller_epoch")
    assert node(b, "/controller_epoch").data == value.encode()
    change(b, "/controller_epoch", epoch)
    b.start()
    controls(b)
    serves(b, topic, 1)


@contextlib.contextmanager
def config_changes_every_second(b, topic: str):
    stop = threading.Event()

    def work():
        while not stop.wait(1):
            config_changed(b, topic)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(15)


@not_kafka
@pytest.mark.parametrize("meanwhile", [pytest.param("nothing", marks=pytest.mark.whole), "config changes"])
def test_the_controller_epoch_is_changed_by_hand(broker, meanwhile):
    """The controller takes it for another one's, and stands for election again."""
    b = broker
    topic, before = clients.create_topic(b, unique("t")), node(b, "/controller").czxid
    changes = config_changes_every_second(b, topic) if meanwhile == "config changes" else contextlib.nullcontext()
    with changes:
        change(b, "/controller_epoch", b"77")
        controls(b)
    assert controller_epoch(b) > 77 and node(b, "/controller").czxid > before
    serves(b, topic, 1)


@not_kafka
@pytest.mark.whole
def test_the_controller_epoch_cannot_be_read_for_a_while(broker):
    b = broker
    topic = clients.create_topic(b, unique("t"))
    change(b, "/controller_epoch", b"x")
    answer = ask(b, "CreateTopics", 1, {"topics": [{"name": "not-now", "num_partitions": 1, "replication_factor": 1}],
                                        "timeout_ms": 2000})
    assert answer["topics"][0]["error_code"] != 0
    serves(b, topic, 1)
    change(b, "/controller_epoch", b"5")
    controls(b)
    assert controller_epoch(b) == 6


@not_kafka
@pytest.mark.parametrize("event, meanwhile", [
    ("a deletion", "nothing"),
    pytest.param("a deletion", "config changes", marks=pytest.mark.whole),
    pytest.param("a creation", "config changes", marks=pytest.mark.whole)])
def test_an_event_that_fails(broker, event, meanwhile):
    """Its writes are refused, since the epoch is another one: it is looked at again, and nobody needs to ask."""
    b = broker
    topic, before = clients.create_topic(b, unique("t"), 3), node(b, "/controller").czxid
    other = clients.create_topic(b, unique("t"))
    changes = config_changes_every_second(b, other) if meanwhile == "config changes" else contextlib.nullcontext()
    with changes:
        at_once(b, ("/controller_epoch", b"77"),
                (f"/admin/delete_topics/{topic}", b"") if event == "a deletion" else
                ("/brokers/topics/by-hand", topic_node({"0": [0], "1": [0]})))
        elected_since(b, before)
    if event == "a deletion":
        wait_for(lambda: node(b, f"/brokers/topics/{topic}") is None, 10, "the topic to be gone")
        wait_for(lambda: node(b, f"/admin/delete_topics/{topic}") is None, 10, "the request to be gone")
    else:
        serves(b, "by-hand", 2)
    controls(b)
    assert controller_epoch(b) == 78


# --- more partitions

@pytest.mark.parametrize("partitions", [
    pytest.param({"0": [0, 1]}, id="one is away"),
    pytest.param({"0": [], "1": [0]}, id="the first has none", marks=not_kafka),  # a server error
    pytest.param({"0": []}, id="there are none", marks=not_kafka)])
def test_more_partitions_where_brokers_are_missing(broker, partitions):
    b = broker
    at_once(b, ("/config/topics/t", b'{"version":1,"config":{}}'), ("/brokers/topics/t", topic_node(partitions)))
    led = {int(p): 0 for p, replicas in partitions.items() if replicas}
    controls(b)
    wait_for(lambda: leaders(b, "t") == led, 10, "the leaders")
    before = node(b, "/brokers/topics/t")
    (result,) = ask(b, *more_partitions("t", 4))["results"]
    assert result["error_code"] == INVALID_REPLICATION_FACTOR, result
    assert b.alive()
    assert node(b, "/brokers/topics/t") == before
    assert leaders(b, "t") == led
    controls(b)


# --- producer ids

def block(first: int, last) -> bytes:
    return json.dumps({"version": 1, "broker": 0, "block_start": str(first), "block_end": str(last)}).encode()


BAD_BLOCKS = {
    "ends below 0": block(0, -100), "begins below 0": block(-1000, -1),
    "the last number": block(0, 2 ** 63 - 1), "no next block": block(2 ** 63 - 1500, 2 ** 63 - 501),
}
NEW_PRODUCER = ("InitProducerId", 1, {"transactional_id": None, "transaction_timeout_ms": 60000})


@not_kafka
@pytest.mark.parametrize("numbers", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
@pytest.mark.parametrize("repaired, first", [(block(5000, 5999), 6000),
                                             pytest.param(b"", 0, marks=pytest.mark.whole),
                                             pytest.param(None, 0, marks=pytest.mark.whole)],
                         ids=["repaired", "emptied", "null"])
def test_a_block_of_producer_ids_that_cannot_be_used(broker, numbers, repaired, first):
    """No number is given that another producer may have. A node without data is that of a new ZooKeeper."""
    b = broker
    for data in (b"x", b"{}", block(0, "x"), block(0, 10 ** 30), numbers):
        change(b, "/latest_producer_id_block", data)
        answer = ask(b, *NEW_PRODUCER)
        assert answer["error_code"] != 0 and answer["producer_id"] == -1, (data, answer)
        assert node(b, "/latest_producer_id_block").data == data
    change(b, "/latest_producer_id_block", repaired)
    answer = ask(b, *NEW_PRODUCER)
    assert (answer["error_code"], answer["producer_id"]) == (0, first)


# --- what is set for a topic

KEPT = {"cleanup.policy": "compact", "retention.ms": "-1"}


@not_kafka
@pytest.mark.parametrize("data", [b"", pytest.param(b"x", marks=pytest.mark.whole)], ids=["empty", "no JSON"])
def test_a_topics_configs_cannot_be_read_any_more(data):
    """What was to be kept for ever is kept, and nobody writes over what may still be repaired."""
    with new_broker(log_retention_check_interval_ms=200) as b:
        kept = clients.create_topic(b, unique("kept"), cleanup_policy="compact", retention_ms=-1)
        path = f"/config/topics/{kept}"
        produce(b, kept, records=3, timestamp=LONG_AGO_MS)

        def retention_was_applied():
            """To a topic of which nothing is to be kept."""
            other = clients.create_topic(b, unique("other"))
            produce(b, other, timestamp=LONG_AGO_MS)
            wait_for(lambda: first_offset(b, other) == 1, 20, "retention to be applied")
            return other

        def untouched():
            answer = ask(b, *alter(kept, segment_ms="100000"))
            assert answer["responses"][0]["error_code"] != 0, "its other entries are lost"
            assert node(b, path).data == data
            retention_was_applied()
            assert first_offset(b, kept) == 0, "records were deleted"
            produce(b, kept)

        change(b, path, data)
        config_changed(b, kept)
        other = clients.create_topic(b, unique("other"))
        at_once(b, (f"/config/topics/{other}", b'{"version":1,"config":{"retention.ms":"77"}}'))
        config_changed(b, other)
        wait_for(lambda: described(ask(b, *describe(other)))["retention.ms"] == "77", 10, "the change after it")
        its = described(ask(b, *describe(kept)))
        assert {name: its[name] for name in KEPT} == KEPT
        untouched()
        b.restart()
        untouched()
        b.crash()
        untouched()
        change(b, path, json.dumps({"version": 1, "config": KEPT}).encode())
        config_changed(b, kept)

        def altered():
            return ask(b, *alter(kept, segment_ms="100000"))["responses"][0]["error_code"] == 0
        wait_for(altered, 10, "its configs to be changed again")
        assert json.loads(node(b, path).data)["config"] == {**KEPT, "segment.ms": "100000"}
        retention_was_applied()
        assert first_offset(b, kept) == 0


# --- an outage

@pytest.fixture
def proxied():
    """A broker that reaches its ZooKeeper through a proxy."""
    b = brokers.new_broker({"zookeeper.session.timeout.ms": 2000})
    b.proxy = TcpProxy(b.zookeeper.port)
    b.properties["zookeeper.connect"] = f"127.0.0.1:{b.proxy.port}{b.chroot}"
    try:
        yield b.start()
    finally:
        b.destroy()
        b.proxy.close()


def over_the_end_of_a_session(b, *requests) -> list:
    """The answers to requests that are made while ZooKeeper is out of reach, and wait until the session is over."""
    b.proxy.refuse()
    under_way = []
    for request in requests:
        under_way.append(Asked(b, *request))
        under_way[-1].connection.silent(0.2)
    wait_for(lambda: node(b, "/brokers/ids/0") is None, 30, "ZooKeeper to end the session")
    b.proxy.allow()
    return [asked.answer(20) for asked in under_way]


def test_overrides_outlive_a_session(proxied):
    b = proxied
    topic = clients.create_topic(b, unique("t"), cleanup_policy="compact", retention_ms=-1)
    _, seen = over_the_end_of_a_session(b, alter(topic, segment_ms="200000"), describe(topic))
    if seen["results"][0]["error_code"] == 0:
        assert KEPT.items() <= described(seen).items(), "while the session was over"

    its = wait_for(lambda: described(ask(b, *describe(topic))), 10, "the configs of the topic")
    assert {name: its[name] for name in KEPT} == KEPT

    def altered():
        return ask(b, *alter(topic, segment_ms="100000"))["responses"][0]["error_code"] == 0
    wait_for(altered, AGAIN_S, "a config to be changed")
    assert json.loads(node(b, f"/config/topics/{topic}").data)["config"] == {**KEPT, "segment.ms": "100000"}
    wait_for(lambda: KEPT.items() <= described(ask(b, *describe(topic))).items(), 5, "its overrides")


def test_what_clients_hear_of_an_outage(proxied):
    """Not that their topic is unknown, and not that they have asked for the same thing twice."""
    b = proxied
    topic = clients.create_topic(b, unique("t"), 2)
    partitions, configs, again = over_the_end_of_a_session(
        b, more_partitions(topic, 4), alter(topic, segment_ms="100000"), more_partitions(topic, 5))
    for answer in (partitions, again):
        assert answer["results"][0]["error_code"] != UNKNOWN_TOPIC_OR_PARTITION, answer
    result = configs["responses"][0]
    assert "at most once" not in (result["error_message"] or ""), result
    wait_for(lambda: ask(b, *alter(topic, segment_ms="100000"))["responses"][0]["error_code"] == 0, AGAIN_S,
             "a config to be changed")
    controls(b)
    serves(b, topic, len(leaders(b, topic)))


# --- logs whose topics ZooKeeper does not know

@pytest.mark.skipif(IS_KAFKA, reason="a Kafka counts as started when it leads all that it has logs of")
def test_logs_of_other_topics(broker):
    """One topic was deleted, and one deleted and made again, while the broker was down."""
    b = broker
    b.stop()
    b.properties["replica.high.watermark.checkpoint.interval.ms"] = 100
    b.start()
    stray, again, good = [clients.create_topic(b, unique(t)) for t in ("stray", "again", "good")]
    for topic in (stray, again, good):
        produce(b, topic)
    b.stop()
    b.zookeeper.remove(f"{b.chroot}/brokers/topics/{stray}")
    b.zookeeper.remove(f"{b.chroot}/config/topics/{stray}")
    b.zookeeper.remove(f"{b.chroot}/brokers/topics/{again}")
    at_once(b, (f"/brokers/topics/{again}", topic_node({"0": [0]})))
    for life in (b.start, b.crash):
        life()
        serves(b, good, 1)
        new = controls(b)
        serves(b, good, 1)
        high = clients.end_offsets(b, good, 1)[0]
        checkpoint = b.data_dir / "replication-offset-checkpoint"
        wait_for(lambda: {f"{good} 0 {high}", f"{new} 0 1"} <= set(checkpoint.read_text().splitlines()), 10,
                 "the checkpoint of the high watermarks")
        assert stray not in {t["name"] for t in metadata(b)["topics"]}
        serves(b, new, 1)
    ends_in_time(b)
