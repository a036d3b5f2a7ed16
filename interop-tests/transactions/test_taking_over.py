"""One data directory, one ZooKeeper: Kafka 3.9.1 and the broker under test in each other's place, while transactions
are open, and while one waits for its markers.

Kafka, then the broker under test, then Kafka again, and the broker under test once more. Producers stay up, or go on by hand where they were.
"""

import base64
import json
import uuid

import pytest

from harness import broker as brokers
from harness import clients
from harness.coordinators import SOON, coordinators_there
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")
from . import log, seen  # noqa: E402
from .hand import ByHand  # noqa: E402

pytestmark = [pytest.mark.skipif(brokers.coordination() == "embedded", reason="skipped, because Kafka is on ZooKeeper")]

UnderTest = brokers.KINDS[brokers.kind_under_test()]
ENDS = ("stopped", "killed")


class Place:
    """The place, and who is in it."""

    def __init__(self):
        self.first = brokers.Kafka(SOON)
        self.at = None

    def enter(self, kind) -> brokers.Broker:
        self.at = kind.in_place_of(self.first).start()
        coordinators_there(self.at)
        return self.at

    def leave(self, end: str) -> None:
        self.at.stop() if end == "stopped" else self.at.kill()

    def destroy(self) -> None:
        if self.at:
            self.at.kill()
        self.first.destroy()


@pytest.fixture
def place():
    p = Place()
    yield p
    p.destroy()


@pytest.mark.parametrize("end", [pytest.param("stopped", marks=pytest.mark.whole), "killed"])
def test_open_transactions(place, end):
    b = place.enter(brokers.Kafka)
    clients.create_topic(b, "open", 2)
    stays = ck.Producer({"bootstrap.servers": b.bootstrap, "log_level": 0, "reconnect.backoff.ms": 20,
                         "reconnect.backoff.max.ms": 200, "transactional.id": "stays", "transaction.timeout.ms": 300000,
                         "metadata.recovery.strategy": "none"})
    stays.init_transactions(30)
    hand = ByHand(b, "by hand", 300000)
    hand.init()
    committed, offset = [[], []], -1
    for n, kind in enumerate((UnderTest, brokers.Kafka, UnderTest)):
        hand.add(("open", 0))
        first = hand.produce("open", 0, f"{n} a", f"{n} b")
        hand.offsets("group", "open", 0, 10 + n)
        stays.begin_transaction()
        stays.produce("open", f"{n} c", partition=1)
        assert stays.flush(30) == 0
        before = {name: seen.described(b, name) for name in ("by hand", "stays")}
        assert {x["transaction_state"] for x in before.values()} == {"Ongoing"}
        place.leave(end)
        b = place.enter(kind)
        assert {name: seen.described(b, name) for name in before} == before
        assert seen.committed(b, "open", 2) == committed and seen.ends(b, "open", 2, 1)[0] == first
        assert seen.offsets(b, "group", "open", 1) == [(88, -1)]
        assert seen.offsets(b, "group", "open", 1, stable=False) == [(0, offset)]
        hand.connect(b)
        hand.produce("open", 0, f"{n} d")
        stays.produce("open", f"{n} e", partition=1)
        commits = n != 1
        hand.end(commits)
        stays.commit_transaction(30)
        assert seen.settled(b, "by hand") == ("CompleteCommit" if commits else "CompleteAbort")
        assert seen.settled(b, "stays") == "CompleteCommit"
        if commits:
            committed[0] += [f"{n} a", f"{n} b", f"{n} d"]
            offset = 10 + n
        committed[1] += [f"{n} c", f"{n} e"]
        assert seen.committed(b, "open", 2) == committed
        assert seen.offsets(b, "group", "open", 1) == [(0, offset)]
        seen.nothing_open(b, "open", 2)
    was = hand.producer_id, hand.epoch
    place.leave(end)
    hand.connect(place.enter(brokers.Kafka))
    hand.init()
    assert (hand.producer_id, hand.epoch) == (was[0], was[1] + 1)


def leaderless(b, topic: str) -> None:
    """A topic whose only replica is on a broker that is not there, so that its markers have to wait. Nobody runs."""
    topic_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    with b.zookeeper.client(b.chroot) as k:
        for path, data in {
                f"/config/topics/{topic}": {"version": 1, "config": {}},
                f"/brokers/topics/{topic}": {"version": 3, "topic_id": topic_id, "partitions": {"0": [7]},
                                             "adding_replicas": {}, "removing_replicas": {}},
                f"/brokers/topics/{topic}/partitions": None,
                f"/brokers/topics/{topic}/partitions/0": None,
                f"/brokers/topics/{topic}/partitions/0/state": {"controller_epoch": 1, "leader": -1, "version": 1,
                                                                "leader_epoch": 1, "isr": [7]}}.items():
            k.create(path, json.dumps(data).encode() if data else b"")


def is_leaderless(b, topic: str) -> bool:
    answer = clients.ask_once(b, "Metadata", 4, {"topics": [{"name": topic}], "allow_auto_topic_creation": False})
    return [p["leader_id"] for p in answer["topics"][0]["partitions"]] == [-1]


def forget(b, topic: str) -> None:
    """While nobody runs."""
    with b.zookeeper.client(b.chroot) as k:
        for path in (f"/brokers/topics/{topic}", f"/config/topics/{topic}"):
            k.delete(path, recursive=True)


@pytest.mark.parametrize("commits, ends_with", [
    pytest.param(True, UnderTest, id="commit-under-test"),
    pytest.param(False, brokers.Kafka, id="abort-kafka"),
    pytest.param(True, brokers.Kafka, id="commit-kafka", marks=pytest.mark.whole),
    pytest.param(False, UnderTest, id="abort-under-test", marks=pytest.mark.whole)])
@pytest.mark.parametrize("end", [pytest.param("stopped", marks=pytest.mark.whole), "killed"])
def test_prepared(place, end, commits, ends_with):
    """A transaction that was ended when not all of its partitions had a leader is handed over, and its markers are
    sent by whoever comes. When that partition is no more, it is complete."""
    b = place.enter(brokers.Kafka)
    clients.create_topic(b, "open", 1)
    place.leave("stopped")
    leaderless(b, "away")
    b = place.enter(brokers.Kafka)
    wait_for(lambda: is_leaderless(b, "away"), 30, "a partition without a leader")
    hand = ByHand(b, "prepared", 300000)
    hand.init()
    hand.add(("open", 0), ("away", 0))
    hand.produce("open", 0, "x", "y")
    hand.offsets("group", "open", 0, 4)
    hand.end(commits)
    prepared, complete = ("PrepareCommit", "CompleteCommit") if commits else ("PrepareAbort", "CompleteAbort")
    for kind in (UnderTest, brokers.Kafka)[:1 if ends_with is brokers.Kafka else 2]:
        place.leave(end)
        b = place.enter(kind)
        wait_for(lambda: seen.describe(b, "prepared")["transaction_state"] == prepared, 30, prepared)
        wait_for(lambda: seen.nothing_open(b, "open", 1) is None, 30, "the marker")
        wait_for(lambda: seen.offsets(b, "group", "open", 1) == [(0, 4 if commits else -1)], 30, "the offset's marker")
        hand.connect(b)
        hand_answer = hand.ask("EndTxn", 3, {"transactional_id": "prepared", "producer_id": hand.producer_id,
                                             "producer_epoch": hand.epoch, "committed": commits})
        assert hand_answer["error_code"] == 51
    place.leave(end)
    forget(b, "away")
    b = place.enter(ends_with)
    wait_for(lambda: seen.describe(b, "prepared")["transaction_state"] == complete, 30, complete)
    assert seen.committed(b, "open", 1) == [["x", "y"] if commits else []]
    hand.connect(b)
    hand.end(commits)  # once more, as one that has not heard
    hand.end(not commits, expect=48)
    hand.add(("open", 0))
    hand.produce("open", 0, "next")
    hand.end(True)
    assert seen.settled(b, "prepared") == "CompleteCommit"
    assert seen.committed(b, "open", 1) == [["x", "y", "next"] if commits else ["next"]]
    place.leave("stopped")
    markers = [x.marker()[0] for x in log.of_partition(b.data_dir / "open-0") if x.control]
    assert set(markers[:-1]) == {"COMMIT" if commits else "ABORT"} and markers[-1] == "COMMIT", markers
