"""A broker with two directories, of which one is lost: at the start, or while it runs; then both.

A directory is lost as when its disk is taken out: it is moved away, and where it was there is nothing, or a file. Both
kinds go on with the other one, and say so; what may be in the lost one is not made anew; with both lost they end.
"""

import contextlib

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for
from wire import records

PARTITIONS = 4
SOON = {f"{name}.checkpoint.interval.ms": "100" for name in ("log.flush.offset", "replica.high.watermark")}
STORAGE_ERROR = 56
EVENTS = "/log_dir_event_notification"


@pytest.fixture
def b():
    b = brokers.new_broker(SOON | {"offsets.topic.num.partitions": "1"})
    b.data_dir.mkdir()
    b.properties["log.dirs"] = f"{b.data_dir}/good,{b.data_dir}/bad"
    try:
        yield b
    finally:
        b.destroy()


def produce(b, topic: str, partition: int) -> int:
    answer = clients.ask_once(b, "Produce", 8, {"acks": -1, "timeout_ms": 5000, "topic_data": [{"name": topic, "partition_data": [
        {"index": partition, "records": records.batch({"records": [{"key": b"k", "value": b"v"}]})}]}]})
    return answer["responses"][0]["partition_responses"][0]["error_code"]


def described(b) -> dict:
    """The name of each directory -> its error, and the partitions in it."""
    answer = clients.ask_once(b, "DescribeLogDirs", 1, {"topics": None})
    return {r["log_dir"].rpartition("/")[2]: (r["error_code"], {(t["name"], p["partition_index"]) for t in r["topics"] for p in t["partitions"]})
            for r in answer["results"]}


def in_directory(b, name: str, topic: str) -> set:
    return {int(path.name.rpartition("-")[2]) for path in (b.data_dir / name).glob(f"{topic}-*")}


def begun(b) -> tuple[str, set, set]:
    """A topic with a record in each partition, and which of them are in either directory."""
    b.start()
    topic = b.create_topic(unique("t"), PARTITIONS)
    assert {produce(b, topic, p) for p in range(PARTITIONS)} == {0}
    good, bad = in_directory(b, "good", topic), in_directory(b, "bad", topic)
    assert good and bad and good | bad == set(range(PARTITIONS))
    return topic, good, bad


@contextlib.contextmanager
def away(b, *names, file: bool = False):
    for name in names:
        (b.data_dir / name).rename(b.directory / name)
        if file:
            (b.data_dir / name).write_text("")
    yield
    for name in names:
        if file:
            (b.data_dir / name).unlink()
        (b.directory / name).rename(b.data_dir / name)


def events(b) -> int | None:
    """How often it was told since the chroot was made: each event is created, and removed by the controller."""
    if not b.zookeeper:
        return None
    with b.zookeeper.client(b.chroot) as k:
        wait_for(lambda: not k.get_children(EVENTS), 20, "the events to be taken")
        return k.get(EVENTS)[1].cversion // 2


def goes_on_without(b, topic: str, good: set, bad: set, told: int) -> None:
    """`told`: so many events; of what is offline from the start the controller hears by its own requests."""
    wait_for(lambda: described(b)["bad"][0] == STORAGE_ERROR, 20, "the directory to be offline")
    found = described(b)
    assert found["bad"][1] == set() and found["good"] == (0, {(topic, p) for p in good}), found
    for p in good:
        wait_for(lambda: produce(b, topic, p) == 0, 20, f"partition {p} to take records")
    for p in bad:
        wait_for(lambda: produce(b, topic, p) != 0, 20, f"partition {p} to take nothing")
    assert in_directory(b, "good", topic) == good
    new = b.create_topic(unique("new"), 2)
    assert {produce(b, new, p) for p in range(2)} == {0}
    assert in_directory(b, "good", new) == {0, 1}
    assert b.alive()
    if b.zookeeper:
        wait_for(lambda: events(b) == told, 20, f"the controller to be told {told} times")


def all_is_there(b, topic: str, good: set) -> None:
    wait_for(lambda: b._answers(), b.start_timeout_s, "the broker to answer")
    for p in range(PARTITIONS):
        wait_for(lambda: produce(b, topic, p) == 0, 20, f"partition {p} to take records")
    ends = clients.end_offsets(b, topic, PARTITIONS)
    assert all(ends[p] >= (3 if p in good else 2) for p in range(PARTITIONS)), ends
    assert {error for error, _ in described(b).values()} == {0}


def lines_of_offline(b) -> list:
    return [line for line in b.said().splitlines() if "log directory is offline" in line]


@pytest.mark.parametrize("clean", [True, False], ids=["stopped", "killed"])
def test_at_the_start(b, clean):
    topic, good, bad = begun(b)
    b.stop() if clean else b.kill()
    with away(b, "bad", file=True):
        b.start()
        goes_on_without(b, topic, good, bad, told=0)
        if b.kind == "ottla":
            (line,) = lines_of_offline(b)
            assert f"cannot open {b.data_dir}/bad/.lock: Not a directory" in line
        b.stop()
    b.start()
    all_is_there(b, topic, good)
    b.stop()


def test_while_running(b):
    topic, good, bad = begun(b)
    with away(b, "bad"):
        produce(b, topic, min(good))
        goes_on_without(b, topic, good, bad, told=1)
        if b.kind == "ottla":
            (line,) = lines_of_offline(b)
            assert f"{b.data_dir}/bad" in line
        with away(b, "good"):
            with contextlib.suppress(Exception):
                produce(b, topic, min(good))
            process, b.process = b.process, None
            assert process.wait(30) == 1, process.tail()
        said = b.said()
        assert ("all log directories have failed" if b.kind == "ottla" else "have failed") in said, said[-2000:]
    b.start()
    all_is_there(b, topic, good)
    b.stop()


def test_none_is_left(b):
    b.data_dir.rmdir()
    b.data_dir.write_text("")
    status, said = b.start_refused(60)
    assert status == 1, said
    if b.kind == "ottla":
        assert f"cannot start: none of log.dirs can be used: cannot create {b.data_dir}/good: Not a directory; " in said
    else:
        assert "Shutdown broker because none of the specified log dirs" in said


@pytest.mark.skipif(brokers.coordination() != "embedded", reason="skipped, because ZooKeeper keeps the topics")
def test_of_the_topics(b):
    """Without ZooKeeper the topics are in the first one: nothing begins anew in the second."""
    begun(b)
    b.stop()
    with away(b, "good", file=True):
        status, said = b.start_refused(20)
        assert status == 1 and f"{b.data_dir}/good cannot be used, and without ZooKeeper the topics are kept in it" in said, said
    b.start()
    b.stop()
