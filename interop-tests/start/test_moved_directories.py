"""Partitions move between the directories of a broker while they are written and read (KIP-113): nothing is lost, repeated or
reordered, whatever happens meanwhile. Both kinds are asked, but for what Kafka refuses to start after."""

import contextlib
import json
import pathlib
import shutil
import threading
import time

import pytest

from harness import broker as brokers
from harness import clients, toolhost
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

PARTITIONS = 3
DIRS = ("one", "two", "three")
VALUE_BYTES = 1000
THROTTLE = "replica.alter.log.dirs.io.max.bytes.per.second"


@pytest.fixture
def b():
    b = brokers.new_broker({"offsets.topic.num.partitions": "1", "transaction.state.log.num.partitions": "1",
                            "log.segment.bytes": "1000000", "log.segment.delete.delay.ms": "1000",
                            "log.flush.offset.checkpoint.interval.ms": "500"})
    b.data_dir.mkdir()
    b.properties["log.dirs"] = ",".join(str(b.data_dir / name) for name in DIRS)
    try:
        yield b
    finally:
        b.destroy()


def broker_id(b) -> int:
    return clients.ask_once(b, "Metadata", 5, {"topics": []})["brokers"][0]["node_id"]


def alter(b, wanted: dict) -> dict:
    """(topic, partition) -> name of a directory, or a path; the answers."""
    dirs = {}
    for (topic, partition), name in wanted.items():
        path = name if "/" in name else f"{b.data_dir}/{name}"
        dirs.setdefault(path, {}).setdefault(topic, []).append(partition)
    answer = clients.ask_once(b, "AlterReplicaLogDirs", 1, {"dirs": [
        {"path": path, "topics": [{"name": t, "partitions": p} for t, p in topics.items()]} for path, topics in dirs.items()]})
    return {(r["topic_name"], p["partition_index"]): p["error_code"] for r in answer["results"] for p in r["partitions"]}


def described(b) -> dict:
    """(topic, partition) -> (where it is, where it moves to or None)"""
    answer = clients.ask_once(b, "DescribeLogDirs", 1, {"topics": None})
    found = {}
    for r in answer["results"]:
        name = r["log_dir"].rpartition("/")[2]
        for t in r["topics"]:
            for p in t["partitions"]:
                at, to = found.get((t["name"], p["partition_index"]), (None, None))
                found[t["name"], p["partition_index"]] = (at, name) if p["is_future_key"] else (name, to)
    return found


def seen_on_disk(b, topic: str, partition: int) -> tuple | None:
    found = on_disk(b, topic, partition)
    at = next((d for d in DIRS if f"{topic}-{partition}" in found[d]), None)
    return at and (at, next((d for d in DIRS if any(name.endswith("-future") for name in found[d])), None))


def where(b, topic: str, partition: int = 0) -> tuple:
    """As DescribeLogDirs tells. Kafka does not at times, and never where Java finds no mount point for the directory, as in a
    chroot: then its files do."""
    def told():
        return described(b).get((topic, partition)) or (b.kind == "kafka" and seen_on_disk(b, topic, partition))
    return wait_for(told, 30, f"{topic}-{partition} to be told of")


def elsewhere(name: str) -> str:
    return DIRS[(DIRS.index(name) + 1) % len(DIRS)]


def wait_moved(b, topic: str, partition: int, name: str, timeout_s: float = 60) -> None:
    wait_for(lambda: where(b, topic, partition) == (name, None), timeout_s, f"{topic}-{partition} to be in {name}")


def on_disk(b, topic: str, partition: int) -> dict:
    """The directories of a partition that are not to be deleted, by log directory."""
    return {name: [p.name for p in (b.data_dir / name).iterdir()
                   if p.name.startswith(f"{topic}-{partition}") and not p.name.endswith("-delete")] for name in DIRS}


def wait_only_in(b, topic: str, partition: int, name: str) -> None:
    wanted = {d: [f"{topic}-{partition}"] if d == name else [] for d in DIRS}
    wait_for(lambda: on_disk(b, topic, partition) == wanted, 30, f"{topic}-{partition} to be in {name} alone")


class Load:
    """An idempotent producer that writes numbers to all partitions, until it is told to end."""

    def __init__(self, b, topic: str, **options):
        self._producer = ck.Producer({"bootstrap.servers": b.bootstrap, "linger.ms": 1, "enable.idempotence": True, "log_level": 0,
                                      "message.timeout.ms": 120000, **options})
        self.topic, self.sent, self.acked, self.errors = topic, [0] * PARTITIONS, [0] * PARTITIONS, []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _done(self, error, message):
        if error is not None:
            self.errors.append(error)
        else:
            self.acked[message.partition()] = int(message.value()[:10]) + 1

    def _run(self):
        while not self._ends.is_set():
            for p in range(PARTITIONS):
                with contextlib.suppress(BufferError):  # a broker that is away
                    value = b"%010d" % self.sent[p] + b"." * VALUE_BYTES
                    self._producer.produce(self.topic, value, partition=p, on_delivery=self._done)
                    self.sent[p] += 1
            self._producer.poll(0.002)

    def end(self) -> None:
        self._ends.set()
        self._thread.join()
        assert self._producer.flush(90) == 0
        assert self.errors == [] and self.acked == self.sent


def read_all(b, topic: str, ends: list) -> list:
    consumer = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": unique("g"), "enable.auto.commit": False, "log_level": 0})
    consumer.assign([ck.TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    found, until = [[] for _ in ends], time.monotonic() + 60
    while any(len(f) < end for f, end in zip(found, ends)):
        assert time.monotonic() < until, [len(f) for f in found]
        for m in consumer.consume(1000, 1):
            assert m.error() is None, m.error()
            found[m.partition()].append(int(m.value()[:10]))
    consumer.close()
    return found


def ends_well(b, load: Load) -> None:
    load.end()
    assert read_all(b, load.topic, load.sent) == [list(range(n)) for n in load.sent]
    assert clients.end_offsets(b, load.topic, PARTITIONS) == load.sent


def filled(b, count: int = 3000) -> tuple:
    """A topic, and a load on it that has written so much."""
    topic = b.create_topic(unique("t"), PARTITIONS)
    load = Load(b, topic)
    wait_for(lambda: min(load.acked) >= count, 60, f"{count} records")
    return topic, load


def throttle(b, bytes_per_second: int | None) -> None:
    configs = [{"name": THROTTLE, "config_operation": 1 if bytes_per_second is None else 0,
                "value": None if bytes_per_second is None else str(bytes_per_second)}]
    answer = clients.ask_once(b, "IncrementalAlterConfigs", 1, {"resources": [
        {"resource_type": 4, "resource_name": str(broker_id(b)), "configs": configs}], "validate_only": False})
    assert answer["responses"][0]["error_code"] == 0, answer


@pytest.mark.once
def test_under_load(b):
    b.start()
    topic, load = filled(b)
    for _ in range(3):
        wanted = {(topic, p): elsewhere(where(b, topic, p)[0]) for p in range(PARTITIONS)}
        assert alter(b, wanted) == dict.fromkeys(wanted, 0)
        for (_, p), name in wanted.items():
            wait_moved(b, topic, p, name)
            wait_only_in(b, topic, p, name)
    ends_well(b, load)
    b.restart()
    assert read_all(b, topic, load.sent) == [list(range(n)) for n in load.sent]
    assert all(where(b, topic, p) == (name, None) for (_, p), name in wanted.items())
    b.stop()


@pytest.mark.once
def test_cancelled_and_redirected(b):
    b.start()
    topic, load = filled(b)
    throttle(b, 100_000)
    time.sleep(1)
    at = where(b, topic)[0]
    first, second = elsewhere(at), elsewhere(elsewhere(at))
    assert alter(b, {(topic, 0): first}) == {(topic, 0): 0}
    wait_for(lambda: where(b, topic) == (at, first), 20, "a copy")
    assert alter(b, {(topic, 0): first}) == {(topic, 0): 0}  # it is on its way
    assert alter(b, {(topic, 0): second}) == {(topic, 0): 0}
    wait_for(lambda: where(b, topic) == (at, second), 20, "another copy")
    assert alter(b, {(topic, 0): at}) == {(topic, 0): 0}
    wait_moved(b, topic, 0, at)
    wait_only_in(b, topic, 0, at)
    assert alter(b, {(topic, 0): first}) == {(topic, 0): 0}
    throttle(b, None)
    wait_moved(b, topic, 0, first)
    wait_only_in(b, topic, 0, first)
    ends_well(b, load)
    b.stop()


@pytest.mark.once
def test_throttle(b):
    b.start()
    topic, load = filled(b)
    load.end()
    throttle(b, 200_000)
    time.sleep(1)
    at = where(b, topic)[0]
    assert alter(b, {(topic, 0): elsewhere(at)}) == {(topic, 0): 0}
    time.sleep(4)  # 3 MB, after a first piece
    assert where(b, topic) == (at, elsewhere(at))
    throttle(b, None)
    wait_moved(b, topic, 0, elsewhere(at), 10)
    b.stop()


@pytest.mark.once
@pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it looks at Ottla's threads")
@pytest.mark.parametrize("wanted", [None, 1])
def test_threads(b, wanted):
    if wanted is not None:
        b.properties["num.replica.alter.log.dirs.threads"] = str(wanted)
    b.start()
    topic = b.create_topic(unique("t"), PARTITIONS)
    for p in range(PARTITIONS):
        to = elsewhere(where(b, topic, p)[0])
        assert alter(b, {(topic, p): to}) == {(topic, p): 0}
        wait_moved(b, topic, p, to)
    names = {task.read_text().strip() for task in pathlib.Path(f"/proc/{b.process.pid}/task").glob("*/comm")}
    assert len({name for name in names if name.startswith("mover-")}) == (wanted or len(DIRS))
    b.stop()


@pytest.mark.once
@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
def test_goes_on_after_a_restart(b, clean):
    b.start()
    topic, load = filled(b)
    throttle(b, 300_000)
    at = where(b, topic)[0]
    to = elsewhere(at)
    assert alter(b, {(topic, 0): to}) == {(topic, 0): 0}
    wait_for(lambda: where(b, topic) == (at, to), 20, "a copy")
    b.stop() if clean else b.kill()
    copy = next((b.data_dir / to).glob(f"{topic}-0.*-future"))
    b.start()
    assert where(b, topic) == (at, to) and copy.exists()
    throttle(b, None)
    wait_moved(b, topic, 0, to)
    wait_only_in(b, topic, 0, to)
    ends_well(b, load)
    b.stop()


@pytest.mark.once
def test_deleted_while_it_moves(b):
    b.start()
    topic, load = filled(b, 1000)
    load.end()
    throttle(b, 10_000)
    time.sleep(1)
    at = where(b, topic)[0]
    assert alter(b, {(topic, 0): elsewhere(at)}) == {(topic, 0): 0}
    wait_for(lambda: where(b, topic)[1] is not None, 20, "a copy")
    clients.ask_once(b, "DeleteTopics", 3, {"topic_names": [topic], "timeout_ms": 20000})
    wait_for(lambda: not any(on_disk(b, topic, p)[d] for p in range(PARTITIONS) for d in DIRS), 30, "nothing to be left")
    wait_for(lambda: not any(list((b.data_dir / d).glob(f"{topic}-*")) for d in DIRS), 30, "its files to go")
    b.restart()
    b.stop()


def test_wishes_and_refusals(b):
    b.start()
    topic = unique("later")
    assert alter(b, {(topic, p): "three" for p in range(2)}) == {(topic, 0): 3, (topic, 1): 3}
    b.create_topic(topic, 2)
    assert [where(b, topic, p) for p in range(2)] == [("three", None)] * 2
    assert alter(b, {(topic, 0): "/nowhere"}) == {(topic, 0): 57}
    assert alter(b, {(topic, 0): "three/"}) == {(topic, 0): 57}  # not from the root
    assert alter(b, {(topic, 7): "two"}) == {(topic, 7): 3}
    assert alter(b, {("x" * 240, 0): "two"}) == {("x" * 240, 0): 17}
    assert alter(b, {(topic, 0): "three"}) == {(topic, 0): 0}
    b.stop()


@pytest.mark.once
@pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because Kafka refuses to start")
@pytest.mark.parametrize("copy_is_further", [True, False])
def test_in_both_directories(b, copy_is_further):
    """What a crash between the two renames of a move leaves."""
    b.start()
    topic, load = filled(b, 200)
    at = where(b, topic)[0]
    to = elsewhere(at)
    b.kill()
    shutil.copytree(b.data_dir / at / f"{topic}-0", b.data_dir / to / f"{topic}-0")
    if copy_is_further:
        (b.data_dir / at / f"{topic}-0").rename(b.directory / "aside")
    b.start()
    before = load.acked[0]
    wait_for(lambda: load.acked[0] > before + 100, 30, "more records")
    b.kill()
    if copy_is_further:
        (b.directory / "aside").rename(b.data_dir / at / f"{topic}-0")
    else:
        shutil.rmtree(b.data_dir / to / f"{topic}-0", ignore_errors=True)
        shutil.copytree(b.data_dir / at / f"{topic}-0", b.data_dir / to / f"{topic}-0")
        newest = max((b.data_dir / to / f"{topic}-0").glob("*.log"))
        with newest.open("r+b") as f:
            f.truncate(newest.stat().st_size // 2)
    b.start()
    kept = to if copy_is_further else at
    assert "a move was interrupted, the log that is further is kept" in b.said()
    wait_only_in(b, topic, 0, kept)
    ends_well(b, load)
    b.stop()


@pytest.mark.skipif(brokers.coordination() != "zookeeper", reason="skipped, because Kafka needs a ZooKeeper")
@pytest.mark.parametrize("first", ["ottla", "kafka"])
def test_the_other_kind_goes_on(b, first):
    """A move that one kind has begun is ended by the other."""
    kinds = {"ottla": brokers.Ottla, "kafka": brokers.Kafka}
    (other,) = {"ottla", "kafka"} - {first}
    one = kinds[first].in_place_of(b)
    two = None
    try:
        one.start()
        topic, load = filled(one, 5000)  # of several pieces, of which the first one is not held back
        load.end()
        throttle(one, 100_000)
        time.sleep(2)
        at = where(one, topic)[0]
        to = elsewhere(at)
        assert alter(one, {(topic, 0): to}) == {(topic, 0): 0}
        wait_for(lambda: where(one, topic) == (at, to), 20, "a copy")
        one.stop()
        assert list((b.data_dir / to).glob(f"{topic}-0.*-future"))
        two = kinds[other].in_place_of(one)
        two.start()
        throttle(two, None)
        wait_moved(two, topic, 0, to)
        wait_only_in(two, topic, 0, to)
        assert read_all(two, topic, load.sent) == [list(range(n)) for n in load.sent]
        two.stop()
    finally:
        for it in (one, two):
            if it is not None and it.process is not None:
                it.kill()


@pytest.mark.parametrize("version", [pytest.param(v, marks=pytest.mark.client(f"kafka-{v}")) for v in ("3.9.1", "4.3.0")])
def test_tools(b, version):
    if (reason := toolhost.missing(version)) is not None:
        pytest.skip(reason)
    tools = toolhost.tools(version)
    b.start()
    topic, load = filled(b)
    to = {p: f"{b.data_dir}/{elsewhere(where(b, topic, p)[0])}" for p in range(PARTITIONS)}
    plan = {"version": 1, "partitions": [{"topic": topic, "partition": p, "replicas": [broker_id(b)], "log_dirs": [to[p]]}
                                         for p in range(PARTITIONS)]}
    file = b.directory / "plan.json"
    file.write_text(json.dumps(plan))
    asked = ("--bootstrap-server", b.bootstrap, "--reassignment-json-file", str(file))
    out = tools.run("kafka-reassign-partitions", *asked, "--execute", "--replica-alter-log-dirs-throttle", "50000000").out
    assert "Successfully started moving log directory" in out, out
    for p in range(PARTITIONS):
        wait_moved(b, topic, p, to[p].rpartition("/")[2])
    out = tools.run("kafka-reassign-partitions", *asked, "--verify").out
    for p in range(PARTITIONS):
        assert f"Reassignment of replica {topic}-{p}-{broker_id(b)} completed successfully." in out, out
    out = tools.run("kafka-log-dirs", "--bootstrap-server", b.bootstrap, "--describe", "--topic-list", topic).out
    dirs = json.loads(out[out.index("{"):].splitlines()[0])["brokers"][0]["logDirs"]
    found = {p["partition"]: d["logDir"] for d in dirs for p in d["partitions"] if not p["isFuture"]}
    assert found == {f"{topic}-{p}": to[p] for p in range(PARTITIONS)}
    ends_well(b, load)
    b.stop()
