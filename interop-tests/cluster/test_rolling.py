"""Three Apache Kafka 3.9.1 are replaced by the broker under test, one at a time, and it by them: each on the directory,
with the id and the very server.properties of the one before, while a producer with acks=all, a reader and a group work.

The controller is replaced last, so that either kind commands the other; and whoever has come leads before the next one
goes, so that either kind follows the other. At the end three Kafkas are alone on what all of them have written.
"""

import re

import pytest

from harness import broker as brokers
from harness import dump_log
from harness.wait import wait_for

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .work import PARTITIONS, Work, controller_last, everyone, tool  # noqa: E402

FIRST, UNDER_TEST = "kafka", brokers.kind_under_test()
SEGMENT_BYTES = 1 << 15  # so that either kind goes on behind segments of the other


@pytest.fixture(scope="module")
def kinds(kinds):
    return [FIRST] * 3


@pytest.fixture
def cluster(shared_cluster):
    """Three Kafkas, whatever the test before has left."""
    for n, b in enumerate(shared_cluster.brokers):
        if b.kind != FIRST:
            b.kill()
            shared_cluster.become(n, FIRST)
    shared_cluster.heal()
    shared_cluster.settle()
    return shared_cluster


@pytest.fixture
def work(cluster, tmp_path, request):
    w = Work(cluster, tmp_path, request.node.name, segment_bytes=SEGMENT_BYTES)
    try:
        yield w
    finally:
        w.load.kill()


def replace(cluster, work, n: int, kind: str, killed: bool) -> None:
    b = cluster.brokers[n]
    b.kill() if killed else b.stop()
    cluster.become(n, kind)
    cluster.brokers[n].launch()
    cluster.answers(n)
    cluster.settle()
    if not killed:
        cluster.brokers[n].assert_no_repair()
    work.led_by_preferred()
    work.goes_on()


def replace_each(cluster, work, kind: str, killed=()) -> set:
    """The kinds of the controllers that were there meanwhile. `killed` are the places in the order in which they go."""
    commanded = set()
    for place, n in enumerate(controller_last(cluster)):
        commanded.add(cluster.brokers[cluster.controller()].kind)
        replace(cluster, work, n, kind, place in killed)
        commanded.add(cluster.brokers[cluster.controller()].kind)
    assert {b.kind for b in cluster.brokers} == {kind}
    return commanded


def committed(cluster) -> list:
    """What the group has of each partition, as Kafka's tool says."""
    def said():
        out = tool(cluster, "kafka-consumer-groups", "--describe", "--group", "members", check=False).out
        return sorted(re.findall(r"^members +(\S+) +(\d+) +(\d+) +(\d+) +(\d+) ", out, re.MULTILINE))
    return wait_for(said, 30, "the group's coordinator")


def check_with_kafkas_alone(cluster, work) -> None:
    """The load ends. What is on the disks is right, and Kafkas serve all of it, without a complaint."""
    work.check()
    group = committed(cluster)
    assert [row for row in group if row[0] == work.topic and row[4] == "0"], group
    work.check_replicas()
    for b in cluster.brokers:
        files = dump_log.check_everything(b.data_dir)
        assert files[".log"] > 2 * PARTITIONS, f"too few segments to say anything: {files}"
    for n in everyone(cluster):
        cluster.become(n, FIRST)
        cluster.brokers[n].launch()
    cluster.answers(*everyone(cluster))
    cluster.settle()
    work.load.read_anew()
    work.judge(work.directory / "replicas")
    assert committed(cluster) == group
    for b in cluster.brokers:
        b.assert_no_repair()


def test_there(cluster, work):
    assert replace_each(cluster, work, UNDER_TEST) == {FIRST, UNDER_TEST}
    check_with_kafkas_alone(cluster, work)


@pytest.mark.whole
def test_there_and_back(cluster, work):
    for kind in (UNDER_TEST, FIRST):
        assert replace_each(cluster, work, kind) == {FIRST, UNDER_TEST}
    check_with_kafkas_alone(cluster, work)


@pytest.mark.whole
@pytest.mark.parametrize("killed", [0, 2])
def test_killed(cluster, work, killed):
    """One of each kind goes by kill -9: the first one, or the controller."""
    for kind in (UNDER_TEST, FIRST):
        assert replace_each(cluster, work, kind, {killed}) == {FIRST, UNDER_TEST}
    check_with_kafkas_alone(cluster, work)
