"""The figures of docker/README.md: python -m containers.figures, in interop-tests, as root.

From the command that starts a container to the first answer to ApiVersions on its port; beside it Kafka 3.9.1 of build/jars
as one KRaft node, from its process on (its formatting is not counted; no container is). Five times each, the middle one."""

import json
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from harness import jvm, paths
from harness.process import Process, free_port

from . import engine as engines

_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:{controller}
listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller}
controller.listener.names=CONTROLLER
log.dirs={dir}/data
offsets.topic.replication.factor=1
"""


RETURNED = []  # what `docker run -d` took
READY = []  # from the start of the container's process to the broker's last line


def at(stamp: str) -> float:
    """Of the engine's times, which are of one day."""
    hours, minutes, seconds = stamp.split("T")[1].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            return len(s.recv(64)) > 8
    except OSError:
        return False


def seconds_until(port: int, since: float) -> float:
    while not answers(port):
        if time.monotonic() - since > 60:
            raise SystemExit("no answer within a minute")
        time.sleep(0.002)
    return time.monotonic() - since


def resident_kb(pid: int) -> int:
    (line,) = [line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


def kafka(dir: str) -> tuple:
    port, controller = free_port(), free_port()
    file = pathlib.Path(dir) / "server.properties"
    file.write_text(_PROPERTIES.format(port=port, controller=controller, dir=dir))
    java = ["-Xmx1G", "-Xms1G", f"-Dlog4j.configuration=file:{paths.INTEROP}/harness/log4j.properties", "-cp", jvm.classpath("3.9.1")]
    subprocess.run([*map(str, jvm.java(*java, "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", file))],
                   check=True, capture_output=True)
    begin = time.monotonic()
    process = Process("kafka", jvm.java(*java, "kafka.Kafka", file), pathlib.Path(dir) / "log")
    took = seconds_until(port, begin)
    resident = resident_kb(process.pid)
    process.terminate()
    return took, resident


def one_container(docker, image: str) -> tuple:
    """Who asks is there before the container, in the engine's network, and asks when `docker run` has returned: to connect
    before the container has its address would cost a second, the kernel's for a neighbour that did not answer."""
    asks = "import time; from containers.figures import seconds_until; input(); seconds_until(9092, time.monotonic()); print(time.monotonic())"
    asking = subprocess.Popen(docker.enter(sys.executable, "-c", asks), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    begin = time.monotonic()
    id = docker.docker("run", "-d", "-p", "9092:9092", image).stdout.decode().split()[0]
    RETURNED.append(time.monotonic() - begin)
    took = float(asking.communicate("\n", timeout=90)[0]) - begin
    resident = int(docker.docker("exec", id, "sh", "-c", "grep VmRSS /proc/1/status").stdout.split()[1])
    started = json.loads(docker.docker("inspect", id).stdout)[0]["State"]["StartedAt"]
    (ready,) = [line for line in docker.docker("logs", "-t", id).stderr.decode().splitlines() if "[KafkaServer id=" in line]
    READY.append(at(ready.split()[0]) - at(started))
    docker.docker("rm", "-fv", id)
    return took, resident


def show(name: str, measured: list) -> None:
    times, resident = zip(*measured)
    print(f"{name}: {statistics.median(times) * 1000:.0f} ms ({min(times) * 1000:.0f} to {max(times) * 1000:.0f}), "
          f"{statistics.median(resident) / 1024:.1f} MiB resident")


def main():
    why = engines.missing()
    if why:
        raise SystemExit(f"no engine: {why}")
    docker, image = engines.engine(), engines.image()
    try:
        size = json.loads(docker.docker("inspect", image).stdout)[0]["Size"]
        print(f"image: {size / 1e6:.1f} MB, docker/build's tar {(paths.BUILD / 'docker/image.tar').stat().st_size / 1e6:.1f} MB")
        show("Ottla in a container", [one_container(docker, image) for _ in range(5)])
        print(f"of it until `docker run` has returned: {statistics.median(RETURNED) * 1000:.0f} ms; "
              f"from the process in the container to the broker's ready line: {statistics.median(READY) * 1000:.0f} ms")
        measured = []
        for _ in range(5):
            with tempfile.TemporaryDirectory() as dir:
                measured.append(kafka(dir))
        show("Kafka 3.9.1 from jars", measured)
    finally:
        docker.stop()


if __name__ == "__main__":
    main()
