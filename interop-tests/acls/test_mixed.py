"""Kafka 3.9.1 and Ottla on one ZooKeeper: ACLs that are made on either are in force on both."""

import pytest

from harness import broker as brokers
from harness.broker import Place
from harness.process import free_port
from harness.wait import wait_for
from harness.zookeeper import ZooKeeper

from .client import DENY, PREFIXED, Client, acl, with_authorizer
from .test_rules import produced

pytestmark = [pytest.mark.whole, pytest.mark.skipif(brokers.coordination() != "zookeeper" or brokers.kind_under_test() != "ottla",
                                                    reason="both kinds, on one ZooKeeper")]


@pytest.fixture(scope="module")
def both():
    zookeeper = ZooKeeper.shared()
    chroot = zookeeper.new_chroot()
    members = []
    try:
        for n, kind in enumerate(("kafka", "ottla")):
            place = Place("127.0.0.1", free_port(), chroot)
            b = with_authorizer({"broker.id": str(n), "default.replication.factor": "2", "zookeeper.session.timeout.ms": "6000"},
                                on=zookeeper, kind=kind, place=place)
            members.append(b)
            b.start()
        yield members
    finally:
        for b in members:
            b.destroy()
        zookeeper.remove(chroot)


def lead(both, name: str) -> dict:
    """A topic with a partition that each of the two leads: its leaders by kind."""
    kafka = Client(both[0].port)
    wait_for(lambda: len(kafka.call("Metadata", 9, {"topics": []})["brokers"]) == 2, 20, "two brokers")
    controller = kafka.call("Metadata", 9, {"topics": []})["controller_id"]
    client = Client(both[controller].port)
    assignments = [{"partition_index": i, "broker_ids": ids} for i, ids in enumerate(([0, 1], [1, 0]))]
    answer = client.call("CreateTopics", 4, {"topics": [{"name": name, "num_partitions": -1, "replication_factor": -1, "assignments": assignments}],
                                             "timeout_ms": 10000})
    assert answer["topics"][0]["error_code"] in (0, 36), answer
    kafka.close()
    client.close()


def ends(b, topic: str, user: str = "alice") -> set:
    """The codes of ListOffsets there (needs Describe), of partitions that it leads or does not: 6 is as good as 0."""
    client = Client(b.sasl_port, user)
    answer = client.call("ListOffsets", 6, {"topics": [{"name": topic, "partitions": [{"partition_index": p, "timestamp": -1} for p in (0, 1)]}]})
    client.close()
    return {29 if p["error_code"] == 29 else 0 for t in answer["topics"] for p in t["partitions"]}


@pytest.mark.parametrize("at, other", [(0, 1), (1, 0)], ids=["made on Kafka", "made on Ottla"])
def test_seen_on_both(both, at, other):
    topic = f"mixed-{at}"
    lead(both, topic)
    maker = Client(both[at].port)
    assert all(ends(b, topic) == {29} for b in both)
    made = [acl("Topic", topic, "Describe"), acl("Topic", "mixed", "Write", "User:bob", pattern=PREFIXED), acl("Group", "*", "Read", "User:bob", DENY)]
    assert all(r["error_code"] == 0 for r in maker.add_acls(*made))
    for b in both:
        wait_for(lambda b=b: ends(b, topic) == {0}, 10, f"alice to be let in by {b.kind}")
        client = Client(b.port)
        wait_for(lambda client=client: len(client.acls(type_=2, name=topic, pattern=2)) == 2, 10, "both that are about the topic")
        client.close()
    remover = Client(both[other].port)
    assert len(remover.remove_acls(type_=2, name=topic, principal="User:alice")) == 1
    for b in both:
        wait_for(lambda b=b: ends(b, topic) == {29}, 10, f"alice to be refused by {b.kind}")
        assert ends(b, topic, "bob") == {0}
    assert len(remover.remove_acls()) == 2
    wait_for(lambda: maker.acls() == set(), 10, "none to be left")


def test_replication_goes_on(both):
    """Followers of either kind fetch from leaders of the other."""
    lead(both, "replicated")
    for b in both:
        client = Client(b.port)
        wait_for(lambda client=client: {p["partition_index"]: len(p["isr_nodes"]) for p in client.call(
            "Metadata", 9, {"topics": [{"name": "replicated"}]})["topics"][0]["partitions"]} == {0: 2, 1: 2}, 20, "all in sync")
        client.close()
    kafka = Client(both[0].port)
    assert produced(kafka, "replicated") in (0, 6)


def test_after_a_start(both):
    maker = Client(both[0].port)
    assert all(r["error_code"] == 0 for r in maker.add_acls(acl("Topic", "kept", "Read"), acl("Topic", "ke", "Write", pattern=PREFIXED)))
    expected = maker.acls()
    both[1].restart()
    assert Client(both[1].port).acls() == expected
    both[0].restart()
    assert Client(both[0].port).acls() == expected
