"""Partitions on the move, and leaders that go home, while there are faults: a schedule that a seed makes, and who plays it.

The partitions get other replicas, any of the brokers in any order, by whoever is said to be the controller, or by the znode
that older tools write. Now and then a second plan comes over the first, or the first is cancelled, soon enough for some
to be under way. Nobody is waited for: a plan that is refused, or not answered in time, is one that is not judged. What has
come of them is in the topic's node.
"""

import contextlib
import json
import random
import threading
import time
from dataclasses import dataclass, field

from kazoo.exceptions import NodeExistsError

from harness.cluster import REPLICAS, Cluster

PATIENCE_S = 4.0  # a controller that sleeps is asked anew


@dataclass(frozen=True)
class Turn:
    at_s: float
    what: str  # a method of Mover
    replicas: dict = field(default_factory=dict)  # partition -> those it gets


def turns(seed: int, partitions: int, brokers: int, seconds: float) -> list:
    """In their order. The same arguments give the same ones."""
    chance, its, at = random.Random(f"moves {seed}"), [], 1.0

    def some(of) -> list:
        return chance.sample(of, chance.randint(1, len(of)))

    def anywhere(of: list) -> dict:
        return {p: chance.sample(range(brokers), REPLICAS) for p in of}

    while at < seconds:
        first = some(range(partitions))
        its.append(Turn(at, "znode" if chance.random() < 0.15 else "plan", anywhere(first)))
        soon = at + chance.choice((0.05, 0.05, 0.5, 5)) * chance.random()
        again = chance.choice(("plan", "cancel", None))
        if again:
            its.append(Turn(soon, again, anywhere(some(first)) if again == "plan" else dict.fromkeys(some(first))))
        its.append(Turn(at + chance.uniform(0, 3), "elect"))
        at += chance.uniform(1, 4)
    return sorted((t for t in its if t.at_s < seconds), key=lambda t: t.at_s)


class Mover:
    """Plays them from now on, in a thread of its own: an answer may be long in coming."""

    def __init__(self, cluster: Cluster, topic: str, its: list):
        self.elected = 0  # leaders
        self._cluster, self._topic, self._turns = cluster, topic, its
        self._ending, self._failed = threading.Event(), None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()
        if self._failed:
            raise RuntimeError(f"who moves partitions has failed: {self._failed!r}") from self._failed

    def _run(self) -> None:
        try:
            self._play()
        except Exception as e:
            self._failed = e

    def _play(self) -> None:
        began = time.monotonic()
        for turn in self._turns:
            if self._ending.wait(max(0.0, began + turn.at_s - time.monotonic())):
                return
            getattr(self, turn.what)(turn.replicas)

    def _ask(self, api: str, version: int, values: dict) -> dict | None:
        with contextlib.suppress(OSError, AssertionError):
            if self._cluster.controller() is not None:
                return self._cluster.ask_controller(api, version, values | {"timeout_ms": int(PATIENCE_S * 1000)}, PATIENCE_S)
        return None

    def plan(self, replicas: dict) -> None:
        self._ask("AlterPartitionReassignments", 0, {"topics": [{"name": self._topic, "partitions": [
            {"partition_index": p, "replicas": its} for p, its in replicas.items()]}]})

    cancel = plan  # replicas that are none

    def znode(self, replicas: dict) -> None:
        plan = [{"topic": self._topic, "partition": p, "replicas": its} for p, its in replicas.items()]
        with contextlib.suppress(NodeExistsError):  # what was asked so before is under way
            self._cluster.look.create("/admin/reassign_partitions", json.dumps({"version": 1, "partitions": plan}).encode())

    def elect(self, _) -> None:
        """Preferred leaders of all topics."""
        answer = self._ask("ElectLeaders", 2, {"election_type": 0, "topic_partitions": None})
        results = answer["replica_election_results"] if answer else []
        self.elected += sum(p["error_code"] == 0 for t in results for p in t["partition_result"])
