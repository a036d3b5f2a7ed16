"""kafka-topics: ours and Kafka's say the same of the same, in one long story."""

import pytest

from harness import broker as brokers

from .tools import compared, kafkas, ours

pytestmark = pytest.mark.once

MANY = [f"--create --topic {name} --partitions {n}" for n, name in
        enumerate("zz aa mm hello world foo bar quux x1 x2 x3 x10 orders payments-v2 Users".split(), 1)]

STORY = [
    "--list",
    "--describe",
    "--create --topic t1 --partitions 3",
    "--create --topic t1 --partitions 3",
    "--create --topic t1 --partitions 3 --if-not-exists",
    "--create --topic a.b --config retention.ms=1000 --config cleanup.policy=compact",
    "--create --topic a_b",
    "--create --topic u --replication-factor 3",
    "--create --topic u --config nope=1",
    "--create --topic u --config nope",
    *(["--create --topic u --replica-assignment 99"] if brokers.kind_under_test() == "ottla" else []),  # Kafka makes it and waits
    "--create --topic u --partitions 0",
    "--create --topic u --partitions x",
    "--create --topic u --replication-factor 0",
    "--create --topic u --replication-factor 40000",
    "--create --topic r1 --replica-assignment 7,7,7",
    "--create --topic r2 --replica-assignment 7:7",
    "--create --topic r2 --replica-assignment 7 --partitions 2",
    "--create --topic many --config compression.type=gzip --config min.insync.replicas=1 --config cleanup.policy=compact,delete "
    "--config retention.ms=5 --config segment.bytes=100000 --config flush.messages=7 --config file.delete.delay.ms=99 --config "
    "max.message.bytes=50000 --config index.interval.bytes=555 --config segment.ms=3333 --config message.timestamp.type=LogAppendTime "
    "--config unclean.leader.election.enable=true --config min.cleanable.dirty.ratio=0.25 --config delete.retention.ms=7 --config "
    "preallocate=true --config segment.jitter.ms=3 --config flush.ms=44 --config retention.bytes=77777 --config min.compaction.lag.ms=3",
    *MANY,
    "--create --topic __underscored",
    "--list",
    "--list --exclude-internal",
    "--list --topic x.*",
    "--list --topic x1,aa",
    "--list --topic nothing",
    "--describe",
    "--describe --exclude-internal",
    "--describe --topic t1",
    "--describe --topic x.*",
    "--describe --topic nope",
    "--describe --topic nope --if-exists",
    "--describe --topics-with-overrides",
    "--describe --under-replicated-partitions",
    "--describe --unavailable-partitions",
    "--describe --under-min-isr-partitions",
    "--describe --at-min-isr-partitions",
    "--describe --topics-with-overrides --unavailable-partitions",
    "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAQ",
    "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAQ --if-exists",
    "--alter --topic t1 --partitions 2",
    "--alter --topic t1 --partitions 5",
    "--alter --topic nope --partitions 5",
    "--alter --topic nope --partitions 5 --if-exists",
    "--alter --topic t1",
    "--alter --topic t1 --partitions 9 --replication-factor 2",
    "--describe --topic t1",
    "--delete --topic nope",
    "--delete --topic nope --if-exists",
    "--delete --topic x1",
    "--delete --topic x.*",
    "--list",
    "--delete",
    "--create",
    "--create --list",
    "",
    "--list --partitions 3",
    "--describe --topic t1 --config a=b",
    "--delete --topic t1 --partitions 2",
    "--create --topic t9 --if-exists",
    "--create --topic t9 --exclude-internal",
    "--create --topic",
    "--nonsense",
    "--version",
]


def test_story(pair):
    wrong = []
    for command in STORY:
        both = [compared(run("topics", "--bootstrap-server", b.bootstrap, *command.split()), b)
                for run, b in zip((kafkas, ours), pair)]
        if both[0] != both[1]:
            wrong.append((command, *both))
    assert not wrong, "\n\n".join(f"{c}\nKafka: {k}\nours:  {o}" for c, k, o in wrong)


def test_command_config(pair, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("client.id=x\nsecurity.protocol=PLAINTEXT\n")
    secure = tmp_path / "secure"
    secure.write_text("security.protocol=SASL_SSL\n")
    b = pair[1]
    empty = tmp_path / "empty"
    empty.touch()
    for file in (plain, empty):
        assert ours("topics", "--bootstrap-server", b.bootstrap, "--list", "--command-config", file).code == 0
    done = ours("topics", "--bootstrap-server", b.bootstrap, "--list", "--command-config", secure)
    assert done.code == 1 and done.err.startswith(f"{secure}: sasl.mechanism=GSSAPI is not built into these tools; ")
    done = ours("topics", "--bootstrap-server", b.bootstrap, "--list", "--command-config", tmp_path / "none")
    assert done.code == 1 and done.err == f"cannot read {tmp_path}/none: No such file or directory\n"


def test_wrong_servers():
    for server, said in (("127.0.0.1:x", '"x" is no port; a bootstrap server is host:port'),
                         ("", "a bootstrap server is host:port"),
                         ("no.such.host.invalid:9092", "cannot resolve no.such.host.invalid: Name or service not known")):
        done = ours("topics", "--bootstrap-server", server, "--list")
        assert done.code == 1 and done.out.startswith(f"Error while executing topic command : {said[:30]}"), done
