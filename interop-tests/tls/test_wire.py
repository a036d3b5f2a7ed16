"""What is on the wire of a TLS listener; Kafka gives the same (but where it is said)."""

import socket
import ssl
import struct

import pytest

from harness import broker as brokers

from .talk import VERSIONS, alert_of, answer, ask, connect, context, dial, exactly, frame

pytestmark = pytest.mark.once  # coordination cannot touch it

ON_KAFKA = brokers.kind_under_test() == "kafka"
both = pytest.mark.parametrize("version", VERSIONS)


@both
def test_asked(shared_broker, identities, version):
    with connect(identities, shared_broker.ports["SSL"], version) as s:
        assert s.version() == f"TLSv{version}"
        assert len(ask(s)) > 100


@both
def test_certificate_required(shared_broker, identities, version):
    port = shared_broker.ports["MTLS"]
    with connect(identities, port, version, identities.carol) as s:
        ask(s)
    # Of 1.3 the alert is RFC 8446's own here, and Kafka's is that of 1.2.
    missing = "TLSV13_ALERT_CERTIFICATE_REQUIRED" if version == "1.3" and not ON_KAFKA else "SSLV3_ALERT_BAD_CERTIFICATE"
    assert alert_of(identities, port, version) == missing
    assert alert_of(identities, port, version, identities.stranger) == "SSLV3_ALERT_CERTIFICATE_UNKNOWN"


@both
def test_certificate_requested(shared_broker, identities, version):
    port = shared_broker.ports["ASKED"]
    for who in (None, identities.carol):
        with connect(identities, port, version, who) as s:
            ask(s)
    assert alert_of(identities, port, version, identities.stranger) == "SSLV3_ALERT_CERTIFICATE_UNKNOWN"


def test_older_protocol(shared_broker):
    """A hello of TLS 1.1: alert protocol_version."""
    body = b"\x03\x02" + bytes(32) + b"\0" + b"\0\x04\xc0\x13\0\x2f" + b"\x01\0"
    with dial(shared_broker.ports["SSL"]) as s:
        handshake = b"\x01" + struct.pack(">I", len(body))[1:] + body
        s.sendall(b"\x16\x03\x01" + struct.pack(">H", len(handshake)) + handshake)
        got = exactly(s, 7)
        assert got[0] == 0x15 and got[5:] == b"\x02\x46"
        assert s.recv(1) == b""


def test_plaintext_on_tls(shared_broker):
    with dial(shared_broker.ports["SSL"]) as s:
        s.sendall(frame(struct.pack(">hhih", 18, 0, 7, 1) + b"x"))
        assert exactly(s, 7) == bytes.fromhex("15030300020250")
        assert s.recv(1) == b""


def test_tls_on_plaintext(shared_broker):
    with dial(shared_broker.port) as s:
        c = ssl.create_default_context()
        with pytest.raises((ssl.SSLError, OSError)):
            c.wrap_socket(s, server_hostname="localhost")


@both
def test_many_frames_in_one_record(shared_broker, identities, version):
    with connect(identities, shared_broker.ports["SSL"], version) as s:
        s.sendall(b"".join(frame(struct.pack(">hhih", 18, 0, i, -1)) for i in range(50)))
        assert [struct.unpack_from(">i", answer(s))[0] for _ in range(50)] == list(range(50))


@both
def test_a_frame_byte_by_byte(shared_broker, identities, version):
    with connect(identities, shared_broker.ports["SSL"], version) as s:
        for byte in frame(struct.pack(">hhih", 18, 0, 7, 12) + b"a client's n"):
            s.sendall(bytes([byte]))
        assert struct.unpack_from(">i", answer(s))[0] == 7


def test_records_byte_by_byte(shared_broker, identities):
    """The socket's bytes one at a time, handshake and frame."""
    come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = context(identities, "1.3").wrap_bio(come, go, server_hostname="localhost")

    def step(s, what):
        while True:
            try:
                got = what()
                wants = False
            except ssl.SSLWantReadError:
                wants = True
            for byte in go.read():
                s.sendall(bytes([byte]))
            if not wants:
                return got
            part = s.recv(4096)
            assert part, "closed"
            come.write(part)
    with dial(shared_broker.ports["SSL"]) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step(s, o.do_handshake)
        step(s, lambda: o.write(frame(struct.pack(">hhih", 18, 0, 7, -1))))
        assert step(s, lambda: o.read(8))[4:8] == struct.pack(">i", 7)


def test_a_ticket_is_taken(shared_broker, identities):
    c = context(identities, "1.2")
    first = c.wrap_socket(dial(shared_broker.ports["SSL"]), server_hostname="localhost")
    ask(first)
    session = first.session
    first.close()
    with c.wrap_socket(dial(shared_broker.ports["SSL"]), server_hostname="localhost", session=session) as s:
        ask(s)
        assert s.session_reused or ON_KAFKA


def test_a_session_without_a_ticket_is_a_new_one(shared_broker, identities):
    c = context(identities, "1.2")
    c.options |= ssl.OP_NO_TICKET
    first = c.wrap_socket(dial(shared_broker.ports["SSL"]), server_hostname="localhost")
    ask(first)
    session = first.session
    first.close()
    with c.wrap_socket(dial(shared_broker.ports["SSL"]), server_hostname="localhost", session=session) as s:
        ask(s)
        assert not s.session_reused


def test_no_renegotiation(shared_broker, identities):
    """openssl s_client's R asks for one."""
    import subprocess
    done = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{shared_broker.ports['SSL']}",
                           "-CAfile", identities.ca.pem], input="R\n", capture_output=True, text=True, timeout=20)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stderr or ON_KAFKA, done.stderr  # Kafka closes without a word


def test_metadata_names_the_listener(shared_broker, identities):
    with connect(identities, shared_broker.ports["SSL"], "1.3") as s:
        s.sendall(frame(struct.pack(">hhihi", 3, 1, 1, -1, 0)))
        got = answer(s)
        assert struct.unpack_from(">i", got, 4)[0] == 1
        host_len = struct.unpack_from(">h", got, 12)[0]
        assert struct.unpack_from(">i", got, 14 + host_len)[0] == shared_broker.ports["SSL"]
