"""SASL on the wire, by hand: frames with their headers, tokens of each mechanism. What a well-behaved client would never
send can be sent with it."""

import base64
import hashlib
import hmac
import json
import os
import socket
import struct
import time

from wire import schema

APIS = schema.load()
HANDSHAKE, API_VERSIONS, AUTHENTICATE, METADATA = 17, 18, 36, 3
CLOSED = "closed"
SILENT = "silent"


def text(value: str | None) -> bytes:
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value.encode())) + value.encode()


class Connection:
    """One connection; answers are bodies behind the correlation id, CLOSED, or SILENT after `patience` seconds."""

    def __init__(self, address: tuple, patience: float = 3):
        self.socket = socket.create_connection(address, timeout=patience)
        self.correlation_id = 0
        self.took = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def read(self):
        try:
            return self._exactly(struct.unpack(">i", self._exactly(4))[0])
        except (ConnectionError, OSError) as e:
            return SILENT if isinstance(e, TimeoutError) else CLOSED

    def send(self, payload: bytes) -> None:
        try:
            self.socket.sendall(struct.pack(">i", len(payload)) + payload)
        except OSError:
            pass

    def raw(self, token: bytes):
        self.send(token)
        return self.read()

    def ask(self, key: int, version: int, body: bytes = b"", flexible: bool = False):
        self.correlation_id += 1
        began = time.monotonic()
        self.send(struct.pack(">hhi", key, version, self.correlation_id) + text("probe") + (b"\0" if flexible else b"") + body)
        answer = self.read()
        self.took = time.monotonic() - began
        return answer if isinstance(answer, str) else answer[4:]

    def is_closed(self) -> bool:
        return self.read() == CLOSED

    # ---- what the tests ask ----

    def versions(self, version: int = 0):
        """The error of ApiVersions."""
        answer = self.ask(API_VERSIONS, version, flexible=version >= 3)
        return answer if isinstance(answer, str) else struct.unpack_from(">h", answer)[0]

    def handshake(self, mechanism: str, version: int = 1):
        """(error, mechanisms)"""
        answer = self.ask(HANDSHAKE, version, text(mechanism))
        if isinstance(answer, str):
            return answer
        error, count = struct.unpack_from(">hi", answer)
        at, names = 6, []
        for _ in range(count):
            (size,) = struct.unpack_from(">h", answer, at)
            names.append(answer[at + 2:at + 2 + size].decode())
            at += 2 + size
        return error, sorted(names)

    def authenticate(self, token: bytes, version: int = 1):
        """(error, message, token, lifetime)"""
        answer = self.ask(AUTHENTICATE, version, struct.pack(">i", len(token)) + token)
        if isinstance(answer, str):
            return answer
        error, size = struct.unpack_from(">hh", answer)
        at = 4 + max(size, 0)
        message = answer[4:at].decode() if size >= 0 else None
        (size,) = struct.unpack_from(">i", answer, at)
        told = answer[at + 4:at + 4 + size]
        lifetime = struct.unpack_from(">q", answer, at + 4 + size)[0] if version >= 1 else 0
        return error, message, told, lifetime

    def call(self, name: str, version: int, values: dict):
        """Any API by the names of the schema: the fields of its answer."""
        api = APIS[name]
        self.correlation_id += 1
        self.send(schema.encode_header(api.key, version, self.correlation_id, "probe", version in api.flexible)
                  + schema.encode_body(api, version, values))
        answer = self.read()
        return answer if isinstance(answer, str) else schema.decode_response(api, version, answer)[1]

    def is_served(self) -> bool:
        """Does Metadata get an answer?"""
        return not isinstance(self.ask(METADATA, 1, struct.pack(">i", 0)), str)


def plain(user: str, password: str, authzid: str = "") -> bytes:
    return f"{authzid}\0{user}\0{password}".encode()


class Scram:
    """The client's side."""

    def __init__(self, mechanism: str, user: str, password: str, extensions: str = "", authzid: str = ""):
        self.hash = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
        self.password = password
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.head = f"n,{'a=' + authzid if authzid else ''},"
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}{extensions}"

    def first(self) -> bytes:
        return (self.head + self.bare).encode()

    def _hmac(self, key: bytes, what: str) -> bytes:
        return hmac.new(key, what.encode(), self.hash).digest()

    def final(self, challenge: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        without = "c=biws,r=" + fields["r"]
        signed = ",".join((self.bare, challenge.decode(), without))
        key = self._hmac(salted, "Client Key")
        signature = self._hmac(hashlib.new(self.hash, key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(key, signature))
        self.expected = b"v=" + base64.b64encode(self._hmac(self._hmac(salted, "Server Key"), signed))
        return f"{without},p={base64.b64encode(proof).decode()}".encode()


def log_in(connection: Connection, mechanism: str, user: str, password: str, extensions: str = ""):
    """The whole way from the handshake on; the last answer of SaslAuthenticate."""
    assert connection.handshake(mechanism)[0] == 0
    if mechanism == "PLAIN":
        return connection.authenticate(plain(user, password))
    scram = Scram(mechanism, user, password, extensions)
    answer = connection.authenticate(scram.first())
    if answer[0] != 0:
        return answer
    answer = connection.authenticate(scram.final(answer[2]))
    assert answer[0] != 0 or answer[2] == scram.expected
    return answer


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsecured(claims: dict, header: dict | None = None) -> str:
    head = {"alg": "none"} if header is None else header
    return f"{b64url(json.dumps(head).encode())}.{b64url(json.dumps(claims).encode())}."


def bearer(token: str, head: str = "n,,", scheme: str = "Bearer") -> bytes:
    return f"{head}\x01auth={scheme} {token}\x01\x01".encode()
