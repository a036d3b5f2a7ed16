"""Stores that are read again while the broker runs, under Kafka's checks; connections that live keep their keys."""

import json
import os
import shutil
import signal
import ssl
import subprocess

import pytest

from harness import broker as brokers
from harness.clients import ask as ask_wire
from harness.wait import wait_for
from wire.player import Connection

from .conftest import with_tls
from .identities import PASSWORD
from .talk import ask, connect, context, dial

SECRET = "planted-encoder-secret"
L = "listener.name.ssl."
VALIDATION = ("Invalid value org.apache.kafka.common.config.ConfigException: Validation of dynamic config update of SSLFactory "
              "failed: ")
ON_KAFKA = brokers.kind_under_test() == "kafka"


@pytest.fixture
def live(identities, tmp_path):
    """A broker whose SSL listener has a store of PKCS12 of its own."""
    b = brokers.new_broker()
    b.store = tmp_path / "live.p12"
    shutil.copy(identities.server.p12, b.store)
    b.ports = with_tls(b, identities, **{f"{L}ssl.keystore.type": "PKCS12", f"{L}ssl.keystore.location": b.store,
                                         f"{L}ssl.keystore.password": PASSWORD, "password.encoder.secret": SECRET})
    try:
        yield b.start()
    finally:
        b.destroy()


def alter(b, entity: str = "0", delete: str = "", validate: bool = False, **configs) -> tuple:
    changes = [{"name": k, "config_operation": 0, "value": str(v)} for k, v in configs.items()]
    if delete:
        changes.append({"name": delete, "config_operation": 1, "value": None})
    c = Connection(b.host, b.port)
    try:
        answer = ask_wire(c, "IncrementalAlterConfigs", 1, {
            "resources": [{"resource_type": 4, "resource_name": entity, "configs": changes}], "validate_only": validate})
    finally:
        c.close()
    r = answer["responses"][0]
    return r["error_code"], r["error_message"]


def serial(identities, port: int) -> str:
    """Of the certificate that a new client is shown."""
    with connect(identities, port, "1.3") as s:
        der = s.getpeercert(binary_form=True)
        ask(s)
    done = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], input=der, capture_output=True, timeout=10)
    return done.stdout.decode().strip()


def serial_of(identity) -> str:
    done = subprocess.run(["openssl", "x509", "-in", identity.certificate, "-noout", "-serial"], capture_output=True, timeout=10)
    return done.stdout.decode().strip()


def test_another_file(live, identities):
    fresh = identities.ca.identity("fresh")
    port = live.ports["SSL"]
    with connect(identities, port, "1.3") as old:
        ask(old)
        assert alter(live, **{f"{L}ssl.keystore.location": fresh.p12}) == (0, None)
        wait_for(lambda: serial(identities, port) == serial_of(fresh), 10, "the new certificate")
        ask(old)
    live.restart()
    assert serial(identities, port) == serial_of(fresh)  # the store says so, over server.properties
    assert alter(live, delete=f"{L}ssl.keystore.location") == (0, None)
    wait_for(lambda: serial(identities, port) == serial_of(identities.server), 10, "the old certificate")


def test_the_same_file_with_another_content(live, identities):
    fresh = identities.ca.identity("fresh2")
    assert alter(live, **{f"{L}ssl.keystore.location": live.store}) == (0, None)
    shutil.copy(fresh.p12, live.store)
    assert serial(identities, live.ports["SSL"]) == serial_of(identities.server)  # nobody has asked
    assert alter(live, **{f"{L}ssl.keystore.location": live.store}) == (0, None)
    wait_for(lambda: serial(identities, live.ports["SSL"]) == serial_of(fresh), 10, "the new certificate")


@pytest.mark.skipif(ON_KAFKA, reason="Kafka ends by it")
def test_sighup(live, identities):
    """As kafka-configs, under the same checks: another name is not taken, and one line says so."""
    port = live.ports["SSL"]
    shutil.copy(identities.ca.identity("renamed", "/CN=renamed").p12, live.store)
    os.kill(live.process.pid, signal.SIGHUP)
    wait_for(lambda: "TLS stays as it was listener=SSL" in live.said(), 10, "it is refused")
    assert serial(identities, port) == serial_of(identities.server)
    fresh = identities.ca.identity("fresh4")
    shutil.copy(fresh.p12, live.store)
    os.kill(live.process.pid, signal.SIGHUP)
    wait_for(lambda: serial(identities, port) == serial_of(fresh), 10, "the new certificate")


def test_a_trust_store(live, identities):
    """Carol is not trusted any more, the stranger is."""
    nobody = identities.directory / "nobody.pem"
    stranger = identities.stranger
    assert alter(live, **{"listener.name.mtls.ssl.truststore.location": nobody}) == (0, None)

    def stranger_is_in():
        with connect(identities, live.ports["MTLS"], "1.2", stranger) as s:
            ask(s)
        return True
    wait_for(stranger_is_in, 10, "the stranger is trusted")
    with pytest.raises((ssl.SSLError, OSError)):
        connect(identities, live.ports["MTLS"], "1.2", identities.carol)


def test_refusals(live, identities, tmp_path):
    other = identities.ca.identity("other", "/CN=other")
    fewer = identities.ca.identity("fewer", names="DNS:localhost")
    before = serial(identities, live.ports["SSL"])
    location = f"{L}ssl.keystore.location"
    end = " for configuration Invalid dynamic configuration"
    code, said = alter(live, **{location: "/nowhere"})
    assert code == 42 and said.startswith(VALIDATION) and "Failed to load SSL keystore /nowhere of type PKCS12" in said
    code, said = alter(live, **{location: other.p12})
    assert (code, said) == (42, VALIDATION + "org.apache.kafka.common.config.ConfigException: Keystore DistinguishedName does "
                            "not match:  existing={alias=kafka, DN=CN=localhost}, new={alias=kafka, DN=CN=other}" + end)
    code, said = alter(live, **{location: fewer.p12})
    assert (code, said) == (42, VALIDATION + "org.apache.kafka.common.config.ConfigException: Keystore SubjectAltNames do not "
                            "match:  existing={alias=kafka, SAN=[[2, localhost], [7, 127.0.0.1]]}, new={alias=kafka, "
                            "SAN=[[2, localhost]]}" + end)
    code, said = alter(live, **{f"{L}ssl.keystore.password": "wrong"})
    assert code == 42 and "Failed to load SSL keystore" in said and "wrong" not in said.replace("password was wrong", "")
    assert alter(live, **{"ssl.keystore.location": live.store}) == (
        42, "These security configs can be dynamically updated only per-listener using the listener prefix: "
            "HashSet(ssl.keystore.location)")
    assert alter(live, entity="", **{location: live.store}) == (
        42, f"Cannot update these configs at default cluster level, broker id must be specified: Set({location})")
    if not ON_KAFKA:  # which stores what it does not know
        for name in (f"{L}ssl.keystore.nosuch", "listener.name.nosuch.ssl.keystore.location",
                     f"{L}ssl.principal.mapping.rules", f"{L}max.connections"):
            assert alter(live, **{name: "x"}) == (42, f"Cannot update these configs dynamically: Set({name})")
    fresh = identities.ca.identity("fresh3")
    assert alter(live, validate=True, **{location: fresh.p12}) == (0, None)
    assert serial(identities, live.ports["SSL"]) == before


def test_passwords(live, identities):
    """Encrypted in the store, and nowhere else to be seen."""
    another = "another-planted-secret"
    store = identities.directory / "another.p12"
    subprocess.run(["openssl", "pkcs12", "-export", "-in", identities.server.pem, "-name", "kafka", "-out", store, "-passout",
                    f"pass:{another}"], check=True, timeout=20, capture_output=True)
    assert alter(live, **{f"{L}ssl.keystore.location": store, f"{L}ssl.keystore.password": another}) == (0, None)
    live.restart()
    ports = live.ports
    with connect(identities, ports["SSL"], "1.3") as s:
        ask(s)
    c = Connection(live.host, live.port)
    answer = ask_wire(c, "DescribeConfigs", 4, {"resources": [{"resource_type": 4, "resource_name": "0",
                                                               "configuration_keys": None}],
                                                "include_synonyms": True, "include_documentation": False})
    c.close()
    shown = {x["name"]: x for x in answer["results"][0]["configs"]}
    row = shown[f"{L}ssl.keystore.password"]
    assert row["value"] is None and row["is_sensitive"] and row["config_source"] == 2 and row["config_type"] == 9
    assert [(s["source"], s["value"]) for s in row["synonyms"]] == [(2, None), (4, None)]
    row = shown[f"{L}ssl.keystore.location"]
    assert row["value"] == str(store) and not row["is_sensitive"] and row["read_only"]
    assert [(s["name"], s["source"]) for s in row["synonyms"]] == [
        (f"{L}ssl.keystore.location", 2), (f"{L}ssl.keystore.location", 4), ("ssl.keystore.location", 4)]
    for secret in (another, SECRET, PASSWORD):
        assert secret not in json.dumps(answer) and secret not in live.said()
        for file in live.data_dir.glob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    if not ON_KAFKA:  # which cannot do so where no other broker is the controller
        # Another secret, with the old one beside it: at that start all is encrypted anew, and the old one may go.
        live.stop()
        live.properties |= {"password.encoder.secret": SECRET + "-2", "password.encoder.old.secret": SECRET}
        live.start()
        live.stop()
        del live.properties["password.encoder.old.secret"]
        live.start()
        with connect(identities, ports["SSL"], "1.3") as s:
            ask(s)
    if live.zookeeper:
        from kazoo.client import KazooClient
        k = KazooClient(f"{live.zookeeper.host}:{live.zookeeper.port}")
        k.start()
        try:
            node = json.loads(k.get(f"{live.chroot}/config/brokers/0")[0])["config"]
        finally:
            k.stop()
        assert node[f"{L}ssl.keystore.password"].count(":") == 8 and another not in str(node)


@pytest.mark.skipif(ON_KAFKA, reason="a load for a while")
def test_under_load(live, identities):
    """Requests on connections that live, and new connections all the time, while stores change: none is lost."""
    stores = [identities.ca.identity(f"load{i}").p12 for i in range(4)]
    port = live.ports["SSL"]
    olds = [connect(identities, port, v) for v in ("1.2", "1.3") for _ in range(4)]
    for i in range(12):
        assert alter(live, **{f"{L}ssl.keystore.location": stores[i % 4]}) == (0, None)
        for s in olds:
            ask(s)
        for v in ("1.2", "1.3"):
            with connect(identities, port, v) as s:
                ask(s)
    c = context(identities, "1.2")
    for _ in range(5):
        with c.wrap_socket(dial(port), server_hostname="localhost") as s:
            ask(s)
    for s in olds:
        s.close()
