"""What stands in a log: batches and their records, markers, the records of __transaction_state."""

import pathlib
import struct
from dataclasses import dataclass, field

from wire import records
from wire.schema import Reader

STATES = ("Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead",
          "PrepareEpochFence")


@dataclass
class Batch:
    base_offset: int
    leader_epoch: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int
    records: list = field(repr=False)

    @property
    def control(self) -> bool:
        return bool(self.attributes & 0x20)

    def marker(self) -> tuple:
        """What a control batch says, and the coordinator's epoch."""
        kind = struct.unpack(">hh", self.records[0]["key"])[1]
        return ("ABORT", "COMMIT")[kind], struct.unpack(">hi", self.records[0]["value"])[1]


def batches(data: bytes, at: int = 0):
    """(batch, where it ends) of all that are whole. Checksums are not looked at."""
    while at + 61 <= len(data):
        base_offset, length = struct.unpack_from(">qi", data, at)
        end = at + 12 + length
        if length < 49 or end > len(data):
            return
        epoch, _, _, attributes, *rest = struct.unpack_from(">ibIhiqqqhii", data, at + 12)
        b = Batch(base_offset, epoch, attributes, *rest, None)
        b.records = records._records(records._payload(attributes & 7, data[at + 61:end]), b.count)
        yield b, end
        at = end


def of_partition(directory: pathlib.Path) -> list:
    """All batches of a partition's directory."""
    return [b for path in sorted(directory.glob("*.log")) for b, _ in batches(path.read_bytes())]


@dataclass
class Transaction:
    """The value of a record of __transaction_state."""

    producer_id: int
    epoch: int
    timeout_ms: int
    state: str
    partitions: list | None
    updated_ms: int
    started_ms: int


def _string(r: Reader) -> str:
    return r.take(r.fixed(">h")).decode()


def transaction(record: dict) -> tuple:
    """(transactional id, its Transaction, or None when it is forgotten)"""
    r = Reader(record["key"])
    assert r.fixed(">h") == 0
    name = _string(r)
    if record["value"] is None:
        return name, None
    r = Reader(record["value"])
    assert r.fixed(">h") == 0
    producer_id, epoch, timeout, state = r.fixed(">q"), r.fixed(">h"), r.fixed(">i"), STATES[r.fixed(">b")]
    count, partitions = r.fixed(">i"), None
    if count >= 0:
        partitions = []
        for _ in range(count):
            topic = _string(r)
            partitions += [(topic, r.fixed(">i")) for _ in range(r.fixed(">i"))]
    return name, Transaction(producer_id, epoch, timeout, state, partitions, r.fixed(">q"), r.fixed(">q"))


class TransactionState:
    """The last record of every id in a broker's __transaction_state, read further each time it is asked."""

    def __init__(self, broker):
        self._broker, self._read, self._last = broker, {}, {}

    def __call__(self) -> dict:
        for path in sorted(self._broker.data_dir.glob("__transaction_state-*/*.log")):
            at = self._read.get(path, 0)
            with open(path, "rb") as f:
                f.seek(at)
                for b, end in batches(f.read()):
                    self._read[path] = at + end
                    self._last.update(transaction(r) for r in b.records)
        return dict(self._last)
