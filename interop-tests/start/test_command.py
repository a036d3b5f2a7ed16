"""The command's own options: --ready-file, --create-topic, --in-memory, --check."""

import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import Process
from harness.wait import wait_for

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

MEMORY = paths.memory()
ON_A_FREE_PORT = ["--override", "listeners=PLAINTEXT://127.0.0.1:0"]


def run(*args, cwd=None, env=None):
    return subprocess.run([paths.ottla_binary(), *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=30,
                          env={"PATH": os.environ["PATH"], **(env or {})})


@pytest.fixture
def started(tmp_path):
    """Starts brokers that say where they are by a ready file; (process, where) of each."""
    processes = []

    def start(*args, listeners=ON_A_FREE_PORT, env=None):
        ready = tmp_path / f"ready-{len(processes)}"
        process = Process("ottla", [paths.ottla_binary(), *listeners, "--ready-file", ready, *args], tmp_path / "log",
                          cwd=tmp_path, env=env)
        processes.append(process)
        wait_for(lambda: ready.exists() or not process.running(), 20, "the ready file")
        assert process.running(), process.tail()
        return process, ready
    yield start
    for process in processes:
        process.kill()


def where(ready) -> str:
    return dict(line.split("=", 1) for line in ready.read_text().splitlines())["PLAINTEXT"]


def topics(server) -> str:
    return run("topics", "--bootstrap-server", server, "--describe").stdout


# ---- the ready file ----

def test_ready_file(started, tmp_path):
    process, ready = started("--override", "log.dirs=data")
    assert re.fullmatch(r"PLAINTEXT=127\.0\.0\.1:\d+\n", ready.read_text())
    assert run("health", "--bootstrap-server", where(ready)).returncode == 0  # at once: it is served
    process.signal(signal.SIGTERM)
    wait_for(lambda: not ready.exists(), 20, "the file to go")
    assert process.wait(20) == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("ready")] == []


def test_ready_file_of_several_listeners(started):
    _, ready = started("--override", "log.dirs=data", "--override", "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT",
                       "--override", "inter.broker.listener.name=A", listeners=["--override", "listeners=A://127.0.0.1:0,B://:0"])
    names = dict(line.split("=", 1) for line in ready.read_text().splitlines())
    assert list(names) == ["A", "B"] and names["B"].startswith("localhost:")
    for server in names.values():
        assert run("health", "--bootstrap-server", server).returncode == 0


def test_ready_file_of_one_that_was_killed(started, tmp_path):
    process, ready = started("--override", "log.dirs=data")
    process.kill()
    assert ready.exists()  # nobody was there to remove it
    with socket.create_server(("127.0.0.1", 0)) as s:  # a start that fails: the file must not say that it is ready
        done = run("--override", f"listeners=PLAINTEXT://127.0.0.1:{s.getsockname()[1]}", "--ready-file", ready, cwd=tmp_path)
    assert done.returncode == 1 and not ready.exists()


def test_ready_file_that_cannot_be(tmp_path):
    done = run(*ON_A_FREE_PORT, "--ready-file", tmp_path / "none" / "ready", cwd=tmp_path)
    assert done.returncode == 1
    assert f"ottla: cannot start: --ready-file {tmp_path}/none/ready: No such file or directory" in done.stderr


# ---- topics from the begin on ----

def test_create_topic(started):
    args = ["--override", "log.dirs=data", "--override", "num.partitions=4",
            "--create-topic", "one", "--create-topic=two:2", "--create-topic", "three:3:1:compact"]
    process, ready = started(*args, env={"KAFKA_CREATE_TOPICS": "four:1:1,five:5"})
    said = topics(where(ready))
    assert "unknown option" not in process.tail()
    counts = dict(re.findall(r"Topic: (\w+)\tTopicId: \S+\tPartitionCount: (\d+)", said))
    assert counts == {"one": "4", "two": "2", "three": "3", "four": "1", "five": "5"}
    assert re.findall(r"Topic: (\w+)\t.*Configs: .*cleanup.policy=compact", said) == ["three"]
    assert "Leader: none" not in said
    process.terminate()
    _, ready = started(*args)  # all are there: that is no error
    assert topics(where(ready)) == said


def test_create_topic_that_the_broker_refuses(tmp_path):
    done = run(*ON_A_FREE_PORT, "--ready-file", tmp_path / "ready", "--create-topic", "t:1:3", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "ready").exists()
    assert done.stderr.splitlines()[-1] == ("ottla: cannot start: topic t cannot be made: Replication factor: 3 larger than available "
                                            "brokers: 1.")


@pytest.mark.parametrize("text, what", [
    ("a b", "the name is not allowed"), ("", ""), ("t:0", "partitions is a number from 1 on"), ("t:x", "partitions is a number from 1 on"),
    ("t:1:0", "replication is a number from 1 on"), ("t:1:40000", "replication is a number from 1 on"),
    ("t:1:1:squash", "the last part is compact or delete"), ("t:1:1:compact:", "there is too much"),
])
def test_create_topic_mistakes(tmp_path, text, what):
    done = run("--create-topic", text, cwd=tmp_path)
    assert done.returncode == 2
    expected = (f'ottla: topic to create "{text}": {what}; it is name[:partitions[:replication[:compact]]]' if text
                else "ottla: --create-topic wants name[:partitions[:replication[:compact]]]")
    assert done.stderr.splitlines()[0] == expected


# ---- in memory ----

def held_in_memory(process) -> list:
    """The directories in memory that the process has open."""
    links = (os.readlink(f) for f in pathlib.Path(f"/proc/{process.pid}/fd").iterdir())
    return [pathlib.Path(x) for x in links if re.fullmatch(rf"{MEMORY}/ottla-memory-\w+", x)]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_in_memory(started, tmp_path, end):
    process, ready = started("--in-memory", "--override", f"log.dirs={tmp_path}/elsewhere", "--create-topic", "t")
    directory, = held_in_memory(process)
    assert (directory / "t-0").is_dir() and directory.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "data").exists()
    if end == "stop":
        process.terminate()
        assert not directory.exists()
    else:
        process.kill()
        wait_for(lambda: not directory.exists(), 20, "the directory to go")


def test_in_memory_after_all_was_killed(started):
    process, _ = started("--in-memory")
    directory, = held_in_memory(process)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    process.kill()
    assert directory.exists()
    other, _ = started("--in-memory")  # removes what nobody holds
    assert not directory.exists()
    third, _ = started("--in-memory")  # and nothing that somebody does
    assert held_in_memory(other)[0].is_dir() and held_in_memory(third)[0].is_dir()


def test_in_memory_is_not_for_zookeeper(tmp_path):
    before = set(MEMORY.glob("ottla-memory-*"))
    done = run("--in-memory", "--override", "zookeeper.connect=127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 1 and "--in-memory: zookeeper.connect is set" in done.stderr
    assert set(MEMORY.glob("ottla-memory-*")) - before == set()


# ---- checking a file ----

FILE = """\
broker.id=0
num.io.threads=8
background.threads=77
remote.fetch.max.wait.ms=3
ssl.keystore.password=secret
num.partitons=3
"""


def test_check(tmp_path):
    (tmp_path / "p").write_text(FILE)
    done = run("--check", "p", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == "", done
    groups = dict(re.findall(r"\n(\S.*?):\n\n((?:  .*\n)+)", done.stdout))
    assert [k.split(":")[0] for k in groups] == ["Unknown to Kafka 3.9 and to Ottla", "Without effect here", "In force"]
    unknown, without, force = groups.values()
    assert unknown == "  num.partitons=3\n" and force == "  broker.id=0\n  num.io.threads=8\n  ssl.keystore.password=***\n"
    assert "  background.threads=77\n      there is one background thread\n" in without
    assert "  remote.fetch.max.wait.ms=3\n      Kafka does not use it either without tiered storage, which is not built\n" in without
    assert "secret" not in done.stdout
    assert done.stdout.endswith("\nThe broker would start. It keeps topics in its first log directory, and its logs in /tmp/kafka-logs.\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "p"]


def test_check_tells_no_secret_by_a_mistyped_name(tmp_path):
    (tmp_path / "p").write_text("ssl.keystore.pasword=planted\nkeystore.password=planted\nzookeeper.Secret=planted\n"
                                "listener.name.plaintext.plain.sasl.jaas.confg=planted\n")
    done = run("--check", "p", cwd=tmp_path)
    assert done.returncode == 1 and "ssl.keystore.pasword=***" in done.stdout and "planted" not in done.stdout + done.stderr


@pytest.mark.parametrize("line, said, sentence", [
    ("num.partitions=0", '  num.partitions=0\n      option num.partitions: "0" is not allowed; it must be a whole number of 32 bits in 1..\n', None),
    ("authorizer.class.name=x", "", 'option authorizer.class.name: "x" cannot be asked, and everybody could do everything; it must be '
                                    "kafka.security.authorizer.AclAuthorizer or empty"),
    ("remote.log.storage.system.enable=true", "  remote.log.storage.system.enable=true\n      tiered storage is not built: what lies there could not be read\n", None),
    ("log.retention.hours=0", "", "option log.retention.hours: 0 is not allowed; it must be -1 or at least 1"),
    ("listeners=SSL://:9", "", "listener SSL: option ssl.keystore.location: it is not set; a listener with TLS needs a key and its certificate"),
])
def test_check_of_what_is_refused(tmp_path, line, said, sentence):
    (tmp_path / "p").write_text(f"{line}\nbroker.id=1\n")
    done = run("p", "--check", cwd=tmp_path)
    assert done.returncode == 1 and said in done.stdout
    if said:
        assert "\nRefused: the broker does not start with these:\n\n" + said in done.stdout
    # The sentence is the one of a start.
    start = run("p", cwd=tmp_path)
    refused = start.stderr.splitlines()[-1].removeprefix("ottla: cannot start: ")
    assert start.returncode == 1 and done.stdout.splitlines()[-1] == f"The broker would not start: {refused}"
    assert sentence is None or refused == sentence


def test_check_of_kafkas_own_file_and_the_environment(tmp_path):
    done = run("--check", "--override", "num.partitions=3", cwd=tmp_path, env={"KAFKA_LOG_DIRS": "/x"})
    assert done.returncode == 0 and done.stdout.startswith("command line and environment: ")
    assert "  num.partitions=3\n" in done.stdout and "  log.dirs=/x\n" in done.stdout


def test_help_names_every_option():
    said = run("--help").stdout
    for option in ("--override", "--in-memory", "--create-topic", "--ready-file", "--check", "--options", "--version"):
        assert f"\n  {option}" in said
    assert "\n  topics " in said and "\n  health " in said
