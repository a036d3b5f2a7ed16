"""The HTTP listener: health, who may reach it, and what cannot hurt it or the broker."""

import concurrent.futures
import signal
import socket
import struct
import time

import pytest

from harness import broker as brokers
from harness import clients
from harness.process import free_port
from harness.wait import wait_for
from monitor.page import Page, get, listener_options, page, url
from start.test_other_brokers import Played, Told
from wire.player import Connection

pytestmark = [pytest.mark.once, pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla")]


@pytest.fixture(scope="module")
def broker():
    b = brokers.new_broker(listener_options()).start()
    yield b
    b.destroy()


def raw(b) -> socket.socket:
    host, port = b.properties["ottla.http.listener"].rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def serves(b) -> None:
    c = Connection("127.0.0.1", b.port)
    assert clients.ask(c, "Metadata", 5, {"topics": None, "allow_auto_topic_creation": False})["brokers"]
    c.close()


# ---- health ----

def test_paths(broker):
    assert get(broker, "/livez") == (200, "ok\n")
    for path in ("/readyz", "/v1/ready", "/v1/status/ready"):
        assert get(broker, path) == (200, "ok\n")
    assert get(broker, "/v1/broker-state") == (200, '{"brokerState": 3}\n')
    assert get(broker, "/version")[1].startswith('{"name": "ottla", "version": "')
    assert get(broker, "/public_metrics")[0] == 200
    assert get(broker, "/")[0] == get(broker, "/metrics/x")[0] == get(broker, "/../etc/passwd")[0] == 404


def test_only_reading(broker):
    with raw(broker) as s:
        s.sendall(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert s.recv(100).startswith(b"HTTP/1.1 405 ")
    with raw(broker) as s:
        s.sendall(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        while more := s.recv(1000):
            said += more
        assert said.startswith(b"HTTP/1.1 200 ") and said.endswith(b"\r\n\r\n")


def test_not_ready_before_it_serves_and_while_it_leaves():
    """A controller that does not answer keeps a broker from leaving: clients are still served, but nobody is sent."""
    options = listener_options(**{"controlled.shutdown.max.retries": 1, "controller.socket.timeout.ms": 60000})
    b = brokers.new_broker(options)
    try:
        b.launch()
        seen = set()

        def looks_ready():
            try:
                status, body = get(b, "/readyz", 2)
            except OSError:
                return False
            seen.add((status, body))
            return status == 200
        wait_for(looks_ready, 20, "the broker to be ready")
        assert seen <= {(200, "ok\n"), (503, "the broker is starting\n")}
        with Played() as controller:
            told = Told(b)
            told.tell_brokers({"PLAINTEXT": controller.port}, controller=1)
            b.process.signal(signal.SIGTERM)
            controller.accept()
            assert get(b, "/readyz") == (503, "the broker is shutting down\n")
            assert get(b, "/livez")[0] == 200 and get(b, "/v1/broker-state")[1] == '{"brokerState": 6}\n'
            assert page(b).get("kafka_server_kafkaserver_brokerstate") == 6
            serves(b)
    finally:
        b.destroy()


def test_not_ready_without_zookeeper(request):
    if brokers.coordination() != "zookeeper":
        pytest.skip("there is none in this pass")
    b = brokers.new_broker(listener_options(**{"zookeeper.session.timeout.ms": 6000})).start()
    try:
        b.zookeeper.kill()
        wait_for(lambda: get(b, "/readyz") == (503, "ZooKeeper is out of reach\n"), 20, "the broker to notice")
        assert get(b, "/livez")[0] == 200
        b.zookeeper.start()
        wait_for(lambda: get(b, "/readyz")[0] == 200, 30, "the broker to be ready again")
        assert page(b).get("kafka_server_sessionexpirelistener_zookeeperdisconnects_total") >= 1
    finally:
        if not b.zookeeper.process:
            b.zookeeper.start()
        b.destroy()


# ---- the address ----

@pytest.mark.parametrize("address, words", [
    ("0.0.0.0:{}", "0.0.0.0:{} can be reached from other machines, and who reaches it needs no password"),
    ("[::1]:{}", "::1: the HTTP server of this build knows IPv4 only"),
    ("9644", '"9644" is not host:port'),
    ("localhost:", '"localhost:" is not host:port'),
    ("localhost:70000", '"localhost:70000" is not host:port'),
    ("no.such.host.invalid:1", "cannot resolve no.such.host.invalid"),
])
def test_addresses_that_are_refused(address, words):
    port = free_port()
    b = brokers.new_broker({"ottla.http.listener": address.format(port)})
    try:
        status, said = b.start_refused(10)
        assert status == 1 and f"cannot start: option ottla.http.listener: {words.format(port)}" in said
    finally:
        b.destroy()


def test_a_name():
    """Often it has an address of IPv6 too, and that first."""
    port = free_port()
    b = brokers.new_broker({"ottla.http.listener": f"localhost:{port}"}).start()
    try:
        assert get(b, "/livez")[0] == 200
    finally:
        b.destroy()


def test_address_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        b = brokers.new_broker({"ottla.http.listener": f"127.0.0.1:{other.getsockname()[1]}"})
        try:
            status, said = b.start_refused(10)
            assert status == 1 and "option ottla.http.listener: cannot listen on 127.0.0.1:" in said
        finally:
            b.destroy()


def test_other_machines_if_that_is_meant():
    port = free_port()
    b = brokers.new_broker({"ottla.http.listener": f"0.0.0.0:{port}", "ottla.http.allow.remote": "true"}).start()
    try:
        b.properties["ottla.http.listener"] = f"127.0.0.1:{port}"
        assert get(b, "/livez")[0] == 200
    finally:
        b.destroy()


def test_off_unless_it_is_set():
    b = brokers.new_broker().start()
    try:
        assert "http=" not in b.said()
    finally:
        b.destroy()


# ---- what hurts nobody ----

def test_garbage(broker):
    for bytes_ in (b"\0" * 1000, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"A" * 100000,
                   b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 10000, b"POST /livez HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with raw(broker) as s:
            try:
                s.sendall(bytes_)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
    assert get(broker, "/livez")[0] == 200
    serves(broker)


def test_one_protocol_at_the_port_of_the_other(broker):
    with raw(broker) as s:
        request = struct.pack(">hhih", 18, 0, 1, -1)
        s.sendall(struct.pack(">i", len(request)) + request)
        s.shutdown(socket.SHUT_WR)
        s.recv(1000)
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as s:
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert s.recv(1000) == b""
    assert get(broker, "/livez")[0] == 200
    serves(broker)


def test_a_hundred_at_a_time(broker):
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        pages = list(pool.map(lambda _: page(broker), range(100)))
    assert all(p.get("kafka_server_kafkaserver_brokerstate") == 3 for p in pages)


def test_slow_scrapers(broker):
    """They take a little and stop: others are answered, and so are clients."""
    slow = [raw(broker) for _ in range(10)]
    try:
        for s in slow:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            s.recv(100)
        began = time.monotonic()
        assert get(broker, "/livez")[0] == 200 and page(broker)
        serves(broker)
        assert time.monotonic() - began < 8
    finally:
        for s in slow:
            s.close()


def test_who_never_asks(broker):
    """They connect, some send a part of a request, and wait: a probe gets its answer."""
    slow = [raw(broker) for _ in range(60)]
    try:
        for s in slow[:30]:
            s.sendall(b"GET /livez HTTP/1.1\r\n")
        began = time.monotonic()
        assert get(broker, "/livez")[0] == 200
        assert time.monotonic() - began < 10
    finally:
        for s in slow:
            s.close()


def test_a_stop_waits_for_no_scraper():
    b = brokers.new_broker(listener_options()).start()
    try:
        b.create_topic("t", 500)
        with raw(b) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            s.recv(100)
            began = time.monotonic()
            b.stop()
            assert time.monotonic() - began < 15
    finally:
        b.destroy()


def test_a_stop_is_at_once():
    """The HTTP server's threads sleep for seconds: they are woken."""
    b = brokers.new_broker(listener_options()).start()
    try:
        began = time.monotonic()
        b.stop()
        assert time.monotonic() - began < 1
    finally:
        b.destroy()
