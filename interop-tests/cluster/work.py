"""What the scenarios of several brokers stand on: a load with a verdict at its end, and Kafka's tools at one of the brokers."""

import itertools
import pathlib
import re

import confluent_kafka as ck

from harness import toolhost
from harness.jvm import KAFKA_VERSION
from harness.life import unique
from harness.wait import wait_for

from . import checker
from .conftest import gaps
from .load import Load

PARTITIONS = 3
OFFSETS = "__consumer_offsets"


class Work:
    """A load on a topic of its own."""

    def __init__(self, cluster, directory, test: str, partitions: int = PARTITIONS, **configs):
        self.topic, self.directory, self._cluster, self._test = unique("work"), directory, cluster, test
        self._partitions, self.configs = partitions, configs
        cluster.create_topic(self.topic, partitions, **configs)
        self.load = Load(cluster, directory, self.topic, producers=1, lossy=0, readers=1, members=2)
        self.goes_on = self.load.goes_on
        self.goes_on()
        self.load.group_goes_on()

    def leader(self) -> int:
        return self._cluster.state(self.topic).leader

    def led_by_another(self, than: int, timeout_s: float = 30) -> None:
        wait_for(lambda: all(self._cluster.state(self.topic, p).leader not in (than, -1)
                             for p in self._cluster.assignment(self.topic)), timeout_s, f"leaders other than {than}")

    def led_by_preferred(self) -> None:
        preferred = {p: replicas[0] for p, replicas in self._cluster.assignment(self.topic).items()}
        out = tool(self._cluster, "kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions").out
        assert "Successfully completed leader election (PREFERRED)" in out, out
        wait_for(lambda: {p: self._cluster.state(self.topic, p).leader for p in preferred} == preferred, 20,
                 "preferred leaders")

    def check(self) -> None:
        """All is whole, work goes on; it ends; nobody was told an error, and the histories are right."""
        self._cluster.heal()
        self.load.note("healed")
        self._cluster.settle()
        self.goes_on()
        self.load.group_goes_on()
        self.load.stop()
        run = self.judge()
        assert self.load.histories.count("fail", "all") == 0
        gaps[self._test] = max(self._gap(run, p) for p in range(self._partitions))

    def check_replicas(self) -> None:
        """After check(). The brokers stop; on their disks all have the same, and it is what clients saw."""
        self._cluster.stop()
        self._cluster.keep_logs(self.topic, self.directory / "replicas")
        self.judge(self.directory / "replicas")
        self._cluster.keep_logs(OFFSETS, self.directory / "offsets")
        differ = list(checker.differing(checker.read_replicas(self.directory / "offsets", OFFSETS)))
        assert not differ, differ

    def judge(self, replicas=None) -> checker.Run:
        run = checker.Run(self.directory, replicas)
        violations = checker.check(run)
        assert not violations, checker.report(violations)
        return run

    @staticmethod
    def _gap(run: checker.Run, partition: int) -> float:
        acked = sorted(s.acked for s in run.promised().values() if s.partition == partition)
        return max((b - a for a, b in itertools.pairwise(acked)), default=0.0)


def tool(cluster, name, *args, at=None, **kw):
    """At one broker, or at all of them."""
    bootstrap = cluster.bootstrap if at is None else cluster.brokers[at].bootstrap
    return toolhost.tools(KAFKA_VERSION).run(name, "--bootstrap-server", bootstrap, *args, **kw)


def elect_preferred(cluster) -> None:
    """A slow start moves some leaders."""
    tool(cluster, "kafka-leader-election", "--election-type", "preferred", "--all-topic-partitions")
    cluster.settle()


def described(cluster, topic, at) -> list:
    """(partition, leader, replicas, ISR) as kafka-topics shows them."""
    out = tool(cluster, "kafka-topics", "--describe", "--topic", topic, at=at).out
    return [(int(p), leader, replicas, sorted(isr.split(",")))
            for p, leader, replicas, isr in re.findall(
                r"Partition: (\d+)\s+Leader: (\S+)\s+Replicas: (\S+)\s+Isr: (\S*)", out)]


def sent_bytes(broker) -> int:
    """By all connections of its network."""
    text = pathlib.Path(f"/proc/{broker.process.pid}/net/dev").read_text()
    return sum(int(line.split(":")[1].split()[8]) for line in text.splitlines()[2:] if not line.strip().startswith("lo:"))


def everyone(cluster):
    return range(len(cluster.brokers))


def controller_last(cluster) -> list:
    """Whoever commands now does so until all others are done."""
    last = cluster.controller()
    return sorted(everyone(cluster), key=lambda n: n == last)


def errors_of_produce(cluster, topic, acks: str, records: int = 5) -> set:
    """The error names (None: acknowledged) that a producer without retries is told, in partition 0."""
    told = set()
    p = ck.Producer({"bootstrap.servers": cluster.bootstrap, "acks": acks, "message.send.max.retries": 0,
                     "message.timeout.ms": 10000, "log_level": 0})
    for _ in range(records):
        p.produce(topic, b"x", partition=0, on_delivery=lambda e, m: told.add(e and e.name()))
        p.flush(15)
    return told
