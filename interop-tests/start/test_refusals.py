"""Starts that have to fail: the exit status, and one sentence that is true and says what is wrong."""

import os
import re
import socket
import subprocess

import pytest

from harness import broker as brokers
from harness import paths
from harness.process import free_port

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]


def run(cwd, *args, env=None, timeout=20):
    return subprocess.run([paths.ottla_binary(), *args], cwd=cwd, capture_output=True, text=True, timeout=timeout,
                          env={"PATH": os.environ["PATH"], **(env or {})})


def refused(cwd, overrides: dict, sentence: str, env=None, file=None) -> None:
    """`sentence` is a pattern of the whole of what is said after "cannot start: "; in it DIR is the directory."""
    overrides = {"listeners": f"PLAINTEXT://127.0.0.1:{free_port()}"} | overrides
    args = [x for k, v in overrides.items() for x in ("--override", f"{k}={v}")]
    done = run(cwd, *([file] if file else []), *args, env=env)
    last = done.stderr.rstrip("\n").split("\n")[-1]
    assert done.returncode == 1 and done.stdout == "", (done.returncode, done.stderr)
    assert re.fullmatch("ottla: cannot start: " + sentence.replace("DIR", re.escape(str(cwd))), last), last


def meta(directory, **values) -> str:
    directory.mkdir()
    lines = {"version": "0"} | {k.replace("_", "."): v for k, v in values.items()}
    (directory / "meta.properties").write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
    return str(directory)


def starts(cwd, **more) -> None:
    """A broker that starts, and stops at once."""
    b = brokers.new_broker({"log.dirs": f"{cwd}/data"} | {k.replace("_", "."): v for k, v in more.items()})
    try:
        b.start()
        b.stop()
    finally:
        b.destroy()


# ---- the command line and the file ----

@pytest.mark.parametrize("args, said", [
    (["--nothing"], "unknown option --nothing"),
    (["a", "b"], "more than one file: b"),
    (["--override"], "--override wants name=value"),
])
def test_command_line(tmp_path, args, said):
    done = run(tmp_path, *args)
    assert done.returncode == 2 and done.stderr.startswith(f"ottla: {said}\nusage: ottla")


def test_override_without_a_value(tmp_path):
    done = run(tmp_path, "--override", "num.partitions")
    assert (done.returncode, done.stderr) == (1, 'ottla: cannot start: --override wants name=value, not "num.partitions"\n')


def test_file(tmp_path):
    refused(tmp_path, {}, "cannot read nowhere: No such file or directory", file="nowhere")
    (tmp_path / "p").write_text("a=b\nc=\\u12\n")
    refused(tmp_path, {}, r"p, line 2: broken \\u escape", file="p")


# ---- options ----

MAP = {"listener.security.protocol.map": "A:PLAINTEXT,B:PLAINTEXT,C:SASL_SSL,CTL:PLAINTEXT"}


@pytest.mark.parametrize("overrides, sentence", [
    ({"num.partitions": "0"}, r'option num.partitions: "0" is not allowed; it must be a whole number of 32 bits in 1\.\.'),
    ({"log.retention.hours": "0"}, "option log.retention.hours: 0 is not allowed; it must be -1 or at least 1"),
    ({"broker.id": "1001"}, r"option broker.id: 1001 must not be above reserved.broker.max.id \(1000\); raise that, or set "
                            "broker.id.generation.enable=false"),
    ({"broker.id": "1", "node.id": "2"}, r"option node.id: 2 is not broker.id \(1\); they must be the same, or one of them removed"),
    ({"broker.id": "-1", "broker.id.generation.enable": "false"},
     "option broker.id: it must be set when broker.id.generation.enable is false"),
    ({"broker.id": "-1", "reserved.broker.max.id": "2147483647"},
     "option reserved.broker.max.id: no number above 2147483647 is left to generate; lower it, or set broker.id"),
    ({"queued.max.request.bytes": "1"}, "option queued.max.request.bytes: 1 must be -1 or at least socket.request.max.bytes .104857600."),
    ({"connections.max.idle.ms": "100"}, "option connections.max.idle.ms: 100 must be below 0 or above "
                                         r"connection.failed.authentication.delay.ms \(100\)"),
    ({"max.connections.per.ip": "0"}, "option max.connections.per.ip: 0 is only allowed with max.connections.per.ip.overrides: "
                                      "nobody could connect"),
    ({"authorizer.class.name": "org.example.Mine"},
     'option authorizer.class.name: "org.example.Mine" cannot be asked, and everybody could do everything; it must be '
     "kafka.security.authorizer.AclAuthorizer or empty"),
    ({"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer", "super.users": "User:a;;User:b"},
     'option super.users: "" is not allowed; it must be a list like User:alice;User:bob, with no empty part'),
    ({"super.users": "alice"},
     'option super.users: "alice" is not allowed; it must be a list like User:alice;User:bob, with no empty part'),
    ({"process.roles": "broker"}, 'option process.roles: "broker" is a node of a cluster of several, which is not built; it must be '
                                  "broker,controller"),
    ({"process.roles": "broker,controller", "controller.quorum.voters": "1@a:1,2@b:2"},
     "option controller.quorum.voters: it names several nodes, and a cluster of several is not built; name this one alone"),
    ({"process.roles": "broker,controller", "zookeeper.connect": "127.0.0.1:1"},
     "option process.roles: with it Kafka runs KRaft and does not use zookeeper.connect; remove one of the two"),
    ({"listeners": ""}, "option listeners: at least one NAME://host:port is needed"),
    ({"listeners": "SSL://127.0.0.1:0"}, "listener SSL: option ssl.keystore.location: it is not set; a listener with TLS needs a key and its certificate"),
    (MAP | {"listeners": "CTL://127.0.0.1:0", "controller.listener.names": "CTL"},
     "option listeners: all are in controller.listener.names; at least one NAME://host:port for clients is needed"),
    (MAP | {"listeners": "A://127.0.0.1:0", "advertised.listeners": "B://h:1"}, "option advertised.listeners: B is not in listeners"),
    (MAP | {"listeners": "A://127.0.0.1:0", "advertised.listeners": "A://0.0.0.0:1"},
     "option advertised.listeners: A: clients cannot connect to 0.0.0.0; name a host that they can reach"),
    (MAP | {"listeners": "A://127.0.0.1:0", "inter.broker.listener.name": "B"}, "option inter.broker.listener.name: B is not in listeners"),
    (MAP | {"listeners": "A://127.0.0.1:0", "listener.name.a.max.connections": "x"},
     'option listener.name.a.max.connections: "x" is not allowed; it must be a whole number of 32 bits in 0..'),
    ({"max.connections.per.ip.overrides": "x"}, 'option max.connections.per.ip.overrides: "x" is not allowed; it must be text in address:count,…'),
    ({"log.dirs": ""}, "option log.dirs: at least one directory is needed"),
    ({"zookeeper.connect": "nonsense:x"}, "zookeeper.connect: nonsense:x is not host:port,host:port/chroot"),
])
def test_option(tmp_path, overrides, sentence):
    refused(tmp_path, overrides, sentence)


def test_listener_that_cannot_be_bound(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        refused(tmp_path, {"listeners": f"PLAINTEXT://127.0.0.1:{port}"},
                f"listener PLAINTEXT: cannot listen on 127.0.0.1:{port}: Address already in use")
    refused(tmp_path, {"listeners": "PLAINTEXT://no.such.host.invalid:0"}, "listener PLAINTEXT: cannot resolve no.such.host.invalid: .+")


# ---- what is in the directories ----

def test_directories(tmp_path):
    (tmp_path / "file").write_text("")
    refused(tmp_path, {"log.dirs": f"{tmp_path}/file"}, r"cannot open DIR/file/\.lock: Not a directory|cannot create DIR/file: .+")
    refused(tmp_path, {"log.dirs": "/proc/nowhere/data"}, "cannot create /proc/nowhere/data: No such file or directory")
    (tmp_path / "foreign" / "photographs").mkdir(parents=True)
    refused(tmp_path, {"log.dirs": f"{tmp_path}/foreign"},
            "DIR/foreign/photographs is a directory, but not of the form topic-partition; log.dirs must hold nothing but "
            "Kafka's partitions")
    for d, topic_id in ("x", "AAAAAAAAAAAAAAAAAAAAAQ"), ("y", "AAAAAAAAAAAAAAAAAAAAAg"):
        (tmp_path / d / "t-0").mkdir(parents=True)
        (tmp_path / d / "t-0" / "partition.metadata").write_text(f"version: 0\ntopic_id: {topic_id}")
    refused(tmp_path, {"log.dirs": f"{tmp_path}/x,{tmp_path}/y"}, "t-0 is in two log directories: DIR/. and DIR/.; move one of them away")


def test_identity(tmp_path):
    three = meta(tmp_path / "three", broker_id=3, cluster_id="abc")
    refused(tmp_path, {"log.dirs": three, "broker.id": "5"}, "broker.id is 5, but DIR/three/meta.properties says 3; set that broker.id, or other log.dirs")
    four = meta(tmp_path / "four", broker_id=4, cluster_id="abc")
    refused(tmp_path, {"log.dirs": f"{three},{four}", "broker.id": "-1"},
            "DIR/four/meta.properties says broker.id 4, another directory 3; they are of two brokers")
    other = meta(tmp_path / "other", broker_id=3, cluster_id="other")
    refused(tmp_path, {"log.dirs": f"{three},{other}", "broker.id": "3"},
            "DIR/other/meta.properties says cluster.id other, another directory abc; they are of two clusters")
    kraft = meta(tmp_path / "kraft", version=1, node_id=1, cluster_id="abc")
    refused(tmp_path, {"log.dirs": kraft}, "DIR/kraft/meta.properties has version 1: it was written in KRaft mode, which is not built; name another "
            "directory in log.dirs")
    bad = meta(tmp_path / "bad", broker_id="x")
    refused(tmp_path, {"log.dirs": bad}, "DIR/bad/meta.properties has an impossible broker.id: x")
    long = meta(tmp_path / "long", broker_id=0, cluster_id="x" * 64)
    refused(tmp_path, {"log.dirs": long}, "DIR/long/meta.properties has an impossible cluster.id")


def test_in_use(tmp_path):
    b = brokers.new_broker()
    try:
        b.start()
        refused(tmp_path, {"log.dirs": str(b.data_dir)},
                f"{b.data_dir} is in use: another broker holds the lock on {b.data_dir}/.lock")
    finally:
        b.destroy()


@pytest.mark.skipif(brokers.coordination() != "embedded", reason="skipped, because it is about Ottla's own store")
def test_coordination_store(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ottla-coordination.db").write_text("nonsense" * 1000)
    refused(tmp_path, {"log.dirs": f"{tmp_path}/data"}, "coordination store DIR/data/ottla-coordination.db: .+")


@pytest.mark.skipif(brokers.coordination() != "embedded", reason="skipped, because ZooKeeper has the cluster's id")
def test_cluster_id(tmp_path):
    starts(tmp_path, ottla_cluster_id="mine")
    assert "cluster.id=mine\n" in (tmp_path / "data" / "meta.properties").read_text()
    starts(tmp_path, ottla_cluster_id="mine")
    starts(tmp_path)
    refused(tmp_path, {"log.dirs": f"{tmp_path}/data"}, r'option ottla.cluster.id \(or CLUSTER_ID in the environment\): "other" is not '
            "the cluster of what is in log.dirs, which is mine; remove the option, or name other directories",
            env={"CLUSTER_ID": "other"})
    # The directories are moved, the store is another one's.
    (tmp_path / "data" / "meta.properties").write_text("version=0\nbroker.id=0\ncluster.id=yours\n")
    refused(tmp_path, {"log.dirs": f"{tmp_path}/data"}, "meta.properties says cluster.id=yours, but the coordination store says mine")
