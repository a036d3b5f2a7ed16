"""Brokers under test, behind one interface: Ottla, and Apache Kafka 3.9.1 as the oracle.

BROKER_UNDER_TEST=ottla|kafka chooses (default ottla), and OTTLA_COORDINATION=embedded|zookeeper (default embedded)
where Ottla keeps its state; Kafka is always on ZooKeeper. A broker keeps its port, its directory and its chroot over
restarts; all are given up by destroy().
"""

import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from wire import schema

from . import clients, jvm, paths, zookeeper
from .jvm import KAFKA_VERSION
from .process import Process, free_port
from .wait import wait_for
from .zookeeper import ZooKeeper

# Where a single node differs from the shipped server.properties: one replica for the internal topics is there already;
# groups need not wait for more members.
DEFAULTS = {
    "broker.id": "0",
    "num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "group.initial.rebalance.delay.ms": "0",
}


def _metadata_ready(host: str, port: int) -> bool:
    """True when the broker answers Metadata v1 with at least one broker and a controller."""
    request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", 0)
    with socket.create_connection((host, port), timeout=5) as s:
        s.sendall(struct.pack(">i", len(request)) + request)
        f = s.makefile("rb")
        head = f.read(4)
        if len(head) < 4:
            return False
        body = f.read(struct.unpack(">i", head)[0])
    at = 4
    (count,) = struct.unpack_from(">i", body, at)
    at += 4
    for _ in range(count):
        at += 4
        at += 2 + struct.unpack_from(">h", body, at)[0] + 4
        at += 2 + max(0, struct.unpack_from(">h", body, at)[0])
    return count > 0 and struct.unpack_from(">i", body, at)[0] >= 0


@dataclass(frozen=True)
class Place:
    """Where a broker runs when it is not alone: its address, the chroot it shares, and how its process gets there."""

    host: str
    port: int
    chroot: str
    enter: Callable[[], None] | None = None


class Broker:
    """What a test may do to a broker."""

    kind = ""
    start_timeout_s = 30.0
    repairs = clean = re.compile("")  # what it says of logs that were not left in order, and of those that were

    def __init__(self, overrides: dict | None = None, on: ZooKeeper | None = None, place: Place | None = None):
        """On the ZooKeeper given, with a new chroot; otherwise where its kind keeps its state by default. With a place,
        as a member of a cluster, whose chroot is not given up with the broker."""
        self.place = place
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"ottla-interop-{self.kind}-"))
        self.data_dir = self.directory / "data"
        self.host, self.port = (place.host, place.port) if place else ("127.0.0.1", free_port())
        self.bootstrap = f"{self.host}:{self.port}"
        self.zookeeper = on or self._default_zookeeper()
        self.properties = {
            **DEFAULTS,
            "listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(self.data_dir),
        }
        if self.zookeeper:
            self.chroot = place.chroot if place else self.zookeeper.new_chroot()
            self.properties["zookeeper.connect"] = f"{self.zookeeper.host}:{self.zookeeper.port}{self.chroot}"
        self.properties |= {**self._properties(), **(overrides or {})}
        self.environment = {}
        self.process: Process | None = None
        self._log_from = 0

    @classmethod
    def in_place_of(cls, other: "Broker") -> "Broker":
        """A broker with the directories, the port, the chroot and the very server.properties of another that is
        stopped. The directory stays the other's: only one of the two is to be destroyed."""
        assert other.process is None
        b = cls.__new__(cls)
        b.__dict__.update(other.__dict__)
        return b

    # what differs between the kinds
    def _default_zookeeper(self) -> ZooKeeper | None:
        return None

    def _properties(self) -> dict:
        return {}

    def _argv(self, config: pathlib.Path) -> list:
        raise NotImplementedError

    def _before_start(self) -> None:
        pass

    def ended_cleanly(self, status: int) -> bool:
        return status == 0

    def gave_up(self) -> bool:
        """It has ended before it had started, for no fault of its own: whoever runs it starts it again."""
        return False

    # the interface
    def start(self) -> "Broker":
        self.launch()
        try:
            wait_for(self._answers, self.start_timeout_s, f"{self.kind} to answer on {self.bootstrap}")
        except AssertionError as e:
            tail = self.process.tail()
            self.kill()
            raise AssertionError(f"{e}\n{tail}") from None
        return self

    def launch(self) -> None:
        """A start that nobody waits for."""
        assert self.process is None
        config = self.directory / "server.properties"
        config.write_text("".join(f"{k}={v}\n" for k, v in self.properties.items()))
        self._before_start()
        log = self.directory / "broker.log"
        self._log_from = log.stat().st_size if log.exists() else 0
        self.launched_at = time.monotonic()
        self.process = Process(self.kind, self._argv(config), log, env=self.environment, cwd=self.directory,
                               enter=self.place and self.place.enter)

    def start_refused(self, timeout_s: float) -> tuple[int, str]:
        """A start that has to fail: the exit status, and what it said."""
        self.launch()
        process, self.process = self.process, None
        try:
            return process.wait(timeout_s), self.said()
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{self.kind} did not refuse to start in {timeout_s:g} s\n{process.tail()}") from None

    def said(self) -> str:
        """The log since the last start."""
        with open(self.directory / "broker.log", "rb") as f:
            f.seek(self._log_from)
            return f.read().decode(errors="replace")

    def assert_no_repair(self, nor: str = "(?!)") -> None:
        """The last start found logs that were left in order, by whichever kind, and has said nothing like `nor` either."""
        bad = [line for line in self.said().splitlines()
               if (self.repairs.search(line) or re.search(nor, line)) and not line.endswith("(config)")]
        assert not bad, f"{self.kind} repaired something after a clean stop:\n" + "\n".join(bad[:10])
        assert self.clean.search(self.said()), f"{self.kind} did not take the stop for a clean one"

    def _answers(self) -> bool:
        if self.gave_up():
            self.kill()
            self.launch()
        if not self.process.running():
            tail = self.process.tail()
            raise RuntimeError(f"{self.kind} ended with status {self.process.wait(1)} at start\n{tail}")
        return _metadata_ready(self.host, self.port)

    def stop(self) -> None:
        """A clean stop; an unclean exit status is a failure."""
        process, self.process = self.process, None
        if process is None:
            return
        if not process.running():
            raise AssertionError(f"{self.kind} had ended by itself\n{process.tail()}")
        status = process.terminate()
        assert self.ended_cleanly(status), f"exit status {status} after SIGTERM\n{process.tail()}"

    def kill(self) -> None:
        """kill -9"""
        process, self.process = self.process, None
        if process is not None:
            process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def crash(self) -> None:
        """kill -9 and start again."""
        assert self.process.running(), f"{self.kind} had ended by itself\n{self.process.tail()}"
        self.kill()
        self.start()

    def destroy(self) -> None:
        self.kill()
        if self.zookeeper and self.zookeeper.process and not self.place:
            self.zookeeper.remove(self.chroot)
        shutil.rmtree(self.directory, ignore_errors=True)

    def alive(self) -> bool:
        return self.process is not None and self.process.running()

    # who is to be asked, and what a cluster has as well
    def leads(self, topic: str, partition: int) -> "Broker":
        return self

    def coordinates(self, key: str, key_type: int) -> "Broker":
        return self

    def create_topic(self, name: str, partitions: int = 1, **configs) -> str:
        return clients.create_topic(self, name, partitions, **configs)

    def log_tail(self, lines: int = 40) -> str:
        log = self.directory / "broker.log"
        if not log.exists():
            return ""
        return "\n".join([f"--- end of {log} ---", *log.read_text(errors="replace").splitlines()[-lines:], "---"])


class Ottla(Broker):
    kind = "ottla"
    start_timeout_s = 10.0
    repairs = re.compile(r"recover(?!y to running)|repair|corrupt|rebuil|unclean|(WARN|ERROR) .*\(storage\)", re.IGNORECASE)

    def _default_zookeeper(self):
        return ZooKeeper.shared() if coordination() == "zookeeper" else None

    def _properties(self):
        return {"zookeeper.session.timeout.ms": "6000"} if self.zookeeper else {}

    def _before_start(self):
        # It does not make its chroot: a typing error in zookeeper.connect would be a new, empty cluster. The session
        # of a broker that was killed need not have expired: the next one takes it over.
        if self.zookeeper:
            self.zookeeper.create(self.chroot)

    def _argv(self, config):
        return [paths.ottla_binary(), config]


class Kafka(Broker):
    kind = "kafka"
    start_timeout_s = 60.0
    repairs = re.compile(r"Recovering unflushed|[Cc]orrupt|orphaned|(WARN|ERROR) .*\((kafka\.log|org\.apache\.kafka\.storage)")
    clean = re.compile(r"Skipping recovery of \d+ logs .* since clean shutdown file was found")

    def _default_zookeeper(self):
        return ZooKeeper.shared()

    def _properties(self):
        return {"zookeeper.session.timeout.ms": "2000", "log.cleaner.dedupe.buffer.size": "2097152"}

    def _argv(self, config):
        heap = ["-Xmx200m"] if self.place else []  # one of several
        return jvm.java(*heap, f"-Dlog4j.configuration=file:{paths.INTEROP}/harness/log4j.properties", "-cp",
                        jvm.classpath(KAFKA_VERSION), "kafka.Kafka", config)

    def _before_start(self):
        # A killed broker's ephemeral znode must have expired, or Kafka refuses to start.
        mine = f"{self.chroot}/brokers/ids/{self.properties['broker.id']}\n"
        wait_for(lambda: mine not in self.zookeeper.command("dump") + "\n", 30, "the old session to expire")

    def seed_zookeeper(self, cluster_id: str, topics: dict) -> None:
        """Makes this broker's chroot know a cluster id and topics: name -> (id, partitions on broker.id)."""
        from .toolhost import tools
        node = self.properties["broker.id"]
        nodes = {"": "", "/cluster": "", "/brokers": "", "/brokers/topics": "", "/config": "", "/config/topics": "",
                 "/cluster/id": json.dumps({"version": "1", "id": cluster_id}, separators=(",", ":"))}
        for name, (topic_id, partitions) in topics.items():
            nodes[f"/config/topics/{name}"] = '{"version":1,"config":{}}'
            nodes[f"/brokers/topics/{name}"] = json.dumps(
                {"version": 3, "topic_id": topic_id, "adding_replicas": {}, "removing_replicas": {},
                 "partitions": {str(i): [int(node)] for i in range(partitions)}}, separators=(",", ":"))
        for path, data in nodes.items():
            tools(KAFKA_VERSION).run("zookeeper-shell", "-server", f"{self.zookeeper.host}:{self.zookeeper.port}",
                                     "create", self.chroot + path, data)

    def _answers(self):
        return super()._answers() and (self.place or self._topics_on_disk() <= self._topics_led())

    def _topics_on_disk(self) -> set:
        names = (re.fullmatch(r"(.+)-\d+", p.name) for p in self.data_dir.glob("*-*"))
        return {m[1] for m in names if m}

    def _topics_led(self) -> set:
        """Topics of which every leader is known. Kafka opens its port before it knows what it has."""
        request = struct.pack(">hhih", 3, 1, 1, -1) + struct.pack(">i", -1)
        with socket.create_connection((self.host, self.port), timeout=5) as s:
            s.sendall(struct.pack(">i", len(request)) + request)
            f = s.makefile("rb")
            frame = f.read(struct.unpack(">i", f.read(4))[0])
        _, answer = schema.decode_response(schema.load()[3], 1, frame)
        return {t["name"] for t in answer["topics"] if all(p["leader_id"] >= 0 for p in t["partitions"])}

    def ended_cleanly(self, status):
        return status == 143 or status == 1 and "started (kafka.server.KafkaServer)" not in self.said()

    def gave_up(self):
        # Its session expired while it started, as sessions do on a busy machine.
        return not self.alive() and "KeeperErrorCode = Session expired" in self.said()

    def stop(self):
        try:
            super().stop()
        except AssertionError as e:
            # When its session has expired meanwhile, it may wait for ZooKeeper for ever, its logs being closed.
            if "did not stop" not in str(e) or "Shutdown complete. (kafka.log.LogManager)" not in self.said():
                raise


def kind_under_test() -> str:
    return _chosen("BROKER_UNDER_TEST", "ottla", "kafka")


def coordination() -> str:
    """Where the broker under test keeps its state."""
    return "zookeeper" if kind_under_test() == "kafka" else _chosen("OTTLA_COORDINATION", "embedded", "zookeeper")


def _chosen(variable: str, *possible) -> str:
    chosen = os.environ.get(variable, possible[0])
    if chosen not in possible:
        raise SystemExit(f"{variable}={chosen}: {' or '.join(possible)} is possible")
    return chosen


def missing() -> str | None:
    """Why the broker under test cannot be run, or None."""
    if kind_under_test() == "ottla" and not os.access(paths.ottla_binary(), os.X_OK):
        return f"{paths.ottla_binary()} is not there"
    return zookeeper.missing() if coordination() == "zookeeper" else None


KINDS = {"ottla": Ottla, "kafka": Kafka}


def new_broker(overrides: dict | None = None, on: ZooKeeper | None = None) -> Broker:
    return KINDS[kind_under_test()](overrides, on)
