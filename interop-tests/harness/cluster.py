"""Several brokers of either kind on one ZooKeeper, and what can go wrong among them.

Where namespaces can be had each broker has one, and the network between them is network.py's; where not, all are on
loopback, and only what is done to processes, and to the way to ZooKeeper (by a proxy for each broker), is possible:
Cluster.can_cut says which. A broker's data is a file system of its own in memory, with the namespaces, so that it can
be full.

A broker is named by its id, 0 … N-1, which is its place in `brokers`.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
from dataclasses import dataclass

import kazoo.client
import kazoo.exceptions


from . import coordinators, network
from .broker import DEFAULTS, KINDS, Broker, Place
from .clients import ask_once
from .power_loss import Durable, Lost
from .process import free_port
from .tcp_proxy import TcpProxy
from .wait import wait_for
from .zookeeper import ZooKeeper

CHROOT = "/cluster"
SESSION_S = 3.0
DISK_BYTES = 512 << 20
REPLICAS = 3  # of what nobody says otherwise, where there are so many brokers

# Short times, so that what is noticed by waiting is noticed within some seconds.
PROPERTIES = {
    "zookeeper.session.timeout.ms": int(SESSION_S * 1000),
    "zookeeper.connection.timeout.ms": 20000,
    "replica.lag.time.max.ms": 4000,
    "replica.socket.timeout.ms": 4000,
    "controller.socket.timeout.ms": 4000,
    "request.timeout.ms": 6000,
    "auto.leader.rebalance.enable": "false",
    "controlled.shutdown.retry.backoff.ms": 1000,
    "unclean.leader.election.enable": "false",
    "log.cleaner.dedupe.buffer.size": 2097152,
}


@dataclass(frozen=True)
class PartitionState:
    """What the state znode of a partition says."""

    leader: int
    leader_epoch: int
    isr: tuple
    controller_epoch: int
    partition_epoch: int


class Cluster:
    """kinds: "ottla" or "kafka" for each broker. Not started. With power_fails each Ottla's may."""

    def __init__(self, kinds: list, overrides: dict | None = None, seed: int = 0, power_fails: bool = False):
        self._durable, self._power_fails, self._chance = {}, power_fails, random.Random(seed)  # by id
        self.lost = Lost(times=0)
        self.can_cut = network.missing() is None
        self.network = network.Network(len(kinds), seed) if self.can_cut else None
        self.zookeeper = ZooKeeper(network.OURS["zookeeper"] if self.can_cut else "127.0.0.1")
        self.zookeeper.create(CHROOT)
        self._proxies = [] if self.can_cut else [TcpProxy(self.zookeeper.port) for _ in kinds]
        replicas = min(REPLICAS, len(kinds))
        properties = PROPERTIES | {
            "default.replication.factor": replicas,
            "min.insync.replicas": min(2, replicas),
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": min(2, replicas),
        } | (overrides or {})
        self.properties = DEFAULTS | properties  # of all of them
        self.brokers = [self._member(n, kind, properties) for n, kind in enumerate(kinds)]
        self.bootstrap = ",".join(b.bootstrap for b in self.brokers)
        self.look = kazoo.client.KazooClient(f"{self.zookeeper.host}:{self.zookeeper.port}{CHROOT}", timeout=40)
        self.look.start(10)

    def _member(self, n: int, kind: str, properties: dict) -> Broker:
        mine = {"broker.id": n} | properties
        if self.can_cut:
            place = Place(self.network.addresses[str(n)], 9092, CHROOT, self.network.enter_node(str(n)))
        else:
            place = Place("127.0.0.1", free_port(), CHROOT)
            mine["zookeeper.connect"] = f"127.0.0.1:{self._proxies[n].port}{CHROOT}"
        b = KINDS[kind](mine, self.zookeeper, place)
        if self.can_cut:
            b.data_dir.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "ottla", b.data_dir], check=True)
        if self._power_fails and kind == "ottla":
            self._durable[n] = Durable(b.data_dir, b.directory / "durable")
            b.environment |= self._durable[n].environment()
        return b

    def start(self) -> "Cluster":
        for b in self.brokers:
            b.launch()
        self.answers(*range(len(self.brokers)))
        return self

    def answers(self, *ids: int) -> None:
        """Waits until these brokers, which were launched, are registered and answer."""
        for n in ids:
            b = self.brokers[n]
            try:
                wait_for(lambda: b._answers() and n in self.registered(), b.start_timeout_s, f"broker {n} to answer")
            except AssertionError as e:
                raise AssertionError(f"{e}\n{b.log_tail()}") from None

    def heal(self) -> None:
        """Whatever was done to them: nothing is wrong any more, and all answer."""
        if self.network:
            self.network.heal()
        for n, b in enumerate(self.brokers):
            if not self.network:
                self.join_zookeeper(n)
            self.empty_disk(n)
            if b.alive():
                self.resume(n)
            else:
                b.kill()
                b.launch()
        self.answers(*range(len(self.brokers)))

    def settle(self) -> None:
        """Waits until every replica of every topic is in sync, and all brokers know it."""
        wait_for(lambda: len(self.registered()) == len(self.brokers) and all(
            self.in_sync(topic) and self.known_everywhere(topic) for topic in self.look.get_children("/brokers/topics")),
            60, "all replicas to be in sync", interval_s=0.1)

    def stop(self) -> None:
        """One after the other, cleanly."""
        for b in self.brokers:
            b.stop()

    def become(self, n: int, kind: str) -> None:
        """Broker n, which is stopped, is of this kind from now on: with the id, directories and properties that it has."""
        self.brokers[n] = KINDS[kind].in_place_of(self.brokers[n])

    def keep_logs(self, topic: str, directory) -> None:
        """Copies what all of them, stopped, have on disk of a topic, for cluster/checker.py: <directory>/<id>/."""
        for n, b in enumerate(self.brokers):
            kept = directory / str(n)
            kept.mkdir(parents=True)
            for path in b.data_dir.glob(f"{topic}-*"):
                shutil.copytree(path, kept / path.name)
            for path in b.data_dir.glob("*checkpoint"):
                shutil.copy(path, kept)

    def destroy(self) -> None:
        with contextlib.suppress(kazoo.exceptions.KazooException):
            self.look.stop()
            self.look.close()
        for b in self.brokers:
            b.kill()
            if self.can_cut:
                subprocess.run(["umount", "-l", b.data_dir], check=True)
            b.destroy()
        self.zookeeper.destroy()
        for proxy in self._proxies:
            proxy.close()
        if self.network:
            self.network.close()

    # --- what ZooKeeper knows

    def registered(self) -> set:
        with contextlib.suppress(kazoo.exceptions.NoNodeError):
            return {int(name) for name in self.look.get_children("/brokers/ids")}
        return set()

    def controller(self) -> int | None:
        with contextlib.suppress(kazoo.exceptions.NoNodeError):
            return json.loads(self.look.get("/controller")[0])["brokerid"]
        return None

    def state(self, topic: str, partition: int = 0) -> PartitionState:
        data, stat = self.look.get(f"/brokers/topics/{topic}/partitions/{partition}/state")
        return partition_state(data, stat.version)

    def assignment(self, topic: str) -> dict:
        """partition -> its replicas, the preferred leader first."""
        topic = json.loads(self.look.get(f"/brokers/topics/{topic}")[0])
        return {int(p): replicas for p, replicas in topic["partitions"].items()}

    def in_sync(self, topic: str) -> bool:
        """Every partition has a leader, and all its replicas in its ISR."""
        with contextlib.suppress(kazoo.exceptions.NoNodeError):
            states = {p: self.state(topic, p) for p in self.assignment(topic)}
            return bool(states) and all(s.leader >= 0 and set(s.isr) == set(self.assignment(topic)[p])
                                        for p, s in states.items())
        return False

    def is_moving(self, topic: str) -> bool:
        """A partition of it has replicas that come or go; or a plan, of whatever, is in the znode of older tools."""
        node = json.loads(self.look.get(f"/brokers/topics/{topic}")[0])
        return bool(node["adding_replicas"] or node["removing_replicas"] or self.look.exists("/admin/reassign_partitions"))

    def assigned(self, topic: str) -> set:
        """(broker, partition) of each replica that is to be."""
        return {(n, p) for p, replicas in self.assignment(topic).items() for n in replicas}

    def replica_dirs(self, topic: str) -> set:
        """(broker, partition) of each that is on a disk; not of what is deleted."""
        return {(n, int(path.name.rpartition("-")[2])) for n, b in enumerate(self.brokers)
                for path in b.data_dir.glob(f"{topic}-*") if path.name[len(topic) + 1:].isdigit()}

    # --- what the brokers know

    def leads(self, topic: str, partition: int) -> Broker:
        leader = self.state(topic, partition).leader
        assert leader >= 0, f"nobody leads {topic}-{partition}"
        return self.brokers[leader]

    def coordinates(self, key: str, key_type: int) -> Broker:
        """Of a group (0) or a transactional id (1)."""
        partitions = int(self.properties[coordinators.PARTITIONS[key_type]])
        return self.leads(coordinators.TOPICS[key_type], coordinators.partition_of(key, partitions))

    def ask_controller(self, api: str, version: int, values: dict, timeout_s: float = 30) -> dict:
        return ask_once(self.brokers[self.controller()], api, version, values, timeout_s)

    def metadata(self, n: int, *topics: str) -> dict:
        """Metadata as broker n answers it."""
        return ask_once(self.brokers[n], "Metadata", 4, {"topics": [{"name": t} for t in topics],
                                                         "allow_auto_topic_creation": False})

    def known_everywhere(self, topic: str) -> bool:
        """All brokers that are registered name the same leader and replicas, ZooKeeper's, for every partition of it."""
        expected = {p: (self.state(topic, p).leader, replicas) for p, replicas in self.assignment(topic).items()}
        for n in self.registered():
            (found,) = self.metadata(n, topic)["topics"]
            if {p["partition_index"]: (p["leader_id"], p["replica_nodes"]) for p in found["partitions"]} != expected:
                return False
        return True

    def create_topic(self, name: str, partitions: int = 1, replicas: int | None = None, **configs) -> str:
        """By the wire, at whoever is the controller; back when all brokers know it and all replicas are in sync."""
        wait_for(lambda: self.controller() is not None, 30, "a controller")
        answer = self.ask_controller("CreateTopics", 5, {"timeout_ms": 15000, "topics": [{
            "name": name, "num_partitions": partitions, "replication_factor": replicas or min(REPLICAS, len(self.brokers)),
            "configs": [{"name": k.replace("_", "."), "value": str(v)} for k, v in configs.items()]}]})
        assert answer["topics"][0]["error_code"] == 0, answer
        wait_for(lambda: self.in_sync(name) and self.known_everywhere(name), 30, f"{name} to be known everywhere")
        return name

    def reassign(self, topic: str, partition: int, replicas: list) -> None:
        """Back when it has these replicas, the preferred leader first. If its leader is one of them it stays that."""
        self.ask_controller("AlterPartitionReassignments", 0, {"timeout_ms": 15000, "topics": [
            {"name": topic, "partitions": [{"partition_index": partition, "replicas": replicas}]}]})
        wait_for(lambda: self.assignment(topic)[partition] == replicas and not self.is_moving(topic), 30,
                 f"{topic}-{partition} to have replicas {replicas}")

    def elect_preferred(self, topic: str, partition: int) -> None:
        preferred = self.assignment(topic)[partition][0]
        self.ask_controller("ElectLeaders", 2, {"election_type": 0, "timeout_ms": 15000, "topic_partitions": [
            {"topic": topic, "partitions": [partition]}]})
        wait_for(lambda: self.state(topic, partition).leader == preferred and self.known_everywhere(topic), 30,
                 f"{preferred} to lead {topic}-{partition}")

    def lead(self, topic: str, partition: int, n: int) -> None:
        """Broker n, which is one of its replicas, comes to lead it."""
        self.reassign(topic, partition, [n, *(r for r in self.assignment(topic)[partition] if r != n)])
        self.elect_preferred(topic, partition)

    # --- faults that are not the network's

    def pause(self, n: int) -> None:
        """It keeps its connections, and does nothing."""
        self.brokers[n].process.signal(signal.SIGSTOP)

    def resume(self, n: int) -> None:
        self.brokers[n].process.signal(signal.SIGCONT)

    def power_may_fail(self) -> list:
        return sorted(self._durable)

    def lose_power(self, n: int, all_of_it: bool = False) -> None:
        """It is killed; what it had not synced is lost, or most of it."""
        self.brokers[n].kill()
        self.lost += self._durable[n].lose(None if all_of_it else self._chance)

    def cut_zookeeper(self, n: int) -> None:
        """The way of one broker to ZooKeeper, and nothing else."""
        if self.network:
            self.network.cut("zookeeper", str(n))
        else:
            self._proxies[n].refuse()

    def join_zookeeper(self, n: int) -> None:
        if self.network:
            self.network.join("zookeeper", str(n))
        else:
            self._proxies[n].allow()

    def fill_disk(self, n: int, left_bytes: int = 0) -> None:
        """So much more, and nothing by default, can be written to its data."""
        fill(self.brokers[n].data_dir, left_bytes)

    def disk_left_bytes(self, n: int) -> int:
        s = os.statvfs(self.brokers[n].data_dir)
        return s.f_bavail * s.f_bsize

    def empty_disk(self, n: int) -> None:
        (self.brokers[n].data_dir / "filler").unlink(missing_ok=True)

    def disk_is_full(self, n: int) -> bool:
        return (self.brokers[n].data_dir / "filler").exists()


def fill(directory, left_bytes: int = 0) -> None:
    """Its file system has so much space left, and none by default, until `filler` is gone."""
    with contextlib.suppress(OSError), open(directory / "filler", "wb", buffering=0) as f:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while f.write(bytes(size)) == size:
                    pass
        f.truncate(max(0, f.tell() - left_bytes))


def partition_state(data: bytes, version: int) -> PartitionState:
    s = json.loads(data)
    return PartitionState(s["leader"], s["leader_epoch"], tuple(s["isr"]), s["controller_epoch"], version)
