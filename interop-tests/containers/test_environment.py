"""What the image's start script makes of an environment and of mounted files: a table, no engine.

docker/image/run is run as it is, by each shell that may be /bin/sh somewhere, on an empty root; in the broker's place stands
a program that says what it was given."""

import json
import os
import pathlib
import shutil
import stat
import subprocess

import pytest

from harness import broker as brokers
from harness import paths

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla's image")]

IMAGE = paths.ROOT / "docker" / "image"
STUB = """#!/usr/bin/python3 -S
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ)}))
"""
SHELLS = [shell for shell in (["dash"], ["bash"], ["/bin/busybox", "sh"]) if shutil.which(shell[0])]
DATA = {"KAFKA_LOG_DIRS": "/var/lib/kafka/data"}
LOCAL = {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://localhost:9092"}
ONE = {**DATA, "KAFKA_BROKER_ID": "1"}

# name: (environment, files, what the broker gets of KAFKA_…)
CASES = {
    "nothing": ({}, {}, {**ONE, **LOCAL}),
    "listeners": ({"KAFKA_LISTENERS": "A://:1"}, {}, {**ONE, "KAFKA_LISTENERS": "A://:1"}),
    "advertised": ({"KAFKA_ADVERTISED_LISTENERS": "A://h:1"}, {}, {**ONE, "KAFKA_ADVERTISED_LISTENERS": "A://h:1"}),
    "bitnami": ({"KAFKA_CFG_NODE_ID": "0", "KAFKA_CFG_LISTENERS": "A://:1", "ALLOW_PLAINTEXT_LISTENER": "yes",
                 "KAFKA_ENABLE_KRAFT": "yes", "KAFKA_EXTRA_FLAGS": "x"}, {},
                {**DATA, "KAFKA_CFG_NODE_ID": "0", "KAFKA_CFG_LISTENERS": "A://:1"}),
    "bitnami's volume": ({"KAFKA_CFG_NODE_ID": "0"}, {"/proc/self/mountinfo": "1 2 0:1 / /bitnami rw - ext4 x rw\n"},
                         {**LOCAL, "KAFKA_CFG_NODE_ID": "0", "KAFKA_LOG_DIRS": "/bitnami/kafka/data"}),
    "wurstmeister's volume": ({}, {"/proc/self/mountinfo": "1 2 0:1 / /kafka rw - ext4 x rw\n"},
                              {**ONE, **LOCAL, "KAFKA_LOG_DIRS": "/kafka/kafka-logs"}),
    "another volume": ({}, {"/proc/self/mountinfo": "1 2 0:1 / /bitnami2 rw - ext4 x rw\n"}, {**ONE, **LOCAL}),
    "log.dir": ({"KAFKA_LOG_DIR": "/x"}, {}, {**LOCAL, "KAFKA_LOG_DIR": "/x", "KAFKA_BROKER_ID": "1"}),
    "a file": ({}, {"/mnt/shared/config/server.properties": "node.id=4\n"}, {}),
    "an empty file": ({}, {"/etc/kafka/kafka.properties": ""}, {**ONE, **LOCAL}),
    "a file without a number in a pod": ({"POD_NAME": "k-7"}, {"/bitnami/kafka/config/server.properties": "a=b\n"},
                                         {"KAFKA_BROKER_ID": "7"}),
    "a file with a number in a pod": ({"POD_NAME": "k-7"}, {"/opt/kafka/config/server.properties": " broker.id = 3\n"}, {}),
    "the environment beside a file": ({"KAFKA_NUM_PARTITIONS": "3"}, {"/opt/bitnami/kafka/config/server.properties": "a=b"},
                                      {"KAFKA_NUM_PARTITIONS": "3"}),
    "a pod": ({"POD_NAME": "kafka-12", "HOSTNAME": "x-3"}, {}, {**DATA, **LOCAL, "KAFKA_BROKER_ID": "12"}),
    "a pod by its host": ({"POD_NAME": "kafka", "HOSTNAME": "x-3"}, {}, {**DATA, **LOCAL, "KAFKA_BROKER_ID": "3"}),
    "a pod with a number": ({"POD_NAME": "kafka-12", "KAFKA_NODE_ID": "5"}, {}, {**DATA, **LOCAL, "KAFKA_NODE_ID": "5"}),
    "an empty number": ({"KAFKA_BROKER_ID": ""}, {}, {**ONE, **LOCAL}),
    "a command for the number": ({"BROKER_ID_COMMAND": "echo 3 4 | cut -d ' ' -f 2"}, {},
                                 {**DATA, **LOCAL, "KAFKA_BROKER_ID": "4"}),
    "zookeeper": ({"KAFKA_ZOOKEEPER_CONNECT": "zk:2181"}, {},
                  {**DATA, **LOCAL, "KAFKA_ZOOKEEPER_CONNECT": "zk:2181", "KAFKA_BROKER_ID": "-1"}),
    "zookeeper in the container": ({"KAFKA_ZOOKEEPER_CONNECT": "localhost:2181"}, {"/tmp/zookeeper.properties": "clientPort=2181\n"},
                                   {**ONE, **LOCAL}),
    "zookeeper on the machine": ({"KAFKA_ZOOKEEPER_CONNECT": "localhost:2182"}, {"/tmp/zookeeper.properties": "clientPort=2181\n"},
                                 {**DATA, **LOCAL, "KAFKA_ZOOKEEPER_CONNECT": "localhost:2182", "KAFKA_BROKER_ID": "-1"}),
    "old names": ({"KAFKA_ADVERTISED_HOST_NAME": "h", "KAFKA_ADVERTISED_PORT": "9999", "KAFKA_PORT": "9095"}, {},
                  {**ONE, "KAFKA_LISTENERS": "PLAINTEXT://:9095", "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://h:9999"}),
    "an old name": ({"KAFKA_ADVERTISED_HOST_NAME": "h"}, {},
                    {**ONE, "KAFKA_LISTENERS": "PLAINTEXT://:9092", "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://h:9092"}),
    "a service in kubernetes": ({"KAFKA_PORT": "tcp://10.0.0.1:9092", "KAFKA_SERVICE_HOST": "10.0.0.1"}, {},
                                {**ONE, **LOCAL, "KAFKA_SERVICE_HOST": "10.0.0.1"}),
    "commands": ({"HOSTNAME_COMMAND": "echo h.example", "PORT_COMMAND": "echo 12",
                  "KAFKA_ADVERTISED_LISTENERS": "IN://:1,OUT://_{HOSTNAME_COMMAND}:_{PORT_COMMAND}"}, {},
                 {**ONE, "KAFKA_ADVERTISED_LISTENERS": "IN://:1,OUT://h.example:12"}),
    "a command and no listener": ({"HOSTNAME_COMMAND": "echo h"}, {},
                                  {**ONE, "KAFKA_LISTENERS": "PLAINTEXT://:9092", "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://h:9092"}),
    "a file for the log": ({"KAFKA_OTTLA_LOG_FILE": "/var/log/ottla.log"}, {},
                           {**ONE, **LOCAL, "KAFKA_OTTLA_LOG_FILE": "/var/log/ottla.log"}),
    "a secret": ({"KAFKA_SUPER_USERS_FILE": "{root}/s", "KAFKA_LOG4J_FILE": "/nowhere"}, {"/s": "User:a b$c\n"},
                 {**ONE, **LOCAL, "KAFKA_SUPER_USERS": "User:a b$c", "KAFKA_LOG4J_FILE": "/nowhere"}),
    "secrets of ssl": ({"KAFKA_SSL_KEYSTORE_FILENAME": "k.jks", "KAFKA_SSL_KEYSTORE_CREDENTIALS": "k", "KAFKA_SSL_KEY_CREDENTIALS": "y",
                        "KAFKA_SSL_TRUSTSTORE_FILENAME": "t.jks", "KAFKA_SSL_TRUSTSTORE_CREDENTIALS": "k"},
                       {"/etc/kafka/secrets/k": "pass word\n", "/etc/kafka/secrets/y": "y"},
                       {**ONE, **LOCAL, "KAFKA_SSL_KEYSTORE_LOCATION": "/etc/kafka/secrets/k.jks", "KAFKA_SSL_KEY_PASSWORD": "y",
                        "KAFKA_SSL_KEYSTORE_PASSWORD": "pass word", "KAFKA_SSL_TRUSTSTORE_PASSWORD": "pass word",
                        "KAFKA_SSL_TRUSTSTORE_LOCATION": "/etc/kafka/secrets/t.jks"}),
    "confluent-local": ({"KAFKA_LISTENERS": "PLAINTEXT://k:1,CONTROLLER://k:2,PLAINTEXT_HOST://:3"}, {},
                        {**ONE, "KAFKA_LISTENERS": "PLAINTEXT://k:1,CONTROLLER://k:2,PLAINTEXT_HOST://:3",
                         "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
                         "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT"}),
    "its listeners with protocols": ({"KAFKA_CFG_LISTENERS": "CONTROLLER://k:2", "KAFKA_CFG_CONTROLLER_LISTENER_NAMES": "X",
                                      "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:SSL"}, {},
                                     {**ONE, "KAFKA_CFG_LISTENERS": "CONTROLLER://k:2", "KAFKA_CFG_CONTROLLER_LISTENER_NAMES": "X",
                                      "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:SSL"}),
    "others": ({"KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE": "false", "KAFKA_REST_BOOTSTRAP_SERVERS": "x", "KAFKA_HEAP_OPTS": "-Xmx1G",
                "KAFKA_CREATE_TOPICS": "a:1:1\nb:2:1", "KAFKA_CREATE_TOPICS_SEPARATOR": "$'\n'"}, {},
               {**ONE, **LOCAL, "KAFKA_HEAP_OPTS": "-Xmx1G", "KAFKA_CREATE_TOPICS": "a:1:1\nb:2:1"}),
}
FILES = {"a file": "/mnt/shared/config/server.properties", "a file without a number in a pod": "/bitnami/kafka/config/server.properties",
         "a file with a number in a pod": "/opt/kafka/config/server.properties",
         "the environment beside a file": "/opt/bitnami/kafka/config/server.properties",
         "zookeeper": IMAGE / "cluster.properties", "zookeeper on the machine": IMAGE / "cluster.properties"}

REFUSED = {
    "a secret that is not there": ({"KAFKA_SUPER_USERS_FILE": "/nowhere"}, "KAFKA_SUPER_USERS_FILE: cannot read /nowhere"),
    "credentials that are not there": ({"KAFKA_SSL_KEY_CREDENTIALS": "k"}, "KAFKA_SSL_KEY_CREDENTIALS: cannot read {root}/etc/kafka/secrets/k"),
    "a pod without a number": ({"POD_NAME": "kafka", "HOSTNAME": "x"}, "POD_NAME=kafka has no number at its end"),
    "a command that fails": ({"HOSTNAME_COMMAND": "false"}, "HOSTNAME_COMMAND failed: false"),
}


class Root:
    """An empty root, with what is in the image's place of the broker."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        stub = path / "bin" / "ottla"
        stub.parent.mkdir()
        stub.write_text(STUB)
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)

    def put(self, files: dict):
        for name, text in files.items():
            file = self.path / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(self, shell: list, script: str, environment: dict, *arguments) -> subprocess.CompletedProcess:
        given = {name: value.replace("{root}", str(self.path)) for name, value in environment.items()}
        return subprocess.run([*shell, IMAGE / script, *arguments], capture_output=True, text=True, timeout=20, cwd=self.path,
                              env={"PATH": f"{self.path}/bin:{os.environ['PATH']}", "OTTLA_IMAGE": str(IMAGE),
                                   "OTTLA_IMAGE_ROOT": str(self.path), **given})

    def told(self, done: subprocess.CompletedProcess) -> tuple:
        """(arguments, options of the environment) that the broker gets, with paths as in an image."""
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        plain = {k: v.replace(str(self.path), "") for k, v in told["environment"].items() if k.startswith("KAFKA_")}
        return [a.replace(str(self.path), "") for a in told["arguments"]], plain


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda s: pathlib.Path(s[0]).name)
@pytest.mark.parametrize("name", CASES)
def test_case(root, name, shell):
    environment, files, options = CASES[name]
    root.put(files)
    arguments, got = root.told(root.run(shell, "run", environment, "--override", "a=b c"))
    assert got == options
    assert arguments == [*([str(FILES[name])] if name in FILES else []), "--override", "a=b c"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(root, name):
    environment, words = REFUSED[name]
    done = root.run(SHELLS[0], "run", environment)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"ottla: cannot start: {words.replace('{root}', str(root.path))}")


# name: (environment, files, who is asked)
HEALTH = {
    "nothing": ({}, {}, "localhost:9092"),
    "all addresses": ({"KAFKA_LISTENERS": "CONTROLLER://:9093,PLAINTEXT://0.0.0.0:9094", "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER"},
                      {}, "localhost:9094"),
    "by its name": ({"KAFKA_CFG_LISTENERS": "A://broker:1,B://:2"}, {}, "broker:1"),
    "advertised": ({"KAFKA_ADVERTISED_LISTENERS": "A://h:1,B://i:2"}, {}, "localhost:1"),
    "old names": ({"KAFKA_ADVERTISED_HOST_NAME": "h", "KAFKA_PORT": "3"}, {}, "localhost:3"),
    "a file": ({}, {"/mnt/shared/config/server.properties": "controller.listener.names=C\nlisteners = C://:1, D://[::]:5\n"}, "localhost:5"),
}


@pytest.mark.parametrize("name", HEALTH)
def test_health(root, name):
    environment, files, server = HEALTH[name]
    root.put(files)
    arguments, _ = root.told(root.run(SHELLS[0], "health", environment, "--timeout-ms", "5"))
    assert arguments == ["health", "--bootstrap-server", server, "--timeout-ms", "5"]
