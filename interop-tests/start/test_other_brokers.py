"""What options do when a broker talks to other brokers: to a leader that it follows, and to its controller. The test
plays them: it tells the broker by UpdateMetadata and LeaderAndIsr that they are there, and answers what it is asked."""

import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.process import free_port
from harness.wait import wait_for
from wire import schema
from wire.player import APIS, Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]

TOPIC_ID = bytes(15) + b"\7"
PATIENCE_S = 10.0


class Asked:
    """A request that came, and the connection on which it is answered."""

    def __init__(self, at: socket.socket, frame: bytes):
        self.at, self.size, r = at, len(frame), schema.Reader(frame)
        key, self.version, self.correlation = r.fixed(">h"), r.fixed(">h"), r.fixed(">i")
        self.api = APIS[key]
        self.client = bytes(r.take(r.fixed(">h"))).decode()
        flexible = self.version in self.api.flexible
        if flexible:
            r.uvarint()
        self.fields = schema.decode_fields(self.api.request, r, self.version, flexible)

    def answer(self, values: dict) -> None:
        flexible = self.version in self.api.flexible
        head = struct.pack(">i", self.correlation) + (b"\0" if self.api.response_header_is_flexible(self.version) else b"")
        frame = head + schema.encode_fields(self.api.response, values, self.version, flexible)
        self.at.sendall(struct.pack(">i", len(frame)) + frame)


class Played:
    """Another broker's listener."""

    def __init__(self, backlog: int = 16):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.connections = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in [*self.connections, self.listener]:
            s.close()

    def accept(self, timeout_s: float = PATIENCE_S) -> socket.socket:
        self.listener.settimeout(timeout_s)
        s, _ = self.listener.accept()
        s.settimeout(timeout_s)
        self.connections.append(s)
        return s


def read(s: socket.socket) -> Asked:
    f = s.makefile("rb", buffering=0)

    def take(n: int) -> bytes:
        data = b""
        while len(data) < n:
            more = f.read(n - len(data))
            assert more, "the broker closed the connection"
            data += more
        return data
    return Asked(s, take(struct.unpack(">i", take(4))[0]))


def is_left(s: socket.socket, timeout_s: float = PATIENCE_S) -> float:
    """After how many seconds the broker closes the connection, on which nothing more comes."""
    began = time.monotonic()
    s.settimeout(timeout_s)
    assert s.recv(1) == b""
    return time.monotonic() - began


class Told:
    """A broker 0 that has been told of broker 1."""

    def __init__(self, b):
        self.b, self.topic = b, unique("t")
        self.connection = Connection("127.0.0.1", b.port)

    def ask(self, name: str, version: int, values: dict) -> dict:
        return clients.ask(self.connection, name, version, values)

    def tell_brokers(self, endpoints: dict, controller: int = 0) -> None:
        """Broker 1 listens there: ports by listeners. If it is the controller, broker 0 leads something."""
        live = [{"id": 0, "endpoints": [{"port": self.b.port, "host": "127.0.0.1", "listener": "PLAINTEXT"}]},
                {"id": 1, "endpoints": [{"port": port, "host": "127.0.0.1", "listener": name} for name, port in endpoints.items()]}]
        partition = {"partition_index": 0, "controller_epoch": 1, "leader": 0, "leader_epoch": 1, "isr": [0], "zk_version": 0, "replicas": [0, 1]}
        topic = {"topic_name": self.topic, "topic_id": TOPIC_ID, "partition_states": [partition]}
        answer = self.ask("UpdateMetadata", 8, {"controller_id": controller, "controller_epoch": 1, "broker_epoch": -1,
                                                "topic_states": [topic] if controller else [], "live_brokers": live})
        assert answer["error_code"] == 0

    def tell_roles(self, leader: int, isr: list, partitions: int = 1, epoch: int = 1) -> None:
        states = [{"partition_index": i, "controller_epoch": 1, "leader": leader, "leader_epoch": epoch, "isr": isr,
                   "partition_epoch": 0, "replicas": [0, 1], "is_new": True} for i in range(partitions)]
        answer = self.ask("LeaderAndIsr", 7, {"controller_id": 0, "controller_epoch": 1, "broker_epoch": -1, "live_leaders": [],
                                              "topic_states": [{"topic_name": self.topic, "topic_id": TOPIC_ID, "partition_states": states}]})
        assert answer["error_code"] == 0 and all(p["error_code"] == 0 for p in answer["topics"][0]["partition_errors"])

    def follow(self, leader: Played, partitions: int = 1) -> None:
        self.tell_brokers({"PLAINTEXT": leader.port})
        self.tell_roles(1, [1, 0], partitions)

    def want_isr(self) -> None:
        """Broker 0 leads, and broker 1, which has all, is to be in sync: the controller is asked for it."""
        self.tell_roles(0, [0])
        self.ask("Fetch", 12, {"replica_id": 1, "max_wait_ms": 0, "min_bytes": 1, "topics": [{"topic": self.topic, "partitions": [
            {"partition": 0, "current_leader_epoch": 1, "fetch_offset": 0, "partition_max_bytes": 1000}]}]})


class Running:
    def __init__(self, **options):
        self.b = brokers.new_broker({k.replace("_", "."): str(v) for k, v in options.items()})

    def __enter__(self) -> Told:
        return Told(self.b.start())

    def __exit__(self, *_):
        self.b.destroy()


def fetch_error(asked: Asked, error: int) -> None:
    asked.answer({"session_id": 0, "responses": [{"topic_id": TOPIC_ID, "partitions": [{"partition_index": 0, "error_code": error, "high_watermark": -1}]}]})


# ---- a leader that is followed ----


def test_fetch_fields():
    with Played() as leader, Running(replica_fetch_wait_max_ms=123, replica_fetch_min_bytes=7, replica_fetch_max_bytes=11111,
                                     replica_fetch_response_max_bytes=22222) as told:
        told.follow(leader)
        asked = read(leader.accept())
        assert (asked.api.name, asked.version, asked.client) == ("Fetch", 17, "broker-0-fetcher-0")
        assert [asked.fields[k] for k in ("max_wait_ms", "min_bytes", "max_bytes")] == [123, 7, 22222]
        assert asked.fields["topics"][0]["partitions"][0]["partition_max_bytes"] == 11111


def test_inter_broker_versions():
    with Played() as leader, Running(inter_broker_protocol_version="3.5") as told:
        told.follow(leader)
        asked = read(leader.accept())
        assert (asked.api.name, asked.version) == ("Fetch", 15)
        fetch_error(asked, 1)
        asked = read(asked.at)
        assert (asked.api.name, asked.version) == ("ListOffsets", 8)


def test_number_of_fetchers():
    with Played() as leader, Running(num_replica_fetchers=3) as told:
        told.follow(leader, partitions=12)
        names = {read(leader.accept()).client for _ in range(3)}
        assert names == {f"broker-0-fetcher-{i}" for i in range(3)}


def time_of_errors(options: dict) -> float:
    """How long it takes to be told the same error nine times."""
    with Played() as leader, Running(**options) as told:
        told.follow(leader)
        asked = read(leader.accept())
        began = time.monotonic()
        for _ in range(9):
            fetch_error(asked, 6)
            asked = read(asked.at)
        return time.monotonic() - began


def test_longest_pause():
    assert time_of_errors({"replica_fetch_backoff_ms": 20}) < 1.5  # 10, then 20 each
    assert time_of_errors({}) > 2.2  # 10, 20, … 640, 1000, 1000


def test_silent_leader():
    with Played() as leader, Running(replica_socket_timeout_ms=200, replica_fetch_wait_max_ms=100) as told:
        told.follow(leader)
        asked = read(leader.accept())
        assert is_left(asked.at) < 5
        assert read(leader.accept()).api.name == "Fetch"


@pytest.mark.skipif(not shutil.which("ss"), reason="skipped, because there is no ss")
def test_receive_buffer():
    with Played() as leader, Running(replica_socket_receive_buffer_bytes=23456) as told:
        told.follow(leader)
        read(leader.accept())
        said = subprocess.run(["ss", "-tnmH", f"dport = :{leader.port}"], capture_output=True, text=True, check=True).stdout
        assert "rb46912," in said


# ---- a controller that is asked ----


def test_silent_controller_is_asked_again():
    with Played() as controller, Running(request_timeout_ms=200) as told:
        told.tell_brokers({"PLAINTEXT": controller.port}, controller=1)
        told.want_isr()
        for _ in range(2):
            asked = read(controller.accept())
            assert asked.api.name == "ApiVersions"
            assert is_left(asked.at) < 5


def time_of_a_connection(options: dict) -> float:
    """After how long a controller is given up whose listener takes no more connections."""
    with Played(backlog=0) as controller, Running(**options) as told:
        waiting = []
        for _ in range(3):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", controller.port))
            waiting.append(s)
        told.tell_brokers({"PLAINTEXT": controller.port}, controller=1)
        began = time.monotonic()
        told.want_isr()
        wait_for(lambda: re.search(r"does not change in-sync replicas.*timed out", told.b.said()), PATIENCE_S, "the connection to be given up")
        for s in waiting:
            s.close()
        return time.monotonic() - began


def test_connection_is_given_up():
    assert time_of_a_connection({"socket_connection_setup_timeout_ms": 200}) < 5
    assert time_of_a_connection({"socket_connection_setup_timeout_ms": 9999, "socket_connection_setup_timeout_max_ms": 200}) < 5


def test_control_plane():
    """The controller's listener is asked, and not that of the other brokers."""
    with Played() as plane, Played() as data:
        b = brokers.new_broker({"control.plane.listener.name": "CONTROL", "listener.security.protocol.map": "CONTROL:PLAINTEXT,PLAINTEXT:PLAINTEXT"})
        b.properties["listeners"] += f",CONTROL://127.0.0.1:{free_port()}"
        try:
            told = Told(b.start())
            told.tell_brokers({"PLAINTEXT": data.port, "CONTROL": plane.port}, controller=1)
            told.want_isr()
            assert read(plane.accept()).api.name == "ApiVersions"
        finally:
            b.destroy()


# ---- a broker that stops ----


def stopping(options: dict, answers: list) -> list:
    """A broker is stopped, and its controller gives these answers (None: none). Which requests came."""
    with Played() as controller, Running(**options) as told:
        told.tell_brokers({"PLAINTEXT": controller.port}, controller=1)
        told.b.process.signal(signal.SIGTERM)
        came = []
        for error in answers:
            try:
                asked = read(controller.accept(3))
            except TimeoutError:
                break
            came.append(time.monotonic())
            assert (asked.api.name, asked.version, asked.fields["broker_id"]) == ("ControlledShutdown", 3, 0)
            if error is not None:
                asked.answer({"error_code": error, "remaining_partitions": []})
        told.b.process.wait(PATIENCE_S)
        told.b.process = None
        return came


def test_controlled_shutdown():
    assert len(stopping({}, [0, 0])) == 1
    assert stopping({"controlled_shutdown_enable": "false"}, [0]) == []


def test_controlled_shutdown_again():
    came = stopping({"controlled_shutdown_max_retries": 2, "controlled_shutdown_retry_backoff_ms": 300}, [77, 77, 77])
    assert len(came) == 2 and 0.299 <= came[1] - came[0] < 3  # timers count whole milliseconds


def test_controlled_shutdown_in_silence():
    assert len(stopping({"controlled_shutdown_max_retries": 2, "controlled_shutdown_retry_backoff_ms": 1,
                         "controller_socket_timeout_ms": 200}, [None, None])) == 2
