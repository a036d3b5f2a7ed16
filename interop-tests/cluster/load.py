"""The clients of a run, each a process with a history, and one history of what ZooKeeper said meanwhile.

    {"e": "state", "t", "p", "leader", "epoch", "isr", "controller_epoch"}      {"e": "controller", "t", "id"}
    {"e": "controller_epoch", "t", "epoch"}                                     {"e": "registered", "t", "ids"}
    {"e": "placing", "t", "p", "replicas", "adding", "removing"}
"""

import json
import pathlib
import signal
import sys
import threading
import time

from harness import paths
from harness.cluster import Cluster, partition_state
from harness.process import Process
from harness.wait import wait_for

_CLIENT = paths.INTEROP / "cluster" / "client.py"


class Histories:
    """Counts of events, from files that grow."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._read = {}  # path -> (position, {event: count})

    def count(self, event: str, of: str = "") -> int:
        """How many there are by now in the histories whose names begin so."""
        total = 0
        for path in self._directory.glob(f"{of}*.jsonl"):
            at, counts = self._read.get(path, (0, {}))
            with open(path, "rb") as f:
                f.seek(at)
                data = f.read()
            data = data[:data.rfind(b"\n") + 1]
            for line in data.splitlines():
                name = line[7:line.index(b'"', 7)].decode()  # {"e": "name"
                counts[name] = counts.get(name, 0) + 1
            self._read[path] = (at + len(data), counts)
            total += counts.get(event, 0)
        return total


class Watcher:
    """Writes down every state of the topic's partitions and where its replicas are to be, every controller and every
    registration, by watches."""

    def __init__(self, cluster: Cluster, topic: str, directory: pathlib.Path):
        self._history = open(directory / "zookeeper.jsonl", "w", buffering=1)
        self._lock = threading.Lock()
        self._placings = {}
        look = cluster.look
        look.DataWatch(f"/brokers/topics/{topic}", self._placed)
        for p in cluster.assignment(topic):
            look.DataWatch(f"/brokers/topics/{topic}/partitions/{p}/state", self._state_of(p))
        look.DataWatch("/controller", lambda data, _: self._write("controller", id=json.loads(data)["brokerid"]) if data
                       else self._write("controller", id=None))
        look.DataWatch("/controller_epoch", lambda data, _: self._write("controller_epoch", epoch=int(data or 0)))
        look.ChildrenWatch("/brokers/ids", lambda ids: self._write("registered", ids=sorted(map(int, ids))))

    def _state_of(self, p: int):
        def changed(data, stat):
            if data:
                s = partition_state(data, stat.version)
                self._write("state", p=p, leader=s.leader, epoch=s.leader_epoch, isr=s.isr,
                            controller_epoch=s.controller_epoch)
        return changed

    def _placed(self, data, _) -> None:
        node = json.loads(data) if data else {"partitions": {}}
        for p, replicas in node["partitions"].items():
            placing = {"replicas": replicas, "adding": node["adding_replicas"].get(p, []),
                       "removing": node["removing_replicas"].get(p, [])}
            if self._placings.get(p) != placing:
                self._placings[p] = placing
                self._write("placing", p=int(p), **placing)

    def _write(self, event: str, **what) -> None:
        with self._lock:
            self._history.write(json.dumps({"e": event, "t": time.monotonic(), **what}) + "\n")


class Load:
    """Producers with acks=all, one with acks=1, readers, and the members of a group."""

    def __init__(self, cluster: Cluster, directory: pathlib.Path, topic: str, producers: int = 2, lossy: int = 1,
                 readers: int = 1, members: int = 2, per_second: int = 100):
        self.directory, self.topic, self._cluster = directory, topic, cluster
        self._partitions = len(cluster.assignment(topic))
        self.histories = Histories(directory)
        self._write_topic(cluster)
        Watcher(cluster, topic, directory)
        start = self._start
        self._producers = [start("producer", f"all{n}", f"per_second={per_second}", "acks=all",
                                 f"codec={('none', 'lz4')[n % 2]}") for n in range(producers)]
        self._producers += [start("producer", f"one{n}", f"per_second={per_second}", "acks=1") for n in range(lossy)]
        self._consumers = [start("reader", f"reader{n}") for n in range(readers)]
        self._consumers += [start("member", f"member{n}", "group=members") for n in range(members)]
        self._others = [start("watermarks", "watermarks")]

    def _write_topic(self, cluster) -> None:
        node = cluster.look.get(f"/config/topics/{self.topic}")[0]
        config = json.loads(node)["config"]
        self.note("topic", name=self.topic, partitions=self._partitions, kinds=[b.kind for b in cluster.brokers],
                  min_insync_replicas=int(config.get("min.insync.replicas",
                                                     cluster.brokers[0].properties["min.insync.replicas"])))

    def note(self, event: str, **what) -> None:
        """What the checker has to know of the run: {"e": "topic" | "hurt" | "healed" | "quiet", …}"""
        with open(self.directory / "run.jsonl", "a") as f:
            f.write(json.dumps({"e": event, "t": time.monotonic(), **what}) + "\n")

    def _start(self, role: str, name: str, *options) -> Process:
        argv = [sys.executable, _CLIENT, role, self.directory / f"{name}.jsonl", name, self._cluster.bootstrap, self.topic,
                self._partitions, *options]
        return Process(name, argv, self.directory / f"{name}.log")

    def acked(self) -> int:
        """Records acknowledged to acks=all so far."""
        return self.histories.count("ack", "all")

    def goes_on(self, records: int = 200, timeout_s: float = 60) -> None:
        """Returns when this many more were acknowledged (acks=all), and read."""
        enough = self.acked() + records
        read = self.histories.count("poll", "reader") + records
        wait_for(lambda: self._alive() and self.acked() >= enough and self.histories.count("poll", "reader") >= read,
                 timeout_s, f"{records} more records, acknowledged and read", interval_s=0.1)

    def group_goes_on(self, commits: int = 2, timeout_s: float = 60) -> None:
        """Returns when the group has committed so often."""
        enough = self.histories.count("commit", "member") + commits
        wait_for(lambda: self._alive() and self.histories.count("commit", "member") >= enough, timeout_s,
                 f"{commits} more commits", interval_s=0.1)

    def _alive(self) -> bool:
        for p in (*self._producers, *self._consumers, *self._others):
            if not p.running():
                raise RuntimeError(f"the client {p.name} ended by itself\n{p.tail()}")
        return True

    def stop(self, timeout_s: float = 90) -> None:
        """Producers first; consumers then read what is there. A reader that begins anew reads all of it once more."""
        self._end(self._producers, timeout_s)
        self.note("quiet")
        self._end(self._consumers + self._others, timeout_s)
        self.read_anew(timeout_s)

    def read_anew(self, timeout_s: float = 90) -> None:
        """From the beginning to the end; what another reading found is forgotten."""
        final = self._start("reader", "final", "to_end=1")
        assert final.wait(timeout_s) == 0, final.tail()

    def _end(self, processes: list, timeout_s: float) -> None:
        for p in processes:
            p.signal(signal.SIGTERM)
        for p in processes:
            status = p.wait(timeout_s)
            assert status == 0, f"the client {p.name} ended with {status}\n{p.tail()}"

    def kill(self) -> None:
        for p in (*self._producers, *self._consumers, *self._others):
            p.kill()
