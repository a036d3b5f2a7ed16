"""kafka-transactions and what else of Kafka's tools knows of transactions.

What the tools say is compared with what they said on Apache Kafka 3.9.1, which is kept in tools_said.txt. Producer ids,
times and addresses are masked. With BROKER_UNDER_TEST=kafka, OTTLA_RECORD=1 writes that anew.
"""

import difflib
import os
import pathlib
import re
import time

import pytest

from harness import clients, toolhost
from harness import broker as brokers
from harness.coordinators import SOON, coordinators_there
from harness.life import LIVES, between, unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from . import seen  # noqa: E402
from .hand import ByHand  # noqa: E402

VERSIONS = ["3.9.1", pytest.param("4.3.0", marks=pytest.mark.once)]
SAID = pathlib.Path(__file__).with_name("tools_said.txt")
HOUR_MS = 3600_000
pytestmark = [pytest.mark.skipif(bool(toolhost.missing("3.9.1")), reason=f"skipped, because {toolhost.missing('3.9.1')}")]


class Session:
    """Calls of kafka-transactions, and what it says, masked; rows are sorted, and columns one space apart."""

    def __init__(self, b, *producers):
        self._b, self._producers, self.said = b, producers, []

    def __call__(self, *args, version: str = "3.9.1") -> None:
        result = toolhost.tools(version).run("kafka-transactions", "--bootstrap-server", self._b.bootstrap, *args, check=False)
        rows = [line.split() for line in (*result.out.splitlines(), *result.err.splitlines())
                if line.strip() and not re.search(r"^\s+(at |\.\.\. )| WARN ", line)]
        shown = ["<id>" if before == "--producer-id" else str(a) for before, a in zip(("", *args), args)]
        self.said.append(f"$ kafka-transactions {' '.join(shown)}" + (f"    ended with {result.code}" if result.code else ""))
        for row in rows[:1] + sorted(rows[1:]):
            self.said.append(" ".join(self._mask(rows[0], row)))

    def _mask(self, header: list, row: list):
        """Who it is, and when; and of one that is Ongoing for how long."""
        for n, word in enumerate(row):
            column = header[n] if n < len(header) else ""
            if row is not header and column == "ProducerId":
                word = next((f"producer-{i}" for i, p in enumerate(self._producers) if str(p.producer_id) == word), word)
            elif row is not header and column == "TransactionDurationMs" and word != "None":
                word = "duration"
            word = re.sub(r"\b1\d{12}\b", "time", word)
            yield re.sub(r"\[?\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d,\d+\]?", "time", word)


def compare(name: str, said: list) -> None:
    """With the part of that name of tools_said.txt."""
    kept = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", SAID.read_text(), re.M)) if SAID.exists() else {}
    if os.environ.get("OTTLA_RECORD") and brokers.kind_under_test() == "kafka":
        kept[name] = "\n".join(said) + "\n"
        SAID.write_text("".join(f"## {n}\n{text}" for n, text in sorted(kept.items())))
    differs = "\n".join(difflib.unified_diff(kept.get(name, "").splitlines(), said, "Kafka", "here", lineterm="", n=2))
    assert not differs, differs


@pytest.fixture(scope="module")
def told():
    """A broker of its own, without verification: otherwise nothing could hang."""
    b = brokers.new_broker({**SOON, "transaction.partition.verification.enable": "false"})
    try:
        b.start()
        coordinators_there(b)
        yield b
    finally:
        b.destroy()


@pytest.mark.parametrize("version", VERSIONS)
def test_list_and_describe(shared_broker, version):
    b = shared_broker
    if why := toolhost.missing(version):
        pytest.skip(f"skipped, because {why}")
    for topic in ("one", "two"):
        wait_for(lambda: clients.create_topic(b, f"{topic}-{version}", 2), 15, "the topic")
    one, two = f"one-{version}", f"two-{version}"
    ongoing, done, undone, empty = (ByHand(b, f"{what}-{version}") for what in ("ongoing", "done", "undone", "empty"))
    for p in (ongoing, done, undone, empty):
        p.init()
    for p in (ongoing, done, undone):
        p.add((one, 0), (two, 1))
        p.produce(one, 0, "a", "b")
        p.produce(two, 1, "c")
    done.end(True)
    undone.end(False)
    for p in (done, undone):
        seen.settled(b, p.name)
    ongoing.offsets(f"group-{version}", one, 0, 3)
    ask = Session(b, ongoing, done, undone, empty)
    listed = toolhost.tools(version).run("kafka-transactions", "--bootstrap-server", b.bootstrap, "list").lines()
    rows = {line.split()[0]: line.split()[1:] for line in listed}
    assert rows["TransactionalId"][:3] == ["Coordinator", "ProducerId", "TransactionState"], listed
    assert {p.name: rows[p.name] for p in (ongoing, done, undone, empty)} == {
        p.name: ["0", str(p.producer_id), state] for p, state in (
            (ongoing, "Ongoing"), (done, "CompleteCommit"), (undone, "CompleteAbort"), (empty, "Empty"))}
    for p in (ongoing, done, undone, empty):
        ask("describe", "--transactional-id", p.name, version=version)
    ask("describe", "--transactional-id", "nobody", version=version)
    for topic, partition in ((one, 0), (one, 1), (two, 1)):  # of one that is not there it waits for ever
        ask("describe-producers", "--topic", topic, "--partition", partition, version=version)
    longer = toolhost.tools(version).run(
        "kafka-transactions", "--bootstrap-server", b.bootstrap, "list", "--duration-filter", 600000).out
    assert empty.name in longer and ongoing.name not in longer, longer  # an empty one began at -1
    ongoing.end(True)
    seen.settled(b, ongoing.name)
    ask("describe", "--transactional-id", ongoing.name, version=version)
    compare(f"list and describe, {version}", [line.replace(version, "VERSION") for line in ask.said])


@pytest.mark.parametrize("version", VERSIONS)
def test_hanging(told, version):
    """A producer writes into a partition that is in no transaction, an hour ago."""
    b = told
    if why := toolhost.missing(version):
        pytest.skip(f"skipped, because {why}")
    topic = clients.create_topic(b, f"hanging-{version}", 2)
    hanging, fine = ByHand(b, f"hangs-{version}"), ByHand(b, f"fine-{version}")
    for p in (hanging, fine):
        p.init()
    long_ago = int(time.time() * 1000) - HOUR_MS
    first = hanging.produce(topic, 0, "nobody's", timestamp=long_ago)
    fine.add((topic, 0), (topic, 1))
    fine.produce(topic, 0, "fine", timestamp=long_ago)
    fine.produce(topic, 1, "fine", timestamp=long_ago)
    ask = Session(b, hanging, fine)
    for args in (("--topic", topic), ("--topic", topic, "--partition", 0), ("--topic", topic, "--partition", 1),
                 ("--broker-id", 0), ("--topic", topic, "--max-transaction-timeout", 100)):
        ask("find-hanging", *args, version=version)
    ask("describe-producers", "--topic", topic, "--partition", 0, version=version)
    fine.end(True)
    seen.settled(b, fine.name)
    assert seen.ends(b, topic, 2, 1) == [first, 2]
    ask("abort", "--topic", topic, "--partition", 0, "--start-offset", 77, version=version)
    ask("abort", "--topic", topic, "--partition", 0, "--start-offset", first, version=version)
    seen.nothing_open(b, topic, 2)
    ask("find-hanging", "--topic", topic, version=version)
    ask("describe-producers", "--topic", topic, "--partition", 0, version=version)
    assert seen.committed(b, topic, 2) == [["fine"], ["fine"]]
    compare(f"hanging, {version}", [line.replace(version, "VERSION") for line in ask.said])


def test_abort_by_producer(shared_broker):
    """What the tool aborts, the coordinator does not know of: it still says Ongoing, and the end commits what came after."""
    b = shared_broker
    topic = clients.create_topic(b, unique("aborted"), 1)
    p = ByHand(b, unique("aborted"))
    p.init()
    p.add((topic, 0))
    p.produce(topic, 0, "before")
    ask = Session(b, p)
    ask("abort", "--topic", topic, "--partition", 0, "--producer-id", p.producer_id, "--producer-epoch", p.epoch,
        "--coordinator-epoch", 0)
    seen.nothing_open(b, topic, 1)
    assert seen.describe(b, p.name)["transaction_state"] == "Ongoing"
    p.produce(topic, 0, "after")
    p.end(True)
    seen.settled(b, p.name)
    assert seen.committed(b, topic, 1) == [["after"]] and seen.uncommitted(b, topic, 1) == [["before", "after"]]
    ask("describe-producers", "--topic", topic, "--partition", 0)
    compare("abort by producer", [line.replace(topic, "TOPIC") for line in ask.said])


@pytest.mark.parametrize("life", LIVES)
@pytest.mark.parametrize("version", VERSIONS)
def test_perf_and_console(shared_broker, version, life):
    """kafka-producer-perf-test in transactions; kafka-console-consumer sees none of one that is open or aborted."""
    if life != ("killed" if version == "3.9.1" else "fresh") and os.environ.get("OTTLA_INTEROP") != "all":
        pytest.skip("only in the whole run: interop-tests/run all")
    b, run = shared_broker, toolhost.tools(version).run
    if why := toolhost.missing(version):
        pytest.skip(f"skipped, because {why}")
    topic, name = clients.create_topic(b, unique("perf"), 1), unique("perf-id")
    at = ("--bootstrap-server", b.bootstrap) if version >= "4.3" else ("--producer-props", f"bootstrap.servers={b.bootstrap}")
    said = run("kafka-producer-perf-test", "--topic", topic, "--num-records", 2000, "--record-size", 50, "--throughput", 2000,
               "--transactional-id", name, "--transaction-duration-ms", 100, *at).out
    assert re.search(r"^2000 records sent", said, re.M), said
    assert seen.settled(b, name) == "CompleteCommit"
    markers = seen.ends(b, topic, 1, 0)[0] - 2000
    assert markers >= 5, f"only {markers} transactions"
    aborted, still_open = ByHand(b, unique("aborts")), ByHand(b, unique("opens"))
    for p in (aborted, still_open):
        p.init()
        p.add((topic, 0))
    aborted.produce(topic, 0, "aborted")
    aborted.end(False)
    seen.settled(b, aborted.name)
    still_open.produce(topic, 0, "open")
    between(b, life)

    def count(isolation, *more):
        result = run("kafka-console-consumer", "--bootstrap-server", b.bootstrap, "--topic", topic, "--from-beginning",
                     "--isolation-level", isolation, "--timeout-ms", 3000, *more, check=False)
        return len(result.lines()), result.lines()[-2:]
    assert count("read_uncommitted", "--max-messages", 2002) == (2002, ["aborted", "open"])
    number, last = count("read_committed")
    assert number == 2000 and not {"aborted", "open"} & set(last)
    still_open.connect(b)
    still_open.end(True)
    seen.settled(b, still_open.name)
    number, last = count("read_committed")
    assert number == 2001 and last[1] == "open"
