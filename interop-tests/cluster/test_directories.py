"""One of two directories of one of three brokers has no space left, or cannot be written when the broker starts.

What is in it goes offline at that broker; others lead it and its ISRs shrink. What is in the other directory goes on,
led by whom it was. With the directory good again the broker is started anew, and catches up. A producer with acks=all, a
reader and a group notice nothing that they do not absorb.

A Kafka gives up the whole directory when it is full, an Ottla what it leads there and somebody writes: what it follows waits
for room, what nobody writes stays in
sync there, and is served. Without a directory that cannot be written when they start both go on.
"""

import contextlib
import json
import subprocess

import pytest

from harness import network
from harness.life import unique
from harness.wait import wait_for

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytestmark = pytest.mark.skipif(bool(network.missing()), reason=f"skipped, because directories are mounted in namespaces: {network.missing()}")

pytest.importorskip("kazoo", reason="skipped, because kazoo is not installed")

from harness.clients import ask_once  # noqa: E402
from harness.cluster import Cluster, fill  # noqa: E402

from .work import Work, everyone, tool  # noqa: E402

BAD_BYTES = 96 << 20


def on_two_directories(kinds, **properties):
    """Each broker has data/good and data/bad; the second is a small file system of its own."""
    c = Cluster(kinds, properties)
    for b in c.brokers:
        for name in ("good", "bad"):
            (b.data_dir / name).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BAD_BYTES}", "ottla", b.data_dir / "bad"], check=True)
        b.properties["log.dirs"] = f"{b.data_dir}/good,{b.data_dir}/bad"
    try:
        return c.start()
    except BaseException:
        c.destroy()
        raise


@pytest.fixture
def cluster(kinds, request):
    c = on_two_directories(kinds, **getattr(request, "param", {}))
    try:
        yield c
    finally:
        c.destroy()


def partitions_in(directory, topics) -> set:
    return {(t, int(path.name.rpartition("-")[2])) for t in topics for path in directory.glob(f"{t}-*")}


def described_log_dirs(cluster, n: int) -> dict:
    """The name of each directory -> its error, and how many partitions it has."""
    out = tool(cluster, "kafka-log-dirs", "--describe", "--broker-list", n).out
    (answer,) = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    (broker,) = answer["brokers"]
    return {d["logDir"].rpartition("/")[2]: (d["error"], len(d["partitions"])) for d in broker["logDirs"]}


def offline_replicas(cluster, at: int, topic: str, partition: int) -> list:
    answer = ask_once(cluster.brokers[at], "Metadata", 5, {"topics": [{"name": topic}], "allow_auto_topic_creation": False})
    return next(p["offline_replicas"] for p in answer["topics"][0]["partitions"] if p["partition_index"] == partition)


def left_by(cluster, victim: int, partitions: set) -> bool:
    return all(victim not in s.isr and s.leader not in (victim, -1) for s in (cluster.state(*p) for p in partitions))


def gives_up(broker, victim: int, partitions: set, written: str, leaders: dict) -> set:
    """Of what is in a directory that is full."""
    return partitions if broker.kind == "kafka" else {p for p in partitions if p[0] == written and leaders[p] == victim}


def is_offline_here_only(cluster, work, victim: int, bad: set, good: set, leaders: dict, full: bool = True) -> None:
    """What is in the bad directory has left the broker; what is in the good one has not moved."""
    whole = cluster.brokers[victim].kind == "kafka" or not full
    bad = gives_up(cluster.brokers[victim], victim, bad, work.topic, leaders) if full else bad
    wait_for(lambda: left_by(cluster, victim, bad), 40, "others to lead what is in the directory")
    others = [n for n in everyone(cluster) if n != victim]
    for p in bad:
        for n in others:
            wait_for(lambda: offline_replicas(cluster, n, *p) == [victim], 20, f"broker {n} to know that {p} is offline")
    work.goes_on()
    work.load.group_goes_on()
    assert cluster.brokers[victim].alive(), cluster.brokers[victim].log_tail()
    for p in good:
        assert victim in cluster.state(*p).isr
    assert {p: cluster.state(*p).leader for p in good} == {p: leaders[p] for p in good}
    found = described_log_dirs(cluster, victim)
    assert found["good"][0] is None and found["good"][1] > 0, found
    if whole:
        assert found["bad"][0] is not None and found["bad"][1] == 0, found
    assert not cluster.look.get_children("/log_dir_event_notification")


@pytest.fixture
def begun(cluster, tmp_path, request):
    """A load, a topic that nobody writes, and what the victim, who is not the controller, has in either directory."""
    idle = cluster.create_topic(unique("idle"), 6)
    work = Work(cluster, tmp_path, request.node.name, partitions=6)
    try:
        victim = next(n for n in everyone(cluster) if n != cluster.controller())
        data, topics = cluster.brokers[victim].data_dir, (idle, work.topic)
        bad, good = partitions_in(data / "bad", topics), partitions_in(data / "good", topics)
        assert all({t for t, _ in found} == set(topics) for found in (bad, good)), (bad, good)
        yield work, victim, bad, good, {p: cluster.state(*p).leader for p in good | bad}
    finally:
        work.load.kill()


def refuses(broker) -> None:
    """Kafka's indexes are mapped: it ends by a fault in memory, and does not say where."""
    status, said = broker.start_refused(90)
    assert status != 0 and (broker.kind == "kafka" or str(broker.data_dir / "bad") in said.splitlines()[-1]), said


@pytest.mark.parametrize("cluster", [{}, pytest.param({"inter.broker.protocol.version": "2.8-IV0"}, marks=pytest.mark.whole)],
                         ids=["now", "2.8-IV0"], indirect=True)
def test_full(cluster, begun):
    work, victim, bad, good, leaders = begun
    directory = cluster.brokers[victim].data_dir / "bad"
    fill(directory)
    is_offline_here_only(cluster, work, victim, bad, good, leaders)
    (directory / "filler").unlink()
    work.goes_on()
    assert left_by(cluster, victim, gives_up(cluster.brokers[victim], victim, bad, work.topic, leaders))  # until it is started anew
    cluster.brokers[victim].restart()
    work.check()
    assert partitions_in(directory, {t for t, _ in bad}) == bad


@pytest.mark.whole
def test_killed_while_full(cluster, begun):
    """Neither kind recovers in a directory that is full: with room in it again it starts, and catches up."""
    work, victim, bad, good, leaders = begun
    b = cluster.brokers[victim]
    fill(b.data_dir / "bad")
    is_offline_here_only(cluster, work, victim, bad, good, leaders)
    b.kill()
    work.goes_on()
    refuses(b)
    (b.data_dir / "bad" / "filler").unlink()
    b.launch()
    work.check()


@pytest.mark.whole
def test_read_only_at_start(cluster, begun):
    work, victim, bad, good, leaders = begun
    b = cluster.brokers[victim]
    b.stop()
    subprocess.run(["mount", "-o", "remount,ro", b.data_dir / "bad"], check=True)
    b.start()
    wait_for(lambda: all(victim in cluster.state(*p).isr for p in good), 40, "the good directory's ISRs to be whole")
    is_offline_here_only(cluster, work, victim, bad, good, {p: cluster.state(*p).leader for p in good}, full=False)
    subprocess.run(["mount", "-o", "remount,rw", b.data_dir / "bad"], check=True)
    b.restart()
    work.check()
