"""OAUTHBEARER with tokens that keys have signed: keys of a file and of an https address, that come and go; what is not
believed; and logins inside of TLS."""

import base64
import contextlib
import http.server
import json
import re
import ssl
import subprocess
import threading
import time

import pytest

from harness import broker as brokers
from harness.wait import wait_for
from tls.identities import Identities

from .frames import Connection, b64url, bearer, log_in, plain, unsecured
from .settings import VALIDATOR, Sasl

pytestmark = [pytest.mark.skipif(brokers.kind_under_test() != "ottla", reason="skipped, because it is about Ottla"), pytest.mark.once]
NAME = "SASL_PLAINTEXT"
INVALID = b'{"status":"invalid_token"}'


class Key:
    """An RSA key, and what it signs."""

    def __init__(self, directory, kid: str):
        self.kid, self.file = kid, directory / f"{kid}.key"
        subprocess.run(["openssl", "genrsa", "-out", self.file, "2048"], check=True, capture_output=True)
        said = subprocess.run(["openssl", "rsa", "-in", self.file, "-noout", "-modulus"], check=True, capture_output=True, text=True).stdout
        self.modulus = bytes.fromhex(re.search("Modulus=([0-9A-F]+)", said)[1])

    def jwk(self) -> dict:
        return {"kty": "RSA", "kid": self.kid, "use": "sig", "n": b64url(self.modulus), "e": "AQAB"}

    def token(self, claims: dict | None = None, header: dict | None = None, pss: bool = False) -> str:
        now = time.time()
        claims = {"sub": "dora", "iss": "me", "aud": ["you"], "iat": now - 1, "exp": now + 60} | (claims or {})
        head = {"alg": "PS256" if pss else "RS256", "kid": self.kid} | (header or {})
        text = f"{b64url(json.dumps(head).encode())}.{b64url(json.dumps({k: v for k, v in claims.items() if v is not None}).encode())}"
        padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if pss else []
        signature = subprocess.run(["openssl", "dgst", "-sha256", *padding, "-sign", self.file], input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{b64url(signature)}"


def keys_of(*keys) -> str:
    return json.dumps({"keys": [k.jwk() for k in keys]})


def with_keys(url: str, **more) -> Sasl:
    prefix = "listener.name.sasl_plaintext.oauthbearer."
    return Sasl(more={prefix + "sasl.server.callback.handler.class": VALIDATOR, "sasl.oauthbearer.jwks.endpoint.url": url,
                      "sasl.oauthbearer.expected.issuer": "me", "sasl.oauthbearer.expected.audience": "we,you",
                      "sasl.oauthbearer.jwks.endpoint.refresh.ms": 200} | {k.replace("_", "."): v for k, v in more.items()},
                mechanisms=["OAUTHBEARER"])


def login(s, token: str):
    with Connection(s.address[NAME]) as c:
        assert c.handshake("OAUTHBEARER")[0] == 0
        return c.authenticate(bearer(token))


def is_taken(s, token: str) -> bool:
    error, _, told, _ = login(s, token)
    assert (error, told) in ((0, b""), (0, INVALID))
    return told == b""


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return Key(tmp_path_factory.mktemp("keys"), "k1")


@pytest.fixture(scope="module")
def s(key, tmp_path_factory):
    file = tmp_path_factory.mktemp("set") / "keys.json"
    file.write_text(keys_of(key))
    with with_keys(str(file)) as s:
        s.file = file
        yield s


def test_signed(s, key):
    assert is_taken(s, key.token()) and is_taken(s, key.token(pss=True))
    assert is_taken(s, key.token({"aud": "we"})) and is_taken(s, key.token({"iat": time.time() - 60, "exp": time.time() - 20}))  # clocks differ
    error, _, _, lifetime = login(s, key.token())
    assert error == 0 and 50_000 < lifetime <= 60_000


@pytest.mark.parametrize("claims", [{"iss": "you"}, {"iss": None}, {"aud": "they"}, {"aud": None}, {"exp": 1000}, {"exp": None},
                                    {"nbf": 4_000_000_000}, {"iat": 4_000_000_000}, {"sub": None}, {"sub": 5}])
def test_claims(s, key, claims):
    assert not is_taken(s, key.token(claims))


def test_not_signed_by_it(s, key, tmp_path):
    now = time.time()
    claims = {"sub": "dora", "iss": "me", "aud": ["you"], "iat": now - 1, "exp": now + 60}
    assert not is_taken(s, unsecured(claims))  # "alg": "none", beside keys
    assert not is_taken(s, unsecured(claims, {"alg": "RS256", "kid": "k1"}))
    stranger = Key(tmp_path, "k1")
    assert not is_taken(s, stranger.token())
    assert not is_taken(s, key.token(header={"kid": "k2"})) and not is_taken(s, key.token(header={"alg": "HS256"}))
    head, body, end = key.token().split(".")
    other = b64url(json.dumps(claims | {"sub": "admin"}).encode())
    assert not is_taken(s, f"{head}.{other}.{end}") and not is_taken(s, f"{head}.{body}.{end[:-4]}AAAA")


def test_keys_change(s, key, tmp_path):
    second = Key(tmp_path, "k2")
    assert not is_taken(s, second.token())
    s.file.write_text(keys_of(key, second))
    wait_for(lambda: is_taken(s, second.token()), 10, "the new key is read")
    s.file.write_text("{")
    time.sleep(0.5)
    assert is_taken(s, second.token())  # a file that is none changes nothing
    s.file.write_text(keys_of(key))
    wait_for(lambda: not is_taken(s, second.token()), 10, "it is gone")


@contextlib.contextmanager
def https(identities, text: str):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/keys" else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identities.server.certificate, identities.server.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    return Identities(tmp_path_factory.mktemp("identities"))


def test_by_https(identities, key):
    with https(identities, keys_of(key)) as url:
        s = with_keys(url + "/keys")
        s.broker.environment["SSL_CERT_FILE"] = str(identities.ca.pem)
        with s:
            assert is_taken(s, key.token())
        for where, words, trusted in ((url + "/none", "the answer is not 200", True),
                                      (url + "/keys", "no TLS with it, or its certificate is not trusted", False)):
            s = with_keys(where)
            s.broker.environment |= {"SSL_CERT_FILE": str(identities.ca.pem)} if trusted else {}
            try:
                status, said = s.broker.start_refused(20)
                assert status == 1 and words in said
            finally:
                s.broker.destroy()


# ---- inside of TLS ----

class Secured(Connection):
    def __init__(self, address: tuple, identities, own=None):
        super().__init__(address)
        context = ssl.create_default_context(cafile=identities.ca.pem)
        if own:
            context.load_cert_chain(own.certificate, own.key)
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


@pytest.fixture(scope="module")
def tls(identities):
    """A certificate is asked for; who the client is, its login says."""
    s = Sasl("SASL_SSL", more={"ssl.keystore.type": "PEM", "ssl.keystore.location": identities.server.pem, "ssl.truststore.type": "PEM",
                               "ssl.truststore.location": identities.ca.pem,
                               "listener.name.sasl_ssl.ssl.client.auth": "requested"})
    s.broker.properties["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL"
    with s:
        yield s


def test_login_in_tls(tls, identities):
    for own in (None, identities.carol):
        with Secured(tls.address["SASL_SSL"], identities, own) as c:
            assert log_in(c, "PLAIN", "alice", "alice-secret")[0] == 0 and c.is_served()
        with Secured(tls.address["SASL_SSL"], identities, own) as c:
            assert log_in(c, "PLAIN", "alice", "wrong")[0] == 58 and c.is_closed()


@pytest.mark.parametrize("options, needed", [
    ({"ssl.client.auth": "required"}, False),
    ({"listener.name.sasl_ssl.ssl.client.auth": "required"}, True),
    ({"ssl.client.auth": "required", "listener.name.sasl_ssl.ssl.client.auth": "requested"}, False),
])
def test_who_logs_in_needs_a_certificate_where_the_listener_says_so(identities, options, needed):
    s = Sasl("SASL_SSL", mechanisms=["PLAIN"], more={
        "ssl.keystore.type": "PEM", "ssl.keystore.location": identities.server.pem, "ssl.truststore.type": "PEM",
        "ssl.truststore.location": identities.ca.pem, **options})
    s.broker.properties["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL"
    with s:
        for own, served in ((None, not needed), (identities.carol, True)):
            with Secured(s.address["SASL_SSL"], identities, own) as c:
                try:
                    got = log_in(c, "PLAIN", "alice", "alice-secret")[0] == 0
                except (AssertionError, OSError):
                    got = False
                assert got == served


def test_a_certificate_is_no_login(tls, identities):
    with Secured(tls.address["SASL_SSL"], identities, identities.carol) as c:
        assert not c.is_served()


def test_owner_of_a_token(tls, identities):
    """The principal is the login's, not the certificate's."""
    with Secured(tls.address["SASL_SSL"], identities, identities.carol) as c:
        log_in(c, "PLAIN", "alice", "alice-secret")
        made = c.call("CreateDelegationToken", 3, {"owner_principal_type": None, "owner_principal_name": None, "renewers": [], "max_lifetime_ms": -1})
        assert made["error_code"] == 0 and made["principal_name"] == "alice"
    with Secured(tls.address["SASL_SSL"], identities) as c:
        password = base64.b64encode(made["hmac"]).decode()
        assert log_in(c, "SCRAM-SHA-512", made["token_id"], password, ",tokenauth=true")[0] == 0


def test_a_large_frame_before_the_login(tls, identities):
    with Secured(tls.address["SASL_SSL"], identities) as c:
        c.handshake("PLAIN")
        assert c.authenticate(plain("alice", "x" * 500_000))[0] == 58
