"""Racks: where replicas go, what clients are told of it, and from where they read."""

import pytest

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

import confluent_kafka as ck  # noqa: E402

from harness import toolhost  # noqa: E402
from harness.clients import ask_once  # noqa: E402
from harness.jvm import KAFKA_VERSION  # noqa: E402
from harness.life import unique  # noqa: E402
from harness.wait import wait_for  # noqa: E402
from wire import records  # noqa: E402

RACKS = ("a", "b", "b")
OVERRIDES = {"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"}
UNKNOWN_SERVER_ERROR, INVALID_REPLICATION_FACTOR = -1, 38


def create(cluster, factor: int) -> dict:
    return cluster.ask_controller("CreateTopics", 5, {"timeout_ms": 15000, "topics": [
        {"name": unique("t"), "num_partitions": 2, "replication_factor": factor, "configs": []}]})["topics"][0]


def test_a_replica_in_each_rack(cluster):
    topic = cluster.create_topic(unique("racks"), 12, replicas=2)
    more = {"timeout_ms": 15000, "topics": [{"name": topic, "count": 18, "assignments": None}]}
    assert cluster.ask_controller("CreatePartitions", 0, more)["results"][0]["error_code"] == 0
    for replicas in cluster.assignment(topic).values():
        assert {RACKS[n] for n in replicas} == {"a", "b"}
    assert len(cluster.assignment(topic)) == 18
    for n in range(len(cluster.brokers)):
        assert {b["node_id"]: b["rack"] for b in cluster.metadata(n, topic)["brokers"]} == dict(enumerate(RACKS))


def test_some_without(cluster):
    """Nothing is placed while one broker has no rack."""
    b = cluster.brokers[2]
    del b.properties["broker.rack"]
    b.restart()
    cluster.settle()
    assert create(cluster, 2)["error_code"] == UNKNOWN_SERVER_ERROR
    assert create(cluster, 5)["error_code"] == INVALID_REPLICATION_FACTOR
    b.properties["broker.rack"] = RACKS[2]
    b.restart()
    cluster.settle()
    assert create(cluster, 2)["error_code"] == 0


# --- reads

RECORDS = 200
FENCED_LEADER_EPOCH, NOT_LEADER, OFFSET_OUT_OF_RANGE = 74, 6, 1


@pytest.fixture
def topic(cluster) -> str:
    """One partition, led in rack a, with records."""
    name = unique("read")
    made = cluster.ask_controller("CreateTopics", 5, {"timeout_ms": 15000, "topics": [
        {"name": name, "num_partitions": -1, "replication_factor": -1, "configs": [],
         "assignments": [{"partition_index": 0, "broker_ids": [0, 1, 2]}]}]})
    assert made["topics"][0]["error_code"] == 0
    wait_for(lambda: cluster.in_sync(name) and cluster.known_everywhere(name), 30, "the topic")
    p = ck.Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 5})
    for i in range(RECORDS):
        p.produce(name, b"%d" % i * 100, partition=0)
    assert p.flush(30) == 0
    wait_for(lambda: all(fetch(cluster, n, name, at=RECORDS - 1)["records"] for n in range(3)), 10, "all to have it all")
    return name


def fetch(cluster, n: int, topic: str, rack: str = "", at: int = 0, version: int = 11, epoch: int = -1,
          min_bytes: int = 0, whole: bool = False) -> dict:
    """The partition's answer of broker n, or the whole."""
    values = {"max_wait_ms": 5000, "min_bytes": min_bytes, "max_bytes": 1 << 20, "session_epoch": -1, "rack_id": rack,
              "topics": [named(cluster, topic, version) | {"partitions": [
                  {"partition": 0, "current_leader_epoch": epoch, "fetch_offset": at, "partition_max_bytes": 1 << 20}]}]}
    answer = ask_once(cluster.brokers[n], "Fetch", version, values)
    return answer if whole else answer["responses"][0]["partitions"][0]


def named(cluster, topic: str, version: int) -> dict:
    """By id from version 13 on."""
    if version < 13:
        return {"topic": topic}
    metadata = ask_once(cluster.brokers[1], "Metadata", 10, {"topics": [{"topic_id": bytes(16), "name": topic}]})
    return {"topic_id": metadata["topics"][0]["topic_id"]}


@pytest.mark.parametrize("version", (11, 12, 17))
def test_who_is_sent_where(cluster, topic, version):
    away = fetch(cluster, 0, topic, "b", version=version, min_bytes=1 << 30)
    assert away["preferred_read_replica"] in (1, 2) and not away["records"] and away["error_code"] == 0
    assert (away["high_watermark"], away["last_stable_offset"]) == (RECORDS, RECORDS)
    for rack in ("", "a", "nowhere"):
        here = fetch(cluster, 0, topic, rack, version=version)
        assert here["preferred_read_replica"] == -1 and here["records"], rack
    for n in (1, 2):
        there = fetch(cluster, n, topic, "b", version=version)
        assert there["preferred_read_replica"] == -1 and there["records"] and there["high_watermark"] == RECORDS
    assert fetch(cluster, 0, topic, "b", at=RECORDS, version=version)["preferred_read_replica"] in (1, 2)
    assert fetch(cluster, 0, topic, "b", at=RECORDS + 1, version=version)["error_code"] == OFFSET_OUT_OF_RANGE
    assert fetch(cluster, 0, topic, "b", epoch=99, version=version)["preferred_read_replica"] == -1


def test_who_is_not_in_sync(cluster, topic):
    for n in (1, 2):
        cluster.pause(n)
    wait_for(lambda: set(cluster.state(topic).isr) == {0}, 30, "the ISR to be the leader")
    assert fetch(cluster, 0, topic, "b")["records"]
    cluster.resume(1)
    wait_for(lambda: set(cluster.state(topic).isr) == {0, 1}, 30, "one to be back")
    wait_for(lambda: fetch(cluster, 0, topic, "b")["preferred_read_replica"] == 1, 10, "it to be chosen")


def test_a_session_is_told(cluster, topic):
    """In an answer that holds only what is new."""
    asked = {"max_wait_ms": 500, "min_bytes": 1, "max_bytes": 1 << 20, "session_epoch": 0, "rack_id": "b", "topics": [
        {"topic": topic, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}]}]}
    session = ask_once(cluster.brokers[0], "Fetch", 11, asked)["session_id"]
    again = ask_once(cluster.brokers[0], "Fetch", 11, asked | {"session_id": session, "session_epoch": 1, "topics": []})
    assert again["responses"][0]["partitions"][0]["preferred_read_replica"] in (1, 2)


def test_who_leads_instead(cluster, topic):
    """KIP-951: who asked the wrong broker, or with an old epoch, is told where to go."""
    epoch = cluster.state(topic).leader_epoch
    cluster.brokers[0].stop()
    wait_for(lambda: cluster.state(topic).leader > 0, 30, "another leader")
    led = cluster.state(topic).leader
    other = 3 - led
    expected = {"node_id": led, "host": cluster.brokers[led].host, "port": cluster.brokers[led].port, "rack": "b"}
    wait_for(lambda: cluster.metadata(other, topic)["topics"][0]["partitions"][0]["leader_id"] == led, 10, "it to be known")
    old = fetch(cluster, led, topic, epoch=epoch, version=17, whole=True)
    partition = old["responses"][0]["partitions"][0]
    assert partition["error_code"] == FENCED_LEADER_EPOCH and partition["current_leader"]["leader_id"] == led
    assert old["node_endpoints"] == [expected]
    produced = ask_once(cluster.brokers[other], "Produce", 10, {
        "acks": 1, "timeout_ms": 5000, "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": records.batch(None)}]}]})
    partition = produced["responses"][0]["partition_responses"][0]
    assert partition["error_code"] == NOT_LEADER and partition["current_leader"] == {
        "leader_id": led, "leader_epoch": cluster.state(topic).leader_epoch}
    assert produced["node_endpoints"] == [expected]


# --- clients

def test_librdkafka_reads_in_its_rack(cluster, topic):
    """While the leader does not answer."""
    c = ck.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": unique("g"), "client.rack": "b",
                     "auto.offset.reset": "earliest", "fetch.message.max.bytes": 2000, "queued.min.messages": 1,
                     "queued.max.messages.kbytes": 2})
    c.assign([ck.TopicPartition(topic, 0, 0)])
    got = []

    def take(count: int):
        while len(got) < count:
            got.extend(m for m in c.consume(10, 0.5) if not m.error())
    take(40)
    cluster.pause(0)
    take(100)
    assert cluster.state(topic).leader == 0
    cluster.resume(0)
    take(RECORDS)
    assert [m.offset() for m in got] == list(range(RECORDS))
    c.close()


def test_java_reads_in_its_rack(cluster, topic):
    out = toolhost.tools(KAFKA_VERSION).run(
        "kafka-console-consumer", "--bootstrap-server", cluster.bootstrap, "--topic", topic, "--from-beginning",
        "--max-messages", RECORDS, "--consumer-property", "client.rack=b", "--property", "print.offset=true").out
    assert len([line for line in out.splitlines() if line.startswith("Offset:")]) == RECORDS
