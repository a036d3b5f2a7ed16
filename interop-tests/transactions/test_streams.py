"""Kafka Streams with exactly_once_v2: counts by key in a store, which is made anew from its changelog.

Every record makes its key's count one higher, and every count is written: of each key the output has to be 1, 2, 3, …
to a reader of committed records, in this order, each once. The program and the broker are killed (-9) in turn, and the
program's directory is removed. OTTLA_KILLS sets how often: 40 in the whole run, 4 in the slice.
"""

import os
import pathlib
import random
import re
import shutil
import tempfile
import threading
import time

import pytest

from harness import clients, dump_log, toolhost
from harness.life import unique
from harness.process import Process
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from . import programs, seen  # noqa: E402
from .copiers import PATIENT  # noqa: E402

VERSION = "streams-3.9.1"
KILLS = int(os.environ.get("OTTLA_KILLS", 0)) or (40 if os.environ.get("OTTLA_INTEROP") == "all" else 4)
SEED = int(os.environ.get("OTTLA_SEED", 0)) or random.randrange(1, 1 << 31)
KEYS, PARTITIONS = 8, 2
pytestmark = [pytest.mark.skipif(bool(programs.missing(VERSION)), reason=f"skipped, because {programs.missing(VERSION)}"),
              pytest.mark.client("Kafka Streams")]


class Counted:
    """What is fed, and what a reader of committed records has seen: both stay up."""

    def __init__(self, b, source: str, to: str):
        self.sent, self.seen, self.errors = [0] * KEYS, [[] for _ in range(KEYS)], []
        self._stop, self._source, self._to = threading.Event(), source, to
        self._conf = {"bootstrap.servers": b.bootstrap, "metadata.recovery.strategy": "none", **PATIENT}
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._feed, self._read)]
        for t in self._threads:
            t.start()

    def _feed(self) -> None:
        p = ck.Producer({**self._conf, "enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 1})
        while not self._stop.is_set():
            behind = sum(self.sent) - sum(map(len, self.seen))
            if behind < 500:
                key = sum(self.sent) % KEYS
                p.produce(self._source, f"{self.sent[key]}", key=f"key{key}", partition=key % PARTITIONS,
                          on_delivery=lambda e, _: e and self.errors.append(str(e)))
                self.sent[key] += 1
            p.poll(0.02 if behind >= 500 else 0.001)
        if p.flush(60):
            self.errors.append("records are left in the producer")

    def _read(self) -> None:
        c = ck.Consumer({**self._conf, "group.id": "not used", "enable.auto.commit": False, "auto.offset.reset": "error",
                         "isolation.level": "read_committed"})
        c.assign([ck.TopicPartition(self._to, p, 0) for p in range(PARTITIONS)])
        while not self._stop.is_set() or sum(map(len, self.seen)) < sum(self.sent) and not self.errors:
            for m in c.consume(1000, 0.05):
                if m.error() is None:
                    self.seen[int(m.key()[3:])].append(int(m.value()))
        c.close()

    def count(self) -> int:
        return sum(map(len, self.seen))

    def finish(self) -> None:
        self._stop.set()
        for t in self._threads:
            t.join(90)
        assert not self.errors, self.errors[:3]

    def check(self, values: list) -> None:
        for key, sent in enumerate(self.sent):
            wrong = next((i for i, v in enumerate(values[key]) if v != i + 1), None)
            assert wrong is None, f"key {key}: after {values[key][max(0, wrong - 3):wrong]} comes {values[key][wrong]}"
            assert len(values[key]) == sent, f"key {key}: {len(values[key])} of {sent}"


@pytest.mark.once
def test_counts(broker):
    rng, began = random.Random(SEED), time.monotonic()
    print(f"OTTLA_SEED={SEED}")
    source, to = (clients.create_topic(broker, unique(f"counts-{what}"), PARTITIONS) for what in ("in", "out"))
    application = unique("counts")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ottla-interop-streams-"))
    said = directory / "log"

    def start():
        return Process("Counts", [*programs.java("Counts", VERSION), broker.bootstrap, application, source, to,
                                  directory / "state"], said)
    counted, program, kills = Counted(broker, source, to), start(), {"program": 0, "broker": 0}
    try:
        for kill in range(KILLS):
            enough = counted.count() + rng.randrange(100, 1000)
            wait_for(lambda: counted.count() >= enough or counted.errors, 90, f"counts after {kill} kills\n{program.tail()}",
                     interval_s=0.001)
            assert not counted.errors, counted.errors[:3]
            if kill % 2:
                broker.crash()
                kills["broker"] += 1
            else:
                program.kill()
                shutil.rmtree(directory / "state")
                kills["program"] += 1
                program = start()
        enough = counted.count() + 100
        wait_for(lambda: counted.count() >= enough, 90, "counts after the last kill")
        counted.finish()
        counted.check(counted.seen)
        assert program.terminate() == 0, program.tail()
        broker.restart()
        seen.nothing_open(broker, to, PARTITIONS)
        by_partition = seen.committed(broker, to, PARTITIONS)
        assert sum(map(len, by_partition)) == sum(counted.sent)
        assert [offset for _, offset in seen.offsets(broker, application, source, PARTITIONS)] == [
            sum(n for key, n in enumerate(counted.sent) if key % PARTITIONS == p) for p in range(PARTITIONS)]
        restored = [int(n) for n in re.findall(r"^restored (\d+)", said.read_text(), re.M)]
        print(f"EXPOSURE of Kafka Streams, seed {SEED}, {time.monotonic() - began:.0f} s: {sum(counted.sent)} records, "
              f"kills {kills}, stores restored from {restored} records, "
              f"{said.read_text().count('replaced ')} threads replaced")
        assert all(kills.values()) and any(restored), "no exposure"
    except AssertionError:
        print(program.tail(60))
        raise
    finally:
        program.kill()
        counted._stop.set()
        counted.errors.append("over")
        shutil.rmtree(directory, ignore_errors=True)
    if not toolhost.missing("3.9.1"):
        broker.stop()
        dump_log.check_everything(broker.data_dir)
