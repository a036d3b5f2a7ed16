"""The image under podman, with runc (its crun wants another kind of cgroups than some machines have)."""

import pathlib
import shutil
import tempfile

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import Process
from harness.wait import wait_for

from . import engine as engines
from . import test_testcontainers as testcontainers

pytestmark = [pytest.mark.whole, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla's image"),
              pytest.mark.skipif(not shutil.which("kcat"), reason="skipped, because kcat is not installed")]

# setrlimit above what the machine has is refused, in namespaces too.
CONFIGURATION = """[containers]
default_ulimits=["nofile=20000:20000","nproc=4096:4096"]
seccomp_profile="unconfined"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""


class Podman:
    """podman in the engine's network, with images and containers of its own."""

    def __init__(self, docker, dir):
        self.docker, self.dir = docker, dir
        (dir / "containers.conf").write_text(CONFIGURATION)
        self.environment = {"CONTAINERS_CONF": str(dir / "containers.conf")}
        self.argv = ["podman", "--storage-driver", "vfs", "--root", dir / "storage", "--runroot", dir / "run"]

    def run(self, *argv, check: bool = True):
        return self.docker.run(*self.argv, *argv, check=check, **self.environment)

    def said(self, id: str) -> bytes:
        done = self.run("logs", id)
        return done.stdout + done.stderr

    def service(self) -> tuple:
        """(its process, the socket that speaks as Docker's)."""
        socket = self.dir / "socket"
        process = Process("podman", self.docker.enter(*self.argv, "system", "service", "--time=0", f"unix://{socket}"),
                          self.dir / "log", env=self.environment)
        wait_for(socket.exists, 20, "podman's service")
        return process, socket


@pytest.fixture
def podman(docker, image):
    why = engines.install("podman", "runc", "netavark", "aardvark-dns", "iptables")
    if why:
        pytest.skip(f"skipped, because {why}")
    with tempfile.TemporaryDirectory(prefix="podman") as dir:  # it takes short paths only
        podman = Podman(docker, pathlib.Path(dir))
        podman.run("load", "-q", "-i", paths.BUILD / "docker" / "image.tar")
        yield podman
        podman.run("rm", "-fav", check=False)
        podman.run("rmi", "-fa", check=False)


def test_podman(docker, image, podman):
    id = podman.run("run", "-d", "--network", "host", image).stdout.decode().split()[-1]
    wait_for(lambda: b"[KafkaServer id=1] started" in podman.said(id), 30, "the broker in podman")
    docker.run("kcat", "-b", "localhost:9092", "-t", "records", "-P", stdin=b"one\n")
    assert docker.run("kcat", "-b", "localhost:9092", "-t", "records", "-C", "-e", "-q").stdout == b"one\n"
    assert podman.run("healthcheck", "run", id, check=False).returncode == 0
    podman.run("stop", "-t", "20", id)
    assert podman.run("inspect", "-f", "{{.State.ExitCode}}", id).stdout.split() == [b"0"]


@pytest.mark.parametrize("module", ["java KafkaContainer", "go"])
def test_testcontainers(docker, image, podman, module):
    """By podman's socket. Node's and Python's modules cannot: podman 4.3 leaves out of its answers what they read."""
    program, arguments, version = testcontainers.CASES[module]
    tag = f"docker.io/library/{image.split(':')[0]}:{version}"
    podman.run("tag", image, tag)
    process, socket = podman.service()
    try:
        done = docker.run(*program(), *arguments, tag, timeout_s=180, **testcontainers.ENVIRONMENT, DOCKER_HOST=f"unix://{socket}")
        assert b"round trip of 10 records by" in done.stdout
    finally:
        process.terminate()
