"""One transactional producer after another, of each client, over the three lives of a broker.

What they are told to do is in transactors.py. A topic ends with a plain record "end" in each partition, so that every
client's own reader knows where to stop.
"""

import os

import pytest

from harness import clients
from harness.life import LIVES, between, unique
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from . import seen  # noqa: E402
from .transactors import KINDS, Fenced, Transactor, missing  # noqa: E402

PARTITIONS = 2
WHOLE = os.environ.get("OTTLA_INTEROP") == "all"


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.client(f"{kind}, transactions")]
                                     + ([] if kind == "confluent-kafka" else [pytest.mark.once])) for kind in KINDS])
def transactor(request, shared_broker):
    """Makes any number of them."""
    kind, made = request.param, []
    if why := missing(kind):
        pytest.skip(f"skipped, because {why}")
    in_slice = {"confluent-kafka": LIVES, "java43": ["fresh"], "sarama": ["fresh"]}.get(kind, ["fresh", "killed"])
    if request.node.callspec.params["life"] not in in_slice and not WHOLE:
        pytest.skip("only in the whole run: interop-tests/run all")

    def make():
        made.append(Transactor(kind, shared_broker))
        return made[-1]
    make.offsets_at_once = kind != "sarama"  # which sends them when the transaction ends
    yield make
    for t in made:
        t.close()


def end(b, topic: str) -> None:
    said = []
    p = ck.Producer({"bootstrap.servers": b.bootstrap, "log_level": 0})
    for partition in range(PARTITIONS):
        p.produce(topic, "end", partition=partition, on_delivery=lambda e, _: said.append(e))
    assert p.flush(30) == 0 and said == [None] * PARTITIONS, said


def pending(b, group: str, topic: str, transactor) -> None:
    """An offset that is in a transaction is none yet, and who wants it to be stable has to wait."""
    assert seen.offsets(b, group, topic, 1, stable=False) == [(0, -1)]
    assert seen.offsets(b, group, topic, 1) == [(88 if transactor.offsets_at_once else 0, -1)]


def everything_is_seen(b, topic: str, reader, committed: list, aborted: list) -> None:
    """By this client's reader."""
    wait_for(lambda: seen.nothing_open(b, topic, PARTITIONS) is None, 30, "nothing to be open")
    end(b, topic)
    assert sorted(reader("read", topic, PARTITIONS, "committed").split()) == sorted(committed)
    assert sorted(reader("read", topic, PARTITIONS, "uncommitted").split()) == sorted(committed + aborted)


@pytest.mark.parametrize("life", LIVES)
def test_commit_and_abort(shared_broker, transactor, life):
    b, group, name = shared_broker, unique("group"), unique("t")
    topic = clients.create_topic(b, unique("ends"), PARTITIONS)
    t = transactor()
    t("init", name, 60000)
    t("begin")
    t("send", topic, 0, "a0")
    t("send", topic, 1, "a1")
    t("offsets", group, topic, 0, 1)
    pending(b, group, topic, transactor)
    t("commit")
    assert seen.settled(b, name) == "CompleteCommit"
    assert seen.offsets(b, group, topic, 1) == [(0, 1)]
    t("begin")
    t("send", topic, 0, "b0")
    t("offsets", group, topic, 0, 2)
    t("abort")
    assert seen.settled(b, name) == "CompleteAbort"
    assert seen.offsets(b, group, topic, 1) == [(0, 1)]
    between(b, life)
    t("begin")
    t("send", topic, 1, "c1")
    t("abort")
    t("begin")
    t("send", topic, 1, "d1")
    t("offsets", group, topic, 0, 3)
    t("commit")
    assert seen.settled(b, name) == "CompleteCommit"
    assert seen.offsets(b, group, topic, 1) == [(0, 3)]
    everything_is_seen(b, topic, t, ["a0", "a1", "d1"], ["b0", "c1"])


@pytest.mark.parametrize("ends", ["commit", "abort"])
@pytest.mark.parametrize("life", LIVES)
def test_open_meanwhile(shared_broker, transactor, life, ends):
    """The broker goes and comes in the middle of a transaction."""
    b, group, name = shared_broker, unique("group"), unique("t")
    topic = clients.create_topic(b, unique("open"), PARTITIONS)
    t = transactor()
    t("init", name, 60000)
    t("begin")
    t("send", topic, 0, "a0")
    t("offsets", group, topic, 0, 7)
    between(b, life)
    described = seen.describe(b, name)
    assert described["transaction_state"] == "Ongoing" and described["transaction_timeout_ms"] == 60000
    assert {p["topic"]: p["partitions"] for p in described["topics"]}[topic] == [0]
    assert seen.committed(b, topic, PARTITIONS) == [[], []] and seen.ends(b, topic, PARTITIONS, 1) == [0, 0]
    assert seen.uncommitted(b, topic, PARTITIONS) == [["a0"], []]
    pending(b, group, topic, transactor)
    t("send", topic, 0, "b0")
    t("send", topic, 1, "b1")
    t(ends)
    assert seen.settled(b, name) == f"Complete{ends.capitalize()}"
    assert seen.offsets(b, group, topic, 1) == [(0, 7 if ends == "commit" else -1)]
    values = ["a0", "b0", "b1"]
    everything_is_seen(b, topic, t, *((values, []) if ends == "commit" else ([], values)))


@pytest.mark.parametrize("life", LIVES)
def test_fencing(shared_broker, transactor, life):
    """A second producer of the same id ends what the first had open, and the first can do no more."""
    b, name = shared_broker, unique("t")
    topic = clients.create_topic(b, unique("fenced"), PARTITIONS)
    first, second = transactor(), transactor()
    first("init", name, 60000)
    first("begin")
    first("send", topic, 0, "first")
    before = seen.describe(b, name)
    between(b, life)
    second("init", name, 60000)
    now = seen.describe(b, name)
    assert (now["producer_id"], now["transaction_state"]) == (before["producer_id"], "Empty")
    assert now["producer_epoch"] > before["producer_epoch"]
    with pytest.raises(Fenced):
        first("send", topic, 0, "first-again")
        first("commit")
    second("begin")
    second("send", topic, 0, "second")
    second("commit")
    everything_is_seen(b, topic, second, ["second"], ["first"])


@pytest.mark.parametrize("life", LIVES)
def test_timeout(shared_broker, transactor, life):
    """A transaction that takes longer than its producer said is aborted; another producer goes on."""
    b, name, group = shared_broker, unique("t"), unique("group")
    topic = clients.create_topic(b, unique("late"), PARTITIONS)
    t, next_one = transactor(), transactor()
    t("init", name, 1500)
    t("begin")
    t("send", topic, 1, "late")
    t("offsets", group, topic, 0, 5)
    between(b, life)
    assert seen.settled(b, name) == "CompleteAbort"
    assert seen.committed(b, topic, PARTITIONS) == [[], []] and seen.offsets(b, group, topic, 1) == [(0, -1)]
    with pytest.raises(Fenced):
        t("commit")
    next_one("init", name, 60000)
    next_one("begin")
    next_one("send", topic, 1, "in-time")
    next_one("commit")
    everything_is_seen(b, topic, next_one, ["in-time"], ["late"])
