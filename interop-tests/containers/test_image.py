"""The image by itself: what is in it, who runs it, how it stops, what it keeps."""

import json
import re
import shutil

import pytest

from harness import broker as brokers
from harness.wait import wait_for

pytestmark = [pytest.mark.whole, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla's image"),
              pytest.mark.skipif(not shutil.which("kcat"), reason="skipped, because kcat is not installed")]

TOOLS = ["kafka-topics", "/opt/kafka/bin/kafka-topics.sh", "/opt/bitnami/kafka/bin/kafka-topics.sh", "kafka-topics.sh"]
SIZE_MAX = 18_000_000


class Container:
    """One that runs, with its port 9092 at the same port of the machine."""

    def __init__(self, docker, image: str, *options, command=()):
        self.docker = docker
        self.id = docker.docker("run", "-d", "-p", "9092:9092", *options, image, *command).stdout.decode().split()[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.docker.docker("rm", "-fv", self.id)

    def state(self) -> dict:
        return json.loads(self.docker.docker("inspect", self.id).stdout)[0]["State"]

    def said(self) -> str:
        return self.docker.said(self.id)

    def wait_until_ready(self):
        wait_for(lambda: "[KafkaServer id=" in self.said() or not self.state()["Running"], 30, "the broker in the container")
        assert self.state()["Running"], self.said()

    def execute(self, *argv, check: bool = True):
        return self.docker.docker("exec", self.id, *argv, check=check)

    def put(self, record: str):
        self.docker.run("kcat", "-b", "localhost:9092", "-t", "records", "-P", stdin=f"{record}\n".encode())

    def records(self) -> list:
        return self.docker.run("kcat", "-b", "localhost:9092", "-t", "records", "-C", "-e", "-q").stdout.decode().split()

    def stop(self) -> int:
        self.docker.docker("stop", "-t", "20", self.id)
        return self.state()["ExitCode"]


def test_nothing_said(docker, image):
    """`docker run` without any option but the port: clients on the machine are told localhost."""
    with Container(docker, image) as c:
        c.wait_until_ready()
        c.put("one")
        assert c.records() == ["one"]
        assert c.execute("id", "-u", "-n").stdout.split() == [b"appuser"]
        assert c.execute("cat", "/proc/1/comm").stdout.split() == [b"ottla"]
        wait_for(lambda: c.state()["Health"]["Status"] == "healthy", 30, "the health check", interval_s=0.3)
        for tool in TOOLS:
            assert c.execute(tool, "--bootstrap-server", "localhost:9092", "--list").stdout.split() == [b"records"]
        assert c.stop() == 0
        assert c.said().rstrip().endswith("stopped (broker)")


def test_size_and_labels(docker, image):
    told = json.loads(docker.docker("inspect", image).stdout)[0]
    assert told["Size"] < SIZE_MAX
    assert told["Config"]["Labels"]["org.opencontainers.image.title"] == "Ottla"
    assert told["Config"]["User"] == "appuser" and told["Config"]["StopSignal"] == "SIGTERM"
    assert "/var/lib/kafka/data" in told["Config"]["Volumes"] and "9092/tcp" in told["Config"]["ExposedPorts"]


def test_links_lead_somewhere(docker, image):
    found = docker.docker("run", "--rm", image, "sh", "-c", "find / -xdev -type l | while read l; do [ -e $l ] || echo $l; done")
    assert [line for line in found.stdout.decode().split() if not line.startswith(("/proc", "/etc/mtab"))] == []


def test_not_healthy(docker, image):
    """The check fails where the broker does not answer."""
    done = docker.docker("run", "--rm", image, "/opt/ottla/image/health", "--timeout-ms", "500", check=False)
    assert done.returncode == 1 and b"not healthy" in done.stdout + done.stderr


def test_a_tool_alone(docker, image):
    done = docker.docker("run", "--rm", image, "kafka-storage", "random-uuid")
    assert re.fullmatch(rb"[A-Za-z0-9_-]{22}\n", done.stdout)


def test_volume_outlives_container(docker, image):
    try:
        for names in (["one"], ["one", "two"]):
            with Container(docker, image, "-v", "kept:/var/lib/kafka/data") as c:
                c.wait_until_ready()
                c.put(names[-1])
                assert c.records() == names
                assert c.stop() == 0
    finally:
        docker.docker("volume", "rm", "-f", "kept")


@pytest.mark.parametrize("options", [["--user", "12345:0"], ["--read-only", "--tmpfs", "/tmp"], ["--user", "0"],
                                     ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]], ids=" ".join)
def test_hardened(docker, image, options):
    """Users that are not in the image, a root that cannot be written, no rights."""
    with Container(docker, image, *options) as c:
        c.wait_until_ready()
        c.put("one")
        assert c.records() == ["one"] and c.stop() == 0


def test_data_that_cannot_be_written(docker, image, tmp_path):
    tmp_path.chmod(0o755)
    with Container(docker, image, "-v", f"{tmp_path}:/var/lib/kafka/data") as c:
        wait_for(lambda: not c.state()["Running"], 20, "the refusal")
        assert c.state()["ExitCode"] == 1
        assert "ottla: cannot start: " in c.said() and "/var/lib/kafka/data" in c.said() and "Permission denied" in c.said()


def test_secret(docker, image, tmp_path):
    (tmp_path / "topics").write_text("from-a-file:2:1\n")
    tmp_path.chmod(0o755)
    with Container(docker, image, "-v", f"{tmp_path}:/run/secrets:ro", "-e", "KAFKA_CREATE_TOPICS_FILE=/run/secrets/topics") as c:
        c.wait_until_ready()
        assert b"from-a-file" in docker.run("kcat", "-b", "localhost:9092", "-L").stdout
