"""Work that goes on whatever happens to a broker: an idempotent producer with acks=all, and a consumer behind it.

Both stay up. What was acknowledged has to be there once, where it was acknowledged, in the order it was sent in.
"""

import threading

import confluent_kafka as ck

from .wait import wait_for

_PATIENT = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}


class Load:
    def __init__(self, broker, topic: str, partitions: int):
        self.topic, self.partitions = topic, partitions
        self.acked, self.read, self.errors, self.sent = {}, [], [], 0
        self._bootstrap = broker.bootstrap
        self._stop = threading.Event()
        self._producer = threading.Thread(target=self._produce, daemon=True)
        self._consumer = threading.Thread(target=self._consume, daemon=True)
        self._producer.start()
        self._consumer.start()

    def _delivered(self, error, m):
        if error:
            self.errors.append(f"not acknowledged: {error}")
        else:
            self.acked[int(m.value())] = (m.partition(), m.offset())

    def _produce(self):
        p = ck.Producer({"bootstrap.servers": self._bootstrap, "enable.idempotence": True, "linger.ms": 1,
                         "message.timeout.ms": 0, "retry.backoff.ms": 20, **_PATIENT})
        while not self._stop.is_set():
            p.produce(self.topic, b"%d" % self.sent, partition=self.sent % self.partitions, on_delivery=self._delivered)
            self.sent += 1
            p.poll(0.002)
        if p.flush(60):
            self.errors.append("records are left in the producer")

    def _consume(self):
        c = ck.Consumer({"bootstrap.servers": self._bootstrap, "group.id": "not used", "enable.auto.commit": False,
                         "auto.offset.reset": "error", **_PATIENT})
        c.assign([ck.TopicPartition(self.topic, p, 0) for p in range(self.partitions)])
        while self._producer.is_alive() or len(self.read) < len(self.acked):
            for m in c.consume(1000, 0.05):
                if m.error() is None:
                    self.read.append((int(m.value()), m.partition(), m.offset()))
                elif not m.error().retriable() and m.error().code() != ck.KafkaError._ALL_BROKERS_DOWN:
                    self.errors.append(f"consumer: {m.error()}")
            if self._stop.is_set() and self.errors:
                break
        c.close()

    def goes_on(self, records: int = 200, timeout_s: float = 30) -> None:
        """Returns when this many more were acknowledged, and read."""
        acked, read = len(self.acked) + records, len(self.read) + records
        wait_for(lambda: self.errors or len(self.acked) >= acked and len(self.read) >= read, timeout_s,
                 f"{records} more records, acknowledged and read ({acked} and {read}; "
                 f"there are {len(self.acked)} and {len(self.read)})", interval_s=0.005)
        assert not self.errors, self.errors[:3]

    def stop(self) -> None:
        self._stop.set()
        self._producer.join(90)

    def check(self) -> None:
        """Ends it, and looks at all of it."""
        self.stop()
        self._consumer.join(60)
        assert not self.errors, self.errors[:3]
        assert not self._producer.is_alive() and not self._consumer.is_alive(), \
            f"{len(self.acked)} acknowledged, only {len(self.read)} read"
        assert len(self.acked) == self.sent
        assert len({value for value, _, _ in self.read}) == len(self.read), "records are there twice"
        assert {value: (p, o) for value, p, o in self.read} == self.acked
        for partition in range(self.partitions):
            its = [(o, value) for value, p, o in self.read if p == partition]
            assert its == sorted(its) and [v for _, v in its] == sorted(v for _, v in its), "not in order"
