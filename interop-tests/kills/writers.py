"""Who writes, trims, moves and deletes while the broker is killed. What goes over a kill is of power/writers.py: producers
that go on, transactions, names of topics. Those who ask by hand end with their connection, and are started again."""

import collections
import functools
import random
import time

import confluent_kafka as ck

from harness import clients
from power import writers as power
from power.writers import CODECS, COMMON, Naming, Writer
from wire import records
from wire.player import Connection

# After a start a broker knows the last batch of each producer, as far as a snapshot says it, and those behind that one: its
# format has no more, in Kafka neither. Of several in flight the first one might be refused then, though it is there.
ONE_IN_FLIGHT = {"max.in.flight.requests.per.connection": 1}


class Producing(power.Producing):
    MORE = ONE_IN_FLIGHT


class Transactions(power.Transactions):
    MORE = ONE_IN_FLIGHT


class Keyed(Writer):
    """An idempotent producer of keys, of which one in twenty values is a tombstone. A value is "key:number:padding"; the
    numbers of a key count from 0."""

    def __init__(self, bootstrap: str, topics: dict, keys: int, seed: int):
        super().__init__("keyed")
        self._topics, self._keys, self._rng = topics, keys, random.Random(seed)
        self.sent = collections.defaultdict(list)  # (topic, partition, key) -> values
        self.acked = {}  # the same -> (number, offset) of the last that was acknowledged
        self.handed_over, self.acks = 0, 0
        self._producer = ck.Producer({
            **COMMON, "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 2, "message.timeout.ms": 0,
            "compression.codec": CODECS[seed % len(CODECS)], "queue.buffering.max.messages": 300, "batch.size": 2000, **ONE_IN_FLIGHT})

    def _on_delivery(self, of: tuple, number: int, error, m) -> None:
        if error:
            self.errors.append(f"{self.name}: {error.str()}")
            return
        self.acks += 1
        self.acked[of] = max(self.acked.get(of, (-1, -1)), (number, m.offset()))

    def _run(self) -> None:
        while not self.discarded:
            if self._go_on.is_set():
                self._one()
            self._producer.poll(self._rng.random() * 0.002)
        self._producer.purge()
        self._producer.poll(0)

    def _one(self) -> None:
        topic = self._rng.choice(list(self._topics))
        n = self._rng.randrange(self._keys)
        of = topic, n % self._topics[topic], f"key-{n}"
        number = len(self.sent[of])
        value = None if self._rng.random() < 0.05 else f"{of[2]}:{number}:{'x' * self._rng.randrange(60)}"
        try:
            self._producer.produce(topic, value, of[2], partition=of[1],
                                   on_delivery=functools.partial(self._on_delivery, of, number))
        except BufferError:
            return
        self.sent[of].append(value)
        self.handed_over += 1

    def in_flight(self) -> int:
        return self.handed_over - self.acks


class KeyedTransactions(Transactions):
    """Transactions that write the same few keys again and again; "places" has the key of each (number, place)."""

    KEYS = 6

    def __init__(self, *args):
        super().__init__(*args)
        self.places = {}

    def _where(self, number: int, place: int) -> tuple:
        n = self._rng.randrange(self.KEYS)
        self.places[number, place] = f"{self.slot}-{n}"
        return n % self._partitions, self.places[number, place]


class ByHand(Writer):
    """Asks again and again, until the connection ends."""

    def __init__(self, b, seed: int, often_s: float):
        super().__init__(type(self).__name__.lower())
        self._rng, self._often_s, self.done = random.Random(seed), often_s, 0
        self._connection = Connection(b.host, b.port)

    def _ask(self, api: str, version: int, values: dict) -> dict:
        return clients.ask(self._connection, api, version, values, 5)

    def _run(self) -> None:
        try:
            while not self.discarded:
                time.sleep(self._rng.random() * self._often_s)
                if self._go_on.is_set():
                    self._once()
        except (OSError, AssertionError):
            pass
        finally:
            self._connection.close()

    def _once(self) -> None:
        raise NotImplementedError


class Trimming(ByHand):
    """DeleteRecords up to somewhere below the end."""

    def __init__(self, b, topic: str, partitions: int, asked: dict, seed: int):
        """asked: partition -> the largest offset that was asked for."""
        super().__init__(b, seed, 0.2)
        self._topic, self._partitions, self._asked = topic, partitions, asked

    def _offset(self, partition: int, timestamp: int) -> int:
        answer = self._ask("ListOffsets", 1, {"topics": [{"name": self._topic, "partitions": [
            {"partition_index": partition, "timestamp": timestamp}]}]})
        (found,) = answer["topics"][0]["partitions"]
        assert found["error_code"] == 0, answer
        return found["offset"]

    def _once(self) -> None:
        partition = self._rng.randrange(self._partitions)
        start, end = (self._offset(partition, timestamp) for timestamp in (-2, -1))
        offset = start + int((end - start) * self._rng.random() ** 2)
        self._asked[partition] = max(self._asked.get(partition, 0), offset)
        answer = self._ask("DeleteRecords", 1, {"timeout_ms": 5000, "topics": [
            {"name": self._topic, "partitions": [{"partition_index": partition, "offset": offset}]}]})
        (told,) = answer["topics"][0]["partitions"]
        if told["error_code"] or told["low_watermark"] < offset:
            self.errors.append(f"{self._topic}-{partition} is to begin at {offset}: {told}")
        self.done += 1


class Committing(ByHand):
    """A group's offset: 1, 2, 3, …"""

    def __init__(self, b, group: str, topic: str, first: int, seed: int):
        super().__init__(b, seed, 0.005)
        self._group, self._topic, self.asked, self.acked = group, topic, first, 0

    def _once(self) -> None:
        self.asked += 1
        answer = self._ask("OffsetCommit", 7, {
            "group_id": self._group, "generation_id_or_member_epoch": -1, "member_id": "", "group_instance_id": None,
            "topics": [{"name": self._topic, "partitions": [
                {"partition_index": 0, "committed_offset": self.asked, "committed_leader_epoch": -1,
                 "committed_metadata": ""}]}]})
        if answer["topics"][0]["partitions"][0]["error_code"] == 0:
            self.acked = self.asked


def can_move(b) -> bool:
    keys = clients.ask_once(b, "ApiVersions", 0, {})["api_keys"]
    return any(k["api_key"] == 34 for k in keys)


class Moving(ByHand):
    """Moves any partition to the other log directory."""

    def __init__(self, b, seed: int):
        super().__init__(b, seed, 0.2)

    def _once(self) -> None:
        dirs = self._ask("DescribeLogDirs", 1, {"topics": None})["results"]
        there = [(d["log_dir"], t["name"], p["partition_index"]) for d in dirs for t in d["topics"] for p in t["partitions"]
                 if not p["is_future_key"]]
        where, topic, partition = self._rng.choice(there)
        other = self._rng.choice([d["log_dir"] for d in dirs if d["log_dir"] != where])
        self._ask("AlterReplicaLogDirs", 1, {"dirs": [
            {"path": other, "topics": [{"name": topic, "partitions": [partition]}]}]})
        self.done += 1


class Filling(Naming):
    """Topics that are made, written to and deleted, compacted or not."""

    def _create(self, name: str) -> None:
        self._ledger[name] = ["creating", 0.0]
        policy = self._rng.choice(["delete", "compact"])
        answer = clients.ask(self._connection, "CreateTopics", 5, {"timeout_ms": 5000, "topics": [
            {"name": name, "num_partitions": 1, "replication_factor": 1, "configs": [
                {"name": "segment.bytes", "value": "1000"}, {"name": "cleanup.policy", "value": policy}]}]}, 5)
        if answer["topics"][0]["error_code"]:
            return
        self._ledger[name] = ["created", time.monotonic()]
        batch = records.batch({"records": [{"key": f"k{i % 3}", "value": "x" * 100} for i in range(6)]})
        for _ in range(5):
            clients.ask(self._connection, "Produce", 9, {
                "transactional_id": None, "acks": -1, "timeout_ms": 5000,
                "topic_data": [{"name": name, "partition_data": [{"index": 0, "records": batch}]}]}, 5)
        time.sleep(self._rng.random() * 0.05)
