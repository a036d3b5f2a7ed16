"""Clusters in which brokers talk in an older version: inter.broker.protocol.version from 2.8-IV0 on.

One life at each version: topics made, grown and deleted; a leader that dies and returns; a follower that the leader
itself drops from the ISR and takes back; preferred leaders; a controller that dies. The controller is of a kind that is
chosen, so that each kind commands the other. Before 2.8-IV1 brokers do not tell each other ids of topics: then no log
has one.
"""

import contextlib
import itertools
import json

import pytest

from harness import broker as brokers
from harness.life import unique
from harness.wait import wait_for

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .work import PARTITIONS, Work, controller_last, everyone, tool  # noqa: E402

VERSIONS = ("2.8-IV0", "2.8-IV1", "3.0", "3.1", "3.2", "3.4", "3.5-IV0", "3.7-IV4", "3.8")
WITHOUT_IDS = ("2.8-IV0",)
BEFORE_FEATURES_2 = ("2.8", "3.0", "3.1", "3.2")
MIXED = ["ottla", "kafka", "ottla", "kafka"]  # the first of them is the controller


def cluster_of(kinds, version: str, **properties):
    """Started so that broker 0 is the controller."""
    from harness.cluster import Cluster
    c = Cluster(kinds, {"inter.broker.protocol.version": version} | properties)
    try:
        c.brokers[0].launch()
        c.answers(0)
        wait_for(lambda: c.controller() == 0, 30, "broker 0 to be the controller")
        for b in c.brokers[1:]:
            b.launch()
        c.answers(*everyone(c))
    except BaseException:
        c.destroy()
        raise
    return c


def dropped_and_taken_back(c, topic: str) -> None:
    """A follower that cannot ask the leader leaves the ISR by what the leader asks of the controller, and returns so."""
    leader = c.state(topic).leader
    follower = next(n for n in everyone(c) if n not in (leader, c.controller()))
    epoch = c.state(topic).leader_epoch
    c.network.cut(str(leader), str(follower))
    wait_for(lambda: follower not in c.state(topic).isr, 30, "the ISR without the follower")
    c.network.join(str(leader), str(follower))
    wait_for(lambda: follower in c.state(topic).isr, 30, "the follower back in the ISR")
    assert c.state(topic).leader_epoch == epoch


def a_topic_lives(c) -> None:
    topic = unique("made")
    tool(c, "kafka-topics", "--create", "--topic", topic, "--partitions", 2, "--replication-factor", 3)
    wait_for(lambda: c.in_sync(topic) and c.known_everywhere(topic), 20, f"{topic} everywhere")
    tool(c, "kafka-topics", "--alter", "--topic", topic, "--partitions", 4)
    wait_for(lambda: len(c.assignment(topic)) == 4 and c.in_sync(topic) and c.known_everywhere(topic), 20, "4 partitions")
    tool(c, "kafka-console-producer", "--topic", topic, stdin="x\n" * 40)
    tool(c, "kafka-topics", "--delete", "--topic", topic)
    wait_for(lambda: not c.look.exists(f"/brokers/topics/{topic}") and not c.look.exists(f"/admin/delete_topics/{topic}"),
             30, "its znodes to go")
    wait_for(lambda: not logs_of(c, topic), 30, "its directories to go")
    c.create_topic(topic, 1)
    assert tool(c, "kafka-get-offsets", "--topic", topic).lines() == [f"{topic}:0:0"]


def logs_of(c, topic: str) -> list:
    return [path for b in c.brokers for path in b.data_dir.glob(f"{topic}-?")]


@contextlib.contextmanager
def load_at(version: str, kinds: list, directory, test: str):
    c = cluster_of(kinds, version)
    try:
        work = Work(c, directory, test)
        try:
            yield c, work
        finally:
            work.load.kill()
    except BaseException:
        for b in c.brokers:
            print(b.log_tail(15))
        raise
    finally:
        c.destroy()


def live_at(version: str, kinds: list, directory, test: str) -> None:
    with load_at(version, kinds, directory, test) as (c, work):
        _live_under(work, c, version)


def _live_under(work: Work, c, version: str) -> None:
    features = json.loads(c.look.get("/feature")[0])
    assert features["version"] == (1 if version.startswith(BEFORE_FEATURES_2) else 2), features
    with_ids = [(log / "partition.metadata").exists() for log in logs_of(c, work.topic)]
    assert with_ids == [version not in WITHOUT_IDS] * (PARTITIONS * len(c.brokers)), logs_of(c, work.topic)

    victim = next(n for n in everyone(c) if n != c.controller())
    c.brokers[victim].kill()
    work.led_by_another(than=victim)
    wait_for(lambda: victim not in c.registered(), 30, "the end of its session")
    work.goes_on()
    c.brokers[victim].launch()
    c.answers(victim)
    wait_for(lambda: c.in_sync(work.topic), 30, "the ISR to be whole")
    work.led_by_preferred()
    if c.can_cut:
        dropped_and_taken_back(c, work.topic)

    a_topic_lives(c)

    victim = c.controller()
    c.brokers[victim].kill()
    wait_for(lambda: c.controller() not in (victim, None), 30, "another controller")
    work.led_by_another(than=victim)
    work.goes_on()
    c.brokers[victim].launch()
    work.check()


def test_the_oldest(kinds, tmp_path, request):
    live_at("2.8-IV0", kinds, tmp_path, request.node.name)


@pytest.mark.whole
@pytest.mark.parametrize("version", VERSIONS[1:])
def test_later(kinds, version, tmp_path, request):
    live_at(version, kinds, tmp_path, request.node.name)


@pytest.mark.whole
@pytest.mark.parametrize("version, first", itertools.product(("2.8-IV0", "2.8-IV1", "3.0", "3.4"), (0, 1)))
def test_mixed(kinds, version, first, tmp_path, request):
    """Controlled by an Ottla at first, or by a Kafka; then by the other kind, or by its like."""
    live_at(version, MIXED[first:first + 3], tmp_path, request.node.name)


def change_each(c, work: Work, version: str) -> None:
    """The controller last: so each version commands the other, leads it and follows it."""
    for n in controller_last(c):
        b = c.brokers[n]
        b.stop()
        b.properties["inter.broker.protocol.version"] = version
        b.launch()
        c.answers(n)
        c.settle()
        work.led_by_preferred()
        work.goes_on()
        a_topic_lives(c)


@pytest.mark.whole
@pytest.mark.parametrize("was, becomes", [("2.8-IV0", "3.9"), ("3.9", "2.8-IV0")])
def test_not_all_have_the_same(kinds, was, becomes, tmp_path, request):
    """One broker after the other comes back with another version, as in an upgrade."""
    with load_at(was, kinds, tmp_path, request.node.name) as (c, work):
        change_each(c, work, becomes)
        work.check()
        work.check_replicas()


@pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="Kafka accepts what is older, too")
@pytest.mark.parametrize("version", ["2.7", "2.7-IV2", "0.10.0", "4.0", "3.9-IV1", "new"])
def test_refused(kinds, version):
    b = brokers.Ottla({"inter.broker.protocol.version": version}, brokers.ZooKeeper.shared())
    try:
        status, said = b.start_refused(10)
        assert status != 0
        (line,) = [line for line in said.splitlines() if line]
        assert f'inter.broker.protocol.version: "{version}" is ' in line, said
    finally:
        b.destroy()
