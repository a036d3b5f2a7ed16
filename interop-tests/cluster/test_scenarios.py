"""What happens to brokers, one thing at a time, as Kafka's own tools and clients see it.

In most of them a producer with acks=all, a reader and a group work all the time; nothing may come to them that a client
does not absorb, and the checker of histories has the last word. How long nothing was acknowledged is measured and
printed, not judged; it is that of the partition where it was longest.
"""

import contextlib
import re
import socket
from concurrent import futures

import pytest

from harness import jvm
from harness.life import unique
from harness.process import Process
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

from .work import PARTITIONS, Work, described, errors_of_produce, everyone, tool  # noqa: E402


def test_topic_is_seen_everywhere(cluster):
    topic = unique("seen")
    tool(cluster, "kafka-topics", "--create", "--topic", topic, "--partitions", 6, "--replication-factor", 3, at=0)
    wait_for(lambda: cluster.in_sync(topic) and cluster.known_everywhere(topic), 20, f"{topic} everywhere")
    (first, *others) = [described(cluster, topic, n) for n in everyone(cluster)]
    assert len(first) == 6 and all(other == first for other in others)
    assert {leader for _, leader, _, _ in first} == {"0", "1", "2"}

    tool(cluster, "kafka-configs", "--alter", "--topic", topic, "--add-config", "retention.ms=123456", at=1)
    for n in everyone(cluster):
        wait_for(lambda: "retention.ms=123456" in tool(cluster, "kafka-configs", "--describe", "--topic", topic, at=n).out,
                 20, f"the config at broker {n}")

    lines = [f"line {n}" for n in range(300)]
    tool(cluster, "kafka-console-producer", "--topic", topic, stdin="".join(x + "\n" for x in lines), at=1)
    for n in everyone(cluster):
        read = tool(cluster, "kafka-console-consumer", "--topic", topic, "--from-beginning", "--max-messages", 300,
                    "--timeout-ms", 20000, at=n)
        assert sorted(read.lines()) == sorted(lines)
        ends = tool(cluster, "kafka-get-offsets", "--topic", topic, at=n).lines()
        assert sum(int(line.rpartition(":")[2]) for line in ends) == 300


def test_replica_verification(cluster, tmp_path):
    """The tool reads from all replicas and compares. Its main() returns while it works, so it has a JVM of its own."""
    topic = cluster.create_topic(unique("verified"), 3)
    tool(cluster, "kafka-console-producer", "--topic", topic, stdin="x\n" * 200)
    verification = Process("kafka-replica-verification", jvm.java(
        "-cp", jvm.classpath(jvm.KAFKA_VERSION), "org.apache.kafka.tools.ReplicaVerificationTool", "--broker-list",
        cluster.bootstrap, "--topics-include", topic, "--report-interval-ms", 500), tmp_path / "verification.log")
    try:
        said = wait_for(lambda: re.findall(r"max lag is .*", verification.tail())[2:], 30, "some reports")
        assert all(re.match(r"max lag is 0 for partition .+ among 3 partitions", line) for line in said), said
        assert "doesn't match" not in verification.tail(), verification.tail()
    finally:
        verification.kill()


@pytest.mark.parametrize("role", ["leader", "follower", "controller"])
def test_kill(cluster, tmp_path, request, role):
    """One partition, so that a follower leads nothing of it."""
    work = Work(cluster, tmp_path, request.node.name, partitions=1)
    try:
        leader = work.leader()
        victim = {"leader": leader, "follower": next(n for n in everyone(cluster) if n != leader),
                  "controller": cluster.controller()}[role]
        cluster.brokers[victim].kill()
        wait_for(lambda: victim not in cluster.state(work.topic).isr, 30, "an ISR without it")
        wait_for(lambda: cluster.controller() not in (victim, None), 30, "a controller")
        work.goes_on()
        cluster.brokers[victim].launch()
        work.check()
    finally:
        work.load.kill()


def test_controlled_shutdown(cluster, work):
    leader = work.leader()
    epoch = cluster.state(work.topic).leader_epoch
    cluster.brokers[leader].stop()
    work.led_by_another(than=leader, timeout_s=0)  # before it ended
    assert cluster.state(work.topic).leader_epoch == epoch + 1
    work.goes_on()
    work.check()


def test_preferred_election(cluster, work):
    moved = work.leader()
    cluster.brokers[moved].stop()
    cluster.brokers[moved].start()
    wait_for(lambda: cluster.in_sync(work.topic), 30, "the ISR to be whole")
    assert cluster.state(work.topic).leader != moved
    work.led_by_preferred()
    again = tool(cluster, "kafka-leader-election", "--election-type", "preferred", "--topic", work.topic,
                 "--partition", 0).out
    assert "Valid replica already elected" in again, again
    work.check()


@pytest.mark.whole
def test_restart_of_each(cluster, work):
    for b in cluster.brokers:
        b.restart()
        wait_for(lambda: cluster.in_sync(work.topic), 30, "the ISR to be whole")
        work.goes_on()
    work.check()


def test_coordinator_dies(cluster, work):
    def coordinator():
        out = tool(cluster, "kafka-consumer-groups", "--describe", "--group", "members", "--state", check=False).out
        found = re.search(r"^members\s+\S+:\d+\s+\((\d+)\)", out, re.MULTILINE)
        return found and int(found[1]) + 1
    victim = wait_for(coordinator, 30, "a coordinator") - 1
    cluster.brokers[victim].kill()
    wait_for(lambda: coordinator() not in (None, victim + 1), 40, "another coordinator")
    work.load.group_goes_on(4)
    cluster.brokers[victim].launch()
    work.check()


def test_cut_from_zookeeper_only(cluster, work):
    """The leader goes on to reach everybody but ZooKeeper: it loses its session, others lead, and it follows."""
    leader = work.leader()
    cluster.cut_zookeeper(leader)
    wait_for(lambda: leader not in cluster.registered(), 30, "the end of its session")
    work.led_by_another(than=leader)
    work.goes_on()
    cluster.join_zookeeper(leader)
    wait_for(lambda: cluster.in_sync(work.topic), 60, "the ISR to be whole")
    work.check()


def listens(b) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((b.host, b.port), timeout=1):
        return True
    return False


def test_nobody_is_told_of_no_brokers(cluster):
    """A broker that starts while the controller sleeps knows of nobody. Kafka's says so, and there are clients that do
    not get over it."""
    controller = cluster.controller()
    n = next(n for n in everyone(cluster) if n != controller)
    if cluster.brokers[n].kind != "ottla":
        pytest.skip("skipped, because Kafka answers with no brokers")
    cluster.brokers[n].kill()
    cluster.pause(controller)
    try:
        cluster.brokers[n].launch()
        wait_for(lambda: listens(cluster.brokers[n]), 20, "it to accept connections")
        with futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(cluster.metadata, n)
            assert not futures.wait([asked], 0.3).done
            cluster.resume(controller)
            assert {b["node_id"] for b in asked.result(20)["brokers"]} == set(everyone(cluster))
    finally:
        cluster.resume(controller)


def test_two_brokers_lost(cluster, tmp_path, request):
    """With min.insync.replicas=2 and one left nothing is acknowledged to acks=all; with acks=1 it is."""
    work = Work(cluster, tmp_path, request.node.name, partitions=1)
    try:
        probe = cluster.create_topic(unique("probe"), 1)
        left = cluster.state(probe).leader
        lost = [n for n in everyone(cluster) if n != left]
        for n in lost:
            cluster.brokers[n].kill()
        wait_for(lambda: cluster.state(probe).isr == (left,), 30, "an ISR of one")
        wait_for(lambda: errors_of_produce(cluster, probe, "all") <= {"NOT_ENOUGH_REPLICAS",
                                                                      "NOT_ENOUGH_REPLICAS_AFTER_APPEND"}, 30, "19 or 20")
        assert errors_of_produce(cluster, probe, "all") == {"NOT_ENOUGH_REPLICAS"}
        assert errors_of_produce(cluster, probe, "1") == {None}
        for n in lost:
            cluster.brokers[n].launch()
        cluster.answers(*lost)
        wait_for(lambda: errors_of_produce(cluster, probe, "all") == {None}, 30, "acknowledgements")
        work.check()
    finally:
        work.load.kill()


@pytest.mark.parametrize("how", ["tool", "topic option"])
def test_unclean_election(cluster, how):
    """The last of the ISR is gone and one is there that lacks its end: nobody leads, until somebody says so."""
    topic = cluster.create_topic(unique("unclean"), 1, replicas=2, min_insync_replicas=1)
    leader, follower = cluster.assignment(topic)[0]
    produce = lambda: errors_of_produce(cluster, topic, "all")  # noqa: E731
    assert produce() == {None}
    cluster.brokers[follower].kill()
    wait_for(lambda: cluster.state(topic).isr == (leader,), 30, "an ISR of the leader")
    assert produce() == {None}
    cluster.brokers[leader].kill()
    wait_for(lambda: leader not in cluster.registered() and follower not in cluster.registered(), 30, "two to be gone")
    cluster.brokers[follower].launch()
    cluster.answers(follower)
    wait_for(lambda: cluster.state(topic).leader == -1, 30, "no leader")
    before = cluster.state(topic)
    assert before.isr == (leader,)

    if how == "tool":
        out = tool(cluster, "kafka-leader-election", "--election-type", "unclean", "--topic", topic, "--partition", 0).out
        assert "Successfully completed leader election (UNCLEAN)" in out, out
    else:
        tool(cluster, "kafka-configs", "--alter", "--topic", topic, "--add-config", "unclean.leader.election.enable=true")
    wait_for(lambda: cluster.state(topic).leader == follower, 30, "an unclean leader")
    after = cluster.state(topic)
    assert after.isr == (follower,) and after.leader_epoch > before.leader_epoch
    wait_for(lambda: produce() == {None}, 30, "it to be written again")
    cluster.brokers[leader].launch()
    cluster.answers(leader)
    wait_for(lambda: cluster.in_sync(topic), 30, "the old leader to follow")
    ends = tool(cluster, "kafka-get-offsets", "--topic", topic).lines()
    # Five were lost: what only the old leader had. The records of the election's second half came in their place.
    assert 10 <= int(ends[0].rpartition(":")[2]), ends


def test_deletion_waits_for_a_dead_replica(cluster):
    topic = cluster.create_topic(unique("deleted"), 3)
    dead = next(n for n in everyone(cluster) if n != cluster.controller())
    cluster.brokers[dead].kill()
    wait_for(lambda: dead not in cluster.registered(), 30, "the end of its session")
    tool(cluster, "kafka-topics", "--delete", "--topic", topic)
    living = [n for n in everyone(cluster) if n != dead]
    for n in living:
        wait_for(lambda: topic not in tool(cluster, "kafka-topics", "--list", at=n).lines(), 20, f"{topic} to go at {n}")
        wait_for(lambda: not list(cluster.brokers[n].data_dir.glob(f"{topic}-?")), 30, f"its directories at {n} to go")
    assert cluster.look.exists(f"/admin/delete_topics/{topic}") and cluster.look.exists(f"/brokers/topics/{topic}")
    cluster.brokers[dead].launch()
    cluster.answers(dead)
    wait_for(lambda: not cluster.look.exists(f"/brokers/topics/{topic}")
             and not cluster.look.exists(f"/admin/delete_topics/{topic}"), 30, "its znodes to go")
    wait_for(lambda: not list(cluster.brokers[dead].data_dir.glob(f"{topic}-?")), 30, "its directories to go")
    again = cluster.create_topic(topic, 1)
    assert tool(cluster, "kafka-get-offsets", "--topic", again).lines() == [f"{topic}:0:0"]


def test_added_partitions(cluster, work):
    tool(cluster, "kafka-topics", "--alter", "--topic", work.topic, "--partitions", PARTITIONS + 3)
    wait_for(lambda: len(cluster.assignment(work.topic)) == PARTITIONS + 3 and cluster.in_sync(work.topic)
             and cluster.known_everywhere(work.topic), 30, "the new partitions everywhere")
    work.goes_on()
    p = ck.Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all"})
    told = []
    for n in range(PARTITIONS, PARTITIONS + 3):
        p.produce(work.topic, b"new", partition=n, on_delivery=lambda e, m: told.append((e, m.partition(), m.offset())))
    p.flush(30)
    assert sorted(told, key=lambda t: t[1]) == [(None, n, 0) for n in range(PARTITIONS, PARTITIONS + 3)]
    assert work.load.histories.count("fail", "all") == 0
