"""Racks: where replicas go, and what clients are told of it."""

from harness.life import unique

RACKS = ("a", "b", "b")
UNKNOWN_SERVER_ERROR, INVALID_REPLICATION_FACTOR = -1, 38


def create(cluster, factor: int) -> dict:
    return cluster.ask_controller("CreateTopics", 5, {"timeout_ms": 15000, "topics": [
        {"name": unique("t"), "num_partitions": 2, "replication_factor": factor, "configs": []}]})["topics"][0]


def test_a_replica_in_each_rack(cluster):
    topic = cluster.create_topic(unique("racks"), 12, replicas=2)
    more = {"timeout_ms": 15000, "topics": [{"name": topic, "count": 18, "assignments": None}]}
    assert cluster.ask_controller("CreatePartitions", 0, more)["results"][0]["error_code"] == 0
    for replicas in cluster.assignment(topic).values():
        assert {RACKS[n] for n in replicas} == {"a", "b"}
    assert len(cluster.assignment(topic)) == 18
    for n in range(len(cluster.brokers)):
        assert {b["node_id"]: b["rack"] for b in cluster.metadata(n, topic)["brokers"]} == dict(enumerate(RACKS))


def test_some_without(cluster):
    """Nothing is placed while one broker has no rack."""
    b = cluster.brokers[2]
    del b.properties["broker.rack"]
    b.restart()
    cluster.settle()
    assert create(cluster, 2)["error_code"] == UNKNOWN_SERVER_ERROR
    assert create(cluster, 5)["error_code"] == INVALID_REPLICATION_FACTOR
    b.properties["broker.rack"] = RACKS[2]
    b.restart()
    cluster.settle()
    assert create(cluster, 2)["error_code"] == 0
