"""What ACLs do to who connects: each rule, over restarts, in sessions, and in the log. The matrix has the APIs."""

import json
import os
import pathlib
import signal
import time

import pytest

from harness import broker as brokers
from harness.broker import Place
from harness.process import free_port
from harness.toolhost import tools
from harness.wait import wait_for
from harness.zookeeper import ZooKeeper
from wire import records

from .client import DENY, LITERAL, MATCH, PREFIXED, Client, acl, with_authorizer
from .matrix import fetch


@pytest.fixture
def root(b):
    client = Client(b.port)
    client.remove_acls()
    yield client
    client.remove_acls()
    client.close()


@pytest.fixture
def alice(b):
    client = Client(b.sasl_port, "alice")
    yield client
    client.close()


def make_topic(root: Client, name: str) -> None:
    answer = root.call("CreateTopics", 7, {"topics": [{"name": name, "num_partitions": 1, "replication_factor": 1}], "timeout_ms": 10000})
    assert answer["topics"][0]["error_code"] in (0, 36)


def add(root: Client, *acls: dict) -> None:
    assert [r["error_code"] for r in root.add_acls(*acls)] == [0] * len(acls)


def produced(client: Client, topic: str, version: int = 9) -> int:
    """The error code of a batch that is written there."""
    answer = client.call("Produce", version, {"transactional_id": None, "acks": 1, "timeout_ms": 5000, "topic_data": [
        {"name": topic, "partition_data": [{"index": 0, "records": records.batch()}]}]})
    return answer["responses"][0]["partition_responses"][0]["error_code"]


def fetched(client: Client, topic: str, **session) -> list:
    answer = client.call("Fetch", 11, fetch([{"topic": topic}] if topic else [], **session))
    return [p["error_code"] for t in answer["responses"] for p in t["partitions"] if p["partition_index"] == 0], answer


# ---- who may ----

def test_literal_prefixed_wildcard(b, root, alice):
    for name in ("orders", "orders-old", "other"):
        make_topic(root, name)
    assert [produced(alice, t) for t in ("orders", "orders-old", "other")] == [29, 29, 29]
    add(root, acl("Topic", "orders", "Write"))
    assert [produced(alice, t) for t in ("orders", "orders-old", "other")] == [0, 29, 29]
    add(root, acl("Topic", "orders", "Write", pattern=PREFIXED))
    assert [produced(alice, t) for t in ("orders", "orders-old", "other")] == [0, 0, 29]
    add(root, acl("Topic", "*", "Write"))
    assert [produced(alice, t) for t in ("orders", "orders-old", "other")] == [0, 0, 0]
    add(root, acl("Topic", "orders-", "Write", pattern=PREFIXED, permission=DENY))
    assert [produced(alice, t) for t in ("orders", "orders-old", "other")] == [0, 29, 0]


def test_removing_one_hides_no_other(b, root, alice):
    """CVE-2024-27309: a DENY must outlive the removal of another ACL of its resource."""
    make_topic(root, "kept")
    add(root, acl("Topic", "kept", "All"), acl("Topic", "kept", "Write", permission=DENY), acl("Topic", "kept", "Read", "User:bob"))
    assert produced(alice, "kept") == 29
    assert len(root.remove_acls(type_=2, name="kept", principal="User:bob")) == 1
    assert produced(alice, "kept") == 29
    assert fetched(alice, "kept")[0] == [0]


def test_principals_count_with_case(b, root, alice):
    make_topic(root, "cased")
    add(root, acl("Topic", "cased", "Write", "user:alice"), acl("Topic", "cased", "Write", "User:Alice"), acl("Topic", "cased", "Write", "Group:alice"))
    assert produced(alice, "cased") == 29
    add(root, acl("Topic", "cased", "Write", "User:*"))
    assert produced(alice, "cased") == 0


def test_hosts(b, root, alice):
    make_topic(root, "hosted")
    add(root, acl("Topic", "hosted", "Write", host="10.0.0.1"), acl("Topic", "hosted", "Write", host="127.0.0.0"))
    assert produced(alice, "hosted") == 29
    add(root, acl("Topic", "hosted", "Write", host="127.0.0.1"))
    assert produced(alice, "hosted") == 0


def test_hosts_of_ipv6():
    """Texts are compared, and Java writes all eight numbers."""
    b = with_authorizer({"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SIX:PLAINTEXT",
                         "super.users": "User:root"})
    six = free_port()
    b.properties["listeners"] += f",SIX://[::1]:{six}"
    b.properties["allow.everyone.if.no.acl.found"] = "true"
    try:
        b.start()
        root, other = Client(b.sasl_port, "root"), Client(six, host="::1")
        make_topic(root, "six")
        add(root, acl("Topic", "six", "Write", "User:ANONYMOUS"))
        assert produced(other, "six") == 0
        add(root, acl("Topic", "six", "Write", "User:*", DENY, host="::1"))
        assert produced(other, "six") == 0
        add(root, acl("Topic", "six", "Write", "User:*", DENY, host="0:0:0:0:0:0:0:1"))
        assert produced(other, "six") == 29
    finally:
        b.destroy()


def test_super_users(b, root):
    make_topic(root, "closed")
    add(root, acl("Topic", "closed", "All", "User:*", DENY))
    super_user = Client(b.sasl_port, "root")
    assert produced(super_user, "closed") == 0
    super_user.close()


def test_topics_are_made_by_who_may(b, root, alice):
    ask = {"topics": [{"name": "made-by-asking"}], "allow_auto_topic_creation": True}
    add(root, acl("Topic", "made-by-", "Describe", pattern=PREFIXED))
    assert alice.call("Metadata", 9, ask)["topics"][0]["error_code"] == 29
    add(root, acl("Topic", "made-by-asking", "Create"))
    assert alice.call("Metadata", 9, ask)["topics"][0]["error_code"] == 5
    wait_for(lambda: alice.call("Metadata", 9, ask)["topics"][0]["error_code"] == 0, 10, "the topic")


def test_an_idempotent_producer_needs_some_topic(b, root, alice):
    def asked():
        return alice.call("InitProducerId", 4, {"transactional_id": None, "transaction_timeout_ms": 1000})["error_code"]
    assert asked() == 31
    add(root, acl("Topic", "some", "Write", pattern=PREFIXED))
    wait_for(lambda: asked() == 0, 10, "a producer's number")
    add(root, acl("Topic", "so", "Write", pattern=PREFIXED, permission=DENY))
    assert asked() == 31
    add(root, acl("Cluster", "kafka-cluster", "IdempotentWrite"))
    assert asked() == 0


# ---- requests that wait, sessions, answers that are none ----

def test_a_session_is_asked_each_time(b, root, alice):
    make_topic(root, "followed")
    add(root, acl("Topic", "followed", "Read"))
    errors, answer = fetched(alice, "followed", session_epoch=0)
    assert errors == [0]
    session = answer["session_id"]
    assert session != 0
    bob = Client(b.sasl_port, "bob")  # who has found out the session's number
    assert fetched(bob, "", session_id=session, session_epoch=1)[0] == [29]
    bob.close()
    fetched(alice, "", session_id=session, session_epoch=2)
    root.remove_acls(principal="User:alice")
    assert fetched(alice, "", session_id=session, session_epoch=3)[0] == [29]
    assert fetched(alice, "", session_id=session, session_epoch=4)[0] == [29]  # errors are told each time
    add(root, acl("Topic", "followed", "Read"))
    assert fetched(alice, "", session_id=session, session_epoch=5)[0] == [0]


def test_acks_0(b, root):
    make_topic(root, "unheard")
    alice = Client(b.sasl_port, "alice")
    batch = {"name": "unheard", "partition_data": [{"index": 0, "records": records.batch()}]}
    alice.send("Produce", 9, {"transactional_id": None, "acks": 0, "timeout_ms": 1000, "topic_data": [batch]})
    alice.connection.closed(5)
    add(root, acl("Topic", "heard", "Write"))
    make_topic(root, "heard")
    alice = Client(b.sasl_port, "alice")
    alice.send("Produce", 9, {"transactional_id": None, "acks": 0, "timeout_ms": 1000, "topic_data": [batch | {"name": "heard"}, batch]})
    alice.connection.closed(5)
    wait_for(lambda: end_of(root, "heard") == 1, 5, "what is allowed")
    assert end_of(root, "unheard") == 0


def end_of(client: Client, topic: str) -> int:
    answer = client.call("ListOffsets", 6, {"topics": [{"name": topic, "partitions": [{"partition_index": 0, "timestamp": -1}]}]})
    return answer["topics"][0]["partitions"][0]["offset"]


def test_some_are_taken_out(b, root, alice):
    """Of what is named in one request the refused come behind the others, each with what was asked of it."""
    for name in ("first", "second", "third"):
        make_topic(root, name)
    add(root, acl("Topic", "second", "Write"))
    batches = [{"index": i, "records": records.batch()} for i in (0, 1)]
    answer = alice.call("Produce", 9, {"transactional_id": None, "acks": -1, "timeout_ms": 5000, "topic_data": [
        {"name": n, "partition_data": batches} for n in ("first", "second", "third")]})
    found = {t["name"]: sorted(p["error_code"] for p in t["partition_responses"]) for t in answer["responses"]}
    assert found == {"first": [29, 29], "second": [0, 3], "third": [29, 29]}
    assert end_of(root, "first") == 0 and end_of(root, "second") == 1


# ---- creating, telling, removing ----

@pytest.mark.parametrize("wrong, text", [
    (acl("Cluster", "other", "Alter"), "The only valid name for the CLUSTER resource is kafka-cluster"),
    (acl("Topic", "", "Read"), "Invalid empty resource name"),
    (acl("Topic", "t", "Read") | {"operation": 99}, "Failed to create ACL"),
    (acl("Topic", "t", "Read") | {"resource_type": 99}, "Failed to create ACL"),
    (acl("Topic", "t", "Read", permission=99), "Failed to create ACL"),
    (acl("Group", "a/b", "Read"), "Failed to create ACL"),
])
def test_what_cannot_be_created(b, root, wrong, text):
    good = acl("Topic", "good", "Read")
    results = root.add_acls(wrong, good)
    assert [(r["error_code"], r["error_message"]) for r in results] == [(42, text), (0, "")]


@pytest.mark.parametrize("wrong", [acl("Topic", "t", "Read", "alice"), acl("Topic", "t", "Read") | {"resource_type": 1},
                                   acl("Topic", "t", "Read", pattern=MATCH), acl("Topic", ".", "Read"), acl("Topic", "a\0b", "Read"),
                                   acl("Topic", "t", "Read") | {"operation": 1}, acl("Topic", "t", "Read", permission=1)])
def test_what_kafka_trips_over(b, root, wrong):
    assert root.add_acls(wrong)[0]["error_code"] == (-1 if b.kind == "kafka" else 42)
    assert root.acls() == set()


def test_filters(b, root):
    add(root, acl("Topic", "ab", "Read"), acl("Topic", "*", "Read"), acl("Topic", "a", "Read", pattern=PREFIXED),
        acl("Topic", "ab", "Write", "User:bob", DENY), acl("Topic", "ab", "Read", pattern=PREFIXED), acl("Group", "ab", "Read"))

    def names(**filter_):
        return sorted((t, p, n) for t, p, n, *_ in root.acls(**filter_))
    assert names(type_=2, name="ab", pattern=LITERAL) == [(2, 3, "ab"), (2, 3, "ab")]
    assert names(type_=2, name="ab") == [(2, 3, "ab"), (2, 3, "ab"), (2, 4, "ab")]
    assert names(type_=2, name="ab", pattern=MATCH) == [(2, 3, "*"), (2, 3, "ab"), (2, 3, "ab"), (2, 4, "a"), (2, 4, "ab")]
    assert names(name="ab", pattern=LITERAL, principal="User:alice") == [(2, 3, "ab"), (3, 3, "ab")]
    assert names(permission=DENY) == [(2, 3, "ab")]
    assert names(operation=3, type_=3) == [(3, 3, "ab")]
    assert names(pattern=PREFIXED) == [(2, 4, "a"), (2, 4, "ab")]
    assert len(root.remove_acls(type_=2, name="ab", pattern=MATCH)) == 5
    assert names() == [(3, 3, "ab")]


def test_operations_that_are_told(b, root, alice):
    make_topic(root, "told")

    def told(client):
        answer = client.call("Metadata", 9, {"topics": [{"name": "told"}], "include_topic_authorized_operations": True})
        return answer["topics"][0]["topic_authorized_operations"]
    assert told(root) == sum(1 << n for n in (3, 4, 5, 6, 7, 8, 10, 11))
    add(root, acl("Topic", "told", "Read"))
    assert told(alice) == 1 << 3 | 1 << 8
    assert alice.call("DescribeCluster", 0, {"include_cluster_authorized_operations": True})["cluster_authorized_operations"] == 0
    assert root.call("DescribeCluster", 0, {"include_cluster_authorized_operations": True})["cluster_authorized_operations"] == 0x1fa0


@pytest.mark.parametrize("life", ["restart", "crash"])
def test_after_a_start(life):
    b = with_authorizer()
    try:
        b.start()
        root = Client(b.port)
        make_topic(root, "kept")
        add(root, acl("Topic", "kept", "Write"), acl("Topic", "ke", "Read", pattern=PREFIXED), acl("Group", "a b", "Read", permission=DENY))
        before = root.acls()
        assert len(before) == 3
        getattr(b, life)()
        root, alice = Client(b.port), Client(b.sasl_port, "alice")
        assert root.acls() == before
        assert produced(alice, "kept") == 0 and fetched(alice, "kept")[0] == [0]
        assert produced(alice, "other") == 29
    finally:
        b.destroy()


def test_without_acls_everybody_if_so_configured():
    b = with_authorizer({"allow.everyone.if.no.acl.found": "true"})
    try:
        b.start()
        root, alice = Client(b.port), Client(b.sasl_port, "alice")
        make_topic(root, "free")
        assert produced(alice, "free") == 0
        add(root, acl("Topic", "free", "Write", "User:bob"))
        assert produced(alice, "free") == 29
        root.remove_acls()
        assert produced(alice, "free") == 0
    finally:
        b.destroy()


# ---- the log ----

def test_denials_are_logged(b, root, alice):
    if b.kind == "kafka":
        pytest.skip("its log4j.properties leave it out")
    make_topic(root, "logged")
    produced(alice, "logged")
    line = ("INFO Principal = User:alice is Denied operation = Write from host = 127.0.0.1 on resource = Topic:LITERAL:logged "
            "for request = Produce with resourceRefCount = 1 (kafka.authorizer.logger)")
    wait_for(lambda: line in b.said(), 5, "the line")
    assert "is Allowed" not in b.said()


def test_a_flood_of_denials_is_bounded(b, root, alice):
    if b.kind == "kafka":
        pytest.skip("about ours")
    begun = time.monotonic()
    for i in range(1000):
        produced(alice, f"flood-{i}")
    assert b.said().count("flood-") < 110 * (time.monotonic() - begun + 2)
    assert b.alive()


# ---- nodes that cannot be read ----

@pytest.mark.skipif(brokers.coordination() != "zookeeper", reason="writes into ZooKeeper")
def test_a_node_that_cannot_be_read(b, root, alice):
    if b.kind == "kafka":
        pytest.skip("about ours")
    make_topic(root, "broken")
    add(root, acl("Topic", "broken", "Write"))
    assert produced(alice, "broken") == 0
    with b.zookeeper.client() as zk:
        zk.set(f"{b.chroot}/kafka-acl/Topic/broken", b'{"version":1,"acls":[{"principal":"User:alice"}]}')
        zk.create(f"{b.chroot}/kafka-acl-changes/acl_changes_", b"TOPIC:broken", sequence=True)
    wait_for(lambda: produced(alice, "broken") == 29, 10, "the topic to be closed")
    assert produced(root, "broken") == 0
    assert b.said().count("ACLs cannot be read") == 1
    with b.zookeeper.client() as zk:
        zk.delete(f"{b.chroot}/kafka-acl/Topic/broken")
        zk.create(f"{b.chroot}/kafka-acl-changes/acl_changes_", b"TOPIC:broken", sequence=True)
    add(root, acl("Topic", "broken", "Write"))
    wait_for(lambda: produced(alice, "broken") == 0, 10, "the topic to be open")


@pytest.mark.skipif(brokers.coordination() != "zookeeper", reason="about sessions with ZooKeeper")
def test_after_a_session_has_expired(b, root, alice):
    """What was changed unseen, without a notification that is left, is read in the new session."""
    if b.kind == "kafka":
        pytest.skip("about ours")
    make_topic(root, "slept")
    assert produced(alice, "slept") == 29
    owner = b.zookeeper.node(f"{b.chroot}/brokers/ids/0").owner
    b.process.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: b.zookeeper.node(f"{b.chroot}/brokers/ids/0") is None, 30, "the session to expire")
        with b.zookeeper.client() as zk:
            zk.create(f"{b.chroot}/kafka-acl/Topic/slept", json.dumps({"version": 1, "acls": [
                {"principal": "User:alice", "permissionType": "Allow", "operation": "Write", "host": "*"}]}).encode())
    finally:
        b.process.signal(signal.SIGCONT)
    wait_for(lambda: produced(Client(b.sasl_port, "alice"), "slept") == 0, 30, "alice to be let in")
    assert b.zookeeper.node(f"{b.chroot}/brokers/ids/0").owner != owner


@pytest.mark.skipif(brokers.coordination() != "zookeeper", reason="the tool writes into ZooKeeper")
def test_kafka_acls_by_zookeeper(b, root, alice):
    make_topic(root, "direct")
    connect = b.properties["zookeeper.connect"]
    tools("3.9.1").run("kafka-acls", "--authorizer-properties", f"zookeeper.connect={connect}", "--add", "--allow-principal", "User:alice",
                       "--operation", "Write", "--topic", "dir", "--resource-pattern-type", "prefixed")
    wait_for(lambda: produced(alice, "direct") == 0, 10, "alice to be let in")
    tools("3.9.1").run("kafka-acls", "--authorizer-properties", f"zookeeper.connect={connect}", "--remove", "--force", "--topic", "dir",
                       "--resource-pattern-type", "prefixed")
    wait_for(lambda: produced(alice, "direct") == 29, 10, "alice to be refused")


@pytest.mark.skipif(brokers.coordination() != "zookeeper" or brokers.kind_under_test() == "kafka", reason="two of ours on one ZooKeeper")
def test_brokers_need_rights_too():
    """Two brokers that are no super users: they are refused by each other until an ACL lets them."""
    zookeeper = ZooKeeper.shared()
    chroot = zookeeper.new_chroot()
    members = [with_authorizer({"broker.id": str(n), "zookeeper.session.timeout.ms": "6000", "super.users": "User:root"}, on=zookeeper,
                               place=Place("127.0.0.1", free_port(), chroot)) for n in (0, 1)]
    try:
        for member in members:
            member.launch()
        wait_for(lambda: all(len(zookeeper.tree(chroot + "/brokers/ids")) >= 2 for _ in members), 20, "both to be there")
        wait_for(lambda: any("is Denied operation = ClusterAction" in m.said() for m in members), 20, "one to be refused")
        used = [cpu_seconds(m) for m in members]
        time.sleep(3)
        assert all(cpu_seconds(m) - u < 1 for m, u in zip(members, used)), "a broker that is refused asks without a pause"
        controller = json.loads(zookeeper.node(chroot + "/controller").data)["brokerid"]
        root = Client(members[controller].sasl_port, "root")
        add(root, acl("Cluster", "kafka-cluster", "ClusterAction", "User:ANONYMOUS"))
        for member in members:
            wait_for(lambda member=member: "ACLs have changed type=Cluster" in member.said(), 10, "both to know of it")
        make_topic(root, "news")  # what was refused is told with what is new

        def brokers_known(member) -> int:
            client = Client(member.sasl_port, "root")
            n = len(client.call("Metadata", 9, {"topics": []})["brokers"])
            client.close()
            return n
        for member in members:
            wait_for(lambda member=member: brokers_known(member) == 2, 30, "both to know of each other")
    finally:
        for member in members:
            member.destroy()
        zookeeper.remove(chroot)


def cpu_seconds(b) -> float:
    fields = pathlib.Path(f"/proc/{b.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
