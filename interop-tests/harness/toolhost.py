"""Kafka's command-line tools, run in one warm JVM per Kafka version (see java/ToolHost.java for the protocol)."""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import threading
import zipfile
from dataclasses import dataclass

from . import paths
from .jvm import classpath, compile_java, java
from .process import Process
from .wait import wait_for

_SOURCE = paths.INTEROP / "harness" / "java" / "ToolHost.java"

# Where a tool's main class has moved between versions, the first one that exists is taken.
TOOLS = {
    "kafka-topics": ["org.apache.kafka.tools.TopicCommand"],
    "kafka-console-producer": ["org.apache.kafka.tools.ConsoleProducer", "kafka.tools.ConsoleProducer"],
    "kafka-console-consumer": ["org.apache.kafka.tools.consumer.ConsoleConsumer"],
    "kafka-consumer-groups": ["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"],
    "kafka-get-offsets": ["org.apache.kafka.tools.GetOffsetShell"],
    "kafka-verifiable-producer": ["org.apache.kafka.tools.VerifiableProducer"],
    "kafka-verifiable-consumer": ["org.apache.kafka.tools.VerifiableConsumer"],
    "kafka-dump-log": ["org.apache.kafka.tools.DumpLogSegments", "kafka.tools.DumpLogSegments"],
    "kafka-configs": ["org.apache.kafka.tools.ConfigCommand", "kafka.admin.ConfigCommand"],
    "kafka-broker-api-versions": ["org.apache.kafka.tools.BrokerApiVersionsCommand",
                                  "kafka.admin.BrokerApiVersionsCommand"],
    "kafka-producer-perf-test": ["org.apache.kafka.tools.ProducerPerformance"],
    "kafka-consumer-perf-test": ["org.apache.kafka.tools.ConsumerPerformance"],
    "kafka-delete-records": ["org.apache.kafka.tools.DeleteRecordsCommand"],
    "kafka-log-dirs": ["org.apache.kafka.tools.LogDirsCommand"],
    "kafka-cluster": ["org.apache.kafka.tools.ClusterTool"],
    "zookeeper-shell": ["org.apache.zookeeper.ZooKeeperMain"],
    "kafka-leader-election": ["org.apache.kafka.tools.LeaderElectionCommand"],
    "kafka-reassign-partitions": ["org.apache.kafka.tools.reassign.ReassignPartitionsCommand"],
    "kafka-features": ["org.apache.kafka.tools.FeatureCommand"],
    "kafka-acls": ["org.apache.kafka.tools.AclCommand", "kafka.admin.AclCommand"],
    "kafka-transactions": ["org.apache.kafka.tools.TransactionsCommand"],
    "kafka-delegation-tokens": ["org.apache.kafka.tools.DelegationTokenCommand", "kafka.admin.DelegationTokenCommand"],
}


def missing(version: str) -> str | None:
    """Why this version's tools cannot be run, or None."""
    if not shutil.which("javac"):
        return "there is no JDK"
    return None if paths.jars_present(version) else f"the jars of Kafka {version} are not there"


@dataclass
class Result:
    code: int
    out: str
    err: str

    def lines(self) -> list:
        return self.out.splitlines()


def shown(args) -> str:
    text = " ".join(map(str, args))
    return text if len(text) < 1000 else f"{text[:500]} … {text[-300:]}"


class Call:
    """A tool that is running."""

    def __init__(self, port: int, tool: str, main_class: str, args: list):
        self.tool = tool
        self.args = args
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._changed = threading.Condition()
        self._out = bytearray()
        self._err = bytearray()
        self._code = None
        for text in (main_class, *args):
            self._send(b"A", str(text).encode())
        self._send(b"G", b"")
        threading.Thread(target=self._read, daemon=True).start()

    def _send(self, kind: bytes, data: bytes) -> None:
        self._socket.sendall(kind + struct.pack(">i", len(data)) + data)

    def _read(self) -> None:
        code = -1
        try:
            f = self._socket.makefile("rb", buffering=1 << 17)
            while True:
                head = f.read(5)
                if len(head) < 5:
                    break
                data = f.read(struct.unpack(">i", head[1:])[0])
                with self._changed:
                    if head[:1] == b"O":
                        self._out += data
                    elif head[:1] == b"R":
                        self._err += data
                    else:
                        code = int(data)
                        break
                    self._changed.notify_all()
        except OSError:
            pass
        with self._changed:
            self._code = code
            self._changed.notify_all()

    def write(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        for at in range(0, len(data), 1 << 16):
            self._send(b"I", data[at:at + (1 << 16)])

    def end_input(self) -> None:
        self._send(b"E", b"")

    def stop(self) -> None:
        """What SIGTERM does: the tool's shutdown hooks run."""
        self._send(b"S", b"")

    def running(self) -> bool:
        return self._code is None

    def out(self) -> str:
        with self._changed:
            return self._out.decode(errors="replace")

    def err(self) -> str:
        with self._changed:
            return self._err.decode(errors="replace")

    def json_lines(self) -> list:
        """The complete lines of stdout that are JSON (the verifiable tools talk so)."""
        text = self.out()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines() if line.startswith("{")]

    def wait_out(self, condition, timeout_s: float, what: str):
        """Waits until condition(stdout so far) is true and returns its value."""
        def check():
            value = condition(self.out())
            if not value and not self.running():
                raise RuntimeError(f"{self.tool} ended with {self._code} before {what}:\n{self.out()}\n{self.err()}")
            return value
        return wait_for(check, timeout_s, f"{self.tool}: {what}")

    def wait(self, timeout_s: float = 60) -> Result:
        with self._changed:
            ended = self._changed.wait_for(lambda: self._code is not None, timeout_s)
        if not ended:
            self._socket.shutdown(socket.SHUT_RDWR)
            raise AssertionError(f"{self.tool} did not end within {timeout_s:g} s: {shown(self.args)}\n"
                                 f"stdout: {self.out()[-2000:]}\nstderr: {self.err()[-2000:]}")
        self._socket.close()
        return Result(self._code, self.out(), self.err())


class ToolHost:
    """One JVM with the tools of one Kafka version."""

    def __init__(self, version: str):
        self.version = version
        self._classes = set()
        for jar in (paths.JARS / version).glob("*.jar"):
            if not jar.name.startswith(("kafka", "zookeeper-3")):
                continue
            with zipfile.ZipFile(jar) as z:
                self._classes.update(n[:-6].replace("/", ".") for n in z.namelist() if n.endswith(".class"))
        made = compile_java(_SOURCE, version, f"ToolHost-{version}")
        log = paths.MADE / f"toolhost-{version}-{paths.RUN}.log"
        argv = java(f"-Dlog4j.configuration=file:{paths.INTEROP}/harness/tools-log4j.properties",
                    "-Dlog4j2.level=OFF", "-Djava.security.manager=allow",
                    "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-cp", f"{made}:{classpath(version)}", "ToolHost")
        with open(log, "wb") as err:
            self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err)
        line = self._popen.stdout.readline()
        if not line.strip().isdigit():
            raise RuntimeError(f"the JVM for Kafka {version}'s tools did not start:\n{log.read_text()}")
        self.port = int(line)

    def start(self, tool: str, *args) -> Call:
        main_class = next(c for c in TOOLS[tool] if c in self._classes)
        return Call(self.port, tool, main_class, [str(a) for a in args])

    def run(self, tool: str, *args, stdin: str | bytes = b"", timeout_s: float = 60, check: bool = True) -> Result:
        """Runs a tool to its end. With check, an exit code other than 0 is a failure that shows what it said."""
        call = self.start(tool, *args)
        if stdin:
            call.write(stdin)
        call.end_input()
        result = call.wait(timeout_s)
        if check and result.code != 0:
            raise AssertionError(f"{tool} ended with {result.code}: {(result.err or result.out).strip()[-300:]!r}: {shown(args)}\n"
                                 f"stdout: {result.out[-2000:]}\nstderr: {result.err[-4000:]}")
        return result

    def close(self) -> None:
        self._popen.stdin.close()
        self._popen.stdout.close()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


_hosts = {}


def tools(version: str) -> ToolHost:
    """The warm JVM of a version, started at first use."""
    if version not in _hosts:
        _hosts[version] = ToolHost(version)
    return _hosts[version]


def close_all() -> None:
    while _hosts:
        _hosts.popitem()[1].close()
