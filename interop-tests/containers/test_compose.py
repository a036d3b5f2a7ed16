"""Compose files: our own, and those of the field with nothing but the image's name changed.

Each is started by docker-compose as it is written; then a record goes through every address that a broker advertises, from
where that address is for: names of containers from another container of the network, the others from the machine."""

import pathlib
import re
import shutil
import subprocess

import pytest

from harness import broker as brokers
from harness import paths
from harness.wait import wait_for

from . import images

pytestmark = [pytest.mark.whole, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla's image"),
              pytest.mark.skipif(not shutil.which("kcat"), reason="skipped, because kcat is not installed")]

HERE = pathlib.Path(__file__).resolve().parent
OURS = paths.ROOT / "docker" / "compose"
BROKER = re.compile(r"^(\s*image:\s*).*kafka\S*|^(\s*image:\s*)(ottla|confluentinc/confluent-local)\S*", re.MULTILINE)
ZOOKEEPER = re.compile(r"^(\s*image:\s*)\S*zookeeper\S*", re.MULTILINE)
START_S, RECORD_S = 60, 30

# file: (addresses of the network, addresses of the machine, topics that are there from the start)
FILES = {
    OURS / "one.yml": (["broker:19092"], ["localhost:9092"], {"greetings": 3}),
    OURS / "three.yml": (["broker1:19092", "broker2:19092", "broker3:19092"], ["localhost:9092", "localhost:9093", "localhost:9094"],
                         {"greetings": 3}),
    HERE / "field/apache-one.yml": (["broker:19092"], ["localhost:9092"], {}),
    HERE / "field/apache-file.yml": ([], ["localhost:9092"], {}),
    HERE / "field/confluent-kraft.yml": (["broker:29092"], ["localhost:9092"], {"made-after": 2}),
    HERE / "field/confluent-zookeeper.yml": (["broker:29092"], ["localhost:9092"], {}),
    HERE / "field/confluent-local.yml": (["kafka:29092"], ["localhost:9092"], {}),
    HERE / "field/three-addresses.yml": (["kafka1:19092"], ["127.0.0.1:9092"], {}),
    HERE / "field/three-brokers.yml": (["kafka1:19092", "kafka3:19092"], ["127.0.0.1:9092", "127.0.0.1:9093", "127.0.0.1:9094"], {"wide": 3}),
    HERE / "field/bitnami-one.yml": (["kafka:9092"], ["localhost:9094"], {}),
    HERE / "field/bitnami-zookeeper.yml": ([], ["localhost:9092"], {}),
    HERE / "field/wurstmeister-one.yml": ([], ["127.0.0.1:9092"], {"one": 3, "two": 1}),
    HERE / "field/wurstmeister-listeners.yml": ([], ["localhost:9094"], {"first": 1, "second": 2}),
}


class Project:
    """A compose file with its images changed, beside what it mounts."""

    def __init__(self, docker, file: pathlib.Path, image: str, dir: pathlib.Path):
        self.docker, self.dir = docker, dir
        shutil.copytree(HERE / "field", dir, dirs_exist_ok=True)
        text = file.read_text()
        if ZOOKEEPER.search(text):
            text = ZOOKEEPER.sub(rf"\g<1>{images.zookeeper()}", text)
        changed = BROKER.sub(lambda m: f"{m[1] or m[2]}{image}", text)
        assert changed != text
        (dir / "docker-compose.yml").write_text(changed)

    def compose(self, *argv, check: bool = True, timeout_s: float = 180):
        done = subprocess.run(["docker-compose", "-p", "t", *argv], cwd=self.dir, capture_output=True, text=True, timeout=timeout_s,
                              env=self.docker.environment())
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def __enter__(self):
        self.compose("up", "-d")
        return self

    def __exit__(self, failed, *_):
        if failed:
            print(self.compose("logs", "--no-color", check=False)[-8000:])
        self.compose("down", "-v", "-t", "20", check=False)

    def kcat(self, address: str, inside: bool, *argv, stdin: bytes = b"") -> str:
        if not inside:
            return self.docker.run("kcat", "-b", address, *argv, stdin=stdin, timeout_s=RECORD_S).stdout.decode()
        network = ["run", "--rm", "-i", "--network", "t_default", images.kcat(), "-b", address, *argv]
        return self.docker.run("/usr/bin/docker", *network, stdin=stdin, timeout_s=RECORD_S).stdout.decode()

    def try_address(self, address: str, inside: bool, record: str):
        """The listing by this address names it; a record goes in and comes out by it."""
        listing = wait_for(lambda: self.kcat(address, inside, "-L"), START_S, f"{address} to answer", interval_s=0.3)
        assert f" at {address}" in listing, listing
        self.kcat(address, inside, "-t", "records", "-P", "-X", "acks=all", stdin=f"{record}\n".encode())
        got = self.kcat(address, inside, "-t", "records", "-C", "-o", "beginning", "-e", "-q")
        assert record in got.splitlines()


def partitions(listing: str) -> dict:
    return {name: int(n) for name, n in re.findall(r'topic "([^"]+)" with (\d+) partitions', listing)}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_file(docker, image, tmp_path, file):
    inside, outside, topics = FILES[file]
    with Project(docker, file, image, tmp_path) as project:
        for address in outside:
            project.try_address(address, False, f"by {address}")
        for address in inside:
            project.try_address(address, True, f"by {address}")
        wait_for(lambda: topics.items() <= partitions(project.kcat(outside[0], False, "-L")).items(), START_S, f"the topics {topics}",
                 interval_s=0.3)
        if file.stem == "apache-file":
            assert partitions(project.kcat(outside[0], False, "-L"))["records"] == 5
