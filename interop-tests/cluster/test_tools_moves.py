"""Kafka's tools where partitions move among four brokers: plans, under way and at their end, and what is refused.

What they say is compared with what they said on four Apache Kafka 3.9.1, which is kept in tools_said_moves.txt.
"""

import json
import pathlib
import re

import pytest

from harness.wait import wait_for

from .said import Session
from .work import elect_preferred, everyone, tool

BROKERS = 4
DEAD = 3
CUT = (0, 3)  # from each other, while something is under way
SAID = pathlib.Path(__file__).with_name("tools_said_moves.txt")
TOPICS = {"there": ("0:1:2,1:2:0", 2), "alone": ("0", 1), "careful": ("1:2:0", 3)}  # name: assignment, min.insync.replicas
REASSIGN, ELECT = "kafka-reassign-partitions", "kafka-leader-election"


class Plans:
    """Files for the tools. The name of one is what it says."""

    def __init__(self, session: Session, directory: pathlib.Path):
        self._session, self._directory = session, directory

    def file(self, name: str, content) -> pathlib.Path:
        path = self._directory / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def plan(self, *moves: tuple) -> pathlib.Path:
        """Each of topic, partition, replicas."""
        name = "+".join(f"{t}-{p}={','.join(map(str, replicas))}" for t, p, replicas in moves)
        return self.file(name or "nothing", {
            "version": 1, "partitions": [{"topic": t, "partition": p, "replicas": replicas} for t, p, replicas in moves]})

    def run(self, what: str, plan: pathlib.Path, *args) -> None:
        self._session.run(REASSIGN, what, *args, "--reassignment-json-file", plan)


def by_id(line: str) -> str:
    """A proposal begins at any broker."""
    return re.sub(r'"replicas":\[([\d,]+)\]', lambda m: f'"replicas":[{",".join(sorted(m[1].split(",")))}]', line)


def electing(s: Session, *args) -> None:
    """Partitions are told in no order."""
    s.run(ELECT, "--election-type", *args, ordered=False, mask=lambda line: re.sub(
        r"for partitions (.*)", lambda m: f"for partitions {', '.join(sorted(m[1].split(', ')))}", line))


def look(s: Session, cluster) -> None:
    wait_for(lambda: all(cluster.known_everywhere(t) for t in TOPICS), 20, "what is new everywhere")
    s.run(REASSIGN, "--list")
    s.run("kafka-topics", "--describe", "--topic", "|".join(TOPICS), ordered=False)
    s.filters(*TOPICS)


def generated(s: Session, plans: Plans) -> None:
    s.note("plans are made")
    topics = plans.file("topics", {"version": 1, "topics": [{"topic": "there"}, {"topic": "careful"}]})
    for brokers in ("1,2,3", "0,1", "1,2,9"):
        s.run(REASSIGN, "--generate", "--topics-to-move-json-file", topics, "--broker-list", brokers, mask=by_id)
    s.run(REASSIGN, "--generate", "--topics-to-move-json-file", topics, "--broker-list", "1,2,3", "--disable-rack-aware",
          mask=by_id)
    unknown = plans.file("unknown", {"version": 1, "topics": [{"topic": "nowhere"}]})
    s.run(REASSIGN, "--generate", "--topics-to-move-json-file", unknown, "--broker-list", "1,2,3")


def refused(s: Session, plans: Plans) -> None:
    s.note("plans are refused")
    for moves in ([("there", 0, [0, 1, 9])], [("there", 0, [0, 1, 1])], [("there", 0, [])], [("nowhere", 0, [0, 1, 2])],
                  [("there", 7, [0, 1, 2])], [("there", 0, [0, 1, 3]), ("there", 0, [0, 1, 2])], [("there", 0, [-1, 1, 2])],
                  [("alone", 0, [1]), ("nowhere", 0, [1])], [("alone", 0, [1]), ("alone", 5, [1])], []):
        plans.run("--execute", plans.plan(*moves))
    none = plans.plan(("alone", 0, [1]))
    plans.run("--cancel", none)
    plans.run("--verify", none)
    plans.run("--verify", plans.plan(("nowhere", 0, [1]), ("there", 7, [1])))


def under_way(s: Session, plans: Plans, cluster) -> None:
    """From a leader to one that does not reach it."""
    s.note("under way")
    first = plans.plan(("there", 0, [3, 1, 2]), ("alone", 0, [3]))
    second = plans.plan(("there", 0, [1, 3]), ("there", 1, [2, 0, 1]))
    plans.run("--execute", first)
    look(s, cluster)
    plans.run("--verify", first)
    plans.run("--verify", second)
    plans.run("--verify", first, "--preserve-throttles")
    plans.run("--execute", second)
    s.run("kafka-topics", "--alter", "--topic", "there", "--partitions", 5)
    electing(s, "preferred", "--topic", "there", "--partition", 0)
    s.log_dirs("--broker-list", "0,1,2", "--topic-list", "there,alone")
    s.note("another over it")
    plans.run("--execute", second, "--additional")
    wait_for(lambda: cluster.state("there", 1).leader in cluster.assignment("there")[1], 20, "a leader")
    look(s, cluster)
    plans.run("--verify", first)
    plans.run("--verify", second)
    plans.run("--cancel", second)
    plans.run("--cancel", second)
    look(s, cluster)
    plans.run("--cancel", first, "--preserve-throttles")
    look(s, cluster)


def ended(s: Session, plans: Plans, cluster) -> None:
    s.note("they end")
    plan = plans.plan(("there", 0, [3, 1, 2]), ("there", 1, [2, 3]), ("alone", 0, [2, 3]), ("careful", 0, [2, 1, 0]))
    plans.run("--execute", plan)
    wait_for(lambda: not any(map(cluster.is_moving, TOPICS)) and all(map(cluster.in_sync, TOPICS)), 30, "all to have moved")
    wait_for(lambda: all(cluster.replica_dirs(t) == cluster.assigned(t) for t in TOPICS), 30, "what has left to be deleted")
    plans.run("--verify", plan)
    plans.run("--verify", plans.plan(("there", 0, [0, 1, 2])))
    for n in everyone(cluster):
        s.log_dirs("--broker-list", n, "--topic-list", ",".join(TOPICS))
    s.log_dirs("--topic-list", "there")
    elections(s, plans, cluster)
    look(s, cluster)


def elections(s: Session, plans: Plans, cluster) -> None:
    s.note("elections")
    elect_preferred(cluster)
    for election in ("preferred", "unclean"):
        electing(s, election, "--all-topic-partitions")
        electing(s, election, "--topic", "there", "--partition", 1)
        electing(s, election, "--topic", "nowhere", "--partition", 0)
        electing(s, election, "--topic", "there", "--partition", 9)
        electing(s, election, "--path-to-json-file", plans.file("two partitions", {
            "partitions": [{"topic": "there", "partition": 0}, {"topic": "there", "partition": 1}]}))


def more_partitions(s: Session, cluster) -> None:
    s.note("more partitions")
    for n, *assignment in ((1,), (2,), (3, "3:1:2,2:3:0,0:1:9"), (3, "3:1:2,2:3:0,0:1:1"), (3, "3:1:2,2:3:0"),
                           (3, "3:1:2,2:3:0,0:1:3,1:2:3"), (3, "3:1,2:3,0:1"), (3, "3:1:2,2:3:0,0:1:3"), (3,)):
        s.run("kafka-topics", "--alter", "--topic", "there", "--partitions", n,
              *(["--replica-assignment", *assignment] if assignment else []))
    s.run("kafka-topics", "--alter", "--topic", "nowhere", "--partitions", 3)
    s.run("kafka-topics", "--alter", "--topic", "nowhere", "--partitions", 3, "--if-exists")
    cluster.settle()
    s.run("kafka-topics", "--describe", "--topic", "there")


def with_one_dead(s: Session, plans: Plans, cluster) -> None:
    s.note("one is dead")
    cluster.brokers[DEAD].kill()
    wait_for(lambda: DEAD not in cluster.registered() and all(
        DEAD not in cluster.state(t, p).isr for t in ("there", "careful") for p in cluster.assignment(t)), 30, "ISRs without it")
    plans.run("--execute", plans.plan(("careful", 0, [3, 1, 2])))
    away = plans.plan(("there", 0, [0, 1, 2]))
    plans.run("--execute", away)
    wait_for(lambda: not cluster.is_moving("there") and cluster.state("there", 0).isr != (), 30, "it to have moved")
    wait_for(lambda: set(cluster.state("there", 0).isr) == {0, 1, 2}, 30, "all to be in sync")
    plans.run("--verify", away)
    electing(s, "preferred", "--topic", "there", "--partition", 1)
    look(s, cluster)
    s.run("kafka-topics", "--alter", "--topic", "there", "--partitions", 4, "--replica-assignment", "0:1:2,2:3:0,0:1:3,0:1:3")
    s.run("kafka-topics", "--alter", "--topic", "alone", "--partitions", 2)
    wait_for(lambda: cluster.known_everywhere("alone"), 20, "the new one")
    s.run("kafka-topics", "--describe", "--topic", "alone", mask=lambda line: re.sub(
        r"(Partition: 1\s).*", r"\1(where the brokers like)", line))


def test_what_they_say(cluster, tmp_path):
    if not cluster.can_cut:
        pytest.skip("skipped, because there are no namespaces, so that nothing stays under way")
    s = Session(cluster)
    plans = Plans(s, tmp_path)
    while (controller := cluster.controller()) in CUT:  # it is to reach everybody
        cluster.brokers[controller].restart()
        cluster.settle()
    for topic, (assignment, min_isr) in TOPICS.items():
        tool(cluster, "kafka-topics", "--create", "--topic", topic, "--replica-assignment", assignment, "--config",
             f"min.insync.replicas={min_isr}")
    cluster.settle()
    elect_preferred(cluster)
    for topic in TOPICS:
        tool(cluster, "kafka-console-producer", "--topic", topic, "--producer-property", "acks=all", "--property",
             "parse.key=true", stdin="".join(f"{n}\tvalue\n" for n in range(100)))  # so that each partition has some
    generated(s, plans)
    refused(s, plans)
    cluster.network.cut(*map(str, CUT))
    under_way(s, plans, cluster)
    cluster.network.join(*map(str, CUT))
    cluster.settle()
    ended(s, plans, cluster)
    more_partitions(s, cluster)
    with_one_dead(s, plans, cluster)
    s.compare(SAID)
