"""What somebody without a password may try."""

import concurrent.futures
import socket
import struct
import time

import pytest

from harness import broker as brokers
from harness.wait import wait_for

from .frames import CLOSED, SILENT, Connection, Scram, log_in, plain, unsecured, bearer
from .settings import Sasl
from .test_order import make_user

pytestmark = [pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla"), pytest.mark.once]
LOGIN_S = 10


@pytest.fixture(scope="module")
def sasl():
    with Sasl(more={"ottla.log.level": "TRACE", "connection.failed.authentication.delay.ms": 300}) as s:
        make_user(s, "victim", "SCRAM-SHA-256", "SCRAM-SHA-512")
        yield s


@pytest.fixture
def c(sasl):
    with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
        yield c


def rss_kib(sasl) -> int:
    with open(f"/proc/{sasl.broker.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def test_goes_on_after_a_refusal(c):
    """Everything in one write: what stands behind the refusal gets nothing."""
    def frame(key, body):
        payload = struct.pack(">hhi", key, 1, 7) + b"\0\0" + body
        return struct.pack(">i", len(payload)) + payload
    wrong, right = (struct.pack(">i", len(t)) + t for t in (plain("alice", "wrong"), plain("alice", "alice-secret")))
    c.socket.sendall(frame(17, b"\0\5PLAIN") + frame(36, wrong) + frame(36, right) + frame(3, struct.pack(">i", -1)))
    assert c.read()[4:6] == b"\0\0" and c.read()[4:6] == struct.pack(">h", 58)
    assert c.read() == CLOSED


def test_scram_proof_is_passed_over(c):
    """A client that does not look at the refusal of its proof."""
    c.handshake("SCRAM-SHA-256")
    scram = Scram("SCRAM-SHA-256", "victim", "guess")
    assert c.authenticate(scram.final(c.authenticate(scram.first())[2]))[0] == 58
    assert not c.is_served()


def test_final_message_is_replayed(sasl, c):
    scram = Scram("SCRAM-SHA-256", "victim", "victim-secret")
    c.handshake("SCRAM-SHA-256")
    final = scram.final(c.authenticate(scram.first())[2])
    assert c.authenticate(final)[0] == 0
    with Connection(sasl.address["SASL_PLAINTEXT"]) as other:
        other.handshake("SCRAM-SHA-256")
        other.authenticate(scram.first())
        assert other.authenticate(final)[0] == 58
    with Connection(sasl.address["SASL_PLAINTEXT"]) as other:  # with the nonce of this login, and the old proof
        other.handshake("SCRAM-SHA-256")
        nonce = dict(p.split(b"=", 1) for p in other.authenticate(scram.first())[2].split(b","))[b"r"]
        assert other.authenticate(b"c=biws,r=" + nonce + b",p=" + final.rsplit(b",p=", 1)[1])[0] == 58


def test_who_is_there_is_not_told(sasl):
    """A user that is not there is challenged like one that is, each time with the same salt."""
    def challenge(user: str) -> dict:
        with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
            c.handshake("SCRAM-SHA-256")
            error, _, told, _ = c.authenticate(Scram("SCRAM-SHA-256", user, "x").first())
            assert error == 0
            return dict(p.split("=", 1) for p in told.decode().split(","))
    first, again, other = challenge("nobody"), challenge("nobody"), challenge("nobody2")
    assert first["s"] == again["s"] != other["s"] and first["r"] != again["r"]
    assert first["i"] == challenge("victim")["i"]
    sasl.broker.restart()
    assert challenge("nobody")["s"] == first["s"]


def test_frames_are_announced(sasl):
    """A thousand clients announce half a MiB each and send one byte of it."""
    before = rss_kib(sasl)
    clients = []
    try:
        for _ in range(1000):
            s = socket.create_connection(sasl.address["SASL_PLAINTEXT"])
            s.sendall(struct.pack(">i", 500_000) + b"\0")
            clients.append(s)
        with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
            assert log_in(c, "PLAIN", "alice", "alice-secret")[0] == 0 and c.is_served()
        assert rss_kib(sasl) - before < 8 << 10
    finally:
        for s in clients:
            s.close()


@pytest.mark.whole
def test_the_time_for_a_login(sasl):
    """It is counted from the connection on, whatever is sent meanwhile; whoever has logged in stays."""
    began = time.monotonic()
    with Connection(sasl.address["SASL_PLAINTEXT"], LOGIN_S + 5) as silent, \
            Connection(sasl.address["SASL_PLAINTEXT"], LOGIN_S + 5) as slow, \
            Connection(sasl.address["SASL_PLAINTEXT"], LOGIN_S + 5) as served:
        log_in(served, "PLAIN", "alice", "alice-secret")
        slow.handshake("SCRAM-SHA-256")
        slow.socket.sendall(struct.pack(">i", 1000))
        while time.monotonic() - began < LOGIN_S - 1:
            slow.socket.sendall(b"\0")
            time.sleep(1)
        assert slow.read() == CLOSED and silent.read() == CLOSED
        assert LOGIN_S - 0.5 < time.monotonic() - began < LOGIN_S + 3
        assert served.is_served()


def test_others_are_not_held_up_by_a_refusal(sasl):
    """Refusals wait; logins that are right do not."""
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        def guess():
            with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
                assert log_in(c, "PLAIN", "alice", "wrong")[0] == 58
                return c.took
        guesses = [pool.submit(guess) for _ in range(200)]
        took = []
        while not all(g.done() for g in guesses):
            with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
                began = time.monotonic()
                assert log_in(c, "PLAIN", "alice", "alice-secret")[0] == 0
                took.append(time.monotonic() - began)
        assert all(g.result() >= 0.29 for g in guesses)
    assert sorted(took)[len(took) // 2] < 0.1, took


def test_no_secret_is_told(sasl):
    """Not in the log at its highest level, and not in what the broker says of its options."""
    token = unsecured({"sub": "planted-subject", "exp": time.time() + 60})
    with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
        log_in(c, "PLAIN", "alice", "planted-guess")
    with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
        log_in(c, "PLAIN", "alice", "alice-secret")
        described = str(c.call("DescribeConfigs", 4, {"resources": [
            {"resource_type": 4, "resource_name": "0", "configuration_keys": None}], "include_synonyms": True}))
    with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
        c.handshake("OAUTHBEARER")
        assert c.authenticate(bearer(token))[0] == 0
    with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
        scram = Scram("SCRAM-SHA-256", "victim", "victim-secret")
        c.handshake("SCRAM-SHA-256")
        final = scram.final(c.authenticate(scram.first())[2])
        assert c.authenticate(final)[0] == 0
    said = sasl.broker.said()
    for secret in ("alice-secret", "admin-secret", "planted-guess", "victim-secret", "a secret of all brokers",
                   token.split(".")[1], final.decode().rsplit(",p=", 1)[1]):
        assert secret not in said and secret not in described, secret


@pytest.mark.whole
def test_known_and_unknown_take_the_same_time(sasl):
    """10,000 tries: the medians of both are less apart than half of what either varies by."""
    def first_step(user: str) -> float:
        with Connection(sasl.address["SASL_PLAINTEXT"]) as c:
            c.handshake("SCRAM-SHA-256")
            c.authenticate(Scram("SCRAM-SHA-256", user, "x").first())
            return c.took
    known, unknown = [], []
    for _ in range(5000):
        known.append(first_step("victim"))
        unknown.append(first_step("nobody"))
    known.sort(), unknown.sort()
    spread = known[3750] - known[1250]
    assert abs(known[2500] - unknown[2500]) < max(spread / 2, 20e-6), (known[2500], unknown[2500], spread)
