"""What is to be seen of a topic and of a group, from outside of the client under test: of one broker, or of a cluster."""

import confluent_kafka as ck

from harness import clients
from harness.wait import wait_for


def read(b, topic: str, partitions: int, isolation: str) -> list:
    """Of each partition the values up to its end, as a reader of that isolation sees it."""
    c = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": "not used", "enable.auto.commit": False,
                     "auto.offset.reset": "error", "isolation.level": isolation, "enable.partition.eof": True,
                     "log_level": 0})
    c.assign([ck.TopicPartition(topic, p, 0) for p in range(partitions)])
    values, at_end = [[] for _ in range(partitions)], set()

    def all_read():
        for m in c.consume(10000, 0.2):
            if m.error() is None:
                values[m.partition()].append(m.value().decode())
            elif m.error().code() == ck.KafkaError._PARTITION_EOF:
                at_end.add(m.partition())
            else:
                assert m.error().retriable(), m.error()
        return len(at_end) == partitions
    wait_for(all_read, 120, f"the ends of {topic}", interval_s=0)
    c.close()
    return values


def committed(b, topic: str, partitions: int) -> list:
    return read(b, topic, partitions, "read_committed")


def uncommitted(b, topic: str, partitions: int) -> list:
    return read(b, topic, partitions, "read_uncommitted")


def ends(b, topic: str, partitions: int, isolation: int) -> list:
    def end(partition: int) -> int:
        answer = clients.ask_once(b.leads(topic, partition), "ListOffsets", 7, {"isolation_level": isolation, "topics": [
            {"name": topic, "partitions": [{"partition_index": partition, "timestamp": -1}]}]})
        (found,) = answer["topics"][0]["partitions"]
        assert found["error_code"] == 0, answer
        return found["offset"]
    return [end(p) for p in range(partitions)]


def nothing_open(b, topic: str, partitions: int) -> None:
    """Everything up to the end is stable."""
    stable, end = ends(b, topic, partitions, 1), ends(b, topic, partitions, 0)
    assert stable == end, f"transactions are open in {topic}: stable up to {stable}, ends {end}"


def offsets(b, group: str, topic: str, partitions: int, stable: bool = True) -> list:
    """(error, offset) of each partition."""
    def asked():
        answer = clients.ask_once(b.coordinates(group, 0), "OffsetFetch", 7, {
            "group_id": group, "require_stable": stable,
            "topics": [{"name": topic, "partition_indexes": list(range(partitions))}]})
        assert answer["error_code"] == 0, answer
        return sorted(answer["topics"][0]["partitions"], key=lambda p: p["partition_index"])
    return [(p["error_code"], p["committed_offset"]) for p in wait_for(asked, 30, "the group's coordinator")]


def describe(b, transactional_id: str) -> dict:
    def asked():
        answer = clients.ask_once(b.coordinates(transactional_id, 1), "DescribeTransactions", 0,
                                  {"transactional_ids": [transactional_id]})
        assert answer["transaction_states"][0]["error_code"] not in (14, 15, 16), answer
        return answer["transaction_states"][0]
    return wait_for(asked, 30, "the transaction coordinator")


def described(b, transactional_id: str) -> dict:
    """Without the order of its partitions."""
    found = describe(b, transactional_id)
    found["topics"] = sorted((t["topic"], sorted(t["partitions"])) for t in found["topics"])
    return found


def settled(b, transactional_id: str) -> str:
    """The state of a transaction when its markers are written."""
    def ended():
        state = describe(b, transactional_id)["transaction_state"]
        return state if state in ("Empty", "CompleteCommit", "CompleteAbort") else None
    return wait_for(ended, 30, f"the end of the transaction of {transactional_id}")
