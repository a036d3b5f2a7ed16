"""Replicas that catch up no faster than they may (KIP-73), by Kafka's tools, among four brokers."""

import re
import time

import confluent_kafka as ck
import pytest

from harness.life import unique
from harness.wait import wait_for

from .test_reassignment import Plan
from .work import tool

BROKERS = 4
RECORD_BYTES, RECORDS, RATE = 100_000, 60, 1_000_000
BURST = 1 << 20  # a whole answer goes through before the rate is known


@pytest.fixture
def topic(cluster) -> str:
    """One partition with 6 MB, on brokers 0 and 1."""
    name = unique("throttled")
    tool(cluster, "kafka-topics", "--create", "--topic", name, "--replica-assignment", "0:1")
    wait_for(lambda: cluster.in_sync(name) and cluster.known_everywhere(name), 30, f"{name} everywhere")
    p = ck.Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "batch.size": RECORD_BYTES, "linger.ms": 0})
    for _ in range(RECORDS):
        p.produce(name, b"x" * RECORD_BYTES)
    assert p.flush(30) == 0
    return name


def configure(cluster, kind: str, name, how: str) -> str:
    entity = ["--entity-default"] if name is None else ["--entity-name", name]
    return tool(cluster, "kafka-configs", "--alter", "--entity-type", kind, *entity, *how.split(" ")).out


def shown(cluster, kind: str, name) -> dict:
    entity = ["--entity-default"] if name is None else ["--entity-name", name]
    out = tool(cluster, "kafka-configs", "--describe", "--entity-type", kind, *entity).out
    return dict(re.findall(r"^  (\S+throttled\S+?)=(\S*) sensitive", out, re.MULTILINE))


def test_by_the_tool(cluster, topic, tmp_path):
    plan = Plan(cluster, tmp_path, {topic: {0: [0, 2]}})
    begun = time.monotonic()
    out = plan.tool("--execute", "--throttle", RATE)
    assert f"The inter-broker throttle limit was set to {RATE} B/s" in out, out
    rates = {f"{side}.replication.throttled.rate": str(RATE) for side in ("leader", "follower")}
    for n in (0, 1, 2):
        assert shown(cluster, "brokers", n) == rates
    assert shown(cluster, "brokers", 3) == {}
    assert shown(cluster, "topics", topic) == {"leader.replication.throttled.replicas": "0:0,0:1",
                                               "follower.replication.throttled.replicas": "0:2"}
    assert "is still in progress" in plan.tool("--verify")
    wait_for(plan.is_done, 60, "the move's end")
    assert time.monotonic() - begun > (RECORDS * RECORD_BYTES - 2 * BURST) / RATE
    out = plan.tool("--verify")
    assert "is completed" in out and "Clearing broker-level throttles" in out, out
    assert f"Clearing topic-level throttles on topic {topic}" in out, out
    assert all(shown(cluster, "brokers", n) == {} for n in range(4)) and shown(cluster, "topics", topic) == {}
    plan.nothing_is_left()


@pytest.mark.parametrize("side, at, of", [
    ("leader", 0, "0:0"), *(pytest.param(*p, marks=pytest.mark.whole) for p in (("follower", 2, "0:2"), ("follower", None, "*")))])
def test_rates(cluster, topic, tmp_path, side, at, of):
    """So slow that it would take an hour, by each side alone; then not any more, while it waits."""
    rate = f"{side}.replication.throttled.rate"
    configure(cluster, "topics", topic, f"--add-config {side}.replication.throttled.replicas={of}")
    configure(cluster, "brokers", at, f"--add-config {rate}=1000")
    try:
        plan = Plan(cluster, tmp_path, {topic: {0: [0, 1, 2]}})
        plan.execute()
        new = cluster.brokers[2].data_dir / f"{topic}-0" / "00000000000000000000.log"
        size = lambda: new.stat().st_size if new.exists() else 0  # noqa: E731
        wait_for(lambda: size() > 0, 20, "the first answer")
        before = size()
        assert before < RECORDS * RECORD_BYTES
        time.sleep(2)  # nothing comes in it
        assert size() == before
        configure(cluster, "brokers", at, f"--add-config {rate}=1000000000")
        wait_for(plan.is_done, 60, "the move's end")
    finally:
        configure(cluster, "brokers", at, f"--delete-config {rate}")


@pytest.mark.whole
def test_who_is_in_sync_is_not_held_back(cluster, work):
    for side in ("leader", "follower"):
        configure(cluster, "topics", work.topic, f"--add-config {side}.replication.throttled.replicas=*")
        configure(cluster, "brokers", None, f"--add-config {side}.replication.throttled.rate=1")
    try:
        for _ in range(3):
            work.goes_on()
    finally:
        configure(cluster, "brokers", None, "--delete-config " + ",".join(
            f"{side}.replication.throttled.rate" for side in ("leader", "follower")))
    work.check()
