"""Starts, stops and clients while ZooKeeper does not have, or does not do, what the broker expects of it.

A directory of a topic that ZooKeeper does not know (another tool deleted it while the broker was down) is kept, and is
in nobody's way.
"""

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.zookeeper import ZooKeeper

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytestmark = pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="about the ways of Ottla")


@pytest.fixture(scope="module")
def zookeeper():
    z = ZooKeeper()
    yield z
    z.destroy()


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
