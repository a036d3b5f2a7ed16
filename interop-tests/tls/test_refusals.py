"""Settings that would not protect refuse the start with one line, which has no secret in it."""

import subprocess

import pytest

from harness import broker as brokers

from .conftest import with_tls
from .identities import PASSWORD, Authority, openssl

pytestmark = [pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="Kafka's lines are others"), pytest.mark.once]

L = "listener SSL: option "


@pytest.fixture(scope="module")
def files(identities):
    """name -> path"""
    d = identities.directory
    openssl("pkcs8", "-topk8", "-in", identities.server.key, "-out", d / "encrypted.key", "-passout", f"pass:{PASSWORD}")
    (d / "encrypted.pem").write_text((d / "encrypted.key").read_text() + identities.server.certificate.read_text())
    (d / "mixed.pem").write_text(identities.carol.key.read_text() + identities.server.certificate.read_text())
    (d / "bare.pem").write_text(identities.server.certificate.read_text())
    openssl("rsa", "-traditional", "-in", identities.server.key, "-out", d / "old.key")
    (d / "old.pem").write_text((d / "old.key").read_text() + identities.server.certificate.read_text())
    return {p.name: p for p in d.iterdir()}


CASES = [
    ({"ssl.keystore.location": "/nowhere"}, L + "ssl.keystore.location: Failed to load SSL keystore /nowhere of type PEM: "),
    ({"ssl.keystore.location": "mixed.pem"}, "its private key does not belong to any of its certificates"),
    ({"ssl.keystore.location": "bare.pem"}, "No matching PRIVATE KEY entries in PEM file"),
    ({"ssl.keystore.location": "old.pem"}, "its private key is not of PKCS#8; convert it: openssl pkcs8 -topk8"),
    ({"ssl.keystore.location": "encrypted.pem"}, "its private key is encrypted, and ssl.key.password is not set"),
    ({"ssl.keystore.location": "encrypted.pem", "ssl.key.password": PASSWORD + "x"},
     "its private key is encrypted, and ssl.key.password does not open it"),
    ({"ssl.keystore.password": PASSWORD}, L + "ssl.keystore.password: SSL key store password cannot be specified with PEM "
                                              "format, only key password may be specified"),
    ({"ssl.keystore.type": "PKCS12", "ssl.keystore.location": "server.p12", "ssl.keystore.password": PASSWORD + "x"},
     "keystore password was incorrect"),
    ({"ssl.keystore.type": "PKCS12", "ssl.keystore.location": "server.p12"},
     "SSL key store is specified, but key store password is not specified."),
    ({"ssl.keystore.location": ""}, L + "ssl.keystore.location: it is not set; a listener with TLS needs a key and its "
                                        "certificate"),
    ({"ssl.truststore.location": "/nowhere"}, L + "ssl.truststore.location: Failed to load SSL keystore /nowhere of type PEM: "),
    ({"ssl.client.auth": "needed"}, 'option ssl.client.auth: "needed" is not allowed; it must be text in '
                                    "required|requested|none"),
    ({"ssl.enabled.protocols": "TLSv1.4"}, L + 'ssl.enabled.protocols: "TLSv1.4" is not allowed; it must be of TLSv1.2, TLSv1.3'),
    ({"ssl.cipher.suites": "AES128"}, L + 'ssl.cipher.suites: "AES128" is not allowed; '),
    ({"ssl.principal.mapping.rules": "RULE:x"},
     L + "ssl.principal.mapping.rules: Invalid rule: `RULE:x`, unmatched substring: `RULE:x`"),
    ({"password.encoder.secret": PASSWORD, "password.encoder.key.length": "100"},
     "option password.encoder.key.length: 100 is not allowed; it must be 128, 192 or 256"),
    ({"password.encoder.secret": PASSWORD, "password.encoder.keyfactory.algorithm": "SHA1"},
     'option password.encoder.keyfactory.algorithm: "SHA1" is not allowed; it must be PBKDF2WithHmacSHA1'),
    ({"ssl.engine.factory.class": "x.Y"}, "option ssl.engine.factory.class: no code is loaded by its name"),
    ({"ssl.clientauth": "required"}, "option ssl.clientauth: there is no such option"),
    ({"listener.name.ssl.ssl.keystore.file": "x"}, "option listener.name.ssl.ssl.keystore.file: there is no such option"),
]


@pytest.mark.parametrize("options, said", CASES, ids=[" ".join(c[0]) + f" {i}" for i, c in enumerate(CASES)])
def test_refused(identities, files, options, said):
    b = brokers.new_broker()
    try:
        with_tls(b, identities, **{k: files.get(v, v) for k, v in options.items()})
        status, log = b.start_refused(10)
        last = log.splitlines()[-1]
        assert status == 1 and said in last, log
        assert PASSWORD not in log
    finally:
        b.destroy()


def test_jks(identities, tmp_path):
    b = brokers.new_broker()
    store = tmp_path / "k.jks"
    done = subprocess.run(["keytool", "-genkeypair", "-alias", "kafka", "-keyalg", "EC", "-groupname", "secp256r1", "-dname",
                           "CN=localhost", "-storetype", "JKS", "-keystore", store, "-storepass", PASSWORD, "-keypass",
                           PASSWORD], capture_output=True, timeout=60)
    assert done.returncode == 0
    try:
        with_tls(b, identities, **{"ssl.keystore.type": "JKS", "ssl.keystore.location": store,
                                   "ssl.keystore.password": PASSWORD})
        status, log = b.start_refused(10)
        line = f"keytool -importkeystore -srckeystore {store} -destkeystore {store}.p12 -deststoretype PKCS12"
        assert status == 1 and line in log.splitlines()[-1]
        # That line does it.
        done = subprocess.run([*line.split(), "-srcstorepass", PASSWORD, "-deststorepass", PASSWORD], capture_output=True,
                              timeout=60)
        assert done.returncode == 0, done.stderr
        b.properties |= {"ssl.keystore.type": "PKCS12", "ssl.keystore.location": f"{store}.p12"}
        b.start()
        assert PASSWORD not in b.said()
    finally:
        b.destroy()
