"""A Docker engine for the tests, of Debian's docker.io, in namespaces of its own.

dockerd runs in a network of its own: published ports are on that network's loopback and meet nobody's, the bridge and the
rules of the firewall are its too, and nothing leaves it. Clients of containers enter it (`enter`). It also has mounts and
process numbers of its own, so that all of it ends with its first process. Images and containers lie under build/interop.
An engine that is there already (DOCKER_HOST with a socket of this machine) is not used: its ports are not ours to take."""

import fcntl
import functools
import json
import os
import pathlib
import shutil
import subprocess

from harness import paths
from harness.process import Process
from harness.wait import wait_for

PACKAGES = ["docker.io", "docker-compose", "buildah", "iptables", "iproute2"]
_DAEMON = {"storage-driver": "vfs", "bip": "172.29.7.1/24", "default-address-pools": [{"base": "172.29.64.0/18", "size": 24}]}


def install(*packages: str) -> str | None:
    """Debian's packages, by the project's own script; or why not."""
    done = subprocess.run([paths.ROOT / "tests" / "install-packages", *packages], capture_output=True, text=True, timeout=900)
    return None if done.returncode == 0 else f"{' '.join(packages)} cannot be installed: {(done.stderr or done.stdout).strip()[-200:]}"


@functools.cache
def missing() -> str | None:
    """Why there is no engine."""
    if os.geteuid() != 0:
        return "only root starts a Docker engine"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"namespaces cannot be made here: {tried.stderr.strip()}"
    return install(*PACKAGES) or engine().why


class Engine:
    """dockerd, from its start to its end."""

    def __init__(self):
        self.why = None
        self.dir = paths.MADE / "docker"
        self._lock = open(paths.MADE / ".docker.lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        shutil.rmtree(self.dir, ignore_errors=True)  # of a run that was killed
        self.dir.mkdir()
        self.socket = self.dir / "socket"
        (self.dir / "daemon.json").write_text(json.dumps({
            **_DAEMON, "data-root": str(self.dir / "data"), "exec-root": str(self.dir / "exec"), "pidfile": str(self.dir / "pid"),
            "hosts": [f"unix://{self.socket}"]}))
        start = f"mount -t proc proc /proc && ip link set lo up && exec /usr/sbin/dockerd --config-file {self.dir}/daemon.json"
        self._process = Process("dockerd", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", start],
                                self.dir / "log")
        try:
            wait_for(lambda: not self._process.running() or self.docker("version", check=False).returncode == 0, 60, "dockerd")
            assert self._process.running()
        except AssertionError:
            self.why = f"dockerd does not start: {self._process.tail(3)}"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    def environment(self, **more) -> dict:
        return {**os.environ, "DOCKER_HOST": self.host, **more}

    @functools.cached_property
    def _entered(self) -> str:
        """The process whose network it is: the child of unshare."""
        children = pathlib.Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return children.split()[0]

    def enter(self, *argv) -> list:
        """A command, in the network of the engine."""
        return ["nsenter", f"--net=/proc/{self._entered}/ns/net", *map(str, argv)]

    def run(self, *argv, timeout_s: float = 120, check: bool = True, stdin: bytes | None = None, cwd=None, **env) -> subprocess.CompletedProcess:
        """A client of a container, in the network of the engine."""
        done = subprocess.run(self.enter(*argv), capture_output=True, timeout=timeout_s, input=stdin, cwd=cwd, env=self.environment(**env))
        return _checked(done, argv) if check else done

    def docker(self, *argv, timeout_s: float = 120, check: bool = True) -> subprocess.CompletedProcess:
        argv = ("/usr/bin/docker", *argv)
        done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=timeout_s, env=self.environment())
        return _checked(done, argv) if check else done

    def said(self, container: str) -> str:
        done = self.docker("logs", container)
        return (done.stdout + done.stderr).decode(errors="replace")

    def stop(self):
        if self._process.running():
            there = self.docker("ps", "-aq", check=False).stdout.decode().split()
            if there:
                self.docker("rm", "-fv", *there, check=False)
            dockerd = int(self._entered)
            os.kill(dockerd, 15)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
        self._lock.close()


def _checked(done: subprocess.CompletedProcess, argv) -> subprocess.CompletedProcess:
    assert done.returncode == 0, (f"{' '.join(map(str, argv))} ended with {done.returncode}\n"
                                  f"{done.stdout.decode(errors='replace')[-3000:]}\n{done.stderr.decode(errors='replace')[-3000:]}")
    return done


@functools.cache
def engine() -> Engine:
    paths.MADE.mkdir(parents=True, exist_ok=True)
    return Engine()




@functools.cache
def image() -> str:
    """The image, made by docker/build and known to the engine."""
    tag = "ottla-test:3.9.1"
    done = subprocess.run([paths.ROOT / "docker" / "build", tag], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    engine().docker("load", "-i", paths.BUILD / "docker" / "image.tar")
    return tag
