"""Who writes while the power is cut, and what each of them was told.

Every writer has a name that no other has, and goes on over a cut until discard(). Then it hears nothing more; what it was
told later than a moment may be taken back with forget_after(), since a sync that was under way at the cut may have
returned good for what is lost. Times are time.monotonic().
"""

import bisect
import collections
import itertools
import logging
import random
import threading
import time

import confluent_kafka as ck

from harness import clients
from wire.player import Connection

_quiet = logging.Logger("librdkafka")  # it would say of whoever was discarded that it has been fenced
_quiet.addHandler(logging.NullHandler())
COMMON = {"logger": _quiet, "log_level": 0, "reconnect.backoff.ms": 5, "reconnect.backoff.max.ms": 20, "retry.backoff.ms": 20,
          "metadata.recovery.strategy": "none"}
CODECS = ("none", "lz4", "gzip", "snappy", "zstd")
AT_ONCE_S = 0.2  # how long one call may keep whoever is discarded
_serial = itertools.count(1)


class Writer:
    MORE = {}  # options of its producer

    def __init__(self, kind: str):
        self.name = f"{kind}{next(_serial)}"
        self.errors, self.discarded, self._go_on = [], False, threading.Event()
        self._go_on.set()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def pause(self) -> None:
        self._go_on.clear()

    def resume(self) -> None:
        self._go_on.set()

    def discard(self) -> None:
        self.discarded = True
        self._go_on.set()

    def _work(self) -> None:
        try:
            self._run()
        except ck.KafkaException as e:
            if not self.discarded:
                self.errors.append(f"{self.name}: {e}")
        if self.discarded:
            self._producer = None  # nothing of it goes on in the background

    def join(self) -> None:
        self._thread.join(10)

    def _run(self) -> None:
        raise NotImplementedError


class Producing(Writer):
    """An idempotent producer, on all partitions of some topics. A value is "name:number:padding"; in each partition the
    numbers count from 0."""

    def __init__(self, bootstrap: str, topics: dict, seed: int):
        super().__init__("producer")
        self._topics, self._rng = [(t, p) for t, n in topics.items() for p in range(n)], random.Random(seed)
        self.sent = collections.defaultdict(list)  # (topic, partition) -> when each was handed to the producer
        self.acked = collections.defaultdict(dict)  # (topic, partition) -> number -> (offset, when)
        self._producer = ck.Producer({
            **COMMON, "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": self._rng.choice([0, 1, 5]),
            "compression.codec": CODECS[next(_serial) % len(CODECS)], "message.timeout.ms": 0,
            "queue.buffering.max.messages": 300, "batch.size": 10000, "error_cb": self._on_error, **self.MORE})

    def _on_error(self, error) -> None:
        if error.fatal() and not self.discarded:
            self.errors.append(f"{self.name}: {error.str()}")

    def _on_delivery(self, error, m) -> None:
        if self.discarded:
            return
        if error:
            self.errors.append(f"{self.name}: {error.str()}")
            return
        self.acked[m.topic(), m.partition()][int(m.value().split(b":", 2)[1])] = (m.offset(), time.monotonic())

    def _run(self) -> None:
        while not self.discarded:
            if self._go_on.is_set():
                self._burst()
            self._producer.poll(self._rng.random() * 0.004)
        self._producer.purge()
        self._producer.poll(0)

    def _burst(self) -> None:
        to = self._rng.choice(self._topics)
        for _ in range(self._rng.choice([1, 1, 3, 20])):
            value = f"{self.name}:{len(self.sent[to])}:".encode() + self._rng.randbytes(self._rng.randrange(10, 300))
            now = time.monotonic()  # not later than it may be on its way
            try:
                self._producer.produce(to[0], value, partition=to[1], on_delivery=self._on_delivery)
            except BufferError:
                return
            self.sent[to].append(now)

    def in_flight(self) -> int:
        return sum(map(len, list(self.sent.values()))) - self.acks()

    def acks(self) -> int:
        return sum(map(len, list(self.acked.values())))

    def forget_after(self, moment: float) -> None:
        for acked in self.acked.values():
            for number in [n for n, (_, when) in acked.items() if when > moment]:
                del acked[number]

    def acknowledged_of_later(self, moment: float) -> list:
        """What was handed over after a moment, and acknowledged."""
        return [(where, n) for where, acked in self.acked.items()
                for n in range(bisect.bisect(self.sent[where], moment), len(self.sent[where])) if n in acked]


class Transactions(Writer):
    """A transactional producer: records in some partitions of a topic, and an offset of a group. One in four is aborted.
    A value is "slot:number:place:padding"; the offset is the number + 1."""

    def __init__(self, bootstrap: str, slot: str, topic: str, partitions: int, ledger: list, seed: int):
        """The ledger is of all that had this slot, which is the transactional id and the group: of each transaction
        [its (partition, place)s, what was done, when that was heard, has it an offset]."""
        super().__init__("transactions")
        self.slot, self.ledger = slot, ledger
        self._topic, self._partitions, self._rng = topic, partitions, random.Random(seed)
        self.waiting = threading.Event()
        self._bootstrap, self._producer = bootstrap, None
        self._group = ck.Consumer({**COMMON, "bootstrap.servers": bootstrap, "group.id": slot}).consumer_group_metadata()

    def _begin(self) -> bool:
        self._producer = ck.Producer({
            **COMMON, "bootstrap.servers": self._bootstrap, "transactional.id": self.slot, "transaction.timeout.ms": 30000,
            "linger.ms": 1, **self.MORE})
        return self._again(lambda: self._producer.init_transactions(AT_ONCE_S))

    def _again(self, call) -> bool:
        """What may be repeated is, until it works or nobody wants to know."""
        while not self.discarded:
            try:
                call()
                return not self.discarded
            except ck.KafkaException as e:
                if e.args[0].txn_requires_abort() and not e.args[0].fatal():
                    return False
                if not e.args[0].retriable():
                    raise
        return False

    def _run(self) -> None:
        if not self._begin():
            return
        while not self.discarded:
            if not self._go_on.is_set():
                self.waiting.set()
                self._go_on.wait(0.1)
                continue
            self.waiting.clear()
            # An abort of librdkafka's drops what it has not heard of and gives its sequences to the next transaction, with
            # the same epoch: if the log has it, that one's are taken for duplicates, by Kafka too. So it begins anew.
            if not self._transaction() and not self.discarded:
                self._begin()

    def _where(self, number: int, place: int) -> tuple:
        """The partition and the key of a record; no other has that key."""
        return self._rng.randrange(self._partitions), f"{self.slot}:{number}:{place}"

    def _transaction(self) -> bool:
        """False: it is not known how it ended."""
        t = [[], "open", None, False]
        self.ledger.append(t)
        number = len(self.ledger) - 1
        self._producer.begin_transaction()
        for place in range(self._rng.randrange(1, 8)):
            partition, key = self._where(number, place)
            t[0].append((partition, place))
            self._producer.produce(self._topic, f"{self.slot}:{number}:{place}:".encode() + self._rng.randbytes(100),
                                   key, partition=partition)
        if self._rng.random() < 0.5:
            offsets = [ck.TopicPartition(self._topic, 0, number + 1)]
            t[3] = True
            if not self._again(lambda: self._producer.send_offsets_to_transaction(offsets, self._group, AT_ONCE_S)):
                return False
        if self._rng.random() < 0.75 and not self.discarded:
            t[1] = "committing"
            if self._again(lambda: self._producer.commit_transaction(AT_ONCE_S)):
                t[1:3] = ["committed", time.monotonic()]
                return True
            return False
        # So that there is something to hide; and an abort beside a request for its first partition, which the cut has lost,
        # is answered INVALID_TXN_STATE (as by Kafka), which is fatal to librdkafka.
        while not self.discarded and self._producer.flush(AT_ONCE_S):
            pass
        t[1] = "aborting"
        if self.discarded or not self._again(lambda: self._producer.abort_transaction(AT_ONCE_S)):
            return False
        t[1:3] = ["aborted", time.monotonic()]
        return True

    def forget_after(self, moment: float) -> None:
        for t in self.ledger:
            if t[1] == "committed" and t[2] > moment:
                t[1] = "committing"


class Committing(Writer):
    """Commits 1, 2, 3, … as a group's offset, by hand, until the connection ends."""

    def __init__(self, b, group: str, topic: str, first: int):
        super().__init__("committing")
        self.group, self._topic, self.asked, self.acked = group, topic, first, []  # acked: (offset, when)
        self._connection = Connection(b.host, b.port)

    def _run(self) -> None:
        try:
            while not self.discarded:
                self.asked += 1
                answer = clients.ask(self._connection, "OffsetCommit", 7, {
                    "group_id": self.group, "generation_id_or_member_epoch": -1, "member_id": "", "group_instance_id": None,
                    "topics": [{"name": self._topic, "partitions": [
                        {"partition_index": 0, "committed_offset": self.asked, "committed_leader_epoch": -1,
                         "committed_metadata": ""}]}]}, 5)
                if answer["topics"][0]["partitions"][0]["error_code"] == 0:
                    self.acked.append((self.asked, time.monotonic()))
        except (OSError, AssertionError):
            pass
        finally:
            self._connection.close()


class Naming(Writer):
    """Creates topics and deletes some of them, by hand, until the connection ends."""

    def __init__(self, b, ledger: dict, seed: int):
        """The ledger: name -> [creating, created, deleting or deleted, when that was heard]."""
        super().__init__("named")
        self._ledger, self._rng, self._connection = ledger, random.Random(seed), Connection(b.host, b.port)

    def _run(self) -> None:
        try:
            for n in itertools.count():
                if self.discarded:
                    return
                self._create(f"{self.name}-{n}")
                created = [name for name, was in self._ledger.items() if was[0] == "created"]
                if created and self._rng.random() < 0.9:
                    self._delete(self._rng.choice(created))
        except (OSError, AssertionError):
            pass
        finally:
            self._connection.close()

    def _create(self, name: str) -> None:
        self._ledger[name] = ["creating", 0.0]
        answer = clients.ask(self._connection, "CreateTopics", 5, {"timeout_ms": 5000, "topics": [
            {"name": name, "num_partitions": 1, "replication_factor": 1,
             "configs": [{"name": "segment.bytes", "value": "20000"}]}]}, 5)
        if answer["topics"][0]["error_code"] == 0:
            self._ledger[name] = ["created", time.monotonic()]

    def _delete(self, name: str) -> None:
        self._ledger[name] = ["deleting", 0.0]
        answer = clients.ask(self._connection, "DeleteTopics", 5, {"timeout_ms": 5000, "topic_names": [name]}, 5)
        if answer["responses"][0]["error_code"] == 0:
            self._ledger[name] = ["deleted", time.monotonic()]


class Reader:
    """Reads everything of some topics from the start, and then, beside other work, what comes."""

    def __init__(self, bootstrap: str, topics: dict, isolation: str = "read_uncommitted"):
        self._partitions = [(t, p) for t, n in topics.items() for p in range(n)]
        self._consumer = ck.Consumer({
            **COMMON, "bootstrap.servers": bootstrap, "group.id": "not used", "enable.auto.commit": False,
            "auto.offset.reset": "error", "isolation.level": isolation, "enable.partition.eof": True, "check.crcs": True,
            "fetch.wait.max.ms": 20, "fetch.error.backoff.ms": 10})
        self.seen = collections.defaultdict(list)  # (topic, partition) -> (offset, value without padding, when)
        self.errors, self._stop, self._thread = [], False, None

    def read_all(self, timeout_s: float = 30) -> dict:
        self._consumer.assign([ck.TopicPartition(t, p, 0) for t, p in self._partitions])
        at_end, deadline = set(), time.monotonic() + timeout_s
        while len(at_end) < len(self._partitions):
            self._consume(at_end)
            assert not self.errors, self.errors[:3]
            assert time.monotonic() < deadline, f"ends not reached: {set(self._partitions) - at_end}"
        return {p: list(self.seen[p]) for p in self._partitions}

    def _consume(self, at_end: set) -> None:
        for m in self._consumer.consume(5000, 0.02):
            if m.error() is None:
                self.seen[m.topic(), m.partition()].append(
                    (m.offset(), _head(m.value()), time.monotonic()))
            elif m.error().code() == ck.KafkaError._PARTITION_EOF:
                at_end.add((m.topic(), m.partition()))
            elif not m.error().retriable():
                self.errors.append(str(m.error()))

    def go_on(self) -> None:
        def run():
            while not self._stop:
                self._consume(set())
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop = True
        if self._thread:
            self._thread.join()
        self._consumer.close()


def _head(value: bytes) -> tuple:
    """The words before the padding, which may be any bytes: as many as its writer has."""
    words = value.split(b":", 3)
    return tuple(w.decode() for w in words[:3 if words[0].startswith(b"tx") else 2])
