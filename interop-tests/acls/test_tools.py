"""kafka-acls of Kafka 3.9.1, and Kafka's own clients that log in and are, or are not, allowed."""

import re

import pytest

from harness.toolhost import tools
from harness.wait import wait_for

from .client import Client

VERSION = "3.9.1"


@pytest.fixture
def alice(tmp_path):
    """What alice's tools log in with."""
    config = tmp_path / "alice.properties"
    config.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain."
                      'PlainLoginModule required username="alice" password="alice-secret";\n')
    return config


def kafka_acls(b, *args, **more) -> str:
    return tools(VERSION).run("kafka-acls", "--bootstrap-server", b.bootstrap, *args, **more).out


def listed(b, *args) -> list:
    """"(principal=…, host=…, operation=…, permissionType=…)" below "ResourcePattern(…)"."""
    found, resource = [], None
    for line in kafka_acls(b, "--list", *args).splitlines():
        head = re.match(r"Current ACLs for resource `ResourcePattern\(resourceType=(\w+), name=(.*), patternType=(\w+)\)`", line)
        entry = re.match(r"\s+\(principal=(.*), host=(.*), operation=(\w+), permissionType=(\w+)\)", line)
        resource = head.groups() if head else resource
        found += [(*resource, *entry.groups())] if entry else []
    return sorted(set(found))


def produce(b, topic: str, config, check: bool = True, more=()):
    return tools(VERSION).run("kafka-console-producer", "--bootstrap-server", b.sasl_bootstrap, "--topic", topic, "--producer.config", config,
                              "--max-block-ms", "10000", "--request-timeout-ms", "10000", *more, stdin="one\ntwo\n", check=check)


def consume(b, topic: str, group: str, config, check: bool = True):
    return tools(VERSION).run("kafka-console-consumer", "--bootstrap-server", b.sasl_bootstrap, "--topic", topic, "--group", group,
                              "--consumer.config", config, "--from-beginning", "--max-messages", "2", "--timeout-ms", "15000", check=check)


def test_add_list_remove(b):
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--allow-principal", "User:bob", "--deny-host", "10.0.0.1", "--deny-principal",
               "User:eve", "--operation", "Read", "--operation", "Describe", "--topic", "tools", "--group", "g")
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--operation", "All", "--topic", "too", "--resource-pattern-type", "prefixed")
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--operation", "IdempotentWrite", "--cluster")
    kafka_acls(b, "--add", "--allow-principal", "User:*", "--operation", "Write", "--transactional-id", "*")
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--operation", "DescribeTokens", "--user-principal", "User:bob")
    everything = listed(b)
    assert ("TOPIC", "tools", "LITERAL", "User:eve", "10.0.0.1", "READ", "DENY") in everything
    assert ("GROUP", "g", "LITERAL", "User:bob", "*", "DESCRIBE", "ALLOW") in everything
    assert ("TOPIC", "too", "PREFIXED", "User:alice", "*", "ALL", "ALLOW") in everything
    assert ("CLUSTER", "kafka-cluster", "LITERAL", "User:alice", "*", "IDEMPOTENT_WRITE", "ALLOW") in everything
    assert ("TRANSACTIONAL_ID", "*", "LITERAL", "User:*", "*", "WRITE", "ALLOW") in everything
    assert ("USER", "User:bob", "LITERAL", "User:alice", "*", "DESCRIBE_TOKENS", "ALLOW") in everything
    assert len(everything) == 16
    assert len(listed(b, "--topic", "tools")) == 6
    assert {a[1] for a in listed(b, "--topic", "tools", "--resource-pattern-type", "match")} == {"tools", "too"}
    assert {a[3] for a in listed(b, "--principal", "User:eve")} == {"User:eve"}
    b.restart()
    assert listed(b) == everything
    kafka_acls(b, "--remove", "--force", "--allow-principal", "User:alice", "--operation", "Read", "--topic", "tools")
    assert everything.index(("TOPIC", "tools", "LITERAL", "User:alice", "*", "READ", "ALLOW")) >= 0 and len(listed(b)) == 15
    kafka_acls(b, "--remove", "--force", "--topic", "tools", "--resource-pattern-type", "match")
    assert not [a for a in listed(b) if a[0] == "TOPIC"]
    for what in (["--group", "g"], ["--cluster"], ["--transactional-id", "*"], ["--user-principal", "User:bob"]):
        kafka_acls(b, "--remove", "--force", *what)
    assert listed(b) == []


def test_who_may_not_alter(b, alice):
    said = tools(VERSION).run("kafka-acls", "--bootstrap-server", b.sasl_bootstrap, "--command-config", alice, "--add", "--allow-principal",
                              "User:alice", "--operation", "All", "--topic", "*", check=False)
    assert "ClusterAuthorizationException" in said.out + said.err
    assert listed(b) == []


def test_producer_and_consumer(b, alice):
    tools(VERSION).run("kafka-topics", "--bootstrap-server", b.bootstrap, "--create", "--topic", "mail", "--partitions", "1")
    denied = produce(b, "mail", alice, check=False)
    assert "TopicAuthorizationException" in denied.out + denied.err
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--producer", "--topic", "mail")
    produce(b, "mail", alice)
    denied = consume(b, "mail", "readers", alice, check=False)
    assert "AuthorizationException" in denied.out + denied.err
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--consumer", "--topic", "mail", "--group", "readers")
    assert consume(b, "mail", "readers", alice).lines() == ["one", "two"]
    other = consume(b, "mail", "others", alice, check=False)
    assert "GroupAuthorizationException" in other.out + other.err
    kafka_acls(b, "--remove", "--force", "--topic", "mail", "--resource-pattern-type", "any")
    kafka_acls(b, "--remove", "--force", "--group", "readers")


def test_transactions(b, alice):
    tools(VERSION).run("kafka-topics", "--bootstrap-server", b.bootstrap, "--create", "--topic", "paid", "--partitions", "1")

    def transactional():
        return tools(VERSION).run("kafka-producer-perf-test", "--topic", "paid", "--num-records", "5",
                                  "--record-size", "10", "--throughput", "-1", "--producer.config", alice, "--producer-props",
                                  f"bootstrap.servers={b.sasl_bootstrap}", "--transactional-id", "x-mail", "--transaction-duration-ms", "100",
                                  check=False)
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--operation", "Write", "--topic", "paid")
    denied = transactional()
    assert "TransactionalIdAuthorizationException" in denied.out + denied.err
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--operation", "Write", "--operation", "Describe", "--transactional-id", "x-mail")
    root = Client(b.port)
    wait_for(lambda: root.call("FindCoordinator", 3, {"key": "x-mail", "key_type": 1})["error_code"] == 0, 20, "the coordinator")
    done = transactional()
    assert "5 records sent" in done.out, done
    kafka_acls(b, "--remove", "--force", "--topic", "paid")
    kafka_acls(b, "--remove", "--force", "--transactional-id", "x-mail")


def test_what_is_seen(b, alice):
    for name in ("seen-one", "unseen"):
        tools(VERSION).run("kafka-topics", "--bootstrap-server", b.bootstrap, "--create", "--topic", name, "--partitions", "1")
    kafka_acls(b, "--add", "--allow-principal", "User:alice", "--operation", "Describe", "--topic", "seen-", "--resource-pattern-type", "prefixed")
    said = tools(VERSION).run("kafka-topics", "--bootstrap-server", b.sasl_bootstrap, "--command-config", alice, "--list")
    assert said.lines() == ["seen-one"]
    kafka_acls(b, "--remove", "--force", "--topic", "seen-", "--resource-pattern-type", "prefixed")
