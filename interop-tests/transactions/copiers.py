"""Processes that copy a topic in transactions, one program for each client, and what a test needs around them."""

import collections
import pathlib
import shutil
import sys
import tempfile
import threading
import time

import confluent_kafka as ck

from harness import clients, coordinators
from harness.process import Process
from harness.wait import wait_for

from . import programs, seen

PATIENT = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 20}
PHASES = ("begin", "sent", "offsets", "ending")  # what a copier says inside of a transaction
ENDS = ("committed", "aborted")
FATAL = 3


def _librdkafka() -> list:
    return [sys.executable, pathlib.Path(__file__).with_name("copier.py")]


KINDS = {
    "librdkafka": _librdkafka,
    "java": lambda: programs.java("Copier", "3.9.1"),
    "franz-go": lambda: [clients.go_client(), "franz", "3.9.0", "copy"],
}


class Copier:
    """A process that is started again under the same transactional id when it was killed, or was told that it cannot
    go on."""

    def __init__(self, kind: str, name: str, arguments: list, directory: pathlib.Path, seed: int):
        self.kind, self.name = kind, name
        self._arguments, self._seed = arguments, seed
        self._log = directory / f"{name}.log"
        self._read, self._starts = 0, 0
        self.events, self.stood = [], {}  # of all its lives; how far it said that it was in each partition
        self.process = None
        self.start()

    def start(self) -> None:
        self._starts += 1
        self._spoke = time.monotonic()
        self.process = Process(self.name, [*KINDS[self.kind](), *self._arguments, self.name,
                                           self._seed + self._starts], self._log)

    def look(self) -> list:
        """All it has said, and what has come of it; it is started again where it ended by itself, as it may."""
        if self._log.exists():
            with open(self._log, "rb") as f:
                f.seek(self._read)
                data = f.read()
            data = data[:data.rfind(b"\n") + 1]
            if data:
                self._spoke = time.monotonic()
            self._read += len(data)
            for line in data.decode().splitlines():
                word, _, rest = line.partition(" ")
                self.events.append((word, rest))
                if word == "committed":
                    for partition, end in (x.split(":") for x in rest.split()):
                        self.stood[int(partition)] = max(int(end), self.stood.get(int(partition), 0))
        return self.events

    def goes_on(self, since: float) -> None:
        """It runs, or runs again. librdkafka may wait for ever for a group coordinator that was once missing from
        the metadata, as a Kafka's own is for a moment after its start (its issue 5511)."""
        if self.kind == "librdkafka" and self.inside() == "sent" and time.monotonic() > max(since, self._spoke) + 3:
            self.kill()
            self.start()
            self.events.append(("stuck", ""))
        if not self.process.running():
            status = self.process.wait(1)
            assert status == FATAL, f"{self.name} ended with {status}\n{self.process.tail()}"
            self.start()

    def inside(self) -> str | None:
        """In which phase of a transaction it was when it last said something."""
        last = next((word for word, _ in reversed(self.look()) if word in PHASES + ENDS + ("ready",)), "")
        return last if last in PHASES else None

    def counted(self, word: str, rest: str | None = None) -> int:
        return sum(1 for w, r in self.events if w == word and rest in (None, r))

    def kill(self) -> None:
        self.process.kill()

    def stop(self) -> None:
        status = self.process.terminate()
        assert status == 0, f"{self.name} ended with {status}\n{self.process.tail()}"
        self.look()


class Feeder:
    """An idempotent producer of "P:N" for each partition, never far ahead of those who copy."""

    AHEAD = 300

    def __init__(self, bootstrap: str, topic: str, partitions: int, stood):
        self.sent, self.errors = [0] * partitions, []
        self._topic, self._stood = topic, stood
        self._producer = ck.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1,
                                      "message.timeout.ms": 0, **PATIENT})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        while not self._stop.is_set():
            full = True
            for partition, sent in enumerate(self.sent):
                if sent - self._stood(partition) < self.AHEAD:
                    full = False
                    self._producer.produce(self._topic, f"{partition}:{sent}", key=f"k{sent % 7}", partition=partition,
                                           on_delivery=lambda e, _: e and self.errors.append(str(e)))
                    self.sent[partition] += 1
            self._producer.poll(0.02 if full else 0)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._producer.flush(60):
            self.errors.append("records are left in the producer")
        assert not self.errors, self.errors[:3]


class Copying:
    """A topic, some copiers of the kinds given, and the copy; on a broker or a cluster."""

    PARTITIONS, OUT = 4, 3

    def __init__(self, broker, kinds: list, name: str, seed: int):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ottla-interop-copiers-"))
        self.up_since = time.monotonic()
        self.broker, self.source, self.to, self.group = broker, f"{name}-in", f"{name}-out", f"{name}-group"
        broker.create_topic(self.source, self.PARTITIONS, segment_bytes=300000)
        broker.create_topic(self.to, self.OUT, segment_bytes=300000)
        arguments = [broker.bootstrap, self.source, self.to, self.OUT, self.group]
        self.copiers = [Copier(kind, f"{name}-{kind}-{n}", arguments, self.directory, seed + 1000 * n)
                        for n, kind in enumerate(kinds)]
        self.feeder = Feeder(broker.bootstrap, self.source, self.PARTITIONS, self.stood)

    def start_broker(self) -> None:
        self.broker.start()
        self.up_since = time.monotonic()

    def stood(self, partition: int) -> int:
        return max(c.stood.get(partition, 0) for c in self.copiers)

    def counted(self, word: str, rest: str | None = None) -> int:
        return sum(c.counted(word, rest) for c in self.copiers)

    def look(self) -> None:
        for c in self.copiers:
            c.goes_on(self.up_since)
            c.look()

    def ended(self) -> int:
        self.look()
        return self.counted("committed") + self.counted("aborted")

    def finish(self) -> None:
        """No more is fed; all of it is copied; the copiers end."""
        self.feeder.stop()
        wait_for(lambda: self.look() or all(self.stood(p) == n for p, n in enumerate(self.feeder.sent)), 120,
                 f"all to be copied: {self.feeder.sent}")
        for c in self.copiers:
            c.stop()

    def destroy(self) -> None:
        self.feeder._stop.set()
        for c in self.copiers:
            c.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def tails(self) -> str:
        return "\n".join(c.process.tail(15) for c in self.copiers)


def nothing_open(copying: Copying) -> None:
    b = copying.broker
    for topic, partitions in ((copying.to, Copying.OUT), (copying.source, Copying.PARTITIONS),
                              (coordinators.TOPICS[0], int(b.properties[coordinators.PARTITIONS[0]]))):
        seen.nothing_open(b, topic, partitions)


def judge(copying: Copying, fed: list) -> None:
    """Who reads committed records sees each once, in order, and nothing of what was aborted; the group's offsets are at
    the ends; nothing is open."""
    b = copying.broker
    nothing_open(copying)
    values = seen.committed(b, copying.to, Copying.OUT)
    assert not [v for part in values for v in part if v.startswith("no ")], "aborted records are seen"
    for source, count in enumerate(fed):
        got = [int(v.partition(":")[2]) for v in values[source % Copying.OUT] if v.startswith(f"{source}:")]
        if got != list(range(count)):
            times = collections.Counter(got)
            lost, twice = [n for n in range(count) if n not in times], [n for n in times if times[n] > 1]
            raise AssertionError(f"of {count} of partition {source} are lost {lost[:5]} ({len(lost)}), twice {twice[:5]} "
                                 f"({len(twice)}), or not in order")
    assert sum(map(len, values)) == sum(fed)
    assert seen.offsets(b, copying.group, copying.source, Copying.PARTITIONS) == [(0, count) for count in fed]
