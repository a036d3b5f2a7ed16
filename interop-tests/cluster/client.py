#!/usr/bin/env python3
"""One client under load, as a process that writes down all it did and saw, a JSON object a line:

    cluster/client.py producer|reader|member|watermarks <history> <name> <bootstrap> <topic> <partitions> [key=value...]

    producer    sends unique values, to each partition in turn; acks=all (idempotent) or acks=1
    reader      assigns itself all partitions from the beginning; to_end=1: until the ends of now, and ends
    member      of the group `group`: subscribes, commits, and asks what is committed
    watermarks  asks every broker how far each partition is readable

SIGTERM ends it in order: a producer flushes, a reader and a member read what is there. The first line says who it is.
Times `t` are of the machine's monotonic clock, in seconds, the same for all processes; what takes time has `t0` too.

    {"e": "send", "t", "v", "p"}          {"e": "ack", "t", "v", "p", "o"}      {"e": "fail", "t", "v", "p", "error"}
    {"e": "assign", "t", "at": {p: o}}    {"e": "poll", "t", "p", "o", "v"}     {"e": "reset", "t", "p", "error"}
    {"e": "commit", "t0", "t", "ok", "at": {p: o}}                              {"e": "committed", "t0", "t", "at"}
    {"e": "watermark", "t0", "t", "broker", "p", "o", "epoch"}                  {"e": "end", "t", "at": {p: o}}
"""

import contextlib
import json
import pathlib
import random
import signal
import sys
import time

import confluent_kafka as ck

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import clients  # noqa: E402
from wire.player import Connection  # noqa: E402

IMPATIENT = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 500, "socket.timeout.ms": 6000,
             "topic.metadata.refresh.interval.ms": 2000, "socket.connection.setup.timeout.ms": 3000}


class PositionLost(Exception):
    """The broker does not know the offset from which a consumer went on: it has to begin anew."""


class Client:
    def __init__(self, role: str, history: str, name: str, bootstrap: str, topic: str, partitions: str, *options):
        self.role, self.name, self.bootstrap, self.topic = role, name, bootstrap, topic
        self.partitions = int(partitions)
        self.options = dict(option.split("=", 1) for option in options)
        self.ending = False
        self._history = open(history, "w", buffering=1)
        signal.signal(signal.SIGTERM, self._end)
        self.write("client", role=role, name=name, topic=topic, **self.options)

    def _end(self, *_):
        self.ending = True

    def write(self, event: str, **what) -> None:
        self._history.write(json.dumps({"e": event, "t": time.monotonic(), **what}) + "\n")

    def run(self) -> None:
        {"producer": self.produce, "reader": self.read, "member": self.be_member, "watermarks": self.sample}[self.role]()
        self.write("done")

    # --- the roles

    def produce(self) -> None:
        acks, pause_s = self.options.get("acks", "all"), 1 / float(self.options.get("per_second", 100))
        settings = {"bootstrap.servers": self.bootstrap, "acks": acks, "enable.idempotence": acks == "all", "linger.ms": 2,
                    "message.timeout.ms": 0 if acks == "all" else 20000, "request.timeout.ms": 5000,
                    "retry.backoff.ms": 50, "retry.backoff.max.ms": 500, "queue.buffering.max.messages": 5000,
                    "compression.type": self.options.get("codec", "none"), **IMPATIENT,
                    **({"debug": "eos", "log_level": 7} if acks == "all" else {})}  # who sends a thing twice has said why
        chance, sent, next_at = random.Random(self.name), 0, time.monotonic()
        producer = ck.Producer(settings)
        while not self.ending:
            value, partition = f"{self.name}-{sent}", sent % self.partitions
            try:
                # First written down, then sent: what is there without having been sent would be a violation.
                self.write("send", v=value, p=partition)
                producer.produce(self.topic, value.encode() + b" " * chance.randrange(200), partition=partition,
                                 on_delivery=lambda e, m, v=value: self._delivered(e, m, v))
                sent += 1
            except BufferError:
                pass  # sent again under the same name later
            except ck.KafkaException as e:
                self.write("fail", v=value, p=partition, error=e.args[0].name())
                sent += 1
            next_at = max(next_at + pause_s, time.monotonic() - 1)
            try:
                producer.poll(0)
                while not self.ending and (left := next_at - time.monotonic()) > 0:
                    producer.poll(left)
            except ck.KafkaException as e:  # a fatal error: what it still has is lost, and another one goes on
                self.write("fatal", error=str(e))
                producer = ck.Producer(settings)
        self.write("left", count=producer.flush(60))

    def _delivered(self, error, m, value: str) -> None:
        if error:
            self.write("fail", v=value, p=m.partition(), error=error.name())
        else:
            self.write("ack", v=value, p=m.partition(), o=m.offset())

    def _consumer(self, **settings) -> ck.Consumer:
        return ck.Consumer({"bootstrap.servers": self.bootstrap, "enable.auto.commit": False, "fetch.wait.max.ms": 100,
                            "fetch.error.backoff.ms": 50, **IMPATIENT, **settings})

    def _polled(self, consumer, seconds: float) -> list:
        """The records of one round, written down."""
        good = []
        for m in consumer.consume(500, seconds):
            if m.error() is None:
                self.write("poll", p=m.partition(), o=m.offset(), v=m.value().decode().rstrip())
                good.append(m)
            elif m.error().code() == ck.KafkaError._AUTO_OFFSET_RESET:
                self.write("reset", p=m.partition(), error=m.error().str())
                raise PositionLost(m.partition())
        return good

    def read(self) -> None:
        done = False
        while not done:
            consumer = self._consumer(**{"group.id": "not used", "auto.offset.reset": "error",
                                         "debug": "topic,metadata", "log_level": 7})  # who stops reading has said why
            with contextlib.suppress(PositionLost):
                self._read(consumer)
                done = True
            consumer.close()

    def _read(self, consumer) -> None:
        ends = self._ends(consumer) if self.options.get("to_end") else None
        self.write("assign", at={p: 0 for p in range(self.partitions)})
        consumer.assign([ck.TopicPartition(self.topic, p, ck.OFFSET_BEGINNING) for p in range(self.partitions)])
        at = dict.fromkeys(range(self.partitions), 0)
        while not (ends and all(at[p] >= end for p, end in ends.items())):
            for m in self._polled(consumer, 0.1):
                at[m.partition()] = m.offset() + 1
            if self.ending and ends is None:
                ends = self._ends(consumer)
        self.write("end", at=ends)

    def _ends(self, consumer) -> dict:
        ends = {}
        while len(ends) < self.partitions:
            p = len(ends)
            try:
                ends[p] = consumer.get_watermark_offsets(ck.TopicPartition(self.topic, p), timeout=5)[1]
            except ck.KafkaException:
                time.sleep(0.1)
        return ends

    def be_member(self) -> None:
        done, anew = False, set()  # the partitions in which the position was lost
        while not done:
            consumer = self._consumer(**{
                "group.id": self.options["group"], "auto.offset.reset": "error", "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 1000, "max.poll.interval.ms": 60000, "partition.assignment.strategy": "range",
                "debug": "cgrp,consumer", "log_level": 7})
            try:
                self._be_member(consumer, anew)
                done = True
            except PositionLost as e:
                anew.add(e.args[0])
            consumer.close()

    def _be_member(self, consumer, anew: set) -> None:
        mine = {}  # partition -> the next offset

        def assigned(_, partitions):
            mine.clear()
            for p, offset in self._committed(consumer, partitions).items():
                mine[p] = 0 if p in anew else max(offset, 0)
            anew.difference_update(mine)
            self.write("assign", at=dict(mine))
            consumer.assign([ck.TopicPartition(self.topic, p, o) for p, o in mine.items()])

        def revoked(_, partitions):
            self._commit(consumer, mine)
            self.write("revoke", at=[p.partition for p in partitions])
            mine.clear()

        def lost(_, partitions):
            self.write("lost", at=[p.partition for p in partitions])
            mine.clear()

        consumer.subscribe([self.topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
        commit_at, ends = 0.0, None
        while ends is None or any(o < ends[p] for p, o in mine.items()):
            for m in self._polled(consumer, 0.1):
                mine[m.partition()] = m.offset() + 1
            if time.monotonic() > commit_at:
                self._commit(consumer, mine)
                self._committed(consumer, [ck.TopicPartition(self.topic, p) for p in mine])
                commit_at = time.monotonic() + 0.5
            if self.ending and ends is None:
                ends = self._ends(consumer)
        self._commit(consumer, mine)
        self.write("end", at=dict(mine))
        mine.clear()  # librdkafka leaves the group before it calls on_revoke: nothing is to be committed there

    def _commit(self, consumer, at: dict) -> None:
        if not at:
            return
        t0, at = time.monotonic(), dict(at)
        try:
            answer = consumer.commit(offsets=[ck.TopicPartition(self.topic, p, o) for p, o in at.items()],
                                     asynchronous=False)
            errors = [str(p.error) for p in answer if p.error]
        except ck.KafkaException as e:
            errors = [e.args[0].name()]
        self.write("commit", t0=t0, ok=not errors, at=at, **({"error": errors[0]} if errors else {}))

    def _committed(self, consumer, partitions: list) -> dict:
        """partition -> what is committed, or -1; asked until it is answered."""
        while partitions:
            t0 = time.monotonic()
            try:
                answer = consumer.committed(partitions, timeout=5)
                if not any(p.error for p in answer):
                    at = {p.partition: max(p.offset, -1) for p in answer}
                    self.write("committed", t0=t0, at=at)
                    return at
            except ck.KafkaException:
                pass
        return {}

    def sample(self) -> None:
        connections = {}
        while not self.ending:
            for broker, address in enumerate(self.bootstrap.split(",")):
                try:
                    if broker not in connections:
                        host, port = address.split(":")
                        connections[broker] = Connection(host, int(port), timeout_s=1)
                    self._sample(broker, connections[broker])
                except (OSError, AssertionError):
                    if broken := connections.pop(broker, None):
                        broken.close()
            time.sleep(0.1)

    def _sample(self, broker: int, connection: Connection) -> None:
        t0 = time.monotonic()
        answer = clients.ask(connection, "ListOffsets", 5, {"topics": [{"name": self.topic, "partitions": [
            {"partition_index": p, "timestamp": -1} for p in range(self.partitions)]}]}, timeout_s=1)
        for p in answer["topics"][0]["partitions"]:
            if p["error_code"] == 0:
                self.write("watermark", t0=t0, broker=broker, p=p["partition_index"], o=p["offset"],
                           epoch=p["leader_epoch"])


if __name__ == "__main__":
    Client(*sys.argv[1:]).run()
