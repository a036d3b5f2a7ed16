"""The image under podman, with runc (its crun wants another kind of cgroups than some machines have)."""

import shutil

import pytest

from harness import broker as brokers
from harness import paths
from harness.wait import wait_for

from . import engine as engines

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


@pytest.fixture
def podman(docker, image, tmp_path):
    """Runs podman in the engine's network, with images and containers of its own."""
    why = engines.install("podman", "runc")
    if why:
        pytest.skip(f"skipped, because {why}")
    (tmp_path / "containers.conf").write_text(CONFIGURATION)
    storage = ["--storage-driver", "vfs", "--root", tmp_path / "storage", "--runroot", tmp_path / "run"]

    def run(*argv, check: bool = True):
        return docker.run("podman", *storage, *argv, check=check, CONTAINERS_CONF=str(tmp_path / "containers.conf"))
    run("load", "-q", "-i", paths.BUILD / "docker" / "image.tar")
    yield run
    run("rm", "-fav", check=False)
    run("rmi", "-fa", check=False)


def test_podman(docker, image, podman):
    id = podman("run", "-d", "--network", "host", image).stdout.decode().split()[-1]
    wait_for(lambda: b"[KafkaServer id=1] started" in podman("logs", id).stderr + podman("logs", id).stdout, 30, "the broker in podman")
    docker.run("kcat", "-b", "localhost:9092", "-t", "records", "-P", stdin=b"one\n")
    assert docker.run("kcat", "-b", "localhost:9092", "-t", "records", "-C", "-e", "-q").stdout == b"one\n"
    assert podman("healthcheck", "run", id, check=False).returncode == 0
    podman("stop", "-t", "20", id)
    assert podman("inspect", "-f", "{{.State.ExitCode}}", id).stdout.split() == [b"0"]
