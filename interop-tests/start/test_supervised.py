"""A broker that systemd runs: what it tells its NOTIFY_SOCKET, the watchdog, sockets that it is given, SIGHUP."""

import ctypes
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from harness import broker as brokers
from harness import clients, paths
from harness.process import Process, free_port
from harness.wait import wait_for
from wire.player import Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

WATCHDOG_S = 0.4
# Puts descriptors at 3, 4, … and becomes the broker, as systemd does: LISTEN_PID is the broker's own.
HAND_OVER = """import os, sys
fds, argv = [int(x) for x in sys.argv[1].split(",")], sys.argv[2:]
fds = [os.dup(fd) for fd in fds]
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(argv[0], argv)"""


class Supervisor:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.address = address
        self.said = []

    def hear(self, timeout_s: float) -> str | None:
        ready, _, _ = select.select([self.socket], [], [], timeout_s)
        if not ready:
            return None
        self.said.append(self.socket.recv(4096).decode())
        return self.said[-1]

    def hear_until(self, state: str, timeout_s: float = 15) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            heard = self.hear(deadline - time.monotonic())
            if heard is not None and state in heard.split("\n"):
                return
        raise AssertionError(f"no {state} within {timeout_s:g} s; heard {self.said}")

    def hears_nothing_more(self, quiet_s: float) -> bool:
        """What is under way may still come."""
        while self.hear(0) is not None:
            pass
        self.hear(WATCHDOG_S / 4)
        return self.hear(quiet_s) is None

    def close(self):
        self.socket.close()


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    s = Supervisor(str(tmp_path / "notify") if request.param == "path" else f"@ottla-test-{os.getpid()}-{free_port()}")
    yield s
    s.close()


class Started:
    """A broker in a directory of its own, on `port`."""

    def __init__(self, cwd: pathlib.Path, listeners: str, env: dict, sockets=(), more=()):
        self.cwd = cwd
        self.file = cwd / "server.properties"
        self.file.write_text("\n".join(["broker.id=0", f"listeners={listeners}", f"log.dirs={cwd}/data",
                                        "offsets.topic.replication.factor=1", *more, ""]))
        argv = [str(paths.ottla_binary()), str(self.file)]
        fds = [s.fileno() for s in sockets]
        if fds:
            argv = [sys.executable, "-c", HAND_OVER, ",".join(map(str, fds)), *argv]
            env = {**env, "LISTEN_FDS": str(len(fds))}
        self.log = cwd / "log"
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=fds,
                                            env={"PATH": os.environ["PATH"], **env})

    def said(self) -> str:
        return self.log.read_text()

    def serves(self) -> "Started":
        wait_for(lambda: "[KafkaServer id=" in self.said() or self.process.poll() is not None, 15, "the broker to start")
        assert self.process.poll() is None, self.said()
        return self

    def threads(self) -> dict:
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
        return {(t / "comm").read_text().strip(): int(t.name) for t in tasks.iterdir()}

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def listeners(port: int) -> str:
    return f"PLAINTEXT://127.0.0.1:{port}"


def answers(port: int) -> bool:
    c = Connection("127.0.0.1", port)
    try:
        return len(clients.ask(c, "Metadata", 9, {"topics": []})["brokers"]) == 1
    finally:
        c.close()


# ---- NOTIFY_SOCKET ----

def test_states(tmp_path, supervisor):
    """READY=1 when clients are served and not before; STOPPING=1 at once."""
    port = free_port()
    with Started(tmp_path, listeners(port), {"NOTIFY_SOCKET": supervisor.address}) as b:
        supervisor.hear_until("READY=1")
        assert answers(port)
        assert re.search(r"READY=1\nSTATUS=broker 0 serves cluster \S{22}$", supervisor.said[-1])
        assert supervisor.said[:-1] == ["STATUS=starting"]
        assert b.stop() == 0
        supervisor.hear_until("STOPPING=1")
        supervisor.hear_until("STATUS=closing logs")
        assert not [s for s in supervisor.said if "WATCHDOG" in s], "it was not asked for pings"


@pytest.mark.parametrize("address", ["relative", "/" + "long" * 30, "/nowhere/at/all"])
def test_nobody_listens(tmp_path, address):
    """It serves all the same, and says that nobody can be told."""
    port = free_port()
    with Started(tmp_path, listeners(port), {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000"}) as b:
        b.serves()
        assert answers(port) and re.search("WARN (nobody is told|cannot tell the supervisor)", b.said())
        assert b.stop() == 0


def test_refused_start_is_not_ready(tmp_path):
    s = Supervisor(str(tmp_path / "notify"))
    with Started(tmp_path, listeners(free_port()), {"NOTIFY_SOCKET": s.address}, more=["num.partitions=0"]) as b:
        assert b.process.wait(10) == 1
    while s.hear(0):
        pass
    s.close()
    assert not [x for x in s.said if "READY" in x]


# ---- the watchdog ----

class Held:
    """One thread of a process that stands still, the others running: as a loop that hangs."""
    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, thread: int):
        self.thread = thread

    def _ptrace(self, request: int) -> None:
        args = (ctypes.c_long(request), ctypes.c_long(self.thread), ctypes.c_long(0), ctypes.c_long(0))
        if self.libc.ptrace(*args) != 0:
            pytest.skip(f"skipped, because ptrace is not permitted: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):
        self._ptrace(self.SEIZE)
        self._ptrace(self.INTERRUPT)
        os.waitpid(self.thread, self.WALL)
        return self

    def __exit__(self, *_):
        self._ptrace(self.DETACH)


@pytest.mark.parametrize("thread, asked", [("net-0", True), ("state", True), ("background", True), ("control", False)])
def test_watchdog(tmp_path, thread, asked):
    """Pings at half of the interval; none while a loop hangs, but for the one that may wait for ZooKeeper."""
    s = Supervisor(str(tmp_path / "notify"))
    env = {"NOTIFY_SOCKET": s.address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    with Started(tmp_path, listeners(free_port()), env) as b:
        s.hear_until("READY=1")
        start = time.monotonic()
        for _ in range(5):
            s.hear_until("WATCHDOG=1")
        took = time.monotonic() - start
        assert took > 4 * WATCHDOG_S / 2 * 0.9, f"five pings in {took:.2f} s"
        with Held(b.threads()[thread]):
            assert s.hears_nothing_more(2 * WATCHDOG_S) == asked
        s.hear_until("WATCHDOG=1")
        assert b.stop() == 0
    s.close()


@pytest.mark.parametrize("env", [{"WATCHDOG_USEC": "many"}, {"WATCHDOG_USEC": "10000", "WATCHDOG_PID": "1"}])
def test_no_watchdog(tmp_path, env):
    s = Supervisor(str(tmp_path / "notify"))
    with Started(tmp_path, listeners(free_port()), {"NOTIFY_SOCKET": s.address, **env}) as b:
        s.hear_until("READY=1")
        assert b.stop() == 0
        s.hear_until("STATUS=closing logs")
        assert not [x for x in s.said if "WATCHDOG" in x]
        assert ("no watchdog" in b.said()) == (env["WATCHDOG_USEC"] == "many")
    s.close()


# ---- LISTEN_FDS ----

def bound(address=("127.0.0.1", 0), family=socket.AF_INET) -> socket.socket:
    s = socket.socket(family)
    s.bind(address)
    s.listen(16)
    return s


def test_socket_by_address(tmp_path):
    """The listener whose address it has takes it; the other binds its own. Who connects while there is no broker waits."""
    other = free_port()
    with bound() as given:
        port = given.getsockname()[1]
        early = socket.create_connection(("127.0.0.1", port))
        both = f"PLAINTEXT://127.0.0.1:{port},OTHER://127.0.0.1:{other}"
        more = ["listener.security.protocol.map=PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT"]
        with Started(tmp_path, both, {}, [given], more) as b:
            b.serves()
            assert answers(port) and answers(other)
            early.sendall(bytes.fromhex("0000000a" "00120000" "00000001" "ffff"))  # ApiVersions v0
            assert early.recv(4) != b""
            early.close()
            assert b.said().count("takes a socket") == 1 and "listener=PLAINTEXT fd=3" in b.said()
            assert b.stop() == 0
        waits = socket.create_connection(("127.0.0.1", port))  # between two brokers
        with Started(tmp_path, both, {}, [given], more) as b:
            b.serves()
            waits.sendall(bytes.fromhex("0000000a" "00120000" "00000001" "ffff"))
            assert waits.recv(4) != b""
            waits.close()
            assert b.stop() == 0


def test_sockets_by_name(tmp_path):
    """Names win over addresses, in any case; the port is the socket's, and is what clients are told."""
    with bound() as a, bound() as c:
        texts = f"PLAINTEXT://127.0.0.1:0,SECOND://127.0.0.1:{free_port()}"
        env = {"LISTEN_FDNAMES": "second:plaintext"}
        with Started(tmp_path, texts, env, [a, c], ["listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT"]) as b:
            b.serves()
            assert answers(a.getsockname()[1]) and answers(c.getsockname()[1])
            assert re.search(f"listening listener=PLAINTEXT bootstrap.servers=127.0.0.1:{c.getsockname()[1]}", b.said())
            assert b.stop() == 0


@pytest.mark.parametrize("host", ["", "0.0.0.0"])
def test_all_addresses(tmp_path, host):
    """ListenStream=PORT is [::]:PORT; it is what a listener on all addresses means."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("skipped, because there is no IPv6")
    with bound(("::", 0), socket.AF_INET6) as given:
        port = given.getsockname()[1]
        with Started(tmp_path, f"PLAINTEXT://{host}:{port}", {}, [given]) as b:
            b.serves()
            assert "takes a socket" in b.said() and answers(port)
            assert b.stop() == 0


def test_socket_refused(tmp_path):
    """One that no listener takes, and one that is no listening TCP socket."""
    with bound() as given, Started(tmp_path, listeners(free_port()), {"LISTEN_FDNAMES": "ottla.socket"}, [given]) as b:
        assert b.process.wait(10) == 1
        port = given.getsockname()[1]
        assert ("ottla: cannot start: LISTEN_FDS: no listener has the name or the address of descriptor 3 "
                f'("ottla.socket", 127.0.0.1:{port})\n') in b.said()
    with socket.socket(socket.AF_UNIX) as given, Started(tmp_path, listeners(free_port()), {}, [given]) as b:
        assert b.process.wait(10) == 1
        assert 'cannot start: LISTEN_FDS: descriptor 3 ("") is not a listening TCP socket\n' in b.said()


def test_sockets_of_somebody_else(tmp_path):
    """LISTEN_PID is another process: the variables were inherited by mistake."""
    port = free_port()
    with Started(tmp_path, listeners(port), {"LISTEN_FDS": "2", "LISTEN_PID": "1"}) as b:
        b.serves()
        assert answers(port)
        assert b.stop() == 0


# ---- SIGHUP ----

def retention(b: Started, port: int) -> str:
    c = Connection("127.0.0.1", port)
    try:
        answer = clients.ask(c, "DescribeConfigs", 1, {"resources": [
            {"resource_type": 4, "resource_name": "0", "configuration_keys": ["log.retention.bytes"]}],
            "include_synonyms": False})
        return answer["results"][0]["configs"][0]["value"]
    finally:
        c.close()


def test_reload(tmp_path):
    """What may change does, what may not waits for the next start, and what is wrong changes nothing."""
    s = Supervisor(str(tmp_path / "notify"))
    port = free_port()
    with Started(tmp_path, listeners(port), {"NOTIFY_SOCKET": s.address}, more=["log.retention.bytes=1000000"]) as b:
        s.hear_until("READY=1")
        b.serves()
        text = b.file.read_text()
        assert retention(b, port) == "1000000"

        def reload(new_text: str) -> str:
            before = len(b.said())
            b.file.write_text(new_text)
            b.process.send_signal(signal.SIGHUP)
            heard = len(s.said)
            s.hear_until("READY=1")
            assert s.said[heard].startswith("RELOADING=1\nMONOTONIC_USEC=")
            return b.said()[before:]
        said = reload(text.replace("1000000", "2000000") + "num.network.threads=7\n")
        assert retention(b, port) == "2000000"
        assert "option changes at the next start name=num.network.threads" in said and "read again changed=1 " in said
        said = reload(text.replace("1000000", "much"))
        assert 'ERROR the options stay as they are reason="option log.retention.bytes: "much" is not allowed' in said
        assert retention(b, port) == "2000000"
        assert "read again changed=1 " in reload(text.replace("log.retention.bytes=1000000\n", ""))
        assert retention(b, port) == "-1"
        assert "read again changed=0 " in reload(text.replace("log.retention.bytes=1000000\n", ""))
        assert b.stop() == 0
    s.close()


def test_hangup_during_the_start_is_no_end(tmp_path):
    """Without ZooKeeper's answer it still starts; the signal says nothing that it does not read anyway."""
    with bound() as silent:
        more = [f"zookeeper.connect=127.0.0.1:{silent.getsockname()[1]}", "zookeeper.connection.timeout.ms=2000"]
        with Started(tmp_path, listeners(free_port()), {}, more=more) as b:
            silent.settimeout(10)
            silent.accept()[0].close()  # it waits for an answer
            b.process.send_signal(signal.SIGHUP)
            assert b.process.wait(15) == 1, "the start is refused for ZooKeeper's sake"
            assert "cannot start" in b.said()
