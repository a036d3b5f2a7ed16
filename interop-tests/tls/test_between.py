"""Brokers among themselves over SSL, each with a certificate of its own: two of Ottla, and one of each kind."""

import pytest

from harness import broker as brokers
from harness import zookeeper
from harness.broker import KINDS, Place
from harness.clients import kcat
from harness.life import unique
from harness.process import free_port
from harness.wait import wait_for

from .talk import alert_of, ask, connect
from .test_clients import librdkafka

pytestmark = [pytest.mark.skipif(bool(zookeeper.missing()), reason=f"skipped, because {zookeeper.missing()}"),
              pytest.mark.once]
MIXED = [pytest.param(("ottla", "ottla"), id="two"),
         pytest.param(("kafka", "ottla"), id="kafka-first", marks=pytest.mark.whole),
         pytest.param(("ottla", "kafka"), id="ottla-first", marks=pytest.mark.whole)]


class Pair:
    """Two brokers that know each other by TLS alone; clients come by PLAINTEXT, or by SSL too."""

    def __init__(self, kinds, identities, **more):
        self.zookeeper = zookeeper.ZooKeeper.shared()
        self.chroot = self.zookeeper.new_chroot()
        self.brokers = []
        for number, kind in enumerate(kinds):
            b = KINDS[kind](on=self.zookeeper, place=Place("127.0.0.1", free_port(), self.chroot))
            port = free_port()
            b.ports = {"SSL": port}
            own = identities.ca.identity(f"broker-{number}", f"/CN=broker {number}")
            b.properties |= {
                "broker.id": number,
                "listeners": f"PLAINTEXT://{b.bootstrap},SSL://127.0.0.1:{port}",
                "inter.broker.listener.name": "SSL",
                "ssl.keystore.type": "PEM", "ssl.keystore.location": own.pem,
                "ssl.truststore.type": "PEM", "ssl.truststore.location": identities.ca.pem,
                "ssl.client.auth": "required",
                "default.replication.factor": 2, "offsets.topic.replication.factor": 2,
                "transaction.state.log.replication.factor": 2, "replica.lag.time.max.ms": 4000,
            } | more
            self.brokers.append(b)

    def start(self):
        for b in self.brokers:
            b.start()
        return self

    def launch(self):
        """The second need not come so far that it serves anybody."""
        self.brokers[0].start()
        self.brokers[1].launch()

    def said(self, part: str) -> bool:
        return any(part in b.said() for b in self.brokers)

    def destroy(self):
        for b in reversed(self.brokers):
            b.destroy()
        self.zookeeper.remove(self.chroot)


@pytest.fixture
def pair(identities, request):
    p = Pair(request.param, identities)
    try:
        yield p.start()
    finally:
        p.destroy()


def in_sync(b, topic: str) -> bool:
    lines = kcat("-b", b.bootstrap, "-L", "-t", topic)
    mine = [line for line in lines if "partition " in line]
    return len(mine) > 0 and all("isrs: 0,1" in line or "isrs: 1,0" in line for line in mine)


@pytest.mark.parametrize("pair", MIXED, indirect=True)
def test_replicas(pair, identities):
    one, other = pair.brokers
    topic = unique("between")
    lines = [f"{i}-{'x' * (i % 500)}" for i in range(3000)]
    wait_for(lambda: "2 brokers:" in "\n".join(kcat("-b", one.bootstrap, "-L")), 20, "both are known")
    at = ["-b", f"localhost:{other.ports['SSL']}"]
    for name, value in librdkafka(identities, "MTLS", "1.3").items():
        at += ["-X", f"{name}={value}"]
    kcat(*at, "-P", "-t", topic, "-X", "acks=all", stdin="\n".join(lines).encode() + b"\n")
    wait_for(lambda: in_sync(one, topic), 30, "both replicas are in sync")
    group = unique("group")
    got = kcat(*at, "-G", group, "-c", len(lines), "-q", "-X", "auto.offset.reset=earliest", topic, timeout_s=60)
    assert sorted(got) == sorted(lines)
    # The other goes, cleanly; what was acknowledged is there.
    other.stop()
    got = kcat("-b", one.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q")
    assert sorted(got) == sorted(lines)
    other.start()
    wait_for(lambda: in_sync(one, topic), 30, "it follows again")


@pytest.mark.parametrize("pair", [("ottla", "ottla")], indirect=True)
def test_stores_are_read_again(pair, identities):
    """A broker shows others its new certificate, and is asked with it; one that they would not trust is refused."""
    from .identities import Authority
    from .test_reload import VALIDATION, alter, serial_of
    one, other = pair.brokers
    wait_for(lambda: "2 brokers:" in "\n".join(kcat("-b", one.bootstrap, "-L")), 20, "both are known")
    name = "listener.name.ssl.ssl.keystore.location"
    fresh = identities.ca.identity("broker-1-again", "/CN=broker 1")
    foreign = Authority(identities.directory, "elsewhere").identity("foreign", "/CN=broker 1")
    code, said = alter(other, entity="1", **{name: foreign.pem})
    assert code == 42 and said.startswith(VALIDATION) and "would not understand each other" in said
    assert alter(other, entity="1", **{name: fresh.pem}) == (0, None)
    wait_for(lambda: "TLS was made anew" in other.said(), 10, "it is read")
    with connect(identities, other.ports["SSL"], "1.3", identities.carol) as s:
        assert ask(s)
        der = s.getpeercert(binary_form=True)
    assert serial_of(fresh).split("=")[1].lower() in der.hex()
    one.restart()  # new connections, either way
    topic = unique("again")
    kcat("-b", one.bootstrap, "-P", "-t", topic, "-X", "acks=all", stdin=b"a\n")
    wait_for(lambda: in_sync(one, topic), 30, "both replicas are in sync")
    assert "no TLS with another broker" not in one.said()


@pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="what Ottla says")
def test_whom_it_does_not_trust(identities):
    """A follower that does not trust its leader's certificate gets nothing, and says why."""
    p = Pair(("ottla", "ottla"), identities)
    second = p.brokers[1]
    second.properties["ssl.truststore.location"] = identities.stranger.pem.parent / "nobody.pem"
    try:
        p.launch()
        wait_for(lambda: p.said("no TLS with another broker host=127.0.0.1"), 20, "it says so")
        assert alert_of(identities, p.brokers[0].ports["SSL"], "1.3", identities.stranger)
        with connect(identities, p.brokers[0].ports["SSL"], "1.3", identities.carol) as s:
            ask(s)
    finally:
        p.destroy()


@pytest.mark.skipif(brokers.kind_under_test() == "kafka", reason="what Ottla says")
def test_a_name_that_is_another(identities):
    """With ssl.endpoint.identification.algorithm=https (the default) the certificate must have the name; with an empty one
    it need not."""
    p = Pair(("ottla", "ottla"), identities)
    wrong = identities.ca.identity("wrong", "/CN=elsewhere", names="DNS:elsewhere")
    for b in p.brokers:
        b.properties["ssl.keystore.location"] = wrong.pem
    try:
        p.launch()
        wait_for(lambda: p.said("no TLS with another broker host=127.0.0.1"), 20, "it says so")
        for b in p.brokers:
            b.kill()
            b.properties["ssl.endpoint.identification.algorithm"] = ""
        p.start()
        topic = unique("between")
        kcat("-b", p.brokers[0].bootstrap, "-P", "-t", topic, "-X", "acks=all", stdin=b"a\n")
        wait_for(lambda: in_sync(p.brokers[0], topic), 30, "both replicas are in sync")
    finally:
        p.destroy()
