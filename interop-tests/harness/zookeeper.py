"""ZooKeeper: the one that comes with Kafka 3.9.1, and a look into it that owes nothing to a broker (kazoo)."""

import contextlib
import itertools
import logging
import pathlib
import re
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass

try:
    import kazoo.client
    import kazoo.exceptions
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
except ImportError:
    kazoo = None

from . import jvm, paths
from .process import Process, free_port
from .wait import wait_for


def missing() -> str | None:
    """Why there can be no ZooKeeper, or None."""
    return jvm.missing() or (None if kazoo else "kazoo is not installed")


@dataclass
class Node:
    data: bytes | None
    ephemeral: bool
    version: int
    czxid: int
    acl: list  # "world:anyone:cdrwa"
    owner: int  # the session of an ephemeral node, or 0


class ZooKeeper:
    """A process with its directory and port, which it keeps when it is killed and started again."""

    _shared = None

    def __init__(self, host: str = "127.0.0.1"):
        self.host = host
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ottla-interop-zookeeper-"))
        self.port = free_port()
        self._chroots = itertools.count(1)
        # Sessions may be as short as a second, so that a test sees one expire, and as long as a broker's default.
        (self.directory / "zoo.cfg").write_text(
            f"dataDir={self.directory}/data\nclientPort={self.port}\nclientPortAddress={host}\ntickTime=500\n"
            "maxSessionTimeout=40000\nmaxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n")
        self.process = None
        self.start()

    def start(self) -> "ZooKeeper":
        assert self.process is None
        self.process = Process(
            "zookeeper",
            jvm.java(f"-Dlog4j.configuration=file:{paths.INTEROP}/harness/log4j.properties", "-cp",
                     jvm.classpath(jvm.KAFKA_VERSION), "org.apache.zookeeper.server.ZooKeeperServerMain",
                     self.directory / "zoo.cfg"),
            self.directory / "zookeeper.log")
        wait_for(lambda: "Mode: standalone" in self.command("srvr"), 30, "ZooKeeper to answer")
        return self

    def kill(self) -> None:
        """kill -9"""
        process, self.process = self.process, None
        if process is not None:
            process.kill()

    def pause(self) -> None:
        """It keeps its connections, and answers nothing."""
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)

    def destroy(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, word: str) -> str:
        with socket.create_connection((self.host, self.port), timeout=5) as s:
            s.sendall(word.encode())
            return s.makefile().read()

    def new_chroot(self) -> str:
        """A name only; who uses it creates it, or does not."""
        return f"/b{next(self._chroots)}"

    @contextlib.contextmanager
    def client(self, chroot: str = ""):
        """A session of ours."""
        k = kazoo.client.KazooClient(f"{self.host}:{self.port}{chroot}", timeout=10)
        k.start(10)
        try:
            yield k
        finally:
            k.stop()
            k.close()

    def create(self, path: str, data: bytes | None = None) -> None:
        """With the parents it needs; nothing when it is there."""
        with self.client() as k:
            for end in [m.start() for m in re.finditer("/", path)][1:] + [len(path)]:
                with contextlib.suppress(kazoo.exceptions.NodeExistsError):
                    k.create(path[:end], data if end == len(path) else None)

    def remove(self, path: str) -> None:
        """With everything below, also what lives with a session. Without kazoo it stays until destroy()."""
        if kazoo is None:
            return
        with self.client() as k:
            k.delete(path, recursive=True)

    def node(self, path: str) -> Node | None:
        with self.client() as k:
            return _node(k, path)

    def tree(self, chroot: str) -> dict[str, Node]:
        """Every node below the chroot, and itself as "/"."""
        found = {}
        with self.client(chroot) as k:
            waiting = ["/"]
            while waiting:
                path = waiting.pop()
                node = _node(k, path)
                if node is None:
                    continue  # gone while we looked
                found[path] = node
                with contextlib.suppress(kazoo.exceptions.NoNodeError):
                    waiting += [f"{path.rstrip('/')}/{name}" for name in k.get_children(path)]
        return dict(sorted(found.items()))

    @classmethod
    def shared(cls) -> "ZooKeeper":
        """One for all brokers of a run that do not need their own."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    @classmethod
    def destroy_shared(cls) -> None:
        if cls._shared is not None:
            cls._shared.destroy()
            cls._shared = None


def _node(client, path: str) -> Node | None:
    try:
        data, stat = client.get(path)
        acls, _ = client.get_acls(path)
    except kazoo.exceptions.NoNodeError:
        return None
    return Node(data, stat.ephemeralOwner != 0, stat.version, stat.czxid,
                [f"{a.id.scheme}:{a.id.id}:" + "".join(x for x, bit in zip("cdrwa", (4, 8, 1, 2, 16)) if a.perms & bit)
                 for a in acls], stat.ephemeralOwner)
