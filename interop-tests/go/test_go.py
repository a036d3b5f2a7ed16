"""franz-go and sarama (the program beside this file): produce, consume, a group of two, codecs, old versions."""

import pytest

from harness import clients
from harness.life import LIVES, between, unique

pytestmark = [pytest.mark.skipif(bool(clients.go_missing()), reason=f"skipped, because {clients.go_missing()}")]

LIBRARIES = [pytest.param("franz", marks=pytest.mark.client("franz-go")),
             pytest.param("sarama", marks=pytest.mark.client("sarama"))]
NEWEST = "3.9.0"


class Client:
    """One library at one version, against one broker. Records are (partition, offset, key, value)."""

    def __init__(self, library, broker, version=NEWEST):
        self._argv = clients.go_client(), library, version
        self._bootstrap = broker.bootstrap

    def __call__(self, mode, *args) -> list:
        out = clients.run(*self._argv, mode, self._bootstrap, *args).stdout.decode()
        return [(int(p), int(o), k, v) for p, o, k, v in (line.split(" ") for line in out.splitlines())]


def numbers(records) -> list:
    return sorted(int(value) for _, _, _, value in records)


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_idempotent_produce_and_consume(shared_broker, library, life):
    client = Client(library, shared_broker)
    topic = clients.create_topic(shared_broker, unique("go"), partitions=3)
    sent = client("produce", topic, 0, 5000, "none")
    assert numbers(sent) == list(range(5000))
    between(shared_broker, life)
    assert sorted(client("consume", topic, 3, 5000)) == sorted(sent)
    sent += client("produce", topic, 5000, 100, "none")
    assert sorted(client("consume", topic, 3, 5100)) == sorted(sent)


@pytest.mark.once
@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_group(shared_broker, library, life):
    client = Client(library, shared_broker)
    topic, group = clients.create_topic(shared_broker, unique("go-group"), partitions=4), unique("group")
    first = client("produce", topic, 0, 1000, "none")
    assert sorted(client("group", topic, group, 1000)) == sorted(first)
    between(shared_broker, life)
    second = client("produce", topic, 1000, 500, "none")
    assert sorted(client("group", topic, group, 500)) == sorted(second)


@pytest.mark.once
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_codecs(shared_broker, library, codec):
    client = Client(library, shared_broker)
    topic = clients.create_topic(shared_broker, unique("go-codec"))
    sent = client("produce", topic, 0, 1000, codec)
    assert sorted(client("consume", topic, 1, 1000)) == sorted(sent)


@pytest.mark.once
@pytest.mark.parametrize("version", ["0.10.0.0", "0.10.2.0", "0.11.0.0", "1.0.0", "2.0.0", "2.4.0", "2.8.0", "3.6.0"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_versions(shared_broker, library, version):
    """Only requests that Kafka of that version knew. Each version reads what the other wrote."""
    old, new = Client(library, shared_broker, version), Client(library, shared_broker)
    topic = clients.create_topic(shared_broker, unique("go-version"), partitions=2)
    sent = old("produce", topic, 0, 200, "gzip") + new("produce", topic, 200, 200, "gzip")
    assert numbers(sent) == list(range(400))
    assert sorted(new("consume", topic, 2, 400)) == sorted(sent)
    assert sorted(old("consume", topic, 2, 400)) == sorted(sent)
