"""kcat: produce, consume, group, metadata and offsets; also as clients of long ago, without ApiVersions."""

import pytest

from harness import clients
from harness.clients import kcat
from harness.life import LIVES, between, unique

pytestmark = [pytest.mark.skipif(bool(clients.kcat_missing()), reason=f"skipped, because {clients.kcat_missing()}")]


@pytest.mark.parametrize("life", LIVES)
def test_produce_consume(shared_broker, life):
    b = shared_broker
    topic = clients.create_topic(b, unique("kcat"), partitions=2)
    lines = [f"k{i}:v{i}" for i in range(500)]
    kcat("-b", b.bootstrap, "-P", "-t", topic, "-K", ":", "-H", "name=value", stdin="\n".join(lines).encode() + b"\n")
    between(b, life)
    got = kcat("-b", b.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s %h\n")
    assert sorted(got) == sorted(f"{line} name=value" for line in lines)
    last = kcat("-b", b.bootstrap, "-C", "-t", topic, "-p", "0", "-o", "-1", "-e", "-q", "-f", "%o\n")
    assert last == [str(clients.end_offsets(b, topic, 2)[0] - 1)]


@pytest.mark.parametrize("life", LIVES)
def test_group(shared_broker, life):
    b = shared_broker
    topic, group = clients.create_topic(b, unique("kcat-group"), partitions=2), unique("group")

    def consume(count):
        return kcat("-b", b.bootstrap, "-G", group, "-c", count, "-q", "-X", "auto.offset.reset=earliest", topic)

    kcat("-b", b.bootstrap, "-P", "-t", topic, stdin="".join(f"{i}\n" for i in range(100)).encode())
    assert sorted(map(int, consume(100))) == list(range(100))
    between(b, life)
    kcat("-b", b.bootstrap, "-P", "-t", topic, stdin="".join(f"{i}\n" for i in range(100, 150)).encode())
    assert sorted(map(int, consume(50))) == list(range(100, 150))


def test_metadata(shared_broker):
    b = shared_broker
    topic = clients.create_topic(b, unique("kcat-list"), partitions=2)
    text = "\n".join(kcat("-b", b.bootstrap, "-L", "-t", topic))
    assert f"broker 0 at 127.0.0.1:{b.port} (controller)" in text
    assert f'topic "{topic}" with 2 partitions:' in text
    assert "partition 0, leader 0, replicas: 0, isrs: 0" in text


@pytest.mark.parametrize("life", LIVES)
def test_offsets(shared_broker, life):
    b = shared_broker
    topic = clients.create_topic(b, unique("kcat-offsets"))
    kcat("-b", b.bootstrap, "-P", "-t", topic, stdin=b"a\nb\nc\n")
    between(b, life)
    assert kcat("-b", b.bootstrap, "-Q", "-t", f"{topic}:0:-1") == [f"{topic} [0] offset 3"]
    assert kcat("-b", b.bootstrap, "-Q", "-t", f"{topic}:0:-2") == [f"{topic} [0] offset 0"]
    assert kcat("-b", b.bootstrap, "-Q", "-t", f"{topic}:0:1000") == [f"{topic} [0] offset 0"]


@pytest.mark.once
@pytest.mark.parametrize("version", ["1.0.0", "0.11.0", "0.10.2", "0.10.0", "0.9.0", "0.8.2"])
def test_clients_of_long_ago(shared_broker, version):
    """Without ApiVersions, in the versions that a broker of that time had."""
    b = shared_broker
    topic = clients.create_topic(b, unique("kcat-old"))
    old = ["-X", "api.version.request=false", "-X", f"broker.version.fallback={version}"]
    kcat("-b", b.bootstrap, *old, "-P", "-t", topic, stdin=b"a\nb\nc\n")
    assert kcat("-b", b.bootstrap, *old, "-C", "-t", topic, "-o", "beginning", "-e", "-q") == ["a", "b", "c"]
