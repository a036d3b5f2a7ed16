"""The small tools: health, storage, starting and stopping, and names that are none."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import free_port
from harness.wait import wait_for

from .tools import ours

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]


# ---- health ----

def test_healthy(shared_broker):
    done = ours("health", "--bootstrap-server", shared_broker.bootstrap)
    assert done.code == 0 and done.err == ""
    assert re.fullmatch(rf"healthy: {shared_broker.bootstrap}, cluster [\w-]{{22}}, 1 broker, controller 0, 0 topics, \d+ ms\n", done.out)


def test_nobody_there():
    port = free_port()
    done = ours("health", "--bootstrap-server", f"127.0.0.1:{port}")
    assert (done.code, done.out, done.err) == (1, f"not healthy: cannot connect to 127.0.0.1:{port}: Connection refused\n", "")


def test_somebody_who_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as s:
        server = f"127.0.0.1:{s.getsockname()[1]}"
        done = ours("health", "--bootstrap-server", server, "--timeout-ms", 100)
    assert (done.code, done.out) == (1, f"not healthy: {server}, asked for ApiVersions: it did not answer in time\n")


def test_somebody_who_is_no_broker():
    with socket.create_server(("127.0.0.1", 0)) as s:
        server = f"127.0.0.1:{s.getsockname()[1]}"
        call = subprocess.Popen([paths.ottla_binary(), "health", "--bootstrap-server", server], stdout=subprocess.PIPE, text=True)
        peer, _ = s.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            out, _ = call.communicate(timeout=20)
    assert (call.returncode, out) == (1, f"not healthy: {server}, asked for ApiVersions: what came is not an answer of a Kafka broker\n")


@pytest.mark.parametrize("args", [["--nothing"], ["--timeout-ms", "0"], ["--timeout-ms", "x"], ["--timeout-ms"], ["extra"],
                                  ["--bootstrap-server", "h:99999"]])
def test_mistakes_are_2(args):
    done = ours("health", *args)
    assert done.code == 2 and done.err.startswith("ottla health: ") and "--timeout-ms" in done.err


# ---- storage ----

def test_storage(tmp_path):
    config = tmp_path / "server.properties"
    config.write_text("process.roles=broker,controller\n")
    assert re.fullmatch(r"[\w-]{22}\n", ours("storage", "random-uuid").out)
    for args in (["format", "-t", "x" * 22, "-c", config], ["format", "--ignore-formatted", "--cluster-id=a", f"--config={config}"],
                 ["info", "-c", config]):
        done = ours("storage", *args)
        assert done.code == 0 and done.err == "" and "needs no formatted directories" in done.out
    assert list(tmp_path.iterdir()) == [config]
    for args in ([], ["format"], ["format", "-t", "x"], ["format", "-t", "x", "-c", tmp_path / "none"], ["else"]):
        assert ours("storage", *args).code == 1


# ---- names ----

def test_by_the_name_of_a_link(tmp_path, shared_broker):
    for name in ("kafka-topics.sh", "kafka-topics", "kafka-broker-api-versions.sh"):
        link = tmp_path / name
        link.symlink_to(paths.ottla_binary())
        assert subprocess.run([link, "--bootstrap-server", shared_broker.bootstrap, "--list"][:3 if "api" in name else 4],
                              timeout=20).returncode == 0
    for name in ("topics", "kafka-topics", "kafka-topics.sh"):
        assert ours(name, "--bootstrap-server", shared_broker.bootstrap, "--list").code == 0


def test_unknown_names(tmp_path):
    link = tmp_path / "kafka-nothing.sh"
    link.symlink_to(paths.ottla_binary())
    for done in (subprocess.run([link], capture_output=True, text=True, timeout=20), ours("kafka-nothing.sh", cwd=tmp_path / ".."),):
        code = getattr(done, "returncode", None)
        assert (done.code if code is None else code) == 2
        said = done.err if code is None else done.stderr
        assert "kafka-nothing.sh is not among the tools that are built in; these are: health, topics, " in said
    done = ours("nothing", cwd=tmp_path)
    assert done.code == 1 and done.err.startswith("ottla: nothing is neither a file nor a tool; tools are: health, topics, ")


# ---- starting and stopping ----

def copied(tmp_path) -> pathlib.Path:
    """A binary of its own: kafka-server-stop ends all brokers that run from the same one."""
    shutil.copy(paths.ottla_binary(), tmp_path / "kafka-server-start.sh")
    os.link(tmp_path / "kafka-server-start.sh", tmp_path / "kafka-server-stop.sh")
    return tmp_path


def test_start_in_the_background_and_stop(tmp_path):
    copied(tmp_path)
    port = free_port()
    config = tmp_path / "server.properties"
    config.write_text(f"listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={tmp_path}/data\nbroker.id=3\n")
    env = {"LOG_DIR": f"{tmp_path}/logs"}
    started = subprocess.run([tmp_path / "kafka-server-start.sh", "-daemon", config, "--override", "num.partitions=2"], env=env,
                             capture_output=True, timeout=20)
    assert (started.returncode, started.stdout, started.stderr) == (0, b"", b"")
    try:
        wait_for(lambda: ours("health", "--bootstrap-server", f"127.0.0.1:{port}").code == 0, 20, "the broker in the background")
    finally:
        stopped = subprocess.run([tmp_path / "kafka-server-stop.sh"], capture_output=True, text=True, timeout=20)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "", "")
    wait_for(lambda: "stopped" in (tmp_path / "logs" / "kafkaServer.out").read_text().split("\n")[-2], 20, "the end of the broker")
    again = subprocess.run([tmp_path / "kafka-server-stop.sh"], capture_output=True, text=True, timeout=20)
    assert (again.returncode, again.stdout) == (1, "No kafka server to stop\n")


def test_stop_leaves_tools_alone(tmp_path):
    copied(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as s:
        link = tmp_path / "kafka-topics.sh"
        os.link(tmp_path / "kafka-server-stop.sh", link)
        tool = subprocess.Popen([link, "--bootstrap-server", f"127.0.0.1:{s.getsockname()[1]}", "--list"])
        try:
            s.accept()
            assert subprocess.run([tmp_path / "kafka-server-stop.sh"], timeout=20).returncode == 1
            assert tool.poll() is None
        finally:
            tool.send_signal(signal.SIGKILL)
            tool.wait()


def test_start_without_a_file(tmp_path):
    copied(tmp_path)
    done = subprocess.run([tmp_path / "kafka-server-start.sh"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "[-daemon] server.properties [--override property=value]*" in done.stderr
