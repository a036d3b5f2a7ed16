"""Every number among the options at 0, at 1, and at both ends of what is allowed: the broker starts, answers, sleeps
when there is nothing to do, and stops cleanly. Of topics' options the same, in one broker."""

import concurrent.futures
import os
import re
import subprocess
import time

import pytest

from harness import broker as brokers
from harness import clients, paths
from harness.life import unique
from harness.wait import wait_for
from wire import records

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

ENDS = {"short": (-2**15, 2**15 - 1), "int": (-2**31, 2**31 - 1), "long": (-2**63, 2**63 - 1), "double": (-1e300, 1e300)}
TOPIC_TYPES = {1: None, 2: None, 3: "int", 4: "short", 5: "long", 6: "double", 7: None}

# What such a value needs beside it, or makes impossible.
WITH = {
    ("node.id", -1): {"broker.id": "-1"},
    ("node.id", 1): {"broker.id": "1"},
    ("broker.id", 2**31 - 1): {"broker.id.generation.enable": "false"},
    ("node.id", 2**31 - 1): {"broker.id.generation.enable": "false", "broker.id": str(2**31 - 1)},
    ("max.connections.per.ip", 0): {"max.connections.per.ip.overrides": "127.0.0.1:100"},
}
REFUSED = {("connections.max.idle.ms", 0), ("connections.max.idle.ms", 1), ("queued.max.request.bytes", 1),
           ("log.retention.ms", 0), ("log.retention.minutes", 0), ("log.retention.hours", 0)}
if brokers.coordination() == "zookeeper":  # the first is the second's default: nobody answers in a millisecond
    REFUSED |= {("zookeeper.session.timeout.ms", 1), ("zookeeper.connection.timeout.ms", 1)}
UNSERVED = {("max.connections", 0)}  # nobody can connect, and a request of one byte is none
UNSERVED |= {("socket.request.max.bytes", 1)}


def options() -> dict:
    """Of those that are in force, the numbers: name -> (type, range)."""
    said = subprocess.run([paths.ottla_binary(), "--options"], capture_output=True, text=True, check=True).stdout
    said = said.partition("## Options that are known")[0].replace("\\|", "/")
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| [^|]* \| ([^|]*) \|", said, re.M)
    return {name: (kind, allowed.strip()) for name, kind, allowed in rows if kind in ENDS}


def values(kind: str, allowed: str) -> list:
    spans = [part.split("..") for part in allowed.split("/")] if allowed else [["", ""]]
    low, high = ENDS[kind]
    bounds = [(type(low)(float(s[0])) if s[0] else low, type(high)(float(s[-1])) if s[-1] else high) for s in spans]
    wanted = {0, 1, *(v for b in bounds for v in b)}
    return sorted(v for v in wanted if any(b[0] <= v <= b[1] for b in bounds))


OPTIONS = options()


def cpu_s(b) -> float:
    fields = open(f"/proc/{b.process.pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def assert_sleeps(b, what: str) -> None:
    """Less than a third of a core, sooner or later."""
    def sleeps():
        before = cpu_s(b)
        time.sleep(0.3)
        return cpu_s(b) - before < 0.1
    wait_for(sleeps, 10, f"the broker to sleep with {what}")


def produce(b, topic: str) -> int:
    answer = clients.ask_once(b, "Produce", 8, {"acks": -1, "timeout_ms": 5000, "topic_data": [{"name": topic, "partition_data": [
        {"index": 0, "records": records.batch({"records": [{"key": b"k", "value": b"v"}, {"key": b"k", "value": b"w"}]})}]}]})
    return answer["responses"][0]["partition_responses"][0]["error_code"]


def use(b, what: str) -> None:
    """Some of everything: whatever is answered is fine."""
    topic = unique("t")
    clients.ask_once(b, "CreateTopics", 5, {"topics": [{"name": topic, "num_partitions": 1, "replication_factor": 1}], "timeout_ms": 5000})
    for _ in range(3):
        produce(b, topic)
    clients.ask_once(b, "Fetch", 11, {"replica_id": -1, "max_wait_ms": 10, "min_bytes": 1, "max_bytes": 1 << 20, "session_id": 0,
                         "session_epoch": 0, "topics": [{"topic": topic, "partitions": [
                             {"partition": 0, "current_leader_epoch": -1, "fetch_offset": 0, "partition_max_bytes": 1 << 20}]}]})
    clients.ask_once(b, "FindCoordinator", 2, {"key": "g", "key_type": 0})
    clients.ask_once(b, "JoinGroup", 2, {"group_id": "g", "session_timeout_ms": 6000, "rebalance_timeout_ms": 100, "member_id": "",
                            "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": b""}]})
    clients.ask_once(b, "OffsetCommit", 2, {"group_id": "h", "generation_id_or_member_epoch": -1, "member_id": "", "retention_time_ms": -1, "topics": [
        {"name": topic, "partitions": [{"partition_index": 0, "committed_offset": 1, "committed_metadata": "m"}]}]})
    assert b.alive(), what


def try_value(b, name: str, value) -> None:
    what = f"{name}={value}"
    try:
        if (name, value) in REFUSED:
            status, said = b.start_refused(10)
            assert status == 1 and (f"option {name}" in said or "answered within 1 ms" in said), said
            return
        if (name, value) in UNSERVED:
            b.launch()
            wait_for(lambda: "started version=" in b.said(), 10, f"a start with {what}")
        else:
            b.start()
            use(b, what)
        assert_sleeps(b, what)
        b.stop()
    except Exception:
        print(what, b.log_tail())
        raise
    finally:
        b.destroy()


@pytest.mark.parametrize("name", [
    n if n in ("log.flush.scheduler.interval.ms", "replica.high.watermark.checkpoint.interval.ms", "group.initial.rebalance.delay.ms",
               "connections.max.idle.ms") else pytest.param(n, marks=pytest.mark.whole) for n in OPTIONS])
def test_option(name):
    tried = values(*OPTIONS[name])
    made = [brokers.new_broker({name: str(v)} | WITH.get((name, v), {})) for v in tried]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(try_value, b, name, v) for b, v in zip(made, tried, strict=True)]:
            done.result()


def test_every_topic_option():
    said = subprocess.run(["sed", "-n", r's/^TOPIC_OPTION(\([A-Z]*\), "\([^"]*\)", "\([^"]*\)".*/\1 \2 \3/p',
                           paths.ROOT / "broker" / "topic_config.def"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(" ") for line in said.splitlines()]
    b = brokers.new_broker({"log.retention.check.interval.ms": "100", "log.flush.scheduler.interval.ms": "100"})
    try:
        b.start()
        n = 0
        for kind, name, allowed in rows:
            if kind.lower() not in ENDS:
                continue
            for value in values(kind.lower(), allowed.replace("|", "/")):
                topic = unique("t")
                answer = clients.ask_once(b, "CreateTopics", 5, {"topics": [{"name": topic, "num_partitions": 1, "replication_factor": 1, "configs": [
                    {"name": name, "value": str(value)}]}], "timeout_ms": 5000})
                assert answer["topics"][0]["error_code"] == 0, (name, value, answer)
                for _ in range(3):
                    code = produce(b, topic)
                    assert code in (0, 10, 18, 19, 32), (name, value, code)  # too large, segment too small, replicas, time
                if n % 2:  # the others stay under retention and flush
                    clients.ask_once(b, "DeleteTopics", 3, {"topic_names": [topic], "timeout_ms": 5000})
                n += 1
        assert n > 60 and b.alive()
        time.sleep(0.5)  # a few rounds of retention
        assert b.alive()
        assert_sleeps(b, "all topics")
        b.stop()
    except Exception:
        print(b.log_tail())
        raise
    finally:
        b.destroy()
