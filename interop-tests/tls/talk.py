"""TLS from Python: raw enough to see alerts and records."""

import socket
import ssl
import struct

# ApiVersions v0, and what it is answered begins with: the correlation id.
ASK = struct.pack(">hhih", 18, 0, 7, 1) + b"x"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(identities, version: str, who=None) -> ssl.SSLContext:
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.load_verify_locations(identities.ca.pem)
    c.minimum_version = c.maximum_version = VERSIONS[version]
    if who:
        c.load_cert_chain(who.certificate, who.key)
    return c


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def connect(identities, port: int, version: str, who=None, session=None) -> ssl.SSLSocket:
    return context(identities, version, who).wrap_socket(dial(port), server_hostname="localhost", session=session)


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def exactly(s, n: int) -> bytes:
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        assert part, f"the end, after {len(got)} of {n} bytes"
        got += part
    return got


def answer(s) -> bytes:
    return exactly(s, struct.unpack(">i", exactly(s, 4))[0])


def ask(s, correlation: int = 7) -> bytes:
    s.sendall(frame(struct.pack(">hhih", 18, 0, correlation, 1) + b"x"))
    got = answer(s)
    assert struct.unpack_from(">i", got)[0] == correlation
    return got


def alert_of(identities, port: int, version: str, who=None) -> str:
    """The alert that is got, in OpenSSL's words; with 1.3 it comes at the first read."""
    try:
        with connect(identities, port, version, who) as s:
            s.recv(1)
    except ssl.SSLError as e:
        return e.reason or str(e)
    return ""
