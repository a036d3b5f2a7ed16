"""Brokers that log in at each other: two of Ottla, and one of each kind; users made on either are known on both."""

import signal

import pytest

from harness import toolhost, zookeeper
from harness.broker import KINDS, Place
from harness.clients import kcat
from harness.jvm import KAFKA_VERSION
from harness.life import unique
from harness.process import free_port
from harness.wait import wait_for
from tls.identities import Identities

from .frames import Connection, log_in
from .settings import ADMIN, ADMIN_PASSWORD, of_listener
from .test_order import make_user
from .test_tokens import by_token, create

pytestmark = [pytest.mark.skipif(bool(zookeeper.missing()), reason=f"skipped, because {zookeeper.missing()}"), pytest.mark.once]
KAFKA_FIRST, OTTLA_FIRST = ("kafka", "ottla"), ("ottla", "kafka")
NAME = "SASL_PLAINTEXT"


class Pair:
    """Two brokers that talk on a listener with SASL, or (identities) on one with TLS as well; clients come by SASL, or by
    PLAINTEXT."""

    def __init__(self, kinds, mechanism: str, identities=None, **more):
        self.zookeeper = zookeeper.ZooKeeper.shared()
        self.chroot = self.zookeeper.new_chroot()
        self.zookeeper.create(self.chroot)
        self.brokers = []
        for number, kind in enumerate(kinds):
            b = KINDS[kind](on=self.zookeeper, place=Place("127.0.0.1", free_port(), self.chroot))
            b.address = {NAME: ("127.0.0.1", free_port())}
            b.plain = (b.host, b.port)
            b.properties |= of_listener(NAME) | {
                "broker.id": number,
                "listeners": f"PLAINTEXT://{b.bootstrap},{NAME}://127.0.0.1:{b.address[NAME][1]}",
                "inter.broker.listener.name": NAME, "sasl.mechanism.inter.broker.protocol": mechanism,
                "delegation.token.secret.key": "of both",
                "default.replication.factor": len(kinds), "offsets.topic.replication.factor": len(kinds), "replica.lag.time.max.ms": 4000,
            } | more
            if identities:
                self._secure(b, identities)
            self.brokers.append(b)
        if mechanism.startswith("SCRAM"):
            toolhost.tools(KAFKA_VERSION).run(
                "kafka-configs", "--zookeeper", f"{self.zookeeper.host}:{self.zookeeper.port}{self.chroot}", "--alter", "--add-config",
                f"{mechanism}=[iterations=8192,password={ADMIN_PASSWORD}]", "--entity-type", "users", "--entity-name", ADMIN)

    @staticmethod
    def _secure(b, identities) -> None:
        own = identities.ca.identity(f"broker-{b.properties['broker.id']}")
        b.properties |= of_listener("SECURE") | {
            "listeners": f"{b.properties['listeners']},SECURE://localhost:{free_port()}",
            "listener.security.protocol.map": f"PLAINTEXT:PLAINTEXT,{NAME}:{NAME},SECURE:SASL_SSL", "inter.broker.listener.name": "SECURE",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": own.pem, "ssl.truststore.type": "PEM", "ssl.truststore.location": identities.ca.pem}

    def __enter__(self):
        try:
            for b in self.brokers:
                b.launch()
            for b in self.brokers:
                wait_for(b._answers, b.start_timeout_s, f"{b.kind} to answer")
        except BaseException:
            self.__exit__()
            raise
        wait_for(lambda: f"{len(self.brokers)} brokers:" in "\n".join(kcat("-b", self.brokers[0].bootstrap, "-L")), 20, "all are known")
        return self

    def __exit__(self, *_):
        for b in reversed(self.brokers):
            b.destroy()
        self.zookeeper.remove(self.chroot)


def controller_first(pair) -> list:
    with Connection(pair.brokers[0].plain) as c:
        number = c.call("Metadata", 1, {"topics": []})["controller_id"]
    return [pair.brokers[number], pair.brokers[1 - number]]


def in_sync(b, topic: str) -> bool:
    mine = [line for line in kcat("-b", b.bootstrap, "-L", "-t", topic) if "partition " in line]
    return len(mine) > 0 and all("isrs: 0,1" in line or "isrs: 1,0" in line for line in mine)


def replicate(pair, count: int = 2000) -> None:
    one, other = pair.brokers
    topic = unique("between")
    lines = [f"{i}-{'x' * (i % 300)}" for i in range(count)]
    kcat("-b", other.bootstrap, "-P", "-t", topic, "-X", "acks=all", stdin="\n".join(lines).encode() + b"\n")
    wait_for(lambda: in_sync(one, topic), 30, "both replicas are in sync")
    for b in pair.brokers:
        assert sorted(kcat("-b", b.bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q")) == sorted(lines)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", *(pytest.param(m, marks=pytest.mark.whole) for m in ("PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"))])
def test_two(mechanism):
    with Pair(("ottla", "ottla"), mechanism) as pair:
        replicate(pair)
        pair.brokers[1].restart()
        replicate(pair)


@pytest.mark.parametrize("kinds", [KAFKA_FIRST, OTTLA_FIRST], ids=["kafka-first", "ottla-first"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
@pytest.mark.whole
def test_mixed(kinds, mechanism):
    with Pair(kinds, mechanism) as pair:
        replicate(pair)


@pytest.fixture(scope="module")
def identities(tmp_path_factory):
    return Identities(tmp_path_factory.mktemp("identities"))


@pytest.mark.parametrize("kinds", [("ottla", "ottla"), pytest.param(KAFKA_FIRST, marks=pytest.mark.whole),
                                   pytest.param(OTTLA_FIRST, marks=pytest.mark.whole)], ids="-".join)
def test_in_tls(kinds, identities):
    """SASL_SSL among brokers; a user and a delegation token that are made on one are known to the other."""
    with Pair(kinds, "SCRAM-SHA-512", identities) as pair:
        replicate(pair)
        one, other = controller_first(pair)
        make_user(one, "wire", "SCRAM-SHA-256")
        user_is_known(pair, "wire", "SCRAM-SHA-256")
        for a, b in ((one, other), (other, one)):
            with Connection(a.address[NAME]) as c:
                log_in(c, "PLAIN", "alice", "alice-secret")
                token = create(c)

            def is_known() -> bool:
                with Connection(b.address[NAME]) as c:
                    return by_token(c, token)[0] == 0
            wait_for(is_known, 15, "the token is known to the other")


@pytest.mark.whole
def test_a_login_that_ends():
    """Connections are made anew before the session of one is over."""
    with Pair(("ottla", "ottla"), "SCRAM-SHA-256", **{f"listener.name.{NAME.lower()}.connections.max.reauth.ms": 1500}) as pair:
        for _ in range(4):
            replicate(pair, 100)
        said = "".join(b.said() for b in pair.brokers)
        assert "cannot log in" not in said and "login refused" not in said


@pytest.mark.whole
def test_wrong_password():
    """The one that cannot log in says so; it gets nothing."""
    pair = Pair(("ottla", "ottla"), "SCRAM-SHA-256")
    entry = f"listener.name.{NAME.lower()}.scram-sha-256.sasl.jaas.config"
    pair.brokers[1].properties[entry] = pair.brokers[1].properties[entry].replace(ADMIN_PASSWORD, "planted-guess")
    try:
        pair.brokers[0].start()
        pair.brokers[1].launch()
        bootstrap = pair.brokers[0].bootstrap
        wait_for(lambda: "2 brokers:" in "\n".join(kcat("-b", bootstrap, "-L")), 20, "both are known")
        for _ in range(4):  # the second follows the first in some of them
            kcat("-b", bootstrap, "-P", "-t", unique("wrong"), "-X", "acks=1", stdin=b"a\n")
        wait_for(lambda: "cannot log in at another broker host=127.0.0.1 error=\"SASL_AUTHENTICATION_FAILED" in pair.brokers[1].said(), 20, "it says so")
        assert "planted-guess" not in pair.brokers[0].said() + pair.brokers[1].said()
    finally:
        pair.__exit__()


def user_is_known(pair, name: str, mechanism: str) -> None:
    def all_know() -> bool:
        for b in pair.brokers:
            with Connection(b.address[NAME]) as c:
                if log_in(c, mechanism, name, f"{name}-secret")[0] != 0:
                    return False
        return True
    wait_for(all_know, 15, f"{name} is known to both")


@pytest.mark.parametrize("kinds", [("ottla", "ottla"), pytest.param(KAFKA_FIRST, marks=pytest.mark.whole),
                                   pytest.param(OTTLA_FIRST, marks=pytest.mark.whole)], ids="-".join)
def test_users_of_both(kinds):
    with Pair(kinds, "PLAIN") as pair:
        controller, other = controller_first(pair)
        make_user(controller, "wire", "SCRAM-SHA-256")
        user_is_known(pair, "wire", "SCRAM-SHA-256")
        for n, b in enumerate(pair.brokers):
            name = f"tool{n}"
            toolhost.tools(KAFKA_VERSION).run("kafka-configs", "--bootstrap-server", b.bootstrap, "--alter", "--add-config",
                                              f"SCRAM-SHA-512=[password={name}-secret]", "--entity-type", "users", "--entity-name", name)
            user_is_known(pair, name, "SCRAM-SHA-512")
        with Connection(other.plain) as c:
            answer = c.call("AlterUserScramCredentials", 0, {"deletions": [{"name": "wire", "mechanism": 1}], "upsertions": []})
            assert answer["results"][0]["error_code"] == 41


def test_a_user_who_was_removed_unseen():
    """While this broker slept its session ended, and the notification is gone: the new session must not keep the old users."""
    with Pair(("ottla",), "PLAIN") as pair:
        (b,) = pair.brokers
        for name in ("gone", "stays"):
            make_user(b, name, "SCRAM-SHA-256")
            user_is_known(pair, name, "SCRAM-SHA-256")
        own = f"{pair.chroot}/brokers/ids/0"
        owner = pair.zookeeper.node(own).owner
        b.process.signal(signal.SIGSTOP)
        try:
            wait_for(lambda: pair.zookeeper.node(own) is None, 30, "the session to expire")
            with pair.zookeeper.client() as zk:
                zk.delete(f"{pair.chroot}/config/users/gone")
        finally:
            b.process.signal(signal.SIGCONT)
        wait_for(lambda: (pair.zookeeper.node(own) or Never).owner not in (None, owner), 30, "a new session")

        def known(name: str) -> bool:
            with Connection(b.address[NAME]) as c:
                return log_in(c, "SCRAM-SHA-256", name, f"{name}-secret")[0] == 0
        wait_for(lambda: not known("gone"), 15, "the user to be forgotten")
        assert known("stays")


class Never:
    owner = None
