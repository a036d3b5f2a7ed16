"""A log directory that a real Kafka 3.9.1 wrote (storage/tests/kafka-data-dir), served without the ZooKeeper it had."""

import pathlib
import re
import shutil

import pytest

from harness import broker as brokers
from harness import clients, paths
from harness.clients import kcat
from harness.life import LIVES, between
from harness.wait import wait_for

pytestmark = [
    pytest.mark.skipif(bool(clients.kcat_missing()), reason=f"skipped, because {clients.kcat_missing()}"),
    pytest.mark.skipif(brokers.coordination() == "zookeeper", reason="a new chroot does not know the topics of a directory"),
]
WRITTEN = paths.ROOT / "storage" / "tests" / "kafka-data-dir"


def new_broker(more: dict | None = None) -> brokers.Broker:
    b = brokers.new_broker({"broker.id": 4, "log.retention.check.interval.ms": 100, **(more or {})})
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
    """It is there, and ended by its coordinator: its time was over long ago."""
    b = new_broker({"transaction.abort.timed.out.transaction.cleanup.interval.ms": 100})
    try:
        b.start()

        def end(isolation: int) -> int:
            answer = clients.ask_once(b, "ListOffsets", 2, {"replica_id": -1, "isolation_level": isolation, "topics": [
                {"name": "txn", "partitions": [{"partition_index": 0, "timestamp": -1}]}]})
            return answer["topics"][0]["partitions"][0]["offset"]
        wait_for(lambda: end(1) == end(0) == 23, 10, "the marker behind the open transaction's record")
    finally:
        b.destroy()
