"""Partitions that move while they are used: by kafka-reassign-partitions, among four brokers, over deaths."""

import json

import pytest

from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .work import elect_preferred, everyone, tool  # noqa: E402

BROKERS = 4
PARTITIONS = 3
MIB = 1 << 20


class Plan:
    """For kafka-reassign-partitions: the replicas of each partition of some topics."""

    def __init__(self, cluster, directory, topics: dict):
        self._cluster, self.topics = cluster, topics
        self.file = directory / f"{unique('plan')}.json"
        self.file.write_text(json.dumps({"version": 1, "partitions": [
            {"topic": t, "partition": p, "replicas": its} for t, replicas in topics.items() for p, its in replicas.items()]}))

    def tool(self, *args):
        return tool(self._cluster, "kafka-reassign-partitions", "--reassignment-json-file", self.file, *args).out

    def execute(self, *args) -> None:
        out = self.tool("--execute", *args)
        assert "Successfully started partition reassignment" in out, out

    def is_done(self) -> bool:
        return all(self._cluster.assignment(t) == its and self._cluster.in_sync(t) for t, its in self.topics.items())

    def wait(self) -> None:
        wait_for(self.is_done, 60, "all to have moved", interval_s=0.1)
        out = self.tool("--verify")
        assert out.count("is completed") == sum(map(len, self.topics.values())), out

    def nothing_is_left(self, gone: int | None = None) -> None:
        """On no disk but those of the replicas, and nothing in ZooKeeper. A Kafka does not tell one to leave that was gone."""
        forgets = gone if any(b.kind == "kafka" for b in self._cluster.brokers) else None
        for topic, replicas in self.topics.items():
            wait_for(lambda: self._cluster.assigned(topic) == {
                (n, p) for n, p in self._cluster.replica_dirs(topic) if n != forgets or n in replicas[p]},
                     30, f"{replicas} alone on disks")
            assert not self._cluster.is_moving(topic)


def rotated(cluster, topic: str, by: int = 1) -> dict:
    return {p: [(n + by) % len(cluster.brokers) for n in its] for p, its in cluster.assignment(topic).items()}


def test_there_and_back(cluster, work, tmp_path):
    before = cluster.assignment(work.topic)
    for replicas in (rotated(cluster, work.topic), before):
        plan = Plan(cluster, tmp_path, {work.topic: replicas})
        plan.execute()
        plan.wait()
        work.goes_on()
        plan.nothing_is_left()
    work.check()


def test_cancel(cluster, work, tmp_path):
    """The new one cannot reach the leader, so that it is under way until somebody cancels it."""
    if not cluster.can_cut:
        pytest.skip("skipped, because there are no namespaces")
    before = cluster.assignment(work.topic)[0]
    (new,) = [n for n in everyone(cluster) if n not in before]
    old, leader = before[-1], cluster.state(work.topic).leader
    plan = Plan(cluster, tmp_path, {work.topic: {0: [*before[:-1], new]}})
    cluster.network.cut(str(new), str(leader))
    plan.execute()
    listed = tool(cluster, "kafka-reassign-partitions", "--list").out
    assert f"{work.topic}-0: replicas: {','.join(map(str, [*before[:-1], new, old]))}." in listed, listed
    assert f"adding: {new}. removing: {old}." in listed, listed
    plan.tool("--cancel")
    wait_for(lambda: cluster.assignment(work.topic)[0] == before, 30, "the plan to be gone")
    assert "No partition reassignments found" in tool(cluster, "kafka-reassign-partitions", "--list").out
    cluster.network.join(str(new), str(leader))
    work.check()


@pytest.mark.parametrize("role", ["controller", *(pytest.param(r, marks=pytest.mark.whole) for r in ("target", "leader"))])
def test_killed_meanwhile(cluster, work, tmp_path, role):
    plan = Plan(cluster, tmp_path, {work.topic: rotated(cluster, work.topic)})
    victim = {"controller": cluster.controller(), "leader": work.leader(),
              "target": next(n for n in everyone(cluster) if n not in cluster.assignment(work.topic)[0])}[role]
    plan.execute()
    cluster.brokers[victim].kill()
    wait_for(lambda: cluster.controller() is not None and victim not in cluster.registered(), 30, "its session to end")
    work.goes_on()
    cluster.brokers[victim].launch()
    cluster.answers(victim)
    plan.wait()
    work.check()


def test_factor(cluster, tmp_path):
    """More replicas, and fewer."""
    topic = cluster.create_topic(unique("factor"), PARTITIONS, replicas=1)
    more = {p: [*its, *[n for n in everyone(cluster) if n not in its][:2]] for p, its in cluster.assignment(topic).items()}
    for replicas in (more, {p: its[1:2] for p, its in more.items()}):
        plan = Plan(cluster, tmp_path, {topic: replicas})
        plan.execute()
        plan.wait()
        plan.nothing_is_left()


def test_emptied(cluster, work, tmp_path):
    """Everything leaves a broker, which is not missed then; everything comes to it, and is led by it; and goes home."""
    one = work.leader()
    others = [n for n in everyone(cluster) if n != one]
    topics = cluster.look.get_children("/brokers/topics")
    before = {t: cluster.assignment(t) for t in topics}

    def move(where) -> None:
        plan = Plan(cluster, tmp_path, {t: {p: where(its) for p, its in before[t].items()} for t in topics})
        plan.execute()
        plan.wait()
        plan.nothing_is_left()
        work.goes_on()
    move(lambda its: [n for n in its if n != one] + [n for n in others if n not in its][:its.count(one)])
    assert not any(n == one for t in topics for n, _ in cluster.replica_dirs(t))
    cluster.brokers[one].stop()
    work.goes_on()
    work.load.group_goes_on()
    cluster.brokers[one].start()
    move(lambda its: [one, *[n for n in its if n != one]][:len(its)])
    elect_preferred(cluster)
    assert {cluster.state(t, p).leader for t in topics for p in before[t]} == {one}
    move(lambda its: its)
    work.check()


@pytest.mark.whole
def test_elections_all_along(cluster, work, tmp_path):
    for by in (1, 2, 3):
        plan = Plan(cluster, tmp_path, {work.topic: rotated(cluster, work.topic, by)})
        plan.execute()

        def elected_until_done() -> bool:
            tool(cluster, "kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions", check=False)
            return plan.is_done()
        wait_for(elected_until_done, 60, "all to have moved")
        work.goes_on()
    elect_preferred(cluster)
    assert all(cluster.state(work.topic, p).leader == its[0] for p, its in plan.topics[work.topic].items())
    plan.nothing_is_left()
    work.check()


@pytest.fixture
def filling(cluster, work, tmp_path):
    """A plan that takes a while, for a partition that is large, and those of the load; and to whom it goes."""
    topic = cluster.create_topic(unique("large"), 1, segment_bytes=8 * MIB)
    p = ck.Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    for _ in range(96 * 8):
        p.produce(topic, bytes(MIB // 8), partition=0)
    assert p.flush(60) == 0
    its = cluster.assignment(topic)[0]
    (target,) = [n for n in everyone(cluster) if n not in its]
    plan = Plan(cluster, tmp_path, {topic: {0: [target, *its[1:]]}, work.topic: rotated(cluster, work.topic)})
    plan.large, plan.target = topic, target
    plan.part = lambda: sum(f.stat().st_size for f in cluster.brokers[target].data_dir.glob(f"{topic}-0/*.log"))
    return plan


@pytest.mark.whole
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_target_starts_anew(cluster, work, filling, how):
    filling.execute()
    wait_for(lambda: filling.part() > 4 * MIB, 20, "a part to be there", interval_s=0.001)
    b = cluster.brokers[filling.target]
    b.stop() if how == "restart" else b.kill()
    assert cluster.is_moving(filling.large)
    work.goes_on()
    b.launch()
    cluster.answers(filling.target)
    filling.wait()
    filling.nothing_is_left(gone=filling.target)
    work.check()


@pytest.mark.whole
def test_disk_of_the_target_fills(cluster, work, filling):
    """What was to come stays under way, until there is space, and the broker is started anew."""
    if not cluster.can_cut:
        pytest.skip("skipped, because brokers have no file systems of their own")
    cluster.fill_disk(filling.target, left_bytes=32 * MIB)
    filling.execute()
    wait_for(lambda: cluster.disk_left_bytes(filling.target) < MIB, 30, "the disk to be full")
    work.goes_on()
    work.load.group_goes_on()
    assert cluster.is_moving(filling.large)
    assert filling.target not in cluster.state(filling.large).isr
    cluster.empty_disk(filling.target)
    cluster.brokers[filling.target].kill()
    cluster.brokers[filling.target].launch()
    cluster.answers(filling.target)
    filling.wait()
    filling.nothing_is_left(gone=filling.target)
    work.check()
