"""Who means ill, or is broken, costs others nothing that they notice, and this broker a bounded amount of memory."""

import pathlib
import time

import pytest

from harness import broker as brokers
from harness.wait import wait_for

from .talk import ask, connect, dial

pytestmark = pytest.mark.once  # coordination cannot touch it

HALF = 1000
KIB_EACH = 48  # what an unfinished handshake may hold: OpenSSL's state, and the buffers of one record


def rss_kib(b) -> int:
    status = pathlib.Path(f"/proc/{b.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


@pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="a bound of this broker's memory")
def test_a_thousand_half_handshakes(broker, identities):
    """A thousand that send one byte: others are served meanwhile, and what the thousand hold is bounded and given back; they
    have ten seconds."""
    with connect(identities, broker.ports["SSL"], "1.3") as old:
        ask(old)
        before = rss_kib(broker)
        half = [dial(broker.ports["SSL"]) for _ in range(HALF)]
        try:
            times = []
            for s in half:
                s.sendall(b"\x16")
            for _ in range(100):
                begun = time.monotonic()
                ask(old)
                times.append(time.monotonic() - begun)
            with connect(identities, broker.ports["MTLS"], "1.3", identities.carol) as new:
                ask(new)
            assert sorted(times)[98] < 0.05, sorted(times)[-3:]
            assert rss_kib(broker) - before < HALF * KIB_EACH or before > 40 << 10  # with a sanitizer memory is another
            half[0].settimeout(15)
            assert half[0].recv(100) == b""  # who does not finish is closed
        finally:
            for s in half:
                s.close()
        ask(old)


@pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="a bound of this broker's turns")
def test_many_whole_handshakes_at_once(broker, identities):
    """Two hundred hellos in one moment, each of which wants a signature: who is served already hardly notices."""
    from .talk import context
    import ssl
    hello = ssl.MemoryBIO()
    try:
        context(identities, "1.3").wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = hello.read()
    with connect(identities, broker.ports["SSL"], "1.3") as old:
        ask(old)
        crowd = [dial(broker.ports["SSL"]) for _ in range(200)]
        for s in crowd:
            s.sendall(hello)
        times = []
        for _ in range(50):
            begun = time.monotonic()
            ask(old)
            times.append(time.monotonic() - begun)
        assert sorted(times)[48] < 0.1, sorted(times)[-3:]
        for s in crowd:
            assert s.recv(1) == b"\x16"
            s.close()


def test_a_hello_that_announces_much(broker, identities):
    """No memory before it comes: a hello of 128 KiB is refused when it is announced."""
    before = rss_kib(broker) if brokers.kind_under_test() == "ottla" else 0
    crowd = [dial(broker.ports["SSL"]) for _ in range(200)]
    for s in crowd:
        s.sendall(b"\x16\x03\x01\x40\x00\x01\x01\xff\x00")
    if before:
        for s in crowd:
            s.settimeout(5)
            assert s.recv(1) == b""
        assert rss_kib(broker) - before < 200 * 48 or before > 40 << 10
    for s in crowd:
        s.close()
    with connect(identities, broker.ports["SSL"], "1.3") as s:
        ask(s)


def test_garbage(broker, identities):
    """Bytes of every kind, in the clear and inside of TLS, end their connection and nothing else."""
    import os
    for i in range(60):
        with dial(broker.ports["SSL"]) as s:
            s.sendall((b"\x16\x03\x01" if i % 3 else b"") + os.urandom(16 + i * 40))
            s.settimeout(15)
            try:
                while i % 3 == 0 and s.recv(100):
                    pass
            except OSError:
                pass
    with connect(identities, broker.ports["SSL"], "1.3") as s:
        s.sendall(b"\xff" * 100)
        assert s.recv(1) == b""
    with connect(identities, broker.ports["SSL"], "1.3") as s:
        ask(s)


def test_a_client_that_goes_in_the_middle(broker, identities):
    from harness import clients
    clients.create_topic(broker, "t")
    for _ in range(20):
        s = connect(identities, broker.ports["SSL"], "1.3")
        s.sendall(b"\0\0\1\0abc")
        s.close()
    wait_for(lambda: broker.alive(), 5, "it lives")
    with connect(identities, broker.ports["SSL"], "1.3") as s:
        ask(s)
