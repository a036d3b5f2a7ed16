"""kafka-consumer-groups: ours and Kafka's show the same of the same groups. Kafka's order of rows is that of its hash maps, and
is not compared."""

import pytest

from harness import broker as brokers
from harness.wait import wait_for

from .tools import kafkas, missing, ours

ck = pytest.importorskip("confluent_kafka")

pytestmark = pytest.mark.once

LONG = "a-very-long-name-of-a-topic-for-wide-columns"


@pytest.fixture(scope="module")
def grouped():
    """A broker with a group of two members, an empty one, one whose topic is gone, and one that has committed nothing."""
    why = missing()
    if why:
        pytest.skip(f"skipped, because {why}")
    b = brokers.new_broker()
    consumers = []
    try:
        b.start()
        for topic in ("t", LONG, "gone"):
            assert ours("topics", "--bootstrap-server", b.bootstrap, "--create", "--topic", topic, "--partitions", 3).code == 0
        producer = ck.Producer({"bootstrap.servers": b.bootstrap})
        for i in range(30):
            producer.produce("t", f"{i}", partition=i % 3)
        producer.flush(20)
        for i in range(2):
            consumers.append(ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": "active", "client.id": f"client-{i}",
                                          "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                          "partition.assignment.strategy": "range"}))
            consumers[-1].subscribe(["t", LONG])
        def settled():
            for c in consumers:
                c.poll(0.05)
            return sorted(len(c.assignment()) for c in consumers) == [2, 4]
        wait_for(settled, 30, "the group to settle", 0)
        consumers[0].commit(offsets=[ck.TopicPartition("t", 0, 4)], asynchronous=False)
        for group, topic in (("empty", "t"), ("a-group-with-a-name-that-is-longer-than-others", "t"), ("gone", "gone")):
            c = ck.Consumer({"bootstrap.servers": b.bootstrap, "group.id": group})
            c.commit(offsets=[ck.TopicPartition(topic, 1, 3)], asynchronous=False)
            c.close()
        assert ours("topics", "--bootstrap-server", b.bootstrap, "--delete", "--topic", "gone").code == 0
        yield b
    finally:
        for c in consumers:
            c.close()
        b.destroy()


def both(b, *args) -> list:
    """What Kafka's tool and ours say: exit status, lines of stdout, and of stderr."""
    said = []
    for tool in (kafkas, ours):
        done = tool("consumer-groups", "--bootstrap-server", b.bootstrap, *args)
        said.append((done.code, sorted(done.out.split("\n")), sorted(x for x in done.err.split("\n") if x)))
    return said


@pytest.mark.parametrize("command", [
    "--list", "--list --state", "--list --state Empty", "--list --state Empty,Stable", "--list --state Dead",
    *(f"--describe --group {g}{more}" for g in ("active", "empty", "a-group-with-a-name-that-is-longer-than-others", "nobody")
      for more in ("", " --offsets", " --members", " --members --verbose", " --state")),
    "--describe --group active --group empty", "--describe --all-groups --state", "--describe --all-groups --members",
    "--delete --group active", "--delete --group nobody", "--version",
])
def test_the_same(grouped, command):
    kafka, mine = both(grouped, *command.split())
    assert kafka == mine


def test_a_topic_that_is_gone(grouped):
    """DeleteTopics takes the offsets with it."""
    kafka, mine = both(grouped, "--describe", "--group", "gone")
    assert kafka == mine


def test_deletion(grouped):
    for tool in (kafkas, ours):
        for name in ("x1", "x2"):
            c = ck.Consumer({"bootstrap.servers": grouped.bootstrap, "group.id": name})
            c.commit(offsets=[ck.TopicPartition("t", 1, 3)], asynchronous=False)
            c.close()
        server = ("--bootstrap-server", grouped.bootstrap)
        assert tool("consumer-groups", *server, "--delete", "--group", "x1").out == \
            "Deletion of requested consumer groups ('x1') was successful.\n"
        out = tool("consumer-groups", *server, "--delete", "--group", "x2", "--group", "x1").out
        assert "* Group 'x1' could not be deleted due to: " in out and "These consumer groups were deleted successfully: 'x2'" in out


def test_mistakes(grouped):
    for args, said in ((["--list", "--describe"], "Command must include exactly one action: --list, --describe, --delete"),
                       (["--describe"], "Either --group or --all-groups is needed"),
                       (["--reset-offsets", "--group", "g", "--topic", "t"], "Option '[reset-offsets]' requires one of the following"),
                       (["--reset-offsets", "--group", "g", "--to-latest"], "One of the reset scopes should be defined")):
        done = ours("consumer-groups", "--bootstrap-server", grouped.bootstrap, *args)
        assert done.code == 1 and done.err.startswith(said)


RESETS = ["--topic t --to-earliest", "--topic t:1 --to-latest", "--all-topics --to-latest", "--topic t --to-offset 5",
          "--topic t --to-offset 1000", "--topic t --to-current", "--topic t:1 --shift-by 4", "--topic t:1 --shift-by -100",
          "--topic t --to-datetime 2020-01-01T00:00:00.000", "--topic t:0,2 --to-datetime 2100-01-01T00:00:00.000Z",
          f"--topic t:2 --topic {LONG} --to-earliest"]


@pytest.mark.parametrize("command", RESETS)
def test_resetting(grouped, command):
    """Kafka's tool writes all rows into one line: words are compared."""
    words = []
    for tool in (kafkas, ours):
        done = tool("consumer-groups", "--bootstrap-server", grouped.bootstrap, "--group", "empty", "--reset-offsets", "--dry-run",
                    *command.split())
        rows = sorted(done.out.replace("NEW-OFFSET", "").split())
        words.append((done.code, rows, done.err.count("Value will be set to")))
    assert words[0] == words[1] and "empty" in words[0][1]


def test_resetting_for_good(grouped):
    server = ("--bootstrap-server", grouped.bootstrap)
    assert ours("consumer-groups", *server, "--group", "reset", "--reset-offsets", "--topic", "t:0", "--to-offset", 7, "--execute").code == 0
    for tool in (kafkas, ours):
        assert "reset           t               0          7               10              3" in \
            tool("consumer-groups", *server, "--describe", "--group", "reset").out
    kafka, mine = both(grouped, "--group", "active", "--reset-offsets", "--topic", "t", "--to-earliest", "--execute")
    assert kafka[0] == mine[0] and "Assignments can only be reset if the group 'active' is inactive" in "".join(mine[1])
    assert [x for x in kafka[1] if "Error" in x] == [x for x in mine[1] if "Error" in x]
    done = ours("consumer-groups", *server, "--group", "empty", "--reset-offsets", "--topic", "none", "--to-latest")
    assert done.code == 1 and "there is no topic, or no partition, none" in done.out
