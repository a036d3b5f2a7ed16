"""One million records through the broker, every one of them compared."""

import hashlib
import time

import pytest

from harness import clients
from harness.life import unique

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

COUNT = 1_000_000
PARTITIONS = 4


def _value(i: int) -> bytes:
    return b"%d:" % i + hashlib.blake2b(b"%d" % i, digest_size=24).hexdigest().encode()


@pytest.mark.once
def test_a_million_records(broker):
    topic = clients.create_topic(broker, unique("million"), PARTITIONS)
    producer = ck.Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 5,
                            "compression.type": "lz4", "queue.buffering.max.messages": 200000})
    for i in range(COUNT):
        while True:
            try:
                producer.produce(topic, _value(i), partition=i % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
        if i % 1000 == 0:
            producer.poll(0)
    assert producer.flush(120) == 0
    assert clients.end_offsets(broker, topic, PARTITIONS) == [COUNT // PARTITIONS] * PARTITIONS

    consumer = ck.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "not used",
                            "enable.auto.commit": False, "auto.offset.reset": "error"})
    consumer.assign([ck.TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    at, deadline = [0] * PARTITIONS, time.monotonic() + 180
    while sum(at) < COUNT:
        assert time.monotonic() < deadline, f"only {sum(at)} of {COUNT} records came"
        for m in consumer.consume(10000, 1):
            assert m.error() is None, m.error()
            p = m.partition()
            # Records of a partition come in the order of their offsets, and that is the order they were sent in.
            assert m.offset() == at[p], f"partition {p}: offset {m.offset()}, expected {at[p]}"
            assert m.value() == _value(at[p] * PARTITIONS + p), f"partition {p}, offset {at[p]} holds another record"
            at[p] += 1
    consumer.close()
