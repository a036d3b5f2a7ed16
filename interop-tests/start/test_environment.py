"""Environments that Kafka's images run: the broker is the one that they describe."""

import pathlib

import pytest

from harness import broker as brokers
from harness import clients, paths
from harness.process import Process, free_port
from harness.wait import wait_for
from wire.player import Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]


class Started:
    """A broker that has nothing but an environment."""

    def __init__(self, cwd: pathlib.Path, **env):
        self.cwd = cwd
        self.process = Process("ottla", [paths.ottla_binary()], cwd / "log", cwd=cwd, env=env)
        try:
            wait_for(lambda: "[KafkaServer id=" in self.said() or not self.process.running(), 10, "the broker to start")
            assert self.process.running(), self.said()
        except AssertionError:
            self.process.kill()
            raise

    def said(self) -> str:
        return (self.cwd / "log").read_text()

    def warnings(self) -> list:
        return [line for line in self.said().splitlines() if " WARN " in line]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()


def metadata(port: int) -> dict:
    """Metadata v9's answer on this port: brokers, cluster_id."""
    c = Connection("127.0.0.1", port)
    try:
        return clients.ask(c, "Metadata", 9, {"topics": []})
    finally:
        c.close()


def test_one_kraft_node(tmp_path):
    """The compose file of apache/kafka: one node that is broker and controller."""
    port, advertised = free_port(), free_port()
    with Started(tmp_path, KAFKA_NODE_ID="7", CLUSTER_ID="5L6g3nShT-eMCtK--X86sw", KAFKA_PROCESS_ROLES="broker,controller",
                 KAFKA_LISTENERS=f"CONTROLLER://127.0.0.1:29093,PLAINTEXT_HOST://127.0.0.1:{port},PLAINTEXT://127.0.0.1:0",
                 KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT_HOST://localhost:{advertised},PLAINTEXT://broker:19092,"
                                            "CONTROLLER://broker:29093",
                 KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
                 KAFKA_CONTROLLER_QUORUM_VOTERS="7@broker:29093", KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
                 KAFKA_INTER_BROKER_LISTENER_NAME="PLAINTEXT", KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
                 KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0", KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
                 KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1", KAFKA_LOG_DIRS=str(tmp_path / "logs"),
                 KAFKA_HEAP_OPTS="-Xmx1G", KAFKA_LOG4J_ROOT_LOGLEVEL="WARN") as b:
        assert b.warnings() == []
        told = metadata(port)
        assert told["cluster_id"] == "5L6g3nShT-eMCtK--X86sw"
        assert [(n["node_id"], n["host"], n["port"]) for n in told["brokers"]] == [(7, "localhost", advertised)]
    assert "broker.id=7\n" in (tmp_path / "logs" / "meta.properties").read_text()


def test_ready_lines(tmp_path):
    """What test frameworks and scripts wait for, of either mode of Kafka: in the order in which they wait."""
    with Started(tmp_path, KAFKA_LISTENERS=f"PLAINTEXT://127.0.0.1:{free_port()}", KAFKA_BROKER_ID="5") as b:
        said = b.said()
        lines = ["listening listener=PLAINTEXT", "Kafka version: 3.9.", "Transitioning from RECOVERY to RUNNING",
                 "Kafka Server started", "[KafkaServer id=5] started"]
        assert sorted(lines, key=said.find) == lines and said.find(lines[0]) > 0


def test_advertised_alone(tmp_path):
    """The images then listen on all addresses, at the ports that are advertised; ours needs no host either."""
    port = free_port()
    with Started(tmp_path, KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://:{port}", KAFKA_LOG_DIR="elsewhere") as b:
        assert b.warnings() == []
        (node,) = metadata(port)["brokers"]
        assert node["node_id"] == 0 and node["port"] == port and node["host"]
    assert (tmp_path / "elsewhere" / "meta.properties").exists() and not (tmp_path / "data").exists()


def test_what_is_passed_over_is_said_once(tmp_path):
    port = free_port()
    with Started(tmp_path, KAFKA_LISTENERS=f"PLAINTEXT://127.0.0.1:{port}", KAFKA_BACKGROUND_THREADS="4", KAFKA_SSL_KEYSTORE_LOCATION="/x",
                 KAFKA_CONFLUENT_SUPPORT_METRICS_ENABLE="false", KAFKA_ZOOKEEPER_SET_ACL="true") as b:
        assert sorted(line.partition(" WARN ")[2] for line in b.warnings()) == [
            'option passed over name=background.threads reason="there is one background thread" (config)',
            "unknown option, ignored name=confluent.support.metrics.enable (config)"]
