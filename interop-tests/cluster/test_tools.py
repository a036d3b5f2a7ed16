"""Kafka's command-line tools on several brokers, before one is dead, while it is, and after.

What they say is compared with what they said on three Apache Kafka 3.9.1, which is kept in tools_said.txt.
"""

import pathlib
import re

import pytest

from harness import jvm, toolhost
from harness.jvm import KAFKA_VERSION
from harness.life import unique
from harness.process import Process
from harness.wait import wait_for

pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .said import Session  # noqa: E402
from .work import elect_preferred, everyone, tool  # noqa: E402

SAID = pathlib.Path(__file__).with_name("tools_said.txt")
DEAD = 2
TOPICS = {  # name: assignment, min.insync.replicas
    "even": ("0:1:2,1:2:0,2:0:1", 1),
    "strict": ("0:1:2", 3),
    "careful": ("1:2:0", 2),
    "alone": ("2", 1),
}


def look_at_all(s: Session) -> None:
    """What changes nothing."""
    for topic in TOPICS:
        s.run("kafka-topics", "--describe", "--topic", topic)
    s.filters(*TOPICS)
    s.run("kafka-topics", "--list", "--exclude-internal")
    for topic in ("even", "careful"):
        s.run("kafka-get-offsets", "--topic", topic)
        s.run("kafka-get-offsets", "--topic", topic, "--time", "earliest")
    s.run("kafka-configs", "--describe", "--entity-type", "topics", "--entity-name", "strict")
    s.run("kafka-configs", "--describe", "--entity-type", "brokers", "--entity-default")
    s.run("kafka-configs", "--describe", "--entity-type", "brokers", "--entity-name", 0)
    s.run("kafka-consumer-groups", "--list", "--state", ordered=False)
    s.run("kafka-consumer-groups", "--describe", "--group", "readers", ordered=False)
    s.run("kafka-consumer-groups", "--describe", "--group", "readers", "--state")
    s.run("kafka-consumer-groups", "--describe", "--group", "readers", "--members")


def write_and_read(s: Session, topic: str) -> None:
    lines = [f"key{n}\tvalue {n}" for n in range(30)]
    s.run("kafka-console-producer", "--topic", topic, "--producer-property", "acks=all", "--property", "parse.key=true",
          stdin="".join(x + "\n" for x in lines))
    s.run("kafka-console-consumer", "--topic", topic, "--group", "readers", "--from-beginning", "--max-messages", 30,
          "--timeout-ms", 30000, "--property", "print.key=true", "--property", "print.partition=true", ordered=False)


def log_dirs(s: Session, *ids) -> None:
    s.log_dirs("--topic-list", "even,alone", "--broker-list", ",".join(map(str, ids)), shown=f"of {ids}")


def session(cluster) -> Session:
    s = Session(cluster)
    s.note("all are there")
    for topic, (assignment, min_isr) in TOPICS.items():
        s.run("kafka-topics", "--create", "--topic", topic, "--replica-assignment", assignment, "--config",
              f"min.insync.replicas={min_isr}")
    wait_for(lambda: all(cluster.in_sync(t) and cluster.known_everywhere(t) for t in TOPICS), 30, "the topics everywhere")
    elect_preferred(cluster)
    write_and_read(s, "even")
    write_and_read(s, "careful")
    look_at_all(s)
    log_dirs(s, *everyone(cluster))
    s.run("kafka-leader-election", "--election-type", "preferred", "--topic", "even", "--partition", 0)
    s.run("kafka-leader-election", "--election-type", "unclean", "--topic", "even", "--partition", 0)
    s.run("kafka-leader-election", "--election-type", "unclean", "--topic", "nowhere", "--partition", 0)

    s.note("one is dead")
    cluster.brokers[DEAD].kill()
    wait_for(lambda: DEAD not in cluster.registered(), 30, "the end of its session")
    alive = [n for n in everyone(cluster) if n != DEAD]
    wait_for(lambda: cluster.state("alone").leader == -1 and all(
        DEAD not in cluster.state(t, p).isr for t in TOPICS if t != "alone" for p in cluster.assignment(t)),
        30, "ISRs without it")
    wait_for(lambda: all(_alone_is_led_by(cluster, n) == -1 for n in alive), 30, "all to know")
    write_and_read(s, "even")
    write_and_read(s, "careful")
    look_at_all(s)
    log_dirs(s, *alive)
    log_dirs(s, *everyone(cluster))
    s.run("kafka-leader-election", "--election-type", "preferred", "--topic", "even", "--partition", 2)
    s.run("kafka-leader-election", "--election-type", "unclean", "--topic", "alone", "--partition", 0)
    s.run("kafka-topics", "--create", "--topic", "more", "--partitions", 1, "--replication-factor", 3)
    s.run("kafka-topics", "--alter", "--topic", "careful", "--partitions", 1)
    s.run("kafka-topics", "--alter", "--topic", "careful", "--partitions", 2, "--replica-assignment", "1:2:0,0:1")
    s.run("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", "strict", "--add-config",
          "min.insync.replicas=2,retention.ms=123456789")
    s.run("kafka-configs", "--alter", "--entity-type", "topics", "--entity-name", "strict", "--delete-config", "no.such")
    s.run("kafka-consumer-groups", "--reset-offsets", "--group", "readers", "--topic", "even", "--to-earliest", "--execute",
          ordered=False)
    wait_for(lambda: all("min.insync.replicas=2" in tool(cluster, "kafka-configs", "--describe", "--topic", "strict",
                                                         at=n).out for n in alive), 20, "the config everywhere")
    look_at_all(s)

    s.note("it is back")
    cluster.brokers[DEAD].launch()
    cluster.answers(DEAD)
    cluster.settle()
    look_at_all(s)
    log_dirs(s, *everyone(cluster))
    s.run("kafka-leader-election", "--election-type", "preferred", "--topic", "even", "--partition", 2)
    s.run("kafka-leader-election", "--election-type", "preferred", "--topic", "even", "--partition", 2)
    wait_for(lambda: cluster.state("even", 2).leader == DEAD and cluster.known_everywhere("even"), 20, "its leader")
    s.run("kafka-topics", "--describe", "--topic", "even")
    s.run("kafka-consumer-groups", "--delete-offsets", "--group", "readers", "--topic", "careful", ordered=False)
    s.run("kafka-consumer-groups", "--delete", "--group", "readers")
    s.run("kafka-consumer-groups", "--delete", "--group", "readers")
    for topic in TOPICS:
        s.run("kafka-topics", "--delete", "--topic", topic)
    wait_for(lambda: not set(TOPICS) & set(cluster.look.get_children("/brokers/topics")), 30, "the topics to go")
    s.run("kafka-topics", "--describe", "--topic", "even")
    return s


def _alone_is_led_by(cluster, n: int) -> int:
    (topic,) = cluster.metadata(n, "alone")["topics"]
    return topic["partitions"][0]["leader_id"]


def test_what_they_say(cluster):
    session(cluster).compare(SAID)


@pytest.mark.whole
def test_replicas_are_verified_after_faults(cluster, tmp_path):
    """Each broker is killed in turn under writing; then kafka-replica-verification finds nothing."""
    topic = cluster.create_topic(unique("verified"), 6, segment_bytes=1 << 16)
    writer = toolhost.tools(KAFKA_VERSION).start(
        "kafka-verifiable-producer", "--bootstrap-server", cluster.bootstrap, "--topic", topic, "--throughput", 500,
        "--acks", -1)
    for b in cluster.brokers:
        b.crash()
        wait_for(lambda: cluster.in_sync(topic), 40, "the ISR to be whole")
    writer.stop()
    writer.wait()
    verification = Process("kafka-replica-verification", jvm.java(
        "-cp", jvm.classpath(jvm.KAFKA_VERSION), "org.apache.kafka.tools.ReplicaVerificationTool", "--broker-list",
        cluster.bootstrap, "--topics-include", topic, "--report-interval-ms", 500), tmp_path / "verification.log")
    try:
        said = wait_for(lambda: re.findall(r"max lag is .*", verification.tail(200))[3:], 60, "some reports")
        assert re.match(r"max lag is 0 for partition .+ among 6 partitions", said[-1]), said
        assert "doesn't match" not in verification.tail(200), verification.tail(200)
    finally:
        verification.kill()
