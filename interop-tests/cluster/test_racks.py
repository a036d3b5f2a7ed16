"""Racks: where replicas go, what clients are told of it, and from where they read."""

import re

import pytest

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

import confluent_kafka as ck  # noqa: E402

from harness import clients, toolhost  # noqa: E402
from harness.clients import ask_once  # noqa: E402
from harness.jvm import KAFKA_VERSION  # noqa: E402
from harness.life import unique  # noqa: E402
from harness.process import Process  # noqa: E402
from harness.wait import wait_for  # noqa: E402
from wire import records  # noqa: E402

from .work import sent_bytes  # noqa: E402

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

RECORDS, MORE = 200, 50
SIZE = 1000  # of a record that is counted by its bytes
FENCED_LEADER_EPOCH, NOT_LEADER, OFFSET_OUT_OF_RANGE = 74, 6, 1


@pytest.fixture
def topic(cluster) -> str:
    """One partition, led in rack a, with records."""
    name = led_in_rack_a(cluster, [0, 1, 2])
    wait_for(lambda: all(fetch(cluster, n, name, at=RECORDS - 1)["records"] for n in range(3)), 10, "all to have it all")
    return name


def led_in_rack_a(cluster, replicas: list, size: int = 100) -> str:
    name = unique("read")
    made = cluster.ask_controller("CreateTopics", 5, {"timeout_ms": 15000, "topics": [
        {"name": name, "num_partitions": -1, "replication_factor": -1,
         "configs": [{"name": "min.insync.replicas", "value": "1"}],
         "assignments": [{"partition_index": 0, "broker_ids": replicas}]}]})
    assert made["topics"][0]["error_code"] == 0
    wait_for(lambda: cluster.in_sync(name) and cluster.known_everywhere(name), 30, "the topic")
    produce(cluster, name, RECORDS, size)
    return name


def produce(cluster, topic: str, records: int, size: int = 100) -> None:
    p = ck.Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "linger.ms": 5})
    for i in range(records):
        p.produce(topic, b"%d" % i * size, partition=0)
    assert p.flush(30) == 0


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


class Reader:
    """A client in rack b that reads on and on. It has the offsets that it got."""

    def wait(self, records: int) -> None:
        wait_for(lambda: len(self.offsets()) >= records, 40, f"record {records}")
        assert self.offsets() == list(range(records))


class Librdkafka(Reader):
    def __init__(self, cluster, topic: str, _):
        self._got, self._consumer = [], ck.Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": unique("g"),
                                                     "client.rack": "b", "auto.offset.reset": "earliest"})
        self._consumer.assign([ck.TopicPartition(topic, 0, 0)])

    def offsets(self) -> list:
        self._got += [m.offset() for m in self._consumer.consume(1000, 0.1) if not m.error()]
        return self._got

    def close(self) -> None:
        self._consumer.close()


class Java(Reader):
    """In no group: that one's coordinator may die, too, and what is not committed be read again."""

    def __init__(self, cluster, topic: str, _):
        self._call = toolhost.tools(KAFKA_VERSION).start(
            "kafka-console-consumer", "--bootstrap-server", cluster.bootstrap, "--topic", topic, "--partition", 0, "--offset",
            "earliest", "--property", "print.offset=true", "--consumer-property", "client.rack=b", "--consumer-property",
            "metadata.max.age.ms=1000")

    def offsets(self) -> list:
        return [int(n) for n in re.findall(r"^Offset:(\d+)", self._call.out(), re.MULTILINE)]

    def close(self) -> None:
        self._call.stop()
        self._call.wait()


class Go(Reader):
    """Told how many records there will be."""

    def __init__(self, cluster, topic: str, directory):
        if why := clients.go_missing():
            pytest.skip(f"skipped, because {why}")
        argv = [clients.go_client(), self.library, "3.9.0", "consume", cluster.bootstrap, topic, 1, RECORDS + 2 * MORE, "b"]
        self._process = Process("go-client", argv, directory / "go.log")

    def offsets(self) -> list:
        return [int(n) for n in re.findall(r"^0 (\d+) ", self._process.log.read_text(), re.MULTILINE)]

    def close(self) -> None:
        self._process.kill()


class FranzGo(Go):
    library = "franz"


class Sarama(Go):
    library = "sarama"


@pytest.fixture
def reader(cluster, tmp_path, request):
    """Of a topic that has one replica in its rack, broker 1, from which it has read what there is."""
    if not cluster.can_cut:
        pytest.skip("skipped, because brokers have no networks of their own, whose bytes could be counted")
    topic = led_in_rack_a(cluster, [0, 1], SIZE)
    before = [sent_bytes(b) for b in cluster.brokers]
    r = request.param(cluster, topic, tmp_path)
    try:
        r.topic = topic
        r.wait(RECORDS)
        sent = [sent_bytes(b) - was for b, was in zip(cluster.brokers, before)]
        assert sent[1] > SIZE * RECORDS > 2 * sent[0], f"bytes sent by leader, follower, and the third: {sent}"
        yield r
    finally:
        r.close()


@pytest.mark.parametrize("reader", [Librdkafka, Java, FranzGo, pytest.param(Sarama, marks=pytest.mark.whole)],
                         indirect=True)
def test_the_one_in_its_rack_dies(cluster, reader):
    cluster.brokers[1].kill()
    wait_for(lambda: cluster.state(reader.topic).isr == (0,), 30, "an ISR without it")
    produce(cluster, reader.topic, MORE)
    reader.wait(RECORDS + MORE)
    cluster.brokers[1].launch()
    cluster.answers(1)
    cluster.settle()
    produce(cluster, reader.topic, MORE)
    reader.wait(RECORDS + 2 * MORE)


@pytest.mark.whole
@pytest.mark.parametrize("reader", [Java, FranzGo], indirect=True)  # the others ask again after minutes
def test_the_one_in_its_rack_falls_behind(cluster, reader):
    """It answers, and has nothing new: the leader does not send clients there any more."""
    while cluster.controller() == 1:  # it has to hear of the ISR
        cluster.brokers[1].restart()
        cluster.settle()
    cluster.network.cut("0", "1")
    produce(cluster, reader.topic, MORE)  # acknowledged when the ISR is the leader
    reader.wait(RECORDS + MORE)
    assert 1 in cluster.registered() and cluster.state(reader.topic).isr == (0,)
    cluster.network.join("0", "1")
    cluster.settle()
    produce(cluster, reader.topic, MORE)
    reader.wait(RECORDS + 2 * MORE)
