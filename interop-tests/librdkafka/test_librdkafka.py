"""Debian's librdkafka, by its C API (client.c)."""

import pytest

from harness import clients
from harness.life import LIVES, between, unique

pytestmark = [pytest.mark.skipif(bool(clients.librdkafka_missing()), reason=f"skipped, because {clients.librdkafka_missing()}")]


def client(*args) -> list:
    """Records as (partition, offset, key, value)."""
    out = clients.run(clients.librdkafka_client(), *args).stdout.decode()
    return [(int(p), int(o), k, v) for p, o, k, v in (line.split(" ") for line in out.splitlines())]


@pytest.mark.parametrize("life", LIVES)
def test_idempotent_produce_and_consume(shared_broker, life):
    b = shared_broker
    topic = clients.create_topic(b, unique("rdk"), partitions=3)
    sent = client("produce", b.bootstrap, topic, 0, 5000)
    assert sorted(int(v) for _, _, _, v in sent) == list(range(5000))
    between(b, life)
    got = client("consume", b.bootstrap, topic, 3, 5000)
    assert sorted(got) == sorted(sent)
    more = client("produce", b.bootstrap, topic, 5000, 100)
    assert sorted(client("consume", b.bootstrap, topic, 3, 5100)) == sorted(sent + more)


@pytest.mark.once
@pytest.mark.parametrize("life", LIVES)
def test_group(shared_broker, life):
    b = shared_broker
    topic, group = clients.create_topic(b, unique("rdk-group"), partitions=3), unique("group")
    first = client("produce", b.bootstrap, topic, 0, 1000)
    assert sorted(client("group", b.bootstrap, topic, group, 1000)) == sorted(first)
    between(b, life)
    second = client("produce", b.bootstrap, topic, 1000, 500)
    assert sorted(client("group", b.bootstrap, topic, group, 500)) == sorted(second)


@pytest.mark.once
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_codecs(shared_broker, codec):
    b = shared_broker
    topic = clients.create_topic(b, unique("rdk-codec"))
    sent = client("produce", b.bootstrap, topic, 0, 1000, codec)
    assert sorted(client("consume", b.bootstrap, topic, 1, 1000)) == sorted(sent)
