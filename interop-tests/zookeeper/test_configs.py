"""Configs that others write into ZooKeeper: Kafka's tool while the broker is stopped, another party while it runs.

kafka-configs --zookeeper of 3.9.1 writes SCRAM credentials of users, and configs of brokers that are not running, and
nothing else.
"""

import json
import re

import pytest

from harness import broker as brokers
from harness import clients, toolhost
from harness.life import unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
pytestmark = [pytest.mark.skipif(bool(toolhost.missing("3.9.1")), reason=f"skipped, because {toolhost.missing('3.9.1')}")]


def by_zookeeper(b, *args, check=True):
    return toolhost.tools("3.9.1").run("kafka-configs", "--zookeeper", f"127.0.0.1:{b.zookeeper.port}{b.chroot}", *args,
                                       check=check)


def described(b, *entity) -> dict:
    """name -> the rest of the line that kafka-configs prints for it."""
    out = toolhost.tools("3.9.1").run("kafka-configs", "--bootstrap-server", b.bootstrap, "--describe", *entity).out
    return dict(re.findall(r"^  ([^=]+)=(.*)$", out, re.M))


def accepts(b, topic: str, size: int) -> bool:
    """Whether a record of this many bytes is taken."""
    said = []
    p = ck.Producer({"bootstrap.servers": b.bootstrap, "message.max.bytes": 5_000_000})
    p.produce(topic, b"x" * size, on_delivery=lambda e, _: said.append(e and e.code()))
    assert p.flush(30) == 0 and said[0] in (None, ck.KafkaError.MSG_SIZE_TOO_LARGE), said
    return said[0] is None


def change(b, entity: str, config: dict, notification: str | None = None) -> None:
    """As another party does it: the node, and then the notification."""
    with b.zookeeper.client(b.chroot) as k:
        path, data = f"/config/{entity}", json.dumps({"version": 1, "config": config}).encode()
        if k.exists(path):
            k.set(path, data)
        else:
            k.create(path, data)
        told = json.dumps({"version": 2, "entity_path": entity}) if notification is None else notification
        k.create("/config/changes/config_change_", told.encode(), sequence=True)


def test_written_while_the_broker_is_stopped(broker):
    b = broker
    topic = clients.create_topic(b, unique("t"))
    own = clients.create_topic(b, unique("own"), max_message_bytes=50000, retention_ms=99)
    broker_0 = ("--entity-type", "brokers", "--entity-name", "0")
    default = ("--entity-type", "brokers", "--entity-default")
    refused = by_zookeeper(b, "--alter", *broker_0, "--add-config", "message.max.bytes=7777", check=False)
    assert "broker 0 is running" in refused.err and refused.code == 1
    b.stop()
    by_zookeeper(b, "--alter", *broker_0, "--add-config", "log.retention.ms=5000000")
    by_zookeeper(b, "--alter", *default, "--add-config", "log.retention.ms=6000000,message.max.bytes=7777")
    b.start()
    assert described(b, *broker_0) == {  # without --all only what is set for this broker
        "log.retention.ms": "5000000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=5000000, "
                            "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=6000000, "
                            "DEFAULT_CONFIG:log.retention.hours=168}"}
    assert described(b, *broker_0, "--all")["message.max.bytes"] == (
        "7777 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=7777, "
        "DEFAULT_CONFIG:message.max.bytes=1048588}")
    assert described(b, *default) == {
        "log.retention.ms": "6000000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=6000000}",
        "message.max.bytes": "7777 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:message.max.bytes=7777}"}
    its = described(b, "--entity-type", "topics", "--entity-name", topic, "--all")
    assert its["retention.ms"] == (
        "5000000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=5000000, "
        "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=6000000, DEFAULT_CONFIG:log.retention.hours=168}")
    assert its["max.message.bytes"].startswith("7777 ")
    assert described(b, "--entity-type", "topics", "--entity-name", own, "--all")["retention.ms"].startswith("99 ")
    assert [accepts(b, topic, size) for size in (7000, 8000)] == [True, False]
    assert [accepts(b, own, size) for size in (8000, 51000)] == [True, False]

    b.stop()
    by_zookeeper(b, "--alter", *default, "--delete-config", "message.max.bytes")
    by_zookeeper(b, "--alter", *broker_0, "--delete-config", "log.retention.ms")
    b.start()
    assert accepts(b, topic, 8000)
    assert described(b, *broker_0) == {} and described(b, *default).keys() == {"log.retention.ms"}
    assert described(b, "--entity-type", "topics", "--entity-name", topic, "--all")["retention.ms"].startswith("6000000 ")


def test_what_makes_no_sense_does_not_stop_a_broker(broker):
    """The tool does not know every name, and others may write anything."""
    b = broker
    topic = clients.create_topic(b, unique("t"))
    b.stop()
    by_zookeeper(b, "--alter", "--entity-type", "brokers", "--entity-name", "0", "--add-config", "no.such=1")
    change(b, "brokers/<default>", {"message.max.bytes": "not a number", "log.retention.ms": "6000000"})
    nodes = {p: n for p, n in b.zookeeper.tree(b.chroot).items() if p.startswith("/config/")}
    b.start()
    assert accepts(b, topic, 500000)
    its = described(b, "--entity-type", "topics", "--entity-name", topic, "--all")
    assert its["retention.ms"].startswith("6000000 ") and its["max.message.bytes"].startswith("1048588 ")
    assert {p: n for p, n in b.zookeeper.tree(b.chroot).items() if p.startswith("/config/")} == nodes


def test_scram_credentials_are_kept(broker):
    b = broker
    user = ("--entity-type", "users", "--entity-name")
    by_zookeeper(b, "--alter", *user, "alice", "--add-config", "SCRAM-SHA-256=[iterations=4096,password=pw]")
    nodes = [b.zookeeper.node(f"{b.chroot}/config/users/alice")]
    b.restart()
    by_zookeeper(b, "--alter", *user, "bob b", "--add-config", "SCRAM-SHA-512=[password=pw]")
    nodes.append(b.zookeeper.node(f"{b.chroot}/config/users/bob%20b"))
    b.crash()
    clients.create_topic(b, unique("t"))
    assert [b.zookeeper.node(f"{b.chroot}/config/users/{u}") for u in ("alice", "bob%20b")] == nodes
    assert b"SCRAM-SHA-256" in nodes[0].data and b"SCRAM-SHA-512" in nodes[1].data
    assert "SCRAM-SHA-512=salt=" in by_zookeeper(b, "--describe", *user, "bob b").out


def test_changed_by_another_party(broker):
    """While the broker runs, which hears of it by a notification only."""
    b = broker
    topic, other = clients.create_topic(b, unique("t")), clients.create_topic(b, unique("other"))

    def becomes(size: int, accepted: bool):
        wait_for(lambda: accepts(b, topic, size) == accepted, 10, f"{size} bytes to be {accepted}")

    change(b, f"topics/{topic}", {"max.message.bytes": "4000", "retention.ms": "1234567"})
    becomes(5000, False)
    assert described(b, "--entity-type", "topics", "--entity-name", topic) == {
        "max.message.bytes": "4000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=4000, "
                             "DEFAULT_CONFIG:message.max.bytes=1048588}",
        "retention.ms": "1234567 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1234567}"}
    assert accepts(b, other, 5000)
    # As a Kafka of before 0.10.1 told it.
    change(b, f"topics/{topic}", {}, f'{{"version":1,"entity_type":"topics","entity_name":"{topic}"}}')
    becomes(5000, True)
    # What cannot be understood, or is not there, is passed over, and the next is heard.
    change(b, f"topics/{topic}", {}, "no JSON at all")
    change(b, f"topics/{topic}", {}, '{"version":2,"entity_path":"topics/no-such-topic"}')
    change(b, "users/carl", {"producer_byte_rate": "1048576"})
    change(b, f"topics/{topic}", {"max.message.bytes": "3000"})
    becomes(3500, False)
    # What a broker writes itself still works afterwards.
    toolhost.tools("3.9.1").run("kafka-configs", "--bootstrap-server", b.bootstrap, "--alter", "--entity-type", "topics",
                                "--entity-name", topic, "--add-config", "max.message.bytes=6000")
    becomes(5000, True)  # it, too, hears of it by the notification
    assert not accepts(b, topic, 7000)


def test_broker_configs_changed_by_another_party(broker):
    b = broker
    topic = clients.create_topic(b, unique("t"))
    change(b, "brokers/<default>", {"message.max.bytes": "4000"})
    wait_for(lambda: not accepts(b, topic, 5000), 10, "the cluster's message.max.bytes")
    change(b, "brokers/0", {"message.max.bytes": "9000"})
    wait_for(lambda: accepts(b, topic, 5000), 10, "the broker's message.max.bytes")
    change(b, "brokers/0", {})
    wait_for(lambda: not accepts(b, topic, 5000), 10, "the cluster's message.max.bytes again")
    b.crash()
    assert not accepts(b, topic, 5000)


def test_what_was_changed_while_the_broker_was_away(broker):
    """Without a notification for it: a broker reads all configs when it starts."""
    b = broker
    topic = clients.create_topic(b, unique("t"))
    b.kill()
    with b.zookeeper.client(b.chroot) as k:
        k.set(f"/config/topics/{topic}", b'{"version":1,"config":{"max.message.bytes":"4000"}}')
    b.start()
    assert not accepts(b, topic, 5000)
