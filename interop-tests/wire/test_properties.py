"""What holds for every offset and every timestamp, compared with a naive scan. Needs no client but the wire.

The log has small segments, batches of many sizes and codecs, and timestamps that go back and forth.
"""

import random

import pytest

from harness import clients
from harness.life import LIVES, between, unique
from wire import records
from wire.player import APIS, Connection

SEED = 20240611
BATCHES = 120


class Client:
    def __init__(self, broker):
        self.connection = Connection("127.0.0.1", broker.port)

    def ask(self, name, version, values):
        return clients.ask(self.connection, name, version, values)

    def produce(self, topic, data) -> int:
        answer = self.ask("Produce", 9, {"acks": -1, "timeout_ms": 10000, "topic_data": [
            {"name": topic, "partition_data": [{"index": 0, "records": data}]}]})
        partition = answer["responses"][0]["partition_responses"][0]
        assert partition["error_code"] == 0, partition
        return partition["base_offset"]

    def fetch(self, topic, offset, max_bytes) -> bytes:
        answer = self.ask("Fetch", 10, {"max_wait_ms": 0, "min_bytes": 1, "max_bytes": max_bytes, "topics": [
            {"topic": topic, "partitions": [
                {"partition": 0, "fetch_offset": offset, "partition_max_bytes": max_bytes}]}]})
        partition = answer["responses"][0]["partitions"][0]
        assert partition["error_code"] == 0, partition
        return partition["records"] or b""

    def offset_for(self, topic, timestamp) -> tuple:
        answer = self.ask("ListOffsets", 7, {"topics": [
            {"name": topic, "partitions": [{"partition_index": 0, "timestamp": timestamp}]}]})
        partition = answer["topics"][0]["partitions"][0]
        assert partition["error_code"] == 0, partition
        return partition["offset"], partition["timestamp"]

    def close(self):
        self.connection.close()


def fill(broker, rng) -> tuple:
    """Returns the topic and the (offset, timestamp) of every record."""
    topic = clients.create_topic(broker, unique("properties"), 1, segment_bytes=4000, index_interval_bytes=300)
    client, known, at = Client(broker), [], 0
    for i in range(BATCHES):
        count = rng.randrange(1, 9)
        base = 1_000_000 + i * 100 + rng.randrange(-1500, 1500)
        deltas = [rng.randrange(0, 400) for _ in range(count)]
        data = records.batch({
            "codec": rng.choice(["none", "gzip", "snappy", "lz4", "zstd"]), "base_timestamp": base,
            "records": [{"key": f"k{at + n}", "value": "x" * rng.randrange(0, 120), "timestamp_delta": d}
                        for n, d in enumerate(deltas)]})
        assert client.produce(topic, data) == at
        known += [(at + n, base + d) for n, d in enumerate(deltas)]
        at += count
    client.close()
    return topic, known


@pytest.mark.client("wire properties")
@pytest.mark.parametrize("life", LIVES)
def test_every_offset_and_timestamp(broker, life):
    rng = random.Random(SEED)
    topic, known = fill(broker, rng)
    between(broker, life)
    client = Client(broker)
    end = len(known)
    for offset in range(end):
        max_bytes = rng.choice([0, 1, 100, 500, 5000, 1 << 20])
        batches = records.parse(client.fetch(topic, offset, max_bytes))
        whole = [b for b in batches if "partial" not in b]
        assert whole, f"offset {offset}, max_bytes {max_bytes}: no whole batch"
        first = whole[0]
        assert first["base_offset"] <= offset <= first["base_offset"] + first["last_offset_delta"], (offset, first)
        assert all(b["crc_ok"] for b in whole)
        for a, b in zip(whole, whole[1:]):
            assert b["base_offset"] == a["base_offset"] + a["last_offset_delta"] + 1
    assert client.fetch(topic, end, 1000) == b""

    times = sorted({t for _, t in known})
    for t in {times[0] - 1, times[-1] + 1, 0, *times, *(x + 1 for x in times)}:
        expected = next(((o, at) for o, at in known if at >= t), (-1, -1))
        assert client.offset_for(topic, t) == expected, f"the first record not older than {t}"
    newest = max(t for _, t in known)
    assert client.offset_for(topic, -3) == next((o, t) for o, t in known if t == newest)
    assert client.offset_for(topic, -1)[0] == end and client.offset_for(topic, -2)[0] == 0
    client.close()
