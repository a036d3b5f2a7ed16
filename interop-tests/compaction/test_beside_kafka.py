"""One directory, cleaned by Apache Kafka 3.9.1 and, from a copy of it, by Ottla in its place.

Kafka writes the data while its cleaner is off: keys, tombstones, all codecs, sequences, transactions of both ends. Then each
kind cleans its copy, more is written, and it cleans again, when deletion markers and those of transactions have expired.
Compared is what kafka-dump-log says of every log, and the entries of the indexes. Masked are what depends on the time of the clean (horizons are "set"),
sizes and checksums of what was compressed again, and the leader's epoch.
"""

import difflib
import random
import re
import shutil
import struct
import time

import pytest

from harness import broker as brokers
from harness import clients, dump_log, toolhost, zookeeper
from harness.coordinators import SOON, coordinators_there
from harness.wait import wait_for
from transactions import seen
from transactions.hand import ByHand
from wire import records

VERSION = "3.9.1"
WHY = toolhost.missing(VERSION) or zookeeper.missing()
pytestmark = [pytest.mark.once, pytest.mark.skipif(bool(WHY), reason=f"skipped, because {WHY}")]
SEED = 11
CLEANS = {"log.cleaner.enable": "true", "log.cleaner.backoff.ms": "200", "log.cleaner.min.cleanable.ratio": "0.0001",
          "log.index.interval.bytes": "400", "log.initial.task.delay.ms": "100"}
KEEPS = {**CLEANS, "log.cleaner.enable": "false"}
TOPICS = {  # name -> its options
    "plain": {"segment_bytes": 3000, "delete_retention_ms": 60000},
    "expires": {"segment_bytes": 2000, "delete_retention_ms": 500},
    "gzip": {"segment_bytes": 2500, "delete_retention_ms": 60000},
    "transactions": {"segment_bytes": 1200, "delete_retention_ms": 500},
    "appended": {"segment_bytes": 2000, "message_timestamp_type": "LogAppendTime", "delete_retention_ms": 60000},
}


def produce(b, topic: str, batch: bytes) -> None:
    answer = clients.ask_once(b, "Produce", 9, {
        "transactional_id": None, "acks": -1, "timeout_ms": 10000,
        "topic_data": [{"name": topic, "partition_data": [{"index": 0, "records": batch}]}]})
    assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0, answer


class Writer:
    """The same batches for every broker, in each of the two parts."""

    def __init__(self):
        self.began = int(time.time() * 1000) - 5000
        self.transactional = {}

    def _records(self, rng, keys: int) -> list:
        return [{"key": f"key-{rng.randrange(keys)}", "timestamp_delta": i,
                 "value": None if rng.random() < 0.2 else f"value {rng.random()} {'x' * rng.randrange(60)}",
                 "headers": {"h": "1"} if rng.random() < 0.1 else {}} for i in range(rng.randrange(1, 7))]

    def plain(self, b, part: int) -> None:
        rng = random.Random(f"{SEED} {part}")
        for topic in ("plain", "expires", "gzip", "appended"):
            sequences = {}
            for n in range(60 if part == 0 else 20):
                batch = {"records": self._records(rng, 12), "base_timestamp": self.began + 1000 * part + 10 * n}
                if topic == "gzip" and n % 3:
                    batch["codec"] = ("gzip", "snappy", "lz4", "zstd")[n % 4]
                if n % 2 and topic != "appended":
                    producer = 900000 + rng.randrange(3)
                    batch.update(producer_id=producer + 10 * part, producer_epoch=0,
                                 base_sequence=sequences.get(producer, 0))
                    sequences[producer] = batch["base_sequence"] + len(batch["records"])
                produce(b, topic, records.batch(batch))

    def transactions(self, b, part: int) -> None:
        rng = random.Random(f"{SEED} transactions {part}")
        where = ("transactions", 0)
        producers = []
        for name in ("a", "b", "c"):
            p = self.transactional.setdefault(name, ByHand(b, name))
            p.connect(b)
            p.init()
            producers.append(p)
        open_ = set()
        for n in range(50 if part == 0 else 16):
            p = rng.choice(producers)
            if p not in open_:
                p.add(where)
                open_.add(p)
            p.produce(*where, *self._records(rng, 8), timestamp=self.began + 1000 * part + 10 * n)
            if rng.random() < 0.4:
                self._end(b, p, rng.random() < 0.6)
                open_.discard(p)
            if n % 5 == 0:
                produce(b, "transactions", records.batch({"records": self._records(rng, 8),
                                                          "base_timestamp": self.began + 1000 * part + 10 * n + 5}))
        for p in sorted(open_, key=lambda p: p.name):
            self._end(b, p, True)

    @staticmethod
    def _end(b, p, commits: bool) -> None:
        p.end(commits)
        seen.settled(b, p.name)

    def write(self, b, part: int) -> None:
        coordinators_there(b)
        self.plain(b, part)
        self.transactions(b, part)


def active_bases(b) -> dict:
    return {f"{t} 0": max(int(p.stem) for p in (b.data_dir / f"{t}-0").glob("*.log")) for t in TOPICS}


def cleaned_to(b) -> dict:
    path = b.data_dir / "cleaner-offset-checkpoint"
    lines = path.read_text().splitlines()[2:] if path.exists() else []
    return {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}


def run_with(b, options: dict, what) -> None:
    b.properties = {**b.properties, **options}
    b.start()
    what(b)
    b.stop()


def wait_until_clean(b) -> None:
    want = active_bases(b)
    wait_for(lambda: want.items() <= cleaned_to(b).items(), 60, f"{b.kind} to have cleaned up to {want}")


HORIZON = re.compile(r"deleteHorizonMs: OptionalLong\[\d+\]")
MASKED = re.compile(r" (position|size|crc|partitionLeaderEpoch): -?\d+")


def lines_of(b) -> list:
    """Of every file of the topics."""
    out = []
    for topic in TOPICS:
        directory = b.data_dir / f"{topic}-0"
        dumped = dump_log.dump(sorted(directory.glob("*.log")), "--deep-iteration", "--print-data-log")
        for path in directory.glob("*index"):
            if path.suffix == ".timeindex" and topic in ("appended", "transactions"):
                continue  # by the broker's time, which may be the same for two batches
            entry = {".index": ">ii", ".timeindex": ">qi", ".txnindex": ">hqqqq"}[path.suffix]
            names = "offset {} position {}" if path.suffix == ".index" else "timestamp: {} offset {}"
            if path.suffix == ".index" and topic == "gzip":
                names = "offset {}"  # two compressors of the same records may differ by a byte
            names = names if path.suffix != ".txnindex" else "version {} producer {} first {} last {} stable {}"
            dumped[path] = "\n".join(names.format(*e) for e in struct.iter_unpack(entry, path.read_bytes()) if any(e))
        for path in sorted(dumped):
            control = False
            out.append(f"{topic}/{path.name}{'' if path.stat().st_size else ' empty'}")
            for line in dumped[path].splitlines():
                control = "isControl: true" in line if line.startswith("baseOffset") else control
                line = MASKED.sub("", HORIZON.sub("deleteHorizonMs: set", line))
                if control or topic == "appended":
                    line = re.sub(r"(CreateTime|LogAppendTime|timestamp): \d+", r"\1: t", line)
                out.append(f"    {line}")
    return out


def clean(kind, of, kept, writer: Writer) -> tuple:
    """What is there after each of the two cleans."""
    shutil.rmtree(of.data_dir)
    shutil.copytree(kept, of.data_dir)
    b = kind.in_place_of(of)
    run_with(b, CLEANS, wait_until_clean)
    once = lines_of(b)
    run_with(b, KEEPS, lambda b: writer.write(b, 1))
    time.sleep(1)  # until what was given 500 ms has expired
    run_with(b, CLEANS, wait_until_clean)
    return once, lines_of(b)


def differences(theirs: list, ours: list) -> str:
    return "\n".join(difflib.unified_diff(theirs, ours, "Kafka", "here", lineterm="", n=2))


def test_the_same_is_left(tmp_path):
    kafka, writer = brokers.Kafka({**SOON, **KEEPS}), Writer()
    try:
        kafka.start()
        for name, options in TOPICS.items():
            clients.create_topic(kafka, name, 1, cleanup_policy="compact", **options)
        writer.write(kafka, 0)
        kafka.stop()
        before = lines_of(kafka)
        kept = tmp_path / "kept"
        shutil.copytree(kafka.data_dir, kept)
        theirs = clean(brokers.Kafka, kafka, kept, writer)
        ours = clean(brokers.KINDS[brokers.kind_under_test()], kafka, kept, writer)
        exposure = {"before": len(before), "cleaned": len(theirs[0]), "cleaned again": len(theirs[1]),
                    "horizons": sum("deleteHorizonMs: set" in x for x in theirs[0]),
                    "emptied": sum(" count: 0 " in x for x in theirs[0]),
                    "markers": sum("isControl: true" in x for x in theirs[0])}
        print(f"lines: {exposure}")
        assert len(theirs[0]) < len(before) / 2 and all(exposure.values()), exposure
        for n, (theirs_then, ours_then) in enumerate(zip(theirs, ours), 1):
            differs = differences(theirs_then, ours_then)
            assert not differs, f"after clean {n}:\n{differs[:6000]}"
    finally:
        kafka.destroy()
