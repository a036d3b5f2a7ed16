"""One data directory, one ZooKeeper, one server.properties: Kafka 3.9.1 and the broker under test in each other's place.

Kafka fills it; the broker under test goes on in its place; Kafka takes it back. At every change everything a client
can see must be what it was: records with offsets, timestamps, keys, values, headers and epochs, what a transaction
hides, groups, configs, topic ids; and what ZooKeeper and the directory hold. A producer stays up over all of it.
"""

import itertools
import time

import pytest

from harness import broker as brokers
from harness import clients, toolhost
from harness.wait import wait_for
from wire.player import Connection

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
admin = pytest.importorskip("confluent_kafka.admin")
from harness.load import Load  # noqa: E402

pytestmark = [pytest.mark.skipif(bool(toolhost.missing("3.9.1")), reason=f"skipped, because {toolhost.missing('3.9.1')}")]

UnderTest = brokers.Ottla if brokers.kind_under_test() == "ottla" else brokers.Kafka
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
# Written to all the time by the producer and the consumers that stay up.
LIVE = ("live", "__consumer_offsets", "__transaction_state")
WEEK_MS = 7 * 86400 * 1000

# After a clean stop a broker that is alone says none of this either.
NOR = {"kafka": r"Truncat|(WARN|ERROR) .*\(kafka\.server", "ottla": r"[Tt]runcat|ERROR|WARN"}


class Place:
    """The place, and who is in it."""

    def __init__(self):
        self.first = brokers.Kafka({"message.max.bytes": "2000000"})
        self.at = None

    def enter(self, kind):
        self.at = kind.in_place_of(self.first).start()
        return self.at

    def leave(self, end: str):
        self.at.stop() if end == "stopped" else self.at.kill()

    def destroy(self):
        if self.at:
            self.at.kill()
        self.first.destroy()


@pytest.fixture
def place():
    p = Place()
    yield p
    p.destroy()


def conf(b, **more) -> dict:
    return {"bootstrap.servers": b.bootstrap, "log_level": 0, "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200, **{k.replace("_", "."): v for k, v in more.items()}}


# --- what is written

def fill(b, said: str) -> None:
    """Records of every codec, with and without keys, values, headers; `said` tells one filling from another."""
    now, errors, producers = int(time.time() * 1000), [], []
    for n, codec in enumerate(CODECS):
        p = ck.Producer(conf(b, compression_type=codec, linger_ms=20, enable_idempotence=n % 2 == 0))
        producers.append(p)
        for topic, i in itertools.product(("records", "stamped"), range(40)):
            p.produce(topic, f"{said} {codec} {i} " * (i % 7) if i % 5 else None, key=f"k{i}" if i % 3 else None,
                      partition=i % 2, timestamp=now - 3600_000 + i * 1000,
                      headers=[("h", f"{said}".encode()), ("h", None), ("", b"\0\xff")] if i % 2 else [],
                      on_delivery=lambda e, _: e and errors.append(e))
    assert all(p.flush(30) == 0 for p in producers) and not errors, errors
    group_goes_on(b)
    too_large(b)


def too_large(b) -> None:
    """message.max.bytes as it was set in ZooKeeper for the cluster, not as the properties have it."""
    said = []
    p = ck.Producer(conf(b, message_max_bytes=5_000_000))
    p.produce("records", b"x" * 1_200_000, partition=0, on_delivery=lambda e, _: said.append(e and e.code()))
    assert p.flush(30) == 0
    assert said == [ck.KafkaError.MSG_SIZE_TOO_LARGE]


def group_goes_on(b) -> None:
    """The group `reader` is at the ends after it has read exactly what was not read before."""
    parts = [ck.TopicPartition("records", p) for p in range(2)]
    c = ck.Consumer(conf(b, group_id="reader", auto_offset_reset="earliest", enable_auto_commit=False))
    before = {p.partition: max(p.offset, 0) for p in c.committed(parts, 30)}
    c.subscribe(["records"])
    ends = dict(enumerate(clients.end_offsets(b, "records", 2)))
    read = []

    def all_read():
        read.extend((m.partition(), m.offset()) for m in c.consume(1000, 0.1) if not m.error())
        return len(read) >= sum(ends.values()) - sum(before.values())
    wait_for(all_read, 30, "what the group has not read")
    assert sorted(read) == [(p, o) for p in range(2) for o in range(before[p], ends[p])]
    c.commit(offsets=[ck.TopicPartition("records", p, ends[p], f"read {ends[p]}") for p in range(2)], asynchronous=False)
    c.close()


def transactions(b, said: str) -> None:
    p = ck.Producer(conf(b, transactional_id="mover"))
    p.init_transactions(30)
    c = ck.Consumer(conf(b, group_id="moved"))
    for i, commits in enumerate((True, False, True)):
        p.begin_transaction()
        for k in range(6):
            p.produce("moved", f"{said} {i} {'committed' if commits else 'aborted'} {k}", partition=k % 2)
        if commits:
            p.send_offsets_to_transaction([ck.TopicPartition("records", 0, i + 1)], c.consumer_group_metadata(), 30)
            p.commit_transaction(30)
        else:
            p.flush(30)
            p.abort_transaction(30)
    c.close()


def set_up(b) -> None:
    clients.create_topic(b, "records", 2, segment_bytes=3000, index_interval_bytes=200)
    clients.create_topic(b, "stamped", 2, message_timestamp_type="LogAppendTime", compression_type="lz4")
    clients.create_topic(b, "moved", 2)
    clients.create_topic(b, "live", 2)
    clients.create_topic(b, "empty", 1)
    clients.create_topic(b, "trimmed", 1)
    host = toolhost.tools("3.9.1")

    def configs(*args):
        host.run("kafka-configs", "--bootstrap-server", b.bootstrap, "--alter", *args)
    configs("--entity-type", "topics", "--entity-name", "empty", "--add-config", "cleanup.policy=[compact,delete]")
    configs("--entity-type", "clients", "--entity-name", "c1", "--add-config", "producer_byte_rate=10485760")
    configs("--entity-type", "users", "--entity-default", "--add-config", "consumer_byte_rate=99999999")
    configs("--entity-type", "brokers", "--entity-default", "--add-config",
            f"log.retention.ms={WEEK_MS},message.max.bytes=1000000")
    p = ck.Producer(conf(b))
    for i in range(20):
        p.produce("trimmed", f"{i}")
    assert p.flush(30) == 0
    a = admin.AdminClient(conf(b))
    for f in a.delete_records([ck.TopicPartition("trimmed", 0, 7)]).values():
        f.result(30)


# --- what is there

def everything_read(b, topics: dict, isolation: str) -> dict:
    """(topic, partition) -> all records a consumer gets."""
    c = ck.Consumer(conf(b, group_id="not used", enable_auto_commit=False, enable_partition_eof=True,
                         isolation_level=isolation, auto_offset_reset="error", fetch_wait_max_ms=50))
    parts = [(t, p) for t, n in topics.items() for p in range(n)]
    starts = {(t, p): c.get_watermark_offsets(ck.TopicPartition(t, p), 10) for t, p in parts}
    found = {at: [("from, to", starts[at])] for at in parts}
    c.assign([ck.TopicPartition(t, p, starts[t, p][0]) for t, p in parts])
    at_end = set()

    def all_read():
        for m in c.consume(1000, 0.1):
            at = m.topic(), m.partition()
            if m.error() is None:
                found[at].append((m.offset(), m.timestamp(), m.key(), m.value(), m.headers()))
            else:
                assert m.error().code() == ck.KafkaError._PARTITION_EOF, m.error()
                at_end.add(at)
        return len(at_end) == len(parts)
    wait_for(all_read, 30, "the end of every partition", interval_s=0)
    c.close()
    return found


def seen(b, hour_ago: int) -> dict:
    """Everything a client can see, and what ZooKeeper holds, by name."""
    a = admin.AdminClient(conf(b))
    connection = Connection("127.0.0.1", b.port)
    metadata = clients.ask(connection, "Metadata", 12, {"topics": None})
    topics = {t["name"]: len(t["partitions"]) for t in metadata["topics"] if t["name"] not in LIVE}
    found = {"cluster id": metadata["cluster_id"]}
    for t in metadata["topics"]:
        found[f"topic {t['name']}"] = (t["topic_id"], t["is_internal"], sorted(
            (p["partition_index"], p["leader_id"], p["leader_epoch"], p["replica_nodes"], p["isr_nodes"])
            for p in t["partitions"]))
    for isolation in ("read_uncommitted", "read_committed"):
        for at, records in everything_read(b, topics, isolation).items():
            found[f"{isolation} {at}"] = records
    for name, n in topics.items():
        asked = {"the end": -1, "the start": -2, "an hour ago": hour_ago}
        if name != "trimmed":
            asked["the newest"] = -3  # Kafka also finds it in what was deleted
        for which, timestamp in asked.items():
            answer = clients.ask(connection, "ListOffsets", 7, {"topics": [{"name": name, "partitions": [
                {"partition_index": p, "timestamp": timestamp} for p in range(n)]}]})
            found[f"{which} of {name}, and its epoch"] = sorted(
                (p["partition_index"], p["error_code"], p["offset"], p["timestamp"], p["leader_epoch"])
                for p in answer["topics"][0]["partitions"])
        answer = clients.ask(connection, "OffsetForLeaderEpoch", 3, {"topics": [{"topic": name, "partitions": [
            {"partition": p, "current_leader_epoch": 0, "leader_epoch": 0} for p in range(n)]}]})
        found[f"the end of epoch 0 of {name}"] = answer["topics"]
    connection.close()

    resources = [admin.ConfigResource(admin.ConfigResource.Type.TOPIC, t) for t in topics]
    resources.append(admin.ConfigResource(admin.ConfigResource.Type.BROKER, b.properties["broker.id"]))
    # Of a topic also what it has from the cluster; of the broker what was set while it ran.
    for resource, future in a.describe_configs(resources).items():
        found[f"configs of {resource}"] = sorted(
            (c.name, c.value, c.source) for c in future.result(30).values() if c.source in (1, 2, 3))
    for group in ("reader", "moved"):
        offsets = a.list_consumer_group_offsets([ck.ConsumerGroupTopicPartitions(group)])[group].result(30)
        found[f"offsets of {group}"] = sorted(
            (p.topic, p.partition, p.offset, p.metadata) for p in offsets.topic_partitions)
    listed = a.list_consumer_groups().result(30).valid
    found["groups"] = sorted((g.group_id, g.state.name) for g in listed if g.group_id != "live")
    for path, node in b.zookeeper.tree(b.chroot).items():
        # What a new session changes; and blocks are given out while the producer that stays up works.
        if not node.ephemeral and path not in ("/controller_epoch", "/latest_producer_id_block"):
            found[f"znode {path}"] = (node.data, node.version, node.czxid, node.acl)
    return found


def compare(before: dict, after: dict, who: str) -> None:
    different = [f"{name}\n    before: {show(before.get(name), after.get(name))}\n    {who}: "
                 f"{show(after.get(name), before.get(name))}"
                 for name in sorted(before | after) if before.get(name) != after.get(name)]
    assert not different, f"{len(different)} things changed:\n" + "\n".join(different)


def show(value, other) -> str:
    """Of a list only the entries the other has not."""
    if isinstance(value, list) and isinstance(other, list):
        return f"{len(value)} entries, of which only here: {[v for v in value if v not in other][:4]}"
    return str(value)[:500]


def log_files(b) -> dict:
    return {p.relative_to(b.data_dir): p.read_bytes() for p in b.data_dir.glob("*/*.log")}


def assert_only_appended(before: dict, after: dict) -> None:
    changed = [str(path) for path, data in before.items() if not after.get(path, b"").startswith(data)]
    assert not changed, f"other bytes in {changed}"


def generation(b) -> int:
    """Of a group that is joined and left again: it counts on over everything."""
    c = Connection("127.0.0.1", b.port)
    protocols = [{"name": "range", "metadata": b"\0\0\0\0\0\0\0\0\0\0"}]

    def joined():
        answer = clients.ask(c, "JoinGroup", 3, {
            "group_id": "counted", "session_timeout_ms": 10000, "rebalance_timeout_ms": 10000, "member_id": "",
            "protocol_type": "consumer", "protocols": protocols})
        assert answer["error_code"] == 0, answer
        return answer
    member = wait_for(joined, 15, "the coordinator")
    me = {"group_id": "counted", "member_id": member["member_id"], "generation_id": member["generation_id"]}
    assert clients.ask(c, "SyncGroup", 1, {**me, "assignments": [
        {"member_id": member["member_id"], "assignment": b""}]})["error_code"] == 0
    assert clients.ask(c, "LeaveGroup", 1, {k: me[k] for k in ("group_id", "member_id")})["error_code"] == 0
    c.close()
    return member["generation_id"]


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_in_each_others_place(place, end):
    b = place.enter(brokers.Kafka)
    set_up(b)
    if end == "killed":
        b.restart()  # Kafka notes where a log starts after its first 30 seconds, or when it stops
    fill(b, "by Kafka")
    transactions(b, "by Kafka")
    generations = [generation(b)]
    live = Load(b, "live", 2)
    try:
        for kind in (UnderTest, brokers.Kafka, UnderTest):
            live.goes_on()
            hour_ago = int(time.time() * 1000) - 3600_000
            before = seen(b, hour_ago)
            logs = log_files(b)
            place.leave(end)
            b = place.enter(kind)
            if end == "stopped":
                b.assert_no_repair(NOR[b.kind])
            compare(before, seen(b, hour_ago), f"in place of the other, {b.kind}")
            assert_only_appended(logs, log_files(b))
            live.goes_on()
            generations.append(generation(b))
            fill(b, f"by {b.kind}, in place")
            if b.kind == "kafka":
                transactions(b, "by Kafka again")
        live.check()
    finally:
        live.stop()
    steps = {b - a for a, b in itertools.pairwise(generations)}
    assert steps == {2}, f"generations {generations}"
