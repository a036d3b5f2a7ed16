"""Starts, stops and clients while ZooKeeper does not have, or does not do, what the broker expects of it.

A directory of a topic that ZooKeeper does not know (another tool deleted it while the broker was down) is kept, and is
in nobody's way. A stop does not wait for topics that never get their leaders. Requests that wait for ZooKeeper go with
their clients.
"""

import json
import os
import socket
import struct

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for
from wire import schema
from wire.player import APIS, Connection

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytestmark = pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="about the ways of Ottla")


@pytest.fixture
def own(zookeeper):
    """A broker; not started."""
    b = brokers.new_broker({"replica.high.watermark.checkpoint.interval.ms": 50}, on=zookeeper)
    try:
        yield b
    finally:
        zookeeper.resume()
        b.destroy()


def produce(b, topic: str, count: int) -> None:
    p = ck.Producer({"bootstrap.servers": b.bootstrap, "message.timeout.ms": 5000})
    for _ in range(count):
        p.produce(topic, "x", partition=0)
    assert p.flush(10) == 0


def checkpoint(b, name: str) -> list:
    return (b.data_dir / name).read_text().splitlines()[2:]


def send(b, name: str, version: int, values: dict) -> Connection:
    """A request whose answer nobody has read yet."""
    api = APIS[name]
    frame = schema.encode_header(api.key, version, 1, "interop", version in api.flexible) \
        + schema.encode_body(api, version, values)
    c = Connection("127.0.0.1", b.port)
    c.send(len(frame).to_bytes(4, "big") + frame)
    return c


def test_a_directory_of_no_topic(own):
    own.start()
    clients.create_topic(own, "stray", 1)
    produce(own, "stray", 3)
    own.stop()
    own.zookeeper.remove(f"{own.chroot}/brokers/topics/stray")
    for _ in range(2):
        own.start()
        topic = clients.create_topic(own, unique("new"), 1)
        produce(own, topic, 2)
        assert clients.end_offsets(own, topic, 1) == [2]
        own.stop()
        assert "stray 0 3" in checkpoint(own, "replication-offset-checkpoint")
        assert f"{topic} 0 2" in checkpoint(own, "replication-offset-checkpoint")
        assert (own.data_dir / "stray-0").is_dir()


def test_a_stop_while_leaders_are_waited_for(own):
    """A partition without replicas never has one. (What is left of the request at the end, LeakSanitizer tells.)"""
    own.start()
    with own.zookeeper.client(own.chroot) as k:
        k.create("/config/topics/odd", b'{"version":1,"config":{}}')
        k.create("/brokers/topics/odd", json.dumps({
            "version": 3, "topic_id": "AAAAAAAAAAAAAAAAAAAAAQ", "partitions": {"0": [0], "1": []},
            "adding_replicas": {}, "removing_replicas": {}}).encode())
        wait_for(lambda: (own.data_dir / "odd-0").is_dir(), 10, "the topic to be taken up")
        waiting = send(own, "CreatePartitions", 1, {
            "topics": [{"name": "odd", "count": 3, "assignments": None}], "timeout_ms": 60000})
        wait_for(lambda: "2" in json.loads(k.get("/brokers/topics/odd")[0])["partitions"], 10, "the new partition")
        waiting.silent(0.3)
    own.stop()
    waiting.closed(1)


def reset(c: Connection) -> None:
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def settled(measure):
    """What is measured, when it is the same for a while."""
    seen = []

    def same():
        seen.append(measure())
        return len(seen) >= 10 and len(set(seen[-10:])) == 1
    wait_for(same, 10, "it to settle")
    return seen[-1]


def test_clients_give_up(own):
    """What has begun is carried out; what waits behind it is given up, whether its client closes or resets."""
    own.start()
    clients.create_topic(own, "before", 1)

    def create(name):
        return send(own, "CreateTopics", 5, {
            "topics": [{"name": name, "num_partitions": 1, "replication_factor": 1}], "timeout_ms": 1000})

    def descriptors():
        return len(os.listdir(f"/proc/{own.process.pid}/fd"))
    idle = settled(descriptors)  # the connection that made the topic may not have gone yet
    own.zookeeper.pause()
    begun = create("begun")
    begun.silent(0.2)
    waiting = [create(f"waiting-{i}") for i in range(100)]
    wait_for(lambda: descriptors() >= idle + 101, 5, "the broker to take the connections")
    reset(begun)
    for i, c in enumerate(waiting):
        reset(c) if i % 2 else c.close()
    wait_for(lambda: descriptors() <= idle, 5, "the broker to let go of them")
    own.zookeeper.resume()
    clients.create_topic(own, "after", 1)
    with own.zookeeper.client(own.chroot) as k:
        assert sorted(k.get_children("/brokers/topics")) == ["after", "before", "begun"]
    own.stop()
