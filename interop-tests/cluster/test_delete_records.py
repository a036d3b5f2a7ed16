"""DeleteRecords among three brokers: it waits for every replica that lives, and for the client's timeout at most."""

import time

import pytest

from harness import clients
from harness.life import unique
from harness.wait import wait_for
from wire import records

from .work import tool

TIMED_OUT = 7


@pytest.fixture
def topic(cluster) -> str:
    """A partition of ten records on all brokers, led by the first."""
    name = cluster.create_topic(unique("trimmed"), 1, 3)
    cluster.lead(name, 0, 0)
    wait_for(lambda: cluster.in_sync(name), 30, f"{name} in sync")
    answer = clients.ask_once(cluster.leads(name, 0), "Produce", 9, {
        "transactional_id": None, "acks": -1, "timeout_ms": 10000, "topic_data": [
            {"name": name, "partition_data": [{"index": 0, "records": records.batch({"records": list("abcdefghij")})}]}]})
    assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0, answer
    return name


def delete(cluster, topic: str, offset: int, timeout_ms: int) -> tuple:
    """(error, low watermark, seconds)"""
    began = time.monotonic()
    answer = clients.ask_once(cluster.leads(topic, 0), "DeleteRecords", 2, {
        "timeout_ms": timeout_ms, "topics": [{"name": topic, "partitions": [{"partition_index": 0, "offset": offset}]}]})
    (told,) = answer["topics"][0]["partitions"]
    return told["error_code"], told["low_watermark"], time.monotonic() - began


def start(b, topic: str) -> int:
    answer = clients.ask_once(b, "ListOffsets", 1, {"topics": [{"name": topic, "partitions": [
        {"partition_index": 0, "timestamp": -2}]}]})
    (found,) = answer["topics"][0]["partitions"]
    assert found["error_code"] == 0, answer
    return found["offset"]


def test_all_have_it(cluster, topic):
    """When it is answered every replica begins there: whoever leads next says so at once."""
    assert delete(cluster, topic, 5, 20000)[:2] == (0, 5)
    assert delete(cluster, topic, 2, 20000)[:2] == (0, 5)
    cluster.lead(topic, 0, 1)
    assert start(cluster.leads(topic, 0), topic) == 5


def test_one_is_silent(cluster, topic):
    """The answer to who waits in vain has the low watermark as it was; the leader's log begins at the new offset."""
    assert delete(cluster, topic, 3, 20000)[:2] == (0, 3)
    cluster.pause(2)
    try:
        error, low_watermark, seconds = delete(cluster, topic, 5, 1000)
        assert (error, low_watermark) == (TIMED_OUT, 3) and 0.9 < seconds < 5
        assert delete(cluster, topic, 6, 0)[:2] == (TIMED_OUT, 3)
        assert start(cluster.leads(topic, 0), topic) == 6
    finally:
        cluster.resume(2)
    assert delete(cluster, topic, 6, 20000)[:2] == (0, 6)


def test_one_is_dead(cluster, topic):
    """Who is not registered is not waited for, and hears of it when it is back."""
    cluster.brokers[2].kill()
    wait_for(lambda: 2 not in cluster.registered(), 60, "the session of broker 2 to end")
    wait_for(lambda: delete(cluster, topic, 4, 2000)[:2] == (0, 4), 30, "an answer without broker 2")
    assert delete(cluster, topic, -1, 20000)[:2] == (0, 10)
    cluster.heal()
    wait_for(lambda: cluster.in_sync(topic), 60, f"{topic} in sync")
    assert delete(cluster, topic, -1, 20000)[:2] == (0, 10)  # which it hears of once more after it has joined
    cluster.lead(topic, 0, 2)
    assert start(cluster.leads(topic, 0), topic) == 10


def test_the_tool(cluster, topic, tmp_path):
    path = tmp_path / "offsets.json"
    path.write_text('{"version":1,"partitions":[{"topic":"%s","partition":0,"offset":7}]}' % topic)
    out = tool(cluster, "kafka-delete-records", "--offset-json-file", path).out
    assert f"partition: {topic}-0\tlow_watermark: 7" in out, out
