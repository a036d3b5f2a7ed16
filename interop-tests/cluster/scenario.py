"""Brokers that reach each other by way of proxies (listener_proxy.py), and what is cut out of the proxies' record: a
scenario, from one quiet moment to the next.

Brokers are letters: C is the controller when the scenario begins, A and B are the others. Partitions are made by their
replicas, "BAC", so that a scenario is the same whoever the controller is.
"""

import contextlib
import json
import subprocess
import time

import kazoo.exceptions
import pytest

from harness import network
from harness.clients import ask_once
from harness.cluster import Cluster
from harness.life import unique
from harness.process import free_port
from harness.wait import wait_for
from wire.records import batch

from . import messages
from .listener_proxy import CONTROL, ListenerProxy, Record
from .messages import ASKED, Names, Partition

QUIET_S = 0.7  # nobody says anything for so long, and all is answered: it is over
DIRECTORY_BYTES = 64 << 20
TOPIC_RESOURCE = 2
CLIENTS, BETWEEN = "CLIENTS", "BETWEEN"
seconds = {}  # of each scenario


class Heard:
    """A cluster whose brokers are heard. Only the first two are started. Sessions end before a follower lags."""

    def __init__(self, kinds: list, record_golden: str = ""):
        self.kinds, self.recording = kinds, record_golden
        self.cluster = Cluster(kinds, {"broker.rack": "?", "controlled.shutdown.retry.backoff.ms": 500,
                                       "replica.lag.time.max.ms": 7000})
        self.record, self.proxies, self.addresses = Record(), [], {}
        self.judged, self.allowed = set(), set()  # scenarios; differences that were allowed
        for n, b in enumerate(self.cluster.brokers):
            self._put_between(n, b)
            self._make_directories(n)
        for n in range(2):
            self.cluster.brokers[n].launch()
            self.cluster.answers(n)

    def _put_between(self, n: int, b) -> None:
        """A second listener, which is said to be where the proxy is."""
        outside = network.OURS["clients"] if self.cluster.can_cut else b.host
        port, target = free_port(), 9093 if self.cluster.can_cut else free_port()
        self.proxies.append(ListenerProxy(outside, port, n, (b.host, target), self.record))
        self.addresses |= {(b.host, b.port): f"clients of {n}", (outside, port): f"brokers of {n}"}
        b.properties |= {
            "listeners": f"{CLIENTS}://{b.bootstrap},{BETWEEN}://{b.host}:{target}",
            "advertised.listeners": f"{CLIENTS}://{b.bootstrap},{BETWEEN}://{outside}:{port}",
            "listener.security.protocol.map": f"{CLIENTS}:PLAINTEXT,{BETWEEN}:PLAINTEXT",
            "inter.broker.listener.name": BETWEEN,
            "broker.rack": f"rack-{n}",
            "log.dirs": ",".join(str(d) for d in self.directories(n)),
        }

    def _make_directories(self, n: int) -> None:
        for directory in self.directories(n):
            directory.mkdir(parents=True)
            if self.cluster.can_cut:
                subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DIRECTORY_BYTES}", "ottla", directory], check=True)

    def directories(self, n: int) -> list:
        """A broker's log directories, of which one may fail."""
        return [self.cluster.brokers[n].data_dir / name for name in ("one", "two")]

    def destroy(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        self.cluster.destroy()

    def whole(self) -> None:
        """All brokers are there, nothing is cut, no topic is left."""
        for proxy in self.proxies:
            proxy.allow_fetches()
            proxy.lose_answers(False)
        self.cluster.heal()
        self.cluster.settle()
        topics = self.topics()
        if topics:
            self.cluster.ask_controller("DeleteTopics", 5, {"topic_names": topics, "timeout_ms": 15000})
        wait_for(lambda: not self.topics(), 30, "topics to be gone")

    def topics(self) -> list:
        with contextlib.suppress(kazoo.exceptions.NoNodeError):
            return self.cluster.look.get_children("/brokers/topics")
        return []

    def at(self, n: int, api: str, version: int, body: dict) -> dict:
        return ask_once(self.cluster.brokers[n], api, version, body)

    def quiet(self) -> None:
        """Waits until nobody has said anything for a while, which begins now."""
        ours, begun = CONTROL | ASKED, time.monotonic()

        def is_quiet():
            said = [m for m in list(self.record.messages) if m.api.name in ours]
            return all(m.ended for m in said) and time.monotonic() - max([begun, *(m.at for m in said)]) > QUIET_S
        wait_for(is_quiet, 30, "quiet")

    def epochs(self) -> dict:
        """broker -> its epoch, of those that are registered."""
        found = {}
        for n in self.cluster.registered():
            stat = self.cluster.look.exists(f"/brokers/ids/{n}")
            if stat:
                found[n] = stat.czxid
        return found

    def controller_epoch(self) -> int:
        with contextlib.suppress(kazoo.exceptions.NoNodeError):
            return int(self.cluster.look.get("/controller_epoch")[0])
        return 0


class Scenario:
    """`with scenario.heard("name"):` what is said in it is compared; what comes before makes ready."""

    def __init__(self, heard: Heard):
        self.all, self.cluster = heard, heard.cluster
        self.controller = heard.cluster.controller()
        others = [n for n in range(len(heard.kinds)) if n != self.controller]
        self.ids = dict(zip("CAB", [self.controller, *others]))
        self.names = {}  # symbol -> topic
        self.deleted = set()
        self.failed = []

    def __getitem__(self, letter: str):
        """The broker."""
        return self.cluster.brokers[self.ids[letter]]

    def proxy(self, letter: str) -> ListenerProxy:
        return self.all.proxies[self.ids[letter]]

    # --- what is done

    def _replicas(self, letters: str) -> list:
        return [self.ids[x] for x in letters]

    def topic(self, symbol: str, *partitions: str, **configs) -> str:
        """Creates it; back when all brokers know it."""
        name = self.names[symbol] = unique(symbol)
        answer = self.all.cluster.ask_controller("CreateTopics", 5, {"timeout_ms": 15000, "topics": [{
            "name": name, "num_partitions": -1, "replication_factor": -1,
            "assignments": [{"partition_index": n, "broker_ids": self._replicas(p)} for n, p in enumerate(partitions)],
            "configs": [{"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()]}]})
        assert answer["topics"][0]["error_code"] == 0, answer
        self.settled(symbol)
        return name

    def settled(self, *symbols: str) -> None:
        """Waits until all replicas of these topics (otherwise of all) are in sync."""
        for symbol in symbols or set(self.names) - self.deleted:
            wait_for(lambda: self.cluster.in_sync(self.names[symbol]) and self.cluster.known_everywhere(self.names[symbol]),
                     40, f"{symbol} to be in sync")

    def add_partitions(self, symbol: str, *partitions: str) -> None:
        topic = self.names[symbol]
        count = len(self.cluster.assignment(topic)) + len(partitions)
        answer = self.all.cluster.ask_controller("CreatePartitions", 1, {"timeout_ms": 15000, "topics": [{
            "name": topic, "count": count, "assignments": [{"broker_ids": self._replicas(p)} for p in partitions]}]})
        assert answer["results"][0]["error_code"] == 0, answer
        wait_for(lambda: len(self.cluster.assignment(topic)) == count, 20, "the new partitions")
        self.settled(symbol)

    def delete(self, symbol: str) -> None:
        answer = self.all.cluster.ask_controller("DeleteTopics", 5, {"timeout_ms": 15000, "topic_names": [self.names[symbol]]})
        assert answer["responses"][0]["error_code"] == 0, answer
        self.deleted.add(symbol)

    def elect(self, election_type: int, symbol: str, *partitions: int) -> None:
        answer = self.all.cluster.ask_controller("ElectLeaders", 2, {"timeout_ms": 15000, "election_type": election_type,
            "topic_partitions": [{"topic": self.names[symbol], "partitions": list(partitions)}]})
        results = [p["error_code"] for t in answer["replica_election_results"] for p in t["partition_result"]]
        assert results == [0] * len(partitions), answer

    def allow_unclean(self, symbol: str) -> None:
        """By the topic's option."""
        answer = self.all.cluster.ask_controller("IncrementalAlterConfigs", 0, {"validate_only": False, "resources": [{
            "resource_type": TOPIC_RESOURCE, "resource_name": self.names[symbol], "configs": [
                {"name": "unclean.leader.election.enable", "config_operation": 0, "value": "true"}]}]})
        assert answer["responses"][0]["error_code"] == 0, answer

    def produce(self, letter: str, symbol: str, partition: int = 0, acks: int = 1, error: int = 0) -> None:
        """One record, at the leader."""
        answer = self.all.at(self.ids[letter], "Produce", 9, {"acks": acks, "timeout_ms": 5000, "topic_data": [
            {"name": self.names[symbol], "partition_data": [{"index": partition, "records": batch()}]}]})
        assert answer["responses"][0]["partition_responses"][0]["error_code"] == error, answer

    def isr(self, symbol: str, partition: int = 0) -> str:
        letters = {n: letter for letter, n in self.ids.items()}
        return "".join(letters[n] for n in self.cluster.state(self.names[symbol], partition).isr)

    def leader(self, symbol: str, partition: int = 0) -> str | None:
        leader = self.cluster.state(self.names[symbol], partition).leader
        return next((letter for letter, n in self.ids.items() if n == leader), None)

    def start(self, letter: str) -> None:
        self[letter].launch()
        self.cluster.answers(self.ids[letter])

    def gone(self, letter: str) -> None:
        """Waits until it is not registered."""
        wait_for(lambda: self.ids[letter] not in self.cluster.registered(), 30, f"{letter} to be gone")

    def out_of_sync(self, letter: str, leader: str) -> None:
        """It has been away, and can fetch nothing of this leader."""
        self[letter].stop()
        self.gone(letter)
        self.proxy(leader).refuse_fetches(self.ids[letter])
        self.start(letter)

    def without(self, letter: str) -> None:
        """Waits until it is gone, and every ISR in which others are is without it."""
        self.gone(letter)
        topic, number = self.names["t"], self.ids[letter]
        wait_for(lambda: all(number not in self.cluster.state(topic, p).isr for p in self.cluster.assignment(topic)), 30,
                 f"ISRs without {letter}")

    def directory_of(self, letter: str, symbol: str, partition: int):
        """The log directory that has this partition."""
        (found,) = [d for d in self.all.directories(self.ids[letter]) if (d / f"{self.names[symbol]}-{partition}").exists()]
        return found

    @contextlib.contextmanager
    def full(self, directory):
        """Nothing can be written there: the directory is a file system of its own."""
        filler = directory / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
            while f.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            filler.unlink()

    def until(self, condition, what: str) -> None:
        wait_for(condition, 40, what)

    # --- what is heard

    @contextlib.contextmanager
    def heard(self, name: str, apis: set = frozenset(CONTROL | ASKED)):
        self.all.quiet()
        start = len(self.all.record.messages)
        epochs, known, controller_epoch = self.all.epochs(), self._states(), self.all.controller_epoch()
        begun = time.monotonic()
        yield self
        self.all.quiet()
        seconds[name] = time.monotonic() - begun
        names = Names(self._letters(), self._partitions(known), self._topic_ids(known), self.all.addresses,
                      controller_epoch, self._lives(epochs))
        said = self.all.record.since(start)
        self._judge(name, messages.lines(said, names, apis), messages.out_of_order(said, names))

    def _judge(self, name: str, found: set, out_of_order: list) -> None:
        assert not self.all.record.broken, self.all.record.broken
        if out_of_order:
            self.failed.append("\n  ".join([f"{name}, in a wrong order:", *out_of_order]))
        if self.all.recording:
            messages.write_golden(name, found, self.all.recording == "again")
            return
        messages.write_heard(name, found)
        letters = self._letters()
        unseen = {letters[n] for n, kind in enumerate(self.all.kinds) if kind == "ottla"}
        compared = messages.compare(name, found, unseen, messages.read_golden(name))
        self.all.judged.add(name)
        self.all.allowed |= set(compared.allowed)
        if compared:
            self.failed.append(compared.report())

    def _letters(self) -> dict:
        """id -> letter. When the controller is another one, that is N, and the third is B."""
        letters = {n: letter for letter, n in self.ids.items()}
        now = self.cluster.controller()
        if now not in (None, self.controller):
            letters |= {n: "F" for n in letters if n not in (now, self.controller)} | {now: "N"}
        return letters

    def _states(self) -> dict:
        """topic -> (its id, partition -> (replicas, state))"""
        found = {}
        for topic in self.all.topics():
            with contextlib.suppress(kazoo.exceptions.NoNodeError):
                node = json.loads(self.cluster.look.get(f"/brokers/topics/{topic}")[0])
                states = {p: (replicas, self.cluster.state(topic, p)) for p, replicas in self.cluster.assignment(topic).items()}
                found[topic] = messages.topic_id(node["topic_id"]), states
        return found

    def _partitions(self, before: dict) -> dict:
        """What was there before, as it was; and what is there now."""
        symbols, letters = {name: symbol for symbol, name in self.names.items()}, self._letters()
        found = {}
        for states, is_new in ((self._states(), True), (before, False)):
            for topic, (_, partitions) in states.items():
                for p, (replicas, state) in partitions.items():
                    label = f"{symbols.get(topic, topic)}[{','.join(letters[n] for n in replicas)}]"
                    epochs = (0, 0) if is_new else (state.leader_epoch, state.partition_epoch)
                    found[topic, p] = Partition(label, *epochs, is_new)
        return found

    def _topic_ids(self, before: dict) -> dict:
        return {topic: topic_id for topic, (topic_id, _) in (self._states() | before).items()}

    def _lives(self, before: dict) -> dict:
        now = self.all.epochs()
        return {n: list(dict.fromkeys(e[n] for e in (before, now) if n in e)) for n in before | now}

    def check(self) -> None:
        """The end: nothing that was heard differs."""
        if self.failed:
            pytest.fail("\n".join(self.failed), pytrace=False)
