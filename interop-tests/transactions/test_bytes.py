"""What a broker writes for transactions, beside what Apache Kafka 3.9.1 writes for the same requests.

Compared are all batches of the data, of __transaction_state and of __consumer_offsets with every field and record, the
.txnindex and the .snapshot files, after a clean stop. Masked are times (t), producer ids, and checksums, which kafka-dump-log
looks at. The topic has tiny segments.
"""

import difflib
import re
import struct

import pytest

from harness import broker as brokers
from harness import clients, dump_log, zookeeper
from harness.coordinators import SOON, coordinators_there
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from . import log, seen  # noqa: E402
from .hand import ByHand, write_markers  # noqa: E402

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(bool(zookeeper.missing()), reason=f"skipped, because {zookeeper.missing()}")]
A, B = ("a", 0), ("a", 1)


def play(b) -> list:
    """Requests of which each is at its end before the next; the producers, by age."""
    clients.create_topic(b, "a", 2, segment_bytes=400)
    first, second, third, late, stays = (ByHand(b, name, 1000 if name == "late" else 300000)
                                         for name in ("first", "second", "third", "late", "stays"))
    for p in (first, second, third, late, stays):
        p.init()
    # a commit with offsets, and one partition to which nothing is written
    first.add(A)
    first.produce(*A, "1", "2")
    first.add(A)
    first.add(A, B)
    first.offsets("group", "a", 0, 2)
    first.offsets("group", "a", 1, 0)
    first.end(True)
    seen.settled(b, "first")
    first.end(True)
    # an abort, the sequence goes on; then one within another's transaction
    first.add(A)
    first.produce(*A, "3")
    first.offsets("group", "a", 0, 3)
    first.end(False)
    seen.settled(b, "first")
    second.add(A, B)
    second.produce(*A, "4")
    first.add(A)
    first.produce(*A, "5")
    first.end(False)
    seen.settled(b, "first")
    second.produce(*A, "6")
    second.produce(*B, "7")
    second.end(False)
    seen.settled(b, "second")
    # nothing in it; a new epoch; another that fences one that is open; once more with the pair it has
    third.add(B)
    third.end(True)
    seen.settled(b, "third")
    third.init()
    third.add(B)
    third.produce(*B, "8")
    third.init()
    third.init(renew=True)
    third.end(True, expect=48)
    # too late
    late.add(B)
    late.produce(*B, "9")
    wait_for(lambda: seen.describe(b, "late")["transaction_state"] == "CompleteAbort", 30, "the timeout")
    # markers that no coordinator sent: of a producer that is not known, and where nothing is open
    write_markers(b, 4711, 3, True, [B], coordinator_epoch=2)
    write_markers(b, second.producer_id, second.epoch, False, [B], coordinator_epoch=0)
    # open at the end
    stays.add(A)
    stays.produce(*A, "10", "11")
    stays.offsets("group", "a", 1, 5)
    return [first, second, third, late, stays]


class Written:
    """Lines that say what is in the files."""

    def __init__(self, b, producers: list):
        self._names = {p.producer_id: p.name for p in producers}
        self.lines = []
        for directory in sorted(b.data_dir.glob("*-*")):
            if re.fullmatch(r"(a|__transaction_state|__consumer_offsets)-\d+", directory.name):
                for path in sorted(directory.iterdir()):
                    show = {".log": self._log, ".txnindex": self._txnindex, ".snapshot": self._snapshot}.get(path.suffix)
                    if show:
                        self.lines.append(f"{directory.name}/{path.name}, {'empty' if not path.stat().st_size else 'with'}")
                        self.lines += [f"    {line}" for line in show(path.read_bytes(), directory.name)]

    def _who(self, producer_id: int):
        return self._names.get(producer_id, producer_id)

    @staticmethod
    def _time(ms: int):
        return "t" if ms > 0 else ms

    def _log(self, data: bytes, name: str):
        at = 0
        for x, at in log.batches(data):
            yield (f"{x.base_offset}+{x.last_offset_delta} epoch {x.leader_epoch} attributes {x.attributes:#x} "
                   f"{self._time(x.base_timestamp)} {self._time(x.max_timestamp)} {self._who(x.producer_id)} "
                   f"{x.producer_epoch} sequence {x.base_sequence} count {x.count}")
            for r in x.records:
                yield f"  {r['attributes']} {r['timestamp_delta']} {r['offset_delta']} {self._record(r, x, name)} {r['headers']}"
        assert at == len(data), f"{name}: {len(data) - at} bytes are left over"

    def _record(self, r: dict, x, name: str) -> str:
        if x.control:
            return f"{x.marker()} {r['key'].hex()} {r['value'].hex()}"
        if name.startswith("__transaction_state"):
            transactional_id, t = log.transaction(r)
            return (f"{transactional_id}: {self._who(t.producer_id)} {t.epoch} {t.timeout_ms} {t.state} "
                    f"{t.partitions if t.partitions is None else sorted(t.partitions)} "
                    f"{self._time(t.updated_ms)} {self._time(t.started_ms)} {len(r['value'])}")
        value = r["value"]
        if name.startswith("__consumer_offsets"):
            assert struct.unpack_from(">h", r["key"])[0] == 1, r
            return f"{r['key']} {value[:-8]} {self._time(struct.unpack('>q', value[-8:])[0])}"
        return f"{r['key']} {value}"

    def _txnindex(self, data: bytes, _):
        for version, producer_id, first, last, stable in struct.iter_unpack(">hqqqq", data):
            yield f"{version} {self._who(producer_id)} {first} {last} {stable}"

    def _snapshot(self, data: bytes, _):
        version, _, count = struct.unpack_from(">hIi", data)
        yield f"version {version}, {count}"
        rows = list(struct.iter_unpack(">qhiqiqiq", data[10:]))
        assert len(rows) == count
        for producer_id, epoch, sequence, offset, delta, time, coordinator_epoch, started in sorted(rows):
            yield (f"{self._who(producer_id)} {epoch} {sequence} {offset} {delta} {self._time(time)} {coordinator_epoch} "
                   f"{started}")


def write(kind) -> list:
    b = kind(SOON)
    try:
        b.start()
        coordinators_there(b)
        producers = play(b)
        b.stop()
        assert dump_log.check_everything(b.data_dir).get(".txnindex", 0) > 0
        return Written(b, producers).lines
    finally:
        b.destroy()


def test_the_same_is_written():
    theirs, ours = write(brokers.Kafka), write(brokers.KINDS[brokers.kind_under_test()])
    assert any("Ongoing" in line for line in theirs) and any("COMMIT" in line for line in theirs)
    differs = "\n".join(difflib.unified_diff(theirs, ours, "Kafka", "here", lineterm="", n=3))
    assert not differs, differs
