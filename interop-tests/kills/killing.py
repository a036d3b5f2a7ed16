"""A broker of two log directories that is killed (SIGKILL) at work, those who write to it, and what has to be there.

A kill takes nothing that was written: whatever was acknowledged has to be there, and producers go on over the kill with what
they have in flight. What may go back is the start of a log that was moved by DeleteRecords, to its last checkpoint, as
Kafka's does.
"""

import collections
import os
import pathlib
import random
import re
import threading
import time

import confluent_kafka as ck

from harness import broker as brokers
from harness import clients, dump_log, toolhost
from harness.coordinators import SOON, coordinators_there
from harness.wait import wait_for
from power.cuts import judge_transactions
from power.writers import COMMON
from transactions import seen

from .writers import (Committing, Filling, Keyed, KeyedTransactions, Moving, Producing, Transactions, Trimming,
                      can_move)

PROPERTIES = SOON | {
    "log.cleaner.backoff.ms": "20",
    "log.cleaner.min.cleanable.ratio": "0.0001",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.threads": "2",
    "log.initial.task.delay.ms": "10",
    "log.retention.check.interval.ms": "50",
    "log.flush.offset.checkpoint.interval.ms": "200",
    "log.flush.start.offset.checkpoint.interval.ms": "200",
    "replica.high.watermark.checkpoint.interval.ms": "200",
    "log.index.interval.bytes": "512",
    "offsets.topic.segment.bytes": "10000",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.segment.bytes": "10000",
    "transaction.state.log.num.partitions": "2",
    "log.segment.delete.delay.ms": "50",
}
COMPACT = {"cleanup_policy": "compact", "segment_bytes": 4000, "delete_retention_ms": 50}
SEGMENT_BYTES, RETAINED_BYTES = 12000, 60000
PRODUCED = {  # name -> (partitions, options)
    "plain": (3, {"segment_bytes": 20000}),
    "retained": (2, {"segment_bytes": SEGMENT_BYTES, "retention_bytes": RETAINED_BYTES}),
    "trimmed": (2, {"segment_bytes": SEGMENT_BYTES}),
}
KEYED = {"compacted": (2, COMPACT), "both": (2, COMPACT | {"cleanup_policy": "compact,delete", "retention_bytes": 30000})}
IN_TRANSACTIONS = {"transactions": (2, COMPACT), "again": (2, COMPACT)}
TOPICS = PRODUCED | KEYED | IN_TRANSACTIONS
SLOTS = ["tx1", "tx2"]
KEYS = 30
RATES = ("1.7976931348623157E308", "3000000")  # bytes per second of the cleaner: it is always at work with the second

# What Ottla may say of a log whose last write was under way; of one whose start goes back, behind which epochs are gone
# ("trimmed", and the copy of a "retained" one, whose start follows); and of a copy that was being begun anew where the log
# begins by now.
EXPECTED = re.compile(
    r"cutting a torn tail|removing an index without its log|removing a damaged producer snapshot|"
    r"leader epochs do not fit the log: they were made again dir=\S+/t?r[a-z]+ed-|"
    r"the log ends below its checkpointed start and is emptied dir=\S+/t?r[a-z]+ed-\S+-future|"
    r"a move was interrupted, the log that is further is kept")
CLEANING, DELETING, TOPIC, MOVE = (re.compile(r) for r in (
    r"\.(cleaned|swap)$", r"\.deleted$", r"-delete$", r"-future$"))


class Run:
    """Kills of one broker."""

    def __init__(self, seed: int):
        self.rng, self.exposure = random.Random(seed), collections.Counter()
        self.broker = brokers.new_broker(PROPERTIES | {"log.cleaner.io.max.bytes.per.second": RATES[seed % len(RATES)]})
        self.broker.start_timeout_s = 60  # every start recovers, also where the disk has much to do for others
        self.dirs = [self.broker.data_dir, self.broker.directory / "more"]
        self.broker.properties["log.dirs"] = ",".join(map(str, self.dirs))
        self.ledgers, self.again = {slot: [] for slot in SLOTS}, []
        self.names, self.trimmed, self.starts = {}, {}, {}
        self.asked = self.committed = 0  # offsets of a group
        self.read_before = {}  # partition of "plain" -> values
        self.by_hand = []

    def begin(self) -> None:
        b = self.broker.start()
        coordinators_there(b)
        for name, (partitions, options) in TOPICS.items():
            clients.create_topic(b, name, partitions, **options)
        self.moves = can_move(b)
        self.producing = [Producing(b.bootstrap, {t: n for t, (n, _) in PRODUCED.items()}, self._number()) for _ in range(2)]
        self.keyed = Keyed(b.bootstrap, {t: n for t, (n, _) in KEYED.items()}, KEYS, self._number())
        self.transactions = [Transactions(b.bootstrap, slot, "transactions", 2, self.ledgers[slot], self._number())
                             for slot in SLOTS]
        self.keyed_transactions = KeyedTransactions(b.bootstrap, "txa", "again", 2, self.again, self._number())
        self.transactions.append(self.keyed_transactions)
        self.writers = [*self.producing, self.keyed, *self.transactions]
        for w in self.writers:
            w.start()
        self._start_by_hand()

    def _number(self) -> int:
        return self.rng.randrange(1 << 31)

    def _start_by_hand(self) -> None:
        b = self.broker
        self.committing = Committing(b, "group", "plain", self.asked, self._number())
        self.by_hand = [self.committing, Filling(b, self.names, self._number()),
                        Trimming(b, "trimmed", 2, self.trimmed, self._number())]
        self.by_hand += [Moving(b, self._number())] if self.moves else []
        for w in self.by_hand:
            w.start()

    def _end_by_hand(self) -> None:
        for w in self.by_hand:
            w.discard()
            w.join()
            assert not w.errors, w.errors[:3]
        self.exposure["starts moved"] += sum(w.done for w in self.by_hand if isinstance(w, Trimming))
        self.exposure["moves asked for"] += sum(w.done for w in self.by_hand if isinstance(w, Moving))
        self.asked = self.committing.asked
        self.committed = max(self.committed, self.committing.acked)
        self.by_hand = []

    # ---- a kill ----
    def kill(self) -> None:
        self._wait_for_a_moment()
        self._kill()
        self._end_by_hand()
        for what, n in self._left_overs().items():
            self.exposure[f"kills while {what}"] += n > 0
        if self.rng.random() < 0.1:
            self._kill_at_the_start()
        self.starts = self._promised_starts()
        self.broker.start()
        self._judge_what_it_said()
        self._judge_starts()
        self._judge_names()
        self._judge_group()
        self._start_by_hand()

    def _wait_for_a_moment(self) -> None:
        """Some are at any time; others as soon as there are files of a clean, a deletion or a move, or shortly after."""
        time.sleep(self.rng.random() * 0.3)
        awaited = self.rng.choice([None, CLEANING, CLEANING, DELETING, TOPIC, MOVE if self.moves else CLEANING])
        deadline = time.monotonic() + 0.3
        while awaited and time.monotonic() < deadline and not any(map(awaited.search, self._names())):
            pass
        time.sleep(self.rng.choice([0, 0, 0.0005, 0.003]))

    def _kill(self) -> None:
        assert self.broker.alive(), f"the broker has ended\n{self.broker.log_tail()}"
        self.broker.kill()
        self.exposure["kills"] += 1

    def _kill_at_the_start(self) -> None:
        self.broker.launch()
        time.sleep(self.rng.random() * 0.03)
        self._kill()
        self.exposure["kills at the start"] += 1

    def _names(self):
        """Of directories of partitions, and of files in those whose topics are cleaned or shortened."""
        for directory in self.dirs:
            for partition in os.scandir(directory):
                yield partition.name
                if partition.name.startswith(("compacted", "both", "again", "__", "retained")):
                    yield from _listed(partition.path)

    def _left_overs(self) -> collections.Counter:
        found = collections.Counter()
        for name in self._names():
            for what, pattern in (("cleaning", CLEANING), ("segments are deleted", DELETING), ("topics are deleted", TOPIC),
                                  ("moving", MOVE)):
                found[what] += bool(pattern.search(name))
        return found

    # ---- after each start ----
    def _judge_what_it_said(self) -> None:
        bad = [line for line in self.broker.said().splitlines()
               if re.search(r"\b(WARN|ERROR|FATAL)\b", line) and not EXPECTED.search(line)]
        assert not bad, "after a kill it says\n" + "\n".join(bad[:10])
        for what in EXPECTED.pattern.split("|"):
            self.exposure[f"said: {what}"] += len(re.findall(what, self.broker.said()))

    def _promised_starts(self) -> dict:
        """(topic, partition) -> what the files say where its log is. A copy that is not the log yet hears of a start when the
        log does, and its directory's checkpoint may be written first."""
        starts = collections.defaultdict(int)
        for directory in self.dirs:
            path = directory / "log-start-offset-checkpoint"
            rows = [line.rsplit(" ", 2) for line in path.read_text().splitlines()[2:]] if path.exists() else []
            for t, p, offset in (row for row in rows if (directory / f"{row[0]}-{row[1]}").is_dir()):
                starts[t, int(p)] = max(starts[t, int(p)], int(offset))
        for t, (partitions, _) in TOPICS.items():
            for p in range(partitions):
                bases = [int(f[:20]) for d in self.dirs for f in _listed(d / f"{t}-{p}") if f.endswith((".log", ".log.swap"))]
                starts[t, p] = max(starts[t, p], min(bases, default=0))
        return starts

    def _judge_starts(self) -> None:
        for (t, p), start in all_starts(self.broker, {t: n for t, (n, _) in TOPICS.items()}).items():
            assert start >= self.starts[t, p], f"{t}-{p} begins at {start}, its checkpoint said {self.starts[t, p]}"
            may = self.trimmed.get(p, 0) if t == "trimmed" else None if "retention_bytes" in TOPICS[t][1] else 0
            assert may is None or start <= may, f"{t}-{p} begins at {start}, nobody asked for more than {may}"

    def _judge_names(self) -> None:
        def as_told():
            topics = clients.ask_once(self.broker, "Metadata", 4, {"topics": None, "allow_auto_topic_creation": False})["topics"]
            there = {t["name"] for t in topics}
            missing = [n for n, (what, _) in self.names.items() if what == "created" and n not in there]
            back = [n for n, (what, _) in self.names.items() if what == "deleted" and n in there]
            assert not missing and not back, f"missing: {missing}, back: {back}"
            assert TOPICS.keys() <= there
            return there
        there = wait_for(as_told, 10, "the topics")
        for n, was in self.names.items():
            was[:] = ["created" if n in there else "deleted", 0.0]

    def _judge_group(self) -> None:
        ((error, offset),) = seen.offsets(self.broker, "group", "plain", 1)
        assert error == 0 and self.committed <= max(offset, 0) <= self.asked, \
            f"the group has {offset} (error {error}); {self.committed} was acknowledged, {self.asked} asked for"

    # ---- now and then, with all that was in flight acknowledged ----
    def judge(self) -> None:
        for w in self.writers:
            w.pause()
        for w in self.by_hand:
            w.pause()
        self._wait_for_the_writers()
        for name, (partitions, _) in PRODUCED.items():
            for p, (start, rows) in enumerate(read(self.broker, name, partitions)):
                self._judge_produced(name, p, start, rows)
        for name, (partitions, _) in KEYED.items():
            for p, (start, rows) in enumerate(read(self.broker, name, partitions)):
                self._judge_keyed(name, p, start, rows)
        self._judge_transactions()
        self._judge_sizes()
        self.exposure["judged"] += 1
        for w in [*self.writers, *self.by_hand]:
            w.resume()

    def _wait_for_the_writers(self) -> None:
        def waiting():
            errors = [e for w in self.writers for e in w.errors]
            return errors or not self.broker.alive() or all(w.in_flight() == 0 for w in [*self.producing, self.keyed]) and all(
                t.waiting.is_set() for t in self.transactions)
        wait_for(waiting, 60, "what is in flight")
        assert self.broker.alive() and waiting() is True, [e for w in self.writers for e in w.errors][:3]
        for t, (partitions, _) in IN_TRANSACTIONS.items():
            wait_for(lambda: seen.nothing_open(self.broker, t, partitions) is None, 30, "the markers")

    def _judge_produced(self, name: str, p: int, start: int, rows: list) -> None:
        """Each record once, at the offset that was acknowledged, without holes; what was read before is still there."""
        of = {}
        for w in self.producing:
            for number, (offset, _) in w.acked[name, p].items():
                assert offset not in of, f"{name}-{p}: {offset} was acknowledged twice"
                of[offset] = w.name, str(number)
        found = {offset: tuple(value.decode(errors="replace").split(":", 2)[:2]) for offset, _, value in rows}
        assert [offset for offset, _, _ in rows] == list(range(start, start + len(rows))), f"{name}-{p}: a hole"
        missing = {o: v for o, v in of.items() if o >= start and found.get(o) != v}
        assert not missing, f"{name}-{p}: not what was acknowledged: {sorted(missing.items())[:5]}, found " \
                            f"{[found.get(o) for o in sorted(missing)[:5]]}"
        more = {o: v for o, v in found.items() if o not in of}
        assert not more, f"{name}-{p}: what is there twice, or nobody sent: {sorted(more.items())[:5]}"
        assert name != "plain" or start == 0

    def _judge_keyed(self, name: str, p: int, start: int, rows: list) -> None:
        offsets = [offset for offset, _, _ in rows]
        assert offsets == sorted(set(offsets)), f"{name}-{p}: offsets {offsets}"
        of_key = collections.defaultdict(list)
        for offset, key, value in rows:
            of_key[key.decode()].append((offset, value and value.decode()))
        for key, found in of_key.items():
            numbers = [int(value.split(":")[1]) for _, value in found if value]
            assert numbers == sorted(set(numbers)), f"{name}-{p}: {key} has {numbers}"
            assert {value for _, value in found} <= {*self.keyed.sent[name, p, key], None}
        for (topic, partition, key), (number, offset) in self.keyed.acked.items():
            if (topic, partition) != (name, p):
                continue
            want = self.keyed.sent[topic, partition, key][number]
            last = of_key[key][-1] if of_key[key] else (offset, None)
            if offset < start:
                assert not of_key[key], f"{name}-{p}: {key} is {last}, and its last value was below the start {start}"
            else:
                assert last == (offset, want), f"{name}-{p}: {key} is {last}; ({offset}, {want}) was acknowledged"

    def _judge_transactions(self) -> None:
        found = {p: [tuple(value.decode(errors="replace").split(":", 3)[:3]) for _, _, value in rows]
                 for p, (_, rows) in enumerate(read(self.broker, "transactions", 2, "read_committed"))}
        judge_transactions(self.broker, self.ledgers, found, self.exposure)
        shown = {}  # key -> the last (number, place)
        for _, rows in read(self.broker, "again", 2, "read_committed"):
            for _, key, value in rows:
                _, number, place = value.decode(errors="replace").split(":", 3)[:3]
                state = self.again[int(number)][1]
                assert state in ("committed", "committing"), f"{value[:20]} was {state} and is seen"
                shown[key.decode()] = int(number), int(place)
        possible = collections.defaultdict(set)  # key -> what may be the last
        for number, t in enumerate(self.again):
            last = {self.keyed_transactions.places[number, place]: (number, place) for _, place in t[0]}
            for key, at in last.items() if t[1] in ("committed", "committing") else ():
                possible[key] = {at} if t[1] == "committed" else possible[key] | {at} | ({None} if not possible[key] else set())
        for key, those in possible.items():
            assert shown.get(key) in those, f"{key} is of transaction {shown.get(key)}, possible are {sorted(those, key=str)}"

    def _judge_sizes(self) -> None:
        """Retention has taken what is too much, and not more."""
        def as_retained():
            for p in range(PRODUCED["retained"][0]):
                sizes = [os.stat(d / f"retained-{p}" / f).st_size for d in self.dirs for f in _listed(d / f"retained-{p}")
                         if f.endswith(".log")]
                total = sum(sizes)
                assert total < RETAINED_BYTES + SEGMENT_BYTES, f"retained-{p} has {total} bytes"
                began = starts_of(self.broker, "retained", 2)[p] > 0
                assert total >= RETAINED_BYTES or not began, f"retained-{p} has only {total} bytes"
            return True
        wait_for(as_retained, 10, "retention")

    # ---- the end ----
    def end(self) -> None:
        """After a clean stop it is all there, too; and nothing was left to repair."""
        self.judge()
        for w in self.writers:
            w.pause()
        self._end_by_hand()
        self._wait_for_the_writers()
        self.broker.restart()
        self.broker.assert_no_repair()
        self._start_by_hand()
        self.judge()
        for w in self.writers:
            w.pause()
        self._end_by_hand()
        self._wait_for_the_writers()
        wait_for(lambda: not any(self._left_overs().values()), 30, "what is left over to go")
        self.broker.stop()
        if not toolhost.missing("3.9.1"):
            for directory in self.dirs:
                dump_log.check_everything(directory, "/(compacted|both|transactions|again|named.*|__.*)-")
        told = self.exposure
        told["records acknowledged"] = sum(w.acks() for w in self.producing) + self.keyed.acks
        told["transactions committed"] = sum(t[1] == "committed" for ledger in [*self.ledgers.values(), self.again] for t in ledger)
        told["transactions aborted"] = sum(t[1] == "aborted" for ledger in [*self.ledgers.values(), self.again] for t in ledger)
        told["topics named"] = len(self.names)
        log = (self.broker.directory / "broker.log").read_text(errors="replace")
        told["cleans"] = log.count("cleaned topic=")

    def destroy(self) -> None:
        for w in [*getattr(self, "writers", ()), *self.by_hand]:
            w.discard()
        self.broker.destroy()


def _listed(directory) -> list:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def all_starts(b, topics: dict) -> dict:
    """(topic, partition) -> where it begins, of topics with so many partitions."""
    answer = clients.ask_once(b, "ListOffsets", 1, {"topics": [
        {"name": t, "partitions": [{"partition_index": p, "timestamp": -2} for p in range(n)]} for t, n in topics.items()]})
    assert all(p["error_code"] == 0 for t in answer["topics"] for p in t["partitions"]), answer
    return {(t["name"], p["partition_index"]): p["offset"] for t in answer["topics"] for p in t["partitions"]}


def starts_of(b, topic: str, partitions: int) -> list:
    found = all_starts(b, {topic: partitions})
    return [found[topic, p] for p in range(partitions)]


def read(b, topic: str, partitions: int, isolation: str = "read_uncommitted") -> list:
    """Of each partition its start and [(offset, key, value)] up to the end; a start that moves is read again."""
    def unmoved():
        starts = starts_of(b, topic, partitions)
        found = _read_from(b, topic, starts, isolation)
        return list(zip(starts, found)) if starts == starts_of(b, topic, partitions) else None
    return wait_for(unmoved, 60, f"{topic} to be read")


def _read_from(b, topic: str, starts: list, isolation: str) -> list:
    c = ck.Consumer({**COMMON, "bootstrap.servers": b.bootstrap, "group.id": "not used", "enable.auto.commit": False,
                     "auto.offset.reset": "earliest", "isolation.level": isolation, "enable.partition.eof": True,
                     "check.crcs": True, "fetch.wait.max.ms": 20})
    found, at_end, deadline = [[] for _ in starts], set(), time.monotonic() + 30
    try:
        c.assign([ck.TopicPartition(topic, p, start) for p, start in enumerate(starts)])
        while len(at_end) < len(starts):
            assert time.monotonic() < deadline, f"ends of {topic} not reached"
            for m in c.consume(5000, 0.02):
                if m.error() is None:
                    found[m.partition()].append((m.offset(), m.key(), m.value()))
                elif m.error().code() == ck.KafkaError._PARTITION_EOF:
                    at_end.add(m.partition())
                else:
                    assert m.error().retriable(), m.error()
    finally:
        c.close()
    return found
