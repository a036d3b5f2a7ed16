"""Stock clients that log in: by every mechanism, and with a delegation token, also after a restart."""

import base64
import time

import pytest

from harness import clients, toolhost
from harness.clients import kcat
from harness.jvm import KAFKA_VERSION
from harness.life import between, unique
from harness.toolhost import tools

from .frames import Connection, log_in, unsecured
from .settings import OAUTH, PLAIN, SCRAM, Sasl
from .test_order import make_user
from .test_tokens import create

pytestmark = pytest.mark.once  # coordination cannot touch it

SCRAMS = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
mechanisms = pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAMS, "OAUTHBEARER"])
with_tokens = pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAMS, "OAUTHBEARER", "TOKEN"])
lives = pytest.mark.parametrize("life", ["restarted", pytest.param("fresh", marks=pytest.mark.whole),
                                         pytest.param("killed", marks=pytest.mark.whole)])


@pytest.fixture(scope="module")
def sasl():
    """Logins last three seconds, so that clients renew them."""
    with Sasl(more={"listener.name.sasl_plaintext.connections.max.reauth.ms": 3000}) as s:
        make_user(s, "carol", *SCRAMS)
        with Connection(s.address["SASL_PLAINTEXT"], 10) as c:
            log_in(c, "PLAIN", "alice", "alice-secret")
            token = create(c)
        s.token = token["token_id"], base64.b64encode(token["hmac"]).decode()
        yield s


def who(sasl, mechanism: str) -> tuple:
    """User and password."""
    if mechanism == "OAUTHBEARER":
        return "dora", unsecured({"sub": "dora", "iat": time.time() - 1, "exp": time.time() + 600})
    return {"PLAIN": ("alice", "alice-secret"), "TOKEN": sasl.token}.get(mechanism, ("carol", "carol-secret"))


def librdkafka(sasl, mechanism: str, password: str | None = None) -> dict:
    found = {"security.protocol": "sasl_plaintext", "sasl.mechanism": mechanism}
    if mechanism == "OAUTHBEARER":
        return found | {"enable.sasl.oauthbearer.unsecure.jwt": "true", "sasl.oauthbearer.config": "principal=dora"}
    user, secret = who(sasl, mechanism)
    return found | {"sasl.username": user, "sasl.password": password or secret}


@pytest.mark.skipif(bool(clients.kcat_missing()), reason=f"skipped, because {clients.kcat_missing()}")
@pytest.mark.client("kcat")
@mechanisms
@lives
def test_kcat(sasl, mechanism, life):
    topic = clients.create_topic(sasl.broker, unique("kcat"), partitions=2)
    at = ["-b", sasl.bootstrap()]
    for name, value in librdkafka(sasl, mechanism).items():
        at += ["-X", f"{name}={value}"]
    lines = [f"k{i}:{'v' * (i * 7 % 3000)}{i}" for i in range(1000)]
    kcat(*at, "-P", "-t", topic, "-K", ":", stdin="\n".join(lines).encode() + b"\n")
    between(sasl.broker, life)
    got = kcat(*at, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s\n")
    assert sorted(got) == sorted(lines)


@pytest.mark.client("confluent-kafka")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "OAUTHBEARER", *(pytest.param(m, marks=pytest.mark.whole) for m in ("PLAIN", "SCRAM-SHA-256"))])
def test_confluent(sasl, mechanism):
    """For longer than a login lasts."""
    ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
    topic = clients.create_topic(sasl.broker, unique("confluent"))
    conf = librdkafka(sasl, mechanism) | {"bootstrap.servers": sasl.bootstrap()}
    producer = ck.Producer(conf | {"enable.idempotence": True})
    until, sent = time.monotonic() + 4, 0
    while time.monotonic() < until:
        producer.produce(topic, str(sent))
        sent += 1
        producer.poll(0.02)
    assert producer.flush(30) == 0
    consumer = ck.Consumer(conf | {"group.id": unique("group"), "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    got = []
    try:
        while len(got) < sent:
            m = consumer.poll(30)
            assert m is not None and not m.error(), m and m.error()
            got.append(int(m.value()))
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    assert got == list(range(sent))


@pytest.mark.client("confluent-kafka")
@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAMS])
def test_confluent_with_a_wrong_password(sasl, mechanism):
    ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
    errors = []
    producer = ck.Producer(librdkafka(sasl, mechanism, "guess") | {"bootstrap.servers": sasl.bootstrap(), "error_cb": errors.append})
    until = time.monotonic() + 15
    while time.monotonic() < until and not any(e.code() == ck.KafkaError._AUTHENTICATION for e in errors):
        producer.poll(0.1)
    assert any(e.code() == ck.KafkaError._AUTHENTICATION and "Authentication failed" in e.str() for e in errors), errors


@pytest.mark.client("franz-go")
@pytest.mark.skipif(bool(clients.go_missing()), reason=f"skipped, because {clients.go_missing()}")
@with_tokens
@lives
def test_franz(sasl, mechanism, life, monkeypatch):
    topic = clients.create_topic(sasl.broker, unique("franz"), partitions=2)
    user, password = who(sasl, mechanism)
    for name, value in {"CLIENT_SASL": mechanism, "CLIENT_USER": user, "CLIENT_PASSWORD": password}.items():
        monkeypatch.setenv(name, value)
    program = [clients.go_client(), "franz", "3.9.0"]
    sent = clients.run(*program, "produce", sasl.bootstrap(), topic, 0, 2000, "none").stdout.splitlines()
    assert len(sent) == 2000
    between(sasl.broker, life)
    got = clients.run(*program, "consume", sasl.bootstrap(), topic, 2, 2000).stdout.splitlines()
    assert sorted(got) == sorted(sent)


def java(sasl, mechanism: str) -> str:
    user, password = who(sasl, mechanism)
    entry = {"PLAIN": f'{PLAIN} username="{user}" password="{password}";',
             "OAUTHBEARER": f'{OAUTH} unsecuredLoginStringClaim_sub="dora";',
             "TOKEN": f'{SCRAM} username="{user}" password="{password}" tokenauth="true";'
             }.get(mechanism, f'{SCRAM} username="{user}" password="{password}";')
    name = "SCRAM-SHA-512" if mechanism == "TOKEN" else mechanism
    return f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism={name}\nsasl.jaas.config={entry}\n"


@pytest.mark.client("java39")
@pytest.mark.skipif(bool(toolhost.missing(KAFKA_VERSION)), reason=f"skipped, because {toolhost.missing(KAFKA_VERSION)}")
@with_tokens
@lives
def test_java(sasl, mechanism, life, tmp_path):
    _java(KAFKA_VERSION, sasl, mechanism, life, tmp_path)


@pytest.mark.client("java43")
@pytest.mark.skipif(bool(toolhost.missing("4.3.0")), reason=f"skipped, because {toolhost.missing('4.3.0')}")
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN", "OAUTHBEARER", "TOKEN"])
@pytest.mark.whole
def test_newest_java(sasl, mechanism, tmp_path):
    _java("4.3.0", sasl, mechanism, "fresh", tmp_path)


def _java(version: str, sasl, mechanism: str, life: str, tmp_path) -> None:
    config = tmp_path / "client.properties"
    config.write_text(java(sasl, mechanism))
    at, topic, t = ("--bootstrap-server", sasl.bootstrap()), unique("java"), tools(version)
    t.run("kafka-topics", *at, "--command-config", config, "--create", "--topic", topic)
    t.run("kafka-console-producer", *at, "--producer.config", config, "--topic", topic, stdin="".join(f"{i}\n" for i in range(300)))
    between(sasl.broker, life)
    got = t.run("kafka-console-consumer", *at, "--consumer.config", config, "--topic", topic, "--from-beginning",
                "--max-messages", 300, "--group", unique("group"))
    assert [line for line in got.lines() if line.isdigit()] == [str(i) for i in range(300)]  # newer tools warn there


@pytest.mark.client("java39")
@pytest.mark.skipif(bool(toolhost.missing(KAFKA_VERSION)), reason=f"skipped, because {toolhost.missing(KAFKA_VERSION)}")
def test_users_by_the_tool(sasl):
    """kafka-configs makes a user, shows it, changes and removes it."""
    user = unique("user")

    def configs(*args) -> str:
        return tools(KAFKA_VERSION).run("kafka-configs", "--bootstrap-server", sasl.broker.bootstrap, "--entity-type", "users", *args).out

    def can(password: str) -> bool:
        with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
            return log_in(c, "SCRAM-SHA-256", user, password)[0] == 0
    configs("--entity-name", user, "--alter", "--add-config", "SCRAM-SHA-256=[iterations=8192,password=one],SCRAM-SHA-512=[password=two]")
    said = configs("--describe")
    assert f"user-principal '{user}'" in said and "SCRAM-SHA-256=iterations=8192" in said and "SCRAM-SHA-512=iterations=4096" in said
    clients_wait(lambda: can("one"))
    configs("--entity-name", user, "--alter", "--add-config", "SCRAM-SHA-256=[password=three]")
    clients_wait(lambda: can("three") and not can("one"))
    sasl.broker.restart()
    assert can("three")
    configs("--entity-name", user, "--alter", "--delete-config", "SCRAM-SHA-256,SCRAM-SHA-512")
    clients_wait(lambda: not can("three"))
    assert user not in configs("--describe")


def clients_wait(condition) -> None:
    from harness.wait import wait_for
    wait_for(condition, 10, "what the tool has written is in force")
