"""A broker with TLS listeners."""

import pytest

from harness import broker as brokers
from harness.process import free_port

from .identities import Identities

RULES = r"RULE:^.*CN=(Carol),.*O=Acme.*$/mapped-$1/L,DEFAULT"


@pytest.fixture(scope="session")
def identities(tmp_path_factory):
    return Identities(tmp_path_factory.mktemp("identities"))


def with_tls(b, identities, **more) -> dict:
    """Listeners SSL (nobody is asked for a certificate), MTLS (required), ASKED (requested); returns their ports."""
    ports = {name: free_port() for name in ("SSL", "MTLS", "ASKED")}
    b.properties |= {
        "listeners": ",".join([b.properties["listeners"], *(f"{name}://127.0.0.1:{port}" for name, port in ports.items())]),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,MTLS:SSL,ASKED:SSL",
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": identities.server.pem,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": identities.ca.pem,
        "listener.name.mtls.ssl.client.auth": "required",
        "listener.name.asked.ssl.client.auth": "requested",
        "ssl.principal.mapping.rules": RULES.replace("\\", "\\\\"),
    } | more
    return ports


def running(identities):
    b = brokers.new_broker()
    b.ports = with_tls(b, identities)
    try:
        yield b.start()
    finally:
        b.destroy()


@pytest.fixture(scope="module")
def shared_broker(identities):
    yield from running(identities)


@pytest.fixture
def broker(identities):
    yield from running(identities)
