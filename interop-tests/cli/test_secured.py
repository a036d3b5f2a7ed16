"""The tools by TLS and SASL: --command-config with the options of Kafka's clients."""

import pytest

from harness import broker as brokers
from harness.process import free_port
from tls.identities import PASSWORD, Identities

from .tools import ours

pytestmark = pytest.mark.once

MODULE = "org.apache.kafka.common.security."


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    return Identities(tmp_path_factory.mktemp("identities"))


@pytest.fixture(scope="module")
def broker(identities):
    b = brokers.new_broker()
    b.ports = {name: free_port() for name in ("MTLS", "SASL", "BOTH")}
    b.properties["listeners"] += "".join(f",{name}://127.0.0.1:{port}" for name, port in b.ports.items())
    b.properties |= {
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,MTLS:SSL,SASL:SASL_PLAINTEXT,BOTH:SASL_SSL",
        "inter.broker.listener.name": "PLAINTEXT", "ssl.keystore.type": "PEM", "ssl.keystore.location": identities.server.pem,
        "ssl.truststore.type": "PEM", "ssl.truststore.location": identities.ca.pem, "listener.name.mtls.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512"}
    for name in ("sasl", "both"):
        b.properties |= {f"listener.name.{name}.plain.sasl.jaas.config": f'{MODULE}plain.PlainLoginModule required user_u="secret";',
                         f"listener.name.{name}.scram-sha-512.sasl.jaas.config": f"{MODULE}scram.ScramLoginModule required;"}
    try:
        yield b.start()
    finally:
        b.destroy()


def login(module: str, user: str, password: str) -> str:
    return f'sasl.jaas.config={MODULE}{module} required username="{user}" password="{password}";\n'


def topics(broker, listener: str, tmp_path, text: str):
    file = tmp_path / "client.properties"
    file.write_text(text)
    return ours("topics", "--bootstrap-server", f"localhost:{broker.ports[listener]}", "--command-config", file, "--list")


def test_tls(broker, identities, tmp_path):
    trust = f"security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={identities.ca.pem}\n"
    key = f"ssl.keystore.type=PKCS12\nssl.keystore.location={identities.carol.p12}\nssl.keystore.password={PASSWORD}\n"
    assert topics(broker, "MTLS", tmp_path, trust + key).code == 0
    health = ours("health", "--bootstrap-server", f"localhost:{broker.ports['MTLS']}", "--command-config", tmp_path / "client.properties")
    assert health.code == 0 and health.out.startswith("healthy: ")
    assert topics(broker, "MTLS", tmp_path, trust).code != 0
    stranger = trust.replace(str(identities.ca.pem), str(identities.stranger.certificate))
    done = topics(broker, "MTLS", tmp_path, stranger + key)
    assert done.code != 0 and "no TLS connection to" in done.err + done.out, done


def test_sasl(broker, identities, tmp_path):
    trust = f"security.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location={identities.ca.pem}\n"
    plain = "sasl.mechanism=PLAIN\n" + login("plain.PlainLoginModule", "u", "secret")
    assert topics(broker, "BOTH", tmp_path, trust + plain).code == 0
    assert topics(broker, "SASL", tmp_path, "security.protocol=SASL_PLAINTEXT\n" + plain).code == 0
    done = topics(broker, "SASL", tmp_path, "security.protocol=SASL_PLAINTEXT\n" + plain.replace('"secret"', '"wrong"'))
    assert done.code != 0 and "Invalid username or password" in done.err + done.out, done
    assert "wrong" not in done.err + done.out
    scram = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\n" + login("scram.ScramLoginModule", "nobody", "x")
    done = topics(broker, "SASL", tmp_path, scram)
    assert done.code != 0 and "no login at" in done.err + done.out, done


@pytest.mark.parametrize("text, words", [
    ("security.protocol=TLS\n", "security.protocol=TLS is none; it must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
    ("security.protocol=SASL_PLAINTEXT\n", "sasl.mechanism=GSSAPI is not built into these tools; PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512 are"),
    ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n", "sasl.jaas.config: it is needed with a SASL protocol"),
    ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=x required;\n", "sasl.jaas.config: "),
    ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n" + login("scram.ScramLoginModule", "a", "b"),
     "sasl.jaas.config: its login module is not that of sasl.mechanism"),
    ("security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location=/nowhere\n", "SSL"),
])
def test_refusals(broker, tmp_path, text, words):
    done = topics(broker, "SASL", tmp_path, text)
    assert done.code == 1 and words in done.err, done
