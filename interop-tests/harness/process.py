"""Child processes that cannot outlive us, and free ports."""

import ctypes
import os
import pathlib
import random
import signal
import socket
import subprocess

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_ports_given = set()
_PORTS = [int(x) for x in os.environ.get("OTTLA_PORTS", "12000-32000").split("-")]


def free_port() -> int:
    """A loopback port below the ephemeral range (so that no outgoing connection takes it), given out once.
    OTTLA_PORTS is another range: of each of several runs at once."""
    for _ in range(1000):
        port = random.randrange(*_PORTS)
        if port in _ports_given:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise RuntimeError("no free port")


class Process:
    """One child process with its output in a file. It is killed when this process dies, however it dies."""

    def __init__(self, name: str, argv: list, log: pathlib.Path, env: dict | None = None, cwd=None, stdin=None,
                 enter=None):
        """enter() is called in the child before it becomes the program."""
        self.name = name
        self.log = log

        def before_exec():
            _die_with_parent()
            if enter:
                enter()
        with open(log, "ab") as out:
            self._popen = subprocess.Popen(
                [str(a) for a in argv], stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})}, cwd=cwd, preexec_fn=before_exec)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def wait(self, timeout_s: float) -> int:
        """The exit status of a process that ends by itself."""
        return self._popen.wait(timeout_s)

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def terminate(self, timeout_s: float = 30) -> int:
        """SIGTERM; returns the exit status. Kills, and raises, when the process does not end in time."""
        if self.running():
            self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {timeout_s:g} s of SIGTERM\n{self.tail()}")

    def kill(self) -> None:
        if self.running():
            self._popen.kill()
        self._popen.wait()

    def tail(self, lines: int = 40) -> str:
        try:
            text = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join([f"--- end of {self.log} ---", *text[-lines:], "---"])
