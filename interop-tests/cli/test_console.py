"""The console tools, ours and Kafka's: what one writes the other reads, in the same words."""

import re
import signal
import subprocess
import time

import pytest

from harness import paths
from harness.life import unique
from harness.wait import wait_for

from .tools import kafkas, missing, ours

pytestmark = pytest.mark.once

ALL = [w for p in ("timestamp", "partition", "offset", "headers", "key") for w in ("--property", f"print.{p}=true")]


@pytest.fixture(autouse=True)
def _needs_tools():
    why = missing()
    if why:
        pytest.skip(f"skipped, because {why}")


def produce(tool, broker, topic, text, *args):
    done = tool("console-producer", "--bootstrap-server", broker.bootstrap, "--topic", topic, *args, stdin=text)
    assert done.code == 0, done
    return done


def consume(tool, broker, topic, count, *args):
    done = tool("console-consumer", "--bootstrap-server", broker.bootstrap, "--topic", topic, "--max-messages", count, *args)
    assert done.code == 0 and f"Processed a total of {count} messages" in done.err, done
    return done.out


def create(broker, topic, partitions=1):
    assert ours("topics", "--bootstrap-server", broker.bootstrap, "--create", "--topic", topic, "--partitions", partitions).code == 0
    return topic


FORMS = [
    ("a\nb\n\nlast", []),
    ("windows\r\nlines\r\n", []),
    ("k1:v1\nk2:\n:v3\n", ["--property", "parse.key=true", "--property", "key.separator=:"]),
    ("k1\tv1\ttab\n", ["--property", "parse.key=true"]),
    ("k\tv\nnone\tNULL\nNULL\tv\n", ["--property", "parse.key=true", "--property", "null.marker=NULL"]),
    ("h:1,g:2\tv\n:\tempty\n", ["--property", "parse.headers=true"]),
    ("h:1;g:\tkey\tv\nNULL\tkey\tv\n", ["--property", "parse.headers=true", "--property", "parse.key=true", "--property",
                                       "headers.separator=;", "--property", "null.marker=NULL"]),
    ("no separator\nk:v\n", ["--property", "parse.key=true", "--property", "key.separator=:", "--property", "ignore.error=true"]),
    ("ünï→\n", []),
]


@pytest.mark.parametrize("number", [n if n in (0, 4, 6) else pytest.param(n, marks=pytest.mark.whole) for n in range(len(FORMS))])
def test_the_same_records(shared_broker, number):
    """Written by either tool, they are the same but for their time; read by either, they are the same."""
    text, args = FORMS[number]
    seen = []
    for tool in (kafkas, ours):
        topic = create(shared_broker, unique("console"))
        produce(tool, shared_broker, topic, text, *args)
        count = len(text.splitlines())
        read = [consume(t, shared_broker, topic, count, "--from-beginning", *ALL) for t in (kafkas, ours)]
        assert read[0] == read[1]
        seen.append(re.sub(r"CreateTime:\d+", "CreateTime", read[0]))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("properties", [
    ["print.key=true", "key.separator=|", "null.literal=none"],
    ["print.value=false", "print.offset=true"],
    ["print.headers=true", "headers.separator=;", "line.separator=#"],
])
def test_the_same_lines(shared_broker, properties):
    topic = create(shared_broker, unique("lines"))
    produce(ours, shared_broker, topic, "a:1,b:2\tk\tv\nN\tk2\tN\n", "--property", "parse.key=true", "--property", "parse.headers=true",
            "--property", "null.marker=N")
    args = [w for p in properties for w in ("--property", p)]
    assert consume(ours, shared_broker, topic, 2, "--from-beginning", *args) == consume(kafkas, shared_broker, topic, 2,
                                                                                         "--from-beginning", *args)


def test_keys_go_where_javas_go(shared_broker):
    text = "".join(f"{'key' * (i % 5)}{i}\tv\n" for i in range(500))
    where = []
    for tool in (kafkas, ours):
        topic = create(shared_broker, unique("keys"), 7)
        produce(tool, shared_broker, topic, text, "--property", "parse.key=true")
        where.append(sorted(consume(ours, shared_broker, topic, 500, "--from-beginning", "--property", "print.partition=true",
                                    "--property", "print.key=true").splitlines()))
    assert where[0] == where[1] and len({line.split("\t")[0] for line in where[0]}) == 7


@pytest.mark.parametrize("codec", [c if c in ("none", "zstd") else pytest.param(c, marks=pytest.mark.whole)
                                   for c in ("none", "gzip", "snappy", "lz4", "zstd")])
def test_codecs(shared_broker, codec):
    text = "".join(f"{i} {'x' * (i % 100)}\n" for i in range(3000))
    for writer, reader in ((ours, kafkas), (kafkas, ours)):
        topic = create(shared_broker, unique("codec"))
        produce(writer, shared_broker, topic, text, "--compression-codec", codec)
        assert consume(reader, shared_broker, topic, 3000, "--from-beginning") == text


def test_many_large_lines_of_several_partitions(shared_broker):
    lines = [f"{i} " + "y" * (i * 37 % 20000) for i in range(2000)]
    topic = create(shared_broker, unique("large"), 3)
    produce(ours, shared_broker, topic, "\n".join(lines))
    assert sorted(consume(ours, shared_broker, topic, 2000, "--from-beginning").splitlines()) == sorted(lines)


def test_a_place_to_begin(shared_broker):
    topic = create(shared_broker, unique("place"))
    produce(ours, shared_broker, topic, "0\n1\n2\n3\n")
    assert consume(ours, shared_broker, topic, 2, "--partition", 0, "--offset", 1) == "1\n2\n"
    assert consume(ours, shared_broker, topic, 1, "--partition", 0, "--offset", "earliest") == "0\n"
    # Latest: what comes while it runs.
    running = subprocess.Popen([paths.ottla_binary(), "console-consumer", "--bootstrap-server", shared_broker.bootstrap, "--topic", topic,
                                "--max-messages", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    def poke():
        produce(ours, shared_broker, topic, "new\n")
        return running.poll() is not None
    wait_for(poke, 20, "what is new", 0.2)
    assert running.communicate()[0] == "new\n"


def test_a_group(shared_broker):
    topic, group = create(shared_broker, unique("grouped"), 3), unique("group")
    produce(ours, shared_broker, topic, "".join(f"{i}\tv{i}\n" for i in range(30)), "--property", "parse.key=true")
    first = consume(ours, shared_broker, topic, 12, "--from-beginning", "--group", group).split()
    rest = consume(ours, shared_broker, topic, 18, "--from-beginning", "--group", group).split()
    assert sorted(first + rest) == sorted(f"v{i}" for i in range(30))
    # Kafka's tool goes on where ours was, and ours where Kafka's was.
    produce(ours, shared_broker, topic, "x1\n")
    assert consume(kafkas, shared_broker, topic, 1, "--group", group) == "x1\n"
    produce(ours, shared_broker, topic, "x2\n")
    assert consume(ours, shared_broker, topic, 1, "--group", group) == "x2\n"


def test_aborted_transactions_are_hidden(shared_broker):
    ck = pytest.importorskip("confluent_kafka")
    topic = create(shared_broker, unique("transactions"))
    producers = [ck.Producer({"bootstrap.servers": shared_broker.bootstrap, "transactional.id": unique(n)}) for n in "ab"]
    for p in producers:
        p.init_transactions(20)
    for number in range(6):  # two producers, each aborts what it commits next
        for n, p in zip("ab", producers):
            p.begin_transaction()
            p.produce(topic, f"{n}{number}")
            p.flush(20)
        for n, p in zip("ab", producers):
            p.commit_transaction(20) if (number + (n == "b")) % 2 else p.abort_transaction(20)
    committed = [f"{n}{i}" for i in range(6) for n in "ab" if (i + (n == "b")) % 2]
    read = consume(ours, shared_broker, topic, 6, "--from-beginning", "--isolation-level", "read_committed").split()
    assert read == committed == consume(kafkas, shared_broker, topic, 6, "--from-beginning", "--isolation-level",
                                        "read_committed").split()
    assert len(consume(ours, shared_broker, topic, 12, "--from-beginning").split()) == 12


def test_a_broker_that_is_killed_meanwhile(broker):
    topic = create(broker, unique("killed"))
    producer = subprocess.Popen([paths.ottla_binary(), "console-producer", "--bootstrap-server", broker.bootstrap, "--topic", topic],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    reader = subprocess.Popen([paths.ottla_binary(), "console-consumer", "--bootstrap-server", broker.bootstrap, "--topic", topic,
                               "--from-beginning", "--max-messages", "300"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for i in range(300):
        if i in (100, 200):
            broker.crash()
        producer.stdin.write(f"{i}\n")
        producer.stdin.flush()
        assert reader.stdout.readline() == f"{i}\n", (producer.poll(), reader.poll())  # each once, in order
    producer.stdin.close()
    assert producer.wait(60) == 0, producer.stderr.read()
    assert reader.communicate(timeout=60)[0] == ""


def test_signals_and_time(shared_broker):
    topic = create(shared_broker, unique("signals"))
    produce(ours, shared_broker, topic, "0\n")
    running = subprocess.Popen([paths.ottla_binary(), "console-consumer", "--bootstrap-server", shared_broker.bootstrap, "--topic", topic,
                                "--from-beginning"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "0\n"
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130 and err == "Processed a total of 1 messages\n"
    begin = time.monotonic()
    done = ours("console-consumer", "--bootstrap-server", shared_broker.bootstrap, "--topic", topic, "--from-beginning", "--timeout-ms", 300)
    assert done.code == 0 and done.out == "0\n" and "TimeoutException\nProcessed a total of 1 messages\n" in done.err
    assert 0.3 <= time.monotonic() - begin < 5


def test_what_is_refused(shared_broker):
    topic = create(shared_broker, unique("refused"))
    server = ["--bootstrap-server", shared_broker.bootstrap]
    for tool, args, said in (
            ("console-consumer", server, "Exactly one of --include/--topic is required."),
            ("console-consumer", ["--topic", "t"], 'Missing required argument "[bootstrap-server]"'),
            ("console-consumer", [*server, "--topic", topic, "--property", "print.nothing=true"],
             "--property print.nothing=true: there is no property print.nothing here"),
            ("console-consumer", [*server, "--topic", topic, "--offset", "5"], "The partition is required when offset is specified."),
            ("console-consumer", [*server, "--topic", topic, "--partition", "0", "--offset", "x"],
             "The provided offset value 'x' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."),
            ("console-consumer", [*server, "--topic", topic, "--isolation-level", "x"],
             "--isolation-level is read_uncommitted or read_committed"),
            ("console-consumer", [*server, "--topic", topic, "--partition", "5"], f"topic {topic} has no partition 5"),
            ("console-producer", server, 'Missing required argument "[topic]"'),
            ("console-producer", [*server, "--topic", topic, "--compression-codec", "rar"],
             "--compression-codec is none, gzip, snappy, lz4 or zstd"),
            ("console-producer", [*server, "--topic", "a b"], "topic a b: INVALID_TOPIC_EXCEPTION")):
        done = ours(tool, *args)
        assert done.code == 1 and done.err.startswith(said), (args, done)
    done = ours("console-producer", *server, "--topic", topic, stdin="small\n" + "x" * 2000000 + "\nsmall again\n")
    assert done.code == 1 and done.err == f"1 record for {topic}-0 is lost: MESSAGE_TOO_LARGE\n"
    assert consume(ours, shared_broker, topic, 2, "--from-beginning") == "small\nsmall again\n"
    done = ours("console-producer", *server, "--topic", topic, "--property", "parse.key=true", stdin="k\tv\nx\n")
    assert done.code == 1 and done.err == "org.apache.kafka.common.KafkaException: No key separator found on line number 2: 'x'\n"
