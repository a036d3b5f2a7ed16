"""Partitions that move while they are used: by kafka-reassign-partitions, among four brokers, over deaths."""

import json

import pytest

from harness.life import unique
from harness.wait import wait_for

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .work import everyone, tool  # noqa: E402

BROKERS = 4
PARTITIONS = 3


class Plan:
    """For kafka-reassign-partitions."""

    def __init__(self, cluster, directory, topic: str, replicas: dict):
        self._cluster, self.topic, self.replicas = cluster, topic, replicas
        self.file = directory / f"{unique('plan')}.json"
        self.file.write_text(json.dumps({"version": 1, "partitions": [
            {"topic": topic, "partition": p, "replicas": its} for p, its in replicas.items()]}))

    def tool(self, *args):
        return tool(self._cluster, "kafka-reassign-partitions", "--reassignment-json-file", self.file, *args).out

    def execute(self, *args) -> None:
        out = self.tool("--execute", *args)
        assert "Successfully started partition reassignment" in out, out

    def is_done(self) -> bool:
        return self._cluster.assignment(self.topic) == self.replicas and self._cluster.in_sync(self.topic)

    def wait(self) -> None:
        wait_for(self.is_done, 60, "all to have moved", interval_s=0.1)
        out = self.tool("--verify")
        assert out.count("is completed") == len(self.replicas), out

    def nothing_is_left(self) -> None:
        """On no disk but those of the replicas, and nothing in ZooKeeper."""
        wait_for(lambda: self._cluster.replica_dirs(self.topic) == self._cluster.assigned(self.topic), 30,
                 f"{self.replicas} alone on disks")
        assert not self._cluster.is_moving(self.topic)


def rotated(cluster, topic: str, by: int = 1) -> dict:
    return {p: [(n + by) % len(cluster.brokers) for n in its] for p, its in cluster.assignment(topic).items()}


def test_there_and_back(cluster, work, tmp_path):
    before = cluster.assignment(work.topic)
    for replicas in (rotated(cluster, work.topic), before):
        plan = Plan(cluster, tmp_path, work.topic, replicas)
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
    plan = Plan(cluster, tmp_path, work.topic, {0: [*before[:-1], new]})
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
    plan = Plan(cluster, tmp_path, work.topic, rotated(cluster, work.topic))
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
        plan = Plan(cluster, tmp_path, topic, replicas)
        plan.execute()
        plan.wait()
        plan.nothing_is_left()
