"""What options do, where no other test shows it. broker/tests/effects.tsv says which test shows which option."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.wait import wait_for
from wire import records
from wire.player import Closed, Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]


class Running:
    def __init__(self, **options):
        self.b = brokers.new_broker({k.replace("_", "."): str(v) for k, v in options.items()})

    def __enter__(self):
        return self.b.start()

    def __exit__(self, *_):
        self.b.destroy()


def create(b, name: str, partitions: int = -1, factor: int = -1, **configs) -> int:
    answer = clients.ask_once(b, "CreateTopics", 5, {"topics": [{"name": name, "num_partitions": partitions, "replication_factor": factor, "configs": [
        {"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()]}], "timeout_ms": 5000})
    return answer["topics"][0]["error_code"]


def produce(b, topic: str, batch: dict | None = None) -> int:
    answer = clients.ask_once(b, "Produce", 8, {"acks": -1, "timeout_ms": 5000, "topic_data": [{"name": topic, "partition_data": [
        {"index": 0, "records": records.batch(batch)}]}]})
    return answer["responses"][0]["partition_responses"][0]["error_code"]


def offset(b, topic: str, timestamp: int) -> int:
    answer = clients.ask_once(b, "ListOffsets", 2, {"replica_id": -1, "isolation_level": 0, "topics": [{"name": topic, "partitions": [
        {"partition_index": 0, "timestamp": timestamp}]}]})
    return answer["topics"][0]["partitions"][0]["offset"]


def checkpointed(b, file: str, topic: str) -> int | None:
    path = b.data_dir / file
    found = re.search(rf"^{topic} 0 (\d+)$", path.read_text(), re.M) if path.exists() else None
    return int(found[1]) if found else None


@pytest.mark.skipif(brokers.coordination() != "embedded", reason="skipped, because the chroot is new")
def test_generated_id():
    with Running(broker_id=-1, reserved_broker_max_id=2000) as b:
        assert clients.ask_once(b, "Metadata", 1, {"topics": []})["brokers"][0]["node_id"] == 2001


def test_rack():
    with Running(broker_rack="r1") as b:
        assert clients.ask_once(b, "Metadata", 1, {"topics": []})["brokers"][0]["rack"] == "r1"


def test_defaults_of_a_new_topic():
    with Running(num_partitions=3, default_replication_factor=2) as b:
        assert create(b, unique("t")) == 38  # a second replica cannot be
        topic = unique("t")
        assert create(b, topic, factor=1) == 0
        assert len(clients.ask_once(b, "Metadata", 1, {"topics": [{"name": topic}]})["topics"][0]["partitions"]) == 3
    with Running(default_replication_factor=0) as b:
        assert create(b, unique("t")) == 38


def threads(b) -> int:
    return len(os.listdir(f"/proc/{b.process.pid}/task"))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="skipped, because there is one core")
def test_network_threads():
    with Running(num_network_threads=1) as one, Running(num_network_threads=2) as two:
        assert threads(two) == threads(one) + 1


@pytest.mark.skipif(not shutil.which("ss"), reason="skipped, because there is no ss")
def test_sockets():
    """What the kernel says of a listening socket and of a connection."""
    with Running(socket_listen_backlog_size=7, socket_send_buffer_bytes=12345, socket_receive_buffer_bytes=23456) as b:
        def said(*args):
            return subprocess.run(["ss", "-tnmH", *args, f"sport = :{b.port}"], capture_output=True, text=True, check=True).stdout
        assert said("-l").split()[2] == "7"
        c = socket.create_connection(("127.0.0.1", b.port))
        wait_for(lambda: "tb24690," in said() and "rb46912," in said(), 5, "the buffers to be twice what was set")
        c.close()


def connect(b) -> Connection | None:
    """A connection that is served, or None."""
    c = Connection("127.0.0.1", b.port)
    try:
        clients.ask(c, "Metadata", 1, {"topics": []})
        return c
    except Closed:
        c.close()
        return None


def test_listener_connections():
    with Running(**{"listener.name.plaintext.max.connections": 1}) as b:
        for _ in range(2):
            first = wait_for(lambda: connect(b), 5, "a connection, when the one before is gone")
            assert connect(b) is None
            first.close()


def test_connection_rate():
    """A burst goes through (two samples of a second at 20 a second), then one every 50 ms."""
    settings = {"listener.name.plaintext.max.connection.creation.rate": 20, "quota.window.num": 2, "quota.window.size.seconds": 1}
    with Running(**settings) as b:
        began = time.monotonic()
        kept = [Connection("127.0.0.1", b.port) for _ in range(40)]
        for c in kept:
            clients.ask(c, "Metadata", 1, {"topics": []})
        assert time.monotonic() - began > 0.3
        for c in kept:
            c.close()


def is_closed(s: socket.socket) -> bool:
    s.settimeout(5)
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


def test_connection_rate_of_an_address():
    """One that makes too many connections has the rest of them held for a while, and closed."""
    with Running(**{"quota.window.num": 11, "quota.window.size.seconds": 1}) as b:
        c = Connection("127.0.0.1", b.port)
        clients.ask(c, "AlterClientQuotas", 1, {"validate_only": False, "entries": [{
            "entity": [{"entity_type": "ip", "entity_name": None}],
            "ops": [{"key": "connection_creation_rate", "value": 1.0, "remove": False}]}]})
        wait_for(lambda: clients.ask(c, "DescribeClientQuotas", 1, {"components": [{"entity_type": "ip", "match_type": 1, "match": None}],
                                                                   "strict": True})["entries"], 5, "the quota to be known")
        burst = [Connection("127.0.0.1", b.port) for _ in range(10)]
        for served in burst:
            clients.ask(served, "Metadata", 1, {"topics": []})
        late = socket.create_connection(("127.0.0.1", b.port))
        began = time.monotonic()
        assert is_closed(late) and time.monotonic() - began > 0.05
        clients.ask(c, "Metadata", 1, {"topics": []})  # those that are there stay
        for each in (c, *burst):
            each.close()


def rss_kib(b) -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{b.process.pid}/status").read_text())[1])


def begin_large_requests(b) -> list:
    """Two connections, each in the middle of a request of 20 MB."""
    begun = []
    for _ in range(2):
        s = socket.create_connection(("127.0.0.1", b.port))
        s.setblocking(False)
        begun.append((s, bytearray((20_000_000).to_bytes(4, "big") + bytes(19_900_000))))

    def sent():
        for s, left in begun:
            try:
                del left[:s.send(left)]
            except BlockingIOError:
                pass
        return not any(left for _, left in begun)
    try:
        wait_for(sent, 1, "all of it to be taken")
    except AssertionError:
        pass  # the bound holds one of them back
    return [s for s, _ in begun]


def test_queued_bytes():
    """Requests that have begun hold memory; over the bound the next is not read."""
    for bound in (20_000_000, -1):
        with Running(socket_request_max_bytes=20_000_000, queued_max_request_bytes=bound) as b:
            before = rss_kib(b)
            held = begin_large_requests(b)
            if bound > 0:
                assert rss_kib(b) - before < 30_000
            else:
                wait_for(lambda b=b, before=before: rss_kib(b) - before > 30_000, 5, "both to be read")
            for s in held:
                s.close()


def test_flush():
    """The recovery point is where the log is flushed to."""
    tick = {"log_flush_offset_checkpoint_interval_ms": 30}
    point = "recovery-point-offset-checkpoint"
    for options in ({"log_flush_interval_messages": 1}, {"log_flush_interval_ms": 1, "log_flush_scheduler_interval_ms": 30}):
        with Running(**tick, **options) as b:
            topic = unique("t")
            assert create(b, topic, 1, 1) == 0 and produce(b, topic) == 0
            wait_for(lambda: produce(b, topic) == 0 and (checkpointed(b, point, topic) or 0) > 0, 10, f"a flush with {options}")
    with Running(**tick) as b:
        topic = unique("t")
        assert create(b, topic, 1, 1) == 0 and produce(b, topic) == 0
        wait_for(lambda: checkpointed(b, point, topic) is not None, 10, "the recovery points to be written")
        assert checkpointed(b, point, topic) == 0


def test_first_retention():
    with Running(log_initial_task_delay_ms=100, log_retention_check_interval_ms=10**9, log_retention_ms=1) as b:
        topic = unique("t")
        assert create(b, topic, 1, 1) == 0 and produce(b, topic) == 0
        wait_for(lambda: offset(b, topic, -2) == 1, 10, "the record to be deleted")
    with Running(log_retention_check_interval_ms=100, log_retention_ms=1) as b:
        topic = unique("t")
        for at in (1, 2):
            assert create(b, topic, 1, 1) in (0, 36) and produce(b, topic) == 0
            wait_for(lambda at=at: offset(b, topic, -2) == at, 10, "the record to be deleted")


def segments(b, topic: str, distance_ms: int) -> int:
    """Appends 20 batches, each so much later than the one before. How many segments they became."""
    for i in range(20):
        assert produce(b, topic, {"base_timestamp": 1_000_000_000_000 + i * distance_ms, "records": [{"key": b"k", "value": b"v"}]}) == 0
    return len(list(b.data_dir.glob(f"{topic}-0/*.log")))


def test_segments_by_time():
    with Running() as b:
        topic = unique("steady")
        assert create(b, topic, 1, 1, segment_ms=1_000_000) == 0
        assert segments(b, topic, 900_000) == 10
        topic = unique("jitter")
        assert create(b, topic, 1, 1, segment_ms=1_000_000, segment_jitter_ms=1_000_000) == 0
        assert segments(b, topic, 900_000) > 12  # nine in ten of the limits are shorter than the distance
        topic = unique("compacted")
        assert create(b, topic, 1, 1, cleanup_policy="compact", max_compaction_lag_ms=1000, segment_ms=10**12) == 0
        assert segments(b, topic, 1001) == 20
        topic = unique("deleted")
        assert create(b, topic, 1, 1, cleanup_policy="delete", max_compaction_lag_ms=1000, segment_ms=10**12) == 0
        assert segments(b, topic, 1001) == 1


def test_topic_options_without_effect():
    """One warning each, when it is set."""
    with Running() as b:
        topic = unique("t")
        assert create(b, topic, 1, 1, preallocate="true", local_retention_ms=5, retention_ms=5, unclean_leader_election_enable="false") == 0
        for _ in range(2):
            clients.ask_once(b, "DescribeConfigs", 1, {"resources": [{"resource_type": 2, "resource_name": topic, "configuration_keys": None}],
                                          "include_synonyms": False})
        said = re.findall(rf"WARN override has no effect topic={topic} option=(\S+) reason=", b.said())
        assert sorted(said) == ["local.retention.ms", "preallocate"]


def test_offsets_topic():
    with Running(offsets_topic_segment_bytes=54321, offsets_topic_compression_codec=1, offsets_topic_num_partitions=2) as b:
        clients.ask_once(b, "FindCoordinator", 2, {"key": "g", "key_type": 0})
        topic = unique("t")
        assert create(b, topic, 1, 1) == 0

        def commit():
            answer = clients.ask_once(b, "OffsetCommit", 2, {"group_id": "g", "generation_id_or_member_epoch": -1, "member_id": "",
                                                "retention_time_ms": -1, "topics": [{"name": topic, "partitions": [
                                                    {"partition_index": 0, "committed_offset": 1, "committed_metadata": "m" * 500}]}]})
            return answer["topics"][0]["partitions"][0]["error_code"] == 0
        wait_for(commit, 10, "a commit")
        answer = clients.ask_once(b, "DescribeConfigs", 1, {"resources": [{"resource_type": 2, "resource_name": "__consumer_offsets",
                                                              "configuration_keys": ["segment.bytes"]}], "include_synonyms": False})
        assert answer["results"][0]["configs"][0]["value"] == "54321"
        logs = list(b.data_dir.glob("__consumer_offsets-*/*.log"))
        assert len(logs) == 2
        codecs = {int.from_bytes(log.read_bytes()[21:23], "big") & 7 for log in logs if log.stat().st_size}
        assert codecs == {1}


def test_transactions_topic():
    topic = [{"name": "__transaction_state"}]
    with Running(transaction_state_log_replication_factor=2) as b:
        wait_for(lambda: clients.ask_once(b, "Metadata", 4, {"topics": topic, "allow_auto_topic_creation": True})["topics"][0]["error_code"] == 38,
                 10, "the refusal: there is one broker")


def test_transaction_timeout():
    with Running(transaction_max_timeout_ms=1000) as b:
        def code(timeout):
            return clients.ask_once(b, "InitProducerId", 0, {"transactional_id": "x", "transaction_timeout_ms": timeout})["error_code"]
        assert code(1001) == 50 and code(1000) != 50


def begin_transaction(b, topic: str) -> tuple[int, dict]:
    """The id of a producer whose transaction does not have the topic, and a batch of it."""
    wait_for(lambda: clients.ask_once(b, "FindCoordinator", 2, {"key": topic, "key_type": 1})["error_code"] == 0, 10, "a coordinator")
    found = clients.ask_once(b, "InitProducerId", 1, {"transactional_id": topic, "transaction_timeout_ms": 60000})
    assert found["error_code"] == 0
    return found["producer_id"], {"attributes": 0x10, "producer_id": found["producer_id"], "producer_epoch": found["producer_epoch"], "base_sequence": 0}


def produce_in(b, topic: str, batch: dict) -> int:
    answer = clients.ask_once(b, "Produce", 8, {"transactional_id": topic, "acks": -1, "timeout_ms": 5000, "topic_data": [
        {"name": topic, "partition_data": [{"index": 0, "records": records.batch(batch)}]}]})
    return answer["responses"][0]["partition_responses"][0]["error_code"]


@pytest.mark.parametrize("verify", [True, False])
def test_verification(verify):
    topic = unique("verified")
    with Running(transaction_partition_verification_enable=str(verify).lower(), transaction_state_log_replication_factor=1, transaction_state_log_min_isr=1) as b:
        create(b, topic)
        _, batch = begin_transaction(b, topic)
        assert produce_in(b, topic, batch) == (48 if verify else 0)


def test_producers_expire():
    """Idle ones are forgotten; one with an open transaction never is."""
    topic = unique("producers")
    options = {"producer_id_expiration_ms": 500, "producer_id_expiration_check_interval_ms": 50, "transaction_partition_verification_enable": "false"}
    with Running(transaction_state_log_replication_factor=1, transaction_state_log_min_isr=1, **options) as b:
        create(b, topic)
        in_txn, batch = begin_transaction(b, topic)
        assert produce_in(b, topic, batch) == 0
        idle = clients.ask_once(b, "InitProducerId", 1, {"transactional_id": None, "transaction_timeout_ms": 60000})["producer_id"]
        assert produce(b, topic, {"producer_id": idle, "producer_epoch": 0, "base_sequence": 0}) == 0

        def known() -> list[int]:
            answer = clients.ask_once(b, "DescribeProducers", 0, {"topics": [{"name": topic, "partition_indexes": [0]}]})
            return sorted(p["producer_id"] for p in answer["topics"][0]["partitions"][0]["active_producers"])
        wait_for(lambda: known() == [in_txn], 10, "the idle one to be forgotten")
