"""A disk that is full: what was acknowledged is read, offsets are committed, topics are changed; and records are taken
again as soon as there is room, without a restart.

The disk is a file system of its own (tmpfs; ext4, on which room that was given up is free only after a commit of its
journal). A record's value says which one it is, all along, so that nothing torn passes for whole.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for
from power import disk
from wire import records

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytest.importorskip("confluent_kafka.admin")
pytestmark = [pytest.mark.once,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because Kafka gives a full directory up")]

STORAGE_ERROR = 56
FREE_BYTES = 24 << 20  # at the begin
VALUE_BYTES = 8000
COMMITS = 20
RESERVE = ".ottla-reserve"


class Memory:
    """A tmpfs."""

    def __init__(self):
        disk.enter()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="ottla-interop-full-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * FREE_BYTES}", "tmpfs", self.root], check=True, capture_output=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.root], capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


def mounted(kind: str):
    return Memory() if kind == "tmpfs" else disk.Disk(kind)


def missing(kind: str) -> str | None:
    if kind == "ext4":
        return disk.missing(kind)
    if os.geteuid() != 0:
        return "only root can mount"
    try:
        with mounted(kind):
            return None
    except (OSError, subprocess.CalledProcessError) as e:
        return f"no {kind} can be mounted: {e}"


class Full:
    """A broker on a small disk, what it has acknowledged, and what somebody else's file takes of the disk."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.b = brokers.new_broker({"offsets.topic.num.partitions": "1", "log.retention.check.interval.ms": "3600000"})
        self.b.data_dir = root / "data"
        self.b.properties["log.dirs"] = str(self.b.data_dir)
        self.acked = {}  # topic -> offset -> number of the record
        self.sent = 0
        self.times_full = 0
        self.ballast = root / "ballast"

    def take_the_rest(self) -> None:
        """To the last byte, the reserve too."""
        (self.b.data_dir / RESERVE).unlink()
        with open(self.root / "rest", "wb", buffering=0) as f:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while f.write(b"x" * size) == size:
                        pass

    def usable(self) -> int:
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def put_ballast(self) -> None:
        with open(self.ballast, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, max(4096, self.usable() - FREE_BYTES))

    def topic(self) -> str:
        name = self.b.create_topic(unique("t"), 1, **{"segment.bytes": "1000000"})
        self.acked[name] = {}
        return name

    def value(self, number: int) -> bytes:
        return (f"{number:08d}," * (VALUE_BYTES // 9 + 1))[:VALUE_BYTES].encode()

    def produce_some(self, topic: str, count: int) -> int:
        """Returns how many were refused; librdkafka tries again until its timeout."""
        refused = []
        producer = ck.Producer({"bootstrap.servers": self.b.bootstrap, "acks": "all", "message.timeout.ms": 1000, "linger.ms": 2,
                                "message.send.max.retries": 3, "retry.backoff.ms": 50})

        def told(error, message):
            if error:
                refused.append(error)
            else:
                self.acked[topic][message.offset()] = int(message.key())
        for _ in range(count):
            producer.produce(topic, key=str(self.sent), value=self.value(self.sent), on_delivery=told)
            self.sent += 1
            producer.poll(0)
        assert producer.flush(20) == 0
        return len(refused)

    def produce_once(self, topic: str) -> int:
        answer = clients.ask_once(self.b, "Produce", 8, {"acks": -1, "timeout_ms": 5000, "topic_data": [{"name": topic, "partition_data": [
            {"index": 0, "records": records.batch({"records": [{"key": str(self.sent), "value": self.value(self.sent)}]})}]}]})
        found = answer["responses"][0]["partition_responses"][0]
        if found["error_code"] == 0:
            self.acked[topic][found["base_offset"]] = self.sent
        self.sent += 1
        return found["error_code"]

    def fill(self, topic: str) -> None:
        before = len(self.acked[topic])
        for _ in range(100):
            if self.produce_some(topic, 500) > 0:
                break
        self.times_full += 1
        assert len(self.acked[topic]) > before, "no exposure: nothing was taken before it was full"
        assert self.produce_once(topic) == STORAGE_ERROR
        self.says_full()

    def lines(self, what: str) -> list:
        return [line for line in self.b.said().splitlines() if what in line]

    def says_full(self) -> None:
        said = self.lines("log directory is full")
        assert len(said) == self.times_full and f"dir={self.b.data_dir}" in said[-1], said

    def takes_again(self, topic: str) -> None:
        wait_for(lambda: self.produce_once(topic) == 0, 20, "records to be taken again")
        assert self.produce_some(topic, 10) == 0
        assert len(self.lines("log directory has room again")) == self.times_full

    def consumer(self, **more):
        return ck.Consumer({"bootstrap.servers": self.b.bootstrap, "group.id": "g", "enable.auto.commit": False, **more})

    def reads_all(self, topic: str) -> None:
        """What was acknowledged and is not deleted, each with its offset, without a hole; and nothing else is whole."""
        with contextlib.closing(self.consumer()) as consumer:
            low, high = consumer.get_watermark_offsets(ck.TopicPartition(topic, 0), timeout=20)
            consumer.assign([ck.TopicPartition(topic, 0, low)])
            found, deadline = {}, time.monotonic() + 60
            while len(found) < high - low and time.monotonic() < deadline:
                for message in consumer.consume(min(1000, high - low - len(found)), 1):
                    assert not message.error(), message.error()
                    number = int(message.key())
                    assert message.value() == self.value(number)
                    found[message.offset()] = number
        assert sorted(found) == list(range(low, high))
        expected = {offset: number for offset, number in self.acked[topic].items() if offset >= low}
        assert expected.items() <= found.items()

    def commits(self, topic: str) -> None:
        with contextlib.closing(self.consumer()) as consumer:
            for offset in range(COMMITS):
                (done,) = consumer.commit(offsets=[ck.TopicPartition(topic, 0, offset + 1)], asynchronous=False)
                assert done.error is None

    def committed(self, topic: str) -> int:
        with contextlib.closing(self.consumer()) as consumer:
            return consumer.committed([ck.TopicPartition(topic, 0)], timeout=20)[0].offset

    def ask(self, question):
        """Of the admin client, whose answer is a future for each of one thing."""
        admin = ck.admin.AdminClient({"bootstrap.servers": self.b.bootstrap})
        (future,) = question(admin).values()
        return future.result(20)

    def retain(self, topic: str, value: str) -> None:
        self.ask(lambda admin: admin.incremental_alter_configs([ck.admin.ConfigResource(
            ck.admin.ConfigResource.Type.TOPIC, topic, incremental_configs=[ck.admin.ConfigEntry(
                "retention.bytes", value, incremental_operation=ck.admin.AlterConfigOpType.SET)])]))

    def works_while_full(self, topic: str) -> None:
        for name in self.acked:
            self.reads_all(name)
        self.commits(topic)
        assert self.committed(topic) == COMMITS
        told = clients.ask_once(self.b, "DescribeLogDirs", 4, {"topics": None})["results"][0]
        assert told["error_code"] == 0 and abs(told["usable_bytes"] - self.usable()) <= 1 << 20, (told["usable_bytes"], self.usable())


@pytest.fixture(params=["tmpfs", "ext4"])
def f(request):
    why = missing(request.param)
    if why:
        pytest.skip(f"skipped, because {why}")
    with mounted(request.param) as d:
        f = Full(d.root)
        try:
            f.put_ballast()
            f.b.start()
            wait_for(lambda: (f.b.data_dir / RESERVE).exists() and (f.b.data_dir / RESERVE).stat().st_size >= 1 << 20, 10, "the reserve")
            yield f
        except AssertionError:
            print(f.b.log_tail())
            raise
        finally:
            f.b.destroy()


def test_full(f):
    kept, other = f.topic(), f.topic()
    f.produce_some(kept, 200)
    f.commits(kept)
    f.fill(other)
    f.works_while_full(kept)

    f.b.kill()
    f.b.start()
    f.works_while_full(kept)
    f.b.stop()
    f.b.start()
    assert f.committed(kept) == COMMITS
    f.works_while_full(kept)


def test_room_is_made(f):
    kept, other = f.topic(), f.topic()
    f.produce_some(kept, 200)
    f.fill(other)

    f.ask(lambda admin: admin.delete_topics([other], request_timeout=20))
    del f.acked[other]
    f.takes_again(kept)

    f.fill(kept)
    start = max(f.acked[kept]) * 9 // 10
    assert f.ask(lambda admin: admin.delete_records([ck.TopicPartition(kept, 0, start)])).low_watermark == start
    f.takes_again(kept)

    f.fill(kept)
    f.retain(kept, "2000000")
    f.takes_again(kept)
    f.retain(kept, "-1")

    f.fill(kept)
    f.ballast.unlink()  # somebody else made room
    f.takes_again(kept)

    f.works_while_full(kept)
    f.b.restart()
    f.reads_all(kept)
    print(f"EXPOSURE: full {f.times_full} times, {f.sent} records sent, {sum(map(len, f.acked.values()))} acknowledged")


@pytest.mark.skipif(brokers.coordination() != "embedded", reason="skipped, because ZooKeeper keeps the topics")
def test_no_reserve(f):
    """Not one byte is left: a start says so, and goes as soon as there is a little, if need be of what is deleted."""
    kept, other = f.topic(), f.topic()
    f.produce_some(kept, 200)
    f.produce_some(other, 200)
    f.b.kill()
    f.take_the_rest()
    status, said = f.b.start_refused(20)
    assert status == 1 and f"the disk of {f.b.data_dir} is full: a start needs 1048576 bytes there" in said, said
    assert said.count("log directory is full") == 1
    (f.b.data_dir / f"{other}-0").rename(f.b.data_dir / f"{other}-0.{'0' * 32}-delete")
    f.b.start()
    assert len(f.lines("removed a deleted log before its time")) == 1
    f.reads_all(kept)
    f.commits(kept)
