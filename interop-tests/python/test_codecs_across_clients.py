"""Each codec, written by one client and read by another."""

import pytest

from harness import clients, toolhost
from harness.life import unique

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

COUNT = 300
VALUES = [f"{i}:" + "abcdefghij" * (i % 20) for i in range(COUNT)]


class Kcat:
    missing = staticmethod(clients.kcat_missing)

    def write(self, b, topic, codec):
        clients.kcat("-b", b.bootstrap, "-P", "-t", topic, "-z", codec, "-X", "linger.ms=50",
                     stdin="".join(v + "\n" for v in VALUES).encode())

    def read(self, b, topic):
        return clients.kcat("-b", b.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q")


class Confluent:
    missing = staticmethod(lambda: None)

    def write(self, b, topic, codec):
        p = ck.Producer({"bootstrap.servers": b.bootstrap, "compression.type": codec, "linger.ms": 50})
        for v in VALUES:
            p.produce(topic, v)
        assert p.flush(30) == 0

    def read(self, b, topic):
        c = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": "not used", "enable.auto.commit": False})
        c.assign([ck.TopicPartition(topic, 0, 0)])
        got = []
        for _ in range(300):
            got += [m.value().decode() for m in c.consume(COUNT - len(got), 0.1)]
            if len(got) == COUNT:
                break
        c.close()
        return got


class Java:
    def __init__(self, version):
        self.version = version

    def missing(self):
        return toolhost.missing(self.version)

    def write(self, b, topic, codec):
        toolhost.tools(self.version).run("kafka-console-producer", "--bootstrap-server", b.bootstrap, "--topic",
                                         topic, "--compression-codec", codec, stdin="".join(v + "\n" for v in VALUES))

    def read(self, b, topic):
        return toolhost.tools(self.version).run(
            "kafka-console-consumer", "--bootstrap-server", b.bootstrap, "--topic", topic, "--from-beginning",
            "--max-messages", COUNT, "--timeout-ms", 30000).lines()


CLIENTS = {"kcat": Kcat(), "confluent-kafka": Confluent(), "Java 3.9.1": Java("3.9.1"), "Java 4.3.0": Java("4.3.0")}
PAIRS = [("Java 3.9.1", "kcat"), ("kcat", "Java 4.3.0"), ("Java 4.3.0", "confluent-kafka"),
         ("confluent-kafka", "Java 3.9.1")]


@pytest.mark.client("across clients")
@pytest.mark.once
@pytest.mark.parametrize("writer, reader", PAIRS, ids=[f"{w} to {r}" for w, r in PAIRS])
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_codec(shared_broker, codec, writer, reader):
    for name in (writer, reader):
        why = CLIENTS[name].missing()
        if why:
            pytest.skip(f"skipped, because {why}")
    topic = clients.create_topic(shared_broker, unique("codec"))
    CLIENTS[writer].write(shared_broker, topic, codec)
    assert CLIENTS[reader].read(shared_broker, topic) == VALUES
    size = sum(p.stat().st_size for p in shared_broker.data_dir.glob(f"{topic}-0/*.log"))
    assert size < sum(map(len, VALUES)), "the records were not compressed"
