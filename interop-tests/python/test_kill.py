"""kill -9, many times, in the middle of acknowledged idempotent producing.

Every acknowledged record is there, once, at the offset it was acknowledged with; and every start succeeds.
OTTLA_KILLS sets how often: 200 in the whole run; 20 in the slice, and 10 on ZooKeeper.
"""

import os
import threading

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

KILLS = int(os.environ.get("OTTLA_KILLS", 0)) or (
    200 if os.environ.get("OTTLA_INTEROP") == "all" else 20 if brokers.coordination() == "embedded" else 10)
PARTITIONS = 3


def test_kill_while_producing(broker):
    topic = clients.create_topic(broker, unique("kill"), PARTITIONS, segment_bytes=300000)
    acked, errors, sent, stop = {}, [], [0], threading.Event()

    def delivered(error, m):
        if error:
            errors.append(str(error))
        else:
            acked[int(m.value().split(b":")[0])] = (m.partition(), m.offset())

    def load():
        producer = ck.Producer({
            "bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 1, "log_level": 0,
            "message.timeout.ms": 0, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50,
            "retry.backoff.ms": 20, "queue.buffering.max.messages": 2000})
        padding = b":" + b"x" * 100
        while not stop.is_set():
            try:
                producer.produce(topic, b"%d" % sent[0] + padding, key=b"%d" % sent[0], on_delivery=delivered)
                sent[0] += 1
            except BufferError:
                producer.poll(0.01)
            producer.poll(0)
        if producer.flush(120):
            errors.append("records are left in the producer")

    loader = threading.Thread(target=load, daemon=True)
    loader.start()
    try:
        for kill in range(KILLS):
            # Different points of the work each time: after some dozens to some thousands of acknowledgements.
            enough = len(acked) + 37 + kill * 211 % 1999
            wait_for(lambda: len(acked) >= enough or errors, 60, f"acknowledgements after kill {kill}", interval_s=0.001)
            assert not errors, errors[:3]
            broker.crash()
    finally:
        stop.set()
        loader.join(150)
    assert not loader.is_alive() and not errors, errors[:3]
    assert len(acked) == sent[0]
    broker.restart()  # what is there after all of it must also be there after a clean stop

    ends = clients.end_offsets(broker, topic, PARTITIONS)
    consumer = ck.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "not used",
                            "enable.auto.commit": False, "auto.offset.reset": "error"})
    consumer.assign([ck.TopicPartition(topic, p, 0) for p in range(PARTITIONS) if ends[p]])
    found, twice = {}, []

    def all_read():
        for m in consumer.consume(10000, 0.2):
            assert m.error() is None, m.error()
            value = int(m.value().split(b":")[0])
            if value in found:
                twice.append((value, found[value], (m.partition(), m.offset())))
            found[value] = (m.partition(), m.offset())
        return len(found) + len(twice) >= sum(ends)
    wait_for(all_read, 120, f"{sum(ends)} records", interval_s=0)
    consumer.close()
    lost = [v for v in acked if v not in found]
    moved = [(v, acked[v], found[v]) for v in acked if v in found and found[v] != acked[v]]
    assert not lost, f"{len(lost)} of {len(acked)} acknowledged records are lost: {lost[:5]}"
    assert not twice, f"{len(twice)} records are there twice: {twice[:5]}"
    assert not moved, f"{len(moved)} records are not where they were acknowledged: {moved[:5]}"


def test_flushed_is_seen_at_once(broker):
    """With flush.messages=1 the very first answers after a kill tell and give everything acknowledged."""
    count, batch = 4000, 20
    topic = clients.create_topic(broker, unique("flushed"), 1, segment_bytes=20000, flush_messages=1)
    producer = ck.Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", "log_level": 0,
                            "batch.num.messages": batch})
    errors = []
    for n in range(count):
        producer.produce(topic, b"%d" % n + b":" + b"x" * 100, partition=0,
                         on_delivery=lambda error, m: errors.append(error) if error else None)
    assert producer.flush(60) == 0 and not errors, errors[:3]

    broker.kill()
    broker.launch()
    consumer = ck.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "not used", "log_level": 0,
                            "enable.auto.commit": False, "auto.offset.reset": "error",
                            "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 20})
    partition = ck.TopicPartition(topic, 0, 0)

    def first_answer():
        try:
            return consumer.get_watermark_offsets(partition, timeout=0.5)
        except ck.KafkaException:  # not started yet
            return None
    ends = wait_for(first_answer, 30, "an answer to ListOffsets", interval_s=0)
    assert ends == (0, count), "the first answer after the start"
    partition.offset = count - 1
    consumer.assign([partition])
    message = consumer.poll(10)
    assert message is not None and message.error() is None and message.offset() == count - 1
    consumer.close()
