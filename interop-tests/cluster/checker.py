#!/usr/bin/env python3
"""Judges the histories of a run. It knows what clients did and saw, what ZooKeeper said, and what is on disk at the end;
it knows nothing of what was done to the brokers, nor of how they work.

    cluster/checker.py <directory> [--replicas <directory>] [--acks-one-too]

The directory holds what client.py and load.py wrote, *.jsonl. `replicas` has a log directory for each broker, after a
clean stop. --acks-one-too judges acks=1 as if it were acks=all: then losses show, which proves that they can.

A property is a generator below, and its docstring says what it asks for (reference: hardening §7). Only acks=all makes
a promise; acks=1 is there to leave tails to be cut.
"""

import argparse
import bisect
import collections
import json
import pathlib
import struct
import sys
from dataclasses import dataclass, field

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from wire.schema import Reader  # noqa: E402

UNSEEN_S = 30.0  # after healing, every acknowledged record is seen within this time
ISR_GRACE_S = 5.0  # so long may an ISR that is too small be unknown to a leader
NEARLY_S = 1.0  # so exact are the times of what ZooKeeper said


@dataclass(frozen=True)
class Violation:
    rule: str
    text: str

    def __str__(self):
        return f"{self.rule}: {self.text}"


@dataclass
class Send:
    client: str
    promised: bool  # acks=all
    partition: int
    sent: float
    acked: float | None = None
    offset: int | None = None  # none also where the broker said that it had it already (DUPLICATE_SEQUENCE_NUMBER)


@dataclass(frozen=True)
class Placing:
    """Where a partition is to be, from some time on, as its topic's node says."""

    t: float
    replicas: list
    adding: list
    removing: list

    def is_moving(self) -> bool:
        return bool(self.adding or self.removing)

    def target(self) -> set:
        return set(self.replicas) - set(self.removing)

    def origin(self) -> set:
        return set(self.replicas) - set(self.adding)


@dataclass
class Span:
    """One assignment of one partition to one consumer: where it begins, and what came."""

    consumer: str
    partition: int
    start: int
    offsets: list = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    base: int
    last: int
    data: bytes

    @property
    def leader_epoch(self) -> int:
        return struct.unpack_from(">i", self.data, 12)[0]

    @property
    def numbered(self) -> tuple:
        """By whom: producer id and epoch."""
        return struct.unpack_from(">qh", self.data, 43)


class Run:
    """All that is known of one."""

    def __init__(self, directory: pathlib.Path, replicas: pathlib.Path | None = None, acks_one_too: bool = False):
        self.sends, self.seen, self.first_seen = {}, collections.defaultdict(set), {}
        self.records = collections.defaultdict(set)  # (partition, offset) -> the values that were there
        self.numbered = {}  # (partition, offset) -> by which producer id and epoch
        self.spans, self.resets, self.commits, self.committed = [], [], [], []
        self.watermarks, self.states, self.zookeeper = [], collections.defaultdict(list), []
        self.readers, self.final, self.left, self.fatal = [], None, 0, []
        self.healed, self.min_isr, self.topic, self.ended = 0.0, 1, "", 0.0
        self.placings, self.registered, self.kinds, self.hurt = collections.defaultdict(list), [], [], []
        for path in sorted(directory.glob("*.jsonl")):
            events = _lines(path)
            if events and events[0]["e"] == "client":
                getattr(self, "_" + events[0]["role"])(events[0], events[1:], acks_one_too)
            else:
                self._of_the_run(events)
        self.here = read_replicas(replicas, self.topic) if replicas else {}
        self.replicas = {p: [r for r in its if self.is_replica(r.broker, p)] for p, its in self.here.items()}
        self._know_replicas()

    def _producer(self, who, events, acks_one_too) -> None:
        promised = who["acks"] == "all" or acks_one_too
        for e in events:
            if e["e"] == "send":
                self.sends.setdefault(e["v"], Send(who["name"], promised, e["p"], e["t"]))
            elif e["e"] == "ack":
                send = self.sends[e["v"]]
                send.acked, send.offset, send.partition = e["t"], e["o"], e["p"]
                if promised and e["o"] is not None:
                    self.records[e["p"], e["o"]].add(e["v"])
            elif e["e"] == "left":
                self.left += e["count"]
            elif e["e"] == "fatal":
                self.fatal.append(f"{who['name']}: {e['error']}")

    def _consumer(self, who, events, _=False) -> None:
        name, current = who["name"], {}
        for e in events:
            if e["e"] == "poll":
                at = (e["p"], e["o"])
                self.seen[e["v"]].add(at)
                self.records[at].add(e["v"])
                self.first_seen.setdefault((name, e["v"]), e["t"])
                if e["p"] not in current:
                    self._begin(current, name, e["p"], e["o"])
                current[e["p"]].offsets.append(e["o"])
            elif e["e"] == "assign":
                current = {}
                for p, offset in e["at"].items():
                    self._begin(current, name, int(p), offset)
            elif e["e"] == "reset":
                self.resets.append(f"{name}, partition {e['p']}: {e['error']}")
                self._begin(current, name, e["p"], 0)
            elif e["e"] == "commit":
                self.commits.append(e)
            elif e["e"] == "committed":
                self.committed.append(e)
            elif e["e"] == "end" and who.get("to_end"):
                self.final = {int(p): offset for p, offset in e["at"].items()}

    def _begin(self, current: dict, name: str, partition: int, offset: int) -> None:
        current[partition] = Span(name, partition, offset)
        self.spans.append(current[partition])

    def _reader(self, who, events, _) -> None:
        self.readers.append(who["name"])
        self._consumer(who, events)

    _member = _consumer

    def _watermarks(self, _who, events, _) -> None:
        self.watermarks += [e for e in events if e["e"] == "watermark"]

    def _of_the_run(self, events) -> None:
        for e in events:
            self.ended = max(self.ended, e["t"])
            if e["e"] == "topic":
                self.topic, self.min_isr, self.kinds = e["name"], e["min_insync_replicas"], e["kinds"]
            elif e["e"] == "healed":
                self.healed = e["t"]
            elif e["e"] == "state":
                self.states[e["p"]].append(e)
            elif e["e"] in ("controller", "controller_epoch"):
                self.zookeeper.append(e)
            elif e["e"] == "placing":
                self.placings[e["p"]].append(Placing(e["t"], e["replicas"], e["adding"], e["removing"]))
            elif e["e"] == "registered":
                self.registered.append(e)
            elif e["e"] == "hurt":
                self.hurt = e["brokers"]

    def _know_replicas(self) -> None:
        for partition, replicas in self.replicas.items():
            for replica in replicas:
                for batch in replica.batches:
                    if batch.base < replica.high_watermark:
                        for offset in range(batch.base, batch.last + 1):  # also of what is compressed
                            self.numbered[partition, offset] = batch.numbered
                        for offset, value in values(batch):
                            self.records[partition, offset].add(value)
                            self.seen[value].add((partition, offset))

    def is_replica(self, broker: int, partition: int) -> bool:
        """At the end."""
        its = self.placings[partition]
        return not its or broker in its[-1].replicas

    def strays(self) -> list:
        """(broker, partition) of what is where it should not be."""
        return [(r.broker, p) for p, its in self.here.items() for r in its if not self.is_replica(r.broker, p)]

    def promised(self) -> dict:
        """The sends that were acknowledged to acks=all, by value."""
        return {v: s for v, s in self.sends.items() if s.promised and s.acked is not None}


def _lines(path: pathlib.Path) -> list:
    text = path.read_text()
    return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]


# --- the log directories


@dataclass
class Replica:
    broker: int
    high_watermark: int
    log_start: int
    batches: list

    def end(self) -> int:
        return self.batches[-1].last + 1 if self.batches else self.log_start


def read_replicas(directory: pathlib.Path, topic: str) -> dict:
    """partition -> what anybody has of it, but for what is deleted."""
    found = collections.defaultdict(list)
    for log_dir in sorted(directory.iterdir()):
        high_watermarks = _checkpoint(log_dir / "replication-offset-checkpoint")
        log_starts = _checkpoint(log_dir / "log-start-offset-checkpoint")
        for path in sorted(p for p in log_dir.glob(f"{topic}-*") if p.name[len(topic) + 1:].isdigit()):
            partition = int(path.name.rpartition("-")[2])
            batches = read_batches(path)
            start = max(log_starts.get((topic, partition), 0), batches[0].base if batches else 0)
            found[partition].append(Replica(int(log_dir.name), high_watermarks.get((topic, partition), 0), start, batches))
    return found


def _checkpoint(path: pathlib.Path) -> dict:
    """(topic, partition) -> offset; two lines of heading."""
    rows = path.read_text().splitlines()[2:] if path.exists() else []
    return {(topic, int(partition)): int(offset) for topic, partition, offset in map(str.split, rows)}


def read_batches(partition_dir: pathlib.Path) -> list:
    batches = []
    for segment in sorted(partition_dir.glob("*.log")):
        data, at = segment.read_bytes(), 0
        while at + 61 <= len(data):
            base, length = struct.unpack_from(">qi", data, at)
            (last_delta,) = struct.unpack_from(">i", data, at + 23)
            batches.append(Batch(base, base + last_delta, data[at:at + 12 + length]))
            at += 12 + length
    return batches


def values(batch: Batch):
    """(offset, value) of each record; none where they are compressed."""
    if batch.data[22] & 7:
        return
    (count,) = struct.unpack_from(">i", batch.data, 57)
    r = Reader(batch.data[61:])
    for _ in range(count):
        r.varint()  # length
        r.take(1)
        r.varint()  # timestamp delta
        offset = batch.base + r.varint()
        r.take(max(0, r.varint()))  # key
        yield offset, r.take(r.varint()).decode().rstrip()
        assert r.varint() == 0  # headers


# --- the properties


def lost_write(run: Run):
    """P1: up to the highest offset that anyone has seen in a partition, every acknowledged record was seen."""
    highest = collections.defaultdict(lambda: -1)
    for (partition, offset) in run.records:
        if any(v in run.seen for v in run.records[partition, offset]):
            highest[partition] = max(highest[partition], offset)
    for value, s in run.promised().items():
        if s.offset is not None and s.offset <= highest[s.partition] and value not in run.seen:
            yield f"{value} was acknowledged at {s.partition}:{s.offset} and is nowhere; " \
                  f"the highest offset seen is {highest[s.partition]}"


def unseen(run: Run):
    """P2: every reader sees every acknowledged record, at the latest so long after all was healed."""
    for name in run.readers:
        for value, s in run.promised().items():
            seen = run.first_seen.get((name, value))
            late = max(run.healed, s.acked) + UNSEEN_S
            if seen is None:
                yield f"{value}, acknowledged at {s.partition}:{s.offset}, was never seen by {name}"
            elif seen > late and name != "final":
                yield f"{value}, acknowledged at {s.partition}:{s.offset}, was seen by {name} {seen - late:.1f} s too late"


def duplicate(run: Run):
    """P3: a value of an idempotent producer has one offset; unless the producer itself gave it another number."""
    for value, at in run.seen.items():
        s = run.sends.get(value)
        if s and s.promised and len(at) > 1 and not was_renumbered(run, at):
            yield f"{value} is at " + " and at ".join(f"{p}:{o}" for p, o in sorted(at))


def was_renumbered(run: Run, at: set) -> bool:
    """Is each in another epoch of its producer? librdkafka begins a new one for all partitions when a pipelined request
    was refused after its predecessor (OUT_OF_ORDER_SEQUENCE_NUMBER), and with it sends again what it was not told of: no
    broker can know that it has it."""
    numbers = [run.numbered.get(x) for x in at]
    return None not in numbers and len(set(numbers)) == len(numbers)


def renumbered(run: Run) -> int:
    return sum(len(at) > 1 and value in run.sends and run.sends[value].promised and was_renumbered(run, at)
               for value, at in run.seen.items())


def inconsistent_offsets(run: Run):
    """P4: one offset has one value, in all acknowledgements, for all consumers, in all replicas; and was sent at all."""
    for (partition, offset), found in run.records.items():
        if len(found) > 1:
            yield f"{partition}:{offset} is " + " and ".join(sorted(found))
        for value in (v for v in found if v not in run.sends):
            yield f"{value}, at {partition}:{offset}, was never sent"


def poll_order(run: Run):
    """P8: within an assignment offsets grow, and none that holds a record is passed over."""
    known = collections.defaultdict(list)
    for partition, offset in sorted(run.records):
        known[partition].append(offset)
    for span in run.spans:
        expected, its = span.start, known[span.partition]
        for offset in span.offsets:
            if offset < expected:
                yield f"nonmonotonic-poll: {span.consumer} saw {span.partition}:{offset} after {expected - 1}"
            else:
                skipped = its[bisect.bisect_left(its, expected):bisect.bisect_left(its, offset)]
                if skipped:
                    yield f"poll-skip: {span.consumer} went from {span.partition}:{expected - 1} to {offset} past {skipped[:5]}"
            expected = max(expected, offset + 1)


def send_order(run: Run):
    """P9: what one producer sent later to a partition has a higher offset."""
    last = {}
    for value, s in run.promised().items():  # in the order of sending
        if s.offset is None:
            continue
        before = last.get((s.client, s.partition))
        if before and s.offset <= before[1]:
            yield f"{before[0]} at {s.partition}:{before[1]}, sent after it {value} at {s.offset}"
        last[s.client, s.partition] = (value, s.offset)


def committed_offsets(run: Run):
    """P11: what is committed is what was committed last, at most what there is, and past nothing the group did not see."""
    writes, reads = collections.defaultdict(list), collections.defaultdict(list)
    for e in run.commits:
        for p, offset in e["at"].items():
            writes[int(p)].append((e["t0"], e["t"] if e["ok"] else float("inf"), offset))
    for e in run.committed:
        for p, offset in e["at"].items():
            reads[int(p)].append((e["t0"], e["t"], offset))
    for p, its in reads.items():
        surely = [w for w in writes[p] if w[1] != float("inf")]
        for began, ended, offset in its:
            sources = [w for w in writes[p] if w[2] == offset and w[0] <= ended]
            if offset < 0:
                sources.append((float("-inf"), float("-inf"), offset))
            after = [[w for w in surely if w[0] > s[1] and w[1] < began and w[2] != offset] for s in sources]
            if not sources:
                yield f"{p}:{offset} is committed, which nobody has committed"
            elif all(after):
                yield f"{p}:{offset} is committed, after {after[0][0][2]} had been"
    highest = collections.defaultdict(lambda: -1)
    for p, o in run.records:
        highest[p] = max(highest[p], o)
    for p, its in writes.items():
        top = max((offset for _, end, offset in its if end != float("inf")), default=0)
        if top > highest[p] + 1:
            yield f"{p}:{top} is committed, above everything that is known there ({highest[p]})"
        seen = {o for span in run.spans if span.partition == p and span.consumer not in run.readers for o in span.offsets}
        missed = [o for q, o in run.records if q == p and o < top and o not in seen]
        if missed:
            yield f"{p}:{top} is committed, but the group never saw {sorted(missed)[:5]}"


def high_watermark(run: Run):
    """P13, as visible: for one leader epoch the end of what is readable does not go back."""
    highest = {}  # (partition, epoch) -> [(when answered, the highest offset until then)]
    for e in sorted(run.watermarks, key=lambda e: e["t"]):
        its = highest.setdefault((e["p"], e["epoch"]), [])
        before = bisect.bisect_left(its, (e["t0"],)) - 1
        if before >= 0 and its[before][1] > e["o"]:
            yield f"partition {e['p']}, epoch {e['epoch']}: {e['o']} after {its[before][1]}"
        its.append((e["t"], max(e["o"], its[-1][1] if its else -1)))


def replicas_identical(run: Run):
    """P15: the bytes of all replicas are the same below the high watermark, from where the last of them begins."""
    return differing(run.replicas)


def differing(replicas_of: dict):
    for partition, replicas in replicas_of.items():
        start, hw = max(r.log_start for r in replicas), max(r.high_watermark for r in replicas)
        parts = {r.broker: [b for b in r.batches if b.last >= start and b.base < hw] for r in replicas}
        for r in replicas:
            lacked = [b for its in parts.values() for b in its if b.last >= r.end()]
            if r.end() < hw and not (lacked and all(came_later(r, b) for b in lacked)):
                yield f"partition {partition}: broker {r.broker} ends at {r.end()}, the high watermark is {hw}"
        first = replicas[0].broker
        for r in replicas[1:]:
            differ = next((pair for pair in zip(parts[first], parts[r.broker]) if pair[0] != pair[1]), None)
            if differ:
                yield f"partition {partition}: brokers {first} and {r.broker} differ in the batch at {differ[0].base}" \
                      f" (or {differ[1].base}): {differ[0].data[:61].hex()} {differ[1].data[:61].hex()}"


def came_later(r: Replica, batch: Batch) -> bool:
    """The brokers stop one after the other. What a producer had sent with acks=1 over a way that was cut comes when the
    kernel sends it again, which may be then: to a leader that the replica never had."""
    newest = r.batches[-1].leader_epoch if r.batches else -1
    return batch.leader_epoch > newest and batch.numbered[0] < 0


def min_isr(run: Run):
    """P16: with fewer in the ISR than min.insync.replicas nothing is acknowledged to acks=all."""
    small = collections.defaultdict(list)
    for partition, states in run.states.items():
        for s, following in zip(states, states[1:] + [None]):
            if len(s["isr"]) < run.min_isr:
                small[partition].append((s["t"], following["t"] if following else run.ended, s["isr"]))
    for value, s in run.promised().items():
        for began, ended, isr in small[s.partition]:
            if began < s.sent and began + ISR_GRACE_S < s.acked < ended - 1:
                yield f"{value} was acknowledged at {s.partition}:{s.offset} while the ISR was {isr}"


def epochs(run: Run):
    """P17: leader epochs and controller epochs only grow, and a new leader has a new one."""
    for partition, states in run.states.items():
        for a, b in zip(states, states[1:]):
            if b["epoch"] < a["epoch"] or b["leader"] != a["leader"] and b["epoch"] == a["epoch"]:
                yield f"partition {partition}: leader {a['leader']} in {a['epoch']}, then {b['leader']} in {b['epoch']}"
            if b["controller_epoch"] < a["controller_epoch"]:
                yield f"partition {partition}: written by controller epoch {b['controller_epoch']} " \
                      f"after {a['controller_epoch']}"
    its = [e["epoch"] for e in run.zookeeper if e["e"] == "controller_epoch"]
    for a, b in zip(its, its[1:]):
        if b <= a:
            yield f"controller epoch {b} after {a}"


def left_over(run: Run):
    """P18: at the end nothing is on the move, and nobody has of a partition what it is no replica of."""
    for partition, its in run.placings.items():
        if its[-1].is_moving():
            yield f"partition {partition} is still on the move: {its[-1]}"
    for broker, partition in run.strays():
        if not is_left_behind(run, broker, partition):
            yield f"broker {broker} still has partition {partition} of {run.placings[partition][-1].replicas}"


def is_left_behind(run: Run, broker: int, partition: int) -> bool:
    """May it have it, since nobody knows any more that it has to go? Who is not registered when it leaves is not waited for,
    nor is who leaves by a plan that comes over another, and the next controller finds no trace of either; a Kafka forgets
    even those that are gone before they were told. And what a disk did that was full is not judged."""
    its = run.placings[partition]
    last = max((i for i, x in enumerate(its) if broker in x.replicas), default=None)
    if last is None or broker in run.hurt:
        return True
    left = its[last + 1].t
    renewed = any(e["e"] == "controller_epoch" and e["t"] > left - NEARLY_S for e in run.zookeeper)
    away = [e["t"] for e, following in zip(run.registered, [*run.registered[1:], {"t": run.ended}])
            if broker not in e["ids"] and following["t"] > left - NEARLY_S]
    if run.kinds[_controller(run, left)] == "kafka":
        return renewed or bool(away)
    over_another = broker in its[last].adding
    return renewed and (over_another or any(t < left + NEARLY_S for t in away))


def _controller(run: Run, at: float) -> int:
    its = [e for e in run.zookeeper if e["e"] == "controller" and e["id"] is not None]
    return max((e for e in its if e["t"] <= at + NEARLY_S), key=lambda e: e["t"])["id"]


def moves(run: Run) -> dict:
    """How many came to their end, went elsewhere, or were cancelled: of each partition; and who was left behind."""
    counts = collections.Counter({"left behind": sum(is_left_behind(run, *stray) for stray in run.strays())})
    for its in run.placings.values():
        for a, b in zip(its, its[1:]):
            if a.is_moving() and not b.is_moving():
                counts["moves" if set(b.replicas) == a.target() else "moves cancelled"] += 1
            elif a.is_moving() and a.target() != b.target():
                counts["moves over moves"] += 1
    return counts


def answered(run: Run):
    """Every record was answered in the end."""
    if run.left:
        yield f"{run.left} records are left in producers"


def absorbed(run: Run):
    """Clients absorb what happens: no producer is told a fatal error, no consumer loses its position.

    A weaker promise than the others. Under two faults at once Kafka breaks it without losing anything: a leader that
    everybody but the clients is cut from answers as it knows, and its sequence numbers and epochs are of the past."""
    yield from (f"fatal: {text}" for text in run.fatal)
    yield from (f"position lost: {text}" for text in run.resets)


RULES = {"P1 lost-write": lost_write, "P2 unseen": unseen, "P3 duplicate": duplicate,
         "P4 inconsistent-offsets": inconsistent_offsets, "P8 poll-order": poll_order, "P9 nonmonotonic-send": send_order,
         "P11 committed-offsets": committed_offsets, "P13 high-watermark": high_watermark,
         "P15 replicas-differ": replicas_identical, "P16 min-isr": min_isr, "P17 epochs": epochs,
         "P18 left-over": left_over, "answered": answered, "absorbed": absorbed}


def check(run: Run) -> list:
    return [Violation(rule, text) for rule, broken in RULES.items() for text in broken(run)]


def report(violations: list, of_each: int = 5) -> str:
    """Some of each rule, and how many there are."""
    by_rule = collections.defaultdict(list)
    for v in violations:
        by_rule[v.rule].append(v)
    lines = []
    for rule, its in by_rule.items():
        lines += [f"{rule}: {len(its)}", *(f"    {v.text}" for v in its[:of_each])]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--replicas", type=pathlib.Path)
    parser.add_argument("--acks-one-too", action="store_true")
    args = parser.parse_args()
    run = Run(args.directory, args.replicas, args.acks_one_too)
    violations = check(run)
    print(report(violations) or f"nothing is wrong: {len(run.promised())} acknowledged, {len(run.seen)} seen, "
          f"{sum(len(r) for r in run.replicas.values())} replicas")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
