"""A group of three that gains and loses members while records arrive: nothing lost, nothing processed twice that
was committed.

Each member commits what it has processed before it gives partitions up. A commit that waits behind the member's own
JoinGroup is refused when that has ended, since its generation is the old one, here as at Kafka: what it would have
covered may be processed again, and nothing else.
"""

import threading

import pytest

from harness import clients
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

PARTITIONS = 6


class Member(threading.Thread):
    def __init__(self, b, topic, group, strategy, seen, lock):
        super().__init__(daemon=True)
        self.leave = threading.Event()
        self.seen, self.lock, self.error = seen, lock, None
        self.pending, self.uncommitted = [], set()  # processed since the last commit; covered by no commit
        self.processed = 0
        self.consumer = ck.Consumer({
            "bootstrap.servers": b.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "enable.auto.offset.store": False, "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 200, "partition.assignment.strategy": strategy})
        self.consumer.subscribe([topic], on_revoke=self.on_revoke, on_lost=self.on_lost)
        self.start()

    def on_revoke(self, consumer, partitions):
        self.commit()

    def on_lost(self, consumer, partitions):
        self.error = f"partitions lost: {partitions}"

    def commit(self):
        for attempt in range(5):
            try:
                self.consumer.commit(asynchronous=False)
                self.pending.clear()
                return
            except ck.KafkaException as e:
                code = e.args[0].code()
                if code == ck.KafkaError._NO_OFFSET:
                    return
                if code in (ck.KafkaError.ILLEGAL_GENERATION, ck.KafkaError.REBALANCE_IN_PROGRESS):
                    self.uncommitted.update(self.pending)
                    self.pending.clear()
                    return
                # librdkafka may just have replaced its handle of the coordinator: an error of its own, not an answer.
                if code != ck.KafkaError._DESTROY or attempt == 4:
                    self.error = f"commit: {e}"
                    return

    def run(self):
        try:
            while not self.leave.is_set():
                for m in self.consumer.consume(100, 0.05):
                    if m.error():
                        self.error = str(m.error())
                        continue
                    self.consumer.store_offsets(message=m)
                    self.pending.append(int(m.value()))
                    with self.lock:
                        self.seen.setdefault(int(m.value()), []).append((m.partition(), m.offset()))
                    self.processed += 1
            self.consumer.close()  # revokes, and so commits
        except Exception as e:
            self.error = repr(e)


@pytest.mark.once
@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_members_come_and_go(broker, strategy):
    topic, group = clients.create_topic(broker, unique("load"), PARTITIONS), unique("group")
    seen, lock, sent, stop, errors = {}, threading.Lock(), [0], threading.Event(), []

    def load():
        producer = ck.Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True, "linger.ms": 2})
        while not stop.is_set():
            for _ in range(20):
                producer.produce(topic, value=str(sent[0]), on_delivery=lambda e, m: errors.append(e) if e else None)
                sent[0] += 1
            producer.poll(0.005)
        if producer.flush(60):
            errors.append("not flushed")

    loader = threading.Thread(target=load, daemon=True)
    loader.start()
    members = [Member(broker, topic, group, strategy, seen, lock) for _ in range(3)]
    everyone = list(members)

    def all_work():
        failed = [m.error for m in everyone if m.error]
        if failed:
            raise RuntimeError(failed)
        marks = [m.processed for m in members]
        wait_for(lambda: all(m.processed > mark for m, mark in zip(members, marks)) or any(m.error for m in everyone),
                 60, "every member to process something")

    try:
        all_work()
        for _ in range(4):
            gone = members.pop(0)
            gone.leave.set()
            gone.join(60)
            assert not gone.is_alive()
            all_work()
            members.append(Member(broker, topic, group, strategy, seen, lock))
            everyone.append(members[-1])
            all_work()
        stop.set()
        loader.join(90)
        assert not errors, errors
        wait_for(lambda: len(seen) == sent[0] or any(m.error for m in everyone), 60, f"all {sent[0]} records")
    finally:
        stop.set()
        for m in members:
            m.leave.set()
        for m in members:
            m.join(60)
    assert not [m.error for m in everyone if m.error]
    assert sorted(seen) == list(range(sent[0])), "records are missing"
    uncommitted = set().union(*(m.uncommitted for m in everyone))
    twice = {v: where for v, where in seen.items() if len(where) > 1 and v not in uncommitted}
    assert not twice, f"{len(twice)} records were processed twice: {list(twice.items())[:5]}"
    assert sum(clients.end_offsets(broker, topic, PARTITIONS)) == sent[0]
