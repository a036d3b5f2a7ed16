"""docker/Dockerfile builds, and makes the same image as docker/build.

By buildah in a chroot, on a debian:12 made of Debian's packages. Its first stage installs and compiles: minutes."""

import io
import subprocess
import tarfile

import pytest

from harness import broker as brokers
from harness import paths

from . import engine as engines
from . import images

pytestmark = [pytest.mark.whole, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla's image")]
TAG = "ottla-test:of-the-dockerfile"


def files_of(docker, image: str) -> dict:
    """name -> kind, mode, owner, where a link leads; and how long a file is."""
    id = docker.docker("create", image).stdout.decode().strip()
    try:
        with tarfile.open(fileobj=io.BytesIO(docker.docker("export", id).stdout)) as tar:
            return {f.name: (f.type, oct(f.mode), f.uid, f.gid, f.linkname, f.size) for f in tar}
    finally:
        docker.docker("rm", id)


@pytest.fixture(scope="module")
def built(docker, tmp_path_factory):
    """The image that the Dockerfile makes of the files that git has."""
    dir = tmp_path_factory.mktemp("dockerfile")
    storage = ["buildah", "--storage-driver", "vfs", "--root", dir / "storage", "--runroot", dir / "run"]

    def buildah(*argv):
        done = subprocess.run([str(a) for a in (*storage, *argv)], capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (dir / "base").mkdir()
    images.debian(dir / "base" / "root.tar", "ca-certificates")
    (dir / "base" / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
    buildah("bud", "-q", "--isolation", "chroot", "-t", "docker.io/library/debian:12", dir / "base")
    (dir / "clone").mkdir()
    packed = subprocess.run(["git", "-C", paths.ROOT, "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", dir / "clone"], input=packed, check=True)
    buildah("bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "-f", dir / "clone/docker/Dockerfile", "-t", TAG, dir / "clone")
    buildah("push", "-q", TAG, f"docker-archive:{dir}/image.tar:{TAG}")
    docker.docker("load", "-i", dir / "image.tar")
    return TAG


def test_same_image(docker, image, built):
    theirs, ours = files_of(docker, built), files_of(docker, image)
    assert theirs.keys() == ours.keys()
    differ = {name for name in ours if theirs[name] != ours[name]}
    assert differ <= {"opt/ottla/bin/ottla"}, {name: (ours[name], theirs[name]) for name in differ}


def test_it_starts(docker, built):
    done = docker.docker("run", "--rm", built, "ottla", "--version")
    assert done.stdout.startswith(b"ottla ")
