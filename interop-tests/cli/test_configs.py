"""kafka-configs: ours and Kafka's say the same of the same."""

import pytest

from .tools import compared, kafkas, ours

pytestmark = pytest.mark.once

MANY = ",".join(["cleanup.policy=[compact,delete]", "retention.ms=5", "segment.bytes=100000", "compression.type=gzip",
                 "min.insync.replicas=1", "unclean.leader.election.enable=true"])

STORY = [
    "--describe --entity-type topics",
    "--describe --entity-type topics --entity-name none",
    "--describe --topic one",
    "--describe --topic one --all",
    "--alter --entity-type topics --entity-name one --add-config retention.ms=77",
    f"--alter --topic two --add-config {MANY}",
    "--describe --entity-type topics --entity-name two",
    "--describe --entity-type topics",
    "--alter --topic two --delete-config retention.ms,segment.bytes --add-config flush.ms=9",
    "--describe --topic two",
    "--alter --topic two --delete-config retention.ms",
    "--alter --topic two --delete-config nope",
    "--alter --topic two --add-config nope=1",
    "--alter --topic none --add-config retention.ms=1",
    "--alter --topic two --add-config retention.ms",
    "--alter --topic two",
    "--alter --entity-type topics",
    "--describe --entity-type brokers",
    "--describe --entity-type brokers --entity-name 7",
    "--describe --broker 7 --all",
    "--alter --entity-type brokers --entity-name 7 --add-config log.retention.ms=5555555",
    "--alter --entity-type brokers --entity-default --add-config log.retention.ms=7777777,log.flush.interval.ms=8",
    "--describe --entity-type brokers",
    "--describe --broker-defaults",
    "--alter --broker-defaults --delete-config log.flush.interval.ms",
    "--alter --broker 7 --delete-config log.retention.ms",
    "--describe --entity-type brokers",
    "--describe --entity-type broker-loggers",
    "--describe",
    "",
    "--describe --alter",
    "--version",
]


def test_story(pair):
    for b in pair:
        for topic in ("one", "two"):
            assert ours("topics", "--bootstrap-server", b.bootstrap, "--create", "--topic", topic).code == 0
    wrong = []
    for command in STORY:
        both = [compared(run("configs", "--bootstrap-server", b.bootstrap, *command.split()), b)
                for run, b in zip((kafkas, ours), pair)]
        both = [(code, out.replace(str(b.data_dir), "DATA"), said.replace(str(b.port), "PORT")) for (code, out, said), b in zip(both, pair)]
        both = [(code, "\n".join(x for x in out.split("\n") if "listeners=" not in x and "zookeeper.connect=" not in x), said) for code, out, said in both]
        if both[0] != both[1]:
            wrong.append((command, *both))
    assert not wrong, "\n\n".join(f"{c}\nKafka: {k}\nours:  {o}" for c, k, o in wrong)


def test_loggers(shared_broker):
    server = ("--bootstrap-server", shared_broker.bootstrap)
    assert ours("configs", *server, "--alter", "--entity-type", "broker-loggers", "--entity-name", "0", "--add-config",
                "root=DEBUG").out == "Completed updating config for broker-logger 0.\n"
    for tool in (ours, kafkas):
        assert "  root=DEBUG sensitive=false synonyms={}\n" in tool("configs", *server, "--describe", "--broker-logger", "0").out


def test_what_is_refused(shared_broker):
    server = ["--bootstrap-server", shared_broker.bootstrap]
    for args, said in (([*server, "--describe", "--entity-type", "users"],
                        "Invalid entity type users, the entity type must be one of topics, brokers, broker-loggers"),
                       ([*server, "--describe", "--entity-type", "brokers", "--entity-name", "x"],
                        "The entity name for brokers must be a valid integer broker id, but it is: x"),
                       (["--describe", "--entity-type", "topics"], "--bootstrap-server must be specified")):
        done = ours("configs", *args)
        assert done.code == 1 and done.err == said + "\n"
    done = ours("configs", *server, "--describe", "--broker", "99")
    assert done.code == 1 and "broker 99 is not there" in done.err
