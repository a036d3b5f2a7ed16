"""Stock clients over TLS 1.2 and 1.3, without a certificate and with one, also after a restart."""

import os

import pytest

from harness import broker as brokers
from harness import clients, toolhost
from harness.clients import kcat
from harness.jvm import KAFKA_VERSION
from harness.life import between, unique
from harness.toolhost import tools

from .talk import VERSIONS

pytestmark = pytest.mark.once  # coordination cannot touch it

both = pytest.mark.parametrize("version", VERSIONS)
who_asks = pytest.mark.parametrize("listener", ["SSL", "MTLS"])
lives = pytest.mark.parametrize("life", ["fresh", pytest.param("restarted", marks=pytest.mark.whole),
                                         pytest.param("killed", marks=pytest.mark.whole)])


def bootstrap(b, listener: str) -> str:
    return f"localhost:{b.ports[listener]}"


def librdkafka(identities, listener: str, version: str) -> dict:
    found = {"security.protocol": "ssl", "ssl.ca.location": str(identities.ca.pem)}
    if listener == "MTLS":
        found |= {"ssl.certificate.location": str(identities.carol.certificate), "ssl.key.location": str(identities.carol.key)}
    if version == "1.2":
        found["ssl.cipher.suites"] = "ECDHE-RSA-AES128-GCM-SHA256"
    return found


@pytest.mark.skipif(bool(clients.kcat_missing()), reason=f"skipped, because {clients.kcat_missing()}")
@pytest.mark.client("kcat")
@who_asks
@both
@lives
def test_kcat(shared_broker, identities, version, listener, life):
    b, topic = shared_broker, unique("kcat")
    clients.create_topic(b, topic, partitions=2)
    at = ["-b", bootstrap(b, listener)]
    for name, value in librdkafka(identities, listener, version).items():
        at += ["-X", f"{name}={value}"]
    lines = [f"k{i}:{'v' * (i * 7 % 3000)}{i}" for i in range(2000)]
    kcat(*at, "-P", "-t", topic, "-K", ":", stdin="\n".join(lines).encode() + b"\n")
    between(b, life)
    got = kcat(*at, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s\n")
    assert sorted(got) == sorted(lines)


@pytest.mark.client("confluent-kafka")
@who_asks
@lives
def test_confluent(shared_broker, identities, listener, life):
    ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
    b, topic = shared_broker, unique("confluent")
    clients.create_topic(b, topic)
    conf = librdkafka(identities, listener, "1.3") | {"bootstrap.servers": bootstrap(b, listener)}
    producer = ck.Producer(conf | {"enable.idempotence": True, "message.max.bytes": 5000000})
    values = [os.urandom(n) for n in (1, 20000, 900000, 16384, 16383, 100)]
    for v in values:
        producer.produce(topic, v)
    assert producer.flush(60) == 0
    between(b, life)
    consumer = ck.Consumer(conf | {"group.id": unique("group"), "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    got = []
    try:
        while len(got) < len(values):
            m = consumer.poll(30)
            assert m is not None and not m.error(), m and m.error()
            got.append(m.value())
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    assert got == values


@pytest.mark.client("franz-go")
@pytest.mark.skipif(bool(clients.go_missing()), reason=f"skipped, because {clients.go_missing()}")
@who_asks
@lives
def test_franz(shared_broker, identities, listener, life, monkeypatch):
    b, topic = shared_broker, unique("franz")
    clients.create_topic(b, topic, partitions=2)
    monkeypatch.setenv("CLIENT_TLS_CA", str(identities.ca.pem))
    if listener == "MTLS":
        monkeypatch.setenv("CLIENT_TLS_CERT", str(identities.carol.certificate))
        monkeypatch.setenv("CLIENT_TLS_KEY", str(identities.carol.key))
    program = [clients.go_client(), "franz", "3.9.0"]
    sent = clients.run(*program, "produce", bootstrap(b, listener), topic, 0, 3000, "none").stdout.splitlines()
    assert len(sent) == 3000
    between(b, life)
    got = clients.run(*program, "consume", bootstrap(b, listener), topic, 2, 3000).stdout.splitlines()
    assert sorted(got) == sorted(sent)


@pytest.mark.client("java39")
@pytest.mark.skipif(bool(toolhost.missing(KAFKA_VERSION)), reason=f"skipped, because {toolhost.missing(KAFKA_VERSION)}")
@who_asks
@both
@lives
def test_java(shared_broker, identities, listener, version, life, tmp_path):
    b, topic = shared_broker, unique("java")
    config = tmp_path / "client.properties"
    config.write_text(f"security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={identities.ca.pem}\n"
                      f"ssl.enabled.protocols=TLSv{version}\nssl.protocol=TLSv{version}\n"
                      + (f"ssl.keystore.type=PEM\nssl.keystore.location={identities.carol.pem}\n" if listener == "MTLS" else ""))
    at = ("--bootstrap-server", bootstrap(b, listener))
    t = tools(KAFKA_VERSION)
    t.run("kafka-topics", *at, "--command-config", config, "--create", "--topic", topic)
    t.run("kafka-console-producer", *at, "--producer.config", config, "--topic", topic,
          stdin="".join(f"{i}\n" for i in range(500)))
    between(b, life)
    got = t.run("kafka-console-consumer", *at, "--consumer.config", config, "--topic", topic, "--from-beginning",
                "--max-messages", 500, "--group", unique("group"))
    assert got.lines() == [str(i) for i in range(500)]


@pytest.mark.once
def test_pkcs12(identities):
    """The same with a store of PKCS12, and trust too."""
    from .conftest import with_tls
    from .identities import PASSWORD
    from .talk import ask, connect
    b = brokers.new_broker()
    b.ports = with_tls(b, identities, **{"ssl.keystore.type": "PKCS12", "ssl.keystore.location": identities.server.p12,
                                         "ssl.keystore.password": PASSWORD})
    try:
        b.start()
        for version in VERSIONS:
            with connect(identities, b.ports["MTLS"], version, identities.carol) as s:
                ask(s)
        assert PASSWORD not in b.said()
    finally:
        b.destroy()
