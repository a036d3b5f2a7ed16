"""A broker on a disk whose power is cut, those who write to it, and what has to be there afterwards.

Half of the cuts meet a broker that is frozen (SIGSTOP), as a machine's processes are when its power goes: all it ever said
it said before, so its clients go on over the cut and what they resend must be there once. The others meet one that
runs, and goes on for some milliseconds with a disk that fails: then only what was acknowledged before the cut counts, and
nothing may be acknowledged that was handed over after it.
"""

import collections
import contextlib
import os
import pathlib
import random
import re
import signal
import threading
import time

from harness import broker as brokers
from harness import clients, dump_log, toolhost
from harness.coordinators import SOON, coordinators_there
from harness.process import free_port
from harness.wait import wait_for
from transactions import seen

from .disk import Disk, WriteBack
from .writers import Committing, Naming, Producing, Reader, Transactions

NEVER = 9223372036854775807
PROPERTIES = SOON | {
    "log.flush.offset.checkpoint.interval.ms": "100",
    "log.flush.start.offset.checkpoint.interval.ms": "100",
    "replica.high.watermark.checkpoint.interval.ms": "100",
    "log.index.interval.bytes": "512",
    "offsets.topic.segment.bytes": "20000",
    "transaction.state.log.segment.bytes": "20000",
    "log.segment.delete.delay.ms": "200",
}
SAFE = {"safe": (3, {"segment_bytes": 20000, "flush_messages": 1}), "safe2": (2, {"segment_bytes": 50000, "flush_messages": 1})}
LOOSE = {"loose": (2, {"segment_bytes": 20000, "flush_messages": NEVER}),
         "some": (2, {"segment_bytes": 50000, "flush_messages": 100})}
IN_TRANSACTIONS = {"transactions": (3, {"segment_bytes": 20000, "flush_messages": 1})}
GROUPS = ["g1", "g2", "g3"]
SLOTS = ["tx1", "tx2"]

# What Ottla may say of logs whose last records did not reach the disk; the rest of what it warns of is damage.
EXPECTED = re.compile(
    r"cutting a torn tail|a segment does not begin where the log ends|removing an index without its log|removing a damaged producer snapshot|"
    r"an index does not fit its log|a checkpoint is unreadable and ignored file=\S+/replication-offset-checkpoint")


class Run:
    """Cuts on one disk."""

    def __init__(self, disk: Disk, flushed: bool, seed: int):
        """flushed: all that the broker writes is flushed before it is acknowledged, also offsets and the states of
        transactions. Otherwise some topics are, and some are not."""
        self.rng, self.disk, self.flushed = random.Random(seed), disk, flushed
        self.exposure = collections.Counter()
        self.broker = brokers.new_broker(
            PROPERTIES | {"log.dirs": str(disk.root / "data")} | ({"log.flush.interval.messages": "1"} if flushed else {}))
        self.broker.data_dir = disk.root / "data"
        self.topics = SAFE | (IN_TRANSACTIONS if flushed else LOOSE)
        self.read = {t: n for t, (n, _) in self.topics.items() if t not in IN_TRANSACTIONS}
        self.producers, self.transactions, self.ledgers = [], {}, {slot: [] for slot in SLOTS}
        self.names, self.offsets, self.asked = {}, dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0)
        self.known = collections.defaultdict(list)  # (topic, partition) -> what was read after the last start
        self.known_committed = {}  # partition of "transactions" -> what was read committed
        self.promised = {}  # (topic, partition) -> its recovery point when the power came back
        self.seen = {}  # (topic, partition) -> what a reader saw before the cut

    def begin(self) -> None:
        self.broker.start()
        coordinators_there(self.broker)
        for name, (partitions, configs) in self.topics.items():
            clients.create_topic(self.broker, name, partitions, **configs)
        self.judge()
        self.go_on()

    # ---- who writes ----
    def _number(self) -> int:
        return self.rng.randrange(1 << 31)

    def go_on(self) -> None:
        """Starts whoever is not there."""
        b = self.broker
        there = [p for p, _ in self.producers if not p.discarded]
        if not there:
            self.producers += [(Producing(b.bootstrap, {t: n for t, (n, _) in SAFE.items()}, self._number()).start(), True)
                               for _ in range(3)]
        if not self.flushed:
            self.producers += [(Producing(b.bootstrap, {t: n for t, (n, _) in LOOSE.items()}, self._number()).start(), False)
                               for _ in range(2)]
        for p, _ in self.producers:
            p.resume()
        for t in self.transactions.values():
            t.resume()
        self.committing = [Committing(b, g, "safe", self.asked[g]).start() for g in GROUPS]
        self.naming = Naming(b, self.names, self._number()).start()
        self.reader.go_on()
        self.write_back = WriteBack(b.data_dir, self._number())

    def _new_transactions(self) -> None:
        for slot in SLOTS if self.flushed else ():
            if slot not in self.transactions:
                self.transactions[slot] = Transactions(
                    self.broker.bootstrap, slot, "transactions", IN_TRANSACTIONS["transactions"][0], self.ledgers[slot],
                    self._number())
                self.transactions[slot].pause()
                self.transactions[slot].start()

    def _acks(self) -> int:
        return sum(p.acks() for p, _ in self.producers if not p.discarded)

    def _in_flight(self) -> int:
        return sum(p.in_flight() for p, _ in self.producers if not p.discarded)

    def _errors(self) -> list:
        return [e for w in [*(p for p, _ in self.producers), *self.transactions.values()] for e in w.errors]

    def _assert_alive(self, without_disk: bool = False) -> None:
        """A broker that meets its only disk's end ends, too."""
        errors = self._errors()
        assert not errors, errors[:3]
        ended_rightly = without_disk and "all log directories have failed" in self.broker.said()
        assert self.broker.alive() or ended_rightly, f"the broker has ended\n{self.broker.log_tail()}"

    # ---- a cut ----
    def cut(self) -> None:
        enough = self._acks() + self.rng.randrange(30, 500)
        commits = {slot: len(ledger) + self.rng.randrange(1, 4) for slot, ledger in self.ledgers.items()}

        def worked():
            return self._errors() or not self.broker.alive() or (
                self._acks() >= enough and all(c.acked for c in self.committing)
                and all(len(self.ledgers[s]) >= n for s, n in commits.items() if self.flushed))
        wait_for(worked, 60, "acknowledgements", interval_s=0.001)
        self._assert_alive()
        frozen = self.rng.random() < 0.5
        if frozen:
            self._freeze()
        written, moment = self._bytes(), time.monotonic()
        in_flight = self._in_flight()
        open_ones = sum(ledger[-1][1] in ("open", "committing", "aborting") for ledger in self.ledgers.values() if ledger)
        self.disk.cut()
        gone = time.monotonic()
        if not frozen:
            threading.Event().wait(self.rng.random() * 0.02)  # not for something: to let it go on so long
        self._assert_alive(without_disk=True)
        self.broker.kill()
        self._end_of(frozen, moment, gone)
        self.disk.come_back()
        left = self._bytes()
        lost = sum(max(0, size - left.get(path, 0)) for path, size in written.items())
        self.exposure.update({
            "cuts": 1, "frozen": frozen, "records in flight": in_flight, "transactions open": open_ones,
            "cuts with something in flight": in_flight > 0, "bytes written": sum(written.values()), "bytes lost": lost})
        self.promised = self._recovery_points()
        self._judge_files()
        self.broker.start()
        self._judge_what_it_said()
        self.judge()
        self.go_on()

    def _freeze(self) -> None:
        """Nobody of the broker runs any more; some may be in the middle of a sync."""
        pid = self.broker.process.pid
        os.kill(pid, signal.SIGSTOP)

        def stopped():
            states = [path.read_text().rpartition(")")[2].split()[0] for path in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
            return "T" in states and not set(states) - set("TD")
        wait_for(stopped, 10, "the broker to be frozen", interval_s=0.0002)

    def _end_of(self, frozen: bool, moment: float, gone: float) -> None:
        """Of whoever does not go on over the cut; and what counts of what they were told."""
        counts = float("inf") if frozen else moment
        for p, safe in self.producers:
            if frozen and safe:
                p.pause()
                continue
            if p.discarded:
                continue
            p.discard()
            false = p.acknowledged_of_later(gone)
            assert frozen or not false, f"{p.name} was acknowledged what it sent after the cut: {false[:5]}"
            p.forget_after(counts)
        for t in self.transactions.values():
            t.pause()
            if not frozen:
                t.discard()
                t.forget_after(moment)
        if not frozen:
            self.transactions = {}
            self._another_address()
        self.naming.discard()
        self.naming.join()
        for was in self.names.values():
            if was[1] > counts:
                was[:] = [{"created": "creating", "deleted": "deleting"}[was[0]], 0.0]
        for c in self.committing:
            c.discard()
            c.join()
            acked = [offset for offset, when in c.acked if when <= counts]
            self.exposure["commits of offsets acknowledged"] += len(acked)
            self.asked[c.group] = c.asked
            if acked and self.flushed:
                self.offsets[c.group] = acked[-1]
        self.write_back.stop()
        self.exposure["bytes written back"] += self.write_back.bytes
        self.reader.close()
        assert not self.reader.errors or not frozen, self.reader.errors[:3]
        self.seen = {where: [r for r in rows if r[2] <= counts] for where, rows in self.reader.seen.items() if where[0] in SAFE}

    def _another_address(self) -> None:
        """Whoever was told something false at the cut would go on with it, and commit what is lost; and a call into
        librdkafka cannot always be ended."""
        b = self.broker
        b.port = free_port()
        b.bootstrap = f"{b.host}:{b.port}"
        b.properties["listeners"] = f"PLAINTEXT://{b.bootstrap}"

    def _bytes(self) -> dict:
        sizes = {}
        for directory, _, files in os.walk(self.broker.data_dir):
            for path in (pathlib.Path(directory, name) for name in files if name.endswith(".log")):
                with contextlib.suppress(FileNotFoundError):  # of a topic that is deleted just now
                    sizes[path] = path.stat().st_size
        return {p: n for p, n in sizes.items() if not p.parent.name.startswith("named")}

    def _recovery_points(self) -> dict:
        path = self.broker.data_dir / "recovery-point-offset-checkpoint"
        rows = [line.rsplit(" ", 2) for line in path.read_text().splitlines()[2:]] if path.exists() else []
        return {(t, int(p)): int(offset) for t, p, offset in rows}

    # ---- what has to be there ----
    def _judge_what_it_said(self) -> None:
        bad = [line for line in self.broker.said().splitlines()
               if re.search(r"\b(WARN|ERROR|FATAL)\b", line) and not EXPECTED.search(line)]
        if self.broker.kind == "ottla":
            assert not bad, "after a cut it says\n" + "\n".join(bad[:10])
            for what in EXPECTED.pattern.split("|"):
                self.exposure[f"said: {what}"] += len(re.findall(what, self.broker.said()))

    def _judge_files(self) -> None:
        """Before anybody repairs something: what lies below a recovery point is whole. Ottla says so also of snapshots."""
        for (topic, partition), point in self.promised.items():
            for path in (self.broker.data_dir / f"{topic}-{partition}").glob("*.snapshot"):
                behind = int(path.stem) < point or int(path.stem) == point and path.with_suffix(".log").exists()
                bad = self.broker.kind == "ottla" and behind and path.stat().st_size == 0
                assert not bad, f"{path} is empty, below the recovery point {point}"

    def judge(self) -> None:
        told = {id(p): {where: dict(acked) for where, acked in list(p.acked.items())} for p, _ in self.producers}
        self._judge_names()
        self._judge_groups()
        self.reader = Reader(self.broker.bootstrap, self.read)
        for where, rows in self.reader.read_all().items():
            self._judge_log(where, rows, told)
        if self.flushed:
            self._judge_transactions()

    def _judge_log(self, where: tuple, rows: list, told: dict) -> None:
        safe = where[0] in SAFE
        assert [offset for offset, _, _ in rows] == list(range(len(rows))), f"{where}: a hole"
        values = [value for _, value, _ in rows]
        assert values[:len(self.known[where])] == self.known[where], f"{where}: what was read before has changed"
        self.known[where] = values
        assert len(values) >= self.promised.get(where, 0), \
            f"{where} ends at {len(values)}, below its recovery point {self.promised[where]}"
        numbers = collections.defaultdict(list)
        for name, number in values:
            numbers[name].append(int(number))
        names = {p.name: p for p, _ in self.producers}
        assert numbers.keys() <= names.keys(), f"{where}: records that nobody sent: {numbers.keys() - names.keys()}"
        for name, of_it in numbers.items():
            assert of_it == list(range(len(of_it))), f"{where}: not what {name} sent, in order: {_first_wrong(of_it)}"
            assert len(of_it) <= len(names[name].sent[where]) + 1, f"{where}: more than {name} sent"
        for p, _ in self.producers:
            for number, (offset, _) in told[id(p)].get(where, {}).items():
                if offset < len(values):
                    assert values[offset] == (p.name, str(number)), \
                        f"{where}: {p.name}:{number} was acknowledged at {offset}, where {values[offset]} is"
                    continue
                assert not safe, f"{where} ends at {len(values)}; {p.name}:{number} was acknowledged at {offset} and is lost"
                self.exposure["records lost that were not promised"] += 1
                del p.acked[where][number]
        for offset, value, _ in self.seen.get(where, ()):
            assert values[offset:offset + 1] == [value], f"{where}: a reader saw {value} at {offset}, where {values[offset:offset + 1]} is"

    def _judge_groups(self) -> None:
        """Where the log of offsets is flushed, what was acknowledged is there. Kafka and Ottla promise it there only: without,
        a group has one of the offsets it had, not older than at the last start."""
        for g in GROUPS:
            ((error, offset),) = seen.offsets(self.broker, g, "safe", 1)
            offset = max(offset, 0)
            assert error == 0 and self.offsets[g] <= offset <= self.asked[g], \
                f"{g} has the offset {offset} (error {error}); {self.offsets[g]} was acknowledged, {self.asked[g]} asked for"
            self.offsets[g] = offset

    def _judge_names(self) -> None:
        def as_told():
            topics = clients.ask_once(self.broker, "Metadata", 4, {"topics": None, "allow_auto_topic_creation": False})["topics"]
            there = {t["name"] for t in topics}
            missing = [n for n, (what, _) in self.names.items() if what == "created" and n not in there]
            back = [n for n, (what, _) in self.names.items() if what == "deleted" and n in there]
            assert not missing, f"topics are missing: {missing}"
            assert not back, f"topics are back: {back}"
            assert self.topics.keys() <= there or not self.known
            return there
        there = wait_for(as_told, 10, "the topics")
        for n, was in self.names.items():
            was[:] = ["created" if n in there else "deleted", 0.0]

    def _judge_transactions(self) -> None:
        self._new_transactions()
        for t in self.transactions.values():
            wait_for(lambda: t.waiting.is_set() or t.errors, 30, f"{t.name} of {t.slot} to end its transaction")
        self._assert_alive()
        partitions = IN_TRANSACTIONS["transactions"][0]
        wait_for(lambda: seen.nothing_open(self.broker, "transactions", partitions) is None, 30, "the markers")
        reader = Reader(self.broker.bootstrap, {"transactions": partitions}, "read_committed")
        try:
            found = {p: [value for _, value, _ in rows] for (_, p), rows in reader.read_all().items()}
        finally:
            reader.close()
        for p, values in found.items():
            before = self.known_committed.get(p, [])
            assert values[:len(before)] == before, f"transactions-{p}: what was committed before has changed"
        self.known_committed = found
        judge_transactions(self.broker, self.ledgers, found, self.exposure)

    # ---- the end ----
    def end(self) -> None:
        """After a clean stop it is all there, too, and nothing was left to repair."""
        for p, _ in self.producers:
            p.pause()
        for t in self.transactions.values():
            t.pause()
        wait_for(lambda: all(t.waiting.is_set() for t in self.transactions.values()), 30, "transactions to end")
        try:
            wait_for(lambda: self._errors() or not self._in_flight(), 60, "producers to end")
        except AssertionError:
            for p in (p for p, _ in self.producers if not p.discarded):
                print(p.name, {where: (len(sent), sorted(set(range(len(sent))) - p.acked[where].keys())[:20])
                               for where, sent in p.sent.items()})
            raise
        self._assert_alive()
        self._end_of(True, 0, 0)
        self.broker.restart()
        self.broker.assert_no_repair()
        self.promised = {}
        self.judge()
        self.reader.close()
        self.broker.stop()
        if not toolhost.missing("3.9.1"):
            self.exposure["files read by kafka-dump-log"] += sum(
                dump_log.check_everything(self.broker.data_dir, "/__").values())
        self.exposure["acknowledgements before a cut"] = sum(p.acks() for p, _ in self.producers)
        self.exposure["transactions committed"] = sum(t[1] == "committed" for ledger in self.ledgers.values() for t in ledger)
        self.exposure["transactions aborted"] = sum(t[1] == "aborted" for ledger in self.ledgers.values() for t in ledger)
        self.exposure["topics named"] = len(self.names)

    def destroy(self) -> None:
        for p, _ in self.producers:
            p.discard()
        for t in self.transactions.values():
            t.discard()
        self.broker.destroy()


def judge_transactions(b, ledgers: dict, found: dict, exposure: collections.Counter) -> None:
    """Whole or invisible, and with their offset. found: partition of "transactions" -> [(slot, number, place)], committed. What
    the ledgers leave open becomes what was found."""
    places = collections.defaultdict(list)  # (slot, number) -> [(partition, place)]
    for p, values in found.items():
        for slot, number, place in values:
            places[slot, int(number)].append((p, int(place)))
    for slot, ledger in ledgers.items():
        last = 0
        for number, t in enumerate(ledger):
            visible = places.pop((slot, number), [])
            whole = sorted(visible) == sorted(t[0])
            assert whole or not visible, f"transaction {number} of {slot} is torn: {visible} of {t[0]}"
            assert t[1] != "committed" or whole, f"transaction {number} of {slot} was committed and is lost"
            assert t[1] in ("committed", "committing") or not visible, f"transaction {number} of {slot} was {t[1]} and is seen"
            if t[1] != "committed":
                exposure[f"transactions found {'committed' if visible else 'aborted'} ({t[1]})"] += t[2] != 0
                t[1:3] = ["committed" if visible else "aborted", 0]
            last = number + 1 if visible and t[3] else last
        ((error, offset),) = seen.offsets(b, slot, "transactions", 1)
        assert error == 0 and max(offset, 0) == last, f"{slot} has the offset {offset} (error {error}), expected {last}"
    assert not places, f"transactions that nobody made: {list(places)[:5]}"


def _first_wrong(numbers: list) -> tuple:
    at = next(i for i, n in enumerate(numbers) if n != i)
    return at, numbers[max(0, at - 2):at + 3]
