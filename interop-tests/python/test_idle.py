"""A consumer that has nothing to read does not make work: the broker holds its fetches back."""

import time

import pytest

from capture.proxy import Proxy
from harness import broker as brokers
from harness import clients
from harness.life import unique
from harness.process import free_port
from harness.wait import wait_for

ck = pytest.importorskip("confluent_kafka", reason="skipped, because confluent-kafka is not installed")

FETCH = 1
WAIT_MS = 500


@pytest.fixture
def proxied():
    """A broker that clients reach through a recording proxy."""
    port = free_port()
    b = brokers.new_broker({"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"})
    proxy = Proxy(port, ("127.0.0.1", b.port))
    try:
        b.start()
        yield b, proxy, f"127.0.0.1:{port}"
    finally:
        proxy.close()
        b.destroy()


@pytest.mark.once
def test_idle_fetches_wait(proxied):
    b, proxy, bootstrap = proxied
    topic = clients.create_topic(b, unique("idle"), 3)
    c = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "idle", "auto.offset.reset": "earliest",
                     "fetch.wait.max.ms": WAIT_MS})
    c.subscribe([topic])

    def answered():
        c.poll(0.02)
        return [p for p in list(proxy.pairs) if p[1] == FETCH and p[4] is not None]
    wait_for(lambda: len(answered()) >= 2, 30, "the first fetches")
    before, start = len(answered()), time.monotonic()
    wait_for(lambda: len(answered()) >= before + 6, 30, "six more fetches")
    took = time.monotonic() - start
    c.close()
    assert took > 5 * WAIT_MS / 1000 * 0.8, f"six fetches of {WAIT_MS} ms were answered in {took:.2f} s"
