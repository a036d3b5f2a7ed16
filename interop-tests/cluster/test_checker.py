"""The checker itself: it lets a right history pass, and catches one that is wrong in each way it knows."""

import json
import struct

import pytest

from cluster import checker

TOPIC = "t"
PARTITIONS = 2
RECORDS = 10  # of each producer in each partition
LZ4 = 3


def batch(base: int, values: list, epoch: int = 0, producer: tuple = (5, 0), codec: int = 0) -> bytes:
    """A record batch of format 2, as far as the checker reads it: not into what says that it is compressed."""
    def varint(n):
        n, out = n << 1 ^ n >> 63, b""
        while n > 0x7F:
            out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
        return out + bytes([n])

    records = b""
    for delta, value in enumerate(values):
        body = b"\0" + varint(0) + varint(delta) + varint(-1) + varint(len(value)) + value.encode() + varint(0)
        records += varint(len(body)) + body
    body = struct.pack(">ibIhiqqqhii", epoch, 2, 0, codec, len(values) - 1, 0, 0, *producer, -1, len(values)) + records
    return struct.pack(">qi", base, len(body)) + body


class Told:
    """A right history, whose parts a test may falsify before it is written: two producers, a reader, a final reader, a
    member that commits every second record, two replicas."""

    def __init__(self):
        self.log = {p: [] for p in range(PARTITIONS)}  # what is at each offset
        self.files = {name: [] for name in ("all0", "one0", "reader0", "final", "member0", "watermarks", "zookeeper",
                                            "run")}
        self.time = 100.0
        files = self.files
        for name, acks in (("all0", "all"), ("one0", "1")):
            self.add(name, "client", role="producer", name=name, acks=acks)
        self.add("reader0", "client", role="reader", name="reader0")
        self.add("final", "client", role="reader", name="final", to_end="1")
        self.add("member0", "client", role="member", name="member0", group="g")
        self.add("watermarks", "client", role="watermarks", name="watermarks")
        self.add("run", "topic", name=TOPIC, partitions=PARTITIONS, min_insync_replicas=2, kinds=["ottla", "ottla", "kafka"])
        for name in ("reader0", "member0"):
            self.add(name, "assign", at={p: 0 for p in range(PARTITIONS)})
        for p in range(PARTITIONS):
            self.state(p, 0, 0, [0, 1])
            self.placing(p, [0, 1])
        self.registered(0, 1, 2)
        self.office(0, 1)
        for n in range(RECORDS):
            for p in range(PARTITIONS):
                for name in ("all0", "one0"):
                    self.send(name, f"{name}-{n * PARTITIONS + p}", p)
                self.add("watermarks", "watermark", t0=self.time, p=p, broker=0, o=len(self.log[p]), epoch=0)
                if n % 2:
                    self.commit(p, len(self.log[p]))
        self.add("run", "healed")
        self.add("final", "assign", at={p: 0 for p in range(PARTITIONS)})
        for p, its in self.log.items():
            for o, value in enumerate(its):
                self.add("final", "poll", p=p, o=o, v=value)
        self.add("final", "end", at={p: len(its) for p, its in self.log.items()})
        self.add("all0", "left", count=0)
        self.replicas = {n: {p: [(o, batch(o, [v])) for o, v in enumerate(its)] for p, its in self.log.items()}
                         for n in range(2)}
        assert set(files) == set(self.files)

    def add(self, name: str, event: str, /, **what) -> dict:
        self.time += 0.01
        self.files[name].append({"e": event, "t": self.time, **what})
        return self.files[name][-1]

    def state(self, p: int, leader: int, epoch: int, isr: list) -> None:
        self.add("zookeeper", "state", p=p, leader=leader, epoch=epoch, isr=isr, controller_epoch=1)

    def placing(self, p: int, replicas: list, adding=(), removing=()) -> None:
        self.add("zookeeper", "placing", p=p, replicas=replicas, adding=adding, removing=removing)

    def registered(self, *ids: int) -> None:
        self.add("zookeeper", "registered", ids=ids)

    def office(self, controller: int, epoch: int) -> None:
        self.time += 2 * checker.NEARLY_S
        self.add("zookeeper", "controller", id=controller)
        self.add("zookeeper", "controller_epoch", epoch=epoch)
        self.time += 2 * checker.NEARLY_S

    def send(self, name: str, value: str, p: int) -> None:
        offset = len(self.log[p])
        self.add(name, "send", v=value, p=p)
        self.add(name, "ack", v=value, p=p, o=offset)
        self.log[p].append(value)
        for reader in ("reader0", "member0"):
            self.add(reader, "poll", p=p, o=offset, v=value)

    def commit(self, p: int, offset: int) -> None:
        self.add("member0", "commit", t0=self.time, ok=True, at={p: offset})
        self.add("member0", "committed", t0=self.time, at={p: offset})

    def event(self, name: str, event: str, /, **like) -> dict:
        """The one event of that kind that has these values."""
        (found,) = [e for e in self.files[name] if e["e"] == event and like.items() <= e.items()]
        return found

    def forget(self, value: str, *names: str) -> None:
        """These clients never saw it."""
        for name in names:
            self.files[name] = [e for e in self.files[name] if not (e["e"] == "poll" and e["v"] == value)]

    def violations(self, tmp_path) -> set:
        for name, events in self.files.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
        for n, partitions in self.replicas.items():
            log_dir = tmp_path / "replicas" / str(n)
            rows = [f"{TOPIC} {p} {len(self.log[p])}\n" for p in partitions]
            for p, batches in partitions.items():
                (log_dir / f"{TOPIC}-{p}").mkdir(parents=True)
                middle = len(batches) // (2 + n)  # replicas roll their segments where they like
                for its in (batches[:middle], batches[middle:]):
                    (log_dir / f"{TOPIC}-{p}" / f"{its[0][0]:020}.log").write_bytes(b"".join(b for _, b in its))
            (log_dir / "replication-offset-checkpoint").write_text(f"0\n{len(rows)}\n{''.join(rows)}")
        run = checker.Run(tmp_path, tmp_path / "replicas")
        self.report = checker.report(checker.check(run))
        return {v.rule.split()[0] for v in checker.check(run)}


@pytest.fixture
def told():
    return Told()


def test_right(told, tmp_path):
    assert told.violations(tmp_path) == set(), told.report


def test_losses_of_acks_one_are_none(told, tmp_path):
    """A tail with acks=1 is cut, and other records come to its offsets."""
    told.add("one0", "send", v="one0-lost", p=0)
    told.add("one0", "ack", v="one0-lost", p=0, o=3)
    assert told.violations(tmp_path) == set(), told.report
    assert {v.rule.split()[0] for v in checker.check(checker.Run(tmp_path, acks_one_too=True))} >= {"P1", "P2", "P4"}


def lost_write(told):
    told.forget("all0-6", "reader0", "member0", "final")
    for replica in told.replicas.values():
        replica[0] = [(o, b) for o, b in replica[0] if told.log[0][o] != "all0-6"]


def lost_at_the_end(told):
    """Above everything seen: the log is shorter than what was acknowledged."""
    told.add("all0", "send", v="all0-last", p=0)
    told.add("all0", "ack", v="all0-last", p=0, o=2 * RECORDS)


def seen_too_late(told):
    told.event("reader0", "poll", v="all0-6")["t"] += checker.UNSEEN_S + 10


def duplicate(told):
    for name in ("reader0", "member0", "final"):
        told.add(name, "poll", p=0, o=2 * RECORDS, v="all0-6")


def twice(told, producer: tuple, codec: int = 0) -> None:
    """A record of partition 0 is there once more at its end, also in the replicas."""
    o = len(told.log[0])
    told.log[0].append("all0-6")
    for name in ("reader0", "member0"):
        told.add(name, "poll", p=0, o=o, v="all0-6")
    last = told.files["final"].index(told.event("final", "end"))
    told.files["final"].insert(last, {"e": "poll", "t": told.time, "p": 0, "o": o, "v": "all0-6"})
    told.event("final", "end")["at"][0] = o + 1
    for replica in told.replicas.values():
        replica[0].append((o, batch(o, ["all0-6"], producer=producer, codec=codec)))


def duplicate_in_the_log(told):
    twice(told, (5, 0))


def compressed_duplicate_in_the_log(told):
    twice(told, (5, 0), LZ4)


def two_values_of_an_offset(told):
    told.event("reader0", "poll", v="all0-6")["v"] = "one0-6"


def a_replica_has_another_value(told):
    o = told.log[0].index("all0-6")
    told.replicas[1][0][o] = (o, batch(o, ["one0-1"]))


def never_sent(told):
    told.forget("one0-6", "reader0", "member0", "final")
    told.files["one0"] = [e for e in told.files["one0"] if e.get("v") != "one0-6"]


def back(told):
    told.add("reader0", "poll", p=0, o=4, v=told.log[0][4])


def skipped(told):
    told.forget("one0-6", "reader0")


def reset(told):
    told.add("reader0", "reset", p=0, error="OFFSET_OUT_OF_RANGE")


def fatal(told):
    told.add("all0", "fatal", error="OUT_OF_ORDER_SEQUENCE_NUMBER")


def sent_out_of_order(told):
    earlier, later = told.event("all0", "ack", v="all0-2"), told.event("all0", "ack", v="all0-4")
    earlier["o"], later["o"] = later["o"], earlier["o"]


def commit_lost(told):
    told.add("member0", "committed", t0=told.time, at={0: 4})


def commit_never_made(told):
    told.add("member0", "committed", t0=told.time, at={0: 5})


def commit_too_high(told):
    told.commit(0, 1000)


def commit_past_unseen(told):
    told.forget("all0-6", "member0")


def watermark_back(told):
    told.add("watermarks", "watermark", t0=told.time, p=0, broker=1, o=RECORDS, epoch=0)


def other_epoch_of_a_batch(told):
    told.replicas[1][0][5] = (5, batch(5, [told.log[0][5]], epoch=1))


def short_replica(told):
    del told.replicas[1][0][-1]


def later(told, epoch: int, producer: tuple) -> None:
    """Replica 0 has one record more than replica 1, of the producer with acks=1."""
    told.add("one0", "send", v="one0-later", p=0)
    o = len(told.log[0])
    told.log[0].append("one0-later")
    told.replicas[0][0].append((o, batch(o, ["one0-later"], epoch=epoch, producer=producer)))


def short_in_one_epoch(told):
    later(told, 0, (-1, -1))


def short_of_a_promise(told):
    later(told, 1, (5, 0))


def acknowledged_below_min_isr(told):
    told.state(0, 0, 0, [0])
    told.time += checker.ISR_GRACE_S + 1
    told.send("all0", "all0-small", 0)
    told.add("final", "poll", p=0, o=2 * RECORDS, v="all0-small")
    told.time += 2
    told.state(0, 0, 0, [0, 1])


def leader_without_epoch(told):
    told.state(0, 1, 0, [0, 1])


def controller_epoch_twice(told):
    told.add("zookeeper", "controller_epoch", epoch=1)


def still_on_the_move(told):
    told.placing(0, [2, 1, 0], [2], [0])


def moved(told, cancelled: bool = False):
    """Broker 2 was a replica, as the first offsets show, and is none any more."""
    told.replicas[2] = {0: told.replicas[0][0][:8]}
    told.placing(0, [0, 1, 2], [2])
    if not cancelled:
        told.placing(0, [0, 1, 2])
        told.placing(0, [0, 1, 2], [], [2])
    told.placing(0, [0, 1])


def moved_under_the_last_office(told):
    told.registered(0, 1)
    moved(told)
    told.registered(0, 1, 2)


def moved_where_it_was_waited_for(told):
    moved(told)
    told.office(1, 2)


def cancelled_under_the_last_office(told):
    told.office(1, 2)
    moved(told, cancelled=True)


def moved_by_a_kafka_that_told_it(told):
    told.office(2, 2)
    moved(told)


def records_left(told):
    told.event("all0", "left")["count"] = 3


@pytest.mark.parametrize("falsify, rules", [
    (lost_write, {"P1", "P2", "P8", "P11"}), (lost_at_the_end, {"P2"}), (seen_too_late, {"P2"}), (duplicate, {"P3"}),
    (duplicate_in_the_log, {"P3"}), (compressed_duplicate_in_the_log, {"P3"}),
    (two_values_of_an_offset, {"P2", "P4"}), (a_replica_has_another_value, {"P4", "P15"}),
    (never_sent, {"P4", "P8", "P11"}), (back, {"P8"}), (skipped, {"P8"}), (reset, {"absorbed"}), (fatal, {"absorbed"}),
    (sent_out_of_order, {"P4", "P9"}), (commit_lost, {"P11"}), (commit_never_made, {"P11"}),
    (commit_too_high, {"P11"}), (commit_past_unseen, {"P8", "P11"}), (watermark_back, {"P13"}),
    (other_epoch_of_a_batch, {"P15"}), (short_replica, {"P15"}), (short_in_one_epoch, {"P15"}), (short_of_a_promise, {"P15"}), (leader_without_epoch, {"P17"}),
    (acknowledged_below_min_isr, {"P15", "P16"}), (controller_epoch_twice, {"P17"}), (records_left, {"answered"}),
    (still_on_the_move, {"P18"}), (moved_under_the_last_office, {"P18"}), (moved_where_it_was_waited_for, {"P18"}),
    (cancelled_under_the_last_office, {"P18"}), (moved_by_a_kafka_that_told_it, {"P18"}),
], ids=lambda x: getattr(x, "__name__", "-".join(sorted(x)) if isinstance(x, set) else x))
def test_falsified(told, tmp_path, falsify, rules):
    """All that is said follows from what was falsified."""
    falsify(told)
    assert told.violations(tmp_path) == rules, told.report


@pytest.mark.parametrize("codec", [0, LZ4])
def test_renumbered_by_its_producer(told, tmp_path, codec):
    """A producer that has begun another epoch sends again what it was not told of; that is counted."""
    twice(told, (5, 1), codec)
    assert told.violations(tmp_path) == set(), told.report
    assert checker.renumbered(checker.Run(tmp_path, tmp_path / "replicas")) == 1


def test_came_after_a_broker_had_stopped(told, tmp_path):
    later(told, 1, (-1, -1))
    assert told.violations(tmp_path) == set(), told.report


def test_acknowledged_without_an_offset(told, tmp_path):
    """A producer is told that the broker had the record already, and not where."""
    told.event("all0", "ack", v="all0-6")["o"] = None
    assert told.violations(tmp_path) == set(), told.report


def left_by_a_plan_over_another(told):
    moved(told, cancelled=True)
    told.office(1, 2)


def left_while_it_was_away(told):
    moved_under_the_last_office(told)
    told.office(1, 2)


def left_by_a_kafka_before_it_died(told):
    told.office(2, 2)
    moved(told)
    told.time += 2 * checker.NEARLY_S
    told.registered(0, 1)
    told.registered(0, 1, 2)


def left_on_a_disk_that_was_full(told):
    moved(told)
    told.add("run", "hurt", brokers=[2])


@pytest.mark.parametrize("how", [left_by_a_plan_over_another, left_while_it_was_away, left_by_a_kafka_before_it_died,
                                 left_on_a_disk_that_was_full], ids=lambda how: how.__name__)
def test_left_behind(told, tmp_path, how):
    """What nobody promises to delete any more is counted, and no replica to be compared."""
    how(told)
    assert told.violations(tmp_path) == set(), told.report
    assert checker.moves(checker.Run(tmp_path, tmp_path / "replicas"))["left behind"] == 1
