"""A log directory that a real Kafka 3.9.1 wrote (storage/tests/kafka-data-dir), served without the ZooKeeper it had."""

import pathlib
import re
import shutil

import pytest

from harness import broker as brokers
from harness import clients, paths
from harness.clients import kcat
from harness.life import LIVES, between

pytestmark = [
    pytest.mark.skipif(bool(clients.kcat_missing()), reason=f"skipped, because {clients.kcat_missing()}"),
    pytest.mark.skipif(brokers.coordination() == "zookeeper", reason="a new chroot does not know the topics of a directory"),
]
WRITTEN = paths.ROOT / "storage" / "tests" / "kafka-data-dir"


def new_broker() -> brokers.Broker:
    b = brokers.new_broker({"broker.id": 4, "log.retention.check.interval.ms": 100})
    shutil.copytree(WRITTEN, b.data_dir, ignore=shutil.ignore_patterns("README.md", "decoded.txt"))
    return b


@pytest.fixture(scope="module")
def broker():
    """Without the last segment of txn, where a transaction was left open: see test_open_transaction."""
    b = new_broker()
    for file in (*(b.data_dir / "txn-0").glob("*21.*"), *(b.data_dir / "txn-0").glob("*22.snapshot")):
        file.unlink()
    b.start()
    yield b
    b.destroy()


def decoded(partition: str) -> list[tuple[str, str]]:
    """Offsets and values of data records, as Kafka's dump tool printed them."""
    found, control, wanted = [], False, False
    for line in (WRITTEN / "decoded.txt").read_text(errors="replace").splitlines():
        if line.startswith("Dumping"):
            wanted = line.startswith(f"Dumping {partition}/") and line.endswith(".log")
        elif line.startswith("baseOffset"):
            control = "isControl: true" in line
        elif wanted and not control and (m := re.match(r"\| offset: (\d+) ", line)):
            found.append((m[1], line.partition(" payload: ")[2]))  # a null value has none
    return found


@pytest.mark.parametrize("life", LIVES)
def test_records(broker, life):
    between(broker, life)
    for topic in ("plain", "codecs", "idem", "lat", "old"):
        got = kcat("-b", broker.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%o %s\n")
        want = [f"{offset} {value}".rstrip() for offset, value in decoded(f"{topic}-0")]
        assert [line.rstrip() for line in got] == want, topic


def test_start_offset(broker):
    got = kcat("-b", broker.bootstrap, "-C", "-t", "trim", "-o", "beginning", "-e", "-q", "-f", "%o\n")
    assert got == [str(o) for o in range(7, 12)]


def test_aborted_records_are_hidden(broker):
    read = ("-b", broker.bootstrap, "-C", "-t", "txn", "-o", "beginning", "-e", "-q")
    assert kcat(*read, "-X", "isolation.level=read_committed") == ["c1", "c2", "c3", "c4", "with-offsets"]
    everything = kcat(*read, "-X", "isolation.level=read_uncommitted")
    assert {"a1", "a2", "a3", "a4", "open-first"} < set(everything)


def test_open_transaction():
    """Refused with one line, and left as clean as it was: Kafka goes on there without recovery."""
    b = new_broker()
    before = files(b.data_dir)
    try:
        with pytest.raises(RuntimeError) as refusal:
            b.start()
        assert (f"log directory {b.data_dir}: txn-0 has an open transaction (producer id 1, since offset 21); "
                "let Apache Kafka finish or abort it first") in str(refusal.value)
        changed = {name for name, data in files(b.data_dir).items()
                   if before.get(name) != data and not name.startswith("ottla-coordination.db")}
        # What a load does in Kafka too: of two snapshots above the last segment the older one goes, epochs that
        # begin below the log's start are cut to it.
        assert changed == {"comp-0/leader-epoch-checkpoint"}
        assert before.keys() - files(b.data_dir).keys() == {"plain-0/00000000000000000043.snapshot"}
    finally:
        b.destroy()


def files(directory: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
